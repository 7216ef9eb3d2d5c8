// SPDX-License-Identifier: Apache-2.0
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "vpl031.h"

#define CHECK assert_true
#include "wallclock.h"
#include "../one_device.h"

enum { DR = 0x00, MR = 0x04, LR = 0x08, CR = 0x0c, IMSC = 0x10, RIS = 0x14, MIS = 0x18, ICR = 0x1c };
enum { BASE = 0x9010000, IRQ = 34, NEW_YEAR_2026 = 1767225600 };
#define SECOND (1000ull * 1000 * 1000)

static int setup(void **state) {
    (void)state;
    one_device_vm(BASE, IRQ);
    wallclock_set(NEW_YEAR_2026);
    return vpl031_create(&vm, gpa(BASE), IRQ);
}

static int teardown(void **state) {
    (void)state;
    vpl031_destroy(&vm);
    return vm.bus.count != 0;
}

static u32 get(u32 offset) {
    return (u32)device_access(offset, 4, false, ~0ull);
}

static void put(u32 offset, u32 value) {
    device_access(offset, 4, true, value);
}

static void identifies_itself(void **state) {
    (void)state;
    static const u8 ids[] = {0x31, 0x10, 0x04, 0x00, 0x0d, 0xf0, 0x05, 0xb1};
    for (u32 i = 0; i < ARRAY_SIZE(ids); i++)
        assert_int_equal(get(0xfe0 + i * 4), ids[i]);
    assert_int_equal(get(CR), 1);
}

static void counts_seconds_of_wall_clock_time(void **state) {
    (void)state;
    assert_int_equal(get(DR), NEW_YEAR_2026);
    host_advance(3 * SECOND);
    assert_int_equal(get(DR), NEW_YEAR_2026 + 3);
    wallclock_set(2000000000);
    assert_int_equal(get(DR), 2000000000);
}

static void can_be_set_and_falls_back_at_reset(void **state) {
    (void)state;
    put(LR, 1000);
    assert_int_equal(get(LR), 1000);
    assert_int_equal(get(DR), 1000);
    host_advance(SECOND);
    assert_int_equal(get(DR), 1001);
    bus_reset(&vm.bus);
    assert_int_equal(get(DR), NEW_YEAR_2026 + 1);
}

static void interrupts_at_the_match_once(void **state) {
    (void)state;
    put(LR, 1000);
    put(IMSC, 1);
    put(ICR, 1);
    put(MR, 1005);
    host_advance(4 * SECOND);
    assert_false(line);
    host_advance(SECOND + SECOND / 2);
    assert_true(line);
    assert_int_equal(get(RIS), 1);
    assert_int_equal(get(MIS), 1);
    put(ICR, 1);
    assert_false(line);
    host_advance(10 * SECOND);
    assert_false(line);
}

static void a_masked_match_shows_in_ris_only(void **state) {
    (void)state;
    put(LR, 1000);
    put(ICR, 1);
    put(MR, 1002);
    host_advance(3 * SECOND);
    assert_false(line);
    assert_int_equal(get(RIS), 1);
    assert_int_equal(get(MIS), 0);
    put(IMSC, 1);
    assert_true(line);
}

static void a_match_moved_away_does_not_come(void **state) {
    (void)state;
    put(LR, 1000);
    put(IMSC, 1);
    put(MR, 1002);
    put(MR, 1020);
    put(ICR, 1);
    host_advance(5 * SECOND);
    assert_false(line);
    put(LR, 1019); // the clock jumps close to it
    host_advance(2 * SECOND);
    assert_true(line);
}

static void setting_the_match_to_now_interrupts_at_once(void **state) {
    (void)state;
    put(IMSC, 1);
    put(MR, get(DR));
    assert_true(line);
}

static void reset_forgets_a_match(void **state) {
    (void)state;
    put(IMSC, 1);
    put(MR, get(DR) + 2);
    bus_reset(&vm.bus);
    put(IMSC, 1);
    host_advance(5 * SECOND);
    assert_false(line);
}

static void any_access_anywhere_is_survived(void **state) {
    (void)state;
    u64 rng = 1;
    for (u32 i = 0; i < 20000; i++) {
        rng = rng * 6364136223846793005u + 1442695040888963407u;
        u8 size = (u8)(1u << (rng >> 60 & 3));
        u32 offset = (u32)(rng >> 32) & (rng >> 59 & 1 ? 0xfff : 0x1f) & ~(size - 1u);
        struct bus_access a = {.size = size, .value = rng >> 20, .write = rng >> 58 & 1};
        assert_int_equal(bus_access(&vm.bus, gpa(BASE + offset), &a), 0);
        host_advance(rng >> 36 & 0xffff);
        assert_int_equal(line, get(MIS));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(identifies_itself, setup, teardown),
        cmocka_unit_test_setup_teardown(counts_seconds_of_wall_clock_time, setup, teardown),
        cmocka_unit_test_setup_teardown(can_be_set_and_falls_back_at_reset, setup, teardown),
        cmocka_unit_test_setup_teardown(interrupts_at_the_match_once, setup, teardown),
        cmocka_unit_test_setup_teardown(a_masked_match_shows_in_ris_only, setup, teardown),
        cmocka_unit_test_setup_teardown(a_match_moved_away_does_not_come, setup, teardown),
        cmocka_unit_test_setup_teardown(setting_the_match_to_now_interrupts_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(reset_forgets_a_match, setup, teardown),
        cmocka_unit_test_setup_teardown(any_access_anywhere_is_survived, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
