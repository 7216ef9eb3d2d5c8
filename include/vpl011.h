// SPDX-License-Identifier: Apache-2.0
// The Arm PL011 UART (DDI 0183) of an aarch64 guest, on the VM's console: revision r1p5, with FIFOs of 32 bytes.
#pragma once

#include "types.h"

struct vm;

// Puts the UART at `base` (4 KiB) on vm->bus; it raises `irq` (the interrupt controller's number) and talks to
// vm->console, which is there. -ENOMEM, or what bus_add says. Context: VM creation.
[[nodiscard]] int vpl011_create(struct vm *vm, gpa_t base, u32 irq);
// No vCPU runs. A VM without a PL011 is fine. Context: task.
void vpl011_destroy(struct vm *vm);
