// SPDX-License-Identifier: Apache-2.0
// Entry of every guest program: the Image header of Linux's boot protocol, a stack for each CPU, vectors, then C.

#define STACK_SHIFT 14

    .section .head, "ax"
    .global _start
_start:
    b       boot
    .word   0
    .quad   0                           // text offset
    .quad   __image_size
    .quad   0xa                         // little endian, 4 KiB pages, anywhere in memory
    .quad   0, 0, 0
    .ascii  "ARM\x64"
    .word   0

boot:
    mov     x19, x0
    adrp    x1, __bss_start
    add     x1, x1, :lo12:__bss_start
    adrp    x2, __bss_end
    add     x2, x2, :lo12:__bss_end
1:  cmp     x1, x2
    b.hs    2f
    stp     xzr, xzr, [x1], #16
    b       1b
2:  bl      cpu_setup
    mov     x0, x19
    bl      guest_main
    bl      guest_end

    .global secondary_entry             // for CPU_ON; x0: its context argument
secondary_entry:
    mov     x19, x0
    bl      cpu_setup
    mov     x0, x19
    bl      secondary_main
    bl      cpu_stop
3:  wfi
    b       3b

cpu_setup:
    mrs     x1, mpidr_el1
    and     x1, x1, #0xf
    add     x1, x1, #1
    adrp    x2, stacks
    add     x2, x2, :lo12:stacks
    add     x2, x2, x1, lsl #STACK_SHIFT
    msr     spsel, #1
    mov     sp, x2
    adrp    x2, vectors
    add     x2, x2, :lo12:vectors
    msr     vbar_el1, x2
    mov     x2, #(0x333 << 16)          // CPACR_EL1: FPEN; ZEN and SMEN, or a hidden SVE would trap to ourselves
    msr     cpacr_el1, x2
    isb
    ret

    .macro vector kind
    .align 7
    sub     sp, sp, #272
    stp     x0, x1, [sp]
    mov     x0, #\kind
    b       save
    .endm

    .text
    .align 11
    .global vectors
vectors:
    .irp kind, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    vector \kind
    .endr

save:
    stp     x2, x3, [sp, #16]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    stp     x18, x19, [sp, #144]
    stp     x20, x21, [sp, #160]
    stp     x22, x23, [sp, #176]
    stp     x24, x25, [sp, #192]
    stp     x26, x27, [sp, #208]
    stp     x28, x29, [sp, #224]
    mrs     x2, elr_el1
    stp     x30, x2, [sp, #240]
    mrs     x2, spsr_el1
    str     x2, [sp, #256]
    mov     x1, sp
    bl      exception
    ldr     x2, [sp, #256]
    msr     spsr_el1, x2
    ldp     x30, x2, [sp, #240]
    msr     elr_el1, x2
    ldp     x2, x3, [sp, #16]
    ldp     x4, x5, [sp, #32]
    ldp     x6, x7, [sp, #48]
    ldp     x8, x9, [sp, #64]
    ldp     x10, x11, [sp, #80]
    ldp     x12, x13, [sp, #96]
    ldp     x14, x15, [sp, #112]
    ldp     x16, x17, [sp, #128]
    ldp     x18, x19, [sp, #144]
    ldp     x20, x21, [sp, #160]
    ldp     x22, x23, [sp, #176]
    ldp     x24, x25, [sp, #192]
    ldp     x26, x27, [sp, #208]
    ldp     x28, x29, [sp, #224]
    ldp     x0, x1, [sp]
    add     sp, sp, #272
    eret

    .bss
    .align 4
stacks:
    .skip   16 << STACK_SHIFT
