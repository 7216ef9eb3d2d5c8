// SPDX-License-Identifier: Apache-2.0
// Intel's VMX (Intel SDM volume 3, chapters 24-31): controls, registers, and moving a VMCS between CPUs. What its exits
// mean is in vmx_exit.c.
#include "vmx.h"

#include <string.h>

#include "page.h"
#include "vmx_cpu.h"
#include "x86_64.h"

struct vmx_state vmx;

// A CPU's own page, for VMXON. The other regions have the same head.
struct vmx_region {
    u32 revision, abort;
    u8 data[PAGE_SIZE - 8];
};

// ── What the CPU can do ─────────────────────────────────────────────────────────────────────────────────────────────
// A control field with `wanted` and what the CPU insists on. False: it lacks something of `wanted`.
static bool controls(u32 msr, u32 wanted, u32 *out) {
    u64 allowed = msr_read(msr);
    *out = (wanted | (u32)allowed) & (u32)(allowed >> 32);
    return (*out & wanted) == wanted;
}

static bool all_controls(void) {
    bool exact = msr_read(MSR_VMX_BASIC) & VMX_BASIC_TRUE_CONTROLS;
    u32 first = exact ? MSR_VMX_TRUE_PIN : MSR_VMX_PIN;
    bool ok = controls(first, PIN_INTR | PIN_NMI | PIN_VIRTUAL_NMI, &vmx.pin);
    ok &= controls(first + 1,
                   PROC_TSC_OFFSET | PROC_HLT | PROC_MWAIT | PROC_RDPMC | PROC_CR8_LOAD | PROC_CR8_STORE | PROC_IO |
                       PROC_MSR_BITMAP | PROC_MONITOR | PROC_SECONDARY,
                   &vmx.proc);
    ok &= exact || !(vmx.proc & (PROC_CR3_LOAD | PROC_CR3_STORE)); // which EPT makes pointless
    ok = ok && controls(MSR_VMX_PROC2, PROC2_EPT | PROC2_UNRESTRICTED | PROC2_VPID | PROC2_WBINVD, &vmx.proc2);
    u32 optional = PROC2_RDTSCP | PROC2_INVPCID;
    vmx.proc2 |= optional & (u32)(ok ? msr_read(MSR_VMX_PROC2) >> 32 : 0);
    ok &= controls(first + 2,
                   EXIT_SAVE_DEBUG | EXIT_HOST_64 | EXIT_SAVE_PAT | EXIT_LOAD_PAT | EXIT_SAVE_EFER | EXIT_LOAD_EFER,
                   &vmx.exit);
    ok &= controls(first + 3, ENTRY_LOAD_DEBUG | ENTRY_LOAD_PAT | ENTRY_LOAD_EFER, &vmx.entry);
    return ok;
}

const char *vmx_unusable(void) {
    if (!(cpuid(CPUID_FEATURES, 0).ecx & CPUID_1_ECX_VMX))
        return "the CPU has no VMX";
    u64 control = msr_read(MSR_FEATURE_CONTROL);
    if ((control & (FEATURE_CONTROL_LOCK | FEATURE_CONTROL_VMX)) == FEATURE_CONTROL_LOCK)
        return "VMX is switched off; look for it in the firmware's settings";
    if (!all_controls())
        return "the CPU's VMX is too old: EPT, VPID and unrestricted guests are needed";
    const u64 needed = EPT_CAP_WALK_4 | EPT_CAP_WRITE_BACK | EPT_CAP_2MIB | EPT_CAP_INVEPT_SINGLE | VPID_CAP_SINGLE;
    if ((msr_read(MSR_VMX_EPT_VPID_CAP) & needed) != needed)
        return "the CPU's EPT has no large pages, or cannot be flushed by guest";
    vmx.revision = (u32)msr_read(MSR_VMX_BASIC) & 0x7fffffff;
    return nullptr;
}

// ── A CPU ───────────────────────────────────────────────────────────────────────────────────────────────────────────
// Lets guests read and write an MSR that the VMCS or vmx_load() switches.
static void msr_open(u32 nr) {
    u8 *map = (u8 *)vmx.msr_bitmap + (nr >= 0xc0000000 ? 1024 : 0);
    for (u32 write = 0; write < 2; write++)
        map[2048 * write + (nr & 0x1fff) / 8] &= (u8) ~(1u << (nr & 7));
}

static void bitmap_init(void) {
    u8 *map = page_alloc(0);
    BUG_ON(!map); // at boot
    memset(map, 0xff, PAGE_SIZE);
    vmx.msr_bitmap = (u64)map;
    static const u32 open[] = {MSR_STAR,    MSR_LSTAR,          MSR_CSTAR,       MSR_SFMASK,       MSR_FS_BASE,
                               MSR_GS_BASE, MSR_KERNEL_GS_BASE, MSR_SYSENTER_CS, MSR_SYSENTER_ESP, MSR_SYSENTER_EIP};
    for (u32 i = 0; i < ARRAY_SIZE(open); i++)
        msr_open(open[i]);
}

static void cpu_init(struct cpu *cpu) {
    if (!vmx.msr_bitmap)
        bitmap_init();
    struct vmx_region *region = page_alloc(0);
    BUG_ON(!region); // at boot
    region->revision = vmx.revision;
    cpu->arch.virt = region;
    if (!(msr_read(MSR_FEATURE_CONTROL) & FEATURE_CONTROL_LOCK))
        msr_write(MSR_FEATURE_CONTROL, FEATURE_CONTROL_VMX | FEATURE_CONTROL_LOCK);
    cr0_write((cr0_read() | msr_read(MSR_VMX_CR0_FIXED0)) & msr_read(MSR_VMX_CR0_FIXED1));
    cr4_write(cr4_read() | CR4_VMXE | msr_read(MSR_VMX_CR4_FIXED0));
    u64 at = (u64)region;
    bool failed;
    __asm__ volatile("vmxon %1" : "=@ccbe"(failed) : "m"(at) : "memory");
    if (failed)
        panic("VMXON failed");
}

// ── Control structures ──────────────────────────────────────────────────────────────────────────────────────────────
// A VMCS is in one CPU's cache while it is current there; VMCLEAR writes it back, so that another one may take it. It
// is current from load to save, and for the time of a reset.
static void make_current(struct vcpu *v) {
    u64 at = v->arch.control;
    __asm__ volatile("vmptrld %0" ::"m"(at) : "cc", "memory");
}

static void clear(struct vcpu *v) {
    u64 at = v->arch.control;
    __asm__ volatile("vmclear %0" ::"m"(at) : "cc", "memory");
    v->arch.launched = false;
}

static int control_init(struct vcpu *v) {
    struct vmx_region *c = page_alloc(0);
    v->arch.control = (u64)c;
    if (c)
        c->revision = vmx.revision;
    return c ? 0 : -ENOMEM;
}

static void control_fini(struct vcpu *v) {
    if (v->arch.control)
        page_free((void *)v->arch.control, 0);
    v->arch.control = 0;
}

static void write_segment(u32 index, const struct x86_segment_state *s) {
    bool unusable = !(s->attributes & BIT(7));
    vmcs_write(VMCS_GUEST_ES + 2 * index, s->selector);
    vmcs_write(VMCS_GUEST_LIMIT + 2 * index, s->limit);
    vmcs_write(VMCS_GUEST_BASE + 2 * index, s->base);
    // A VMCB has bits 15-12 of the descriptor in 11-8.
    vmcs_write(VMCS_GUEST_RIGHTS + 2 * index,
               unusable ? RIGHTS_UNUSABLE : (s->attributes & 0xff) | (u32)(s->attributes & 0xf00) << 4);
}

// Fields that stay as they are. What a region of zeroes says of a field is the processor's own: each one that counts is
// written, also with 0.
static void write_controls(struct vcpu *v) {
    static const u32 zero[] = {
        VMCS_PF_MASK,           VMCS_PF_MATCH,           VMCS_CR3_TARGETS,       VMCS_EXIT_STORE_MSRS,
        VMCS_EXIT_LOAD_MSRS,    VMCS_ENTRY_LOAD_MSRS,    VMCS_HOST_FS,           VMCS_HOST_GS,
        VMCS_HOST_FS_BASE,      VMCS_HOST_SYSENTER_CS,   VMCS_HOST_SYSENTER_ESP, VMCS_HOST_SYSENTER_EIP,
        VMCS_GUEST_SYSENTER_CS, VMCS_GUEST_SYSENTER_ESP, VMCS_GUEST_SYSENTER_EIP};
    for (u32 i = 0; i < ARRAY_SIZE(zero); i++)
        vmcs_write(zero[i], 0);
    vmcs_write(VMCS_PIN, vmx.pin);
    vmcs_write(VMCS_PROC, vmx.proc);
    vmcs_write(VMCS_PROC2, vmx.proc2);
    vmcs_write(VMCS_EXIT, vmx.exit);
    vmcs_write(VMCS_ENTRY, vmx.entry);
    vmcs_write(VMCS_VPID, 1 + v->vm->id * VM_MAX_VCPUS + v->id);
    vmcs_write(VMCS_MSR_BITMAP, vmx.msr_bitmap);
    vmcs_write(VMCS_EPT_POINTER, v->vm->s2.root.v | EPT_POINTER_4_LEVELS | EPT_POINTER_WRITE_BACK);
    vmcs_write(VMCS_LINK_POINTER, ~0ull);
    vmcs_write(VMCS_EXCEPTIONS, EXCEPTIONS_OURS);
    // CD and NW are not switched by an entry, so a guest never has them; NE must be on.
    vmcs_write(VMCS_CR0_MASK, CR0_HIDDEN);
    vmcs_write(VMCS_CR4_MASK, ~guest_cr4_mask());
    vmcs_write(VMCS_GUEST_DEBUGCTL, 0);
    vmcs_write(VMCS_GUEST_PENDING_DEBUG, 0);
    vmcs_write(VMCS_ACTIVITY, 0);
    vmcs_write(VMCS_INTERRUPTIBILITY, 0);
    vmcs_write(VMCS_ENTRY_EVENT, 0);
}

static void reset(struct vcpu *v) {
    static const struct x86_segment_state data = {0, 0x93, 0xffff, 0}, code = {0xf000, 0x9b, 0xffff, 0xffff0000},
                                          ldtr = {0, 0x82, 0xffff, 0}, tr = {0, 0x8b, 0xffff, 0};
    static_assert((VM_MAX + 1) * VM_MAX_VCPUS < UINT16_MAX); // VPIDs: the VM's number and the vCPU's
    clear(v);
    make_current(v);
    write_controls(v);
    for (u32 i = 0; i < SEG_COUNT; i++)
        write_segment(i, i == SEG_CS ? &code : &data);
    write_segment(6, &ldtr);
    write_segment(7, &tr);
    vmcs_write(VMCS_GUEST_GDTR_BASE, 0);
    vmcs_write(VMCS_GUEST_IDTR_BASE, 0);
    vmcs_write(VMCS_GUEST_GDTR_LIMIT, 0xffff);
    vmcs_write(VMCS_GUEST_IDTR_LIMIT, 0xffff);
    vmx_set(v, GUEST_CR0, CR0_ET);
    vmx_set(v, GUEST_CR4, 0);
    vmcs_write(VMCS_GUEST_CR3, 0);
    vmcs_write(VMCS_GUEST_DR7, 0x400);
    v->arch.dr6 = DR6_RESET;
    vmcs_write(VMCS_GUEST_RSP, 0);
    vmcs_write(VMCS_GUEST_RIP, 0xfff0);
    vmcs_write(VMCS_GUEST_RFLAGS, RFLAGS_FIXED);
    vmcs_write(VMCS_GUEST_EFER, 0);
    v->arch.asid_cpu = nullptr;
}

// vcpu.c, after reset() and what it has set itself.
static void reset_done(struct vcpu *v) {
    struct cpu *cpu = cpu_self();
    clear(v);
    if (cpu->loaded)
        make_current(cpu->loaded);
}

// ── Translations ────────────────────────────────────────────────────────────────────────────────────────────────────
// A VPID is one vCPU's, everywhere and for good. So what a CPU remembers under it may be of an earlier time that the
// vCPU was here, when its guest had not yet changed what it has changed elsewhere since: a vCPU that comes from another
// CPU (or anew) forgets it, by INVVPID; and if stage 2 has lost a mapping, INVEPT forgets what came of it, on each CPU
// that the vCPU runs on from then. Guest-physical translations know no VPID, so one INVEPT covers the whole VM here,
// but each vCPU does it for itself: it does not know of the others'.
static void invvpid(u64 vpid) {
    const struct {
        u64 vpid, linear;
    } what = {vpid, 0};
    __asm__ volatile("invvpid %0, %1" ::"m"(what), "r"(1ull) : "cc", "memory");
}

static void invept(u64 pointer) {
    const struct {
        u64 pointer, reserved;
    } what = {pointer, 0};
    __asm__ volatile("invept %0, %1" ::"m"(what), "r"(1ull) : "cc", "memory");
}

void vmx_flush(struct vcpu *v) {
    (void)v;
    invvpid(vmcs_read(VMCS_VPID));
}

static void forget(struct vcpu *v, struct cpu *cpu) {
    struct arch_vcpu *a = &v->arch;
    u64 generation = atomic_load_explicit(&v->vm->arch.tlb_generation, memory_order_acquire);
    if (a->asid_cpu == cpu && a->tlb_generation == generation)
        return;
    invept(vmcs_read(VMCS_EPT_POINTER));
    vmx_flush(v);
    a->asid_cpu = cpu;
    a->tlb_generation = generation;
}

// ── Switch ──────────────────────────────────────────────────────────────────────────────────────────────────────────
struct [[gnu::packed]] table_pointer {
    u16 limit;
    u64 base;
};

// Our own state, as this CPU has it: an exit loads it.
static void write_host(struct cpu *cpu) {
    struct table_pointer gdt, idt;
    __asm__ volatile("sgdt %0\n\tsidt %1" : "=m"(gdt), "=m"(idt));
    const u64 *tss = (const u64 *)(gdt.base + SEL_TSS);
    u64 base = (tss[0] >> 16 & 0xffffff) | (tss[0] >> 56) << 24 | tss[1] << 32;
    vmcs_write(VMCS_HOST_CR0, cr0_read());
    vmcs_write(VMCS_HOST_CR3, cr3_read());
    vmcs_write(VMCS_HOST_CR4, cr4_read());
    vmcs_write(VMCS_HOST_CS, SEL_CODE);
    vmcs_write(VMCS_HOST_ES, SEL_DATA);
    vmcs_write(VMCS_HOST_SS, SEL_DATA);
    vmcs_write(VMCS_HOST_DS, SEL_DATA);
    vmcs_write(VMCS_HOST_TR, SEL_TSS);
    vmcs_write(VMCS_HOST_TR_BASE, base);
    vmcs_write(VMCS_HOST_GS_BASE, (u64)cpu);
    vmcs_write(VMCS_HOST_GDTR_BASE, gdt.base);
    vmcs_write(VMCS_HOST_IDTR_BASE, idt.base);
    vmcs_write(VMCS_HOST_EFER, msr_read(MSR_EFER));
    vmcs_write(VMCS_HOST_PAT, msr_read(MSR_PAT));
    vmcs_write(VMCS_HOST_RIP, (u64)vmx_exit);
}

// What the VMCS does not switch, and the hypervisor does not use.
static const u32 call_msrs[X86_CALL_MSRS] = {MSR_STAR, MSR_LSTAR, MSR_CSTAR, MSR_SFMASK, MSR_KERNEL_GS_BASE};

static void load(struct vcpu *v) {
    struct cpu *cpu = cpu_self();
    make_current(v);
    write_host(cpu);
    vmcs_write(VMCS_TSC_OFFSET, v->arch.tsc_offset);
    forget(v, cpu);
    cr2_write(v->arch.cr2);
    dr6_write(v->arch.dr6);
    for (u32 i = 0; i < X86_CALL_MSRS; i++)
        msr_write(call_msrs[i], v->arch.call_msrs[i]);
}

static void save(struct vcpu *v) {
    v->arch.cr2 = cr2_read();
    v->arch.dr6 = dr6_read();
    for (u32 i = 0; i < X86_CALL_MSRS; i++)
        v->arch.call_msrs[i] = msr_read(call_msrs[i]);
    // For reports, which come when it is not current any more.
    for (enum guest_reg r = 0; r < GUEST_REGS; r++)
        v->arch.seen[r] = r == GUEST_CR2 ? v->arch.cr2 : vmx_get(v, r);
    clear(v);
}

// ── Registers ───────────────────────────────────────────────────────────────────────────────────────────────────────
static const u16 reg_field[GUEST_REGS] = {
    [GUEST_RSP] = VMCS_GUEST_RSP, [GUEST_RFLAGS] = VMCS_GUEST_RFLAGS, [GUEST_CR0] = VMCS_GUEST_CR0,
    [GUEST_CR3] = VMCS_GUEST_CR3, [GUEST_CR4] = VMCS_GUEST_CR4,       [GUEST_EFER] = VMCS_GUEST_EFER,
    [GUEST_PAT] = VMCS_GUEST_PAT,
};

u64 vmx_get(const struct vcpu *v, enum guest_reg reg) {
    if (cpu_self()->loaded != v)
        return v->arch.seen[reg];
    if (reg == GUEST_CR2)
        return cr2_read();
    u64 value = vmcs_read(reg_field[reg]);
    if (reg == GUEST_CR0)
        return (value & ~CR0_HIDDEN) | (vmcs_read(VMCS_CR0_SHADOW) & CR0_HIDDEN);
    return reg == GUEST_CR4 ? value & guest_cr4_mask() : value;
}

void vmx_set(struct vcpu *v, enum guest_reg reg, u64 value) {
    v->arch.seen[reg] = value;
    if (reg == GUEST_CR2) {
        v->arch.cr2 = value;
        if (cpu_self()->loaded == v)
            cr2_write(value);
        return;
    }
    if (reg == GUEST_CR0) {
        vmcs_write(VMCS_CR0_SHADOW, value);
        value = (value | CR0_NE) & ~(CR0_CD | CR0_NW);
    }
    if (reg == GUEST_CR4) {
        vmcs_write(VMCS_CR4_SHADOW, value);
        value |= msr_read(MSR_VMX_CR4_FIXED0);
    }
    if (reg == GUEST_EFER) // LMA is in both
        vmcs_write(VMCS_ENTRY, value & EFER_LMA ? vmx.entry | ENTRY_LONG : vmx.entry & ~ENTRY_LONG);
    vmcs_write(reg_field[reg], value);
}

static u64 segment_base(struct vcpu *v, enum x86_segment segment) {
    (void)v;
    return vmcs_read(VMCS_GUEST_BASE + 2 * segment);
}

static void set_segment(struct vcpu *v, enum x86_segment segment, const struct x86_segment_state *to) {
    (void)v;
    write_segment(segment, to);
}

static void set_gdt(struct vcpu *v, u64 base, u32 limit) {
    (void)v;
    vmcs_write(VMCS_GUEST_GDTR_BASE, base);
    vmcs_write(VMCS_GUEST_GDTR_LIMIT, limit);
}

static void set_tsc_offset(struct vcpu *v, u64 offset) {
    (void)v;
    vmcs_write(VMCS_TSC_OFFSET, offset);
}

static void mode(struct vcpu *v, struct x86_mode *out) {
    u64 rights = vmcs_read(VMCS_GUEST_RIGHTS + 2 * SEG_CS);
    bool l = rights & BIT(13), d = rights & BIT(14);
    *out = (struct x86_mode){.cr0 = vmx_get(v, GUEST_CR0),
                             .cr3 = vmcs_read(VMCS_GUEST_CR3),
                             .cr4 = vmx_get(v, GUEST_CR4),
                             .efer = vmcs_read(VMCS_GUEST_EFER),
                             .rflags = vmcs_read(VMCS_GUEST_RFLAGS),
                             .cpl = vmx_cpl(),
                             .code_bits = 16};
    if ((out->efer & EFER_LMA) && l)
        out->code_bits = 64;
    else if (d && (out->cr0 & CR0_PE) && !(out->rflags & RFLAGS_VM))
        out->code_bits = 32;
}

static bool nmi_blocked(const struct vcpu *v) {
    (void)v;
    return vmcs_read(VMCS_INTERRUPTIBILITY) & BLOCKED_BY_NMI;
}

const struct x86_virt_ops vmx_ops = {
    .name = "VMX",
    .cpu_init = cpu_init,
    .vcpu_init = control_init,
    .vcpu_fini = control_fini,
    .reset = reset,
    .reset_done = reset_done,
    .load = load,
    .save = save,
    .run = vmx_run,
    .mode = mode,
    .get = vmx_get,
    .set = vmx_set,
    .segment_base = segment_base,
    .set_segment = set_segment,
    .set_gdt = set_gdt,
    .set_tsc_offset = set_tsc_offset,
    .flush = vmx_flush,
    .nmi_blocked = nmi_blocked,
};
