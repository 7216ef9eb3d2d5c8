// SPDX-License-Identifier: Apache-2.0
// Scripted guests: C functions that run as a VM's vCPUs and come out through exits, as a real guest's instructions do.
// Every call below is an instruction: a scheduling point, before which a host interrupt may take the guest out and a
// virtual interrupt may be delivered.
#pragma once

#include "types.h"

struct host_guest;
struct vcpu;

typedef void (*guest_fn)(struct host_guest *g);

struct host_guest {
    struct vcpu *v;
    u32 cpu;        // vCPU index
    u64 entry, arg; // as given to arch_vcpu_reset
    guest_fn irq;   // interrupt handler, called between two instructions; NULL: the guest polls
    bool irq_masked;
    bool no_vectors; // cannot take a fault: arch_vcpu_fault fails
    bool faulted;    // the last access was answered with a fault
    void *user;      // the test's; survives a reset
    struct host_guest_state *state;
};

// What the vCPUs of a VM run from its reset on, by the VM's name; a later registration of a name counts. A guest that
// returns switches its vCPU off, vCPU 0 the machine. Until the next host_init.
void host_guest_register(const char *vm_name, guest_fn fn);
// Which interrupt controller the machine of a registered VM has, from its creation on.
enum host_irqchip { HOST_GIC, HOST_PLIC, HOST_AIA, HOST_APIC };
void host_guest_irqchip(const char *vm_name, enum host_irqchip kind);
// An entry address for CPU_ON that stands for fn; also what a raw image may be entered at.
u64 host_guest_entry(guest_fn fn);

void guest_step(struct host_guest *g);
void guest_compute(struct host_guest *g, u64 ns);
// Contiguous guest memory, or NULL.
void *guest_ram(struct host_guest *g, u64 at, u64 size);

u64 guest_mmio_read(struct host_guest *g, u64 at, u8 size);
void guest_mmio_write(struct host_guest *g, u64 at, u8 size, u64 value);
s64 guest_hypercall(struct host_guest *g, u32 nr, u64 a0, u64 a1, u64 a2);
// An exit of the test's own making, with the answer.
void guest_exit(struct host_guest *g, void *vexit);

void guest_halt(struct host_guest *g); // returns when an interrupt is pending, or sooner
s32 guest_cpu_on(struct host_guest *g, u32 target, guest_fn fn, u64 arg);
[[noreturn]] void guest_cpu_off(struct host_guest *g);
s32 guest_cpu_info(struct host_guest *g, u32 target, u64 *power);
s32 guest_cpu_suspend(struct host_guest *g); // a standby: goes on afterwards
// A power-down: goes on in fn.
[[noreturn]] void guest_cpu_suspend_to(struct host_guest *g, guest_fn fn, u64 arg);
[[noreturn]] void guest_system_off(struct host_guest *g);
[[noreturn]] void guest_system_reset(struct host_guest *g);
// Accesses that end in a fault; true: it was reflected.
bool guest_page_fault(struct host_guest *g, u64 at, bool write, bool exec);
bool guest_fault(struct host_guest *g);

// The virtual CPU interface of a GICv3, EOImode 0. On a machine with harts (HOST_PLIC, HOST_AIA) the same calls mean
// what hartv.c says; SGIs 1 to 3 are HOST_AIA's alone. On one with local APICs: apicv.c; SGI 3 is an NMI.
void guest_ipi(struct host_guest *g, u32 sgi, u32 target_mask); // vCPUs 0…15
u32 guest_irq_ack(struct host_guest *g);                        // 1023: none
void guest_irq_eoi(struct host_guest *g, u32 intid);
// Makes the lines GUEST_BELL_IRQ + n pending, n in the set.
void guest_signal(struct host_guest *g, u32 targets);
// After a reset of the vCPU that the interrupt controller has survived.
void guest_irq_resume(struct host_guest *g);
// Turns the distributor and this vCPU's redistributor on and enables the INTID at a priority, all through MMIO.
void guest_irq_enable(struct host_guest *g, u32 intid, u8 priority);
// HOST_APIC: INIT, and a SIPI that makes the vCPU begin with fn. It tells nothing of what becomes of them.
void guest_init(struct host_guest *g, u32 target);
void guest_sipi(struct host_guest *g, u32 target, guest_fn fn);
// HOST_APIC: halts with interrupts masked, until an NMI comes.
void guest_halt_masked(struct host_guest *g);
// The virtual timer (INTID 27), in ns of the guest's clock, which begins at 0 with the VM.
enum { GUEST_TIMER_IRQ = 27 };
u64 guest_now(struct host_guest *g);
void guest_timer_set(struct host_guest *g, u64 deadline_ns);
void guest_timer_off(struct host_guest *g);

enum {
    GUEST_RAM_BASE = 0x40000000,
    GUEST_GICD = 0x08000000,
    GUEST_BELL = 0x0a000000, // HOST_PLIC, HOST_APIC: a word of 8 bytes for each of the lines GUEST_BELL_IRQ + n
    GUEST_BELL_IRQ = 40,
    GUEST_PLIC = 0x0c000000,
    GUEST_APLIC = 0x0d000000,
    GUEST_IMSIC = 0x28000000,
    GUEST_GICR = 0x080a0000,
    GUEST_UART = 0x09000000,
    GUEST_UART_IRQ = 33,
    GUEST_RTC = 0x09010000,
    GUEST_RTC_IRQ = 34,
};
