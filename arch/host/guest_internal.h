// SPDX-License-Identifier: Apache-2.0
// The state of a scripted guest's vCPU, and the model of its virtual CPU interface (gicv.c).
#pragma once

#include "guest.h"
#include "host_internal.h"
#include "vexit.h"
#include "vgic.h"
#include "vm.h"

struct host_gicv { // the hardware's side of struct vgic_cpuif
    u64 lr[VGIC_MAX_LR];
    u32 hcr;
    u32 eoi_count;
    u8 running[32]; // priorities of the interrupts being served, most urgent last
    u32 running_count;
};

// What a guest of harts asks of its hypervisor, in arch_vcpu_run.
struct hart_call {
    enum { HART_NOTHING, HART_TIMER, HART_CLAIM, HART_CSR } what;
    u64 select, value; // value: also the answer
};

struct host_guest_state {
    struct host_guest guest;
    struct host_guest_state *next;
    guest_fn fn;
    struct host_fiber *fiber; // the guest's flow
    struct host_fiber *task;  // the flow of the task that is in arch_vcpu_run
    struct vexit *exit;       // of the arch_vcpu_run that is under way
    enum vexit_kind waiting;  // what the guest waits for an answer to; VEXIT_NONE: nothing
    struct vexit answer;
    bool dead;          // off: must not be entered without a reset
    bool wfi;           // sleeps without a trap
    bool executing;     // between an entry and the exit
    bool timer_on;      // the virtual timer: CTL.ENABLE and not IMASK
    u64 timer_ns;       // CVAL, on the arch_now_ns() scale
    struct timer timer; // stands in for the hardware's while the vCPU is not loaded
    struct host_gicv gicv;
    struct { // of a machine with harts: vsip and vsie
        u32 levels, enabled;
        bool soft;
    } hart;
    struct hart_call call;
    struct {               // of a machine with local APICs
        bool ready;        // at the last entry there was something to take: the interrupt window was asked for
        bool window;       // IF is set, as the guest is to take something
        bool masked;       // its halts wait for NMIs only
        bool took;         // what was offered
        s32 offered;       // before the processor, which takes it by itself; -1: nothing
        s32 got;           // a vector; APIC_NMI; -1: nothing
        struct vexit *msr; // an MSR's access that is to be served without the core, and then is nullptr
    } apic;
    u32 storm; // maintenance interrupts in a row without an instruction in between
};

struct host_guest_state *host_guest_of(struct vcpu *v);
bool host_timer_level(const struct host_guest_state *s);
// Out of the guest with *s->exit; returns at the next entry.
void host_guest_leave(struct host_guest_state *s);

static inline bool host_has_gic(const struct vm *vm) {
    return vm->arch.irqchip == HOST_GIC;
}
static inline bool host_has_harts(const struct vm *vm) {
    return vm->arch.irqchip == HOST_PLIC || vm->arch.irqchip == HOST_AIA;
}
static inline bool host_has_apics(const struct vm *vm) {
    return vm->arch.irqchip == HOST_APIC;
}

// What another machine than one with a GIC does in its place.
struct host_irqv {
    int (*create)(struct vm *vm);
    void (*destroy)(struct vm *vm);
    // On the vCPU's way, in its task.
    void (*load)(struct host_guest_state *s);
    void (*save)(struct host_guest_state *s);
    void (*enter)(struct host_guest_state *s);
    void (*serve)(struct host_guest_state *s, struct vexit *exit); // after an exit
    bool (*pending)(const struct host_guest_state *s);             // the guest would take something
    bool (*level)(const struct host_guest_state *s);               // arch_irq_level of its timer
    void (*timer_expired)(struct vcpu *v);
    // The guest's instructions.
    void (*timer_set)(struct host_guest *g, u64 at_ns); // TIMER_NEVER: off
    void (*ipi)(struct host_guest *g, u32 sgi, u32 targets);
    void (*signal)(struct host_guest *g, u32 targets);
    u32 (*ack)(struct host_guest *g);
    void (*eoi)(struct host_guest *g, u32 irq);
    void (*enable)(struct host_guest *g, u32 irq, u8 priority);
    void (*resume)(struct host_guest *g);
};
extern const struct host_irqv host_hartv, host_apicv;

static inline const struct host_irqv *host_irqv_of(const struct vm *vm) { // nullptr: it has a GIC
    return host_has_gic(vm) ? nullptr : host_has_apics(vm) ? &host_apicv : &host_hartv;
}

// hartv.c
u32 hart_pending(const struct host_guest_state *s); // and enabled
// A device whose lines GUEST_BELL_IRQ + n guests raise and lower.
[[nodiscard]] int host_bell_create(struct vm *vm);
void host_bell_destroy(struct vm *vm);

// apicv.c
enum { APIC_NMI = 2 };    // the NMI's vector
u32 apic_vector(u32 irq); // that a guest's interrupt has

// Entry, exit, load and save as include/vgic.h states them. cif is NULL for a VM without a vGIC.
void gicv_enter(struct host_gicv *h, struct vgic_cpuif *cif);
void gicv_leave(struct host_gicv *h, struct vgic_cpuif *cif);
void gicv_sync(struct host_gicv *h, struct vgic_cpuif *cif);
void gicv_load(struct host_gicv *h, struct vgic_cpuif *cif);
void gicv_save(struct host_gicv *h, struct vgic_cpuif *cif);
// The maintenance interrupt's level, and what its handler does.
bool gicv_maintenance(const struct host_gicv *h, u32 lr_count);
void gicv_take_maintenance(struct host_gicv *h, struct vcpu *v, struct vgic_cpuif *cif);
// The list register of the interrupt that the guest would take now, -1: none.
int gicv_candidate(const struct host_gicv *h, u32 lr_count);
u32 gicv_ack(struct host_gicv *h, u32 lr_count);
// Returns the physical INTID to deactivate, 0: none.
u32 gicv_eoi(struct host_gicv *h, u32 lr_count, u32 intid);
