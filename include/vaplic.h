// SPDX-License-Identifier: Apache-2.0
// The APLIC of a riscv64 guest (RISC-V Advanced Interrupt Architecture 1.0, chapter 4): one supervisor domain that
// forwards its wires as messages. Pure C: where a message goes is the architecture's.
#pragma once

#include "bus.h"
#include "types.h"

enum { VAPLIC_SOURCES = 95, VAPLIC_SIZE = 0x8000 };

// Message `identity` to the guest's hart `hart`; both are the guest's own numbers, unchecked. Any, LOCK_IRQCHIP held.
typedef void (*vaplic_send_fn)(struct vm *vm, u32 hart, u32 identity);

struct vaplic;

// Puts the registers at `base` on the bus. NULL: no memory, or what is on the bus is in the way. Context: VM creation.
[[nodiscard]] struct vaplic *vaplic_create(struct vm *vm, gpa_t base, vaplic_send_fn send);
// No vCPU runs. nullptr is fine. Context: task.
void vaplic_destroy(struct vaplic *a);
// The level of source `id`. Any, as irqchip_ops.set.
void vaplic_set(struct vaplic *a, u32 id, bool level);
