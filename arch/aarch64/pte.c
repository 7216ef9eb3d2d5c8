// SPDX-License-Identifier: Apache-2.0
// Page-table entries: VMSAv8-64, 4 KiB granule (DDI 0487 D8.3), for our own EL2 mapping and for stage 2.
#include "aarch64.h"

#define PTE_VALID BIT(0)
#define PTE_TABLE_OR_PAGE BIT(1)
#define PTE_ADDRESS BITS(47, 12)
#define PTE_AF BIT(10)
#define PTE_SH_INNER (3ull << 8)

// Stage 1 at EL2: MAIR index, AP[2:1], XN
#define S1_ATTR_NORMAL (0ull << 2)
#define S1_ATTR_DEVICE (1ull << 2)
#define S1_AP_RES1 BIT(6)
#define S1_AP_RO BIT(7)
#define S1_XN BIT(54)

// Stage 2: MemAttr, S2AP, XN[1:0]
#define S2_ATTR_NORMAL (0xfull << 2)
#define S2_ATTR_FORCED (0x6ull << 2) // with HCR_EL2.FWB: write-back whatever stage 1 says (D8.6.6)
#define S2_ATTR_DEVICE (0x1ull << 2)
#define S2_AP_READ BIT(6)
#define S2_AP_WRITE BIT(7)
#define S2_XN (2ull << 53)

bool has_forced_write_back(void) {                                  // FEAT_S2FWB
    return field_get(BITS(43, 40), sysreg_read(S3_0_C0_C7_2)) != 0; // ID_AA64MMFR2_EL1
}

static u32 pa_bits(void) {
    static const u8 bits[] = {32, 36, 40, 42, 44, 48, 48, 48};
    u64 range = sysreg_read(id_aa64mmfr0_el1) & 0xf;
    return range < ARRAY_SIZE(bits) ? bits[range] : 48;
}

struct arch_pt_format arch_pt_format(enum pt_stage stage) {
    u32 out = pa_bits();
    if (stage == PT_HOST)
        return (struct arch_pt_format){.levels = 4, .input_bits = 48, .root_order = 0, .output_bits = out};
    // Stage 2 starts at level 1, with two concatenated tables for 40 bits (D8.2.3): one table less to walk than four
    // levels.
    u32 in = MIN(out, 40);
    return (struct arch_pt_format){.levels = 3, .input_bits = in, .root_order = in > 39 ? 1 : 0, .output_bits = out};
}

u64 arch_pte_leaf(enum pt_stage stage, pa_t to, u32 level, u32 attr) {
    u64 pte = (to.v & PTE_ADDRESS) | PTE_VALID | PTE_AF | (level == 0 ? PTE_TABLE_OR_PAGE : 0);
    if (stage == PT_HOST) {
        pte |= S1_AP_RES1 | (attr & PT_DEVICE ? S1_ATTR_DEVICE : S1_ATTR_NORMAL | PTE_SH_INNER);
        pte |= (attr & PT_WRITE ? 0 : S1_AP_RO) | (attr & PT_EXEC ? 0 : S1_XN);
    } else {
        u64 normal = (has_forced_write_back() ? S2_ATTR_FORCED : S2_ATTR_NORMAL) | PTE_SH_INNER;
        pte |= attr & PT_DEVICE ? S2_ATTR_DEVICE : normal;
        pte |= (attr & PT_READ ? S2_AP_READ : 0) | (attr & PT_WRITE ? S2_AP_WRITE : 0) | (attr & PT_EXEC ? 0 : S2_XN);
    }
    return pte;
}

u64 arch_pte_table(enum pt_stage stage, pa_t table) {
    (void)stage;
    return (table.v & PTE_ADDRESS) | PTE_VALID | PTE_TABLE_OR_PAGE;
}

enum pte_kind arch_pte_kind(enum pt_stage stage, u64 pte, u32 level) {
    (void)stage;
    if (!(pte & PTE_VALID))
        return PTE_INVALID;
    if (level == 0)
        return PTE_LEAF;
    return pte & PTE_TABLE_OR_PAGE ? PTE_TABLE : PTE_LEAF;
}

pa_t arch_pte_address(enum pt_stage stage, u64 pte) {
    (void)stage;
    return pa(pte & PTE_ADDRESS);
}

u32 arch_pte_attr(enum pt_stage stage, u64 pte) {
    if (stage == PT_HOST)
        return PT_READ | (pte & S1_AP_RO ? 0 : PT_WRITE) | (pte & S1_XN ? 0 : PT_EXEC) |
               (pte & (7ull << 2) ? PT_DEVICE : 0);
    return (pte & S2_AP_READ ? PT_READ : 0) | (pte & S2_AP_WRITE ? PT_WRITE : 0) | (pte & S2_XN ? 0 : PT_EXEC) |
           ((pte & S2_ATTR_NORMAL) == S2_ATTR_DEVICE ? PT_DEVICE : 0);
}

void arch_pte_write(u64 *slot, u64 pte) {
    dsb_ishst(); // a table's content before the entry that leads to it
    *(volatile u64 *)slot = pte;
    dsb_ishst();
    isb();
}

void arch_host_flush(u64 va, u64 size) {
    dsb_ishst();
    if (size > MIB(1)) {
        __asm__ volatile("tlbi alle2is");
    } else {
        for (u64 a = va; a < va + size; a += PAGE_SIZE)
            __asm__ volatile("tlbi vae2is, %0" ::"r"(a >> PAGE_SHIFT));
    }
    dsb_ish();
    isb();
}

void arch_vm_flush(struct vm *vm, gpa_t start, u64 size) {
    (void)start; // by the whole VMID: ranges change only when a VM is made or deleted
    (void)size;
    u64 old = sysreg_read(vttbr_el2);
    sysreg_write(vttbr_el2, ((struct arch_vm *)vm)->vttbr);
    isb();
    dsb_ishst();
    __asm__ volatile("tlbi vmalls12e1is");
    dsb_ish();
    isb();
    sysreg_write(vttbr_el2, old);
    isb();
}
