// SPDX-License-Identifier: Apache-2.0
// Tasks: how one is made, ended and moved. Who runs when is in sched.c.
#include "task.h"

#include <string.h>

#include "arch.h"
#include "cpu.h"
#include "waitq.h"

static void task_entry(void *arg) {
    struct task *t = arg;
    sched_finish();
    t->fn(t->arg);
    task_exit();
}

int task_init(struct task *t, const char *name, void (*fn)(void *), void *arg, u32 priority, struct cpu *home) {
    BUG_ON(priority >= TASK_PRIORITIES);
    memset(t, 0, sizeof(*t));
    t->stack = stack_alloc();
    if (!t->stack)
        return -ENOMEM;
    atomic_init(&t->cpu, home);
    t->state = TASK_BLOCKED;
    t->priority = priority;
    t->affinity = ~0ull;
    t->fn = fn;
    t->arg = arg;
    list_init(&t->run_node);
    list_init(&t->wait_node);
    size_t len = strnlen(name, TASK_NAME_MAX - 1);
    memcpy(t->name, name, len);
    arch_ctx_init(&t->ctx, (char *)t->stack + TASK_STACK_SIZE, task_entry, t);
    return 0;
}

void task_fini(struct task *t) {
    if (!t->stack)
        return;
    BUG_ON(t->state != TASK_DEAD && t->state != TASK_BLOCKED);
    BUG_ON(atomic_load_explicit(&t->on_cpu, memory_order_acquire));
    BUG_ON(!list_empty(&t->run_node) || !list_empty(&t->wait_node));
    stack_free(t->stack);
    t->stack = NULL;
}

bool task_is_gone(struct task *t) {
    struct cpu *home = atomic_load_explicit(&t->cpu, memory_order_relaxed); // a dead task does not move
    spin_lock(&home->rq_lock);
    bool dead = t->state == TASK_DEAD;
    spin_unlock(&home->rq_lock);
    // Acquire: pairs with the release in sched_finish; its stack and registers are no longer touched.
    return dead && !atomic_load_explicit(&t->on_cpu, memory_order_acquire);
}

u64 task_cpu_time_ns(const struct task *t) {
    u64 total = atomic_load_explicit(&t->cpu_time_ns, memory_order_relaxed);
    u64 since = atomic_load_explicit(&t->switched_in_ns, memory_order_relaxed);
    u64 now = arch_now_ns();
    return since && now > since ? total + (now - since) : total;
}

void task_set_home(struct task *t, struct cpu *home) {
    BUG_ON(t == task_self());
    BUG_ON(!(t->affinity & BIT(home->id)));
    for (;;) {
        struct cpu *old = atomic_load_explicit(&t->cpu, memory_order_relaxed); // its callers are serialised
        if (old == home)
            return;
        spin_lock(&old->rq_lock);
        // A kick may have woken it for nothing. If it waits for its turn it is taken along; if it runs, or its
        // registers are still being saved, the other CPU is a few instructions away from being done.
        bool saved = !atomic_load_explicit(&t->on_cpu, memory_order_acquire); // pairs with sched_finish
        bool woken = saved && t->state == TASK_READY;
        if (woken) {
            sched_unqueue_locked(old, t);
            t->state = TASK_BLOCKED;
        }
        if (saved)
            atomic_store_explicit(&t->cpu, home, memory_order_relaxed); // task_wake re-reads it under this lock
        spin_unlock(&old->rq_lock);
        if (woken)
            task_wake(t);
        if (saved)
            return;
        arch_cpu_relax();
    }
}

enum { BREATH_NS = 2 * 1000 * 1000 }; // of work, before a rest

void task_breathe(void) {
    u64 now = arch_now_ns(), worked = now - atomic_load_explicit(&task_self()->switched_in_ns, memory_order_relaxed);
    if (worked < BREATH_NS || !sched_cpu_contended(cpu_self())) {
        sched_yield();
        return;
    }
    struct waitq rest;
    bool timed_out;
    waitq_init(&rest);
    waitq_wait_until(&rest, false, now + MIN(worked, (u64)TASK_SLICE_NS), timed_out);
    (void)timed_out;
}

struct task *task_self(void) {
    return atomic_load_explicit(&cpu_self()->current, memory_order_relaxed);
}
