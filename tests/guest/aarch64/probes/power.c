// SPDX-License-Identifier: Apache-2.0
// Power calls on any number of CPUs: legal and illegal arguments in both widths, every CPU through many lives, and the
// first CPU through a second one that another gives it.
#include "guest.h"

enum : u64 { CPU_ON32 = 0x84000003, AFFINITY_INFO32 = 0x84000004, SUSPEND32 = 0x84000001 };
enum { SIDE = 16, LIVES = 10 };
static u64 cpus, ram_end;
static volatile u64 runs[SIDE], contexts[SIDE], states[SIDE], go, first_again, verdicts;

// What a CPU finds when it comes on: MMU and caches off, interrupts masked, EL1 on its own stack pointer.
static u64 start_state(void) {
    u64 daif = read_sysreg(daif), el = read_sysreg(currentel), sctlr = read_sysreg(sctlr_el1);
    return (u64)(daif == 0x3c0) | (u64)(el == 4) << 1 | (u64)((sctlr & 0x1005) == 0) << 2;
}

static void second_life(void);

void secondary_main(u64 context) {
    u64 cpu = cpu_index();
    if (cpu == 0) {
        second_life();
        return;
    }
    states[cpu] = start_state();
    contexts[cpu] = context;
    runs[cpu]++;
    if (context == 0x5ec0d) { // waits for the first CPU to go, then brings it back
        while (psci_affinity_info(0) != 1)
            ;
        verdicts = 1;
        (void)psci_cpu_on(0, (u64)secondary_entry, 0xf1257);
        (void)wait_for(&first_again, 1, 20000);
        return;
    }
    while (!go)
        (void)hvc(0x86000003, 0, 0, 0); // yield
}

static void expect(const char *name, u64 got, s64 want) {
    CHECK(name, (s64)got == want || got == (u32)want, "got %d, not %d", got, want);
}

static bool off(u64 cpu) {
    u64 end = now() + ticks_of_ms(20000);
    while (psci_affinity_info(cpu) != 1)
        if (now() > end)
            return false;
    return true;
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
    CHECK("none_of_this_started_anything", runs[other] == 0 && trap.count == 0, "%u runs, %u traps", runs[other],
          trap.count);
}

static void lives(void) {
    u64 bad = 0, first = 0;
    for (u64 life = 1; life <= LIVES && bad == 0; life++) {
        go = 0;
        for (u64 cpu = 1; cpu < cpus; cpu++)
            if (psci_cpu_on(cpu, (u64)secondary_entry, 0xabcd000000000000 + life * 100 + cpu) != 0)
                bad++;
        for (u64 cpu = 1; cpu < cpus; cpu++) {
            bool ok = wait_for(&runs[cpu], life, 20000) && contexts[cpu] == 0xabcd000000000000 + life * 100 + cpu &&
                      states[cpu] == 7 && psci_affinity_info(cpu) == 0 &&
                      psci_cpu_on(cpu, (u64)secondary_entry, 0) == -4;
            if (!ok && bad++ == 0)
                first = cpu;
        }
        go = 1;
        for (u64 cpu = 1; cpu < cpus; cpu++)
            if (!off(cpu) || runs[cpu] != life)
                bad++;
    }
    CHECK("all_CPUs_come_and_go_together_many_times", bad == 0, "%u wrong; CPU %u: %u runs, state %x", bad, first,
          runs[first], states[first]);
}

static void second_life(void) {
    first_again = 1;
    CHECK("the_first_CPU_goes_off_and_another_brings_it_back", verdicts == 1 && start_state() == 7, "%u, %x", verdicts,
          start_state());
    (void)off(1);
    guest_end();
}

void guest_main(u64 dtb) {
    ram_end = RAM + ram_size(dtb);
    while (psci_affinity_info(cpus) >= 0)
        cpus++;
    say("power: %u CPUs\n", cpus);
    illegal();
    lives();
    if (cpus < 2)
        return;
    if (psci_cpu_on(1, (u64)secondary_entry, 0x5ec0d) != 0)
        fail("the_first_CPU_goes_off_and_another_brings_it_back", "CPU_ON");
    else
        psci_cpu_off();
}
