// SPDX-License-Identifier: Apache-2.0
// Page-table entries. Our own mapping has four levels (AMD64 APM volume 2 §5.3), and AMD's nested paging the same
// (§15.25), where all that a guest does counts as a user's access. Intel's EPT has its own (Intel SDM vol. 3 §29.3).
#include <stdatomic.h>

#include "x86_64.h"

#define PTE_P BIT(0)
#define PTE_W BIT(1)
#define PTE_U BIT(2)
#define PTE_PWT BIT(3)
#define PTE_PCD BIT(4)
#define PTE_A BIT(5)
#define PTE_D BIT(6)
#define PTE_PS BIT(7) // a leaf above the lowest level; the same in EPT
#define PTE_NX BIT(63)
#define PTE_ADDRESS BITS(51, 12)

#define EPT_R BIT(0)
#define EPT_W BIT(1)
#define EPT_X BIT(2)
#define EPT_TYPE BITS(5, 3)
#define EPT_A BIT(8)
#define EPT_D BIT(9)
enum { EPT_UNCACHEABLE = 0, EPT_WRITE_BACK = 6 };

enum { LEVELS = 4, HOST_BITS = 47, GUEST_BITS = 48, PA_BITS = 52 };

// How many times the hypervisor's own mapping has lost something; a CPU whose number is older has yet to forget it.
static _Atomic u64 host_generation;

struct arch_pt_format arch_pt_format(enum pt_stage stage) {
    // Our own, VA = PA: the half whose addresses need no sign.
    return (struct arch_pt_format){.levels = LEVELS,
                                   .input_bits = stage == PT_HOST ? HOST_BITS : GUEST_BITS,
                                   .root_order = 0,
                                   .output_bits = PA_BITS};
}

static bool is_ept(enum pt_stage stage) {
    return stage == PT_GUEST && features.ept;
}

static u64 ept_leaf(pa_t to, u32 level, u32 attr) {
    u64 pte = to.v | (level > 0 ? PTE_PS : 0) | EPT_A | EPT_D;
    pte |= (attr & PT_READ ? EPT_R : 0) | (attr & PT_WRITE ? EPT_W : 0) | (attr & PT_EXEC ? EPT_X : 0);
    return pte | field_set(EPT_TYPE, attr & PT_DEVICE ? EPT_UNCACHEABLE : EPT_WRITE_BACK);
}

u64 arch_pte_leaf(enum pt_stage stage, pa_t to, u32 level, u32 attr) {
    if (is_ept(stage))
        return ept_leaf(to, level, attr);
    u64 pte = to.v | (level > 0 ? PTE_PS : 0) | PTE_P | PTE_A | PTE_D;
    pte |= (attr & PT_WRITE ? PTE_W : 0) | (attr & PT_EXEC ? 0 : PTE_NX);
    pte |= attr & PT_DEVICE ? PTE_PCD | PTE_PWT : 0;
    return pte | (stage == PT_GUEST ? PTE_U : 0);
}

u64 arch_pte_table(enum pt_stage stage, pa_t table) {
    if (is_ept(stage))
        return table.v | EPT_R | EPT_W | EPT_X;
    return table.v | PTE_P | PTE_W | (stage == PT_GUEST ? PTE_U : 0);
}

enum pte_kind arch_pte_kind(enum pt_stage stage, u64 pte, u32 level) {
    u64 present = is_ept(stage) ? EPT_R | EPT_W | EPT_X : PTE_P;
    if (!(pte & present))
        return PTE_INVALID;
    return level == 0 || (pte & PTE_PS) ? PTE_LEAF : PTE_TABLE;
}

pa_t arch_pte_address(enum pt_stage stage, u64 pte) {
    (void)stage;
    return pa(pte & PTE_ADDRESS);
}

u32 arch_pte_attr(enum pt_stage stage, u64 pte) {
    if (is_ept(stage))
        return (pte & EPT_R ? PT_READ : 0) | (pte & EPT_W ? PT_WRITE : 0) | (pte & EPT_X ? PT_EXEC : 0) |
               (field_get(EPT_TYPE, pte) == EPT_UNCACHEABLE ? PT_DEVICE : 0);
    return PT_READ | (pte & PTE_W ? PT_WRITE : 0) | (pte & PTE_NX ? 0 : PT_EXEC) | (pte & PTE_PCD ? PT_DEVICE : 0);
}

void arch_pte_write(u64 *slot, u64 pte) {
    // Stores become visible in their order, to a walker too; the compiler has to keep it.
    atomic_signal_fence(memory_order_seq_cst);
    *(volatile u64 *)slot = pte;
    atomic_signal_fence(memory_order_seq_cst);
}

// What the hypervisor unmaps of its own is the guard page below a stack. Another CPU may use the stale translation
// until it takes its next interrupt, which is soon, and does no harm: no access goes there but one that should have
// been caught.
void arch_host_flush(u64 va, u64 size) {
    if (size > MIB(1))
        cr3_write(cr3_read());
    for (u64 a = va; size <= MIB(1) && a < va + size; a += PAGE_SIZE)
        invlpg(a);
    // Release: pairs with the acquire in host_flush_pending; who sees the number sees the tables.
    atomic_fetch_add_explicit(&host_generation, 1, memory_order_release);
    for (u32 i = 0; i < cpu_count; i++)
        if (&cpus[i] != cpu_self() && atomic_load_explicit(&cpus[i].online, memory_order_relaxed))
            arch_cpu_kick(&cpus[i]);
}

void host_flush_pending(struct cpu *cpu) {
    u64 now = atomic_load_explicit(&host_generation, memory_order_acquire);
    if (cpu->arch.host_generation == now)
        return;
    cpu->arch.host_generation = now;
    cr3_write(cr3_read());
}
