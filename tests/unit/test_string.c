// SPDX-License-Identifier: Apache-2.0
// lib/string.c and lib/stdlib.c against the system's C library, on seeded random inputs.
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *lib_memcpy(void *dst, const void *src, size_t n);
void *lib_memmove(void *dst, const void *src, size_t n);
void *lib_memset(void *dst, int c, size_t n);
int lib_memcmp(const void *a, const void *b, size_t n);
void *lib_memchr(const void *s, int c, size_t n);
size_t lib_strlen(const char *s);
size_t lib_strnlen(const char *s, size_t max);
int lib_strcmp(const char *a, const char *b);
int lib_strncmp(const char *a, const char *b, size_t n);
char *lib_strchr(const char *s, int c);
char *lib_strrchr(const char *s, int c);
char *lib_strstr(const char *haystack, const char *needle);
unsigned long lib_strtoul(const char *s, char **end, int base);
unsigned long long lib_strtoull(const char *s, char **end, int base);

enum { AREA = 700, ROUNDS = 20000 };

static uint64_t seed;

static uint64_t random_below(uint64_t limit) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed % limit;
}

static int reset_seed(void **state) {
    (void)state;
    seed = 0x9e3779b97f4a7c15u;
    return 0;
}

static void fill(unsigned char *p, size_t n, unsigned int values) {
    for (size_t i = 0; i < n; i++)
        p[i] = (unsigned char)random_below(values);
}

static int sign(int v) {
    return (v > 0) - (v < 0);
}

static void memcpy_copies_any_length_at_any_alignment(void **state) {
    (void)state;
    static unsigned char from[AREA], ours[AREA], theirs[AREA];
    for (int i = 0; i < ROUNDS; i++) {
        fill(from, sizeof(from), 256);
        fill(ours, sizeof(ours), 256);
        memcpy(theirs, ours, sizeof(ours));
        const size_t n = random_below(i % 2 ? 40 : 600), d = random_below(50), s = random_below(50);
        assert_ptr_equal(lib_memcpy(ours + d, from + s, n), ours + d);
        memcpy(theirs + d, from + s, n);
        assert_memory_equal(ours, theirs, sizeof(ours));
    }
}

static void memmove_survives_every_overlap(void **state) {
    (void)state;
    static unsigned char ours[AREA], theirs[AREA];
    for (int i = 0; i < ROUNDS; i++) {
        fill(ours, sizeof(ours), 256);
        memcpy(theirs, ours, sizeof(ours));
        const size_t n = random_below(i % 2 ? 40 : 500), d = random_below(200), s = random_below(200);
        assert_ptr_equal(lib_memmove(ours + d, ours + s, n), ours + d);
        memmove(theirs + d, theirs + s, n);
        assert_memory_equal(ours, theirs, sizeof(ours));
    }
}

static void memset_fills_exactly_what_it_is_told(void **state) {
    (void)state;
    static unsigned char ours[AREA], theirs[AREA];
    for (int i = 0; i < ROUNDS; i++) {
        const size_t n = random_below(i % 2 ? 40 : 600), d = random_below(50);
        const int c = (int)random_below(1024) - 512;
        assert_ptr_equal(lib_memset(ours + d, c, n), ours + d);
        memset(theirs + d, c, n);
        assert_memory_equal(ours, theirs, sizeof(ours));
    }
}

static void memcmp_and_memchr_agree_with_the_system(void **state) {
    (void)state;
    static unsigned char a[AREA], b[AREA];
    for (int i = 0; i < ROUNDS; i++) {
        fill(a, sizeof(a), 3);
        memcpy(b, a, sizeof(b));
        b[random_below(sizeof(b))] = (unsigned char)random_below(256);
        const size_t n = random_below(600), at = random_below(2) ? 0 : random_below(50);
        assert_int_equal(sign(lib_memcmp(a + at, b + at, n)), sign(memcmp(a + at, b + at, n)));
        const int c = (int)random_below(4);
        assert_ptr_equal(lib_memchr(a + at, c, n), memchr(a + at, c, n));
        assert_ptr_equal(lib_memchr(b, b[at] + 256, n), memchr(b, b[at] + 256, n));
    }
}

static void string_routines_agree_with_the_system(void **state) {
    (void)state;
    char a[41], b[41];
    for (int i = 0; i < ROUNDS; i++) {
        const size_t la = random_below(40), lb = random_below(6);
        for (size_t k = 0; k < sizeof(a); k++) {
            a[k] = k < la ? (char)(random_below(10) ? 'a' + (int)random_below(2) : 200) : 0;
            b[k] = k < lb ? (char)('a' + (int)random_below(2)) : 0;
        }
        const size_t n = random_below(45);
        assert_int_equal(lib_strlen(a), strlen(a));
        assert_int_equal(lib_strnlen(a, n), n < la ? n : strlen(a));
        assert_int_equal(sign(lib_strcmp(a, b)), sign(strcmp(a, b)));
        assert_int_equal(sign(lib_strncmp(a, b, n)), sign(strncmp(a, b, n)));
        assert_ptr_equal(lib_strstr(a, b), strstr(a, b));
        for (int c = 0; c < 256; c++) {
            assert_ptr_equal(lib_strchr(a, c), strchr(a, c));
            assert_ptr_equal(lib_strrchr(a, c), strrchr(a, c));
        }
    }
}

static void compare_number(const char *text, int base) {
    char *ours, *theirs;
    const unsigned long a = lib_strtoul(text, &ours, base), b = strtoul(text, &theirs, base);
    if (a != b || ours != theirs)
        fail_msg("strtoul(\"%s\", %d): %#lx, %#lx wanted", text, base, a, b);
    assert_true(lib_strtoull(text, &ours, base) == strtoull(text, &theirs, base));
    assert_ptr_equal(ours, theirs);
}

static void numbers_are_read_as_the_system_reads_them(void **state) {
    (void)state;
    static const char *const texts[] = {
        "",
        "0",
        "-",
        "+",
        "0x",
        "0xg",
        "0x1F",
        "  42",
        "\t\n-42",
        "18446744073709551615",
        "08",
        "1z",
        "zzZ",
        "- 12",
        "115200n",
        "--1",
        "0X7fff",
        "00x12",
        "x12",
        "18446744073709551616",
        "-18446744073709551616",
        "ffffffffffffffff",
        "fffffffffffffffff",
        "-1",
        "99999999999999999999999",
    };
    static const int bases[] = {0, 2, 8, 10, 16, 36};
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
        for (size_t k = 0; k < sizeof(bases) / sizeof(*bases); k++)
            compare_number(texts[i], bases[k]);
    static const char alphabet[] = "0123456789abcdefxXz-+ ";
    for (int i = 0; i < ROUNDS; i++) {
        char text[30] = {0};
        const size_t n = random_below(sizeof(text) - 1);
        for (size_t k = 0; k < n; k++)
            text[k] = alphabet[random_below(i % 2 ? 10 : sizeof(alphabet) - 1)];
        compare_number(text, bases[random_below(6)]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(memcpy_copies_any_length_at_any_alignment, reset_seed),
        cmocka_unit_test_setup(memmove_survives_every_overlap, reset_seed),
        cmocka_unit_test_setup(memset_fills_exactly_what_it_is_told, reset_seed),
        cmocka_unit_test_setup(memcmp_and_memchr_agree_with_the_system, reset_seed),
        cmocka_unit_test_setup(string_routines_agree_with_the_system, reset_seed),
        cmocka_unit_test_setup(numbers_are_read_as_the_system_reads_them, reset_seed),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
