// SPDX-License-Identifier: Apache-2.0
// The world switches of SVM and VMX, and the task switch.
//
// VMRUN and #VMEXIT switch what the C code lives on: RAX, RSP, RIP, the flags, CR0, CR3, CR4, EFER, the tables, and the code and
// data segments. The rest of the segments and the system-call MSRs take VMLOAD and VMSAVE. They move on every exit although
// little of it is of use to us, because TR is among it: an exception or an NMI in the hypervisor takes its stack from the TSS, and
// must not take it from the one that the guest has chosen.

#define VCPU_GPR(n)       (8 * (n))
#define VCPU_CONTROL      (8 * 16)
#define VCPU_HOST_CONTROL (8 * 17)
#define VMCS_HOST_RSP     0x6c14
#define RAX               0
#define RCX               1
#define RDX               2
#define RBX               3
#define RBP               5
#define RSI               6
#define RDI               7

    .text
// The guest's registers but RAX and RSP, from the vCPU at RDI.
.macro gprs_load
    mov     VCPU_GPR(RCX)(%rdi), %rcx
    mov     VCPU_GPR(RDX)(%rdi), %rdx
    mov     VCPU_GPR(RBX)(%rdi), %rbx
    mov     VCPU_GPR(RBP)(%rdi), %rbp
    mov     VCPU_GPR(RSI)(%rdi), %rsi
    mov     VCPU_GPR(8)(%rdi), %r8
    mov     VCPU_GPR(9)(%rdi), %r9
    mov     VCPU_GPR(10)(%rdi), %r10
    mov     VCPU_GPR(11)(%rdi), %r11
    mov     VCPU_GPR(12)(%rdi), %r12
    mov     VCPU_GPR(13)(%rdi), %r13
    mov     VCPU_GPR(14)(%rdi), %r14
    mov     VCPU_GPR(15)(%rdi), %r15
    mov     VCPU_GPR(RDI)(%rdi), %rdi
.endm

// The same to the vCPU at \to; RDI is the caller's business.
.macro gprs_save to
    mov     %rcx, VCPU_GPR(RCX)(%\to)
    mov     %rdx, VCPU_GPR(RDX)(%\to)
    mov     %rbx, VCPU_GPR(RBX)(%\to)
    mov     %rbp, VCPU_GPR(RBP)(%\to)
    mov     %rsi, VCPU_GPR(RSI)(%\to)
    mov     %r8, VCPU_GPR(8)(%\to)
    mov     %r9, VCPU_GPR(9)(%\to)
    mov     %r10, VCPU_GPR(10)(%\to)
    mov     %r11, VCPU_GPR(11)(%\to)
    mov     %r12, VCPU_GPR(12)(%\to)
    mov     %r13, VCPU_GPR(13)(%\to)
    mov     %r14, VCPU_GPR(14)(%\to)
    mov     %r15, VCPU_GPR(15)(%\to)
.endm

// void svm_enter(struct arch_vcpu *a): runs the guest until it comes out. RAX and RSP are in the VMCB.
    .globl  svm_enter
    .balign 16
svm_enter:
    push    %rbx
    push    %rbp
    push    %r12
    push    %r13
    push    %r14
    push    %r15
    push    %rdi
    mov     VCPU_CONTROL(%rdi), %rax
    clgi                                      // from here on the CPU is half the guest's: not even an NMI
    sti                                       // with V_INTR_MASKING our IF says whether interrupts take the guest out; not
                                              // right before VMRUN, whose guest is not meant by the shadow of it
    vmload  %rax
    gprs_load
    vmrun   %rax
    vmsave  %rax
    pop     %rax
    gprs_save rax
    mov     %rdi, VCPU_GPR(RDI)(%rax)
    mov     VCPU_HOST_CONTROL(%rax), %rax
    vmload  %rax
    cli
    stgi
    pop     %r15
    pop     %r14
    pop     %r13
    pop     %r12
    pop     %rbp
    pop     %rbx
    ret

// u64 vmx_enter(struct arch_vcpu *a, bool launched): the same on VMX, where RSP is in the VMCS. 0; 1: the instruction failed.
    .globl  vmx_enter, vmx_exit
    .balign 16
vmx_enter:
    push    %rbx
    push    %rbp
    push    %r12
    push    %r13
    push    %r14
    push    %r15
    push    %rdi
    mov     $VMCS_HOST_RSP, %eax
    vmwrite %rsp, %rax
    test    %sil, %sil                        // no move changes the flags
    mov     VCPU_GPR(RAX)(%rdi), %rax
    gprs_load
    jnz     1f
    vmlaunch
    jmp     2f
1:  vmresume
2:  pop     %rdi
    mov     $1, %eax
    jmp     3f
vmx_exit:
    xchg    %rdi, (%rsp)
    mov     %rax, VCPU_GPR(RAX)(%rdi)
    pop     %rax
    mov     %rax, VCPU_GPR(RDI)(%rdi)
    gprs_save rdi
    xor     %eax, %eax
3:  pop     %r15
    pop     %r14
    pop     %r13
    pop     %r12
    pop     %rbp
    pop     %rbx
    ret

// void arch_ctx_switch(struct arch_ctx *from, struct arch_ctx *to)
    .globl  arch_ctx_switch
    .balign 16
arch_ctx_switch:
    pop     %rax
    mov     %rsp, 0(%rdi)
    mov     %rax, 8(%rdi)
    mov     %rbx, 16(%rdi)
    mov     %rbp, 24(%rdi)
    mov     %r12, 32(%rdi)
    mov     %r13, 40(%rdi)
    mov     %r14, 48(%rdi)
    mov     %r15, 56(%rdi)
    mov     0(%rsi), %rsp
    mov     16(%rsi), %rbx
    mov     24(%rsi), %rbp
    mov     32(%rsi), %r12
    mov     40(%rsi), %r13
    mov     48(%rsi), %r14
    mov     56(%rsi), %r15
    jmp     *8(%rsi)

// A new context starts here: r12 = fn, r13 = arg
    .globl  ctx_start
ctx_start:
    mov     %r13, %rdi
    xor     %ebp, %ebp
    call    *%r12
    ud2                                       // task functions do not return
