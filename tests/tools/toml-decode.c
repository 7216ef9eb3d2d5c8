// SPDX-License-Identifier: Apache-2.0
// Reads TOML on stdin and prints it as the official suite's tagged JSON; with an error in the text exits 1, the
// diagnostics on stderr.
#include <stdio.h>
#include <stdlib.h>

#include "toml.h"

static void print_string(const char *text, size_t len) {
    putchar('"');
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c < 0x20 || c == 0x7f)
            printf("\\u%04x", c);
        else if (c == '"' || c == '\\')
            printf("\\%c", c);
        else
            putchar(c);
    }
    putchar('"');
}

static void print_node(const struct toml_node *node);

static void print_children(const struct toml_node *node, bool keys) {
    for (const struct toml_node *child = node->first; child != NULL; child = child->next) {
        if (keys) {
            print_string(child->key, child->key_len);
            putchar(':');
        }
        print_node(child);
        if (child->next != NULL)
            putchar(',');
    }
}

static void print_node(const struct toml_node *node) {
    static const char *const tags[] = {
        [TOML_STRING] = "string",         [TOML_INTEGER] = "integer",       [TOML_BOOL] = "bool",
        [TOML_FLOAT] = "float",           [TOML_DATETIME] = "datetime",     [TOML_LOCAL_DATETIME] = "datetime-local",
        [TOML_LOCAL_DATE] = "date-local", [TOML_LOCAL_TIME] = "time-local",
    };
    switch (node->type) {
    case TOML_TABLE:
        putchar('{');
        print_children(node, true);
        putchar('}');
        return;
    case TOML_ARRAY:
        putchar('[');
        print_children(node, false);
        putchar(']');
        return;
    default:
        break;
    }
    printf("{\"type\":\"%s\",\"value\":", tags[node->type]);
    if (node->type == TOML_INTEGER)
        printf("\"%lld\"", (long long)node->integer);
    else if (node->type == TOML_BOOL)
        printf("\"%s\"", node->boolean ? "true" : "false");
    else
        print_string(node->text, node->len);
    putchar('}');
}

static void print_diag(void *ctx, const struct diag *diag) {
    (void)ctx;
    char line[DIAG_LINE_MAX];
    diag_format(diag, line, sizeof(line));
    fprintf(stderr, "%s\n", line);
}

int main(void) {
    enum { TEXT_MAX = 1 << 20, ARENA_MAX = 8 << 20 };
    char *text = malloc(TEXT_MAX);
    char *memory = malloc(ARENA_MAX);
    if (text == NULL || memory == NULL)
        return 2;
    size_t len = fread(text, 1, TEXT_MAX, stdin);
    char *exact = malloc(len > 0 ? len : 1); // so that the address sanitizer sees a read past the end
    if (exact == NULL)
        return 2;
    for (size_t i = 0; i < len; i++)
        exact[i] = text[i];
    struct arena arena;
    arena_init(&arena, memory, ARENA_MAX);
    struct diag_list diags = {.emit = print_diag};
    struct toml_node *root;
    int err = toml_parse("stdin", exact, len, &arena, &diags, &root);
    if (err == 0) {
        print_node(root);
        putchar('\n');
    }
    free(text);
    free(exact);
    free(memory);
    return err == 0 ? 0 : 1;
}
