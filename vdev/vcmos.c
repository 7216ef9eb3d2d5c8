// SPDX-License-Identifier: Apache-2.0
// The Motorola MC146818. Its time is the hypervisor's wall-clock time plus what the guest has set; which flags have
// risen is found out when somebody looks, and a timer runs only while an interrupt is enabled.
#include <string.h>

#include "arch.h"
#include "bus.h"
#include "irqchip.h"
#include "lock.h"
#include "mc146818.h"
#include "page.h"
#include "pc_map.h"
#include "timer.h"
#include "vm.h"
#include "vpc.h"
#include "wallclock.h"

enum {
    CMOS_SIZE = 8,
    INDEX = 0,
    DATA = 1,
    CELLS = 128,
    BASE_MEMORY = 0x15,     // KiB below 1 MiB, 16 bits
    EXTENDED_MEMORY = 0x17, // KiB from 1 MiB on, 16 bits, which end at 64 MiB; again at 0x30
    EXTENDED_AGAIN = 0x30,
    LOW_MEMORY = 0x34,  // units of 64 KiB from 16 MiB to the hole, 16 bits
    HIGH_MEMORY = 0x5b, // units of 64 KiB from 4 GiB on, 24 bits
    MEMORY_UNIT = 64 << 10,
};

static const u64 NS = 1000000000;
static const u64 DAY_SECONDS = 86400;
static const u64 UPDATE_NS = 244 * 1000; // before an update, the time is said to be about to change

struct vcmos {
    struct vdev dev; // first
    struct spinlock lock;
    u8 index;
    u8 cells[CELLS]; // those of the time hold while B_SET is set
    u8 flags;        // register C
    u64 offset;      // the guest's seconds less ours
    u64 looked_ns;   // when the flags were last brought up to date
    struct timer timer;
};

// ── Formats: binary or decimal digits, 24 hours or 12 ───────────────────────────────────────────────────────────────
static u8 encode(const struct vcmos *c, u32 v) {
    return (u8)(c->cells[REG_B] & B_BINARY ? v : v / 10 << 4 | v % 10);
}

static u32 decode(const struct vcmos *c, u8 v) {
    return mc146818_number(v, c->cells[REG_B]);
}

static u8 encode_hour(const struct vcmos *c, u32 hour) {
    if (c->cells[REG_B] & B_24_HOURS)
        return encode(c, hour);
    return encode(c, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? HOUR_PM : 0);
}

static u64 seconds_now(const struct vcmos *c) {
    return wallclock_seconds() + c->offset;
}

// The time of day, into the cells.
static void cells_fill(struct vcmos *c) {
    const struct date d = date_of(seconds_now(c));
    c->cells[SECONDS] = encode(c, d.second);
    c->cells[MINUTES] = encode(c, d.minute);
    c->cells[HOURS] = encode_hour(c, d.hour);
    c->cells[WEEKDAY] = encode(c, d.weekday);
    c->cells[DAY] = encode(c, d.day);
    c->cells[MONTH] = encode(c, d.month);
    c->cells[YEAR] = encode(c, d.year % 100);
    c->cells[CENTURY] = encode(c, d.year / 100);
}

static void cells_take(struct vcmos *c) {
    u32 century = decode(c, c->cells[CENTURY]);
    const u32 year = decode(c, c->cells[YEAR]) % 100;
    if (century < 19 || century > 99 || (century == 19 && year < 70)) // there is no time before 1970
        century = 20;
    const struct date d = {
        .second = decode(c, c->cells[SECONDS]),
        .minute = decode(c, c->cells[MINUTES]),
        .hour = mc146818_hour(c->cells[HOURS], c->cells[REG_B]),
        .day = decode(c, c->cells[DAY]),
        .month = decode(c, c->cells[MONTH]),
        .year = century * 100 + year,
    };
    c->offset += epoch_of(&d) - seconds_now(c);
}

static bool is_time(u32 index) {
    return index == SECONDS || index == MINUTES || index == HOURS || (index >= WEEKDAY && index <= YEAR) ||
           index == CENTURY;
}

// ── Flags and interrupts ────────────────────────────────────────────────────────────────────────────────────────────
static u64 period_ns(const struct vcmos *c) {
    const u32 rate = c->cells[REG_A] & A_RATE;
    if (rate == 0)
        return 0;
    return NS >> (16 - (rate < 3 ? rate + 7 : rate)); // 32.768 kHz >> (rate - 1)
}

static bool alarm_field(u8 alarm, u8 value) {
    return (alarm & ALARM_ANY) == ALARM_ANY || alarm == value;
}

// Does the alarm match at this second?
static bool alarm_at(const struct vcmos *c, u64 seconds) {
    const u32 of_day = (u32)(seconds % DAY_SECONDS);
    return alarm_field(c->cells[SECONDS_ALARM], encode(c, of_day % 60)) &&
           alarm_field(c->cells[MINUTES_ALARM], encode(c, of_day / 60 % 60)) &&
           alarm_field(c->cells[HOURS_ALARM], encode_hour(c, of_day / 3600));
}

// Locked: raises what has come due since the last look. The alarm comes once a day at least, so a longer time need not
// be looked at; nobody makes us do it more often than time passes.
static void look(struct vcmos *c) {
    const u64 now = arch_now_ns(), before = c->looked_ns, period = period_ns(c);
    c->looked_ns = now;
    if (period && now / period != before / period)
        c->flags |= B_PERIODIC;
    if (now / NS == before / NS || (c->cells[REG_B] & B_SET))
        return;
    c->flags |= B_UPDATE;
    const u64 second = seconds_now(c), passed = MIN(now / NS - before / NS, DAY_SECONDS);
    for (u64 i = 0; i < passed; i++)
        if (alarm_at(c, second - i))
            c->flags |= B_ALARM;
}

// Locked: the line, and the timer for the next of the enabled events.
static void update(struct vcmos *c) {
    const u8 enabled = c->cells[REG_B] & (B_PERIODIC | B_ALARM | B_UPDATE);
    const u64 now = c->looked_ns, period = period_ns(c);
    u64 next = TIMER_NEVER;
    irqchip_set(c->dev.vm, PC_PIN_CMOS, c->flags & enabled);
    if (enabled & (B_ALARM | B_UPDATE))
        next = (now / NS + 1) * NS;
    if ((enabled & B_PERIODIC) && period)
        next = MIN(next, (now / period + 1) * period);
    timer_arm(&c->timer, enabled & c->flags ? TIMER_NEVER : next); // until register C is read, the line stays up
}

static void fired(struct timer *t) {
    struct vcmos *c = container_of(t, struct vcmos, timer);
    spin_lock(&c->lock);
    look(c);
    update(c);
    spin_unlock(&c->lock);
}

// ── Registers ───────────────────────────────────────────────────────────────────────────────────────────────────────
static u8 cell_read(struct vcmos *c) {
    u8 value;
    look(c);
    switch (c->index) {
    case REG_A:
        value = c->cells[REG_A];
        if (!(c->cells[REG_B] & B_SET) && arch_now_ns() % NS >= NS - UPDATE_NS)
            value |= A_UPDATING;
        return value;
    case REG_C:
        value = c->flags;
        if (value & c->cells[REG_B] & (B_PERIODIC | B_ALARM | B_UPDATE))
            value |= C_REQUEST;
        c->flags = 0;
        update(c);
        return value;
    case REG_D:
        return D_VALID;
    default:
        if (is_time(c->index) && !(c->cells[REG_B] & B_SET))
            cells_fill(c);
        return c->cells[c->index];
    }
}

static void cell_write(struct vcmos *c, u8 value) {
    const u8 old = c->cells[REG_B];
    look(c);
    switch (c->index) {
    case REG_A:
        c->cells[REG_A] = value & (u8)~A_UPDATING;
        break;
    case REG_B:
        if ((value & B_SET) && !(old & B_SET))
            cells_fill(c);
        c->cells[REG_B] = value & B_SET ? value & (u8)~B_UPDATE : value;
        if ((old & B_SET) && !(value & B_SET))
            cells_take(c);
        break;
    case REG_C:
    case REG_D:
        return;
    default:
        if (is_time(c->index) && !(old & B_SET))
            cells_fill(c);
        c->cells[c->index] = value;
        if (is_time(c->index) && !(old & B_SET))
            cells_take(c);
        break;
    }
    update(c);
}

static int cmos_access(struct vdev *dev, struct bus_access *a) {
    struct vcmos *c = (struct vcmos *)dev;
    spin_lock(&c->lock);
    if (a->offset == INDEX && a->write)
        c->index = (u8)a->value & (CELLS - 1); // the top bit masks the NMI, which there is none of
    else if (a->offset == DATA && a->write)
        cell_write(c, (u8)a->value);
    else if (!a->write)
        a->value = a->offset == DATA ? cell_read(c) : 0xff;
    spin_unlock(&c->lock);
    return 0;
}

static void cells_put(struct vcmos *c, u32 index, u64 value, u32 bytes) {
    for (u32 i = 0; i < bytes; i++)
        c->cells[index + i] = (u8)(value >> 8 * i);
}

// How much memory there is, where a PC's firmware leaves it. A boot loader that is not handed a memory map looks here.
static void memory_fill(struct vcmos *c) {
    const u64 memory = c->dev.vm->cfg.memory, low = MIN(memory, PC_HOLE);
    const u64 extended = low > PC_HIGH ? (low - PC_HIGH) >> 10 : 0;
    cells_put(c, BASE_MEMORY, MIN(memory, PC_LOW_END) >> 10, 2);
    cells_put(c, EXTENDED_MEMORY, MIN(extended, 0xffff), 2);
    cells_put(c, EXTENDED_AGAIN, MIN(extended, 0xffff), 2);
    cells_put(c, LOW_MEMORY, low > MIB(16) ? (low - MIB(16)) / MEMORY_UNIT : 0, 2);
    cells_put(c, HIGH_MEMORY, (memory - low) / MEMORY_UNIT, 3);
}

// The clock and the memory have a battery: a reset leaves them alone, but for what firmware writes each time.
static void cmos_reset(struct vdev *dev) {
    struct vcmos *c = (struct vcmos *)dev;
    spin_lock(&c->lock);
    c->index = 0;
    c->flags = 0;
    c->cells[REG_A] = A_RESET;
    c->cells[REG_B] = B_24_HOURS;
    memory_fill(c);
    c->looked_ns = arch_now_ns();
    update(c);
    spin_unlock(&c->lock);
}

int vcmos_create(struct vm *vm) {
    struct vcmos *c = page_alloc(0);
    if (c == nullptr)
        return -ENOMEM;
    c->dev = (struct vdev){"MC146818", vm, gpa(PC_CMOS), CMOS_SIZE, cmos_access, cmos_reset};
    spin_init(&c->lock, LOCK_DEVICE);
    timer_init(&c->timer, fired);
    const int err = bus_add(&vm->ports, &c->dev);
    if (err) {
        page_free(c, 0);
        return err;
    }
    cmos_reset(&c->dev);
    return 0;
}

void vcmos_destroy(struct vm *vm) {
    struct vdev *dev = bus_remove(&vm->ports, cmos_access);
    if (dev == nullptr)
        return;
    struct vcmos *c = (struct vcmos *)dev;
    timer_cancel_sync(&c->timer);
    page_free(c, 0);
}
