// SPDX-License-Identifier: Apache-2.0
// The x86_64 types embedded in core structures, and the inline part of the seam.
#pragma once

#include "types.h"

struct cpu;
struct vcpu;
struct vlapic;

// Found through the GS base while the hypervisor runs.
struct arch_cpu {
    struct cpu *self;      // first: arch_cpu_self() reads gs:0
    void *virt;            // the virtualisation backend's own part of this CPU
    struct vcpu *fp_owner; // whose floating-point registers are in the hardware
    u64 asid_generation;   // of the tags given out below; 0: none yet
    u32 asid_next;
    u32 apic_id;
    void *emergency_stack_top; // IST 1: where a double fault is reported
    void *tables;              // GDT, TSS: see cpu.c
};

// A task's saved registers; entry.S knows the layout.
struct arch_ctx {
    u64 rsp, rip;
    u64 rbx, rbp, r12, r13, r14, r15; // a new one starts at ctx_start: r12(r13)
};

enum x86_reg { // as instructions number them
    X86_RAX,
    X86_RCX,
    X86_RDX,
    X86_RBX,
    X86_RSP,
    X86_RBP,
    X86_RSI,
    X86_RDI,
    X86_R8,
    X86_R15 = 15,
    X86_REGS
};

enum x86_pending {
    X86_PENDING_NONE,
    X86_PENDING_MMIO_WRITE, // the second half of an instruction that reads and writes: pending_exit
};

// How a vCPU starts.
enum x86_start {
    X86_START_REAL,   // real mode at entry (a multiple of 4 KiB below 1 MiB), CS = entry >> 4
    X86_START_PVH32,  // 32-bit protected mode without paging, flat segments, EBX = arg
    X86_START_LONG64, // 64-bit mode with vm->arch.start_cr3 and start_gdt, RSI = arg
};

// The guest's registers. entry.S knows the layout of the first part.
struct arch_vcpu {
    u64 gpr[X86_REGS]; // SVM: RAX and RSP are current between exit and entry only through guest_reg_*()
    u64 host_rsp;      // the task's stack while the guest runs
    u64 host_gs;       // the pCPU, while loaded
    u64 guest_gs;      // SVM: GS base between exit and entry
    u64 vmcb;          // SVM: its address. VMX: the VMCS's

    u64 rip, next_rip; // of the last exit; where the instruction that came out ends, 0: unknown
    u64 exit_reason;   // of the last exit, as the hardware numbers it
    u64 fast_exits;    // served without leaving arch_vcpu_run
    struct vlapic *lapic;
    void *extended;       // XSAVE area: FPU, SSE, AVX
    struct cpu *fp_cpu;   // on which the floating-point registers were last; they may still be there
    struct cpu *asid_cpu; // where asid is valid, while its generation is the present one
    u64 asid_generation;
    u64 tlb_generation; // of vm->arch.tlb_generation as far as this vCPU's translations know
    u32 asid;
    bool launched;    // VMX
    bool nmi_pending; // to be injected
    bool nmi_blocked; // one is being handled: until the next IRET
    enum x86_pending pending;
    u64 debug[4]; // DR0–DR3
    u64 xcr0, tsc_aux;
    u64 efer, pat, misc_enable, apic_base;
    u64 tsc_adjust;
    void *insn; // of the instruction being emulated: struct emul
};

struct arch_vm {
    u64 tsc_offset;
    enum x86_start start;       // of the primary vCPU, set by the boot protocol
    gpa_t start_cr3, start_gdt; // X86_START_LONG64
    _Atomic u64 tlb_generation; // raised when stage 2 loses or narrows a mapping
};

static inline struct cpu *arch_cpu_self(void) {
    struct cpu *c;
    __asm__ volatile("mov %%gs:0, %0" : "=r"(c)); // volatile: a task may continue on another CPU
    return c;
}

static inline void arch_cpu_relax(void) {
    __asm__ volatile("pause" ::: "memory");
}

static inline u64 arch_ticks(void) {
    u32 low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (u64)high << 32 | low;
}

static inline void arch_lock_enter(u32 rank) {
    (void)rank;
}

static inline void arch_lock_exit(u32 rank) {
    (void)rank;
}
