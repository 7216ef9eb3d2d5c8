// SPDX-License-Identifier: Apache-2.0
// VMX: into the guest, and what it came out for.
#include <string.h>

#include "gmem.h"
#include "vmx_cpu.h"
#include "x86_64.h"

// ── Entry ───────────────────────────────────────────────────────────────────────────────────────────────────────────
static void proc_set(u32 bits, bool on) {
    u32 proc = (u32)vmcs_read(VMCS_PROC), to = on ? proc | bits : proc & ~bits;
    if (to != proc)
        vmcs_write(VMCS_PROC, to);
}

static void give_event(struct arch_vcpu *a) {
    if (a->event & EVENT_HAS_ERROR)
        vmcs_write(VMCS_ENTRY_ERROR, a->event >> 32);
    vmcs_write(VMCS_ENTRY_EVENT, (u32)a->event);
    a->event = 0;
}

// At most one event: what was interrupted or an exception, else an NMI, else an interrupt. For what has to wait the
// guest comes out as soon as it can take it.
static void interrupts_in(struct vcpu *v, bool given) {
    struct vlapic *l = vlapic_of(v);
    u64 blocked = vmcs_read(VMCS_INTERRUPTIBILITY);
    if (vlapic_nmi_pending(l)) {
        if (!given && !(blocked & (BLOCKED_BY_STI | BLOCKED_BY_MOV_SS | BLOCKED_BY_NMI)) && vlapic_take_nmi(l)) {
            vmcs_write(VMCS_ENTRY_EVENT, EVENT_VALID | field_set(EVENT_TYPE, EVENT_NMI) | VECTOR_NMI);
            given = true;
        } else {
            proc_set(PROC_NMI_WINDOW, true);
        }
    }
    s32 vector = vlapic_deliverable(l);
    if (vector < 0)
        return;
    bool open = (vmcs_read(VMCS_GUEST_RFLAGS) & RFLAGS_IF) && !(blocked & (BLOCKED_BY_STI | BLOCKED_BY_MOV_SS));
    if (given || !open) {
        proc_set(PROC_INTR_WINDOW, true);
        return;
    }
    vlapic_accept(l, (u32)vector);
    vmcs_write(VMCS_ENTRY_EVENT, EVENT_VALID | (u64)vector);
}

static void entry_work(struct vcpu *v) {
    struct arch_vcpu *a = &v->arch;
    if (a->work & X86_WORK_STEP) {
        u64 rflags = vmcs_read(VMCS_GUEST_RFLAGS), blocked = vmcs_read(VMCS_INTERRUPTIBILITY);
        vmcs_write(VMCS_GUEST_RIP, a->rip);
        if (blocked & (BLOCKED_BY_STI | BLOCKED_BY_MOV_SS))
            vmcs_write(VMCS_INTERRUPTIBILITY, blocked & ~(BLOCKED_BY_STI | BLOCKED_BY_MOV_SS));
        if (rflags & RFLAGS_RF)
            vmcs_write(VMCS_GUEST_RFLAGS, rflags & ~RFLAGS_RF);
        if (unlikely(rflags & RFLAGS_TF) && !(a->event & EVENT_VALID)) { // the guest single-steps
            dr6_write(dr6_read() | DR6_BS);
            guest_exception(v, VECTOR_DB);
        }
    }
    if (a->work & X86_WORK_FLUSH)
        vmx_flush(v);
    a->work &= X86_WORK_EVENT;
}

// ── Control registers ───────────────────────────────────────────────────────────────────────────────────────────────
// The four entries of a PAE guest's root, which the CPU keeps (Intel SDM volume 3 §4.4.1). False: #GP.
static bool load_pdptes(struct vcpu *v) {
    const u64 reserved = BITS(2, 1) | BITS(8, 5) | ~(BIT(features.phys_bits) - 1);
    u64 entries[4];
    if (gmem_read(v->vm, gpa(vmcs_read(VMCS_GUEST_CR3) & BITS(31, 5)), entries, sizeof(entries)) != 0)
        memset(entries, 0, sizeof(entries));
    for (u32 i = 0; i < 4; i++)
        if ((entries[i] & 1) && (entries[i] & reserved))
            return false;
    for (u32 i = 0; i < 4; i++)
        vmcs_write(VMCS_GUEST_PDPTE + 2 * i, entries[i]);
    return true;
}

static bool in_64_bit_code(struct vcpu *v) {
    struct x86_mode mode;
    virt->mode(v, &mode);
    return mode.code_bits == 64;
}

static bool cr0_valid(struct vcpu *v, u64 value, bool starts_paging, u64 efer, u64 cr4) {
    if (value >> 32 || ((value & CR0_PG) && !(value & CR0_PE)) || ((value & CR0_NW) && !(value & CR0_CD)))
        return false;
    if (!(value & CR0_PG) && ((cr4 & CR4_PCIDE) || in_64_bit_code(v)))
        return false;
    if (!starts_paging)
        return true;
    if (efer & EFER_LME)
        return (cr4 & CR4_PAE) && !(vmcs_read(VMCS_GUEST_RIGHTS + 2 * SEG_CS) & BIT(13));
    return !(cr4 & CR4_PAE) || load_pdptes(v);
}

static void write_cr0(struct vcpu *v, u64 value) {
    u64 old = vmx_get(v, GUEST_CR0), efer = vmx_get(v, GUEST_EFER), changed = old ^ value;
    value |= CR0_ET;
    if (!cr0_valid(v, value, changed & value & CR0_PG, efer, vmx_get(v, GUEST_CR4))) {
        guest_gp(v);
        return;
    }
    if (changed & CR0_PG)
        vmx_set(v, GUEST_EFER, (value & CR0_PG) && (efer & EFER_LME) ? efer | EFER_LMA : efer & ~EFER_LMA);
    vmx_set(v, GUEST_CR0, value);
    if (changed & (CR0_PG | CR0_WP))
        v->arch.work |= X86_WORK_FLUSH;
    guest_step(v);
}

static bool exit_cr(struct vcpu *v) {
    u64 q = vmcs_read(VMCS_QUALIFICATION), cr = field_get(QUAL_CR, q), type = field_get(QUAL_CR_TYPE, q);
    u32 reg = (u32)field_get(QUAL_CR_REG, q);
    struct vlapic *l = vlapic_of(v);
    u64 value = guest_gpr(v, reg);
    if (type == CR_LMSW || type == CR_CLTS) { // they set PE and the like, which come out only by what LMSW may change
        u64 old = vmx_get(v, GUEST_CR0), low = field_get(QUAL_LMSW, q) & 15;
        write_cr0(v, type == CR_CLTS ? old & ~CR0_TS : (old & ~0xeull) | low);
        return true;
    }
    if (cr == 8 && type == CR_FROM) {
        guest_set_gpr(v, reg, vlapic_tpr(l) >> 4);
        guest_step(v);
        return true;
    }
    if (cr == 8) {
        if (value & ~15ull) {
            guest_gp(v);
            return true;
        }
        vlapic_set_tpr(l, (u32)value << 4);
        guest_step(v);
        return true;
    }
    if (!in_64_bit_code(v))
        value = (u32)value;
    if (cr == 4)
        return exit_cr4(v, value);
    write_cr0(v, value);
    return true;
}

// ── Exits ───────────────────────────────────────────────────────────────────────────────────────────────────────────
static bool exit_io_instruction(struct vcpu *v, struct vexit *exit) {
    u64 q = vmcs_read(VMCS_QUALIFICATION);
    const u32 size = (u32)field_get(QUAL_IO_SIZE, q) + 1;
    if (unlikely(q & QUAL_IO_STRING))
        return emulate_string_io(v, q & QUAL_IO_IN, size, exit);
    return exit_io(v, (u16)field_get(QUAL_IO_PORT, q), size, q & QUAL_IO_IN, exit);
}

static bool exit_ept(struct vcpu *v, bool vectoring, struct vexit *exit) {
    u64 q = vmcs_read(VMCS_QUALIFICATION);
    exit->gpa = vmcs_read(VMCS_GUEST_PHYSICAL);
    exit->gva = v->arch.rip;
    exit->write = q & QUAL_EPT_WRITE;
    exit->exec = q & QUAL_EPT_FETCH;
    bool walking = (q & QUAL_EPT_LINEAR_VALID) && !(q & QUAL_EPT_FINAL);
    if (unlikely(vectoring || walking || exit->exec)) {
        // In the first two cases its tables or stacks lie where no memory is: it cannot go on.
        v->arch.triple_fault = vectoring || walking;
        exit->kind = VEXIT_PAGE_FAULT;
        return false;
    }
    return emulate_mmio(v, exit->gpa, exit->write, nullptr, 0, exit);
}

// #DB: what the delivery would do comes first. An entry wants to find a single step's trap pending where it is held
// back (Intel SDM volume 3 §26.3.1.5), but a #DB that comes out takes that away.
static bool exit_debug(struct vcpu *v, bool is_int1, struct vexit *exit) {
    dr6_write((dr6_read() & ~BITS(3, 0)) | (vmcs_read(VMCS_QUALIFICATION) & QUAL_DEBUG));
    vmcs_write(VMCS_GUEST_DR7, vmcs_read(VMCS_GUEST_DR7) & ~DR7_GD);
    if (is_int1) // a trap: it is done
        guest_step(v);
    else if ((vmcs_read(VMCS_GUEST_RFLAGS) & RFLAGS_TF) &&
             (vmcs_read(VMCS_INTERRUPTIBILITY) & (BLOCKED_BY_STI | BLOCKED_BY_MOV_SS)))
        vmcs_write(VMCS_GUEST_PENDING_DEBUG, vmcs_read(VMCS_GUEST_PENDING_DEBUG) | DR6_BS);
    return exit_trap(v, VECTOR_DB, exit);
}

static bool exit_event(struct vcpu *v, struct vexit *exit) {
    u64 event = vmcs_read(VMCS_EXIT_EVENT), type = field_get(EVENT_TYPE, event);
    if (type == EVENT_NMI) { // ours: the exit has taken it, and it blocks others until an IRET
        __asm__ volatile("int $2");
        exit->kind = VEXIT_NONE;
        return false;
    }
    switch (field_get(EVENT_VECTOR, event)) {
    case VECTOR_DB:
        return exit_debug(v, type == EVENT_INT1, exit);
    case VECTOR_AC:
        return exit_trap(v, VECTOR_AC, exit);
    case VECTOR_MC: // the exit has taken it
        __asm__ volatile("int $18");
        exit->kind = VEXIT_NONE;
        return false;
    default:
        return exit_undefined(v, vmx_cpl(), exit);
    }
}

static bool fail_entry(struct vexit *exit, u64 code) {
    exit->kind = VEXIT_FAIL_ENTRY;
    exit->value = code;
    return false;
}

// True: served here.
static bool serve(struct vcpu *v, u32 reason, bool vectoring, struct vexit *exit) {
    switch (reason) {
    case VMX_EXIT_EPT:
        return exit_ept(v, vectoring, exit);
    case VMX_EXIT_RDMSR:
    case VMX_EXIT_WRMSR:
        return exit_msr(v, reason == VMX_EXIT_WRMSR, exit);
    case VMX_EXIT_IO:
        return exit_io_instruction(v, exit);
    case VMX_EXIT_VMCALL:
        return exit_call(v, vmx_cpl(), exit);
    case VMX_EXIT_CPUID:
        return exit_cpuid(v);
    case VMX_EXIT_HLT:
        return exit_halt(v, exit);
    case VMX_EXIT_INTR:
        exit->kind = VEXIT_NONE;
        arch_irq_poll();
        return false;
    case VMX_EXIT_EVENT:
        return exit_event(v, exit);
    case VMX_EXIT_INTR_WINDOW:
        proc_set(PROC_INTR_WINDOW, false);
        return true;
    case VMX_EXIT_NMI_WINDOW:
        proc_set(PROC_NMI_WINDOW, false);
        return true;
    case VMX_EXIT_CR:
        return exit_cr(v);
    case VMX_EXIT_XSETBV:
        return exit_xsetbv(v, vmx_cpl());
    case VMX_EXIT_INVD: // others' data must not be lost with it: as if nothing were in the caches
    case VMX_EXIT_WBINVD:
        guest_step(v);
        return true;
    case VMX_EXIT_RDPMC:
        guest_gp(v);
        return true;
    case VMX_EXIT_TRIPLE_FAULT:
    case VMX_EXIT_TASK_SWITCH: // by hand in a world of 64 bits nobody does it: the guest cannot go on
        return exit_triple_fault(v, (u32)vmcs_read(VMCS_GUEST_IDTR_LIMIT), exit);
    default:
        if (reason & VMX_ENTRY_FAILED)
            return fail_entry(exit, reason);
        guest_exception(v, VECTOR_UD); // VMX's own instructions, MONITOR, MWAIT, …: CPUID has none of them
        return true;
    }
}

// What was on its way in is taken up again. SVM's form of it, and with the length of a software interrupt left out:
// that one comes again by itself.
static bool take_up_again(struct vcpu *v) {
    u64 event = vmcs_read(VMCS_VECTORING);
    if (likely(!(event & EVENT_VALID)))
        return false;
    event &= ~BIT(12); // undefined
    if (event & EVENT_HAS_ERROR)
        event |= vmcs_read(VMCS_VECTORING_ERROR) << 32;
    if (field_get(EVENT_TYPE, event) == EVENT_NMI) // it has blocked NMIs, but was not delivered
        vmcs_write(VMCS_INTERRUPTIBILITY, vmcs_read(VMCS_INTERRUPTIBILITY) & ~BLOCKED_BY_NMI);
    guest_event_interrupted(v, event);
    return true;
}

void vmx_run(struct vcpu *v, struct vexit *exit) {
    struct arch_vcpu *a = &v->arch;
    struct vlapic *l = vlapic_of(v);
    if (unlikely(a->work & X86_WORK_MORE) && !emulate_continue(v, exit))
        return;
    for (;;) {
        if (likely(a->work))
            entry_work(v);
        bool given = a->work & X86_WORK_EVENT;
        if (unlikely(given))
            give_event(a);
        a->work = 0;
        if (unlikely(vlapic_pending(l) >= 0 || vlapic_nmi_pending(l)))
            interrupts_in(v, given);
        u64 failed = vmx_enter(a, a->launched);
        exit->ticks = arch_ticks();
        if (unlikely(failed)) {
            (void)fail_entry(exit, vmcs_read(VMCS_INSTRUCTION_ERROR));
            return;
        }
        a->launched = true;
        u32 reason = (u32)vmcs_read(VMCS_EXIT_REASON);
        a->rip = vmcs_read(VMCS_GUEST_RIP);
        a->next_rip = a->rip + vmcs_read(VMCS_EXIT_LENGTH);
        a->exit_reason = reason;
        bool vectoring = take_up_again(v);
        if (!serve(v, reason, vectoring, exit))
            return;
        v->stats.inside++;
    }
}
