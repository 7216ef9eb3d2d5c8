// SPDX-License-Identifier: Apache-2.0
// The x86_64 types embedded in core structures, and the inline part of the seam.
#pragma once

#include "insn.h"
#include "types.h"

struct cpu;
struct vcpu;

// Found through the GS base while the hypervisor runs.
struct arch_cpu {
    struct cpu *self;      // first: arch_cpu_self() reads gs:0
    void *virt;            // the virtualisation backend's own part of this CPU
    struct vcpu *fp_owner; // whose floating-point registers are in the hardware
    u64 asid_generation;   // of the tags given out below; 0: none yet
    u32 asid_next;
    u64 host_generation; // of our own mapping as far as this CPU knows: pte.c
    u64 alarm_tsc;       // what the timer is to fire at, all ones: never
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

// How a vCPU starts.
enum x86_start {
    X86_START_REAL,   // real mode at entry (a multiple of 16 below 1 MiB), CS = entry >> 4
    X86_START_PVH32,  // 32-bit protected mode without paging, flat segments, EBX = arg
    X86_START_LONG64, // 64-bit mode with vm->arch.start_cr3 and start_gdt, RSI = arg
};

// An instruction that is being emulated.
struct x86_emulation {
    struct x86_insn insn;
    u8 phase;  // enum emulate_phase; 0: none
    u64 gpa;   // of the operand in a device, and
    u64 other; // of the other one, if that is in memory as well
    u64 value; // to be written in the second half
};

// The lengths of instructions that came out, for CPUs that do not tell.
struct x86_length {
    u64 at, cr3;
    const u64 *bytes; // where it lies in the guest's memory; nullptr: nothing is known
    u64 value, mask;  // its first bytes, as they were
    u32 length;
};
enum { X86_LENGTHS = 16, X86_KNOWN = 8, X86_CALL_MSRS = 5, X86_SEEN = 8 };

// Where an instruction was fetched from: the entries of the four levels that say so, and its bytes, all as they were.
struct x86_fetch {
    const u64 *entry[4]; // of a large page the last one several times
    u64 value[4];
    const u64 *from; // nullptr: not within one page of RAM
    u64 bytes[2];
};

// A decoded instruction of 64-bit mode that accessed a device, for CPUs that do not hand over its bytes. It is what it
// was while everything that it was fetched by is.
struct x86_known {
    u64 at, cr3;
    struct x86_fetch fetch; // from == nullptr: nothing is known
    struct x86_insn insn;
};

enum {                  // arch_vcpu.work, before the next entry
    X86_WORK_STEP = 1,  // the instruction is done: go on at rip
    X86_WORK_EVENT = 2, // `event` is to be injected
    X86_WORK_FLUSH = 4, // the guest's translations are to be forgotten
    X86_WORK_MORE = 8,  // of an instruction that takes several accesses
    X86_WORK_TAG = 16,  // SVM: a new address space identifier is to be taken
};

// The guest's registers. entry.S knows the layout of the first part.
struct arch_vcpu {
    u64 gpr[X86_REGS]; // not RSP, which is in the control block; of RAX a copy between exit and entry
    u64 control;       // address of the VMCB or VMCS
    u64 host_control;  // SVM: of the VMCB with the host's segments and MSRs, while loaded

    u32 work;      // X86_WORK_*
    bool launched; // VMX
    union {
        u32 after_exit; // not 0: one of these, and more is to be done than to serve the exit
        struct {
            bool undo;        // SVM: what holds for one entry only is to be taken back after it
            bool nmi_blocked; // one is being handled: until the next IRET
            bool stepping;    // SVM: over one instruction, behind which an NMI may come
        };
    };
    bool step_tf;      // and the guest's own TF meanwhile
    bool triple_fault; // nothing can be reflected any more
    u64 rip, next_rip; // of the last exit; where the instruction that came out ends
    u64 event;         // EVENT_*
    u64 iret_rip;      // that ends the blocking once it has been executed; ~0: not reached
    u64 step_dr6;      // the guest's DR6 while stepping
    u64 fetch_fault;   // RIP of the last instruction fetch from where no memory is
    u64 fetch_gpa;     // and where in its physical memory
    u64 exit_reason;   // of the last exit, as the hardware numbers it

    void *extended;       // XSAVE area: FPU, SSE, AVX
    struct cpu *fp_cpu;   // on which the floating-point registers were last; they may still be there
    struct cpu *asid_cpu; // where its tag is valid, while the tag's generation is the present one
    u64 asid_generation;
    u64 tlb_generation;                     // of vm->arch.tlb_generation, as far as the tag has nothing older
    u64 debug[4];                           // DR0–DR3
    u64 cr2, dr6, call_msrs[X86_CALL_MSRS]; // VMX: while not loaded
    u64 seen[X86_SEEN];                     // VMX: registers as they were then, by enum guest_reg
    u64 xcr0, tsc_aux, tsc_offset;
    u64 mtrr_def_type, mtrr_fixed[11], mtrr_variable[16];
    u64 misc_enable;
    u64 system_time, wall_clock; // KVM's MSRs
    struct x86_emulation emulation;
    struct x86_fetch fetch; // of the last instruction looked at; in 64-bit mode with entries
    struct x86_known known[X86_KNOWN];
    struct x86_length lengths[X86_LENGTHS];
};

struct arch_vm {
    u64 tsc_start;              // the hardware's TSC when the guest's was 0
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
