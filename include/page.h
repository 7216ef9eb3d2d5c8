// SPDX-License-Identifier: Apache-2.0
// The host's memory: 4 KiB pages for the hypervisor, 2 MiB blocks for guests.
#pragma once

#include "types.h"

struct board;

struct page_stats {
    u64 total;       // bytes handed to the allocator
    u64 free;        // bytes free, in whole blocks or pages
    u64 free_blocks; // whole 2 MiB blocks free
    u64 largest;     // bytes of the largest run of free blocks
    u64 pages_used;  // 4 KiB pages in use
};

// Gives all RAM of the board less its reservations, the hypervisor's own image and page 0 to the allocator. Writes only
// its own records (160 bytes a 2 MiB block are set aside in RAM, next to none of them written). Context: boot.
void page_init(const struct board *board, pa_t image_start, pa_t image_end);
// 2^order contiguous, naturally aligned, zeroed 4 KiB pages (order ≤ 8); NULL if there is none. Context: any,
// LOCK_PAGE.
[[nodiscard]] void *page_alloc(u32 order);
// Any other pointer or order than page_alloc gave is a BUG. Context: any, LOCK_PAGE.
void page_free(void *p, u32 order);
// The order that holds `size` bytes.
static inline u32 page_order(u64 size) {
    u32 order = 0;
    while ((PAGE_SIZE << order) < size)
        order++;
    return order;
}
// A run of up to max_blocks contiguous 2 MiB blocks, as many as one free run has, preferring 1 GiB alignment when at
// least 512 are asked; the content is whatever was there. Returns the number of blocks, 0: none left. Context: any,
// LOCK_PAGE.
[[nodiscard]] u32 page_alloc_blocks(u32 max_blocks, pa_t *base);
// A part of such a run may be freed by itself. Context: any, LOCK_PAGE.
void page_free_blocks(pa_t base, u32 blocks);
// Context: any, LOCK_PAGE.
struct page_stats page_stats(void);
