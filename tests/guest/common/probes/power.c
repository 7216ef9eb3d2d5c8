// SPDX-License-Identifier: Apache-2.0
// Every CPU through many lives, all at once, and the first CPU through a second one that another gives it.
#include "guest.h"

enum { LIVES = 10 };
static u64 cpus;
static volatile u64 runs[CPUS_MAX], contexts[CPUS_MAX], states[CPUS_MAX], go, first_again, verdicts;

static bool off(u64 cpu) {
    u64 end = now() + ticks_of_ms(20000);
    while (cpu_status(cpu) != 1)
        if (now() > end)
            return false;
    return true;
}

static void second_life(void) {
    bool right = cpu_began_right();
    first_again = 1;
    CHECK("the_first_CPU_goes_off_and_another_brings_it_back", verdicts == 1 && right, "%u, %u", verdicts, (u64)right);
    (void)off(1);
    guest_end();
}

void secondary_main(u64 context) {
    u64 cpu = cpu_index();
    bool right = cpu_began_right();
    if (cpu == 0) {
        second_life();
        return;
    }
    states[cpu] = right;
    contexts[cpu] = context;
    runs[cpu]++;
    if (context == 0x5ec0d) { // waits for the first CPU to go, then brings it back
        while (cpu_status(0) != 1)
            ;
        verdicts = 1;
        (void)cpu_start(0, 0xf1257);
        (void)wait_for(&first_again, 1, 20000);
        return;
    }
    while (!go)
        cpu_yield();
}

static bool alive(u64 cpu, u64 life, u64 context) {
    return wait_for(&runs[cpu], life, 20000) && contexts[cpu] == context && states[cpu] == 1 && cpu_status(cpu) == 0 &&
           cpu_start(cpu, 0) != 0;
}

static void lives(void) {
    u64 bad = 0, first = 0;
    for (u64 life = 1; life <= LIVES && bad == 0; life++) {
        u64 context = 0xabcd000000000000 + life * 100;
        go = 0;
        for (u64 cpu = 1; cpu < cpus; cpu++)
            bad += cpu_start(cpu, context + cpu) != 0;
        for (u64 cpu = 1; cpu < cpus; cpu++)
            if (!alive(cpu, life, context + cpu) && bad++ == 0)
                first = cpu;
        go = 1;
        for (u64 cpu = 1; cpu < cpus; cpu++)
            bad += !off(cpu) || runs[cpu] != life;
    }
    CHECK("all_CPUs_come_and_go_together_many_times", bad == 0, "%u wrong; CPU %u: %u runs, state %u", bad, first,
          runs[first], states[first]);
}

void guest_main(u64 dtb) {
    (void)dtb;
    cpus = cpu_count();
    say("power: %u CPUs\n", cpus);
    CHECK("the_first_CPU_begins_as_it_should", cpu_began_right(), "it does not");
    lives();
    no_traps();
    if (cpus < 2)
        return;
    if (cpu_start(1, 0x5ec0d) != 0)
        fail("the_first_CPU_goes_off_and_another_brings_it_back", "it cannot be started");
    else
        cpu_stop();
}
