// SPDX-License-Identifier: Apache-2.0
// What the two files of the local APIC and the IOAPIC share.
#pragma once

#include "bus.h"
#include "vioapic.h"
#include "vlapic.h"

// Registers of the page; an x2APIC's MSR is the offset / 16.
enum {
    APIC_ID = 0x20,
    APIC_VERSION = 0x30,
    APIC_TPR = 0x80,
    APIC_APR = 0x90,
    APIC_PPR = 0xa0,
    APIC_EOI = 0xb0,
    APIC_RRD = 0xc0,
    APIC_LDR = 0xd0,
    APIC_DFR = 0xe0,
    APIC_SVR = 0xf0,
    APIC_ISR = 0x100,
    APIC_TMR = 0x180,
    APIC_IRR = 0x200,
    APIC_ESR = 0x280,
    APIC_ICR = 0x300,
    APIC_ICR_HIGH = 0x310,
    APIC_LVT = 0x320, // timer, thermal, performance, LINT0, LINT1, error
    APIC_INITIAL_COUNT = 0x380,
    APIC_CURRENT_COUNT = 0x390,
    APIC_DIVIDE = 0x3e0,
    APIC_SELF_IPI = 0x3f0,
};

enum { LVT_TIMER, LVT_THERMAL, LVT_PERFORMANCE, LVT_LINT0, LVT_LINT1, LVT_ERROR, LVTS };

enum : u32 {
    APIC_VERSION_VALUE = 0x14 | (LVTS - 1) << 16,
    SVR_ENABLE = 1 << 8,
    SVR_FOCUS = 1 << 9,
    SVR_RESET = 0xff,
    DFR_FLAT = 0xffffffff,
    LVT_MASKED = 1 << 16,
    LVT_TIMER_MODE = 3 << 17,
    LVT_ONE_SHOT = 0 << 17,
    LVT_PERIODIC = 1 << 17,
    LVT_DEADLINE = 2 << 17,
    ESR_SEND_ILLEGAL = 1 << 5,
    ESR_RECEIVE_ILLEGAL = 1 << 6,
    ESR_ILLEGAL_REGISTER = 1 << 7,
    ICR_LOGICAL = 1 << 11,
    ICR_BUSY = 1 << 12,
    ICR_ASSERT = 1 << 14,
    ICR_LEVEL = 1 << 15,
    VECTOR_MIN = 16, // 0…15 are the processor's exceptions
};

struct vlapic_vm {    // vm->irqchip
    struct vdev page; // first
    u32 order, count;
    _Atomic u32 arbiter; // lowest priority: who is next
    struct vioapic *ioapic;
    struct vlapic lapic[VLAPIC_MAX_VCPUS];
};

// The highest bit of a set of vectors, or -1.
static inline s32 vectors_highest(const u64 *set) {
    for (u32 w = VLAPIC_WORDS; w-- > 0;)
        if (set[w])
            return (s32)(w * 64 + 63 - (u32)__builtin_clzll(set[w]));
    return -1;
}

// Accepts a vector, as the APIC does with a message or its own local interrupts. True: the vCPU is to be kicked. Any.
[[nodiscard]] bool vlapic_post(struct vlapic *l, u32 vector, bool level);
// The same by the vCPU itself, which looks at it before it goes back in.
void vlapic_post_self(struct vlapic *l, u32 vector);
// Brings vlapic_pending() up to date. The vCPU itself.
void vlapic_look(struct vlapic *l);
// Would anybody accept the message, a fixed or lowest priority one? Any.
[[nodiscard]] bool vlapic_takes(struct vm *vm, const struct vlapic_message *message);
void vlapic_reset_registers(struct vlapic *l);
int vlapic_page_access(struct vdev *dev, struct bus_access *a);
void vlapic_icr_send(struct vcpu *v, u64 icr, bool x2);

// The timer, vlapic_timer.c.
void vlapic_timer_init(struct vlapic *l);
void vlapic_timer_stop(struct vlapic *l);
void vlapic_timer_count_write(struct vlapic *l, u32 count);
u32 vlapic_timer_count(const struct vlapic *l);
void vlapic_timer_divide_write(struct vlapic *l, u32 value);
void vlapic_timer_deadline_write(struct vlapic *l, u64 deadline);
// Before lvt[LVT_TIMER] becomes `lvt`.
void vlapic_timer_mode_changes(struct vlapic *l, u32 lvt);

void vioapic_set(struct vm *vm, u32 pin, bool level);
void vioapic_reset(struct vioapic *io);
size_t vioapic_describe(struct vioapic *io, char *buf, size_t size);
