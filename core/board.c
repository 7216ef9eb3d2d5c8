// SPDX-License-Identifier: Apache-2.0
// A board's sets of memory regions, while a boot reader fills them.
#include "board.h"

// Sorts by base and joins what overlaps or touches.
static void regions_normalise(struct region *set, u32 *count) {
    for (u32 i = 1; i < *count; i++) {
        const struct region r = set[i];
        u32 k = i;
        for (; k > 0 && set[k - 1].base > r.base; k--)
            set[k] = set[k - 1];
        set[k] = r;
    }
    u32 n = 0;
    for (u32 i = 0; i < *count; i++) {
        if (n && set[i].base <= set[n - 1].base + set[n - 1].size) {
            const u64 end = MAX(set[n - 1].base + set[n - 1].size, set[i].base + set[i].size);
            set[n - 1].size = end - set[n - 1].base;
        } else {
            set[n++] = set[i];
        }
    }
    *count = n;
}

// Adds a region; false if the set is full even after joining. An empty region is no region.
static bool regions_add(struct region *set, u32 *count, struct region r) {
    if (r.size == 0)
        return true;
    if (*count == BOARD_MAX_REGIONS)
        regions_normalise(set, count);
    if (*count == BOARD_MAX_REGIONS)
        return false;
    set[(*count)++] = r;
    return true;
}

// In a full table the neighbour above or below grows over the gap: too much may be reserved, never
// too little.
void board_reserve(struct board *board, struct region r) {
    r.size = MIN(r.size, UINT64_MAX - r.base); // so that the ends below do not wrap
    if (regions_add(board->reserved, &board->reserved_count, r))
        return;
    struct region *best = nullptr;
    u64 best_gap = UINT64_MAX;
    for (u32 i = 0; i < board->reserved_count; i++) {
        struct region *have = &board->reserved[i];
        const u64 have_end = have->base + have->size, end = r.base + r.size;
        const u64 gap = r.base >= have_end ? r.base - have_end : have->base >= end ? have->base - end : 0;
        if (gap <= best_gap) {
            best = have;
            best_gap = gap;
        }
    }
    const u64 end = MAX(best->base + best->size, r.base + r.size);
    best->base = MIN(best->base, r.base);
    best->size = end - best->base;
}

void board_add_memory(struct board *board, struct region r) {
    (void)regions_add(board->memory, &board->memory_count, r); // a 33rd bank is left unused
}

void board_regions_done(struct board *board) {
    regions_normalise(board->memory, &board->memory_count);
    regions_normalise(board->reserved, &board->reserved_count);
}
