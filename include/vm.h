// SPDX-License-Identifier: Apache-2.0
// Virtual machines: what they are made of, and their life cycle.
#pragma once

#include <stdatomic.h>

#include "arch_types.h"
#include "bus.h"
#include "config.h"
#include "irqchip.h"
#include "lock.h"
#include "pgtable.h"
#include "types.h"
#include "vcpu.h"

struct boot_entry;
struct bundle;
struct console;

enum { VM_MAX = 32, VM_MAX_VCPUS = 16, VM_MAX_EXTENTS = 64, VM_REASON_MAX = 240 };

enum vm_state {
    VM_LOADED, // created; images are (re)loaded when it starts
    VM_RUNNING,
    VM_SUSPENDED, // reserved for suspend/resume
    VM_STOPPING,  // its vCPUs are leaving
    VM_STOPPED,
    VM_FAILED, // could not be created or started, or crashed; see reason
    VM_STATES
};

enum vm_stop {
    VM_STOP_SHUTDOWN,
    VM_STOP_RESET,
    VM_STOP_CRASH,
    VM_STOP_OPERATOR,
    VM_STOP_RESTART
}; // why it is stopping

struct extent { // a contiguous piece of guest RAM
    gpa_t gpa;
    pa_t pa;
    u64 size;
};

struct vm {
    struct arch_vm arch; // first
    u32 id;              // 1…
    struct vm_config cfg;
    struct spinlock lock; // state, vcpus_in, stop cause, power of its vCPUs
    enum vm_state state;
    enum vm_stop stop;
    bool created;               // has memory and vCPUs; else only its name and the reason why not
    bool starting;              // being loaded by the main task
    bool restart;               // stopped, and to be started again
    bool cancelled;             // while it stops or starts: the operator wants it to stay stopped
    u32 vcpus_in;               // vCPUs that are on or being switched on
    char reason[VM_REASON_MAX]; // why it failed or stopped, for `vm show`
    struct pgtable s2;
    gpa_t ram;
    struct gpa_range hole; // in it
    struct extent extents[VM_MAX_EXTENTS];
    u32 extent_count;
    struct bus bus;   // devices in memory
    struct bus ports; // and in the I/O space, where the architecture has one
    const struct irqchip_ops *irqchip_ops;
    void *irqchip; // the controller's own part
    void *devices; // the architecture's fixed devices
    struct console *console;
    u32 vcpu_count;
    struct vcpu *vcpus[VM_MAX_VCPUS];
    u32 starts;  // how often it was started
    u32 crashes; // automatic restarts after a crash, in the present window
    u64 crash_window_ns;
    u64 started_ns, stopped_ns;
    u64 created_bytes; // host memory that it holds
};

const char *vm_state_name(enum vm_state s);
// True if the table of the life cycle has this move.
bool vm_state_may(enum vm_state from, enum vm_state to);

// Memory for a struct vm that is known by name only. NULL. Task.
[[nodiscard]] struct vm *vm_alloc(void);
void vm_free(struct vm *vm);
// Creates memory, stage 2, devices, console and vCPU tasks, and copies the configuration. On an error it gives back
// what it took; `why` says what was missing. Task.
[[nodiscard]] int vm_create(struct vm *vm, const struct vm_config *cfg, u32 id, char *why, size_t why_size);
void vm_destroy(struct vm *vm);
// Zeroes the memory, loads the images, resets devices, chooses a pCPU for each vCPU. The VM does not run. Task (main).
[[nodiscard]] int vm_boot(struct vm *vm, const struct bundle *bundle, struct boot_entry *entry, char *why,
                          size_t why_size);
// → RUNNING, and wakes the primary vCPU. False: cancelled, it stays as it was. Task (main).
[[nodiscard]] bool vm_run(struct vm *vm, const struct boot_entry *entry);
// → FAILED with a reason. Task (main).
[[gnu::format(printf, 2, 3)]] void vm_fail(struct vm *vm, const char *reason, ...);
// Asks every vCPU to leave; the first cause wins. Returns false if the VM is not running. Any task (also a vCPU's).
[[gnu::format(printf, 3, 4)]] bool vm_stop(struct vm *vm, enum vm_stop cause, const char *reason, ...);
// The operator stops a VM that is stopping already, or on its way to run: it is not started (again). False: it is
// neither. Any task.
bool vm_cancel(struct vm *vm);
// Takes back the starting of a cancelled VM: true if there was something to take back. Task (main).
bool vm_drop_start(struct vm *vm);
// The vCPU's bookkeeping around its loop: the last one out ends the stop. Task (the vCPU's).
void vm_vcpu_enter(struct vcpu *v);
void vm_vcpu_leave(struct vcpu *v);
