// SPDX-License-Identifier: Apache-2.0
// Every register of the emulated devices, from tables: what it holds at reset, which bits a write changes, and what its
// neighbours that do not exist read; then what the clocks and counters do. Run before anything else has touched the
// devices.
#include "guest.h"

enum { PINS = 24 };
static u64 cpus;
static volatile u64 done[CPUS_MAX];

struct reg {
    u32 at, reset, writable; // the bits that keep what is written
};

// A device, or a part of one, whose registers are read and written alike.
struct bank {
    u32 (*read)(u32 at);
    void (*write)(u32 at, u32 value);
    u32 ones;
};

static void expect(u32 at, u32 got, u32 want) {
    tally_value(at, got == want, got, want);
}

static void at_reset(const struct bank *b, const struct reg *regs, u32 count) {
    for (u32 i = 0; i < count; i++)
        expect(regs[i].at, b->read(regs[i].at), regs[i].reset);
}

// Ones, zeros and two patterns, each read back; then the reset value again.
static void one(const struct bank *b, const struct reg *r) {
    static const u32 patterns[] = {~0u, 0, 0x55aa33cc, 0xaa55cc33};
    for (u32 p = 0; p < ARRAY_SIZE(patterns); p++) {
        b->write(r->at, patterns[p] & b->ones);
        expect(r->at, b->read(r->at), (patterns[p] & r->writable) | (r->reset & ~r->writable));
    }
    b->write(r->at, r->reset);
    expect(r->at, b->read(r->at), r->reset);
}

static void table(const char *name, const struct bank *b, const struct reg *regs, u32 count) {
    tally_begin();
    at_reset(b, regs, count);
    for (u32 i = 0; i < count; i++)
        one(b, &regs[i]);
    tally_end(name);
}

// ── The local APIC, by its page ─────────────────────────────────────────────────────────────────────────────────────
static u32 page_read(u32 at) {
    return read32(LAPIC + at);
}
static void page_write(u32 at, u32 value) {
    write32(LAPIC + at, value);
}
static const struct bank page = {page_read, page_write, ~0u};

static void local_apic(void) {
    static const struct reg regs[] = {
        {APIC_ESR, 0, 0}, // first: there was no error yet
        {APIC_VERSION, 5 << 16 | 0x14, 0},
        {0x90, 0, 0}, // arbitration
        {APIC_PPR, 0, 0},
        {0xc0, 0, 0}, // remote read
        {APIC_TPR, 0, 0xff},
        {APIC_LDR, 0, 0xff000000},
        {APIC_DFR, 0xffffffff, 0xf0000000},
        {APIC_ICR_HIGH, 0, 0xff000000},
        {APIC_LVT_TIMER, LVT_MASKED, 0x700ff},
        {0x330, LVT_MASKED, 0x107ff},
        {0x340, LVT_MASKED, 0x107ff},
        {APIC_LVT_LINT0, LVT_MASKED, 0x1a7ff},
        {0x360, LVT_MASKED, 0x1a7ff},
        {APIC_LVT_ERROR, LVT_MASKED, 0x100ff},
        {APIC_CURRENT, 0, 0},
        {APIC_DIVIDE, 0, 0xb},
        {APIC_INITIAL, 0, ~0u},
        {APIC_SVR, 0x100 | VECTOR_SPURIOUS, 0x3ff}, // as our runtime leaves it
    };
    table("a_local_APICs_registers", &page, regs, ARRAY_SIZE(regs));
    const struct reg number = {APIC_ID, (u32)cpu_index() << 24, 0};
    table("a_local_APICs_number", &page, &number, 1);
    tally_begin();
    for (u32 at = APIC_ISR; at < APIC_ESR; at += 16)
        one(&page, &(struct reg){at, 0, 0});
    tally_end("requests_and_services_are_read_only");
    static const u32 reserved[] = {0x00, 0x10, 0x40, 0x50, 0x60, 0x70, 0x290, 0x2e0, 0x3a0, 0x3d0, 0x3f0, 0x400, 0xff0};
    tally_begin();
    for (u32 i = 0; i < ARRAY_SIZE(reserved); i++) {
        write32(LAPIC + APIC_ESR, 0);
        one(&page, &(struct reg){reserved[i], 0, 0});
        write32(LAPIC + APIC_ESR, 0);
        expect(reserved[i], read32(LAPIC + APIC_ESR), 0x80); // illegal register
    }
    write32(LAPIC + APIC_ESR, 0);
    tally_end("registers_of_a_local_APIC_that_do_not_exist_are_errors");
}

// ── The IOAPIC ──────────────────────────────────────────────────────────────────────────────────────────────────────
static const struct bank ioapic = {ioapic_read, ioapic_write, ~0u};

static void io_apic(void) {
    static const struct reg head[] = {{0, 0, 0x0f000000}, {1, (PINS - 1) << 16 | 0x20, 0}, {2, 0, 0}, {3, 0, 0}};
    table("an_IOAPICs_registers", &ioapic, head, ARRAY_SIZE(head));
    tally_begin();
    for (u32 pin = 0; pin < PINS; pin++) {
        const struct reg entry[] = {{0x11 + 2 * pin, 0, 0xff000000}, {0x10 + 2 * pin, LVT_MASKED, 0x1afff}};
        at_reset(&ioapic, entry, 2);
        one(&ioapic, &entry[0]);
        one(&ioapic, &entry[1]);
    }
    for (u32 at = 0x10 + 2 * PINS; at < 0x100; at++)
        one(&ioapic, &(struct reg){at, 0, 0});
    tally_end("the_pins_entries_and_those_that_do_not_exist");
    tally_begin();
    for (u32 at = 0x14; at < 0x1000; at += 4) {
        if (at % 0x100 == 0 || at % 0x100 == 0x10 || at % 0x100 == 0x40)
            continue;
        write32(IOAPIC + at, 0x10000);
        expect(at, read32(IOAPIC + at), 0);
    }
    tally_end("nothing_is_beside_an_IOAPICs_window");
}

// ── Ports ───────────────────────────────────────────────────────────────────────────────────────────────────────────
static u32 port_read(u32 port) {
    return in8((u16)port);
}
static void port_write(u32 port, u32 value) {
    out8((u16)port, (u8)value);
}
static const struct bank ports = {port_read, port_write, 0xff};

static u32 latch_read(u32 port) { // with the divisor's latch open
    out8(COM1 + UART_LCR, 0x80);
    u8 value = in8((u16)port);
    out8(COM1 + UART_LCR, 0);
    return value;
}
static void latch_write(u32 port, u32 value) {
    out8(COM1 + UART_LCR, 0x80);
    out8((u16)port, (u8)value);
    out8(COM1 + UART_LCR, 0);
}
static const struct bank latch = {latch_read, latch_write, 0xff};

static void uart(void) {
    static const struct reg regs[] = {{COM1 + UART_IIR, 1, 0},    {COM1 + UART_IER, 0, 0x0f},
                                      {COM1 + UART_MSR, 0xb0, 0}, {COM1 + UART_LCR, 0, 0x7f},
                                      {COM1 + UART_LSR, 0x60, 0}, {COM1 + UART_SCR, 0, 0xff}};
    static const struct reg divisor[] = {{COM1, 12, 0xff}, {COM1 + 1, 0, 0xff}};
    tally_begin();
    at_reset(&ports, regs, ARRAY_SIZE(regs));
    for (u32 i = 1; i < ARRAY_SIZE(regs); i++) // a write of IIR is one of FCR
        if (regs[i].at != COM1 + UART_LCR)
            one(&ports, &regs[i]);
    out8(COM1 + UART_LCR, 0x7f);
    expect(COM1 + UART_LCR, in8(COM1 + UART_LCR), 0x7f);
    out8(COM1 + UART_LCR, 0);
    expect(COM1 + UART_LCR, in8(COM1 + UART_LCR), 0);
    tally_end("a_UARTs_registers");
    table("a_UARTs_divisor", &latch, divisor, ARRAY_SIZE(divisor));
    tally_begin();
    expect(UART_MCR, in8(COM1 + UART_MCR), 0);
    out8(COM1 + UART_IIR, 1); // FIFOs
    expect(UART_IIR, in8(COM1 + UART_IIR), 0xc1);
    out8(COM1 + UART_MCR, 0xff); // loopback, and all outputs
    expect(UART_MCR, in8(COM1 + UART_MCR), 0x1f);
    expect(UART_MSR, in8(COM1 + UART_MSR) & 0xf0, 0xf0);
    out8(COM1 + UART_MCR, 0x10);
    expect(UART_MSR, in8(COM1 + UART_MSR) & 0xf0, 0);
    for (u32 i = 0; i < 17; i++) // one too many
        out8(COM1, (u8)('a' + i));
    expect(UART_LSR, in8(COM1 + UART_LSR), 0x63); // overrun, told once
    expect(UART_LSR, in8(COM1 + UART_LSR), 0x61);
    for (u32 i = 0; i < 16; i++)
        expect(UART_DATA, in8(COM1), 'a' + i);
    expect(UART_LSR, in8(COM1 + UART_LSR), 0x60);
    out8(COM1, 'x');
    out8(COM1 + UART_IIR, 3); // receiver's FIFO cleared
    expect(UART_LSR, in8(COM1 + UART_LSR), 0x60);
    out8(COM1 + UART_IIR, 0);
    expect(UART_IIR, in8(COM1 + UART_IIR), 1);
    out8(COM1 + UART_MCR, 0);
    (void)in8(COM1 + UART_MSR);
    expect(UART_MSR, in8(COM1 + UART_MSR), 0xb0);
    tally_end("the_UART_loops_back");
}

static void small_ports(void) {
    static const struct reg regs[] = {{PORT_A, 2, 0}, {PORT_RESET, 0, 0xa}, {PORT_SLEEP, 0, 0}, {PORT_SLEEP + 1, 0, 0}};
    static const struct bank harmless = {port_read, port_write, 0xff & ~(1 | 4 | 1 << 5)}; // neither resets nor sleeps
    table("ports_of_resets_and_of_sleep", &harmless, regs, ARRAY_SIZE(regs));
    tally_begin();
    expect(PORT_B, in8(PORT_B) & 3, 0);
    out8(PORT_B, 3);
    expect(PORT_B, in8(PORT_B) & 3, 3);
    out8(PORT_B, 0);
    expect(PORT_B, in8(PORT_B) & 3, 0);
    tally_end("gate_and_speaker");
}

// ── The clock ───────────────────────────────────────────────────────────────────────────────────────────────────────
static u32 cmos_read(u32 index) {
    out8(PORT_CMOS, (u8)index);
    return in8(PORT_CMOS + 1);
}
static void cmos_write(u32 index, u32 value) {
    out8(PORT_CMOS, (u8)index);
    out8(PORT_CMOS + 1, (u8)value);
}
static const struct bank cmos = {cmos_read, cmos_write, 0xff};

enum { SECOND, MINUTE = 2, HOUR = 4, DAY = 7, MONTH, YEAR, REG_A, REG_B, REG_C, REG_D, CENTURY = 0x32 };

static void clock_registers(void) {
    tally_begin();
    expect(REG_A, cmos_read(REG_A) & 0x7f, 0x26); // but whether it is being updated
    expect(REG_B, cmos_read(REG_B), 2);
    expect(REG_D, cmos_read(REG_D), 0x80);
    cmos_write(REG_D, 0);
    expect(REG_D, cmos_read(REG_D), 0x80);
    cmos_write(REG_A, 0xff);
    expect(REG_A, cmos_read(REG_A) & 0x7f, 0x7f);
    cmos_write(REG_A, 0x26);
    for (u32 at = 0x40; at < 0x50; at++) {
        u32 before = cmos_read(at);
        one(&cmos, &(struct reg){at, before, 0xff});
        out8(PORT_CMOS, (u8)(at | 0x80)); // with the NMI's mask
        expect(at, in8(PORT_CMOS + 1), before);
    }
    tally_end("the_clocks_registers_and_memory");
}

static const u8 time_at[] = {SECOND, MINUTE, HOUR, DAY, MONTH, YEAR, CENTURY};

static void time_set(u32 b, const u8 *to) {
    cmos_write(REG_B, 0x80 | b);
    for (u32 i = 0; i < ARRAY_SIZE(time_at); i++)
        cmos_write(time_at[i], to[i]);
    cmos_write(REG_B, b);
}

// The last second of a year goes by, in each way to write it.
static void year_ends(const char *name, u32 b, const u8 *last, const u8 *first) {
    time_set(b, last);
    u64 end = now() + ticks_of_ms(4000);
    tally_begin();
    while (cmos_read(SECOND) == last[0] && now() < end)
        ;
    expect(SECOND, cmos_read(SECOND) - first[0] < 2, 1);
    for (u32 i = 1; i < ARRAY_SIZE(time_at); i++)
        expect(time_at[i], cmos_read(time_at[i]), first[i]);
    tally_end(name);
}

static void clock_runs(void) {
    u64 rtc = rtc_seconds(), start = now();
    CHECK("the_clock_tells_a_time_of_this_century", rtc > 1577836800 && rtc < 4102444800, "%u", rtc);
    u8 was[ARRAY_SIZE(time_at)];
    cmos_write(REG_B, 0x80 | 2); // it stands still
    for (u32 i = 0; i < ARRAY_SIZE(time_at); i++)
        was[i] = (u8)cmos_read(time_at[i]);
    cmos_write(REG_B, 2);
    year_ends("a_year_ends_in_digits_and_24_hours", 2, (const u8[]){0x59, 0x59, 0x23, 0x31, 0x12, 0x29, 0x20},
              (const u8[]){0, 0, 0, 1, 1, 0x30, 0x20});
    year_ends("a_year_ends_in_binary_and_12_hours", 4, (const u8[]){59, 59, 11 | 0x80, 31, 12, 99, 20},
              (const u8[]){0, 0, 12, 1, 1, 0, 21});
    year_ends("February_has_29_days_in_a_leap_year", 6, (const u8[]){59, 59, 23, 28, 2, 28, 20},
              (const u8[]){0, 0, 0, 29, 2, 28, 20});
    cmos_write(REG_C, 0);
    (void)cmos_read(REG_C);
    u64 end = now() + ticks_of_ms(4000);
    cmos_write(1, 0xc0); // an alarm of any second, minute and hour
    cmos_write(3, 0xc0);
    cmos_write(5, 0xc0);
    u32 flags = 0;
    while ((flags & 0x70) != 0x70 && now() < end)
        flags |= cmos_read(REG_C);
    CHECK("periods_alarms_and_updates_show_without_being_enabled", flags == 0x70, "%x", (u64)flags);
    time_set(2, was);
    u64 passed = (now() - start) / ticks_of_ms(1000);
    CHECK("the_time_that_is_set_goes_on", rtc_seconds() - rtc <= passed + 2, "%u s of %u", rtc_seconds() - rtc, passed);
}

// ── Counters ────────────────────────────────────────────────────────────────────────────────────────────────────────
static u32 counter_latch(u32 counter) {
    out8(PORT_PIT + 3, (u8)(counter << 6));
    u32 low = in8((u16)(PORT_PIT + counter));
    return low | (u32)in8((u16)(PORT_PIT + counter)) << 8;
}

static u32 counter_status(u32 counter) {
    out8(PORT_PIT + 3, (u8)(0xe0 | 2u << counter));
    return in8((u16)(PORT_PIT + counter));
}

static void pit(void) {
    tally_begin();
    expect(PORT_PIT + 3, in8(PORT_PIT + 3), 0xff); // written only
    for (u32 counter = 0; counter < 3; counter++) {
        u16 port = (u16)(PORT_PIT + counter);
        out8(PORT_B, 1); // the third one's gate
        for (u32 mode = 0; mode < 6; mode += 2) {
            out8(PORT_PIT + 3, (u8)(counter << 6 | 0x30 | mode << 1));
            expect(port, counter_status(counter) & 0x7f, 0x70 | mode << 1); // nothing is loaded
            u64 begin = now();
            out8(port, 0xff);
            out8(port, 0xff);
            expect(port, counter_status(counter) & 0x7f, 0x30 | mode << 1);
            u32 first = counter_latch(counter), second = counter_latch(counter);
            if (now() - begin < ticks_of_ms(20)) // else we were away for too long
                expect(port, second <= first && first > 0x8000, 1);
        }
        out8(PORT_PIT + 3, (u8)(counter << 6 | 0x30));
        u64 begin = now(), end = begin + ticks_of_ms(1000);
        out8(port, 0xe8);
        out8(port, 0x03); // 1000 ticks
        u32 out = counter_status(counter) >> 7;
        if (now() - begin < ticks_of_ms(1) / 2)
            expect(port, out, 0);
        while (!(counter_status(counter) >> 7) && now() < end)
            ;
        expect(port, counter_status(counter) >> 7, 1);
        if (counter == 2)
            expect(PORT_B, in8(PORT_B) >> 5 & 1, 1);
    }
    out8(PORT_B, 0);
    tally_end("the_interval_timers_counters");
}

// Between two looks at the TSC.
struct look {
    u64 before, after;
    u32 timer;
};

static struct look look(void) {
    struct look l;
    l.before = now();
    l.timer = in32(PORT_PM_TIMER);
    l.after = now();
    return l;
}

static void pm_timer(void) {
    enum { PM_HZ = 3579545 };
    struct look a = look();
    while (now() - a.after < ticks_of_ms(20))
        ;
    struct look b = look();
    u64 ticks = b.timer - a.timer, most = (b.after - a.before) * PM_HZ / tsc_hz(),
        least = (b.before - a.after) * PM_HZ / tsc_hz();
    CHECK("ACPIs_timer_goes_as_fast_as_it_should", ticks + 2 >= least - least / 1000 && ticks <= most + most / 1000 + 2,
          "%u ticks, not %u to %u", ticks, least, most);
    u32 before = in32(PORT_PM_TIMER);
    out32(PORT_PM_TIMER, 0);
    CHECK("ACPIs_timer_cannot_be_written", in32(PORT_PM_TIMER) - before < PM_HZ, "%x", (u64)in32(PORT_PM_TIMER));
}

void secondary_main(u64 context) {
    local_apic();
    done[cpu_index()] = context;
}

void guest_main(u64 zero_page) {
    (void)zero_page;
    cpus = cpu_count();
    say("registers: %u CPUs\n", cpus);
    local_apic();
    for (u64 cpu = 1; cpu < cpus; cpu++) {
        (void)cpu_start(cpu, 1);
        CHECK("a_CPU_comes_through", wait_for(&done[cpu], 1, 20000), "CPU %u", cpu);
    }
    io_apic();
    uart();
    small_ports();
    clock_registers();
    pit();
    pm_timer();
    clock_runs();
    no_traps();
}
