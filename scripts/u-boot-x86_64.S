// SPDX-License-Identifier: Apache-2.0
// In place of U-Boot's first stage, which sets up a board's memory and wants to lie in its ROM: gives U-Boot itself,
// which is linked for 0x1110000, a stack where that stage's was. Begins in 64-bit mode, as an ELF kernel does.
    .text
    .globl _start
_start:
    mov $0x20000, %esp
    jmp u_boot
    .balign 4096
u_boot:
    .incbin "u-boot.bin"
