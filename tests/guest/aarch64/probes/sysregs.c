// SPDX-License-Identifier: Apache-2.0
// System registers: every encoding is read, and most are written, by an instruction made at run time. What does not
// exist is undefined; what the hypervisor does not offer is not advertised.
#include "guest.h"

void secondary_main(u64 context) {
    (void)context;
}

static u32 code[16] __attribute__((aligned(64)));

enum : u32 { RET = 0xd65f03c0 };
#define ENCODING(op0, op1, crn, crm, op2)                                                                              \
    ((u32)(op0) << 19 | (u32)(op1) << 16 | (u32)(crn) << 12 | (u32)(crm) << 8 | (u32)(op2) << 5)

// Runs one instruction whose operand is x0; returns x0 as it is then.
static u64 execute(u32 insn, u64 value) {
    register u64 x0 __asm__("x0") = value;
    code[0] = insn;
    code[1] = RET;
    trap.count = 0;
    __asm__ volatile(
        "dc cvau, %1\n\tdsb ish\n\tic ivau, %1\n\tdsb ish\n\tisb\n\tmov x9, x30\n\tblr %1\n\tmov x30, x9\n\tisb"
        : "+r"(x0)
        : "r"(code)
        : "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16", "x17", "x30", "memory");
    return x0;
}

static u64 mrs(u32 encoding) {
    return execute(0xd5200000 | encoding, 0);
}

static void msr(u32 encoding, u64 value) {
    execute(0xd5000000 | encoding, value);
}

static bool undefined(void) {
    return trap.count == 1 && ESR_EC(trap.esr) == EC_UNKNOWN;
}

static void report(const char *name, u64 wrong, u64 tried, u32 first, u64 esr) {
    CHECK(name, wrong == 0, "%u of %u, first S%u_%u_C%u_C%u_%u, esr %x", wrong, tried, (u64)(first >> 19 & 3),
          (u64)(first >> 16 & 7), (u64)(first >> 12 & 15), (u64)(first >> 8 & 15), (u64)(first >> 5 & 7), esr);
}

typedef bool (*visit)(u32 encoding);

static void for_each(const char *name, u32 op0, u32 op1_first, u32 op1_last, visit right) {
    u64 wrong = 0, tried = 0, esr = 0;
    u32 first = 0;
    for (u32 op1 = op1_first; op1 <= op1_last; op1++)
        for (u32 rest = 0; rest < 1 << 11; rest++) {
            u32 encoding = ENCODING(op0, op1, rest >> 7, rest >> 3 & 15, rest & 7);
            tried++;
            if (!right(encoding) && wrong++ == 0) {
                first = encoding;
                esr = trap.count ? trap.esr : 0;
            }
        }
    report(name, wrong, tried, first, esr);
}

// With FEAT_IDST the CPU itself gives a reserved register of the ID space a syndrome of its own.
static bool reserved_id(u32 encoding) {
    return trap.count == 1 && ESR_EC(trap.esr) == EC_SYSREG && (encoding >> 12 & 15) == 0;
}

static bool reads_or_is_undefined(u32 encoding) {
    mrs(encoding);
    return trap.count == 0 || undefined() || reserved_id(encoding);
}

static bool reads_undefined(u32 encoding) {
    mrs(encoding);
    return undefined();
}

static bool writes_undefined(u32 encoding) {
    msr(encoding, 0);
    return undefined();
}

// A register gets back what it had; one that cannot be read gets 0.
static bool writes_or_is_undefined(u32 encoding) {
    if (encoding == ENCODING(3, 0, 12, 11, 5)) // ICC_SGI1R would send one
        return true;
    u64 value = mrs(encoding);
    if (trap.count != 0)
        value = 0;
    msr(encoding, value);
    return trap.count == 0 || undefined();
}

// TLBI, IC, DC, AT: the operand is an address of ours.
static bool system_instruction(u32 encoding) {
    execute(0xd5000000 | encoding, (u64)code & ~0x3full);
    return trap.count <= 1;
}

static bool read_as_zero_or_undefined(u32 encoding) {
    u64 v = mrs(encoding);
    return (trap.count == 0 && v == 0) || undefined();
}

static void sweeps(void) {
    for_each("every_debug_register_reads_or_is_undefined", 2, 0, 7, reads_or_is_undefined);
    for_each("every_register_of_EL0_and_EL1_reads_or_is_undefined", 3, 0, 3, reads_or_is_undefined);
    for_each("registers_of_EL2_and_EL3_are_undefined_to_read", 3, 4, 7, reads_undefined);
    for_each("registers_of_EL2_and_EL3_are_undefined_to_write", 3, 4, 7, writes_undefined);
    for_each("every_debug_register_can_be_written_or_is_undefined", 2, 0, 7, writes_or_is_undefined);
    for_each("every_register_of_EL0_and_EL1_can_be_written_or_is_undefined", 3, 0, 3, writes_or_is_undefined);
    for_each("system_instructions_of_EL2_and_EL3_are_undefined", 1, 4, 7, writes_undefined);
    u64 wrong = 0, tried = 0;
    u32 first = 0;
    static const u32 ours[] = {11, 15}; // implementation defined
    for (u32 k = 0; k < ARRAY_SIZE(ours); k++)
        for (u32 op1 = 0; op1 < 8; op1++)
            for (u32 rest = 0; rest < 128; rest++) {
                u32 encoding = ENCODING(3, op1, ours[k], rest >> 3, rest & 7);
                tried++;
                if (!read_as_zero_or_undefined(encoding) && wrong++ == 0)
                    first = encoding;
            }
    report("implementation_defined_registers_show_nothing", wrong, tried, first, trap.esr);
}

// The data cache by set and way, and the TLB maintenance that Linux uses, must work; the rest must not hurt.
static void instructions(void) {
    for_each("every_system_instruction_of_EL1_ends", 1, 0, 3, system_instruction);
    static const u32 works[] = {
        ENCODING(1, 0, 8, 7, 0), ENCODING(1, 0, 8, 3, 0),  ENCODING(1, 0, 7, 5, 0),  ENCODING(1, 0, 7, 1, 0),
        ENCODING(1, 3, 7, 5, 1), ENCODING(1, 3, 7, 10, 1), ENCODING(1, 3, 7, 14, 1), ENCODING(1, 0, 7, 8, 0),
    };
    u64 bad = 0;
    for (u32 i = 0; i < ARRAY_SIZE(works); i++) {
        execute(0xd5000000 | works[i], (u64)code & ~0x3full);
        bad += trap.count;
    }
    CHECK("TLB_and_cache_maintenance_works", bad == 0, "%u traps, esr %x", bad, trap.esr);
}

static u64 field(u64 v, u32 low) {
    return v >> low & 15;
}

static void hidden(const char *name, u32 encoding, u32 low) {
    u64 v = mrs(encoding);
    CHECK(name, trap.count == 0 && field(v, low) == 0, "%x, %u traps", v, trap.count);
}

static void identity(void) {
    const u32 pfr0 = ENCODING(3, 0, 0, 4, 0), pfr1 = ENCODING(3, 0, 0, 4, 1), dfr0 = ENCODING(3, 0, 0, 5, 0);
    hidden("no_SVE_is_promised", pfr0, 32);
    hidden("no_RAS_is_promised", pfr0, 28);
    hidden("no_AMU_is_promised", pfr0, 44);
    hidden("no_MPAM_is_promised", pfr0, 40);
    hidden("no_EL2_is_promised", pfr0, 8);
    hidden("no_RME_is_promised", pfr0, 52);
    hidden("no_MTE_is_promised", pfr1, 8);
    hidden("no_SME_is_promised", pfr1, 24);
    hidden("no_RAS_fraction_is_promised", pfr1, 12);
    hidden("no_MPAM_fraction_is_promised", pfr1, 16);
    hidden("no_SVE_features_are_promised", ENCODING(3, 0, 0, 4, 4), 0);
    hidden("no_SME_features_are_promised", ENCODING(3, 0, 0, 4, 5), 32);
    hidden("no_statistical_profiling_is_promised", dfr0, 32);
    hidden("no_trace_unit_is_promised", dfr0, 4);
    hidden("no_branch_record_is_promised", dfr0, 52);
    hidden("no_trace_buffer_is_promised", dfr0, 44);
    u64 pmu = field(mrs(dfr0), 8);
    CHECK("no_PMU_is_promised", pmu == 0 || pmu == 15, "%x", pmu);
    CHECK("EL1_is_64_bit", field(mrs(pfr0), 4) == 1 || field(mrs(pfr0), 4) == 2, "%x", mrs(pfr0));
    u64 midr = mrs(ENCODING(3, 0, 0, 0, 0)), mpidr = mrs(ENCODING(3, 0, 0, 0, 5));
    CHECK("MIDR_names_a_CPU", midr != 0 && trap.count == 0, "%x", midr);
    CHECK("MPIDR_is_that_of_the_first_CPU", (mpidr & 0xff00ffffff) == 0 && (mpidr & 1u << 31), "%x", mpidr);
    CHECK("the_interrupt_controllers_registers_are_promised", field(mrs(pfr0), 24) == 1, "%x", mrs(pfr0));
}

static void not_there(const char *name, u32 insn) {
    execute(insn, 0);
    CHECK(name, undefined(), "%u traps, esr %x", trap.count, trap.esr);
}

static void refused(void) {
    not_there("PMCR_EL0_is_undefined", 0xd5200000 | ENCODING(3, 3, 9, 12, 0));
    not_there("PMCCNTR_EL0_is_undefined", 0xd5200000 | ENCODING(3, 3, 9, 13, 0));
    not_there("PMINTENSET_EL1_is_undefined", 0xd5200000 | ENCODING(3, 0, 9, 14, 1));
    not_there("PMSCR_EL1_is_undefined", 0xd5200000 | ENCODING(3, 0, 9, 9, 0));
    not_there("ZCR_EL1_is_undefined", 0xd5200000 | ENCODING(3, 0, 1, 2, 0));
    not_there("SMCR_EL1_is_undefined", 0xd5200000 | ENCODING(3, 0, 1, 2, 6));
    not_there("GCR_EL1_is_undefined", 0xd5200000 | ENCODING(3, 0, 1, 0, 6));
    not_there("ERRSELR_EL1_is_undefined", 0xd5200000 | ENCODING(3, 0, 5, 3, 1));
    not_there("ERXSTATUS_EL1_is_undefined", 0xd5200000 | ENCODING(3, 0, 5, 4, 2));
    not_there("AMCR_EL0_is_undefined", 0xd5200000 | ENCODING(3, 3, 13, 2, 0));
    not_there("MPAM1_EL1_is_undefined", 0xd5200000 | ENCODING(3, 0, 10, 5, 0));
    not_there("TRCIDR0_is_undefined", 0xd5200000 | ENCODING(2, 1, 0, 8, 7));
    not_there("an_SVE_instruction_is_undefined", 0x04bf5020); // rdvl x0, #1
    not_there("an_SME_instruction_is_undefined", 0xd503477f); // smstart
    not_there("an_unallocated_instruction_is_undefined", 0x00000000);
}

static void floating_point(void) {
    trap.count = 0;
    u64 back = 0;
    __asm__ volatile(SIMD "fmov d8, %1\n\tfadd d8, d8, d8\n\tfmov %0, d8"
                     : "=r"(back)
                     : "r"(0x3ff0000000000000ull)
                     : "v8");
    CHECK("floating_point_works", trap.count == 0 && back == 0x4000000000000000ull, "%x, %u traps", back, trap.count);
}

void guest_main(u64 dtb) {
    (void)dtb;
    irqs_off();
    identity();
    refused();
    floating_point();
    sweeps();
    instructions();
}
