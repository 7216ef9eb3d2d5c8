// SPDX-License-Identifier: Apache-2.0
// Exceptions and interrupts without end, one in the other: faults while a timer fires, exits in every handler, on each
// CPU, beside IPIs from all to all.
#include "guest.h"

enum { SECONDS_MS = 1500, VECTOR_STORM = 0x90 };
static u64 cpus;
static volatile u64 up, done, sent[CPUS_MAX], taken[CPUS_MAX], go;

static void on_irq(u32 vector) {
    (void)cpuid(0, 0); // an exit in the middle of the delivery
    if (vector == VECTOR_STORM)
        __atomic_fetch_add(&taken[cpu_index()], 1, __ATOMIC_RELAXED);
}

// All to all, until the time is over.
static void throw_interrupts(u64 self) {
    u64 end = now() + ticks_of_ms(SECONDS_MS);
    irqs_on();
    while (now() < end) {
        u64 to = (self + 1 + sent[self] % cpus) % cpus;
        sent[self]++;
        apic_icr((u32)to, VECTOR_STORM);
        (void)apic_read(APIC_TPR);
    }
    irqs_off();
}

void secondary_main(u64 context) {
    (void)context;
    __atomic_fetch_add(&up, 1, __ATOMIC_RELAXED);
    while (!go)
        ;
    throw_interrupts(cpu_index());
    __atomic_fetch_add(&done, 1, __ATOMIC_RELAXED);
    for (;;)
        __asm__ volatile("sti; hlt");
}

static void faults_under_a_timer(void) {
    u64 wrong = 0, faults = 0, end = now() + ticks_of_ms(SECONDS_MS), ticks = irq_count[VECTOR_TIMER];
    apic_write(APIC_DIVIDE, DIVIDE_BY_1);
    apic_write(APIC_LVT_TIMER, LVT_PERIODIC | VECTOR_TIMER);
    apic_write(APIC_INITIAL, 300000);
    irqs_on();
    while (now() < end) {
        u64 value;
        wrong += rdmsr_safe(0xdead0000, &value) || trap.vector != X86_GP || trap.error != 0;
        trap.count = 0;
        MAY_TRAP("movq (%0), %%rax", ::"r"(1ull << 45) : "r11", "rax", "memory");
        wrong += trap.count != 1 || trap.vector != X86_PF || trap.cr2 != 1ull << 45;
        trap.count = 0;
        MAY_TRAP("ud2", :: : "r11", "memory");
        wrong += trap.count != 1 || trap.vector != X86_UD;
        trap.count = 0;
        MAY_TRAP("divl %%ecx", ::"a"(1), "d"(0), "c"(0) : "r11", "memory");
        wrong += trap.count != 1 || trap.vector != X86_DE;
        trap.count = 0;
        MAY_TRAP("mov %0, %%ds", ::"r"(0xfff8) : "r11", "memory"); // beyond the GDT
        wrong += trap.count != 1 || trap.vector != X86_GP || trap.error != 0xfff8;
        faults += 5;
    }
    irqs_off();
    apic_write(APIC_INITIAL, 0);
    CHECK("every_fault_under_a_timer_is_its_own", wrong == 0, "%u of %u wrong, last %u", wrong, faults, trap.vector);
    CHECK("the_timer_goes_on_under_faults", irq_count[VECTOR_TIMER] > ticks + 20, "%u",
          irq_count[VECTOR_TIMER] - ticks);
}

void guest_main(u64 zero_page) {
    (void)zero_page;
    cpus = cpu_count();
    irq_hook = on_irq;
    faults_under_a_timer();
    for (u64 cpu = 1; cpu < cpus; cpu++) {
        (void)cpu_start(cpu, 0);
        if (!wait_for(&up, cpu, 5000))
            fail("every_CPU_starts", "CPU %u does not", cpu);
    }
    go = 1;
    throw_interrupts(0);
    CHECK("every_CPU_comes_to_the_end_of_a_storm", wait_for(&done, cpus - 1, 10000), "%u of %u", done, cpus - 1);
    u64 end = now() + ticks_of_ms(20);
    irqs_on();
    while (now() < end)
        ;
    irqs_off();
    u64 none = 0;
    for (u64 cpu = 0; cpu < cpus; cpu++)
        none += taken[cpu] == 0;
    CHECK("every_CPU_has_taken_interrupts", none == 0, "%u have not", none);
    say("faults: %u sent, %u taken by the first CPU\n", sent[0], taken[0]);
}
