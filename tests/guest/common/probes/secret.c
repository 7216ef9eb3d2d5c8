// SPDX-License-Identifier: Apache-2.0
// Looks for what another VM, or this one in an earlier life, has left in memory and registers; then fills all of its
// memory with a pattern that the others look for.
#include "guest.h"

// Computed, so that it is in no image.
static u64 secret(u64 at) {
    return ~0x5ec3e7ull * 0x9e3779b97f4a7c15 + (at & 0xffff);
}

static bool within(u64 at, struct extent e) {
    return at >= e.base && at < e.end;
}

void secondary_main(u64 context) {
    (void)context;
}

void guest_main(u64 machine) {
    u64 end = RAM + ram_size(machine);
    const struct extent told = machine_told(machine);
    const struct extent image = {(u64)__image_start & ~0xfffull, ((u64)__image_end + 0xfff) & ~0xfffull};
    u64 found = 0, dirty = 0, first = 0, other = 0;
    for (u64 at = RAM; at < end; at += 8) {
        u64 v = *(const volatile u64 *)at;
        if (v == 0)
            continue;
        found += v == secret(at) || v == secret(at & 0xfff);
        if (!within(at, image) && !within(at, told) && dirty++ == 0) {
            first = at;
            other = v;
        }
    }
    CHECK("nothing_of_another_VM_is_in_this_ones_memory", found == 0, "%u words of it", found);
    CHECK("memory_that_nothing_was_loaded_to_is_zero", dirty == 0, "%u words, first at %x: %x", dirty, first, other);
    u64 count = 0;
    for (u64 at = RAM; at < end; at += 8)
        if (!within(at, image) && !within(at, told)) {
            *(volatile u64 *)at = secret(at);
            count++;
        }
    say("secret: %u words hidden\n", count);
    for (;;)
        wait_for_interrupt();
}
