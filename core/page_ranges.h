// SPDX-License-Identifier: Apache-2.0
// Which RAM is ours to allocate: the board's memory less what is reserved. Used by page.c at boot.
#pragma once

#include "board.h"
#include "types.h"

// Every reservation, the image and page 0 can part a range in two.
enum { PAGE_RANGES_MAX = BOARD_MAX_REGIONS * 2 + 2 };

struct page_range {
    u64 start, end; // page-aligned, start < end
};

struct page_ranges {
    u32 count;
    struct page_range range[PAGE_RANGES_MAX]; // sorted, never touching
};

// All RAM less the reservations, the image [image_start, image_end) and page 0 (whose pointer would be NULL).
void page_ranges_collect(struct page_ranges *ranges, const struct board *board, pa_t image_start, pa_t image_end);
// Takes `size` bytes (a multiple of PAGE_SIZE) from an end of a range, such that the fewest whole blocks are lost.
// Returns their address; 0: no range is large enough.
u64 page_ranges_take(struct page_ranges *ranges, u64 size);
