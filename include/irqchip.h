// SPDX-License-Identifier: Apache-2.0
// The contract between the VMM, the devices and a VM's interrupt controller.
//
// Raising: irqchip_set() and irqchip_set_ppi() change a line; the controller marks the vCPU that should take it
// (irq_work) and calls vcpu_kick(). Injecting happens in one place: ops->flush, called by the vCPU's own task on the
// way into the guest.
#pragma once

#include "types.h"

struct vcpu;
struct vexit;
struct vm;

struct irqchip_ops {
    const char *name;
    // Power-on state; no vCPU runs.
    void (*reset)(struct vm *vm);
    void (*vcpu_reset)(struct vcpu *v);
    // The level of a shared wired line (guest numbering: GIC SPI INTID 32…, PLIC source). Any.
    void (*set)(struct vm *vm, u32 irq, bool level);
    // The level of a private line of one vCPU (GIC PPI INTID 16…31). Any.
    void (*set_ppi)(struct vcpu *v, u32 irq, bool level);
    // VEXIT_SEND_IPI: exit->value is the architecture's request, exit->nr says which register (GICv3: 0 SGI1R, 1 SGI0R,
    // 2 ASGI1R). Task, sender loaded.
    void (*ipi)(struct vcpu *v, const struct vexit *exit);
    // VEXIT_SYSREG: a system register of the interrupt controller's, exit->nr in the architecture's encoding; a read's
    // answer goes into exit->value. -EFAULT: to be reflected. nullptr: there are none. Task, loaded.
    int (*sysreg)(struct vcpu *v, struct vexit *exit);
    // Clears v->irq_work, takes back what the guest has finished, and moves what is deliverable into the interface's
    // image (list registers). Called before an entry when irq_work is set, by v's own task, loaded.
    void (*flush)(struct vcpu *v);
    // Would v, were it halted, wake for an interrupt now? (Ignores the guest's CPU interrupt mask, as WFI does.) Exact
    // if v is loaded here or saved; takes no lock. Any.
    bool (*ready)(struct vcpu *v);
    // One line per interesting interrupt, for `vm show`. Any.
    size_t (*describe)(struct vm *vm, char *buf, size_t size);
};

// The devices' call. Any; a lock of a rank below LOCK_IRQCHIP may be held.
void irqchip_set(struct vm *vm, u32 irq, bool level);
