// SPDX-License-Identifier: Apache-2.0
// What several VMs' output looks like on one terminal: whole lines, each behind its VM's name. Pure: bytes in, bytes
// out.
//
// A VM's bytes cannot disturb the others' lines: cursor movement, resets, queries and title strings are dropped,
// colours (SGR) stay and are ended with the line, malformed UTF-8 is dropped. A line that is not complete yet (a
// prompt) is shown by view_show; its rest is added in place, or, if something else was printed since, the line is
// printed again.
#pragma once

#include "types.h"

enum {
    VIEW_COLUMNS = 240,    // a longer line is broken
    VIEW_TEXT_MAX = 1024,  // bytes of a line, colours and UTF-8 included
    VIEW_BURST_MAX = 1280, // bytes that one call adds to the output at most
    ESCAPE_SEQ_MAX = 32,
};

// Splits a byte stream into characters, controls and escape sequences (ECMA-48 §5.4).
enum escape_item {
    ESCAPE_NONE,    // more bytes are needed, or it was dropped
    ESCAPE_TEXT,    // seq[0..len) is one printable character
    ESCAPE_CONTROL, // seq[0] is a C0 control
    ESCAPE_CSI,     // seq[0..len) is a control sequence, from ESC [ to its final byte
};

struct escape_filter {
    u8 state;
    u8 utf8_left;          // continuation bytes to come
    u8 utf8_min, utf8_max; // bounds of the next one
    u32 len;
    u32 string_len; // bytes of an OSC or DCS string so far
    char seq[ESCAPE_SEQ_MAX];
};

enum escape_item escape_feed(struct escape_filter *f, char byte);

struct view_out {
    char *data;
    u32 len, size; // the caller leaves room for VIEW_BURST_MAX before each call
};

struct view_line { // one source's current line
    const char *name;
    struct escape_filter filter;
    char text[VIEW_TEXT_MAX];
    u32 len;
    u32 column;     // characters in text
    u32 shown;      // bytes of text that stand on the terminal
    u32 plain;      // where the last colour sequence in text ends
    bool colour;    // text leaves the terminal coloured
    bool lit;       // what of it stands on the terminal does
    bool returned;  // a carriage return came: the next character begins the line anew
    bool redraw;    // what stands on the terminal is no longer how text begins
    bool dirty;     // changed since it was shown
    bool was_shown; // shown in full, then closed by another line
};

struct view {
    struct view_line *open; // whose incomplete line the cursor stands behind, or NULL
    u32 name_width;
};

// Context of all: the console's task.
void view_line_init(struct view_line *line, const char *name);
void view_putc(struct view *view, struct view_line *line, char byte, struct view_out *out);
// Shows an incomplete line that has changed.
void view_show(struct view *view, struct view_line *line, struct view_out *out);
// Ends the open line, if there is one, so that something else can be printed. Its text is kept.
void view_close(struct view *view, struct view_out *out);
// A whole line of another's: prefix, text as it is, line end.
void view_print(struct view *view, const char *name, const char *text, struct view_out *out);
void view_append(struct view_out *out, const char *bytes, size_t count);
