// SPDX-License-Identifier: Apache-2.0
// The registers that describe interrupts, alike in the distributor (SPIs) and in the redistributors (private
// interrupts).
#include <string.h>

#include "arch.h"
#include "gic_regs.h"
#include "vgicv3.h"

static struct vgic_word *bank_word(struct vgic_vcpu *self, struct vgic_vcpu *owner, u32 w) {
    return owner ? &owner->word : &self->vgic->spi[w];
}

// Interrupts of SPI word w that are in a list register in one of the states; of other vCPUs as of their last sync.
static u32 spi_lr_bits(const struct vgic *vg, u32 w, u64 state) {
    u32 bits = 0;
    for (u32 m = vget(&vg->spi[w].in_lr); m; m &= m - 1) {
        u32 n = (u32)__builtin_ctz(m);
        bits |= vgic_lr_bits(vg->vcpu[vg->holder[w * 32 + n]], (int)w, state) & (1u << n);
    }
    return bits;
}

static u32 lr_bits(const struct vgic *vg, const struct vgic_vcpu *owner, u32 w, u64 state) {
    return owner ? vgic_lr_bits(owner, -1, state) : spi_lr_bits(vg, w, state);
}

// Physical ones show the present level of their line, in whatever state they are.
static u32 mapped_levels(struct vgic_vcpu *self) {
    u32 levels = 0;
    for (u32 m = self->mapped; m; m &= m - 1) {
        u32 irq = (u32)__builtin_ctz(m);
        if (arch_irq_level(self->vcpu, irq))
            levels |= irq_bit(irq);
        else
            vclear_bits(&self->word.line, irq_bit(irq)); // the seam has released it
    }
    return levels;
}

static u32 state_read(struct vgic_vcpu *self, struct vgic_vcpu *owner, u32 w, bool pending) {
    struct vgic *vg = self->vgic;
    struct vgic_word *word = bank_word(self, owner, w);
    u32 value;
    vgic_lock(vg);
    if (self->cpuif.lr_used)
        vgic_resync(self);
    if (pending) {
        value = lr_bits(vg, owner, w, LR_PENDING);
        if (owner && owner == self)
            value |= mapped_levels(self);
        value |= vgic_pending(word);
    } else {
        value = vget(&word->active) | lr_bits(vg, owner, w, LR_ACTIVE);
    }
    vgic_unlock(vg, self);
    return value;
}

u32 vgic_bank_read(struct vgic_vcpu *self, struct vgic_vcpu *owner, u32 w, enum vgic_bank bank) {
    switch (bank) {
    case BANK_GROUP:
        return vget(&bank_word(self, owner, w)->group);
    case BANK_SET_ENABLE:
    case BANK_CLEAR_ENABLE:
        return vget(&bank_word(self, owner, w)->enabled);
    case BANK_SET_PENDING:
    case BANK_CLEAR_PENDING:
        return state_read(self, owner, w, true);
    case BANK_SET_ACTIVE:
    case BANK_CLEAR_ACTIVE:
        return state_read(self, owner, w, false);
    }
    return 0;
}

// Tells those who have one of `bits` in a list register to look again.
static void tell_holders(struct vgic_vcpu *self, struct vgic_vcpu *owner, u32 w, u32 bits) {
    struct vgic *vg = self->vgic;
    // Another vCPU moves its private interrupts into list registers without the lock: it may be about to.
    if (owner) {
        if (owner != self || vget(&owner->word.in_lr) & bits)
            vgic_tell(owner, VGIC_ATTN_RESYNC);
        return;
    }
    for (u32 m = vget(&vg->spi[w].in_lr) & bits; m; m &= m - 1)
        vgic_tell(vg->vcpu[vg->holder[w * 32 + (u32)__builtin_ctz(m)]], VGIC_ATTN_RESYNC);
}

// Something may have become a candidate.
static void tell_takers(struct vgic_vcpu *self, struct vgic_vcpu *owner, u32 w, u32 bits) {
    if (!owner)
        vgic_spis_changed(self->vgic, w, bits);
    else if (vgic_pending(&owner->word) & vget(&owner->word.gate) & bits)
        vgic_tell(owner, 0);
}

static void set_active(struct vgic_vcpu *self, struct vgic_vcpu *owner, u32 w, u32 bits) {
    struct vgic *vg = self->vgic;
    struct vgic_word *word = bank_word(self, owner, w);
    u32 now = bits & ~vget(&word->in_lr); // what is in a list register gets a note
    word->act |= bits & ~now;
    word->deact &= ~bits;
    now &= ~vget(&word->active);
    vput(&word->active, vget(&word->active) | now);
    if (owner && now)
        vgic_tell(owner, VGIC_ATTN_SPILLED);
    for (; !owner && now; now &= now - 1) {
        u32 spi = w * 32 + (u32)__builtin_ctz(now);
        vg->holder[spi] = vg->target[spi] == VGIC_NO_TARGET ? 0 : vg->target[spi];
        vgic_tell(vg->vcpu[vg->holder[spi]], VGIC_ATTN_SPILLED);
    }
    tell_holders(self, owner, w, bits);
}

static void clear_active(struct vgic_vcpu *self, struct vgic_vcpu *owner, u32 w, u32 bits) {
    struct vgic_word *word = bank_word(self, owner, w);
    word->deact |= bits & vget(&word->in_lr);
    word->act &= ~bits;
    u32 was = vget(&word->active) & bits;
    vput(&word->active, vget(&word->active) & ~bits);
    if (owner) // the physical interrupt was active as well: its line decides
        vset_bits(&word->line, was & owner->mapped);
    tell_takers(self, owner, w, bits);
    tell_holders(self, owner, w, bits);
}

static void set_group(struct vgic_vcpu *self, struct vgic_vcpu *owner, u32 w, u32 value) {
    struct vgic_word *word = bank_word(self, owner, w);
    u32 changed = vget(&word->group) ^ value;
    vput(&word->group, value);
    vgic_word_gate(self->vgic, word);
    for (u32 irq = 0; owner && irq < VGIC_PRIVATE; irq++)
        vgic_template(owner, irq);
    tell_takers(self, owner, w, changed);
    tell_holders(self, owner, w, changed);
}

static void bank_write_locked(struct vgic_vcpu *self, struct vgic_vcpu *owner, u32 w, enum vgic_bank bank, u32 value) {
    struct vgic_word *word = bank_word(self, owner, w);
    switch (bank) {
    case BANK_GROUP:
        set_group(self, owner, w, value);
        break;
    case BANK_SET_ENABLE:
        vput(&word->enabled, vget(&word->enabled) | value);
        vgic_word_gate(self->vgic, word);
        tell_takers(self, owner, w, value);
        break;
    case BANK_CLEAR_ENABLE:
        vput(&word->enabled, vget(&word->enabled) & ~value);
        vgic_word_gate(self->vgic, word);
        tell_holders(self, owner, w, value);
        break;
    case BANK_SET_PENDING:
        vset_bits(&word->latch, value);
        tell_takers(self, owner, w, value);
        break;
    case BANK_CLEAR_PENDING:
        vclear_bits(&word->latch, value);
        word->unpend |= owner && owner != self ? value : value & vget(&word->in_lr);
        tell_holders(self, owner, w, value);
        break;
    case BANK_SET_ACTIVE:
        set_active(self, owner, w, value);
        break;
    case BANK_CLEAR_ACTIVE:
        clear_active(self, owner, w, value);
        break;
    }
}

void vgic_bank_write(struct vgic_vcpu *self, struct vgic_vcpu *owner, u32 w, enum vgic_bank bank, u32 value) {
    // Writing zeros to a set or clear register, or disabling what is not enabled, is no news. (Enables are only
    // written here: a concurrent write by another vCPU is one before or after this one.)
    if (bank == BANK_CLEAR_ENABLE)
        value &= vget(&bank_word(self, owner, w)->enabled);
    if (value == 0 && bank != BANK_GROUP)
        return;
    vgic_lock(self->vgic);
    bank_write_locked(self, owner, w, bank, value);
    vgic_unlock(self->vgic, self);
}

u32 vgic_priority_read(struct vgic_vcpu *owner, const struct vgic *vg, u32 irq, u32 size) {
    const u8 *from = owner ? &owner->priority[irq] : &vg->priority[irq - VGIC_PRIVATE];
    u32 value = 0;
    memcpy(&value, from, size);
    return value;
}

void vgic_priority_write(struct vgic_vcpu *self, struct vgic_vcpu *owner, u32 irq, u32 size, u32 value) {
    struct vgic *vg = self->vgic;
    u8 *to = owner ? &owner->priority[irq] : &vg->priority[irq - VGIC_PRIVATE];
    value &= VGIC_PRIORITY_MASK * 0x01010101u;
    vgic_lock(vg);
    memcpy(to, &value, size);
    for (u32 i = irq; owner && i < irq + size; i++)
        vgic_template(owner, i);
    u32 w = owner ? 0 : irq / 32 - 1, bits = (u32)BITS(size - 1, 0) << (irq & 31);
    tell_takers(self, owner, w, bits); // it may be more urgent now than what is in a list register
    tell_holders(self, owner, w, bits);
    vgic_unlock(vg, self);
}

// Bits 15…0 to the odd bits of the result, and back.
static u32 spread(u32 x) {
    x = (x | x << 8) & 0x00ff00ff;
    x = (x | x << 4) & 0x0f0f0f0f;
    x = (x | x << 2) & 0x33333333;
    x = (x | x << 1) & 0x55555555;
    return x << 1;
}

static u32 gather(u32 x) {
    x = x >> 1 & 0x55555555;
    x = (x | x >> 1) & 0x33333333;
    x = (x | x >> 2) & 0x0f0f0f0f;
    x = (x | x >> 4) & 0x00ff00ff;
    return (x | x >> 8) & 0xffff;
}

u32 vgic_config_read(const struct vgic_word *word, u32 irq) {
    return spread(vget(&word->edge) >> (irq & 16) & 0xffff);
}

void vgic_config_write(struct vgic_vcpu *self, struct vgic_vcpu *owner, u32 irq, u32 value) {
    struct vgic_word *word = bank_word(self, owner, irq / 32 - 1);
    u32 mask = 0xffffu << (irq & 16);
    if (owner)
        mask &= ~owner->mapped; // the timers' lines are levels
    vgic_lock(self->vgic);
    u32 old = vget(&word->edge), edge = (old & ~mask) | (gather(value) << (irq & 16) & mask);
    vput(&word->edge, edge);
    tell_takers(self, owner, irq / 32 - 1, old ^ edge);
    tell_holders(self, owner, irq / 32 - 1, old ^ edge);
    vgic_unlock(self->vgic, self);
}

u32 vgic_id_read(u32 offset) {
    // PIDR4…7, PIDR0…3, CIDR0…3: an Arm GICv3, as QEMU's
    static const u8 ids[] = {0x44, 0x00, 0x00, 0x00, 0x92, 0xb4, 0x3b, 0x00, 0x0d, 0xf0, 0x05, 0xb1};
    static_assert(GIC_PIDR4 + 4 * sizeof ids == GIC_CIDR3 + 4);
    return offset >= GIC_PIDR4 && offset <= GIC_CIDR3 ? ids[(offset - GIC_PIDR4) / 4] : 0;
}
