// SPDX-License-Identifier: Apache-2.0
// The shell's commands: one table, looked up by name, with the words that help and completion need.
#pragma once

#include "line_edit.h"
#include "types.h"

enum { CMD_WORDS_MAX = 8 }; // words of a line

struct writer { // where a command's output goes
    void (*write)(void *ctx, const char *bytes, size_t count);
    void *ctx;
};

[[gnu::format(printf, 2, 3)]] void writer_printf(const struct writer *w, const char *fmt, ...);
void writer_puts(const struct writer *w, const char *text);
// The text as a JSON string, quotes included.
void writer_json(const struct writer *w, const char *text);

struct cmd; // a call of a command

enum cmd_arg { CMD_ARG_NONE, CMD_ARG_VM, CMD_ARG_VM_OR_ALL, CMD_ARG_LEVEL, CMD_ARG_COMMAND }; // what completes

struct command {
    const char *name;    // one or two words: "vm list"
    const char *args;    // as in help: "[--force] NAME"
    const char *help;    // one line
    const char *details; // more lines, each ended, for `help CMD`; or NULL
    const char *option;  // "--force", or NULL
    enum cmd_arg arg;
    u32 min_args, max_args; // options not counted
    int (*run)(const struct cmd *cmd);
};

struct cmd {
    const struct command *command;
    const struct writer *out;
    u32 argc; // options not counted
    const char *argv[CMD_WORDS_MAX];
    bool option; // the command's option was given
};

// The tables, joined: NULL past the last. Any.
const struct command *cmd_table(u32 index);

// Runs one line. 0, or a negative errno after a sentence to `out`; an empty line and a comment ('#') are 0. Task
// (shell).
int cmd_run(const char *line, const struct writer *out);
// For the line editor. Any.
void cmd_complete(const char *line, u32 cursor, struct line_edit_matches *matches);
// Prints a formatted sentence and returns err.
[[gnu::format(printf, 3, 4)]] int cmd_fail(const struct cmd *cmd, int err, const char *fmt, ...);

// The tables of core/cmd_*.c.
extern const struct command cmd_vm_table[], cmd_system_table[];
extern const u32 cmd_vm_count, cmd_system_count;
int cmd_help(const struct cmd *cmd);
