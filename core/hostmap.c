// SPDX-License-Identifier: Apache-2.0
#include "hostmap.h"

#include "arch.h"
#include "log.h"

struct pgtable host_pt;

static void map(u64 start, u64 end, u32 attr, const char *what) {
    start = align_down(start, PAGE_SIZE);
    end = align_up(end, PAGE_SIZE);
    if (start < end && pgtable_map(&host_pt, start, pa(start), end - start, attr) != 0)
        panic("cannot map %s (%#llx-%#llx)", what, (unsigned long long)start, (unsigned long long)end);
}

// Page 0 is left out: null pointers point there.
static void map_ram(const struct region *r, const struct image_layout *image) {
    u64 start = align_up(MAX(r->base, 1), PAGE_SIZE), end = align_down(r->base + r->size, PAGE_SIZE);
    if (image->start < start || image->start >= end) {
        map(start, end, PT_READ | PT_WRITE, "RAM");
        return;
    }
    u64 image_end = align_up(image->end, PAGE_SIZE);
    map(start, image->start, PT_READ | PT_WRITE, "RAM");
    map(image->start, image->text_end, PT_READ | PT_EXEC, "text");
    map(image->text_end, image->rodata_end, PT_READ, "rodata");
    map(image->rodata_end, image_end, PT_READ | PT_WRITE, "data");
    map(image_end, end, PT_READ | PT_WRITE, "RAM");
}

void hostmap_device(u64 base, u64 size, const char *what) {
    if (size)
        map(base, base + size, PT_READ | PT_WRITE | PT_DEVICE, what);
}

void hostmap_rest(u64 base, u64 size, u32 attr, const char *what) {
    struct pt_mapping m;
    for (u64 at = align_down(base, PAGE_SIZE); at < base + size; at += PAGE_SIZE)
        if (pgtable_lookup(&host_pt, at, &m) != 0)
            map(at, at + PAGE_SIZE, attr, what);
}

void hostmap_init(const struct board *board, const struct image_layout *image) {
    if (pgtable_init(&host_pt, PT_HOST) != 0)
        panic("no memory for the hypervisor's page tables");
    for (u32 i = 0; i < board->memory_count; i++)
        map_ram(&board->memory[i], image);
    hostmap_rest(board->fdt.base, board->fdt.size, PT_READ, "device tree");
}

int hostmap_split(void *block) {
    u64 at = (uintptr_t)block;
    struct pt_mapping m;
    if (!host_pt.root.v)
        return 0;
    BUG_ON(at % BLOCK_SIZE || pgtable_lookup(&host_pt, at, &m) != 0);
    if (m.left == PAGE_SIZE) // it has been used like this before
        return 0;
    BUG_ON(m.left != BLOCK_SIZE);
    int err = pgtable_unmap(&host_pt, at, BLOCK_SIZE);
    BUG_ON(err != 0); // a whole leaf goes without a new table
    arch_host_flush(at, BLOCK_SIZE);
    // In two parts, neither of which a larger leaf fits.
    err = pgtable_map(&host_pt, at, pa(at), PAGE_SIZE, PT_READ | PT_WRITE);
    u64 rest = err ? at : at + PAGE_SIZE;
    int again = pgtable_map(&host_pt, rest, pa(rest), at + BLOCK_SIZE - rest, PT_READ | PT_WRITE);
    BUG_ON(again != 0); // the table is there, or the leaf that was there fits
    return err;
}

void hostmap_guards(void *block, u64 stride, bool on) {
    u64 at = (uintptr_t)block;
    if (!host_pt.root.v)
        return;
    for (u64 page = at + stride; page < at + BLOCK_SIZE; page += stride) {
        int err = on ? pgtable_unmap(&host_pt, page, PAGE_SIZE)
                     : pgtable_map(&host_pt, page, pa(page), PAGE_SIZE, PT_READ | PT_WRITE);
        BUG_ON(err != 0); // a block that hostmap_split made needs no new table
    }
    if (on)
        arch_host_flush(at, BLOCK_SIZE);
}
