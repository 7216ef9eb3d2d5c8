// SPDX-License-Identifier: Apache-2.0
// Resets itself at once.
#include "guest.h"

void secondary_main(u64 context) {
    (void)context;
}

void guest_main(u64 dtb) {
    (void)dtb;
    say("rebooter: up\n");
    machine_reset();
}
