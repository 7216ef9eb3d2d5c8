// SPDX-License-Identifier: Apache-2.0
// Walks go down by recursion, at most as deep as the tree (four levels), and handle a whole table's run of entries a
// call.
#include "pgtable.h"

#include "arch.h"
#include "page.h"

enum { TABLE_BITS = 9, TABLE_ENTRIES = 512 };

// 1 GiB for guests; 2 MiB in our own mapping, whose blocks change one at a time (hostmap.h).
static u32 largest_leaf(enum pt_stage stage) {
    return stage == PT_HOST ? 1 : 2;
}

static u64 *table_at(pa_t address) {
    return (u64 *)(uintptr_t)address.v;
}

static u32 level_shift(u32 level) {
    return PAGE_SHIFT + TABLE_BITS * level;
}

static u64 level_size(u32 level) {
    return 1ull << level_shift(level);
}

// Where the entry that va falls into ends.
static u64 entry_end(u64 va, u32 level) {
    return (va | (level_size(level) - 1)) + 1;
}

// A walk over [va, end): the functions below advance va.
struct walk {
    struct pgtable *pt;
    struct arch_pt_format format;
    u64 va, end;
    u64 to; // map: where va goes
    u32 attr;
};

// Fills in the walk from a caller's range. Tables of every input size have an end below 2^64, so sums do not wrap
// later.
static int walk_init(struct walk *w, struct pgtable *pt, u64 va, u64 size) {
    *w = (struct walk){.pt = pt, .format = arch_pt_format(pt->stage), .va = va};
    BUG_ON(w->format.input_bits >= 64 || w->format.output_bits >= 64);
    if ((va | size) % PAGE_SIZE)
        return -EINVAL;
    if (__builtin_add_overflow(va, size, &w->end) || w->end > 1ull << w->format.input_bits)
        return -ERANGE;
    return 0;
}

static u64 *slot_of(const struct walk *w, u64 *table, u32 level) {
    u64 index = w->va >> level_shift(level);
    // The root has no upper neighbour: its index is what remains of the address, over all concatenated pages.
    return &table[level == w->format.levels - 1 ? index : index % TABLE_ENTRIES];
}

// Where the table that w->va falls into ends, at this level; the root covers everything.
static u64 table_end(const struct walk *w, u32 level) {
    return level == w->format.levels - 1 ? w->end : MIN(w->end, entry_end(w->va, level + 1));
}

static int table_new(struct pgtable *pt, u64 **out) {
    *out = page_alloc(0); // zero is an invalid entry on every architecture
    if (!*out)
        return -ENOMEM;
    pt->tables++;
    return 0;
}

int pgtable_init(struct pgtable *pt, enum pt_stage stage) {
    struct arch_pt_format format = arch_pt_format(stage);
    void *root = page_alloc(format.root_order);
    if (!root)
        return -ENOMEM;
    *pt = (struct pgtable){.stage = stage, .root = pa((u64)(uintptr_t)root), .root_order = format.root_order};
    return 0;
}

static void table_free(struct pgtable *pt, u64 *table, u32 entries, u32 level, u32 order) {
    for (u32 i = 0; level > 0 && i < entries; i++) {
        if (arch_pte_kind(pt->stage, table[i], level) == PTE_TABLE)
            table_free(pt, table_at(arch_pte_address(pt->stage, table[i])), TABLE_ENTRIES, level - 1, 0);
    }
    page_free(table, order);
}

void pgtable_fini(struct pgtable *pt) {
    struct arch_pt_format format = arch_pt_format(pt->stage);
    table_free(pt, table_at(pt->root), 1u << (format.input_bits - level_shift(format.levels - 1)), format.levels - 1,
               pt->root_order);
    *pt = (struct pgtable){.stage = pt->stage};
}

// ── Map ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
static bool range_is_free(struct walk *w, u64 *table, u32 level) {
    for (u64 stop = table_end(w, level); w->va < stop;) {
        u64 pte = *slot_of(w, table, level);
        switch (arch_pte_kind(w->pt->stage, pte, level)) {
        case PTE_LEAF:
            return false;
        case PTE_TABLE:
            if (!range_is_free(w, table_at(arch_pte_address(w->pt->stage, pte)), level - 1))
                return false;
            break;
        case PTE_INVALID:
            w->va = MIN(stop, entry_end(w->va, level));
            break;
        }
    }
    return true;
}

static bool leaf_fits(const struct walk *w, u32 level) {
    return level <= largest_leaf(w->pt->stage) && (w->va | w->to) % level_size(level) == 0 &&
           w->end - w->va >= level_size(level);
}

static int map_table(struct walk *w, u64 *table, u32 level) {
    for (u64 stop = table_end(w, level); w->va < stop;) {
        u64 *slot = slot_of(w, table, level);
        bool is_table = arch_pte_kind(w->pt->stage, *slot, level) == PTE_TABLE; // also an empty one, after an unmap
        if (!is_table && leaf_fits(w, level)) {
            arch_pte_write(slot, arch_pte_leaf(w->pt->stage, pa(w->to), level, w->attr));
            w->va += level_size(level);
            w->to += level_size(level);
            continue;
        }
        u64 *next;
        if (is_table) {
            next = table_at(arch_pte_address(w->pt->stage, *slot));
        } else {
            if (table_new(w->pt, &next))
                return -ENOMEM;
            arch_pte_write(slot, arch_pte_table(w->pt->stage, pa((u64)(uintptr_t)next)));
        }
        int err = map_table(w, next, level - 1);
        if (err)
            return err;
    }
    return 0;
}

int pgtable_map(struct pgtable *pt, u64 va, pa_t to, u64 size, u32 attr) {
    struct walk w;
    int err = walk_init(&w, pt, va, size);
    u64 to_end;
    if (err)
        return err;
    if (to.v % PAGE_SIZE)
        return -EINVAL;
    if (__builtin_add_overflow(to.v, size, &to_end) || to_end > 1ull << w.format.output_bits)
        return -ERANGE;
    if (!range_is_free(&w, table_at(pt->root), w.format.levels - 1))
        return -EEXIST;
    w.va = va;
    w.to = to.v;
    w.attr = attr;
    return map_table(&w, table_at(pt->root), w.format.levels - 1);
}

// ── Unmap and protect ───────────────────────────────────────────────────────────────────────────────────────────────
// Puts a table of smaller leaves in place of a leaf.
static int leaf_split(struct walk *w, u64 *slot, u32 level) {
    u64 *table;
    if (table_new(w->pt, &table))
        return -ENOMEM;
    u64 to = arch_pte_address(w->pt->stage, *slot).v;
    u32 attr = arch_pte_attr(w->pt->stage, *slot);
    for (u32 i = 0; i < TABLE_ENTRIES; i++, to += level_size(level - 1))
        table[i] = arch_pte_leaf(w->pt->stage, pa(to), level - 1, attr);
    arch_pte_write(slot, arch_pte_table(w->pt->stage, pa((u64)(uintptr_t)table)));
    return 0;
}

// Gives every leaf in the range the walk's attributes; none: makes it invalid. Empty tables stay until pgtable_fini:
// another CPU's walker may still know them.
static int change_table(struct walk *w, u64 *table, u32 level) {
    for (u64 stop = table_end(w, level); w->va < stop;) {
        u64 *slot = slot_of(w, table, level);
        u64 end = entry_end(w->va, level);
        enum pte_kind kind = arch_pte_kind(w->pt->stage, *slot, level);
        if (kind == PTE_INVALID) {
            w->va = MIN(stop, end);
            continue;
        }
        if (kind == PTE_LEAF && w->va % level_size(level) == 0 && end <= w->end) {
            pa_t to = arch_pte_address(w->pt->stage, *slot);
            arch_pte_write(slot, w->attr ? arch_pte_leaf(w->pt->stage, to, level, w->attr) : 0);
            w->va = end;
            continue;
        }
        if (kind == PTE_LEAF && leaf_split(w, slot, level))
            return -ENOMEM;
        int err = change_table(w, table_at(arch_pte_address(w->pt->stage, *slot)), level - 1);
        if (err)
            return err;
    }
    return 0;
}

static int change(struct pgtable *pt, u64 va, u64 size, u32 attr) {
    struct walk w;
    int err = walk_init(&w, pt, va, size);
    if (err)
        return err;
    w.attr = attr;
    return change_table(&w, table_at(pt->root), w.format.levels - 1);
}

int pgtable_unmap(struct pgtable *pt, u64 va, u64 size) {
    return change(pt, va, size, 0);
}

int pgtable_protect(struct pgtable *pt, u64 va, u64 size, u32 attr) {
    if (!(attr & (PT_READ | PT_WRITE | PT_EXEC)))
        return -EINVAL;
    return change(pt, va, size, attr);
}

int pgtable_lookup(const struct pgtable *pt, u64 va, struct pt_mapping *out) {
    struct arch_pt_format format = arch_pt_format(pt->stage);
    if (va >> format.input_bits)
        return -ENOENT;
    const u64 *table = table_at(pt->root);
    u64 index = va >> level_shift(format.levels - 1);
    for (u32 level = format.levels - 1;; level--) {
        u64 pte = table[index];
        switch (arch_pte_kind(pt->stage, pte, level)) {
        case PTE_INVALID:
            return -ENOENT;
        case PTE_LEAF:
            *out = (struct pt_mapping){
                .pa = pa(arch_pte_address(pt->stage, pte).v + va % level_size(level)),
                .left = entry_end(va, level) - va,
                .attr = arch_pte_attr(pt->stage, pte),
            };
            return 0;
        case PTE_TABLE:
            table = table_at(arch_pte_address(pt->stage, pte));
            index = (va >> level_shift(level - 1)) % TABLE_ENTRIES;
            break;
        }
    }
}
