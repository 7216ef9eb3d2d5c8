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
    TASK_PRIORITY_SYSTEM = 15, // the VMM's own tasks: short work, before any guest
    TASK_STACK_SIZE = 16 * 1024,
    TASK_NAME_MAX = 48,
    TASK_SLICE_NS = 5 * 1000 * 1000,
};

enum task_state { TASK_BLOCKED, TASK_READY, TASK_RUNNING, TASK_DEAD };

struct cpu;
struct vcpu;

struct task {
    struct arch_ctx ctx;
    struct cpu *cpu;       // home; changes only in task_set_home
    enum task_state state; // guarded by cpu->rq_lock
    u32 priority;
    _Atomic bool on_cpu;     // true from being picked until its registers are saved (release in sched_finish)
    struct list run_node;    // in cpu->ready[priority] while TASK_READY
    struct list wait_node;   // in a wait queue; guarded by that queue's lock
    u64 affinity;            // bit n: may live on CPU n
    _Atomic u64 cpu_time_ns; // total, up to the last switch
    u64 switched_in_ns;
    void *stack; // lowest address; a guard page lies below
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
// Makes a blocked task ready (no-op if it is not blocked). Kicks its CPU if that runs something of a lower or equal
// priority. Context: any.
void task_wake(struct task *t);
// Moves a parked task. Waits (bounded: a few hundred instructions) until its registers are saved. Context: task.
void task_set_home(struct task *t, struct cpu *home);
// Ends the calling task. Its memory may be freed once on_cpu is false.
[[noreturn]] void task_exit(void);

// Gives way to ready tasks of the same or higher priority; takes pending host interrupts first. Context: task.
void sched_yield(void);
// Runs if the interrupt path or a wake-up asked for it: clears cpu->need_resched and switches if a better task is
// ready.
void sched_resched(void);
// Blocks the caller: the caller has set its state through sched_prepare_block. Used by wait queues only.
void sched_block(void);
// The calling task. Context: task.
struct task *task_self(void);
// True if another task waits for this CPU, i.e. a halt of the guest must come out to us.
bool sched_cpu_contended(const struct cpu *cpu);
// Turns the boot flow of this CPU into its idle task / starts the loop. Context: boot, once a CPU.
void sched_init_cpu(struct cpu *cpu);
[[noreturn]] void sched_idle_loop(void);

// Guarded stacks: TASK_STACK_SIZE bytes with an unmapped page below. NULL if there is no memory. Context: task.
[[nodiscard]] void *stack_alloc(void);
void stack_free(void *stack);
