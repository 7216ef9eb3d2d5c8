// SPDX-License-Identifier: Apache-2.0
// What the parts of the vGICv3 share: the state of each interrupt, and the rules between them.
//
// An interrupt is in one of two places. In the distributor, the words below say all about it. In a list register
// (in_lr), what was pending or active moved there: its pending latch was cleared, and the guest changes its state
// behind our back until a sync. `gate` = enabled and its group enabled. An interrupt is a candidate for a list register
// if (latch | line & ~edge) & gate & ~active & ~in_lr.
//
// Locking: everything is under vgic->lock, but
// - latch and line of private interrupts are changed atomically without it (SGIs, timers);
// - a vCPU's interface, and in_lr of its private interrupts, are changed by its own task alone, which puts private
//   interrupts into list registers without the lock. So others never change such an interrupt's place: they change the
//   distributor's words, leave a note (unpend, deact, act) and set VGIC_ATTN_RESYNC, and its owner's next flush applies
//   it.
// Whoever changes something that a vCPU must see does that first, then sets attn, then irq_work (release), then kicks.
#pragma once

#include <stdatomic.h>

#include "vcpu.h"
#include "vgic.h"
#include "vm.h"

enum { VGIC_SPI_WORDS = VGIC_SPIS / 32, VGIC_NO_TARGET = 0xff, VGIC_PRIORITY_MASK = 0xf8 };

// What flush has to look at beyond the private interrupts of its vCPU.
enum {
    VGIC_ATTN_WORDS = 0xff,     // bit w: word w of the SPIs may have a candidate for this vCPU
    VGIC_ATTN_RESYNC = 1 << 8,  // list registers may hold what they should not, or a note waits
    VGIC_ATTN_SPILLED = 1 << 9, // candidates or active interrupts are left for which there was no list register
};

// 32 interrupts. Words that the lock-free paths read are atomic; all accesses are relaxed, order comes from irq_work.
struct vgic_word {
    _Atomic u32 latch;  // pending by an edge, an SGI or a write to ISPENDR
    _Atomic u32 line;   // level of the wire. Mapped PPI: the physical interrupt is active and waits for the guest
    _Atomic u32 edge;   // else level-sensitive
    _Atomic u32 gate;   // enabled & group enabled in the distributor
    _Atomic u32 active; // and not in a list register
    _Atomic u32 in_lr;
    _Atomic u32 enabled;
    _Atomic u32 group;      // 1: group 1
    _Atomic u32 soft;       // level-sensitive, pending in a list register because of ISPENDR: needs no line to stay
    u32 unpend, deact, act; // notes for the owner of the list register
};

struct vgic_vcpu {
    struct vgic_cpuif cpuif;       // first
    _Atomic u32 attn;              // VGIC_ATTN_*
    _Atomic u32 fresh;             // mapped PPIs that came since the last flush: no need to ask for their level
    u32 lr_locked;                 // list registers whose end needs the lock: SPIs, level-sensitive PPIs
    u32 lr_all;                    // mask of the existing ones
    u32 mapped;                    // private interrupts that are physical ones
    struct vgic_word word;         // the private interrupts
    u64 lr_template[VGIC_PRIVATE]; // number, priority, group and physical interrupt in place
    struct vgic *vgic;
    struct vcpu *vcpu;
    u32 id;
    u32 waker;
    u32 spi_target[VGIC_SPI_WORDS]; // the SPIs that this vCPU is to take
    u8 priority[VGIC_PRIVATE];
    u16 pintid[VGIC_PRIVATE];
};

struct vgic {
    struct spinlock lock;
    u32 ctlr;  // GICD_CTLR_GRP0 | GRP1
    u32 kicks; // vCPUs to kick when the lock is dropped
    u32 vcpu_count;
    struct vm *vm;
    struct vgic_vcpu *vcpu[VGIC_MAX_VCPUS];
    struct vdev dist, redist;
    u32 order; // of this allocation
    struct vgic_word spi[VGIC_SPI_WORDS];
    u64 route[VGIC_SPIS];
    u8 priority[VGIC_SPIS];
    u8 target[VGIC_SPIS]; // the vCPU that route means, or VGIC_NO_TARGET
    u8 holder[VGIC_SPIS]; // in a list register of, or active on, this vCPU
};

static inline u32 vget(const _Atomic u32 *p) {
    return atomic_load_explicit(p, memory_order_relaxed);
}
static inline void vput(_Atomic u32 *p, u32 value) {
    atomic_store_explicit(p, value, memory_order_relaxed);
}
// Atomic, for the words that are changed without the lock.
static inline void vset_bits(_Atomic u32 *p, u32 bits) {
    atomic_fetch_or_explicit(p, bits, memory_order_relaxed);
}
static inline void vclear_bits(_Atomic u32 *p, u32 bits) {
    atomic_fetch_and_explicit(p, ~bits, memory_order_relaxed);
}

static inline u32 vgic_pending(const struct vgic_word *w) {
    return vget(&w->latch) | (vget(&w->line) & ~vget(&w->edge));
}
static inline struct vgic_vcpu *vgic_of(struct vcpu *v) {
    return v->irqchip;
}
static inline u32 irq_bit(u32 irq) {
    return 1u << (irq & 31);
}
// The word of an interrupt as `g` sees it.
static inline struct vgic_word *vgic_word_of(struct vgic_vcpu *g, u32 irq) {
    return irq < VGIC_PRIVATE ? &g->word : &g->vgic->spi[irq / 32 - 1];
}

// vgicv3.c
// Makes g's next flush look: the release pairs with the exchange in flush.
static inline void vgic_mark(struct vgic_vcpu *g, u32 attn) {
    if (attn)
        vset_bits(&g->attn, attn);
    atomic_store_explicit(&g->vcpu->irq_work, 1, memory_order_release);
}
void vgic_lock(struct vgic *vg);
// Drops the lock, then kicks the vCPUs that were marked with vgic_tell, but `self` (may be NULL), which flushes anyway.
void vgic_unlock(struct vgic *vg, const struct vgic_vcpu *self);
// Locked: marks, and kicks at unlock.
void vgic_tell(struct vgic_vcpu *g, u32 attn);
// Locked: the SPIs `bits` of word w changed; tells who may now take them.
void vgic_spis_changed(struct vgic *vg, u32 w, u32 bits);
// Locked: recomputes the gate of a word.
void vgic_word_gate(struct vgic *vg, struct vgic_word *word);
// Locked: recomputes which vCPU an SPI goes to.
void vgic_spi_retarget(struct vgic *vg, u32 spi);
void vgic_template(struct vgic_vcpu *g, u32 irq);

// vgicv3_lr.c
void vgicv3_flush(struct vcpu *v);
bool vgicv3_ready(struct vcpu *v);
// Locked, by g's own task: makes the distributor's words and g's list registers agree with what the guest has done.
void vgic_resync(struct vgic_vcpu *g);
// Locked, g not running: what its list registers hold goes back to the distributor.
void vgic_pull_all(struct vgic_vcpu *g);
// What g's list registers held at the last sync: interrupts of word w (-1: the private ones) with a state bit of
// `state`.
u32 vgic_lr_bits(const struct vgic_vcpu *g, int w, u64 state);

// vgicv3_regs.c: registers that the distributor and the redistributors have alike, one 128-byte block a kind.
enum vgic_bank {
    BANK_GROUP = 1,
    BANK_SET_ENABLE,
    BANK_CLEAR_ENABLE,
    BANK_SET_PENDING,
    BANK_CLEAR_PENDING,
    BANK_SET_ACTIVE,
    BANK_CLEAR_ACTIVE,
};
// Interrupts of a bank: private ones of `owner`, or (owner NULL) word w of the SPIs. `self` makes the access.
u32 vgic_bank_read(struct vgic_vcpu *self, struct vgic_vcpu *owner, u32 w, enum vgic_bank bank);
void vgic_bank_write(struct vgic_vcpu *self, struct vgic_vcpu *owner, u32 w, enum vgic_bank bank, u32 value);
// size 1 or 4, `irq` is the first one.
u32 vgic_priority_read(struct vgic_vcpu *owner, const struct vgic *vg, u32 irq, u32 size);
void vgic_priority_write(struct vgic_vcpu *self, struct vgic_vcpu *owner, u32 irq, u32 size, u32 value);
// 16 interrupts from `irq` on, two bits each.
u32 vgic_config_read(const struct vgic_word *word, u32 irq);
void vgic_config_write(struct vgic_vcpu *self, struct vgic_vcpu *owner, u32 irq, u32 value);
// The identification block at the end of each 64 KiB frame.
u32 vgic_id_read(u32 offset);
enum { VGIC_IIDR = 0x4200043b }; // implementer Arm, as QEMU's

// vgicv3_dist.c, vgicv3_redist.c
int vgic_dist_access(struct vdev *dev, struct bus_access *a);
int vgic_redist_access(struct vdev *dev, struct bus_access *a);
