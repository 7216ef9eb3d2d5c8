// SPDX-License-Identifier: Apache-2.0
// Virtual CPUs: a task each, made with the VM, parked while the vCPU is off.
#pragma once

#include <stdatomic.h>

#include "arch_types.h"
#include "task.h"
#include "timer.h"
#include "types.h"
#include "vexit.h"
#include "waitq.h"

struct vm;

// The guest-visible power state (PSCI AFFINITY_INFO, SBI HSM).
enum vcpu_power { VCPU_OFF, VCPU_ON_PENDING, VCPU_ON, VCPU_POWER_STATES };

enum {                 // v->requests, looked at before every entry; set and cleared under vm->lock
    VCPU_REQ_STOP = 1, // the VM stops or resets: leave the loop
    VCPU_REQ_OFF = 2,  // vcpu_stop(): leave the loop
};

struct vcpu_stats {
    u64 count[VEXIT_KINDS];
    u64 ticks[VEXIT_KINDS]; // hypervisor time, from the exit to the next entry
    u64 guest_ticks;
    u64 inside; // exits that the architecture served by itself, without leaving arch_vcpu_run
};

struct vcpu {
    struct arch_vcpu arch; // first: entry.S finds the registers there
    struct vm *vm;
    u32 id;
    _Atomic u32 requests;
    _Atomic u32 irq_work;           // set by the irqchip: flush before the next entry
    _Atomic bool halted;            // blocked in a halt
    _Atomic(enum vcpu_power) power; // changes under vm->lock
    void *irqchip;                  // the controller's own part
    struct task task;
    struct waitq wq; // halt, and parking while off
    u64 entry, arg;  // for the next start; written before power becomes ON_PENDING
    u32 placed_on;   // pCPU it counts on, while placed
    bool placed;
    bool again; // switched on again while it leaves for VCPU_REQ_OFF, at next_entry; under vm->lock
    u64 next_entry, next_arg;
    _Atomic bool retired; // its VM is being destroyed
    struct vcpu_stats stats;
};

[[nodiscard]] int vcpu_init(struct vcpu *v, struct vm *vm, u32 id);
void vcpu_fini(struct vcpu *v);
// Makes v look at its interrupts and requests soon, wherever it is: in a guest on another CPU, halted, or about to
// enter. The caller has set irq_work or requests before. Any.
void vcpu_kick(struct vcpu *v);
// The two halves of a power-on: the books, with vm->lock held and the VM running, and then the wake-up without it.
void vcpu_power_on_locked(struct vcpu *v, u64 entry, u64 arg);
void vcpu_unpark(struct vcpu *v);
// Power-on of a vCPU that is off, by the VM's start or a CPU_ON: 0, -EINVAL (no such vCPU), -EALREADY (on), -EBUSY
// (being switched on), -EPERM (the VM is stopping). Any task.
// One that leaves for vcpu_stop() counts as off: it starts once it is out.
[[nodiscard]] int vcpu_start(struct vm *vm, u32 target, u64 entry, u64 arg);
// Another vCPU switches it off (x86's INIT): it leaves as with CPU_OFF, soon. 0, also if it is off; -EINVAL, -EPERM as
// above. Any task, also its own.
[[nodiscard]] int vcpu_stop(struct vm *vm, u32 target);
