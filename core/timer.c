// SPDX-License-Identifier: Apache-2.0
// One-shot timers: a list a CPU, sorted by deadline. The lists are short (a few timers a vCPU that lives there).
#include "timer.h"

#include "arch.h"
#include "cpu.h"

void timer_init_cpu(struct cpu *cpu) {
    spin_init(&cpu->timer_lock, LOCK_TIMER);
    list_init(&cpu->timers);
    cpu->armed_ns = TIMER_NEVER;
    atomic_init(&cpu->timer_running, NULL);
}

void timer_init(struct timer *t, void (*fn)(struct timer *t)) {
    list_init(&t->node);
    atomic_init(&t->cpu, cpu_self());
    t->deadline_ns = TIMER_NEVER;
    t->fn = fn;
    t->armed = false;
}

// Takes the lock of the CPU on which t is armed, or was last.
static struct cpu *lock_cpu_of(struct timer *t) {
    for (;;) {
        struct cpu *c = atomic_load_explicit(&t->cpu, memory_order_relaxed);
        spin_lock(&c->timer_lock);
        if (c == atomic_load_explicit(&t->cpu, memory_order_relaxed))
            return c;
        spin_unlock(&c->timer_lock);
    }
}

static void disarm_locked(struct timer *t) {
    if (t->armed)
        list_remove(&t->node);
    t->armed = false;
}

// Timers of one deadline fire in the order in which they were armed.
static void insert_locked(struct cpu *c, struct timer *t) {
    struct list *at = c->timers.prev;
    while (at != &c->timers && list_entry(at, struct timer, node)->deadline_ns > t->deadline_ns)
        at = at->prev;
    list_add_before(at->next, &t->node);
    t->armed = true;
}

// Own CPU only. A cancelled timer leaves the hardware as it is: one interrupt too many is cheaper than programming it
// on every cancel.
static void program(struct cpu *c, u64 deadline_ns) {
    c->armed_ns = deadline_ns;
    arch_timer_arm(deadline_ns);
}

void timer_arm(struct timer *t, u64 deadline_ns) {
    if (deadline_ns == TIMER_NEVER) {
        timer_cancel(t);
        return;
    }
    struct cpu *self = cpu_self();
    struct cpu *c;
    while ((c = lock_cpu_of(t)) != self) {
        disarm_locked(t);
        atomic_store_explicit(&t->cpu, self, memory_order_relaxed); // lock_cpu_of re-reads it under the lock
        spin_unlock(&c->timer_lock);
    }
    disarm_locked(t);
    t->deadline_ns = deadline_ns;
    insert_locked(self, t);
    bool first = self->timers.next == &t->node;
    spin_unlock(&self->timer_lock);
    if (first && deadline_ns < self->armed_ns)
        program(self, deadline_ns);
}

void timer_cancel(struct timer *t) {
    struct cpu *c = lock_cpu_of(t);
    disarm_locked(t);
    spin_unlock(&c->timer_lock);
}

void timer_cancel_sync(struct timer *t) {
    for (;;) {
        struct cpu *c = lock_cpu_of(t);
        disarm_locked(t); // again each time round: fn may have armed it
        // Acquire: pairs with the release in timer_expire; what fn did to the timer's surroundings is done.
        bool running = atomic_load_explicit(&c->timer_running, memory_order_acquire) == t;
        spin_unlock(&c->timer_lock);
        if (!running)
            return;
        arch_cpu_relax();
    }
}

static void run_locked(struct cpu *c, struct timer *t) {
    disarm_locked(t);
    atomic_store_explicit(&c->timer_running, t, memory_order_relaxed);
    spin_unlock(&c->timer_lock);
    t->fn(t); // t may be gone afterwards
    spin_lock(&c->timer_lock);
    atomic_store_explicit(&c->timer_running, NULL, memory_order_release);
}

void timer_expire(void) {
    struct cpu *c = cpu_self();
    u64 now = arch_now_ns();
    struct list due; // apart from the list, so that a function that arms its timer in the past does not keep us here
    list_init(&due);
    spin_lock(&c->timer_lock);
    bool none_due = true;
    while (!list_empty(&c->timers) && list_entry(c->timers.next, struct timer, node)->deadline_ns <= now) {
        none_due = false;
        struct list *node = c->timers.next;
        list_remove(node);
        list_push_back(&due, node); // still armed: a cancel takes it out of whichever list it is in
    }
    while (!list_empty(&due))
        run_locked(c, list_entry(due.next, struct timer, node));
    u64 next = list_empty(&c->timers) ? TIMER_NEVER : list_entry(c->timers.next, struct timer, node)->deadline_ns;
    spin_unlock(&c->timer_lock);
    // Unchanged and not fired yet, it will still come. But an interrupt that came for nothing may stay up until the
    // next deadline is written: some comparators are latches that can be set by a deadline just replaced (QEMU's
    // stimecmp is), and no guest would get on here as long as it is up.
    if (next != c->armed_ns || next <= now || none_due)
        program(c, next);
}
