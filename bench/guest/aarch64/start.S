// SPDX-License-Identifier: Apache-2.0
// A Linux Image whose first instruction is a mark, the vectors, and the way of the second CPU.
#include "marks.h"

    .section .head, "ax"
    .globl _start
_start:
    movz    xzr, #MARK_FIRST
    b       primary
    .quad   0                         // text_offset
    .quad   __image_end - _start      // image_size
    .quad   0xa                       // flags: little endian, 4 KiB pages, anywhere in memory
    .quad   0, 0, 0
    .ascii  "ARM\x64"
    .long   0

    .text
primary:
    adr     x1, vectors
    msr     vbar_el1, x1
    ldr     x1, =stack0_top
    mov     sp, x1
    ldr     x1, =__bss_start
    ldr     x2, =__bss_end
1:  str     xzr, [x1], #8
    cmp     x1, x2
    b.lo    1b
    bl      bench_main
2:  wfi
    b       2b

// CPU_ON arrives here. When, comes first.
    .globl secondary_entry
secondary_entry:
    mrs     x28, cntvct_el0
    adr     x1, vectors
    msr     vbar_el1, x1
    ldr     x1, =stack1_top
    mov     sp, x1
    mov     x1, x28
    bl      secondary_main            // (context, when)
3:  wfi
    b       3b

    .macro  unexpected number
    .balign 0x80
    mov     x0, #\number
    b       unexpected_vector
    .endm

    .balign 0x800
vectors:
    unexpected 0
    unexpected 1
    unexpected 2
    unexpected 3
    unexpected 4
    .balign 0x80
    mrs     x28, cntvct_el0           // nothing else uses x28: -ffixed-x28
    b       irq
    unexpected 6
    unexpected 7
    unexpected 8
    unexpected 9
    unexpected 10
    unexpected 11
    unexpected 12
    unexpected 13
    unexpected 14
    unexpected 15

unexpected_vector:
    mrs     x1, esr_el1
    mrs     x2, elr_el1
    b       fault_main

irq:
    sub     sp, sp, #176
    stp     x0, x1, [sp]
    stp     x2, x3, [sp, #16]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    stp     x18, x30, [sp, #144]
    mov     x0, x28
    bl      irq_main                  // (when)
    ldp     x0, x1, [sp]
    ldp     x2, x3, [sp, #16]
    ldp     x4, x5, [sp, #32]
    ldp     x6, x7, [sp, #48]
    ldp     x8, x9, [sp, #64]
    ldp     x10, x11, [sp, #80]
    ldp     x12, x13, [sp, #96]
    ldp     x14, x15, [sp, #112]
    ldp     x16, x17, [sp, #128]
    ldp     x18, x30, [sp, #144]
    add     sp, sp, #176
    eret

    .bss
    .balign 16
    .space  16384
stack0_top:
    .space  16384
stack1_top:
