// SPDX-License-Identifier: Apache-2.0
// TOML's structure: lines, keys, tables, arrays. The scalars are in toml_scalar.c.
#include "toml.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "toml_reader.h"

// node->flags. What TOML forbids is to define a table twice or to extend one that is closed; these tell which is which.
enum {
    NODE_DEFINED = 1,       // a table that a [header] or [[header]] named
    NODE_FROZEN = 2,        // an inline table or a value's array: complete as it was written
    NODE_TABLES = 4,        // an array that [[header]] made
    NODE_DOTTED = 8,        // a table that a dotted key made; open for dotted keys of its own section only,
    NODE_SECTION_SHIFT = 8, // whose number is in the bits from here
};

enum { ERRORS_MAX = 20 }; // so that a file which is something else altogether does not flood the console

// ---- places and errors

struct toml_place toml_here(struct toml_reader *r) {
    if (r->col_pos < r->line_start || r->col_pos > r->pos) {
        r->col_pos = r->line_start;
        r->col = 1;
    }
    for (; r->col_pos < r->pos; r->col_pos++)
        r->col += ((u8)*r->col_pos & 0xc0) != 0x80; // count characters, not their continuation bytes
    return (struct toml_place){r->line, r->col};
}

bool toml_fail(struct toml_reader *r, struct toml_place at, const char *fmt, ...) {
    char text[DIAG_TEXT_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    r->failed = true;
    diag_error(r->diags, r->file, at.line, at.col, "%s", text);
    return false;
}

const char *toml_found(const struct toml_reader *r, char *buf, size_t size) {
    if (r->pos == r->end)
        return "the end of the file";
    if (toml_at_newline(r))
        return "the end of the line";
    if (toml_is_control(*r->pos)) {
        snprintf(buf, size, "the byte 0x%02x", (unsigned)(u8)*r->pos);
        return buf;
    }
    size_t len = 1;
    while (len < 4 && ((u8)toml_peek(r, len) & 0xc0) == 0x80)
        len++;
    snprintf(buf, size, "'%.*s'", (int)len, r->pos);
    return buf;
}

static bool fail_expected(struct toml_reader *r, const char *what) {
    char found[24];
    return toml_fail(r, toml_here(r), "expected %s, found %s", what, toml_found(r, found, sizeof(found)));
}

void *toml_alloc(struct toml_reader *r, size_t size, size_t align) {
    void *p = arena_alloc(r->arena, size, align);
    if (p == NULL && !r->full) {
        r->full = true;
        toml_fail(r, toml_here(r), "too complex: more than the %zu KiB that a file may take in memory",
                  r->arena->size / 1024);
    }
    return p;
}

// ---- blanks

void toml_newline(struct toml_reader *r) {
    r->pos += *r->pos == '\r' ? 2 : 1;
    r->line++;
    r->line_start = r->pos;
}

static void skip_blanks(struct toml_reader *r) {
    while (toml_peek(r, 0) == ' ' || toml_peek(r, 0) == '\t')
        r->pos++;
}

static bool skip_comment(struct toml_reader *r) {
    if (toml_peek(r, 0) != '#')
        return true;
    for (; r->pos < r->end && !toml_at_newline(r); r->pos++) {
        if (toml_is_control(*r->pos))
            return toml_fail(r, toml_here(r), "control character 0x%02x in a comment", (unsigned)(u8)*r->pos);
    }
    return true;
}

// Between the elements of an array: blanks, comments and newlines.
static bool skip_space(struct toml_reader *r) {
    for (;;) {
        skip_blanks(r);
        if (!skip_comment(r))
            return false;
        if (!toml_at_newline(r))
            return true;
        toml_newline(r);
    }
}

static bool skip_line_end(struct toml_reader *r, const char *after) {
    skip_blanks(r);
    if (!skip_comment(r))
        return false;
    if (r->pos == r->end)
        return true;
    if (!toml_at_newline(r)) {
        char what[64];
        snprintf(what, sizeof(what), "the end of the line after the %s", after);
        return fail_expected(r, what);
    }
    toml_newline(r);
    return true;
}

// ---- the tree

struct toml_key {
    struct toml_text text;
    struct toml_place at;
};

static struct toml_node *node_new(struct toml_reader *r, enum toml_type type, struct toml_place at) {
    struct toml_node *node = toml_alloc(r, sizeof(*node), alignof(struct toml_node));
    if (node != NULL) {
        node->type = type;
        node->line = at.line;
        node->col = at.col;
    }
    return node;
}

static void node_append(struct toml_node *parent, struct toml_node *node) {
    if (parent->last != NULL)
        parent->last->next = node;
    else
        parent->first = node;
    parent->last = node;
    parent->count++;
}

static void node_set_key(struct toml_node *node, const struct toml_key *key) {
    node->key = key->text.text;
    node->key_len = (u32)key->text.len;
    node->key_line = key->at.line;
    node->key_col = key->at.col;
}

static struct toml_node *table_find(const struct toml_node *table, const char *key, size_t len) {
    for (struct toml_node *node = table->first; node != NULL; node = node->next) {
        if (node->key_len == len && memcmp(node->key, key, len) == 0)
            return node;
    }
    return NULL;
}

static struct toml_node *table_add(struct toml_reader *r, struct toml_node *table, const struct toml_key *key,
                                   enum toml_type type) {
    struct toml_node *node = node_new(r, type, key->at);
    if (node == NULL)
        return NULL;
    node_set_key(node, key);
    node_append(table, node);
    return node;
}

// A table that is in no tree: what follows a wrong key is still read, for its own errors, and then forgotten.
static struct toml_node *table_nowhere(struct toml_reader *r) {
    return node_new(r, TOML_TABLE, toml_here(r));
}

static void fail_duplicate(struct toml_reader *r, const struct toml_key *key, const struct toml_node *first) {
    const char *what = first->type == TOML_TABLE && !(first->flags & NODE_FROZEN) ? "table" : "key";
    toml_fail(r, key->at, "duplicate %s '%s', first seen at %u:%u", what, key->text.text, first->key_line,
              first->key_col);
}

// ---- keys

static bool key_char(char c) {
    return toml_is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '-';
}

// One part of a key: bare, "basic" or 'literal'.
static bool read_key_part(struct toml_reader *r, struct toml_key *key) {
    key->at = toml_here(r);
    char c = toml_peek(r, 0);
    if (c == '"' || c == '\'')
        return toml_string(r, false, &key->text);
    size_t len = 0;
    while (key_char(toml_peek(r, len)))
        len++;
    if (len == 0)
        return fail_expected(r, "a key");
    char *text = toml_alloc(r, len + 1, 1);
    if (text == NULL)
        return false;
    memcpy(text, r->pos, len);
    key->text = (struct toml_text){text, len};
    r->pos += len;
    return true;
}

// The table under `table` through which a header's path goes on.
static struct toml_node *descend_header(struct toml_reader *r, struct toml_node *table, const struct toml_key *key) {
    struct toml_node *node = table_find(table, key->text.text, key->text.len);
    if (node == NULL)
        return table_add(r, table, key, TOML_TABLE);
    if (node->type == TOML_ARRAY && (node->flags & NODE_TABLES))
        return node->last;
    if (node->type == TOML_TABLE && !(node->flags & NODE_FROZEN))
        return node;
    toml_fail(r, key->at, "'%s' is %s since %u:%u and cannot be extended", key->text.text, toml_type_name(node->type),
              node->key_line, node->key_col);
    return table_nowhere(r);
}

// The same for a dotted key: it makes tables, and may go through those of its own section only.
static struct toml_node *descend_dotted(struct toml_reader *r, struct toml_node *table, const struct toml_key *key) {
    u32 mine = NODE_DOTTED | r->section << NODE_SECTION_SHIFT;
    struct toml_node *node = table_find(table, key->text.text, key->text.len);
    if (node == NULL) {
        node = table_add(r, table, key, TOML_TABLE);
        if (node != NULL)
            node->flags = mine;
        return node;
    }
    if (node->type == TOML_TABLE && (node->flags == 0 || node->flags == mine)) {
        node->flags = mine;
        return node;
    }
    toml_fail(r, key->at, "'%s' is %s since %u:%u and cannot be extended by a dotted key", key->text.text,
              toml_type_name(node->type), node->key_line, node->key_col);
    return table_nowhere(r);
}

// A whole key, with its dots: *last is its last part, *table the table that it is meant for.
static bool read_key(struct toml_reader *r, bool header, struct toml_node **table, struct toml_key *last) {
    for (u32 parts = 1;; parts++) {
        if (!read_key_part(r, last))
            return false;
        skip_blanks(r);
        if (toml_peek(r, 0) != '.')
            return true;
        if (parts == TOML_DEPTH_MAX)
            return toml_fail(r, last->at, "more than %d parts in a key", TOML_DEPTH_MAX);
        r->pos++;
        skip_blanks(r);
        *table = header ? descend_header(r, *table, last) : descend_dotted(r, *table, last);
        if (*table == NULL)
            return false;
    }
}

// ---- values

// Begins the value at pos: a scalar is read whole, of an array or inline table only the bracket. The node is attached
// before its content is read, under `key` of table `parent` or, without a key, to the array `parent`.
static struct toml_node *value_begin(struct toml_reader *r, struct toml_node *parent, const struct toml_key *key) {
    struct toml_node *node = node_new(r, TOML_STRING, toml_here(r));
    if (node == NULL)
        return NULL;
    char c = toml_peek(r, 0);
    if (c == '[' || c == '{') {
        node->type = c == '[' ? TOML_ARRAY : TOML_TABLE;
        r->pos++;
    } else if (c == '"' || c == '\'') {
        struct toml_text text = {0};
        if (!toml_string(r, true, &text))
            return NULL;
        node->text = text.text;
        node->len = text.len;
    } else if (!toml_scalar(r, node)) {
        return NULL;
    }
    if (key == NULL) {
        node_append(parent, node);
        return node;
    }
    node_set_key(node, key);
    struct toml_node *first = table_find(parent, key->text.text, key->text.len);
    if (first != NULL)
        fail_duplicate(r, key, first);
    else
        node_append(parent, node);
    return node;
}

// key = value, the value only begun.
static struct toml_node *member_begin(struct toml_reader *r, struct toml_node *table) {
    struct toml_key key = {0};
    if (!read_key(r, false, &table, &key))
        return NULL;
    if (toml_peek(r, 0) != '=') {
        fail_expected(r, "'=' after the key");
        return NULL;
    }
    r->pos++;
    skip_blanks(r);
    return value_begin(r, table, &key);
}

enum step { STEP_ITEM, STEP_CLOSED, STEP_FAILED };

static enum step array_step(struct toml_reader *r, struct toml_node *array, struct toml_node **item) {
    if (!skip_space(r))
        return STEP_FAILED;
    if (array->count > 0 && toml_peek(r, 0) != ']') {
        if (toml_peek(r, 0) != ',') {
            fail_expected(r, "',' or ']' in the array");
            return STEP_FAILED;
        }
        r->pos++;
        if (!skip_space(r))
            return STEP_FAILED;
    }
    if (toml_peek(r, 0) == ']') {
        r->pos++;
        return STEP_CLOSED;
    }
    *item = value_begin(r, array, NULL);
    return *item == NULL ? STEP_FAILED : STEP_ITEM;
}

static enum step inline_step(struct toml_reader *r, struct toml_node *table, struct toml_node **item) {
    skip_blanks(r);
    if (toml_peek(r, 0) == '}') {
        r->pos++;
        return STEP_CLOSED;
    }
    if (table->count > 0) {
        if (toml_peek(r, 0) != ',') {
            fail_expected(r, "',' or '}' in the inline table");
            return STEP_FAILED;
        }
        r->pos++;
        skip_blanks(r);
    }
    *item = member_begin(r, table);
    return *item == NULL ? STEP_FAILED : STEP_ITEM;
}

// Reads what is in the brackets that value_begin has opened. Nesting is kept in an array, not on the stack of calls.
static bool value_finish(struct toml_reader *r, struct toml_node *value) {
    struct toml_node *open[TOML_DEPTH_MAX];
    u32 depth = 0;
    r->inside = true;
    struct toml_node *item = value;
    for (;;) {
        if (item->type == TOML_ARRAY || item->type == TOML_TABLE) {
            if (depth == TOML_DEPTH_MAX)
                return toml_fail(r, (struct toml_place){item->line, item->col},
                                 "more than %d arrays and inline tables in one another", TOML_DEPTH_MAX);
            open[depth++] = item;
        }
        enum step step = STEP_CLOSED;
        while (depth > 0 && step == STEP_CLOSED) {
            struct toml_node *in = open[depth - 1];
            step = in->type == TOML_ARRAY ? array_step(r, in, &item) : inline_step(r, in, &item);
            if (step == STEP_CLOSED) {
                in->flags |= NODE_FROZEN;
                depth--;
            }
        }
        if (step != STEP_ITEM) {
            r->inside = step == STEP_FAILED;
            return step == STEP_CLOSED;
        }
    }
}

// ---- lines

static bool read_member(struct toml_reader *r) {
    struct toml_node *value = member_begin(r, r->table);
    if (value == NULL)
        return false;
    if ((value->type == TOML_ARRAY || value->type == TOML_TABLE) && !value_finish(r, value))
        return false;
    return skip_line_end(r, "value");
}

static struct toml_node *open_table(struct toml_reader *r, struct toml_node *parent, const struct toml_key *key) {
    struct toml_node *node = table_find(parent, key->text.text, key->text.len);
    if (node == NULL) {
        node = table_add(r, parent, key, TOML_TABLE);
        if (node != NULL)
            node->flags = NODE_DEFINED;
        return node;
    }
    if (node->type != TOML_TABLE || node->flags != 0) {
        fail_duplicate(r, key, node);
        return table_nowhere(r);
    }
    node->flags = NODE_DEFINED; // until now only the parent of other tables
    node->line = node->key_line = key->at.line;
    node->col = node->key_col = key->at.col;
    return node;
}

static struct toml_node *open_array_table(struct toml_reader *r, struct toml_node *parent, const struct toml_key *key) {
    struct toml_node *array = table_find(parent, key->text.text, key->text.len);
    if (array == NULL) {
        array = table_add(r, parent, key, TOML_ARRAY);
        if (array == NULL)
            return NULL;
        array->flags = NODE_TABLES;
    } else if (array->type != TOML_ARRAY || !(array->flags & NODE_TABLES)) {
        fail_duplicate(r, key, array);
        return table_nowhere(r);
    }
    struct toml_node *table = node_new(r, TOML_TABLE, key->at);
    if (table == NULL)
        return NULL;
    table->flags = NODE_DEFINED;
    node_append(array, table);
    return table;
}

static bool read_header(struct toml_reader *r) {
    struct toml_node *parent = r->root;
    struct toml_key key = {0};
    bool array = toml_peek(r, 1) == '[';
    r->section++;
    r->table = NULL; // if the header is wrong
    r->pos += array ? 2 : 1;
    skip_blanks(r);
    if (!read_key(r, true, &parent, &key))
        return false;
    if (toml_peek(r, 0) != ']' || (array && toml_peek(r, 1) != ']'))
        return fail_expected(r, array ? "']]' after the table's name" : "']' after the table's name");
    r->pos += array ? 2 : 1;
    r->table = array ? open_array_table(r, parent, &key) : open_table(r, parent, &key);
    return r->table != NULL && skip_line_end(r, "table's name");
}

// Does a key or a header begin at pos, the start of a line? A guess, for recover().
static bool looks_like_line(const struct toml_reader *r) {
    const char *p = r->pos;
    if (r->end - p > 2 && p[0] == '[')
        return key_char(p[1]) || (p[1] == '[' && key_char(p[2]));
    const char *key = p;
    while (p < r->end && (key_char(*p) || *p == '.'))
        p++;
    if (p == key)
        return false;
    while (p < r->end && (*p == ' ' || *p == '\t'))
        p++;
    return p < r->end && *p == '=';
}

// After an error: on with the next line, or when a value of several lines was open with the next that looks like one.
static void recover(struct toml_reader *r) {
    do {
        while (r->pos < r->end && *r->pos != '\n')
            r->pos++;
        if (r->pos < r->end)
            toml_newline(r);
    } while (r->inside && r->pos < r->end && !looks_like_line(r));
    r->inside = false;
    if (r->table == NULL && !r->full)
        r->table = table_nowhere(r);
}

static bool read_line(struct toml_reader *r) {
    skip_blanks(r);
    if (toml_peek(r, 0) == '[')
        return read_header(r);
    if (r->pos < r->end && !toml_at_newline(r) && *r->pos != '#')
        return read_member(r);
    return skip_line_end(r, "line");
}

// ---- the text as a whole

// Length of the UTF-8 sequence at p, or 0 if it is none (RFC 3629 §4: no overlong forms, no surrogates).
static size_t utf8_length(const u8 *p, const u8 *end) {
    size_t len = p[0] < 0x80 ? 1 : p[0] >= 0xc2 && p[0] < 0xe0 ? 2 : (p[0] & 0xf0) == 0xe0 ? 3 : p[0] >= 0xf0 ? 4 : 0;
    if (len == 0 || p[0] > 0xf4 || (size_t)(end - p) < len)
        return 0;
    for (size_t i = 1; i < len; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    }
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) ||
        (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return len;
}

// Ends the text before the first line with a byte that is not UTF-8: what follows may be anything.
static void check_utf8(struct toml_reader *r) {
    struct toml_reader at = *r;
    while (at.pos < at.end) {
        size_t len = utf8_length((const u8 *)at.pos, (const u8 *)at.end);
        if (len == 0) {
            toml_fail(r, toml_here(&at), "the byte 0x%02x is not UTF-8; a configuration is a text file",
                      (unsigned)(u8)*at.pos);
            r->end = at.line_start;
            return;
        }
        if (*at.pos == '\n')
            toml_newline(&at);
        else
            at.pos += len;
    }
}

int toml_parse(const char *file, const char *text, size_t len, struct arena *arena, struct diag_list *diags,
               struct toml_node **root) {
    struct toml_reader r = {.file = file, .line = 1, .col = 1, .arena = arena, .diags = diags};
    if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) { // a byte order mark
        text += 3;
        len -= 3;
    }
    r.pos = r.line_start = r.col_pos = text;
    r.end = text + len;
    *root = r.root = r.table = node_new(&r, TOML_TABLE, (struct toml_place){1, 1});
    if (r.root == NULL)
        return -ENOMEM;
    r.section = 1;
    check_utf8(&r);
    u32 before = diags->errors;
    while (r.pos < r.end && !r.full) {
        if (read_line(&r))
            continue;
        recover(&r);
        if (diags->errors - before >= ERRORS_MAX) {
            toml_fail(&r, (struct toml_place){0}, "%d errors: not read any further", ERRORS_MAX);
            break;
        }
    }
    return r.full ? -ENOMEM : r.failed ? -EINVAL : 0;
}

struct toml_node *toml_get(const struct toml_node *table, const char *key) {
    return table_find(table, key, strlen(key));
}

const char *toml_type_name(enum toml_type type) {
    static const char *const names[] = {
        [TOML_TABLE] = "a table",      [TOML_ARRAY] = "an array",        [TOML_STRING] = "a string",
        [TOML_INTEGER] = "an integer", [TOML_BOOL] = "a boolean",        [TOML_FLOAT] = "a number with a fraction",
        [TOML_DATETIME] = "a date",    [TOML_LOCAL_DATETIME] = "a date", [TOML_LOCAL_DATE] = "a date",
        [TOML_LOCAL_TIME] = "a time",
    };
    return names[type];
}
