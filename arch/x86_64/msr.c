// SPDX-License-Identifier: Apache-2.0
// Model-specific registers of a guest. Those that a world switch moves never come here, those of the local APIC go to
// it; of the rest a guest has what is listed, and #GP for every other.
#include "virt.h"
#include "x86_64.h"

enum : u32 {
    MSR_PLATFORM_ID = 0x17,
    MSR_EBL_CR_POWERON = 0x2a,
    MSR_MCG_CAP = 0x179,
    MSR_MCG_STATUS = 0x17a,
    MSR_MTRR_FIX_64K = 0x250,
    MSR_MTRR_FIX_16K = 0x258,  // two
    MSR_MTRR_FIX_4K = 0x268,   // eight
    MSR_MTRR_VARIABLE = 0x200, // base and mask, MTRR_VARIABLES times
    MSR_AMD_SYSCFG = 0xc0010010,
    MSR_AMD_HWCR = 0xc0010015,
    MSR_AMD_NB_CFG = 0xc001001f,
    MSR_AMD_LS_CFG = 0xc0011020,
    MSR_AMD_IC_CFG = 0xc0011021,
    MSR_AMD_DC_CFG = 0xc0011022,
    MSR_AMD_DE_CFG = 0xc0011029,
    MSR_AMD_BU_CFG2 = 0xc001102a,
    MSR_KVM_WALL_CLOCK = 0x4b564d00,
    MSR_KVM_SYSTEM_TIME = 0x4b564d01,
    MTRR_VARIABLES = 8,
};
#define MTRR_CAP (MTRR_VARIABLES | BIT(8) /* fixed ones */ | BIT(10) /* WC */)
#define MTRR_DEF_TYPE_MASK (BITS(11, 10) | 0xff)
#define MTRR_DEF_TYPE_RESET (BIT(11) | 6) // as firmware leaves it: on, write-back
#define MTRR_MASK_VALID BIT(11)
#define MISC_ENABLE_RESET (BIT(0) /* fast strings */ | BITS(12, 11) /* no BTS, no PEBS */)
#define FEATURE_CONTROL_LOCKED BIT(0)
#define UCODE_REV_SOME BIT(32)
#define PAT_RESET 0x0007040600070406ull
#define DE_CFG_LFENCE_SERIALIZES BIT(1)

static bool memory_type_valid(u64 type, bool pat) {
    return type == 0 || type == 1 || type == 4 || type == 5 || type == 6 || (pat && type == 7);
}

static bool types_valid(u64 value, bool pat) { // eight of them
    for (u32 i = 0; i < 8; i++)
        if (!memory_type_valid(value >> (8 * i) & 0xff, pat))
            return false;
    return true;
}

// ── The clock ───────────────────────────────────────────────────────────────────────────────────────────────────────
static void set_tsc_offset(struct vcpu *v, u64 offset) {
    v->arch.tsc_offset = offset;
    virt->set_tsc_offset(v, offset);
    vlapic_set_tsc_offset(v, offset);
    pvclock_update(v);
}

// ── MTRRs: kept, without an effect: stage 2 and the guest's PAT say how memory is cached ────────────────────────────
static u64 *mtrr_of(struct vcpu *v, u32 nr) {
    struct arch_vcpu *a = &v->arch;
    if (nr == MSR_MTRR_DEF_TYPE)
        return &a->mtrr_def_type;
    if (nr - MSR_MTRR_VARIABLE < 2 * MTRR_VARIABLES)
        return &a->mtrr_variable[nr - MSR_MTRR_VARIABLE];
    if (nr == MSR_MTRR_FIX_64K)
        return &a->mtrr_fixed[0];
    if (nr - MSR_MTRR_FIX_16K < 2)
        return &a->mtrr_fixed[1 + nr - MSR_MTRR_FIX_16K];
    if (nr - MSR_MTRR_FIX_4K < 8)
        return &a->mtrr_fixed[3 + nr - MSR_MTRR_FIX_4K];
    return nullptr;
}

static bool mtrr_valid(u32 nr, u64 value) {
    u64 address = BITS(51, 12);
    if (nr == MSR_MTRR_DEF_TYPE)
        return !(value & ~MTRR_DEF_TYPE_MASK) && memory_type_valid(value & 0xff, false);
    if (nr - MSR_MTRR_VARIABLE >= 2 * MTRR_VARIABLES)
        return types_valid(value, false);
    if (nr & 1)
        return !(value & ~(address | MTRR_MASK_VALID));
    return !(value & ~(address | 0xff)) && memory_type_valid(value & 0xff, false);
}

// ── Access ──────────────────────────────────────────────────────────────────────────────────────────────────────────
bool msr_read_guest(struct vcpu *v, u32 nr, u64 *value) {
    struct arch_vcpu *a = &v->arch;
    switch (nr) {
    case MSR_TSC:
        *value = rdtsc() + a->tsc_offset;
        return true;
    case MSR_TSC_ADJUST:
        *value = a->tsc_offset + v->vm->arch.tsc_start;
        return true;
    case MSR_EFER:
        *value = virt->get(v, GUEST_EFER);
        return true;
    case MSR_PAT:
        *value = virt->get(v, GUEST_PAT);
        return true;
    case MSR_TSC_AUX:
        *value = a->tsc_aux;
        return guest_has_tsc_aux();
    case MSR_MISC_ENABLE:
        *value = a->misc_enable;
        return true;
    case MSR_MTRR_CAP:
        *value = MTRR_CAP;
        return true;
    case MSR_UCODE_REV:
        *value = UCODE_REV_SOME;
        return true;
    case MSR_FEATURE_CONTROL:
        *value = FEATURE_CONTROL_LOCKED;
        return true;
    case MSR_KVM_WALL_CLOCK:
        *value = a->wall_clock;
        return true;
    case MSR_KVM_SYSTEM_TIME:
        *value = a->system_time;
        return true;
    case MSR_AMD_DE_CFG:
        *value = may_msr_read(MSR_AMD_DE_CFG).value & DE_CFG_LFENCE_SERIALIZES;
        return true;
    case MSR_PLATFORM_ID:
    case MSR_EBL_CR_POWERON:
    case MSR_MCG_CAP: // no banks
    case MSR_MCG_STATUS:
    case MSR_DEBUGCTL:
    case MSR_AMD_SYSCFG:
    case MSR_AMD_HWCR:
    case MSR_AMD_NB_CFG:
    case MSR_AMD_LS_CFG:
    case MSR_AMD_IC_CFG:
    case MSR_AMD_DC_CFG:
    case MSR_AMD_BU_CFG2:
        *value = 0;
        return true;
    default:
        break;
    }
    const u64 *mtrr = mtrr_of(v, nr);
    if (!mtrr)
        return false;
    *value = *mtrr;
    return true;
}

static bool write_efer(struct vcpu *v, u64 value) {
    u64 old = virt->get(v, GUEST_EFER);
    if (value & ~(EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE))
        return false;
    if (((old ^ value) & EFER_LME) && (virt->get(v, GUEST_CR0) & CR0_PG))
        return false;
    virt->set(v, GUEST_EFER, (value & ~EFER_LMA) | (old & EFER_LMA));
    if ((old ^ value) & EFER_NXE)
        v->arch.work |= X86_WORK_FLUSH;
    return true;
}

bool msr_write_guest(struct vcpu *v, u32 nr, u64 value) {
    struct arch_vcpu *a = &v->arch;
    switch (nr) {
    case MSR_TSC:
        set_tsc_offset(v, value - rdtsc());
        return true;
    case MSR_TSC_ADJUST:
        set_tsc_offset(v, value - v->vm->arch.tsc_start);
        return true;
    case MSR_EFER:
        return write_efer(v, value);
    case MSR_PAT:
        if (!types_valid(value, true))
            return false;
        virt->set(v, GUEST_PAT, value);
        return true;
    case MSR_TSC_AUX:
        if (!guest_has_tsc_aux() || value > UINT32_MAX)
            return false;
        a->tsc_aux = value;
        msr_write(MSR_TSC_AUX, value);
        return true;
    case MSR_MISC_ENABLE:
        a->misc_enable = (value & BIT(0)) | (MISC_ENABLE_RESET & ~BIT(0));
        return true;
    case MSR_KVM_WALL_CLOCK:
        return pvclock_set_wall_clock(v, value);
    case MSR_KVM_SYSTEM_TIME:
        return pvclock_set_system_time(v, value);
    case MSR_UCODE_REV: // before it is read, on Intel's
    case MSR_MCG_STATUS:
    case MSR_DEBUGCTL:
        return value == 0;
    case MSR_AMD_SYSCFG: // what Linux sets there is an advice to the machine
    case MSR_AMD_HWCR:
    case MSR_AMD_NB_CFG:
    case MSR_AMD_LS_CFG:
    case MSR_AMD_IC_CFG:
    case MSR_AMD_DC_CFG:
    case MSR_AMD_DE_CFG:
    case MSR_AMD_BU_CFG2:
        return true;
    default:
        break;
    }
    u64 *mtrr = mtrr_of(v, nr);
    if (!mtrr || !mtrr_valid(nr, value))
        return false;
    *mtrr = value;
    return true;
}

void msr_reset(struct vcpu *v) {
    v->arch.misc_enable = MISC_ENABLE_RESET;
    v->arch.mtrr_def_type = MTRR_DEF_TYPE_RESET;
    virt->set(v, GUEST_PAT, PAT_RESET);
    set_tsc_offset(v, 0 - v->vm->arch.tsc_start);
}

void msr_load(struct vcpu *v) {
    if (guest_has_tsc_aux())
        msr_write(MSR_TSC_AUX, v->arch.tsc_aux);
}
