// SPDX-License-Identifier: Apache-2.0
// The host's firmware: SBI 2.0, with what it needs for power, harts and remote fences.
#include "log.h"
#include "riscv64.h"

enum { SRST_SHUTDOWN = 0, SRST_COLD_REBOOT = 1, HSM_HART_START = 0, BASE_PROBE = 3 };

struct sbi_result sbi_call5(u64 extension, u64 function, u64 arg0, u64 arg1, u64 arg2, u64 arg3, u64 arg4) {
    register u64 a0 __asm__("a0") = arg0;
    register u64 a1 __asm__("a1") = arg1;
    register u64 a2 __asm__("a2") = arg2;
    register u64 a3 __asm__("a3") = arg3;
    register u64 a4 __asm__("a4") = arg4;
    register u64 a6 __asm__("a6") = function;
    register u64 a7 __asm__("a7") = extension;
    __asm__ volatile("ecall" : "+r"(a0), "+r"(a1) : "r"(a2), "r"(a3), "r"(a4), "r"(a6), "r"(a7) : "memory");
    return (struct sbi_result){.error = (s64)a0, .value = a1};
}

struct sbi_result sbi_call(u64 extension, u64 function, u64 a0, u64 a1, u64 a2) {
    return sbi_call5(extension, function, a0, a1, a2, 0, 0);
}

bool sbi_has(u64 extension) {
    struct sbi_result r = sbi_call(SBI_BASE, BASE_PROBE, extension, 0, 0);
    return r.error == 0 && r.value != 0;
}

void rfence_cpus(u64 set, enum sbi_fence function, u64 start, u64 size, u64 arg) {
    while (set) {
        u64 base = ~0ull, mask = 0;
        for (u64 m = set; m; m &= m - 1)
            base = MIN(base, cpus[__builtin_ctzll(m)].hwid);
        for (u64 m = set; m; m &= m - 1) {
            u32 n = (u32)__builtin_ctzll(m);
            u64 bit = cpus[n].hwid - base; // hart numbers may lie far apart: those that fit into this call
            if (bit >= 64)
                continue;
            mask |= BIT(bit);
            set &= ~BIT(n);
        }
        (void)sbi_call5(SBI_RFENCE, function, mask, base, start, size, arg);
    }
}

void rfence_others(enum sbi_fence function, u64 start, u64 size, u64 arg) {
    u64 set = 0;
    for (u32 i = 0; i < cpu_count; i++)
        if (&cpus[i] != cpu_self() && atomic_load_explicit(&cpus[i].online, memory_order_relaxed))
            set |= BIT(i);
    rfence_cpus(set, function, start, size, arg);
}

int arch_cpu_start(struct cpu *cpu, void *stack_top) {
    static struct secondary_boot { // start.S reads it with the MMU off
        u64 satp, stack_top, cpu;
    } secondary;
    secondary = (struct secondary_boot){csr_read(CSR_SATP), (u64)stack_top, (u64)cpu};
    __asm__ volatile("fence rw, rw" ::: "memory");
    struct sbi_result r = sbi_call(SBI_HSM, HSM_HART_START, cpu->hwid, (u64)secondary_start, (u64)&secondary);
    if (r.error != 0)
        log_warn("SBI HART_START of hart %lu answered %ld", (unsigned long)cpu->hwid, (long)r.error);
    return r.error == 0 ? 0 : -EIO;
}

void arch_halt(void) {
    for (;;)
        __asm__ volatile("wfi");
}

void arch_power_off(void) {
    (void)sbi_call(SBI_SRST, 0, SRST_SHUTDOWN, 0, 0);
    log_error("this machine's firmware offers no power off; halted");
    arch_halt();
}

void arch_reboot(void) {
    (void)sbi_call(SBI_SRST, 0, SRST_COLD_REBOOT, 0, 0);
    log_error("this machine's firmware offers no reset; halted");
    arch_halt();
}
