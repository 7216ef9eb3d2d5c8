// SPDX-License-Identifier: Apache-2.0
// One-shot timers. Each CPU has a list sorted by deadline, served by the architecture's one-shot hardware timer.
#pragma once

#include "list.h"
#include "lock.h"
#include "types.h"

struct cpu;

struct timer {
    struct list node;        // in cpu's list while armed
    struct cpu *_Atomic cpu; // on which it is armed, or was last; changes under that CPU's timer lock
    u64 deadline_ns;
    void (*fn)(struct timer *t); // called on that CPU, no lock held, host-interrupt context: must not block
    bool armed;
};

#define TIMER_NEVER (~0ull)

void timer_init(struct timer *t, void (*fn)(struct timer *t));
// Arms (or re-arms) on the calling CPU; TIMER_NEVER cancels. One caller at a time for a timer: its owner serialises. A
// deadline in the past fires at the next interrupt poll. Context: any.
void timer_arm(struct timer *t, u64 deadline_ns);
// After return fn is not pending; it may still be running on another CPU. Context: any.
void timer_cancel(struct timer *t);
// After return fn is neither pending nor running anywhere, so the timer's memory may go. Context: task, no lock held
// that fn takes; not from a timer's fn.
void timer_cancel_sync(struct timer *t);
// Runs what is due on this CPU and programs the hardware for the next one. Called by the arch's interrupt poll.
void timer_expire(void);
void timer_init_cpu(struct cpu *cpu);
