// SPDX-License-Identifier: Apache-2.0
// Interrupts and timers, as a guest sees them: none is lost, none comes twice, each goes where it is sent.
#include "guest.h"

enum { SPI_FIRST = 40, SPI_LAST = 63, SGI_COUNT = 16 };

static volatile u64 secondary_up, secondary_stop;

void secondary_main(u64 context) {
    (void)context;
    gic_init();
    for (u32 i = 0; i < SGI_COUNT; i++)
        gic_enable(i);
    irqs_on();
    secondary_up = 1;
    while (!secondary_stop)
        __asm__ volatile("wfi" ::: "memory");
}

static void forget(void) {
    for (u32 i = 0; i < INTIDS; i++)
        irq_count[i] = 0;
    irq_total = 0;
    irq_level_seen = 0;
    trap.count = 0;
}

static void send_sgi(u64 intid, u64 targets) {
    write_sysreg(S3_0_C12_C11_5, intid << 24 | targets); // ICC_SGI1R_EL1
}

static void self_sgi(void) {
    forget();
    irqs_on();
    send_sgi(3, 1);
    CHECK("an_SGI_to_oneself_arrives", wait_for(&irq_count[3], 1, 2000), "%u interrupts", irq_total);
    forget();
    for (u32 i = 0; i < 1000; i++) {
        send_sgi(5, 1);
        if (!wait_for(&irq_count[5], i + 1, 2000))
            break;
    }
    CHECK("a_thousand_SGIs_arrive_one_by_one", irq_count[5] == 1000 && irq_total == 1000, "%u arrived", irq_count[5]);
}

static bool level(u32 intid) {
    return read32(GICR + GICR_SGI + 0x200) >> intid & 1;
}

#define TIMER_TESTS(which, ppi)                                                                                        \
    static void which(void) {                                                                                          \
        forget();                                                                                                      \
        irqs_on();                                                                                                     \
        write_sysreg(which##_tval_el0, ticks_of_ms(5));                                                                \
        write_sysreg(which##_ctl_el0, 1);                                                                              \
        CHECK(#which "_fires", wait_for(&irq_count[ppi], 1, 5000), "%u interrupts, ctl %x", irq_total,                 \
              read_sysreg(which##_ctl_el0));                                                                           \
        CHECK(#which "_is_pending_in_ISPENDR0_while_it_is_asserted", irq_level_seen >> ppi & 1, "%x",                  \
              (u64)irq_level_seen);                                                                                    \
        irqs_off();                                                                                                    \
        write_sysreg(which##_tval_el0, 0);                                                                             \
        write_sysreg(which##_ctl_el0, 1);                                                                              \
        u64 end = now() + ticks_of_ms(2000);                                                                           \
        while (!level(ppi) && now() < end)                                                                             \
            ;                                                                                                          \
        bool up = level(ppi);                                                                                          \
        write_sysreg(which##_ctl_el0, 0);                                                                              \
        end = now() + ticks_of_ms(2000);                                                                               \
        while (level(ppi) && now() < end)                                                                              \
            ;                                                                                                          \
        CHECK(#which "_masked_shows_its_level_and_takes_it_back", up && !level(ppi), "up %u, still %u", (u64)up,       \
              (u64)level(ppi));                                                                                        \
        irqs_on();                                                                                                     \
        CHECK(#which "_taken_back_does_not_fire", irq_count[ppi] == 1, "%u times", irq_count[ppi]);                    \
        gic_disable(ppi);                                                                                              \
        write_sysreg(which##_tval_el0, 0);                                                                             \
        write_sysreg(which##_ctl_el0, 1);                                                                              \
        (void)wait_for(&irq_count[ppi], 2, 20);                                                                        \
        CHECK(#which "_disabled_in_the_controller_stays_away", irq_count[ppi] == 1, "%u times", irq_count[ppi]);       \
        gic_enable(ppi);                                                                                               \
        CHECK(#which "_enabled_late_fires", wait_for(&irq_count[ppi], 2, 2000), "%u times", irq_count[ppi]);           \
        write_sysreg(which##_ctl_el0, 0);                                                                              \
    }

TIMER_TESTS(cntv, PPI_CNTV)
TIMER_TESTS(cntp, PPI_CNTP)

static void periods(void) {
    forget();
    irqs_on();
    for (u64 i = 0; i < 500; i++) {
        write_sysreg(cntv_tval_el0, ticks_of_ms(1) / 5);
        write_sysreg(cntv_ctl_el0, 1);
        if (!wait_for(&irq_count[PPI_CNTV], i + 1, 5000))
            break;
    }
    CHECK("none_of_500_timer_interrupts_is_lost", irq_count[PPI_CNTV] == 500, "%u came", irq_count[PPI_CNTV]);
    forget();
    for (u64 i = 0; i < 200; i++) {
        irqs_off();
        write_sysreg(cntv_tval_el0, ticks_of_ms(1) / 5);
        write_sysreg(cntv_ctl_el0, 1);
        __asm__ volatile("wfi" ::: "memory");
        irqs_on();
        if (!wait_for(&irq_count[PPI_CNTV], i + 1, 5000))
            break;
    }
    CHECK("none_of_200_timer_interrupts_in_WFI_is_lost", irq_count[PPI_CNTV] == 200, "%u came", irq_count[PPI_CNTV]);
}

static void waits(void) {
    forget();
    irqs_off();
    u64 begin = now();
    write_sysreg(cntv_tval_el0, ticks_of_ms(20));
    write_sysreg(cntv_ctl_el0, 1);
    while (!(read_sysreg(cntv_ctl_el0) & 4) && now() < begin + ticks_of_ms(10000))
        __asm__ volatile("wfi" ::: "memory");
    u64 passed = now() - begin;
    CHECK("WFI_wakes_from_an_interrupt_that_PSTATE_masks", (read_sysreg(cntv_ctl_el0) & 4) && irq_total == 0,
          "after %u ticks, %u interrupts", passed, irq_total);
    __asm__ volatile("wfi\n\twfi" ::: "memory"); // still pending: both return at once
    pass("WFI_with_a_pending_interrupt_returns");
    write_sysreg(cntv_ctl_el0, 0);
    irqs_on();
    __asm__ volatile("sevl\n\twfe\n\tsev\n\twfe" ::: "memory");
    pass("WFE_after_an_event_returns");
}

static void set_pending(u32 intid) {
    write32(GICD + 0x200 + 4 * (intid / 32), 1u << intid % 32);
}

static void set_priority(u32 intid, u8 priority) {
    __asm__ volatile("strb %w0, [%1]" ::"r"(priority), "r"(GICD + 0x400 + intid) : "memory");
}

static void route(u32 intid, u64 cpu) {
    __asm__ volatile("str %0, [%1]" ::"r"(cpu), "r"(GICD + 0x6000 + 8ull * intid) : "memory");
}

static void prepare_spis(void) {
    for (u32 i = SPI_FIRST; i <= SPI_LAST; i++) {
        set_priority(i, 0x80);
        route(i, 0);
        gic_enable(i);
    }
    for (u32 i = 2; i < 4; i++)
        write32(GICD + 0xc00 + 4 * i, 0xaaaaaaaa); // ICFGR: edges
}

static void spis(void) {
    forget();
    irqs_on();
    set_pending(SPI_FIRST);
    CHECK("an_SPI_set_pending_arrives", wait_for(&irq_count[SPI_FIRST], 1, 2000), "%u interrupts", irq_total);
    CHECK("an_SPI_arrives_once", irq_count[SPI_FIRST] == 1, "%u times", irq_count[SPI_FIRST]);
    forget();
    irqs_off();
    set_pending(SPI_FIRST + 1);
    write32(GICD + 0x280 + 4, 1u << (SPI_FIRST + 1) % 32); // ICPENDR
    irqs_on();
    (void)wait_for(&irq_total, 1, 20);
    CHECK("an_SPI_cleared_before_it_is_taken_does_not_arrive", irq_total == 0, "%u interrupts", irq_total);
}

// More interrupts at once than there are list registers.
static void overflow(void) {
    forget();
    irqs_off();
    for (u32 i = 0; i < SGI_COUNT; i++)
        send_sgi(i, 1);
    for (u32 i = SPI_FIRST; i <= SPI_LAST; i++)
        set_pending(i);
    irqs_on();
    const u64 all = SGI_COUNT + SPI_LAST - SPI_FIRST + 1;
    (void)wait_for(&irq_total, all, 5000);
    u64 wrong = 0;
    for (u32 i = 0; i < INTIDS; i++)
        if (irq_count[i] != (i < SGI_COUNT || (i >= SPI_FIRST && i <= SPI_LAST)))
            wrong++;
    CHECK("forty_interrupts_at_once_arrive_once_each", irq_total == all && wrong == 0, "%u came, %u wrong", irq_total,
          wrong);
}

static void priorities(void) {
    forget();
    irqs_off();
    for (u32 i = 0; i < 20; i++) {
        set_priority(SPI_FIRST + i, (u8)(0xf0 - 8 * i));
        set_pending(SPI_FIRST + i);
    }
    irqs_on();
    (void)wait_for(&irq_total, 20, 5000);
    u64 wrong = 0;
    for (u32 i = 0; i < 20; i++)
        wrong += irq_order[SPI_FIRST + i] != 19 - i;
    CHECK("the_more_urgent_interrupt_comes_first", irq_total == 20 && wrong == 0, "%u came, %u out of order", irq_total,
          wrong);
    forget();
    irqs_off();
    write_sysreg(S3_0_C4_C6_0, 0x60); // PMR
    set_priority(SPI_FIRST, 0x80);
    set_priority(SPI_FIRST + 1, 0x40);
    set_pending(SPI_FIRST);
    set_pending(SPI_FIRST + 1);
    irqs_on();
    (void)wait_for(&irq_total, 2, 20);
    bool right = irq_count[SPI_FIRST] == 0 && irq_count[SPI_FIRST + 1] == 1;
    write_sysreg(S3_0_C4_C6_0, 0xff);
    CHECK("the_priority_mask_holds_back", right, "%u and %u", irq_count[SPI_FIRST], irq_count[SPI_FIRST + 1]);
    CHECK("the_priority_mask_lifted_lets_through", wait_for(&irq_count[SPI_FIRST], 1, 2000), "%u", irq_total);
    for (u32 i = SPI_FIRST; i <= SPI_LAST; i++)
        set_priority(i, 0x80);
}

static void other_cpu(void) {
    s64 answer = psci_cpu_on(1, (u64)secondary_entry, 0);
    if (answer != 0 || !wait_for(&secondary_up, 1, 5000)) {
        fail("the_second_CPU_comes_up", "%d", answer);
        return;
    }
    pass("the_second_CPU_comes_up");
    forget();
    for (u64 i = 0; i < 200; i++) {
        send_sgi(7, 2);
        if (!wait_for(&irq_count[7], i + 1, 5000))
            break;
    }
    CHECK("200_SGIs_to_a_CPU_in_WFI_arrive", irq_count[7] == 200 && irq_cpu[7] == 1, "%u came", irq_count[7]);
    forget();
    send_sgi(8, 1ull << 40); // IRM: everybody but me
    CHECK("an_SGI_to_all_others_arrives_there", wait_for(&irq_count[8], 1, 2000) && irq_cpu[8] == 1, "%u", irq_total);
    forget();
    send_sgi(9, 3);
    CHECK("an_SGI_to_both_arrives_twice", wait_for(&irq_total, 2, 2000), "%u", irq_total);
    forget();
    send_sgi(10, 1ull << 16 | 1); // Aff1 = 1: nobody
    send_sgi(10, 0xfffc);
    (void)wait_for(&irq_total, 1, 20);
    CHECK("an_SGI_to_nobody_arrives_nowhere", irq_total == 0, "%u", irq_total);
    forget();
    route(SPI_FIRST, 1);
    for (u64 i = 0; i < 50; i++) {
        set_pending(SPI_FIRST);
        if (!wait_for(&irq_count[SPI_FIRST], i + 1, 5000))
            break;
    }
    CHECK("an_SPI_goes_where_it_is_routed", irq_count[SPI_FIRST] == 50 && irq_cpu[SPI_FIRST] == 1, "%u, on CPU %u",
          irq_count[SPI_FIRST], (u64)irq_cpu[SPI_FIRST]);
    route(SPI_FIRST, 0);
    secondary_stop = 1;
    send_sgi(7, 2);
    u64 end = now() + ticks_of_ms(5000);
    while (psci_affinity_info(1) != 1 && now() < end)
        ;
    CHECK("the_second_CPU_goes_off", psci_affinity_info(1) == 1, "%d", psci_affinity_info(1));
}

static void clock(void) {
    u64 a = now(), p = read_sysreg(cntpct_el0), b = now();
    CHECK("CNTFRQ_is_set", read_sysreg(cntfrq_el0) >= 1000000, "%u", read_sysreg(cntfrq_el0));
    u64 gap = p > a ? p - a : a - p;
    CHECK("the_physical_counter_goes_with_the_virtual_one_or_is_the_hosts", gap < ticks_of_ms(60000) && b >= a,
          "%u, %u", a, p);
    u64 back = 0, last = now();
    for (u32 i = 0; i < 10000; i++) {
        u64 t = now();
        back += t < last;
        last = t;
    }
    CHECK("the_clock_never_goes_back", back == 0, "%u times", back);
}

void guest_main(u64 dtb) {
    (void)dtb;
    gic_init();
    for (u32 i = 0; i < SGI_COUNT; i++)
        gic_enable(i);
    gic_enable(PPI_CNTV);
    gic_enable(PPI_CNTP);
    prepare_spis();
    clock();
    self_sgi();
    cntv();
    cntp();
    periods();
    waits();
    spis();
    overflow();
    priorities();
    if (psci_affinity_info(1) >= 0)
        other_cpu();
    CHECK("no_exception_came", trap.count == 0, "%u, esr %x, elr %x", trap.count, trap.esr, trap.elr);
}
