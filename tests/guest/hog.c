// SPDX-License-Identifier: Apache-2.0
// Every CPU spins for ever, with interrupts masked; the first one says now and then that it is alive.
#include "guest.h"

void secondary_main(u64 context) {
    (void)context;
    for (;;)
        ;
}

void guest_main(u64 dtb) {
    (void)dtb;
    u64 cpus = 1;
    while (cpus < CPUS_MAX && cpu_start(cpus, 0) == 0)
        cpus++;
    say("hog: %u CPUs spin\n", cpus);
    for (u64 beat = 1;; beat++) {
        u64 end = now() + ticks_of_ms(500);
        while (now() < end)
            ;
        say("hog: beat %u\n", beat);
    }
}
