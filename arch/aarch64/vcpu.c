// SPDX-License-Identifier: Apache-2.0
// The world switch around entry.S, and the state that moves with a vCPU switch.
#include <stdio.h>
#include <string.h>

#include "aarch64.h"
#include "page.h"
#include "vm.h"

static_assert(offsetof(struct arch_vcpu, elr) == 8 * 31);
static_assert(offsetof(struct arch_vcpu, hyp_sp) == 8 * 33);
static_assert(offsetof(struct arch_vcpu, esr) == 8 * 34);
static_assert(offsetof(struct arch_vcpu, exit_ticks) == 8 * 35);
static_assert(offsetof(struct vcpu, arch) == 0);
static_assert(offsetof(struct cpu, arch) == 0 && offsetof(struct arch_cpu, emergency_stack_top) == 0);

#define HCR_GUEST                                                                                                      \
    (HCR_VM | HCR_SWIO | HCR_FMO | HCR_IMO | HCR_AMO | HCR_TID3 | HCR_TSC | HCR_TIDCP | HCR_TACR | HCR_TSW | HCR_RW |  \
     HCR_TLOR | HCR_TERR)

int arch_vcpu_init(struct vcpu *v) {
    static_assert(sizeof(struct aarch64_timers) <= PAGE_SIZE);
    v->arch.timers = page_alloc(0);
    if (!v->arch.timers)
        return -ENOMEM;
    v->arch.cpuif = vgic_cpuif(v);
    v->arch.vmpidr = BIT(31) | v->id; // RES1; Aff0 is the index
    timers_reset(v);
    return 0;
}

void arch_vcpu_fini(struct vcpu *v) {
    if (!v->arch.timers)
        return;
    timers_stop(v); // nothing stays armed, nor runs on another CPU
    page_free(v->arch.timers, 0);
    v->arch.timers = nullptr;
}

void arch_vcpu_reset(struct vcpu *v, u64 entry, u64 arg) {
    struct arch_vcpu *a = &v->arch;
    struct aarch64_timers *timers = a->timers;
    void *cpuif = a->cpuif;
    u64 vmpidr = a->vmpidr;
    memset(a, 0, sizeof(*a));
    a->timers = timers;
    a->cpuif = cpuif;
    a->vmpidr = vmpidr;
    timers_reset(v);
    a->x[0] = arg;
    a->elr = entry;
    a->spsr = PSR_EL1H | PSR_DAIF;
    a->hcr = HCR_GUEST | (has_forced_write_back() ? HCR_FWB : 0);
    a->sctlr = SCTLR_EL1_RES1;
    a->oslar = 1; // OSLSR_EL1.OSLK resets to 1
}

static void el1_save(struct arch_vcpu *a) {
    a->sp_el0 = sysreg_read(sp_el0);
    a->sp_el1 = sysreg_read(sp_el1);
    a->elr_el1 = sysreg_read(elr_el1);
    a->spsr_el1 = sysreg_read(spsr_el1);
    a->esr_el1 = sysreg_read(esr_el1);
    a->far_el1 = sysreg_read(far_el1);
    a->afsr0 = sysreg_read(afsr0_el1);
    a->afsr1 = sysreg_read(afsr1_el1);
    a->sctlr = sysreg_read(sctlr_el1);
    a->cpacr = sysreg_read(cpacr_el1);
    a->ttbr0 = sysreg_read(ttbr0_el1);
    a->ttbr1 = sysreg_read(ttbr1_el1);
    a->tcr = sysreg_read(tcr_el1);
    a->mair = sysreg_read(mair_el1);
    a->amair = sysreg_read(amair_el1);
    a->vbar = sysreg_read(vbar_el1);
    a->contextidr = sysreg_read(contextidr_el1);
    a->tpidr_el0 = sysreg_read(tpidr_el0);
    a->tpidrro_el0 = sysreg_read(tpidrro_el0);
    a->tpidr_el1 = sysreg_read(tpidr_el1);
    a->par = sysreg_read(par_el1);
    a->cntkctl = sysreg_read(cntkctl_el1);
    a->csselr = sysreg_read(csselr_el1);
}

static void el1_load(const struct arch_vcpu *a) {
    sysreg_write(sp_el0, a->sp_el0);
    sysreg_write(sp_el1, a->sp_el1);
    sysreg_write(elr_el1, a->elr_el1);
    sysreg_write(spsr_el1, a->spsr_el1);
    sysreg_write(esr_el1, a->esr_el1);
    sysreg_write(far_el1, a->far_el1);
    sysreg_write(afsr0_el1, a->afsr0);
    sysreg_write(afsr1_el1, a->afsr1);
    sysreg_write(sctlr_el1, a->sctlr);
    sysreg_write(cpacr_el1, a->cpacr);
    sysreg_write(ttbr0_el1, a->ttbr0);
    sysreg_write(ttbr1_el1, a->ttbr1);
    sysreg_write(tcr_el1, a->tcr);
    sysreg_write(mair_el1, a->mair);
    sysreg_write(amair_el1, a->amair);
    sysreg_write(vbar_el1, a->vbar);
    sysreg_write(contextidr_el1, a->contextidr);
    sysreg_write(tpidr_el0, a->tpidr_el0);
    sysreg_write(tpidrro_el0, a->tpidrro_el0);
    sysreg_write(tpidr_el1, a->tpidr_el1);
    sysreg_write(par_el1, a->par);
    sysreg_write(cntkctl_el1, a->cntkctl);
    sysreg_write(csselr_el1, a->csselr);
}

void arch_vcpu_load(struct vcpu *v) {
    struct arch_vcpu *a = &v->arch;
    struct cpu *cpu = cpu_self();
    struct arch_vm *avm = &v->vm->arch;
    sysreg_write(vmpidr_el2, a->vmpidr);
    sysreg_write(vpidr_el2, sysreg_read(midr_el1));
    sysreg_write(vttbr_el2, avm->vttbr);
    isb();
    // Two vCPUs of one VM share a VMID, but not the meaning of an ASID: what the other left here must go (CnP is 0).
    if (avm->last_vcpu[cpu->id] != v->id + 1) {
        avm->last_vcpu[cpu->id] = (u8)(v->id + 1);
        __asm__ volatile("tlbi vmalle1\n\tic iallu\n\tdsb nsh\n\tisb" ::: "memory");
    }
    sysreg_write(hcr_el2, a->hcr);
    cpu->arch.hcr = a->hcr;
    el1_load(a);
    debug_load(a);
    simd_load(a->simd);
    sysreg_write(S3_3_C4_C4_1, a->fpsr); // FPSR, FPCR: the assembler knows the names only with FP on
    sysreg_write(S3_3_C4_C4_0, a->fpcr);
    gic_if_load(v);
    timers_load(v);
    isb();
}

void arch_vcpu_save(struct vcpu *v) {
    struct arch_vcpu *a = &v->arch;
    timers_save(v);
    gic_if_save(a->cpuif);
    el1_save(a);
    debug_save(a);
    simd_save(a->simd);
    a->fpsr = sysreg_read(S3_3_C4_C4_1);
    a->fpcr = sysreg_read(S3_3_C4_C4_0);
}

// On every way in: interrupts that became deliverable go into list registers.
static inline void interrupts_in(struct vcpu *v) {
    struct vgic_cpuif *cif = v->arch.cpuif;
    if (unlikely(cif->lr_dirty || cif->hcr_dirty))
        gic_if_write_dirty(cif);
}

// On every way out: which list registers has the guest finished?
static inline void interrupts_out(struct vcpu *v) {
    struct vgic_cpuif *cif = v->arch.cpuif;
    if (cif->lr_used)
        cif->lr_empty |= (u32)sysreg_read(S3_4_C12_C11_5) & cif->lr_used; // ICH_ELRSR_EL2; nothing is dirty now
    if (unlikely(cif->hcr))
        gic_if_eoi_count(cif);
}

static void timer_in(struct vcpu *v) {
    struct vgic_cpuif *cif = v->arch.cpuif;
    u32 n = vgic_take_ppi(v, PPI_VTIMER);
    if (likely(n == 0)) {
        sysreg_write(ICH_LR0_EL2, cif->lr[0]);
        return;
    }
    if (n == VGIC_NO_LR) {
        const struct irqchip_ops *ops = v->vm->irqchip_ops;
        ops->set_ppi(v, PPI_VTIMER, true);
        ops->flush(v);
    } else {
        cif->lr_dirty |= 1u << n;
    }
    interrupts_in(v);
}

// Called by entry.S on the task's stack. Serves what needs neither the core nor a device; 0: back into the guest at
// once.
u32 vcpu_exit_fast(struct vcpu *v, u32 source, u64 esr) {
    if (source == EXIT_SYNC) {
        u64 ec = field_get(ESR_EC, esr);
        if ((ec & ~1ull) == EC_HVC64 && smccc_fast(v)) {
            if (ec == EC_SMC64)
                v->arch.elr += 4;
            v->stats.inside++;
            return 0;
        }
        return 1;
    }
    if (source == EXIT_IRQ) {
        u32 intid = gic_ack();
        if (likely(intid ==
                   intid_virt_timer)) { // the most frequent one: straight back in with the guest's timer interrupt
            gic_eoi(intid);
            interrupts_out(v);
            timer_in(v);
            v->stats.inside++;
            return 0;
        }
        if (intid < INTID_SPURIOUS)
            gic_handle(intid);
    }
    return 1;
}

void arch_vcpu_run(struct vcpu *v, struct vexit *exit) {
    struct arch_vcpu *a = &v->arch;
    struct cpu *cpu = cpu_self();
    // A guest that is alone on its CPU may sleep in WFI by itself; otherwise its WFI gives the CPU to the others.
    u64 hcr = a->hcr | (sched_cpu_contended(cpu) ? HCR_TWI : 0);
    if (unlikely(hcr != cpu->arch.hcr)) {
        cpu->arch.hcr = hcr;
        sysreg_write(hcr_el2, hcr);
    }
    interrupts_in(v);
    for (;;) {
        u32 source = guest_enter(a);
        interrupts_out(v);
        exit->ticks = a->exit_ticks;
        if (likely(source == EXIT_SYNC)) {
            if (!decode_sync(v, a->esr, exit))
                return;
            v->stats.inside++;
            if (likely(!atomic_load_explicit(&v->irq_work, memory_order_relaxed)))
                continue;
            exit->kind = VEXIT_NONE; // the register was a timer's that is due: its interrupt goes in first
            return;
        }
        if (source == EXIT_IRQ) {
            exit->kind = VEXIT_NONE;
            arch_irq_poll(); // whatever else came with it
            return;
        }
        exit->kind = VEXIT_FAIL_ENTRY; // SError: the guest provoked an error that the bus reports late
        exit->value = a->esr;
        return;
    }
}

size_t arch_vcpu_describe(const struct vcpu *v, char *buf, size_t size) {
    const struct arch_vcpu *a = &v->arch;
    size_t n = 0;
    for (u32 i = 0; i < 31; i++)
        n += (size_t)snprintf(buf + MIN(n, size), size - MIN(n, size), "x%-2u %016lx%s", i, (unsigned long)a->x[i],
                              i % 3 == 2 ? "\n" : "  ");
    n += (size_t)snprintf(buf + MIN(n, size), size - MIN(n, size),
                          "sp %016lx\npc %016lx  pstate %08lx  esr_el2 %08lx\nelr_el1 %016lx  esr_el1 %08lx  "
                          "far_el1 %016lx  sctlr_el1 %08lx\n",
                          (unsigned long)a->sp_el1, (unsigned long)a->elr, (unsigned long)a->spsr,
                          (unsigned long)a->esr, (unsigned long)a->elr_el1, (unsigned long)a->esr_el1,
                          (unsigned long)a->far_el1, (unsigned long)a->sctlr);
    return MIN(n, size);
}
