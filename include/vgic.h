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
struct vgic_cpuif {
    u64 lr[VGIC_MAX_LR];
    u32 lr_count;  // in this hardware, 1…16
    u32 lr_used;   // bit n: lr[n] holds an interrupt
    u32 lr_dirty;  // bit n: lr[n] was written by the model and must go to the hardware before the next entry
    u32 lr_empty;  // bits of lr_used that the hardware showed as empty (ELRSR) at the last exit; folded by flush
    u32 eoi_count; // ICH_HCR_EL2.EOIcount at the last exit (EOIs that matched no LR); the model takes them and sets 0
    u32 hcr;       // VGIC_HCR_* wanted
    bool hcr_dirty;
    // moved on a vCPU switch only
    u64 vmcr;
    u32 ap0r[4], ap1r[4];
};

struct vgic_vcpu;
struct vgic;

// Created by arch_guest_devices. The distributor at gicd, vCPU n's redistributor at gicr + n * VGIC_GICR_STRIDE.
[[nodiscard]] int vgic_create(struct vm *vm, gpa_t gicd, gpa_t gicr, u32 lr_count);
void vgic_destroy(struct vm *vm);
// From now on the private interrupt `ppi` is backed by physical INTID `pintid`: its list register carries HW = 1, and
// the guest's deactivation deactivates the physical interrupt. Its level is asked from arch_irq_level().
void vgic_map_ppi(struct vcpu *v, u32 ppi, u32 pintid);
struct vgic_cpuif *vgic_cpuif(struct vcpu *v);
extern const struct irqchip_ops vgicv3_ops;
