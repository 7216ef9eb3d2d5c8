// SPDX-License-Identifier: Apache-2.0
// What becomes of an exit, whichever backend it came from; and exceptions for the guest.
#include "hypercall.h"
#include "virt.h"

// ── Registers ───────────────────────────────────────────────────────────────────────────────────────────────────────
void guest_write_gpr(struct vcpu *v, u32 reg, u32 size, bool high_byte, u64 value) {
    if (size < 4) {
        u64 mask = (size == 1 ? 0xffull : 0xffffull) << (high_byte ? 8 : 0);
        value = (guest_gpr(v, reg) & ~mask) | ((value << (high_byte ? 8 : 0)) & mask);
    } else if (size == 4) {
        value = (u32)value;
    }
    guest_set_gpr(v, reg, value);
}

u64 guest_read_gpr(const struct vcpu *v, u32 reg, u32 size, bool high_byte) {
    u64 value = guest_gpr(v, reg) >> (high_byte ? 8 : 0);
    return size == 8 ? value : value & (BIT(8 * size) - 1);
}

// ── Exceptions ──────────────────────────────────────────────────────────────────────────────────────────────────────
// None of them comes while another event waits: what an exit interrupts on its way into the guest is taken up again
// before any instruction of the guest's is emulated.
void guest_exception(struct vcpu *v, u8 vector) {
    if (vector != VECTOR_DB) // faults push RF (Intel SDM volume 3 §17.3.1.1), which an injection leaves to us
        virt->set(v, GUEST_RFLAGS, virt->get(v, GUEST_RFLAGS) | RFLAGS_RF);
    v->arch.event = EVENT_VALID | field_set(EVENT_TYPE, EVENT_EXCEPTION) | vector;
    v->arch.work |= X86_WORK_EVENT;
}

void guest_exception_error(struct vcpu *v, u8 vector, u32 error) {
    guest_exception(v, vector);
    v->arch.event |= EVENT_HAS_ERROR | field_set(EVENT_ERROR, error);
    if (virt->get(v, GUEST_CR0) & CR0_PE)
        return;
    v->arch.event &= ~(EVENT_HAS_ERROR | EVENT_ERROR); // real mode pushes none
}

[[gnu::noinline]] void guest_event_interrupted(struct vcpu *v, u64 event) {
    u64 type = field_get(EVENT_TYPE, event), vector = field_get(EVENT_VECTOR, event);
    if (type > EVENT_EXCEPTION || (type == EVENT_EXCEPTION && (vector == 3 || vector == 4)))
        return;                                 // INT n, INT3, INTO: RIP is still at the instruction, which comes again
    if (type == EVENT_EXCEPTION && vector > 31) // QEMU's name for a virtual interrupt
        event = (event & ~EVENT_TYPE) | field_set(EVENT_TYPE, EVENT_INTR);
    v->arch.event = event;
    v->arch.work |= X86_WORK_EVENT;
}

// ── Exits ───────────────────────────────────────────────────────────────────────────────────────────────────────────
// VMMCALL, VMCALL: the number in EAX, arguments in RDI, RSI, RDX, R10, R8, R9 as in Linux's system calls, the answer in
// RAX.
bool exit_call(struct vcpu *v, u8 cpl, struct vexit *exit) {
    const u64 *gpr = v->arch.gpr;
    if (unlikely(cpl != 0)) { // not for a guest's applications
        guest_exception(v, VECTOR_UD);
        return true;
    }
    u32 nr = (u32)gpr[X86_RAX];
    if (nr == GUEST_CALL_BASE + HYPERCALL_VERSION) {
        v->arch.gpr[X86_RAX] = HYPERCALL_VERSION_ANSWER;
        guest_step(v);
        return true;
    }
    exit->kind = VEXIT_HYPERCALL;
    exit->nr = nr >= GUEST_CALL_BASE ? nr - GUEST_CALL_BASE : HYPERCALL_COUNT;
    exit->args[0] = gpr[X86_RDI];
    exit->args[1] = gpr[X86_RSI];
    exit->args[2] = gpr[X86_RDX];
    exit->args[3] = gpr[10];
    exit->args[4] = gpr[8];
    exit->args[5] = gpr[9];
    return false;
}

bool exit_undefined(struct vcpu *v, u8 cpl, struct vexit *exit) {
    if (emulate_is_call(v))
        return exit_call(v, cpl, exit);
    guest_exception(v, VECTOR_UD);
    return true;
}

bool exit_trap(struct vcpu *v, u8 vector, struct vexit *exit) {
    if (vector == VECTOR_AC)
        guest_exception_error(v, vector, 0);
    else
        guest_exception(v, vector);
    exit->kind = VEXIT_NONE;
    arch_irq_poll();
    return false;
}

// A triple fault. That a fetch from where no memory is came first says more than that it has nowhere to go. With a
// table of interrupts in which there is none it was on purpose: a PC's CPU resets itself.
bool exit_triple_fault(struct vcpu *v, u32 idt_limit, struct vexit *exit) {
    struct arch_vcpu *a = &v->arch;
    const bool fetch = a->fetch_fault == a->rip;
    if (idt_limit == 0 && !fetch) {
        exit->kind = VEXIT_SYSTEM_RESET;
        return false;
    }
    a->triple_fault = true;
    exit->kind = fetch ? VEXIT_PAGE_FAULT : VEXIT_FAULT;
    exit->exec = fetch;
    exit->gva = a->rip;
    exit->gpa = fetch ? a->fetch_gpa : a->rip;
    return false;
}

bool exit_halt(struct vcpu *v, struct vexit *exit) {
    vlapic_halt(v, virt->get(v, GUEST_RFLAGS) & RFLAGS_IF, !virt->nmi_blocked(v));
    exit->kind = VEXIT_HALT;
    return false;
}

bool exit_io(struct vcpu *v, u16 port, u32 size, bool in, struct vexit *exit) {
    exit->kind = VEXIT_PIO;
    exit->gpa = port;
    exit->size = (u8)size;
    exit->write = !in;
    if (!in)
        exit->value = size == 4 ? (u32)v->arch.gpr[X86_RAX] : v->arch.gpr[X86_RAX] & (BIT(8 * size) - 1);
    return false;
}

[[gnu::noinline]] bool exit_msr(struct vcpu *v, bool write, struct vexit *exit) {
    u32 nr = (u32)v->arch.gpr[X86_RCX];
    u64 value = write ? guest_edx_eax(v) : 0;
    bool apic = nr - VLAPIC_MSR_X2APIC < VLAPIC_MSR_X2APIC_COUNT || nr == VLAPIC_MSR_DEADLINE || nr == VLAPIC_MSR_BASE;
    if (apic && !vlapic_msr_try(v, nr, write, &value)) {
        exit->kind = VEXIT_SYSREG;
        exit->nr = nr;
        exit->write = write;
        exit->value = value;
        return false;
    }
    if (!apic && !(write ? msr_write_guest(v, nr, value) : msr_read_guest(v, nr, &value))) {
        guest_gp(v);
        return true;
    }
    if (!write)
        guest_set_edx_eax(v, value);
    guest_step(v);
    return true;
}

[[gnu::noinline]] bool exit_xsetbv(struct vcpu *v, u8 cpl) {
    u64 value = guest_edx_eax(v), avx512 = BITS(7, 5);
    bool ok = cpl == 0 && (u32)v->arch.gpr[X86_RCX] == 0 && (value & 1) && !(value & ~guest_xcr0_mask());
    ok = ok && (!(value & BIT(2)) || (value & BIT(1)));                                 // AVX needs SSE
    ok = ok && (!(value & avx512) || ((value & avx512) == avx512 && (value & BIT(2)))); // and AVX-512 AVX
    if (!ok) {
        guest_gp(v);
        return true;
    }
    v->arch.xcr0 = value;
    xcr0_write(value);
    guest_step(v);
    return true;
}

bool exit_cr4(struct vcpu *v, u64 value) {
    u64 old = virt->get(v, GUEST_CR4), changed = old ^ value;
    bool paging = virt->get(v, GUEST_CR0) & CR0_PG, long_mode = virt->get(v, GUEST_EFER) & EFER_LMA;
    bool ok = !(value & ~guest_cr4_mask()) && !(long_mode && !(value & CR4_PAE));
    if ((changed & value & CR4_PCIDE) && (!long_mode || (virt->get(v, GUEST_CR3) & 0xfff)))
        ok = false;
    if (!ok) {
        guest_gp(v);
        return true;
    }
    virt->set(v, GUEST_CR4, value);
    if (paging && (changed & (CR4_PSE | CR4_PAE | CR4_PGE | CR4_PCIDE | CR4_SMEP | CR4_SMAP)))
        v->arch.work |= X86_WORK_FLUSH;
    guest_step(v);
    return true;
}
