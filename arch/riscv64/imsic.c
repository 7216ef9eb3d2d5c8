// SPDX-License-Identifier: Apache-2.0
// The interrupt files of guests on a machine whose own interrupts come as messages (AIA 1.0 chapter 3, privileged
// architecture §22.2.3). Each vCPU of a VM that gets guest interrupt files has a file of the IMSIC of whichever pCPU it
// lives on, in its own memory, so that messages and other vCPUs' IPIs reach it without us. A file has the same number
// on every pCPU: which pCPU it will be is not known when the VM's machine is made. Of a VM that is made when too few
// are left all files are emulated, for as long as it exists: the guest's machine is the same, and slower.
#include "guest_map.h"
#include "insn.h"
#include "log.h"
#include "mmio.h"
#include "pgtable.h"
#include "riscv64.h"
#include "vaplic.h"
#include "vimsic.h"
#include "vm.h"

enum { IMSIC_EIDELIVERY = 0x70, IMSIC_EITHRESHOLD = 0x72, IMSIC_EIP0 = 0x80, IMSIC_EIE0 = 0xc0 };

static const struct board *board;
static u64 files_free; // bit n: file n; VMs are made and deleted by one task
static struct irqchip_ops aia_ops, emulated_ops;

static u64 page_of(const struct cpu *cpu, u32 file) {
    const struct board_irqchip *chip = &board->irqchip;
    u64 at = (PAGE_SIZE << chip->guest_index_bits) * cpu->arch.irq_context + PAGE_SIZE * file;
    for (u32 i = 0; i < chip->redist_count; at -= chip->redist[i++].size)
        if (at < chip->redist[i].size)
            return chip->redist[i].base + at;
    return 0;
}

u64 imsic_own_page(const struct cpu *cpu) {
    return page_of(cpu, 0);
}

// Whole words of identities (§3.1), and no more than there can be.
u32 imsic_ids(void) {
    u32 count = MIN(board->irqchip.ids, (u32)VIMSIC_IDS_MAX) + 1;
    return MAX(count / 64, 1u) * 64 - 1;
}

static void send(struct vm *vm, u32 hart, u32 identity) {
    if (hart >= vm->vcpu_count || identity == 0 || identity > imsic_ids())
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

// ── Emulated files ──────────────────────────────────────────────────────────────────────────────────────────────────
static void emulated_send(struct vm *vm, u32 hart, u32 identity) {
    vimsic_send(vm->arch.imsic, hart, identity);
}

static void emulated_flush(struct vcpu *v) {
    vplic_ops.flush(v);
    vimsic_flush(v->vm->arch.imsic, v);
}

static bool emulated_ready(struct vcpu *v) {
    return vimsic_ready(v->vm->arch.imsic, v) || vplic_ops.ready(v);
}

// What the guest's stopi names while hvip says that an external interrupt is pending. By §6.3.2 it would be the same
// without, but QEMU names only what hvictl does, and that whether it is pending or not.
void imsic_show(bool external) {
    csr_write(CSR_HVICTL, external ? field_set(HVICTL_IID, IRQ_SEI) | HVICTL_IPRIO : 0);
}

// What hardware does to the same access, our vCPU's hstatus.VGEIN being 0, is to trap (§2.5, §5.4).
bool imsic_emulate(struct vcpu *v, u32 insn) {
    static const enum vimsic_op ops[] = {
        [CSR_OP_WRITE] = VIMSIC_WRITE, [CSR_OP_SET] = VIMSIC_SET, [CSR_OP_CLEAR] = VIMSIC_CLEAR};
    struct vimsic *m = v->vm->arch.imsic;
    struct insn_csr i;
    u64 old;
    if (!insn_csr(insn, &i))
        return false;
    if (i.nr == CSR_STOPEI) {
        old = vimsic_topei(m, v, i.writes);
    } else {
        u64 value = i.immediate ? i.rs1 : v->arch.x[i.rs1];
        enum vimsic_op op = i.writes ? ops[i.op] : VIMSIC_READ;
        if (i.nr != CSR_SIREG || vimsic_access(m, v, csr_read(CSR_VSISELECT), op, value, &old) != 0)
            return false;
    }
    if (i.rd)
        v->arch.x[i.rd] = old;
    return true;
}

// ── The machine ─────────────────────────────────────────────────────────────────────────────────────────────────────
void imsic_init(const struct board *b) {
    board = b;
    if (b->irqchip.kind != IRQCHIP_IMSIC || !board_has_isa(b, "ssaia"))
        return;
    features.messages = true;
    csr_write(CSR_HGEIE, ~0ull);
    files_free = csr_read(CSR_HGEIE) & (BIT(1u << MIN(b->irqchip.guest_index_bits, 5)) - 1) & ~1ull;
    csr_write(CSR_HGEIE, 0);
    features.guest_files = files_free;
    aia_ops = vplic_ops; // software and timer interrupts are as with a PLIC
    aia_ops.name = "APLIC and IMSIC, guest interrupt files";
    aia_ops.set = aia_set;
    aia_ops.ready = aia_ready;
    aia_ops.describe = nullptr;
    emulated_ops = aia_ops;
    emulated_ops.name = "APLIC and IMSIC, emulated";
    emulated_ops.flush = emulated_flush;
    emulated_ops.ready = emulated_ready;
}

static int emulated_create(struct vm *vm) {
    if (features.guest_files)
        log_info("%s: its IMSIC is emulated: of %d guest interrupt files %d are free, for %u vCPUs", vm->cfg.name,
                 __builtin_popcountll(features.guest_files), __builtin_popcountll(files_free), vm->vcpu_count);
    vm->arch.imsic = vimsic_create(vm, gpa(GUEST_IMSIC), imsic_ids());
    if (!vm->arch.imsic)
        return -ENOMEM;
    vm->arch.aplic = vaplic_create(vm, gpa(GUEST_APLIC), emulated_send);
    if (!vm->arch.aplic)
        return -ENOMEM;
    vm->irqchip_ops = &emulated_ops;
    return 0;
}

int imsic_vm_create(struct vm *vm) {
    if ((u32)__builtin_popcountll(files_free) < vm->vcpu_count)
        return emulated_create(vm);
    vm->arch.aplic = vaplic_create(vm, gpa(GUEST_APLIC), send);
    if (!vm->arch.aplic)
        return -ENOMEM;
    for (u32 i = 0; i < vm->vcpu_count; i++) {
        u32 file = (u32)__builtin_ctzll(files_free);
        vm->vcpus[i]->arch.file = file;
        vm->arch.files |= BIT(file);
        files_free &= ~BIT(file);
    }
    vm->irqchip_ops = &aia_ops;
    return 0;
}

void imsic_vm_destroy(struct vm *vm) {
    for (u64 m = vm->arch.files; m; m &= m - 1)
        for (u32 i = 0; i < cpu_count; i++)
            cpus[i].arch.file_owner[__builtin_ctzll(m)] = nullptr;
    files_free |= vm->arch.files;
    vm->arch.files = 0;
    vaplic_destroy(vm->arch.aplic);
    vm->arch.aplic = nullptr;
    vimsic_destroy(vm->arch.imsic);
    vm->arch.imsic = nullptr;
}

int imsic_vm_reset(struct vm *vm) {
    int err = 0;
    for (u32 i = 0; vm->arch.files && i < vm->vcpu_count && !err; i++) {
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
    if (!a->file) { // emulated: siselect alone is in the hardware
        csr_write(CSR_VSISELECT, a->vsiselect);
        return;
    }
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
    if (!v->arch.file)
        imsic_show(false);
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
