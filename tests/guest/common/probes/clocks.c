// SPDX-License-Identifier: Apache-2.0
// One clock for all CPUs: each reads it in turn, and none may be behind the one before. The turn is passed with plain
// stores, as with the MMU off there need be no memory for atomics.
#include <stdatomic.h>

#include "guest.h"

enum { TURNS = 300 };
static u64 cpus;
static volatile u64 turn, last, behind[CPUS_MAX], turns[CPUS_MAX], done[CPUS_MAX];

static void take_turns(u64 self) {
    u64 until = now() + ticks_of_ms(2500);
    while (turn != ~0ull) {
        if (turn % cpus != self) {
            cpu_yield();
            continue;
        }
        atomic_thread_fence(memory_order_seq_cst);
        u64 first = now(), second = now();
        behind[self] += first < last || second < first;
        last = second;
        turns[self]++;
        atomic_thread_fence(memory_order_seq_cst);
        turn = turn + 1 >= TURNS * cpus || second > until ? ~0ull : turn + 1;
    }
    done[self] = 1;
}

void secondary_main(u64 context) {
    take_turns(context);
}

void guest_main(u64 dtb) {
    (void)dtb;
    cpus = cpu_count();
    say("clocks: %u CPUs\n", cpus);
    for (u64 cpu = 1; cpu < cpus; cpu++)
        (void)cpu_start(cpu, cpu);
    u64 rtc = rtc_seconds(), begin = now();
    take_turns(0);
    for (u64 cpu = 0; cpu < cpus; cpu++) {
        (void)wait_for(&done[cpu], 1, 20000);
        CHECK("no_CPUs_clock_is_behind_another_CPUs", behind[cpu] == 0 && turns[cpu] > 3, "CPU %u: %u of %u", cpu,
              behind[cpu], turns[cpu]);
    }
    u64 ticked = rtc_seconds() - rtc, passed = (now() - begin) / ticks_of_ms(1000);
    CHECK("the_clock_and_the_counter_go_alike", ticked <= passed + 2 && passed <= ticked + 2, "%u s and %u s", ticked,
          passed);
    no_traps();
}
