// SPDX-License-Identifier: Apache-2.0
// Firmware calls: every class of function id by HVC and SMC, and PSCI towards right and wrong CPUs.
#include "guest.h"

enum { CPU_ON_TARGET = 1 };
static u64 cpus;
static volatile u64 secondary_seen, secondary_go;

void secondary_main(u64 context) {
    secondary_seen = context;
    while (!secondary_go)
        ;
}

static bool may_be_answered(u64 fn) {
    u64 base = fn & ~(1ull << 30);
    u64 number = fn & 0xffff;
    switch (base & 0xff000000) {
    case 0x80000000: // Arm architecture calls
        return number < 2 || number == 2;
    case 0x84000000: // standard secure services: PSCI, TRNG
        return number <= 0x1f || (number >= 0x50 && number <= 0x53);
    case 0x86000000: // vendor-specific hypervisor services
        return number < 0x10 || number >= 0xff00;
    default:
        return false;
    }
}

static bool ends_us(u64 fn) {
    u64 base = fn & ~(1ull << 30);
    return base == 0x84000002 || base == 0x84000008 || base == 0x84000009;
}

static bool not_supported(u64 x0) {
    return x0 == ~0ull || x0 == 0xffffffff;
}

typedef struct call_result (*conduit)(u64 fn, u64 a1, u64 a2, u64 a3);

static void every_class(const char *name, conduit call) {
    static const u16 numbers[] = {0,      1,      2,      3,      4,      5,      6,     7,    10,
                                  15,     0x12,   0x1f,   0x20,   0x3f,   0x50,   0x53,  0xff, 0x100,
                                  0x7fff, 0x8000, 0xff00, 0xff01, 0xff02, 0xff03, 0xffff};
    u64 calls = 0, wrong = 0, first = 0, answer = 0;
    trap.count = 0;
    for (u64 top = 0; top < 256; top++)            // fast or yielding, 32 or 64 bits, owner
        for (u64 middle = 0; middle < 2; middle++) // bits 23:16 should be zero
            for (u32 i = 0; i < ARRAY_SIZE(numbers); i++) {
                u64 fn = top << 24 | middle << 20 | numbers[i];
                if (ends_us(fn))
                    continue;
                u64 x0 = call(fn, ~0ull, ~0ull, ~0ull).x0;
                calls++;
                if ((not_supported(x0) || (may_be_answered(fn) && x0 != fn)) && trap.count == 0)
                    continue;
                if (wrong++ == 0) {
                    first = fn;
                    answer = x0;
                }
            }
    CHECK(name, wrong == 0 && trap.count == 0, "%u of %u calls, first %x answered %x; %u traps", wrong, calls, first,
          answer, trap.count);
}

static void immediates(void) {
    u64 x0;
    trap.count = 0;
    __asm__ volatile("mov x0, #0x84000000\n\thvc #0x1234\n\tmov %0, x0" : "=r"(x0)::"x0", "x1", "x2", "x3", "memory");
    CHECK("an_HVC_with_another_immediate_is_no_call", trap.count <= 1, "%u traps, %x", trap.count, x0);
    trap.count = 0;
    __asm__ volatile("mov x0, #0x84000000\n\tsmc #0x1234\n\tmov %0, x0" : "=r"(x0)::"x0", "x1", "x2", "x3", "memory");
    CHECK("an_SMC_with_another_immediate_is_no_call", trap.count <= 1, "%u traps, %x", trap.count, x0);
    trap.count = 0;
    __asm__ volatile("svc #0" ::: "memory");
    CHECK("an_SVC_is_the_guests_own", trap.count == 1 && ESR_EC(trap.esr) == 0x15, "%u traps, esr %x", trap.count,
          trap.esr);
}

// SMCCC 1.1 and later: x4 to x17 are preserved.
static void registers(void) {
    u64 bad = 0;
    __asm__ volatile("mov x0, #0x84000000\n\tmov x4, #44\n\tmov x9, #99\n\tmov x17, #17\n\tmov x18, #18\n\thvc #0\n\t"
                     "sub x4, x4, #44\n\tsub x9, x9, #99\n\tsub x17, x17, #17\n\tsub x18, x18, #18\n\t"
                     "orr %0, x4, x9\n\torr %0, %0, x17\n\torr %0, %0, x18"
                     : "=r"(bad)::"x0", "x1", "x2", "x3", "x4", "x9", "x17", "x18", "memory");
    CHECK("a_call_preserves_x4_to_x18", bad == 0, "%x", bad);
}

static void expect(const char *name, s64 got, s64 want) {
    CHECK(name, got == want || (u64)got == (u32)want, "got %d, not %d", got, want);
}

static s64 features(u64 fn) {
    return (s64)(s32)hvc(0x8400000a, fn, 0, 0).x0;
}

static void psci_facts(void) {
    u64 version = hvc(0x84000000, 0, 0, 0).x0;
    CHECK("PSCI_is_at_least_1_0", version >= 0x10000 && version < 0x20000, "%x", version);
    expect("SMC_is_answered_like_HVC", (s64)smc(0x84000000, 0, 0, 0).x0, (s64)version);
    u64 smccc = hvc(0x80000000, 0, 0, 0).x0;
    CHECK("SMCCC_is_at_least_1_1", smccc >= 0x10001 && smccc < 0x20000, "%x", smccc);
    static const u32 there[] = {0x84000000, 0xc4000001, 0x84000002, 0xc4000003, 0xc4000004,
                                0x84000008, 0x84000009, 0x8400000a, 0x80000000};
    u64 missing = 0;
    for (u32 i = 0; i < ARRAY_SIZE(there); i++)
        if (features(there[i]) < 0)
            missing = there[i];
    CHECK("PSCI_FEATURES_knows_what_is_there", missing == 0, "%x is missing", missing);
    expect("PSCI_FEATURES_of_nonsense", features(0x8400ffff), -1);
    expect("PSCI_FEATURES_of_another_owner", features(0x85000000), -1);
    s64 migrate = (s64)(s32)hvc(0x84000006, 0, 0, 0).x0;
    CHECK("MIGRATE_INFO_TYPE_says_that_none_is_needed", migrate == 2 || migrate == -1, "%d", migrate);
    expect("SYSTEM_RESET2_of_an_unknown_type", (s64)hvc(0xc4000012, 0x1234, 0, 0).x0, -2);
}

static void wrong_targets(void) {
    u64 entry = (u64)secondary_entry;
    expect("CPU_ON_of_a_CPU_that_is_not_there", psci_cpu_on(99, entry, 0), -2);
    expect("CPU_ON_of_the_one_after_the_last", psci_cpu_on(cpus, entry, 0), -2);
    expect("CPU_ON_with_another_cluster", psci_cpu_on(0x101, entry, 0), -2);
    expect("CPU_ON_with_Aff3", psci_cpu_on(0x100000001, entry, 0), -2);
    expect("CPU_ON_of_all_ones", psci_cpu_on(~0ull, entry, 0), -2);
    expect("CPU_ON_of_oneself", psci_cpu_on(0, entry, 0), -4);
    expect("AFFINITY_INFO_of_a_CPU_that_is_not_there", psci_affinity_info(99), -2);
    expect("AFFINITY_INFO_of_the_callers_cluster_is_on", (s64)hvc(0xc4000004, 1, 1, 0).x0, 0);
    expect("AFFINITY_INFO_of_another_cluster", (s64)hvc(0xc4000004, 0x100, 1, 0).x0, -2);
    expect("SYSTEM_OFF_has_no_64_bit_form", (s64)hvc(0xc4000008, 0, 0, 0).x0, -1);
    expect("AFFINITY_INFO_at_a_level_that_is_not_there", (s64)hvc(0xc4000004, 0, 9, 0).x0, -2);
    if (cpus < 2)
        return;
    expect("CPU_ON_at_address_0", psci_cpu_on(1, 0, 0), -9);
    expect("CPU_ON_in_a_device", psci_cpu_on(1, UART, 0), -9);
    expect("CPU_ON_at_all_ones", psci_cpu_on(1, ~3ull, 0), -9);
    expect("CPU_ON_below_memory", psci_cpu_on(1, RAM - 4, 0), -9);
}

static s64 wait_state(u64 cpu, s64 state) {
    u64 end = now() + ticks_of_ms(5000);
    while (psci_affinity_info(cpu) != state && now() < end)
        ;
    return psci_affinity_info(cpu);
}

static void life(void) {
    expect("AFFINITY_INFO_of_oneself_is_on", psci_affinity_info(0), 0);
    expect("AFFINITY_INFO_of_the_other_is_off", psci_affinity_info(1), 1);
    for (u64 round = 1; round <= 20; round++) {
        secondary_seen = secondary_go = 0;
        s64 answer = psci_cpu_on(1, (u64)secondary_entry, 0x1234567800000000 + round);
        if (answer != 0) {
            fail("a_CPU_goes_on_and_off_20_times", "round %u: CPU_ON answered %d", round, answer);
            return;
        }
        s64 again = psci_cpu_on(1, (u64)secondary_entry, 0);
        if (again != -4 && again != -5) {
            fail("a_CPU_goes_on_and_off_20_times", "round %u: second CPU_ON answered %d", round, again);
            return;
        }
        if (!wait_for(&secondary_seen, 1, 5000) || secondary_seen != 0x1234567800000000 + round) {
            fail("a_CPU_goes_on_and_off_20_times", "round %u: context %x", round, secondary_seen);
            return;
        }
        s64 on = psci_affinity_info(1);
        secondary_go = 1;
        s64 off = wait_state(1, 1);
        if (on != 0 || off != 1) {
            fail("a_CPU_goes_on_and_off_20_times", "round %u: AFFINITY_INFO was %d, then %d", round, on, off);
            return;
        }
    }
    pass("a_CPU_goes_on_and_off_20_times");
}

static void suspend(void) {
    gic_init();
    gic_enable(PPI_CNTV);
    irqs_off();
    write_sysreg(cntv_tval_el0, ticks_of_ms(10));
    write_sysreg(cntv_ctl_el0, 1);
    s64 answer = (s64)hvc(0xc4000001, 0, 0, 0).x0;
    bool fired = read_sysreg(cntv_ctl_el0) & 4;
    write_sysreg(cntv_ctl_el0, 0);
    CHECK("CPU_SUSPEND_returns_when_the_timer_fires", answer == 0 && fired, "%d, fired %u", answer, (u64)fired);
    expect("CPU_SUSPEND_of_nonsense", (s64)hvc(0xc4000001, 0xffffffff, 0, 0).x0, -2);
}

static void vendor(void) {
    static const char text[] = "a line by hypercall\n";
    s64 got = (s64)hvc(0x86000002, (u64)text, sizeof(text) - 1, 0).x0;
    CHECK("the_console_hypercall_writes", got == sizeof(text) - 1, "%d", got);
    static const u64 bad[][2] = {{0, 16}, {UART, 16}, {RAM - 8, 16}, {~0ull - 7, 16}, {RAM, ~0ull}, {RAM, 0xffffffff}};
    u64 taken = 0;
    for (u32 i = 0; i < ARRAY_SIZE(bad); i++)
        for (u64 wide = 0; wide < 2; wide++)
            taken += (s64)(s32)hvc(0x86000002 | wide << 30, bad[i][0], bad[i][1], 0).x0 >= 0;
    CHECK("the_console_hypercall_refuses_what_is_no_memory", taken == 0, "%u of 12 were taken", taken);
    s64 id = (s64)hvc(0x86000001, 0, 0, 0).x0;
    CHECK("a_VM_knows_its_id", id >= 1 && id <= 32, "%d", id);
    expect("yield", (s64)hvc(0x86000003, 0, 0, 0).x0, 0);
}

void guest_main(u64 dtb) {
    (void)dtb;
    every_class("every_class_of_function_id_by_HVC", hvc);
    every_class("every_class_of_function_id_by_SMC", smc);
    immediates();
    registers();
    psci_facts();
    while (psci_affinity_info(cpus) >= 0)
        cpus++;
    wrong_targets();
    if (cpus > 1)
        life();
    suspend();
    vendor();
}
