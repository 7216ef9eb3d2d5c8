// SPDX-License-Identifier: Apache-2.0
// The gates of the IDT. Interrupts are masked in the hypervisor but for the windows of arch_irq_poll and arch_cpu_idle, so an
// interrupt arrives there and nowhere else; an exception is a fault of ours, expected in the may_* functions, anywhere else a bug.

#define EXCEPTIONS      32
#define STUB_SIZE       16
#define FRAME_RIP       (17 * 8)

    .text
    .globl  trap_stubs
    .balign STUB_SIZE
trap_stubs:
    .set    n, 0
    .rept   256
    .balign STUB_SIZE
    .if     n < EXCEPTIONS
    // #DF, #TS, #NP, #SS, #GP, #PF, #AC, #CP, #VC and #SX push an error code, the others get one.
    .ifeq   (n - 8) * (n - 10) * (n - 11) * (n - 12) * (n - 13) * (n - 14) * (n - 17) * (n - 21) * (n - 29) * (n - 30)
    .else
    push    $0
    .endif
    push    $n
    jmp     exception
    .else
    push    $n
    jmp     interrupt
    .endif
    .set    n, n + 1
    .endr
    .balign STUB_SIZE

interrupt:                                    // the vector lies where RDI will
    xchg    %rdi, (%rsp)
    push    %rax
    push    %rcx
    push    %rdx
    push    %rsi
    push    %r8
    push    %r9
    push    %r10
    push    %r11
    push    %rbp
    mov     %rsp, %rbp                        // the stack as it was is aligned as the CPU left it: align it for C
    and     $-16, %rsp
    cld
    call    trap_irq                          // (vector)
    mov     %rbp, %rsp
    pop     %rbp
    pop     %r11
    pop     %r10
    pop     %r9
    pop     %r8
    pop     %rsi
    pop     %rdx
    pop     %rcx
    pop     %rax
    pop     %rdi
    iretq

exception:                                    // on a stack of its own: ours may be the cause
    push    %rax
    push    %rcx
    push    %rdx
    push    %rbx
    push    %rbp
    push    %rsi
    push    %rdi
    push    %r8
    push    %r9
    push    %r10
    push    %r11
    push    %r12
    push    %r13
    push    %r14
    push    %r15
    cld
    mov     FRAME_RIP(%rsp), %rax
    cmp     $may_fault_start, %rax
    jb      1f
    cmp     $may_fault_end, %rax
    jae     1f
    movq    $may_fault_failed, FRAME_RIP(%rsp)
    pop     %r15
    pop     %r14
    pop     %r13
    pop     %r12
    pop     %r11
    pop     %r10
    pop     %r9
    pop     %r8
    pop     %rdi
    pop     %rsi
    pop     %rbp
    pop     %rbx
    pop     %rdx
    pop     %rcx
    pop     %rax
    add     $16, %rsp
    iretq
1:  mov     %rsp, %rdi
    mov     %rsp, %rbp
    and     $-16, %rsp
    call    hyp_fault_report                  // (struct trap_frame *); does not return
2:  hlt
    jmp     2b

// Functions with one instruction that may fault: struct may_fault { u64 failed, value; }
    .globl  may_msr_read, may_msr_write
may_fault_start:
may_msr_read:                                 // (nr)
    mov     %edi, %ecx
    rdmsr
    shl     $32, %rdx
    mov     %eax, %eax
    or      %rax, %rdx
    xor     %eax, %eax
    ret
may_msr_write:                                // (nr, value)
    mov     %edi, %ecx
    mov     %esi, %eax
    mov     %rsi, %rdx
    shr     $32, %rdx
    wrmsr
    xor     %eax, %eax
    xor     %edx, %edx
    ret
may_fault_end:
may_fault_failed:
    mov     $1, %eax
    xor     %edx, %edx
    ret
