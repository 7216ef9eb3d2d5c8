// SPDX-License-Identifier: Apache-2.0
// The page allocator. RAM is looked at as spans of 2 MiB blocks; a block is free, given out whole, or carved into 4 KiB
// pages. Everything is kept in bitmaps beside the memory, so that free memory is never touched; and the records of
// carved blocks are written only when a block is carved, so that a large machine costs nothing at boot.
#include "page.h"

#include <string.h>

#include "board.h"
#include "list.h"
#include "lock.h"
#include "page_ranges.h"

enum {
    BLOCK_PAGES = 512,
    PAGE_WORDS = BLOCK_PAGES / 64,
    MAX_ORDER = 8,
    GIB_BLOCKS = 512,
};

// The pages of a carved block. Two bits tell what page n is: neither, free; both, the first of an allocation; used
// alone, its continuation; first alone, not ours (a block at the edge of RAM).
struct carved {
    struct list node; // in `partial` while it has a free page
    u64 used[PAGE_WORDS];
    u64 first[PAGE_WORDS];
    u64 base; // of the block
    u32 free; // pages
};

struct span { // neighbouring blocks; each has at least one page of ours
    u64 base; // multiple of BLOCK_SIZE
    u64 blocks;
    u64 *free;             // bit n: block n is free as a whole
    u64 *is_carved;        // bit n: block n has its record in carved[n]
    struct carved *carved; // one a block, uninitialised unless is_carved
};

static struct spinlock mem_lock = SPINLOCK_INIT(LOCK_PAGE); // guards all of mem
static struct {
    struct span spans[PAGE_RANGES_MAX];
    u32 span_count;
    struct list partial;
    u64 total, free, free_blocks, pages_used;
} mem;

// ── Bits ────────────────────────────────────────────────────────────────────────────────────────────────────────────
static bool bit_test(const u64 *map, u64 n) {
    return (map[n / 64] >> (n % 64)) & 1;
}
static void bit_set(u64 *map, u64 n) {
    map[n / 64] |= 1ull << (n % 64);
}
static void bit_clear(u64 *map, u64 n) {
    map[n / 64] &= ~(1ull << (n % 64));
}

// The first bit at or after `from` that has the value; `end` if there is none before it.
static u64 bit_find(const u64 *map, u64 from, u64 end, bool value) {
    while (from < end) {
        u64 word = (value ? map[from / 64] : ~map[from / 64]) >> (from % 64);
        if (word)
            return MIN(from + (u64)__builtin_ctzll(word), end);
        from = (from | 63) + 1;
    }
    return end;
}

// ── Carved blocks ───────────────────────────────────────────────────────────────────────────────────────────────────
static struct span *span_of(u64 address) {
    for (u32 i = 0; i < mem.span_count; i++) {
        struct span *s = &mem.spans[i];
        if (address >= s->base && address - s->base < s->blocks * BLOCK_SIZE)
            return s;
    }
    return NULL;
}

// Makes a block's record, with no page ours.
static struct carved *carve(struct span *s, u64 block) {
    struct carved *c = &s->carved[block];
    *c = (struct carved){.base = s->base + block * BLOCK_SIZE};
    memset(c->first, 0xff, sizeof(c->first));
    list_init(&c->node);
    bit_set(s->is_carved, block);
    return c;
}

static struct carved *carve_free_block(void) {
    for (u32 i = 0; i < mem.span_count; i++) {
        struct span *s = &mem.spans[i];
        u64 block = bit_find(s->free, 0, s->blocks, true);
        if (block == s->blocks)
            continue;
        bit_clear(s->free, block);
        mem.free_blocks--;
        struct carved *c = carve(s, block);
        memset(c->first, 0, sizeof(c->first));
        c->free = BLOCK_PAGES;
        list_push_back(&mem.partial, &c->node);
        return c;
    }
    return NULL;
}

// Where in the block 2^order naturally aligned pages are free; BLOCK_PAGES: nowhere.
static u32 carved_find(const struct carved *c, u32 order) {
    // Bit n of aligned[order]: a run of that order may start at page n of a word.
    static const u64 aligned[] = {
        ~0ull, 0x5555555555555555, 0x1111111111111111, 0x0101010101010101, 0x0001000100010001, 0x0000000100000001};
    u32 words = order > 6 ? 1u << (order - 6) : 1;
    for (u32 w = 0; w < PAGE_WORDS; w += words) {
        u64 taken = 0;
        for (u32 i = w; i < w + words; i++)
            taken |= c->used[i] | c->first[i];
        if (order >= 6) {
            if (!taken)
                return w * 64;
            continue;
        }
        u64 run = ~taken; // fold: bit n stays if the pages n … n + 2^order - 1 are all free
        for (u32 have = 1; have < 1u << order; have *= 2)
            run &= run >> have;
        run &= aligned[order];
        if (run)
            return w * 64 + (u32)__builtin_ctzll(run);
    }
    return BLOCK_PAGES;
}

static u64 carved_take(struct carved *c, u32 at, u32 order) {
    u32 pages = 1u << order;
    for (u32 i = at; i < at + pages; i++)
        bit_set(c->used, i);
    bit_set(c->first, at);
    c->free -= pages;
    if (!c->free)
        list_remove(&c->node);
    mem.free -= pages * PAGE_SIZE;
    mem.pages_used += pages;
    return c->base + at * PAGE_SIZE;
}

void *page_alloc(u32 order) {
    BUG_ON(order > MAX_ORDER);
    u64 address = 0;
    spin_lock(&mem_lock);
    list_for_each(node, &mem.partial) {
        struct carved *c = list_entry(node, struct carved, node);
        u32 at = c->free >> order ? carved_find(c, order) : BLOCK_PAGES;
        if (at < BLOCK_PAGES) {
            address = carved_take(c, at, order);
            break;
        }
    }
    if (!address) {
        struct carved *c = carve_free_block();
        if (c)
            address = carved_take(c, 0, order);
    }
    spin_unlock(&mem_lock);
    if (!address)
        return NULL;
    void *p = (void *)(uintptr_t)address;
    memset(p, 0, PAGE_SIZE << order);
    return p;
}

void page_free(void *p, u32 order) {
    u64 address = (u64)(uintptr_t)p;
    u32 pages = 1u << order;
    BUG_ON(order > MAX_ORDER || address % (PAGE_SIZE << order));
    spin_lock(&mem_lock);
    struct span *s = span_of(address);
    BUG_ON(!s);
    u64 block = (address - s->base) / BLOCK_SIZE;
    u32 at = (u32)(address % BLOCK_SIZE / PAGE_SIZE);
    BUG_ON(!bit_test(s->is_carved, block));
    struct carved *c = &s->carved[block];
    // Exactly one allocation of this size starts here.
    BUG_ON(!bit_test(c->first, at));
    BUG_ON(bit_find(c->first, at + 1, at + pages, true) != at + pages);
    BUG_ON(bit_find(c->used, at, at + pages, false) != at + pages);
    u32 next = at + pages;
    BUG_ON(next < BLOCK_PAGES && bit_test(c->used, next) && !bit_test(c->first, next));
    bit_clear(c->first, at);
    for (u32 i = at; i < at + pages; i++)
        bit_clear(c->used, i);
    if (!c->free)
        list_push_front(&mem.partial, &c->node);
    c->free += pages;
    mem.free += pages * PAGE_SIZE;
    mem.pages_used -= pages;
    if (c->free == BLOCK_PAGES) { // never so for a block at the edge of RAM: some of its pages are not ours
        list_remove(&c->node);
        bit_clear(s->is_carved, block);
        bit_set(s->free, block);
        mem.free_blocks++;
    }
    spin_unlock(&mem_lock);
}

// ── Blocks ──────────────────────────────────────────────────────────────────────────────────────────────────────────
struct run {
    struct span *span;
    u64 block, blocks;
};

// The next run of free blocks after *r (start with {}); false after the last.
static bool run_next(struct run *r) {
    u32 i = r->span ? (u32)(r->span - mem.spans) : 0;
    u64 from = r->block + r->blocks;
    for (; i < mem.span_count; i++, from = 0) {
        struct span *s = &mem.spans[i];
        u64 start = bit_find(s->free, from, s->blocks, true);
        if (start == s->blocks)
            continue;
        *r = (struct run){s, start, bit_find(s->free, start, s->blocks, false) - start};
        return true;
    }
    return false;
}

// Blocks from the start of the run to its first 1 GiB boundary.
static u64 run_skew(const struct run *r) {
    return (align_up(r->span->base + r->block * BLOCK_SIZE, GIB(1)) - r->span->base) / BLOCK_SIZE - r->block;
}

// The smallest run that holds `want` blocks, so that large runs stay whole; failing that, the largest. `aligned`: only
// runs that hold them from a 1 GiB boundary on count.
static struct run run_choose(u64 want, bool aligned) {
    struct run best = {};
    for (struct run r = {}; run_next(&r);) {
        u64 skew = aligned ? run_skew(&r) : 0;
        bool fits = r.blocks >= skew && r.blocks - skew >= want;
        bool best_fits = best.blocks >= want;
        if (aligned && !fits)
            continue;
        if (!best.blocks || (fits && (!best_fits || r.blocks < best.blocks)) || (!best_fits && r.blocks > best.blocks))
            best = r;
    }
    return best;
}

u32 page_alloc_blocks(u32 max_blocks, pa_t *base) {
    BUG_ON(!max_blocks);
    spin_lock(&mem_lock);
    struct run r = {};
    u64 at = 0;
    if (max_blocks >= GIB_BLOCKS) {
        r = run_choose(max_blocks, true);
        if (r.blocks)
            at = r.block + run_skew(&r);
    }
    if (!r.blocks) {
        r = run_choose(max_blocks, false);
        at = r.block + r.blocks - MIN(max_blocks, r.blocks); // from the end: pages are carved from the low end
    }
    u32 count = (u32)MIN(max_blocks, r.blocks);
    for (u32 i = 0; i < count; i++)
        bit_clear(r.span->free, at + i);
    if (count)
        *base = pa(r.span->base + at * BLOCK_SIZE);
    mem.free_blocks -= count;
    mem.free -= count * BLOCK_SIZE;
    spin_unlock(&mem_lock);
    return count;
}

void page_free_blocks(pa_t base, u32 blocks) {
    BUG_ON(base.v % BLOCK_SIZE);
    spin_lock(&mem_lock);
    struct span *s = span_of(base.v);
    BUG_ON(!s);
    u64 first = (base.v - s->base) / BLOCK_SIZE;
    BUG_ON(blocks > s->blocks - first);
    for (u64 i = first; i < first + blocks; i++) {
        BUG_ON(bit_test(s->free, i) || bit_test(s->is_carved, i));
        bit_set(s->free, i);
    }
    mem.free_blocks += blocks;
    mem.free += blocks * BLOCK_SIZE;
    spin_unlock(&mem_lock);
}

struct page_stats page_stats(void) {
    spin_lock(&mem_lock);
    struct page_stats stats = {
        .total = mem.total, .free = mem.free, .free_blocks = mem.free_blocks, .pages_used = mem.pages_used};
    for (struct run r = {}; run_next(&r);)
        stats.largest = MAX(stats.largest, r.blocks * BLOCK_SIZE);
    spin_unlock(&mem_lock);
    return stats;
}

// ── Set-up ──────────────────────────────────────────────────────────────────────────────────────────────────────────
// Spans over the ranges, without their bitmaps. Two ranges whose blocks touch share a span.
static void spans_build(const struct page_ranges *ranges) {
    mem.span_count = 0;
    for (u32 i = 0; i < ranges->count; i++) {
        u64 start = align_down(ranges->range[i].start, BLOCK_SIZE), end = align_up(ranges->range[i].end, BLOCK_SIZE);
        struct span *last = mem.span_count ? &mem.spans[mem.span_count - 1] : NULL;
        if (last && start <= last->base + last->blocks * BLOCK_SIZE)
            last->blocks = (end - last->base) / BLOCK_SIZE;
        else
            mem.spans[mem.span_count++] = (struct span){.base = start, .blocks = (end - start) / BLOCK_SIZE};
    }
}

static u64 span_map_bytes(const struct span *s) {
    return align_up(s->blocks, 64) / 8;
}

static u64 spans_metadata_size(void) {
    u64 size = PAGE_RANGES_MAX * 2 * sizeof(u64); // a span that taking the room parts in two rounds up its maps twice
    for (u32 i = 0; i < mem.span_count; i++)
        size += 2 * span_map_bytes(&mem.spans[i]) + mem.spans[i].blocks * sizeof(struct carved);
    return align_up(size, PAGE_SIZE);
}

static void spans_place_metadata(u64 at) {
    for (u32 i = 0; i < mem.span_count; i++) {
        struct span *s = &mem.spans[i];
        s->free = (u64 *)(uintptr_t)at;
        s->is_carved = (u64 *)(uintptr_t)(at + span_map_bytes(s));
        memset(s->free, 0, 2 * span_map_bytes(s));
        at += 2 * span_map_bytes(s);
        s->carved = (struct carved *)(uintptr_t)at; // left as it is
        at += s->blocks * sizeof(struct carved);
    }
}

// Gives a range to its span: whole blocks to the block pool, the edges as pages.
static void range_add(u64 start, u64 end) {
    struct span *s = span_of(start);
    while (start < end) {
        u64 block = (start - s->base) / BLOCK_SIZE;
        u64 stop = MIN(end, align_down(start, BLOCK_SIZE) + BLOCK_SIZE);
        if (stop - start == BLOCK_SIZE) {
            bit_set(s->free, block);
            mem.free_blocks++;
        } else {
            struct carved *c = bit_test(s->is_carved, block) ? &s->carved[block] : carve(s, block);
            if (!c->free)
                list_push_back(&mem.partial, &c->node);
            for (u64 page = start; page < stop; page += PAGE_SIZE)
                bit_clear(c->first, page % BLOCK_SIZE / PAGE_SIZE);
            c->free += (u32)((stop - start) / PAGE_SIZE);
        }
        mem.total += stop - start;
        start = stop;
    }
}

void page_init(const struct board *board, pa_t image_start, pa_t image_end) {
    static struct page_ranges ranges; // too big for a boot stack
    page_ranges_collect(&ranges, board, image_start, image_end);
    spin_init(&mem_lock, LOCK_PAGE);
    list_init(&mem.partial);
    mem.total = mem.free = mem.free_blocks = mem.pages_used = 0;
    spans_build(&ranges);
    u64 size = spans_metadata_size();
    u64 at = page_ranges_take(&ranges, size);
    if (!at)
        panic("no room in RAM for %llu KiB of page records", (unsigned long long)(size >> 10));
    spans_build(&ranges); // without the room itself
    spans_place_metadata(at);
    for (u32 i = 0; i < ranges.count; i++)
        range_add(ranges.range[i].start, ranges.range[i].end);
    mem.free = mem.total;
}
