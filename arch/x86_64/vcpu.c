// SPDX-License-Identifier: Apache-2.0
// The vCPU's side of the seam: how it starts, what moves with a switch of vCPUs, what becomes of an exit's answer. The
// world switch itself is the backend's.
#include <stdio.h>
#include <string.h>

#include "report.h"
#include "virt.h"
#include "x86_64.h"

static_assert(offsetof(struct arch_vcpu, control) == 8 * 16 && offsetof(struct arch_vcpu, host_control) == 8 * 17);
static_assert(offsetof(struct vcpu, arch) == 0);

const struct x86_virt_ops *virt;

// ── Backends ────────────────────────────────────────────────────────────────────────────────────────────────────────
void virt_probe(void) {
    const char *no_svm = svm_unusable(), *no_vmx = vmx_unusable();
    if (!no_svm)
        virt = &svm_ops;
    else if (!no_vmx)
        virt = &vmx_ops;
    else { // the one that the CPU has, if it has one
        bool amd = cpuid_or_zero(CPUID_EXT_FEATURES, 0).ecx & CPUID_EXT1_ECX_SVM;
        bool intel = cpuid(CPUID_FEATURES, 0).ecx & CPUID_1_ECX_VMX;
        report_and_halt(amd     ? no_svm
                        : intel ? no_vmx
                                : "this CPU has neither AMD's SVM nor Intel's VMX, one of which guests need");
    }
    features.ept = virt == &vmx_ops;
    const char *why = fpu_unusable();
    if (why)
        report_and_halt(why);
    cpuid_init();
}

void virt_cpu_init(struct cpu *cpu) {
    fpu_cpu_init();
    virt->cpu_init(cpu);
}

// ── Creation ────────────────────────────────────────────────────────────────────────────────────────────────────────
int arch_vcpu_init(struct vcpu *v) {
    int err = virt->vcpu_init(v);
    if (!err)
        err = fpu_vcpu_init(v);
    if (err)
        arch_vcpu_fini(v);
    return err;
}

void arch_vcpu_fini(struct vcpu *v) {
    fpu_vcpu_fini(v);
    virt->vcpu_fini(v);
}

// ── Reset ───────────────────────────────────────────────────────────────────────────────────────────────────────────
enum : u16 {
    ATTR_CODE16 = 0x09b,
    ATTR_CODE32 = 0xc9b,
    ATTR_CODE64 = 0xa9b,
    ATTR_DATA32 = 0xc93,
    BOOT_CODE = 0x10, // Linux's boot protocol: __BOOT_CS, __BOOT_DS
    BOOT_DATA = 0x18,
};

static void set_flat(struct vcpu *v, u16 code_attributes) {
    const struct x86_segment_state code = {BOOT_CODE, code_attributes, 0xffffffff, 0};
    const struct x86_segment_state data = {BOOT_DATA, ATTR_DATA32, 0xffffffff, 0};
    for (enum x86_segment s = 0; s < SEG_COUNT; s++)
        virt->set_segment(v, s, s == SEG_CS ? &code : &data);
}

static void start_real(struct vcpu *v, u64 entry) {
    const struct x86_segment_state code = {(u16)(entry >> 4), ATTR_CODE16, 0xffff, entry & 0xffff0};
    virt->set_segment(v, SEG_CS, &code);
    v->arch.rip = 0;
}

static void start_pvh(struct vcpu *v, u64 entry, u64 arg) {
    set_flat(v, ATTR_CODE32);
    virt->set(v, GUEST_CR0, CR0_ET | CR0_PE);
    v->arch.gpr[X86_RBX] = arg;
    v->arch.rip = entry;
}

static void start_long(struct vcpu *v, u64 entry, u64 arg) {
    set_flat(v, ATTR_CODE64);
    virt->set_gdt(v, v->vm->arch.start_gdt.v, 4 * 8 - 1);
    virt->set(v, GUEST_CR3, v->vm->arch.start_cr3.v);
    virt->set(v, GUEST_CR4, CR4_PAE);
    virt->set(v, GUEST_EFER, EFER_LME | EFER_LMA);
    virt->set(v, GUEST_CR0, CR0_PG | CR0_ET | CR0_PE);
    v->arch.gpr[X86_RSI] = arg;
    v->arch.rip = entry;
}

void arch_vcpu_reset(struct vcpu *v, u64 entry, u64 arg) {
    struct arch_vcpu *a = &v->arch;
    struct arch_vcpu old = {.control = a->control, .extended = a->extended};
    *a = old;
    virt->reset(v);
    a->gpr[X86_RDX] = cpuid(CPUID_FEATURES, 0).eax; // Intel SDM volume 3 §9.1.2
    a->fetch_fault = ~0ull;
    a->iret_rip = ~0ull;
    msr_reset(v);
    fpu_reset(v);
    if (v->id != 0 || v->vm->arch.start == X86_START_REAL)
        start_real(v, entry);
    else if (v->vm->arch.start == X86_START_PVH32)
        start_pvh(v, entry, arg);
    else
        start_long(v, entry, arg);
    a->work = X86_WORK_STEP; // to rip
    virt->reset_done(v);
}

// ── Switch ──────────────────────────────────────────────────────────────────────────────────────────────────────────
// The hypervisor has no use for the debug registers, TSC_AUX and the FPU: they are the guest's while it is loaded.
void arch_vcpu_load(struct vcpu *v) {
    const u64 *debug = v->arch.debug;
    __asm__ volatile("mov %0, %%dr0\n\tmov %1, %%dr1\n\tmov %2, %%dr2\n\tmov %3, %%dr3" ::"r"(debug[0]), "r"(debug[1]),
                     "r"(debug[2]), "r"(debug[3]));
    msr_load(v);
    fpu_load(v);
    virt->load(v);
}

void arch_vcpu_save(struct vcpu *v) {
    u64 *debug = v->arch.debug;
    __asm__ volatile("mov %%dr0, %0\n\tmov %%dr1, %1\n\tmov %%dr2, %2\n\tmov %%dr3, %3"
                     : "=r"(debug[0]), "=r"(debug[1]), "=r"(debug[2]), "=r"(debug[3]));
    virt->save(v);
    fpu_save(v);
}

void arch_vcpu_run(struct vcpu *v, struct vexit *exit) {
    virt->run(v, exit);
}

void arch_irq_sync(struct vcpu *v) {
    (void)v; // an interrupt that the guest has taken is in service by the time it is out
}

bool arch_irq_level(struct vcpu *v, u32 ppi) {
    (void)v;
    (void)ppi; // no private line is the architecture's: the timer is the local APIC's own
    return false;
}

// ── Answers ─────────────────────────────────────────────────────────────────────────────────────────────────────────
void arch_vcpu_finish_access(struct vcpu *v, const struct vexit *exit, u64 value) {
    if (exit->kind == VEXIT_SYSREG) {
        if (!exit->write)
            guest_set_edx_eax(v, value);
        guest_step(v);
        return;
    }
    if (v->arch.emulation.phase) {
        emulate_finish(v, exit, value);
        return;
    }
    if (!exit->write) // IN
        guest_write_gpr(v, X86_RAX, exit->size, false, value);
    guest_step(v);
}

void arch_vcpu_finish(struct vcpu *v, const struct vexit *exit) {
    switch (exit->kind) {
    case VEXIT_HALT:
        guest_step(v);
        return;
    case VEXIT_HYPERCALL:
        v->arch.gpr[X86_RAX] = exit->value;
        guest_step(v);
        return;
    default:
        return;
    }
}

int arch_vcpu_fault(struct vcpu *v, const struct vexit *exit) {
    struct arch_vcpu *a = &v->arch;
    if (a->triple_fault)
        return -EFAULT;
    switch (exit->kind) {
    case VEXIT_MMIO: // no device answers: the bus floats
    case VEXIT_PIO:
        arch_vcpu_finish_access(v, exit, ~0ull);
        return 0;
    case VEXIT_SYSREG:
        guest_gp(v);
        return 0;
    case VEXIT_PAGE_FAULT: // what is fetched there are ones, which are no instruction
        if (a->fetch_fault == a->rip)
            return -EFAULT; // the handler itself cannot be fetched: it would go on like this for ever
        a->fetch_fault = a->rip;
        a->fetch_gpa = exit->gpa;
        guest_exception(v, VECTOR_UD);
        return 0;
    default:
        guest_exception(v, VECTOR_UD);
        return 0;
    }
}

size_t arch_vcpu_describe(const struct vcpu *v, char *buf, size_t size) {
    static const char *const names[X86_REGS] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                                "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
    size_t n = 0;
    for (u32 i = 0; i < X86_REGS; i++)
        n += (size_t)snprintf(buf + MIN(n, size), size - MIN(n, size), "%-3s %016lx%s", names[i],
                              (unsigned long)guest_gpr(v, i), i % 3 == 2 ? "\n" : "  ");
    n += (size_t)snprintf(buf + MIN(n, size), size - MIN(n, size),
                          "\nrip %016lx  rflags %lx  exit %lx\ncr0 %lx  cr2 %016lx  cr3 %lx  cr4 %lx  efer %lx\n",
                          (unsigned long)v->arch.rip, (unsigned long)virt->get(v, GUEST_RFLAGS),
                          (unsigned long)v->arch.exit_reason, (unsigned long)virt->get(v, GUEST_CR0),
                          (unsigned long)virt->get(v, GUEST_CR2), (unsigned long)virt->get(v, GUEST_CR3),
                          (unsigned long)virt->get(v, GUEST_CR4), (unsigned long)virt->get(v, GUEST_EFER));
    return MIN(n, size);
}
