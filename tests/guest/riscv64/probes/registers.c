// SPDX-License-Identifier: Apache-2.0
// Every register of the emulated devices: what it holds at reset, which bits a write changes, and what its neighbours
// that do not exist read. Run before anything else has touched the devices.
#include "guest.h"

static u64 cpus;

void secondary_main(u64 context) {
    (void)context;
}

static void expect(u64 at, u64 got, u64 want) {
    tally_value(at, got == want && trap.count == 0, got, want);
}

static void end(const char *name) {
    expect(0, trap.count, 0);
    tally_end(name);
    trap.count = 0;
}

static const u32 patterns[] = {~0u, 0, 0x55aa33cc, 0xaa55cc33};

// The value at reset, then what each pattern leaves of itself; then as it was.
static void one(u64 at, u32 reset, u32 writable) {
    expect(at, read32(at), reset);
    for (u32 p = 0; p < ARRAY_SIZE(patterns); p++) {
        write32(at, patterns[p]);
        expect(at, read32(at), (patterns[p] & writable) | (reset & ~writable));
    }
    write32(at, reset);
    expect(at, read32(at), reset);
}

static void range(u64 from, u64 to, u64 step, u32 writable) {
    for (u64 at = from; at < to; at += step)
        one(at, 0, writable);
}

// ── The PLIC: 95 sources, priorities of three bits, two contexts a hart ─────────────────────────────────────────────
static void plic_sources(void) {
    tally_begin();
    one(PLIC, 0, 0);
    range(PLIC + 4, PLIC + 4 * SOURCES, 4, 7);
    end("a_priority_has_three_bits_and_source_0_none");
    tally_begin();
    range(PLIC + 4 * SOURCES, PLIC + 0x1000, 0x1c, 0);
    range(PLIC + 0x1000, PLIC + 0x1080, 4, 0);
    range(PLIC + 0x1080, PLIC + 0x2000, 0x7c, 0);
    end("sources_beyond_the_last_one_do_not_exist_and_pending_bits_are_read_only");
}

static void plic_contexts(void) {
    tally_begin();
    for (u64 context = 0; context < 2 * cpus; context++) {
        u64 at = PLIC + 0x2000 + 0x80 * context;
        one(at, 0, ~1u);
        range(at + 4, at + SOURCES / 8, 4, ~0u);
        range(at + SOURCES / 8, at + 0x80, 4, 0);
        at = PLIC + 0x200000 + 0x1000 * context;
        one(at, 0, 7);
        expect(at + 4, read32(at + 4), 0);
        write32(at + 4, UART_IRQ); // completes what was not claimed
        write32(at + 4, ~0u);
        range(at + 8, at + 0x1000, 0x1fc, 0);
    }
    end("each_context_has_its_enables_its_threshold_and_its_claim");
    tally_begin();
    for (u64 context = 2 * cpus; context < 2 * cpus + 8; context++) {
        range(PLIC + 0x2000 + 0x80 * context, PLIC + 0x2000 + 0x80 * (context + 1), 0x1c, 0);
        range(PLIC + 0x200000 + 0x1000 * context, PLIC + 0x200000 + 0x1000 * (context + 1), 0x1fc, 0);
    }
    range(PLIC + 0x1f0000, PLIC + 0x200000, 0x3ffc, 0);
    range(PLIC + PLIC_SIZE - 0x1000, PLIC + PLIC_SIZE, 0x7c, 0);
    end("contexts_of_harts_that_are_not_there_do_not_exist");
}

// ── The APLIC: 95 sources, messages only ────────────────────────────────────────────────────────────────────────────
enum { ACTIVE = 1, EDGE_RISE = 4 };
#define TARGET_BITS 0xfffc07ffu
static u64 sourcecfg(u32 source) {
    return APLIC + 4 * source;
}
static u64 target(u32 source) {
    return APLIC + 0x3000 + 4 * source;
}

static void aplic_sources(void) {
    tally_begin();
    for (u32 source = 1; source < SOURCES; source++) {
        one(target(source), 0, 0); // inactive: there is nothing
        expect(sourcecfg(source), read32(sourcecfg(source)), 0);
        for (u32 mode = 0; mode < 8; mode++) {
            write32(sourcecfg(source), mode | 0xfffffbf8u);
            expect(sourcecfg(source), read32(sourcecfg(source)), mode == 2 || mode == 3 ? 0 : mode);
        }
        write32(sourcecfg(source), ACTIVE);
        one(target(source), 0, TARGET_BITS);
        write32(target(source), ~0u);
        write32(sourcecfg(source), 0);
        expect(target(source), read32(target(source)), 0);
    }
    end("a_source_has_a_mode_and_when_it_is_active_a_target");
    tally_begin();
    range(sourcecfg(SOURCES), APLIC + 0x1000, 0x1c, 0);
    range(target(SOURCES), APLIC + 0x4000, 0x1c, 0);
    range(APLIC + 0x1000, APLIC + 0x1c00, 0x3c, 0);
    range(APLIC + 0x4000, APLIC + APLIC_SIZE, 0x7c, 0);
    end("sources_beyond_the_last_one_and_direct_delivery_do_not_exist");
}

// A set and a clear array over the same bits; source 0 has none. Nothing is delivered meanwhile.
static void aplic_array(const char *name, u64 set, u64 clear, u64 set_number, u64 clear_number, bool clear_reads) {
    tally_begin();
    for (u32 word = 0; word < SOURCES / 32; word++) {
        u32 there = word == 0 ? ~1u : ~0u;
        u64 s = set + 4 * word, c = clear + 4 * word;
        write32(s, ~0u);
        expect(s, read32(s), there);
        write32(s, 0);
        expect(s, read32(s), there);
        write32(c, 0x00ff00ff);
        expect(s, read32(s), 0xff00ff00);
        if (!clear_reads)
            expect(c, read32(c), 0);
        write32(c, ~0u);
        expect(s, read32(s), 0);
        write32(set_number, word * 32 + 7);
        expect(s, read32(s), 1u << 7);
        write32(clear_number, word * 32 + 7);
        expect(s, read32(s), 0);
    }
    write32(set_number, 0);
    write32(set_number, SOURCES);
    write32(set_number, ~0u);
    for (u32 word = 0; word < SOURCES / 32; word++)
        expect(set + 4 * word, read32(set + 4 * word), 0);
    expect(set_number, read32(set_number), 0);
    expect(clear_number, read32(clear_number), 0);
    range(set + SOURCES / 8, set_number, 4, 0);
    range(clear + SOURCES / 8, clear_number, 4, 0);
    end(name);
}

static void aplic(void) {
    tally_begin();
    one(APLIC, 0x80000004, 1 << 8); // domaincfg: messages, little-endian
    end("domaincfg_has_one_writable_bit");
    aplic_sources();
    tally_begin();
    for (u32 word = 0; word < SOURCES / 32; word++) { // all sources are inactive
        one(APLIC + 0x1c00 + 4 * word, 0, 0);
        one(APLIC + 0x1e00 + 4 * word, 0, 0);
    }
    end("an_inactive_source_neither_pends_nor_is_enabled");
    for (u32 source = 1; source < SOURCES; source++)
        write32(sourcecfg(source), EDGE_RISE);
    aplic_array("sources_pend", APLIC + 0x1c00, APLIC + 0x1d00, APLIC + 0x1cdc, APLIC + 0x1ddc, true);
    aplic_array("sources_are_enabled", APLIC + 0x1e00, APLIC + 0x1f00, APLIC + 0x1edc, APLIC + 0x1fdc, false);
    tally_begin();
    write32(APLIC + 0x2000, 33); // setipnum_le
    expect(APLIC + 0x1c04, read32(APLIC + 0x1c04), 2);
    write32(APLIC + 0x1d04, 2);
    for (u32 word = 0; word < SOURCES / 32; word++)
        expect(APLIC + 0x1d00 + 4 * word, read32(APLIC + 0x1d00 + 4 * word), 0); // the wires are low
    for (u32 source = 1; source < SOURCES; source++)
        write32(sourcecfg(source), 7);
    expect(APLIC + 0x1d00, read32(APLIC + 0x1d00), ~1u); // low is what they wait for
    for (u32 source = 1; source < SOURCES; source++)
        write32(sourcecfg(source), 0);
    expect(APLIC + 0x1c00, read32(APLIC + 0x1c00), 0);
    end("the_wires_show_as_the_modes_see_them");
}

// ── The interrupt file of this hart ─────────────────────────────────────────────────────────────────────────────────
static void file_one(u64 reg, u64 writable) {
    static const u64 wide[] = {~0ull, 0, 0x55aa33cc0ff0f00f, 0xaa55cc33f00f0ff0};
    expect(reg, file_read(reg), 0);
    for (u32 p = 0; p < ARRAY_SIZE(wide); p++) {
        file_write(reg, wide[p] & (reg < EIP0 ? writable : ~0ull));
        expect(reg, file_read(reg), wide[p] & writable);
    }
    file_write(reg, 0);
}

static bool refused(u64 reg) {
    trap.count = 0;
    (void)file_read(reg);
    bool yes = trap.count == 1 && trap.cause == CAUSE_ILLEGAL;
    trap.count = 0;
    return yes;
}

static void file(void) {
    tally_begin();
    file_one(EIDELIVERY, 1);
    file_one(EITHRESHOLD, 0xff);
    for (u64 i = 0; i <= IDENTITIES / 64; i++) {
        file_one(EIP0 + 2 * i, i == 0 ? ~1ull : ~0ull);
        file_one(EIE0 + 2 * i, i == 0 ? ~1ull : ~0ull);
    }
    end("the_interrupt_file_has_its_registers");
    tally_begin();
    expect(EIP0 + 1, refused(EIP0 + 1), true);
    expect(EIE0 + 1, refused(EIE0 + 1), true);
    expect(0, refused(0), true);
    expect(0x1000, refused(0x1000), true);
    end("what_the_interrupt_file_has_not_is_illegal");
    tally_begin();
    for (u64 cpu = 0; cpu < cpus; cpu++)
        range(IMSIC + 0x1000 * cpu + 4, IMSIC + 0x1000 * (cpu + 1), 0x7c, 0);
    expect(IMSIC, read32(IMSIC), 0);
    write32(IMSIC, 0);
    write32(IMSIC, IDENTITIES + 1);
    write32(IMSIC, ~0u);
    for (u64 i = 0; i <= IDENTITIES / 64; i++)
        expect(EIP0 + 2 * i, file_read(EIP0 + 2 * i), 0);
    write32(IMSIC, IDENTITIES);
    expect(EIP0 + 6, file_read(EIP0 + 6), 1ull << 63);
    file_write(EIP0 + 6, 0);
    end("messages_arrive_and_identities_that_are_not_there_do_not");
}

// ── The UART ────────────────────────────────────────────────────────────────────────────────────────────────────────
static u64 uart(u32 reg) {
    return read8(UART + reg);
}
static void byte(u32 reg, u8 reset, u8 writable) {
    expect(UART + reg, uart(reg), reset);
    for (u32 p = 0; p < 256; p += 17) {
        write8(UART + reg, (u8)p);
        expect(UART + reg, uart(reg), (p & writable) | (reset & ~writable));
    }
    write8(UART + reg, reset);
    expect(UART + reg, uart(reg), reset);
}
static void is(u32 reg, u8 want) {
    expect(UART + reg, uart(reg), want);
}

static void uart_registers(void) {
    tally_begin();
    byte(UART_IER, 0, 0x0f);
    is(UART_IIR, 0x01);
    byte(UART_LCR, 0, 0xff);
    byte(UART_SCR, 0, 0xff);
    byte(UART_LSR, 0x60, 0);
    byte(UART_MSR, 0xb0, 0);
    write8(UART + UART_LCR, 0x80); // the divisor
    byte(UART_DATA, 12, 0xff);
    byte(UART_IER, 0, 0xff);
    write8(UART + UART_LCR, 0);
    is(UART_IER, 0);
    is(UART_DATA, 0); // nothing was typed
    for (u32 reg = 8; reg < UART_SIZE; reg++)
        byte(reg, 0, 0);
    end("the_UARTs_registers");
    tally_begin();
    byte(UART_MCR, 0, 0x1f);
    write8(UART + UART_MCR, 0x1f);
    (void)uart(UART_MSR); // what has changed is told once
    is(UART_MSR, 0xf0);
    write8(UART + UART_MCR, 0x10);
    is(UART_MSR, 0x0f); // all lines down, all of them changed
    is(UART_MSR, 0x00);
    write8(UART + UART_MCR, 0);
    is(UART_MSR, 0xbb);
    is(UART_MSR, 0xb0);
    end("the_modems_lines_come_back_crossed");
}

static void uart_loops(void) {
    tally_begin();
    write8(UART + UART_MCR, 0x10);
    write8(UART, 'a');
    is(UART_LSR, 0x61);
    write8(UART, 'b'); // without FIFOs there is room for one
    is(UART_LSR, 0x63);
    is(UART_LSR, 0x61); // an overrun is told once
    is(UART_DATA, 'a');
    is(UART_LSR, 0x60);
    write8(UART + UART_IER, 1);
    write8(UART, 'c');
    is(UART_IIR, 0x04);
    write8(UART + UART_IIR, 0x81); // FIFOs, a trigger at eight
    is(UART_LSR, 0x60);            // what was there is gone
    for (u32 i = 0; i < 7; i++)
        write8(UART, (u8)('a' + i));
    is(UART_IIR, 0xcc);
    write8(UART, 'h');
    is(UART_IIR, 0xc4);
    for (u32 i = 8; i < 16; i++)
        write8(UART, (u8)('a' + i));
    is(UART_LSR, 0x61);
    write8(UART + UART_IER, 5);
    write8(UART, 'q');
    is(UART_IIR, 0xc6); // the overrun first
    is(UART_LSR, 0x63);
    is(UART_IIR, 0xc4);
    for (u32 i = 0; i < 16; i++)
        is(UART_DATA, (u8)('a' + i));
    is(UART_IIR, 0xc1);
    write8(UART, 'z');
    write8(UART + UART_IIR, 0x83); // emptied
    is(UART_LSR, 0x60);
    write8(UART + UART_IER, 0);
    write8(UART + UART_IIR, 0);
    write8(UART + UART_IER, 2); // the transmitter is empty: told until it is asked for
    is(UART_IIR, 0x02);
    is(UART_IIR, 0x01);
    write8(UART, 'y');
    is(UART_IIR, 0x02);
    write8(UART + UART_IER, 0);
    is(UART_IIR, 0x01);
    is(UART_DATA, 'y');
    write8(UART + UART_MCR, 0);
    (void)uart(UART_MSR);
    end("the_UART_loops_back_with_its_interrupts_by_rank");
}

// ── The clock ───────────────────────────────────────────────────────────────────────────────────────────────────────
static u64 clock_now(void) {
    u64 low = read32(RTC);
    return (u64)read32(RTC + 4) << 32 | low;
}
static void clock_set(u64 ns) {
    write32(RTC + 4, (u32)(ns >> 32));
    write32(RTC, (u32)ns);
}
static void alarm_set(u64 ns) {
    write32(RTC + 0xc, (u32)(ns >> 32));
    write32(RTC + 8, (u32)ns);
}

static void clock_registers(void) {
    static const u64 second = 1000000000;
    u64 a = clock_now();
    CHECK("the_clock_tells_a_time_of_this_century", a / second > 1577836800 && a / second < 4102444800u, "%u s",
          a / second);
    tally_begin();
    one(RTC + 0xc, 0, ~0u);
    one(RTC + 0x10, 0, 1);
    one(RTC + 0x14, 0, 0);
    one(RTC + 0x18, 0, 0);
    one(RTC + 0x1c, 0, 0);
    range(RTC + 0x20, RTC + 0x1000, 0x1c, 0);
    expect(RTC + 8, read32(RTC + 8), 0);
    end("the_clocks_registers");
    clock_set(123456789 * second);
    u64 b = clock_now();
    CHECK("the_clock_goes_on_from_what_it_is_set_to", b / second >= 123456789 && b / second < 123456789 + 60, "%u s",
          b / second);
    clock_set(a);
    tally_begin();
    alarm_set(~0ull >> 2);
    expect(RTC + 0x18, read32(RTC + 0x18), 1);
    expect(RTC + 8, read32(RTC + 8), ~0u);
    expect(RTC + 0xc, read32(RTC + 0xc), ~0u >> 2);
    write32(RTC + 0x14, 0);
    expect(RTC + 0x18, read32(RTC + 0x18), 0);
    alarm_set(0); // of the past: at once
    expect(RTC + 0x18, read32(RTC + 0x18), 0);
    expect(RTC_IRQ, source_pending(RTC_IRQ), 0); // and silent, as it is not enabled
    write32(RTC + 0x10, 1);
    expect(RTC_IRQ, source_pending(RTC_IRQ), 1);
    write32(RTC + 0x1c, 1);
    write32(RTC + 0x10, 0);
    end("an_alarm_is_set_cleared_and_due");
    write32(RTC + 0x10, 1);
    alarm_set(clock_now() + second / 50);
    u64 until = now() + ticks_of_ms(4000);
    while (read32(RTC + 0x18) == 1 && now() < until)
        ;
    CHECK("an_alarm_comes", read32(RTC + 0x18) == 0 && source_pending(RTC_IRQ), "%u", (u64)read32(RTC + 0x18));
    write32(RTC + 0x1c, 1);
    write32(RTC + 0x10, 0);
}

void guest_main(u64 dtb) {
    (void)dtb;
    cpus = cpu_count();
    say("registers: %u CPUs\n", cpus);
    if (has_aia()) {
        aplic();
        file();
        write32(sourcecfg(RTC_IRQ), 6); // for its pending bit
    } else {
        plic_sources();
        plic_contexts();
    }
    uart_registers();
    uart_loops();
    clock_registers();
}
