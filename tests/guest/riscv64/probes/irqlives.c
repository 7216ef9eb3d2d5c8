// SPDX-License-Identifier: Apache-2.0
// The life cycle of an interrupt, step by step, on every hart in turn. sstatus.SIE stays clear: each step claims by
// itself and looks at the state in between. Then the timers, all harts at once.
#include "guest.h"

enum { TIMERS = 32 };
static u64 cpus, self;
static volatile u64 finished[CPUS_MAX], fired[CPUS_MAX], early[CPUS_MAX], latest[CPUS_MAX];
static volatile u64 timers_go;

static u64 external(void) {
    return csr_read(sip) >> SEI & 1;
}
static u64 timer_up(void) {
    return csr_read(sip) >> STI & 1;
}

// Two levels that this program moves: the UART's, that its transmitter is empty, and the clock's alarm, of the past.
static void uart_up(void) {
    write8(UART + UART_IER, 2);
}
static void uart_down(void) {
    write8(UART + UART_IER, 0);
}
static void rtc_up(void) {
    write32(RTC + 0x10, 1);
    write32(RTC + 0xc, 0);
    write32(RTC + 8, 0);
}
static void rtc_down(void) {
    write32(RTC + 0x1c, 1);
}

// ── PLIC ────────────────────────────────────────────────────────────────────────────────────────────────────────────
static void priority(u32 source, u32 value) {
    write32(PLIC + 4 * source, value);
}
static void threshold(u32 value) {
    write32(PLIC + 0x201000 + 0x2000 * self, value);
}
static u64 claim(void) {
    return plic_claim(self);
}
static void complete(u32 source) {
    plic_complete(self, source);
}

static void plic_cycle(void) {
    step("at rest", source_pending(UART_IRQ) | external() << 1, 0);
    uart_up();
    step("pending, not enabled", source_pending(UART_IRQ) | external() << 1, 1);
    step("not to be claimed", claim(), 0);
    source_enable(self, UART_IRQ, true);
    step("enabled", external(), 1);
    step("claimed", claim(), UART_IRQ);
    step("no longer pending", source_pending(UART_IRQ) | external() << 1, 0);
    step("not twice", claim(), 0);
    uart_down();
    uart_up();
    step("not while it is served", source_pending(UART_IRQ) | external() << 1, 0);
    complete(UART_IRQ);
    step("a level that is still up comes again", source_pending(UART_IRQ) | external() << 1, 3);
    uart_down();
    step("what has been passed on stays pending", source_pending(UART_IRQ) | external() << 1, 3);
    step("and is claimed", claim(), UART_IRQ);
    complete(UART_IRQ);
    step("over", source_pending(UART_IRQ) | external() << 1, 0);
    uart_up();
    step("claimed once more", claim(), UART_IRQ);
    source_enable(self, UART_IRQ, false);
    complete(UART_IRQ); // of a source that is not enabled: ignored
    source_enable(self, UART_IRQ, true);
    step("not completed", source_pending(UART_IRQ) | external() << 1, 0);
    complete(RTC_IRQ);
    complete(0);
    complete(1000);
    step("by its own number only", source_pending(UART_IRQ) | external() << 1, 0);
    complete(UART_IRQ);
    step("completed", external(), 1);
    step("claimed at last", claim(), UART_IRQ);
    uart_down();
    complete(UART_IRQ);
    step("at rest again", source_pending(UART_IRQ) | external() << 1, 0);
    steps_end("life_of_a_source");
}

static void plic_priorities(void) {
    source_enable(self, RTC_IRQ, true);
    priority(UART_IRQ, 3);
    priority(RTC_IRQ, 5);
    uart_up();
    rtc_up();
    step("the more urgent first", claim(), RTC_IRQ);
    step("then the other", claim(), UART_IRQ);
    step("both", claim(), 0);
    complete(RTC_IRQ);
    complete(UART_IRQ);
    priority(UART_IRQ, 5);
    step("of equals the lower number", claim(), UART_IRQ);
    step("then the higher", claim(), RTC_IRQ);
    rtc_down();
    complete(RTC_IRQ);
    complete(UART_IRQ);
    priority(UART_IRQ, 3);
    threshold(3);
    step("at the threshold: held back", external(), 0);
    threshold(2);
    step("above the threshold", external(), 1);
    threshold(7);
    priority(UART_IRQ, 7);
    step("nothing is above 7", external(), 0);
    step("a claim does not look at the threshold", claim(), UART_IRQ);
    complete(UART_IRQ);
    threshold(0);
    priority(UART_IRQ, 0);
    step("priority 0 is never", external() | claim() << 1, 0);
    priority(UART_IRQ, 1);
    step("priority 1 is above threshold 0", external(), 1);
    step("and claimed", claim(), UART_IRQ);
    uart_down();
    complete(UART_IRQ);
    priority(RTC_IRQ, 1);
    steps_end("priorities_and_thresholds");
}

static void plic_contexts(void) {
    u64 other = (self + 1) % cpus, machine = PLIC + 0x2000 + 0x100 * self;
    source_enable(self, UART_IRQ, false);
    write32(machine, 1u << UART_IRQ);
    uart_up();
    step("machine mode's context does not interrupt", external(), 0);
    write32(machine, 0);
    source_enable(self, UART_IRQ, true);
    if (other != self) {
        source_enable(other, UART_IRQ, true);
        write32(PLIC + 0x201000 + 0x2000 * other, 0);
        step("here", external(), 1);
        step("there it is claimed", plic_claim(other), UART_IRQ);
        step("so not here", external() | claim() << 1, 0);
        source_enable(other, UART_IRQ, false);
        plic_complete(other, UART_IRQ);
        step("not completed by one that has it disabled", external(), 0);
        complete(UART_IRQ);
    }
    step("again", claim(), UART_IRQ);
    uart_down();
    complete(UART_IRQ);
    source_enable(self, UART_IRQ, false);
    source_enable(self, RTC_IRQ, false);
    step("at rest", external(), 0);
    steps_end("contexts_share_a_source");
}

// ── APLIC and IMSIC ─────────────────────────────────────────────────────────────────────────────────────────────────
enum { OFF, DETACHED, EDGE_RISE = 4, EDGE_FALL, LEVEL_HIGH, LEVEL_LOW };
enum { DOMAINCFG = 0, SETIPNUM = 0x1cdc, CLRIPNUM = 0x1ddc, SETIENUM = 0x1edc, CLRIENUM = 0x1fdc, GENMSI = 0x3000 };

static void aplic(u64 reg, u64 value) {
    write32(APLIC + reg, (u32)value);
}
static void mode(u32 value) {
    aplic(4 * UART_IRQ, value);
}
static void target(u64 hart, u32 identity) {
    aplic(0x3000 + 4 * UART_IRQ, hart << 18 | identity);
}
// A message is on its way for a moment; what must not come is not there after a write and a read of the APLIC.
static u64 take(void) {
    u64 end = now() + ticks_of_ms(1000);
    u32 identity;
    while ((identity = file_claim()) == 0 && now() < end)
        ;
    return identity;
}

static void aplic_cycle(void) {
    uart_up();
    mode(OFF);
    step("inactive: nothing pends", source_pending(UART_IRQ), 0);
    mode(LEVEL_HIGH);
    target(self, UART_IRQ);
    step("a level that is up pends", source_pending(UART_IRQ), 1);
    step("and is not sent before it is enabled", file_claim(), 0);
    aplic(SETIENUM, UART_IRQ);
    step("sent", take(), UART_IRQ);
    step("no longer pending", source_pending(UART_IRQ), 0);
    step("once", file_claim(), 0);
    aplic(SETIPNUM, UART_IRQ);
    step("asked again: the level is still up", take(), UART_IRQ);
    uart_down();
    aplic(SETIPNUM, UART_IRQ);
    step("asked again: the level is down", file_claim() | (u64)source_pending(UART_IRQ) << 32, 0);
    uart_up();
    step("up again", take(), UART_IRQ);
    aplic(CLRIENUM, UART_IRQ);
    uart_down();
    uart_up();
    step("disabled: pending", source_pending(UART_IRQ), 1);
    aplic(CLRIPNUM, UART_IRQ);
    step("taken back", source_pending(UART_IRQ), 0);
    aplic(SETIPNUM, UART_IRQ);
    step("set again", source_pending(UART_IRQ), 1);
    uart_down();
    step("a level that falls no longer pends", source_pending(UART_IRQ), 0);
    aplic(SETIENUM, UART_IRQ);
    aplic(DOMAINCFG, 0);
    uart_up();
    step("the domain is off: pending", source_pending(UART_IRQ), 1);
    step("and not sent", file_claim(), 0);
    aplic(DOMAINCFG, 1 << 8);
    step("the domain is on", take(), UART_IRQ);
    uart_down();
    steps_end("life_of_a_level");
}

static void aplic_modes(void) {
    mode(EDGE_RISE);
    uart_up();
    step("an edge that rises", take(), UART_IRQ);
    uart_down();
    step("falls", file_claim(), 0);
    aplic(SETIPNUM, UART_IRQ);
    step("an edge can be set by hand", take(), UART_IRQ);
    mode(EDGE_FALL);
    while (file_claim()) // the wire is low: the edge may have been seen
        ;
    uart_up();
    step("rises", file_claim(), 0);
    uart_down();
    step("an edge that falls", take(), UART_IRQ);
    mode(LEVEL_LOW);
    while (file_claim())
        ;
    aplic(SETIPNUM, UART_IRQ);
    step("low is what it waits for", take(), UART_IRQ);
    uart_up();
    aplic(SETIPNUM, UART_IRQ);
    step("high is not", file_claim(), 0);
    mode(DETACHED);
    uart_down();
    uart_up();
    step("detached: the wire does not matter", file_claim(), 0);
    aplic(SETIPNUM, UART_IRQ);
    step("detached: by hand", take(), UART_IRQ);
    target(self, 200);
    aplic(SETIPNUM, UART_IRQ);
    step("another identity", take(), 200);
    target(cpus, 201); // a hart that is not there
    aplic(SETIPNUM, UART_IRQ);
    step("nobody's", file_claim(), 0);
    aplic(GENMSI, self << 18 | 202);
    step("a message made by hand", take(), 202);
    mode(OFF);
    uart_down();
    steps_end("modes_and_targets_of_a_source");
}

static void file(void) {
    u64 here = IMSIC + 0x1000 * self;
    step("at rest", external() | file_claim() << 1, 0);
    file_write(EIP0, 1ull << 60 | 1ull << 20);
    step("external", external(), 1);
    step("the lower identity first", take(), 20);
    file_write(EITHRESHOLD, 60);
    step("held back by the threshold", external() | file_claim() << 1, 0);
    file_write(EITHRESHOLD, 61);
    step("below the threshold", external(), 1);
    file_write(EIDELIVERY, 0);
    step("not delivered", external(), 0);
    file_write(EIDELIVERY, 1);
    step("delivered", take(), 60);
    file_write(EITHRESHOLD, 0);
    write32(here, 77);
    step("a message by a write", take(), 77);
    write32(here, 78);
    write32(here, 78);
    step("two messages of one identity", take(), 78);
    step("are one", file_claim(), 0);
    file_write(EIE0 + 2, ~0ull & ~(1ull << (79 - 64)));
    write32(here, 79);
    step("not enabled", external() | file_claim() << 1, 0);
    step("but pending", file_read(EIP0 + 2) >> (79 - 64) & 1, 1);
    file_write(EIE0 + 2, ~0ull);
    step("enabled", take(), 79);
    write32(here, 0);
    write32(here, IDENTITIES + 1);
    step("identities that are not there", external() | file_claim() << 1, 0);
    write32(here, IDENTITIES);
    step("the last identity", take(), IDENTITIES);
    steps_end("an_interrupt_files_identities_and_thresholds");
}

static void lives(void) {
    irqs_off();
    self = cpu_index();
    irqs_init();
    if (has_aia()) {
        aplic_cycle();
        aplic_modes();
        file();
    } else {
        plic_cycle();
        plic_priorities();
        plic_contexts();
    }
}

// ── Timers ──────────────────────────────────────────────────────────────────────────────────────────────────────────
static bool direct; // by stimecmp

static void arm(u64 at, bool by_csr) {
    if (by_csr)
        csr_write(0x14d, at);
    else
        set_timer(at);
}

// Never early; late only by what others on this hart take.
static void timers(void) {
    u64 cpu = cpu_index(), distances[] = {0, 1, 10, 100, 1000, ticks_of_ms(1) / 4, ticks_of_ms(1), ticks_of_ms(3)};
    irqs_off();
    csr_write(sie, 1 << STI);
    for (u32 i = 0; i < TIMERS; i++) {
        bool by_csr = direct && (i / 8 & 1), sleep = i / 16;
        u64 when = now() + distances[i % 8], give_up = when + ticks_of_ms(4000);
        arm(when, by_csr);
        while (!timer_up() && now() < give_up)
            if (sleep)
                wait_for_interrupt();
        u64 at = now();
        fired[cpu] += timer_up();
        arm(~0ull, by_csr);
        fired[cpu] += !timer_up();
        early[cpu] += at < when;
        if (at > when && at - when > latest[cpu])
            latest[cpu] = at - when;
    }
}

static void settings(bool by_csr) {
    irqs_off();
    csr_write(sie, 0);
    arm(0, by_csr);
    step("the past", timer_up(), 1);
    step("for as long as it is the past", timer_up(), 1);
    arm(now() + ticks_of_ms(1000000), by_csr);
    step("the future", timer_up(), 0);
    arm(~0ull, by_csr);
    step("never", timer_up(), 0);
    arm(1ull << 63, by_csr);
    step("in a very long time", timer_up(), 0);
    arm(0, by_csr);
    csr_clear(sip, 1 << STI);
    csr_set(sip, 1 << STI);
    step("not for software to take back", timer_up(), 1);
    if (direct && !by_csr) {
        arm(0x123456789abcdef0, false);
        step("a call sets stimecmp", csr_read(0x14d), 0x123456789abcdef0);
    }
    // A wait with the timer masked in sstatus ends, and not too early.
    csr_write(sie, 1 << STI);
    u64 begin = now();
    arm(begin + ticks_of_ms(2), by_csr);
    while (!timer_up())
        wait_for_interrupt();
    step("a masked wake-up is not early", now() - begin >= ticks_of_ms(2), 1);
    wait_for_interrupt(); // pending: returns at once
    arm(~0ull, by_csr);
    step("gone", timer_up(), 0);
    steps_end(by_csr ? "timer_settings_by_stimecmp" : "timer_settings_by_calls");
}

void secondary_main(u64 context) {
    if (context == 1)
        lives();
    if (context == 2) {
        irqs_init();
        finished[cpu_index()] = 1;
        (void)wait_for(&timers_go, 1, 20000);
        timers();
    }
    finished[cpu_index()] = context + 1;
}

void guest_main(u64 dtb) {
    (void)dtb;
    cpus = cpu_count();
    direct = has_sstc();
    say("irqlives: %u CPUs, %s, %s\n", cpus, has_aia() ? "APLIC and IMSIC" : "PLIC", direct ? "Sstc" : "no Sstc");
    lives();
    for (u64 cpu = 1; cpu < cpus; cpu++) {
        s64 answer = cpu_start(cpu, 1);
        CHECK("a_CPU_lives_through_it", answer == 0 && wait_for(&finished[cpu], 2, 30000), "CPU %u: %d", cpu, answer);
        while (cpu_status(cpu) != 1)
            ;
        finished[cpu] = 0;
    }
    self = 0;
    settings(false);
    if (direct)
        settings(true);
    for (u64 cpu = 1; cpu < cpus; cpu++) {
        (void)cpu_start(cpu, 2);
        (void)wait_for(&finished[cpu], 1, 20000);
    }
    timers_go = 1;
    timers();
    for (u64 cpu = 0; cpu < cpus; cpu++) {
        if (cpu > 0)
            (void)wait_for(&finished[cpu], 3, 20000);
        CHECK("every_timer_fires_and_none_is_early", fired[cpu] == 2 * TIMERS && early[cpu] == 0,
              "CPU %u: %u fired or ended, %u early", cpu, fired[cpu], early[cpu]);
        CHECK("no_timer_is_late_by_more_than_the_others_on_its_CPU_take", latest[cpu] < ticks_of_ms(2000),
              "CPU %u: %u ticks", cpu, latest[cpu]);
    }
    no_traps();
}
