// SPDX-License-Identifier: Apache-2.0
#include "cmdline.h"

#include <stdio.h>
#include <string.h>

struct word {
    const char *key, *value; // value: NULL without '='
    int key_len, value_len;
};

struct cmdline_reader {
    struct cmdline *out;
    void (*warn)(void *ctx, const char *message);
    void *ctx;
};

static void warn_value(const struct cmdline_reader *r, const struct word *word, const char *wanted) {
    char text[200];
    if (r->warn == NULL)
        return;
    snprintf(text, sizeof(text), "command line: '%.*s=%.*s': must be %s", MIN(word->key_len, 40), word->key,
             MIN(word->value_len, 40), word->value, wanted);
    r->warn(r->ctx, text);
}

// The index of the value among `count` words, or -1 after a warning.
static int one_of(const struct cmdline_reader *r, const struct word *word, const char *const *words, int count,
                  const char *wanted) {
    for (int i = 0; i < count; i++) {
        if ((int)strlen(words[i]) == word->value_len && memcmp(words[i], word->value, strlen(words[i])) == 0)
            return i;
    }
    warn_value(r, word, wanted);
    return -1;
}

static void read_idle(const struct cmdline_reader *r, const struct word *word) {
    static const char *const words[] = {
        [IDLE_POWEROFF] = "poweroff",
        [IDLE_SHELL] = "shell",
        [IDLE_REBOOT] = "reboot",
    };
    int i = one_of(r, word, words, ARRAY_SIZE(words), "poweroff, shell or reboot");
    if (i >= 0)
        r->out->idle = (enum cmdline_idle)i;
}

static void read_loglevel(const struct cmdline_reader *r, const struct word *word) {
    static const char *const words[] = {
        [LOG_ERROR] = "error",
        [LOG_WARN] = "warn",
        [LOG_INFO] = "info",
        [LOG_DEBUG] = "debug",
    };
    int i = one_of(r, word, words, ARRAY_SIZE(words), "error, warn, info or debug");
    if (i >= 0)
        r->out->loglevel = (enum log_level)i;
}

static void read_autostart(const struct cmdline_reader *r, const struct word *word) {
    static const char *const words[] = {"no", "yes"};
    int i = one_of(r, word, words, ARRAY_SIZE(words), "yes or no");
    if (i >= 0)
        r->out->autostart = i == 1;
}

static void read_console(const struct cmdline_reader *r, const struct word *word) {
    if (word->value_len == 0 || word->value_len > VM_NAME_MAX) {
        warn_value(r, word, "all, shell or the name of a VM");
        return;
    }
    memcpy(r->out->console, word->value, (size_t)word->value_len);
    r->out->console[word->value_len] = '\0';
}

static void read_word(const struct cmdline_reader *r, const struct word *word) {
    static const struct {
        const char *key;
        void (*read)(const struct cmdline_reader *r, const struct word *word);
    } rules[] = {
        {"idle", read_idle},
        {"loglevel", read_loglevel},
        {"autostart", read_autostart},
        {"console", read_console},
    };
    char text[200];
    for (size_t i = 0; i < ARRAY_SIZE(rules); i++) {
        if ((int)strlen(rules[i].key) != word->key_len || memcmp(rules[i].key, word->key, strlen(rules[i].key)) != 0)
            continue;
        if (word->value != NULL) {
            rules[i].read(r, word);
            return;
        }
        snprintf(text, sizeof(text), "command line: '%s' needs a value, %s=...", rules[i].key, rules[i].key);
        if (r->warn != NULL)
            r->warn(r->ctx, text);
        return;
    }
    snprintf(text, sizeof(text), "command line: unknown word '%.*s'; known are idle=, loglevel=, autostart=, console=",
             MIN(word->key_len, 60), word->key);
    if (r->warn != NULL)
        r->warn(r->ctx, text);
}

static bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

void cmdline_parse(const char *text, struct cmdline *out, void (*warn)(void *ctx, const char *message), void *ctx) {
    struct cmdline_reader r = {.out = out, .warn = warn, .ctx = ctx};
    *out = (struct cmdline){.idle = IDLE_POWEROFF, .loglevel = LOG_INFO, .autostart = true, .console = "all"};
    for (const char *p = text; *p != '\0';) {
        if (is_blank(*p)) {
            p++;
            continue;
        }
        struct word word = {.key = p};
        while (*p != '\0' && *p != '=' && !is_blank(*p))
            p++;
        word.key_len = (int)(p - word.key);
        if (*p == '=') {
            word.value = ++p;
            while (*p != '\0' && !is_blank(*p))
                p++;
            word.value_len = (int)(p - word.value);
        }
        read_word(&r, &word);
    }
}
