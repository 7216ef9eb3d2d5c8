// SPDX-License-Identifier: Apache-2.0
#include "page_ranges.h"

// The end of a region whose description may be nonsense.
static u64 region_end(u64 base, u64 size) {
    u64 end;
    return __builtin_add_overflow(base, size, &end) ? ~0ull : end;
}

// Inserts in order; merges with what it touches. The count stays within the board's regions, so there is room.
static void add(struct page_ranges *ranges, u64 start, u64 end) {
    u32 at = 0;
    while (at < ranges->count && ranges->range[at].end < start)
        at++;
    u32 stop = at; // range[at … stop) touch the new one
    for (; stop < ranges->count && ranges->range[stop].start <= end; stop++) {
        start = MIN(start, ranges->range[stop].start);
        end = MAX(end, ranges->range[stop].end);
    }
    if (stop == at) {
        BUG_ON(ranges->count == PAGE_RANGES_MAX);
        for (u32 i = ranges->count++; i > at; i--)
            ranges->range[i] = ranges->range[i - 1];
    } else {
        for (u32 i = stop; i < ranges->count; i++)
            ranges->range[at + 1 + i - stop] = ranges->range[i];
        ranges->count -= stop - at - 1;
    }
    ranges->range[at] = (struct page_range){start, end};
}

static void cut(struct page_ranges *ranges, u64 start, u64 end) {
    if (start >= end)
        return;
    struct page_ranges *r = ranges;
    for (u32 i = 0; i < r->count;) {
        struct page_range old = r->range[i];
        bool left = old.start<start, right = old.end> end;
        if (old.end <= start || old.start >= end) {
            i++;
        } else if (left && right) {
            BUG_ON(r->count == PAGE_RANGES_MAX);
            for (u32 j = r->count++; j > i; j--)
                r->range[j] = r->range[j - 1];
            r->range[i].end = start;
            r->range[i + 1].start = end;
            return;
        } else if (left || right) {
            r->range[i++] = left ? (struct page_range){old.start, start} : (struct page_range){end, old.end};
        } else {
            r->count--;
            for (u32 j = i; j < r->count; j++)
                r->range[j] = r->range[j + 1];
        }
    }
}

static void cut_region(struct page_ranges *ranges, u64 base, u64 end) {
    u64 last = ~0ull & ~(PAGE_SIZE - 1);
    cut(ranges, align_down(base, PAGE_SIZE), end > last ? ~0ull : align_up(end, PAGE_SIZE));
}

void page_ranges_collect(struct page_ranges *ranges, const struct board *board, pa_t image_start, pa_t image_end) {
    ranges->count = 0;
    for (u32 i = 0; i < board->memory_count; i++) {
        const struct region *m = &board->memory[i];
        u64 end = align_down(region_end(m->base, m->size), PAGE_SIZE);
        if (m->base < end && align_up(m->base, PAGE_SIZE) < end)
            add(ranges, align_up(m->base, PAGE_SIZE), end);
    }
    cut(ranges, 0, PAGE_SIZE);
    cut_region(ranges, image_start.v, image_end.v);
    for (u32 i = 0; i < board->reserved_count; i++) {
        const struct region *r = &board->reserved[i];
        if (r->size)
            cut_region(ranges, r->base, region_end(r->base, r->size));
    }
}

static u64 whole_blocks(u64 start, u64 end) {
    start = align_up(start, BLOCK_SIZE);
    end = align_down(end, BLOCK_SIZE);
    return start < end ? (end - start) / BLOCK_SIZE : 0;
}

u64 page_ranges_take(struct page_ranges *ranges, u64 size) {
    u64 least = ~0ull;
    struct page_range *best = NULL;
    bool from_start = false;
    for (u32 i = 0; i < ranges->count; i++) {
        struct page_range *r = &ranges->range[i];
        if (r->end - r->start < size)
            continue;
        u64 now = whole_blocks(r->start, r->end);
        u64 head = now - whole_blocks(r->start + size, r->end), tail = now - whole_blocks(r->start, r->end - size);
        if (MIN(head, tail) >= least)
            continue;
        least = MIN(head, tail);
        from_start = head <= tail;
        best = r;
    }
    if (!best)
        return 0;
    u64 at = from_start ? best->start : best->end - size;
    *(from_start ? &best->start : &best->end) = from_start ? at + size : at;
    if (best->start == best->end) {
        ranges->count--;
        for (u32 j = (u32)(best - ranges->range); j < ranges->count; j++)
            ranges->range[j] = ranges->range[j + 1];
    }
    return at;
}
