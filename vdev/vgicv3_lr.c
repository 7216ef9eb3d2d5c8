// SPDX-License-Identifier: Apache-2.0
// The vGICv3's list registers: what goes into the virtual CPU interface, and what comes back from it.
//
// flush has three ways through, each for what the one before cannot do:
//   1. without the lock: private interrupts that the guest has finished are taken back, and at most one new one goes
//   into
//      a free list register. A timer tick and an IPI go this way.
//   2. under the lock: everything that is due has a free list register.
//   3. rebuild: more is due than fits. All list registers are taken back, the most urgent are put in, and ICH_HCR asks
//   for
//      an exit when the guest has used them up (NPIE), or ends an interrupt that has no list register (LRENPIE).
#include "arch.h"
#include "gic_regs.h"
#include "vgicv3.h"

struct pick {
    u16 irq;
    u16 rank; // lower is more urgent: pending by priority, then active by priority
};

enum { RANK_ACTIVE = 0x100 };

struct picks {
    u32 count;   // candidates found; the array has the most urgent of them
    u32 limit;   // list registers to be had
    u32 spilled; // VGIC_ATTN_* for those that find no place
    struct pick pick[VGIC_MAX_LR];
};

static u32 irq_of(u64 lr) {
    return (u32)lr; // LR_VINTID
}

static u8 irq_priority(const struct vgic_vcpu *g, u32 irq) {
    return irq < VGIC_PRIVATE ? g->priority[irq] : g->vgic->priority[irq - VGIC_PRIVATE];
}

u32 vgic_lr_bits(const struct vgic_vcpu *g, int w, u64 state) {
    u32 bits = 0;
    for (u32 m = g->cpuif.lr_used & ~g->cpuif.lr_empty; m; m &= m - 1) {
        u64 lr = g->cpuif.lr[__builtin_ctz(m)];
        if ((lr & state) && (int)(irq_of(lr) / 32) == w + 1)
            bits |= irq_bit(irq_of(lr));
    }
    return bits;
}

// ── Taking back ─────────────────────────────────────────────────────────────────────────────────────────────────────

// List register n is free. Its hardware state is inactive, or becomes so at the next entry (lr_dirty).
static void lr_free(struct vgic_vcpu *g, u32 n) {
    struct vgic_cpuif *c = &g->cpuif;
    u32 irq = irq_of(c->lr[n]), bit = irq_bit(irq);
    struct vgic_word *word = vgic_word_of(g, irq);
    if (irq < VGIC_PRIVATE)
        vclear_bits(&word->in_lr, bit);
    else
        vput(&word->in_lr, vget(&word->in_lr) & ~bit);
    vput(&word->soft, vget(&word->soft) & ~bit);
    word->unpend &= ~bit;
    word->deact &= ~bit;
    word->act &= ~bit;
    // A finished one with EOI set holds the maintenance interrupt up until it is overwritten.
    if ((c->lr[n] & (LR_STATE | LR_EOI)) != 0)
        c->lr_dirty |= 1u << n;
    c->lr[n] = 0;
    c->lr_used &= ~(1u << n);
    c->lr_empty &= ~(1u << n);
    g->lr_locked &= ~(1u << n);
}

// What the guest is done with may be pending again: its line is still up, or there was an edge meanwhile. An SPI may
// have a new target. A private one is for the next flush, if this is a resync outside one.
static void lr_finished(struct vgic_vcpu *g, u32 n) {
    u32 irq = irq_of(g->cpuif.lr[n]);
    lr_free(g, n);
    if (irq >= VGIC_PRIVATE)
        vgic_spis_changed(g->vgic, irq / 32 - 1, irq_bit(irq));
    else if (vgic_pending(&g->word) & vget(&g->word.gate) & irq_bit(irq))
        vgic_mark(g, 0);
}

// Locked.
static void fold(struct vgic_vcpu *g) {
    struct vgic_cpuif *c = &g->cpuif;
    for (u32 done = c->lr_empty & c->lr_used & ~c->lr_dirty; done; done &= done - 1)
        lr_finished(g, (u32)__builtin_ctz(done));
    c->lr_empty = 0;
}

static bool is_mapped(const struct vgic_vcpu *g, u32 irq) {
    return irq < VGIC_PRIVATE && g->mapped & irq_bit(irq);
}

// May it go to this vCPU when it is pending? An active one stays here though it may now be another's.
static bool is_ours(const struct vgic_vcpu *g, u32 irq) {
    return irq < VGIC_PRIVATE || g->spi_target[irq / 32 - 1] & irq_bit(irq);
}

// The pending state leaves a list register and goes back to where it came from. Of a physical interrupt we assume that
// its line is up; that is looked at before it goes in again.
static void unpend(struct vgic_vcpu *g, struct vgic_word *word, u32 irq, u64 lr) {
    u32 bit = irq_bit(irq);
    if (lr & LR_HW) {
        vset_bits(&word->line, bit);
    } else if ((vget(&word->edge) | vget(&word->soft)) & bit || is_mapped(g, irq)) {
        vset_bits(&word->latch, bit);
    }
    vput(&word->soft, vget(&word->soft) & ~bit);
}

// Is it still right that this pending interrupt is offered to the guest?
static bool justified(struct vgic_vcpu *g, const struct vgic_word *word, u32 irq, u64 lr) {
    u32 bit = irq_bit(irq);
    if (!(vget(&word->gate) & bit))
        return false;
    if (!is_ours(g, irq))
        return false;
    if (lr & LR_HW)
        return arch_irq_level(g->vcpu, irq);
    if (is_mapped(g, irq))
        return true; // software made it pending
    return (vget(&word->edge) | vget(&word->soft) | vget(&word->line)) & bit;
}

// Applies the notes that register writes have left for an interrupt in a list register.
static u64 apply_notes(struct vgic_vcpu *g, struct vgic_word *word, u32 irq, u64 lr) {
    u32 bit = irq_bit(irq);
    if (word->unpend & bit) {
        if ((lr & LR_HW) && (lr & LR_PENDING))
            unpend(g, word, irq, lr); // the line decides
        lr &= ~LR_PENDING;
        vput(&word->soft, vget(&word->soft) & ~bit);
    }
    if ((word->deact & bit) && (lr & LR_ACTIVE)) {
        if (lr & LR_HW)
            unpend(g, word, irq, lr);
        lr &= ~LR_ACTIVE;
    }
    if ((word->act & bit) && !(lr & LR_HW))
        lr |= LR_ACTIVE;
    word->unpend &= ~bit;
    word->deact &= ~bit;
    word->act &= ~bit;
    return lr;
}

// Does somebody have to look when the guest is done with it? Its line is sampled again then; and an SPI that is active
// here may be pending for another vCPU, which waits for that.
static bool ends_with_exit(const struct vgic_vcpu *g, const struct vgic_word *word, u32 irq) {
    return !is_mapped(g, irq) &&
           (!(vget(&word->edge) & irq_bit(irq)) || (irq >= VGIC_PRIVATE && vget(&word->latch) & irq_bit(irq)));
}

static u64 lr_attributes(const struct vgic_vcpu *g, const struct vgic_word *word, u32 irq) {
    u64 lr = field_set(LR_PRIORITY, irq_priority(g, irq));
    return vget(&word->group) & irq_bit(irq) ? lr | LR_GROUP1 : lr;
}

// Makes list register n, whose image is true, agree with the distributor.
static void reconcile(struct vgic_vcpu *g, u32 n) {
    struct vgic_cpuif *c = &g->cpuif;
    u64 old = c->lr[n];
    u32 irq = irq_of(old), bit = irq_bit(irq);
    struct vgic_word *word = vgic_word_of(g, irq);
    u64 lr = apply_notes(g, word, irq, old);
    if ((lr & LR_PENDING) && !justified(g, word, irq, lr)) {
        unpend(g, word, irq, lr);
        lr &= ~LR_PENDING;
    }
    if (vget(&word->latch) & vget(&word->gate) & bit && !(lr & LR_HW) && is_ours(g, irq)) {
        vclear_bits(&word->latch, bit);
        lr |= LR_PENDING;
        if (!(vget(&word->edge) & bit) && !is_mapped(g, irq))
            vput(&word->soft, vget(&word->soft) | bit);
    }
    // A physical interrupt that is in a list register was acknowledged again: its level brings it back after the
    // guest's EOI, which deactivates it.
    if ((lr & LR_HW) && (lr & LR_STATE))
        vclear_bits(&word->line, bit);
    lr = (lr & ~(LR_PRIORITY | LR_GROUP1)) | lr_attributes(g, word, irq);
    if (ends_with_exit(g, word, irq)) {
        lr |= LR_EOI;
        g->lr_locked |= 1u << n;
    }
    if (lr != old) {
        c->lr[n] = lr;
        c->lr_dirty |= 1u << n;
    }
    if (!(lr & LR_STATE)) {
        c->lr_dirty |= 1u << n;
        lr_finished(g, n);
    }
}

// The guest has ended an active interrupt that was in no list register. Among those it must be the most urgent one, as
// nested interrupts end in the order of their priorities (with EOImode 1 the guest may mean another; we cannot know).
static bool end_most_urgent(struct vgic_vcpu *g) {
    struct vgic *vg = g->vgic;
    u32 best = 0, best_rank = RANK_ACTIVE;
    for (u32 m = vget(&g->word.active); m; m &= m - 1) {
        u32 irq = (u32)__builtin_ctz(m);
        if (g->priority[irq] < best_rank) {
            best_rank = g->priority[irq];
            best = irq;
        }
    }
    for (u32 w = 0; w < VGIC_SPI_WORDS; w++) {
        for (u32 m = vget(&vg->spi[w].active); m; m &= m - 1) {
            u32 spi = w * 32 + (u32)__builtin_ctz(m);
            if (vg->holder[spi] == g->id && vg->priority[spi] < best_rank) {
                best_rank = vg->priority[spi];
                best = spi + VGIC_PRIVATE;
            }
        }
    }
    if (best_rank == RANK_ACTIVE)
        return false;
    struct vgic_word *word = vgic_word_of(g, best);
    vput(&word->active, vget(&word->active) & ~irq_bit(best));
    if (best >= VGIC_PRIVATE)
        vgic_spis_changed(vg, best / 32 - 1, irq_bit(best));
    else if (g->mapped & irq_bit(best) && arch_irq_level(g->vcpu, best))
        vset_bits(&word->line, irq_bit(best));
    return true;
}

void vgic_resync(struct vgic_vcpu *g) {
    struct vgic_cpuif *c = &g->cpuif;
    arch_irq_sync(g->vcpu);
    fold(g);
    for (u32 m = c->lr_used; m; m &= m - 1)
        reconcile(g, (u32)__builtin_ctz(m));
    // Another vCPU leaves notes on our private interrupts wherever they are; what is in no list register needs none.
    g->word.unpend = g->word.deact = g->word.act = 0;
    if (c->eoi_count) {
        while (c->eoi_count > 0 && end_most_urgent(g))
            c->eoi_count--;
        c->eoi_count = 0;
        c->hcr_dirty = true;
    }
}

void vgic_pull_all(struct vgic_vcpu *g) {
    struct vgic_cpuif *c = &g->cpuif;
    for (u32 m = c->lr_used; m; m &= m - 1) {
        u32 n = (u32)__builtin_ctz(m), irq = irq_of(c->lr[n]);
        u64 lr = apply_notes(g, vgic_word_of(g, irq), irq, c->lr[n]);
        struct vgic_word *word = vgic_word_of(g, irq);
        if (c->lr_empty & (1u << n))
            lr &= ~LR_STATE;
        if (lr & LR_PENDING)
            unpend(g, word, irq, lr);
        if (lr & LR_ACTIVE)
            vput(&word->active, vget(&word->active) | irq_bit(irq));
        c->lr[n] = lr | LR_PENDING; // whatever it held, the hardware's register is to be overwritten
        lr_free(g, n);
    }
}

// ── Putting in ──────────────────────────────────────────────────────────────────────────────────────────────────────

// The private interrupts that are due. A physical one whose line has gone low meanwhile is forgotten.
static u32 private_due(struct vgic_vcpu *g) {
    struct vgic_word *word = &g->word;
    u32 due = vgic_pending(word) & vget(&word->gate) & ~vget(&word->active) & ~vget(&word->in_lr);
    for (u32 m = due & g->mapped & vget(&word->line); m; m &= m - 1) {
        u32 irq = (u32)__builtin_ctz(m), bit = irq_bit(irq);
        if (arch_irq_level(g->vcpu, irq))
            continue;
        vclear_bits(&word->line, bit);
        if (!(vget(&word->latch) & bit))
            due &= ~bit;
    }
    return due;
}

static u32 spis_due(const struct vgic_vcpu *g, u32 w) {
    const struct vgic_word *word = &g->vgic->spi[w];
    return vgic_pending(word) & vget(&word->gate) & g->spi_target[w] & ~vget(&word->active) & ~vget(&word->in_lr);
}

static void lr_put(struct vgic_vcpu *g, u32 irq) {
    struct vgic_cpuif *c = &g->cpuif;
    struct vgic_word *word = vgic_word_of(g, irq);
    u32 bit = irq_bit(irq), n = (u32)__builtin_ctz(g->lr_all & ~c->lr_used);
    bool private = irq < VGIC_PRIVATE, active = vget(&word->active) & bit, level = !(vget(&word->edge) & bit);
    bool mapped = is_mapped(g, irq);
    u64 lr = irq | lr_attributes(g, word, irq);
    if (active) {
        lr |= LR_ACTIVE;
        vput(&word->active, vget(&word->active) & ~bit);
    }
    if (mapped && (active || vget(&word->line) & bit)) {
        lr |= g->lr_template[irq];
        vclear_bits(&word->line, bit);
        if (!active) { // pending and active is not for physical ones (§12.4.8)
            lr |= LR_PENDING;
            vclear_bits(&word->latch, bit);
        }
    } else {
        bool latched = vget(&word->latch) & vget(&word->gate) & bit && is_ours(g, irq);
        if (!active || latched)
            lr |= LR_PENDING;
        if (latched) {
            vclear_bits(&word->latch, bit);
            if (level && !mapped)
                vput(&word->soft, vget(&word->soft) | bit);
        }
        if (ends_with_exit(g, word, irq))
            lr |= LR_EOI;
    }
    c->lr[n] = lr;
    c->lr_used |= 1u << n;
    c->lr_dirty |= 1u << n;
    if (!private || (level && !mapped))
        g->lr_locked |= 1u << n;
    if (private) {
        vset_bits(&word->in_lr, bit);
    } else {
        vput(&word->in_lr, vget(&word->in_lr) | bit);
        g->vgic->holder[irq - VGIC_PRIVATE] = (u8)g->id;
    }
}

// Keeps the most urgent in order; what falls off the end says where it is to be looked for next time.
static void picks_add(struct picks *p, const struct vgic_vcpu *g, u32 irq, bool active) {
    struct pick new = {.irq = (u16)irq, .rank = (u16)(irq_priority(g, irq) + (active ? RANK_ACTIVE : 0))};
    u32 have = MIN(p->count, p->limit), at = have;
    p->count++;
    while (at > 0 && p->pick[at - 1].rank > new.rank)
        at--;
    u32 lost = at == p->limit ? irq : p->limit > 0 && have == p->limit ? p->pick[have - 1].irq : 0;
    if (have == p->limit) {
        p->spilled |= VGIC_ATTN_SPILLED | (lost >= VGIC_PRIVATE ? 1u << (lost / 32 - 1) : 0);
        if (at == p->limit)
            return;
        have--;
    }
    for (u32 i = have; i > at; i--)
        p->pick[i] = p->pick[i - 1];
    p->pick[at] = new;
}

static void picks_due(struct picks *p, struct vgic_vcpu *g, u32 attn) {
    for (u32 m = private_due(g); m; m &= m - 1)
        picks_add(p, g, (u32)__builtin_ctz(m), false);
    for (u32 words = attn & VGIC_ATTN_WORDS; words; words &= words - 1) {
        u32 w = (u32)__builtin_ctz(words);
        for (u32 m = spis_due(g, w); m; m &= m - 1)
            picks_add(p, g, VGIC_PRIVATE + w * 32 + (u32)__builtin_ctz(m), false);
    }
}

static void picks_active(struct picks *p, struct vgic_vcpu *g) {
    for (u32 m = vget(&g->word.active); m; m &= m - 1)
        picks_add(p, g, (u32)__builtin_ctz(m), true);
    for (u32 w = 0; w < VGIC_SPI_WORDS; w++) {
        for (u32 m = vget(&g->vgic->spi[w].active); m; m &= m - 1) {
            u32 spi = w * 32 + (u32)__builtin_ctz(m);
            if (g->vgic->holder[spi] == g->id)
                picks_add(p, g, VGIC_PRIVATE + spi, true);
        }
    }
}

static void set_hcr(struct vgic_cpuif *c, u32 hcr) {
    if (c->hcr != hcr) {
        c->hcr = hcr;
        c->hcr_dirty = true;
    }
}

static void rebuild(struct vgic_vcpu *g) {
    struct picks p = {.limit = g->cpuif.lr_count};
    vgic_pull_all(g);
    picks_due(&p, g, VGIC_ATTN_WORDS);
    u32 due = p.count;
    picks_active(&p, g);
    for (u32 i = 0; i < MIN(p.count, p.limit); i++)
        lr_put(g, p.pick[i].irq);
    u32 hcr = 0;
    if (due > p.limit)
        hcr |= VGIC_HCR_NPIE;
    if (p.count > p.limit && p.count > due)
        hcr |= VGIC_HCR_LRENPIE;
    set_hcr(&g->cpuif, hcr);
    if (p.spilled) // no irq_work: there is nothing to do before the guest has used up what it has
        vset_bits(&g->attn, p.spilled);
}

// An edge, or a physical interrupt acknowledged again, while a list register has the interrupt, or had: the guest may
// be done with it.
static bool conflict(const struct vgic_vcpu *g) {
    const struct vgic_word *word = &g->word;
    return ((vget(&word->latch) & vget(&word->gate)) | (vget(&word->line) & g->mapped)) & vget(&word->in_lr);
}

[[gnu::noinline]] static void flush_locked(struct vgic_vcpu *g) {
    struct vgic_cpuif *c = &g->cpuif;
    struct vgic *vg = g->vgic;
    vgic_lock(vg);
    u32 attn = atomic_exchange_explicit(&g->attn, 0, memory_order_relaxed);
    bool synced = (attn & (VGIC_ATTN_RESYNC | VGIC_ATTN_SPILLED)) || c->eoi_count || conflict(g);
    if (synced)
        vgic_resync(g);
    else
        fold(g);
    for (;;) {
        // What taking back has found. A resync that somebody else asked for meanwhile is for the next flush.
        attn |= atomic_fetch_and_explicit(&g->attn, VGIC_ATTN_RESYNC, memory_order_relaxed) & ~(u32)VGIC_ATTN_RESYNC;
        struct picks p = {.limit = (u32)__builtin_popcount(g->lr_all & ~c->lr_used)};
        picks_due(&p, g, attn);
        if (p.count <= p.limit && !(attn & VGIC_ATTN_SPILLED)) {
            for (u32 i = 0; i < p.count; i++)
                lr_put(g, p.pick[i].irq);
            set_hcr(c, 0);
            break;
        }
        if (synced) {
            rebuild(g);
            break;
        }
        vgic_resync(g); // the guest may have finished some
        synced = true;
    }
    vgic_unlock(vg, g);
}

// What the way without the lock has in its hands; only its own task writes it.
struct fast {
    u32 done; // list registers that the guest has finished
    u32 used, in_lr;
};

// False: something needs the lock.
static inline bool fast_begin(const struct vgic_vcpu *g, struct fast *f) {
    const struct vgic_cpuif *c = &g->cpuif;
    f->done = c->lr_empty & c->lr_used;
    return likely(!(vget(&g->attn) | (f->done & (g->lr_locked | c->lr_dirty)) | c->eoi_count));
}

static inline void fast_take_back(struct vgic_vcpu *g, struct fast *f) {
    struct vgic_cpuif *c = &g->cpuif;
    f->used = c->lr_used & ~f->done;
    f->in_lr = vget(&g->word.in_lr);
    c->lr_empty = 0;
    for (; f->done; f->done &= f->done - 1) {
        u32 n = (u32)__builtin_ctz(f->done);
        f->in_lr &= ~irq_bit(irq_of(c->lr[n]));
        c->lr[n] = 0;
    }
}

static inline void fast_put(struct vgic_vcpu *g, struct fast *f, u32 irq, u32 free) {
    struct vgic_cpuif *c = &g->cpuif;
    u32 n = (u32)__builtin_ctz(free);
    c->lr[n] = g->lr_template[irq] | LR_PENDING;
    c->lr_dirty |= 1u << n;
    f->used |= 1u << n;
    f->in_lr |= 1u << irq;
}

static inline void fast_end(struct vgic_vcpu *g, const struct fast *f) {
    g->cpuif.lr_used = f->used;
    vput(&g->word.in_lr, f->in_lr);
}

void vgicv3_flush(struct vcpu *v) {
    struct vgic_vcpu *g = vgic_of(v);
    struct vgic_word *word = &g->word;
    // Acquire, pairs with the release in vgic_mark: an exchange, so that a mark after it is not overwritten.
    (void)atomic_exchange_explicit(&v->irq_work, 0, memory_order_acquire);
    u32 fresh = vget(&g->fresh);
    vput(&g->fresh, 0);
    struct fast f;
    if (!fast_begin(g, &f)) {
        flush_locked(g);
        return;
    }
    fast_take_back(g, &f);
    u32 latch = vget(&word->latch), line = vget(&word->line), edge = vget(&word->edge);
    u32 due = (latch | (line & ~edge)) & vget(&word->gate) & ~vget(&word->active);
    if (due) {
        // One interrupt, an edge or a physical one just come, that is in no list register, and a free one for it.
        u32 free = g->lr_all & ~f.used, physical = line & fresh & g->mapped & ~latch;
        if (unlikely((due & (due - 1)) | (due & f.in_lr) | (due & ~(physical | (edge & ~g->mapped))) || !free)) {
            fast_end(g, &f);
            flush_locked(g);
            return;
        }
        vclear_bits(due & physical ? &word->line : &word->latch, due);
        fast_put(g, &f, (u32)__builtin_ctz(due), free);
    }
    fast_end(g, &f);
}

// The same for the one case that a busy guest meets most: its timer fires, nothing else has happened, and the list
// register of the last tick is finished. Everything unusual is left to set_ppi and flush.
u32 vgic_take_ppi(struct vcpu *v, u32 ppi) {
    struct vgic_vcpu *g = vgic_of(v);
    struct vgic_cpuif *c = &g->cpuif;
    struct vgic_word *word = &g->word;
    u32 bit = irq_bit(ppi), used = c->lr_used, done = c->lr_empty & used, in_lr = vget(&word->in_lr);
    if (unlikely(vget(&g->attn) | atomic_load_explicit(&v->irq_work, memory_order_relaxed) | c->eoi_count))
        return VGIC_NO_LR;
    if (unlikely((done & (done - 1)) | (done & g->lr_locked) | c->lr_dirty))
        return VGIC_NO_LR;
    if (done) {
        u32 n = (u32)__builtin_ctz(done);
        in_lr &= ~irq_bit(irq_of(c->lr[n]));
        used &= ~done;
        c->lr[n] = 0;
        c->lr_empty = 0;
        c->lr_used = used;
        vput(&word->in_lr, in_lr); // only we write it
    }
    u32 free = g->lr_all & ~used;
    if (unlikely(!free || !(vget(&word->gate) & ~vget(&word->active) & ~vget(&word->latch) & ~in_lr & bit)))
        return VGIC_NO_LR;
    u32 n = (u32)__builtin_ctz(free);
    c->lr[n] = g->lr_template[ppi] | LR_PENDING;
    c->lr_used = used | (1u << n);
    vput(&word->in_lr, in_lr | bit);
    return n;
}

// A level that is up, of an interrupt that the guest has finished: due once more, as soon as flush takes it back. The
// exit that would lead there (EOI) may not have come yet.
static bool finished_due(struct vgic_vcpu *g) {
    const struct vgic_cpuif *c = &g->cpuif;
    for (u32 m = c->lr_empty & c->lr_used & ~c->lr_dirty; m; m &= m - 1) {
        u32 irq = irq_of(c->lr[__builtin_ctz(m)]);
        const struct vgic_word *word = vgic_word_of(g, irq);
        if (vgic_pending(word) & vget(&word->gate) & irq_bit(irq))
            return true;
    }
    return false;
}

bool vgicv3_ready(struct vcpu *v) {
    struct vgic_vcpu *g = vgic_of(v);
    struct vgic_cpuif *c = &g->cpuif;
    const struct vgic_word *word = &g->word;
    if (vgic_pending(word) & vget(&word->gate) & ~vget(&word->active) & ~vget(&word->in_lr))
        return true;
    u32 attn = vget(&g->attn);
    if ((attn & VGIC_ATTN_RESYNC) || conflict(g)) // flush finds out
        return true;
    for (u32 words = attn & VGIC_ATTN_WORDS; words; words &= words - 1) {
        if (spis_due(g, (u32)__builtin_ctz(words)))
            return true;
    }
    if (!c->lr_used)
        return false;
    arch_irq_sync(v);
    for (u32 m = c->lr_used & ~c->lr_empty; m; m &= m - 1) {
        if ((c->lr[__builtin_ctz(m)] & LR_STATE) == LR_PENDING)
            return true;
    }
    return finished_due(g);
}
