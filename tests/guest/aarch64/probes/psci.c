// SPDX-License-Identifier: Apache-2.0
// Power calls with illegal arguments, in both widths, on any number of CPUs; common/probes/power.c has the legal ones.
#include "guest.h"

enum : u64 { CPU_ON32 = 0x84000003, AFFINITY_INFO32 = 0x84000004, SUSPEND32 = 0x84000001 };
static u64 cpus, ram_end;
static volatile u64 runs;

void secondary_main(u64 context) {
    (void)context;
    runs++;
}

static void expect(const char *name, u64 got, s64 want) {
    CHECK(name, (s64)got == want || got == (u32)want, "got %d, not %d", got, want);
}

static void illegal(void) {
    u64 entry = (u64)secondary_entry, other = cpus > 1 ? 1 : 0;
    s64 bad_entry = -9; // INVALID_ADDRESS; for oneself the call may as well say ALREADY_ON
    for (u64 wide = 0; wide < 2; wide++) {
        u64 on = CPU_ON32 | wide << 30, info = AFFINITY_INFO32 | wide << 30, suspend = SUSPEND32 | wide << 30;
        expect("CPU_ON_of_the_one_after_the_last", hvc(on, cpus, entry, 0).x0, -2);
        expect("CPU_ON_of_CPU_16", hvc(on, 16, entry, 0).x0, -2);
        expect("CPU_ON_of_another_cluster", hvc(on, 0x100, entry, 0).x0, -2);
        expect("CPU_ON_with_a_reserved_bit", hvc(on, 1u << 31, entry, 0).x0, -2);
        expect("CPU_ON_of_oneself", hvc(on, 0, entry, 0).x0, -4);
        expect("AFFINITY_INFO_of_the_one_after_the_last", hvc(info, cpus, 0, 0).x0, -2);
        expect("AFFINITY_INFO_at_level_4", hvc(info, 0, 4, 0).x0, -2);
        expect("AFFINITY_INFO_at_level_all_ones", hvc(info, 0, ~0ull, 0).x0, -2);
        expect("CPU_SUSPEND_with_reserved_bits", hvc(suspend, 1u << 31, entry, 0).x0, -2);
        expect("CPU_SUSPEND_to_nowhere", hvc(suspend, 1u << 16, 0x1000, 0).x0, -9);
        expect("CPU_SUSPEND_to_an_odd_address", hvc(suspend, 1u << 16, entry + 2, 0).x0, -9);
        if (other == 0)
            continue;
        expect("CPU_ON_at_an_odd_address", hvc(on, other, entry + 1, 0).x0, bad_entry);
        expect("CPU_ON_at_a_half_word", hvc(on, other, entry + 2, 0).x0, bad_entry);
        expect("CPU_ON_beyond_memory", hvc(on, other, ram_end, 0).x0, bad_entry);
        expect("CPU_ON_below_memory", hvc(on, other, RAM - 4, 0).x0, bad_entry);
        expect("CPU_ON_in_the_distributor", hvc(on, other, GICD, 0).x0, bad_entry);
        expect("AFFINITY_INFO_of_one_that_is_off", hvc(info, other, 0, 0).x0, 1);
    }
    expect("SYSTEM_RESET2_of_a_vendors_type", hvc(0x84000012, 1u << 31, 0, 0).x0, -2);
    expect("SYSTEM_OFF2_is_not_there", hvc(0x84000015, 1, 0, 0).x0, -1);
    expect("CPU_FREEZE_is_not_there", hvc(0x8400000b, 0, 0, 0).x0, -1);
    expect("MIGRATE_is_not_there", hvc(0x84000005, 0, 0, 0).x0, -1);
    expect("a_call_of_64_bits_looks_at_32_of_the_function_id", hvc(0xdeadbeef84000000, 0, 0, 0).x0, 0x10001);
    expect("a_call_of_32_bits_looks_at_32_of_its_arguments", hvc(AFFINITY_INFO32, 0xdeadbeef00000000, 0, 0).x0, 0);
    CHECK("none_of_this_started_anything", runs == 0 && trap.count == 0, "%u runs, %u traps", runs, trap.count);
}

void guest_main(u64 dtb) {
    ram_end = RAM + ram_size(dtb);
    cpus = cpu_count();
    say("psci: %u CPUs\n", cpus);
    illegal();
}
