// SPDX-License-Identifier: Apache-2.0
// core/page.c and core/page_ranges.c.
#define _DEFAULT_SOURCE // MAP_ANONYMOUS, mincore
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "../../core/page_ranges.h"
#include "board.h"
#include "host.h"
#include "page.h"

// Address space that stands for the machine's RAM, from a 1 GiB boundary on; only what is written takes memory.
#define SPACE GIB(8)
static u64 ram;
static void *space;
static struct board board;

static void memory(u64 offset, u64 size) {
    board.memory[board.memory_count++] = (struct region){ram + offset, size};
}
static void reserve(u64 offset, u64 size) {
    board.reserved[board.reserved_count++] = (struct region){ram + offset, size};
}
static void init(void) {
    page_init(&board, pa(0), pa(0));
}

static int setup(void **state) {
    (void)state;
    host_init(&(struct host_options){});
    space = mmap(NULL, SPACE + GIB(1), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (space == MAP_FAILED)
        return -1;
    ram = align_up((u64)space, GIB(1));
    memset(&board, 0, sizeof(board));
    return 0;
}

static int teardown(void **state) {
    (void)state;
    return munmap(space, SPACE + GIB(1));
}

static void assert_stats_equal(struct page_stats a, struct page_stats b) {
    assert_int_equal(a.total, b.total);
    assert_int_equal(a.free, b.free);
    assert_int_equal(a.free_blocks, b.free_blocks);
    assert_int_equal(a.largest, b.largest);
    assert_int_equal(a.pages_used, b.pages_used);
}

// ── Set-up ──────────────────────────────────────────────────────────────────────────────────────────────────────────
static void all_but_reservations_the_image_and_the_records_is_free(void **state) {
    (void)state;
    memory(0, MIB(64));
    reserve(MIB(10), MIB(1));
    page_init(&board, pa(ram + MIB(2)), pa(ram + MIB(2) + 100)); // one page
    struct page_stats s = page_stats();
    u64 given = MIB(64) - MIB(1) - PAGE_SIZE;
    assert_int_equal(s.free, s.total);
    assert_in_range(given - s.total, 0, 3 * PAGE_SIZE);
    assert_int_equal(s.pages_used, 0);
}

static void set_up_writes_less_than_100_KiB_of_2_GiB(void **state) {
    (void)state;
    static unsigned char resident[GIB(2) / PAGE_SIZE];
    memory(0, GIB(2));
    reserve(MIB(72) + 5, KIB(70));
    init();
    assert_int_equal(mincore((void *)ram, GIB(2), resident), 0);
    u64 written = 0;
    for (size_t i = 0; i < sizeof(resident); i++)
        written += (resident[i] & 1) * PAGE_SIZE;
    assert_in_range(written, 0, KIB(100));
}

static void what_is_given_out_is_ours_and_never_given_twice(void **state) {
    (void)state;
    static u8 owner[MIB(64) / PAGE_SIZE]; // 1: given out
    memory(0x3000, MIB(31));
    memory(MIB(40) + 5, MIB(20));
    reserve(MIB(7), MIB(3) + 1);
    reserve(MIB(50) - 1, 2);
    reserve(MIB(39), MIB(1) + 1);
    page_init(&board, pa(ram + MIB(20)), pa(ram + MIB(20) + KIB(300)));
    u64 total = page_stats().total, given = 0;
    pa_t base;
    memset(owner, 0, sizeof(owner));
    for (u32 n; (n = page_alloc_blocks(5, &base)); given += n * BLOCK_SIZE) {
        for (u64 at = base.v - ram; at < base.v - ram + n * BLOCK_SIZE; at += PAGE_SIZE)
            assert_int_equal(owner[at / PAGE_SIZE]++, 0);
    }
    for (char *p; (p = page_alloc(0)); given += PAGE_SIZE)
        assert_int_equal(owner[((u64)p - ram) / PAGE_SIZE]++, 0);
    assert_int_equal(given, total);
    assert_int_equal(page_stats().free, 0);
    struct region not_ours[] = {{0, 0x3000},          {MIB(31) + 0x3000, MIB(9) - 0x3000},
                                {MIB(7), MIB(3) + 1}, {MIB(50) - 1, 2},
                                {MIB(40), 1},         {MIB(20), KIB(300)},
                                {MIB(60) + 5, 1}};
    for (size_t i = 0; i < ARRAY_SIZE(not_ours); i++)
        for (u64 at = align_down(not_ours[i].base, PAGE_SIZE); at < not_ours[i].base + not_ours[i].size;
             at += PAGE_SIZE)
            assert_int_equal(owner[at / PAGE_SIZE], 0);
}

static void page_0_is_nobodys(void **state) {
    (void)state;
    static struct page_ranges r;
    struct board low = {.memory_count = 1, .memory = {{0, MIB(2)}}};
    page_ranges_collect(&r, &low, pa(0), pa(0));
    assert_int_equal(r.count, 1);
    assert_int_equal(r.range[0].start, PAGE_SIZE);
}

static void nonsense_in_a_board_is_cut_to_what_can_be(void **state) {
    (void)state;
    static struct page_ranges r;
    struct board b = {
        .memory_count = 4,
        .memory = {{MIB(8), MIB(8)}, {MIB(12), MIB(8)}, {MIB(20), 0}, {MIB(32), ~0ull}}, // overlapping, empty, wrapping
        .reserved_count = 4,
        .reserved = {{~0ull, 1}, {MIB(9), 0}, {MIB(40), ~0ull}, {0, MIB(1)}},
    };
    page_ranges_collect(&r, &b, pa(MIB(100)), pa(MIB(90)));
    assert_int_equal(r.count, 2);
    assert_int_equal(r.range[0].start, MIB(8));
    assert_int_equal(r.range[0].end, MIB(20));
    assert_int_equal(r.range[1].start, MIB(32));
    assert_int_equal(r.range[1].end, MIB(40));
}

static void the_most_parted_board_fits(void **state) {
    (void)state;
    static struct page_ranges r;
    struct board b = {.memory_count = BOARD_MAX_REGIONS, .reserved_count = BOARD_MAX_REGIONS};
    for (u32 i = 0; i < BOARD_MAX_REGIONS; i++) {
        b.memory[i] = (struct region){MIB(10) * i, MIB(9)};
        b.reserved[i] = (struct region){MIB(10) * i + MIB(1), MIB(1)};
    }
    page_ranges_collect(&r, &b, pa(MIB(5)), pa(MIB(6)));
    assert_int_equal(r.count, 2 * BOARD_MAX_REGIONS + 1);
    assert_int_not_equal(page_ranges_take(&r, MIB(7)), 0);
    assert_int_equal(page_ranges_take(&r, MIB(8)), 0);
}

static void collect(struct page_ranges *ranges) {
    page_ranges_collect(ranges, &board, pa(0), pa(0));
}

static void assert_range(const struct page_ranges *ranges, u32 i, u64 start, u64 end) {
    assert_true(i < ranges->count);
    assert_int_equal(ranges->range[i].start, ram + start);
    assert_int_equal(ranges->range[i].end, ram + end);
}

static void regions_in_any_order_become_ranges_in_order(void **state) {
    (void)state;
    struct page_ranges r;
    memory(MIB(40), MIB(1));
    memory(MIB(10), MIB(1));
    memory(MIB(20), MIB(1)); // between them
    memory(MIB(50), MIB(1));
    collect(&r);
    assert_int_equal(r.count, 4);
    assert_range(&r, 0, MIB(10), MIB(11));
    assert_range(&r, 1, MIB(20), MIB(21));
    assert_range(&r, 2, MIB(40), MIB(41));
    assert_range(&r, 3, MIB(50), MIB(51));
}

static void regions_that_touch_or_overlap_become_one(void **state) {
    (void)state;
    struct page_ranges r;
    memory(MIB(10), MIB(2));
    memory(MIB(14), MIB(2));
    memory(MIB(30), MIB(1));
    memory(MIB(40), MIB(1));
    memory(MIB(12), MIB(3)); // closes the gap, and lies over the second
    collect(&r);
    assert_int_equal(r.count, 3);
    assert_range(&r, 0, MIB(10), MIB(16));
    assert_range(&r, 1, MIB(30), MIB(31));
    assert_range(&r, 2, MIB(40), MIB(41));
}

static void a_reservation_takes_whole_ranges_and_parts_of_their_neighbours(void **state) {
    (void)state;
    struct page_ranges r;
    for (u64 i = 1; i <= 5; i++)
        memory(MIB(10) * i, MIB(4));
    reserve(MIB(12), MIB(30)); // up to 42: the end of the first, the next two, the start of the fourth
    reserve(MIB(51), MIB(1));  // splits the last
    collect(&r);
    assert_int_equal(r.count, 4);
    assert_range(&r, 0, MIB(10), MIB(12));
    assert_range(&r, 1, MIB(42), MIB(44));
    assert_range(&r, 2, MIB(50), MIB(51));
    assert_range(&r, 3, MIB(52), MIB(54));
}

static void records_are_put_where_no_whole_block_is_lost(void **state) {
    (void)state;
    memory(0, MIB(64) + KIB(512));
    init();
    assert_int_equal(page_stats().free_blocks, 32);
    assert_int_equal(page_stats().largest, MIB(64));
}

// ── Pages ───────────────────────────────────────────────────────────────────────────────────────────────────────────
static void random_pages_are_aligned_zero_and_their_owners(void **state) {
    (void)state;
    enum { MAX_HELD = 3000 };
    static struct {
        u8 *p;
        u32 order;
        u8 mark;
    } held[MAX_HELD];
    u32 count = 0;
    memory(PAGE_SIZE, MIB(32));
    init();
    struct page_stats before = page_stats();
    srand(7);
    for (int i = 0; i < 20000; i++) {
        bool give = count < MAX_HELD && rand() % 5 < (i < 12000 ? 3 : 1);
        if (give || !count) {
            u32 order = rand() % 3 ? 0 : (u32)rand() % 9;
            u8 *p = page_alloc(order);
            if (!p)
                continue;
            assert_int_equal((u64)p % (PAGE_SIZE << order), 0);
            u8 mark = (u8)(1 + rand() % 255);
            for (u64 at = 0; at < PAGE_SIZE << order; at += PAGE_SIZE / 2) {
                assert_int_equal(p[at], 0);
                p[at] = mark;
            }
            held[count].p = p;
            held[count].order = order;
            held[count++].mark = mark;
        } else {
            u32 k = (u32)rand() % count;
            for (u64 at = 0; at < PAGE_SIZE << held[k].order; at += PAGE_SIZE / 2)
                assert_int_equal(held[k].p[at], held[k].mark);
            page_free(held[k].p, held[k].order);
            held[k] = held[--count];
        }
    }
    while (count--)
        page_free(held[count].p, held[count].order);
    assert_stats_equal(page_stats(), before);
}

static void statistics_count_pages_in_use(void **state) {
    (void)state;
    memory(0, MIB(8));
    init();
    struct page_stats before = page_stats();
    void *a = page_alloc(0), *b = page_alloc(3);
    assert_int_equal(page_stats().pages_used, 9);
    assert_int_equal(page_stats().free, before.free - 9 * PAGE_SIZE);
    page_free(a, 0);
    page_free(b, 3);
    assert_stats_equal(page_stats(), before);
}

static void without_memory_there_is_no_page(void **state) {
    (void)state;
    pa_t base;
    memory(0, MIB(4));
    init();
    while (page_alloc(8))
        ;
    while (page_alloc(0))
        ;
    assert_null(page_alloc(0));
    assert_int_equal(page_alloc_blocks(1, &base), 0);
    assert_int_equal(page_stats().free, 0);
}

// ── Blocks ──────────────────────────────────────────────────────────────────────────────────────────────────────────
static void a_gibibyte_starts_at_a_gibibyte(void **state) {
    (void)state;
    pa_t base;
    memory(MIB(100), GIB(3));
    init();
    assert_int_equal(page_alloc_blocks(512, &base), 512);
    assert_int_equal(base.v % GIB(1), 0);
    assert_int_equal(page_alloc_blocks(1024, &base), 562); // what is left above
}

static void a_small_request_leaves_the_largest_run_whole(void **state) {
    (void)state;
    pa_t base;
    memory(0, MIB(64));
    memory(MIB(128), MIB(16));
    init();
    u64 largest = page_stats().largest;
    assert_int_equal(page_alloc_blocks(4, &base), 4);
    assert_int_equal(page_stats().largest, largest);
    assert_true(base.v >= ram + MIB(128));
}

static void more_than_any_run_has_gives_the_largest_run(void **state) {
    (void)state;
    pa_t base;
    memory(0, MIB(32));
    memory(MIB(64), MIB(16));
    init();
    u64 largest = page_stats().largest;
    assert_int_equal(page_alloc_blocks(1000, &base) * BLOCK_SIZE, largest);
}

static void a_part_of_a_run_can_be_freed(void **state) {
    (void)state;
    pa_t base;
    memory(0, MIB(64));
    init();
    struct page_stats before = page_stats();
    assert_int_equal(page_alloc_blocks(10, &base), 10);
    page_free_blocks(pa(base.v + 3 * BLOCK_SIZE), 4);
    assert_int_equal(page_stats().free_blocks, before.free_blocks - 6);
    page_free_blocks(base, 3);
    page_free_blocks(pa(base.v + 7 * BLOCK_SIZE), 3);
    assert_stats_equal(page_stats(), before);
}

// ── Our own bugs ────────────────────────────────────────────────────────────────────────────────────────────────────
static void free_page_twice(void *arg) {
    page_free(arg, 0);
    page_free(arg, 0);
}
static void free_with_order_1(void *arg) {
    page_free(arg, 1);
}
static void free_with_order_0(void *arg) {
    page_free(arg, 0);
}
static void free_as_block(void *arg) {
    page_free_blocks(pa(align_down((u64)arg, BLOCK_SIZE)), 1);
}
static void free_block_twice(void *arg) {
    page_free_blocks(pa((u64)arg), 1);
    page_free_blocks(pa((u64)arg), 1);
}

static void a_wrong_free_is_a_bug(void **state) {
    (void)state;
    memory(0, MIB(64));
    struct {
        void (*fn)(void *);
        u32 order;
        bool outside;
    } cases[] = {{free_page_twice, 0, false},  {free_with_order_1, 0, false}, {free_with_order_0, 1, false},
                 {free_as_block, 0, false},    {free_block_twice, 9, false},  {free_with_order_0, 0, true},
                 {free_with_order_1, 2, false}};
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        host_init(&(struct host_options){});
        init();
        pa_t base;
        void *p = NULL;
        if (cases[i].outside)
            p = (void *)(ram + MIB(64));
        else if (cases[i].order < 9)
            p = page_alloc(cases[i].order);
        else if (page_alloc_blocks(1, &base))
            p = (void *)base.v;
        assert_non_null(p);
        assert_true(host_panics(cases[i].fn, p));
        assert_non_null(strstr(host_panic_text(), "BUG"));
    }
}

int main(void) {
#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(all_but_reservations_the_image_and_the_records_is_free),
        TEST(set_up_writes_less_than_100_KiB_of_2_GiB),
        TEST(what_is_given_out_is_ours_and_never_given_twice),
        TEST(page_0_is_nobodys),
        TEST(nonsense_in_a_board_is_cut_to_what_can_be),
        TEST(the_most_parted_board_fits),
        TEST(regions_in_any_order_become_ranges_in_order),
        TEST(regions_that_touch_or_overlap_become_one),
        TEST(a_reservation_takes_whole_ranges_and_parts_of_their_neighbours),
        TEST(records_are_put_where_no_whole_block_is_lost),
        TEST(random_pages_are_aligned_zero_and_their_owners),
        TEST(statistics_count_pages_in_use),
        TEST(without_memory_there_is_no_page),
        TEST(a_gibibyte_starts_at_a_gibibyte),
        TEST(a_small_request_leaves_the_largest_run_whole),
        TEST(more_than_any_run_has_gives_the_largest_run),
        TEST(a_part_of_a_run_can_be_freed),
        TEST(a_wrong_free_is_a_bug),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
