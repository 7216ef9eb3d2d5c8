// SPDX-License-Identifier: Apache-2.0
#include "fdt_isa.h"

#include <string.h>

#include "board.h"

enum { NAME_MAX_LENGTH = 32 };

static bool is_name_char(char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static char lower(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

// The length of the list's name at `at`.
static size_t name_length(const char *at) {
    size_t n = 0;
    while (at[n] && at[n] != '_')
        n++;
    return n;
}

bool isa_has(const char *list, const char *name, size_t length) {
    while (*list) {
        const size_t n = name_length(list);
        if (n == length && memcmp(list, name, n) == 0)
            return true;
        list += n + (list[n] == '_');
    }
    return false;
}

void isa_add(char *list, size_t size, const char *name, size_t length) {
    char low[NAME_MAX_LENGTH];
    const size_t used = strnlen(list, size);
    if (length == 0 || length > sizeof(low) || used + 1 + length + 1 > size)
        return;
    for (size_t i = 0; i < length; i++) {
        low[i] = lower(name[i]);
        if (!is_name_char(low[i]))
            return;
    }
    if (isa_has(list, low, length))
        return;
    char *to = list + used;
    if (used)
        *to++ = '_';
    memcpy(to, low, length);
    to[length] = '\0';
}

// The version that may follow a letter ("2p1"): how many characters it takes.
static size_t version_length(const char *at, size_t left) {
    size_t n = 0;
    while (n < left && is_digit(at[n]))
        n++;
    if (n && n + 1 < left && at[n] == 'p' && is_digit(at[n + 1]))
        for (n++; n < left && is_digit(at[n]);)
            n++;
    return n;
}

static void add_general(char *list, size_t size) {
    static const char *const general[] = {"i", "m", "a", "f", "d", "zicsr", "zifencei"};
    for (size_t i = 0; i < ARRAY_SIZE(general); i++)
        isa_add(list, size, general[i], strlen(general[i]));
}

// RISC-V ISA manual, volume I, "ISA Extension Naming Conventions": single letters, then longer names with underscores.
void isa_add_string(char *list, size_t size, const char *isa, size_t length) {
    length = strnlen(isa, length);
    if (length < 4 || lower(isa[0]) != 'r' || lower(isa[1]) != 'v' || isa[2] != '6' || isa[3] != '4')
        return;
    for (size_t i = 4; i < length;) {
        const char c = lower(isa[i]);
        size_t n = 1;
        if (c == 'z' || c == 's' || c == 'x') {
            while (i + n < length && isa[i + n] != '_')
                n++;
            isa_add(list, size, isa + i, n);
        } else if (c != '_') {
            if (c == 'g')
                add_general(list, size);
            else
                isa_add(list, size, &c, 1);
            n += version_length(isa + i + 1, length - i - 1);
        }
        i += n;
    }
}

void isa_keep_common(char *list, const char *other) {
    char *to = list;
    for (const char *from = list; *from;) {
        const size_t n = name_length(from);
        const char *next = from + n + (from[n] == '_');
        if (isa_has(other, from, n)) {
            if (to != list)
                *to++ = '_';
            memmove(to, from, n);
            to += n;
        }
        from = next;
    }
    *to = '\0';
}

bool board_has_isa(const struct board *board, const char *extension) {
    return isa_has(board->isa, extension, strlen(extension));
}
