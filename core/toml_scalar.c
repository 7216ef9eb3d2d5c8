// SPDX-License-Identifier: Apache-2.0
// TOML's scalars: strings, integers, booleans; floats and dates only as far as their syntax.
#include <string.h>

#include "toml_reader.h"

// ---- strings (TOML 1.0 §String)

static int hex_value(char c) {
    if (toml_is_digit(c))
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static size_t utf8_encode(u32 code, char *out) {
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xc0 | code >> 6);
        out[1] = (char)(0x80 | (code & 0x3f));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (char)(0xe0 | code >> 12);
        out[1] = (char)(0x80 | (code >> 6 & 0x3f));
        out[2] = (char)(0x80 | (code & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | code >> 18);
    out[1] = (char)(0x80 | (code >> 12 & 0x3f));
    out[2] = (char)(0x80 | (code >> 6 & 0x3f));
    out[3] = (char)(0x80 | (code & 0x3f));
    return 4;
}

// \uXXXX or \UXXXXXXXX, pos behind the letter. What it encodes to is never longer than what it takes in the text.
static bool string_unicode(struct toml_reader *r, struct toml_place at, u32 digits, char *out, size_t *len) {
    u32 code = 0;
    for (u32 i = 0; i < digits; i++) {
        int v = hex_value(toml_peek(r, 0));
        if (v < 0)
            return toml_fail(r, at, "\\%c needs %u hexadecimal digits", digits == 4 ? 'u' : 'U', digits);
        code = code << 4 | (u32)v;
        r->pos++;
    }
    if (code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
        return toml_fail(r, at, "\\%c%0*x is not a Unicode character", digits == 4 ? 'u' : 'U', (int)digits, code);
    *len += utf8_encode(code, out + *len);
    return true;
}

// A backslash followed by nothing but blanks to the end of the line swallows all white space up to the next character.
static bool string_line_ending_backslash(struct toml_reader *r) {
    const char *p = r->pos + 1;
    while (p < r->end && (*p == ' ' || *p == '\t'))
        p++;
    if (!(p < r->end && *p == '\n') && !(r->end - p > 1 && p[0] == '\r' && p[1] == '\n'))
        return false;
    r->pos = p;
    while (r->pos < r->end) {
        if (toml_at_newline(r))
            toml_newline(r);
        else if (*r->pos == ' ' || *r->pos == '\t')
            r->pos++;
        else
            break;
    }
    return true;
}

static bool string_escape(struct toml_reader *r, bool multiline, char *out, size_t *len) {
    static const char letters[] = "btnfr\"\\", values[] = "\b\t\n\f\r\"\\";
    struct toml_place at = toml_here(r);
    if (multiline && string_line_ending_backslash(r))
        return true;
    char c = toml_peek(r, 1);
    const char *letter = c == '\0' ? NULL : strchr(letters, c);
    if (letter != NULL) {
        r->pos += 2;
        out[(*len)++] = values[letter - letters];
        return true;
    }
    if (c == 'u' || c == 'U') {
        r->pos += 2;
        return string_unicode(r, at, c == 'u' ? 4 : 8, out, len);
    }
    if (c > ' ' && c < 0x7f)
        return toml_fail(r, at, "unknown escape \\%c; a backslash itself is written \\\\", c);
    return toml_fail(r, at, "a backslash must be followed by one of b t n f r \" \\ u U");
}

// How long the body may be at most: up to the end of the line, or for a triple-quoted string up to its closing quotes
// (found without regard to escapes, then the reader asks again). Only for the size of the allocation.
static size_t string_extent(const struct toml_reader *r, char quote, bool multiline) {
    const char *p = r->pos;
    if (!multiline) {
        while (p < r->end && *p != '\n' && !(*p == quote)) {
            if (quote == '"' && *p == '\\' && r->end - p > 1)
                p++;
            p++;
        }
        return (size_t)(p - r->pos);
    }
    while (r->end - p >= 3 && !(p[0] == quote && p[1] == quote && p[2] == quote)) {
        if (quote == '"' && *p == '\\')
            p++;
        p++;
    }
    // Up to two more quotes may belong to the body.
    return (size_t)(r->end - p > 5 ? p - r->pos + 5 : r->end - r->pos);
}

// The closing quotes of a multi-line string: up to two quotes directly before them belong to the body.
static bool string_close_multiline(struct toml_reader *r, char quote, char *out, size_t *len) {
    u32 quotes = 0;
    while (quotes < 5 && toml_peek(r, quotes) == quote)
        quotes++;
    r->pos += quotes;
    u32 body = quotes >= 3 ? quotes - 3 : quotes;
    for (u32 i = 0; i < body; i++)
        out[(*len)++] = quote;
    return quotes >= 3;
}

static bool string_body(struct toml_reader *r, struct toml_place open, char quote, bool multiline, char *out,
                        size_t *len) {
    while (r->pos < r->end) {
        char c = *r->pos;
        if (c == quote) {
            if (!multiline) {
                r->pos++;
                return true;
            }
            if (string_close_multiline(r, quote, out, len))
                return true;
        } else if (c == '\\' && quote == '"') {
            if (!string_escape(r, multiline, out, len))
                return false;
        } else if (toml_at_newline(r)) {
            if (!multiline)
                return toml_fail(r, open, "the string that begins here is not closed on this line");
            if (c == '\r')
                out[(*len)++] = '\r';
            out[(*len)++] = '\n';
            toml_newline(r);
        } else if (toml_is_control(c)) {
            return toml_fail(r, toml_here(r), "control character 0x%02x in a string; write \\u%04x", (unsigned)(u8)c,
                             (unsigned)(u8)c);
        } else {
            out[(*len)++] = c;
            r->pos++;
        }
    }
    return toml_fail(r, open, "the string that begins here is never closed");
}

bool toml_string(struct toml_reader *r, bool multiline, struct toml_text *out) {
    struct toml_place open = toml_here(r);
    char quote = *r->pos;
    bool triple = toml_peek(r, 1) == quote && toml_peek(r, 2) == quote;
    if (triple && !multiline)
        return toml_fail(r, open, "a key cannot be a multi-line string");
    r->pos += triple ? 3 : 1;
    if (triple && toml_at_newline(r)) // directly behind the opening quotes: not part of the string
        toml_newline(r);
    char *buf = toml_alloc(r, string_extent(r, quote, triple) + 1, 1);
    if (buf == NULL)
        return false;
    out->text = buf;
    out->len = 0;
    bool inside = r->inside;
    r->inside |= triple;
    if (!string_body(r, open, quote, triple, buf, &out->len))
        return false;
    r->inside = inside;
    return true;
}

// ---- numbers (TOML 1.0 §Integer, §Float)

// Digits of a base with single underscores between them, from p: how many bytes, or 0 if that is not what is there.
static size_t number_digits(const char *p, const char *end, int base) {
    const char *q = p;
    bool digit = false; // the last byte was one
    for (; q < end; q++) {
        int v = hex_value(*q);
        if (*q == '_' && digit && q + 1 < end)
            digit = false;
        else if (v >= 0 && v < base)
            digit = true;
        else
            break;
    }
    return digit ? (size_t)(q - p) : 0;
}

enum number { NUMBER_OK, NUMBER_BAD, NUMBER_TOO_BIG };

static enum number number_integer(const char *p, const char *end, s64 *out) {
    bool negative = *p == '-', sign = *p == '-' || *p == '+';
    int base = 10;
    p += sign;
    if (end - p > 2 && p[0] == '0' && (p[1] == 'x' || p[1] == 'o' || p[1] == 'b')) {
        if (sign)
            return NUMBER_BAD;
        base = p[1] == 'x' ? 16 : p[1] == 'o' ? 8 : 2;
        p += 2;
    }
    if (p == end || number_digits(p, end, base) != (size_t)(end - p))
        return NUMBER_BAD;
    if (base == 10 && *p == '0' && end - p > 1)
        return NUMBER_BAD;
    u64 limit = (u64)INT64_MAX + negative, v = 0;
    for (; p < end; p++) {
        if (*p == '_')
            continue;
        u64 digit = (u64)hex_value(*p);
        if (v > (limit - digit) / (u64)base)
            return NUMBER_TOO_BIG;
        v = v * (u64)base + digit;
    }
    *out = (s64)(negative ? -v : v);
    return NUMBER_OK;
}

static bool number_is_float(const char *p, const char *end) {
    if (p < end && (*p == '+' || *p == '-'))
        p++;
    if (end - p == 3 && (memcmp(p, "inf", 3) == 0 || memcmp(p, "nan", 3) == 0))
        return true;
    size_t n = number_digits(p, end, 10);
    if (n == 0 || (*p == '0' && n > 1))
        return false;
    p += n;
    if (p < end && *p == '.') {
        n = number_digits(p + 1, end, 10);
        if (n == 0)
            return false;
        p += 1 + n;
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        p++;
        if (p < end && (*p == '+' || *p == '-'))
            p++;
        n = number_digits(p, end, 10);
        if (n == 0)
            return false;
        p += n;
    }
    return p == end;
}

// ---- dates (RFC 3339 §5.6 as TOML 1.0 narrows it)

// `count` digits at *p as a number in low…high; steps over them.
static bool date_field(const char **p, const char *end, u32 count, u32 low, u32 high, u32 *out) {
    u32 v = 0;
    if ((size_t)(end - *p) < count)
        return false;
    for (u32 i = 0; i < count; i++) {
        if (!toml_is_digit((*p)[i]))
            return false;
        v = v * 10 + (u32)((*p)[i] - '0');
    }
    *p += count;
    *out = v;
    return v >= low && v <= high;
}

static bool date_char(const char **p, const char *end, char c) {
    if (*p == end || **p != c)
        return false;
    (*p)++;
    return true;
}

static bool date_date(const char **p, const char *end) {
    static const u8 days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    u32 year, month, day;
    if (!date_field(p, end, 4, 0, 9999, &year) || !date_char(p, end, '-') || !date_field(p, end, 2, 1, 12, &month) ||
        !date_char(p, end, '-') || !date_field(p, end, 2, 1, 31, &day))
        return false;
    bool leap = month == 2 && year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return day <= (u32)days[month - 1] + leap;
}

static bool date_time(const char **p, const char *end) {
    u32 v;
    if (!date_field(p, end, 2, 0, 23, &v) || !date_char(p, end, ':') || !date_field(p, end, 2, 0, 59, &v) ||
        !date_char(p, end, ':') || !date_field(p, end, 2, 0, 60, &v)) // 60: a leap second
        return false;
    if (*p < end && **p == '.') {
        const char *fraction = ++*p;
        while (*p < end && toml_is_digit(**p))
            (*p)++;
        return *p > fraction;
    }
    return true;
}

static bool date_offset(const char **p, const char *end) {
    u32 v;
    if (date_char(p, end, 'Z') || date_char(p, end, 'z'))
        return true;
    if (!date_char(p, end, '+') && !date_char(p, end, '-'))
        return false;
    return date_field(p, end, 2, 0, 23, &v) && date_char(p, end, ':') && date_field(p, end, 2, 0, 59, &v);
}

static bool date_parse(const char *p, const char *end, enum toml_type *type) {
    if (p[2] == ':') {
        *type = TOML_LOCAL_TIME;
        return date_time(&p, end) && p == end;
    }
    *type = TOML_LOCAL_DATE;
    if (!date_date(&p, end))
        return false;
    if (p == end)
        return true;
    if (*p != 'T' && *p != 't' && *p != ' ')
        return false;
    p++;
    *type = TOML_LOCAL_DATETIME;
    if (!date_time(&p, end))
        return false;
    if (p == end)
        return true;
    *type = TOML_DATETIME;
    return date_offset(&p, end) && p == end;
}

// ---- the scalar as a whole

static bool scalar_char(char c) {
    return toml_is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '+' || c == '-' ||
           c == '.' || c == ':';
}

static bool all_digits(const char *p, size_t count) {
    while (count > 0 && toml_is_digit(*p)) {
        p++;
        count--;
    }
    return count == 0;
}

static bool looks_like_date(const char *p, size_t len) {
    return len > 4 && all_digits(p, 4) && p[4] == '-';
}

static bool looks_like_time(const char *p, size_t len) {
    return len > 2 && all_digits(p, 2) && p[2] == ':';
}

static size_t scalar_length(const struct toml_reader *r) {
    size_t len = 0, left = (size_t)(r->end - r->pos);
    while (len < left && scalar_char(r->pos[len]))
        len++;
    // "1979-05-27 07:32:00": a blank may stand between date and time.
    if (len == 10 && looks_like_date(r->pos, len) && left - len > 3 && r->pos[len] == ' ' &&
        looks_like_time(r->pos + len + 1, 3)) {
        len++;
        while (len < left && scalar_char(r->pos[len]))
            len++;
    }
    return len;
}

static bool scalar_wrong(struct toml_reader *r, const char *p, size_t len) {
    int shown = (int)MIN(len, (size_t)40);
    struct toml_place at = toml_here(r);
    char found[24];
    if (len == 0)
        return toml_fail(r, at, "expected a value, found %s", toml_found(r, found, sizeof(found)));
    if (looks_like_date(p, len) || looks_like_time(p, len))
        return toml_fail(r, at, "'%.*s' is not a date or time", shown, p);
    if (toml_is_digit(*p) || *p == '+' || *p == '-' || *p == '.')
        return toml_fail(r, at, "'%.*s' is not a number; text is written in quotes", shown, p);
    return toml_fail(r, at, "'%.*s' is not a value; text is written in quotes", shown, p);
}

static bool scalar_text(struct toml_reader *r, struct toml_node *node, enum toml_type type, size_t len) {
    char *text = toml_alloc(r, len + 1, 1);
    if (text == NULL)
        return false;
    memcpy(text, r->pos, len);
    node->type = type;
    node->text = text;
    node->len = len;
    r->pos += len;
    return true;
}

bool toml_scalar(struct toml_reader *r, struct toml_node *node) {
    const char *p = r->pos;
    size_t len = scalar_length(r);
    enum toml_type type;
    if ((len == 4 && memcmp(p, "true", 4) == 0) || (len == 5 && memcmp(p, "false", 5) == 0)) {
        node->type = TOML_BOOL;
        node->boolean = len == 4;
        r->pos += len;
        return true;
    }
    if (looks_like_date(p, len) || looks_like_time(p, len))
        return date_parse(p, p + len, &type) ? scalar_text(r, node, type, len) : scalar_wrong(r, p, len);
    switch (len == 0 ? NUMBER_BAD : number_integer(p, p + len, &node->integer)) {
    case NUMBER_OK:
        node->type = TOML_INTEGER;
        r->pos += len;
        return true;
    case NUMBER_TOO_BIG:
        return toml_fail(r, toml_here(r), "the number %.*s does not fit 64 bits", (int)MIN(len, (size_t)40), p);
    case NUMBER_BAD:
        break;
    }
    if (number_is_float(p, p + len))
        return scalar_text(r, node, TOML_FLOAT, len);
    return scalar_wrong(r, p, len);
}
