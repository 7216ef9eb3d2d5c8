// SPDX-License-Identifier: Apache-2.0
// A VM with a vGICv3 and the hardware's half of a virtual CPU interface for each vCPU, as IHI 0069 describes it: the
// model's image goes to the hardware at an entry and comes back at an exit or a sync, never in between.
#pragma once

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "gic_regs.h"
#include "vgic.h"
#include "vm.h"

enum {
    VM_GICD = 0x8000000,
    VM_GICR = 0x80a0000,
    VM_VCPUS_MAX = 4,
    TIMER_PPI = 27,
    SPURIOUS = 1023,
    IDLE_PRIORITY = 0x100
};

struct hw {
    u64 lr[VGIC_MAX_LR];
    u32 hcr, eoicount;
    bool in_guest, kicked;
    bool timer_level, timer_active; // the physical timer interrupt
    u32 depth;                      // of nested active interrupts
    u32 running[VGIC_IRQS + 1];     // their priorities
};

extern struct vm vm;
extern struct vcpu vcpus[VM_VCPUS_MAX];
extern struct hw hw[VM_VCPUS_MAX];

// A fresh VM; group 1 is enabled, and every interrupt is in it.
void machine_start(u32 vcpu_count, u32 lr_count);
void machine_stop(void);

// Accesses by a vCPU, with the exit and the entry around them. They expect a device to be there.
u64 mmio_read(u32 v, u64 address, u8 size);
void mmio_write(u32 v, u64 address, u8 size, u64 value);
static inline u32 dist_read(u32 offset) {
    return (u32)mmio_read(0, VM_GICD + offset, 4);
}
static inline void dist_write(u32 offset, u64 value) {
    mmio_write(0, VM_GICD + offset, 4, value);
}
// The bit of an interrupt in a bank (GICD_ISENABLER, …): in the distributor, or in vCPU v's redistributor.
bool irq_read(u32 v, u32 bank, u32 irq);
void irq_write(u32 v, u32 bank, u32 irq);
void irq_write_of(u32 by, u32 v, u32 bank, u32 irq); // v's private one, by another
void irq_set_priority(u32 v, u32 irq, u32 priority);
void irq_set_edge(u32 v, u32 irq, bool edge);
void send_sgi(u32 v, u32 sgi, u32 targets);
void line_set(u32 spi, bool level); // INTID; by a device on no vCPU
void timer_set(u32 v, bool level);

// The guest. A vCPU that was kicked, or whose hardware raises a maintenance interrupt, comes out and goes in again
// first.
u32 guest_ack(u32 v); // ICC_IAR1_EL1
void guest_eoi(u32 v, u32 irq);
u32 guest_running_priority(u32 v);
// Out and in again.
void guest_bounce(u32 v);
