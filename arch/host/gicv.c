// SPDX-License-Identifier: Apache-2.0
// What a GICv3's virtual CPU interface does with list registers (IHI 0069 §6.3, §12.4), EOImode 0, priority mask open.
#include "guest_internal.h"
#include "vcpu.h"

static bool used(u64 lr) {
    return lr & LR_STATE;
}

// ICH_EISR_EL2: finished, and to be told.
static bool told(u64 lr) {
    return !used(lr) && !(lr & LR_HW) && (lr & LR_EOI);
}

static u8 priority_of(u64 lr) {
    return (u8)field_get(LR_PRIORITY, lr);
}

void gicv_enter(struct host_gicv *h, struct vgic_cpuif *cif) {
    if (!cif)
        return;
    BUG_ON(cif->lr_count == 0 || cif->lr_count > VGIC_MAX_LR);
    BUG_ON((cif->lr_dirty | cif->lr_used) >> cif->lr_count);
    for (u32 n = 0; n < cif->lr_count; n++)
        if (cif->lr_dirty & BIT(n))
            h->lr[n] = cif->lr[n];
    cif->lr_dirty = 0;
    if (cif->hcr_dirty) {
        h->hcr = cif->hcr;
        h->eoi_count = 0;
        cif->hcr_dirty = false;
    }
    for (u32 n = 0; n < cif->lr_count; n++) {
        BUG_ON(!(cif->lr_used & BIT(n)) && used(h->lr[n])); // an interrupt that the model has forgotten
        for (u32 i = 0; i < n; i++) // §12.4.8: two list registers with one INTID are UNPREDICTABLE
            BUG_ON(used(h->lr[n]) && used(h->lr[i]) && (u32)h->lr[n] == (u32)h->lr[i]);
        BUG_ON((h->lr[n] & LR_HW) && (h->lr[n] & LR_STATE) == LR_STATE); // reserved
    }
}

static void take_eoi_count(const struct host_gicv *h, struct vgic_cpuif *cif) {
    if ((cif->hcr & VGIC_HCR_LRENPIE) && !cif->hcr_dirty)
        cif->eoi_count = h->eoi_count;
}

void gicv_leave(struct host_gicv *h, struct vgic_cpuif *cif) {
    if (!cif)
        return;
    for (u32 n = 0; n < cif->lr_count; n++)
        if ((cif->lr_used & ~cif->lr_dirty & BIT(n)) && !used(h->lr[n]))
            cif->lr_empty |= (u32)BIT(n);
    take_eoi_count(h, cif);
}

void gicv_sync(struct host_gicv *h, struct vgic_cpuif *cif) {
    if (!cif)
        return;
    for (u32 n = 0; n < cif->lr_count; n++)
        if (cif->lr_used & ~cif->lr_dirty & BIT(n))
            cif->lr[n] = h->lr[n];
    gicv_leave(h, cif);
}

void gicv_load(struct host_gicv *h, struct vgic_cpuif *cif) {
    if (!cif)
        return;
    for (u32 n = 0; n < cif->lr_count; n++)
        h->lr[n] = cif->lr[n];
    cif->lr_dirty = 0;
    h->hcr = cif->hcr;
    h->eoi_count = 0;
    cif->hcr_dirty = false;
}

void gicv_save(struct host_gicv *h, struct vgic_cpuif *cif) {
    gicv_sync(h, cif);
    for (u32 n = 0; n < VGIC_MAX_LR; n++)
        h->lr[n] = 0xdead0000 | n; // a load that is left out shows
    h->hcr = 0;
}

bool gicv_maintenance(const struct host_gicv *h, u32 lr_count) {
    u32 in_use = 0, pending = 0, finished = 0;
    for (u32 n = 0; n < lr_count; n++) {
        in_use += used(h->lr[n]);
        pending += (h->lr[n] & LR_STATE) == LR_PENDING;
        finished += told(h->lr[n]);
    }
    return finished || ((h->hcr & VGIC_HCR_UIE) && in_use <= 1) || ((h->hcr & VGIC_HCR_NPIE) && !pending) ||
           ((h->hcr & VGIC_HCR_LRENPIE) && h->eoi_count);
}

void gicv_take_maintenance(struct host_gicv *h, struct vcpu *v, struct vgic_cpuif *cif) {
    gicv_leave(h, cif);
    h->hcr = 0; // silent until the model has looked
    cif->hcr_dirty = true;
    atomic_store_explicit(&v->irq_work, 1, memory_order_relaxed);
}

int gicv_candidate(const struct host_gicv *h, u32 lr_count) {
    int best = -1;
    u32 best_priority = h->running_count ? h->running[h->running_count - 1] : 0x100;
    for (u32 n = 0; n < lr_count; n++) {
        if ((h->lr[n] & LR_STATE) == LR_PENDING && priority_of(h->lr[n]) < best_priority) {
            best = (int)n;
            best_priority = priority_of(h->lr[n]);
        }
    }
    return best;
}

u32 gicv_ack(struct host_gicv *h, u32 lr_count) {
    int n = gicv_candidate(h, lr_count);
    if (n < 0)
        return 1023;
    BUG_ON(h->running_count == ARRAY_SIZE(h->running));
    h->running[h->running_count++] = priority_of(h->lr[n]);
    h->lr[n] = (h->lr[n] & ~LR_STATE) | LR_ACTIVE;
    return (u32)h->lr[n];
}

u32 gicv_eoi(struct host_gicv *h, u32 lr_count, u32 intid) {
    if (h->running_count) // the priority drops whatever the INTID
        h->running_count--;
    for (u32 n = 0; n < lr_count; n++) {
        u64 lr = h->lr[n];
        if ((u32)lr != intid || !(lr & LR_ACTIVE))
            continue;
        h->lr[n] = lr & ~LR_ACTIVE;
        return lr & LR_HW ? (u32)field_get(LR_PINTID, lr) : 0;
    }
    h->eoi_count++;
    return 0;
}
