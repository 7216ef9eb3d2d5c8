// SPDX-License-Identifier: Apache-2.0
// A TOML 1.0 reader: text to a tree in which every key and value knows its line and column. Floats and dates are
// checked and kept as text. No recursion and no allocation but from the arena, so that hostile text can cost neither
// stack nor memory.
#pragma once

#include "arena.h"
#include "diag.h"
#include "types.h"

enum { TOML_DEPTH_MAX = 64 }; // arrays and inline tables in one another; also the parts of a dotted key

enum toml_type {
    TOML_TABLE,
    TOML_ARRAY,
    TOML_STRING,
    TOML_INTEGER,
    TOML_BOOL,
    TOML_FLOAT,    // the rest as text
    TOML_DATETIME, // with an offset
    TOML_LOCAL_DATETIME,
    TOML_LOCAL_DATE,
    TOML_LOCAL_TIME,
};

struct toml_node {
    enum toml_type type;
    u32 line, col; // of the value; of a table that a header or a dotted key made: of that key
    // Of a table's member; for an array's element key is NULL.
    const char *key; // terminated, but may hold NUL bytes: see key_len
    u32 key_len;
    u32 key_line, key_col;
    struct toml_node *next; // next member or element, in the order of the text
    union {
        s64 integer;
        bool boolean;
        struct {
            const char *text; // strings, floats, dates: terminated, but a string may hold NUL bytes: see len
            size_t len;
        };
        struct {
            struct toml_node *first, *last; // tables and arrays
            u32 count;
        };
    };
    u32 flags; // the reader's own
};

// Parses text[0..len). Errors go to diags; after one in a line the reader goes on with the next line where that makes
// sense, so that one run shows them all. *root is the table of all that could be read (NULL only when the arena is
// full at once). Returns 0, or -EINVAL after an error (-ENOMEM: the arena was too small, which is reported too).
// Context: any; no more than 3 KiB of stack whatever the text.
[[nodiscard]] int toml_parse(const char *file, const char *text, size_t len, struct arena *arena,
                             struct diag_list *diags, struct toml_node **root);

// The member of a table by its name, or NULL.
struct toml_node *toml_get(const struct toml_node *table, const char *key);

// "a string", "an integer", … for messages.
const char *toml_type_name(enum toml_type type);
