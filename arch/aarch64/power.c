// SPDX-License-Identifier: Apache-2.0
// The host's power: PSCI (DEN0022) by the conduit that the device tree names.
#include "aarch64.h"
#include "log.h"

enum : u32 { HOST_PSCI_CPU_ON = 0xc4000003, HOST_PSCI_SYSTEM_OFF = 0x84000008, HOST_PSCI_SYSTEM_RESET = 0x84000009 };

static enum psci_conduit conduit;

void power_init(const struct board *board) {
    conduit = board->psci;
}

static s64 psci_call(u64 fn, u64 a1, u64 a2, u64 a3) {
    register u64 x0 __asm__("x0") = fn;
    register u64 x1 __asm__("x1") = a1;
    register u64 x2 __asm__("x2") = a2;
    register u64 x3 __asm__("x3") = a3;
    if (conduit == PSCI_HVC) // we are at EL2: only a firmware at EL3 that took over HVC could mean this
        __asm__ volatile("hvc #0"
                         : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3)::"memory", "x4", "x5", "x6", "x7", "x8", "x9", "x10",
                           "x11", "x12", "x13", "x14", "x15", "x16", "x17");
    else
        __asm__ volatile("smc #0"
                         : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3)::"memory", "x4", "x5", "x6", "x7", "x8", "x9", "x10",
                           "x11", "x12", "x13", "x14", "x15", "x16", "x17");
    return (s64)x0;
}

int psci_cpu_on(u64 mpidr, u64 entry, u64 arg) {
    if (conduit == PSCI_NONE)
        return -ENODEV;
    s64 r = psci_call(HOST_PSCI_CPU_ON, mpidr, entry, arg);
    if (r != 0)
        log_warn("PSCI CPU_ON of %#lx answered %ld", (unsigned long)mpidr, (long)r);
    return r == 0 ? 0 : -EIO;
}

void arch_power_off(void) {
    if (conduit != PSCI_NONE)
        psci_call(HOST_PSCI_SYSTEM_OFF, 0, 0, 0);
    log_error("this machine's firmware offers no power off; halted");
    arch_halt();
}

void arch_reboot(void) {
    if (conduit != PSCI_NONE)
        psci_call(HOST_PSCI_SYSTEM_RESET, 0, 0, 0);
    log_error("this machine's firmware offers no reset; halted");
    arch_halt();
}
