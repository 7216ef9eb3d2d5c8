// SPDX-License-Identifier: Apache-2.0
// Entry of every guest program: the setup header of Linux's boot protocol and its 64-bit entry, a stack for each CPU,
// the interrupt vectors, then C. The GS base holds the CPU's number.

#define STACK_SHIFT 14
#define TRAMPOLINE 0x8000
#define CODE64 0x08
#define DATA 0x10
#define CODE32 0x18
#define MSR_GS_BASE 0xc0000101
#define MSR_EFER 0xc0000080
#define BEGAN_SHIFT 5                   // struct began in machine.h
#define BEGAN_OTHERS 0
#define BEGAN_CR0 4
#define BEGAN_CR4 8
#define BEGAN_EDX 12
#define BEGAN_CS 16
#define BEGAN_DATA 18

#include "setup_header.inc"
    .global _start
_start:
    mov     %cs, %r12d
    mov     %ds, %r13d
    mov     %es, %r14d
    mov     %ss, %r15d
    lgdt    gdt_pointer(%rip)
    lidt    idt_pointer(%rip)
    mov     %rsi, %rbp
    mov     %cr0, %rdx
    lea     __bss_start(%rip), %rdi
    lea     __bss_end(%rip), %rcx
    sub     %rdi, %rcx
    xor     %eax, %eax
    cld
    rep stosb
    lea     stacks + (1 << STACK_SHIFT)(%rip), %rsp
    pushfq
    pop     %rax
    lea     began(%rip), %rdi
    mov     %eax, BEGAN_OTHERS(%rdi)    // among them the interrupt flag
    mov     %edx, BEGAN_CR0(%rdi)
    mov     %r12w, BEGAN_CS(%rdi)
    or      %r14d, %r13d
    or      %r15d, %r13d
    mov     %r13w, BEGAN_DATA(%rdi)
    xor     %edi, %edi
    mov     %rbp, %rsi
    call    cpu_setup
    mov     %rbp, %rdi
    call    guest_main
    call    guest_end

cpu_setup:                              // edi: number
    push    %rdi
    push    $CODE64
    lea     1f(%rip), %rax
    push    %rax
    lretq
1:  mov     $DATA, %eax
    mov     %eax, %ds
    mov     %eax, %es
    mov     %eax, %ss
    xor     %eax, %eax
    mov     %eax, %fs
    mov     %eax, %gs
    mov     $MSR_GS_BASE, %ecx
    mov     (%rsp), %eax
    xor     %edx, %edx
    wrmsr
    pop     %rdi
    jmp     runtime_init                // (number, zero page)

    .text
// What SIPI starts, copied to TRAMPOLINE: to 32-bit, and on to 64-bit mode with the first CPU's page tables.
    .code16
    .global trampoline, trampoline_end, trampoline_cr3
trampoline:
    or      %ecx, %eax                  // everything that INIT leaves as 0
    or      %ebx, %eax
    or      %esi, %eax
    or      %edi, %eax
    or      %ebp, %eax
    or      %eax, %esp
    mov     %edx, %ebp
    mov     %cr0, %edi
    mov     %cr4, %esi
    mov     %ds, %eax
    mov     %es, %ebx
    mov     %ss, %ecx
    or      %ecx, %eax
    or      %eax, %ebx
    shl     $16, %ebx
    mov     %cs, %bx
    xor     %ax, %ax
    mov     %ax, %ds
    lgdtl   TRAMPOLINE + (trampoline_gdt - trampoline)
    mov     %cr0, %eax
    or      $1, %al
    mov     %eax, %cr0
    ljmpl   $CODE32, $TRAMPOLINE + (1f - trampoline)
    .code32
1:  mov     $DATA, %eax
    mov     %eax, %ds
    mov     %eax, %es
    mov     %eax, %ss
    mov     %cr4, %eax
    or      $0x20, %eax                 // PAE
    mov     %eax, %cr4
    mov     TRAMPOLINE + (trampoline_cr3 - trampoline), %eax
    mov     %eax, %cr3
    mov     $MSR_EFER, %ecx
    rdmsr
    or      %eax, %esp
    or      $0x100, %eax                // LME
    wrmsr
    mov     %cr0, %eax
    or      $0x80000000, %eax
    and     $0x9fffffff, %eax           // caches on
    mov     %eax, %cr0
    ljmp    $CODE64, $TRAMPOLINE + (2f - trampoline)
    .code64
2:  movabs  $secondary, %rax
    jmp     *%rax
    .balign 8
trampoline_gdt:
    .word   gdt_end - gdt - 1
    .long   gdt
    .balign 4
trampoline_cr3:
    .long   0
trampoline_end:

secondary:
    lidt    idt_pointer(%rip)
    mov     %ebx, %r8d
    mov     $1, %eax
    cpuid
    shr     $24, %ebx                   // the initial APIC id
    mov     %ebx, %eax
    shl     $BEGAN_SHIFT, %eax
    lea     began(%rip), %rcx
    add     %rax, %rcx
    mov     %esp, BEGAN_OTHERS(%rcx)
    mov     %edi, BEGAN_CR0(%rcx)
    mov     %esi, BEGAN_CR4(%rcx)
    mov     %ebp, BEGAN_EDX(%rcx)
    mov     %r8d, BEGAN_CS(%rcx)        // and the data segments
    mov     %ebx, %edi
    lea     1(%rbx), %eax
    shl     $STACK_SHIFT, %eax
    lea     stacks(%rip), %rsp
    add     %rax, %rsp
    xor     %esi, %esi
    call    cpu_setup
    call    secondary_begin

// 256 entries of 16 bytes: a number on the stack, and an error code where the processor gives none.
    .balign 16
    .global vectors
vectors:
    .set    n, 0
    .rept   256
    .balign 16
    .if     !(n == 8 || (n >= 10 && n <= 14) || n == 17 || n == 21 || n == 29 || n == 30)
    push    $0
    .endif
    push    $n
    jmp     vector
    .set    n, n + 1
    .endr

vector:
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
    mov     %rsp, %rdi
    cld
    mov     %rsp, %rbp
    and     $-16, %rsp
    call    exception
    mov     %rbp, %rsp
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

    .data
    .balign 8
    .global gdt
gdt:
    .quad   0
    .quad   0x00af9b000000ffff          // CODE64
    .quad   0x00cf93000000ffff          // DATA
    .quad   0x00cf9b000000ffff          // CODE32
    .quad   0x00affb000000ffff          // CODE64 of ring 3: 0x23
    .quad   0x00cff3000000ffff          // DATA of ring 3: 0x2b
gdt_end:
    .word   0, 0, 0
gdt_pointer:
    .word   gdt_end - gdt - 1
    .quad   gdt
    .balign 8
    .word   0, 0, 0
    .global idt_pointer
idt_pointer:
    .word   256 * 16 - 1
    .quad   idt

    .bss
    .balign 16
    .global idt, stacks, began
began:
    .skip   16 << BEGAN_SHIFT
idt:
    .skip   256 * 16
stacks:
    .skip   16 << STACK_SHIFT
