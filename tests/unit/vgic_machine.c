// SPDX-License-Identifier: Apache-2.0
#include "../bare_vm.h"
#include "vgic_machine.h"

#include <string.h>

#include "arch.h"

struct vm vm;
struct vcpu vcpus[VM_VCPUS_MAX];
struct hw hw[VM_VCPUS_MAX];

static const struct irqchip_ops *const ops = &vgicv3_ops;

// ── What the core and the architecture do ───────────────────────────────────────────────────────────────────────────
void vcpu_kick(struct vcpu *v) {
    hw[v->id].kicked = true;
}

static bool lr_done(u64 lr) { // ELRSR | EISR
    return !(lr & LR_STATE);
}

void arch_irq_sync(struct vcpu *v) {
    struct vgic_cpuif *c = vgic_cpuif(v);
    for (u32 n = 0; n < c->lr_count; n++) {
        if (!(c->lr_used & ~c->lr_dirty & BIT(n)))
            continue;
        c->lr[n] = hw[v->id].lr[n];
        if (lr_done(c->lr[n]))
            c->lr_empty |= 1u << n;
    }
    c->eoi_count += hw[v->id].eoicount;
    hw[v->id].eoicount = 0;
}

bool arch_irq_level(struct vcpu *v, u32 ppi) {
    assert_int_equal(ppi, TIMER_PPI);
    if (!hw[v->id].timer_level)
        hw[v->id].timer_active = false;
    return hw[v->id].timer_level;
}

static void enter(u32 id) {
    struct vcpu *v = &vcpus[id];
    struct vgic_cpuif *c = vgic_cpuif(v);
    hw[id].kicked = false;
    if (hw[id].timer_level && !hw[id].timer_active) { // the physical interrupt is taken before the guest runs
        hw[id].timer_active = true;
        static u32 turn; // both ways
        u32 n = turn++ % 2 ? vgic_take_ppi(v, TIMER_PPI) : VGIC_NO_LR;
        if (n == VGIC_NO_LR)
            ops->set_ppi(v, TIMER_PPI, true);
        else
            hw[id].lr[n] = c->lr[n];
        hw[id].kicked = false;
    }
    if (v->irq_work)
        ops->flush(v);
    assert_int_equal(c->lr_used & ~((1u << c->lr_count) - 1), 0);
    for (u32 n = 0; n < c->lr_count; n++) {
        if (c->lr_dirty & BIT(n))
            hw[id].lr[n] = c->lr[n];
        if (!(c->lr_used & BIT(n)))
            assert_false(hw[id].lr[n] & LR_STATE); // the model forgot it
        for (u32 m = 0; m < n; m++)                // §12.4.8: the same interrupt twice is UNPREDICTABLE
            assert_false((c->lr_used & BIT(n)) && (c->lr_used & BIT(m)) && (u32)hw[id].lr[n] == (u32)hw[id].lr[m]);
        assert_false((hw[id].lr[n] & LR_HW) && (hw[id].lr[n] & LR_STATE) == LR_STATE);
    }
    c->lr_dirty = 0;
    if (c->hcr_dirty) {
        hw[id].hcr = c->hcr;
        hw[id].eoicount = 0;
        c->hcr_dirty = false;
    }
    hw[id].in_guest = true;
}

static void leave(u32 id) {
    struct vgic_cpuif *c = vgic_cpuif(&vcpus[id]);
    u32 empty = 0;
    for (u32 n = 0; n < c->lr_count; n++) {
        if (lr_done(hw[id].lr[n]))
            empty |= 1u << n;
    }
    c->lr_empty = empty & c->lr_used;
    if (hw[id].hcr & VGIC_HCR_LRENPIE) {
        c->eoi_count += hw[id].eoicount;
        hw[id].eoicount = 0;
    }
    hw[id].in_guest = false;
}

static bool maintenance(u32 id) {
    const struct vgic_cpuif *c = vgic_cpuif(&vcpus[id]);
    bool eisr = false, pending = false;
    for (u32 n = 0; n < c->lr_count; n++) {
        u64 lr = hw[id].lr[n];
        eisr |= (lr & (LR_STATE | LR_HW | LR_EOI)) == LR_EOI;
        pending |= (lr & LR_STATE) == LR_PENDING;
    }
    return eisr || ((hw[id].hcr & VGIC_HCR_NPIE) && !pending) || ((hw[id].hcr & VGIC_HCR_LRENPIE) && hw[id].eoicount);
}

// Whatever takes the guest out takes it out.
static void interrupts(u32 id) {
    for (u32 turn = 0; hw[id].kicked || maintenance(id) || (hw[id].timer_level && !hw[id].timer_active); turn++) {
        assert_true(turn < 8); // a guest that never gets to run
        bool maintained = maintenance(id);
        leave(id);
        if (maintained) // the timer's interrupt asks for nothing else
            vcpus[id].irq_work = 1;
        enter(id);
    }
}

static void interrupts_all(void) {
    for (u32 v = 0; v < vm.vcpu_count; v++) {
        if (hw[v].in_guest)
            interrupts(v);
    }
}

void guest_bounce(u32 v) {
    leave(v);
    enter(v);
    interrupts_all();
}

// ── Accesses ────────────────────────────────────────────────────────────────────────────────────────────────────────
static u64 access_by(u32 v, u64 address, u8 size, bool write, u64 value) {
    struct bus_access a = {.vcpu = &vcpus[v], .value = value, .size = size, .write = write};
    leave(v);
    assert_int_equal(bus_access(&vm.bus, gpa(address), &a), 0);
    enter(v);
    interrupts_all();
    return a.value;
}

u64 mmio_read(u32 v, u64 address, u8 size) {
    return access_by(v, address, size, false, 0x5555555555555555);
}

void mmio_write(u32 v, u64 address, u8 size, u64 value) {
    (void)access_by(v, address, size, true, value);
}

static u64 register_of(u32 v, u32 bank, u32 irq) {
    if (irq < VGIC_PRIVATE)
        return VM_GICR + v * VGIC_GICR_STRIDE + GICR_SGI_FRAME + bank;
    return VM_GICD + bank + irq / 32 * 4;
}

bool irq_read(u32 v, u32 bank, u32 irq) {
    return mmio_read(v, register_of(v, bank, irq), 4) >> (irq % 32) & 1;
}

void irq_write_of(u32 by, u32 v, u32 bank, u32 irq) {
    mmio_write(by, register_of(v, bank, irq), 4, BIT(irq % 32));
}

void irq_write(u32 v, u32 bank, u32 irq) {
    irq_write_of(v, v, bank, irq);
}

void irq_set_priority(u32 v, u32 irq, u32 priority) {
    u64 at = irq < VGIC_PRIVATE ? register_of(v, GICR_IPRIORITYR, 0) : (u64)VM_GICD + GICD_IPRIORITYR;
    mmio_write(v, at + irq, 1, priority);
}

void irq_set_edge(u32 v, u32 irq, bool edge) {
    u64 at = irq < VGIC_PRIVATE ? register_of(v, GICR_ICFGR0, 0) : (u64)VM_GICD + GICD_ICFGR;
    u32 shift = irq % 16 * 2;
    u64 value = mmio_read(v, at + irq / 16 * 4, 4) & ~(3ull << shift);
    mmio_write(v, at + irq / 16 * 4, 4, value | (edge ? 2ull << shift : 0));
}

void send_sgi(u32 v, u32 sgi, u32 targets) {
    struct vexit exit = {.kind = VEXIT_SEND_IPI, .value = field_set(ICC_SGIR_INTID, sgi) | targets};
    leave(v);
    ops->ipi(&vcpus[v], &exit);
    enter(v);
    interrupts_all();
}

void line_set(u32 irq, bool level) {
    irqchip_set(&vm, irq, level);
    // A line that falls is no kick; the test is stricter than the hardware and lets each see it now.
    for (u32 v = 0; v < vm.vcpu_count; v++) {
        if (!level && vcpus[v].irq_work)
            hw[v].kicked = true;
    }
    interrupts_all();
}

void timer_set(u32 v, bool level) {
    hw[v].timer_level = level;
    interrupts(v);
}

// ── The guest's side of the interface ───────────────────────────────────────────────────────────────────────────────
u32 guest_running_priority(u32 v) {
    return hw[v].depth ? hw[v].running[hw[v].depth - 1] : IDLE_PRIORITY;
}

u32 guest_ack(u32 v) {
    interrupts(v);
    u64 *best = NULL;
    for (u32 n = 0; n < vgic_cpuif(&vcpus[v])->lr_count; n++) {
        u64 *lr = &hw[v].lr[n];
        if ((*lr & LR_STATE) == LR_PENDING && (*lr & LR_GROUP1) &&
            (!best || field_get(LR_PRIORITY, *lr) < field_get(LR_PRIORITY, *best)))
            best = lr;
    }
    if (!best || field_get(LR_PRIORITY, *best) >= guest_running_priority(v))
        return SPURIOUS;
    hw[v].running[hw[v].depth++] = (u32)field_get(LR_PRIORITY, *best);
    *best = (*best & ~LR_PENDING) | LR_ACTIVE;
    u32 irq = (u32)*best;
    interrupts_all();
    return irq;
}

void guest_eoi(u32 v, u32 irq) {
    interrupts(v);
    assert_true(hw[v].depth > 0);
    hw[v].depth--;
    for (u32 n = 0; n < vgic_cpuif(&vcpus[v])->lr_count; n++) {
        u64 *lr = &hw[v].lr[n];
        if ((u32)*lr != irq || !(*lr & LR_ACTIVE))
            continue;
        *lr &= ~LR_ACTIVE;
        if (*lr & LR_HW) {
            assert_int_equal(field_get(LR_PINTID, *lr), TIMER_PPI);
            hw[v].timer_active = false;
        }
        interrupts_all();
        return;
    }
    hw[v].eoicount = (hw[v].eoicount + 1) & 31;
    interrupts_all();
}

// ── Set-up ──────────────────────────────────────────────────────────────────────────────────────────────────────────
void machine_start(u32 vcpu_count, u32 lr_count) {
    bare_vm(&vm, vcpus, vcpu_count);
    memset(hw, 0, sizeof(hw));
    for (u32 v = 0; v < vcpu_count; v++)
        vcpus[v].power = VCPU_ON;
    assert_int_equal(vgic_create(&vm, gpa(VM_GICD), gpa(VM_GICR), lr_count), 0);
    for (u32 v = 0; v < vcpu_count; v++) {
        vgic_map_ppi(&vcpus[v], TIMER_PPI, TIMER_PPI);
        enter(v);
    }
    for (u32 v = 0; v < vcpu_count; v++)
        mmio_write(v, register_of(v, GICR_IGROUPR0, 0), 4, ~0u);
    for (u32 w = 1; w < VGIC_IRQS / 32; w++)
        dist_write(GICD_IGROUPR + w * 4, ~0u);
    dist_write(GICD_CTLR, GICD_CTLR_GRP1);
}

void machine_stop(void) {
    vgic_destroy(&vm);
}
