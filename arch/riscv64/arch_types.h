// SPDX-License-Identifier: Apache-2.0
// The riscv64 types embedded in core structures, and the inline part of the seam.
#pragma once

#include <stdatomic.h>

#include "sbi.h"
#include "types.h"

struct cpu;
struct vcpu;

struct arch_cpu {
    void *emergency_stack_top;   // entry.S: where a fault in the hypervisor itself is reported
    u64 trap_t0, trap_t1;        // entry.S: while it looks whether a fault was expected
    u64 hstatus_vtw;             // HSTATUS_VTW as it is in the hardware
    u64 vm_id;                   // whose translations the TLB holds, where there are too few VMIDs to tell them apart
    struct vcpu *fp_owner;       // whose floating-point registers are in the hardware
    struct vcpu *vector_owner;   // and whose vector registers
    struct vcpu *file_owner[64]; // by guest interrupt file
    u32 irq_context;             // the external interrupt controller's number for this hart
    _Atomic u64 kick_page;       // its own interrupt file, for messages; 0: kicked by the firmware
};

// A task's saved registers; entry.S knows the layout.
struct arch_ctx {
    u64 ra, sp;
    u64 s[12];
};

enum vcpu_suspend { VCPU_AWAKE, VCPU_ASLEEP, VCPU_ASLEEP_LOSING }; // SBI HSM; the last one loses the registers

// The guest's registers. entry.S knows the layout of the first part; sscratch points here while the guest runs.
struct arch_vcpu {
    u64 x[32]; // x[0] stays 0
    u64 sepc;
    u64 hyp_sp; // the task's stack while the guest runs
    u64 hyp_tp; // the pCPU, while loaded

    u64 scause; // of the last exit
    u64 insn_length;
    u64 fast_exits; // served without leaving arch_vcpu_run
    void *cpuif;    // struct vplic_cpuif

    // VS state, and what of HS state is the guest's; in the hardware while loaded
    u64 sstatus, hstatus;
    u64 vsstatus, vsie, vstvec, vsscratch, vsepc, vscause, vstval, vsatp;
    u64 scounteren, senvcfg;
    u64 vsiselect;
    u32 file;           // guest interrupt file, on whichever pCPU it lives; 0: none
    bool file_is_new;   // to be emptied before the guest sees it
    u64 vstimecmp;      // without Sstc: what the guest set last
    bool vssip;         // saved: a software interrupt is pending
    _Atomic u8 suspend; // enum vcpu_suspend; other harts may ask
    struct cpu *fp_cpu; // on which the floating-point registers were last; they may still be there
    u64 f[32];
    u64 fcsr;
    struct cpu *vector_cpu;
    struct riscv64_vector *vector; // nullptr: the harts have none
    struct riscv64_timers *timers; // stands in for vstimecmp while not loaded
};

struct arch_vm {
    struct sbi_guest sbi;
    u64 hgatp;
    u64 htimedelta;
    struct vaplic *aplic; // nullptr: the guest has a PLIC
    struct vimsic *imsic; // nullptr: its vCPUs have interrupt files of the hardware's
    u64 files;            // bit n: guest interrupt file n is one of its vCPUs'
    u8 last_vcpu[64];     // by CPU: the vCPU of this VM that ran there last + 1, 0: none
};

static inline struct cpu *arch_cpu_self(void) {
    struct cpu *c;
    __asm__ volatile("mv %0, tp" : "=r"(c)); // volatile: a task may continue on another CPU
    return c;
}

static inline void arch_cpu_relax(void) {
    __asm__ volatile(".word 0x0100000f" ::: "memory"); // pause (Zihintpause): a fence hint that does nothing elsewhere
}

static inline u64 arch_ticks(void) {
    u64 v;
    __asm__ volatile("rdtime %0" : "=r"(v));
    return v;
}

static inline void arch_lock_enter(u32 rank) {
    (void)rank;
}

static inline void arch_lock_exit(u32 rank) {
    (void)rank;
}
