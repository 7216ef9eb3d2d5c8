// SPDX-License-Identifier: Apache-2.0
// The IOAPIC of an x86_64 guest (Intel 82093AA), with 24 pins and the EOI register of its later versions (0x20). Pure
// C.
#pragma once

#include "types.h"

struct vm;
struct vcpu;

enum { VIOAPIC_PINS = 24, VIOAPIC_SIZE = 0x1000 };
#define VIOAPIC_BASE 0xfec00000ull

struct vioapic;

// vlapic_create() was called: irqchip_set() raises pin `irq`. -ENOMEM, or what bus_add says. Context: VM creation.
[[nodiscard]] int vioapic_create(struct vm *vm);
void vioapic_destroy(struct vm *vm);
// A local APIC has ended the interrupt `vector`, which was level-triggered. Task, no lock held.
void vioapic_eoi(struct vcpu *by, u32 vector);
