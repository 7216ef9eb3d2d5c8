// SPDX-License-Identifier: Apache-2.0
// The local APIC's timer (Intel SDM 3, 11.5.4). It counts nanoseconds over the divider, on a soft timer; a TSC deadline
// is turned into one. The timer's function runs in the interrupt poll of the CPU on which the vCPU armed it, which is
// where the vCPU's task lives: never at the same time as the task.
#include "arch.h"
#include "vlapic_internal.h"

// A guest that asks for more ticks than it can take gets no more than these, and its neighbours their time.
static const u64 PERIOD_MIN_NS = 20 * 1000;
// And one that does not take them, because it sleeps or has to wait for others, costs these less still.
static const u64 UNTAKEN_MIN_NS = 1000 * 1000;
static const u64 AHEAD_MAX_TICKS = BIT(50); // further away, and the conversion might overflow: looked at again then

static u32 mode(const struct vlapic *l) {
    return l->lvt[LVT_TIMER] & LVT_TIMER_MODE;
}

static u32 divide_shift(u32 divider) {
    return ((divider & 3) | (divider >> 1 & 4)) + 1 & 7; // 0: by 2, …, 7: by 1
}

static u64 period_ns(const struct vlapic *l) {
    return (u64)l->initial_count << divide_shift(l->divider);
}

// True: the interrupt is a new one; the one before was taken.
static bool expire(struct vlapic *l) {
    const u32 lvt = l->lvt[LVT_TIMER];
    const bool told = !(lvt & LVT_MASKED) && vlapic_post(l, lvt & 0xff, false);
    if (told)
        vcpu_kick(l->vcpu);
    return told && (lvt & 0xff) >= VECTOR_MIN;
}

static u64 guest_tsc(const struct vlapic *l) {
    return arch_ticks() + l->tsc_offset;
}

// What is due at `now` needs no timer, and no kick: then it is the vCPU's own doing.
static void deadline_arm(struct vlapic *l, u64 now) {
    if (l->tsc_deadline == 0) {
        timer_cancel(&l->timer);
    } else if (l->tsc_deadline <= now) {
        timer_cancel(&l->timer);
        l->tsc_deadline = 0;
        if (!(l->lvt[LVT_TIMER] & LVT_MASKED))
            vlapic_post_self(l, l->lvt[LVT_TIMER] & 0xff);
    } else {
        timer_arm(&l->timer, arch_now_ns() + arch_ticks_to_ns(MIN(l->tsc_deadline - now, AHEAD_MAX_TICKS)) + 1);
    }
}

static void fired(struct timer *timer) {
    struct vlapic *l = container_of(timer, struct vlapic, timer);
    if (mode(l) == LVT_DEADLINE) {
        const u64 now = guest_tsc(l);
        if (l->tsc_deadline > now) { // a rounding, or it was too far away
            deadline_arm(l, now);    // not of a later time, at which it might be due: nobody would tell the vCPU
            return;
        }
        l->tsc_deadline = 0;
        (void)expire(l);
    } else if (mode(l) == LVT_PERIODIC) {
        // Ticks that were missed are one.
        const u64 period = MAX(period_ns(l), 1), now = arch_now_ns();
        l->end_ns += ((MAX(now, l->end_ns) - l->end_ns) / period + 1) * period;
        const u64 least = expire(l) ? PERIOD_MIN_NS : UNTAKEN_MIN_NS;
        timer_arm(&l->timer, MAX(l->end_ns, now + least));
    } else {
        l->end_ns = 0;
        (void)expire(l);
    }
}

void vlapic_timer_init(struct vlapic *l) {
    timer_init(&l->timer, fired);
}

void vlapic_timer_stop(struct vlapic *l) {
    timer_cancel(&l->timer);
    l->end_ns = 0;
    l->tsc_deadline = 0;
}

void vlapic_timer_count_write(struct vlapic *l, u32 count) {
    if (mode(l) == LVT_DEADLINE)
        return;
    l->initial_count = count;
    l->end_ns = count ? arch_now_ns() + period_ns(l) : 0;
    timer_arm(&l->timer, count ? l->end_ns : TIMER_NEVER);
}

u32 vlapic_timer_count(const struct vlapic *l) {
    const u64 now = arch_now_ns();
    if (mode(l) == LVT_DEADLINE || l->end_ns == 0)
        return 0;
    u64 left = l->end_ns > now ? l->end_ns - now : 0;
    if (mode(l) == LVT_PERIODIC && left == 0) // it goes on while its interrupt is on its way
        left = period_ns(l) - (now - l->end_ns) % MAX(period_ns(l), 1);
    return (u32)(left >> divide_shift(l->divider));
}

void vlapic_timer_divide_write(struct vlapic *l, u32 value) {
    const u64 left = vlapic_timer_count(l);
    l->divider = value & 0xb;
    if (l->end_ns == 0)
        return;
    l->end_ns = arch_now_ns() + (left << divide_shift(l->divider));
    timer_arm(&l->timer, l->end_ns);
}

static bool is_due(const struct vlapic *l) {
    if (mode(l) == LVT_DEADLINE)
        return l->tsc_deadline && l->tsc_deadline <= guest_tsc(l);
    return l->end_ns && l->end_ns <= arch_now_ns();
}

// What has come due did so under the settings of that time, also if our own timer is late. A change to or from the
// deadline mode disarms.
void vlapic_timer_mode_changes(struct vlapic *l, u32 lvt) {
    if (is_due(l)) {
        timer_cancel(&l->timer);
        fired(&l->timer);
        vlapic_look(l); // we may be in arch_vcpu_run, and nobody kicks himself
    }
    if (((l->lvt[LVT_TIMER] ^ lvt) & LVT_TIMER_MODE) &&
        (mode(l) == LVT_DEADLINE || (lvt & LVT_TIMER_MODE) == LVT_DEADLINE)) {
        vlapic_timer_stop(l);
        l->initial_count = 0;
    }
}

void vlapic_timer_deadline_write(struct vlapic *l, u64 deadline) {
    if (mode(l) != LVT_DEADLINE)
        return;
    l->tsc_deadline = deadline;
    deadline_arm(l, guest_tsc(l));
}

void vlapic_set_tsc_offset(struct vcpu *v, u64 offset) {
    struct vlapic *l = vlapic_of(v);
    l->tsc_offset = offset;
    if (l->tsc_deadline)
        deadline_arm(l, guest_tsc(l));
}
