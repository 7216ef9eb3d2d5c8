// SPDX-License-Identifier: Apache-2.0
// The distributor's registers (IHI 0069 §12.9): one security state (DS = 1), affinity routing only, no LPIs, no
// message-based SPIs. What is reserved, or accessed in a size that a register does not have, reads as zero and ignores
// writes.
#include "gic_regs.h"
#include "vgicv3.h"

// Registers lie in blocks of 128 bytes: a bank of one bit an interrupt fills one.
enum {
    BLOCK = 7,
    BLOCK_PRIORITY = GICD_IPRIORITYR >> BLOCK,
    BLOCK_PRIORITY_END = GICD_ITARGETSR >> BLOCK,
    BLOCK_CONFIG = GICD_ICFGR >> BLOCK,
    BLOCK_CONFIG_END = GICD_IGRPMODR >> BLOCK,
};
static_assert(GICD_IGROUPR >> BLOCK == BANK_GROUP && GICD_ICACTIVER >> BLOCK == BANK_CLEAR_ACTIVE);

#define TYPER ((u32)(field_set(GICD_TYPER_LINES, VGIC_IRQS / 32 - 1) | field_set(GICD_TYPER_IDBITS, 9)))

static u32 head_read(const struct vgic *vg, u32 offset) {
    switch (offset) {
    case GICD_CTLR:
        return (u32)(vg->ctlr | GICD_CTLR_ARE | GICD_CTLR_DS);
    case GICD_TYPER:
        return TYPER;
    case GICD_IIDR:
        return VGIC_IIDR;
    default:
        return 0;
    }
}

static void ctlr_write(struct vgic *vg, struct vgic_vcpu *self, u32 value) {
    value &= (u32)(GICD_CTLR_GRP0 | GICD_CTLR_GRP1);
    vgic_lock(vg);
    if (value != vg->ctlr) {
        vg->ctlr = value;
        for (u32 n = 0; n < vg->vcpu_count; n++) {
            vgic_word_gate(vg, &vg->vcpu[n]->word);
            vgic_tell(vg->vcpu[n], VGIC_ATTN_RESYNC);
        }
        for (u32 w = 0; w < VGIC_SPI_WORDS; w++) {
            vgic_word_gate(vg, &vg->spi[w]);
            vgic_spis_changed(vg, w, ~0u);
        }
    }
    vgic_unlock(vg, self);
}

// Interrupt number of the first byte of a register in an array of `per` bytes' interrupts; private ones are not here.
static bool is_spi(u32 irq) {
    return irq >= VGIC_PRIVATE && irq < VGIC_IRQS;
}

static bool route_of(u32 offset, u32 *irq) {
    *irq = (offset - GICD_IROUTER) / 8;
    return offset >= GICD_IROUTER && is_spi(*irq);
}

static u64 route_read(const struct vgic *vg, u32 offset, u32 size) {
    u32 irq;
    if (!route_of(offset, &irq))
        return 0;
    u64 route = vg->route[irq - VGIC_PRIVATE];
    if (size == 8)
        return route;
    return offset & 4 ? route >> 32 : (u32)route;
}

static void route_write(struct vgic *vg, struct vgic_vcpu *self, u32 offset, u32 size, u64 value) {
    u32 irq;
    if (!route_of(offset, &irq))
        return;
    u32 spi = irq - VGIC_PRIVATE;
    vgic_lock(vg);
    if (size == 4)
        value = offset & 4 ? (value << 32) | (u32)vg->route[spi] : (vg->route[spi] & BITS(63, 32)) | value;
    vg->route[spi] = value & (GICD_IROUTER_AFFINITY | GICD_IROUTER_IRM);
    vgic_spi_retarget(vg, spi);
    vgic_spis_changed(vg, spi / 32, irq_bit(spi));
    vgic_unlock(vg, self);
}

static u64 read_word(struct vgic *vg, struct vgic_vcpu *self, u32 offset) {
    u32 block = offset >> BLOCK, index = (offset & 0x7f) / 4;
    if (block == 0)
        return head_read(vg, offset);
    if (block <= BANK_CLEAR_ACTIVE)
        return index - 1 < VGIC_SPI_WORDS ? vgic_bank_read(self, nullptr, index - 1, (enum vgic_bank)block) : 0;
    if (block < BLOCK_PRIORITY_END)
        return is_spi(offset - GICD_IPRIORITYR) ? vgic_priority_read(nullptr, vg, offset - GICD_IPRIORITYR, 4) : 0;
    if (block >= BLOCK_CONFIG && block < BLOCK_CONFIG_END) {
        u32 irq = (offset - GICD_ICFGR) * 4;
        return is_spi(irq) ? vgic_config_read(&vg->spi[irq / 32 - 1], irq) : 0;
    }
    return offset >= GIC_PIDR4 ? vgic_id_read(offset) : route_read(vg, offset, 4);
}

static void write_word(struct vgic *vg, struct vgic_vcpu *self, u32 offset, u32 value) {
    u32 block = offset >> BLOCK, index = (offset & 0x7f) / 4;
    if (block == 0) {
        if (offset == GICD_CTLR)
            ctlr_write(vg, self, value);
    } else if (block <= BANK_CLEAR_ACTIVE) {
        if (index - 1 < VGIC_SPI_WORDS)
            vgic_bank_write(self, nullptr, index - 1, (enum vgic_bank)block, value);
    } else if (block < BLOCK_PRIORITY_END) {
        if (is_spi(offset - GICD_IPRIORITYR))
            vgic_priority_write(self, nullptr, offset - GICD_IPRIORITYR, 4, value);
    } else if (block >= BLOCK_CONFIG && block < BLOCK_CONFIG_END) {
        u32 irq = (offset - GICD_ICFGR) * 4;
        if (is_spi(irq))
            vgic_config_write(self, nullptr, irq, value);
    } else {
        route_write(vg, self, offset, 4, value);
    }
}

[[gnu::noinline]] static int access_other(struct vgic *vg, struct bus_access *a) {
    struct vgic_vcpu *self = vgic_of(a->vcpu);
    u32 offset = (u32)a->offset;
    u64 value = 0;
    if (a->size == 4) {
        if (a->write)
            write_word(vg, self, offset, (u32)a->value);
        else
            value = read_word(vg, self, offset);
    } else if (a->size == 8) {
        if (a->write)
            route_write(vg, self, offset, 8, a->value);
        else
            value = route_read(vg, offset, 8);
    } else if (a->size == 1 && offset >= GICD_IPRIORITYR && is_spi(offset - GICD_IPRIORITYR)) {
        if (a->write)
            vgic_priority_write(self, nullptr, offset - GICD_IPRIORITYR, 1, (u8)a->value);
        else
            value = vgic_priority_read(nullptr, vg, offset - GICD_IPRIORITYR, 1);
    }
    if (!a->write)
        a->value = value;
    return 0;
}

// What guests access all the time, without the detours of the rest: TYPER, and the enables, to read them and to write
// what they are already.
int vgic_dist_access(struct vdev *dev, struct bus_access *a) {
    struct vgic *vg = container_of(dev, struct vgic, dist);
    u32 offset = (u32)a->offset, index = (offset & 0x7f) / 4 - 1, block = offset >> BLOCK;
    if (unlikely(a->size != 4))
        return access_other(vg, a);
    if ((block == BANK_SET_ENABLE || block == BANK_CLEAR_ENABLE) && index < VGIC_SPI_WORDS) {
        u32 enabled = vget(&vg->spi[index].enabled);
        if (!a->write) {
            a->value = enabled;
            return 0;
        }
        if (((u32)a->value & (block == BANK_SET_ENABLE ? ~enabled : enabled)) == 0)
            return 0;
    } else if (offset == GICD_TYPER) {
        if (!a->write)
            a->value = TYPER;
        return 0;
    }
    return access_other(vg, a);
}
