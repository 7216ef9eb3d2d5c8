// SPDX-License-Identifier: Apache-2.0
// The PLIC of a riscv64 guest (RISC-V Platform-Level Interrupt Controller 1.0.0), laid out as QEMU's virt: two contexts
// a hart, 2n for M-mode and 2n + 1 for S-mode. A guest has no M-mode: that context has its registers, which software
// may touch, and no wire. Pure C: what arch/riscv64 does with the result is said at struct vplic_cpuif.
#pragma once

#include <stdatomic.h>

#include "bus.h"
#include "irqchip.h"
#include "types.h"

enum {
    VPLIC_MAX_VCPUS = 16,
    VPLIC_SOURCES = 95,      // riscv,ndev of the guest's device tree: sources 1…95
    VPLIC_PRIORITY_MASK = 7, // 0: never
    VPLIC_SIZE = 0x600000,
};

// The private lines of a vCPU (irqchip_ops.set_ppi), numbered as in its sip. set_ppi(v, VPLIC_SSI, true) posts: what
// takes it back is the guest's own write to sip.
enum { VPLIC_SSI = 1, VPLIC_STI = 5, VPLIC_SEI = 9 };

// What a vCPU's interrupt-pending bits are to be. Owned by the vCPU's own task; others only read `enabled`.
//
// What the architecture does with it:
//   entry   if dirty: hvip.VSTIP and VSEIP as in levels; VSSIP set if soft, else left alone; clears soft and dirty
//   load    as entry, and VSSIP as it was at save
//   halt    (before it gives out VEXIT_HALT or CPU_SUSPEND) notes vsie in enabled; does not give it
//           out while vsip & vsie
struct vplic_cpuif {
    u32 levels; // bits VPLIC_STI and VPLIC_SEI
    bool soft;  // a software interrupt was posted
    bool dirty;
    _Atomic u32 enabled; // the sie of the halted guest: what wakes it
};

struct vplic;

// Created by arch_guest_devices, when the VM's vCPUs are there: sets vm->irqchip, vm->irqchip_ops and each v->irqchip,
// and puts the registers at `base` on the bus. -ENOMEM, or what bus_add says.
//
// ops->ipi (VEXIT_SEND_IPI): exit->value is a set of vCPUs, bit n for vCPU n; each is posted a software interrupt.
// ops->ready: a line that is up, or arch_irq_level(v, VPLIC_STI), is enabled. An architecture whose timer raises the
// pending bit by itself (Sstc) wakes a halted vCPU with irq_work and vcpu_kick(), and needs no set_ppi.
[[nodiscard]] int vplic_create(struct vm *vm, gpa_t base);
// The same without registers: the vCPUs' software and timer interrupts, for a guest whose devices go another way.
[[nodiscard]] int vplic_create_lines(struct vm *vm);
void vplic_destroy(struct vm *vm);
// nullptr before vplic_create.
struct vplic_cpuif *vplic_cpuif(struct vcpu *v);
extern const struct irqchip_ops vplic_ops;
