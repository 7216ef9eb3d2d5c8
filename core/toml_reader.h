// SPDX-License-Identifier: Apache-2.0
// What the two halves of the TOML reader share: toml.c (tables, keys, structure) and toml_scalar.c (strings, numbers,
// dates).
#pragma once

#include "toml.h"

struct toml_reader {
    const char *file;
    const char *pos, *end;  // the next byte to read; the end of the text
    const char *line_start; // of the line that pos is in
    u32 line;
    const char *col_pos; // the column of this byte is known to be col: counting goes on from here
    u32 col;
    struct arena *arena;
    struct diag_list *diags;
    struct toml_node *root;
    struct toml_node *table; // the one that the last header opened
    u32 section;             // number of that header, to tell the dotted tables of one section from older ones
    bool inside;             // an array, inline table or multi-line string is open
    bool failed;             // an error was reported
    bool full;               // the arena is; the reader stops
};

struct toml_place {
    u32 line, col;
};

struct toml_text {
    const char *text;
    size_t len;
};

// Where pos is now. Cheap when called with rising positions.
struct toml_place toml_here(struct toml_reader *r);

// Reports an error at a place. Always false, so that `return toml_fail(…)` reads well.
[[gnu::format(printf, 3, 4)]] bool toml_fail(struct toml_reader *r, struct toml_place at, const char *fmt, ...);

// What stands at pos, for messages: "'x'", "the end of the line". Needs 24 bytes.
const char *toml_found(const struct toml_reader *r, char *buf, size_t size);

// Memory from the arena; the first failure is reported.
void *toml_alloc(struct toml_reader *r, size_t size, size_t align);

// The byte at pos + ahead, or '\0' past the end.
static inline char toml_peek(const struct toml_reader *r, size_t ahead) {
    return (size_t)(r->end - r->pos) > ahead ? r->pos[ahead] : '\0';
}

// At "\n" or "\r\n".
static inline bool toml_at_newline(const struct toml_reader *r) {
    return toml_peek(r, 0) == '\n' || (toml_peek(r, 0) == '\r' && toml_peek(r, 1) == '\n');
}

// Steps over the newline at pos.
void toml_newline(struct toml_reader *r);

// A byte that may stand in no comment and no string (TOML 1.0 §Comment, §String).
static inline bool toml_is_control(char c) {
    u8 b = (u8)c;
    return (b < 0x20 && b != '\t') || b == 0x7f;
}

static inline bool toml_is_digit(char c) {
    return c >= '0' && c <= '9';
}

// A quoted string at pos. `multiline`: may it be one of the triple-quoted kinds (a key may not).
[[nodiscard]] bool toml_string(struct toml_reader *r, bool multiline, struct toml_text *out);

// A number, boolean or date at pos, into *node (type and value only).
[[nodiscard]] bool toml_scalar(struct toml_reader *r, struct toml_node *node);
