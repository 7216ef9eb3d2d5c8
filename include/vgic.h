// SPDX-License-Identifier: Apache-2.0
// The GICv3 of an aarch64 guest (IHI 0069): distributor, redistributors, and the image of the virtual CPU interface
// that arch/aarch64 moves to and from the ICH_* registers. Pure C: it runs on a laptop with arch/host playing the
// hardware.
#pragma once

#include <stdatomic.h>

#include "bus.h"
#include "irqchip.h"
#include "lock.h"
#include "types.h"

enum {
    VGIC_MAX_VCPUS = 16,
    VGIC_MAX_LR = 16,
    VGIC_PRIVATE = 32,
    VGIC_SPIS = 256, // as QEMU's virt
    VGIC_IRQS = VGIC_PRIVATE + VGIC_SPIS,
    VGIC_GICD_SIZE = 0x10000,
    VGIC_GICR_STRIDE = 0x20000,
};

// ICH_LR<n>_EL2, IHI 0069 §12.4.8 (a list register as the architecture defines it)
#define LR_VINTID BITS(31, 0)
#define LR_PINTID BITS(44, 32)
#define LR_EOI BIT(41) // HW = 0: a maintenance interrupt at EOI
#define LR_PRIORITY BITS(55, 48)
#define LR_GROUP1 BIT(60)
#define LR_HW BIT(61)
#define LR_PENDING BIT(62)
#define LR_ACTIVE BIT(63)
#define LR_STATE (LR_PENDING | LR_ACTIVE)

// ICH_HCR_EL2 §12.4.6: the bits that the model controls. EN is always set by the architecture.
#define VGIC_HCR_UIE BIT(1)     // exit when at most one LR is in use
#define VGIC_HCR_LRENPIE BIT(2) // exit at an EOI for which no LR was found
#define VGIC_HCR_NPIE BIT(3)    // exit when no LR is pending

// The virtual CPU interface. Owned by the vCPU's own task while it runs; others look at it with the vCPU not running,
// or content themselves with the state of its last exit.
//
// What the architecture does with it:
//   entry   writes each lr[n] of lr_dirty to the hardware (a zero retires it) and clears lr_dirty; writes hcr, with
//           EOIcount = 0, if hcr_dirty, and clears that
//   exit    while lr_used: lr_empty = (ELRSR | EISR) & lr_used & ~lr_dirty. A list register that raises a maintenance
//           interrupt is a finished one (EISR; ELRSR does not count it). On a maintenance interrupt, sets v->irq_work.
//           If hcr has LRENPIE: eoi_count = EOIcount
//   sync    (arch_irq_sync) as exit, and reads lr[n] of lr_used & ~lr_dirty back from the hardware
//   save    as sync; load writes all lr[0 … lr_count - 1] (unused ones are 0) and hcr
struct vgic_cpuif {
    u64 lr[VGIC_MAX_LR]; // 0 if unused
    u32 lr_count;        // in this hardware, 1…16
    u32 lr_used;         // bit n: lr[n] holds an interrupt
    u32 lr_dirty;        // bit n: lr[n] was written by the model and must go to the hardware before the next entry
    u32 lr_empty;        // bits of lr_used whose interrupt the guest has finished; folded and cleared by flush
    u32 eoi_count;       // EOIs that matched no list register since the model last took them (it sets 0 and hcr_dirty)
    u32 hcr;             // VGIC_HCR_* wanted
    bool hcr_dirty;
    // moved on a vCPU switch only
    u64 vmcr;
    u32 ap0r[4], ap1r[4];
};

struct vgic_vcpu;
struct vgic;

// Created by arch_guest_devices, when the VM's vCPUs are there: sets vm->irqchip, vm->irqchip_ops and each v->irqchip,
// and puts the distributor at gicd and vCPU n's redistributor at gicr + n * VGIC_GICR_STRIDE on the bus. -ENOMEM, or
// what bus_add says.
[[nodiscard]] int vgic_create(struct vm *vm, gpa_t gicd, gpa_t gicr, u32 lr_count);
void vgic_destroy(struct vm *vm);
// From now on the private interrupt `ppi` is backed by physical INTID `pintid`: its list register carries HW = 1, and
// the guest's deactivation deactivates the physical interrupt. Its level is asked from arch_irq_level(). Before the VM
// runs.
void vgic_map_ppi(struct vcpu *v, u32 ppi, u32 pintid);
// On the way back into v's guest, right after the physical interrupt of a mapped `ppi` was taken, and lr_empty noted:
// puts it into a free list register and returns its number; that one is not marked dirty, the caller writes it to the
// hardware. VGIC_NO_LR: not that simple, nothing was done that set_ppi and flush do not expect. v's own task, loaded.
enum { VGIC_NO_LR = 0xff };
[[nodiscard]] u32 vgic_take_ppi(struct vcpu *v, u32 ppi);
// The mapped private interrupts whose physical interrupt the model holds active: waiting for the guest, or in a list
// register that was not finished at the last sync. For a vCPU switch. Any, v not running.
u32 vgic_held_ppis(struct vcpu *v);
// nullptr before vgic_create.
struct vgic_cpuif *vgic_cpuif(struct vcpu *v);
extern const struct irqchip_ops vgicv3_ops;
