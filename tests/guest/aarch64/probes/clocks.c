// SPDX-License-Identifier: Apache-2.0
// One clock for all CPUs: each reads it in turn, and none may be behind the one before. The turn is passed with plain
// stores, as with the MMU off there is no memory for exclusives.
#include "guest.h"

enum { SIDE = 16, TURNS = 300 };
static u64 cpus;
static volatile u64 turn, last_virtual, last_physical, behind[SIDE], skewed[SIDE], turns[SIDE], done[SIDE];
static volatile s64 lowest, highest;

static void barrier(void) {
    __asm__ volatile("dsb sy\n\tisb" ::: "memory");
}

static void take_turns(u64 self) {
    u64 until = now() + ticks_of_ms(2500);
    while (turn != ~0ull) {
        if (turn % cpus != self) {
            (void)hvc(0x86000003, 0, 0, 0); // yield
            continue;
        }
        barrier();
        u64 v = now(), p = read_sysreg(cntpct_el0), v2 = now();
        behind[self] += v < last_virtual || p < last_physical || v2 < v;
        s64 high = (s64)(p - v), low = (s64)(p - v2);
        if (high < highest)
            highest = high;
        if (low > lowest)
            lowest = low;
        skewed[self] += lowest > highest;
        last_virtual = v2;
        last_physical = p;
        turns[self]++;
        barrier();
        turn = turn + 1 >= TURNS * cpus || v2 > until ? ~0ull : turn + 1;
    }
    done[self] = 1;
}

void secondary_main(u64 context) {
    take_turns(context);
}

void guest_main(u64 dtb) {
    (void)dtb;
    while (cpus < SIDE && psci_affinity_info(cpus) >= 0)
        cpus++;
    say("clocks: %u CPUs\n", cpus);
    u64 v0 = now(), p0 = read_sysreg(cntpct_el0);
    highest = (s64)(p0 - v0); // the distance lies between what is read right before and right after
    lowest = (s64)(p0 - now());
    u64 second = read_sysreg(cntfrq_el0);
    for (u64 cpu = 1; cpu < cpus; cpu++)
        (void)psci_cpu_on(cpu, (u64)secondary_entry, cpu);
    u32 rtc = read32(RTC);
    u64 begin = now();
    take_turns(0);
    for (u64 cpu = 0; cpu < cpus; cpu++) {
        (void)wait_for(&done[cpu], 1, 20000);
        CHECK("no_CPUs_clock_is_behind_another_CPUs", behind[cpu] == 0 && turns[cpu] > 3, "CPU %u: %u of %u", cpu,
              behind[cpu], turns[cpu]);
        CHECK("the_two_counters_keep_their_distance", skewed[cpu] == 0, "CPU %u: %u of %u", cpu, skewed[cpu],
              turns[cpu]);
    }
    u32 ticked = read32(RTC) - rtc;
    u64 passed = (now() - begin) / second;
    CHECK("the_clock_and_the_counter_go_alike", ticked <= passed + 2 && passed <= ticked + 2u, "%u s and %u s",
          (u64)ticked, passed);
}
