// SPDX-License-Identifier: Apache-2.0
// The vIMSIC. Senders set a bit and mark the vCPU; all else in a file is its own vCPU's, which looks at it on its way
// into the guest and at its own accesses. So there is no lock, and a message costs its sender one atomic operation.
#include "vimsic.h"

#include <string.h>

#include "page.h"
#include "vcpu.h"
#include "vm.h"
#include "vplic.h"

enum { // §3.8
    EIDELIVERY = 0x70,
    EITHRESHOLD = 0x72,
    EIP = 0x80,
    EIE = 0xc0,
    ARRAY_SIZE_REGS = 0x40,
    SETEIPNUM_LE = 0, // §3.5; the big-endian one is not there, and ignores what is written
    FILE_SIZE = PAGE_SIZE,
    WORDS_MAX = (VIMSIC_IDS_MAX + 1) / 64,
};

// Only `pending` has other writers than the vCPU's own task; the rest is atomic for vimsic_ready(), which others call
// for a vCPU that sleeps.
struct file {
    _Atomic u64 pending[WORDS_MAX], enabled[WORDS_MAX];
    _Atomic u32 threshold; // 0: none
    _Atomic bool delivers;
};

struct vimsic {
    struct vdev dev; // first
    u32 ids, words, vcpu_count, order;
    struct file files[VPLIC_MAX_VCPUS];
};

static u64 load(const _Atomic u64 *word) {
    return atomic_load_explicit(word, memory_order_relaxed);
}

// The pending and enabled interrupt of the lowest number, which is the most urgent one; 0: none, or none below the
// threshold (§3.4).
static u32 top(const struct vimsic *m, const struct file *f) {
    for (u32 w = 0; w < m->words; w++) {
        const u64 due = load(&f->pending[w]) & load(&f->enabled[w]);
        if (!due)
            continue;
        const u32 id = w * 64 + (u32)__builtin_ctzll(due);
        const u32 threshold = atomic_load_explicit(&f->threshold, memory_order_relaxed);
        return threshold == 0 || id < threshold ? id : 0;
    }
    return 0;
}

static bool is_up(const struct vimsic *m, const struct file *f) {
    return atomic_load_explicit(&f->delivers, memory_order_relaxed) && top(m, f) != 0;
}

// What the guest sees of its file from its next instruction on.
static void show(struct vimsic *m, struct vcpu *v) {
    struct vplic_cpuif *cif = vplic_cpuif(v);
    const u32 others = cif->levels & ~(u32)BIT(VPLIC_SEI);
    const u32 levels = others | (is_up(m, &m->files[v->id]) ? (u32)BIT(VPLIC_SEI) : 0);
    cif->dirty |= levels != cif->levels;
    cif->levels = levels;
}

void vimsic_send(struct vimsic *m, u32 hart, u32 identity) {
    if (hart >= m->vcpu_count || identity == 0 || identity > m->ids)
        return;
    struct vcpu *v = m->dev.vm->vcpus[hart];
    _Atomic u64 *word = &m->files[hart].pending[identity / 64];
    const u64 bit = BIT(identity % 64);
    // Release, for who takes the interrupt is to see what was written before it was sent.
    if (atomic_fetch_or_explicit(word, bit, memory_order_release) & bit)
        return;                                                   // whoever set it has told
    atomic_store_explicit(&v->irq_work, 1, memory_order_release); // pairs with the exchange in flush
    vcpu_kick(v);
}

static int vimsic_bus_access(struct vdev *dev, struct bus_access *a) {
    struct vimsic *m = (struct vimsic *)dev;
    if (a->size != 4)
        return -EFAULT;
    if (!a->write)
        a->value = 0;
    else if (a->offset % FILE_SIZE == SETEIPNUM_LE)
        vimsic_send(m, (u32)(a->offset / FILE_SIZE), (u32)a->value);
    return 0;
}

// ── The registers ───────────────────────────────────────────────────────────────────────────────────────────────────
static u64 change(u64 was, enum vimsic_op op, u64 value) {
    switch (op) {
    case VIMSIC_WRITE:
        return value;
    case VIMSIC_SET:
        return was | value;
    case VIMSIC_CLEAR:
        return was & ~value;
    default:
        return was;
    }
}

// One operation on the word, for a message may come in between.
static u64 bits_access(_Atomic u64 *word, u64 there, enum vimsic_op op, u64 value) {
    switch (op) {
    case VIMSIC_WRITE:
        return atomic_exchange_explicit(word, value & there, memory_order_acquire);
    case VIMSIC_SET:
        return atomic_fetch_or_explicit(word, value & there, memory_order_acquire);
    case VIMSIC_CLEAR:
        return atomic_fetch_and_explicit(word, ~value, memory_order_acquire);
    default:
        return atomic_load_explicit(word, memory_order_acquire);
    }
}

int vimsic_access(struct vimsic *m, struct vcpu *v, u64 select, enum vimsic_op op, u64 value, u64 *old) {
    struct file *f = &m->files[v->id];
    if (select == EIDELIVERY) {
        *old = atomic_load_explicit(&f->delivers, memory_order_relaxed);
        atomic_store_explicit(&f->delivers, change(*old, op, value) & 1, memory_order_relaxed);
    } else if (select == EITHRESHOLD) {
        const u32 all = (u32)BIT(32 - __builtin_clz(m->ids)) - 1; // the bits that an identity takes
        *old = atomic_load_explicit(&f->threshold, memory_order_relaxed);
        atomic_store_explicit(&f->threshold, (u32)change(*old, op, value) & all, memory_order_relaxed);
    } else if (select >= EIP && select < EIE + ARRAY_SIZE_REGS && select % 2 == 0) { // odd: of 32-bit harts only
        const u32 w = (u32)(select % ARRAY_SIZE_REGS) / 2;
        const u64 there = w >= m->words ? 0 : w == 0 ? ~1ull : ~0ull; // identity 0 does not exist
        *old = bits_access(select >= EIE ? &f->enabled[w] : &f->pending[w], there, op, value);
    } else {
        return -EINVAL;
    }
    show(m, v);
    return 0;
}

u64 vimsic_topei(struct vimsic *m, struct vcpu *v, bool claim) {
    struct file *f = &m->files[v->id];
    const u32 id = top(m, f);
    if (id && claim) { // acquire, pairs with the release in vimsic_send
        (void)atomic_fetch_and_explicit(&f->pending[id / 64], ~BIT(id % 64), memory_order_acquire);
        show(m, v);
    }
    return (u64)id << 16 | id;
}

// ── The contract ────────────────────────────────────────────────────────────────────────────────────────────────────
void vimsic_flush(struct vimsic *m, struct vcpu *v) {
    show(m, v);
}

bool vimsic_ready(const struct vimsic *m, const struct vcpu *v) {
    const u32 enabled = atomic_load_explicit(&vplic_cpuif((struct vcpu *)v)->enabled, memory_order_relaxed);
    return (enabled & BIT(VPLIC_SEI)) && is_up(m, &m->files[v->id]);
}

static void vimsic_reset(struct vdev *dev) {
    struct vimsic *m = (struct vimsic *)dev;
    memset((void *)m->files, 0, sizeof(m->files)); // no vCPU runs
}

struct vimsic *vimsic_create(struct vm *vm, gpa_t base, u32 ids) {
    BUG_ON(ids == 0 || ids > VIMSIC_IDS_MAX || ids % 64 != 63);
    u32 order = 0;
    while ((PAGE_SIZE << order) < sizeof(struct vimsic))
        order++;
    struct vimsic *m = page_alloc(order);
    if (m == nullptr)
        return nullptr;
    m->dev = (struct vdev){"imsic", vm, base, (u64)FILE_SIZE * vm->vcpu_count, vimsic_bus_access, vimsic_reset};
    m->ids = ids;
    m->words = (ids + 1) / 64;
    m->vcpu_count = vm->vcpu_count;
    m->order = order;
    vimsic_reset(&m->dev);
    if (bus_add(&vm->bus, &m->dev) != 0) {
        page_free(m, order);
        return nullptr;
    }
    return m;
}

void vimsic_destroy(struct vimsic *m) {
    if (m == nullptr)
        return;
    (void)bus_remove(&m->dev.vm->bus, vimsic_bus_access);
    page_free(m, m->order);
}
