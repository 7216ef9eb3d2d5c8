// SPDX-License-Identifier: Apache-2.0
// The Intel 8254. A counter is a time at which it was loaded: what it shows is computed when it is looked at, and only
// counter 0, whose output is an interrupt, has a timer.
#include "vpc.h"

#include "arch.h"
#include "bus.h"
#include "irqchip.h"
#include "lock.h"
#include "page.h"
#include "pc_map.h"
#include "timer.h"
#include "vm.h"

enum {
    PIT_SIZE = 8,
    COUNTERS = 3,
    CONTROL = 3,
    PIT_HZ = 1193182,
    READ_BACK = 3, // as "counter" of a control word
    READ_BACK_NO_COUNT = 0x20,
    READ_BACK_NO_STATUS = 0x10,
    ACCESS_LATCH = 0,
    ACCESS_LOW = 1,
    ACCESS_HIGH = 2,
    STATUS_OUT = 0x80,
    STATUS_NULL = 0x40,
    MODE_COUNT = 0, // interrupt on terminal count
    MODE_ONE_SHOT = 1,
    MODE_RATE = 2,
    MODE_SQUARE = 3,
    MODE_STROBE = 4,
    MODE_GATED_STROBE = 5,
    PORT_B_GATE = 0x01,
    PORT_B_SPEAKER = 0x02,
    PORT_B_REFRESH = 0x10,
    PORT_B_OUT = 0x20,
};
static const u64 NS = 1000000000;
static const u64 TICK_MIN_NS = 50 * 1000; // what a guest gets at most, as with the local APIC's timer

struct counter {
    u8 access, mode;
    bool bcd;
    bool gate;
    bool loaded;                // it counts
    bool write_high, read_high; // the next byte of a pair is the high one
    u8 low;                     // the first byte written of a pair
    u32 reload;                 // 1…65536
    u64 start_ns;               // when it was loaded
    bool latched, status_latched;
    u16 latch;
    u8 status;
};

struct vpit {
    struct vdev dev; // first
    struct spinlock lock;
    struct counter counters[COUNTERS];
    u8 port_b;
    bool level; // of counter 0's output, as the IOAPIC knows it
    u64 next_ns;
    struct timer timer;
};

static u64 ticks_since(u64 start_ns) {
    const u64 ns = arch_now_ns() - start_ns;
    return ns / NS * PIT_HZ + ns % NS * PIT_HZ / NS;
}

static u64 ticks_to_ns(u64 ticks) {
    return (ticks * NS + PIT_HZ - 1) / PIT_HZ;
}

static bool periodic(const struct counter *c) {
    return c->mode == MODE_RATE || c->mode == MODE_SQUARE;
}

static u32 count_now(const struct counter *c) {
    if (!c->loaded)
        return c->reload;
    const u64 ticks = ticks_since(c->start_ns);
    if (c->mode == MODE_SQUARE) // down by two, twice
        return c->reload - (u32)(ticks * 2 % c->reload);
    if (c->mode == MODE_RATE)
        return c->reload - (u32)(ticks % c->reload);
    if (c->bcd) // goes on below 0
        return (u32)(c->reload + 10000 - ticks % 10000) % 10000;
    return (u32)(c->reload - ticks) & 0xffff;
}

static bool out_now(const struct counter *c) {
    const u64 ticks = ticks_since(c->start_ns);
    if (!c->loaded)
        return c->mode != MODE_COUNT;
    switch (c->mode) {
    case MODE_RATE: // low for the last tick only
        return ticks % c->reload != c->reload - 1;
    case MODE_SQUARE:
        return ticks % c->reload < (c->reload + 1) / 2;
    case MODE_STROBE: // low for one tick
    case MODE_GATED_STROBE:
        return ticks != c->reload;
    default:
        return ticks >= c->reload;
    }
}

static u32 from_bcd(u32 v) {
    return (v & 0xf) + (v >> 4 & 0xf) * 10 + (v >> 8 & 0xf) * 100 + (v >> 12 & 0xf) * 1000;
}

static u32 to_bcd(u32 v) {
    return v % 10 | v / 10 % 10 << 4 | v / 100 % 10 << 8 | v / 1000 % 10 << 12;
}

// Locked. Sets counter 0's line to `level`; an edge upwards is an interrupt.
static void line_put(struct vpit *p, bool level) {
    if (level == p->level)
        return;
    p->level = level;
    irqchip_set(p->dev.vm, PC_PIN_PIT, level);
}

// Locked: counter 0 was loaded.
static void arm(struct vpit *p) {
    const struct counter *c = &p->counters[0];
    timer_cancel(&p->timer);
    line_put(p, c->mode != MODE_COUNT); // where its output begins
    if (!c->loaded)
        return;
    p->next_ns = c->start_ns + ticks_to_ns(c->reload);
    timer_arm(&p->timer, p->next_ns);
}

static void fired(struct timer *t) {
    struct vpit *p = container_of(t, struct vpit, timer);
    const struct counter *c = &p->counters[0];
    spin_lock(&p->lock);
    if (c->loaded && arch_now_ns() >= p->next_ns) { // else the guest has changed its mind
        line_put(p, false);
        line_put(p, true);
        if (periodic(c)) { // ticks that were missed are one
            const u64 period = MAX(ticks_to_ns(c->reload), TICK_MIN_NS), now = arch_now_ns();
            p->next_ns += ((now - p->next_ns) / period + 1) * period;
            timer_arm(&p->timer, p->next_ns);
        }
    }
    spin_unlock(&p->lock);
}

static void load(struct vpit *p, struct counter *c, u32 value) {
    if (c->bcd)
        value = from_bcd(value);
    c->reload = value ? value : c->bcd ? 10000 : 0x10000;
    c->loaded = c->gate && c->mode != MODE_ONE_SHOT && c->mode != MODE_GATED_STROBE; // those wait for the gate's rise
    c->start_ns = arch_now_ns();
    if (c == &p->counters[0])
        arm(p);
}

static void counter_write(struct vpit *p, struct counter *c, u8 value) {
    if (c->access == ACCESS_LOW) {
        load(p, c, value);
    } else if (c->access == ACCESS_HIGH) {
        load(p, c, (u32)value << 8);
    } else if (!c->write_high) {
        c->low = value;
        c->write_high = true;
    } else {
        c->write_high = false;
        load(p, c, (u32)value << 8 | c->low);
    }
}

static u16 shown(const struct counter *c) {
    const u32 count = count_now(c);
    return (u16)(c->bcd ? to_bcd(count % 10000) : count);
}

static u8 counter_read(struct counter *c) {
    if (c->status_latched) {
        c->status_latched = false;
        return c->status;
    }
    const u16 value = c->latched ? c->latch : shown(c);
    if (c->access == ACCESS_LOW || c->access == ACCESS_HIGH) {
        c->latched = false;
        return c->access == ACCESS_LOW ? (u8)value : (u8)(value >> 8);
    }
    const bool high = c->read_high;
    c->read_high = !high;
    c->latched = c->latched && !high;
    return high ? (u8)(value >> 8) : (u8)value;
}

static void latch_count(struct counter *c) {
    if (!c->latched)
        c->latch = shown(c);
    c->latched = true;
}

static void control_write(struct vpit *p, u8 value) {
    const u32 which = value >> 6, access = value >> 4 & 3;
    if (which == READ_BACK) {
        for (u32 n = 0; n < COUNTERS; n++) {
            struct counter *c = &p->counters[n];
            if (!(value >> (n + 1) & 1))
                continue;
            if (!(value & READ_BACK_NO_COUNT))
                latch_count(c);
            if (!(value & READ_BACK_NO_STATUS) && !c->status_latched) {
                c->status_latched = true;
                c->status = (u8)((out_now(c) ? STATUS_OUT : 0) | (c->loaded ? 0 : STATUS_NULL) | c->access << 4 |
                                 c->mode << 1 | c->bcd);
            }
        }
        return;
    }
    struct counter *c = &p->counters[which];
    if (access == ACCESS_LATCH) {
        latch_count(c);
        return;
    }
    const u32 mode = value >> 1 & 7;
    *c = (struct counter){
        .access = (u8)access,
        .mode = (u8)(mode > 5 ? mode - 4 : mode), // 6 and 7 are 2 and 3
        .bcd = value & 1,
        .gate = which != 2 || (p->port_b & PORT_B_GATE),
        .reload = 0x10000,
    };
    if (which == 0)
        arm(p);
}

static int pit_access(struct vdev *dev, struct bus_access *a) {
    struct vpit *p = (struct vpit *)dev;
    const u32 offset = (u32)a->offset;
    spin_lock(&p->lock);
    if (offset > CONTROL) {
        a->value = 0xff;
    } else if (a->write) {
        if (offset == CONTROL)
            control_write(p, (u8)a->value);
        else
            counter_write(p, &p->counters[offset], (u8)a->value);
    } else {
        a->value = offset == CONTROL ? 0xff : counter_read(&p->counters[offset]);
    }
    spin_unlock(&p->lock);
    return 0;
}

static struct vpit *pit_of(struct vm *vm) {
    struct bus *bus = &vm->ports;
    for (u32 i = 0; i < bus->count; i++)
        if (bus->devices[i]->access == pit_access)
            return (struct vpit *)bus->devices[i];
    return nullptr;
}

// The refresh bit toggles every 15 µs: software measures short times by it.
u8 vpit_port_b_read(struct vm *vm) {
    struct vpit *p = pit_of(vm);
    if (p == nullptr)
        return 0;
    spin_lock(&p->lock);
    const u8 value =
        (u8)((p->port_b & (PORT_B_GATE | PORT_B_SPEAKER)) | (arch_now_ns() / 15085 % 2 ? PORT_B_REFRESH : 0) |
             (out_now(&p->counters[2]) ? PORT_B_OUT : 0));
    spin_unlock(&p->lock);
    return value;
}

// The gate's rise starts counter 2 anew in most modes; in mode 0 it lets it go on, which software that measures does
// not tell from a start.
void vpit_port_b_write(struct vm *vm, u8 value) {
    struct vpit *p = pit_of(vm);
    if (p == nullptr)
        return;
    spin_lock(&p->lock);
    struct counter *c = &p->counters[2];
    const bool gate = value & PORT_B_GATE;
    if (gate && !c->gate) {
        c->start_ns = arch_now_ns();
        c->loaded = true;
    } else if (!gate) {
        c->loaded = false;
    }
    c->gate = gate;
    p->port_b = value;
    spin_unlock(&p->lock);
}

static void pit_reset(struct vdev *dev) {
    struct vpit *p = (struct vpit *)dev;
    spin_lock(&p->lock);
    timer_cancel(&p->timer);
    for (u32 n = 0; n < COUNTERS; n++)
        p->counters[n] = (struct counter){.access = 3, .gate = n != 2, .reload = 0x10000};
    p->port_b = 0;
    line_put(p, false);
    spin_unlock(&p->lock);
}

int vpit_create(struct vm *vm) {
    struct vpit *p = page_alloc(0);
    if (p == nullptr)
        return -ENOMEM;
    p->dev = (struct vdev){"8254", vm, gpa(PC_PIT), PIT_SIZE, pit_access, pit_reset};
    spin_init(&p->lock, LOCK_DEVICE);
    timer_init(&p->timer, fired);
    const int err = bus_add(&vm->ports, &p->dev);
    if (err) {
        page_free(p, 0);
        return err;
    }
    pit_reset(&p->dev);
    return 0;
}

void vpit_destroy(struct vm *vm) {
    struct vdev *dev = bus_remove(&vm->ports, pit_access);
    if (dev == nullptr)
        return;
    struct vpit *p = (struct vpit *)dev;
    timer_cancel_sync(&p->timer);
    page_free(p, 0);
}
