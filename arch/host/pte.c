// SPDX-License-Identifier: Apache-2.0
// A page-table format of our own: bit 0 valid, bit 1 leaf, bits 5..2 the attributes, bits 51..12 the address. The two
// stages differ in levels and in a concatenated root, as the architectures' do.
#include "arch.h"

#define PTE_VALID BIT(0)
#define PTE_IS_LEAF BIT(1)
#define PTE_ATTR BITS(5, 2)
#define PTE_ADDRESS BITS(51, 12)

struct arch_pt_format arch_pt_format(enum pt_stage stage) {
    if (stage == PT_GUEST)
        return (struct arch_pt_format){.levels = 3, .input_bits = 40, .root_order = 1, .output_bits = 48};
    return (struct arch_pt_format){.levels = 4, .input_bits = 48, .root_order = 0, .output_bits = 48};
}

u64 arch_pte_leaf(enum pt_stage stage, pa_t to, u32 level, u32 attr) {
    (void)stage;
    BUG_ON(level > 2 || (to.v & ((PAGE_SIZE << (9 * level)) - 1)) || (to.v & ~PTE_ADDRESS));
    return to.v | field_set(PTE_ATTR, attr) | PTE_IS_LEAF | PTE_VALID;
}

u64 arch_pte_table(enum pt_stage stage, pa_t table) {
    (void)stage;
    BUG_ON(table.v & ~PTE_ADDRESS);
    return table.v | PTE_VALID;
}

enum pte_kind arch_pte_kind(enum pt_stage stage, u64 pte, u32 level) {
    (void)stage;
    if (!(pte & PTE_VALID))
        return PTE_INVALID;
    BUG_ON(level == 0 && !(pte & PTE_IS_LEAF));
    return pte & PTE_IS_LEAF ? PTE_LEAF : PTE_TABLE;
}

pa_t arch_pte_address(enum pt_stage stage, u64 pte) {
    (void)stage;
    return pa(pte & PTE_ADDRESS);
}

u32 arch_pte_attr(enum pt_stage stage, u64 pte) {
    (void)stage;
    return (u32)field_get(PTE_ATTR, pte);
}

void arch_pte_write(u64 *slot, u64 pte) {
    *slot = pte;
}

void arch_host_flush(u64 va, u64 size) {
    (void)va;
    (void)size;
}
