// SPDX-License-Identifier: Apache-2.0
// The local APICs: how a message finds its vCPUs, and a vector its way through IRR and ISR. The registers are in
// vlapic_regs.c.
#include "vlapic.h"

#include <stdio.h>
#include <string.h>

#include "arch.h"
#include "page.h"
#include "vlapic_internal.h"
#include "vm.h"

static u64 bit_of(u32 vector) {
    return BIT(vector % 64);
}

static struct vlapic_vm *lapics_of(struct vm *vm) {
    return vm->irqchip;
}

// Before the vCPU's next entry, flush looks at the requests. Release, pairs with the exchange in flush.
static void mark(struct vlapic *l) {
    atomic_store_explicit(&l->vcpu->irq_work, 1, memory_order_release);
}

// ── Acceptance ──────────────────────────────────────────────────────────────────────────────────────────────────────
bool vlapic_post(struct vlapic *l, u32 vector, bool level) {
    if (!vlapic_enabled(l) || !(atomic_load_explicit(&l->svr, memory_order_relaxed) & SVR_ENABLE))
        return false;
    if (vector < VECTOR_MIN) {
        atomic_fetch_or_explicit(&l->errors_received, ESR_RECEIVE_ILLEGAL, memory_order_relaxed);
        mark(l);
        return true;
    }
    _Atomic u64 *tmr = &l->tmr[vector / 64];
    if (level)
        atomic_fetch_or_explicit(tmr, bit_of(vector), memory_order_relaxed);
    else if (atomic_load_explicit(tmr, memory_order_relaxed) & bit_of(vector))
        atomic_fetch_and_explicit(tmr, ~bit_of(vector), memory_order_relaxed);
    const u64 old = atomic_fetch_or_explicit(&l->irr[vector / 64], bit_of(vector), memory_order_relaxed);
    mark(l);
    return !(old & bit_of(vector));
}

void vlapic_post_self(struct vlapic *l, u32 vector) {
    if (vlapic_post(l, vector, false) && vector >= VECTOR_MIN)
        l->pending = MAX(l->pending, (s32)vector);
}

static u32 logical_x2(u32 id) {
    return id / 16 << 16 | 1u << id % 16;
}

// Is the message for this APIC (11.6.2)? An APIC understands the message in its own mode; the IOAPIC's messages have
// eight bits.
static bool matches(const struct vlapic *l, const struct vlapic_message *m) {
    const u32 id = l->vcpu->id;
    if (m->dest == (m->x2 ? ~0u : 0xff))
        return true;
    if (!m->logical)
        return m->dest == id;
    if (vlapic_x2apic(l))
        return m->dest >> 16 == id / 16 && (m->dest & logical_x2(id) & 0xffff);
    const u32 ldr = atomic_load_explicit(&l->ldr, memory_order_relaxed) >> 24;
    if (atomic_load_explicit(&l->dfr, memory_order_relaxed) == DFR_FLAT)
        return m->dest & ldr;
    return m->dest >> 4 == ldr >> 4 && (m->dest & ldr & 0xf);
}

static u32 targets_of(struct vlapic_vm *all, const struct vlapic_message *m) {
    u32 set = 0;
    for (u32 n = 0; n < all->count; n++)
        if (matches(&all->lapic[n], m))
            set |= 1u << n;
    return set;
}

// Those of a set that take vectors at all.
static u32 able_of(const struct vlapic_vm *all, u32 set) {
    u32 able = 0;
    for (; set; set &= set - 1) {
        const struct vlapic *l = &all->lapic[__builtin_ctz(set)];
        if (vlapic_enabled(l) && (atomic_load_explicit(&l->svr, memory_order_relaxed) & SVR_ENABLE))
            able |= set & -set;
    }
    return able;
}

// Lowest priority: whoever can take it, in turn (11.6.2.4 leaves the choice to the chipset).
static u32 arbitrate(struct vlapic_vm *all, u32 set) {
    const u32 able = able_of(all, set);
    if (!able)
        return 0;
    const u32 from = atomic_fetch_add_explicit(&all->arbiter, 1, memory_order_relaxed) % all->count;
    const u32 above = able & ~((1u << from) - 1);
    return above ? above & -above : able & -able;
}

static u32 deliver(struct vlapic_vm *all, u32 set, const struct vlapic_message *m) {
    u32 kicks = 0;
    if (m->mode == VLAPIC_LOWEST)
        set = arbitrate(all, set);
    for (; set; set &= set - 1) {
        struct vlapic *l = &all->lapic[__builtin_ctz(set)];
        bool kick = false;
        if (m->mode == VLAPIC_NMI) {
            atomic_store_explicit(&l->nmi, true, memory_order_release); // pairs with vlapic_take_nmi
            mark(l);
            kick = true;
        } else if (m->mode == VLAPIC_FIXED || m->mode == VLAPIC_LOWEST) {
            kick = vlapic_post(l, m->vector, m->level);
        }
        kicks |= kick ? set & -set : 0;
    }
    return kicks;
}

u32 vlapic_send(struct vm *vm, const struct vlapic_message *m) {
    struct vlapic_vm *all = lapics_of(vm);
    return deliver(all, targets_of(all, m), m);
}

bool vlapic_takes(struct vm *vm, const struct vlapic_message *m) {
    struct vlapic_vm *all = lapics_of(vm);
    return m->vector >= VECTOR_MIN && able_of(all, targets_of(all, m));
}

void vlapic_kick(struct vm *vm, u32 vcpus, const struct vcpu *self) {
    for (; vcpus; vcpus &= vcpus - 1) {
        struct vcpu *v = vm->vcpus[__builtin_ctz(vcpus)];
        if (v != self)
            vcpu_kick(v);
    }
}

// ── Interprocessor interrupts (11.6.1) ──────────────────────────────────────────────────────────────────────────────
enum { TO_DESTINATION, TO_SELF, TO_ALL, TO_OTHERS };

static void init_all(struct vcpu *by, u32 set) {
    struct vm *vm = by->vm;
    if (set & 1) {
        vm_stop(vm, VM_STOP_RESET, "reset by the guest: vCPU %u sent INIT to vCPU 0", by->id);
        return;
    }
    for (; set; set &= set - 1)
        (void)vcpu_stop(vm, (u32)__builtin_ctz(set)); // of a VM that stops it does not matter
}

static void start_all(struct vcpu *by, u32 set, u32 vector) {
    for (; set; set &= set - 1) // who does not wait for it ignores it
        (void)vcpu_start(by->vm, (u32)__builtin_ctz(set), (u64)vector << 12, 0);
}

void vlapic_icr_send(struct vcpu *v, u64 icr, bool x2) {
    struct vlapic_vm *all = lapics_of(v->vm);
    const struct vlapic_message m = {
        .dest = (u32)(x2 ? icr >> 32 : icr >> 56),
        .vector = (u8)icr,
        .mode = icr >> 8 & 7,
        .logical = icr & ICR_LOGICAL,
        .x2 = x2,
    };
    const u32 self = 1u << v->id, everybody = (1u << all->count) - 1;
    u32 set = 0;
    switch (icr >> 18 & 3) {
    case TO_DESTINATION:
        set = targets_of(all, &m);
        break;
    case TO_SELF:
        set = self;
        break;
    case TO_ALL:
        set = everybody;
        break;
    case TO_OTHERS:
        set = everybody & ~self;
        break;
    }
    const bool shorthand_of_fixed = (icr >> 18 & 3) == TO_SELF || (icr >> 18 & 3) == TO_ALL;
    if (m.mode == VLAPIC_INIT) {
        if (!shorthand_of_fixed && (!(icr & ICR_LEVEL) || (icr & ICR_ASSERT))) // a de-assertion says nothing any more
            init_all(v, set);
    } else if (m.mode == VLAPIC_STARTUP) {
        if (!shorthand_of_fixed)
            start_all(v, set, m.vector);
    } else if ((m.mode == VLAPIC_FIXED || m.mode == VLAPIC_LOWEST) && m.vector < VECTOR_MIN) {
        atomic_fetch_or_explicit(&vlapic_of(v)->errors_received, ESR_SEND_ILLEGAL, memory_order_relaxed);
        mark(vlapic_of(v));
    } else {
        vlapic_kick(v->vm, deliver(all, set, &m), v);
    }
}

// ── Service ─────────────────────────────────────────────────────────────────────────────────────────────────────────
static s32 highest_request(const struct vlapic *l) {
    for (u32 w = VLAPIC_WORDS; w-- > 0;) {
        const u64 m = atomic_load_explicit(&l->irr[w], memory_order_relaxed);
        if (m)
            return (s32)(w * 64 + 63 - (u32)__builtin_clzll(m));
    }
    return -1;
}

void vlapic_look(struct vlapic *l) {
    l->pending = highest_request(l);
}

static void serve(struct vlapic *l, u32 vector) {
    l->isr[vector / 64] |= bit_of(vector);
    l->in_service = vector; // it was above everything that is
    vlapic_look(l);
}

void vlapic_accept(struct vlapic *l, u32 vector) {
    vlapic_offer(l, vector);
    serve(l, vector);
}

void vlapic_offer(struct vlapic *l, u32 vector) {
    atomic_fetch_and_explicit(&l->irr[vector / 64], ~bit_of(vector), memory_order_relaxed);
}

void vlapic_offered(struct vlapic *l, u32 vector, bool taken) {
    if (taken)
        serve(l, vector);
    else // pending has named it all the while
        atomic_fetch_or_explicit(&l->irr[vector / 64], bit_of(vector), memory_order_relaxed);
}

bool vlapic_eoi(struct vlapic *l) {
    const u32 vector = l->in_service;
    if (vector == 0) // nothing in service
        return true;
    if (atomic_load_explicit(&l->tmr[vector / 64], memory_order_relaxed) & bit_of(vector))
        return false;
    l->isr[vector / 64] &= ~bit_of(vector);
    l->in_service = (u32)MAX(vectors_highest(l->isr), 0);
    return true;
}

// Errors are an interrupt of our own.
static void errors_look(struct vlapic *l) {
    if (likely(!atomic_load_explicit(&l->errors_received, memory_order_relaxed)))
        return;
    l->errors |= atomic_exchange_explicit(&l->errors_received, 0, memory_order_relaxed);
    if (!(l->lvt[LVT_ERROR] & LVT_MASKED) && (l->lvt[LVT_ERROR] & 0xff) >= VECTOR_MIN)
        vlapic_post_self(l, l->lvt[LVT_ERROR] & 0xff);
}

static void vlapic_flush(struct vcpu *v) {
    struct vlapic *l = vlapic_of(v);
    // Acquire, pairs with the release in mark(): what is raised from here on marks again.
    (void)atomic_exchange_explicit(&v->irq_work, 0, memory_order_acquire);
    errors_look(l);
    vlapic_look(l);
}

static bool vlapic_ready(struct vcpu *v) {
    struct vlapic *l = vlapic_of(v);
    errors_look(l);
    const s32 vector = highest_request(l);
    if (vlapic_nmi_pending(l) && atomic_load_explicit(&l->nmi_able, memory_order_relaxed))
        return true;
    return atomic_load_explicit(&l->interruptible, memory_order_relaxed) && vector >= 0 &&
           ((u32)vector & 0xf0) > (vlapic_ppr(l) & 0xf0);
}

// ── The contract ────────────────────────────────────────────────────────────────────────────────────────────────────
static void vlapic_set(struct vm *vm, u32 irq, bool level) {
    vioapic_set(vm, irq, level);
}

// The private lines of a vCPU are LINT0 and LINT1, and nothing is wired to them.
static void vlapic_set_ppi(struct vcpu *v, u32 irq, bool level) {
    (void)v;
    (void)irq;
    (void)level;
}

static void vlapic_ipi(struct vcpu *v, const struct vexit *exit) {
    vlapic_icr_send(v, exit->value, true);
}

// INIT: the mode stays as it was (11.12.5.1).
static void vlapic_vcpu_reset(struct vcpu *v) {
    vlapic_reset_registers(vlapic_of(v));
    mark(vlapic_of(v));
}

static void vlapic_reset(struct vm *vm) {
    struct vlapic_vm *all = lapics_of(vm);
    for (u32 n = 0; n < all->count; n++) {
        struct vlapic *l = &all->lapic[n];
        atomic_store_explicit(&l->base, VLAPIC_BASE | VLAPIC_BASE_ENABLE | (n == 0 ? VLAPIC_BASE_BSP : 0),
                              memory_order_relaxed);
        vlapic_vcpu_reset(l->vcpu);
    }
    if (all->ioapic)
        vioapic_reset(all->ioapic);
}

static size_t vlapic_describe(struct vm *vm, char *buf, size_t size) {
    struct vlapic_vm *all = lapics_of(vm);
    size_t used = 0;
    if (size)
        buf[0] = '\0';
    for (u32 n = 0; n < all->count; n++) {
        const struct vlapic *l = &all->lapic[n];
        const s32 request = highest_request(l);
        if (request < 0 && l->in_service == 0)
            continue;
        used += (size_t)snprintf(buf + MIN(used, size), size - MIN(used, size),
                                 "vCPU %u: in service %#x, requested %#x, priority %#x\n", n, l->in_service,
                                 (u32)MAX(request, 0), vlapic_ppr(l));
    }
    if (all->ioapic)
        used += vioapic_describe(all->ioapic, buf + MIN(used, size), size - MIN(used, size));
    return MIN(used, size);
}

const struct irqchip_ops vlapic_ops = {
    .name = "APIC",
    .reset = vlapic_reset,
    .vcpu_reset = vlapic_vcpu_reset,
    .set = vlapic_set,
    .set_ppi = vlapic_set_ppi,
    .ipi = vlapic_ipi,
    .sysreg = vlapic_sysreg,
    .flush = vlapic_flush,
    .ready = vlapic_ready,
    .describe = vlapic_describe,
};

int vlapic_create(struct vm *vm) {
    BUG_ON(vm->vcpu_count == 0 || vm->vcpu_count > VLAPIC_MAX_VCPUS);
    u32 order = 0;
    while ((PAGE_SIZE << order) < sizeof(struct vlapic_vm))
        order++;
    struct vlapic_vm *all = page_alloc(order);
    if (all == nullptr)
        return -ENOMEM;
    all->page = (struct vdev){"local APIC", vm, gpa(VLAPIC_BASE), VLAPIC_SIZE, vlapic_page_access, nullptr};
    all->order = order;
    all->count = vm->vcpu_count;
    for (u32 n = 0; n < vm->vcpu_count; n++) {
        all->lapic[n].vcpu = vm->vcpus[n];
        vm->vcpus[n]->irqchip = &all->lapic[n];
        vlapic_timer_init(&all->lapic[n]);
    }
    vm->irqchip = all;
    vm->irqchip_ops = &vlapic_ops;
    vlapic_reset(vm);
    const int err = bus_add(&vm->bus, &all->page);
    if (err)
        vlapic_destroy(vm);
    return err;
}

void vlapic_destroy(struct vm *vm) {
    struct vlapic_vm *all = lapics_of(vm);
    if (all == nullptr)
        return;
    for (u32 n = 0; n < all->count; n++) {
        timer_cancel_sync(&all->lapic[n].timer);
        all->lapic[n].vcpu->irqchip = nullptr;
    }
    (void)bus_remove(&vm->bus, vlapic_page_access);
    vm->irqchip = nullptr;
    page_free(all, all->order);
}
