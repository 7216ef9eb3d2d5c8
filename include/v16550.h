// SPDX-License-Identifier: Apache-2.0
// The 16550A UART (National Semiconductor PC16550D) of riscv64 and x86_64 guests, on the VM's console: byte registers,
// reg-shift 0, FIFOs of 16 bytes.
#pragma once

#include "types.h"

struct bus;
struct vm;

enum { V16550_SIZE = 0x100, V16550_PORTS = 8, V16550_FIFO = 16 }; // in memory, in the I/O space; bytes

// Puts the UART at `base` on the bus, vm->bus or vm->ports; it takes `size` bytes there, raises `irq` (the interrupt
// controller's number) and talks to vm->console, which is there. -ENOMEM, or what bus_add says. Context: VM creation.
[[nodiscard]] int v16550_create(struct vm *vm, struct bus *bus, gpa_t base, u64 size, u32 irq);
// Takes what has been received, as reads of the data register would: up to `count` bytes, returns how many there were.
// For a firmware whose console the UART is. Any task of the VM's.
u32 v16550_take(struct vm *vm, char *to, u32 count);
// No vCPU runs. A VM without a 16550 is fine. Context: task.
void v16550_destroy(struct vm *vm);
