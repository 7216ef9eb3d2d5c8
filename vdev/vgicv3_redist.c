// SPDX-License-Identifier: Apache-2.0
// The redistributors' registers (IHI 0069 §12.11): for each vCPU a control frame and a frame of its private interrupts.
#include "gic_regs.h"
#include "vgicv3.h"

static u64 typer(const struct vgic_vcpu *g) {
    u64 value = field_set(GICR_TYPER_AFFINITY, g->id) | field_set(GICR_TYPER_PROCESSOR, g->id);
    return g->id + 1 == g->vgic->vcpu_count ? value | GICR_TYPER_LAST : value;
}

static u64 control_read(const struct vgic_vcpu *g, u32 offset, u32 size) {
    if (offset == GICR_TYPER && size == 8)
        return typer(g);
    if (size != 4)
        return 0;
    switch (offset) {
    case GICR_TYPER:
        return (u32)typer(g);
    case GICR_IIDR:
        return VGIC_IIDR;
    case GICR_TYPER + 4:
        return typer(g) >> 32;
    case GICR_WAKER:
        return g->waker;
    default:
        return vgic_id_read(offset);
    }
}

// ChildrenAsleep follows ProcessorSleep at once. As in QEMU, a sleeping redistributor forwards interrupts all the same:
// software that forgets to wake it works there.
static void control_write(struct vgic_vcpu *g, u32 offset, u32 size, u32 value) {
    if (size == 4 && offset == GICR_WAKER)
        g->waker = value & GICR_WAKER_SLEEP ? GICR_WAKER_SLEEP | GICR_WAKER_ASLEEP : 0;
}

static bool is_priority(u32 offset) {
    return offset >= GICR_IPRIORITYR && offset < GICR_IPRIORITYR + GIC_PRIVATE;
}

static u32 private_read(struct vgic_vcpu *g, struct vgic_vcpu *self, u32 offset, u32 size) {
    if (is_priority(offset) && (size == 4 || size == 1))
        return vgic_priority_read(g, g->vgic, offset - GICR_IPRIORITYR, size);
    if (size != 4)
        return 0;
    if (offset >= GICR_IGROUPR0 && offset <= GICR_ICACTIVER0 && (offset & 0x7f) == 0)
        return vgic_bank_read(self, g, 0, (enum vgic_bank)(offset >> 7));
    if (offset == GICR_ICFGR0 || offset == GICR_ICFGR1)
        return vgic_config_read(&g->word, (offset & 4) * 4);
    return 0;
}

static void private_write(struct vgic_vcpu *g, struct vgic_vcpu *self, u32 offset, u32 size, u32 value) {
    if (is_priority(offset) && (size == 4 || size == 1))
        vgic_priority_write(self, g, offset - GICR_IPRIORITYR, size, value);
    else if (size == 4 && offset >= GICR_IGROUPR0 && offset <= GICR_ICACTIVER0 && (offset & 0x7f) == 0)
        vgic_bank_write(self, g, 0, (enum vgic_bank)(offset >> 7), value);
    else if (size == 4 && offset == GICR_ICFGR1) // SGIs are edges for good
        vgic_config_write(self, g, 16, value);
}

[[gnu::noinline]] static int access_other(struct vgic_vcpu *g, struct bus_access *a) {
    struct vgic_vcpu *self = vgic_of(a->vcpu);
    u32 offset = a->offset & (GICR_FRAMES - 1);
    if (offset < GICR_SGI_FRAME) {
        if (a->write)
            control_write(g, offset, a->size, (u32)a->value);
        else
            a->value = control_read(g, offset, a->size);
    } else if (a->write) {
        private_write(g, self, offset - GICR_SGI_FRAME, a->size, (u32)a->value);
    } else {
        a->value = private_read(g, self, offset - GICR_SGI_FRAME, a->size);
    }
    return 0;
}

int vgic_redist_access(struct vdev *dev, struct bus_access *a) {
    struct vgic *vg = container_of(dev, struct vgic, redist);
    struct vgic_vcpu *g = vg->vcpu[a->offset / GICR_FRAMES];
    if (a->size == 8 && !a->write && (a->offset & (GICR_FRAMES - 1)) == GICR_TYPER) {
        a->value = typer(g);
        return 0;
    }
    return access_other(g, a);
}
