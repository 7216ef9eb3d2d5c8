// SPDX-License-Identifier: Apache-2.0
// Why a guest came out: the only currency between an architecture and the core.
#pragma once

#include "types.h"

// Kinds, with the fields that each fills in and what the core answers in arch_vcpu_finish().
enum vexit_kind {
    VEXIT_NONE,        // a host interrupt; nothing to answer
    VEXIT_MMIO,        // gpa size write value reg → value
    VEXIT_PIO,         // port in gpa, otherwise like MMIO
    VEXIT_HYPERCALL,   // nr args → value
    VEXIT_HALT,        // the guest waits for an interrupt → status
    VEXIT_CPU_ON,      // target entry arg → status (0, -EINVAL, -EALREADY, -EAGAIN, -EBUSY)
    VEXIT_CPU_OFF,     // does not return
    VEXIT_CPU_SUSPEND, // power_down entry arg → status; power_down: resumes at entry
    VEXIT_CPU_INFO,    // target → value: enum vcpu_power, or status -EINVAL
    VEXIT_SYSTEM_OFF,
    VEXIT_SYSTEM_RESET,
    VEXIT_SEND_IPI,   // value: the architecture's IPI request, decoded by the interrupt controller
    VEXIT_SYSREG,     // an emulated system register that belongs to a device: nr write value reg → value
    VEXIT_PAGE_FAULT, // gpa write exec: nothing is mapped there and no device answers
    VEXIT_FAULT,      // an access that cannot be served; to be reflected as the architecture says
    VEXIT_FAIL_ENTRY, // the CPU refused to enter the guest; value: the architecture's code. Stops the VM
    VEXIT_KINDS
};

struct vexit {
    enum vexit_kind kind;
    u8 size;         // bytes accessed: 1, 2, 4, 8
    u8 reg;          // destination or source register number (arch)
    bool write;      // else read
    bool exec;       // PAGE_FAULT: an instruction fetch
    bool sign;       // MMIO read: sign-extend the value
    bool wide;       // MMIO read: to the register's full width
    bool power_down; // CPU_SUSPEND
    s32 status;      // answer: 0 or negative errno
    u32 nr;          // HYPERCALL, SYSREG number (arch encoding)
    u32 target;      // CPU_ON, CPU_INFO: vCPU index, or VEXIT_NO_VCPU
    u64 gpa;
    u64 gva; // PAGE_FAULT, MMIO: the guest-virtual address, for reports
    u64 value;
    u64 entry, arg;
    u64 args[6];
    u64 ticks; // arch_ticks() when the guest came out
};

#define VEXIT_NO_VCPU (~0u)

// "mmio", "halt", …: for stats and reports.
const char *vexit_kind_name(enum vexit_kind kind);
