// SPDX-License-Identifier: Apache-2.0
// The types and inline functions that arch/host adds to the core's structures. The simulated machine itself is in
// host.h.
#pragma once

#include "types.h"

struct cpu;
struct host_fiber;
struct host_guest;

enum { HOST_LOCKS_MAX = 16 };

enum host_irq { HOST_IRQ_KICK = 1, HOST_IRQ_TIMER = 2, HOST_IRQ_UART = 4 };

struct arch_ctx {
    struct host_fiber *fiber; // where the context goes on; NULL: the flow that called arch_ctx_switch first
};

struct arch_cpu {
    struct host_fiber *resume; // where the simulated CPU goes on when it is picked
    struct vcpu *loaded;       // whose registers are in the "hardware", as arch_vcpu_load left it
    struct host_guest *inside; // whose instructions run
    bool vtimer_active;        // the virtual timer's physical interrupt was taken and waits for the guest's end
    u64 timer_deadline_ns;     // 0 (machine without host_init) or TIMER_NEVER: not armed
    u32 pending;               // enum host_irq bits
    bool started;
    bool idle;   // in arch_cpu_idle
    bool halted; // arch_halt
    u32 lock_count;
    u32 locks[HOST_LOCKS_MAX]; // ranks held, in order of acquisition
};

struct arch_vm {
    void (*guest)(struct host_guest *g); // what its vCPUs start with; NULL: looked up by the VM's name at reset
    u64 clock_start_ns;                  // the guest's clock began here
    u64 flushes;                         // arch_vm_flush calls, for tests
    bool used;
    u8 irqchip; // enum host_irqchip
    struct vimsic *imsic;
    struct vaplic *aplic;
    bool x2apic, offers; // its local APICs: by MSRs; the processor takes interrupts by itself
    bool io_taken;       // the guest's lock of its IOAPIC
};

struct arch_vcpu {
    struct host_guest *guest; // NULL until arch_vcpu_init: models may be tested with a vCPU that never runs
    u32 ppi_level;            // bit n: level of private line n, as arch_irq_level reports it
};

extern struct cpu *host_cpu_current;

static inline struct cpu *arch_cpu_self(void) {
    return host_cpu_current;
}

// Scheduling points of the simulation; the first two also check the order of locks. Without host_init they only check.
void arch_lock_enter(u32 rank);
void arch_lock_exit(u32 rank);
void arch_cpu_relax(void);
u64 arch_ticks(void);
