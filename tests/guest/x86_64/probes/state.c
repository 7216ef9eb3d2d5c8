// SPDX-License-Identifier: Apache-2.0
// State that could stay behind: what a CPU finds after it was off, what one vCPU leaves to the next on the same CPU,
// and what an instruction that the hypervisor serves leaves of the one before.
#include "guest.h"

enum { XCR0_X87 = 1, XCR0_SSE = 2, XCR0_AVX = 4, TURNS = 200 };
static u64 cpus;
static volatile u64 up, secondary_right, secondary_irqs, secondary_deadline, secondary_wrong;

// ── Lives ───────────────────────────────────────────────────────────────────────────────────────────────────────────
// Interrupts requested and in service, timers, priorities, breakpoints and everything else that can be set.
static void make_a_mess(void) {
    irqs_off();
    state_begin();
    irqs_init();
    (void)state_write(0xbad);
    SET_CR(dr7, 0x400 | 0xaa);
    apic_write(APIC_TPR, 0);
    apic_icr((u32)cpu_index(), 0x71);
    apic_icr((u32)cpu_index(), 0xe1);
    apic_write(APIC_LVT_ERROR, 0x55);
    apic_write(APIC_LVT_LINT0, 0x56);
    wrmsr(MSR_TSC_DEADLINE, now() + ticks_of_ms(1));
    apic_write(APIC_TPR, 0x60);
}

static void look_for_it(void) {
    secondary_right = cpu_began_right() && CR(dr7) == DR7_RESET && CR(dr6) == DR6_RESET && CR(cr2) == 0;
    secondary_deadline = rdmsr(MSR_TSC_DEADLINE);
    u64 before = irq_total + nmi_count, end = now() + ticks_of_ms(3);
    irqs_on();
    while (now() < end)
        ;
    irqs_off();
    secondary_irqs = irq_total + nmi_count - before;
}

static u64 xcr0(void) {
    u32 low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (u64)high << 32 | low;
}

static void set_xcr0(u64 value) {
    __asm__ volatile("xsetbv" ::"a"((u32)value), "d"((u32)(value >> 32)), "c"(0) : "memory");
}

// This CPU has but the x87 and SSE, the other one has everything, and AVX registers of its own.
static u64 take_turns(u64 mine, bool avx) {
    u64 bad = 0;
    SET_CR(cr4, CR(cr4) | 1 << 18 | 1 << 10 | 1 << 9);
    set_xcr0(mine);
    for (u32 i = 0; i < TURNS; i++) {
        cpu_yield();
        bad += xcr0() != mine || !(CR(cr4) >> 18 & 1);
        trap.count = 0;
        MAY_TRAP("vzeroupper", :: : "r11", "memory");
        bad += trap.count != (avx ? 0 : 1);
    }
    trap.count = 0;
    return bad;
}

void secondary_main(u64 context) {
    switch (context) {
    case 1:
        make_a_mess();
        break;
    case 2:
        look_for_it();
        break;
    case 3: // it stops itself
        up = context;
        apic_icr((u32)cpu_index(), ICR_INIT | ICR_ASSERT);
        secondary_wrong = 1;
        break;
    case 4:
        look_for_it();
        break;
    default:
        SET_CR(cr4, CR(cr4) | 1 << 18); // OSXSAVE
        up = context;
        while (up == context) {
            cpu_yield();
            secondary_wrong += xcr0() != XCR0_X87;
        }
        break;
    }
    up = context;
}

static bool off(u64 cpu) {
    u64 end = now() + ticks_of_ms(5000);
    while (cpu_status(cpu) != 1)
        if (now() > end)
            return false;
    return true;
}

static void lives(void) {
    up = 0;
    CHECK("a_CPU_leaves_a_mess_behind", cpu_start(1, 1) == 0 && wait_for(&up, 1, 5000) && off(1), "%u", up);
    bool ran = cpu_start(1, 2) == 0 && wait_for(&up, 2, 5000) && off(1);
    CHECK("a_CPU_that_comes_on_again_finds_nothing_of_it",
          ran && secondary_right && secondary_irqs == 0 && secondary_deadline == 0,
          "ran %u, right %u, %u interrupts, deadline %x", (u64)ran, secondary_right, secondary_irqs,
          secondary_deadline);
    up = 0;
    ran = cpu_start(1, 3) == 0 && wait_for(&up, 3, 5000);
    u64 end = now() + ticks_of_ms(5);
    while (now() < end)
        cpu_yield();
    CHECK("an_INIT_of_its_own_stops_a_CPU", ran && !secondary_wrong, "ran %u, went on %u", (u64)ran, secondary_wrong);
    cpu_restart(1, 4);
    ran = wait_for(&up, 4, 5000) && off(1);
    CHECK("and_another_CPU_starts_it_anew", ran && secondary_right && secondary_irqs == 0,
          "ran %u, right %u, %u interrupts", (u64)ran, secondary_right, secondary_irqs);
    u64 lost = 0;
    for (u32 i = 0; i < 20; i++) { // as close together as can be
        up = 0;
        secondary_wrong = 0;
        cpu_restart(1, 3);
        while (up != 3)
            cpu_yield();
        cpu_restart(1, 4);
        lost += !wait_for(&up, 4, 2000) || !off(1);
    }
    CHECK("an_INIT_of_its_own_takes_back_no_start_by_another", lost == 0, "%u of 20", lost);
}

static void extended_state(void) {
    u64 all = cpuid(0xd, 0).a;
    up = 0;
    if (cpus > 1) {
        (void)cpu_start(1, 5);
        (void)wait_for(&up, 5, 5000);
    }
    state_begin();
    if (all & XCR0_AVX) {
        u64 bad = take_turns(all, true);
        CHECK("XCR0_is_each_CPUs_own", bad == 0, "%u times", bad);
    }
    u64 bad = take_turns(XCR0_X87 | XCR0_SSE, false);
    CHECK("what_XCR0_has_switched_off_is_off", bad == 0, "%u times", bad);
    up = 0;
    CHECK("nor_did_the_other_one_get_it", cpus == 1 || (off(1) && !secondary_wrong), "%u times", secondary_wrong);
}

// ── Instructions ────────────────────────────────────────────────────────────────────────────────────────────────────
// An interrupt waits; STI keeps it away for one instruction, `code`, whoever serves that.
#define SHADOW(name, code, a, c, d)                                                                                    \
    do {                                                                                                               \
        u64 behind_, a_ = (u64)(a), c_ = (u64)(c), d_ = (u64)(d), before_ = irq_total;                                 \
        apic_icr((u32)cpu_index(), VECTOR_IPI);                                                                        \
        __asm__ volatile("sti; " code "\n7:\tnop; cli; leaq 7b(%%rip), %0"                                             \
                         : "=r"(behind_), "+a"(a_), "+c"(c_), "+d"(d_)::"rbx", "r8", "cc", "memory");                  \
        CHECK("STIs_shadow_covers_" name, irq_total == before_ + 1 && irq_rip == behind_,                              \
              "%u came, the last at %x, not %x", irq_total - before_, irq_rip, behind_);                               \
    } while (0)

static void shadows(void) {
    irqs_off();
    SHADOW("an_ordinary_instruction", "nop", 0, 0, 0);
    SHADOW("CPUID", "cpuid", 0, 0, 0);
    SHADOW("RDMSR", "rdmsr", 0, MSR_APIC_BASE, 0);
    SHADOW("IN", "inb %%dx, %%al", 0, 0, PORT_CMOS + 1);
    SHADOW("OUT", "outb %%al, %%dx", 0, 0, PORT_CMOS);
    SHADOW("a_load_from_a_device", "movl (%%rdx), %%eax", 0, 0, IOAPIC);
    SHADOW("a_store_to_a_device", "movl %%eax, (%%rdx)", 0, 0, IOAPIC);
    SHADOW("an_exchange_with_a_device", "xchgl %%eax, (%%rdx)", 0, 0, IOAPIC);
    SHADOW("a_hypercall", "vmmcall", 0x86000003, 0, 0);
    SHADOW("HLT", "hlt", 0, 0, 0);
    SHADOW("WBINVD", "wbinvd", 0, 0, 0);
    u64 before = irq_total, behind;
    apic_icr((u32)cpu_index(), VECTOR_IPI);
    __asm__ volatile("sti; cli; cpuid" ::"a"(0), "c"(0) : "rbx", "rdx", "memory");
    CHECK("CLI_in_STIs_shadow_lets_nothing_in", irq_total == before, "%u came", irq_total - before);
    __asm__ volatile("pushfq; orq $0x200, (%%rsp); popfq\n7:\tcpuid; cli; leaq 7b(%%rip), %0"
                     : "=r"(behind)
                     : "a"(0), "c"(0)
                     : "rbx", "rdx", "memory", "cc");
    CHECK("POPF_has_no_shadow", irq_total == before + 1 && irq_rip == behind, "%u came, the last at %x, not %x",
          irq_total - before, irq_rip, behind);
    apic_icr((u32)cpu_index(), VECTOR_IPI);
    SET_CR(cr8, 15);
    irqs_on();
    before = irq_total;
    __asm__ volatile("mov %1, %%cr8\n7:\tnop; cli; leaq 7b(%%rip), %0" : "=r"(behind) : "r"(0ull) : "memory");
    CHECK("a_lower_CR8_lets_an_interrupt_in_right_behind_it", irq_total == before + 1 && irq_rip == behind,
          "%u came, the last at %x, not %x", irq_total - before, irq_rip, behind);
}

// What the hypervisor does for the guest touches nothing that is not the instruction's.
static void bystanders(void) {
    u64 flags, other;
    SET_CR(cr2, 0x123456789abcull);
    (void)apic_read(APIC_VERSION);
    write32(0xd0000000, read32(0xd0000000));
    (void)in8(PORT_CMOS + 1);
    (void)cpuid(0, 0);
    CHECK("CR2_is_what_it_was", CR(cr2) == 0x123456789abcull, "%x", CR(cr2));
    __asm__ volatile("movq %2, %%rax; pushq $0xcd7; popfq; movl (%%rax), %%edx; pushfq; cld; popq %0;"
                     "pushq $0xcd7; popfq; movl %%edx, (%%rax); inb $0x71, %%al; pushfq; cld; popq %1"
                     : "=&r"(flags), "=&r"(other)
                     : "i"(IOAPIC)
                     : "rax", "rdx", "cc", "memory");
    CHECK("the_flags_are_what_they_were", flags == 0xcd7 && other == 0xcd7, "%x, %x", flags, other);
    trap.count = 0;
    MAY_TRAP("movl (%0), %%eax; rdmsr", ::"d"(IOAPIC), "c"(0xdead0000u) : "r11", "rax", "memory");
    CHECK("a_fault_right_behind_a_device_is_its_own", trap.count == 1 && trap.vector == X86_GP && trap.error == 0,
          "%u traps, vector %u, error %x", trap.count, trap.vector, trap.error);
    trap.count = 0;
    MAY_TRAP("movl (%0), %%eax; movq (%1), %%rax", ::"d"(IOAPIC), "r"(1ull << 45) : "r11", "rax", "memory");
    CHECK("a_page_fault_right_behind_a_device_is_its_own",
          trap.count == 1 && trap.vector == X86_PF && trap.error == 0 && trap.cr2 == 1ull << 45,
          "%u traps, vector %u, error %x, address %x", trap.count, trap.vector, trap.error, trap.cr2);
    trap.count = 0;
}

void guest_main(u64 zero_page) {
    (void)zero_page;
    cpus = cpu_count();
    say("state: %u CPUs\n", cpus);
    if (cpus > 1)
        lives();
    extended_state();
    shadows();
    bystanders();
    no_traps();
}
