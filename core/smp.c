// SPDX-License-Identifier: Apache-2.0
// Bringing up the physical CPUs.
#include "arch.h"
#include "cpu.h"
#include "log.h"

struct cpu cpus[BOARD_MAX_CPUS];
u32 cpu_count;

static const u64 START_TIMEOUT_NS = 1000u * 1000 * 1000;

static void add_cpu(u64 hwid) {
    struct cpu *c = &cpus[cpu_count];
    c->id = cpu_count++;
    c->hwid = hwid;
    spin_init(&c->rq_lock, LOCK_RUNQ);
    for (u32 p = 0; p < TASK_PRIORITIES; p++)
        list_init(&c->ready[p]);
    timer_init_cpu(c);
}

void smp_init(const struct board *board, u64 boot_hwid) {
    cpu_count = 0;
    add_cpu(boot_hwid);
    for (u32 i = 0; i < board->cpu_count && cpu_count < BOARD_MAX_CPUS; i++) {
        if (board->cpus[i].hwid != boot_hwid)
            add_cpu(board->cpus[i].hwid);
    }
    atomic_store_explicit(&cpus[0].online, true, memory_order_relaxed);
}

static bool is_online(struct cpu *c) {
    return atomic_load_explicit(&c->online, memory_order_acquire); // pairs with smp_secondary_main
}

void smp_start_all(void) {
    for (u32 i = 1; i < cpu_count; i++) {
        struct cpu *c = &cpus[i];
        char *stack = stack_alloc();
        if (!stack) {
            log_error("cpu %u: no memory for its stack, left off", i);
            continue;
        }
        int err = arch_cpu_start(c, stack + TASK_STACK_SIZE);
        if (err) {
            log_error("cpu %u (id 0x%llx): firmware does not start it (error %d), left off", i,
                      (unsigned long long)c->hwid, err);
            stack_free(stack);
            continue;
        }
        u64 deadline = arch_now_ns() + START_TIMEOUT_NS;
        while (!is_online(c) && arch_now_ns() < deadline)
            arch_cpu_relax();
        if (!is_online(c)) // its stack stays reserved: it may still come
            log_error("cpu %u (id 0x%llx): did not come up within 1 s, left off", i, (unsigned long long)c->hwid);
    }
}

void smp_secondary_main(struct cpu *cpu) {
    arch_cpu_init(cpu);
    sched_init_cpu(cpu);
    atomic_store_explicit(&cpu->online, true, memory_order_release); // pairs with is_online
    sched_idle_loop();
}
