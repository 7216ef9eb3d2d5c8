// SPDX-License-Identifier: Apache-2.0
// core/gmem.c on the host's memory.
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "arch.h"
#include "gmem.h"
#include "host.h"
#include "page.h"
#include "vm.h"

static struct vm vm;
static struct page_stats before;
static u64 ram;

static int setup_with(struct gpa_range hole) {
    host_init(&(struct host_options){.memory = MIB(64), .guest_hole = hole});
    page_init(host_board(), pa(0), pa(0));
    memset((void *)&vm, 0, sizeof(vm));
    before = page_stats();
    ram = arch_guest_ram_base();
    return pgtable_init(&vm.s2, PT_GUEST);
}

static int setup(void **state) {
    (void)state;
    return setup_with((struct gpa_range){});
}

// Behind 4 MiB of RAM, 32 MiB of devices.
static int setup_hole(void **state) {
    (void)state;
    return setup_with((struct gpa_range){gpa(arch_guest_ram_base() + 2 * BLOCK_SIZE), 16 * BLOCK_SIZE});
}

static int teardown(void **state) {
    (void)state;
    gmem_destroy(&vm);
    pgtable_fini(&vm.s2);
    struct page_stats after = page_stats();
    return memcmp(&before, &after, sizeof(before)) ? -1 : 0;
}

static void create(u64 size) {
    vm.cfg.memory = size;
    assert_int_equal(gmem_create(&vm), 0);
    gmem_scrub(&vm);
}

// A guest of 16 MiB in pieces of 2 MiB that are not neighbours, in an order that is not theirs.
static void create_scattered(void) {
    enum { PIECES = 8 };
    pa_t all, other;
    assert_int_equal(page_alloc_blocks(2 * PIECES, &all), 2 * PIECES);
    u32 rest = 0;
    pa_t held[64];
    while (rest < ARRAY_SIZE(held) && page_alloc_blocks(1, &other))
        held[rest++] = other;
    for (u32 i = 0; i < PIECES; i++)
        page_free_blocks(pa(all.v + 2 * i * BLOCK_SIZE), 1);
    create(PIECES * BLOCK_SIZE);
    for (u32 i = 0; i < PIECES; i++)
        page_free_blocks(pa(all.v + (2 * i + 1) * BLOCK_SIZE), 1);
    while (rest)
        page_free_blocks(held[--rest], 1);
    assert_int_equal(vm.extent_count, PIECES);
}

static void memory_is_one_piece_where_it_can(void **state) {
    (void)state;
    create(MIB(32));
    assert_int_equal(vm.extent_count, 1);
    assert_int_equal(vm.extents[0].gpa.v, ram);
    assert_int_equal(page_stats().free_blocks, before.free_blocks - 16);
}

static void every_piece_is_mapped_in_stage_2(void **state) {
    (void)state;
    create_scattered();
    for (u32 i = 0; i < vm.extent_count; i++) {
        struct pt_mapping m;
        assert_int_equal(pgtable_lookup(&vm.s2, vm.extents[i].gpa.v, &m), 0);
        assert_int_equal(m.pa.v, vm.extents[i].pa.v);
        assert_int_equal(m.left, MIB(2));
        assert_int_equal(m.attr, PT_READ | PT_WRITE | PT_EXEC);
    }
    struct pt_mapping m;
    assert_int_equal(pgtable_lookup(&vm.s2, ram + vm.cfg.memory, &m), -ENOENT);
}

static void too_much_memory_leaves_nothing_behind(void **state) {
    (void)state;
    vm.cfg.memory = MIB(128);
    assert_int_equal(gmem_create(&vm), -ENOMEM);
    assert_int_equal(page_stats().free_blocks, before.free_blocks);
    assert_int_equal(vm.extent_count, 0);
}

static void scrubbed_memory_is_zero(void **state) {
    (void)state;
    create(MIB(4));
    memset(gmem_ptr(&vm, gpa(ram), MIB(4)), 0xa5, MIB(4));
    gmem_scrub(&vm);
    const u64 *p = gmem_ptr(&vm, gpa(ram), MIB(4));
    for (u64 i = 0; i < MIB(4) / 8; i++)
        assert_int_equal(p[i], 0);
}

static void accesses_go_across_pieces(void **state) {
    (void)state;
    static u8 out[MIB(5)], in[MIB(5)];
    create_scattered();
    for (size_t i = 0; i < sizeof(out); i++)
        out[i] = (u8)(i * 7 + (i >> 12));
    assert_int_equal(gmem_write(&vm, gpa(ram + MIB(1) + 3), out, sizeof(out)), 0);
    assert_int_equal(gmem_read(&vm, gpa(ram + MIB(1) + 3), in, sizeof(in)), 0);
    assert_memory_equal(in, out, sizeof(in));
    assert_int_equal(gmem_zero(&vm, gpa(ram + MIB(1) + 4), sizeof(in) - 2), 0);
    assert_int_equal(gmem_read(&vm, gpa(ram + MIB(1) + 3), in, sizeof(in)), 0);
    assert_int_equal(in[0], out[0]);
    assert_int_equal(in[sizeof(in) - 1], out[sizeof(in) - 1]);
    for (size_t i = 1; i < sizeof(in) - 1; i++)
        assert_int_equal(in[i], 0);
}

static void a_pointer_does_not_reach_into_the_next_piece(void **state) {
    (void)state;
    create_scattered();
    assert_non_null(gmem_ptr(&vm, gpa(ram + MIB(2) - 8), 8));
    assert_null(gmem_ptr(&vm, gpa(ram + MIB(2) - 8), 9));
    u64 *p = gmem_ptr(&vm, gpa(ram + MIB(6)), MIB(2));
    assert_non_null(p);
    *p = 42;
    u64 v;
    assert_int_equal(gmem_read(&vm, gpa(ram + MIB(6)), &v, 8), 0);
    assert_int_equal(v, 42);
}

static void what_is_not_ram_is_refused_whole(void **state) {
    (void)state;
    u8 buf[16] = {1, 2, 3};
    create(MIB(2));
    const struct {
        u64 at, size;
    } cases[] = {{ram - 1, 1}, {ram - 8, 16},  {ram + MIB(2) - 1, 2}, {ram + MIB(2), 1},      {0, 1},
                 {~0ull, 1},   {~0ull, ~0ull}, {ram, ~0ull},          {ram + 1, 0 - ram - 1}, {ram + MIB(2) + 1, 0}};
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        assert_int_equal(gmem_write(&vm, gpa(cases[i].at), buf, cases[i].size), -EFAULT);
        assert_int_equal(gmem_read(&vm, gpa(cases[i].at), buf, cases[i].size), -EFAULT);
        assert_int_equal(gmem_zero(&vm, gpa(cases[i].at), cases[i].size), -EFAULT);
        assert_null(gmem_ptr(&vm, gpa(cases[i].at), cases[i].size));
    }
    assert_int_equal(*(u8 *)gmem_ptr(&vm, gpa(ram + MIB(2) - 1), 1), 0); // nothing was copied
    assert_null(gmem_ptr(&vm, gpa(ram + MIB(2)), 0));
}

static void a_vm_without_memory_has_no_ram(void **state) {
    (void)state;
    u8 byte = 0;
    vm.ram = gpa(ram);
    assert_int_equal(gmem_read(&vm, gpa(ram), &byte, 1), -EFAULT);
    assert_null(gmem_ptr(&vm, gpa(ram), 0));
}

static void ram_makes_way_for_a_hole(void **state) {
    (void)state;
    const u64 hole = ram + 2 * BLOCK_SIZE, high = hole + 16 * BLOCK_SIZE;
    create(4 * BLOCK_SIZE);
    u64 value = 0x1122334455667788, back = 0;
    const u64 inside[] = {ram, hole - 8, high, high + 2 * BLOCK_SIZE - 8};
    const u64 end = high + 2 * BLOCK_SIZE, outside[] = {ram - 8, hole - 4, hole, high - 8, high - 4, end - 4, end};
    for (u32 i = 0; i < ARRAY_SIZE(inside); i++, value++) {
        assert_true(gmem_contains(&vm, gpa(inside[i]), 8));
        assert_int_equal(gmem_write(&vm, gpa(inside[i]), &value, 8), 0);
        assert_int_equal(gmem_read(&vm, gpa(inside[i]), &back, 8), 0);
        assert_int_equal(back, value);
        assert_memory_equal(gmem_ptr(&vm, gpa(inside[i]), 8), &value, 8);
    }
    for (u32 i = 0; i < ARRAY_SIZE(outside); i++) {
        assert_false(gmem_contains(&vm, gpa(outside[i]), 8));
        assert_int_equal(gmem_read(&vm, gpa(outside[i]), &back, 8), -EFAULT);
        assert_null(gmem_ptr(&vm, gpa(outside[i]), 8));
    }
    assert_false(gmem_contains(&vm, gpa(hole - 8), high - hole + 16));
    assert_null(gmem_ptr(&vm, gpa(hole), 0));
    assert_null(gmem_ptr(&vm, gpa(end), 0));
}

static void little_ram_does_not_reach_the_hole(void **state) {
    (void)state;
    const u64 hole = ram + 2 * BLOCK_SIZE, high = hole + 16 * BLOCK_SIZE;
    create(2 * BLOCK_SIZE);
    assert_true(gmem_contains(&vm, gpa(ram), 2 * BLOCK_SIZE));
    assert_false(gmem_contains(&vm, gpa(high), 0));
}

int main(void) {
#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(memory_is_one_piece_where_it_can),
        TEST(every_piece_is_mapped_in_stage_2),
        TEST(too_much_memory_leaves_nothing_behind),
        TEST(scrubbed_memory_is_zero),
        TEST(accesses_go_across_pieces),
        TEST(a_pointer_does_not_reach_into_the_next_piece),
        TEST(what_is_not_ram_is_refused_whole),
        TEST(a_vm_without_memory_has_no_ram),
        cmocka_unit_test_setup_teardown(ram_makes_way_for_a_hole, setup_hole, teardown),
        cmocka_unit_test_setup_teardown(little_ram_does_not_reach_the_hole, setup_hole, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
