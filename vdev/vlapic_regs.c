// SPDX-License-Identifier: Apache-2.0
// The local APIC's registers, by the page of an xAPIC (Intel SDM 3, 11.4) and the MSRs of an x2APIC (11.12).
#include <string.h>

#include "arch.h"
#include "vlapic_internal.h"
#include "vm.h"

// What an LVT entry can hold: vector, delivery mode, polarity, trigger mode, mask, timer mode (figure 11-8).
static const u32 lvt_valid[LVTS] = {
    [LVT_TIMER] = 0x700ff, [LVT_THERMAL] = 0x107ff, [LVT_PERFORMANCE] = 0x107ff,
    [LVT_LINT0] = 0x1a7ff, [LVT_LINT1] = 0x1a7ff,   [LVT_ERROR] = 0x100ff,
};

void vlapic_reset_registers(struct vlapic *l) {
    vlapic_timer_stop(l);
    for (u32 w = 0; w < VLAPIC_WORDS; w++) {
        atomic_store_explicit(&l->irr[w], 0, memory_order_relaxed);
        atomic_store_explicit(&l->tmr[w], 0, memory_order_relaxed);
        l->isr[w] = 0;
    }
    atomic_store_explicit(&l->nmi, false, memory_order_relaxed);
    atomic_store_explicit(&l->ldr, 0, memory_order_relaxed);
    atomic_store_explicit(&l->dfr, DFR_FLAT, memory_order_relaxed);
    atomic_store_explicit(&l->svr, SVR_RESET, memory_order_relaxed);
    atomic_store_explicit(&l->interruptible, false, memory_order_relaxed);
    atomic_store_explicit(&l->nmi_able, true, memory_order_relaxed);
    atomic_store_explicit(&l->errors_received, 0, memory_order_relaxed);
    l->pending = -1;
    l->in_service = l->tpr = l->esr = l->errors = l->divider = l->initial_count = 0;
    l->icr = 0;
    for (u32 n = 0; n < LVTS; n++)
        l->lvt[n] = LVT_MASKED;
}

// ── Registers that both forms have ──────────────────────────────────────────────────────────────────────────────────
static u32 half(u64 word, u32 n) {
    return (u32)(word >> n % 2 * 32);
}

// -ENODEV: there is no such register.
static int reg_read(const struct vlapic *l, u32 reg, u32 *value) {
    const u32 n = reg / 16 % 8;
    switch (reg) {
    case APIC_VERSION:
        *value = APIC_VERSION_VALUE;
        return 0;
    case APIC_TPR:
        *value = l->tpr;
        return 0;
    case APIC_PPR:
        *value = vlapic_ppr(l);
        return 0;
    case APIC_SVR:
        *value = atomic_load_explicit(&l->svr, memory_order_relaxed);
        return 0;
    case APIC_ISR ... APIC_ISR + 0x70:
        *value = half(l->isr[n / 2], n);
        return 0;
    case APIC_TMR ... APIC_TMR + 0x70:
        *value = half(atomic_load_explicit(&l->tmr[n / 2], memory_order_relaxed), n);
        return 0;
    case APIC_IRR ... APIC_IRR + 0x70:
        *value = half(atomic_load_explicit(&l->irr[n / 2], memory_order_relaxed), n);
        return 0;
    case APIC_ESR:
        *value = l->esr;
        return 0;
    case APIC_ICR:
        *value = (u32)l->icr;
        return 0;
    case APIC_LVT ... APIC_LVT + (LVTS - 1) * 16:
        *value = l->lvt[(reg - APIC_LVT) / 16];
        return 0;
    case APIC_INITIAL_COUNT:
        *value = l->initial_count;
        return 0;
    case APIC_CURRENT_COUNT:
        *value = vlapic_timer_count(l);
        return 0;
    case APIC_DIVIDE:
        *value = l->divider;
        return 0;
    default:
        return -ENODEV;
    }
}

static void lvt_write(struct vlapic *l, u32 n, u32 value) {
    value &= lvt_valid[n];
    if (!(atomic_load_explicit(&l->svr, memory_order_relaxed) & SVR_ENABLE))
        value |= LVT_MASKED; // software-disabled: none can be unmasked (11.4.7.2)
    if (n == LVT_TIMER)
        vlapic_timer_mode_changes(l, value);
    l->lvt[n] = value;
}

static void svr_write(struct vlapic *l, u32 value) {
    atomic_store_explicit(&l->svr, value & (0xff | SVR_ENABLE | SVR_FOCUS), memory_order_relaxed);
    if (value & SVR_ENABLE)
        return;
    for (u32 n = 0; n < LVTS; n++)
        l->lvt[n] |= LVT_MASKED;
}

static void eoi_write(struct vlapic *l) {
    const u32 vector = l->in_service;
    if (vlapic_eoi(l))
        return;
    l->isr[vector / 64] &= ~BIT(vector % 64);
    l->in_service = (u32)MAX(vectors_highest(l->isr), 0);
    vioapic_eoi(l->vcpu, vector);
}

static void esr_write(struct vlapic *l) {
    l->esr = l->errors | atomic_exchange_explicit(&l->errors_received, 0, memory_order_relaxed);
    l->errors = 0;
}

static int reg_write(struct vlapic *l, u32 reg, u32 value) {
    switch (reg) {
    case APIC_TPR:
        l->tpr = value & 0xff;
        return 0;
    case APIC_EOI:
        eoi_write(l);
        return 0;
    case APIC_SVR:
        svr_write(l, value);
        return 0;
    case APIC_ESR:
        esr_write(l);
        return 0;
    case APIC_LVT ... APIC_LVT + (LVTS - 1) * 16:
        lvt_write(l, (reg - APIC_LVT) / 16, value);
        return 0;
    case APIC_INITIAL_COUNT:
        vlapic_timer_count_write(l, value);
        return 0;
    case APIC_DIVIDE:
        vlapic_timer_divide_write(l, value);
        return 0;
    default:
        return -ENODEV;
    }
}

// ── xAPIC ───────────────────────────────────────────────────────────────────────────────────────────────────────────
static void error_found(struct vlapic *l, u32 error) {
    atomic_fetch_or_explicit(&l->errors_received, error, memory_order_relaxed);
    atomic_store_explicit(&l->vcpu->irq_work, 1, memory_order_relaxed);
}

static u32 page_read(struct vlapic *l, u32 reg) {
    u32 value = 0;
    switch (reg) {
    case APIC_ID:
        return l->vcpu->id << 24;
    case APIC_LDR:
        return atomic_load_explicit(&l->ldr, memory_order_relaxed);
    case APIC_DFR:
        return atomic_load_explicit(&l->dfr, memory_order_relaxed);
    case APIC_ICR_HIGH:
        return (u32)(l->icr >> 32);
    case APIC_APR:
    case APIC_RRD:
    case APIC_EOI: // write-only, and old software reads it after it wrote
        return 0;
    default:
        if (reg_read(l, reg, &value))
            error_found(l, ESR_ILLEGAL_REGISTER);
        return value;
    }
}

static void page_write(struct vlapic *l, u32 reg, u32 value) {
    switch (reg) {
    case APIC_LDR:
        atomic_store_explicit(&l->ldr, value & 0xff000000, memory_order_relaxed);
        return;
    case APIC_DFR:
        atomic_store_explicit(&l->dfr, value | 0x0fffffff, memory_order_relaxed);
        return;
    case APIC_ICR_HIGH:
        l->icr = (u32)l->icr | (u64)(value & 0xff000000) << 32;
        return;
    case APIC_ICR:
        l->icr = (l->icr & ~0xffffffffull) | (value & 0xccfff & ~(u32)ICR_BUSY);
        vlapic_icr_send(l->vcpu, l->icr, false);
        return;
    case APIC_ID: // the guest's ids are fixed, as on newer processors
        return;
    default:
        if (reg_write(l, reg, value))
            error_found(l, ESR_ILLEGAL_REGISTER);
    }
}

// Registers lie on 16-byte boundaries and are words (11.4.1); other accesses are undefined: a piece of the word is read
// and nothing written. As an x2APIC, or switched off, it is not in memory: nothing answers there.
int vlapic_page_access(struct vdev *dev, struct bus_access *a) {
    struct vlapic *l = vlapic_of(a->vcpu);
    const u32 offset = (u32)a->offset, low = offset % 16;
    (void)dev;
    if (unlikely(!vlapic_enabled(l) || vlapic_x2apic(l))) {
        a->value = ~0ull;
        return 0;
    }
    if (a->write) {
        if (low == 0 && a->size == 4)
            page_write(l, offset, (u32)a->value);
        return 0;
    }
    a->value = low + a->size <= 4 ? page_read(l, offset - low) >> low * 8 : 0;
    return 0;
}

// ── x2APIC ──────────────────────────────────────────────────────────────────────────────────────────────────────────
#define ICR_X2_VALID (0xffffffff000cdfffull) // with the busy bit of the xAPIC, which software may carry over

enum { NEEDS_CORE = 1 };

static int x2_read(const struct vlapic *l, u32 reg, u64 *value) {
    const u32 id = l->vcpu->id;
    u32 low = 0;
    switch (reg) {
    case APIC_ID:
        *value = id;
        return 0;
    case APIC_LDR:
        *value = id / 16 << 16 | 1u << id % 16;
        return 0;
    case APIC_ICR:
        *value = l->icr;
        return 0;
    default:
        if (reg_read(l, reg, &low))
            return -EFAULT;
        *value = low;
        return 0;
    }
}

// An ICR that concerns but the sender.
static bool is_self_ipi(u64 icr) {
    return (icr >> 18 & 3) == 1 && (icr >> 8 & 7) == VLAPIC_FIXED && (icr & 0xff) >= VECTOR_MIN;
}

static int x2_icr_write(struct vlapic *l, u64 value, bool local) {
    if (value & ~ICR_X2_VALID)
        return -EFAULT;
    if (local && !is_self_ipi(value))
        return NEEDS_CORE;
    l->icr = value & ~(u64)ICR_BUSY;
    if (is_self_ipi(value))
        vlapic_post_self(l, value & 0xff);
    else
        vlapic_icr_send(l->vcpu, l->icr, true);
    return 0;
}

// A vector that is none is the sender's error and the receiver's (11.5.3).
static void self_ipi(struct vlapic *l, u32 vector) {
    vlapic_post_self(l, vector);
    if (vector < VECTOR_MIN)
        error_found(l, ESR_SEND_ILLEGAL);
}

static u32 x2_valid(u32 reg) {
    switch (reg) {
    case APIC_TPR:
        return 0xff;
    case APIC_SVR:
        return 0xff | SVR_ENABLE | SVR_FOCUS;
    case APIC_EOI:
    case APIC_ESR:
        return 0;
    case APIC_LVT ... APIC_LVT + (LVTS - 1) * 16:
        return lvt_valid[(reg - APIC_LVT) / 16] | 0x5000; // the two status bits are ignored
    case APIC_DIVIDE:
        return 0xb;
    default:
        return ~0u;
    }
}

static int x2_write(struct vlapic *l, u32 reg, u64 value, bool local) {
    if (reg == APIC_ICR)
        return x2_icr_write(l, value, local);
    if (value >> 32 || (value & ~(u64)x2_valid(reg)))
        return -EFAULT;
    if (reg == APIC_SELF_IPI) {
        if (value > 0xff)
            return -EFAULT;
        if (local && value < VECTOR_MIN)
            return NEEDS_CORE; // its error is looked at before the next entry only there
        self_ipi(l, (u32)value);
        return 0;
    }
    if (reg == APIC_EOI && local)
        return vlapic_eoi(l) ? 0 : NEEDS_CORE;
    return reg_write(l, reg, (u32)value) ? -EFAULT : 0;
}

// 11.12.5: off → xAPIC → x2APIC → off, and xAPIC → off; every other change faults. The page cannot be moved.
static int base_write(struct vlapic *l, u64 value) {
    const u64 modes = VLAPIC_BASE_ENABLE | VLAPIC_BASE_X2APIC;
    const u64 base = atomic_load_explicit(&l->base, memory_order_relaxed), from = base & modes, to = value & modes;
    if ((value & ~(modes | VLAPIC_BASE_BSP)) != VLAPIC_BASE || to == VLAPIC_BASE_X2APIC)
        return -EFAULT;
    if ((from == modes && to == VLAPIC_BASE_ENABLE) || (from == 0 && to == modes))
        return -EFAULT;
    if (to == 0 && from != 0)
        vlapic_reset_registers(l);
    if (to != from)
        l->icr = 0;
    atomic_store_explicit(&l->base, (base & ~modes) | to, memory_order_relaxed);
    return 0;
}

static int msr_access(struct vcpu *v, u32 msr, bool write, u64 *value, bool local) {
    struct vlapic *l = vlapic_of(v);
    if (msr == VLAPIC_MSR_BASE) {
        if (write)
            return base_write(l, *value);
        *value = atomic_load_explicit(&l->base, memory_order_relaxed);
        return 0;
    }
    if (msr == VLAPIC_MSR_DEADLINE) {
        if (write)
            vlapic_timer_deadline_write(l, *value);
        else
            *value = l->tsc_deadline;
        return 0;
    }
    if (msr - VLAPIC_MSR_X2APIC >= VLAPIC_MSR_X2APIC_COUNT || !vlapic_x2apic(l))
        return -EFAULT;
    const u32 reg = (msr - VLAPIC_MSR_X2APIC) * 16;
    return write ? x2_write(l, reg, *value, local) : x2_read(l, reg, value);
}

int vlapic_sysreg(struct vcpu *v, struct vexit *exit) {
    return msr_access(v, exit->nr, exit->write, &exit->value, false);
}

bool vlapic_msr_try(struct vcpu *v, u32 msr, bool write, u64 *value) {
    return msr_access(v, msr, write, value, true) == 0;
}
