// SPDX-License-Identifier: Apache-2.0
// The virtual and the physical counter keep one distance, the same on every CPU: each CPU in turn brackets a read of
// the one with reads of the other, and the brackets of all have to meet.
#include "guest.h"

enum { READS = 2000 };
static volatile u64 done[CPUS_MAX];
static volatile s64 lowest, highest; // what the distance lies between

static void look(void) {
    for (u64 i = 0; i < READS; i++) {
        u64 before = now(), physical = read_sysreg(cntpct_el0), after = now();
        s64 high = (s64)(physical - before), low = (s64)(physical - after);
        highest = high < highest ? high : highest;
        lowest = low > lowest ? low : lowest;
        if (i % 100 == 0)
            cpu_yield();
    }
}

void secondary_main(u64 context) {
    look();
    done[context] = 1;
}

void guest_main(u64 dtb) {
    (void)dtb;
    u64 cpus = cpu_count();
    say("counters: %u CPUs\n", cpus);
    highest = INT64_MAX;
    lowest = INT64_MIN;
    look();
    for (u64 cpu = 1; cpu < cpus; cpu++)
        CHECK("a_CPU_looks_at_its_counters", cpu_start(cpu, cpu) == 0 && wait_for(&done[cpu], 1, 20000), "CPU %u", cpu);
    CHECK("the_two_counters_keep_their_distance_on_every_CPU", lowest <= highest, "at least %d, at most %d", lowest,
          highest);
    no_traps();
}
