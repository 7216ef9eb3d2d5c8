// SPDX-License-Identifier: Apache-2.0
// Jumps to where nothing is, with an exception vector where nothing is either.
#include "guest.h"

void secondary_main(u64 context) {
    (void)context;
}

void guest_main(u64 dtb) {
    (void)dtb;
    say("wild: jumping\n");
    jump_into_nowhere();
}
