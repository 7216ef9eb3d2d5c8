// SPDX-License-Identifier: Apache-2.0
// Physical CPUs.
#pragma once

#include <stdatomic.h>

#include "arch_types.h"
#include "board.h"
#include "list.h"
#include "lock.h"
#include "task.h"
#include "timer.h"

struct vcpu;

struct cpu {
    struct arch_cpu arch; // first: entry.S finds it there
    u32 id;               // 0 … cpu_count - 1; 0 is the boot CPU
    u64 hwid;             // MPIDR affinity, hartid, APIC id
    _Atomic bool online;

    struct spinlock rq_lock;
    _Atomic u32 ready_mask; // bit p: ready[p] is not empty; written under rq_lock, read by anybody as a hint
    struct list ready[TASK_PRIORITIES];
    struct task *_Atomic current;
    struct task *previous;     // for sched_finish
    _Atomic bool need_resched; // the queue wants a look: the vCPU loop calls sched_resched() before every entry
    struct task idle;
    struct timer slice;   // armed while an equal of the running task waits; touched by this CPU only
    bool slice_over;      // it has fired for the running task; this CPU only
    u64 slice_end_ns;     // 0: not armed; this CPU only
    _Atomic u64 switches; // context switches, for `cpu`
    _Atomic u32 homed;    // runnable vCPUs that live here, for placement

    struct spinlock timer_lock;
    struct list timers;
    u64 armed_ns;                        // what the hardware timer is set to; this CPU only
    struct timer *_Atomic timer_running; // whose fn runs now; written under timer_lock

    struct vcpu *loaded; // whose registers are in the hardware
    _Atomic u64 idle_ns;
    _Atomic u64 kicks;
};

extern struct cpu cpus[BOARD_MAX_CPUS];
extern u32 cpu_count;

static inline struct cpu *cpu_self(void) {
    return arch_cpu_self();
}

// Fills cpus[] from the board (the boot CPU becomes cpus[0]). Context: boot.
void smp_init(const struct board *board, u64 boot_hwid);
// Starts the others and waits (bounded, 1 s each) for them; logs those that did not come. Context: boot.
void smp_start_all(void);
// Where a secondary CPU arrives in C, on its own stack, MMU on. Context: boot.
[[noreturn]] void smp_secondary_main(struct cpu *cpu);
