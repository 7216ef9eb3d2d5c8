// SPDX-License-Identifier: Apache-2.0
// The vGICv3: creation and reset, lines, SGIs, and who is told of what.
#include "vgicv3.h"

#include <stdio.h>
#include <string.h>

#include "gic_regs.h"
#include "page.h"

void vgic_lock(struct vgic *vg) {
    spin_lock(&vg->lock);
}

static void kick_all(struct vm *vm, u32 mask) {
    while (mask) {
        u32 n = (u32)__builtin_ctz(mask);
        mask &= mask - 1;
        vcpu_kick(vm->vcpus[n]);
    }
}

void vgic_unlock(struct vgic *vg, const struct vgic_vcpu *self) {
    u32 kicks = vg->kicks;
    vg->kicks = 0;
    spin_unlock(&vg->lock);
    if (self)
        kicks &= ~(1u << self->id);
    if (unlikely(kicks))
        kick_all(vg->vm, kicks);
}

void vgic_tell(struct vgic_vcpu *g, u32 attn) {
    vgic_mark(g, attn);
    g->vgic->kicks |= 1u << g->id;
}

// With IROUTER.IRM = 1 any vCPU may take the interrupt (1 of N): we choose the first that runs.
static u8 route_target(const struct vgic *vg, u64 route) {
    if (route & GICD_IROUTER_IRM) {
        for (u32 n = 0; n < vg->vcpu_count; n++) {
            if (atomic_load_explicit(&vg->vm->vcpus[n]->power, memory_order_relaxed) == VCPU_ON)
                return (u8)n;
        }
        return 0;
    }
    return (route & GICD_IROUTER_AFFINITY) < vg->vcpu_count ? (u8)route : VGIC_NO_TARGET;
}

void vgic_spi_retarget(struct vgic *vg, u32 spi) {
    u32 w = spi / 32, bit = irq_bit(spi);
    u8 old = vg->target[spi], new = route_target(vg, vg->route[spi]);
    if (old == new)
        return;
    if (old != VGIC_NO_TARGET)
        vg->vcpu[old]->spi_target[w] &= ~bit;
    if (new != VGIC_NO_TARGET)
        vg->vcpu[new]->spi_target[w] |= bit;
    vg->target[spi] = new;
    // A pending one leaves the old target's list register; an active one stays there until the guest ends it.
    if (vget(&vg->spi[w].in_lr) & bit)
        vgic_tell(vg->vcpu[vg->holder[spi]], VGIC_ATTN_RESYNC);
}

void vgic_spis_changed(struct vgic *vg, u32 w, u32 bits) {
    struct vgic_word *word = &vg->spi[w];
    u32 gate = vget(&word->gate) & bits, in_lr = vget(&word->in_lr);
    u32 fresh = vgic_pending(word) & gate & ~vget(&word->active) & ~in_lr;
    while (fresh) {
        u32 spi = w * 32 + (u32)__builtin_ctz(fresh);
        fresh &= fresh - 1;
        if (unlikely(vg->route[spi] & GICD_IROUTER_IRM))
            vgic_spi_retarget(vg, spi);
        if (vg->target[spi] != VGIC_NO_TARGET)
            vgic_tell(vg->vcpu[vg->target[spi]], 1u << w);
    }
    u32 again = vget(&word->latch) & gate & in_lr;
    while (again) {
        u32 spi = w * 32 + (u32)__builtin_ctz(again);
        again &= again - 1;
        vgic_tell(vg->vcpu[vg->holder[spi]], VGIC_ATTN_RESYNC);
    }
}

void vgic_word_gate(struct vgic *vg, struct vgic_word *word) {
    u32 group = vget(&word->group), allowed = 0;
    if (vg->ctlr & GICD_CTLR_GRP1)
        allowed |= group;
    if (vg->ctlr & GICD_CTLR_GRP0)
        allowed |= ~group;
    vput(&word->gate, vget(&word->enabled) & allowed);
}

void vgic_template(struct vgic_vcpu *g, u32 irq) {
    u64 lr = irq | field_set(LR_PRIORITY, g->priority[irq]);
    if (vget(&g->word.group) & irq_bit(irq))
        lr |= LR_GROUP1;
    if (g->mapped & irq_bit(irq))
        lr |= LR_HW | field_set(LR_PINTID, g->pintid[irq]);
    g->lr_template[irq] = lr;
}

static void vgicv3_set(struct vm *vm, u32 irq, bool level) {
    struct vgic *vg = vm->irqchip;
    u32 spi = irq - GIC_SPI_BASE, w = spi / 32, bit = irq_bit(irq);
    if (spi >= VGIC_SPIS)
        return;
    struct vgic_word *word = &vg->spi[w];
    vgic_lock(vg);
    bool old = vget(&word->line) & bit;
    if (level && !old) {
        vput(&word->line, vget(&word->line) | bit);
        if (vget(&word->edge) & bit)
            vput(&word->latch, vget(&word->latch) | bit);
        vgic_spis_changed(vg, w, bit);
    } else if (!level && old) {
        vput(&word->line, vget(&word->line) & ~bit);
        // If the guest has not taken it yet, it need not any more. Not worth a kick: a spurious interrupt is no error.
        if (vget(&word->in_lr) & ~vget(&word->edge) & bit)
            vgic_mark(vg->vcpu[vg->holder[spi]], VGIC_ATTN_RESYNC);
    }
    vgic_unlock(vg, nullptr);
}

static void vgicv3_set_ppi(struct vcpu *v, u32 irq, bool level) {
    struct vgic_vcpu *g = vgic_of(v);
    u32 bit = irq_bit(irq);
    if (irq - GIC_SGIS >= GIC_PRIVATE - GIC_SGIS)
        return;
    if (level) {
        u32 old = atomic_fetch_or_explicit(&g->word.line, bit, memory_order_relaxed);
        if (vget(&g->word.edge) & bit & ~old)
            vset_bits(&g->word.latch, bit);
        vput(&g->fresh, bit);
        vgic_mark(g, 0);
        vcpu_kick(v);
    } else {
        vclear_bits(&g->word.line, bit);
        if (vget(&g->word.in_lr) & bit & ~vget(&g->word.edge))
            vgic_mark(g, VGIC_ATTN_RESYNC);
    }
}

// §12.2.30. One security state: SGI1R makes group 1 interrupts, SGI0R and ASGI1R group 0 ones, and a target that has
// the SGI in the other group ignores it. Affinity 0 of a vCPU is its number, the rest is 0.
static void vgicv3_ipi(struct vcpu *v, const struct vexit *exit) {
    struct vgic_vcpu *self = vgic_of(v);
    struct vgic *vg = self->vgic;
    u64 value = exit->value;
    u32 bit = 1u << field_get(ICC_SGIR_INTID, value), all = (1u << vg->vcpu_count) - 1, targets;
    if (value & ICC_SGIR_IRM)
        targets = all & ~(1u << self->id);
    else if (value & (ICC_SGIR_AFF3 | ICC_SGIR_AFF2 | ICC_SGIR_AFF1 | ICC_SGIR_RS))
        targets = 0;
    else
        targets = all & (u32)(value & ICC_SGIR_TARGETS);
    u32 flip = exit->nr == 0 ? 0 : ~0u;
    while (targets) {
        struct vgic_vcpu *g = vg->vcpu[__builtin_ctz(targets)];
        targets &= targets - 1;
        if (!((vget(&g->word.group) ^ flip) & bit))
            continue;
        vset_bits(&g->word.latch, bit);
        vgic_mark(g, 0);
        if (g != self)
            vcpu_kick(g->vcpu);
    }
}

static void word_reset(struct vgic_word *word, u32 edge) {
    *word = (struct vgic_word){0};
    vput(&word->edge, edge);
}

static void cpuif_reset(struct vgic_vcpu *g) {
    struct vgic_cpuif *c = &g->cpuif;
    *c = (struct vgic_cpuif){.lr_count = c->lr_count, .lr_dirty = g->lr_all, .hcr_dirty = true};
    g->lr_locked = 0;
}

static void vgicv3_reset(struct vm *vm) {
    struct vgic *vg = vm->irqchip;
    vgic_lock(vg);
    vg->ctlr = 0;
    for (u32 w = 0; w < VGIC_SPI_WORDS; w++)
        word_reset(&vg->spi[w], 0);
    memset(vg->route, 0, sizeof vg->route);
    memset(vg->priority, 0, sizeof vg->priority);
    memset(vg->target, 0, sizeof vg->target);
    memset(vg->holder, 0, sizeof vg->holder);
    for (u32 n = 0; n < vg->vcpu_count; n++) {
        struct vgic_vcpu *g = vg->vcpu[n];
        cpuif_reset(g);
        word_reset(&g->word, BITS(15, 0)); // SGIs are edges
        memset(g->spi_target, n == 0 ? 0xff : 0, sizeof g->spi_target);
        memset(g->priority, 0, sizeof g->priority);
        for (u32 irq = 0; irq < VGIC_PRIVATE; irq++)
            vgic_template(g, irq);
        g->waker = GICR_WAKER_SLEEP | GICR_WAKER_ASLEEP;
        vput(&g->attn, 0);
    }
    vgic_unlock(vg, nullptr);
}

// Switched on or off: the CPU interface is at reset, while the redistributor keeps its state, as it does with the
// core's power off. An SPI that waited in a list register may have another target by now, who has not heard of it yet.
static void vgicv3_vcpu_reset(struct vcpu *v) {
    struct vgic_vcpu *g = vgic_of(v);
    vgic_lock(g->vgic);
    vgic_pull_all(g);
    // A physical interrupt that the guest had taken waits again; flush looks at its line before it goes in.
    u32 held = vget(&g->word.active) & g->mapped;
    vset_bits(&g->word.line, held);
    vput(&g->word.active, vget(&g->word.active) & ~held);
    cpuif_reset(g);
    vgic_mark(g, VGIC_ATTN_WORDS | VGIC_ATTN_RESYNC | VGIC_ATTN_SPILLED);
    for (u32 w = 0; w < VGIC_SPI_WORDS; w++)
        vgic_spis_changed(g->vgic, w, ~0u);
    vgic_unlock(g->vgic, g);
}

static void dist_reset(struct vdev *dev) {
    vgicv3_reset(dev->vm);
}

struct text {
    char *at;
    size_t left, used;
};

static void describe_irq(struct text *t, const char *what, u32 vcpu, u32 irq, u32 bit, const struct vgic_word *word) {
    u32 pending = vgic_pending(word);
    int n = snprintf(t->at, t->left, "%s %u%s%s%s%s%s on vCPU %u\n", what, irq, pending & bit ? " pending" : "",
                     vget(&word->active) & bit ? " active" : "", vget(&word->in_lr) & bit ? " delivered" : "",
                     vget(&word->enabled) & bit ? " enabled" : " disabled",
                     vget(&word->edge) & bit ? " edge" : " level", vcpu);
    size_t wrote = n < 0 ? 0 : MIN((size_t)n, t->left ? t->left - 1 : 0);
    t->at += wrote;
    t->left -= wrote;
    t->used += wrote;
}

static size_t vgicv3_describe(struct vm *vm, char *buf, size_t size) {
    struct vgic *vg = vm->irqchip;
    struct text t = {.at = buf, .left = size};
    if (size)
        buf[0] = '\0';
    vgic_lock(vg);
    for (u32 n = 0; n < vg->vcpu_count; n++) {
        const struct vgic_word *word = &vg->vcpu[n]->word;
        u32 busy = vgic_pending(word) | vget(&word->active) | vget(&word->in_lr);
        for (u32 irq = 0; irq < VGIC_PRIVATE; irq++) {
            if (busy & irq_bit(irq))
                describe_irq(&t, irq < GIC_SGIS ? "SGI" : "PPI", n, irq, irq_bit(irq), word);
        }
    }
    for (u32 spi = 0; spi < VGIC_SPIS; spi++) {
        const struct vgic_word *word = &vg->spi[spi / 32];
        u32 busy = vgic_pending(word) | vget(&word->active) | vget(&word->in_lr);
        if (busy & irq_bit(spi))
            describe_irq(&t, "SPI", vg->target[spi], spi + GIC_SPI_BASE, irq_bit(spi), word);
    }
    vgic_unlock(vg, nullptr);
    return t.used;
}

const struct irqchip_ops vgicv3_ops = {
    .name = "GICv3",
    .reset = vgicv3_reset,
    .vcpu_reset = vgicv3_vcpu_reset,
    .set = vgicv3_set,
    .set_ppi = vgicv3_set_ppi,
    .ipi = vgicv3_ipi,
    .flush = vgicv3_flush,
    .ready = vgicv3_ready,
    .describe = vgicv3_describe,
};

int vgic_create(struct vm *vm, gpa_t gicd, gpa_t gicr, u32 lr_count) {
    BUG_ON(lr_count == 0 || lr_count > VGIC_MAX_LR || vm->vcpu_count == 0 || vm->vcpu_count > VGIC_MAX_VCPUS);
    // One allocation: the distributor, then a part for each vCPU, on cache lines of their own.
    u64 head = align_up(sizeof(struct vgic), 64), part = align_up(sizeof(struct vgic_vcpu), 64);
    u32 order = page_order(head + part * vm->vcpu_count);
    char *memory = page_alloc(order);
    if (memory == nullptr)
        return -ENOMEM;
    struct vgic *vg = (void *)memory;
    spin_init(&vg->lock, LOCK_IRQCHIP);
    vg->order = order;
    vg->vm = vm;
    vg->vcpu_count = vm->vcpu_count;
    for (u32 n = 0; n < vm->vcpu_count; n++) {
        struct vgic_vcpu *g = (void *)(memory + head + part * n);
        vg->vcpu[n] = g;
        g->vgic = vg;
        g->vcpu = vm->vcpus[n];
        g->id = n;
        g->cpuif.lr_count = lr_count;
        g->lr_all = (1u << lr_count) - 1;
        vm->vcpus[n]->irqchip = g;
    }
    vg->dist = (struct vdev){"gicd", vm, gicd, VGIC_GICD_SIZE, vgic_dist_access, dist_reset};
    vg->redist = (struct vdev){"gicr", vm, gicr, (u64)VGIC_GICR_STRIDE * vg->vcpu_count, vgic_redist_access, nullptr};
    vm->irqchip = vg;
    vm->irqchip_ops = &vgicv3_ops;
    vgicv3_reset(vm);
    int err = bus_add(&vm->bus, &vg->redist);
    if (err == 0)
        err = bus_add(&vm->bus, &vg->dist);
    if (err)
        vgic_destroy(vm);
    return err;
}

void vgic_destroy(struct vm *vm) {
    struct vgic *vg = vm->irqchip;
    if (vg == nullptr)
        return;
    for (u32 n = 0; n < vg->vcpu_count; n++)
        vg->vcpu[n]->vcpu->irqchip = nullptr;
    (void)bus_remove(&vm->bus, vgic_dist_access);
    (void)bus_remove(&vm->bus, vgic_redist_access);
    vm->irqchip = nullptr;
    page_free(vg, vg->order);
}

void vgic_map_ppi(struct vcpu *v, u32 ppi, u32 pintid) {
    struct vgic_vcpu *g = vgic_of(v);
    BUG_ON(ppi - GIC_SGIS >= GIC_PRIVATE - GIC_SGIS);
    g->mapped |= irq_bit(ppi);
    g->pintid[ppi] = (u16)pintid;
    vgic_template(g, ppi);
}

u32 vgic_held_ppis(struct vcpu *v) {
    struct vgic_vcpu *g = vgic_of(v);
    struct vgic_word *word = &g->word;
    return (vget(&word->line) | vget(&word->active) | vgic_lr_bits(g, -1, LR_STATE)) & g->mapped;
}

struct vgic_cpuif *vgic_cpuif(struct vcpu *v) {
    return v->irqchip ? &vgic_of(v)->cpuif : nullptr;
}
