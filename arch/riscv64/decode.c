// SPDX-License-Identifier: Apache-2.0
// Synchronous exits of a guest: from scause, stval, htval and htinst to a struct vexit.
#include "riscv64.h"
#include "vm.h"

#define INSN_WFI 0x10500073u
#define INSN_WRS_NTO 0x00d00073u
#define INSN_WRS_STO 0x01d00073u
enum { OP_LOAD = 0x03, OP_STORE = 0x23 };
enum { F3_B = 0, F3_H = 1, F3_W = 2, F3_D = 3, F3_UNSIGNED = 4 };

static u32 bits(u32 value, u32 high, u32 low) {
    return (value >> low) & ((2u << (high - low)) - 1);
}

// Loads and stores in the form that htinst has (§22.6.3): opcode, funct3 and the register of the data.
static u32 as_load(u32 rd, u32 funct3) {
    return OP_LOAD | rd << 7 | funct3 << 12;
}
static u32 as_store(u32 rs2, u32 funct3) {
    return OP_STORE | rs2 << 20 | funct3 << 12;
}

// Zcb (§28.11): bytes and halfwords.
static u32 expand_zcb(u32 insn) {
    u32 reg = 8 + bits(insn, 4, 2);
    switch (bits(insn, 12, 10)) {
    case 0:
        return as_load(reg, F3_B | F3_UNSIGNED);
    case 1:
        return as_load(reg, bits(insn, 6, 6) ? F3_H : F3_H | F3_UNSIGNED);
    case 2:
        return as_store(reg, F3_B);
    case 3:
        return bits(insn, 6, 6) ? 0 : as_store(reg, F3_H);
    default:
        return 0;
    }
}

// A 16-bit load or store of an integer register (chapter 26); 0: not one.
static u32 expand(u32 insn) {
    u32 reg = 8 + bits(insn, 4, 2), funct3 = bits(insn, 15, 13);
    if ((insn & 3) == 2) { // relative to the stack pointer
        u32 rd = bits(insn, 11, 7), rs2 = bits(insn, 6, 2);
        return funct3 == 2 || funct3 == 3   ? as_load(rd, funct3)
               : funct3 == 6 || funct3 == 7 ? as_store(rs2, funct3 - 4)
                                            : 0;
    }
    if (insn & 3)
        return 0;
    switch (funct3) {
    case 2:
    case 3:
        return as_load(reg, funct3);
    case 4:
        return expand_zcb(insn);
    case 6:
    case 7:
        return as_store(reg, funct3 - 4);
    default:
        return 0;
    }
}

// A fault of ours changes sepc, sstatus.SPP and hstatus.SPV: the guest's sepc is saved, SPVP has what SPP was.
void guest_return_mode(void) {
    u64 hstatus = csr_read(CSR_HSTATUS);
    csr_write(CSR_HSTATUS, hstatus | HSTATUS_SPV);
    if (hstatus & HSTATUS_SPVP)
        csr_set(CSR_SSTATUS, SSTATUS_SPP);
    else
        csr_clear(CSR_SSTATUS, SSTATUS_SPP);
}

// The guest's present instruction. False: it cannot be read any more; back in the guest it faults by itself.
static bool fetch(struct vcpu *v, u32 *insn) {
    struct may_fault low = may_fetch16(v->arch.sepc), high = {};
    if (!low.failed && (low.value & 3) == 3)
        high = may_fetch16(v->arch.sepc + 2);
    if (low.failed || high.failed) {
        guest_return_mode();
        return false;
    }
    *insn = (u32)(low.value | high.value << 16);
    return true;
}

// The load or store that has faulted, in htinst's form; false: it cannot be read. 0: not one that we can serve.
static bool faulting_access(struct vcpu *v, u32 *out) {
    u32 insn = (u32)csr_read(CSR_HTINST);
    if (insn == 0) {
        if (!fetch(v, &insn))
            return false;
        v->arch.insn_length = (insn & 3) == 3 ? 4 : 2;
        *out = (insn & 3) == 3 ? insn : expand(insn);
        return true;
    }
    v->arch.insn_length = insn & 2 ? 4 : 2;
    *out = insn & 1 ? insn | 2 : 0; // without bit 0: an access to the guest's own page tables
    return true;
}

static bool decode_access(struct vcpu *v, u64 scause, struct vexit *exit) {
    u32 insn;
    exit->gva = csr_read(CSR_STVAL);
    exit->gpa = csr_read(CSR_HTVAL) << 2 | (exit->gva & 3);
    exit->write = scause == CAUSE_STORE_GUEST_PAGE;
    if (!faulting_access(v, &insn))
        return true;
    u32 funct3 = bits(insn, 14, 12);
    // Floating-point and atomic accesses, and those of the page-table walker, are no device accesses that we can serve.
    if (unlikely(bits(insn, 6, 0) != (exit->write ? OP_STORE : OP_LOAD) ||
                 funct3 > (exit->write ? F3_D : F3_W | F3_UNSIGNED))) {
        exit->kind = VEXIT_FAULT;
        return false;
    }
    exit->kind = VEXIT_MMIO;
    exit->size = (u8)(1u << (funct3 & 3));
    if (exit->write) {
        u64 value = v->arch.x[bits(insn, 24, 20)];
        exit->value = exit->size == 8 ? value : value & (BIT(8 * exit->size) - 1);
        return false;
    }
    exit->reg = (u8)bits(insn, 11, 7);
    exit->sign = !(funct3 & F3_UNSIGNED);
    return false;
}

bool halt_ends_at_once(struct vcpu *v) {
    struct vplic_cpuif *cif = v->arch.cpuif;
    u64 enabled = csr_read(CSR_VSIE);
    atomic_store_explicit(&cif->enabled, (u32)enabled, memory_order_relaxed);
    if (csr_read(CSR_VSIP) & enabled)
        return true;
    timers_halt(v);
    return false;
}

// What is there on the machine but not for this guest: illegal, but for waits.
static bool decode_virtual(struct vcpu *v, struct vexit *exit) {
    u32 insn = (u32)csr_read(CSR_STVAL);
    exit->kind = VEXIT_FAULT;
    exit->gpa = 0;
    if (insn == 0 && !fetch(v, &insn))
        return true;
    exit->gva = insn;
    if (!(csr_read(CSR_SSTATUS) & SSTATUS_SPP)) // of the guest's user mode
        return false;
    bool skip = insn == INSN_WRS_NTO || insn == INSN_WRS_STO;
    if (insn == INSN_WFI) {
        exit->kind = VEXIT_HALT;
        skip = halt_ends_at_once(v);
    }
    if (skip)
        v->arch.sepc += 4;
    return skip;
}

bool decode_sync(struct vcpu *v, u64 scause, struct vexit *exit) {
    v->arch.scause = scause;
    if (likely(scause == CAUSE_LOAD_GUEST_PAGE || scause == CAUSE_STORE_GUEST_PAGE))
        return decode_access(v, scause, exit); // not through the switch: nothing comes as often
    switch (scause) {
    case CAUSE_ECALL_VS:
        return sbi_decode(v, exit);
    case CAUSE_VIRTUAL_INSTRUCTION:
        return decode_virtual(v, exit);
    case CAUSE_FETCH_GUEST_PAGE:
        exit->kind = VEXIT_PAGE_FAULT;
        exit->exec = true;
        exit->gva = csr_read(CSR_STVAL);
        exit->gpa = csr_read(CSR_HTVAL) << 2 | (exit->gva & 3);
        return false;
    default: // what this hart does not let us delegate
        exit->kind = VEXIT_FAULT;
        exit->gva = csr_read(CSR_STVAL);
        exit->gpa = 0;
        return false;
    }
}

void arch_vcpu_finish_access(struct vcpu *v, const struct vexit *exit, u64 value) {
    v->arch.sepc += v->arch.insn_length;
    if (exit->write || exit->reg == 0)
        return;
    u64 unused = 64 - 8ull * exit->size;
    value <<= unused;
    v->arch.x[exit->reg] = exit->sign ? (u64)((s64)value >> unused) : value >> unused;
}

void arch_vcpu_finish(struct vcpu *v, const struct vexit *exit) {
    switch (exit->kind) {
    case VEXIT_HALT:
        v->arch.sepc += 4;
        return;
    case VEXIT_SEND_IPI:
    case VEXIT_HYPERCALL:
    case VEXIT_CPU_ON:
    case VEXIT_CPU_SUSPEND:
    case VEXIT_CPU_INFO:
        sbi_finish(v, exit);
        v->arch.sepc += 4;
        return;
    default:
        return;
    }
}

// What the guest takes an exit as.
static u64 guest_cause(u64 scause) {
    switch (scause) {
    case CAUSE_FETCH_GUEST_PAGE:
        return CAUSE_FETCH_ACCESS;
    case CAUSE_LOAD_GUEST_PAGE:
        return CAUSE_LOAD_ACCESS;
    case CAUSE_STORE_GUEST_PAGE:
        return CAUSE_STORE_ACCESS;
    case CAUSE_VIRTUAL_INSTRUCTION:
        return CAUSE_ILLEGAL;
    default:
        return scause;
    }
}

// Takes a trap to VS-mode as §12.1.1 and §22.6.1 say: the vCPU is loaded, so its registers are in the hardware.
int arch_vcpu_fault(struct vcpu *v, const struct vexit *exit) {
    struct arch_vcpu *a = &v->arch;
    u64 vector = csr_read(CSR_VSTVEC) & ~3ull, vsstatus = csr_read(CSR_VSSTATUS);
    if (a->scause == CAUSE_FETCH_GUEST_PAGE && a->sepc == vector)
        return -EFAULT; // the vector itself cannot be fetched: it would go on like this for ever
    bool from_vs = csr_read(CSR_SSTATUS) & SSTATUS_SPP;
    u64 to = vsstatus & ~(SSTATUS_SPP | SSTATUS_SPIE | SSTATUS_SIE);
    to |= (from_vs ? SSTATUS_SPP : 0) | (vsstatus & SSTATUS_SIE ? SSTATUS_SPIE : 0);
    csr_write(CSR_VSSTATUS, to);
    csr_write(CSR_VSCAUSE, guest_cause(a->scause));
    csr_write(CSR_VSTVAL, exit->gva);
    csr_write(CSR_VSEPC, a->sepc);
    csr_set(CSR_SSTATUS, SSTATUS_SPP);
    csr_set(CSR_HSTATUS, HSTATUS_SPVP);
    a->sepc = vector;
    return 0;
}
