// SPDX-License-Identifier: Apache-2.0
// The Arm PL031 real-time clock (DDI 0224) of an aarch64 guest.
#pragma once

#include "types.h"

struct vm;

// Puts the clock at `base` (4 KiB) on vm->bus; it raises `irq` (the interrupt controller's number). -ENOMEM, or what
// bus_add says. Context: VM creation.
[[nodiscard]] int vpl031_create(struct vm *vm, gpa_t base, u32 irq);
// No vCPU runs. A VM without a PL031 is fine. Context: task.
void vpl031_destroy(struct vm *vm);
