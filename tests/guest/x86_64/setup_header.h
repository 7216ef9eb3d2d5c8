// SPDX-License-Identifier: Apache-2.0
// The setup header of Linux's boot protocol (Linux, Documentation/arch/x86/boot.rst) for a program linked at 2 MiB; what
// follows is at its 64-bit entry point. For start.S of the tests' guests and of the one that measures.
    .section .head, "ax"
    .code64
head:
    .org    head + 0x1f1
    .byte   1                           // sectors of setup after the boot sector
    .org    head + 0x1fe
    .word   0xaa55
    .byte   0xeb, setup_end - (head + 0x202)
    .ascii  "HdrS"
    .word   0x020f                      // version 2.15
    .org    head + 0x211
    .byte   1                           // loaded high
    .org    head + 0x22c
    .long   0x7fffffff                  // the highest address of an initrd
    .long   0x200000                    // alignment
    .byte   0                           // not relocatable
    .org    head + 0x236
    .word   1                           // has a 64-bit entry point
    .long   2047                        // of the command line
    .org    head + 0x258
    .quad   0x200000
    .long   __image_size
setup_end:
    .org    head + 0x600                // the two sectors, and up to the entry point
