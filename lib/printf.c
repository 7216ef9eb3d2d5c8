// SPDX-License-Identifier: Apache-2.0
// vsnprintf() without floating point, locales or allocation.
#include "names.h"

#include "include/stdio.h"
#include "include/string.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

struct output {
    char *buf;
    size_t size;  // of buf; output past it is counted only
    size_t count; // characters so far
};

struct spec {
    bool left, zero, plus, space, alternate;
    size_t width;
    bool has_precision;
    size_t precision;
    int length; // bytes of the integer argument
};

static void put(struct output *out, char c) {
    if (out->count < out->size)
        out->buf[out->count] = c;
    out->count++;
}

static void put_run(struct output *out, char c, size_t n) {
    while (n--)
        put(out, c);
}

static void put_text(struct output *out, const char *s, size_t n) {
    while (n--)
        put(out, *s++);
}

static size_t read_number(const char **fmt) {
    size_t n = 0;
    for (; **fmt >= '0' && **fmt <= '9'; (*fmt)++)
        if (n < INT_MAX / 10)
            n = n * 10 + (size_t)(**fmt - '0');
    return n;
}

static void read_flags(const char **fmt, struct spec *spec) {
    for (;; (*fmt)++) {
        switch (**fmt) {
        case '-':
            spec->left = true;
            break;
        case '0':
            spec->zero = true;
            break;
        case '+':
            spec->plus = true;
            break;
        case ' ':
            spec->space = true;
            break;
        case '#':
            spec->alternate = true;
            break;
        default:
            return;
        }
    }
}

static int read_length(const char **fmt) {
    switch (*(*fmt)++) {
    case 'h':
        if (**fmt != 'h')
            return sizeof(short);
        (*fmt)++;
        return sizeof(char);
    case 'l':
        if (**fmt == 'l')
            (*fmt)++;
        return sizeof(long long);
    case 'z':
    case 'j':
    case 't':
        return sizeof(long long);
    default:
        (*fmt)--;
        return sizeof(int);
    }
}
static_assert(sizeof(long) == sizeof(long long) && sizeof(size_t) == sizeof(long long), "LP64 is assumed");

static void put_string(struct output *out, const struct spec *spec, const char *s) {
    if (!s)
        s = "(null)";
    const size_t n = spec->has_precision ? strnlen(s, spec->precision) : strlen(s);
    const size_t pad = spec->width > n ? spec->width - n : 0;
    if (!spec->left)
        put_run(out, ' ', pad);
    put_text(out, s, n);
    if (spec->left)
        put_run(out, ' ', pad);
}

static void put_character(struct output *out, const struct spec *spec, char c) {
    const size_t pad = spec->width > 1 ? spec->width - 1 : 0;
    if (!spec->left)
        put_run(out, ' ', pad);
    put(out, c);
    if (spec->left)
        put_run(out, ' ', pad);
}

// Division by a constant is a multiplication; one by a variable base would cost a divide a digit.
static char *format_digits(char *end, uint64_t value, char conversion) {
    const char *digits = conversion == 'X' ? "0123456789ABCDEF" : "0123456789abcdef";
    switch (conversion) {
    case 'x':
    case 'X':
        for (; value; value >>= 4)
            *--end = digits[value & 15];
        break;
    case 'o':
        for (; value; value >>= 3)
            *--end = digits[value & 7];
        break;
    default:
        for (; value; value /= 10)
            *--end = digits[value % 10];
    }
    return end;
}

static void put_integer(struct output *out, const struct spec *spec, uint64_t value, const char *prefix, char how) {
    char text[24];
    char *end = text + sizeof(text);
    const char *first = format_digits(end, value, how);
    const size_t digits = (size_t)(end - first), prefixed = strlen(prefix);
    size_t zeros = 0;
    const size_t least = spec->has_precision ? spec->precision : 1;
    if (digits < least)
        zeros = least - digits;
    if (how == 'o' && spec->alternate && zeros == 0)
        zeros = 1;
    size_t length = prefixed + zeros + digits;
    if (spec->zero && !spec->left && !spec->has_precision && spec->width > length) {
        zeros += spec->width - length;
        length = spec->width;
    }
    const size_t pad = spec->width > length ? spec->width - length : 0;
    if (!spec->left)
        put_run(out, ' ', pad);
    put_text(out, prefix, prefixed);
    put_run(out, '0', zeros);
    put_text(out, first, digits);
    if (spec->left)
        put_run(out, ' ', pad);
}

static void put_signed(struct output *out, const struct spec *spec, int64_t value) {
    const int spare = 8 * ((int)sizeof(value) - spec->length);
    value = (int64_t)((uint64_t)value << spare) >> spare;
    const char *prefix = value < 0 ? "-" : spec->plus ? "+" : spec->space ? " " : "";
    put_integer(out, spec, value < 0 ? 0 - (uint64_t)value : (uint64_t)value, prefix, 'd');
}

static void put_unsigned(struct output *out, const struct spec *spec, uint64_t value, char conversion) {
    const int spare = 8 * ((int)sizeof(value) - spec->length);
    value = value << spare >> spare;
    const char *prefix = "";
    if (spec->alternate && value)
        prefix = conversion == 'x' ? "0x" : conversion == 'X' ? "0X" : "";
    put_integer(out, spec, value, prefix, conversion);
}

static void put_pointer(struct output *out, const struct spec *spec, const void *p) {
    if (p) {
        put_integer(out, spec, (uintptr_t)p, "0x", 'x');
    } else {
        const struct spec plain = {.left = spec->left, .width = spec->width};
        put_string(out, &plain, "(nil)");
    }
}

// The arguments are taken in vsnprintf() itself: a va_list handed on by value would not advance everywhere.
struct arguments {
    va_list list;
};

static void read_spec(const char **fmt, struct spec *spec, struct arguments *args) {
    read_flags(fmt, spec);
    if (**fmt == '*') {
        (*fmt)++;
        const int width = va_arg(args->list, int);
        spec->left |= width < 0;
        spec->width = width < 0 ? (size_t)(-(long)width) : (size_t)width;
    } else {
        spec->width = read_number(fmt);
    }
    if (**fmt == '.') {
        (*fmt)++;
        spec->has_precision = true;
        if (**fmt == '*') {
            (*fmt)++;
            const int precision = va_arg(args->list, int);
            spec->has_precision = precision >= 0;
            spec->precision = precision >= 0 ? (size_t)precision : 0;
        } else {
            spec->precision = read_number(fmt);
        }
    }
    spec->length = read_length(fmt);
}

static void put_conversion(struct output *out, const struct spec *spec, char conversion, struct arguments *args) {
    const bool wide = spec->length == sizeof(long long);
    switch (conversion) {
    case 'd':
    case 'i':
        put_signed(out, spec, wide ? va_arg(args->list, long long) : va_arg(args->list, int));
        return;
    case 'u':
    case 'o':
    case 'x':
    case 'X':
        put_unsigned(out, spec, wide ? va_arg(args->list, unsigned long long) : va_arg(args->list, unsigned int),
                     conversion);
        return;
    case 'c':
        put_character(out, spec, (char)va_arg(args->list, int));
        return;
    case 's':
        put_string(out, spec, va_arg(args->list, const char *));
        return;
    case 'p':
        put_pointer(out, spec, va_arg(args->list, const void *));
        return;
    default: // vsnprintf() asks for these only
        return;
    }
}

int vsnprintf(char *buf, size_t size, const char *fmt, va_list list) {
    struct output out = {.buf = buf, .size = size};
    struct arguments args;
    va_copy(args.list, list);

    while (*fmt) {
        if (*fmt != '%') {
            put(&out, *fmt++);
            continue;
        }
        const char *start = fmt++;
        struct spec spec = {0};
        read_spec(&fmt, &spec, &args);
        const char conversion = *fmt;
        if (conversion)
            fmt++;
        if (conversion == '%')
            put(&out, '%');
        else if (conversion && strchr("diuoxXcsp", conversion))
            put_conversion(&out, &spec, conversion, &args);
        else
            put_text(&out, start, (size_t)(fmt - start));
    }
    va_end(args.list);
    if (size)
        buf[out.count < size ? out.count : size - 1] = '\0';
    return out.count > INT_MAX ? INT_MAX : (int)out.count;
}

int snprintf(char *buf, size_t size, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    const int n = vsnprintf(buf, size, fmt, args);
    va_end(args);
    return n;
}
