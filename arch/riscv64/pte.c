// SPDX-License-Identifier: Apache-2.0
// Page-table entries: Sv39, Sv48, Sv57 (privileged architecture §12.4) for our own mapping, and with a root four times
// as wide for stage 2 (§22.5.1).
#include "riscv64.h"

#define PTE_V BIT(0)
#define PTE_R BIT(1)
#define PTE_W BIT(2)
#define PTE_X BIT(3)
#define PTE_U BIT(4)
#define PTE_A BIT(6)
#define PTE_D BIT(7)
#define PTE_IS_DEVICE BIT(8) // ours to use: what is a device the platform knows (PMAs)
#define PTE_PPN BITS(53, 10)

enum { PA_BITS = 56 };

u32 satp_levels(u64 mode) {
    return 3 + (u32)(mode - MODE_SV39);
}

u32 satp_bits(u64 mode) {
    return 39 + 9 * (u32)(mode - MODE_SV39);
}

struct arch_pt_format arch_pt_format(enum pt_stage stage) {
    if (stage == PT_HOST) // VA = PA: the half whose addresses need no sign
        return (struct arch_pt_format){.levels = satp_levels(features.host_mode),
                                       .input_bits = satp_bits(features.host_mode) - 1,
                                       .root_order = 0,
                                       .output_bits = PA_BITS};
    return (struct arch_pt_format){.levels = satp_levels(features.guest_mode),
                                   .input_bits = satp_bits(features.guest_mode) + 2,
                                   .root_order = 2,
                                   .output_bits = PA_BITS};
}

u64 arch_pte_leaf(enum pt_stage stage, pa_t to, u32 level, u32 attr) {
    (void)level;
    u64 pte = (to.v >> 2) | PTE_V | PTE_A | PTE_D;
    pte |= (attr & PT_READ ? PTE_R : 0) | (attr & PT_WRITE ? PTE_W : 0) | (attr & PT_EXEC ? PTE_X : 0);
    pte |= attr & PT_DEVICE ? PTE_IS_DEVICE : 0;
    return pte | (stage == PT_GUEST ? PTE_U : 0); // all that a guest does counts as user mode in stage 2
}

u64 arch_pte_table(enum pt_stage stage, pa_t table) {
    (void)stage;
    return (table.v >> 2) | PTE_V;
}

enum pte_kind arch_pte_kind(enum pt_stage stage, u64 pte, u32 level) {
    (void)stage;
    if (!(pte & PTE_V))
        return PTE_INVALID;
    return level == 0 || (pte & (PTE_R | PTE_W | PTE_X)) ? PTE_LEAF : PTE_TABLE;
}

pa_t arch_pte_address(enum pt_stage stage, u64 pte) {
    (void)stage;
    return pa((pte & PTE_PPN) << 2);
}

u32 arch_pte_attr(enum pt_stage stage, u64 pte) {
    (void)stage;
    return (pte & PTE_R ? PT_READ : 0) | (pte & PTE_W ? PT_WRITE : 0) | (pte & PTE_X ? PT_EXEC : 0) |
           (pte & PTE_IS_DEVICE ? PT_DEVICE : 0);
}

void arch_pte_write(u64 *slot, u64 pte) {
    __asm__ volatile("fence w, w" ::: "memory"); // a table's content before the entry that leads to it
    *(volatile u64 *)slot = pte;
    __asm__ volatile("fence rw, rw" ::: "memory");
}

void arch_host_flush(u64 va, u64 size) {
    if (size > MIB(1))
        sfence_vma();
    for (u64 a = va; size <= MIB(1) && a < va + size; a += PAGE_SIZE)
        __asm__ volatile("sfence.vma %0" ::"r"(a) : "memory");
    rfence_others(RFENCE_SFENCE_VMA, va, size, 0);
}

// By the whole VMID: ranges change only when a VM is made or deleted.
void arch_vm_flush(struct vm *vm, gpa_t start, u64 size) {
    u64 vmid = field_get(HGATP_VMID, ((struct arch_vm *)vm)->hgatp);
    (void)start;
    (void)size;
    hfence_gvma();
    rfence_others(RFENCE_HFENCE_GVMA_VMID, 0, ~0ull, vmid);
}
