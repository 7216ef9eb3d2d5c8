// SPDX-License-Identifier: Apache-2.0
// What the tests that run on the simulated machine share.
#pragma once

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "arch.h"
#include "cpu.h"
#include "host.h"
#include "task.h"
#include "waitq.h"

#define MS(n) ((u64)(n) * 1000 * 1000)
#define US(n) ((u64)(n) * 1000)
// SEED=n in the environment replays one run, SEEDS=n asks for more of them.
#define for_each_seed(seed, count) for (u64 seed = first_seed(); seed <= last_seed(count); seed++)

static inline u64 first_seed(void) {
    const char *one = getenv("SEED");
    return one ? strtoull(one, NULL, 0) : 1;
}

static inline u64 last_seed(u64 count) {
    const char *one = getenv("SEED"), *many = getenv("SEEDS");
    return one ? strtoull(one, NULL, 0) : many ? strtoull(many, NULL, 0) : count;
}

// Runs fn(arg) as a task on CPU 0 of a machine with that many CPUs, and expects it to return.
static inline void run_on(u32 machine_cpus, u64 seed, void (*fn)(void *), void *arg) {
    host_init(&(struct host_options){.cpus = machine_cpus, .seed = seed});
    assert_int_equal(host_run(fn, arg), HOST_DONE);
}

// Makes a task and wakes it.
static inline void spawn(struct task *t, const char *name, void (*fn)(void *), void *arg, u32 priority, u32 cpu) {
    host_check(task_init(t, name, fn, arg, priority, &cpus[cpu]) == 0);
    task_wake(t);
}

static inline void sleep_ns(u64 ns) {
    struct waitq wq;
    waitq_init(&wq);
    bool timed_out;
    waitq_wait_until(&wq, false, arch_now_ns() + ns, timed_out);
    host_check(timed_out);
}

// Waits until a task has ended, and gives its stack back.
static inline void join(struct task *t) {
    while (!task_is_gone(t))
        sleep_ns(US(10));
    task_fini(t);
}

// What a vCPU loop does while its guest computes: takes interrupts, and looks whether somebody else should run.
static inline void compute(u64 ns) {
    for (u64 end = arch_now_ns() + ns; arch_now_ns() < end;) {
        host_point();
        arch_irq_poll();
        sched_resched();
    }
}
