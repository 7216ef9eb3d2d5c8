// SPDX-License-Identifier: Apache-2.0
// Time: our own one-shot timer, and the guest's. With Sstc the guest's is vstimecmp while the vCPU is loaded and not
// halted, and raises its interrupt without us; a soft timer stands in for it otherwise.
#include "report.h"
#include "riscv64.h"
#include "vm.h"

u32 counter_hz;
static u64 ns_mult;    // ns = ticks * ns_mult >> 24
static u32 ticks_mult; // ticks = ns * ticks_mult >> 24, for differences up to a few hundred seconds

void timers_init(const struct board *board) {
    counter_hz = board->timer.frequency_hz;
    if (counter_hz == 0)
        report_and_halt("the device tree gives no frequency of the harts' clock (/cpus/timebase-frequency)");
    ns_mult = (1000000000ull << 24) / counter_hz;
    ticks_mult = (u32)(((u64)counter_hz << 24) / 1000000000ull);
}

// (v * mult) >> 24, without 128-bit arithmetic. mult < 2^40: clocks from 16 kHz on.
static u64 mul_shift(u64 v, u64 mult) {
    u64 high;
    __asm__("mulhu %0, %1, %2" : "=r"(high) : "r"(v), "r"(mult));
    return high << 40 | v * mult >> 24;
}

u64 arch_ticks_to_ns(u64 ticks) {
    return mul_shift(ticks, ns_mult);
}

u64 arch_now_ns(void) {
    return arch_ticks_to_ns(arch_ticks());
}

void arch_timer_arm(u64 deadline_ns) {
    u64 at = ~0ull;
    if (deadline_ns != TIMER_NEVER) {
        u64 ticks = arch_ticks(), now = arch_ticks_to_ns(ticks);
        at = ticks + (deadline_ns > now ? mul_shift(deadline_ns - now, ticks_mult) + 1 : 0);
    }
    if (features.sstc)
        csr_write(CSR_STIMECMP, at);
    else
        (void)sbi_call(SBI_TIME, 0, at, 0, 0);
}

// When the guest's clock reaches a value, on the arch_now_ns() scale; rounded up, so that the level is high by then.
static u64 deadline_ns(const struct vcpu *v, u64 value) {
    u64 now = arch_ticks(), guest_now = now + v->vm->arch.htimedelta;
    if (value <= guest_now)
        return 0;
    u64 ahead = value - guest_now;
    if (ahead > (u64)counter_hz * 86400 * 365)
        return TIMER_NEVER; // also "no timer": all ones
    return arch_ticks_to_ns(now + ahead) + arch_ticks_to_ns(1) + 1;
}

static u64 vstimecmp_of(const struct vcpu *v) {
    return features.sstc && cpu_self()->loaded == v ? csr_read(CSR_VSTIMECMP) : v->arch.vstimecmp;
}

bool arch_irq_level(struct vcpu *v, u32 ppi) {
    return ppi == VPLIC_STI && arch_ticks() + v->vm->arch.htimedelta >= vstimecmp_of(v);
}

static void fired(struct timer *timer) {
    struct riscv64_timers *t = container_of(timer, struct riscv64_timers, virt);
    struct vcpu *v = t->v;
    if (!features.sstc) {
        v->vm->irqchip_ops->set_ppi(v, VPLIC_STI, true);
        return;
    }
    atomic_store_explicit(&v->irq_work, 1, memory_order_relaxed); // its hardware raises the bit when it is loaded
    vcpu_kick(v);
}

void timers_set(struct vcpu *v, u64 value) {
    if (features.sstc) {
        csr_write(CSR_VSTIMECMP, value);
        return;
    }
    v->arch.vstimecmp = value;
    bool level = arch_irq_level(v, VPLIC_STI);
    // The hardware, not what was taken over last: the call before this one may have raised it, without an exit.
    if (level || (csr_read(CSR_HVIP) & BIT(IRQ_VSTI))) {
        v->vm->irqchip_ops->set_ppi(v, VPLIC_STI, level);
        if (!level) // at once: the call may go straight back into the guest
            csr_clear(CSR_HVIP, BIT(IRQ_VSTI));
        else
            csr_set(CSR_HVIP, BIT(IRQ_VSTI));
    }
    timer_arm(&v->arch.timers->virt, level ? TIMER_NEVER : deadline_ns(v, value));
}

void timers_reset(struct vcpu *v) {
    struct riscv64_timers *t = v->arch.timers;
    if (!t->v) {
        t->v = v;
        timer_init(&t->virt, fired);
    }
    timer_cancel(&t->virt);
    v->arch.vstimecmp = ~0ull;
}

void timers_halt(struct vcpu *v) {
    if (features.sstc)
        timer_arm(&v->arch.timers->virt, deadline_ns(v, csr_read(CSR_VSTIMECMP)));
}

void timers_load(struct vcpu *v) {
    csr_write(CSR_HTIMEDELTA, v->vm->arch.htimedelta);
    if (!features.sstc)
        return;
    timer_cancel(&v->arch.timers->virt);
    csr_write(CSR_VSTIMECMP, v->arch.vstimecmp);
}

void timers_save(struct vcpu *v) {
    if (!features.sstc)
        return;
    v->arch.vstimecmp = csr_read(CSR_VSTIMECMP);
    csr_write(CSR_VSTIMECMP, ~0ull);
    timer_arm(&v->arch.timers->virt, deadline_ns(v, v->arch.vstimecmp));
}
