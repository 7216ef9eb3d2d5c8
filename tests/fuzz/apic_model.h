// SPDX-License-Identifier: Apache-2.0
// The model that apic.c holds the local APICs and the IOAPIC against: Intel's SDM (volume 3, chapter 11) and the
// 82093AA's data sheet, with vectors as single bits, and messages that find their APICs one by one.
#pragma once

#include <string.h>

#include "arch.h"
#include "fuzz.h"
#include "host.h"
#include "vioapic.h"
#include "vm.h"

enum {
    VCPUS_MAX = 10,
    VECTORS = 256,
    PINS = VIOAPIC_PINS,
    TICK_NS = 16,
    PERIOD_MIN_NS = 20000,
    UNTAKEN_MIN_NS = 1000000
};
enum { FIXED, LOWEST, NMI = 4, INIT, SIPI };
enum { TIMER, ERROR = 5, LVTS, MASKED = 1 << 16, PERIODIC = 1, DEADLINE = 2 };
enum { SW_ENABLE = 1 << 8, SEND_ILLEGAL = 1 << 5, RECEIVE_ILLEGAL = 1 << 6, ILLEGAL_REGISTER = 1 << 7 };
#define LEVEL BIT(15)
#define REMOTE_IRR BIT(14)

static struct vm vm; // of which it knows the number of vCPUs
static const bool none[8];

struct apic {
    bool enabled, x2, nmi, news;
    bool irr[VECTORS], isr[VECTORS], tmr[VECTORS];
    u32 tpr, ldr, dfr, svr, lvt[LVTS], esr;
    u32 errors, fresh; // since ESR was written; those that no interrupt has told of yet
    u64 icr;
    u32 divider, initial;
    u64 end_ns, fire_ns; // the count is 0 (0: it stands); something happens (TIMER_NEVER)
    u64 deadline, tsc_offset;
};
static struct {
    struct apic apic[VCPUS_MAX];
    u32 turn;
    u32 stopped, started, vm_stops;
    u64 start_entry;
    u64 entry[PINS];
    bool line[PINS], edge[PINS];
    u32 select, id;
} model;

// ── The model: vectors ──────────────────────────────────────────────────────────────────────────────────────────────
static u32 highest(const bool *set) {
    u32 v = VECTORS - 1;
    while (v > 8 && memcmp(set + v - 7, none, sizeof(none)) == 0)
        v -= sizeof(none);
    while (v && !set[v])
        v--;
    return v; // 0…15 are never in it
}

static u32 ppr(const struct apic *a) {
    u32 served = highest(a->isr);
    return a->tpr >> 4 >= served >> 4 ? a->tpr : served & 0xf0;
}

// What the processor would take with its IF set; 0: nothing.
static u32 deliverable(const struct apic *a) {
    u32 v = highest(a->irr);
    return v >> 4 > ppr(a) >> 4 ? v : 0;
}

static bool takes(const struct apic *a) {
    return a->enabled && (a->svr & SW_ENABLE);
}

static void post(struct apic *a, u32 vector, bool level) {
    if (!takes(a))
        return;
    if (vector < 16) {
        a->fresh |= RECEIVE_ILLEGAL;
        return;
    }
    a->news = a->news || !a->irr[vector];
    a->irr[vector] = true;
    a->tmr[vector] = level;
}

struct message {
    u32 dest, vector, mode;
    bool logical, x2, level;
};

static bool is_for(u32 id, const struct message *m) {
    const struct apic *a = &model.apic[id];
    if (m->dest == (m->x2 ? 0xffffffff : 0xff))
        return true;
    if (!m->logical)
        return m->dest == id;
    if (a->x2) // cluster 0, as ids are below 16
        return m->dest < 0x10000 && (m->dest >> id & 1);
    if (a->dfr >> 28 == 0xf)
        return m->dest & a->ldr >> 24;
    return m->dest >> 4 == a->ldr >> 28 && (m->dest & 0xf & a->ldr >> 24);
}

static u32 set_of(const struct message *m) {
    u32 set = 0;
    for (u32 id = 0; id < vm.vcpu_count; id++)
        set |= (u32)is_for(id, m) << id;
    return set;
}

// One of those that can take it; whose turn it is says a counter.
static u32 lowest(u32 set) {
    u32 able = 0;
    for (u32 id = 0; id < vm.vcpu_count; id++)
        able |= (u32)((set >> id & 1) && takes(&model.apic[id])) << id;
    if (!able)
        return 0;
    u32 id = model.turn++ % vm.vcpu_count;
    while (!(able >> id & 1))
        id = (id + 1) % vm.vcpu_count;
    return 1u << id;
}

static void deliver(u32 set, const struct message *m) {
    if (m->mode == LOWEST)
        set = lowest(set);
    for (u32 id = 0; id < vm.vcpu_count; id++) {
        struct apic *a = &model.apic[id];
        if (!(set >> id & 1))
            continue;
        if (m->mode == NMI)
            a->nmi = a->news = true;
        else if (m->mode == FIXED || m->mode == LOWEST)
            post(a, m->vector, m->level);
    }
}

static void icr_send(u32 by, u64 icr, bool x2) {
    struct message m = {(u32)(x2 ? icr >> 32 : icr >> 56), icr & 0xff, icr >> 8 & 7, icr >> 11 & 1, x2, false};
    u32 shorthand = icr >> 18 & 3, all = (1u << vm.vcpu_count) - 1;
    u32 set = shorthand == 0 ? set_of(&m) : shorthand == 1 ? 1u << by : shorthand == 2 ? all : all & ~(1u << by);
    bool with_self = shorthand == 1 || shorthand == 2; // neither INIT nor SIPI knows these
    bool deassert = (icr & LEVEL) && !(icr & BIT(14));
    if (m.mode == INIT && !with_self && !deassert) {
        model.vm_stops += set & 1;
        model.stopped |= set & 1 ? 0 : set;
    } else if (m.mode == SIPI && !with_self && set) {
        model.started |= set;
        model.start_entry = m.vector << 12;
    } else if ((m.mode == FIXED || m.mode == LOWEST) && m.vector < 16) {
        model.apic[by].fresh |= SEND_ILLEGAL;
    } else if (m.mode < INIT) {
        deliver(set, &m);
    }
}

// ── The model: IOAPIC ───────────────────────────────────────────────────────────────────────────────────────────────
static void pin_evaluate(u32 pin) {
    u64 *e = &model.entry[pin];
    bool level = *e & LEVEL;
    if ((*e & MASKED) || (level ? !model.line[pin] || (*e & REMOTE_IRR) : !model.edge[pin]))
        return;
    struct message m = {(u32)(*e >> 56), *e & 0xff, *e >> 8 & 7, *e >> 11 & 1, false, level};
    if (level && m.mode <= LOWEST)
        *e |= REMOTE_IRR;
    if (!level)
        model.edge[pin] = false;
    deliver(set_of(&m), &m);
}

static void pin_set(u32 pin, bool level) {
    if (pin >= PINS)
        return;
    bool rise = level && !model.line[pin];
    model.line[pin] = level;
    model.edge[pin] = level && (model.edge[pin] || rise); // waits behind a mask as long as the line is up
    if (rise)
        pin_evaluate(pin);
}

static void io_eoi(u32 vector) {
    for (u32 pin = 0; pin < PINS; pin++) {
        if ((model.entry[pin] & 0xff) != vector || !(model.entry[pin] & REMOTE_IRR))
            continue;
        model.entry[pin] &= ~REMOTE_IRR;
        pin_evaluate(pin);
    }
}

static void io_write(u32 reg, u32 value) {
    u32 pin = (reg - 0x10) / 2;
    if (reg == 0)
        model.id = value & 0x0f000000;
    if (reg < 0x10 || pin >= PINS)
        return;
    u64 *e = &model.entry[pin];
    if (reg & 1)
        *e = (*e & 0xffffffff) | (u64)(value & 0xff000000) << 32;
    else
        *e = (*e & ~0xffffffffull) | (value & 0x1afff) | (value & LEVEL ? *e & REMOTE_IRR : 0);
    if (!(reg & 1))
        pin_evaluate(pin);
}

static u32 io_read(u32 reg) {
    if (reg == 0 || reg == 2)
        return model.id;
    if (reg == 1)
        return 0x170020;
    return reg >= 0x10 && reg < 0x10 + 2 * PINS ? (u32)(model.entry[(reg - 0x10) / 2] >> (reg & 1) * 32) : 0;
}

static void model_eoi(struct apic *a) {
    u32 v = highest(a->isr);
    if (v == 0)
        return;
    a->isr[v] = false;
    if (a->tmr[v])
        io_eoi(v);
}

// ── The model: timer ────────────────────────────────────────────────────────────────────────────────────────────────
static u32 timer_mode(const struct apic *a) {
    return a->lvt[TIMER] >> 17 & 3;
}

static u64 divisor(const struct apic *a) { // table 11-10
    static const u32 by[] = {2, 4, 8, 16, 32, 64, 128, 1};
    return by[(a->divider & 3) | (a->divider >> 1 & 4)];
}

static u64 period(const struct apic *a) {
    return a->initial * divisor(a);
}

static u64 count_left(const struct apic *a) {
    u64 now = arch_now_ns(), left = a->end_ns > now ? a->end_ns - now : 0;
    if (timer_mode(a) == DEADLINE || a->end_ns == 0)
        return 0;
    if (timer_mode(a) == PERIODIC && left == 0)
        left = period(a) - (now - a->end_ns) % period(a);
    return left / divisor(a);
}

static bool expire(struct apic *a) {
    u32 vector = a->lvt[TIMER] & 0xff;
    bool told = !(a->lvt[TIMER] & MASKED) && vector >= 16 && takes(a) && !a->irr[vector];
    if (!(a->lvt[TIMER] & MASKED))
        post(a, vector, false);
    return told;
}

static void deadline_arm(struct apic *a, u64 now) {
    u64 tsc = now / TICK_NS + a->tsc_offset;
    a->fire_ns = TIMER_NEVER;
    if (a->deadline == 0)
        return;
    if (a->deadline > tsc) {
        a->fire_ns = now + MIN(a->deadline - tsc, BIT(50)) * TICK_NS + 1;
        return;
    }
    a->deadline = 0;
    expire(a);
}

static void fire(struct apic *a, u64 now) {
    if (timer_mode(a) == DEADLINE) {
        deadline_arm(a, now);
    } else if (timer_mode(a) == PERIODIC) {
        u64 p = MAX(period(a), 1);
        while (p < PERIOD_MIN_NS && a->end_ns + 1000 * p <= now)
            a->end_ns += 1000 * p;
        do
            a->end_ns += p;
        while (a->end_ns <= now);
        u64 least = expire(a) ? PERIOD_MIN_NS : UNTAKEN_MIN_NS;
        a->fire_ns = MAX(a->end_ns, now + least);
    } else {
        a->end_ns = 0;
        a->fire_ns = TIMER_NEVER;
        expire(a);
    }
}

static void advance(u64 ns) {
    u64 start = arch_now_ns(), end = start + ns;
    host_advance(ns);
    for (u32 n = 0; n < vm.vcpu_count; n++)
        while (model.apic[n].fire_ns <= end)
            fire(&model.apic[n], MAX(model.apic[n].fire_ns, start));
}

static void timer_stop(struct apic *a) {
    a->end_ns = a->deadline = 0;
    a->fire_ns = TIMER_NEVER;
}

static void timer_write(struct apic *a, u32 reg, u32 value) {
    u64 now = arch_now_ns(), left = count_left(a);
    if (reg == 0x380) {
        if (timer_mode(a) == DEADLINE)
            return;
        a->initial = value;
        a->end_ns = value ? now + period(a) : 0;
        a->fire_ns = value ? a->end_ns : TIMER_NEVER;
        return;
    }
    a->divider = value & 0xb;
    if (a->end_ns)
        a->end_ns = a->fire_ns = now + left * divisor(a);
}

// ── The model: registers ────────────────────────────────────────────────────────────────────────────────────────────
static const u32 lvt_bits[LVTS] = {0x700ff, 0x107ff, 0x107ff, 0x1a7ff, 0x1a7ff, 0x100ff};

static void reset_registers(struct apic *a) {
    struct apic was = *a;
    *a = (struct apic){.enabled = was.enabled, .x2 = was.x2, .dfr = 0xffffffff, .svr = 0xff};
    a->tsc_offset = was.tsc_offset;
    timer_stop(a);
    for (u32 i = 0; i < LVTS; i++)
        a->lvt[i] = MASKED;
}

static u32 bits_of(const bool *set, u32 word) {
    u32 value = 0;
    for (u32 i = 0; i < 32; i++)
        value |= (u32)set[word * 32 + i] << i;
    return value;
}

// False: there is no such register.
static bool reg_read(u32 n, u32 reg, u64 *value) {
    const struct apic *a = &model.apic[n];
    u32 word = reg / 16 % 8;
    if (reg >= 0x100 && reg < 0x280)
        *value = bits_of(reg < 0x180 ? a->isr : reg < 0x200 ? a->tmr : a->irr, word);
    else if (reg >= 0x320 && reg <= 0x370)
        *value = a->lvt[(reg - 0x320) / 16];
    else if (reg == 0x20)
        *value = a->x2 ? n : n << 24;
    else if (reg == 0x30)
        *value = 0x50014;
    else if (reg == 0x80)
        *value = a->tpr;
    else if (reg == 0xa0)
        *value = ppr(a);
    else if (reg == 0xd0)
        *value = a->x2 ? 1u << n : a->ldr;
    else if (reg == 0xf0)
        *value = a->svr;
    else if (reg == 0x280)
        *value = a->esr;
    else if (reg == 0x300)
        *value = a->x2 ? a->icr : (u32)a->icr;
    else if (reg == 0x380)
        *value = a->initial;
    else if (reg == 0x390)
        *value = (u32)count_left(a);
    else if (reg == 0x3e0)
        *value = a->divider;
    else if (!a->x2 && (reg == 0xe0 || reg == 0x310))
        *value = reg == 0xe0 ? a->dfr : a->icr >> 32;
    else if (!a->x2 && (reg == 0x90 || reg == 0xb0 || reg == 0xc0)) // of older processors
        *value = 0;
    else
        return false;
    return true;
}

static void lvt_write(struct apic *a, u32 i, u32 value) {
    u32 mode = value >> 17 & 3;
    value &= lvt_bits[i];
    if (!(a->svr & SW_ENABLE))
        value |= MASKED;
    if (i == TIMER && mode != timer_mode(a) && (mode == DEADLINE || timer_mode(a) == DEADLINE)) {
        timer_stop(a);
        a->initial = 0;
    }
    a->lvt[i] = value;
}

static bool reg_write(u32 n, u32 reg, u32 value) {
    struct apic *a = &model.apic[n];
    if (reg == 0x80) {
        a->tpr = value & 0xff;
    } else if (reg == 0xb0) {
        model_eoi(a);
    } else if (reg == 0xf0) {
        a->svr = value & 0x3ff;
        for (u32 i = 0; i < LVTS && !(value & SW_ENABLE); i++)
            a->lvt[i] |= MASKED;
    } else if (reg == 0x280) {
        a->esr = a->errors | a->fresh;
        a->errors = a->fresh = 0;
    } else if (reg >= 0x320 && reg <= 0x370) {
        lvt_write(a, (reg - 0x320) / 16, value);
    } else if (reg == 0x380 || reg == 0x3e0) {
        timer_write(a, reg, value);
    } else {
        return false;
    }
    return true;
}

static void page_write(u32 n, u32 reg, u32 value) {
    struct apic *a = &model.apic[n];
    if (reg == 0xd0) {
        a->ldr = value & 0xff000000;
    } else if (reg == 0xe0) {
        a->dfr = value | 0x0fffffff;
    } else if (reg == 0x310) {
        a->icr = (u32)a->icr | (u64)(value & 0xff000000) << 32;
    } else if (reg == 0x300) {
        a->icr = (a->icr & ~0xffffffffull) | (value & 0xccfff);
        icr_send(n, a->icr, false);
    } else if (reg != 0x20 && !reg_write(n, reg, value)) {
        a->fresh |= ILLEGAL_REGISTER;
    }
}

// What may be one in each x2APIC register that can be written.
static u64 x2_bits(u32 reg) {
    if (reg >= 0x320 && reg <= 0x370)
        return lvt_bits[(reg - 0x320) / 16] | 0x5000;
    return reg == 0x300                  ? 0xffffffff000cdfff
           : reg == 0x80 || reg == 0x3f0 ? 0xff
           : reg == 0xf0                 ? 0x3ff
           : reg == 0x3e0                ? 0xb
           : reg == 0xb0 || reg == 0x280 ? 0
                                         : 0xffffffff;
}

// False: #GP.
static bool x2_write(u32 n, u32 reg, u64 value) {
    struct apic *a = &model.apic[n];
    if (value & ~x2_bits(reg))
        return false;
    if (reg == 0x300) {
        a->icr = value & ~BIT(12);
        icr_send(n, a->icr, true);
    } else if (reg == 0x3f0) {
        a->fresh |= value < 16 ? SEND_ILLEGAL : 0;
        post(a, (u32)value, false);
    } else {
        return reg_write(n, reg, (u32)value);
    }
    return true;
}

static bool base_write(struct apic *a, u64 value) {
    bool enable = value & BIT(11), x2 = value & BIT(10);
    if ((value & ~0xd00ull) != 0xfee00000 || (x2 && !enable)) // x2 alone is no mode
        return false;
    if ((x2 && !a->enabled) || (enable && !x2 && a->x2)) // off → x2APIC → xAPIC
        return false;
    if (!enable && a->enabled)
        reset_registers(a);
    if (enable != a->enabled || x2 != a->x2)
        a->icr = 0;
    a->enabled = enable;
    a->x2 = x2;
    return true;
}

static bool msr_read(u32 n, u32 msr, u64 *value) {
    const struct apic *a = &model.apic[n];
    if (msr == 0x1b) {
        *value = 0xfee00000 | (n == 0) << 8 | (u32)a->x2 << 10 | (u32)a->enabled << 11;
        return true;
    }
    if (msr == 0x6e0) {
        *value = a->deadline;
        return true;
    }
    return a->x2 && msr >= 0x800 && msr < 0x840 && reg_read(n, (msr - 0x800) * 16, value);
}

static bool msr_write(u32 n, u32 msr, u64 value) {
    struct apic *a = &model.apic[n];
    if (msr == 0x1b)
        return base_write(a, value);
    if (msr == 0x6e0) {
        if (timer_mode(a) == DEADLINE) {
            a->deadline = value;
            deadline_arm(a, arch_now_ns());
        }
        return true;
    }
    return a->x2 && msr >= 0x800 && msr < 0x840 && x2_write(n, (msr - 0x800) * 16, value);
}
