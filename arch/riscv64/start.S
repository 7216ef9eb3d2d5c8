// SPDX-License-Identifier: Apache-2.0
// The first instructions: the Linux Image header (Documentation/arch/riscv/boot-image-header), the way to C on the boot hart, and
// the way of a secondary hart. The MMU is off, and we may run at any address.

    .section .head, "ax"
    .globl _start
    .option push
    .option norvc
_start:
    j       boot_primary
    .long   0
    .quad   0x200000                  // text_offset
    .quad   __image_size              // bss included
    .quad   0                         // flags: little endian
    .long   2                         // header version 0.2
    .long   0
    .quad   0
    .ascii  "RISCV\0\0\0"
    .ascii  "RSC\x05"
    .long   0
    .option pop

    .section .text.boot, "ax"
boot_primary:                         // a0 = hartid, a1 = device tree
    csrw    sie, zero
    csrci   sstatus, 2                // SIE
    csrw    satp, zero
    csrw    sscratch, zero
    lla     sp, boot_stack_top
    mv      s0, zero

    lla     t0, __bss_start
    lla     t1, __bss_end
1:  sd      zero, 0(t0)
    addi    t0, t0, 8
    bltu    t0, t1, 1b

    // Relocate: the image was linked at 0, so the load address is the displacement.
    lla     t0, _start
    lla     t1, __rela_start
    lla     t2, __rela_end
2:  bgeu    t1, t2, 3f
    ld      t3, 0(t1)                 // r_offset
    ld      t4, 8(t1)                 // r_info
    ld      t5, 16(t1)                // r_addend
    addi    t1, t1, 24
    sext.w  t4, t4
    addi    t4, t4, -3                // R_RISCV_RELATIVE; the linker makes no other kind here
    bnez    t4, 2b
    add     t5, t5, t0
    add     t3, t3, t0
    sd      t5, 0(t3)
    j       2b
3:  fence.i
    lla     t0, trap_entry
    csrw    stvec, t0
    lla     tp, cpus
    call    riscv64_boot              // (hartid, device tree); does not return
4:  wfi
    j       4b

// SBI HART_START arrives here: a0 = hartid, a1 = struct secondary_boot *
    .globl secondary_start
    .balign 4
secondary_start:
    csrw    sie, zero
    csrci   sstatus, 2
    csrw    sscratch, zero
    ld      t0, 0(a1)                 // satp
    ld      sp, 8(a1)
    ld      tp, 16(a1)                // cpu
    mv      s0, zero
    lla     t1, trap_entry
    csrw    stvec, t1
    sfence.vma
    csrw    satp, t0
    sfence.vma
    mv      a0, tp
    call    smp_secondary_main
5:  wfi
    j       5b

    .section .bss
    .balign 4096
    .space  16384
    .globl boot_stack_top
boot_stack_top:
