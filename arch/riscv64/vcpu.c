// SPDX-License-Identifier: Apache-2.0
// The world switch around entry.S, and the state that moves with a vCPU switch.
#include <stdio.h>
#include <string.h>

#include "page.h"
#include "riscv64.h"
#include "vm.h"

static_assert(offsetof(struct arch_vcpu, sepc) == 8 * 32);
static_assert(offsetof(struct arch_vcpu, hyp_sp) == 8 * 33);
static_assert(offsetof(struct arch_vcpu, hyp_tp) == 8 * 34);
static_assert(offsetof(struct vcpu, arch) == 0);
static_assert(offsetof(struct cpu, arch) == 0 && offsetof(struct arch_cpu, emergency_stack_top) == 0);
static_assert(offsetof(struct arch_cpu, trap_t0) == 8 && offsetof(struct arch_cpu, trap_t1) == 16);

static_assert(offsetof(struct riscv64_vector, vtype) == 24 && offsetof(struct riscv64_vector, v) == 32);

static u64 vector_size(void) {
    return sizeof(struct riscv64_vector) + 32ull * features.vlenb;
}

static u32 vector_order(void) {
    u32 order = 0;
    while (PAGE_SIZE << order < vector_size())
        order++;
    return order;
}

int arch_vcpu_init(struct vcpu *v) {
    static_assert(sizeof(struct riscv64_timers) <= PAGE_SIZE);
    v->arch.timers = page_alloc(0);
    if (!v->arch.timers)
        return -ENOMEM;
    timers_reset(v);
    if (!features.vlenb)
        return 0;
    v->arch.vector = page_alloc(vector_order());
    if (v->arch.vector)
        return 0;
    arch_vcpu_fini(v);
    return -ENOMEM;
}

void arch_vcpu_fini(struct vcpu *v) {
    if (!v->arch.timers)
        return;
    timers_reset(v); // nothing stays armed
    page_free(v->arch.timers, 0);
    v->arch.timers = nullptr;
    if (v->arch.vector)
        page_free(v->arch.vector, vector_order());
    v->arch.vector = nullptr;
}

void arch_vcpu_reset(struct vcpu *v, u64 entry, u64 arg) {
    struct arch_vcpu *a = &v->arch;
    struct arch_vcpu old = {
        .timers = a->timers, .vector = a->vector, .cpuif = a->cpuif, .file = a->file, .file_is_new = a->file_is_new};
    *a = old;
    timers_reset(v);
    a->x[10] = v->id;
    a->x[11] = arg;
    a->sepc = entry;
    a->sstatus = SSTATUS_UXL_64 | SSTATUS_SPP;
    a->hstatus = HSTATUS_VSXL_64 | HSTATUS_SPV | HSTATUS_SPVP | field_set(HSTATUS_VGEIN, a->file);
    a->vsstatus = SSTATUS_UXL_64;
    a->scounteren = 0;
    if (a->vector) {
        memset(a->vector, 0, vector_size());
        a->vector->vtype = VTYPE_VILL;
    }
}

static void fp_in(struct vcpu *v, struct cpu *cpu) {
    struct arch_vcpu *a = &v->arch;
    csr_set(CSR_SSTATUS, SSTATUS_FS_INITIAL);
    if (cpu->arch.fp_owner != v || a->fp_cpu != cpu) {
        fp_load(a->f, a->fcsr);
        cpu->arch.fp_owner = v;
        a->fp_cpu = cpu;
    }
    csr_clear(CSR_SSTATUS, SSTATUS_FS);
    csr_set(CSR_SSTATUS, SSTATUS_FS_CLEAN); // the guest's first change makes it dirty
}

// Registers only if they have changed. The control registers always: QEMU (10.0) marks a write of theirs in the guest's
// own status only.
static void fp_out(struct arch_vcpu *a, u64 sstatus) {
    a->fcsr = csr_read(CSR_FCSR);
    if ((sstatus & SSTATUS_FS) == SSTATUS_FS_DIRTY)
        fp_save(a->f);
}

static void vector_out(struct arch_vcpu *a, u64 sstatus) {
    struct riscv64_vector *to = a->vector;
    to->vstart = csr_read(CSR_VSTART);
    to->vcsr = csr_read(CSR_VCSR);
    to->vl = csr_read(CSR_VL);
    to->vtype = csr_read(CSR_VTYPE);
    if ((sstatus & SSTATUS_VS) == SSTATUS_VS_DIRTY)
        vector_save(to);
}

static void vector_in(struct vcpu *v, struct cpu *cpu) {
    struct arch_vcpu *a = &v->arch;
    csr_set(CSR_SSTATUS, SSTATUS_VS_INITIAL);
    if (cpu->arch.vector_owner != v || a->vector_cpu != cpu) {
        vector_load(a->vector);
        cpu->arch.vector_owner = v;
        a->vector_cpu = cpu;
    }
    csr_clear(CSR_SSTATUS, SSTATUS_VS);
    csr_set(CSR_SSTATUS, SSTATUS_VS_CLEAN);
}

static void vs_save(struct arch_vcpu *a) {
    a->vsstatus = csr_read(CSR_VSSTATUS);
    a->vsie = csr_read(CSR_VSIE);
    a->vstvec = csr_read(CSR_VSTVEC);
    a->vsscratch = csr_read(CSR_VSSCRATCH);
    a->vsepc = csr_read(CSR_VSEPC);
    a->vscause = csr_read(CSR_VSCAUSE);
    a->vstval = csr_read(CSR_VSTVAL);
    a->vsatp = csr_read(CSR_VSATP);
    a->scounteren = csr_read(CSR_SCOUNTEREN);
    if (features.senvcfg)
        a->senvcfg = csr_read(CSR_SENVCFG);
    if (features.aia)
        a->vsiselect = csr_read(CSR_VSISELECT);
}

static void vs_load(const struct arch_vcpu *a) {
    csr_write(CSR_VSSTATUS, a->vsstatus);
    csr_write(CSR_VSIE, a->vsie);
    csr_write(CSR_VSTVEC, a->vstvec);
    csr_write(CSR_VSSCRATCH, a->vsscratch);
    csr_write(CSR_VSEPC, a->vsepc);
    csr_write(CSR_VSCAUSE, a->vscause);
    csr_write(CSR_VSTVAL, a->vstval);
    csr_write(CSR_VSATP, a->vsatp);
    csr_write(CSR_SCOUNTEREN, a->scounteren);
    if (features.senvcfg)
        csr_write(CSR_SENVCFG, a->senvcfg);
    if (features.aia)
        csr_write(CSR_VSISELECT, a->vsiselect);
}

static void hvip_load(struct vcpu *v, bool soft) {
    struct vplic_cpuif *cif = v->arch.cpuif;
    u64 hvip = (u64)(cif->levels & (BIT(VPLIC_STI) | BIT(VPLIC_SEI))) << 1; // hip has VS level's bits one higher
    csr_write(CSR_HVIP, hvip | (soft || cif->soft ? BIT(IRQ_VSSI) : 0));
    if (v->vm->arch.imsic)
        imsic_show(cif->levels & BIT(VPLIC_SEI));
    cif->soft = false;
    cif->dirty = false;
}

void arch_vcpu_load(struct vcpu *v) {
    struct arch_vcpu *a = &v->arch;
    struct cpu *cpu = cpu_self();
    struct arch_vm *avm = &v->vm->arch;
    a->hyp_tp = (u64)cpu;
    csr_write(CSR_HGATP, avm->hgatp);
    if (unlikely(features.vmid_bits < VMID_BITS_ENOUGH && cpu->arch.vm_id != v->vm->id)) {
        cpu->arch.vm_id = v->vm->id;
        hfence_gvma();
        avm->last_vcpu[cpu->id] = 0;
    }
    // Two vCPUs of one VM share a VMID, but not the meaning of an ASID: what the other left here must go.
    if (avm->last_vcpu[cpu->id] != v->id + 1) {
        avm->last_vcpu[cpu->id] = (u8)(v->id + 1);
        hfence_vvma();
    }
    vs_load(a);
    if (features.hstateen)
        csr_write(CSR_HSTATEEN0, STATEEN0_ENVCFG | (avm->aplic ? STATEEN0_AIA : 0));
    csr_write(CSR_SSTATUS, a->sstatus);
    csr_write(CSR_HSTATUS, a->hstatus);
    cpu->arch.hstatus_vtw = a->hstatus & HSTATUS_VTW;
    if (features.fp)
        fp_in(v, cpu);
    if (a->vector)
        vector_in(v, cpu);
    if (avm->aplic)
        imsic_load(v);
    hvip_load(v, a->vssip);
    timers_load(v);
}

void arch_vcpu_save(struct vcpu *v) {
    struct arch_vcpu *a = &v->arch;
    timers_save(v);
    a->vssip = csr_read(CSR_HVIP) & BIT(IRQ_VSSI);
    csr_write(CSR_HVIP, 0);
    if (v->vm->arch.aplic)
        imsic_save(v);
    vs_save(a);
    csr_write(CSR_VSIE, 0); // nothing of a guest that is not here ends our own waits
    u64 sstatus = csr_read(CSR_SSTATUS);
    if (features.fp)
        fp_out(a, sstatus);
    if (a->vector)
        vector_out(a, sstatus);
    a->sstatus = (sstatus & SSTATUS_SPP) | SSTATUS_UXL_64;
    a->hstatus = csr_read(CSR_HSTATUS);
    csr_clear(CSR_SSTATUS, SSTATUS_FS | SSTATUS_VS);
}

void arch_irq_sync(struct vcpu *v) {
    (void)v; // what the guest does to its pending bits, it does in the hardware
}

// A call that was served here may have moved one of the vCPU's own lines, or woken a task: the console's. Neither kicks
// the CPU that it happens on.
static bool left_work(const struct vcpu *v, const struct cpu *cpu) {
    return atomic_load_explicit(&v->irq_work, memory_order_relaxed) ||
           atomic_load_explicit(&cpu->need_resched, memory_order_relaxed);
}

void arch_vcpu_run(struct vcpu *v, struct vexit *exit) {
    struct arch_vcpu *a = &v->arch;
    struct vplic_cpuif *cif = a->cpuif;
    struct cpu *cpu = cpu_self();
    // A guest that is alone on its CPU may sleep in WFI by itself; otherwise its WFI gives the CPU to the others.
    u64 vtw = sched_cpu_contended(cpu) ? HSTATUS_VTW : 0;
    if (unlikely(vtw != cpu->arch.hstatus_vtw)) {
        cpu->arch.hstatus_vtw = vtw;
        if (vtw)
            csr_set(CSR_HSTATUS, HSTATUS_VTW);
        else
            csr_clear(CSR_HSTATUS, HSTATUS_VTW);
    }
    for (;;) {
        if (unlikely(cif->dirty))
            hvip_load(v, csr_read(CSR_HVIP) & BIT(IRQ_VSSI));
        u64 scause = guest_enter(a);
        exit->ticks = arch_ticks();
        if (likely(!(scause & SCAUSE_INTERRUPT))) {
            if (decode_sync(v, scause, exit)) {
                a->fast_exits++;
                if (likely(!left_work(v, cpu)))
                    continue;
                exit->kind = VEXIT_NONE;
            }
            return;
        }
        exit->kind = VEXIT_NONE;
        arch_irq_poll();
        return;
    }
}

size_t arch_vcpu_describe(const struct vcpu *v, char *buf, size_t size) {
    const struct arch_vcpu *a = &v->arch;
    size_t n = 0;
    for (u32 i = 1; i < 32; i++)
        n += (size_t)snprintf(buf + MIN(n, size), size - MIN(n, size), "x%-2u %016lx%s", i, (unsigned long)a->x[i],
                              i % 3 == 0 ? "\n" : "  ");
    n += (size_t)snprintf(buf + MIN(n, size), size - MIN(n, size),
                          "\npc %016lx  sstatus %016lx  scause %016lx\nvsepc %016lx  vscause %016lx  "
                          "vstval %016lx  vsatp %016lx\n",
                          (unsigned long)a->sepc, (unsigned long)a->sstatus, (unsigned long)a->scause,
                          (unsigned long)a->vsepc, (unsigned long)a->vscause, (unsigned long)a->vstval,
                          (unsigned long)a->vsatp);
    return MIN(n, size);
}
