// SPDX-License-Identifier: Apache-2.0
// Control and status registers (RISC-V Privileged Architecture 1.13, H extension chapter 22; Advanced Interrupt
// Architecture 1.0), by number, so that the assembler needs to know no extension.
#pragma once

#include "types.h"

enum {
    CSR_FCSR = 0x003,
    CSR_VSTART = 0x008,
    CSR_VCSR = 0x00f,
    CSR_SSTATUS = 0x100,
    CSR_SIE = 0x104,
    CSR_STVEC = 0x105,
    CSR_SCOUNTEREN = 0x106,
    CSR_SENVCFG = 0x10a,
    CSR_SSTATEEN0 = 0x10c,
    CSR_SSCRATCH = 0x140,
    CSR_SEPC = 0x141,
    CSR_SCAUSE = 0x142,
    CSR_STVAL = 0x143,
    CSR_SIP = 0x144,
    CSR_STIMECMP = 0x14d,
    CSR_SISELECT = 0x150,
    CSR_SIREG = 0x151,
    CSR_STOPEI = 0x15c,
    CSR_SATP = 0x180,
    CSR_VSSTATUS = 0x200,
    CSR_VSIE = 0x204,
    CSR_VSTVEC = 0x205,
    CSR_VSSCRATCH = 0x240,
    CSR_VSEPC = 0x241,
    CSR_VSCAUSE = 0x242,
    CSR_VSTVAL = 0x243,
    CSR_VSIP = 0x244,
    CSR_VSTIMECMP = 0x24d,
    CSR_VSISELECT = 0x250,
    CSR_VSIREG = 0x251,
    CSR_VSATP = 0x280,
    CSR_HSTATUS = 0x600,
    CSR_HEDELEG = 0x602,
    CSR_HIDELEG = 0x603,
    CSR_HIE = 0x604,
    CSR_HTIMEDELTA = 0x605,
    CSR_HCOUNTEREN = 0x606,
    CSR_HGEIE = 0x607,
    CSR_HVIEN = 0x608,
    CSR_HVICTL = 0x609,
    CSR_HENVCFG = 0x60a,
    CSR_HSTATEEN0 = 0x60c,
    CSR_HTVAL = 0x643,
    CSR_HIP = 0x644,
    CSR_HVIP = 0x645,
    CSR_HVIPRIO1 = 0x646,
    CSR_HVIPRIO2 = 0x647,
    CSR_HTINST = 0x64a,
    CSR_HGATP = 0x680,
    CSR_VL = 0xc20,
    CSR_VTYPE = 0xc21,
    CSR_HGEIP = 0xe12,
};

#define csr_read(nr)                                                                                                   \
    ({                                                                                                                 \
        u64 v_;                                                                                                        \
        __asm__ volatile("csrr %0, %1" : "=r"(v_) : "i"(nr));                                                          \
        v_;                                                                                                            \
    })
#define csr_write(nr, value)                                                                                           \
    do {                                                                                                               \
        u64 w_ = (value);                                                                                              \
        __asm__ volatile("csrw %0, %1" ::"i"(nr), "rK"(w_) : "memory");                                                \
    } while (0)
#define csr_set(nr, bits)                                                                                              \
    do {                                                                                                               \
        u64 w_ = (bits);                                                                                               \
        __asm__ volatile("csrs %0, %1" ::"i"(nr), "rK"(w_) : "memory");                                                \
    } while (0)
#define csr_clear(nr, bits)                                                                                            \
    do {                                                                                                               \
        u64 w_ = (bits);                                                                                               \
        __asm__ volatile("csrc %0, %1" ::"i"(nr), "rK"(w_) : "memory");                                                \
    } while (0)

// sstatus, vsstatus §12.1.1
#define SSTATUS_SIE BIT(1)
#define SSTATUS_SPIE BIT(5)
#define SSTATUS_SPP BIT(8)
#define SSTATUS_FS BITS(14, 13)
#define SSTATUS_FS_INITIAL (1ull << 13)
#define SSTATUS_FS_CLEAN (2ull << 13)
#define SSTATUS_FS_DIRTY (3ull << 13)
#define SSTATUS_VS BITS(10, 9)
#define SSTATUS_VS_INITIAL (1ull << 9)
#define SSTATUS_VS_CLEAN (2ull << 9)
#define SSTATUS_VS_DIRTY (3ull << 9)
#define SSTATUS_UXL_64 (2ull << 32)

#define VTYPE_VILL BIT(63) // V 1.0 §3.4: no type is set

// hstatus §22.2.1
#define HSTATUS_SPV BIT(7)
#define HSTATUS_SPVP BIT(8)
#define HSTATUS_VTW BIT(21)
#define HSTATUS_VSXL_64 (2ull << 32)

// henvcfg §22.2.5
#define ENVCFG_CBIE_INVAL_FLUSHES (1ull << 4) // an invalidate of the guest's must not throw away others' data
#define ENVCFG_CBCFE BIT(6)
#define ENVCFG_CBZE BIT(7)
#define ENVCFG_ADUE BIT(61)
#define ENVCFG_PBMTE BIT(62)
#define ENVCFG_STCE BIT(63)
#define HSTATUS_VGEIN BITS(17, 12)
// hvictl, AIA §6.3.3
#define HVICTL_IID BITS(27, 16)
#define HVICTL_IPRIO BITS(7, 0)
#define STATEEN0_AIA (BIT(58) | BIT(59) | BIT(60))
#define STATEEN0_ENVCFG BIT(62)

#define COUNTEREN_CY_TM_IR 7ull

// Interrupts: bits of sip, sie; those of VS level one higher in hip, hvip
enum { IRQ_SSI = 1, IRQ_VSSI = 2, IRQ_STI = 5, IRQ_VSTI = 6, IRQ_SEI = 9, IRQ_VSEI = 10, IRQ_SGEI = 12 };
#define IRQS_VS (BIT(IRQ_VSSI) | BIT(IRQ_VSTI) | BIT(IRQ_VSEI))
#define SCAUSE_INTERRUPT BIT(63)

enum {
    CAUSE_FETCH_ACCESS = 1,
    CAUSE_ILLEGAL = 2,
    CAUSE_BREAKPOINT = 3,
    CAUSE_LOAD_MISALIGNED = 4,
    CAUSE_LOAD_ACCESS = 5,
    CAUSE_STORE_MISALIGNED = 6,
    CAUSE_STORE_ACCESS = 7,
    CAUSE_ECALL_U = 8,
    CAUSE_ECALL_VS = 10,
    CAUSE_FETCH_PAGE = 12,
    CAUSE_LOAD_PAGE = 13,
    CAUSE_STORE_PAGE = 15,
    CAUSE_SOFTWARE_CHECK = 18,
    CAUSE_FETCH_GUEST_PAGE = 20,
    CAUSE_LOAD_GUEST_PAGE = 21,
    CAUSE_VIRTUAL_INSTRUCTION = 22,
    CAUSE_STORE_GUEST_PAGE = 23,
};

// satp, vsatp, hgatp
#define ATP_MODE_SHIFT 60
enum { MODE_SV39 = 8, MODE_SV48 = 9, MODE_SV57 = 10 };
#define HGATP_VMID BITS(57, 44)

static inline void sfence_vma(void) {
    __asm__ volatile("sfence.vma" ::: "memory");
}
static inline void fence_i(void) {
    __asm__ volatile("fence.i" ::: "memory");
}
static inline void hfence_gvma(void) {
    __asm__ volatile(".word 0x62000073" ::: "memory");
}
// VS-stage translations of the present VMID
static inline void hfence_vvma(void) {
    __asm__ volatile(".word 0x22000073" ::: "memory");
}
static inline void hfence_vvma_va(u64 va) {
    __asm__ volatile(".insn r 0x73, 0, 0x11, x0, %0, x0" ::"r"(va) : "memory");
}
static inline void hfence_vvma_asid(u64 asid) {
    __asm__ volatile(".insn r 0x73, 0, 0x11, x0, x0, %0" ::"r"(asid) : "memory");
}
static inline void hfence_vvma_va_asid(u64 va, u64 asid) {
    __asm__ volatile(".insn r 0x73, 0, 0x11, x0, %0, %1" ::"r"(va), "r"(asid) : "memory");
}
