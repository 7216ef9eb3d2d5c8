// SPDX-License-Identifier: Apache-2.0
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "arena.h"

static void memory_is_zeroed(void **state) {
    (void)state;
    char buf[64];
    struct arena arena;
    memset(buf, 0xff, sizeof(buf));
    arena_init(&arena, buf, sizeof(buf));
    char *p = arena_alloc(&arena, 64, 1);
    assert_ptr_equal(p, buf);
    for (int i = 0; i < 64; i++)
        assert_int_equal(p[i], 0);
}

static void the_address_is_aligned_whatever_the_base(void **state) {
    (void)state;
    alignas(64) char buf[256];
    struct arena arena;
    arena_init(&arena, buf + 3, sizeof(buf) - 3);
    for (size_t align = 1; align <= 64; align *= 2) {
        char *p = arena_alloc(&arena, 1, align);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % align, 0);
    }
}

static void a_full_arena_gives_null_and_stays_usable(void **state) {
    (void)state;
    char buf[16];
    struct arena arena;
    arena_init(&arena, buf, sizeof(buf));
    assert_non_null(arena_alloc(&arena, 10, 1));
    assert_null(arena_alloc(&arena, 7, 1));
    assert_non_null(arena_alloc(&arena, 6, 1));
    assert_null(arena_alloc(&arena, 1, 1));
    assert_int_equal(arena.used, 16);
}

static void a_size_near_the_end_of_the_address_space_does_not_wrap(void **state) {
    (void)state;
    char buf[16];
    struct arena arena;
    arena_init(&arena, buf, sizeof(buf));
    assert_non_null(arena_alloc(&arena, 1, 1));
    assert_null(arena_alloc(&arena, SIZE_MAX, 1));
    assert_null(arena_alloc(&arena, SIZE_MAX - 8, 8));
    assert_int_equal(arena.used, 1);
}

static void alignment_that_does_not_fit_is_no_memory(void **state) {
    (void)state;
    alignas(64) char buf[64];
    struct arena arena;
    arena_init(&arena, buf + 1, 20);
    assert_null(arena_alloc(&arena, 1, 64));
    assert_non_null(arena_alloc(&arena, 20, 1));
}

static void an_arena_without_memory_is_full(void **state) {
    (void)state;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    assert_null(arena_alloc(&arena, 1, 1));
    assert_null(arena_alloc(&arena, 0, 1));
}

static void reset_gives_everything_back(void **state) {
    (void)state;
    char buf[16];
    struct arena arena;
    arena_init(&arena, buf, sizeof(buf));
    assert_non_null(arena_alloc(&arena, 16, 1));
    arena_reset(&arena);
    assert_ptr_equal(arena_alloc(&arena, 16, 1), buf);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_zeroed),
        cmocka_unit_test(the_address_is_aligned_whatever_the_base),
        cmocka_unit_test(a_full_arena_gives_null_and_stays_usable),
        cmocka_unit_test(a_size_near_the_end_of_the_address_space_does_not_wrap),
        cmocka_unit_test(alignment_that_does_not_fit_is_no_memory),
        cmocka_unit_test(an_arena_without_memory_is_full),
        cmocka_unit_test(reset_gives_everything_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
