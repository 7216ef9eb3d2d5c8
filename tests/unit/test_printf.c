// SPDX-License-Identifier: Apache-2.0
// lib/printf.c against the system's vsnprintf(), on seeded random formats.
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Without the format attribute, for the formats below are made at run time.
int lib_snprintf(char *buf, size_t size, const char *fmt, ...);

#pragma clang diagnostic ignored "-Wformat-nonliteral"
#pragma clang diagnostic ignored "-Wformat-security"
#pragma clang diagnostic ignored "-Wformat"

static uint64_t seed = 0x2545f4914f6cdd1du;

static uint64_t random_u64(void) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

#define SAME(...)                                                                                                      \
    do {                                                                                                               \
        char ours_[300], theirs_[300];                                                                                 \
        memset(ours_, '~', sizeof(ours_));                                                                             \
        memset(theirs_, '~', sizeof(theirs_));                                                                         \
        const int n_ = lib_snprintf(ours_, size, __VA_ARGS__);                                                         \
        const int m_ = snprintf(theirs_, size, __VA_ARGS__);                                                           \
        if (n_ != m_ || memcmp(ours_, theirs_, sizeof(ours_)) != 0)                                                    \
            fail_msg("%s: \"%.200s\" (%d), wanted \"%.200s\" (%d)", #__VA_ARGS__, ours_, n_, theirs_, m_);             \
    } while (0)

static void make_format(char *fmt, const char *flags, const char *conversion) {
    char *p = fmt;
    *p++ = '<';
    *p++ = '%';
    for (; *flags; flags++)
        if (random_u64() % 4 == 0)
            *p++ = *flags;
    if (random_u64() % 2)
        p += sprintf(p, "%u", (unsigned int)(random_u64() % 29 + 1));
    if (random_u64() % 3 == 0)
        p += random_u64() % 4 ? sprintf(p, ".%u", (unsigned int)(random_u64() % 25)) : sprintf(p, ".");
    sprintf(p, "%s>", conversion);
}

static void integers_of_every_length_match_the_system(void **state) {
    (void)state;
    static const char *const lengths[] = {"hh", "h", "", "l", "ll", "z", "j", "t"};
    for (int i = 0; i < 60000; i++) {
        const bool is_signed = i % 2;
        const size_t kind = random_u64() % 8;
        char conversion[5], fmt[64];
        sprintf(conversion, "%s%c", lengths[kind], is_signed ? "di"[random_u64() % 2] : "uxXo"[random_u64() % 4]);
        make_format(fmt, is_signed ? "-0+ " : "-0#", conversion);
        const size_t size = random_u64() % 5 ? 300 : random_u64() % 20;
        const uint64_t value = random_u64() % 8 ? random_u64() >> random_u64() % 64 : 0;
        if (kind < 3)
            SAME(fmt, (int)value);
        else
            SAME(fmt, value);
    }
}

static void strings_and_characters_match_the_system(void **state) {
    (void)state;
    static const char *const texts[] = {"", "a", "bulkhead", "a line of text that is a little longer"};
    for (int i = 0; i < 10000; i++) {
        char fmt[64];
        const size_t size = random_u64() % 3 ? 300 : random_u64() % 20;
        make_format(fmt, "-", "s");
        const char *text = texts[random_u64() % 4];
        SAME(fmt, text);
        sprintf(fmt, "[%%%s%uc]", random_u64() % 2 ? "-" : "", (unsigned int)(random_u64() % 9 + 1));
        const int letter = (int)('a' + random_u64() % 26);
        SAME(fmt, letter);
    }
}

static void the_corner_cases_match_the_system(void **state) {
    (void)state;
    const size_t size = 300;
    SAME("%d %i %u", INT_MIN, INT_MAX, UINT_MAX);
    SAME("%ld %lld %lu %zu %#lx", LONG_MIN, LLONG_MIN, ULONG_MAX, SIZE_MAX, ULONG_MAX);
    SAME("%*d|%-*d|%.*d|%*.*s", 8, 42, 8, 42, 5, 42, 10, 3, "abcdef");
    SAME("%*d|%.*s|%.*d", -8, 42, -1, "abc", -1, 42);
    SAME("%p|%20p|%-20p|%p", (void *)0x1234abcdu, (void *)1, (void *)UINTPTR_MAX, (void *)0);
    SAME("100%%, %s and %c", "text", 'c');
    SAME("%.0d|%.0u|%5.0x|%#.0x|%.0o|%#.0o|%#o|%+.0d", 0, 0, 0, 0, 0, 0, 0, 0);
    SAME("%.3s|%.0s|%5.1s|%-5.1s|", "abcdef", "abc", "abc", "abc");
    SAME("%05d|%-05d|%+05d|% 05d|%05.2d", 42, 42, 42, 42, 42);
    SAME("");
    SAME("no conversion at all");
}

static void a_buffer_of_no_bytes_is_not_touched(void **state) {
    (void)state;
    assert_int_equal(lib_snprintf(nullptr, 0, "%s-%d", "length", 7), 8);
}

static void a_precision_bounds_how_far_a_string_is_read(void **state) {
    (void)state;
    const char unterminated[4] = {'a', 'b', 'c', 'd'};
    char buf[16];
    assert_int_equal(lib_snprintf(buf, sizeof(buf), "%.4s", unterminated), 4);
    assert_string_equal(buf, "abcd");
}

static void what_is_not_known_is_printed_as_it_stands(void **state) {
    (void)state;
    char buf[32];
    lib_snprintf(buf, sizeof(buf), "%q %5k %d", 1);
    assert_string_equal(buf, "%q %5k 1");
    lib_snprintf(buf, sizeof(buf), "end%");
    assert_string_equal(buf, "end%");
    lib_snprintf(buf, sizeof(buf), "end%-08l");
    assert_string_equal(buf, "end%-08l");
    lib_snprintf(buf, sizeof(buf), "%s", (char *)nullptr);
    assert_string_equal(buf, "(null)");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_of_every_length_match_the_system),
        cmocka_unit_test(strings_and_characters_match_the_system),
        cmocka_unit_test(the_corner_cases_match_the_system),
        cmocka_unit_test(a_buffer_of_no_bytes_is_not_touched),
        cmocka_unit_test(a_precision_bounds_how_far_a_string_is_read),
        cmocka_unit_test(what_is_not_known_is_printed_as_it_stands),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
