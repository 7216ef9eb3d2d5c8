// SPDX-License-Identifier: Apache-2.0
// Guest interrupt files (AIA 1.0 chapter 3, privileged architecture §22.2.3): each vCPU of a VM that gets them has a
// file of the IMSIC of whichever pCPU it lives on, in its own memory, so that messages and other vCPUs' IPIs reach it
// without us. A file has the same number on every pCPU: which pCPU it will be is not known when the VM's machine is
// made.
#include "guest_map.h"
#include "mmio.h"
#include "pgtable.h"
#include "riscv64.h"
#include "vaplic.h"
#include "vm.h"

enum { IMSIC_EIDELIVERY = 0x70, IMSIC_EITHRESHOLD = 0x72, IMSIC_EIP0 = 0x80, IMSIC_EIE0 = 0xc0 };

static const struct board *board;
static u64 files_free; // bit n: file n; VMs are made and deleted by one task
static struct irqchip_ops aia_ops;

static u64 page_of(const struct cpu *cpu, u32 file) {
    const struct board_irqchip *chip = &board->irqchip;
    u64 at = (PAGE_SIZE << chip->guest_index_bits) * cpu->arch.irq_context + PAGE_SIZE * file;
    for (u32 i = 0; i < chip->redist_count; at -= chip->redist[i++].size)
        if (at < chip->redist[i].size)
            return chip->redist[i].base + at;
    return 0;
}

static void send(struct vm *vm, u32 hart, u32 identity) {
    if (hart >= vm->vcpu_count || identity == 0 || identity > board->irqchip.ids)
        return;
    struct vcpu *v = vm->vcpus[hart];
    const struct cpu *home = atomic_load_explicit(&v->task.cpu, memory_order_relaxed);
    mmio_write32(page_of(home, v->arch.file), identity);
}

static void aia_set(struct vm *vm, u32 irq, bool level) {
    vaplic_set(vm->arch.aplic, irq, level);
}

static bool aia_ready(struct vcpu *v) {
    struct vplic_cpuif *cif = v->arch.cpuif;
    u32 enabled = atomic_load_explicit(&cif->enabled, memory_order_relaxed);
    if ((enabled & BIT(VPLIC_SEI)) && (csr_read(CSR_HGEIP) & BIT(v->arch.file)))
        return true;
    return vplic_ops.ready(v);
}

void imsic_init(const struct board *b) {
    board = b;
    if (b->irqchip.kind != IRQCHIP_IMSIC || !board_has_isa(b, "ssaia"))
        return;
    csr_write(CSR_HGEIE, ~0ull);
    files_free = csr_read(CSR_HGEIE) & (BIT(1u << MIN(b->irqchip.guest_index_bits, 5)) - 1) & ~1ull;
    csr_write(CSR_HGEIE, 0);
    features.guest_files = files_free;
    aia_ops = vplic_ops; // software and timer interrupts are as with a PLIC
    aia_ops.name = "aplic-imsic";
    aia_ops.set = aia_set;
    aia_ops.ready = aia_ready;
    aia_ops.describe = nullptr;
}

bool imsic_vm_create(struct vm *vm) {
    if ((u32)__builtin_popcountll(files_free) < vm->vcpu_count)
        return false;
    vm->arch.aplic = vaplic_create(vm, gpa(GUEST_APLIC), send);
    if (!vm->arch.aplic)
        return false;
    for (u32 i = 0; i < vm->vcpu_count; i++) {
        u32 file = (u32)__builtin_ctzll(files_free);
        vm->vcpus[i]->arch.file = file;
        vm->arch.files |= BIT(file);
        files_free &= ~BIT(file);
    }
    vm->irqchip_ops = &aia_ops;
    return true;
}

void imsic_vm_destroy(struct vm *vm) {
    if (!vm->arch.aplic)
        return;
    for (u64 m = vm->arch.files; m; m &= m - 1)
        for (u32 i = 0; i < cpu_count; i++)
            cpus[i].arch.file_owner[__builtin_ctzll(m)] = nullptr;
    files_free |= vm->arch.files;
    vm->arch.files = 0;
    vaplic_destroy(vm->arch.aplic);
    vm->arch.aplic = nullptr;
}

int imsic_vm_reset(struct vm *vm) {
    int err = 0;
    for (u32 i = 0; vm->arch.aplic && i < vm->vcpu_count && !err; i++) {
        struct vcpu *v = vm->vcpus[i];
        const struct cpu *home = atomic_load_explicit(&v->task.cpu, memory_order_relaxed);
        u64 at = GUEST_IMSIC + PAGE_SIZE * i;
        err = pgtable_unmap(&vm->s2, at, PAGE_SIZE); // where it lived before
        if (!err)
            err = pgtable_map(&vm->s2, at, pa(page_of(home, v->arch.file)), PAGE_SIZE, PT_READ | PT_WRITE | PT_DEVICE);
        v->arch.file_is_new = true;
    }
    return err;
}

static void file_write(u32 reg, u64 value) {
    csr_write(CSR_VSISELECT, reg);
    csr_write(CSR_VSIREG, value);
}

void imsic_load(struct vcpu *v) {
    struct arch_vcpu *a = &v->arch;
    cpu_self()->arch.file_owner[a->file] = v;
    csr_clear(CSR_HGEIE, BIT(a->file)); // it is seen by the guest itself now
    if (a->file_is_new) {               // and nothing of whom it belonged to before
        a->file_is_new = false;
        file_write(IMSIC_EIDELIVERY, 0);
        file_write(IMSIC_EITHRESHOLD, 0);
        for (u32 i = 0; i <= board->irqchip.ids / 64; i++) {
            file_write(IMSIC_EIE0 + 2 * i, 0);
            file_write(IMSIC_EIP0 + 2 * i, 0);
        }
    }
    csr_write(CSR_VSISELECT, a->vsiselect);
}

void imsic_save(struct vcpu *v) {
    v->arch.vsiselect = csr_read(CSR_VSISELECT);
}

void imsic_halt(struct vcpu *v) {
    csr_set(CSR_HGEIE, BIT(v->arch.file)); // a level: what has come meanwhile counts
}

void imsic_wake(struct vcpu *v) {
    csr_clear(CSR_HGEIE, BIT(v->arch.file));
}

void imsic_poll(void) {
    struct cpu *cpu = cpu_self();
    u64 up = csr_read(CSR_HGEIP) & csr_read(CSR_HGEIE);
    csr_clear(CSR_HGEIE, up);
    for (; up; up &= up - 1) {
        struct vcpu *v = cpu->arch.file_owner[__builtin_ctzll(up)];
        if (!v) // its VM is gone
            continue;
        atomic_store_explicit(&v->irq_work, 1, memory_order_relaxed);
        vcpu_kick(v);
    }
}
