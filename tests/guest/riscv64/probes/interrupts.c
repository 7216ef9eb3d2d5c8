// SPDX-License-Identifier: Apache-2.0
// Interrupts and timers, as a guest sees them: none is lost, none comes twice, each goes where it is sent.
#include "guest.h"

static volatile u64 secondary_up, secondary_stop;

void secondary_main(u64 context) {
    (void)context;
    irqs_init();
    irqs_on();
    secondary_up = 1;
    while (!secondary_stop)
        wait_for_interrupt();
}

static void forget(void) {
    for (u32 i = 0; i < 16; i++)
        irq_count[i] = 0;
    for (u32 i = 0; i < SOURCES; i++)
        source_count[i] = 0;
    irq_total = 0;
    trap.count = 0;
}

static void clock(void) {
    u64 back = 0, last = now();
    for (u32 i = 0; i < 10000; i++) {
        u64 t = now();
        back += t < last;
        last = t;
    }
    CHECK("the_clock_never_goes_back", back == 0, "%u times", back);
}

static void self_ipi(void) {
    forget();
    irqs_on();
    send_ipi(1);
    CHECK("an_IPI_to_oneself_arrives", wait_for(&irq_count[SSI], 1, 2000), "%u interrupts", irq_total);
    forget();
    for (u64 i = 0; i < 1000; i++) {
        send_ipi(1);
        if (!wait_for(&irq_count[SSI], i + 1, 2000))
            break;
    }
    CHECK("a_thousand_IPIs_arrive_one_by_one", irq_count[SSI] == 1000 && irq_total == 1000, "%u arrived",
          irq_count[SSI]);
    forget();
    irqs_off();
    send_ipi(1);
    u64 up = csr_read(sip) >> SSI & 1;
    csr_clear(sip, 1 << SSI);
    u64 left = csr_read(sip) >> SSI & 1;
    irqs_on();
    (void)wait_for(&irq_total, 1, 20);
    CHECK("an_IPI_taken_back_in_sip_does_not_arrive", up == 1 && left == 0 && irq_total == 0, "up %u, left %u, %u came",
          up, left, irq_total);
    forget();
    csr_set(sip, 1 << SSI);
    CHECK("a_software_interrupt_set_in_sip_arrives", wait_for(&irq_count[SSI], 1, 2000), "%u interrupts", irq_total);
    csr_clear(sie, 1 << SSI);
    forget();
    send_ipi(1);
    (void)wait_for(&irq_total, 1, 20);
    CHECK("an_IPI_disabled_in_sie_stays_away", irq_total == 0, "%u came", irq_total);
    csr_set(sie, 1 << SSI);
    CHECK("an_IPI_enabled_late_arrives", wait_for(&irq_count[SSI], 1, 2000), "%u interrupts", irq_total);
}

static void timer(void) {
    forget();
    irqs_on();
    set_timer(now() + ticks_of_ms(5));
    CHECK("the_timer_fires", wait_for(&irq_count[STI], 1, 5000), "%u interrupts", irq_total);
    irqs_off();
    set_timer(0);
    u64 end = now() + ticks_of_ms(2000);
    while (!(csr_read(sip) & 1 << STI) && now() < end)
        ;
    u64 up = csr_read(sip) >> STI & 1;
    set_timer(~0ull);
    u64 left = csr_read(sip) >> STI & 1;
    irqs_on();
    CHECK("the_timer_of_the_past_is_pending_and_can_be_taken_back", up == 1 && left == 0, "up %u, left %u", up, left);
    CHECK("the_timer_taken_back_does_not_fire", irq_count[STI] == 1, "%u times", irq_count[STI]);
    forget();
    for (u64 i = 0; i < 500; i++) {
        set_timer(now() + ticks_of_ms(1) / 5);
        if (!wait_for(&irq_count[STI], i + 1, 5000))
            break;
    }
    CHECK("none_of_500_timer_interrupts_is_lost", irq_count[STI] == 500, "%u came", irq_count[STI]);
    forget();
    for (u64 i = 0; i < 200; i++) {
        irqs_off();
        set_timer(now() + ticks_of_ms(1) / 5);
        wait_for_interrupt();
        irqs_on();
        if (!wait_for(&irq_count[STI], i + 1, 5000))
            break;
    }
    CHECK("none_of_200_timer_interrupts_in_WFI_is_lost", irq_count[STI] == 200, "%u came", irq_count[STI]);
}

static void waits(void) {
    forget();
    irqs_off();
    u64 begin = now();
    set_timer(begin + ticks_of_ms(20));
    while (!(csr_read(sip) & 1 << STI) && now() < begin + ticks_of_ms(10000))
        wait_for_interrupt();
    CHECK("WFI_wakes_from_an_interrupt_that_sstatus_masks", (csr_read(sip) & 1 << STI) && irq_total == 0,
          "after %u ticks, %u interrupts", now() - begin, irq_total);
    wait_for_interrupt(); // still pending: both return at once
    wait_for_interrupt();
    pass("WFI_with_a_pending_interrupt_returns");
    set_timer(~0ull);
    irqs_on();
}

// The UART's transmitter is always empty: enabling its interrupt raises the line, and the handler masks it again.
static void raise_uart(void) {
    write8(UART + UART_IER, 2);
}

static void external(void) {
    forget();
    source_enable(0, UART_IRQ, true);
    for (u64 i = 0; i < 200; i++) {
        raise_uart();
        if (!wait_for(&source_count[UART_IRQ], i + 1, 2000))
            break;
    }
    CHECK("none_of_200_interrupts_of_a_device_is_lost", source_count[UART_IRQ] == 200 && irq_count[SEI] == 200,
          "%u came, %u external", source_count[UART_IRQ], irq_count[SEI]);
    forget();
    sources_hold(true);
    raise_uart();
    (void)wait_for(&irq_total, 1, 20);
    u64 held = irq_total == 0;
    sources_hold(false);
    CHECK("the_threshold_holds_back_and_lets_go", held && wait_for(&source_count[UART_IRQ], 1, 2000), "%u", irq_total);
    forget();
    source_enable(0, UART_IRQ, false);
    raise_uart();
    (void)wait_for(&irq_total, 1, 20);
    u64 pending = source_pending(UART_IRQ);
    held = irq_total == 0;
    source_enable(0, UART_IRQ, true);
    CHECK("a_source_disabled_is_pending_and_comes_when_enabled",
          held && pending && wait_for(&source_count[UART_IRQ], 1, 2000), "%u, pending %u", irq_total, pending);
}

static void claims(void) {
    forget();
    irqs_off();
    raise_uart();
    u64 up = csr_read(sip) >> SEI & 1;
    u32 first = plic_claim(0), second = plic_claim(0);
    u64 down = csr_read(sip) >> SEI & 1;
    plic_complete(0, first);
    u64 again = csr_read(sip) >> SEI & 1;
    u32 third = plic_claim(0);
    write8(UART + UART_IER, 0);
    plic_complete(0, third);
    CHECK("a_claim_takes_the_line_down_and_completion_brings_a_level_back",
          up == 1 && first == UART_IRQ && second == 0 && down == 0 && again == 1 && third == UART_IRQ &&
              !(csr_read(sip) & 1 << SEI),
          "%u %u %u %u %u %u", up, (u64)first, (u64)second, down, again, (u64)third);
    irqs_on();
}

static void other_hart(void) {
    if (cpu_status(1) < 0)
        return;
    s64 answer = cpu_start(1, 0);
    if (answer != 0 || !wait_for(&secondary_up, 1, 5000)) {
        fail("the_second_hart_comes_up", "%d", answer);
        return;
    }
    pass("the_second_hart_comes_up");
    forget();
    for (u64 i = 0; i < 200; i++) {
        send_ipi(2);
        if (!wait_for(&irq_count[SSI], i + 1, 5000))
            break;
    }
    CHECK("200_IPIs_to_a_hart_in_WFI_arrive", irq_count[SSI] == 200 && irq_cpu[SSI] == 1, "%u came", irq_count[SSI]);
    forget();
    sbi(EID_IPI, 0, 0, ~0ull, 0); // every hart
    CHECK("an_IPI_to_all_arrives_twice", wait_for(&irq_total, 2, 2000), "%u", irq_total);
    forget();
    sbi(EID_IPI, 0, 1, 1, 0); // from hart 1 on
    CHECK("an_IPI_with_a_base_arrives_there", wait_for(&irq_total, 1, 2000) && irq_cpu[SSI] == 1, "%u", irq_total);
    forget();
    source_enable(0, UART_IRQ, false);
    source_enable(1, UART_IRQ, true);
    for (u64 i = 0; i < 50; i++) {
        raise_uart();
        if (!wait_for(&source_count[UART_IRQ], i + 1, 5000))
            break;
    }
    CHECK("a_source_goes_to_the_hart_that_has_it_enabled", source_count[UART_IRQ] == 50 && source_cpu[UART_IRQ] == 1,
          "%u, on hart %u", source_count[UART_IRQ], (u64)source_cpu[UART_IRQ]);
    secondary_stop = 1;
    send_ipi(2);
    u64 end = now() + ticks_of_ms(5000);
    while (hart_status(1) != 1 && now() < end)
        ;
    CHECK("the_second_hart_goes_off", hart_status(1) == 1, "%d", hart_status(1));
}

void guest_main(u64 dtb) {
    (void)dtb;
    irqs_init();
    clock();
    self_ipi();
    timer();
    waits();
    external();
    if (!has_aia())
        claims();
    other_hart();
    no_traps();
}
