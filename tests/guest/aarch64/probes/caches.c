// SPDX-License-Identifier: Apache-2.0
// The caches by set and way.
#include "guest.h"

void secondary_main(u64 context) {
    (void)context;
}

// As an operating system does it: every level up to the point of coherence, every way, every set.
static u64 set_way(u32 what) {
    u64 clidr = read_sysreg(clidr_el1), count = 0;
    for (u64 level = 0; level < (clidr >> 24 & 7); level++) {
        if ((clidr >> (3 * level) & 7) < 2)
            continue;
        write_sysreg(csselr_el1, level << 1);
        u64 ccsidr = read_sysreg(ccsidr_el1);
        u64 line = (ccsidr & 7) + 4, ways = (ccsidr >> 3 & 0x3ff) + 1, sets = (ccsidr >> 13 & 0x7fff) + 1;
        u32 shift = ways > 1 ? (u32)__builtin_clz((u32)ways - 1) : 0;
        for (u64 way = 0; way < ways; way++)
            for (u64 set = 0; set < sets; set += 16, count++) {
                u64 v = way << shift | set << line | level << 1;
                if (what == 0)
                    __asm__ volatile("dc cisw, %0" ::"r"(v) : "memory");
                else if (what == 1)
                    __asm__ volatile("dc csw, %0" ::"r"(v) : "memory");
                else
                    __asm__ volatile("dc isw, %0" ::"r"(v) : "memory");
            }
    }
    __asm__ volatile("dsb sy\n\tisb" ::: "memory");
    return count;
}

static void caches(void) {
    static u64 data[1024];
    static const char *const names[] = {"cleaned_and_invalidated", "cleaned", "invalidated"};
    for (u32 what = 0; what < 3; what++) {
        for (u64 i = 0; i < ARRAY_SIZE(data); i++)
            data[i] = i * 0x9e3779b97f4a7c15 + what;
        trap.count = 0;
        u64 count = set_way(what), bad = 0;
        for (u64 i = 0; i < ARRAY_SIZE(data); i++)
            bad += data[i] != i * 0x9e3779b97f4a7c15 + what;
        say("caches: %u lines %s\n", count, names[what]);
        CHECK("data_stays_what_it_is_when_caches_are_maintained_by_set_and_way", bad == 0 && trap.count == 0,
              "%s: %u words, %u traps", names[what], bad, trap.count);
    }
}

void guest_main(u64 dtb) {
    (void)dtb;
    caches();
    no_traps();
}
