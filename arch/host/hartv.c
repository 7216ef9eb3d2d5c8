// SPDX-License-Identifier: Apache-2.0
// A guest's machine with a riscv64 VM's interrupt controllers in place of a GIC: a hart's three interrupts as struct
// vplic_cpuif gives them, and behind the external one a PLIC, or an APLIC and an emulated IMSIC. To scripted guests it
// looks as the GIC does: a software interrupt is SGI 0, messages are SGIs 1 to 3, sources keep their numbers.
#include "guest_internal.h"
#include "page.h"
#include "vaplic.h"
#include "vimsic.h"
#include "vm.h"
#include "vplic.h"

enum { PLIC_ENABLE = 0x2000, PLIC_CONTEXT = 0x200000, IDS = 63, NONE = 1023, SPI_FIRST = 32 };
enum { APLIC_SETIPNUM = 0x1cdc, APLIC_SETIENUM = 0x1edc, APLIC_TARGET = 0x3000, DETACHED = 1, LEVEL_HIGH = 6 };
enum { EIDELIVERY = 0x70, EIE0 = 0xc0 };

// A device whose lines guests raise and lower: a PLIC's sources are never software's.
struct bell {
    struct vdev dev; // first
};

static bool is_device(u32 irq) {
    return irq == GUEST_UART_IRQ || irq == GUEST_RTC_IRQ;
}

// ── The machine ─────────────────────────────────────────────────────────────────────────────────────────────────────
static int bell_access(struct vdev *dev, struct bus_access *a) {
    if (a->write)
        irqchip_set(dev->vm, GUEST_BELL_IRQ + (u32)(a->offset / 8 % VPLIC_MAX_VCPUS), a->value & 1);
    else
        a->value = 0;
    return 0;
}

static void bell_reset(struct vdev *dev) {
    for (u32 i = 0; i < VPLIC_MAX_VCPUS; i++)
        irqchip_set(dev->vm, GUEST_BELL_IRQ + i, false);
}

static void aia_set(struct vm *vm, u32 irq, bool level) {
    vaplic_set(vm->arch.aplic, irq, level);
}

static void aia_flush(struct vcpu *v) {
    vplic_ops.flush(v);
    vimsic_flush(v->vm->arch.imsic, v);
}

static bool aia_ready(struct vcpu *v) {
    return vimsic_ready(v->vm->arch.imsic, v) || vplic_ops.ready(v);
}

static void send(struct vm *vm, u32 hart, u32 identity) {
    vimsic_send(vm->arch.imsic, hart, identity);
}

static int aia_create(struct vm *vm) {
    static struct irqchip_ops ops;
    int err = vplic_create_lines(vm);
    if (err)
        return err;
    vm->arch.imsic = vimsic_create(vm, gpa(GUEST_IMSIC), IDS);
    vm->arch.aplic = vm->arch.imsic ? vaplic_create(vm, gpa(GUEST_APLIC), send) : nullptr;
    if (!vm->arch.aplic)
        return -ENOMEM;
    ops = vplic_ops;
    ops.name = "APLIC and IMSIC, emulated";
    ops.set = aia_set;
    ops.flush = aia_flush;
    ops.ready = aia_ready;
    ops.describe = nullptr;
    vm->irqchip_ops = &ops;
    return 0;
}

int host_bell_create(struct vm *vm) {
    struct bell *b = page_alloc(0);
    if (!b)
        return -ENOMEM;
    b->dev = (struct vdev){"bell", vm, gpa(GUEST_BELL), PAGE_SIZE, bell_access, bell_reset};
    int err = bus_add(&vm->bus, &b->dev);
    if (err)
        page_free(b, 0);
    return err;
}

void host_bell_destroy(struct vm *vm) {
    struct vdev *bell = bus_remove(&vm->bus, bell_access);
    if (bell)
        page_free(bell, 0);
}

static int create(struct vm *vm) {
    if (vm->arch.irqchip == HOST_AIA)
        return aia_create(vm);
    int err = vplic_create(vm, gpa(GUEST_PLIC));
    return err ? err : host_bell_create(vm);
}

static void destroy(struct vm *vm) {
    host_bell_destroy(vm);
    vaplic_destroy(vm->arch.aplic);
    vm->arch.aplic = nullptr;
    vimsic_destroy(vm->arch.imsic);
    vm->arch.imsic = nullptr;
    vplic_destroy(vm);
}

// ── The hart ────────────────────────────────────────────────────────────────────────────────────────────────────────
// As arch/riscv64: what the interface says goes into hvip before an entry, and the software interrupt is the guest's.
static void enter(struct host_guest_state *s) {
    struct vplic_cpuif *cif = vplic_cpuif(s->guest.v);
    if (!cif->dirty)
        return;
    s->hart.levels = cif->levels;
    s->hart.soft |= cif->soft;
    cif->soft = cif->dirty = false;
}

static void load(struct host_guest_state *s) {
    vplic_cpuif(s->guest.v)->dirty = true;
}

static void save(struct host_guest_state *s) {
    s->hart.levels = 0; // a load that is left out shows
}

u32 hart_pending(const struct host_guest_state *s) {
    return (s->hart.levels | (s->hart.soft ? (u32)BIT(VPLIC_SSI) : 0)) & s->hart.enabled;
}

static bool is_pending(const struct host_guest_state *s) {
    return hart_pending(s);
}

// Without a clock of its own (Sstc): a timer of ours all the time.
static void timer_expired(struct vcpu *v) {
    if (host_timer_level(host_guest_of(v)))
        v->vm->irqchip_ops->set_ppi(v, VPLIC_STI, true);
}

static void timer_written(struct host_guest_state *s) {
    struct vcpu *v = s->guest.v;
    s->timer_ns = s->call.value;
    s->timer_on = s->timer_ns != TIMER_NEVER;
    bool level = host_timer_level(s);
    v->vm->irqchip_ops->set_ppi(v, VPLIC_STI, level);
    timer_arm(&s->timer, level ? TIMER_NEVER : s->timer_ns);
}

// What the guest has done that traps and is served without the core: in the vCPU's task, after the exit.
static void serve(struct host_guest_state *s, struct vexit *exit) {
    struct vcpu *v = s->guest.v;
    struct hart_call *call = &s->call;
    if (call->what == HART_TIMER)
        timer_written(s);
    else if (call->what == HART_CLAIM)
        call->value = vimsic_topei(v->vm->arch.imsic, v, true);
    else if (call->what == HART_CSR)
        BUG_ON(vimsic_access(v->vm->arch.imsic, v, call->select, VIMSIC_SET, call->value, &call->value) != 0);
    call->what = HART_NOTHING;
    if (exit->kind != VEXIT_HALT && exit->kind != VEXIT_CPU_SUSPEND)
        return;
    atomic_store_explicit(&vplic_cpuif(v)->enabled, s->hart.enabled, memory_order_relaxed);
    if (!hart_pending(s))
        return;
    if (exit->power_down) {
        if (s->hart.soft) // the only one that the interrupt controller has forgotten
            v->vm->irqchip_ops->set_ppi(v, VPLIC_SSI, true);
        return;
    }
    exit->status = 0;
    arch_vcpu_finish(v, exit);
    exit->kind = VEXIT_NONE;
}

// ── The guest's instructions ────────────────────────────────────────────────────────────────────────────────────────
static u64 call(struct host_guest *g, struct hart_call what) {
    struct host_guest_state *s = g->state;
    guest_step(g);
    s->call = what;
    s->exit->kind = VEXIT_NONE;
    host_guest_leave(s);
    return s->call.value;
}

static void timer_set(struct host_guest *g, u64 at_ns) {
    (void)call(g, (struct hart_call){.what = HART_TIMER, .value = at_ns});
}

static void ipi(struct host_guest *g, u32 sgi, u32 targets) {
    for (u32 t = 0; t < g->v->vm->vcpu_count; t++)
        if (targets >> t & 1)
            guest_mmio_write(g, GUEST_IMSIC + PAGE_SIZE * t, 4, sgi);
}

static void signal_bells(struct host_guest *g, u32 targets) {
    for (u32 t = 0; t < g->v->vm->vcpu_count; t++) {
        if (!(targets >> t & 1))
            continue;
        if (g->v->vm->arch.irqchip == HOST_PLIC)
            guest_mmio_write(g, GUEST_BELL + 8 * t, 4, 1);
        else
            guest_mmio_write(g, GUEST_APLIC + APLIC_SETIPNUM, 4, GUEST_BELL_IRQ + t);
    }
}

static u32 external(struct host_guest *g) {
    if (g->v->vm->arch.irqchip == HOST_AIA) {
        u32 id = (u32)call(g, (struct hart_call){.what = HART_CLAIM}) >> 16;
        return id ? id : NONE;
    }
    u32 id = (u32)guest_mmio_read(g, GUEST_PLIC + PLIC_CONTEXT + 0x1000 * (2 * g->cpu + 1) + 4, 4);
    if (id >= GUEST_BELL_IRQ) // it is answered before whoever rings again is to be heard
        guest_mmio_write(g, GUEST_BELL + 8 * (id - GUEST_BELL_IRQ), 4, 0);
    return id ? id : NONE;
}

static u32 ack(struct host_guest *g) {
    struct host_guest_state *s = g->state;
    u32 pending = hart_pending(s);
    if (pending & BIT(VPLIC_SSI)) {
        s->hart.soft = false;
        return 0;
    }
    if (pending & BIT(VPLIC_SEI)) {
        u32 irq = external(g);
        if (irq != NONE)
            return irq;
        pending = hart_pending(s);
    }
    return pending & BIT(VPLIC_STI) ? (u32)GUEST_TIMER_IRQ : NONE;
}

static void eoi(struct host_guest *g, u32 irq) {
    if (g->v->vm->arch.irqchip == HOST_PLIC && irq >= SPI_FIRST)
        guest_mmio_write(g, GUEST_PLIC + PLIC_CONTEXT + 0x1000 * (2 * g->cpu + 1) + 4, 4, irq);
    else if (g->v->vm->arch.irqchip == HOST_AIA && is_device(irq)) // a level that is still up sends another one
        guest_mmio_write(g, GUEST_APLIC + APLIC_SETIPNUM, 4, irq);
}

static void resume(struct host_guest *g) {
    g->state->hart.enabled = BIT(VPLIC_SSI) | BIT(VPLIC_STI) | BIT(VPLIC_SEI);
}

static void plic_enable(struct host_guest *g, u32 irq, u8 priority) {
    u64 context = 2 * g->cpu + 1, word = GUEST_PLIC + PLIC_ENABLE + 0x80 * context + irq / 32 * 4;
    guest_mmio_write(g, GUEST_PLIC + 4 * irq, 4, 1 + priority % 7);
    guest_mmio_write(g, word, 4, guest_mmio_read(g, word, 4) | BIT(irq % 32));
}

static void aia_enable(struct host_guest *g, u32 irq) {
    (void)call(g, (struct hart_call){.what = HART_CSR, .select = EIDELIVERY, .value = 1});
    (void)call(g, (struct hart_call){.what = HART_CSR, .select = EIE0, .value = BIT(irq)});
    if (irq < SPI_FIRST)
        return;
    guest_mmio_write(g, GUEST_APLIC, 4, 0x100);
    guest_mmio_write(g, GUEST_APLIC + 4 * irq, 4, is_device(irq) ? LEVEL_HIGH : DETACHED);
    guest_mmio_write(g, GUEST_APLIC + APLIC_TARGET + 4 * irq, 4, g->cpu << 18 | irq);
    guest_mmio_write(g, GUEST_APLIC + APLIC_SETIENUM, 4, irq);
}

static void enable(struct host_guest *g, u32 irq, u8 priority) {
    resume(g);
    if (irq == 0 || irq == GUEST_TIMER_IRQ || irq > IDS)
        return;
    if (g->v->vm->arch.irqchip == HOST_AIA)
        aia_enable(g, irq);
    else if (irq >= SPI_FIRST)
        plic_enable(g, irq, priority);
}

const struct host_irqv host_hartv = {
    .create = create,
    .destroy = destroy,
    .load = load,
    .save = save,
    .enter = enter,
    .serve = serve,
    .pending = is_pending,
    .level = host_timer_level,
    .timer_expired = timer_expired,
    .timer_set = timer_set,
    .ipi = ipi,
    .signal = signal_bells,
    .ack = ack,
    .eoi = eoi,
    .enable = enable,
    .resume = resume,
};
