// SPDX-License-Identifier: Apache-2.0
// Control and status registers and privileged instructions, made at run time: what does not exist is an illegal
// instruction, what is the hypervisor's as well, and none of them lets this program see that it is a guest.
#include "guest.h"

void secondary_main(u64 context) {
    (void)context;
}

static u32 code[16] __attribute__((aligned(64)));

enum : u32 { RET = 0x00008067, CSRRS_A0_ZERO = 0x2573, CSRRW_ZERO_A0 = 0x51073 };

// Runs one instruction whose operand is a0; returns a0 as it is then.
static u64 execute(u32 insn, u64 value) {
    register u64 a0 __asm__("a0") = value;
    register u64 a1 __asm__("a1") = 0;
    code[0] = insn;
    code[1] = RET;
    trap.count = 0;
    __asm__ volatile("fence.i\n\tjalr ra, 0(%2)"
                     : "+r"(a0), "+r"(a1)
                     : "r"(code)
                     : "ra", "t0", "t1", "t2", "t3", "t4", "t5", "t6", "a2", "a3", "a4", "a5", "a6", "a7", "memory");
    return a0;
}

static bool illegal(void) {
    return trap.count == 1 && trap.cause == CAUSE_ILLEGAL;
}

static void report(const char *name, u64 wrong, u64 tried, u64 first, u64 cause) {
    CHECK(name, wrong == 0, "%u of %u, first %x, cause %d", wrong, tried, first, cause);
}

static void reads(void) {
    u64 wrong = 0, first = 0, cause = 0, there = 0;
    for (u32 csr = 0; csr < 4096; csr++) {
        execute(csr << 20 | CSRRS_A0_ZERO, 0);
        there += trap.count == 0;
        if (trap.count != 0 && !illegal() && wrong++ == 0) {
            first = csr;
            cause = trap.cause;
        }
    }
    report("every_CSR_reads_or_is_illegal", wrong, 4096, first, cause);
    CHECK("some_CSRs_are_there", there > 10, "%u", there);
}

// Bits 9:8 of a CSR's number say whose it is: 2 the hypervisor's, 3 the machine's.
static void others(void) {
    u64 wrong = 0, tried = 0, first = 0;
    for (u32 csr = 0; csr < 4096; csr++) {
        if ((csr >> 8 & 3) < 2)
            continue;
        for (u32 write = 0; write < 2; write++) {
            execute(csr << 20 | (write ? CSRRW_ZERO_A0 : CSRRS_A0_ZERO), ~0ull);
            tried++;
            if (!illegal() && wrong++ == 0)
                first = csr;
        }
    }
    report("no_CSR_of_the_hypervisor_or_the_machine_is_there", wrong, tried, first, (u64)-1);
}

static bool ours(u32 csr) { // what this program stands on
    return csr == 0x100 || csr == 0x105 || csr == 0x180 || csr == 0x104 || csr == 0x141;
}

static void writes(void) {
    static const u64 values[] = {0, ~0ull, 0x5555555555555555, 1ull << 63};
    u64 wrong = 0, first = 0, cause = 0;
    for (u32 csr = 0; csr < 0x400; csr++) {
        if (ours(csr))
            continue;
        u64 before = execute(csr << 20 | CSRRS_A0_ZERO, 0);
        bool there = trap.count == 0;
        for (u32 i = 0; i < ARRAY_SIZE(values); i++) {
            execute(csr << 20 | CSRRW_ZERO_A0, values[i]);
            if (trap.count != 0 && !illegal() && wrong++ == 0) {
                first = csr;
                cause = trap.cause;
            }
        }
        if (there)
            execute(csr << 20 | CSRRW_ZERO_A0, before);
    }
    report("every_CSR_bears_writing", wrong, 0x400, first, cause);
}

static void hypervisors(void) {
    static const struct {
        const char *name;
        u32 insn;
    } all[] = {
        {"HFENCE_GVMA_is_illegal", 0x62000073}, {"HFENCE_VVMA_is_illegal", 0x22000073},
        {"HINVAL_GVMA_is_illegal", 0x66000073}, {"HINVAL_VVMA_is_illegal", 0x26000073},
        {"HLV_W_is_illegal", 0x68054573},       {"HLVX_HU_is_illegal", 0x64354573},
        {"HSV_W_is_illegal", 0x6ab54073},       {"MRET_is_illegal", 0x30200073},
        {"MNRET_is_illegal", 0x70200073},
    };
    for (u32 i = 0; i < ARRAY_SIZE(all); i++) {
        execute(all[i].insn, RAM);
        CHECK(all[i].name, illegal(), "%u traps, cause %u", trap.count, trap.cause);
    }
}

static void harmless(void) {
    static const struct {
        const char *name;
        u32 insn;
    } all[] = {
        {"SFENCE_VMA_is_carried_out", 0x12000073},
        {"FENCE_I_is_carried_out", 0x0000100f},
        {"PAUSE_is_carried_out", 0x0100000f},
        {"FENCE_is_carried_out", 0x0ff0000f},
    };
    for (u32 i = 0; i < ARRAY_SIZE(all); i++) {
        execute(all[i].insn, 0);
        CHECK(all[i].name, trap.count == 0, "%u traps, cause %u", trap.count, trap.cause);
    }
    execute(0x00000000, 0); // two of them, compressed
    CHECK("an_instruction_of_zeroes_is_illegal", trap.count == 2 && trap.cause == CAUSE_ILLEGAL, "%u traps, cause %u",
          trap.count, trap.cause);
    execute(0x00100073, 0);
    CHECK("EBREAK_is_a_breakpoint", trap.count == 1 && trap.cause == 3, "%u traps, cause %u", trap.count, trap.cause);
}

static void counters(void) {
    u64 a = csr_read(time), b = csr_read(time);
    CHECK("time_is_there_and_goes_on", b >= a && trap.count == 0, "%u, %u", a, b);
}

// With the floating-point unit off its registers are out of reach, with it on they keep what they are given.
static void floating_point(void) {
    csr_clear(sstatus, 3ull << 13);
    execute(0xf2050053, 1); // fmv.d.x ft0, a0
    CHECK("floating_point_is_illegal_while_it_is_off", illegal(), "%u traps, cause %u", trap.count, trap.cause);
    csr_set(sstatus, 1ull << 13);
    execute(0xf2050053, 0x1234567890abcdef);
    u64 moved = execute(0xe2000553, 0); // fmv.x.d a0, ft0
    CHECK("floating_point_registers_keep_their_value", moved == 0x1234567890abcdef, "%x", moved);
    CHECK("floating_point_state_is_dirty_after_a_write", (csr_read(sstatus) >> 13 & 3) == 3, "%x", csr_read(sstatus));
}

void guest_main(u64 dtb) {
    (void)dtb;
    reads();
    others();
    writes();
    hypervisors();
    harmless();
    trap.count = 0;
    counters();
    floating_point();
}
