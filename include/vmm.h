// SPDX-License-Identifier: Apache-2.0
// The virtual machine manager: all VMs, and the commands of an operator on them.
#pragma once

#include "board.h"
#include "cmdline.h"
#include "vm.h"

// Reads the hypervisor's command line; unknown words are logged. Boot.
const struct cmdline *vmm_cmdline(const struct board *board);
// From the bundle: every vms/*.toml becomes a VM, or a VM in state failed with the reason. Task: boot.
void vmm_init(const struct board *board);
// Starts the VMs with autostart, then waits until none is running (with idle=shell: for ever). Task: the main task.
void vmm_start(void);

u32 vmm_count(void);
struct vm *vmm_vm(u32 index);                // 0 … count-1, in id order
struct vm *vmm_find(const char *name_or_id); // NULL
u32 vmm_running(void);
// Called by the last vCPU out, in its task: tells people how it ends, before the VM may be started again …
void vmm_vm_stops(struct vm *vm, enum vm_state end, bool restart);
// … and afterwards wakes vmm_start; the VM itself may already run again.
void vmm_vm_stopped(bool restart);

// Operator commands. 0 or negative errno with a sentence in `why`. They wait until the move is complete (stop: 10 s,
// then the sentence says so). Task (the shell's).
[[nodiscard]] int vmm_vm_start(struct vm *vm, char *why, size_t why_size);
[[nodiscard]] int vmm_vm_stop(struct vm *vm, bool force, char *why, size_t why_size);
[[nodiscard]] int vmm_vm_restart(struct vm *vm, char *why, size_t why_size);
[[noreturn]] void vmm_power_off(void);
[[noreturn]] void vmm_reboot(void);
