// SPDX-License-Identifier: Apache-2.0
// The first instructions: the Linux Image header (Documentation/arch/arm64/booting), the way to C on the boot CPU, and the way
// of a secondary CPU. The MMU is off, and we may run at any address and at EL2 or (to say so) EL1.

#define HCR_RW (1 << 31)              // and E2H = 0, which firmware may have left otherwise: the registers below have other formats then

    .section .head, "ax"
    .globl _start
_start:
    b       boot_primary
    .long   0
    .quad   0                         // text_offset
    .quad   __image_size              // bss included
    .quad   0xa                       // flags: little endian, 4 KiB pages, anywhere in memory
    .quad   0, 0, 0
    .ascii  "ARM\x64"
    .long   0

    .section .text.boot, "ax"
boot_primary:
    msr     daifset, #0xf
    adrp    x1, boot_stack_top
    add     sp, x1, :lo12:boot_stack_top
    mov     x29, xzr
    mov     x30, xzr

    adrp    x1, __bss_start
    add     x1, x1, :lo12:__bss_start
    adrp    x2, __bss_end
    add     x2, x2, :lo12:__bss_end
1:  stp     xzr, xzr, [x1], #16
    cmp     x1, x2
    b.lo    1b

    // Relocate: the image was linked at 0, so the load address is the displacement.
    adrp    x4, _start
    adrp    x1, __rela_start
    add     x1, x1, :lo12:__rela_start
    adrp    x2, __rela_end
    add     x2, x2, :lo12:__rela_end
2:  cmp     x1, x2
    b.hs    3f
    ldp     x5, x6, [x1], #16         // r_offset, r_info
    ldr     x7, [x1], #8              // r_addend
    cmp     w6, #1027                 // R_AARCH64_RELATIVE; the linker makes no other kind here
    b.ne    2b
    add     x7, x7, x4
    str     x7, [x5, x4]
    b       2b
3:
    mrs     x1, CurrentEL
    cmp     x1, #(2 << 2)
    b.ne    4f
    mov     x2, #HCR_RW
    msr     hcr_el2, x2
    isb
    adrp    x2, hyp_vectors
    add     x2, x2, :lo12:hyp_vectors
    msr     vbar_el2, x2
    isb
4:  lsr     x1, x1, #2
    bl      aarch64_boot              // (device tree, exception level); does not return
5:  wfi
    b       5b

// PSCI CPU_ON arrives here: x0 = struct secondary_boot *
    .globl secondary_start
secondary_start:
    msr     daifset, #0xf
    mov     x1, #HCR_RW
    msr     hcr_el2, x1
    isb
    ldp     x1, x2, [x0], #16         // ttbr0, tcr
    ldp     x3, x4, [x0], #16         // mair, sctlr
    ldp     x5, x6, [x0], #16         // stack top, cpu
    msr     mair_el2, x3
    msr     tcr_el2, x2
    msr     ttbr0_el2, x1
    tlbi    alle2
    ic      iallu
    dsb     sy
    isb
    msr     sctlr_el2, x4
    isb
    adrp    x2, hyp_vectors
    add     x2, x2, :lo12:hyp_vectors
    msr     vbar_el2, x2
    msr     tpidr_el2, x6
    mov     sp, x5
    mov     x29, xzr
    mov     x30, xzr
    mov     x0, x6
    bl      smp_secondary_main
6:  wfi
    b       6b

    .section .bss
    .balign 4096
    .space  16384
    .globl boot_stack_top
boot_stack_top:
