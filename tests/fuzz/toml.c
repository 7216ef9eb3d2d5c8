// SPDX-License-Identifier: Apache-2.0
// TOML text → tree. The same text gives the same tree and the same errors whatever was in the arena; an error is
// reported exactly when the parse fails; every place lies in the text.
#include "fuzz.h"
#include "toml.h"

#include <string.h>

enum { ARENA = 256 * 1024 };

static struct {
    const char *text;
    size_t size;
    u32 lines;
    u64 hash;
} now;

static void mix(const void *data, size_t size) {
    now.hash = fuzz_hash(data, size, now.hash);
}

static void check_place(u32 line, u32 col) {
    FUZZ_CHECK(line >= 1 && line <= now.lines);
    FUZZ_CHECK(col >= 1 && col <= now.size + 1);
    mix(&line, sizeof(line));
    mix(&col, sizeof(col));
}

static void emit(void *ctx, const struct diag *d) {
    (void)ctx;
    char line[DIAG_LINE_MAX];
    FUZZ_CHECK(strcmp(d->file, "f.toml") == 0);
    FUZZ_CHECK(d->text[0] && strnlen(d->text, DIAG_TEXT_MAX) < DIAG_TEXT_MAX);
    if (d->line)
        check_place(d->line, d->col);
    diag_format(d, line, sizeof(line));
    mix(line, strlen(line));
}

static void visit(const struct toml_node *node, u32 depth);

static void visit_members(const struct toml_node *node, u32 depth) {
    u32 count = 0;
    const struct toml_node *last = NULL;
    for (const struct toml_node *m = node->first; m; last = m, m = m->next, count++) {
        FUZZ_CHECK((m->key != NULL) == (node->type == TOML_TABLE));
        if (m->key) {
            FUZZ_CHECK(m->key[m->key_len] == '\0');
            check_place(m->key_line, m->key_col);
            mix(m->key, m->key_len);
            if (memchr(m->key, 0, m->key_len) == NULL && count < 64) // the first of that name is this one: no key twice
                FUZZ_CHECK(toml_get(node, m->key) == m);
        }
        visit(m, depth + 1);
    }
    FUZZ_CHECK(count == node->count && last == node->last);
}

static void visit(const struct toml_node *node, u32 depth) {
    FUZZ_CHECK(depth <= TOML_DEPTH_MAX * (TOML_DEPTH_MAX + 1));
    mix(&node->type, sizeof(node->type));
    if (node->line)
        check_place(node->line, node->col);
    switch (node->type) {
    case TOML_TABLE:
    case TOML_ARRAY:
        visit_members(node, depth);
        break;
    case TOML_INTEGER:
        mix(&node->integer, sizeof(node->integer));
        break;
    case TOML_BOOL:
        mix(&node->boolean, sizeof(node->boolean));
        break;
    default:
        FUZZ_CHECK(node->text[node->len] == '\0');
        FUZZ_CHECK(node->len <= 3 * now.size); // \u00ff → 2 bytes, never more than was written
        mix(node->text, node->len);
        break;
    }
}

static u64 parse(u8 fill, size_t arena_size, int *err) {
    struct diag_list diags = {.emit = emit};
    struct toml_node *root = NULL;
    struct arena arena;
    static char memory[ARENA];
    memset(memory, fill, MIN(arena_size, 4096 + 64 * now.size));
    arena_init(&arena, memory, arena_size);
    now.hash = 0;
    *err = toml_parse("f.toml", now.text, now.size, &arena, &diags, &root);
    FUZZ_CHECK(*err == 0 || *err == -EINVAL || *err == -ENOMEM);
    FUZZ_CHECK((*err != 0) == (diags.errors != 0));
    FUZZ_CHECK(arena.used <= arena.size);
    FUZZ_CHECK(root || *err == -ENOMEM);
    mix(err, sizeof(*err));
    if (root) {
        FUZZ_CHECK(root->type == TOML_TABLE);
        visit(root, 0);
    }
    return now.hash;
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size) {
    int first, second;
    now.text = (const char *)data;
    now.size = size;
    now.lines = 1;
    for (size_t i = 0; i < size; i++)
        now.lines += data[i] == '\n';
    u64 a = parse(0x00, ARENA, &first), b = parse(0xa5, ARENA, &second);
    FUZZ_CHECK(a == b && first == second);
    parse(0x5a, 16 + fuzz_hash(data, size, 0) % 4096, &first); // an arena that may be too small
    return 0;
}
