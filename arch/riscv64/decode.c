// SPDX-License-Identifier: Apache-2.0
// Synchronous exits of a guest: from scause, stval, htval and htinst to a struct vexit.
#include "insn.h"
#include "riscv64.h"
#include "vm.h"

#define INSN_WFI 0x10500073u
#define INSN_WRS_NTO 0x00d00073u
#define INSN_WRS_STO 0x01d00073u
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
        *out = (insn & 3) == 3 ? insn : insn_expand(insn);
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
    struct insn_access access;
    // Floating-point and atomic accesses, and those of the page-table walker, are no device accesses that we can serve.
    if (unlikely(!insn_access(insn, &access) || access.write != exit->write)) {
        exit->kind = VEXIT_FAULT;
        return false;
    }
    exit->kind = VEXIT_MMIO;
    exit->size = access.size;
    exit->reg = access.reg;
    exit->sign = access.sign;
    if (exit->write) {
        u64 value = v->arch.x[access.reg];
        exit->value = access.size == 8 ? value : value & (BIT(8 * access.size) - 1);
    }
    return false;
}

bool halt_ends_at_once(struct vcpu *v) {
    struct vplic_cpuif *cif = v->arch.cpuif;
    u64 enabled = csr_read(CSR_VSIE);
    atomic_store_explicit(&cif->enabled, (u32)enabled, memory_order_relaxed);
    if (csr_read(CSR_VSIP) & enabled)
        return true;
    timers_halt(v);
    if (v->arch.file)
        imsic_halt(v);
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
    if (v->vm->arch.imsic && imsic_emulate(v, insn))
        skip = true;
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
        return sbi_exit(v, exit);
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
    if (v->arch.file && (exit->kind == VEXIT_HALT || exit->kind == VEXIT_CPU_SUSPEND))
        imsic_wake(v);
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
