// SPDX-License-Identifier: Apache-2.0
// The small devices of an x86_64 guest's machine, in its I/O space (pc_map.h): CMOS clock, ACPI's PM timer and sleep
// register, keyboard controller, the ways to reset a PC, and the interval timer. Pure C. Each create puts its device on
// vm->ports: -ENOMEM, or what bus_add says; context: VM creation. Each destroy is fine without its device; no vCPU
// runs; context: task.
#pragma once

#include "types.h"

struct vm;

// MC146818 with 114 bytes of memory, on the hypervisor's wall-clock time; raises PC_PIN_CMOS. At a start the memory
// tells how much RAM there is, as a PC's firmware has it.
[[nodiscard]] int vcmos_create(struct vm *vm);
void vcmos_destroy(struct vm *vm);

// PC_SLEEP: a write that switches off stops the VM. PC_PM_TIMER: 3.579545 MHz, 32 bits.
[[nodiscard]] int vacpi_pm_create(struct vm *vm);
void vacpi_pm_destroy(struct vm *vm);

// 8042 without a keyboard: the controller's own commands, and its ways to reset the machine. Between its ports is port
// B of the interval timer, which must be there.
[[nodiscard]] int vkbc_create(struct vm *vm);
void vkbc_destroy(struct vm *vm);

// The reset control register 0xcf9, system control port A.
[[nodiscard]] int vreset_create(struct vm *vm);
void vreset_destroy(struct vm *vm);

// 8254: three counters at 1.193182 MHz; counter 0 raises PC_PIN_PIT, counter 2 is seen in port B.
[[nodiscard]] int vpit_create(struct vm *vm);
void vpit_destroy(struct vm *vm);
// Port B (0x61).
u8 vpit_port_b_read(struct vm *vm);
void vpit_port_b_write(struct vm *vm, u8 value);
