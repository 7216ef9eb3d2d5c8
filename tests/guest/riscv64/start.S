// SPDX-License-Identifier: Apache-2.0
// Entry of every guest program: the Image header of Linux's boot protocol, a stack for each hart, the trap vector,
// then C. tp holds the hart's id.

#define STACK_SHIFT 14
#define FRAME_SIZE 272

    .section .head, "ax"
    .global _start
_start:
    .option push
    .option norvc
    j       boot
    .option pop
    .balign 8
    .quad   0x200000                    // text offset
    .quad   __image_size
    .quad   0                           // little endian
    .word   2, 0                        // version 0.2
    .quad   0
    .ascii  "RISCV\0\0\0"
    .ascii  "RSC\x05"
    .word   0

boot:
    mv      tp, a0
    mv      s0, a1
    la      t0, __bss_start
    la      t1, __bss_end
1:  bgeu    t0, t1, 2f
    sd      zero, 0(t0)
    addi    t0, t0, 8
    j       1b
2:  call    cpu_setup
    mv      a0, s0
    call    machine_init
    mv      a0, s0
    call    guest_main
    call    guest_end

    .global secondary_entry             // for HART_START; a0: hart id, a1: its opaque argument
secondary_entry:
    mv      tp, a0
    mv      s0, a1
    call    cpu_setup
    mv      a0, s0
    call    secondary_main
    call    cpu_stop
3:  wfi
    j       3b

cpu_setup:
    la      sp, stacks
    addi    t0, tp, 1
    slli    t0, t0, STACK_SHIFT
    add     sp, sp, t0
    la      t0, vector
    csrw    stvec, t0
    csrw    sie, zero
    ret

    .text
    .balign 4
    .global vector
vector:
    addi    sp, sp, -FRAME_SIZE
    .irp n, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    sd      x\n, 8 * \n(sp)
    .endr
    csrr    t0, sepc
    sd      t0, 256(sp)
    csrr    t0, sstatus
    sd      t0, 264(sp)
    mv      a0, sp
    call    exception
    ld      t0, 256(sp)
    csrw    sepc, t0
    ld      t0, 264(sp)
    csrw    sstatus, t0
    .irp n, 1, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    ld      x\n, 8 * \n(sp)
    .endr
    addi    sp, sp, FRAME_SIZE
    sret

    .bss
    .balign 16
stacks:
    .skip   16 << STACK_SHIFT
