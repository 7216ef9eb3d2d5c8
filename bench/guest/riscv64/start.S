// SPDX-License-Identifier: Apache-2.0
// A Linux Image whose first instruction is a mark, the trap vector, and the way of the other harts.
#include "marks.h"

#define FRAME_SIZE  144
#define STACK_SHIFT 13

    .section .head, "ax"
    .globl _start
_start:
    .option push
    .option norvc
    lui     zero, MARK_FIRST
    j       primary
    .option pop
    .balign 8
    .quad   0x200000                  // text offset
    .quad   __image_end - _start      // image size
    .quad   0                         // flags: little endian
    .word   2, 0                      // version 0.2
    .quad   0
    .ascii  "RISCV\0\0\0"
    .ascii  "RSC\x05"
    .word   0

    .text
primary:
    la      t0, __bss_start
    la      t1, __bss_end
1:  sd      zero, 0(t0)
    addi    t0, t0, 8
    bltu    t0, t1, 1b
    la      t0, vector
    csrw    stvec, t0
    la      sp, stacks + (1 << STACK_SHIFT)
    mv      a0, a1
    call    bench_main                // (fdt)
2:  wfi
    j       2b

// HART_START arrives here: a0 = hart, a1 = what it is to do
    .globl  secondary_entry
secondary_entry:
    lui     zero, MARK_END
    la      t0, vector
    csrw    stvec, t0
    la      sp, stacks
    addi    t0, a0, 1
    slli    t0, t0, STACK_SHIFT
    add     sp, sp, t0
    mv      a0, a1
    call    secondary_main
3:  wfi
    j       3b

    .balign 4
vector:
    lui     zero, MARK_END
    addi    sp, sp, -FRAME_SIZE
    sd      ra, 0(sp)
    sd      t0, 8(sp)
    sd      t1, 16(sp)
    sd      t2, 24(sp)
    sd      a0, 32(sp)
    sd      a1, 40(sp)
    sd      a2, 48(sp)
    sd      a3, 56(sp)
    sd      a4, 64(sp)
    sd      a5, 72(sp)
    sd      a6, 80(sp)
    sd      a7, 88(sp)
    sd      t3, 96(sp)
    sd      t4, 104(sp)
    sd      t5, 112(sp)
    sd      t6, 120(sp)
    csrr    a0, scause
    csrr    a1, sepc
    csrr    a2, stval
    call    trap_main                 // (cause, pc, value) → where to go on
    csrw    sepc, a0
    ld      ra, 0(sp)
    ld      t0, 8(sp)
    ld      t1, 16(sp)
    ld      t2, 24(sp)
    ld      a0, 32(sp)
    ld      a1, 40(sp)
    ld      a2, 48(sp)
    ld      a3, 56(sp)
    ld      a4, 64(sp)
    ld      a5, 72(sp)
    ld      a6, 80(sp)
    ld      a7, 88(sp)
    ld      t3, 96(sp)
    ld      t4, 104(sp)
    ld      t5, 112(sp)
    ld      t6, 120(sp)
    addi    sp, sp, FRAME_SIZE
    sret

    .bss
    .balign 16
stacks:
    .space  4 << STACK_SHIFT
