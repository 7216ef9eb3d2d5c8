// SPDX-License-Identifier: Apache-2.0
// Tasks and the scheduler: fixed priority, round robin with a time slice among equals, one run queue a CPU.
//
// A task has a home CPU and stays there while it can run: only its home CPU ever switches to it. That makes a wake-up a
// plain enqueue, and a switch free of cross-CPU hand-over. A parked task may be given a new home (task_set_home).
// The scheduler is cooperative inside the hypervisor: a task gives the CPU away in sched_yield(), waitq_wait() or
// task_exit(). A running guest is taken out by an interrupt; the vCPU loop then looks at cpu->need_resched.
#pragma once

#include <stdatomic.h>

#include "arch_types.h"
#include "list.h"
#include "lock.h"
#include "types.h"

enum {
    TASK_PRIORITIES = 16, // 0 … 15, higher first (INTERFACES: [sched] priority)
    TASK_PRIORITY_DEFAULT = 8,
    TASK_PRIORITY_SYSTEM = 15,   // the VMM's own tasks: before any guest; short work, or with task_breathe()
    TASK_STACK_SIZE = 28 * 1024, // with the guard page a block of 32 KiB
    TASK_NAME_MAX = 48,
    TASK_SLICE_NS = 5 * 1000 * 1000,
};

enum task_state { TASK_BLOCKED, TASK_READY, TASK_RUNNING, TASK_DEAD };

struct cpu;
struct vcpu;

struct task {
    struct arch_ctx ctx;
    struct cpu *_Atomic cpu;    // home; changes only in task_set_home, under the old home's rq_lock
    enum task_state state;      // guarded by cpu->rq_lock
    u32 priority;               // guarded by cpu->rq_lock
    _Atomic bool on_cpu;        // true from being picked until its registers are saved (release in sched_finish)
    struct list run_node;       // in cpu->ready[priority] while TASK_READY
    struct list wait_node;      // in a wait queue; guarded by that queue's lock
    u64 affinity;               // bit n: may live on CPU n
    _Atomic u64 cpu_time_ns;    // total, up to the last switch
    _Atomic u64 switched_in_ns; // 0: not running now
    u64 slice_left_ns;          // what a preempted task has left of its slice, 0: a full one
    void *stack;                // lowest address; a guard page lies below
    void (*fn)(void *arg);
    void *arg;
    struct vcpu *vcpu; // NULL: not a vCPU's task
    char name[TASK_NAME_MAX];
};

// Prepares a parked (blocked) task; the stack comes from stack_alloc(). Context: any.
[[nodiscard]] int task_init(struct task *t, const char *name, void (*fn)(void *), void *arg, u32 priority,
                            struct cpu *home);
// Frees the stack of a task that is dead or was never started. Context: task.
void task_fini(struct task *t);
// Makes a blocked task ready (no-op if it is not blocked). Kicks its CPU if that must look at its queue: it idles, runs
// something of a lower or equal priority, or runs alone so far (its guest may sit in an untrapped wait for an
// interrupt). Context: any, with locks of a rank below LOCK_RUNQ.
void task_wake(struct task *t);
// Another task's priority. One that runs keeps the CPU until it next gives it away or is looked at. Context: as
// task_wake.
void task_set_priority(struct task *t, u32 priority);
// Moves a parked task (blocked, but for a spurious wake-up) to a CPU that its affinity has; not one that waits with a
// deadline. Waits (bounded: a few hundred instructions) until its registers are saved. Context: task.
void task_set_home(struct task *t, struct cpu *home);
// In long work of a task that outranks the guests, every 100 µs or so: takes pending host interrupts and gives way,
// from time to time also to tasks of a lower priority, so that they have half of the CPU. Context: task, no lock held.
void task_breathe(void);
// Ends the calling task. Its memory may be freed once task_is_gone().
[[noreturn]] void task_exit(void);
// True once a task that called task_exit() has left its stack. Any.
bool task_is_gone(struct task *t);
// Time on a CPU so far, the present run included. Any.
u64 task_cpu_time_ns(const struct task *t);

// Takes pending host interrupts, then gives way to ready tasks of the same or higher priority. Context: task, no lock
// held.
void sched_yield(void);
// If a wake-up or the end of a slice asked for a look at the queue: switches if a better task is ready (or an equal one
// and the slice is over), and starts the slice while an equal one waits. A flag read otherwise. Called before every
// guest entry. Context: task, no lock held.
void sched_resched(void);
// Wait queues only: marks the caller as blocked (from here on task_wake() readies it), then, with no lock held,
// switches away.
void sched_prepare_block(void);
void sched_block(void);
// Takes a ready task out of cpu's queue, cpu->rq_lock held. For task_set_home.
void sched_unqueue_locked(struct cpu *cpu, struct task *t);
// The first thing in a context that was switched to: lets go of the task that ran before. Context: the trampoline of a
// new task.
void sched_finish(void);
// The calling task. Context: task.
struct task *task_self(void);
// True if another task waits for this CPU, i.e. a halt of the guest must come out to us. Any; a hint that the kick
// after a wake-up makes true in time.
bool sched_cpu_contended(const struct cpu *cpu);
// Turns the boot flow of this CPU into its idle task / starts the loop. Context: boot, once a CPU.
void sched_init_cpu(struct cpu *cpu);
[[noreturn]] void sched_idle_loop(void);

// Forgets all stacks. Boot, after page_init.
void stack_init(void);
// Guarded stacks: TASK_STACK_SIZE bytes with an unmapped page below. NULL if there is no memory. Context: task.
[[nodiscard]] void *stack_alloc(void);
void stack_free(void *stack);

struct stack_stats {
    u64 used;     // bytes of stacks in use, with their guard pages
    u64 reserved; // bytes of the blocks that they are cut from
};
// Any.
struct stack_stats stack_stats(void);
