// SPDX-License-Identifier: Apache-2.0
// Wait queues. A wait takes a condition that is re-checked under the queue's lock, and a waker changes the condition's
// inputs *before* it calls waitq_wake: a wake-up cannot be lost.
#pragma once

#include "list.h"
#include "lock.h"
#include "task.h"

struct waitq {
    struct spinlock lock;
    struct list waiters;
};

void waitq_init(struct waitq *wq);

// Sleeps until `cond` holds. `cond` is evaluated with wq->lock held (so it may not take a lock of a lower rank);
// spurious wake-ups are absorbed. Context: task.
#define waitq_wait(wq, cond)                                                                                           \
    do {                                                                                                               \
        spin_lock(&(wq)->lock);                                                                                        \
        while (!(cond))                                                                                                \
            waitq_sleep_locked(wq);                                                                                    \
        spin_unlock(&(wq)->lock);                                                                                      \
    } while (0)

// The same with a deadline (arch_now_ns() scale); `timed_out` is set to whether the deadline passed with cond false.
#define waitq_wait_until(wq, cond, deadline_ns, timed_out)                                                             \
    do {                                                                                                               \
        u64 wait_deadline_ = (deadline_ns); /* evaluated once */                                                       \
        spin_lock(&(wq)->lock);                                                                                        \
        (timed_out) = false;                                                                                           \
        while (!(cond) && !((timed_out) = !waitq_sleep_until_locked(wq, wait_deadline_)))                              \
            ;                                                                                                          \
        spin_unlock(&(wq)->lock);                                                                                      \
    } while (0)

// Queues the caller, drops the lock, blocks, takes the lock again.
void waitq_sleep_locked(struct waitq *wq);
// Returns false once the deadline has passed.
bool waitq_sleep_until_locked(struct waitq *wq, u64 deadline_ns);
// Wakes all waiters. Context: any (may hold locks of a rank below LOCK_WAITQ).
void waitq_wake(struct waitq *wq);
