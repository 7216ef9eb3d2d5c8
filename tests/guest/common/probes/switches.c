// SPDX-License-Identifier: Apache-2.0
// Every register that a guest has to itself holds a pattern of each CPU's own, over thousands of switches to other
// vCPUs of this and of other VMs.
#include "guest.h"

enum { SWITCHES = 2000 };
static u64 cpus;
static volatile u64 up[CPUS_MAX], done[CPUS_MAX], switches[CPUS_MAX];
static volatile u64 bad[CPUS_MAX], bad_at[CPUS_MAX], bad_got[CPUS_MAX], bad_want[CPUS_MAX];
static u64 held[CPUS_MAX][STATE_MAX], seen[CPUS_MAX][STATE_MAX];

static void wrong(u64 cpu, u64 which, u64 got, u64 want) {
    if (bad[cpu]++ != 0)
        return;
    bad_at[cpu] = which;
    bad_got[cpu] = got;
    bad_want[cpu] = want;
}

static void hold(u64 cpu) {
    u64 until = now() + ticks_of_ms(3000);
    for (u64 epoch = 0; epoch < 4; epoch++) {
        u32 count = state_write(cpu * 1000 + epoch * 100000);
        state_read(held[cpu]);
        for (u64 i = 0; i < SWITCHES / 4 && (now() < until || i < 20); i++) {
            u64 sum = state_general((i + cpu) * 0x9e3779b97f4a7c15);
            if (sum)
                wrong(cpu, STATE_MAX, sum, 0);
            state_read(seen[cpu]);
            for (u32 k = 0; k < count; k++)
                if (seen[cpu][k] != held[cpu][k])
                    wrong(cpu, k, seen[cpu][k], held[cpu][k]);
            switches[cpu]++;
        }
    }
}

void secondary_main(u64 context) {
    state_begin();
    up[context] = 1;
    hold(context);
    done[context] = 1;
}

void guest_main(u64 dtb) {
    (void)dtb;
    cpus = cpu_count();
    say("switches: %u CPUs\n", cpus);
    state_begin();
    for (u64 cpu = 1; cpu < cpus; cpu++) {
        (void)cpu_start(cpu, cpu);
        (void)wait_for(&up[cpu], 1, 10000);
    }
    hold(0);
    done[0] = 1;
    for (u64 cpu = 0; cpu < cpus; cpu++) {
        CHECK("a_CPU_comes_through", wait_for(&done[cpu], 1, 20000), "CPU %u", cpu);
        u64 at = bad_at[cpu];
        CHECK("every_register_is_its_CPUs_own", bad[cpu] == 0,
              "CPU %u: %u times in %u switches, first %s (%u): %x, not %x", cpu, bad[cpu], switches[cpu],
              at < STATE_MAX ? state_name((u32)at) : "a general one", at, bad_got[cpu], bad_want[cpu]);
        say("switches: %u on CPU %u\n", switches[cpu], cpu);
    }
    no_traps();
}
