// SPDX-License-Identifier: Apache-2.0
// AMD's virtual machine control block (AMD64 APM volume 2, appendix B) and its numbers (appendix C).
#pragma once

#include "types.h"

struct vmcb_segment {
    u16 selector, attributes;
    u32 limit;
    u64 base;
};

struct vmcb {
    // Control area
    u16 cr_reads, cr_writes;
    u16 dr_reads, dr_writes;
    u32 exceptions;
    u32 intercepts1, intercepts2, intercepts3;
    u8 reserved1[0x3c - 0x18];
    u16 pause_threshold, pause_count;
    u64 iopm, msrpm;
    u64 tsc_offset;
    u32 asid;
    u8 tlb_control, reserved2[3];
    u64 vintr;
    u64 shadow;
    u64 exit_code, exit_info1, exit_info2;
    u64 exit_event;
    u64 nested_control;
    u64 avic_bar, ghcb;
    u64 event;
    u64 nested_cr3;
    u64 lbr_control;
    u32 clean, reserved3;
    u64 next_rip;
    u8 fetched, bytes[15];
    u8 reserved4[0x400 - 0xe0];
    // Save area
    struct vmcb_segment es, cs, ss, ds, fs, gs, gdtr, ldtr, idtr, tr;
    u8 reserved5[0x4cb - 0x4a0];
    u8 cpl;
    u32 reserved6;
    u64 efer;
    u8 reserved7[0x548 - 0x4d8];
    u64 cr4, cr3, cr0, dr7, dr6, rflags, rip;
    u8 reserved8[0x5d8 - 0x580];
    u64 rsp, s_cet, ssp, isst;
    u64 rax, star, lstar, cstar, sfmask, kernel_gs_base, sysenter_cs, sysenter_esp, sysenter_eip, cr2;
    u8 reserved9[0x668 - 0x648];
    u64 pat, debugctl, br_from, br_to, last_exception_from, last_exception_to;
    u8 reserved10[0x1000 - 0x698];
};
static_assert(offsetof(struct vmcb, intercepts1) == 0x0c && offsetof(struct vmcb, iopm) == 0x40);
static_assert(offsetof(struct vmcb, vintr) == 0x60 && offsetof(struct vmcb, exit_code) == 0x70);
static_assert(offsetof(struct vmcb, event) == 0xa8 && offsetof(struct vmcb, next_rip) == 0xc8);
static_assert(offsetof(struct vmcb, es) == 0x400 && offsetof(struct vmcb, tr) == 0x490);
static_assert(offsetof(struct vmcb, cpl) == 0x4cb && offsetof(struct vmcb, efer) == 0x4d0);
static_assert(offsetof(struct vmcb, cr4) == 0x548 && offsetof(struct vmcb, rip) == 0x578);
static_assert(offsetof(struct vmcb, rsp) == 0x5d8 && offsetof(struct vmcb, rax) == 0x5f8);
static_assert(offsetof(struct vmcb, cr2) == 0x640 && offsetof(struct vmcb, pat) == 0x668);
static_assert(sizeof(struct vmcb) == 0x1000);

enum : u16 { SVM_CR4 = 1 << 4, SVM_CR8 = 1 << 8 }; // cr_writes

enum : u32 { // intercepts1
    SVM_INTR = 1u << 0,
    SVM_NMI = 1u << 1,
    SVM_RDPMC = 1u << 15,
    SVM_CPUID = 1u << 18,
    SVM_IRET = 1u << 20,
    SVM_INVD = 1u << 22,
    SVM_HLT = 1u << 24,
    SVM_INVLPGA = 1u << 26,
    SVM_IOIO = 1u << 27,
    SVM_MSR = 1u << 28,
    SVM_SHUTDOWN = 1u << 31,
};
enum : u32 { // intercepts2
    SVM_VMRUN = 1u << 0,
    SVM_VMMCALL = 1u << 1,
    SVM_VMLOAD = 1u << 2,
    SVM_VMSAVE = 1u << 3,
    SVM_STGI = 1u << 4,
    SVM_CLGI = 1u << 5,
    SVM_SKINIT = 1u << 6,
    SVM_WBINVD = 1u << 9,
    SVM_MONITOR = 1u << 10,
    SVM_MWAIT = 1u << 11,
    SVM_XSETBV = 1u << 13,
    SVM_RDPRU = 1u << 14,
};

enum : u64 { // exit_code
    SVM_EXIT_CR4_WRITE = 0x14,
    SVM_EXIT_EXCEPTION = 0x40, // + vector
    SVM_EXIT_DB = 0x40 + 1,
    SVM_EXIT_UD = 0x40 + 6,
    SVM_EXIT_AC = 0x40 + 17,
    SVM_EXIT_MC = 0x40 + 18,
    SVM_EXIT_INTR = 0x60,
    SVM_EXIT_NMI,
    SVM_EXIT_RDPMC = 0x6f,
    SVM_EXIT_CPUID = 0x72,
    SVM_EXIT_IRET = 0x74,
    SVM_EXIT_INVD = 0x76,
    SVM_EXIT_HLT = 0x78,
    SVM_EXIT_IOIO = 0x7b,
    SVM_EXIT_MSR = 0x7c,
    SVM_EXIT_SHUTDOWN = 0x7f,
    SVM_EXIT_VMMCALL = 0x81,
    SVM_EXIT_WBINVD = 0x89,
    SVM_EXIT_XSETBV = 0x8d,
    SVM_EXIT_NPF = 0x400,
    SVM_EXIT_INVALID = 0xffffffff, // in the low 32 bits
};

// vintr
#define SVM_V_TPR BITS(3, 0)
#define SVM_V_IRQ BIT(8)
#define SVM_V_PRIORITY BITS(19, 16)
#define SVM_V_IGN_TPR BIT(20)
#define SVM_V_INTR_MASKING BIT(24)
#define SVM_V_VECTOR BITS(39, 32)
// shadow
#define SVM_SHADOW BIT(0)
// exit_info1 of an I/O instruction
#define SVM_IO_IN BIT(0)
#define SVM_IO_STRING BIT(2)
#define SVM_IO_SIZE BITS(6, 4) // one of them is set: 1, 2 or 4 bytes
#define SVM_IO_PORT BITS(31, 16)
// exit_info1 of a nested page fault
#define SVM_NPF_WRITE BIT(1)
#define SVM_NPF_FETCH BIT(4)
#define SVM_NPF_WALK BIT(33) // while the CPU walked the guest's page tables
// nested_control
#define SVM_NESTED_PAGING BIT(0)

enum : u8 { SVM_TLB_KEEP = 0, SVM_TLB_FLUSH_ALL = 1, SVM_TLB_FLUSH_GUEST = 3 };

// CPUID 0x8000000a EDX
#define SVM_FEATURE_NESTED_PAGING BIT(0)
#define SVM_FEATURE_NRIP BIT(3)
#define SVM_FEATURE_FLUSH_BY_ASID BIT(6)
#define SVM_FEATURE_DECODE_ASSISTS BIT(7)
