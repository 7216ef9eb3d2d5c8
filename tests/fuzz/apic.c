// SPDX-License-Identifier: Apache-2.0
// The local APICs and the IOAPIC against a model of them as Intel's SDM (volume 3, chapter 11) and the 82093AA's data
// sheet tell: vectors are single bits, a message finds its APICs one by one. Any access to the page, the MSRs and the
// IOAPIC, by the way through the core or the short one; IPIs of all kinds, pins, time, INIT and resets. Every read is
// the model's, what a vCPU would take next as well, and whoever has something new to take has been kicked.
#include <string.h>

#include "../bare_vm.h"
#include "arch.h"
#include "cpu.h"
#include "fuzz.h"
#include "vexit.h"
#include "vioapic.h"
#include "vlapic.h"
#include "vm.h"

enum { VCPUS_MAX = 10, VECTORS = 256, PINS = VIOAPIC_PINS, TICK_NS = 16, PERIOD_MIN_NS = 20000 };
enum { FIXED, LOWEST, NMI = 4, INIT, SIPI };
enum { TIMER, ERROR = 5, LVTS, MASKED = 1 << 16, PERIODIC = 1, DEADLINE = 2 };
enum { SW_ENABLE = 1 << 8, SEND_ILLEGAL = 1 << 5, RECEIVE_ILLEGAL = 1 << 6, ILLEGAL_REGISTER = 1 << 7 };
#define LEVEL BIT(15)
#define REMOTE_IRR BIT(14)

static struct vm vm;
static struct vcpu vcpus[VCPUS_MAX];
static const bool none[8];
static bool kicked[VCPUS_MAX];
static u32 stopped, started, vm_stops;
static u64 start_entry;

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

void vcpu_kick(struct vcpu *v) {
    kicked[v->id] = true;
}

int vcpu_stop(struct vm *of, u32 target) {
    FUZZ_CHECK(of == &vm && target < of->vcpu_count);
    stopped |= 1u << target;
    return 0;
}

int vcpu_start(struct vm *of, u32 target, u64 entry, u64 arg) {
    FUZZ_CHECK(of == &vm && target < of->vcpu_count && arg == 0);
    started |= 1u << target;
    start_entry = entry;
    return 0;
}

bool vm_stop(struct vm *of, enum vm_stop cause, const char *reason, ...) {
    FUZZ_CHECK(of == &vm && cause == VM_STOP_RESET && reason);
    vm_stops++;
    return true;
}

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

static void expire(struct apic *a) {
    if (!(a->lvt[TIMER] & MASKED))
        post(a, a->lvt[TIMER] & 0xff, false);
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
        a->fire_ns = MAX(a->end_ns, now + PERIOD_MIN_NS);
        expire(a);
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

// ── Checks ──────────────────────────────────────────────────────────────────────────────────────────────────────────
static void enter(u32 n) {
    struct apic *a = &model.apic[n];
    if (vcpus[n].irq_work)
        vlapic_ops.flush(&vcpus[n]);
    if (a->fresh && !(a->lvt[ERROR] & MASKED) && (a->lvt[ERROR] & 0xff) >= 16)
        post(a, a->lvt[ERROR] & 0xff, false);
    a->errors |= a->fresh;
    a->fresh = 0;
    a->news = kicked[n] = false;
}

static void check_vcpu(u32 n, bool acts) {
    const struct apic *a = &model.apic[n];
    struct vlapic *l = vlapic_of(&vcpus[n]);
    if (acts) // it goes back in, and looks before that
        enter(n);
    u32 next = deliverable(a);
    if (a->news)
        FUZZ_CHECK(kicked[n] && vcpus[n].irq_work);
    if (!vcpus[n].irq_work) {
        FUZZ_CHECK(vlapic_pending(l) == (highest(a->irr) ? (s32)highest(a->irr) : -1));
        FUZZ_CHECK(vlapic_deliverable(l) == (next ? (s32)next : -1));
    }
    for (u32 i = 0; i < 4; i++) { // what a halt waits for
        bool interruptible = i & 1, nmi_able = i & 2;
        vlapic_halt(&vcpus[n], interruptible, nmi_able);
        FUZZ_CHECK(vlapic_ops.ready(&vcpus[n]) == ((nmi_able && a->nmi) || (interruptible && next)));
    }
    FUZZ_CHECK(vlapic_nmi_pending(l) == a->nmi);
    FUZZ_CHECK(vlapic_ppr(l) == ppr(a) && vlapic_enabled(l) == a->enabled && vlapic_x2apic(l) == a->x2);
}

// What no register shows before the guest has done something for it.
static void check_state(u32 n) {
    const struct apic *a = &model.apic[n];
    const struct vlapic *l = vlapic_of(&vcpus[n]);
    FUZZ_CHECK((l->errors | l->errors_received) == (a->errors | a->fresh));
    for (u32 w = 0; w < VECTORS / 32; w++) {
        FUZZ_CHECK((u32)(l->irr[w / 2] >> w % 2 * 32) == bits_of(a->irr, w));
        FUZZ_CHECK((u32)(l->isr[w / 2] >> w % 2 * 32) == bits_of(a->isr, w));
        FUZZ_CHECK((u32)(l->tmr[w / 2] >> w % 2 * 32) == bits_of(a->tmr, w));
    }
}

static void check(u32 actor) {
    for (u32 n = 0; n < vm.vcpu_count; n++)
        check_vcpu(n, n == actor);
    check_state(actor % vm.vcpu_count);
    FUZZ_CHECK(stopped == model.stopped && started == model.started && vm_stops == model.vm_stops);
    FUZZ_CHECK(!started || start_entry == model.start_entry);
    stopped = started = vm_stops = model.stopped = model.started = model.vm_stops = 0;
}

// ── Steps ───────────────────────────────────────────────────────────────────────────────────────────────────────────
static u32 some_register(struct fuzz *f) {
    static const u16 regs[] = {0x20,  0x30,  0x80,  0xa0,  0xb0,  0xd0,  0xe0,  0xf0,  0x280, 0x300, 0x310,
                               0x320, 0x330, 0x350, 0x370, 0x380, 0x390, 0x3e0, 0x3f0, 0x100, 0x180, 0x200};
    u8 which = fuzz_u8(f);
    u32 reg = regs[which % ARRAY_SIZE(regs)];
    if (reg >= 0x100 && reg <= 0x200 && !(reg & 0x7f))
        reg += (which >> 5) * 16u;
    return which >= 0xf0 ? fuzz_u16(f) & 0xff0 : reg;
}

static u32 some_value(struct fuzz *f, u32 reg) {
    u8 how = fuzz_u8(f);
    if (how >= 0xe0)
        return fuzz_u32(f);
    if (reg == 0x300)
        return how | (fuzz_u16(f) & 0xcd) << 8 | (u32)(how & 3) << 18;
    if (reg == 0xd0 || reg == 0x310)
        return (u32)how << 24 | (how == 0xdf ? 0xff000000 : 0);
    if (reg == 0xe0)
        return how & 1 ? 0xffffffff : 0x0fffffff;
    if (reg == 0xf0)
        return how & 7 ? 0x1ff : how;
    if (reg == 0x280 || reg == 0xb0)
        return 0;
    if (reg == 0x380)
        return how & 1 ? how : how << 8;
    if (reg >= 0x320 && reg <= 0x370)
        return fuzz_u8(f) | (u32)(how & 7) << 16;
    return how;
}

static void page_access(struct fuzz *f, u32 n) {
    struct apic *a = &model.apic[n];
    u8 how = fuzz_u8(f), size = (u8)(how >= 0xf0 ? 1 << (how & 3) : 4);
    u32 reg = some_register(f), low = how >= 0xf0 ? fuzz_u8(f) & 15 & ~(size - 1u) : 0;
    struct bus_access b = {.vcpu = &vcpus[n], .size = size, .write = how & 0x80, .value = 0x5555};
    if (b.write)
        b.value = some_value(f, reg);
    u64 value = b.value, expected = 0;
    FUZZ_CHECK(bus_access(&vm.bus, gpa(VLAPIC_BASE + reg + low), &b) == 0);
    if (!a->enabled || a->x2) {
        FUZZ_CHECK(b.write || b.value == ~0ull);
        return;
    }
    if (b.write) {
        if (low == 0 && size == 4)
            page_write(n, reg, (u32)value);
        return;
    }
    if (low + size <= 4 && !reg_read(n, reg, &expected))
        a->fresh |= ILLEGAL_REGISTER;
    FUZZ_CHECK(b.value == (low + size <= 4 ? expected >> low * 8 : 0));
}

// As the architecture does: the short way, and if that knows no answer, the one through the core.
static bool msr_by(u32 n, u32 msr, bool write, u64 *value, bool short_way) {
    struct vexit e = {.kind = VEXIT_SYSREG, .nr = msr, .write = write, .value = *value};
    if (short_way && vlapic_msr_try(&vcpus[n], msr, write, value))
        return true;
    bool there = vlapic_sysreg(&vcpus[n], &e) == 0;
    *value = e.value;
    return there;
}

static void msr_access(struct fuzz *f, u32 n) {
    u8 how = fuzz_u8(f), base = fuzz_u8(f);
    u32 reg = some_register(f), msr = 0x800 + reg / 16;
    u64 value = some_value(f, reg), expected = 0;
    if (base < 0x30) {
        msr = 0x1b;
        value = base < 0x28 ? 0xfee00000 | (u32)(base & 3) << 10 | (u32)(base & 4) << 6 : value;
    } else if (base < 0x50) {
        msr = 0x6e0;
        value = arch_now_ns() / TICK_NS + model.apic[n].tsc_offset + value * 8 - 100;
    } else if (base < 0x60) {
        msr = fuzz_u16(f);
    } else if (reg == 0x300) {
        value |= (u64)(base < 0x90 ? BIT(base & 15) : base < 0xc0 ? base & 15u : ~0u) << 32;
    }
    if (how & 0x80) {
        u64 written = value;
        bool there = msr_by(n, msr, true, &written, how & 1);
        FUZZ_CHECK(there == msr_write(n, msr, value));
    } else {
        bool there = msr_by(n, msr, false, &value, how & 1);
        FUZZ_CHECK(there == msr_read(n, msr, &expected) && (!there || value == expected));
    }
}

// It has a vector before it, and takes it or comes out before that. Meanwhile more may come.
static void offer(struct fuzz *f, u32 n, u32 v) {
    struct vlapic *l = vlapic_of(&vcpus[n]);
    u8 how = fuzz_u8(f), by = how % vm.vcpu_count;
    vlapic_offer(l, v);
    model.apic[n].irr[v] = false;
    if (by != n) {
        struct message m = {1u << n, how & 0x40 ? v : fuzz_u8(f), FIXED, .logical = true, .level = how & 0x20};
        struct vlapic_message message = {.dest = m.dest, .vector = (u8)m.vector, .logical = true, .level = m.level};
        vlapic_kick(&vm, vlapic_send(&vm, &message), &vcpus[by]);
        deliver(set_of(&m), &m);
        model.apic[by].news = false; // it acts
    }
    vlapic_offered(l, v, how & 0x80);
    (how & 0x80 ? model.apic[n].isr : model.apic[n].irr)[v] = true;
}

static void take(struct fuzz *f, u32 n, bool at_once) {
    struct vlapic *l = vlapic_of(&vcpus[n]);
    enter(n);
    bool nmi = model.apic[n].nmi;
    FUZZ_CHECK(vlapic_take_nmi(l) == nmi);
    model.apic[n].nmi = false;
    u32 v = deliverable(&model.apic[n]);
    FUZZ_CHECK(vlapic_deliverable(l) == (v ? (s32)v : -1));
    if (nmi || !v)
        return;
    if (!at_once) {
        offer(f, n, v);
        return;
    }
    vlapic_accept(l, v);
    model.apic[n].irr[v] = false;
    model.apic[n].isr[v] = true;
}

static void short_eoi(u32 n) {
    struct apic *a = &model.apic[n];
    u32 v = highest(a->isr);
    bool done = vlapic_eoi(vlapic_of(&vcpus[n]));
    FUZZ_CHECK(done == !(v && a->tmr[v]));
    if (done)
        model_eoi(a);
}

static void io_access(struct fuzz *f, u32 n) {
    static const u8 offsets[] = {0, 0x10, 0x10, 0x10, 0x40, 0x20};
    u8 how = fuzz_u8(f), which = fuzz_u8(f), size = (u8)(how >= 0xf0 ? 1 << (how & 3) : 4);
    u32 offset = offsets[which % ARRAY_SIZE(offsets)];
    u64 value = fuzz_u8(f);
    if (offset == 0 || how & 8) { // an entry is chosen first
        model.select = how & 4 ? 0x10 + which / 8 : (u32)value;
        struct bus_access b = {.vcpu = &vcpus[n], .size = size, .write = true, .value = model.select};
        FUZZ_CHECK(bus_access(&vm.bus, gpa(VIOAPIC_BASE), &b) == 0);
    }
    struct bus_access b = {.vcpu = &vcpus[n], .size = size, .write = offset && (how & 0x80), .value = 0x5555};
    if (b.write && offset == 0x10)
        value |= model.select & 1 ? (u32)fuzz_u8(f) << 24 : (u64)(fuzz_u16(f) & 0x1ff) << 8;
    if (b.write)
        b.value = value;
    FUZZ_CHECK(bus_access(&vm.bus, gpa(VIOAPIC_BASE + offset), &b) == 0);
    if (!b.write)
        FUZZ_CHECK(b.value == (offset == 0 ? model.select : offset == 0x10 ? io_read(model.select) : 0));
    else if (offset == 0x10 && size == 4)
        io_write(model.select, (u32)value);
    else if (offset == 0x40 && size == 4)
        io_eoi(value & 0xff);
}

static void restart(void) {
    vlapic_ops.reset(&vm);
    for (u32 n = 0; n < vm.vcpu_count; n++) {
        model.apic[n].enabled = true;
        model.apic[n].x2 = false;
        reset_registers(&model.apic[n]);
    }
    for (u32 pin = 0; pin < PINS; pin++) {
        model.entry[pin] = MASKED;
        model.edge[pin] = false;
    }
    model.select = model.id = 0;
}

static void describe(struct fuzz *f) {
    char text[300];
    size_t size = fuzz_u8(f);
    FUZZ_CHECK(vlapic_ops.describe(&vm, text, size) <= size);
}

static void step(struct fuzz *f) {
    u8 head = fuzz_u8(f), what = head & 0x3f, pin;
    u32 n = head == 0xff ? 0 : (head >> 6 | fuzz_below(f, 8) << 2) % vm.vcpu_count;
    if (what < 0x10) {
        page_access(f, n);
    } else if (what < 0x1c) {
        msr_access(f, n);
    } else if (what < 0x24) {
        take(f, n, what & 1);
    } else if (what < 0x28) {
        short_eoi(n);
    } else if (what < 0x30) {
        io_access(f, n);
    } else if (what < 0x36) {
        pin = fuzz_u8(f);
        irqchip_set(&vm, pin & 0x1f, pin & 0x80);
        pin_set(pin & 0x1f, pin & 0x80);
        n = ~0u;
    } else if (what < 0x3a) {
        advance((u64)fuzz_u8(f) * TICK_NS << what % 4 * 5);
        n = ~0u;
    } else if (what < 0x3c) {
        model.apic[n].tpr = fuzz_u8(f);
        vlapic_set_tpr(vlapic_of(&vcpus[n]), model.apic[n].tpr);
    } else if (what == 0x3c) {
        model.apic[n].tsc_offset = fuzz_u32(f);
        if (model.apic[n].deadline)
            deadline_arm(&model.apic[n], arch_now_ns());
        vlapic_set_tsc_offset(&vcpus[n], model.apic[n].tsc_offset);
    } else if (what == 0x3d) {
        vlapic_ops.vcpu_reset(&vcpus[n]);
        reset_registers(&model.apic[n]);
    } else if (what == 0x3e) {
        describe(f);
    } else {
        restart();
    }
    check(n);
}

// Enabled, with addresses, and pins that go somewhere: an input need not find out how.
static void open_up(bool x2, bool cluster) {
    for (u32 n = 0; n < vm.vcpu_count; n++) {
        u32 ldr = (cluster ? n / 4 << 4 | 1u << n % 4 : 1u << n % 8) << 24;
        u64 base = 0xfee00c00;
        const u32 writes[][2] = {{0xf0, 0x1ff}, {0xe0, cluster ? 0x0fffffff : ~0u}, {0xd0, ldr}};
        for (u32 i = 0; i < ARRAY_SIZE(writes); i++) {
            struct bus_access b = {.vcpu = &vcpus[n], .size = 4, .write = true, .value = writes[i][1]};
            FUZZ_CHECK(bus_access(&vm.bus, gpa(VLAPIC_BASE + writes[i][0]), &b) == 0);
            page_write(n, writes[i][0], writes[i][1]);
        }
        if (x2)
            FUZZ_CHECK(msr_by(n, 0x1b, true, &base, false) && msr_write(n, 0x1b, base));
    }
    for (u32 pin = 0; pin < PINS; pin++) {
        u32 low = 0x40 + pin / 2 * 8 | (pin & 1 ? LEVEL : 0) | (pin & 2 ? LOWEST << 8 : 0) | (pin & 4 ? 1 << 11 : 0);
        const u32 writes[][2] = {{0, 0x11 + 2 * pin}, {0x10, (1u << pin % 8) << 24}, {0, 0x10 + 2 * pin}, {0x10, low}};
        for (u32 i = 0; i < ARRAY_SIZE(writes); i++) {
            struct bus_access b = {.vcpu = &vcpus[0], .size = 4, .write = true, .value = writes[i][1]};
            FUZZ_CHECK(bus_access(&vm.bus, gpa(VIOAPIC_BASE + writes[i][0]), &b) == 0);
        }
        io_write(0x11 + 2 * pin, writes[1][1]);
        io_write(0x10 + 2 * pin, low);
    }
    model.select = 0x10 + 2 * (PINS - 1);
}

static void set_up(u32 count) {
    bare_vm(&vm, vcpus, count);
    smp_init(host_board(), 0);
    host_advance(TICK_NS / 2);
    memset(&model, 0, sizeof(model));
    memset(kicked, 0, sizeof(kicked));
    stopped = started = vm_stops = 0;
    FUZZ_CHECK(vlapic_create(&vm) == 0 && vioapic_create(&vm) == 0);
    restart();
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size) {
    static const u8 counts[] = {1, 2, 3, VCPUS_MAX};
    struct fuzz f = {data, size};
    u8 shape = fuzz_u8(&f);
    set_up(counts[shape & 3]);
    if (shape & 0xc)
        open_up(shape & 0x10, shape & 0x20);
    for (u32 n = 0; n < vm.vcpu_count; n++)
        enter(n);
    check(~0u);
    while (fuzz_more(&f))
        step(&f);
    vioapic_destroy(&vm);
    vlapic_destroy(&vm);
    return 0;
}
