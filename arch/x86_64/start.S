// SPDX-License-Identifier: Apache-2.0
// The first instructions: the PVH note (Xen's docs/misc/pvh.pandoc; QEMU -kernel) and the multiboot2 header (GRUB), both of which
// enter here in 32-bit protected mode with paging off and EBX pointing at what the loader tells; the way to 64-bit C.

#define MB2_MAGIC         0xe85250d6
#define MB2_END           0
#define MB2_INFO_REQUEST  1
#define MB2_CMDLINE       1
#define MB2_MODULE        3
#define MB2_MMAP          6

#define CR0_BOOT          0x80010033          // PG WP NE ET MP PE
#define CR4_PAE           0x20
#define MSR_EFER          0xc0000080
#define EFER_LME_NXE      0x900
#define CPUID_LM          (1 << 29)

#define COM1              0x3f8

    .section .head, "a"
    .balign 8
mb2_header:
    .long   MB2_MAGIC, 0, mb2_header_end - mb2_header, -(MB2_MAGIC + (mb2_header_end - mb2_header))
    .short  MB2_INFO_REQUEST, 0
    .long   mb2_request_end - . + 4
    .long   MB2_CMDLINE, MB2_MODULE, MB2_MMAP
mb2_request_end:
    .balign 8
    .short  MB2_END, 0
    .long   8
mb2_header_end:

    .section .note.pvh, "a", @note
    .balign 4
    .long   4, 4, 18                          // name's size, content's size, XEN_ELFNOTE_PHYS32_ENTRY
    .asciz  "Xen"
    .long   _start

    .section .text.boot, "ax"
    .code32
    .globl _start
_start:                                       // EBX = start info, EAX = which (multiboot2 only)
    cli
    cld
    mov     %eax, %ebp
    mov     $__bss_start, %edi
    mov     $__bss_end, %ecx
    sub     %edi, %ecx
    shr     $2, %ecx
    xor     %eax, %eax
    rep stosl
    mov     $boot_stack_top, %esp

    push    %ebx
    mov     $0x80000000, %eax
    cpuid
    cmp     $0x80000001, %eax
    jb      no_long_mode
    mov     $0x80000001, %eax
    cpuid
    test    $CPUID_LM, %edx
    jz      no_long_mode
    pop     %ebx

    // VA = PA for the first 4 GiB, in 2 MiB pages, which every CPU has; C adds what is above (features_probe).
    movl    $boot_pdpt + 3, boot_pml4
    xor     %ecx, %ecx
1:  mov     %ecx, %eax
    shl     $12, %eax
    add     $boot_pd + 3, %eax
    mov     %eax, boot_pdpt(, %ecx, 8)
    inc     %ecx
    cmp     $4, %ecx
    jne     1b
    xor     %ecx, %ecx
2:  mov     %ecx, %eax
    shl     $21, %eax
    or      $0x83, %eax                       // present, writable, a page of 2 MiB
    mov     %eax, boot_pd(, %ecx, 8)
    inc     %ecx
    cmp     $2048, %ecx
    jne     2b

    lgdt    boot_gdtr
    ljmp    $0x18, $3f                        // our own segments: nothing is known of the loader's
3:  call    long_mode_on
    ljmp    $0x08, $boot64

// To 64-bit mode but for the jump, with the boot page tables. The secondary CPUs come here as well. Changes EAX, ECX, EDX.
long_mode_on:
    mov     $0x10, %eax
    mov     %eax, %ds
    mov     %eax, %es
    mov     %eax, %ss
    mov     $CR4_PAE, %eax
    mov     %eax, %cr4
    mov     $boot_pml4, %eax
    mov     %eax, %cr3
    mov     $MSR_EFER, %ecx
    rdmsr
    or      $EFER_LME_NXE, %eax
    wrmsr
    mov     $CR0_BOOT, %eax
    mov     %eax, %cr0
    ret

no_long_mode:
    mov     $no_long_mode_text, %esi
4:  mov     $COM1 + 5, %edx
    in      %dx, %al
    test    $0x20, %al
    jz      4b
    lodsb
    test    %al, %al
    jz      5f
    mov     $COM1, %edx
    out     %al, %dx
    jmp     4b
5:  hlt
    jmp     5b
no_long_mode_text:
    .asciz  "bulkhead: this CPU has no 64-bit mode\r\n"

    .code64
boot64:
    xor     %eax, %eax
    mov     %eax, %fs
    mov     %eax, %gs
    lldt    %ax
    mov     %ebx, %edi
    mov     %ebp, %esi
    mov     $boot_stack_top, %esp
    xor     %ebp, %ebp
    call    x86_64_boot                       // (start info, magic); does not return
6:  hlt
    jmp     6b

// A secondary CPU starts at ap_trampoline in real mode, in a copy on a page below 1 MiB: CS = page >> 4, IP = 0 (Intel SDM vol. 3
// §9.4). It takes the boot GDT and page tables, then what its struct ap_boot says.
    .globl  ap_trampoline, ap_trampoline_end
    .balign 16
    .code16
ap_trampoline:
    cli
    cld
    mov     %cs, %ax
    mov     %ax, %ds
    lgdtl   ap_gdtr - ap_trampoline
    mov     %cr0, %eax
    and     $0x9fffffff, %eax                 // caches on: CD and NW are set after INIT
    or      $1, %al
    mov     %eax, %cr0
    ljmpl   $0x18, $ap32
    .balign 4
ap_gdtr:
    .short  boot_gdt_end - boot_gdt - 1
    .long   boot_gdt
ap_trampoline_end:

    .code32
ap32:
    mov     $0x10, %eax
    mov     %eax, %ss
    mov     $ap_stack_top, %esp               // one CPU at a time
    call    long_mode_on
    ljmp    $0x08, $ap64

    .code64
ap64:
    xor     %eax, %eax
    mov     %eax, %fs
    mov     %eax, %gs
    lldt    %ax
    // Is it our turn? One that comes long after it was called for would take the next one's place.
    cpuid
    cmp     $0xb, %eax
    jb      7f
    mov     $0xb, %eax
    xor     %ecx, %ecx
    cpuid
    test    %ebx, %ebx
    jnz     8f
7:  mov     $1, %eax
    cpuid
    shr     $24, %ebx
    mov     %ebx, %edx
8:  cmp     %edx, ap_boot
    jne     9f
    mov     ap_boot + 8, %rax                 // struct ap_boot: cr3, stack_top, cpu
    mov     ap_boot + 16, %rsp
    mov     ap_boot + 24, %rdi
    mov     %rax, %cr3
    xor     %ebp, %ebp
    call    x86_64_boot_secondary             // (cpu); does not return
9:  cli
    hlt
    jmp     9b

    .section .rodata.boot, "a"
    .balign 8
boot_gdt:
    .quad   0
    .quad   0x00af9b000000ffff                // 0x08: 64-bit code
    .quad   0x00cf93000000ffff                // 0x10: data
    .quad   0x00cf9b000000ffff                // 0x18: 32-bit code
boot_gdt_end:
boot_gdtr:
    .short  boot_gdt_end - boot_gdt - 1
    .long   boot_gdt, 0

    .section .bss
    .balign 4096
    .globl  boot_pml4, boot_pdpt, boot_stack_top
boot_pml4:
    .space  4096
boot_pdpt:
    .space  4096
boot_pd:
    .space  16384
    .space  16384
boot_stack_top:
    .space  256
ap_stack_top:
