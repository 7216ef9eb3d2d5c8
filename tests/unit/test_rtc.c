// SPDX-License-Identifier: Apache-2.0
// The machine's clocks on a block of memory in place of registers, and the calendar.
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "rtc.h"
#include "wallclock.h"

static _Alignas(8) u32 registers[0x400];

static struct board_rtc clock_at(enum rtc_kind kind, u32 first, u32 second) {
    registers[0] = first;
    registers[1] = second;
    return (struct board_rtc){kind, {(u64)(uintptr_t)registers, sizeof(registers)}};
}

static void a_PL031_counts_seconds(void **state) {
    (void)state;
    const struct board_rtc rtc = clock_at(RTC_PL031, 0xf0000001, 99);
    u64 seconds;
    assert_int_equal(rtc_read(&rtc, &seconds), 0);
    assert_int_equal(seconds, 0xf0000001);
}

static void a_goldfish_clock_counts_nanoseconds(void **state) {
    (void)state;
    const u64 ns = 1767225600ull * 1000000000 + 999999999;
    const struct board_rtc rtc = clock_at(RTC_GOLDFISH, (u32)ns, (u32)(ns >> 32));
    u64 seconds;
    assert_int_equal(rtc_read(&rtc, &seconds), 0);
    assert_int_equal(seconds, 1767225600);
}

static void a_clock_that_was_never_set_or_is_not_there_is_told(void **state) {
    (void)state;
    const struct board_rtc unset = clock_at(RTC_PL031, 0, 0), none = {};
    u64 seconds;
    assert_int_equal(rtc_read(&unset, &seconds), -EINVAL);
    assert_int_equal(rtc_read(&none, &seconds), -ENODEV);
}

static void dates_and_seconds_are_each_others_inverse(void **state) {
    (void)state;
    const struct date leap = date_of(951782400 + 86399);
    assert_int_equal(leap.year, 2000);
    assert_int_equal(leap.month, 2);
    assert_int_equal(leap.day, 29);
    assert_int_equal(leap.second, 59);
    assert_int_equal(leap.weekday, 3); // a Tuesday
    for (u64 day = 0; day < 200000; day++) {
        const struct date d = date_of(day * 86400 + day % 86400);
        assert_int_equal(epoch_of(&d), day * 86400 + day % 86400);
    }
}

static void the_time_goes_on_from_what_was_told(void **state) {
    (void)state;
    wallclock_set(951782400);
    const u64 now = wallclock_seconds();
    assert_true(now >= 951782400 && now < 951782400 + 60);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_PL031_counts_seconds),
        cmocka_unit_test(a_goldfish_clock_counts_nanoseconds),
        cmocka_unit_test(a_clock_that_was_never_set_or_is_not_there_is_told),
        cmocka_unit_test(dates_and_seconds_are_each_others_inverse),
        cmocka_unit_test(the_time_goes_on_from_what_was_told),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
