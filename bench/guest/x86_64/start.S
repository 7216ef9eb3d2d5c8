// SPDX-License-Identifier: Apache-2.0
// A bzImage whose first instruction at the 64-bit entry is a mark, the vectors, and the ways of the other CPU.
#include "marks.h"

#define STACK_SHIFT 13
#define CODE64      0x08
#define DATA        0x10
#define CODE32      0x18
#define STAYS       0x9000              // where `stays` is copied to
#define MSR_EFER    0xc0000080

#include "../../../tests/guest/x86_64/setup_header.inc"
    .globl  _start
_start:
    nopl    MARK_FIRST(%rax)
    lgdt    gdt_pointer(%rip)
    mov     %rsi, %rbp
    lea     __bss_start(%rip), %rdi
    lea     __bss_end(%rip), %rcx
    sub     %rdi, %rcx
    xor     %eax, %eax
    cld
    rep stosb
    lea     stacks + (1 << STACK_SHIFT)(%rip), %rsp
    push    $CODE64
    lea     1f(%rip), %rax
    push    %rax
    lretq
1:  mov     $DATA, %eax
    mov     %eax, %ds
    mov     %eax, %es
    mov     %eax, %ss
    mov     %rbp, %rdi
    call    bench_main                  // (zero page)
2:  hlt
    jmp     2b

    .text
// What SIPI starts, copied to a page below 1 MiB: one that is only to have started.
    .globl  leaves, leaves_end, stays, stays_end, stays_cr3
    .code16
leaves:
    .byte   0x0f, 0x1f, 0x80            // as the mark is encoded here
    .word   MARK_END
1:  cli
    hlt
    jmp     1b
leaves_end:

// And one that goes on to secondary_main, by the first CPU's page tables.
    .balign 16
stays:
    .byte   0x0f, 0x1f, 0x80
    .word   MARK_END
    cli
    xor     %ax, %ax
    mov     %ax, %ds
    lgdtl   STAYS + (stays_gdt - stays)
    mov     %cr0, %eax
    or      $1, %al
    mov     %eax, %cr0
    ljmpl   $CODE32, $STAYS + (1f - stays)
    .code32
1:  mov     $DATA, %eax
    mov     %eax, %ds
    mov     %eax, %es
    mov     %eax, %ss
    mov     %cr4, %eax
    or      $0x20, %eax                 // PAE
    mov     %eax, %cr4
    mov     STAYS + (stays_cr3 - stays), %eax
    mov     %eax, %cr3
    mov     $MSR_EFER, %ecx
    rdmsr
    or      $0x100, %eax                // LME
    wrmsr
    mov     %cr0, %eax
    or      $0x80000000, %eax
    and     $0x9fffffff, %eax           // caches on
    mov     %eax, %cr0
    ljmp    $CODE64, $STAYS + (2f - stays)
    .code64
2:  movabs  $secondary, %rax
    jmp     *%rax
    .balign 8
stays_gdt:
    .word   gdt_end - gdt - 1
    .long   gdt
    .balign 4
stays_cr3:
    .long   0
stays_end:

secondary:
    lidt    idt_pointer(%rip)
    lea     stacks + (2 << STACK_SHIFT)(%rip), %rsp
    call    secondary_main
3:  hlt
    jmp     3b

// 32 exceptions of 16 bytes each, then the vector of all interrupts.
    .balign 16
    .globl  exceptions, vector
exceptions:
    .set    n, 0
    .rept   32
    .balign 16
    .if     !(n == 8 || (n >= 10 && n <= 14) || n == 17 || n == 21 || n == 29 || n == 30)
    push    $0
    .endif
    mov     $n, %edi
    jmp     exception
    .set    n, n + 1
    .endr
exception:
    pop     %rsi                        // error
    mov     (%rsp), %rdx                // RIP
    and     $-16, %rsp
    call    exception_main
    ud2

    .balign 16
vector:
    nopl    MARK_END(%rax)
    push    %rax
    push    %rcx
    push    %rdx
    push    %rsi
    push    %rdi
    push    %r8
    push    %r9
    push    %r10
    push    %r11
    lea     72(%rsp), %rdi
    call    interrupt_main              // (where RIP is kept)
    pop     %r11
    pop     %r10
    pop     %r9
    pop     %r8
    pop     %rdi
    pop     %rsi
    pop     %rdx
    pop     %rcx
    pop     %rax
    iretq

    .data
    .balign 8
gdt:
    .quad   0
    .quad   0x00af9b000000ffff          // CODE64
    .quad   0x00cf93000000ffff          // DATA
    .quad   0x00cf9b000000ffff          // CODE32
gdt_end:
    .word   0, 0, 0
gdt_pointer:
    .word   gdt_end - gdt - 1
    .quad   gdt
    .balign 8
    .word   0, 0, 0
    .globl  idt_pointer
idt_pointer:
    .word   256 * 16 - 1
    .quad   idt

    .bss
    .balign 16
    .globl  idt
idt:
    .skip   256 * 16
stacks:
    .skip   2 << STACK_SHIFT
