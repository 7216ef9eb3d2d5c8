// SPDX-License-Identifier: Apache-2.0
#include "names.h"

#include "include/stdlib.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

static unsigned int digit_value(char c) {
    if (c >= '0' && c <= '9')
        return (unsigned int)(c - '0');
    if (c >= 'a' && c <= 'z')
        return (unsigned int)(c - 'a') + 10;
    if (c >= 'A' && c <= 'Z')
        return (unsigned int)(c - 'A') + 10;
    return UINT_MAX;
}

static bool has_hex_prefix(const char *s) {
    return s[0] == '0' && (s[1] == 'x' || s[1] == 'X') && digit_value(s[2]) < 16;
}

static unsigned long long parse(const char *s, char **end, int base, unsigned long long max) {
    const char *p = s;
    unsigned long long value = 0;
    bool negative = false, any = false, overflow = false;

    while (*p == ' ' || (*p >= '\t' && *p <= '\r'))
        p++;
    if (*p == '+' || *p == '-')
        negative = *p++ == '-';
    if ((base == 0 || base == 16) && has_hex_prefix(p)) {
        p += 2;
        base = 16;
    } else if (base == 0) {
        base = *p == '0' ? 8 : 10;
    }
    const unsigned int radix = base >= 2 && base <= 36 ? (unsigned int)base : 0;
    for (; digit_value(*p) < radix; p++) {
        const unsigned int digit = digit_value(*p);
        any = true;
        if (value > (max - digit) / radix)
            overflow = true;
        else
            value = value * radix + digit;
    }
    if (end)
        *end = (char *)(uintptr_t)(any ? p : s);
    if (overflow)
        return max;
    return negative ? (0 - value) & max : value;
}

unsigned long strtoul(const char *s, char **end, int base) {
    return (unsigned long)parse(s, end, base, ULONG_MAX);
}

unsigned long long strtoull(const char *s, char **end, int base) {
    return parse(s, end, base, ULLONG_MAX);
}
