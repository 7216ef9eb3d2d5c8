// SPDX-License-Identifier: Apache-2.0
// Every register of the emulated devices, from a table: what it holds at reset, which bits a write changes, and what
// its neighbours that do not exist read. Run before anything else has touched the devices.
#include "guest.h"

enum { LINES = 288, WORDS = LINES / 32 };
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

struct reg {
    u64 at;
    u32 reset, writable; // the bits that keep what is written
};

static void at_reset(const char *name, const struct reg *regs, u32 count) {
    tally_begin();
    for (u32 i = 0; i < count; i++)
        expect(regs[i].at, read32(regs[i].at), regs[i].reset);
    end(name);
}

// Ones, zeros and two patterns, each read back; then the reset value again.
static void writable(const char *name, const struct reg *regs, u32 count) {
    static const u32 patterns[] = {~0u, 0, 0x55aa33cc, 0xaa55cc33};
    tally_begin();
    for (u32 i = 0; i < count; i++) {
        const struct reg *r = &regs[i];
        for (u32 p = 0; p < ARRAY_SIZE(patterns); p++) {
            write32(r->at, patterns[p]);
            expect(r->at, read32(r->at), (patterns[p] & r->writable) | (r->reset & ~r->writable));
        }
        write32(r->at, r->reset);
        expect(r->at, read32(r->at), r->reset);
    }
    end(name);
}

#define TABLE(name, ...)                                                                                               \
    static void name(void) {                                                                                           \
        static const struct reg regs[] = {__VA_ARGS__};                                                                \
        at_reset(#name "_at_reset", regs, ARRAY_SIZE(regs));                                                           \
        writable(#name "_read_only_and_reserved_bits", regs, ARRAY_SIZE(regs));                                        \
    }

// One security state, affinity routing for good, no LPIs, 32 private interrupts and 256 SPIs.
TABLE(distributor, {GICD, 0x50, 3}, {GICD + 4, 9u << 19 | (WORDS - 1), 0}, {GICD + 8, 0x4200043b, 0},
      {GICD + 0xc, 0, 0}, {GICD + 0x10, 0, 0}, {GICD + 0x40, 0, 0}, {GICD + 0x48, 0, 0}, {GICD + 0x50, 0, 0},
      {GICD + 0x58, 0, 0}, {GICD + 0xd04, 0, 0}, {GICD + 0xe04, 0, 0}, {GICD + 0xf00, 0, 0}, {GICD + 0xf10, 0, 0},
      {GICD + 0xf20, 0, 0}, {GICD + 0x80, 0, 0}, {GICD + 0x100, 0, 0}, {GICD + 0x180, 0, 0}, {GICD + 0x200, 0, 0},
      {GICD + 0x300, 0, 0}, {GICD + 0x400, 0, 0}, {GICD + 0x41c, 0, 0}, {GICD + 0x800, 0, 0}, {GICD + 0x820, 0, 0},
      {GICD + 0xc00, 0, 0}, {GICD + 0xc04, 0, 0}, {GICD + 0x6000, 0, 0}, {GICD + 0x60f8, 0, 0}, {GICD + 0xc000, 0, 0},
      {GICD + 0xffc0, 0, 0})

TABLE(distributor_identification, {GICD + 0xffd0, 0x44, 0}, {GICD + 0xffd4, 0, 0}, {GICD + 0xffd8, 0, 0},
      {GICD + 0xffdc, 0, 0}, {GICD + 0xffe0, 0x92, 0}, {GICD + 0xffe4, 0xb4, 0}, {GICD + 0xffe8, 0x3b, 0},
      {GICD + 0xffec, 0, 0}, {GICD + 0xfff0, 0x0d, 0}, {GICD + 0xfff4, 0xf0, 0}, {GICD + 0xfff8, 0x05, 0},
      {GICD + 0xfffc, 0xb1, 0})

// What is typed there is not for us, and the interrupt stays masked in the controller.
TABLE(uart, {UART + 4, 0, 0}, {UART + 8, 0, 0}, {UART + 0xc, 0, 0}, {UART + 0x14, 0, 0}, {UART + 0x18, 0x97, 0},
      {UART + 0x1c, 0, 0}, {UART + 0x20, 0, 0xff}, {UART + 0x24, 0, 0xffff}, {UART + 0x28, 0, 0x3f},
      {UART + 0x2c, 0, 0xff}, {UART + 0x34, 0x12, 0x3f}, {UART + 0x38, 0, 0x7ff}, {UART + 0x48, 0, 7},
      {UART + 0x4c, 0, 0}, {UART + 0x80, 0, 0}, {UART + 0xffc, 0xb1, 0}, {UART + 0xfe0, 0x11, 0},
      {UART + 0xfe4, 0x10, 0}, {UART + 0xfe8, 0x34, 0}, {UART + 0xfec, 0, 0}, {UART + 0xff0, 0x0d, 0},
      {UART + 0xff4, 0xf0, 0}, {UART + 0xff8, 0x05, 0})

// The match and the load come last: a write to them may match at once.
TABLE(clock_registers, {RTC + 0xc, 1, 0}, {RTC + 0x10, 0, 1}, {RTC + 0x18, 0, 0}, {RTC + 0x1c, 0, 0},
      {RTC + 0x20, 0, 0}, {RTC + 0x80, 0, 0}, {RTC + 0xfe0, 0x31, 0}, {RTC + 0xfe4, 0x10, 0}, {RTC + 0xfe8, 0x04, 0},
      {RTC + 0xfec, 0, 0}, {RTC + 0xff0, 0x0d, 0}, {RTC + 0xff4, 0xf0, 0}, {RTC + 0xff8, 0x05, 0},
      {RTC + 0xffc, 0xb1, 0}, {RTC + 4, 0, ~0u}, {RTC + 8, 0, ~0u})

static void one(u64 at, u32 reset, u32 mask) {
    u32 patterns[] = {~0u, 0, 0x55aa33cc};
    expect(at, read32(at), reset);
    for (u32 p = 0; p < ARRAY_SIZE(patterns); p++) {
        write32(at, patterns[p]);
        expect(at, read32(at), (patterns[p] & mask) | (reset & ~mask));
    }
    write32(at, reset);
}

// A pair of a set and a clear register that show the same bits. What pends goes nowhere: nothing is enabled.
static void pair(u64 set, u64 clear, u32 mask) {
    expect(set, read32(set), 0);
    expect(clear, read32(clear), 0);
    write32(set, 0x0ff0f00f);
    expect(set, read32(set), 0x0ff0f00f & mask);
    expect(clear, read32(clear), 0x0ff0f00f & mask);
    write32(clear, 0x00ff0000);
    expect(set, read32(set), 0x0f00f00f & mask);
    write32(set, 0);
    expect(clear, read32(clear), 0x0f00f00f & mask);
    write32(clear, ~0u);
    expect(set, read32(set), 0);
}

static void banks(u64 base, u32 first, u32 last, const char *name) {
    tally_begin();
    for (u32 w = first; w < last; w++) {
        one(base + 0x80 + 4 * w, 0, ~0u);
        pair(base + 0x100 + 4 * w, base + 0x180 + 4 * w, ~0u);
        pair(base + 0x200 + 4 * w, base + 0x280 + 4 * w, ~0u);
        pair(base + 0x300 + 4 * w, base + 0x380 + 4 * w, ~0u);
        for (u32 i = 0; i < 8; i++)
            one(base + 0x400 + 32 * w + 4 * i, 0, 0xf8f8f8f8);
    }
    end(name);
}

static void beyond(void) {
    tally_begin();
    for (u32 bank = 0x80; bank < 0x400; bank += 0x80)
        for (u32 w = WORDS; w < 32; w++)
            one(GICD + bank + 4 * w, 0, 0);
    for (u32 at = 0x400 + LINES; at < 0x800; at += 4)
        one(GICD + at, 0, 0);
    for (u32 at = 0xc00 + LINES / 4; at < 0xd00; at += 4)
        one(GICD + at, 0, 0);
    for (u32 at = 0x6000 + 8 * LINES; at < 0x8000; at += 4)
        one(GICD + at, 0, 0);
    end("interrupts_beyond_the_last_one_do_not_exist");
}

static void routes(void) {
    tally_begin();
    for (u32 irq = 32; irq < LINES; irq++) {
        u64 at = GICD + 0x6000 + 8 * irq;
        one(at, 0, 0x80ffffff);
        one(at + 4, 0, 0xff);
        u64 v;
        __asm__ volatile("str %0, [%1]" ::"r"(~0ull), "r"(at) : "memory");
        __asm__ volatile("ldr %0, [%1]" : "=r"(v) : "r"(at) : "memory");
        expect(at, v, 0xff80ffffff);
        __asm__ volatile("str xzr, [%0]" ::"r"(at) : "memory");
    }
    for (u32 at = 0xc08; at < 0xc00 + LINES / 4; at += 4)
        one(GICD + at, 0, 0xaaaaaaaa);
    end("routes_and_triggers_of_every_SPI");
}

static void redistributors(void) {
    tally_begin();
    for (u64 cpu = 0; cpu < cpus; cpu++) {
        u64 at = GICR + cpu * GICR_STRIDE, sgi = at + GICR_SGI;
        one(at, 0, 0);
        one(at + 4, 0x4200043b, 0);
        one(at + 8, (u32)(cpu << 8 | (cpu + 1 == cpus ? 16 : 0)), 0);
        one(at + 0xc, (u32)cpu, 0);
        one(at + 0x10, 0, 0);
        one(at + 0x40, 0, 0);
        one(at + 0x70, 0, 0); // PROPBASER, PENDBASER: no LPIs
        one(at + 0x78, 0, 0);
        one(at + 0xffd0, 0x44, 0);
        one(at + 0xffe0, 0x92, 0);
        one(at + 0xffe4, 0xb4, 0);
        one(at + 0xffe8, 0x3b, 0);
        one(at + 0xfffc, 0xb1, 0);
        // WAKER: the children sleep as soon as they are told to, and only then
        expect(at + 0x14, read32(at + 0x14), 6);
        write32(at + 0x14, 0);
        expect(at + 0x14, read32(at + 0x14), 0);
        write32(at + 0x14, ~0u);
        expect(at + 0x14, read32(at + 0x14), 6);
        one(sgi + 0xc00, 0xaaaaaaaa, 0);
        one(sgi + 0xc04, 0, 0xaaaaaaaa & ~(2u << 2 * (PPI_CNTV - 16)));
        one(sgi + 0xc08, 0, 0);
        one(sgi + 0xd00, 0, 0);
        one(sgi + 0xe00, 0, 0);
        one(sgi + 0x84, 0, 0);
        one(sgi + 0x104, 0, 0);
        one(sgi + 0x420, 0, 0);
    }
    end("redistributors_registers");
    for (u64 cpu = 0; cpu < cpus; cpu++)
        banks(GICR + cpu * GICR_STRIDE + GICR_SGI, 0, 1, "private_interrupts_enable_pend_activate_and_prioritise");
}

// Interrupt state that changes with the output: RIS.TX comes with what is printed here.
static void uart_lines(void) {
    tally_begin();
    write32(UART + 0x38, 0);
    expect(UART + 0x30, read32(UART + 0x30), 0x300);
    write32(UART + 0x30, ~0u);
    expect(UART + 0x30, read32(UART + 0x30), 0xff87);
    write32(UART + 0x30, 0xfc80); // loopback: the modem's lines come back crossed
    expect(UART + 0x18, read32(UART + 0x18) & 0x107, 0x107);
    write32(UART + 0x30, 0x0080);
    expect(UART + 0x18, read32(UART + 0x18) & 0x107, 0);
    write32(UART + 0x30, 0x300);
    write32(UART + 0x44, 0x7ff);
    expect(UART + 0x3c, read32(UART + 0x3c), 0);
    write32(UART + 0x3c, ~0u);
    write32(UART + 0x40, ~0u);
    expect(UART + 0x3c, read32(UART + 0x3c), 0);
    write32(UART + 0x30, 0x380); // loopback of a byte: overrun, errors and interrupts by the book
    write32(UART, 'a');
    write32(UART, 'b');
    expect(UART + 4, read32(UART + 4), 8);
    expect(UART + 0x3c, read32(UART + 0x3c), 0x470);
    write32(UART + 0x38, 0x10);
    expect(UART + 0x40, read32(UART + 0x40), 0x10);
    expect(UART + 0x18, read32(UART + 0x18) & 0x50, 0x40);
    expect(UART, read32(UART) & 0xff, 'a');
    expect(UART + 0x18, read32(UART + 0x18) & 0x50, 0x10);
    write32(UART + 4, 0);
    expect(UART + 4, read32(UART + 4), 0);
    write32(UART + 0x38, 0);
    write32(UART + 0x44, 0x7ff);
    write32(UART + 0x30, 0x300);
    end("the_UART_loops_back");
}

static void clock_tells(void) {
    u32 a = read32(RTC);
    CHECK("the_clock_tells_a_time_of_this_century", a > 1577836800 && a < 4102444800u, "%u", (u64)a);
    write32(RTC, 0);
    CHECK("the_clocks_count_cannot_be_written", read32(RTC) - a < 60, "%u", (u64)read32(RTC));
}

static void clock_runs(void) {
    write32(RTC + 8, 1000);
    CHECK("the_clock_goes_on_from_what_it_is_loaded_with", read32(RTC) - 1000 < 60 && read32(RTC + 8) == 1000, "%u, %u",
          (u64)read32(RTC), (u64)read32(RTC + 8));
    write32(RTC + 0x1c, 1);
    write32(RTC + 4, read32(RTC) + 1);
    u64 until = now() + ticks_of_ms(4000);
    while (!(read32(RTC + 0x14) & 1) && now() < until)
        ;
    CHECK("the_clock_matches", (read32(RTC + 0x14) & 1) && !(read32(RTC + 0x18) & 1), "%x", (u64)read32(RTC + 0x14));
    write32(RTC + 0x10, 1);
    CHECK("a_match_that_is_unmasked_shows", read32(RTC + 0x18) == 1, "%x", (u64)read32(RTC + 0x18));
    write32(RTC + 0x1c, 1);
    CHECK("a_match_goes_when_it_is_cleared", read32(RTC + 0x14) == 0 && read32(RTC + 0x18) == 0, "%x",
          (u64)read32(RTC + 0x14));
}

void guest_main(u64 dtb) {
    (void)dtb;
    while (psci_affinity_info(cpus) >= 0)
        cpus++;
    say("registers: %u CPUs\n", cpus);
    distributor();
    distributor_identification();
    redistributors();
    banks(GICD, 1, WORDS, "SPIs_enable_pend_activate_and_prioritise");
    routes();
    beyond();
    uart();
    uart_lines();
    clock_tells();
    clock_registers();
    clock_runs();
}
