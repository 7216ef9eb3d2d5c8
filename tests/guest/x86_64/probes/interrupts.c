// SPDX-License-Identifier: Apache-2.0
// Interrupts from the timer's three modes, from other CPUs and from devices, by the page and by the MSRs: none is lost,
// none comes twice, and the APIC's priorities hold.
#include "guest.h"

enum { ROUNDS = 200, PINGS = 300, VECTOR_LEVEL = 0x5a, IOAPIC_LEVEL = 1 << 15 };
static u64 cpus;
static volatile u64 up;

// Each vector from VECTOR_IPI on is one CPU's: it answers the first CPU's IPI with one.
void secondary_main(u64 context) {
    u64 self = cpu_index();
    (void)context;
    __atomic_fetch_add(&up, 1, __ATOMIC_RELAXED);
    for (;;) {
        u64 seen = irq_count[VECTOR_IPI + self];
        __asm__ volatile("sti; hlt; cli" ::: "memory");
        for (; seen < irq_count[VECTOR_IPI + self]; seen++)
            apic_icr(0, VECTOR_IPI);
    }
}

static void with_interrupts(u64 rounds) {
    while (rounds--)
        __asm__ volatile("sti; nop; cli" ::: "memory");
}

// ── Priorities ──────────────────────────────────────────────────────────────────────────────────────────────────────
static u32 order[8], orders;

static void priorities(void) {
    irqs_off();
    irq_count[0x61] = irq_count[0x83] = irq_count[0xef] = 0;
    apic_icr(0, ICR_SELF | 0x61);
    apic_icr(0, ICR_SELF | 0x83);
    apic_icr(0, ICR_SELF | 0x61); // once requested, once taken
    CHECK("a_masked_CPU_takes_nothing", irq_count[0x61] + irq_count[0x83] == 0, "%u", irq_total);
    CHECK("requests_are_seen", apic_read(APIC_IRR + 0x30) == 1 << 1 && apic_read(APIC_IRR + 0x40) == 1 << 3, "%x %x",
          (u64)apic_read(APIC_IRR + 0x30), (u64)apic_read(APIC_IRR + 0x40));
    apic_write(APIC_TPR, 0x70);
    with_interrupts(2);
    order[orders++] = (u32)irq_count[0x61];
    CHECK("the_task_priority_holds_back_what_is_not_above", irq_count[0x83] == 1 && irq_count[0x61] == 0, "%u %u",
          irq_count[0x83], irq_count[0x61]);
    __asm__ volatile("mov %0, %%cr8" ::"r"(0ull));
    with_interrupts(2);
    CHECK("a_lower_CR8_lets_it_through", irq_count[0x61] == 1, "%u", irq_count[0x61]);
    apic_write(APIC_TPR, 0xf0);
    apic_icr(0, ICR_SELF | 0xef);
    with_interrupts(2);
    u64 held = irq_count[0xef];
    apic_write(APIC_TPR, 0);
    with_interrupts(2);
    CHECK("a_lower_TPR_lets_it_through", held == 0 && irq_count[0xef] == 1, "%u %u", held, irq_count[0xef]);
    u64 wrong = 0;
    for (u32 vector = 32; vector < 255; vector++) {
        if (vector > VECTOR_IPI && vector < VECTOR_IPI + CPUS_MAX) // the others look at these counts
            continue;
        irq_count[vector] = 0;
        apic_icr(0, ICR_SELF | vector);
        with_interrupts(1);
        wrong += irq_count[vector] != 1;
    }
    CHECK("every_vector_arrives_once", wrong == 0, "%u did not", wrong);
    nmi_count = 0;
    apic_icr(0, ICR_NMI | ICR_ASSERT);
    __asm__ volatile("nop; nop");
    CHECK("an_NMI_comes_with_interrupts_masked", wait_for(&nmi_count, 1, 100) && nmi_count == 1, "%u", nmi_count);
}

// ── Timers ──────────────────────────────────────────────────────────────────────────────────────────────────────────
static void timers(void) {
    u64 lost = 0, early = 0, hz = tsc_hz();
    apic_write(APIC_DIVIDE, DIVIDE_BY_1);
    apic_write(APIC_LVT_TIMER, VECTOR_TIMER);
    irqs_on();
    for (u64 i = 0; i < ROUNDS; i++) {
        u64 before = irq_count[VECTOR_TIMER], start = rdtsc();
        apic_write(APIC_INITIAL, 20000 + (u32)i * 100); // ns
        lost += !wait_for(&irq_count[VECTOR_TIMER], before + 1, 1000);
        early += rdtsc() - start < (20000 + i * 100) * (hz / 1000000) / 1000;
        lost += irq_count[VECTOR_TIMER] != before + 1;
    }
    CHECK("a_one_shot_timer_fires_each_time_and_not_early", lost == 0 && early == 0, "%u lost, %u early", lost, early);
    u64 begin = irq_count[VECTOR_TIMER], start = rdtsc();
    apic_write(APIC_LVT_TIMER, LVT_PERIODIC | VECTOR_TIMER);
    apic_write(APIC_INITIAL, 5000000);
    while (rdtsc() - start < hz / 10)
        ;
    apic_write(APIC_INITIAL, 0);
    u64 fired = irq_count[VECTOR_TIMER] - begin;
    CHECK("a_periodic_timer_goes_on_and_is_never_fast", fired >= 2 && fired <= 20, "%u in 100 ms of 5 ms", fired);
    apic_write(APIC_LVT_TIMER, LVT_DEADLINE | VECTOR_TIMER);
    lost = early = 0;
    for (u64 i = 0; i < ROUNDS; i++) {
        u64 before = irq_count[VECTOR_TIMER], at = rdtsc() + i * (hz / 100000);
        wrmsr(MSR_TSC_DEADLINE, at);
        lost += !wait_for(&irq_count[VECTOR_TIMER], before + 1, 1000);
        early += rdtsc() < at;
        lost += rdmsr(MSR_TSC_DEADLINE) != 0;
    }
    CHECK("a_TSC_deadline_fires_each_time_and_not_early", lost == 0 && early == 0, "%u lost, %u early", lost, early);
    lost = 0;
    irqs_off();
    for (u64 i = 0; i < ROUNDS; i++) { // asleep
        u64 before = irq_count[VECTOR_TIMER];
        wrmsr(MSR_TSC_DEADLINE, rdtsc() + i % 50 * (hz / 100000));
        __asm__ volatile("sti; hlt; cli" ::: "memory");
        lost += irq_count[VECTOR_TIMER] != before + 1;
    }
    CHECK("a_deadline_ends_a_halt", lost == 0, "%u did not", lost);
    u64 before = irq_count[VECTOR_TIMER];
    wrmsr(MSR_TSC_DEADLINE, ~0ull);
    wrmsr(MSR_TSC_DEADLINE, rdtsc() + hz);
    wrmsr(MSR_TSC_DEADLINE, 0);
    apic_write(APIC_LVT_TIMER, LVT_MASKED | VECTOR_TIMER);
    with_interrupts(10);
    CHECK("a_deadline_can_be_taken_back", irq_count[VECTOR_TIMER] == before, "%u came",
          irq_count[VECTOR_TIMER] - before);
}

// ── Other CPUs ──────────────────────────────────────────────────────────────────────────────────────────────────────
static void ping(const char *name) {
    u64 lost = 0;
    irqs_on();
    for (u64 i = 0; i < PINGS && !lost; i++)
        for (u64 cpu = 1; cpu < cpus; cpu++) {
            u64 before = irq_count[VECTOR_IPI];
            apic_icr((u32)cpu, VECTOR_IPI + (u32)cpu);
            lost += !wait_for(&irq_count[VECTOR_IPI], before + 1, 5000);
        }
    irqs_off();
    CHECK(name, lost == 0, "%u lost", lost);
}

static void others(void) {
    while (up < cpus - 1) {
        u64 next = up + 1;
        (void)cpu_start(next, 0);
        if (!wait_for(&up, next, 5000)) {
            fail("every_CPU_starts", "CPU %u does not", next);
            return;
        }
    }
    pass("every_CPU_starts");
    ping("every_IPI_is_answered");
    u64 before = irq_count[0x70];
    apic_icr(0, ICR_OTHERS | 0x70);
    CHECK("an_IPI_to_the_others_reaches_them", wait_for(&irq_count[0x70], before + cpus - 1, 1000), "%u of %u",
          irq_count[0x70] - before, cpus - 1);
    irqs_on();
    before = irq_count[0x71];
    apic_icr(0, ICR_ALL | 0x71);
    CHECK("an_IPI_to_all_reaches_all", wait_for(&irq_count[0x71], before + cpus, 1000), "%u of %u",
          irq_count[0x71] - before, cpus);
    irqs_off();
    u64 nmis = nmi_count;
    apic_icr(0, ICR_OTHERS | ICR_NMI | ICR_ASSERT);
    CHECK("NMIs_reach_halted_CPUs", wait_for(&nmi_count, nmis + 1, 1000) || cpus == 1, "%u", nmi_count - nmis);
}

// A level that nobody takes back comes again at once, and leaves no time for anything else.
static void after_five(u32 vector) {
    if (vector == VECTOR_LEVEL && irq_count[vector] == 5)
        ioapic_write(0x10 + 2 * PIN_COM1, LVT_MASKED);
}

// ── Devices ─────────────────────────────────────────────────────────────────────────────────────────────────────────
static void devices(void) {
    irqs_on();
    ioapic_route(PIN_PIT, 0x58, (u32)(cpus - 1));
    u64 before = irq_count[0x58];
    out8(PORT_PIT + 3, 0x30); // counter 0, once
    out8(PORT_PIT, 0xff);
    out8(PORT_PIT, 0x08);
    CHECK("the_interval_timer_interrupts_the_CPU_that_it_is_routed_to",
          wait_for(&irq_count[0x58], before + 1, 1000) && irq_cpu[0x58] == cpus - 1, "%u, on %u",
          irq_count[0x58] - before, (u64)irq_cpu[0x58]);
    ioapic_route(PIN_CMOS, 0x59, 0);
    out8(PORT_CMOS, 0x0a);
    out8(PORT_CMOS + 1, 0x26); // 1024 Hz
    out8(PORT_CMOS, 0x0c);
    (void)in8(PORT_CMOS + 1);
    out8(PORT_CMOS, 0x0b);
    out8(PORT_CMOS + 1, 0x42);
    u64 lost = 0;
    for (u64 i = 0; i < 10; i++) {
        before = irq_count[0x59];
        out8(PORT_CMOS, 0x0c);
        (void)in8(PORT_CMOS + 1);
        lost += !wait_for(&irq_count[0x59], before + 1, 1000);
    }
    out8(PORT_CMOS, 0x0b);
    out8(PORT_CMOS + 1, 0x02);
    CHECK("the_clock_interrupts_periodically", lost == 0, "%u lost", lost);
    irq_count[VECTOR_LEVEL] = 0;
    irq_hook = after_five;
    ioapic_route(PIN_COM1, VECTOR_LEVEL | IOAPIC_LEVEL, 0);
    out8(COM1 + UART_IER, 2); // the transmitter is empty, until IIR is read
    u64 came = wait_for(&irq_count[VECTOR_LEVEL], 5, 1000);
    (void)in8(COM1 + UART_IIR);
    ioapic_write(0x10 + 2 * PIN_COM1, VECTOR_LEVEL | IOAPIC_LEVEL);
    with_interrupts(5);
    ioapic_write(0x10 + 2 * PIN_COM1, LVT_MASKED);
    out8(COM1 + UART_IER, 0);
    irq_hook = nullptr;
    CHECK("a_level_comes_again_until_it_is_low", came && irq_count[VECTOR_LEVEL] == 5, "%u times",
          irq_count[VECTOR_LEVEL]);
    irqs_off();
}

void guest_main(u64 zero_page) {
    (void)zero_page;
    cpus = cpu_count();
    priorities();
    timers();
    others();
    devices();
    wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | 1 << 10);
    say("interrupts: as an x2APIC\n");
    priorities();
    timers();
    ping("every_IPI_from_an_x2APIC_is_answered");
}
