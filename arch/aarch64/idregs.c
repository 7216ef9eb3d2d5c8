// SPDX-License-Identifier: Apache-2.0
// The ID registers as a guest sees them: the hardware's, cut down to what we keep. The masks are allow lists: a field
// that is not named reads as "not implemented", so a feature that a future CPU brings stays hidden until we switch its
// state.
#include "aarch64.h"

#define NIBBLE(n) (0xfull << (n))

// Fields whose "not implemented" is not 0 (FP, AdvSIMD, DoubleLock: 0xf) are passed on as they are.
static u64 pfr0(void) {
    u64 v = sysreg_read(id_aa64pfr0_el1);
    u64 keep = NIBBLE(0) | NIBBLE(16) | NIBBLE(20) | NIBBLE(48) | NIBBLE(60); // EL0 FP AdvSIMD DIT CSV3
    u64 csv2 = MIN(field_get(NIBBLE(56), v), 1);                              // 2 would promise SCXTNUM_ELx
    return (v & keep) | (1ull << 4) | (1ull << 24) | (csv2 << 56); // EL1: AArch64 only; GIC: system registers
}

static u64 dfr0(void) {
    u64 v = sysreg_read(id_aa64dfr0_el1);
    // DebugVer 6 (Armv8.0), breakpoints, watchpoints, context comparators, DoubleLock; no PMU, trace or SPE
    return (v & (NIBBLE(12) | NIBBLE(20) | NIBBLE(28) | NIBBLE(36))) | 6;
}

static u64 mmfr0(void) {
    u64 v = sysreg_read(id_aa64mmfr0_el1);
    u64 keep = NIBBLE(4) | NIBBLE(8) | NIBBLE(16) | NIBBLE(20) | NIBBLE(24) | NIBBLE(28); // ASID endian granules
    u64 range = MIN(v & 0xf, 5);                                                          // 48 bits of address at most
    return (v & keep) | range;
}

static u64 isar1(void) {
    // DPB JSCVT FCMA LRCPC FRINTTS SB SPECRES BF16 DGH I8MM; no pointer authentication (its keys are not switched)
    return sysreg_read(id_aa64isar1_el1) & (NIBBLE(0) | NIBBLE(12) | NIBBLE(16) | NIBBLE(20) | NIBBLE(32) | NIBBLE(36) |
                                            NIBBLE(40) | NIBBLE(44) | NIBBLE(48) | NIBBLE(52));
}

// The AArch32 ones: an application at EL0 may use what the CPU has.
static bool idreg_aarch32(u32 sysreg, u64 *value) {
    switch (sysreg) {
    case SYSREG(3, 0, 0, 1, 0):
        *value = sysreg_read(id_pfr0_el1) & BITS(15, 0);
        return true;
    case SYSREG(3, 0, 0, 1, 2): // ID_DFR0: no performance monitors, no trace
        *value = sysreg_read(id_dfr0_el1) & NIBBLE(0);
        return true;
    case SYSREG(3, 0, 0, 1, 4):
        *value = sysreg_read(id_mmfr0_el1);
        return true;
    case SYSREG(3, 0, 0, 1, 5):
        *value = sysreg_read(id_mmfr1_el1);
        return true;
    case SYSREG(3, 0, 0, 1, 6):
        *value = sysreg_read(id_mmfr2_el1);
        return true;
    case SYSREG(3, 0, 0, 1, 7):
        *value = sysreg_read(id_mmfr3_el1);
        return true;
    case SYSREG(3, 0, 0, 2, 0):
        *value = sysreg_read(id_isar0_el1);
        return true;
    case SYSREG(3, 0, 0, 2, 1):
        *value = sysreg_read(id_isar1_el1);
        return true;
    case SYSREG(3, 0, 0, 2, 2):
        *value = sysreg_read(id_isar2_el1);
        return true;
    case SYSREG(3, 0, 0, 2, 3):
        *value = sysreg_read(id_isar3_el1);
        return true;
    case SYSREG(3, 0, 0, 2, 4):
        *value = sysreg_read(id_isar4_el1);
        return true;
    case SYSREG(3, 0, 0, 2, 5):
        *value = sysreg_read(id_isar5_el1);
        return true;
    case SYSREG(3, 0, 0, 2, 6):
        *value = sysreg_read(id_mmfr4_el1);
        return true;
    case SYSREG(3, 0, 0, 2, 7):
        *value = sysreg_read(S3_0_C0_C2_7); // ID_ISAR6
        return true;
    case SYSREG(3, 0, 0, 3, 0):
        *value = sysreg_read(mvfr0_el1);
        return true;
    case SYSREG(3, 0, 0, 3, 1):
        *value = sysreg_read(mvfr1_el1);
        return true;
    case SYSREG(3, 0, 0, 3, 2):
        *value = sysreg_read(mvfr2_el1);
        return true;
    default:
        return false;
    }
}

bool idreg_read(u32 sysreg, u64 *value) {
    switch (sysreg) {
    case SYSREG(3, 0, 0, 4, 0):
        *value = pfr0();
        return true;
    case SYSREG(3, 0, 0, 4, 1): // ID_AA64PFR1: BT SSBS
        *value = sysreg_read(id_aa64pfr1_el1) & (NIBBLE(0) | NIBBLE(4));
        return true;
    case SYSREG(3, 0, 0, 5, 0):
        *value = dfr0();
        return true;
    case SYSREG(3, 0, 0, 6, 0): // ID_AA64ISAR0: all but TME
        *value = sysreg_read(id_aa64isar0_el1) & ~NIBBLE(24);
        return true;
    case SYSREG(3, 0, 0, 6, 1):
        *value = isar1();
        return true;
    case SYSREG(3, 0, 0, 6, 2): // ID_AA64ISAR2: RPRES BC CSSC
        *value = sysreg_read(S3_0_C0_C6_2) & (NIBBLE(4) | NIBBLE(20) | NIBBLE(52));
        return true;
    case SYSREG(3, 0, 0, 7, 0):
        *value = mmfr0();
        return true;
    case SYSREG(3, 0, 0, 7, 1): // ID_AA64MMFR1: HAFDBS HPDS PAN ETS
        *value = sysreg_read(id_aa64mmfr1_el1) & (NIBBLE(0) | NIBBLE(12) | NIBBLE(20) | NIBBLE(36));
        return true;
    case SYSREG(3, 0, 0, 7, 2): // ID_AA64MMFR2: CnP UAO LSM VARange CCIDX ST AT TTL BBM E0PD
        *value = sysreg_read(S3_0_C0_C7_2) & (NIBBLE(0) | NIBBLE(4) | NIBBLE(8) | NIBBLE(16) | NIBBLE(20) | NIBBLE(28) |
                                              NIBBLE(32) | NIBBLE(48) | NIBBLE(52) | NIBBLE(60));
        return true;
    default:
        break;
    }
    if (idreg_aarch32(sysreg, value))
        return true;
    // The rest of the ID space, CRm = 1…7, is reserved or hidden: it reads as zero (D24.1.4).
    u32 crm = (sysreg >> 1) & 0xf;
    if ((sysreg & ~(SYSREG(0, 0, 0, 0xf, 7))) == SYSREG(3, 0, 0, 0, 0) && crm >= 1 && crm <= 7) {
        *value = 0;
        return true;
    }
    return false;
}
