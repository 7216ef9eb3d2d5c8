// SPDX-License-Identifier: Apache-2.0
// Hypercalls of every number, and the ways to start, stop and reset CPUs, in every wrong order.
#include "guest.h"

static u64 cpus;
static volatile u64 lives[CPUS_MAX], spin;

void secondary_main(u64 context) {
    lives[cpu_index()] = context;
    while (spin)
        ;
    for (;;)
        __asm__ volatile("cli; hlt");
}

// ── Hypercalls ──────────────────────────────────────────────────────────────────────────────────────────────────────
static void hypercalls(void) {
    u64 answered = 0;
    trap.count = 0;
    for (u64 top = 0; top < 256; top++)
        for (u64 number = 0; number < 32; number++) {
            u64 rax = top << 24 | number;
            __asm__ volatile("vmmcall"
                             : "+a"(rax)
                             : "D"(~0ull), "S"(~0ull), "d"(~0ull), "b"(~0ull), "c"(~0ull)
                             : "memory");
            answered += (s64)rax >= 0;
        }
    CHECK("every_hypercall_is_answered", trap.count == 0 && answered <= 8, "%u answered, %u traps", answered,
          trap.count);
    u64 rax = ~0ull;
    trap.count = 0;
    MAY_TRAP("vmcall", : "+a"(rax)::"r11", "memory");
    CHECK("the_other_makers_call_is_answered", trap.count <= 1 && (!trap.count || trap.vector == X86_UD), "%u",
          trap.vector);
}

// An application's call is not a kernel's: in ring 3 it is undefined.
static void from_ring_3(void) {
    static u8 stack[4096];
    static struct [[gnu::packed]] {
        u32 reserved;
        u64 rsp[3];
        u64 ist[8];
        u8 rest[12];
    } tss;
    static u64 descriptors[8];
    extern u64 gdt[];
    struct [[gnu::packed]] {
        u16 limit;
        u64 base;
    } pointer = {sizeof(descriptors) - 1, (u64)descriptors}, old;
    u64 cr3, at = (u64)&tss;
    __asm__ volatile("mov %%cr3, %0; sgdt %1" : "=r"(cr3), "=m"(old));
    u64 *pml4 = (u64 *)cr3, *pdpt = (u64 *)(pml4[0] & ~0xfffull), *directory = (u64 *)(pdpt[0] & ~0xfffull);
    for (u32 i = 0; i < 6; i++)
        descriptors[i] = gdt[i];
    descriptors[6] = (sizeof(tss) - 1) | (at & 0xffffff) << 16 | 0x89ull << 40 | (at >> 24 & 0xff) << 56;
    descriptors[7] = at >> 32;
    pml4[0] |= 4;
    pdpt[0] |= 4;
    directory[1] |= 4; // the program, for applications
    directory[2] |= 4;
    __asm__ volatile("mov %0, %%cr3; lgdt %1; ltr %w2" ::"r"(cr3), "m"(pointer), "r"(0x30) : "memory");
    static const u8 codes[][4] = {{0x0f, 0x01, 0xd9, 0x90},
                                  {0xf4, 0x90, 0x90, 0x90},
                                  {0x0f, 0x32, 0x90, 0x90},
                                  {0xec, 0x90, 0x90, 0x90},
                                  {0xfa, 0x90, 0x90, 0x90}};
    static const u8 vectors[] = {X86_UD, X86_GP, X86_GP, X86_GP, X86_GP}; // VMMCALL, HLT, RDMSR, IN, CLI
    u64 wrong = 0;
    for (u32 i = 0; i < ARRAY_SIZE(codes); i++) {
        static volatile u8 code[16] __attribute__((aligned(16)));
        for (u32 n = 0; n < 4; n++)
            code[n] = codes[i][n];
        trap.count = 0;
        // The exception comes back to 9, in ring 0 and with the stack as it was.
        __asm__ volatile(
            "leaq 9f(%%rip), %%r11; movq %%r11, trap_resume(%%rip); movq %%rsp, %0; movq %%rsp, ring0_rsp(%%rip);"
            "pushq $0x2b; pushq %1; pushq $2; pushq $0x23; pushq %2; iretq;"
            "9: movq $0, trap_resume(%%rip)"
            : "=m"(tss.rsp[0])
            : "r"(stack + sizeof(stack)), "r"(code)
            : "r11", "rax", "rcx", "rdx", "memory");
        wrong += trap.count != 1 || trap.vector != vectors[i];
    }
    CHECK("privileged_instructions_fault_in_ring_3", wrong == 0, "%u did not, last %u", wrong, trap.vector);
    __asm__ volatile("lgdt %0" ::"m"(old));
}

// ── Power ───────────────────────────────────────────────────────────────────────────────────────────────────────────
static bool life(u64 cpu, u64 number) {
    return wait_for(&lives[cpu], number, 5000);
}

static void one_life_after_another(void) {
    u64 number = 1, lost = 0;
    for (; number <= 30; number++)
        for (u64 cpu = 1; cpu < cpus; cpu++) {
            spin = number & 1; // stopped in a loop, and in a halt for ever
            cpu_restart(cpu, number);
            lost += !life(cpu, number);
        }
    CHECK("a_CPU_starts_anew_by_INIT_and_SIPI_whatever_it_does", lost == 0, "%u did not", lost);
    if (cpus == 1)
        return;
    apic_icr(1, ICR_STARTUP | ICR_ASSERT | 0x8); // it runs: ignored
    cpu_restart(1, 100);
    apic_icr(1, ICR_STARTUP | ICR_ASSERT | 0x8); // twice, as software does
    CHECK("a_second_SIPI_is_ignored", life(1, 100), "%u", lives[1]);
    for (u32 i = 0; i < 200; i++) {
        apic_icr(1, ICR_INIT | ICR_ASSERT);
        apic_icr(1, (i & 1 ? ICR_STARTUP : ICR_INIT) | ICR_ASSERT | 0x8);
    }
    cpu_restart(1, 200);
    CHECK("a_storm_of_INITs_is_survived", life(1, 200), "%u", lives[1]);
    apic_icr(1, ICR_INIT | ICR_ASSERT);
    for (u32 vector = 0x60; vector < 0x100; vector += 7) { // it starts where nothing of ours is, and does what it finds
        apic_icr(1, ICR_STARTUP | ICR_ASSERT | vector);
        apic_icr(1, ICR_INIT | ICR_ASSERT);
    }
    cpu_restart(1, 300);
    CHECK("a_SIPI_to_nowhere_is_survived", life(1, 300), "%u", lives[1]);
}

static void to_nobody(void) {
    trap.count = 0;
    for (u32 dest = (u32)cpus; dest < 255; dest += 3)
        for (u32 mode = 0; mode < 8; mode++)
            apic_icr(dest, mode << 8 | ICR_ASSERT | 0x20);
    for (u32 mode = 0; mode < 8; mode++) // no mode is anything to the sender itself but fixed and NMI
        if (mode != 4)
            apic_icr(0, ICR_SELF | mode << 8 | 0x10);
    CHECK("IPIs_to_nobody_go_nowhere", trap.count == 0, "%u traps", trap.count);
    apic_write(APIC_ESR, 0);
    apic_write(APIC_ESR, 0);
}

void guest_main(u64 zero_page) {
    (void)zero_page;
    cpus = cpu_count();
    hypercalls();
    from_ring_3();
    to_nobody();
    one_life_after_another();
}
