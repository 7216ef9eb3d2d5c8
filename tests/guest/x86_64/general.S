// SPDX-License-Identifier: Apache-2.0
// u64 state_general(u64 seed): each general register but those of the call holds seed + its number across a yield, and
// the flags a pattern; the differences, or-ed.

#define YIELD 0x86000003
#define FLAGS 0x240cd5                  // ID, AC, OF, DF, SF, ZF, AF, PF, CF
#define FIXED 2                         // and interrupts are masked

    .text
    .global state_general
state_general:
    push    %rbx
    push    %rbp
    push    %r12
    push    %r13
    push    %r14
    push    %r15
    push    %rdi
    mov     %rdi, %rax
    and     $FLAGS, %eax
    or      $FIXED, %eax
    push    %rax
    .irp    n, 8, 9, 10, 11, 12, 13, 14, 15
    lea     \n(%rdi), %r\n
    .endr
    lea     1(%rdi), %rcx
    lea     2(%rdi), %rdx
    lea     3(%rdi), %rbx
    lea     5(%rdi), %rbp
    lea     6(%rdi), %rsi
    mov     $YIELD, %eax
    popfq
    vmmcall
    pushfq
    cld
    xor     8(%rsp), %rdi               // the seed
    or      %rdi, %rax                  // whose answer is 0
    mov     8(%rsp), %rdi
    .irp    n, 8, 9, 10, 11, 12, 13, 14, 15
    lea     -\n(%r\n), %r\n
    xor     %rdi, %r\n
    or      %r\n, %rax
    .endr
    .macro  same n, reg
    lea     -\n(%\reg), %\reg
    xor     %rdi, %\reg
    or      %\reg, %rax
    .endm
    same    1, rcx
    same    2, rdx
    same    3, rbx
    same    5, rbp
    same    6, rsi
    pop     %rcx                        // the flags that came
    pop     %rdi
    and     $FLAGS, %edi
    or      $FIXED, %edi
    xor     %rdi, %rcx
    or      %rcx, %rax
    push    $FIXED
    popfq
    pop     %r15
    pop     %r14
    pop     %r13
    pop     %r12
    pop     %rbp
    pop     %rbx
    ret
