// SPDX-License-Identifier: Apache-2.0
// A line editor for a serial terminal: bytes in, terminal output out, no other effect. The line stays on one row and
// scrolls sideways when it is longer. Keys as in bash's emacs mode.
#pragma once

#include "types.h"

enum {
    LINE_EDIT_MAX = 255,    // bytes of a line
    LINE_EDIT_HISTORY = 16, // lines remembered
    LINE_EDIT_RECALL = 127, // bytes of each
    LINE_EDIT_COLUMNS = 80,
    LINE_EDIT_MATCHES = 40, // completions listed
};

enum line_edit_event {
    LINE_EDIT_MORE,
    LINE_EDIT_LINE, // a whole line is in e->line; line_edit_begin() starts the next
    LINE_EDIT_END,  // Ctrl-D on an empty line
};

struct line_edit;

// What may stand where the cursor is.
struct line_edit_matches {
    u32 start; // of the word to be completed, in e->line
    u32 count;
    const char *words[LINE_EDIT_MATCHES]; // stay valid until the editor has written its output
};

struct line_edit_hooks {
    void (*write)(void *ctx, const char *bytes, size_t count); // to the terminal
    // Fills in the completions of the line's first `cursor` bytes. NULL: none.
    void (*complete)(void *ctx, const char *line, u32 cursor, struct line_edit_matches *matches);
    void *ctx;
};

struct line_edit {
    const struct line_edit_hooks *hooks;
    const char *prompt;
    char line[LINE_EDIT_MAX + 1];
    u32 len, cursor;
    u32 scroll; // first byte of the line that is shown
    char kill[LINE_EDIT_MAX + 1];
    u8 state; // of the key being decoded
    u8 param; // its first number
    bool cr;  // the last byte was a carriage return: a newline after it belongs to it
    char history[LINE_EDIT_HISTORY][LINE_EDIT_RECALL + 1];
    u32 history_count;             // lines ever added
    u32 browse;                    // 0: the line itself, n: n lines back
    char draft[LINE_EDIT_MAX + 1]; // the line itself while browsing
};

// Context of all: any, the caller serialises.
void line_edit_init(struct line_edit *e, const char *prompt, const struct line_edit_hooks *hooks);
// Draws the prompt with an empty line.
void line_edit_begin(struct line_edit *e);
enum line_edit_event line_edit_feed(struct line_edit *e, char byte);
// Draws prompt and line again: something was printed over them.
void line_edit_redraw(struct line_edit *e);
