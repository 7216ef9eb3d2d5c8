// SPDX-License-Identifier: Apache-2.0
// The vector table, the world switch and the task switch.
//
// While a guest runs SP_EL2 points at its struct arch_vcpu, so that an exit can save x0…x30 without a scratch register. Exits that
// need nothing of the core are served by vcpu_exit_fast() right on the task's stack and go straight back.

#define VCPU_X(n)      (8 * (n))
#define VCPU_ELR       (8 * 31)
#define VCPU_SPSR      (8 * 32)
#define VCPU_HYP_SP    (8 * 33)
#define VCPU_ESR       (8 * 34)
#define VCPU_TICKS     (8 * 35)

#define EC_DABT_LOWER  0x24
#define EXIT_SYNC      0
#define EXIT_IRQ       1
#define EXIT_SERROR    2

    .macro  guest_exit kind
    .balign 128
    stp     x0, x1, [sp, #VCPU_X(0)]
    mov     w1, #\kind
    b       vcpu_exit
    .endm

    .macro  hyp_fault kind
    .balign 128
    msr     tpidr_el1, x0             // the guest's, but nothing goes on from here
    msr     tpidr_el0, x30
    mov     x0, #\kind
    b       hyp_fault_entry
    .endm

    .section .vectors, "ax"
    .balign 2048
    .globl  hyp_vectors
hyp_vectors:
    hyp_fault 0                       // current EL with SP_EL0: never used
    hyp_fault 1
    hyp_fault 2
    hyp_fault 3
    hyp_fault 4                       // current EL with SP_ELx: a fault of our own
    hyp_fault 5                       // IRQ, FIQ: interrupts are always masked here
    hyp_fault 6
    hyp_fault 7
    guest_exit EXIT_SYNC              // from a guest in AArch64
    guest_exit EXIT_IRQ
    guest_exit EXIT_IRQ
    guest_exit EXIT_SERROR
    guest_exit EXIT_SYNC              // from a guest's AArch32 application
    guest_exit EXIT_IRQ
    guest_exit EXIT_IRQ
    guest_exit EXIT_SERROR

    .text
// u32 guest_enter(struct arch_vcpu *v): runs the guest until an exit that vcpu_exit_fast does not serve; returns the kind.
    .globl  guest_enter
guest_enter:
    stp     x19, x20, [sp, #-96]!
    stp     x21, x22, [sp, #16]
    stp     x23, x24, [sp, #32]
    stp     x25, x26, [sp, #48]
    stp     x27, x28, [sp, #64]
    stp     x29, x30, [sp, #80]
    mov     x1, sp
    str     x1, [x0, #VCPU_HYP_SP]
    mov     sp, x0
guest_resume:                         // SP = the vCPU
    ldp     x2, x3, [sp, #VCPU_ELR]
    msr     elr_el2, x2
    msr     spsr_el2, x3
guest_resume_fast:                    // ELR and SPSR are still in their registers
    ldp     x0, x1, [sp, #VCPU_X(0)]
    ldp     x2, x3, [sp, #VCPU_X(2)]
    ldp     x4, x5, [sp, #VCPU_X(4)]
    ldp     x6, x7, [sp, #VCPU_X(6)]
    ldp     x8, x9, [sp, #VCPU_X(8)]
    ldp     x10, x11, [sp, #VCPU_X(10)]
    ldp     x12, x13, [sp, #VCPU_X(12)]
    ldp     x14, x15, [sp, #VCPU_X(14)]
    ldp     x16, x17, [sp, #VCPU_X(16)]
    ldp     x18, x19, [sp, #VCPU_X(18)]
    ldp     x20, x21, [sp, #VCPU_X(20)]
    ldp     x22, x23, [sp, #VCPU_X(22)]
    ldp     x24, x25, [sp, #VCPU_X(24)]
    ldp     x26, x27, [sp, #VCPU_X(26)]
    ldp     x28, x29, [sp, #VCPU_X(28)]
    ldr     x30, [sp, #VCPU_X(30)]
    eret
    // No speculation past the return to the guest
    dsb     nsh
    isb

vcpu_exit:                            // x0, x1 are saved, w1 = kind, SP = the vCPU
    stp     x2, x3, [sp, #VCPU_X(2)]
    stp     x4, x5, [sp, #VCPU_X(4)]
    stp     x6, x7, [sp, #VCPU_X(6)]
    stp     x8, x9, [sp, #VCPU_X(8)]
    stp     x10, x11, [sp, #VCPU_X(10)]
    stp     x12, x13, [sp, #VCPU_X(12)]
    stp     x14, x15, [sp, #VCPU_X(14)]
    stp     x16, x17, [sp, #VCPU_X(16)]
    stp     x18, x19, [sp, #VCPU_X(18)]
    stp     x20, x21, [sp, #VCPU_X(20)]
    stp     x22, x23, [sp, #VCPU_X(22)]
    stp     x24, x25, [sp, #VCPU_X(24)]
    stp     x26, x27, [sp, #VCPU_X(26)]
    stp     x28, x29, [sp, #VCPU_X(28)]
    str     x30, [sp, #VCPU_X(30)]
    mrs     x2, elr_el2
    mrs     x3, spsr_el2
    stp     x2, x3, [sp, #VCPU_ELR]
    mov     x0, sp
    ldr     x4, [x0, #VCPU_HYP_SP]
    mov     sp, x4
    mrs     x2, esr_el2
    mrs     x3, cntpct_el0
    stp     x2, x3, [x0, #VCPU_ESR]
    lsr     w5, w2, #26
    sub     w5, w5, #EC_DABT_LOWER
    orr     w5, w5, w1
    cbz     w5, 1f                    // a device access is never one of the fast ones
    ldr     x29, [x4, #80]            // our frame again: backtraces do not wander into the guest
    mov     x19, x0
    mov     w20, w1
    bl      vcpu_exit_fast            // (vcpu, kind, esr) → 0: back in
    mov     w1, w20
    cbnz    w0, 1f
    mov     sp, x19
    b       guest_resume
1:  mov     w0, w1
    ldp     x21, x22, [sp, #16]
    ldp     x23, x24, [sp, #32]
    ldp     x25, x26, [sp, #48]
    ldp     x27, x28, [sp, #64]
    ldp     x29, x30, [sp, #80]
    ldp     x19, x20, [sp], #96
    ret

// void arch_ctx_switch(struct arch_ctx *from, struct arch_ctx *to)
    .globl  arch_ctx_switch
arch_ctx_switch:
    stp     x19, x20, [x0]
    stp     x21, x22, [x0, #16]
    stp     x23, x24, [x0, #32]
    stp     x25, x26, [x0, #48]
    stp     x27, x28, [x0, #64]
    stp     x29, x30, [x0, #80]
    mov     x2, sp
    str     x2, [x0, #96]
    ldr     x2, [x1, #96]
    mov     sp, x2
    ldp     x19, x20, [x1]
    ldp     x21, x22, [x1, #16]
    ldp     x23, x24, [x1, #32]
    ldp     x25, x26, [x1, #48]
    ldp     x27, x28, [x1, #64]
    ldp     x29, x30, [x1, #80]
    ret

// A new context starts here: x19 = fn, x20 = arg
    .globl  ctx_start
ctx_start:
    mov     x0, x20
    mov     x29, xzr
    mov     x30, xzr
    blr     x19
    brk     #0                        // task functions do not return

// x0 = vector number; x0's old value is in TPIDR_EL1. The stack may be the cause, so take another one.
hyp_fault_entry:
    mrs     x30, tpidr_el2
    cbz     x30, 2f
    ldr     x30, [x30]                // cpu->arch.emergency_stack_top
    cbnz    x30, 3f
2:  adrp    x30, boot_stack_top
    add     x30, x30, :lo12:boot_stack_top
3:  sub     x30, x30, #272
    stp     x1, x2, [x30, #8]
    mov     x1, sp
    str     x1, [x30, #256]
    mov     sp, x30
    stp     x3, x4, [sp, #24]
    stp     x5, x6, [sp, #40]
    stp     x7, x8, [sp, #56]
    stp     x9, x10, [sp, #72]
    stp     x11, x12, [sp, #88]
    stp     x13, x14, [sp, #104]
    stp     x15, x16, [sp, #120]
    stp     x17, x18, [sp, #136]
    stp     x19, x20, [sp, #152]
    stp     x21, x22, [sp, #168]
    stp     x23, x24, [sp, #184]
    stp     x25, x26, [sp, #200]
    stp     x27, x28, [sp, #216]
    str     x29, [sp, #232]
    mrs     x1, tpidr_el1
    str     x1, [sp]
    mrs     x1, tpidr_el0
    str     x1, [sp, #240]
    mov     x1, sp
    bl      hyp_fault_report          // (vector, registers); does not return
4:  wfi
    b       4b

// The SIMD and floating-point registers: switched with the vCPU only, the hypervisor has no use for them.
    .arch_extension fp
    .arch_extension simd
// void simd_save(void *q), simd_load(const void *q)
    .globl  simd_save
simd_save:
    stp     q0, q1, [x0]
    stp     q2, q3, [x0, #32]
    stp     q4, q5, [x0, #64]
    stp     q6, q7, [x0, #96]
    stp     q8, q9, [x0, #128]
    stp     q10, q11, [x0, #160]
    stp     q12, q13, [x0, #192]
    stp     q14, q15, [x0, #224]
    stp     q16, q17, [x0, #256]
    stp     q18, q19, [x0, #288]
    stp     q20, q21, [x0, #320]
    stp     q22, q23, [x0, #352]
    stp     q24, q25, [x0, #384]
    stp     q26, q27, [x0, #416]
    stp     q28, q29, [x0, #448]
    stp     q30, q31, [x0, #480]
    ret
    .globl  simd_load
simd_load:
    ldp     q0, q1, [x0]
    ldp     q2, q3, [x0, #32]
    ldp     q4, q5, [x0, #64]
    ldp     q6, q7, [x0, #96]
    ldp     q8, q9, [x0, #128]
    ldp     q10, q11, [x0, #160]
    ldp     q12, q13, [x0, #192]
    ldp     q14, q15, [x0, #224]
    ldp     q16, q17, [x0, #256]
    ldp     q18, q19, [x0, #288]
    ldp     q20, q21, [x0, #320]
    ldp     q22, q23, [x0, #352]
    ldp     q24, q25, [x0, #384]
    ldp     q26, q27, [x0, #416]
    ldp     q28, q29, [x0, #448]
    ldp     q30, q31, [x0, #480]
    ret
