// SPDX-License-Identifier: Apache-2.0
// core/hostmap.c, with the host architecture's page-table format.
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "hostmap.h"

#include "arch.h"
#include "host.h"
#include "page.h"

static struct board board;
static u64 ram, image;

// A machine of 64 MiB with an image of 4 + 2 + 3 pages, and its own mapping.
static int setup(void **state) {
    (void)state;
    host_init(&(struct host_options){.memory = MIB(64)});
    page_init(host_board(), pa(0), pa(0));
    board = *host_board();
    ram = board.memory[0].base;
    assert_int_equal(ram % BLOCK_SIZE, 0);
    image = ram + MIB(4) + 5 * PAGE_SIZE;
    hostmap_init(&board, &(struct image_layout){.start = image,
                                                .text_end = image + 4 * PAGE_SIZE,
                                                .rodata_end = image + 6 * PAGE_SIZE,
                                                .end = image + 9 * PAGE_SIZE - 8});
    return 0;
}

static int teardown(void **state) {
    (void)state;
    pgtable_fini(&host_pt);
    return 0;
}

static u32 attr_at(u64 at) {
    struct pt_mapping m;
    if (pgtable_lookup(&host_pt, at, &m) != 0)
        return 0;
    assert_int_equal(m.pa.v, at);
    return m.attr;
}

static u64 left_at(u64 at) {
    struct pt_mapping m;
    assert_int_equal(pgtable_lookup(&host_pt, at, &m), 0);
    return m.left;
}

static void nothing_is_writable_and_executable(void **state) {
    (void)state;
    assert_int_equal(attr_at(ram), PT_READ | PT_WRITE);
    assert_int_equal(attr_at(image - PAGE_SIZE), PT_READ | PT_WRITE);
    assert_int_equal(attr_at(image), PT_READ | PT_EXEC);
    assert_int_equal(attr_at(image + 4 * PAGE_SIZE), PT_READ);
    assert_int_equal(attr_at(image + 6 * PAGE_SIZE), PT_READ | PT_WRITE);
    assert_int_equal(attr_at(image + 9 * PAGE_SIZE), PT_READ | PT_WRITE);
    assert_int_equal(attr_at(ram + MIB(64)), 0);
}

static void no_leaf_is_larger_than_a_block(void **state) {
    (void)state;
    for (u64 at = ram; at < ram + MIB(64); at += BLOCK_SIZE)
        assert_true(left_at(at) <= BLOCK_SIZE);
    assert_int_equal(pgtable_map(&host_pt, GIB(8), pa(GIB(8)), GIB(1), PT_READ), 0);
    assert_int_equal(left_at(GIB(8)), BLOCK_SIZE);
}

static void *take_block(void) {
    pa_t base;
    assert_int_equal(page_alloc_blocks(1, &base), 1);
    return (void *)(uintptr_t)base.v;
}

static void a_block_is_mapped_by_pages_and_guards_come_and_go(void **state) {
    (void)state;
    void *block = take_block();
    u64 at = (uintptr_t)block;
    assert_int_equal(left_at(at), BLOCK_SIZE);
    for (u32 round = 0; round < 2; round++) { // the second time it is by pages already
        assert_int_equal(hostmap_split(block), 0);
        for (u64 page = at; page < at + BLOCK_SIZE; page += PAGE_SIZE) {
            assert_int_equal(left_at(page), PAGE_SIZE);
            assert_int_equal(attr_at(page), PT_READ | PT_WRITE);
        }
        hostmap_guards(block, 8 * PAGE_SIZE, true);
        for (u64 page = at; page < at + BLOCK_SIZE; page += PAGE_SIZE) {
            bool guard = page != at && page % (8 * PAGE_SIZE) == 0;
            assert_int_equal(attr_at(page), guard ? 0 : PT_READ | PT_WRITE);
        }
        hostmap_guards(block, 8 * PAGE_SIZE, false);
    }
    for (u64 other = ram + MIB(8); other < ram + MIB(64); other += BLOCK_SIZE)
        assert_true(other == at || left_at(other) == BLOCK_SIZE);
}

static void without_memory_for_a_table_a_block_stays_as_it_is(void **state) {
    (void)state;
    void *block = take_block(), *all = NULL;
    for (void **p; (p = page_alloc(0)); all = p)
        *p = all;
    assert_int_equal(hostmap_split(block), -ENOMEM);
    assert_int_equal(left_at((uintptr_t)block), BLOCK_SIZE);
    assert_int_equal(attr_at((uintptr_t)block), PT_READ | PT_WRITE);
    while (all) {
        void *next = *(void **)all;
        page_free(all, 0);
        all = next;
    }
    assert_int_equal(hostmap_split(block), 0);
}

static void a_device_tree_outside_ram_is_readable(void **state) {
    (void)state;
    pgtable_fini(&host_pt);
    board.fdt = (struct region){.base = ram + MIB(512) + 0x123, .size = PAGE_SIZE};
    hostmap_init(&board, &(struct image_layout){0});
    assert_int_equal(attr_at(ram + MIB(512)), PT_READ);
    assert_int_equal(attr_at(ram + MIB(512) + PAGE_SIZE), PT_READ);
    assert_int_equal(attr_at(ram + MIB(512) + 2 * PAGE_SIZE), 0);
    hostmap_rest(ram + MIB(512), 3 * PAGE_SIZE, PT_READ | PT_WRITE, "more");
    assert_int_equal(attr_at(ram + MIB(512)), PT_READ); // as it was
    assert_int_equal(attr_at(ram + MIB(512) + 2 * PAGE_SIZE), PT_READ | PT_WRITE);
    hostmap_device(GIB(16) + 0x10, 0x20, "a device");
    hostmap_device(GIB(17), 0, "no device");
    assert_int_equal(attr_at(GIB(16)), PT_READ | PT_WRITE | PT_DEVICE);
    assert_int_equal(attr_at(GIB(17)), 0);
}

static void overlapping(void *arg) {
    (void)arg;
    hostmap_init(&board, &(struct image_layout){0});
    hostmap_device(board.memory[0].base, PAGE_SIZE, "a device");
}

static void a_device_in_ram_is_a_panic(void **state) {
    (void)state;
    host_init(&(struct host_options){.memory = MIB(64), .panic_ok = true});
    board = *host_board();
    assert_int_equal(host_run(overlapping, NULL), HOST_PANIC);
}

int main(void) {
#define test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        test(nothing_is_writable_and_executable),
        test(no_leaf_is_larger_than_a_block),
        test(a_block_is_mapped_by_pages_and_guards_come_and_go),
        test(without_memory_for_a_table_a_block_stays_as_it_is),
        test(a_device_tree_outside_ram_is_readable),
        test(a_device_in_ram_is_a_panic),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
