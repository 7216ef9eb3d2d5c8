// SPDX-License-Identifier: Apache-2.0
// Synchronous exits of a guest: from ESR_EL2 to a struct vexit.
#include "aarch64.h"
#include "vm.h"

// The general register numbers of an instruction: 31 is the zero register.
static u64 reg_get(const struct vcpu *v, u32 n) {
    return n < 31 ? v->arch.x[n] : 0;
}

static void reg_set(struct vcpu *v, u32 n, u64 value) {
    if (n < 31)
        v->arch.x[n] = value;
}

static void step(struct vcpu *v, u64 esr) {
    v->arch.elr += esr & ESR_IL ? 4 : 2;
    v->arch.spsr &= ~PSR_SS; // a guest's single step ends here (D2.12)
}

// DC CISW with what the guest gave, if there is such a line: with a set, way or level that there is not it may be
// undefined, and here, not in the guest.
static void clean_set_way(u64 value) {
    u64 clidr = sysreg_read(clidr_el1), level = field_get(BITS(3, 1), value);
    if (level >= field_get(BITS(26, 24), clidr) || (clidr >> (3 * level) & 7) < 2) // beyond LoC, or no data cache
        return;
    u64 old = sysreg_read(csselr_el1);
    sysreg_write(csselr_el1, level << 1);
    isb();
    u64 ccsidr = sysreg_read(ccsidr_el1);
    sysreg_write(csselr_el1, old);
    bool wide = field_get(BITS(23, 20), sysreg_read(S3_0_C0_C7_2)) != 0; // ID_AA64MMFR2.CCIDX
    u32 way_max = (u32)field_get(wide ? BITS(23, 3) : BITS(12, 3), ccsidr);
    u32 set_max = (u32)field_get(wide ? BITS(55, 32) : BITS(27, 13), ccsidr);
    u32 line = (u32)field_get(BITS(2, 0), ccsidr) + 4, way_shift = way_max ? (u32)__builtin_clz(way_max) : 32;
    u64 way = (value & 0xffffffff) >> way_shift, set = (value & (BIT(way_shift) - 1)) >> line;
    if (way > way_max || set > set_max)
        return;
    __asm__ volatile("dc cisw, %0" ::"r"(way << way_shift | set << line | level << 1) : "memory");
}

// HPFAR_EL2.FIPA holds the page, FAR_EL2 the offset (D24.2.64).
static u64 fault_gpa(void) {
    return ((sysreg_read(hpfar_el2) & BITS(43, 4)) << 8) | (sysreg_read(far_el2) & (PAGE_SIZE - 1));
}

static void decode_dabt(struct vcpu *v, u64 esr, struct vexit *exit) {
    exit->gpa = fault_gpa();
    exit->gva = sysreg_read(far_el2);
    exit->write = esr & ISS_DABT_WNR;
    // Without a syndrome (pairs, write-back, SIMD, exclusives, cache maintenance) or in a table walk: not a device
    // access that we can serve. The guest gets an external abort.
    // The same goes for a 16-bit instruction of an AArch32 application, so that stepping over is always by 4.
    if (unlikely((esr & (ISS_DABT_ISV | ESR_IL | ISS_ABT_S1PTW | FSC_TYPE)) !=
                 (ISS_DABT_ISV | ESR_IL | field_set(FSC_TYPE, FSC_TRANSLATION)))) {
        exit->kind = VEXIT_FAULT;
        return;
    }
    exit->kind = VEXIT_MMIO;
    exit->size = (u8)(1u << field_get(ISS_DABT_SAS, esr));
    exit->reg = (u8)field_get(ISS_DABT_SRT, esr);
    exit->sign = esr & ISS_DABT_SSE;
    exit->wide = esr & ISS_DABT_SF;
    if (exit->write) {
        u64 value = reg_get(v, exit->reg);
        exit->value = exit->size == 8 ? value : value & (BIT(8 * exit->size) - 1);
    }
}

static bool decode_sysreg(struct vcpu *v, u64 esr, struct vexit *exit) {
    u32 reg = (u32)(esr & ISS_SYS_REG), rt = (u32)field_get(ISS_SYS_RT, esr);
    bool write = !(esr & ISS_SYS_READ);
    u64 value = write ? reg_get(v, rt) : 0;
    switch (reg) {
    case SYSREG(3, 0, 12, 11, 5): // ICC_SGI1R_EL1
    case SYSREG(3, 0, 12, 11, 6): // ICC_ASGI1R_EL1
    case SYSREG(3, 0, 12, 11, 7): // ICC_SGI0R_EL1
        if (!write)
            break;
        exit->kind = VEXIT_SEND_IPI;
        exit->nr = reg == SYSREG(3, 0, 12, 11, 5) ? 0 : reg == SYSREG(3, 0, 12, 11, 7) ? 1 : 2;
        exit->value = value;
        return false;
    case SYSREG(3, 3, 14, 2, 0):
    case SYSREG(3, 3, 14, 2, 1):
    case SYSREG(3, 3, 14, 2, 2):
        if (!timer_sysreg(v, reg, write, &value))
            break;
        if (!write)
            reg_set(v, rt, value);
        step(v, esr);
        return true;
    case SYSREG(1, 0, 7, 6, 2):  // DC ISW
    case SYSREG(1, 0, 7, 10, 2): // DC CSW
    case SYSREG(1, 0, 7, 14, 2): // DC CISW: by set and way it makes sense on this CPU's caches only; clean as well, so
        clean_set_way(value);    // that no other guest's data is lost
        step(v, esr);
        return true;
    case SYSREG(3, 0, 12, 12, 5): // ICC_SRE_EL1: there is no other interface
        if (!write)
            reg_set(v, rt, 7);
        step(v, esr);
        return true;
    case SYSREG(3, 0, 1, 0, 1): // ACTLR_EL1: nothing to control
        if (!write)
            reg_set(v, rt, 0);
        step(v, esr);
        return true;
    default:
        if (write || !idreg_read(reg, &value))
            break;
        reg_set(v, rt, value);
        step(v, esr);
        return true;
    }
    exit->kind = VEXIT_FAULT;
    exit->nr = reg;
    return false;
}

bool decode_sync(struct vcpu *v, u64 esr, struct vexit *exit) {
    if (likely(field_get(ESR_EC, esr) == EC_DABT_LOWER)) { // not through the switch: nothing comes as often
        decode_dabt(v, esr, exit);
        return false;
    }
    switch (field_get(ESR_EC, esr)) {
    case EC_SYSREG:
        return decode_sysreg(v, esr, exit);
    case EC_HVC64:
        return smccc_decode(v, exit);
    case EC_SMC64:
        if (!smccc_decode(v, exit))
            return false;
        step(v, esr); // an SMC that is trapped has not been stepped over
        return true;
    case EC_WFX: // only WFI is trapped; a WFIT returns at once, as it may
        if (esr & 3) {
            step(v, esr);
            return true;
        }
        exit->kind = VEXIT_HALT;
        return false;
    case EC_IABT_LOWER:
        exit->kind = VEXIT_PAGE_FAULT;
        exit->exec = true;
        exit->gpa = fault_gpa();
        exit->gva = sysreg_read(far_el2);
        return false;
    default: // trapped features that the ID registers hide, AArch32 coprocessor accesses: undefined
        exit->kind = VEXIT_FAULT;
        return false;
    }
}

void arch_vcpu_finish_access(struct vcpu *v, const struct vexit *exit, u64 value) {
    v->arch.elr += 4;
    v->arch.spsr &= ~PSR_SS;
    if (exit->write || exit->reg == 31)
        return;
    u64 unused = 64 - 8ull * exit->size;
    value <<= unused;
    if (unlikely(exit->sign)) { // to 32 or 64 bits
        value = (u64)((s64)value >> unused);
        v->arch.x[exit->reg] = exit->wide ? value : (u32)value;
        return;
    }
    v->arch.x[exit->reg] = value >> unused;
}

void arch_vcpu_finish(struct vcpu *v, const struct vexit *exit) {
    switch (exit->kind) {
    case VEXIT_SEND_IPI:
    case VEXIT_HALT:
        step(v, v->arch.esr);
        return;
    case VEXIT_HYPERCALL:
    case VEXIT_CPU_ON:
    case VEXIT_CPU_SUSPEND:
    case VEXIT_CPU_INFO:
        psci_finish(v, exit);
        if (field_get(ESR_EC, v->arch.esr) == EC_SMC64)
            step(v, v->arch.esr);
        return;
    default:
        return;
    }
}

// Where an exception from the present state enters EL1 (D1.4.1).
static u64 vector_of(u64 from) {
    u64 offset = 0x400; // from EL0 in AArch64
    if (from & PSR_AARCH32)
        offset = 0x600;
    else if ((from & PSR_M) == PSR_EL1H)
        offset = 0x200;
    else if ((from & PSR_M) == PSR_EL1T)
        offset = 0;
    return sysreg_read(vbar_el1) + offset;
}

// Takes an exception to EL1 as AArch64.TakeException does (J1.1.2.4): the vCPU is loaded, so EL1's registers are in the
// hardware.
static void inject(struct vcpu *v, u64 esr, u64 far, bool has_far) {
    u64 from = v->arch.spsr;
    u64 sctlr = sysreg_read(sctlr_el1);
    u64 pstate = PSR_EL1H | PSR_DAIF | (from & (PSR_NZCV | PSR_DIT | PSR_PAN));
    if (!(sctlr & SCTLR_SPAN) && field_get(BITS(23, 20), sysreg_read(id_aa64mmfr1_el1)))
        pstate |= PSR_PAN;
    if (sctlr & SCTLR_DSSBS)
        pstate |= PSR_SSBS;
    sysreg_write(esr_el1, esr);
    if (has_far)
        sysreg_write(far_el1, far);
    sysreg_write(elr_el1, v->arch.elr);
    sysreg_write(spsr_el1, from);
    v->arch.elr = vector_of(from);
    v->arch.spsr = pstate;
}

int arch_vcpu_fault(struct vcpu *v, const struct vexit *exit) {
    u64 esr = v->arch.esr, ec = field_get(ESR_EC, esr);
    bool from_el1 = !(v->arch.spsr & PSR_AARCH32) && (v->arch.spsr & PSR_M & ~1ull) == (PSR_EL1T & ~1ull);
    if (ec == EC_IABT_LOWER && v->arch.elr == vector_of(v->arch.spsr))
        return -EFAULT; // the vector itself cannot be fetched: it would go on like this for ever
    if (ec == EC_DABT_LOWER || ec == EC_IABT_LOWER) {
        // A synchronous external abort, on the access or on a table walk of the guest's own
        u64 fsc = esr & ISS_ABT_S1PTW ? FSC_SEA_WALK | (esr & 3) : FSC_SEA;
        u64 keep = ec == EC_DABT_LOWER ? esr & (ISS_DABT_WNR | ISS_DABT_CM) : 0;
        u64 to = (ec == EC_DABT_LOWER ? EC_DABT_LOWER : EC_IABT_LOWER) | (from_el1 ? 1 : 0);
        inject(v, field_set(ESR_EC, to) | ESR_IL | keep | fsc, sysreg_read(far_el2), true);
        return 0;
    }
    (void)exit;
    // An HVC has been stepped over already, but nothing that is reflected comes from one.
    inject(v, field_set(ESR_EC, EC_UNKNOWN) | ESR_IL, 0, false);
    return 0;
}
