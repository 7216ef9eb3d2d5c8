// SPDX-License-Identifier: Apache-2.0
// Keeps every CPU busy for ever and leaves something of its own in each register, now in quick switches, now for as
// long as it is allowed to stay.
#include "guest.h"

static volatile u64 up;

static void scramble(u64 value) {
    __asm__ volatile(SIMD "dup v0.2d, %0\n\tdup v1.2d, %0\n\tdup v7.2d, %0\n\tdup v8.2d, %0\n\tdup v15.2d, %0\n\t"
                          "dup v16.2d, %0\n\tdup v23.2d, %0\n\tdup v24.2d, %0\n\tdup v31.2d, %0" ::"r"(value));
    write_sysreg(tpidr_el0, value);
    write_sysreg(tpidrro_el0, value);
    write_sysreg(tpidr_el1, value);
    write_sysreg(contextidr_el1, value & 0xffffffff);
    write_sysreg(mair_el1, value & 0x4444444444444444);
    write_sysreg(amair_el1, value);
    write_sysreg(par_el1, value & 0xfffffff000);
    write_sysreg(csselr_el1, value & 1);
    write_sysreg(cntkctl_el1, value & 0x3ff);
    write_sysreg(sp_el0, value & ~15ull);
    write_sysreg(ttbr0_el1, value & 0xfffffffff000);
    write_sysreg(ttbr1_el1, value & 0xfffffffff000);
    write_sysreg(S3_3_C4_C4_0, value & 0x07c00000);
    write_sysreg(S3_3_C4_C4_1, value & 0x0800009f);
    write_sysreg(dbgbvr0_el1, value & 0xfffffffffffc);
    write_sysreg(dbgwvr0_el1, value & 0xfffffffffffc);
    write_sysreg(cntv_cval_el0, value);
}

static void work(u64 seed) {
    write_sysreg(oslar_el1, 0);
    for (u64 round = 1;; round++) {
        scramble(seed = seed * 0x5851f42d4c957f2d + round);
        if (round % 512 != 0) {
            (void)hvc(0x86000003, 0, 0, 0); // yield
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
    while (cpus < CPUS_MAX && psci_cpu_on(cpus, (u64)secondary_entry, cpus) == 0)
        (void)wait_for(&up, cpus++, 5000);
    say("busy: %u CPUs\n", cpus);
    work(0);
}
