// SPDX-License-Identifier: Apache-2.0
// core/pgtable.c, with the host architecture's page-table format.
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "arch.h"
#include "host.h"
#include "page.h"
#include "pgtable.h"

enum { RWX = PT_READ | PT_WRITE | PT_EXEC };

static struct pgtable pt;
static u64 free_before;

static int setup_stage(enum pt_stage stage) {
    host_init(&(struct host_options){.memory = MIB(64)});
    page_init(host_board(), pa(0), pa(0));
    free_before = page_stats().free;
    return pgtable_init(&pt, stage);
}

static int setup(void **state) {
    (void)state;
    return setup_stage(PT_GUEST);
}

static int teardown(void **state) {
    (void)state;
    pgtable_fini(&pt);
    return page_stats().free == free_before ? 0 : -1;
}

static void assert_mapped(u64 va, u64 to, u64 left, u32 attr) {
    struct pt_mapping m;
    assert_int_equal(pgtable_lookup(&pt, va, &m), 0);
    assert_int_equal(m.pa.v, to);
    assert_int_equal(m.left, left);
    assert_int_equal(m.attr, attr);
}

static void assert_unmapped(u64 va) {
    struct pt_mapping m;
    assert_int_equal(pgtable_lookup(&pt, va, &m), -ENOENT);
}

static void nothing_is_mapped_at_first(void **state) {
    (void)state;
    assert_unmapped(0);
    assert_unmapped(GIB(1));
    assert_unmapped(~0ull);
}

static void an_aligned_gibibyte_takes_no_table(void **state) {
    (void)state;
    assert_int_equal(pgtable_map(&pt, GIB(1), pa(GIB(5)), GIB(2), RWX), 0);
    assert_int_equal(pt.tables, 0);
    assert_mapped(GIB(1), GIB(5), GIB(1), RWX);
    assert_mapped(GIB(3) - 1, GIB(7) - 1, 1, RWX);
    assert_unmapped(GIB(3));
    assert_unmapped(GIB(1) - 1);
}

static void the_largest_leaves_that_fit_are_used(void **state) {
    (void)state;
    // 4 KiB up to a 2 MiB boundary, 2 MiB up to a 1 GiB boundary, 1 GiB, and down again
    u64 va = GIB(1) - MIB(2) - PAGE_SIZE;
    assert_int_equal(pgtable_map(&pt, va, pa(va + GIB(8)), PAGE_SIZE + MIB(2) + GIB(1) + MIB(4) + PAGE_SIZE, RWX), 0);
    assert_mapped(va, va + GIB(8), PAGE_SIZE, RWX);
    assert_mapped(GIB(1) - MIB(2), GIB(9) - MIB(2), MIB(2), RWX);
    assert_mapped(GIB(1), GIB(9), GIB(1), RWX);
    assert_mapped(GIB(2) + MIB(2), GIB(10) + MIB(2), MIB(2), RWX);
    assert_mapped(GIB(2) + MIB(4), GIB(10) + MIB(4), PAGE_SIZE, RWX);
    assert_unmapped(GIB(2) + MIB(4) + PAGE_SIZE);
}

static void the_alignment_of_both_sides_counts(void **state) {
    (void)state;
    assert_int_equal(pgtable_map(&pt, GIB(1), pa(GIB(1) + MIB(2)), GIB(1), PT_READ), 0);
    assert_mapped(GIB(1), GIB(1) + MIB(2), MIB(2), PT_READ);
    assert_int_equal(pgtable_map(&pt, GIB(2), pa(GIB(1) + PAGE_SIZE), MIB(2), PT_READ), 0);
    assert_mapped(GIB(2), GIB(1) + PAGE_SIZE, PAGE_SIZE, PT_READ);
}

static void mapping_over_a_mapping_changes_nothing(void **state) {
    (void)state;
    assert_int_equal(pgtable_map(&pt, MIB(4), pa(MIB(8)), PAGE_SIZE, RWX), 0);
    u32 tables = pt.tables;
    assert_int_equal(pgtable_map(&pt, 0, pa(0), MIB(4) + PAGE_SIZE, RWX), -EEXIST);
    assert_unmapped(0);
    assert_int_equal(pt.tables, tables);
    assert_mapped(MIB(4), MIB(8), PAGE_SIZE, RWX);
}

static void ranges_outside_the_input_or_output_are_refused(void **state) {
    (void)state;
    u64 top = 1ull << arch_pt_format(PT_GUEST).input_bits, out = 1ull << arch_pt_format(PT_GUEST).output_bits;
    assert_int_equal(pgtable_map(&pt, top - PAGE_SIZE, pa(0), 2 * PAGE_SIZE, RWX), -ERANGE);
    assert_int_equal(pgtable_map(&pt, 0 - PAGE_SIZE, pa(0), PAGE_SIZE, RWX), -ERANGE);
    assert_int_equal(pgtable_map(&pt, 0, pa(out - PAGE_SIZE), 2 * PAGE_SIZE, RWX), -ERANGE);
    assert_int_equal(pgtable_map(&pt, 0, pa(0 - PAGE_SIZE), 2 * PAGE_SIZE, RWX), -ERANGE);
    assert_int_equal(pgtable_unmap(&pt, top, PAGE_SIZE), -ERANGE);
    assert_int_equal(pgtable_map(&pt, top - PAGE_SIZE, pa(out - PAGE_SIZE), PAGE_SIZE, RWX), 0);
    assert_mapped(top - 1, out - 1, 1, RWX);
}

static void what_is_not_page_aligned_is_refused(void **state) {
    (void)state;
    assert_int_equal(pgtable_map(&pt, 1, pa(0), PAGE_SIZE, RWX), -EINVAL);
    assert_int_equal(pgtable_map(&pt, 0, pa(1), PAGE_SIZE, RWX), -EINVAL);
    assert_int_equal(pgtable_map(&pt, 0, pa(0), PAGE_SIZE + 1, RWX), -EINVAL);
    assert_int_equal(pgtable_unmap(&pt, 0, 1), -EINVAL);
    assert_int_equal(pgtable_protect(&pt, 0, PAGE_SIZE, 0), -EINVAL);
}

static void unmapping_a_page_splits_the_leaf_around_it(void **state) {
    (void)state;
    assert_int_equal(pgtable_map(&pt, GIB(1), pa(GIB(4)), GIB(1), PT_READ | PT_WRITE), 0);
    assert_int_equal(pgtable_unmap(&pt, GIB(1) + MIB(2) + PAGE_SIZE, PAGE_SIZE), 0);
    assert_int_equal(pt.tables, 2);
    assert_mapped(GIB(1), GIB(4), MIB(2), PT_READ | PT_WRITE);
    assert_mapped(GIB(1) + MIB(2), GIB(4) + MIB(2), PAGE_SIZE, PT_READ | PT_WRITE);
    assert_unmapped(GIB(1) + MIB(2) + PAGE_SIZE);
    assert_mapped(GIB(1) + MIB(2) + 2 * PAGE_SIZE, GIB(4) + MIB(2) + 2 * PAGE_SIZE, PAGE_SIZE, PT_READ | PT_WRITE);
    assert_mapped(GIB(1) + MIB(4), GIB(4) + MIB(4), MIB(2), PT_READ | PT_WRITE);
}

static void an_unmapped_range_can_be_mapped_again(void **state) {
    (void)state;
    assert_int_equal(pgtable_map(&pt, 0, pa(0), MIB(2) + PAGE_SIZE, RWX), 0);
    assert_int_equal(pgtable_unmap(&pt, 0, MIB(4)), 0);
    assert_int_equal(pgtable_map(&pt, 0, pa(GIB(1)), MIB(4), RWX), 0);
    assert_mapped(MIB(4) - 1, GIB(1) + MIB(4) - 1, 1, RWX);
}

static void protection_changes_what_is_mapped_only(void **state) {
    (void)state;
    assert_int_equal(pgtable_map(&pt, MIB(2), pa(MIB(2)), MIB(2), RWX), 0);
    assert_int_equal(pgtable_protect(&pt, 0, MIB(2) + PAGE_SIZE, PT_READ), 0);
    assert_unmapped(0);
    assert_mapped(MIB(2), MIB(2), PAGE_SIZE, PT_READ);
    assert_mapped(MIB(2) + PAGE_SIZE, MIB(2) + PAGE_SIZE, PAGE_SIZE, RWX);
}

static void the_host_stage_reaches_its_top(void **state) {
    pgtable_fini(&pt);
    assert_int_equal(setup_stage(PT_HOST), 0);
    (void)state;
    u64 top = 1ull << arch_pt_format(PT_HOST).input_bits;
    assert_int_equal(pgtable_map(&pt, top - PAGE_SIZE, pa(MIB(1)), PAGE_SIZE, PT_READ | PT_DEVICE), 0);
    assert_mapped(top - PAGE_SIZE, MIB(1), PAGE_SIZE, PT_READ | PT_DEVICE);
}

static void without_memory_for_a_table_mapping_fails_and_can_be_undone(void **state) {
    (void)state;
    void *all = NULL;
    for (void **p; (p = page_alloc(0)); all = p)
        *p = all;
    assert_int_equal(pgtable_map(&pt, 0, pa(0), PAGE_SIZE, RWX), -ENOMEM);
    assert_int_equal(pgtable_map(&pt, 0, pa(0), GIB(1), RWX), 0); // needs none
    assert_int_equal(pgtable_unmap(&pt, 0, PAGE_SIZE), -ENOMEM);
    assert_mapped(0, 0, GIB(1), RWX);
    while (all) {
        void *next = *(void **)all;
        page_free(all, 0);
        all = next;
    }
}

// Against a plain array, over a window around a 1 GiB boundary.
static void random_changes_match_a_flat_model(void **state) {
    (void)state;
    enum { PAGES = 3 * 512 };
    static struct {
        u64 to;
        u32 attr; // 0: not mapped
    } model[PAGES];
    u64 window = GIB(2) - MIB(2);
    srand(11);
    for (int round = 0; round < 400; round++) {
        u64 first = (u64)rand() % PAGES, count = 1 + (u64)rand() % (PAGES - first);
        if (rand() % 2) {
            first = align_down(first, 512);
            count = MIN(align_up(count, 512), PAGES - first);
        }
        u64 va = window + first * PAGE_SIZE, size = count * PAGE_SIZE;
        u64 to = GIB(1) + (u64)(rand() % 8) * (rand() % 2 ? MIB(2) : PAGE_SIZE);
        u32 attr = 1 + (u32)rand() % 7;
        bool taken = false;
        for (u64 i = first; i < first + count; i++)
            taken |= model[i].attr != 0;
        int what = rand() % 3;
        if (what == 0)
            assert_int_equal(pgtable_map(&pt, va, pa(to), size, attr), taken ? -EEXIST : 0);
        else if (what == 1)
            assert_int_equal(pgtable_unmap(&pt, va, size), 0);
        else
            assert_int_equal(pgtable_protect(&pt, va, size, attr), 0);
        for (u64 i = first; i < first + count; i++) {
            if (what == 0 && !taken) {
                model[i].to = to + (i - first) * PAGE_SIZE;
                model[i].attr = attr;
            } else if (what == 1) {
                model[i].attr = 0;
            } else if (what == 2 && model[i].attr) {
                model[i].attr = attr;
            }
        }
        for (u64 i = 0; i < PAGES; i++) {
            struct pt_mapping m;
            int err = pgtable_lookup(&pt, window + i * PAGE_SIZE, &m);
            if (err ? model[i].attr != 0 : m.pa.v != model[i].to || m.attr != model[i].attr)
                fail_msg("round %d, page %d differs", round, (int)i);
        }
    }
}

int main(void) {
#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(nothing_is_mapped_at_first),
        TEST(an_aligned_gibibyte_takes_no_table),
        TEST(the_largest_leaves_that_fit_are_used),
        TEST(the_alignment_of_both_sides_counts),
        TEST(mapping_over_a_mapping_changes_nothing),
        TEST(ranges_outside_the_input_or_output_are_refused),
        TEST(what_is_not_page_aligned_is_refused),
        TEST(unmapping_a_page_splits_the_leaf_around_it),
        TEST(an_unmapped_range_can_be_mapped_again),
        TEST(protection_changes_what_is_mapped_only),
        TEST(the_host_stage_reaches_its_top),
        TEST(without_memory_for_a_table_mapping_fails_and_can_be_undone),
        TEST(random_changes_match_a_flat_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
