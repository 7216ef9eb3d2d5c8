// SPDX-License-Identifier: Apache-2.0
// Every MSR, CPUID leaf, port and control register, and the instructions that only hypervisors know: each is answered,
// or is the fault that the architecture says.
#include "guest.h"

void secondary_main(u64 context) {
    (void)context;
}

static u64 tried, wrong, first, what;

static void begin(void) {
    tried = wrong = 0;
}

static void note(bool right, u64 at, u64 detail) {
    tried++;
    if (right || wrong++ != 0)
        return;
    first = at;
    what = detail;
}

static void end(const char *name) {
    CHECK(name, wrong == 0, "%u of %u, first %x: %x", wrong, tried, first, what);
}

// ── MSRs ────────────────────────────────────────────────────────────────────────────────────────────────────────────
static const struct {
    u32 from, count;
} msr_ranges[] = {{0, 0x2000},         {0x40000000, 0x200},  {0x4b564d00, 0x10},
                  {0xc0000000, 0x400}, {0xc0010000, 0x1100}, {0xfffffff0, 0x10}};

// What this program stands on.
static bool is_mine(u32 msr) {
    return msr == MSR_EFER || msr == MSR_GS_BASE || msr == MSR_APIC_BASE || msr == MSR_TSC || msr == 0x3b;
}

static void every_msr(void) {
    u64 value;
    begin();
    for (u32 r = 0; r < ARRAY_SIZE(msr_ranges); r++)
        for (u32 i = 0; i < msr_ranges[r].count; i++) {
            u32 msr = msr_ranges[r].from + i;
            bool ok = rdmsr_safe(msr, &value);
            note(ok || trap.vector == X86_GP, msr, trap.vector);
            if (!ok || is_mine(msr))
                continue;
            ok = wrmsr_safe(msr, value);
            note(ok || trap.vector == X86_GP, msr, trap.vector);
        }
    end("every_MSR_can_be_read_or_is_a_general_protection_fault");
    begin();
    for (u32 r = 0; r < ARRAY_SIZE(msr_ranges); r++)
        for (u32 i = 0; i < msr_ranges[r].count; i++) {
            u32 msr = msr_ranges[r].from + i;
            if (is_mine(msr) || !rdmsr_safe(msr, &value))
                continue;
            static const u64 garbage[] = {~0ull, 0x8000000000000000, 0x5555555555555555, 0};
            for (u32 g = 0; g < ARRAY_SIZE(garbage); g++) {
                bool ok = wrmsr_safe(msr, garbage[g]);
                note(ok || trap.vector == X86_GP, msr, trap.vector);
            }
            (void)wrmsr_safe(msr, value);
        }
    end("garbage_in_MSRs_is_taken_or_a_general_protection_fault");
    static const u32 hidden[] = {0xc0010114, 0xc0010115, 0xc0010117, 0xc0010118, 0x480,
                                 0x48b,      0x491,      0x9e,       0xe7,       0x198};
    begin();
    for (u32 i = 0; i < ARRAY_SIZE(hidden); i++)
        note(!rdmsr_safe(hidden[i], &value) && !wrmsr_safe(hidden[i], 0), hidden[i], value);
    end("the_machines_own_MSRs_are_not_there");
}

static void msrs_of_this_cpu(void) {
    static const u32 kept[] = {MSR_STAR, MSR_LSTAR, 0xc0000083, 0x174, 0x175, 0x176, 0xc0000100, 0xc0000102};
    begin();
    for (u32 i = 0; i < ARRAY_SIZE(kept); i++)
        (void)wrmsr_safe(kept[i], 0x1111 * (i + 1));
    for (u32 i = 0; i < ARRAY_SIZE(kept); i++) {
        u64 value;
        bool ok = rdmsr_safe(kept[i], &value);
        note(ok && value == 0x1111 * (i + 1ull), kept[i], value);
    }
    end("MSRs_of_system_calls_and_segments_keep_their_values");
    u64 efer = rdmsr(MSR_EFER);
    begin();
    note(!wrmsr_safe(MSR_EFER, efer | 1 << 12), 12, 0);  // SVME
    note(!wrmsr_safe(MSR_EFER, efer & ~0x100ull), 8, 0); // LME while paging
    note(!wrmsr_safe(MSR_EFER, efer | 1ull << 40), 40, 0);
    note(rdmsr(MSR_EFER) == efer, MSR_EFER, rdmsr(MSR_EFER));
    end("EFER_refuses_what_a_guest_must_not_have");
}

static void apic_base(void) {
    u64 base = rdmsr(MSR_APIC_BASE);
    begin();
    for (u64 at = 0x1000; at < 1ull << 52; at = at << 1 | 0x1000)
        note(!wrmsr_safe(MSR_APIC_BASE, (base & 0xfff) | at) || rdmsr(MSR_APIC_BASE) == base, at, rdmsr(MSR_APIC_BASE));
    note(!wrmsr_safe(MSR_APIC_BASE, base | 1), 1, 0);
    note(!wrmsr_safe(MSR_APIC_BASE, (base & ~(1ull << 11)) | 1 << 10), 10, 0);
    note(rdmsr(MSR_APIC_BASE) == base, MSR_APIC_BASE, rdmsr(MSR_APIC_BASE));
    note(apic_read(APIC_SVR) == (0x100 | VECTOR_SPURIOUS), APIC_SVR, apic_read(APIC_SVR));
    end("the_APIC_stays_where_it_is");
}

// ── CPUID ───────────────────────────────────────────────────────────────────────────────────────────────────────────
static void every_leaf(void) {
    u64 sum = 0;
    trap.count = 0;
    for (u32 base = 0; base < 16; base++)
        for (u32 leaf = 0; leaf < 0x120; leaf++)
            for (u32 sub = 0; sub < (leaf < 0x20 ? 8u : 1u); sub++)
                sum += cpuid(base << 28 | leaf, sub).a;
    for (u32 sub = 0; sub < 64; sub++)
        sum += cpuid(0xd, ~sub).b;
    sum += cpuid(~0u, ~0u).a;
    CHECK("every_CPUID_leaf_is_answered", trap.count == 0 && sum != 0, "%u traps", trap.count);
    CHECK("CPUID_has_no_VMX", !(cpuid(1, 0).c & 1 << 5), "%x", (u64)cpuid(1, 0).c);
    CHECK("CPUID_has_no_SVM", !(cpuid(0x80000001, 0).c & 1 << 2), "%x", (u64)cpuid(0x80000001, 0).c);
    CHECK("CPUID_says_that_there_is_a_hypervisor", cpuid(1, 0).c >> 31, "%x", (u64)cpuid(1, 0).c);
    CHECK("CPUID_tells_the_TSCs_frequency", tsc_hz() > 1000000, "%u", tsc_hz());
    CHECK("CPUID_tells_this_CPUs_number", cpuid(1, 0).b >> 24 == cpu_index(), "%x", (u64)cpuid(1, 0).b);
}

// ── Control registers ───────────────────────────────────────────────────────────────────────────────────────────────
#define READ(reg)                                                                                                      \
    ({                                                                                                                 \
        u64 v_;                                                                                                        \
        __asm__ volatile("mov %%" #reg ", %0" : "=r"(v_)::"memory");                                                   \
        v_;                                                                                                            \
    })
#define WRITE(reg, value)                                                                                              \
    ({                                                                                                                 \
        trap.count = 0;                                                                                                \
        MAY_TRAP("mov %0, %%" #reg, ::"r"((u64)(value)) : "r11", "memory");                                            \
        trap.count == 0;                                                                                               \
    })

// A write of CR0 from a segment of 32 bits, where the register's upper half does not count.
static void cr0_write_by_32_bits(u64 value) {
    static struct [[gnu::packed]] {
        u32 at;
        u16 selector;
    } to = {.selector = 0x18}; // CODE32 of start.S; 8 is CODE64
    __asm__ volatile("lea 1f(%%rip), %%rax\n\tmov %%eax, %0\n\tljmpl *%0\n\t.code32\n"
                     "1:\tmov %%ebx, %%cr0\n\tljmpl $8, $2f\n\t.code64\n2:"
                     : "+m"(to)
                     : "b"(value)
                     : "rax", "memory");
}

// Much of what is wrong in CR0 and CR3 the processor itself refuses, without an exit; QEMU's, an AMD, does not, so that
// is not asked of it.
static void cr0(void) {
    const u64 cr0 = READ(cr0), pg = 1ull << 31, cd = 1 << 30, nw = 1 << 29, ne = 1 << 5;
    begin();
    if (cpuid(0, 0).b == 0x756e6547) { // Intel's
        note(!WRITE(cr0, cr0 | 1ull << 32), 32, 0);
        note(!WRITE(cr0, (cr0 | nw) & ~cd), 29, 0);
        note(!WRITE(cr0, (cr0 & ~pg) ^ ne), 31, 0); // paging off in 64-bit mode
    }
    note(READ(cr0) == cr0, 0, READ(cr0));
    end("CR0_refuses_what_cannot_be");
    cr0_write_by_32_bits(0x5a5a5a5a00000000 | (cr0 ^ ne));
    const u64 other = READ(cr0);
    cr0_write_by_32_bits(0xffffffff00000000 | cr0);
    CHECK("CR0_is_written_with_32_bits_outside_64_bit_mode", other == (cr0 ^ ne) && READ(cr0) == cr0, "%x", other);
}

static void control_registers(void) {
    u64 cr4 = READ(cr4);
    cr0();
    begin();
    note(!WRITE(cr4, cr4 & ~(1ull << 5)), 5, 0); // PAE in long mode
    note(!WRITE(cr4, cr4 | 1ull << 13), 13, 0);  // VMXE
    note(!WRITE(cr4, cr4 | 1ull << 40), 40, 0);
    note(READ(cr4) == cr4, 4, READ(cr4));
    end("CR4_refuses_what_a_guest_must_not_have");
    begin();
    for (u64 level = 0; level < 16; level++) {
        note(WRITE(cr8, level), level, 0);
        note(READ(cr8) == level && apic_read(APIC_TPR) == level << 4, level, apic_read(APIC_TPR));
        apic_write(APIC_TPR, (u32)(15 - level) << 4);
        note(READ(cr8) == 15 - level, level, READ(cr8));
    }
    apic_write(APIC_TPR, 0);
    end("CR8_is_the_APICs_task_priority");
}

// ── Instructions ────────────────────────────────────────────────────────────────────────────────────────────────────
#define FAULTS(vector_, code)                                                                                          \
    do {                                                                                                               \
        trap.count = 0;                                                                                                \
        MAY_TRAP(code, ::"a"(0ull), "c"(0ull), "d"(0ull) : "r11", "rbx", "memory");                                    \
        note(trap.count == 1 && trap.vector == (vector_), trap.vector, (u64)__LINE__);                                 \
    } while (0)

static void instructions(void) {
    begin();
    FAULTS(X86_UD, ".byte 0x0f, 0x01, 0xd8"); // VMRUN
    FAULTS(X86_UD, ".byte 0x0f, 0x01, 0xda"); // VMLOAD
    FAULTS(X86_UD, ".byte 0x0f, 0x01, 0xdb"); // VMSAVE
    FAULTS(X86_UD, ".byte 0x0f, 0x01, 0xdc"); // STGI
    FAULTS(X86_UD, ".byte 0x0f, 0x01, 0xdd"); // CLGI
    FAULTS(X86_UD, ".byte 0x0f, 0x01, 0xde"); // SKINIT
    FAULTS(X86_UD, ".byte 0x0f, 0x01, 0xdf"); // INVLPGA
    FAULTS(X86_UD, ".byte 0x0f, 0x01, 0xc2"); // VMLAUNCH
    FAULTS(X86_UD, ".byte 0x0f, 0x01, 0xc4"); // VMXOFF
    FAULTS(X86_UD, ".byte 0x0f, 0xaa");       // RSM
    FAULTS(X86_UD, "ud2");
    end("instructions_of_hypervisors_are_undefined");
    trap.count = 0;
    MAY_TRAP("invd; wbinvd; clts", :: : "r11", "memory");
    CHECK("caches_can_be_flushed_and_invalidated", trap.count == 0, "%u traps", trap.count);
    begin();
    for (u32 index = 0; index < 4; index++) {
        trap.count = 0;
        MAY_TRAP("rdpmc", ::"c"(index) : "r11", "rax", "rdx", "memory");
        note(trap.count <= 1 && (!trap.count || trap.vector == X86_GP), index, trap.vector);
        trap.count = 0;
        MAY_TRAP("xsetbv", ::"a"(~0u), "d"(~0u), "c"(index) : "r11", "memory");
        note(trap.count == 1 && (trap.vector == X86_GP || trap.vector == X86_UD), index, trap.vector);
        trap.count = 0;
        MAY_TRAP("xsetbv", ::"a"(0), "d"(0), "c"(index) : "r11", "memory"); // without the x87 state
        note(trap.count == 1 && (trap.vector == X86_GP || trap.vector == X86_UD), index, trap.vector);
    }
    end("XSETBV_and_RDPMC_refuse_what_is_not_there");
    trap.count = 0;
    MAY_TRAP("monitor", ::"a"(&tried), "c"(0), "d"(0) : "r11", "memory");
    CHECK("MONITOR_is_answered", trap.count <= 1 && (!trap.count || trap.vector == X86_UD), "%u", trap.vector);
}

// ── Ports ───────────────────────────────────────────────────────────────────────────────────────────────────────────
static bool ends_us(u32 port) {
    return (port >= 0x60 && port < 0x68) || (port >= 0x90 && port < 0x98) || (port >= 0x600 && port < 0x604) ||
           (port >= 0xcf5 && port < 0xd00) || (port >= COM1 - 3 && port < COM1 + 8);
}

static void every_port(void) {
    u64 answered = 0;
    trap.count = 0;
    for (u32 port = 0; port < 0x10000; port++)
        if (port < COM1 || port >= COM1 + 8)
            answered += in8((u16)port) != 0xff;
    CHECK("every_port_can_be_read", trap.count == 0 && answered < 64, "%u answered", answered);
    for (u32 port = 0; port < 0x10000; port += 5) {
        if (ends_us(port))
            continue;
        out8((u16)port, (u8)port);
        (void)in16((u16)port);
        (void)in32((u16)port);
        out16((u16)port, 0xffff);
        out32((u16)port, ~port);
    }
    for (u32 port = 0; port < 0x800; port++)
        if (!ends_us(port)) {
            out32((u16)port, port * 0x01010101);
            (void)in32((u16)port);
        }
    CHECK("every_port_can_be_written", trap.count == 0, "%u traps", trap.count);
    static u8 buffer[256];
    trap.count = 0;
    MAY_TRAP("rep insb", ::"D"(buffer), "c"(256ull), "d"(0x1234ull) : "r11", "memory");
    CHECK("a_string_of_an_empty_port_is_ones", trap.count == 0 && buffer[0] == 0xff && buffer[255] == 0xff,
          "%u traps, %x", trap.count, (u64)buffer[255]);
    trap.count = 0;
    MAY_TRAP("rep outsb", ::"S"(buffer), "c"(256ull), "d"(0x1234ull) : "r11", "memory");
    CHECK("a_string_goes_to_an_empty_port", trap.count == 0, "%u traps", trap.count);
    trap.count = 0;
    MAY_TRAP("rep insb", ::"D"(0xd0000000ull), "c"(16ull), "d"(0x1234ull) : "r11", "memory");
    CHECK("a_string_of_a_port_goes_to_where_nothing_is", trap.count <= 1, "%u traps", trap.count);
}

void guest_main(u64 zero_page) {
    (void)zero_page;
    every_leaf();
    msrs_of_this_cpu();
    apic_base();
    every_msr();
    control_registers();
    instructions();
    every_port();
}
