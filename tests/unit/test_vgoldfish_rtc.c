// SPDX-License-Identifier: Apache-2.0
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "vgoldfish_rtc.h"
#include "wallclock.h"

#define CHECK assert_true
#include "../one_device.h"

enum {
    TIME_LOW,
    TIME_HIGH = 4,
    ALARM_LOW = 8,
    ALARM_HIGH = 12,
    IRQ_ENABLED = 16,
    CLEAR_ALARM = 20,
    STATUS = 24,
    CLEAR_IRQ = 28
};
enum { BASE = 0x101000, IRQ = 11, NEW_YEAR_2026 = 1767225600 };
#define SECOND (1000ull * 1000 * 1000)

static int setup(void **state) {
    (void)state;
    one_device_vm(BASE, IRQ);
    wallclock_set(NEW_YEAR_2026);
    return vgoldfish_rtc_create(&vm, gpa(BASE), IRQ);
}

static int teardown(void **state) {
    (void)state;
    vgoldfish_rtc_destroy(&vm);
    return vm.bus.count != 0;
}

static u32 get(u32 offset) {
    return (u32)device_access(offset, 4, false, ~0ull);
}

static void put(u32 offset, u32 value) {
    device_access(offset, 4, true, value);
}

static u64 get_time(void) {
    const u32 low = get(TIME_LOW);
    return (u64)get(TIME_HIGH) << 32 | low;
}

static void put_pair(u32 offset, u64 value) { // as Linux does
    put(offset + 4, (u32)(value >> 32));
    put(offset, (u32)value);
}

static void tells_nanoseconds_of_wall_clock_time(void **state) {
    (void)state;
    const u64 begin = get_time();
    assert_int_equal(begin / SECOND, NEW_YEAR_2026);
    host_advance(5 * SECOND / 2);
    assert_int_equal(get_time() - begin, 5 * SECOND / 2);
}

static void the_high_half_is_that_of_the_low_half_read_before(void **state) {
    (void)state;
    put_pair(TIME_LOW, 7ull << 32 | 0xffffff00);
    (void)get(TIME_LOW);
    host_advance(SECOND);
    assert_int_equal(get(TIME_HIGH), 7);
    assert_int_equal(get_time() >> 32, 8);
}

static void can_be_set_and_falls_back_at_reset(void **state) {
    (void)state;
    put_pair(TIME_LOW, 1000 * SECOND);
    assert_in_range(get_time(), 1000 * SECOND, 1000 * SECOND + SECOND / 2);
    host_advance(SECOND);
    assert_int_equal(get_time() / SECOND, 1001);
    bus_reset(&vm.bus);
    assert_int_equal(get_time() / SECOND, NEW_YEAR_2026 + 1);
}

static void the_alarm_comes_once_when_its_time_has_come(void **state) {
    (void)state;
    put(IRQ_ENABLED, 1);
    put_pair(ALARM_LOW, get_time() + 2 * SECOND);
    assert_int_equal(get(STATUS), 1);
    host_advance(SECOND);
    assert_false(line);
    host_advance(SECOND + 1);
    assert_true(line);
    assert_int_equal(get(STATUS), 0);
    put(CLEAR_IRQ, 1);
    assert_false(line);
    host_advance(10 * SECOND);
    assert_false(line);
}

static void an_alarm_of_the_past_comes_at_once(void **state) {
    (void)state;
    put(IRQ_ENABLED, 1);
    put_pair(ALARM_LOW, 5);
    assert_true(line);
    assert_int_equal(get(STATUS), 0);
}

static void a_cleared_or_later_alarm_does_not_come(void **state) {
    (void)state;
    put(IRQ_ENABLED, 1);
    put_pair(ALARM_LOW, get_time() + SECOND);
    put(CLEAR_ALARM, 1);
    host_advance(2 * SECOND);
    assert_false(line);
    put_pair(ALARM_LOW, get_time() + SECOND);
    put_pair(ALARM_LOW, get_time() + 3 * SECOND);
    host_advance(2 * SECOND);
    assert_false(line);
    host_advance(2 * SECOND);
    assert_true(line);
}

static void the_alarm_waits_until_interrupts_are_enabled(void **state) {
    (void)state;
    put_pair(ALARM_LOW, get_time() + SECOND);
    host_advance(2 * SECOND);
    assert_false(line);
    put(IRQ_ENABLED, 1);
    assert_true(line);
    put(IRQ_ENABLED, 0);
    assert_false(line);
}

static void an_alarm_stays_where_it_is_on_a_clock_that_is_set(void **state) {
    (void)state;
    put(IRQ_ENABLED, 1);
    put_pair(ALARM_LOW, get_time() + 10 * SECOND);
    put_pair(TIME_LOW, get_time() - 5 * SECOND); // further away
    host_advance(11 * SECOND);
    assert_false(line);
    assert_int_equal(get(STATUS), 1);
    host_advance(5 * SECOND);
    assert_true(line);
    put(CLEAR_IRQ, 1);
    put_pair(ALARM_LOW, get_time() + 10 * SECOND);
    put_pair(TIME_LOW, get_time() + 8 * SECOND); // nearer
    host_advance(3 * SECOND);
    assert_true(line);
    put(CLEAR_IRQ, 1);
    put_pair(ALARM_LOW, get_time() + 10 * SECOND);
    put_pair(TIME_LOW, get_time() + 20 * SECOND); // past
    assert_true(line);
}

static void half_a_new_alarm_leaves_the_old_one_as_it_is(void **state) {
    (void)state;
    put(IRQ_ENABLED, 1);
    put_pair(ALARM_LOW, get_time() + SECOND);
    put(ALARM_HIGH, 0x7fffffff);
    host_advance(2 * SECOND);
    assert_true(line);
}

static void any_access_is_borne(void **state) {
    (void)state;
    for (u32 offset = 0; offset < VGOLDFISH_RTC_SIZE; offset++)
        for (u8 size = 1; size <= 8; size *= 2)
            for (u32 write = 0; write < 2 && offset % size == 0; write++) {
                struct bus_access a = {.size = size, .value = ~0ull, .write = write};
                assert_int_equal(bus_access(&vm.bus, gpa(BASE + offset), &a), 0);
                if (!write && (size != 4 || offset >= 0x20))
                    assert_int_equal(a.value, 0);
            }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(tells_nanoseconds_of_wall_clock_time),
        TEST(the_high_half_is_that_of_the_low_half_read_before),
        TEST(can_be_set_and_falls_back_at_reset),
        TEST(the_alarm_comes_once_when_its_time_has_come),
        TEST(an_alarm_of_the_past_comes_at_once),
        TEST(a_cleared_or_later_alarm_does_not_come),
        TEST(the_alarm_waits_until_interrupts_are_enabled),
        TEST(any_access_is_borne),
        TEST(an_alarm_stays_where_it_is_on_a_clock_that_is_set),
        TEST(half_a_new_alarm_leaves_the_old_one_as_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
