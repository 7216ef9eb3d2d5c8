// SPDX-License-Identifier: Apache-2.0
// The vPLIC. One lock a VM, for every access is short: a source is looked up in two words of bits. A source that
// changes is told to the contexts that have it enabled, and a vCPU only hears of its context's line when that changes.
#include "vplic.h"

#include <stdio.h>
#include <string.h>

#include "arch.h"
#include "lock.h"
#include "page.h"
#include "vm.h"

// Specification 1.0.0, chapter 3
enum {
    PLIC_PRIORITY = 0x0,
    PLIC_PENDING = 0x1000,
    PLIC_ENABLE = 0x2000,
    PLIC_ENABLE_STRIDE = 0x80,
    PLIC_CONTEXT = 0x200000,
    PLIC_CONTEXT_STRIDE = 0x1000,
    PLIC_THRESHOLD = 0,
    PLIC_CLAIM = 4,
};

enum {
    IDS = VPLIC_SOURCES + 1, // source 0 does not exist
    WORDS = (IDS + 63) / 64,
    MAX_CONTEXTS = 2 * VPLIC_MAX_VCPUS,
    LEVELS = BIT(VPLIC_STI) | BIT(VPLIC_SEI),
};
static_assert(IDS % 32 == 0, "registers of 32 sources are whole");

struct vplic_vcpu {
    struct vplic_cpuif cpuif;
    _Atomic u32 lines; // levels STI, SEI; SSI: posted, not yet taken over by flush
    struct vplic *plic;
    struct vcpu *vcpu;
};

struct context {
    u64 enabled[WORDS];
    u32 threshold;
    bool up; // something is enabled, pending and above the threshold
};

struct vplic {
    struct vdev dev; // first
    struct spinlock lock;
    u32 vcpu_count, context_count, order;
    // A source's gateway: `line` is its level; a request is `pending` until it is claimed, and the next one waits until
    // the claimed one is completed (chapter 9).
    u64 line[WORDS], pending[WORDS], claimed[WORDS];
    u8 priority[IDS];
    u32 enabled_by[IDS]; // contexts
    u32 kicks;           // vCPUs to be told once the lock is released
    struct context context[MAX_CONTEXTS];
    struct vplic_vcpu vcpu[VPLIC_MAX_VCPUS];
};

static struct vplic_vcpu *part_of(struct vcpu *v) {
    return v->irqchip;
}

static u64 bit_of(u32 id) {
    return BIT(id % 64);
}

static u32 lines_of(const struct vplic_vcpu *p) {
    return atomic_load_explicit(&p->lines, memory_order_relaxed);
}

// ── A vCPU's lines ──────────────────────────────────────────────────────────────────────────────────────────────────

// Before the vCPU's next entry, flush looks at the lines. Release, pairs with the exchange in flush.
static void mark(struct vplic_vcpu *p) {
    atomic_store_explicit(&p->vcpu->irq_work, 1, memory_order_release);
}

// Returns true if the line has risen: the vCPU is to be kicked.
static bool line_put(struct vplic_vcpu *p, u32 line, bool level) {
    const u32 bit = (u32)BIT(line);
    const u32 old = level ? atomic_fetch_or_explicit(&p->lines, bit, memory_order_relaxed)
                          : atomic_fetch_and_explicit(&p->lines, ~bit, memory_order_relaxed);
    if (!(old & bit) == !level)
        return false;
    mark(p);
    return level;
}

static void plic_lock(struct vplic *plic) {
    spin_lock(&plic->lock);
}

// `self` serves an access and looks at its lines anyway before it goes back in.
static void plic_unlock(struct vplic *plic, const struct vcpu *self) {
    u32 kicks = plic->kicks;
    plic->kicks = 0;
    spin_unlock(&plic->lock);
    for (; unlikely(kicks); kicks &= kicks - 1) {
        struct vcpu *v = plic->vcpu[__builtin_ctz(kicks)].vcpu;
        if (v != self)
            vcpu_kick(v);
    }
}

// ── Contexts. Locked ────────────────────────────────────────────────────────────────────────────────────────────────

static bool context_is_up(const struct vplic *plic, const struct context *c) {
    for (u32 w = 0; w < WORDS; w++)
        for (u64 m = plic->pending[w] & c->enabled[w]; m; m &= m - 1)
            if (plic->priority[w * 64 + (u32)__builtin_ctzll(m)] > c->threshold)
                return true;
    return false;
}

static void context_update(struct vplic *plic, u32 n) {
    struct context *c = &plic->context[n];
    const bool up = context_is_up(plic, c);
    if (up == c->up)
        return;
    c->up = up;
    if (n % 2 && line_put(&plic->vcpu[n / 2], VPLIC_SEI, up)) // M-mode's has no wire
        plic->kicks |= 1u << n / 2;
}

static void contexts_update(struct vplic *plic, u32 set) {
    for (; set; set &= set - 1)
        context_update(plic, (u32)__builtin_ctz(set));
}

// The gateway passes a request on unless one is being served.
static void request(struct vplic *plic, u32 id) {
    const u32 w = id / 64;
    if (!(plic->line[w] & ~plic->claimed[w] & bit_of(id)))
        return;
    plic->pending[w] |= bit_of(id);
    contexts_update(plic, plic->enabled_by[id]);
}

// The highest priority, and of equals the lowest number; 0 if nothing is pending. The threshold does not matter here
// (chapter 8), and a source of priority 0 never interrupts.
static u32 claim(struct vplic *plic, const struct context *c) {
    u32 best = 0, best_priority = 0;
    for (u32 w = 0; w < WORDS; w++) {
        for (u64 m = plic->pending[w] & c->enabled[w]; m; m &= m - 1) {
            const u32 id = w * 64 + (u32)__builtin_ctzll(m);
            if (plic->priority[id] > best_priority) {
                best = id;
                best_priority = plic->priority[id];
            }
        }
    }
    if (best == 0)
        return 0;
    plic->pending[best / 64] &= ~bit_of(best);
    plic->claimed[best / 64] |= bit_of(best);
    contexts_update(plic, plic->enabled_by[best]);
    return best;
}

// Ignored unless the source is enabled for this context (chapter 9).
static void complete(struct vplic *plic, const struct context *c, u32 id) {
    if (id >= IDS || !(c->enabled[id / 64] & bit_of(id)))
        return;
    plic->claimed[id / 64] &= ~bit_of(id);
    request(plic, id);
}

// ── Registers. Locked ───────────────────────────────────────────────────────────────────────────────────────────────

static void priority_write(struct vplic *plic, u32 id, u32 value) {
    if (id == 0 || id >= IDS)
        return;
    plic->priority[id] = value & VPLIC_PRIORITY_MASK;
    if (plic->pending[id / 64] & bit_of(id))
        contexts_update(plic, plic->enabled_by[id]);
}

static u32 half(const u64 *words, u32 n) {
    return n < IDS / 32 ? (u32)(words[n / 2] >> n % 2 * 32) : 0;
}

static void enable_write(struct vplic *plic, u32 context, u32 n, u32 value) {
    struct context *c = &plic->context[context];
    if (n >= IDS / 32)
        return;
    if (n == 0)
        value &= ~1u;
    for (u32 m = half(c->enabled, n) ^ value; m; m &= m - 1)
        plic->enabled_by[n * 32 + (u32)__builtin_ctz(m)] ^= 1u << context;
    const u32 shift = n % 2 * 32;
    c->enabled[n / 2] = (c->enabled[n / 2] & ~(0xffffffffull << shift)) | (u64)value << shift;
    context_update(plic, context);
}

static u32 low_read(struct vplic *plic, u32 offset) {
    if (offset < PLIC_PENDING)
        return offset / 4 < IDS ? plic->priority[offset / 4] : 0;
    if (offset < PLIC_ENABLE)
        return half(plic->pending, (offset - PLIC_PENDING) / 4);
    const u32 context = (offset - PLIC_ENABLE) / PLIC_ENABLE_STRIDE;
    if (context >= plic->context_count)
        return 0;
    return half(plic->context[context].enabled, offset % PLIC_ENABLE_STRIDE / 4);
}

static void low_write(struct vplic *plic, u32 offset, u32 value) {
    if (offset < PLIC_PENDING) {
        priority_write(plic, offset / 4, value);
    } else if (offset >= PLIC_ENABLE) {
        const u32 context = (offset - PLIC_ENABLE) / PLIC_ENABLE_STRIDE;
        if (context < plic->context_count)
            enable_write(plic, context, offset % PLIC_ENABLE_STRIDE / 4, value);
    }
}

static u32 context_read(struct vplic *plic, struct context *c, u32 reg) {
    return reg == PLIC_CLAIM ? claim(plic, c) : reg == PLIC_THRESHOLD ? c->threshold : 0;
}

static void context_write(struct vplic *plic, u32 n, u32 reg, u32 value) {
    struct context *c = &plic->context[n];
    if (reg == PLIC_CLAIM) {
        complete(plic, c, value);
    } else if (reg == PLIC_THRESHOLD) {
        c->threshold = value & VPLIC_PRIORITY_MASK;
        context_update(plic, n);
    }
}

static int vplic_access(struct vdev *dev, struct bus_access *a) {
    struct vplic *plic = (struct vplic *)dev;
    const u32 offset = (u32)a->offset;
    if (unlikely(a->size != 4)) // registers are words (chapter 3); QEMU's refuses as well
        return -EFAULT;
    plic_lock(plic);
    if (likely(offset >= PLIC_CONTEXT)) {
        const u32 n = (offset - PLIC_CONTEXT) / PLIC_CONTEXT_STRIDE, reg = offset % PLIC_CONTEXT_STRIDE;
        if (unlikely(n >= plic->context_count))
            a->value = 0;
        else if (a->write)
            context_write(plic, n, reg, (u32)a->value);
        else
            a->value = context_read(plic, &plic->context[n], reg);
    } else if (a->write) {
        low_write(plic, offset, (u32)a->value);
    } else {
        a->value = low_read(plic, offset);
    }
    plic_unlock(plic, a->vcpu);
    return 0;
}

// ── The contract ────────────────────────────────────────────────────────────────────────────────────────────────────

static void vplic_set(struct vm *vm, u32 irq, bool level) {
    struct vplic *plic = vm->irqchip;
    if (irq == 0 || irq >= IDS)
        return;
    plic_lock(plic);
    if (level)
        plic->line[irq / 64] |= bit_of(irq);
    else // a request that was passed on stays pending (chapter 5)
        plic->line[irq / 64] &= ~bit_of(irq);
    request(plic, irq);
    plic_unlock(plic, nullptr);
}

static void vplic_set_ppi(struct vcpu *v, u32 irq, bool level) {
    if (irq != VPLIC_SSI && irq != VPLIC_STI)
        return;
    if (line_put(part_of(v), irq, level))
        vcpu_kick(v);
}

static void vplic_ipi(struct vcpu *v, const struct vexit *exit) {
    struct vplic *plic = part_of(v)->plic;
    for (u64 m = exit->value & (BIT(plic->vcpu_count) - 1); m; m &= m - 1) {
        struct vplic_vcpu *to = &plic->vcpu[__builtin_ctzll(m)];
        if (line_put(to, VPLIC_SSI, true) && to->vcpu != v)
            vcpu_kick(to->vcpu);
    }
}

static void vplic_flush(struct vcpu *v) {
    struct vplic_vcpu *p = part_of(v);
    // Acquire, pairs with the release in mark(): what is raised from here on marks again.
    (void)atomic_exchange_explicit(&v->irq_work, 0, memory_order_acquire);
    u32 lines = lines_of(p);
    if (lines & BIT(VPLIC_SSI)) {
        lines = atomic_fetch_and_explicit(&p->lines, ~(u32)BIT(VPLIC_SSI), memory_order_relaxed);
        p->cpuif.soft = true;
    }
    p->cpuif.levels = lines & LEVELS;
    p->cpuif.dirty = true;
}

static bool vplic_ready(struct vcpu *v) {
    struct vplic_vcpu *p = part_of(v);
    const u32 enabled = atomic_load_explicit(&p->cpuif.enabled, memory_order_relaxed);
    if (lines_of(p) & enabled)
        return true;
    return (enabled & BIT(VPLIC_STI)) && arch_irq_level(v, VPLIC_STI);
}

// Switched on: no software interrupt waits. The context keeps its registers, as it does when a hart is stopped.
static void vplic_vcpu_reset(struct vcpu *v) {
    struct vplic_vcpu *p = part_of(v);
    atomic_fetch_and_explicit(&p->lines, ~(u32)(BIT(VPLIC_SSI) | BIT(VPLIC_STI)), memory_order_relaxed);
    p->cpuif.soft = false;
    p->cpuif.dirty = true;
    atomic_store_explicit(&p->cpuif.enabled, 0, memory_order_relaxed);
    mark(p);
}

static void vplic_reset(struct vm *vm) {
    struct vplic *plic = vm->irqchip;
    plic_lock(plic);
    // The lines are the devices', which are reset on their own.
    memset(plic->pending, 0, sizeof(plic->pending));
    memset(plic->claimed, 0, sizeof(plic->claimed));
    memset(plic->priority, 0, sizeof(plic->priority));
    memset(plic->enabled_by, 0, sizeof(plic->enabled_by));
    memset(plic->context, 0, sizeof(plic->context));
    for (u32 id = 1; id < IDS; id++)
        request(plic, id);
    for (u32 n = 0; n < plic->vcpu_count; n++) {
        atomic_store_explicit(&plic->vcpu[n].lines, 0, memory_order_relaxed);
        mark(&plic->vcpu[n]);
    }
    plic_unlock(plic, nullptr);
}

static void dev_reset(struct vdev *dev) {
    vplic_reset(dev->vm);
}

static size_t vplic_describe(struct vm *vm, char *buf, size_t size) {
    struct vplic *plic = vm->irqchip;
    size_t used = 0;
    if (size)
        buf[0] = '\0';
    plic_lock(plic);
    for (u32 id = 1; id < IDS; id++) {
        const u32 w = id / 64;
        if (!((plic->pending[w] | plic->claimed[w]) & bit_of(id)))
            continue;
        const int n =
            snprintf(buf, size, "source %u%s%s%s priority %u contexts 0x%x\n", id,
                     plic->pending[w] & bit_of(id) ? " pending" : "", plic->claimed[w] & bit_of(id) ? " claimed" : "",
                     plic->line[w] & bit_of(id) ? " high" : "", plic->priority[id], plic->enabled_by[id]);
        const size_t wrote = n < 0 || size == 0 ? 0 : MIN((size_t)n, size - 1);
        if (wrote)
            buf += wrote;
        size -= wrote;
        used += wrote;
    }
    plic_unlock(plic, nullptr);
    return used;
}

const struct irqchip_ops vplic_ops = {
    .name = "PLIC",
    .reset = vplic_reset,
    .vcpu_reset = vplic_vcpu_reset,
    .set = vplic_set,
    .set_ppi = vplic_set_ppi,
    .ipi = vplic_ipi,
    .flush = vplic_flush,
    .ready = vplic_ready,
    .describe = vplic_describe,
};

int vplic_create_lines(struct vm *vm) {
    BUG_ON(vm->vcpu_count == 0 || vm->vcpu_count > VPLIC_MAX_VCPUS);
    u32 order = page_order(sizeof(struct vplic));
    struct vplic *plic = page_alloc(order);
    if (plic == nullptr)
        return -ENOMEM;
    plic->dev = (struct vdev){"plic", vm, gpa(0), VPLIC_SIZE, vplic_access, dev_reset};
    spin_init(&plic->lock, LOCK_IRQCHIP);
    plic->order = order;
    plic->vcpu_count = vm->vcpu_count;
    plic->context_count = 2 * vm->vcpu_count;
    for (u32 n = 0; n < vm->vcpu_count; n++) {
        plic->vcpu[n].plic = plic;
        plic->vcpu[n].vcpu = vm->vcpus[n];
        vm->vcpus[n]->irqchip = &plic->vcpu[n];
    }
    vm->irqchip = plic;
    vm->irqchip_ops = &vplic_ops;
    vplic_reset(vm);
    return 0;
}

int vplic_create(struct vm *vm, gpa_t base) {
    int err = vplic_create_lines(vm);
    if (err)
        return err;
    struct vplic *plic = vm->irqchip;
    plic->dev.base = base;
    err = bus_add(&vm->bus, &plic->dev);
    if (err)
        vplic_destroy(vm);
    return err;
}

void vplic_destroy(struct vm *vm) {
    struct vplic *plic = vm->irqchip;
    if (plic == nullptr)
        return;
    for (u32 n = 0; n < plic->vcpu_count; n++)
        plic->vcpu[n].vcpu->irqchip = nullptr;
    (void)bus_remove(&vm->bus, vplic_access);
    vm->irqchip = nullptr;
    page_free(plic, plic->order);
}

struct vplic_cpuif *vplic_cpuif(struct vcpu *v) {
    return v->irqchip ? &part_of(v)->cpuif : nullptr;
}
