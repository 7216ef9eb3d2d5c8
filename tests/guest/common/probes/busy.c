// SPDX-License-Identifier: Apache-2.0
// Keeps every CPU busy for ever and leaves something of its own in each register, now in quick switches, now for as
// long as it is allowed to stay.
#include "guest.h"

static volatile u64 up;

[[noreturn]] static void work(u64 seed) {
    state_begin();
    for (u64 round = 1;; round++) {
        (void)state_write(seed = seed * 0x5851f42d4c957f2d + round);
        if (round % 512 != 0) {
            cpu_yield();
            continue;
        }
        u64 end = now() + ticks_of_ms(12);
        while (now() < end)
            ;
    }
}

void secondary_main(u64 context) {
    up = context;
    work(context);
}

void guest_main(u64 dtb) {
    (void)dtb;
    u64 cpus = 1;
    while (cpus < CPUS_MAX && cpu_start(cpus, cpus) == 0)
        (void)wait_for(&up, cpus++, 5000);
    say("busy: %u CPUs\n", cpus);
    work(0);
}
