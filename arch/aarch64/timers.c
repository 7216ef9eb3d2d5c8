// SPDX-License-Identifier: Apache-2.0
// The guest's generic timers (DDI 0487 D12). The virtual timer is the hardware's while the vCPU is loaded; a soft timer
// stands in for it otherwise. The physical timer is emulated: its hardware would fire on the guest's own, un-offset
// count, and CNTPOFF is rare.
#include "aarch64.h"
#include "vm.h"

u32 counter_hz;
static u32 ns_mult;    // ns = ticks * ns_mult >> 24
static u32 ticks_mult; // ticks = ns * ticks_mult >> 24, for differences up to a few hundred seconds

static struct arch_vm *arch_vm_of(struct vcpu *v) {
    return &v->vm->arch;
}

void timers_init(void) {
    counter_hz = (u32)sysreg_read(cntfrq_el0);
    if (counter_hz == 0)
        counter_hz = 62500000;
    ns_mult = (u32)((1000000000ull << 24) / counter_hz);
    ticks_mult = (u32)(((u64)counter_hz << 24) / 1000000000ull);
}

// The product of a 64-bit and a 32-bit number, shifted right by 24, without 128-bit arithmetic.
static u64 mul_shift(u64 v, u32 mult) {
    return (((v >> 32) * mult) << 8) + (((v & 0xffffffff) * mult) >> 24);
}

u64 arch_ticks_to_ns(u64 ticks) {
    return mul_shift(ticks, ns_mult);
}

u64 arch_now_ns(void) {
    return arch_ticks_to_ns(arch_ticks());
}

void arch_timer_arm(u64 deadline_ns) {
    if (deadline_ns == TIMER_NEVER) {
        sysreg_write(cnthp_ctl_el2, TIMER_IMASK);
        return;
    }
    u64 now = arch_now_ns();
    u64 ticks = deadline_ns > now ? mul_shift(deadline_ns - now, ticks_mult) + 1 : 0;
    sysreg_write(cnthp_cval_el2, arch_ticks() + ticks);
    sysreg_write(cnthp_ctl_el2, TIMER_ENABLE);
    isb();
}

// When the physical counter reaches a value, on the arch_now_ns() scale; rounded up, so that the level is high by then.
u64 ticks_deadline_ns(u64 cntpct) {
    u64 now = arch_ticks();
    if (cntpct <= now)
        return 0;
    u64 ahead = cntpct - now;
    if (ahead > (u64)counter_hz * 86400 * 365)
        return TIMER_NEVER - 1;
    return arch_ticks_to_ns(cntpct) + arch_ticks_to_ns(1) + 1;
}

static bool timer_level(u64 ctl, u64 cval, u64 count) {
    return (ctl & (TIMER_ENABLE | TIMER_IMASK)) == TIMER_ENABLE && count >= cval;
}

bool arch_irq_level(struct vcpu *v, u32 ppi) {
    struct aarch64_timers *t = v->arch.timers;
    if (ppi == PPI_PTIMER)
        return timer_level(t->cntp_ctl, t->cntp_cval, arch_ticks());
    if (ppi != PPI_VTIMER)
        return false;
    if (cpu_self()->loaded != v)
        return timer_level(v->arch.cntv_ctl, v->arch.cntv_cval, arch_ticks() - arch_vm_of(v)->cntvoff);
    u64 ctl = sysreg_read(cntv_ctl_el0);
    bool level = (ctl & (TIMER_ENABLE | TIMER_IMASK | TIMER_ISTATUS)) == (TIMER_ENABLE | TIMER_ISTATUS);
    // The guest took the line down without taking the interrupt: let the physical one fire again.
    if (!level)
        gic_deactivate(intid_virt_timer);
    return level;
}

static void virt_fired(struct timer *timer) {
    struct aarch64_timers *t = container_of(timer, struct aarch64_timers, virt);
    t->v->vm->irqchip_ops->set_ppi(t->v, PPI_VTIMER, true);
}

static void phys_update(struct aarch64_timers *t) {
    bool level = timer_level(t->cntp_ctl, t->cntp_cval, arch_ticks());
    t->v->vm->irqchip_ops->set_ppi(t->v, PPI_PTIMER, level);
    if (!level && (t->cntp_ctl & (TIMER_ENABLE | TIMER_IMASK)) == TIMER_ENABLE)
        timer_arm(&t->phys, ticks_deadline_ns(t->cntp_cval));
    else
        timer_cancel(&t->phys);
}

static void phys_fired(struct timer *timer) {
    phys_update(container_of(timer, struct aarch64_timers, phys));
}

void timers_reset(struct vcpu *v) {
    struct aarch64_timers *t = v->arch.timers;
    if (!t->v) {
        t->v = v;
        timer_init(&t->virt, virt_fired);
        timer_init(&t->phys, phys_fired);
    }
    timer_cancel(&t->virt);
    timer_cancel(&t->phys);
    t->cntp_ctl = t->cntp_cval = 0;
    v->arch.cntv_ctl = v->arch.cntv_cval = 0;
    if (v->irqchip) // the emulated timer's line; the other one is looked at before it goes in
        v->vm->irqchip_ops->set_ppi(v, PPI_PTIMER, false);
}

// The vCPU does not run, and its timers do not from now on.
void timers_stop(struct vcpu *v) {
    timer_cancel_sync(&v->arch.timers->virt);
    timer_cancel_sync(&v->arch.timers->phys);
}

void timers_load(struct vcpu *v) {
    timer_cancel(&v->arch.timers->virt);
    sysreg_write(cntvoff_el2, arch_vm_of(v)->cntvoff);
    sysreg_write(cntv_cval_el0, v->arch.cntv_cval);
    isb();
    sysreg_write(cntv_ctl_el0, v->arch.cntv_ctl);
}

void timers_save(struct vcpu *v) {
    u64 ctl = sysreg_read(cntv_ctl_el0);
    v->arch.cntv_ctl = ctl & (TIMER_ENABLE | TIMER_IMASK);
    v->arch.cntv_cval = sysreg_read(cntv_cval_el0);
    sysreg_write(cntv_ctl_el0, 0);
    isb();
    u64 cntpct;
    if (__builtin_add_overflow(v->arch.cntv_cval, arch_vm_of(v)->cntvoff, &cntpct))
        cntpct = ~0ull; // at the end of time, not in the past
    if ((ctl & (TIMER_ENABLE | TIMER_IMASK)) == TIMER_ENABLE)
        timer_arm(&v->arch.timers->virt, ticks_deadline_ns(cntpct));
}

bool timer_sysreg(struct vcpu *v, u32 sysreg, bool write, u64 *value) {
    struct aarch64_timers *t = v->arch.timers;
    u64 now = arch_ticks();
    switch (sysreg) {
    case SYSREG(3, 3, 14, 2, 0): // CNTP_TVAL_EL0: a signed 32-bit distance
        if (write)
            t->cntp_cval = now + (u64)(s64)(s32)*value;
        else
            *value = (t->cntp_cval - now) & 0xffffffff;
        break;
    case SYSREG(3, 3, 14, 2, 1): // CNTP_CTL_EL0
        if (write)
            t->cntp_ctl = *value & (TIMER_ENABLE | TIMER_IMASK);
        else
            *value = t->cntp_ctl | ((t->cntp_ctl & TIMER_ENABLE) && now >= t->cntp_cval ? TIMER_ISTATUS : 0);
        break;
    case SYSREG(3, 3, 14, 2, 2): // CNTP_CVAL_EL0
        if (write)
            t->cntp_cval = *value;
        else
            *value = t->cntp_cval;
        break;
    default:
        return false;
    }
    if (write)
        phys_update(t);
    return true;
}
