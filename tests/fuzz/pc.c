// SPDX-License-Identifier: Apache-2.0
// The small devices of a PC against models of them after their data sheets: interval timer (8254), clock and memory
// (MC146818), keyboard controller (8042) without a keyboard, ACPI's timer and sleep register, the ways to a reset. Any
// access, and time. Every read is the model's, the pins are as it says, each interrupt of the timer has come, and what
// resets or switches off does so, and nothing else.
#include <string.h>
#include <time.h>

#include "../bare_vm.h"
#include "arch.h"
#include "cpu.h"
#include "fuzz.h"
#include "pc_map.h"
#include "vm.h"
#include "vpc.h"
#include "wallclock.h"

enum { NS_PER_S = 1000000000, PIT_HZ = 1193182, PM_HZ = 3579545, PIT_PERIOD_MIN_NS = 50000 };
enum { CELLS = 128, SECOND = 0, MINUTE = 2, HOUR = 4, WEEKDAY = 6, DAY, MONTH, YEAR, REG_A, REG_B, REG_C, REG_D };
enum { CENTURY = 0x32, RATE = 15, SET = 0x80, PERIODIC = 0x40, ALARM = 0x20, UPDATE = 0x10, BINARY = 4, HOURS_24 = 2 };

static struct vm vm;
static bool line[24];
static u32 edges, resets, offs; // edges: of the interval timer's pin

struct counter {
    u32 access, mode, reload, low, latch, status;
    bool bcd, gate, counts, high_next_write, high_next_read, latched, status_latched;
    u64 start_ns, next_ns;
};
static struct {
    struct counter counter[3];
    bool pit_line;
    u32 edges, port_b;
    u8 cells[CELLS], index, flags;
    int64_t offset; // of the guest's clock, in seconds
    u64 looked_ns;
    u8 config, status, answer, wants;
    u8 reset_register;
    u32 resets, offs;
} model;

bool vm_stop(struct vm *of, enum vm_stop cause, const char *reason, ...) {
    FUZZ_CHECK(of == &vm && reason);
    resets += cause == VM_STOP_RESET;
    offs += cause == VM_STOP_SHUTDOWN;
    return true;
}

static void irq_set(struct vm *of, u32 irq, bool level) {
    FUZZ_CHECK(of == &vm && (irq == PC_PIN_PIT || irq == PC_PIN_CMOS));
    edges += irq == PC_PIN_PIT && level && !line[irq];
    line[irq] = level;
}

static const struct irqchip_ops irqchip = {.set = irq_set};

// ── Interval timer ──────────────────────────────────────────────────────────────────────────────────────────────────
static u64 ticks_of(const struct counter *c) {
    return (u64)((unsigned __int128)(arch_now_ns() - c->start_ns) * PIT_HZ / NS_PER_S);
}

static u64 ns_of(u64 ticks) { // rounded up
    return (ticks * NS_PER_S + PIT_HZ - 1) / PIT_HZ;
}

static void pit_line(bool level) {
    model.edges += level && !model.pit_line;
    model.pit_line = level;
}

static u32 count_of(const struct counter *c) {
    u64 ticks = ticks_of(c), wrap = c->bcd ? 10000 : 0x10000;
    if (!c->counts)
        return (u32)(c->reload % wrap);
    if (c->mode == 3)
        return (u32)((c->reload - 2 * ticks % c->reload) % wrap);
    if (c->mode == 2)
        return (u32)((c->reload - ticks % c->reload) % wrap);
    return (u32)((c->reload % wrap + wrap - ticks % wrap) % wrap); // goes on below 0
}

static u32 shown(const struct counter *c) {
    u32 v = count_of(c);
    return c->bcd ? v / 1000 % 10 << 12 | v / 100 % 10 << 8 | v / 10 % 10 << 4 | v % 10 : v;
}

static bool out_of(const struct counter *c) {
    u64 ticks = ticks_of(c);
    if (!c->counts)
        return c->mode != 0;
    switch (c->mode) {
    case 2: // low in the last tick
        return ticks % c->reload != c->reload - 1;
    case 3: // high for a half, and the odd tick
        return ticks % c->reload < (c->reload + 1) / 2;
    case 4: // low for a tick
    case 5:
        return ticks != c->reload;
    default:
        return ticks >= c->reload;
    }
}

static void pit_start(u32 n) {
    struct counter *c = &model.counter[n];
    c->start_ns = arch_now_ns();
    c->next_ns = c->counts ? c->start_ns + ns_of(c->reload) : TIMER_NEVER;
    if (n == 0)
        pit_line(c->mode != 0);
}

static void pit_load(u32 n, u32 value) {
    struct counter *c = &model.counter[n];
    if (c->bcd)
        value = (value & 15) + (value >> 4 & 15) * 10 + (value >> 8 & 15) * 100 + (value >> 12 & 15) * 1000;
    c->reload = value ? value : c->bcd ? 10000 : 0x10000;
    c->counts = c->gate && c->mode != 1 && c->mode != 5; // those wait for the gate to rise
    pit_start(n);
}

static void pit_write(u32 n, u32 value) {
    struct counter *c = &model.counter[n];
    if (c->access == 1) {
        pit_load(n, value);
    } else if (c->access == 2) {
        pit_load(n, value << 8);
    } else if (c->high_next_write) {
        c->high_next_write = false;
        pit_load(n, value << 8 | c->low);
    } else {
        c->high_next_write = true;
        c->low = value;
    }
}

static u32 pit_read(u32 n) {
    struct counter *c = &model.counter[n];
    if (c->status_latched) {
        c->status_latched = false;
        return c->status;
    }
    u32 value = c->latched ? c->latch : shown(c);
    bool high = c->access == 2 || (c->access == 3 && c->high_next_read);
    if (c->access == 3)
        c->high_next_read = !c->high_next_read;
    if (c->access != 3 || high)
        c->latched = false;
    return (high ? value >> 8 : value) & 0xff;
}

static void pit_latch(struct counter *c) {
    if (!c->latched)
        c->latch = shown(c);
    c->latched = true;
}

static void pit_control(u32 value) {
    u32 which = value >> 6;
    if (which == 3) { // read-back
        for (u32 n = 0; n < 3; n++) {
            struct counter *c = &model.counter[n];
            if (!(value & 2u << n))
                continue;
            if (!(value & 0x20))
                pit_latch(c);
            if (!(value & 0x10) && !c->status_latched) {
                c->status_latched = true;
                c->status = (u32)out_of(c) << 7 | (u32)!c->counts << 6 | c->access << 4 | c->mode << 1 | c->bcd;
            }
        }
        return;
    }
    struct counter *c = &model.counter[which];
    if ((value >> 4 & 3) == 0) {
        pit_latch(c);
        return;
    }
    bool gate = c->gate;
    *c = (struct counter){.access = value >> 4 & 3, .mode = value >> 1 & 7, .bcd = value & 1, .gate = gate};
    c->mode = c->mode > 5 ? c->mode - 4 : c->mode;
    c->reload = 0x10000;
    pit_start(which);
}

static void port_b_write(u32 value) {
    struct counter *c = &model.counter[2];
    bool gate = value & 1;
    if (gate != c->gate) {
        c->counts = c->gate = gate;
        if (gate)
            pit_start(2);
    }
    model.port_b = value & 3;
}

static u32 port_b_read(void) {
    return model.port_b | (arch_now_ns() / 15085 % 2) << 4 | (u32)out_of(&model.counter[2]) << 5;
}

static void pit_time(u64 now) {
    struct counter *c = &model.counter[0];
    while (c->next_ns <= now) {
        pit_line(false);
        pit_line(true);
        bool again = c->mode == 2 || c->mode == 3;
        c->next_ns = again ? c->next_ns + MAX(ns_of(c->reload), PIT_PERIOD_MIN_NS) : TIMER_NEVER;
    }
}

// ── Clock ───────────────────────────────────────────────────────────────────────────────────────────────────────────
static u8 encode(u32 v) {
    return (u8)(model.cells[REG_B] & BINARY ? v : v / 10 * 16 + v % 10);
}

static u32 decode(u32 v) {
    return model.cells[REG_B] & BINARY ? v : v / 16 * 10 + v % 16;
}

static u8 encode_hour(u32 h) {
    if (model.cells[REG_B] & HOURS_24)
        return encode(h);
    return (u8)(encode(h % 12 ? h % 12 : 12) | (h >= 12 ? 0x80 : 0));
}

static u32 decode_hour(u32 v) {
    if (model.cells[REG_B] & HOURS_24)
        return decode(v) % 24;
    return (decode(v & 0x7f) % 12 + (v & 0x80 ? 12 : 0)) % 24;
}

static time_t seconds(void) {
    return (time_t)wallclock_seconds() + model.offset;
}

static void fill(void) {
    struct tm t;
    time_t now = seconds();
    FUZZ_CHECK(gmtime_r(&now, &t));
    model.cells[SECOND] = encode((u32)t.tm_sec);
    model.cells[MINUTE] = encode((u32)t.tm_min);
    model.cells[HOUR] = encode_hour((u32)t.tm_hour);
    model.cells[WEEKDAY] = encode((u32)t.tm_wday + 1);
    model.cells[DAY] = encode((u32)t.tm_mday);
    model.cells[MONTH] = encode((u32)t.tm_mon + 1);
    model.cells[YEAR] = encode((u32)(t.tm_year + 1900) % 100);
    model.cells[CENTURY] = encode((u32)(t.tm_year + 1900) / 100);
}

// What is no date is the nearest there is; before 1970 none is.
static void set_clock(void) {
    u32 century = decode(model.cells[CENTURY]), year = decode(model.cells[YEAR]) % 100;
    u32 month = decode(model.cells[MONTH]), day = decode(model.cells[DAY]);
    century = century < 19 || century > 99 || (century == 19 && year < 70) ? 20 : century;
    struct tm t = {.tm_sec = (int)decode(model.cells[SECOND]) % 60,
                   .tm_min = (int)decode(model.cells[MINUTE]) % 60,
                   .tm_hour = (int)decode_hour(model.cells[HOUR]),
                   .tm_mday = (int)(day < 1    ? 1
                                    : day > 31 ? 31
                                               : day),
                   .tm_mon = (int)(month < 1    ? 1
                                   : month > 12 ? 12
                                                : month) -
                             1,
                   .tm_year = (int)(century * 100 + year) - 1900};
    u64 days = 0; // timegm, which is not in POSIX
    for (int y = 70; y < t.tm_year; y++)
        days += 365 + (y % 4 == 0 && (y % 100 != 0 || (y + 300) % 400 == 0));
    static const u16 before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    bool leap = t.tm_year % 4 == 0 && (t.tm_year % 100 != 0 || (t.tm_year + 300) % 400 == 0);
    days += before[t.tm_mon] + (leap && t.tm_mon > 1) + (u32)t.tm_mday - 1;
    model.offset += (int64_t)(days * 86400) + t.tm_hour * 3600 + t.tm_min * 60 + t.tm_sec - seconds();
}

static bool is_time(u32 i) {
    return i == SECOND || i == MINUTE || i == HOUR || (i >= WEEKDAY && i <= YEAR) || i == CENTURY;
}

static u64 period_ns(void) {
    static const u32 hz[] = {0, 256, 128, 8192, 4096, 2048, 1024, 512, 256, 128, 64, 32, 16, 8, 4, 2};
    u32 rate = hz[model.cells[REG_A] & RATE];
    return rate ? NS_PER_S / rate : 0;
}

static bool matches(u32 cell, u8 value) {
    return model.cells[cell] >= 0xc0 || model.cells[cell] == value;
}

// What has come to pass since the last look.
static void look(u64 now) {
    u64 before = model.looked_ns, period = period_ns();
    model.looked_ns = now;
    if (period && now / period > before / period)
        model.flags |= PERIODIC;
    if (model.cells[REG_B] & SET)
        return;
    for (u64 passed = now / NS_PER_S - before / NS_PER_S; passed-- > 0;) {
        time_t second = seconds() - (time_t)passed;
        model.flags |= UPDATE;
        if (matches(SECOND + 1, encode((u32)(second % 60))) && matches(MINUTE + 1, encode((u32)(second / 60 % 60))) &&
            matches(HOUR + 1, encode_hour((u32)(second / 3600 % 24))))
            model.flags |= ALARM;
    }
}

static u32 cmos_read(void) {
    u64 now = arch_now_ns();
    u32 value = model.cells[model.index];
    look(now);
    if (model.index == REG_A)
        return value | (!(model.cells[REG_B] & SET) && now % NS_PER_S >= NS_PER_S - 244000 ? 0x80 : 0);
    if (model.index == REG_C) {
        value = model.flags;
        model.flags = 0;
        return value | (value & model.cells[REG_B] & (PERIODIC | ALARM | UPDATE) ? 0x80 : 0);
    }
    if (model.index == REG_D)
        return 0x80;
    if (is_time(model.index) && !(model.cells[REG_B] & SET))
        fill();
    return model.cells[model.index];
}

static void cmos_write(u8 value) {
    u8 old = model.cells[REG_B];
    look(arch_now_ns());
    if (model.index == REG_A) {
        model.cells[REG_A] = value & 0x7f;
    } else if (model.index == REG_B) {
        if ((value & SET) && !(old & SET))
            fill();
        model.cells[REG_B] = value & SET ? value & (u8)~UPDATE : value;
        if ((old & SET) && !(value & SET))
            set_clock();
    } else if (model.index != REG_C && model.index != REG_D) {
        bool runs = is_time(model.index) && !(old & SET);
        if (runs)
            fill();
        model.cells[model.index] = value;
        if (runs)
            set_clock();
    }
}

static void firmware(void) { // vm.cfg.memory is 3 MiB
    static const u8 cells[][2] = {{0x15, 0x80}, {0x16, 2}, {0x17, 0}, {0x18, 8}, {0x30, 0},     {0x31, 8}, {0x34, 0},
                                  {0x35, 0},    {0x5b, 0}, {0x5c, 0}, {0x5d, 0}, {REG_A, 0x26}, {REG_B, 2}};
    for (u32 i = 0; i < ARRAY_SIZE(cells); i++)
        model.cells[cells[i][0]] = cells[i][1];
}

// ── Keyboard controller ─────────────────────────────────────────────────────────────────────────────────────────────
static void kbc_answer(u8 value) {
    model.answer = value;
    model.status = (model.status & 0xbe) | 1;
}

static void kbc_command(u8 value) {
    model.wants = value == 0x60 || value == 0xd1 || value == 0xd4 ? value : 0;
    model.status |= 8;
    if (value == 0x20)
        kbc_answer(model.config);
    else if (value == 0xa7 || value == 0xa8)
        model.config = (u8)((model.config & 0xdf) | (value == 0xa7) << 5);
    else if (value == 0xad || value == 0xae)
        model.config = (u8)((model.config & 0xef) | (value == 0xad) << 4);
    else if (value == 0xa9 || value == 0xab)
        kbc_answer(0);
    else if (value == 0xd0)
        kbc_answer(3);
    else if (value == 0xaa) {
        model.config |= 4;
        model.status |= 4;
        kbc_answer(0x55);
    } else if (value >= 0xf0 && !(value & 1))
        model.resets++;
}

static void kbc_data(u8 value) {
    u8 wants = model.wants;
    model.wants = 0;
    model.status &= 0xf7;
    if (wants == 0x60) {
        model.config = value;
        model.status = (model.status & 0xfb) | (value & 4);
    } else if (wants == 0xd1) {
        model.resets += !(value & 1);
    } else {
        kbc_answer(0xfe);
        model.status |= 0x40;
    }
}

// ── Ports ───────────────────────────────────────────────────────────────────────────────────────────────────────────
static void port_write(u32 port, u32 size, u32 value) {
    u8 byte = (u8)value;
    if (port >= 0x40 && port < 0x43)
        pit_write(port - 0x40, byte);
    else if (port == 0x43)
        pit_control(byte);
    else if (port == 0x60)
        kbc_data(byte);
    else if (port == 0x61)
        port_b_write(byte);
    else if (port == 0x64)
        kbc_command(byte);
    else if (port == 0x70)
        model.index = byte & 0x7f;
    else if (port == 0x71)
        cmos_write(byte);
    else if (port == 0x92)
        model.resets += byte & 1;
    else if (port == 0x600)
        model.offs += (byte & 0x3c) == 0x34;
    else if (port == 0xcf9 && size == 1) {
        model.reset_register = byte & 0x0a;
        model.resets += byte >> 2 & 1;
    }
}

static u32 port_read(u32 port, u32 size) {
    if (port >= 0x40 && port < 0x43)
        return pit_read(port - 0x40);
    if (port == 0x61)
        return port_b_read();
    if (port == 0x60) {
        model.status &= 0xbe;
        return model.answer;
    }
    if (port == 0x64)
        return model.status;
    if (port == 0x71)
        return cmos_read();
    if (port == 0x92)
        return 2;
    if (port >= 0x600 && port < 0x610) {
        u32 pm = (u32)((unsigned __int128)arch_now_ns() * PM_HZ / NS_PER_S);
        return port >= 0x608 && port < 0x60c ? pm >> 8 * (port - 0x608) : 0;
    }
    return port == 0xcf9 && size == 1 ? model.reset_register : ~0u;
}

// ── Steps ───────────────────────────────────────────────────────────────────────────────────────────────────────────
static void check(void) {
    u64 now = arch_now_ns();
    pit_time(now);
    FUZZ_CHECK(line[PC_PIN_PIT] == model.pit_line && edges == model.edges);
    u8 due = model.flags & model.cells[REG_B] & (PERIODIC | ALARM | UPDATE);
    if (due)
        FUZZ_CHECK(line[PC_PIN_CMOS]);
    FUZZ_CHECK(resets == model.resets && offs == model.offs);
}

// The pin has what is enabled as soon as it comes to pass, unlike the flags, which are found out when they are read.
static void check_clock(void) {
    if (model.cells[REG_B] & (PERIODIC | ALARM | UPDATE)) {
        look(arch_now_ns());
        FUZZ_CHECK(line[PC_PIN_CMOS] == (bool)(model.flags & model.cells[REG_B] & (PERIODIC | ALARM | UPDATE)));
    } else {
        FUZZ_CHECK(!line[PC_PIN_CMOS]);
    }
}

static void access_port(struct fuzz *f) {
    static const u16 ports[] = {0x40, 0x41, 0x42, 0x43, 0x43,  0x61,  0x60,  0x64, 0x70,
                                0x71, 0x71, 0x71, 0x92, 0x600, 0x608, 0xcf9, 0xcf8};
    u8 how = fuzz_u8(f);
    u32 size = how >= 0xf0 ? 1u << how % 3 : 1;
    u32 port = how >= 0xe8 ? 0x40 + (fuzz_u8(f) & 0x3f) : ports[how % 64 % ARRAY_SIZE(ports)];
    port &= ~(size - 1);
    if (port == 0x70 || (port == 0x71 && !(how & 0x40))) { // the cell is chosen first
        u8 cell = fuzz_u8(f);
        model.index = cell & 0x80 ? cell & 15 : cell & 0x7f;
        struct bus_access a = {.size = 1, .write = true, .value = model.index};
        FUZZ_CHECK(bus_access(&vm.ports, gpa(0x70), &a) == 0);
    }
    struct bus_access a = {.size = (u8)size, .write = how & 0x80, .value = 0};
    if (a.write)
        a.value = fuzz_number(f, size);
    u64 value = a.value;
    int err = bus_access(&vm.ports, gpa(port), &a);
    bool there = port - 0x40 < 8 || port - 0x60 < 8 || port - 0x70 < 8 || port - 0x90 < 8 || port - 0x600 < 16 ||
                 port - 0xcf8 < 8;
    FUZZ_CHECK((err == 0) == there);
    if (there && a.write)
        port_write(port, size, (u32)value);
    else if (there) {
        u64 mask = BIT(8 * size) - 1, expected = port_read(port, size);
        bool byte = expected < 0x100 && size > 1 && port < 0x600;
        FUZZ_CHECK(((a.value ^ expected) & (byte ? 0xff : mask)) == 0);
    }
}

static void advance(struct fuzz *f) {
    u8 how = fuzz_u8(f);
    u64 ns = (u64)fuzz_u16(f) << (how & 15);
    if (how & 0x10)
        ns = NS_PER_S - arch_now_ns() % NS_PER_S - (how & 0x20 ? 1000 : 0); // at a second's end
    if (how & 0x40 && model.counter[0].next_ns == TIMER_NEVER)
        ns *= 997;
    host_advance(ns);
}

static void restart(void) {
    bus_reset(&vm.ports);
    pit_line(false);
    for (u32 n = 0; n < 3; n++)
        model.counter[n] = (struct counter){.access = 3, .gate = n != 2, .reload = 0x10000, .next_ns = TIMER_NEVER};
    model.port_b = 0;
    model.index = model.flags = model.answer = model.wants = model.reset_register = 0;
    model.config = 0x24;
    model.status = 4;
    firmware();
    model.looked_ns = arch_now_ns();
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size) {
    struct fuzz f = {data, size};
    bare_vm(&vm, NULL, 0);
    smp_init(host_board(), 0);
    vm.irqchip_ops = &irqchip;
    vm.cfg.memory = MIB(3);
    memset(line, 0, sizeof(line));
    memset(&model, 0, sizeof(model));
    wallclock_set(fuzz_u32(&f));
    FUZZ_CHECK(vpit_create(&vm) == 0 && vcmos_create(&vm) == 0 && vacpi_pm_create(&vm) == 0);
    FUZZ_CHECK(vkbc_create(&vm) == 0 && vreset_create(&vm) == 0);
    edges = resets = offs = 0;
    restart();
    while (fuzz_more(&f)) {
        u8 what = fuzz_u8(&f);
        if (what < 0xc0)
            access_port(&f);
        else if (what < 0xff)
            advance(&f);
        else
            restart();
        check();
        check_clock();
    }
    vreset_destroy(&vm);
    vkbc_destroy(&vm);
    vacpi_pm_destroy(&vm);
    vcmos_destroy(&vm);
    vpit_destroy(&vm);
    return 0;
}
