// SPDX-License-Identifier: Apache-2.0
// The aarch64 types embedded in core structures, and the inline part of the seam.
#pragma once

#include "types.h"

struct cpu;

struct arch_cpu {
    void *emergency_stack_top; // entry.S: where a fault in the hypervisor itself is reported
    u64 gicr;                  // this CPU's redistributor, RD_base
    u64 hcr;                   // HCR_EL2 as it is in the hardware
    u64 kick_sgi;              // ICC_SGI1R_EL1 value that kicks this CPU
};

// A task's saved registers; entry.S knows the layout.
struct arch_ctx {
    u64 x19_x30[12];
    u64 sp;
};

// The guest's registers. entry.S knows the layout of the first part; SP_EL2 points here while the guest runs.
struct arch_vcpu {
    u64 x[31];
    u64 elr;
    u64 spsr;
    u64 hyp_sp; // the task's stack while the guest runs
    u64 esr;    // of the last exit
    u64 exit_ticks;

    u64 hcr; // HCR_EL2 wanted, without TWI
    u64 vmpidr;
    void *cpuif; // struct vgic_cpuif

    // EL1 state, in the hardware while loaded
    u64 sp_el0, sp_el1, elr_el1, spsr_el1, esr_el1, far_el1, afsr0, afsr1;
    u64 sctlr, cpacr, ttbr0, ttbr1, tcr, mair, amair, vbar, contextidr, actlr;
    u64 tpidr_el0, tpidrro_el0, tpidr_el1, par, cntkctl, csselr;
    u64 mdscr, oslar, osdlr, dbgbvr[16], dbgbcr[16], dbgwvr[16], dbgwcr[16];
    alignas(16) u8 simd[32 * 16];
    u64 fpsr, fpcr;
    u64 cntv_ctl, cntv_cval;
    struct aarch64_timers *timers; // the physical timer's emulation, and the virtual one while not loaded
};

struct arch_vm {
    u64 vttbr;
    u64 cntvoff;
    u8 last_vcpu[64]; // by CPU: the vCPU of this VM that ran there last + 1, 0: none
};

static inline struct cpu *arch_cpu_self(void) {
    struct cpu *c;
    __asm__ volatile("mrs %0, tpidr_el2" : "=r"(c)); // volatile: a task may continue on another CPU
    return c;
}

static inline void arch_cpu_relax(void) {
    __asm__ volatile("yield" ::: "memory");
}

static inline u64 arch_ticks(void) {
    u64 v;
    __asm__ volatile("mrs %0, cntpct_el0" : "=r"(v));
    return v;
}

static inline void arch_lock_enter(u32 rank) {
    (void)rank;
}

static inline void arch_lock_exit(u32 rank) {
    (void)rank;
}
