// SPDX-License-Identifier: Apache-2.0
// AMD's SVM: the VMCB, translations' tags, interrupts, and what each exit means (AMD64 APM volume 2, chapter 15).
#include "svm.h"

#include <string.h>

#include "page.h"
#include "svm_nmi.h"
#include "virt.h"

// What the CPUs have beyond nested paging; the emulators and the oldest ones have none of it.
static struct {
    bool next_rip; // where the instruction that came out ends
    bool assists;  // the bytes of an instruction that faulted, operands of some others
    bool flush_by_asid;
    u32 asids;
    u64 iopm, msrpm; // one of each for all: every port comes out, and every MSR but those in the VMCB
} svm;

// A CPU's own two pages.
struct svm_cpu {
    u8 host_save[PAGE_SIZE]; // where VMRUN puts our state; its layout is the CPU's
    struct vmcb host;        // for VMLOAD: our TR, GS base, …
};

enum { IOPM_ORDER = 2, MSRPM_ORDER = 1 }; // 12 KiB, 8 KiB
enum : u32 {
    MSRPM_LOW = 0,      // bytes: MSRs 0 … 0x1fff, two bits each
    MSRPM_HIGH = 0x800, // 0xc0000000 …
};

static struct vmcb *vmcb_of(const struct vcpu *v) {
    return (struct vmcb *)v->arch.control;
}

// ── CPUs ────────────────────────────────────────────────────────────────────────────────────────────────────────────
const char *svm_unusable(void) {
    if (!(cpuid_or_zero(CPUID_EXT_FEATURES, 0).ecx & CPUID_EXT1_ECX_SVM))
        return "the CPU has no SVM";
    if (msr_read(MSR_VM_CR) & VM_CR_SVMDIS)
        return "SVM is switched off; look for it in the firmware's settings";
    struct cpuid c = cpuid_or_zero(CPUID_EXT_SVM, 0);
    if (!(c.edx & SVM_FEATURE_NESTED_PAGING))
        return "the CPU's SVM has no nested paging";
    if (c.ebx < 2)
        return "the CPU's SVM has no address space identifiers";
    svm.next_rip = c.edx & SVM_FEATURE_NRIP;
    svm.assists = c.edx & SVM_FEATURE_DECODE_ASSISTS;
    svm.flush_by_asid = c.edx & SVM_FEATURE_FLUSH_BY_ASID;
    svm.asids = c.ebx;
    return nullptr;
}

// Lets guests read and write an MSR that VMLOAD, VMSAVE or the VMCB switch.
static void msr_open(u32 nr) {
    u8 *map = (u8 *)svm.msrpm + (nr >= 0xc0000000 ? MSRPM_HIGH : MSRPM_LOW);
    map[(nr & 0x1fff) / 4] &= (u8) ~(3u << (nr & 3) * 2);
}

static void maps_init(void) {
    u8 *iopm = page_alloc(IOPM_ORDER), *msrpm = page_alloc(MSRPM_ORDER);
    BUG_ON(!iopm || !msrpm); // at boot
    memset(iopm, 0xff, PAGE_SIZE << IOPM_ORDER);
    memset(msrpm, 0xff, PAGE_SIZE << MSRPM_ORDER);
    svm.iopm = (u64)iopm;
    svm.msrpm = (u64)msrpm;
    static const u32 open[] = {MSR_STAR,    MSR_LSTAR,          MSR_CSTAR,       MSR_SFMASK,       MSR_FS_BASE,
                               MSR_GS_BASE, MSR_KERNEL_GS_BASE, MSR_SYSENTER_CS, MSR_SYSENTER_ESP, MSR_SYSENTER_EIP};
    for (u32 i = 0; i < ARRAY_SIZE(open); i++)
        msr_open(open[i]);
}

static void cpu_init(struct cpu *cpu) {
    static_assert(sizeof(struct svm_cpu) == 2 * PAGE_SIZE);
    if (!svm.iopm)
        maps_init();
    struct svm_cpu *own = page_alloc(1);
    BUG_ON(!own); // at boot
    cpu->arch.virt = own;
    msr_write(MSR_EFER, msr_read(MSR_EFER) | EFER_SVME);
    msr_write(MSR_VM_HSAVE_PA, (u64)own->host_save);
    __asm__ volatile("vmsave %0" ::"a"(&own->host) : "memory");
}

// ── Control blocks ──────────────────────────────────────────────────────────────────────────────────────────────────
static int control_init(struct vcpu *v) {
    struct vmcb *c = page_alloc(0);
    v->arch.control = (u64)c;
    return c ? 0 : -ENOMEM;
}

static void control_fini(struct vcpu *v) {
    if (v->arch.control)
        page_free(vmcb_of(v), 0);
    v->arch.control = 0;
}

static const struct vmcb_segment real_mode_data = {.attributes = 0x93, .limit = 0xffff};

static void reset(struct vcpu *v) {
    struct vmcb *c = vmcb_of(v);
    arch_zero(c, sizeof(*c));
    c->exceptions = EXCEPTIONS_OURS;
    c->cr_writes = SVM_CR4; // a guest must not switch on what is hidden from it
    // Devices' interrupts are ours; SMIs are the firmware's, and INIT is not used while guests run.
    c->intercepts1 = SVM_INTR | SVM_NMI | SVM_RDPMC | SVM_CPUID | SVM_INVD | SVM_HLT | SVM_INVLPGA | SVM_IOIO |
                     SVM_MSR | SVM_SHUTDOWN;
    c->intercepts2 = SVM_VMRUN | SVM_VMMCALL | SVM_VMLOAD | SVM_VMSAVE | SVM_STGI | SVM_CLGI | SVM_SKINIT | SVM_WBINVD |
                     SVM_MONITOR | SVM_MWAIT | SVM_XSETBV | SVM_RDPRU;
    c->iopm = svm.iopm;
    c->msrpm = svm.msrpm;
    c->nested_control = SVM_NESTED_PAGING;
    c->nested_cr3 = v->vm->s2.root.v;
    // Caches on, unlike what INIT leaves: the guest's start has no firmware that would clear CD and NW.
    c->cr0 = CR0_ET;
    c->efer = EFER_SVME;
    c->rflags = RFLAGS_FIXED;
    c->rip = 0xfff0;
    c->dr6 = DR6_RESET;
    c->dr7 = 0x400;
    c->pat = 0x0007040600070406;
    c->es = c->ss = c->ds = c->fs = c->gs = real_mode_data;
    c->cs = (struct vmcb_segment){0xf000, 0x9b, 0xffff, 0xffff0000};
    c->gdtr.limit = c->idtr.limit = 0xffff;
    c->ldtr = (struct vmcb_segment){.attributes = 0x82, .limit = 0xffff};
    c->tr = (struct vmcb_segment){.attributes = 0x8b, .limit = 0xffff};
    v->arch.asid_cpu = nullptr; // whatever the TLB knows of this vCPU is of an earlier life
}

static void reset_done(struct vcpu *v) {
    (void)v; // a VMCB is memory like any other
}

// A tag of this CPU's that nothing in its TLB has. Translations of a guest are tagged with the ASID alone, so an ASID
// is a vCPU's own (two vCPUs of a VM have different page tables), and it is good on one CPU only: what the vCPU
// invalidates elsewhere stays here. So a vCPU that comes from another CPU, was reset, or whose VM's stage 2 has lost a
// mapping takes a new one, which is empty; after the last one the whole TLB is emptied (TLB_CONTROL 1, which forgets
// all ASIDs) and a new generation begins. All vCPUs whose ASID is of an earlier generation take new ones before they
// run here again. Only right before an entry: one that is taken at the load may never get there (the vCPU's access is
// finished first, and another one may be loaded meanwhile), and whoever has the next ASID would find the TLB full.
static void asid_take(struct vcpu *v, struct cpu *cpu) {
    struct arch_vcpu *a = &v->arch;
    struct vmcb *c = vmcb_of(v);
    if (cpu->arch.asid_generation == 0 || cpu->arch.asid_next == svm.asids) {
        cpu->arch.asid_generation++;
        cpu->arch.asid_next = 1; // 0 is ours
        c->tlb_control = SVM_TLB_FLUSH_ALL;
        a->undo = true;
    }
    a->asid_cpu = cpu;
    a->asid_generation = cpu->arch.asid_generation;
    a->tlb_generation = atomic_load_explicit(&v->vm->arch.tlb_generation, memory_order_acquire);
    c->asid = cpu->arch.asid_next++;
}

static void load(struct vcpu *v) {
    struct arch_vcpu *a = &v->arch;
    struct cpu *cpu = cpu_self();
    a->host_control = (u64) & ((struct svm_cpu *)cpu->arch.virt)->host;
    if (a->asid_cpu != cpu || a->asid_generation != cpu->arch.asid_generation ||
        a->tlb_generation != atomic_load_explicit(&v->vm->arch.tlb_generation, memory_order_acquire))
        a->work |= X86_WORK_TAG;
}

static void save(struct vcpu *v) {
    (void)v; // every exit has done it
}

static void flush(struct vcpu *v) {
    struct vmcb *c = vmcb_of(v);
    if (!svm.flush_by_asid) {
        asid_take(v, cpu_self());
        return;
    }
    c->tlb_control = SVM_TLB_FLUSH_GUEST;
    v->arch.undo = true;
}

// ── Registers ───────────────────────────────────────────────────────────────────────────────────────────────────────
static const u16 reg_offset[] = {
    [GUEST_RSP] = offsetof(struct vmcb, rsp),   [GUEST_RFLAGS] = offsetof(struct vmcb, rflags),
    [GUEST_CR0] = offsetof(struct vmcb, cr0),   [GUEST_CR2] = offsetof(struct vmcb, cr2),
    [GUEST_CR3] = offsetof(struct vmcb, cr3),   [GUEST_CR4] = offsetof(struct vmcb, cr4),
    [GUEST_EFER] = offsetof(struct vmcb, efer), [GUEST_PAT] = offsetof(struct vmcb, pat),
};

static u64 get(const struct vcpu *v, enum guest_reg reg) {
    u64 value = *(const u64 *)(v->arch.control + reg_offset[reg]);
    return reg == GUEST_EFER ? value & ~EFER_SVME : value; // which VMRUN wants set
}

static void set(struct vcpu *v, enum guest_reg reg, u64 value) {
    *(u64 *)(v->arch.control + reg_offset[reg]) = reg == GUEST_EFER ? value | EFER_SVME : value;
}

static struct vmcb_segment *segment_of(const struct vcpu *v, enum x86_segment segment) {
    return &vmcb_of(v)->es + segment;
}

static u64 segment_base(struct vcpu *v, enum x86_segment segment) {
    return segment_of(v, segment)->base;
}

static void set_segment(struct vcpu *v, enum x86_segment segment, const struct x86_segment_state *to) {
    *segment_of(v, segment) = (struct vmcb_segment){to->selector, to->attributes, to->limit, to->base};
}

static void set_gdt(struct vcpu *v, u64 base, u32 limit) {
    vmcb_of(v)->gdtr.base = base;
    vmcb_of(v)->gdtr.limit = limit;
}

static void set_tsc_offset(struct vcpu *v, u64 offset) {
    vmcb_of(v)->tsc_offset = offset;
}

static void mode(struct vcpu *v, struct x86_mode *out) {
    const struct vmcb *c = vmcb_of(v);
    bool l = c->cs.attributes & BIT(9), d = c->cs.attributes & BIT(10);
    *out = (struct x86_mode){c->cr0, c->cr3, c->cr4, c->efer & ~EFER_SVME, c->rflags, c->cpl, 16};
    if ((c->efer & EFER_LMA) && l)
        out->code_bits = 64;
    else if (d && (c->cr0 & CR0_PE) && !(c->rflags & RFLAGS_VM))
        out->code_bits = 32;
}

// ── Entry ───────────────────────────────────────────────────────────────────────────────────────────────────────────
// An interrupt that the guest takes at once is injected. One that has to wait for its IF or the end of a shadow is
// given to the CPU as a virtual one (V_IRQ), which it takes as soon as it can: no exit for an interrupt window. The TPR
// is looked at here and not by the CPU (V_IGN_TPR), so that V_IRQ goes out for one reason only: the interrupt was
// taken. So while one is pending the guest's changes of CR8 come out.
//
// QEMU (10.0), the CPU without NRIP save that one meets, delivers an injected interrupt once more if its thread is
// asked to pause right behind VMRUN. It takes a virtual one rightly; Bochs, which has NRIP save, takes that late.
[[gnu::noinline]] static u64 interrupts_in(struct vcpu *v, struct vmcb *c) {
    struct vlapic *l = vlapic_of(v);
    struct arch_vcpu *a = &v->arch;
    if (vlapic_nmi_pending(l))
        svm_nmi_in(v, c);
    s32 vector = vlapic_deliverable(l);
    bool open = (c->rflags & RFLAGS_IF) && (!(c->shadow & SVM_SHADOW) || (a->work & X86_WORK_STEP));
    bool single_step = (a->work & X86_WORK_STEP) && (c->rflags & RFLAGS_TF); // #DB comes first
    if (vector >= 0 && svm.next_rip && open && !single_step && !(a->event & EVENT_VALID)) {
        vlapic_accept(l, (u32)vector);
        a->event = EVENT_VALID | (u64)vector;
        a->work |= X86_WORK_EVENT;
        vector = -1;
    }
    if (vlapic_pending(l) >= 0)
        c->cr_writes |= SVM_CR8;
    else
        c->cr_writes &= (u16)~SVM_CR8;
    if (vector < 0)
        return 0;
    vlapic_offer(l, (u32)vector);
    return SVM_V_IRQ | SVM_V_IGN_TPR | SVM_V_PRIORITY | field_set(SVM_V_VECTOR, (u64)vector);
}

// What the guest did to its TPR and its virtual interrupt while it ran.
static void interrupts_out(struct vcpu *v, struct vmcb *c, u64 before, u64 after) {
    struct vlapic *l = vlapic_of(v);
    if (before & SVM_V_IRQ) {
        const bool taken = !(after & SVM_V_IRQ);
        vlapic_offered(l, (u32)field_get(SVM_V_VECTOR, before), taken);
        if (taken)
            c->cr_writes &= (u16)~SVM_CR8; // again if another one is pending
    }
    if ((before ^ after) & SVM_V_TPR)
        vlapic_set_tpr(l, (u32)(after & SVM_V_TPR) << 4);
}

// An instruction was stepped over with RF or TF set.
static void step_flags(struct vcpu *v, struct vmcb *c) {
    c->rflags &= ~RFLAGS_RF;
    if ((c->rflags & RFLAGS_TF) && !(v->arch.event & EVENT_VALID)) { // the guest single-steps
        c->dr6 |= DR6_BS;
        guest_exception(v, VECTOR_DB);
    }
}

// Everything that an entry seldom has to do.
[[gnu::noinline]] static void entry_work(struct vcpu *v, struct vmcb *c) {
    struct arch_vcpu *a = &v->arch;
    if (a->work & X86_WORK_STEP) {
        c->rip = a->rip;
        c->shadow = 0;
        step_flags(v, c);
    }
    if (a->work & X86_WORK_EVENT) {
        c->event = a->event;
        a->undo = true;
    }
    if (a->work & X86_WORK_TAG)
        asid_take(v, cpu_self());
    else if (a->work & X86_WORK_FLUSH)
        flush(v);
    a->work = 0;
}

static void undo(struct vcpu *v, struct vmcb *c) {
    c->tlb_control = SVM_TLB_KEEP;
    c->event = 0;
    v->arch.event = 0;
    v->arch.undo = false;
}

// ── Exits ───────────────────────────────────────────────────────────────────────────────────────────────────────────
// The length of an instruction that came out, where the CPU does not tell it. Prefixes without a meaning may stand
// before it, so it has to be looked at; but a length that was found at an address is kept, and holds while the bytes
// are what they were. (A guest that maps the address to another copy of the instruction, with other prefixes and
// without a new CR3, is not noticed: it is stepped to a wrong place of its own code.)
[[gnu::noinline]] static bool find_length(struct vcpu *v, u64 at, u64 cr3) {
    struct arch_vcpu *a = &v->arch;
    u32 length = emulate_length(v);
    a->next_rip = a->rip + length;
    const u64 mask = length < 8 ? BIT(8 * length) - 1 : ~0ull;
    const u64 *bytes = length ? a->fetch.from : nullptr;
    a->lengths[at / 2 % X86_LENGTHS] =
        (struct x86_length){at, cr3, bytes, bytes ? guest_load(bytes) & mask : 0, mask, length};
    return length != 0;
}

// Sets next_rip. False: the instruction cannot be read any more; the guest is to try again.
static inline bool next_rip(struct vcpu *v, const struct vmcb *c) {
    struct arch_vcpu *a = &v->arch;
    if (likely(svm.next_rip)) {
        a->next_rip = c->next_rip;
        return true;
    }
    u64 at = c->cs.base + c->rip;
    const struct x86_length *known = &a->lengths[at / 2 % X86_LENGTHS];
    if (unlikely(known->at != at || known->cr3 != c->cr3 || !known->bytes ||
                 (guest_load(known->bytes) & known->mask) != known->value))
        return find_length(v, at, c->cr3);
    a->next_rip = c->rip + known->length;
    return true;
}

[[gnu::noinline]] static bool exit_npf(struct vcpu *v, struct vmcb *c, struct vexit *exit) {
    struct arch_vcpu *a = &v->arch;
    exit->gpa = c->exit_info2;
    exit->gva = a->rip;
    exit->write = c->exit_info1 & SVM_NPF_WRITE;
    exit->exec = c->exit_info1 & SVM_NPF_FETCH;
    if (unlikely((c->exit_event & EVENT_VALID) || (c->exit_info1 & SVM_NPF_WALK))) {
        // The guest's tables or stacks lie where no memory is: it cannot take exceptions, or not go on.
        exit->kind = VEXIT_PAGE_FAULT;
        a->triple_fault = true;
        return false;
    }
    if (unlikely(exit->exec)) {
        exit->kind = VEXIT_PAGE_FAULT;
        return false;
    }
    return emulate_mmio(v, c->exit_info2, exit->write, svm.assists ? c->bytes : nullptr, c->fetched & 15, exit);
}

static inline bool exit_ioio(struct vcpu *v, struct vmcb *c, struct vexit *exit) {
    u64 info = c->exit_info1;
    v->arch.next_rip = c->exit_info2;
    const u32 size = (u32)field_get(SVM_IO_SIZE, info);
    if (unlikely(info & SVM_IO_STRING))
        return emulate_string_io(v, info & SVM_IO_IN, size, exit);
    return exit_io(v, (u16)field_get(SVM_IO_PORT, info), size, info & SVM_IO_IN, exit);
}

[[gnu::noinline]] static bool exit_cr_write(struct vcpu *v, struct vmcb *c, u32 cr) {
    u64 value;
    if (!next_rip(v, c) || !emulate_mov_cr(v, &value))
        return true;
    if (cr == 4)
        return exit_cr4(v, value);
    if (value & ~15ull) {
        guest_gp(v);
        return true;
    }
    vlapic_set_tpr(vlapic_of(v), (u32)value << 4);
    c->cr_writes &= (u16)~SVM_CR8;
    guest_step(v);
    return true;
}

[[gnu::noinline]] static bool exit_other(struct vcpu *v, struct vmcb *c, struct vexit *exit) {
    switch (c->exit_code) {
    case SVM_EXIT_INTR:
        exit->kind = VEXIT_NONE;
        arch_irq_poll();
        return false;
    case SVM_EXIT_NMI: // taken when entry.S let it
        exit->kind = VEXIT_NONE;
        return false;
    case SVM_EXIT_CR4_WRITE:
    case SVM_EXIT_CR4_WRITE + 4:
        return exit_cr_write(v, c, (u32)c->exit_code & 15);
    case SVM_EXIT_UD:
        return exit_undefined(v, c->cpl, exit);
    case SVM_EXIT_DB: // DR6 is as its handler is to find it
        c->dr7 &= ~DR7_GD;
        return exit_trap(v, VECTOR_DB, exit);
    case SVM_EXIT_AC:
        return exit_trap(v, VECTOR_AC, exit);
    case SVM_EXIT_MC: // the exit has taken it
        __asm__ volatile("int $18");
        exit->kind = VEXIT_NONE;
        return false;
    case SVM_EXIT_XSETBV:
        return !next_rip(v, c) || exit_xsetbv(v, c->cpl);
    case SVM_EXIT_INVD: // others' data must not be lost with it: as if nothing were in the caches
    case SVM_EXIT_WBINVD:
        if (next_rip(v, c))
            guest_step(v);
        return true;
    case SVM_EXIT_IRET:
        svm_nmi_iret(v, c);
        return true;
    case SVM_EXIT_RDPMC:
        guest_gp(v);
        return true;
    case SVM_EXIT_SHUTDOWN:
        return exit_triple_fault(v, c->idtr.limit, exit);
    default:
        if ((u32)c->exit_code == SVM_EXIT_INVALID || c->exit_code > SVM_EXIT_NPF) {
            exit->kind = VEXIT_FAIL_ENTRY;
            exit->value = c->exit_code;
            return false;
        }
        guest_exception(v, VECTOR_UD); // SVM's own instructions, MONITOR, MWAIT, RDPRU: CPUID has none of them
        return true;
    }
}

// Everything that an exit seldom has to do before it is served. True: there is nothing to be served.
[[gnu::noinline]] static bool exit_work(struct vcpu *v, struct vmcb *c, u64 vintr) {
    struct arch_vcpu *a = &v->arch;
    if (((c->vintr ^ vintr) & SVM_V_TPR) | (vintr & SVM_V_IRQ))
        interrupts_out(v, c, vintr, c->vintr);
    if (a->undo)
        undo(v, c);
    if (c->exit_event & EVENT_VALID)
        guest_event_interrupted(v, c->exit_event);
    if (a->stepping && svm_step_end(v, c))
        return true;
    if (a->nmi_blocked)
        svm_nmi_window(v, c);
    return false;
}

// True: served here.
static inline bool serve(struct vcpu *v, struct vmcb *c, struct vexit *exit) {
    switch (c->exit_code) {
    case SVM_EXIT_NPF:
        return exit_npf(v, c, exit);
    case SVM_EXIT_MSR:
        return !next_rip(v, c) || exit_msr(v, c->exit_info1, exit);
    case SVM_EXIT_IOIO:
        return exit_ioio(v, c, exit);
    case SVM_EXIT_VMMCALL:
        return !next_rip(v, c) || exit_call(v, c->cpl, exit);
    case SVM_EXIT_CPUID:
        return !next_rip(v, c) || exit_cpuid(v);
    case SVM_EXIT_HLT:
        return !next_rip(v, c) || exit_halt(v, exit);
    default:
        return exit_other(v, c, exit);
    }
}

static void run(struct vcpu *v, struct vexit *exit) {
    struct arch_vcpu *a = &v->arch;
    struct vmcb *c = vmcb_of(v);
    struct vlapic *l = vlapic_of(v);
    if (unlikely(a->work & X86_WORK_MORE) && !emulate_continue(v, exit))
        return;
    for (;;) {
        u64 vintr = SVM_V_INTR_MASKING | vlapic_tpr(l) >> 4;
        if (unlikely(vlapic_pending(l) >= 0 || vlapic_nmi_pending(l)))
            vintr |= interrupts_in(v, c);
        if (likely(a->work == X86_WORK_STEP && !(c->rflags & (RFLAGS_RF | RFLAGS_TF)))) {
            c->rip = a->rip;
            c->shadow = 0;
            a->work = 0;
        } else if (a->work) {
            entry_work(v, c);
        }
        c->vintr = vintr;
        c->rax = a->gpr[X86_RAX];
        svm_enter(a);
        exit->ticks = arch_ticks();
        a->gpr[X86_RAX] = c->rax;
        a->rip = c->rip;
        u64 unusual = ((c->vintr ^ vintr) & SVM_V_TPR) | (vintr & SVM_V_IRQ) | (c->exit_event & EVENT_VALID);
        if (unlikely(unusual | a->after_exit) && exit_work(v, c, vintr))
            continue;
        if (!serve(v, c, exit)) {
            a->exit_reason = c->exit_code;
            return;
        }
        v->stats.inside++;
    }
}

static bool nmi_blocked(const struct vcpu *v) {
    return v->arch.nmi_blocked;
}

const struct x86_virt_ops svm_ops = {
    .name = "SVM",
    .cpu_init = cpu_init,
    .vcpu_init = control_init,
    .vcpu_fini = control_fini,
    .reset = reset,
    .reset_done = reset_done,
    .load = load,
    .save = save,
    .run = run,
    .mode = mode,
    .get = get,
    .set = set,
    .segment_base = segment_base,
    .set_segment = set_segment,
    .set_gdt = set_gdt,
    .set_tsc_offset = set_tsc_offset,
    .flush = flush,
    .nmi_blocked = nmi_blocked,
};
