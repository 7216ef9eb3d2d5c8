// SPDX-License-Identifier: Apache-2.0
// System registers of AArch64 (Arm ARM DDI 0487 chapter D) and of the GICv3 CPU interface (IHI 0069 chapter 12).
#pragma once

#include "types.h"

#define sysreg_read(name)                                                                                              \
    ({                                                                                                                 \
        u64 v_;                                                                                                        \
        __asm__ volatile("mrs %0, " #name : "=r"(v_));                                                                 \
        v_;                                                                                                            \
    })
#define sysreg_write(name, value)                                                                                      \
    do {                                                                                                               \
        u64 w_ = (value);                                                                                              \
        __asm__ volatile("msr " #name ", %0" ::"r"(w_));                                                               \
    } while (0)

static inline void isb(void) {
    __asm__ volatile("isb" ::: "memory");
}
static inline void dsb_sy(void) {
    __asm__ volatile("dsb sy" ::: "memory");
}
static inline void dsb_ish(void) {
    __asm__ volatile("dsb ish" ::: "memory");
}
static inline void dsb_ishst(void) {
    __asm__ volatile("dsb ishst" ::: "memory");
}

// HCR_EL2, D24.2.57
#define HCR_VM BIT(0)
#define HCR_SWIO BIT(1)
#define HCR_FMO BIT(3)
#define HCR_IMO BIT(4)
#define HCR_AMO BIT(5)
#define HCR_TWI BIT(13)
#define HCR_TID3 BIT(18)
#define HCR_TSC BIT(19)
#define HCR_TIDCP BIT(20)
#define HCR_TACR BIT(21)
#define HCR_TSW BIT(22)
#define HCR_RW BIT(31)
#define HCR_TLOR BIT(35)
#define HCR_TERR BIT(36)
#define HCR_FWB BIT(46)

// ESR_EL2, D24.2.39
#define ESR_EC BITS(31, 26)
#define ESR_IL BIT(25)
#define ESR_ISS BITS(24, 0)
enum {
    EC_UNKNOWN = 0x00,
    EC_WFX = 0x01,
    EC_CP15_32 = 0x03,
    EC_CP15_64 = 0x04,
    EC_CP14_32 = 0x05,
    EC_CP14_LDC = 0x06,
    EC_FP = 0x07,
    EC_CP10_ID = 0x08,
    EC_CP14_64 = 0x0c,
    EC_HVC32 = 0x12,
    EC_SMC32 = 0x13,
    EC_HVC64 = 0x16,
    EC_SMC64 = 0x17,
    EC_SYSREG = 0x18,
    EC_SVE = 0x19,
    EC_IABT_LOWER = 0x20,
    EC_IABT_SAME = 0x21,
    EC_DABT_LOWER = 0x24,
    EC_DABT_SAME = 0x25,
};
// Data abort ISS, D24.2.39 "ISS encoding for an exception from a Data Abort"
#define ISS_DABT_ISV BIT(24)
#define ISS_DABT_SAS BITS(23, 22)
#define ISS_DABT_SSE BIT(21)
#define ISS_DABT_SRT BITS(20, 16)
#define ISS_DABT_SF BIT(15)
#define ISS_ABT_FNV BIT(10)
#define ISS_ABT_EA BIT(9)
#define ISS_DABT_CM BIT(8)
#define ISS_ABT_S1PTW BIT(7)
#define ISS_DABT_WNR BIT(6)
#define ISS_ABT_FSC BITS(5, 0)
#define FSC_TYPE BITS(5, 2)
enum { FSC_ADDRESS_SIZE = 0, FSC_TRANSLATION = 1, FSC_ACCESS = 2, FSC_PERMISSION = 3 }; // FSC[5:2]
#define FSC_SEA 0x10ull
#define FSC_SEA_WALK 0x14ull // + level
// System register trap ISS: the register as one number, and the rest
#define ISS_SYS_REG (BITS(21, 10) | BITS(4, 1))
#define ISS_SYS_RT BITS(9, 5)
#define ISS_SYS_READ BIT(0)
#define SYSREG(op0, op1, crn, crm, op2)                                                                                \
    (((u32)(op0) << 20) | ((u32)(op2) << 17) | ((u32)(op1) << 14) | ((u32)(crn) << 10) | ((u32)(crm) << 1))

// SPSR_EL2 / PSTATE
#define PSR_M BITS(3, 0)
#define PSR_EL1H 0x5ull
#define PSR_EL1T 0x4ull
#define PSR_AARCH32 BIT(4)
#define PSR_DAIF BITS(9, 6)
#define PSR_SSBS BIT(12)
#define PSR_SS BIT(21)
#define PSR_PAN BIT(22)
#define PSR_DIT BIT(24)
#define PSR_NZCV BITS(31, 28)

#define SCTLR_EL1_RES1                                                                                                 \
    0x30d00800ull // EOS EIS nTLSMD LSMAOE SPAN TSCXT of a CPU without those extensions: reset, MMU off
#define SCTLR_SPAN BIT(23)
#define SCTLR_DSSBS BIT(44)

// CNTx_CTL
#define TIMER_ENABLE BIT(0)
#define TIMER_IMASK BIT(1)
#define TIMER_ISTATUS BIT(2)

// ICC_SGI1R_EL1
#define SGI_TARGETS BITS(15, 0)
#define ICH_VTR_LISTREGS BITS(4, 0)
#define ICH_HCR_EN BIT(0)
#define ICH_HCR_EOICOUNT BITS(31, 27)
enum { INTID_KICK = 0, INTID_SPURIOUS = 1020 };

// The private interrupts that the guest's timers use (BSA §3.8.1, QEMU virt)
enum { PPI_VTIMER = 27, PPI_PTIMER = 30 };
