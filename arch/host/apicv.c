// SPDX-License-Identifier: Apache-2.0
// A guest's machine with an x86_64 VM's interrupt controllers in place of a GIC: local APICs, by their page or as
// x2APICs, and an IOAPIC. To scripted guests it looks as the GIC does: SGIs are IPIs, the last one an NMI, the timer is
// the local APIC's at a TSC's deadline, devices' lines are pins. What arch/x86_64 does at an entry is done here: a
// guest that could take an interrupt is told of it as one that has interrupts masked, and comes out for it (the
// interrupt window); or the processor has the vector before it and takes it by itself.
#include "guest_internal.h"
#include "vioapic.h"
#include "vlapic.h"
#include "vm.h"

enum { NONE = 1023, SGIS = 4, NMI_SGI = 3, PIN_UART = 4, PIN_RTC = 8, PIN_BELL = 16, TICK_NS = 16, TIMER_SLACK = 3 };
enum { EOI = 0xb0, LDR = 0xd0, SVR = 0xf0, ICR = 0x300, ICR_HIGH = 0x310, LVT_TIMER = 0x320 };
enum { SVR_ON = 0x1ff, DEADLINE = 2 << 17, LOGICAL = 1 << 11, NMI = 4 << 8, INIT = 5 << 8, SIPI = 6 << 8 };
enum { SELF = 1 << 18, ASSERT = 1 << 14, PIN_LEVEL = 1 << 15, PIN_MASKED = 1 << 16 };

// ── The machine ─────────────────────────────────────────────────────────────────────────────────────────────────────
static u32 pin_of(u32 irq) {
    return irq == GUEST_UART_IRQ  ? (u32)PIN_UART
           : irq == GUEST_RTC_IRQ ? (u32)PIN_RTC
                                  : PIN_BELL + irq - GUEST_BELL_IRQ;
}

static void set(struct vm *vm, u32 irq, bool level) {
    vlapic_ops.set(vm, pin_of(irq), level);
}

static int create(struct vm *vm) {
    static struct irqchip_ops ops;
    int err = vlapic_create(vm);
    if (!err)
        err = vioapic_create(vm);
    if (!err)
        err = host_bell_create(vm);
    if (err)
        return err;
    ops = vlapic_ops;
    ops.set = set;
    vm->irqchip_ops = &ops;
    vm->arch.x2apic = host_random(2);
    vm->arch.offers = host_random(2);
    return 0;
}

static void destroy(struct vm *vm) {
    host_bell_destroy(vm);
    vioapic_destroy(vm);
    vlapic_destroy(vm);
}

// ── The processor ───────────────────────────────────────────────────────────────────────────────────────────────────
static void enter(struct host_guest_state *s) {
    struct vlapic *l = vlapic_of(s->guest.v);
    if (s->apic.window) {
        s32 vector = vlapic_deliverable(l);
        s->apic.window = false;
        s->apic.got = vlapic_take_nmi(l) ? APIC_NMI : vector;
        if (s->apic.got >= 0 && s->apic.got != APIC_NMI)
            vlapic_accept(l, (u32)vector);
    }
    s32 vector = vlapic_deliverable(l);
    s->apic.ready = vlapic_nmi_pending(l) || vector >= 0;
    if (s->apic.ready && !vlapic_nmi_pending(l) && s->guest.v->vm->arch.offers) {
        vlapic_offer(l, (u32)vector);
        s->apic.offered = vector;
        s->apic.ready = false;
    }
}

static void serve(struct host_guest_state *s, struct vexit *exit) {
    struct vcpu *v = s->guest.v;
    struct vlapic *l = vlapic_of(v);
    if (s->apic.offered >= 0)
        vlapic_offered(l, (u32)s->apic.offered, s->apic.took);
    s->apic.offered = -1;
    s->apic.took = false;
    struct vexit *msr = s->apic.msr;
    if (msr && vlapic_msr_try(v, msr->nr, msr->write, &msr->value))
        s->apic.msr = nullptr;
    if (exit->kind == VEXIT_HALT || exit->kind == VEXIT_CPU_SUSPEND)
        vlapic_halt(v, !s->apic.masked, true);
}

static bool pending(const struct host_guest_state *s) {
    return s->apic.ready || (s->apic.offered >= 0 && !s->apic.took);
}

static void switched(struct host_guest_state *s) {
    (void)s; // all of it is in memory
}

static bool level(const struct host_guest_state *s) {
    (void)s;
    return false;
}

static void timer_expired(struct vcpu *v) {
    (void)v; // the timer is the local APIC's
}

// ── Registers ───────────────────────────────────────────────────────────────────────────────────────────────────────
// The short way, and if that knows no answer, an exit.
static u64 msr(struct host_guest *g, u32 nr, bool write, u64 value) {
    struct host_guest_state *s = g->state;
    struct vexit access = {.kind = VEXIT_SYSREG, .nr = nr, .write = write, .value = value};
    guest_step(g);
    s->apic.msr = &access;
    s->exit->kind = VEXIT_NONE;
    host_guest_leave(s);
    if (s->apic.msr) {
        s->apic.msr = nullptr;
        guest_exit(g, &access);
    }
    return access.value;
}

static void put(struct host_guest *g, u32 reg, u32 value) {
    if (g->v->vm->arch.x2apic)
        (void)msr(g, VLAPIC_MSR_X2APIC + reg / 16, true, value);
    else
        guest_mmio_write(g, VLAPIC_BASE + reg, 4, value);
}

static void icr_put(struct host_guest *g, u32 dest, u32 low) {
    if (g->v->vm->arch.x2apic) {
        (void)msr(g, VLAPIC_MSR_X2APIC + ICR / 16, true, (u64)dest << 32 | low);
        return;
    }
    guest_mmio_write(g, VLAPIC_BASE + ICR_HIGH, 4, dest << 24);
    guest_mmio_write(g, VLAPIC_BASE + ICR, 4, low);
}

// Each in a class of its own, with the IPIs below and above.
u32 apic_vector(u32 irq) {
    return irq == NMI_SGI           ? (u32)APIC_NMI
           : irq < SGIS             ? 0x30 + irq * 0x50
           : irq == GUEST_TIMER_IRQ ? 0x60u
           : irq == GUEST_UART_IRQ  ? 0x70u
           : irq == GUEST_RTC_IRQ   ? 0x71u
                                    : 0x90 + irq - GUEST_BELL_IRQ;
}

static u32 irq_of(s32 vector) {
    for (u32 irq = 0; irq < GUEST_BELL_IRQ + VLAPIC_MAX_VCPUS; irq++)
        if (vector >= 0 && apic_vector(irq) == (u32)vector && (irq < SGIS || irq >= GUEST_TIMER_IRQ))
            return irq;
    return NONE;
}

// ── The guest's instructions ────────────────────────────────────────────────────────────────────────────────────────
static void timer_set(struct host_guest *g, u64 at_ns) {
    bool off = at_ns >= TIMER_NEVER - TICK_NS * TIMER_SLACK;
    u64 deadline = at_ns / TICK_NS + 1;
    g->state->timer_ns = off ? TIMER_NEVER : (deadline + TIMER_SLACK) * TICK_NS; // by then it has come
    (void)msr(g, VLAPIC_MSR_DEADLINE, true, off ? 0 : deadline);
}

static void ipi(struct host_guest *g, u32 sgi, u32 targets) {
    u32 low = sgi == NMI_SGI ? (u32)NMI : apic_vector(sgi % SGIS);
    if (targets == 1u << g->cpu && sgi != NMI_SGI) {
        icr_put(g, 0, low | SELF);
    } else if (host_random(2)) {
        icr_put(g, targets & 0xf, low | LOGICAL);
    } else {
        for (u32 t = 0; t < g->v->vm->vcpu_count; t++)
            if (targets >> t & 1)
                icr_put(g, t, low);
    }
}

static void signal_bells(struct host_guest *g, u32 targets) {
    for (u32 t = 0; t < g->v->vm->vcpu_count; t++)
        if (targets >> t & 1)
            guest_mmio_write(g, GUEST_BELL + 8 * t, 4, 1);
}

static u32 ack(struct host_guest *g) {
    struct host_guest_state *s = g->state;
    s32 vector = -1;
    if (s->apic.offered >= 0 && !s->apic.took) {
        s->apic.took = true;
        vector = s->apic.offered;
    } else if (s->apic.ready) {
        s->apic.window = true;
        s->exit->kind = VEXIT_NONE;
        host_guest_leave(s);
        vector = s->apic.got;
    }
    u32 irq = irq_of(vector);
    if (irq != NONE && irq >= GUEST_BELL_IRQ) // it is answered before whoever rings again is to be heard
        guest_mmio_write(g, GUEST_BELL + 8 * (irq - GUEST_BELL_IRQ), 4, 0);
    return irq;
}

static void eoi(struct host_guest *g, u32 irq) {
    if (irq != NMI_SGI)
        put(g, EOI, 0);
}

static void io_put(struct host_guest *g, u32 reg, u32 value) {
    guest_mmio_write(g, VIOAPIC_BASE, 4, reg);
    guest_mmio_write(g, VIOAPIC_BASE + 0x10, 4, value);
}

static void on(struct host_guest *g) {
    const u64 base = VLAPIC_BASE | VLAPIC_BASE_ENABLE | VLAPIC_BASE_X2APIC;
    if (g->v->vm->arch.x2apic)
        (void)msr(g, VLAPIC_MSR_BASE, true, base);
    else
        put(g, LDR, 1u << g->cpu << 24);
    put(g, SVR, SVR_ON);
}

// The IOAPIC's registers go through a window that all vCPUs share: guests have a lock for it, hostile ones no patience.
static void io_lock(struct host_guest *g) {
    for (u32 i = 0; g->v->vm->arch.io_taken && i < 1000; i++)
        guest_step(g);
    g->v->vm->arch.io_taken = true;
}

static void enable(struct host_guest *g, u32 irq, u8 priority) {
    (void)priority; // it is the vector's
    on(g);
    if (irq == GUEST_TIMER_IRQ)
        put(g, LVT_TIMER, apic_vector(irq) | DEADLINE);
    if (irq < GUEST_UART_IRQ || pin_of(irq) >= VIOAPIC_PINS)
        return;
    u32 reg = 0x10 + 2 * pin_of(irq);
    io_lock(g);
    io_put(g, reg, PIN_MASKED); // edge-triggered: forgets what a vCPU that is no more was serving
    io_put(g, reg + 1, g->cpu << 24);
    io_put(g, reg, apic_vector(irq) | PIN_LEVEL);
    g->v->vm->arch.io_taken = false;
}

static void resume(struct host_guest *g) {
    on(g);
}

void guest_init(struct host_guest *g, u32 target) {
    icr_put(g, target, INIT | ASSERT);
}

void guest_sipi(struct host_guest *g, u32 target, guest_fn fn) {
    icr_put(g, target, SIPI | ASSERT | (u32)(host_guest_entry(fn) & 0xff));
}

void guest_halt_masked(struct host_guest *g) {
    struct vexit halt = {.kind = VEXIT_HALT};
    g->state->apic.masked = true;
    guest_exit(g, &halt);
    g->state->apic.masked = false;
}

const struct host_irqv host_apicv = {
    .create = create,
    .destroy = destroy,
    .load = switched,
    .save = switched,
    .enter = enter,
    .serve = serve,
    .pending = pending,
    .level = level,
    .timer_expired = timer_expired,
    .timer_set = timer_set,
    .ipi = ipi,
    .signal = signal_bells,
    .ack = ack,
    .eoi = eoi,
    .enable = enable,
    .resume = resume,
};
