// SPDX-License-Identifier: Apache-2.0
// The local APICs of an x86_64 guest (Intel SDM volume 3, chapter 11; AMD APM volume 2, chapter 16): xAPIC by its page,
// x2APIC by MSRs, one a vCPU, whose APIC id is the vCPU's number. Pure C. What another CPU does to a vCPU's APIC are
// atomic bits: there is no lock, and what a vCPU does to its own may be done right where the guest came out.
#pragma once

#include <stdatomic.h>

#include "irqchip.h"
#include "timer.h"
#include "types.h"
#include "vcpu.h"

enum {
    VLAPIC_MAX_VCPUS = 16,
    VLAPIC_WORDS = 256 / 64,
    VLAPIC_SIZE = 0x1000,
    VLAPIC_TIMER_HZ = 1000000000, // what the timer counts, before the divider: one a nanosecond
};
#define VLAPIC_BASE 0xfee00000ull // cannot be moved

// MSRs that are ours: IA32_APIC_BASE, IA32_TSC_DEADLINE, and VLAPIC_MSR_X2APIC … + 0x3f.
enum { VLAPIC_MSR_BASE = 0x1b, VLAPIC_MSR_DEADLINE = 0x6e0, VLAPIC_MSR_X2APIC = 0x800, VLAPIC_MSR_X2APIC_COUNT = 0x40 };
enum : u64 { VLAPIC_BASE_BSP = 1 << 8, VLAPIC_BASE_X2APIC = 1 << 10, VLAPIC_BASE_ENABLE = 1 << 11 };

// How the architecture uses it (everything here is of the vCPU's own task unless it says otherwise):
//   exit    MMIO on the page goes to vm->bus; an MSR of ours is VEXIT_SYSREG (nr the MSR), which the core hands to
//           vlapic_sysreg(), and -EFAULT comes back as arch_vcpu_fault: #GP. Short cuts inside arch_vcpu_run:
//           vlapic_eoi(), vlapic_msr_try(). CR8 is vlapic_tpr() >> 4: if the hardware holds it while the guest runs,
//           vlapic_set_tpr() after an exit.
//   halt    vlapic_halt(v, RFLAGS.IF, no NMI is being handled) before VEXIT_HALT is given out.
//   entry   vlapic_take_nmi(): an NMI is to be injected. Then vlapic_deliverable(): the vector to be injected, or -1.
//           If the guest takes it now: vlapic_accept() and inject. If it cannot (IF, shadow, another event): ask for
//           the interrupt window. If it is -1 and vlapic_pending() is not: it waits for a lower TPR; if the guest may
//           lower that without an exit (CR8), ask for a window of that priority.
//   clock   vlapic_set_tsc_offset(): the guest's TSC less arch_ticks(), at reset and whenever it changes.
//   INIT    makes the target leave its loop (VCPU_REQ_OFF) and park; SIPI is vcpu_start() with entry = vector << 12.
//           Of vCPU 0, which has no firmware to go to, it is a reset of the VM.
struct vlapic {
    struct vcpu *vcpu;
    // Another CPU's: requests that are not yet in service, and which of them came from a level-triggered line.
    _Atomic u64 irr[VLAPIC_WORDS];
    _Atomic u64 tmr[VLAPIC_WORDS];
    _Atomic bool nmi;
    // Written by the vCPU, read by those that send to it.
    _Atomic u32 ldr, dfr, svr;
    _Atomic u64 base; // IA32_APIC_BASE
    // What a halted vCPU wakes for: interrupts (its IF), NMIs (unless one blocks them).
    _Atomic bool interruptible, nmi_able;
    // The vCPU's own.
    u64 isr[VLAPIC_WORDS];
    s32 pending;    // the highest vector in irr as of the last look, or -1
    u32 in_service; // the highest vector in isr, or 0
    u32 tpr;
    u32 esr, errors; // as read, and what came since it was written
    _Atomic u32 errors_received;
    u64 icr;
    u32 lvt[6];
    u32 divider; // register 0x3e0
    u32 initial_count;
    u64 tsc_deadline;
    u64 end_ns; // when the count reaches 0; 0: it does not run
    u64 tsc_offset;
    struct timer timer;
};

// Creates the APICs when the VM's vCPUs are there: sets vm->irqchip, vm->irqchip_ops and each v->irqchip, and puts the
// page on vm->bus. The IOAPIC (vioapic.h) comes after it. -ENOMEM, or what bus_add says. Context: VM creation.
[[nodiscard]] int vlapic_create(struct vm *vm);
void vlapic_destroy(struct vm *vm); // context: task
extern const struct irqchip_ops vlapic_ops;

static inline struct vlapic *vlapic_of(struct vcpu *v) {
    return v->irqchip;
}

// An interrupt message, from the IOAPIC, an MSI or an ICR. `dest` as wide as `x2` says; with `logical` it is a set.
struct vlapic_message {
    u32 dest;
    u8 vector;
    u8 mode; // enum vlapic_delivery
    bool logical, level, x2;
};
enum vlapic_delivery {
    VLAPIC_FIXED,
    VLAPIC_LOWEST,
    VLAPIC_SMI,
    VLAPIC_NMI = 4,
    VLAPIC_INIT,
    VLAPIC_STARTUP,
    VLAPIC_EXTINT
};
// Fixed, lowest priority and NMI; the others do nothing. Returns the vCPUs that are to be kicked, once the caller has
// dropped its lock: vlapic_kick(). Any.
[[nodiscard]] u32 vlapic_send(struct vm *vm, const struct vlapic_message *message);
void vlapic_kick(struct vm *vm, u32 vcpus, const struct vcpu *self);

// ── The guest's registers ───────────────────────────────────────────────────────────────────────────────────────────
// Any MSR of ours: VEXIT_SYSREG's nr, write, value. 0, with exit->value read; -EFAULT: #GP. Task.
[[nodiscard]] int vlapic_sysreg(struct vcpu *v, struct vexit *exit);
// The same if it concerns nobody else: true, served (a read's answer in *value); false, nothing happened: it is for the
// core, or an error. Task, or in arch_vcpu_run.
[[nodiscard]] bool vlapic_msr_try(struct vcpu *v, u32 msr, bool write, u64 *value);
// At reset it is 0. Re-arms a TSC deadline.
void vlapic_set_tsc_offset(struct vcpu *v, u64 offset);

static inline u32 vlapic_tpr(const struct vlapic *l) {
    return l->tpr;
}
static inline void vlapic_set_tpr(struct vlapic *l, u32 tpr) {
    l->tpr = tpr & 0xff;
}
static inline u32 vlapic_ppr(const struct vlapic *l) {
    return (l->tpr & 0xf0) >= (l->in_service & 0xf0) ? l->tpr : l->in_service & 0xf0;
}
static inline bool vlapic_x2apic(const struct vlapic *l) {
    return atomic_load_explicit(&l->base, memory_order_relaxed) & VLAPIC_BASE_X2APIC;
}
// CPUID.1:EDX[9] follows it.
static inline bool vlapic_enabled(const struct vlapic *l) {
    return atomic_load_explicit(&l->base, memory_order_relaxed) & VLAPIC_BASE_ENABLE;
}

// ── Injection ───────────────────────────────────────────────────────────────────────────────────────────────────────
// The highest request, whatever the priorities, or -1.
static inline s32 vlapic_pending(const struct vlapic *l) {
    return l->pending;
}
// The vector that the processor would take now, were its IF set, or -1.
static inline s32 vlapic_deliverable(const struct vlapic *l) {
    return l->pending >= 0 && ((u32)l->pending & 0xf0) > (vlapic_ppr(l) & 0xf0) ? l->pending : -1;
}
// The processor takes `vector`, which vlapic_deliverable() has named.
void vlapic_accept(struct vlapic *l, u32 vector);
// The same in two parts, for a processor that has `vector` before it and takes it by itself while the guest runs, which
// is known only when it comes out. Meanwhile it is no request: its handler may long have run when the next one of the
// same vector comes, which must not be taken for this one.
void vlapic_offer(struct vlapic *l, u32 vector);
void vlapic_offered(struct vlapic *l, u32 vector, bool taken);
static inline bool vlapic_nmi_pending(const struct vlapic *l) {
    return atomic_load_explicit(&l->nmi, memory_order_relaxed);
}
// True once an NMI; the caller injects it.
static inline bool vlapic_take_nmi(struct vlapic *l) {
    return vlapic_nmi_pending(l) && atomic_exchange_explicit(&l->nmi, false, memory_order_acquire);
}
// End of interrupt. False: the interrupt was a level-triggered one, which the IOAPIC is to hear of; nothing happened
// yet, let the access go through the core.
[[nodiscard]] bool vlapic_eoi(struct vlapic *l);
static inline void vlapic_halt(struct vcpu *v, bool interruptible, bool nmi_able) {
    atomic_store_explicit(&vlapic_of(v)->interruptible, interruptible, memory_order_relaxed);
    atomic_store_explicit(&vlapic_of(v)->nmi_able, nmi_able, memory_order_relaxed);
}
