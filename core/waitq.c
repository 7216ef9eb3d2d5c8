// SPDX-License-Identifier: Apache-2.0
// Wait queues. Why a wake-up cannot be lost: the sleeper queues itself and marks itself blocked while it holds the
// queue's lock under which it found its condition false. A waker changes the condition first and takes the lock
// afterwards, so it either comes before the look at the condition, or finds the sleeper in the queue.
#include "waitq.h"

#include "arch.h"
#include "cpu.h"
#include "timer.h"

void waitq_init(struct waitq *wq) {
    spin_init(&wq->lock, LOCK_WAITQ);
    list_init(&wq->waiters);
}

void waitq_sleep_locked(struct waitq *wq) {
    struct task *self = task_self();
    list_push_back(&wq->waiters, &self->wait_node);
    sched_prepare_block();
    spin_unlock(&wq->lock);
    sched_block();
    spin_lock(&wq->lock);
    if (!list_empty(&self->wait_node)) // woken by something else than the queue: a timer
        list_remove(&self->wait_node);
}

struct alarm {
    struct timer timer;
    struct task *sleeper;
};

static void alarm_rings(struct timer *t) {
    task_wake(container_of(t, struct alarm, timer)->sleeper);
}

bool waitq_sleep_until_locked(struct waitq *wq, u64 deadline_ns) {
    if (arch_now_ns() >= deadline_ns)
        return false;
    struct alarm alarm = {.sleeper = task_self()};
    timer_init(&alarm.timer, alarm_rings);
    timer_arm(&alarm.timer, deadline_ns);
    waitq_sleep_locked(wq);
    // Armed here, and a task with an alarm is not moved: its function runs on this CPU only, so it is not running now.
    timer_cancel(&alarm.timer);
    return true;
}

void waitq_wake(struct waitq *wq) {
    spin_lock(&wq->lock);
    while (!list_empty(&wq->waiters)) {
        struct task *t = list_entry(wq->waiters.next, struct task, wait_node);
        list_remove(&t->wait_node);
        task_wake(t);
    }
    spin_unlock(&wq->lock);
}
