// SPDX-License-Identifier: Apache-2.0
// From a line to a command: words, lookup, arguments, help and completion.
#include "cmd.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "vmm.h"

enum { NAME_MAX_LEN = 32, GUESS_MAX = 31 };

// ── Output ──────────────────────────────────────────────────────────────────────────────────────────────────────────
void writer_puts(const struct writer *w, const char *text) {
    w->write(w->ctx, text, strlen(text));
}

static void vprint(const struct writer *w, const char *fmt, va_list args) {
    char text[512];
    int n = vsnprintf(text, sizeof text, fmt, args);
    if (n > 0)
        w->write(w->ctx, text, MIN((size_t)n, sizeof text - 1));
}

void writer_printf(const struct writer *w, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    vprint(w, fmt, args);
    va_end(args);
}

void writer_json(const struct writer *w, const char *text) {
    writer_puts(w, "\"");
    for (const char *p = text; *p; p++) {
        unsigned char c = (unsigned char)*p;
        if (c == '"' || c == '\\')
            writer_printf(w, "\\%c", c);
        else if (c < ' ' || c == 0x7f)
            writer_printf(w, "\\u%04x", c);
        else
            w->write(w->ctx, p, 1);
    }
    writer_puts(w, "\"");
}

int cmd_fail(const struct cmd *cmd, int err, const char *fmt, ...) {
    va_list args;
    writer_printf(cmd->out, "%s: ", cmd->command->name);
    va_start(args, fmt);
    vprint(cmd->out, fmt, args);
    va_end(args);
    writer_puts(cmd->out, "\n");
    return err;
}

// ── Lookup ──────────────────────────────────────────────────────────────────────────────────────────────────────────
const struct command *cmd_table(u32 index) {
    if (index < cmd_vm_count)
        return &cmd_vm_table[index];
    index -= cmd_vm_count;
    return index < cmd_system_count ? &cmd_system_table[index] : NULL;
}

// If the first word of `name` is `word`: the length of that word.
static size_t first_word_is(const char *name, const char *word) {
    size_t len = strlen(word);
    return strncmp(name, word, len) == 0 && (name[len] == ' ' || name[len] == '\0') ? len : 0;
}

// How many of the words are the command's name; 0: it is another.
static u32 match(const struct command *c, const char *const *words, u32 count) {
    size_t len = count > 0 ? first_word_is(c->name, words[0]) : 0;
    if (len == 0)
        return 0;
    if (c->name[len] == '\0')
        return 1;
    return count > 1 && strcmp(c->name + len + 1, words[1]) == 0 ? 2 : 0;
}

// Is it the first word of two-word commands?
static bool is_group(const char *word) {
    const struct command *c;
    for (u32 i = 0; (c = cmd_table(i)); i++) {
        size_t len = first_word_is(c->name, word);
        if (len > 0 && c->name[len] == ' ')
            return true;
    }
    return false;
}

static u32 min3(u32 a, u32 b, u32 c) {
    return MIN(MIN(a, b), c);
}

// How many letters are wrong, missing, too many or swapped with their neighbour; both at most GUESS_MAX long.
static u32 distance(const char *a, const char *b) {
    u32 rows[3][GUESS_MAX + 1]; // for the letters i - 2, i - 1 and i of a
    u32 n = (u32)strlen(b), m = (u32)strlen(a);
    for (u32 j = 0; j <= n; j++)
        rows[0][j] = j;
    for (u32 i = 1; i <= m; i++) {
        const u32 *before = rows[(i + 1) % 3], *above = rows[(i - 1) % 3];
        u32 *row = rows[i % 3];
        row[0] = i;
        for (u32 j = 1; j <= n; j++) {
            row[j] = min3(above[j] + 1, row[j - 1] + 1, above[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = MIN(row[j], before[j - 2] + 1);
        }
    }
    return rows[m % 3][n];
}

struct guess {
    const char *best;
    u32 distance;
};

static void guess_try(struct guess *g, const char *word, const char *candidate) {
    if (strlen(word) > GUESS_MAX || strlen(candidate) > GUESS_MAX)
        return;
    u32 d = distance(word, candidate);
    if (d <= MAX(strlen(candidate) / 3, (size_t)1) && (!g->best || d < g->distance))
        *g = (struct guess){candidate, d};
}

static void print_guess(const struct writer *out, const struct guess *g) {
    if (g->best)
        writer_printf(out, ", did you mean '%s'?\n", g->best);
    else
        writer_puts(out, "; 'help' lists the commands\n");
}

static int fail_unknown(const struct writer *out, const char *word) {
    struct guess g = {0};
    const struct command *c;
    for (u32 i = 0; (c = cmd_table(i)); i++) {
        guess_try(&g, word, c->name);
        if (strchr(c->name, ' ') && !g.best)
            guess_try(&g, word, strchr(c->name, ' ') + 1);
    }
    const struct command *whole = NULL; // "list" was typed, "vm list" meant
    for (u32 i = 0; g.best && (c = cmd_table(i)); i++)
        if (strchr(c->name, ' ') && strcmp(strchr(c->name, ' ') + 1, g.best) == 0)
            whole = c;
    if (whole)
        g.best = whole->name;
    writer_printf(out, "unknown command '%.40s'", word);
    print_guess(out, &g);
    return -ENOENT;
}

static int fail_subcommand(const struct writer *out, const char *group, const char *word) {
    struct guess g = {0};
    const struct command *c;
    if (word) {
        for (u32 i = 0; (c = cmd_table(i)); i++) {
            size_t len = first_word_is(c->name, group);
            if (len > 0 && c->name[len] == ' ')
                guess_try(&g, word, c->name + len + 1);
        }
        writer_printf(out, "%s: unknown subcommand '%.40s'", group, word);
        if (g.best) {
            print_guess(out, &g);
            return -ENOENT;
        }
        writer_puts(out, "; ");
    } else {
        writer_printf(out, "%s: ", group);
    }
    writer_puts(out, "one of these is expected:");
    for (u32 i = 0; (c = cmd_table(i)); i++) {
        size_t len = first_word_is(c->name, group);
        if (len > 0 && c->name[len] == ' ')
            writer_printf(out, " %s", c->name + len + 1);
    }
    writer_puts(out, "\n");
    return word ? -ENOENT : -EINVAL;
}

// ── Running ─────────────────────────────────────────────────────────────────────────────────────────────────────────
// Cuts the text into words, in place. Returns how many there are, which may be more than fit.
static u32 split(char *text, const char **words, u32 max) {
    u32 count = 0;
    for (char *p = text; *p;) {
        while (*p == ' ' || *p == '\t')
            *p++ = '\0';
        if (!*p)
            break;
        if (count < max)
            words[count] = p;
        count++;
        while (*p && *p != ' ' && *p != '\t')
            p++;
    }
    return count;
}

static int usage(const struct cmd *cmd, const char *what, const char *word) {
    const struct command *c = cmd->command;
    writer_printf(cmd->out, "%s: %s%.60s%s; expected: %s%s%s\n", c->name, what, word, *word ? "'" : "", c->name,
                  *c->args ? " " : "", c->args);
    return -EINVAL;
}

static int run_command(const struct command *c, const struct writer *out, const char *const *words, u32 count) {
    struct cmd cmd = {.command = c, .out = out};
    for (u32 i = 0; i < count; i++) {
        if (words[i][0] != '-')
            cmd.argv[cmd.argc++] = words[i];
        else if (c->option && strcmp(words[i], c->option) == 0)
            cmd.option = true;
        else if (strcmp(words[i], "--help") == 0 || strcmp(words[i], "-h") == 0)
            return cmd_help(&(struct cmd){.command = c, .out = out, .argc = 1, .argv = {c->name}});
        else
            return usage(&cmd, "unknown option '", words[i]);
    }
    if (cmd.argc < c->min_args)
        return usage(&cmd, "something is missing", "");
    if (cmd.argc > c->max_args)
        return usage(&cmd, "too much: '", cmd.argv[c->max_args]);
    return c->run(&cmd);
}

int cmd_run(const char *line, const struct writer *out) {
    char text[LINE_EDIT_MAX + 1];
    const char *words[CMD_WORDS_MAX];
    if (strlen(line) > LINE_EDIT_MAX) {
        writer_printf(out, "the line is too long: at most %u characters are taken\n", (u32)LINE_EDIT_MAX);
        return -E2BIG;
    }
    memcpy(text, line, strlen(line) + 1);
    u32 count = split(text, words, CMD_WORDS_MAX);
    if (count == 0 || words[0][0] == '#')
        return 0;
    if (count > CMD_WORDS_MAX) {
        writer_printf(out, "too many words: no command takes more than %u\n", (u32)CMD_WORDS_MAX);
        return -E2BIG;
    }
    const struct command *c;
    for (u32 i = 0; (c = cmd_table(i)); i++) {
        u32 n = match(c, words, count);
        if (n > 0)
            return run_command(c, out, words + n, count - n);
    }
    if (is_group(words[0]))
        return fail_subcommand(out, words[0], count > 1 ? words[1] : NULL);
    return fail_unknown(out, words[0]);
}

// ── Help ────────────────────────────────────────────────────────────────────────────────────────────────────────────
static void print_usage(const struct writer *out, const struct command *c) {
    char text[64];
    snprintf(text, sizeof text, "%s%s%s", c->name, *c->args ? " " : "", c->args);
    writer_printf(out, "  %-27s %s\n", text, c->help);
}

static int help_all(const struct writer *out) {
    const struct command *c;
    writer_puts(out, "NAME is a VM's name or id.\n");
    for (u32 i = 0; (c = cmd_table(i)); i++)
        print_usage(out, c);
    writer_puts(out, "Ctrl-] comes back here from anywhere, Tab completes, 'help CMD' tells more.\n");
    return 0;
}

int cmd_help(const struct cmd *cmd) {
    if (cmd->argc == 0)
        return help_all(cmd->out);
    char name[2 * NAME_MAX_LEN];
    snprintf(name, sizeof name, "%.31s%s%.31s", cmd->argv[0], cmd->argc > 1 ? " " : "",
             cmd->argc > 1 ? cmd->argv[1] : "");
    const struct command *c;
    bool found = false;
    for (u32 i = 0; (c = cmd_table(i)); i++) {
        if (strcmp(c->name, name) == 0) {
            writer_printf(cmd->out, "%s%s%s\n    %s\n%s", c->name, *c->args ? " " : "", c->args, c->help,
                          c->details ? c->details : "");
            return 0;
        }
        if (first_word_is(c->name, name) > 0) { // a group
            print_usage(cmd->out, c);
            found = true;
        }
    }
    return found ? 0 : fail_unknown(cmd->out, name);
}

// ── Completion ──────────────────────────────────────────────────────────────────────────────────────────────────────
struct completion {
    struct line_edit_matches *matches;
    const char *prefix;
    size_t len;
};

static void offer(const struct completion *c, const char *word) {
    struct line_edit_matches *m = c->matches;
    if (!word || strncmp(word, c->prefix, c->len) != 0 || m->count == LINE_EDIT_MATCHES)
        return;
    for (u32 i = 0; i < m->count; i++)
        if (strcmp(m->words[i], word) == 0)
            return;
    m->words[m->count++] = word;
}

static void offer_vms(const struct completion *c) {
    for (u32 i = 0; i < vmm_count(); i++)
        offer(c, vmm_vm(i)->cfg.name);
}

// The n-th word of the commands' names, those that begin with the words typed so far. First words of groups are kept
// apart, since they are not whole strings in the table.
static void offer_names(const struct completion *c, const char *const *words, u32 count) {
    static const char *const groups[] = {"vm"};
    const struct command *k;
    if (count == 0)
        for (u32 i = 0; i < ARRAY_SIZE(groups); i++)
            offer(c, groups[i]);
    for (u32 i = 0; (k = cmd_table(i)); i++) {
        if (count == 0 && !strchr(k->name, ' '))
            offer(c, k->name);
        size_t len = count == 1 ? first_word_is(k->name, words[0]) : 0;
        if (len > 0 && k->name[len] == ' ')
            offer(c, k->name + len + 1);
    }
}

static void offer_args(const struct completion *c, const struct command *k, const char *const *words, u32 count) {
    static const char *const levels[] = {"error", "warn", "info", "debug"};
    offer(c, c->prefix[0] == '-' ? k->option : NULL);
    switch (k->arg) {
    case CMD_ARG_NONE:
        break;
    case CMD_ARG_VM_OR_ALL:
        offer(c, "all");
        [[fallthrough]];
    case CMD_ARG_VM:
        offer_vms(c);
        break;
    case CMD_ARG_LEVEL:
        for (u32 i = 0; i < ARRAY_SIZE(levels); i++)
            offer(c, levels[i]);
        break;
    case CMD_ARG_COMMAND:
        offer_names(c, words, count);
        break;
    }
}

void cmd_complete(const char *line, u32 cursor, struct line_edit_matches *matches) {
    char text[LINE_EDIT_MAX + 1];
    const char *words[CMD_WORDS_MAX];
    matches->count = 0;
    matches->start = cursor;
    if (cursor > LINE_EDIT_MAX)
        return;
    while (matches->start > 0 && line[matches->start - 1] != ' ')
        matches->start--;
    memcpy(text, line, matches->start);
    text[matches->start] = '\0';
    char prefix[LINE_EDIT_MAX + 1];
    size_t len = cursor - matches->start;
    memcpy(prefix, line + matches->start, len);
    prefix[len] = '\0';
    u32 count = split(text, words, CMD_WORDS_MAX);
    if (count > CMD_WORDS_MAX)
        return;
    struct completion c = {matches, prefix, len};
    offer_names(&c, words, count);
    const struct command *k;
    for (u32 i = 0; (k = cmd_table(i)); i++) {
        u32 n = match(k, words, count);
        if (n > 0)
            offer_args(&c, k, words + n, count - n);
    }
}
