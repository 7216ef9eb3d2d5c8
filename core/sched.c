// SPDX-License-Identifier: Apache-2.0
// The scheduler: fixed priority, round robin among equals, one run queue a CPU.
//
// Only its home CPU switches to a task, so everything but waking happens on one CPU. What another CPU may do is: put a
// task into the queue under rq_lock, set need_resched, and kick. The CPU itself then compares, switches, and keeps its
// slice timer.
#include "arch.h"
#include "cpu.h"
#include "task.h"
#include "timer.h"

static u32 ready_mask(const struct cpu *c) {
    return atomic_load_explicit(&c->ready_mask, memory_order_relaxed);
}

static struct task *current_of(const struct cpu *c) {
    return atomic_load_explicit(&c->current, memory_order_relaxed);
}

// ── The queue, under rq_lock ────────────────────────────────────────────────────────────────────────────────────────
static void queue_locked(struct cpu *c, struct task *t, bool front) {
    if (front)
        list_push_front(&c->ready[t->priority], &t->run_node);
    else
        list_push_back(&c->ready[t->priority], &t->run_node);
    atomic_store_explicit(&c->ready_mask, ready_mask(c) | (u32)BIT(t->priority), memory_order_relaxed);
    t->state = TASK_READY;
}

void sched_unqueue_locked(struct cpu *c, struct task *t) {
    list_remove(&t->run_node);
    if (list_empty(&c->ready[t->priority]))
        atomic_store_explicit(&c->ready_mask, ready_mask(c) & ~(u32)BIT(t->priority), memory_order_relaxed);
}

static struct task *pick_locked(struct cpu *c) {
    u32 mask = ready_mask(c);
    if (!mask)
        return &c->idle;
    u32 top = 31 - (u32)__builtin_clz(mask);
    struct task *t = list_entry(c->ready[top].next, struct task, run_node);
    sched_unqueue_locked(c, t);
    return t;
}

static bool higher_ready(const struct cpu *c, const struct task *cur) {
    return cur == &c->idle ? ready_mask(c) != 0 : ready_mask(c) >> cur->priority > 1;
}

static bool equal_ready(const struct cpu *c, const struct task *cur) {
    return cur != &c->idle && (ready_mask(c) & BIT(cur->priority));
}

// ── The slice: own CPU only, no lock held ───────────────────────────────────────────────────────────────────────────
static void slice_expired(struct timer *t) {
    struct cpu *c = container_of(t, struct cpu, slice);
    c->slice_end_ns = 0;
    c->slice_over = true;
    atomic_store_explicit(&c->need_resched, true, memory_order_relaxed);
}

// A task alone at its priority takes no tick; with company it has what a preemption left it of its slice.
static void slice_update(struct cpu *c) {
    struct task *cur = current_of(c);
    bool wanted = equal_ready(c, cur) && !c->slice_over;
    if (wanted == (c->slice_end_ns != 0))
        return;
    if (wanted) {
        c->slice_end_ns = arch_now_ns() + (cur->slice_left_ns ? cur->slice_left_ns : TASK_SLICE_NS);
        timer_arm(&c->slice, c->slice_end_ns);
    } else {
        c->slice_end_ns = 0;
        timer_cancel(&c->slice);
    }
}

// ── Switching ───────────────────────────────────────────────────────────────────────────────────────────────────────
static void account(struct cpu *c, struct task *prev, struct task *next) {
    u64 now = arch_now_ns();
    u64 ran = now - atomic_load_explicit(&prev->switched_in_ns, memory_order_relaxed);
    u64 total = atomic_load_explicit(&prev->cpu_time_ns, memory_order_relaxed) + ran; // one writer: this CPU
    atomic_store_explicit(&prev->switched_in_ns, 0, memory_order_relaxed);
    atomic_store_explicit(&prev->cpu_time_ns, total, memory_order_relaxed);
    if (prev == &c->idle)
        atomic_store_explicit(&c->idle_ns, total, memory_order_relaxed);
    atomic_store_explicit(&next->switched_in_ns, now ? now : 1, memory_order_relaxed);
    atomic_store_explicit(&c->switches, atomic_load_explicit(&c->switches, memory_order_relaxed) + 1,
                          memory_order_relaxed);
    // Only a preempted task keeps the rest of its slice; one that blocked or was through starts afresh.
    bool rest = prev->state == TASK_READY && !c->slice_over && c->slice_end_ns > now;
    prev->slice_left_ns = rest ? c->slice_end_ns - now : 0;
}

// rq_lock held, the present task's state already says what becomes of it. Drops the lock. Returns when the caller is
// picked again, which may be on another CPU.
static void switch_unlock(struct cpu *c) {
    struct task *prev = current_of(c);
    struct task *next = pick_locked(c);
    if (next == prev) { // woken before it was gone
        prev->state = TASK_RUNNING;
        c->slice_over = false;
        spin_unlock(&c->rq_lock);
        slice_update(c);
        return;
    }
    account(c, prev, next);
    c->slice_over = false;
    next->state = TASK_RUNNING;
    atomic_store_explicit(&next->on_cpu, true, memory_order_relaxed); // seen by whoever takes rq_lock
    c->previous = prev;
    atomic_store_explicit(&c->current, next, memory_order_relaxed);
    spin_unlock(&c->rq_lock);
    if (c->slice_end_ns) { // it was prev's
        c->slice_end_ns = 0;
        timer_cancel(&c->slice);
    }
    slice_update(c);
    // Partner of the fence in vcpu_kick(): the kicker writes irq_work and reads `current`, we wrote `current` and will
    // read irq_work. With both fences at least one of the two sees the other's write.
    atomic_thread_fence(memory_order_seq_cst);
    arch_ctx_switch(&prev->ctx, &next->ctx);
    sched_finish();
}

// Not inlined: cpu_self() must be asked on the new side of the switch.
[[gnu::noinline]] void sched_finish(void) {
    struct cpu *c = cpu_self(); // the caller may have been moved while it was parked
    struct task *prev = c->previous;
    c->previous = NULL;
    // Release: pairs with the acquire loads in task_set_home and task_is_gone; prev's registers and stack are at rest.
    atomic_store_explicit(&prev->on_cpu, false, memory_order_release);
}

static void look_at_queue(bool yield) {
    struct cpu *c = cpu_self();
    spin_lock(&c->rq_lock);
    atomic_store_explicit(&c->need_resched, false, memory_order_relaxed); // set under the lock, or on this CPU
    struct task *cur = current_of(c);
    if (yield || (c->slice_end_ns && c->slice_end_ns <= arch_now_ns()))
        c->slice_over = true;
    if (higher_ready(c, cur) || (c->slice_over && equal_ready(c, cur))) {
        if (cur != &c->idle)
            queue_locked(c, cur, !c->slice_over); // whom a higher one interrupts goes on first among its equals
        switch_unlock(c);
        return;
    }
    c->slice_over = false;
    spin_unlock(&c->rq_lock);
    slice_update(c);
}

void sched_yield(void) {
    arch_irq_poll();
    look_at_queue(true);
}

void sched_resched(void) {
    if (atomic_load_explicit(&cpu_self()->need_resched, memory_order_relaxed))
        look_at_queue(false);
}

bool sched_cpu_contended(const struct cpu *cpu) {
    return ready_mask(cpu) != 0;
}

// ── Blocking and waking ─────────────────────────────────────────────────────────────────────────────────────────────
void sched_prepare_block(void) {
    struct cpu *c = cpu_self();
    struct task *self = current_of(c);
    BUG_ON(self == &c->idle);
    spin_lock(&c->rq_lock);
    self->state = TASK_BLOCKED;
    spin_unlock(&c->rq_lock);
}

void sched_block(void) {
    struct cpu *c = cpu_self();
    spin_lock(&c->rq_lock);
    atomic_store_explicit(&c->need_resched, false, memory_order_relaxed);
    switch_unlock(c); // a wake-up since sched_prepare_block has put the caller into the queue: then it can be picked
}

void task_exit(void) {
    struct cpu *c = cpu_self();
    spin_lock(&c->rq_lock);
    current_of(c)->state = TASK_DEAD;
    switch_unlock(c);
    panic("a dead task runs");
}

// The home of t, its rq_lock held.
static struct cpu *lock_home(struct task *t) {
    for (;;) {
        struct cpu *home = atomic_load_explicit(&t->cpu, memory_order_relaxed);
        spin_lock(&home->rq_lock);
        if (home == atomic_load_explicit(&t->cpu, memory_order_relaxed))
            return home;
        spin_unlock(&home->rq_lock); // moved in between
    }
}

// True: its CPU must look at its queue.
static bool enqueue_locked(struct cpu *home, struct task *t) {
    struct task *cur = current_of(home);
    // The first to wait matters whatever its priority: the running vCPU's wait for an interrupt may not be trapped, and
    // must be from now on.
    bool look = cur != t && (cur == &home->idle || t->priority >= cur->priority || !ready_mask(home));
    queue_locked(home, t, false);
    if (look)
        atomic_store_explicit(&home->need_resched, true, memory_order_relaxed);
    return look;
}

static void unlock_and_look(struct cpu *home, bool look) {
    spin_unlock(&home->rq_lock);
    if (look && home != cpu_self()) {
        atomic_fetch_add_explicit(&home->kicks, 1, memory_order_relaxed);
        arch_cpu_kick(home); // orders the enqueue before the kick
    }
}

void task_wake(struct task *t) {
    struct cpu *home = lock_home(t);
    unlock_and_look(home, t->state == TASK_BLOCKED && enqueue_locked(home, t));
}

void task_set_priority(struct task *t, u32 priority) {
    struct cpu *home = lock_home(t);
    bool ready = t->state == TASK_READY && priority != t->priority;
    if (ready)
        sched_unqueue_locked(home, t);
    t->priority = priority;
    unlock_and_look(home, ready && enqueue_locked(home, t));
}

// ── A CPU's set-up and its idle loop ────────────────────────────────────────────────────────────────────────────────
void sched_init_cpu(struct cpu *cpu) {
    struct task *idle = &cpu->idle;
    *idle = (struct task){.state = TASK_RUNNING, .affinity = BIT(cpu->id), .name = "idle"};
    atomic_init(&idle->cpu, cpu);
    atomic_init(&idle->on_cpu, true);
    u64 now = arch_now_ns();
    atomic_init(&idle->switched_in_ns, now ? now : 1);
    list_init(&idle->run_node);
    list_init(&idle->wait_node);
    timer_init(&cpu->slice, slice_expired);
    atomic_store_explicit(&cpu->current, idle, memory_order_relaxed);
}

void sched_idle_loop(void) {
    struct cpu *c = cpu_self();
    for (;;) {
        // Between this look and the sleep a kick stays pending, and ends the sleep at once.
        if (!ready_mask(c))
            arch_cpu_idle();
        look_at_queue(false);
    }
}
