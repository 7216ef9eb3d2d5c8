// SPDX-License-Identifier: Apache-2.0
// The portable page-table walker: the hypervisor's own mapping and every guest's stage 2. What an entry looks like is
// the architecture's (arch_pte_*), how a tree is walked and grown is here.
#pragma once

#include "types.h"

enum pt_stage { PT_HOST, PT_GUEST }; // own mapping (VA = PA); stage 2
enum pt_attr { PT_READ = 1, PT_WRITE = 2, PT_EXEC = 4, PT_DEVICE = 8 };
enum pte_kind { PTE_INVALID, PTE_TABLE, PTE_LEAF };

struct pgtable {
    enum pt_stage stage;
    pa_t root;
    u32 root_order; // 2^order concatenated root pages
    u32 tables;     // pages below the root
};

struct pt_mapping {
    pa_t pa;  // of the address looked up
    u64 left; // bytes from there to the end of the leaf
    u32 attr;
};

[[nodiscard]] int pgtable_init(struct pgtable *pt, enum pt_stage stage);
void pgtable_fini(struct pgtable *pt); // frees the tables, not what they map
// In all that follows: addresses and sizes are multiples of 4 KiB (else -EINVAL), a range past the input or output
// range is -ERANGE, and the caller keeps other writers of the tree out. On hardware that needs break-before-make, a
// leaf that is split must not be in use by another CPU.
//
// Maps with the largest leaves that fit (4 KiB, 2 MiB, guests' 1 GiB). -EEXIST if something is mapped in the range;
// then nothing changes. -ENOMEM: what was mapped so far stays. Context: task or boot.
[[nodiscard]] int pgtable_map(struct pgtable *pt, u64 va, pa_t to, u64 size, u32 attr);
// Unmaps what is mapped in the range; splits leaves where needed. -ENOMEM: what was unmapped so far stays so. Tables
// that become empty stay until pgtable_fini. The caller flushes. Context: task or boot.
[[nodiscard]] int pgtable_unmap(struct pgtable *pt, u64 va, u64 size);
// Gives what is mapped in the range new attributes (at least one of PT_READ, PT_WRITE, PT_EXEC); otherwise as
// pgtable_unmap.
[[nodiscard]] int pgtable_protect(struct pgtable *pt, u64 va, u64 size, u32 attr);
// -ENOENT if nothing is mapped at va. Context: any.
[[nodiscard]] int pgtable_lookup(const struct pgtable *pt, u64 va, struct pt_mapping *out);
