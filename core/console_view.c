// SPDX-License-Identifier: Apache-2.0
#include "console_view.h"

#include <string.h>

enum { GROUND, ESCAPED, INTERMEDIATE, CSI, STRING };
enum { ESC = 0x1b, BEL = 0x07, CAN = 0x18, SUB = 0x1a, DEL = 0x7f };
enum { STRING_MAX = 4096, TAB = 8 };

#define COLOUR_OFF "\x1b[0m"
#define ERASE_REST "\x1b[K"

static enum escape_item item(struct escape_filter *f, enum escape_item kind) {
    f->state = GROUND;
    f->utf8_left = 0;
    return kind;
}

static enum escape_item utf8_begin(struct escape_filter *f, u8 byte) {
    f->utf8_min = 0x80;
    f->utf8_max = 0xbf;
    if (byte >= 0xc2 && byte <= 0xdf) {
        f->utf8_left = 1;
        if (byte == 0xc2)
            f->utf8_min = 0xa0; // U+0080 … U+009F are controls: CSI among them
    } else if (byte >= 0xe0 && byte <= 0xef) {
        f->utf8_left = 2;
        if (byte == 0xe0)
            f->utf8_min = 0xa0;
        else if (byte == 0xed)
            f->utf8_max = 0x9f;
    } else if (byte >= 0xf0 && byte <= 0xf4) {
        f->utf8_left = 3;
        if (byte == 0xf0)
            f->utf8_min = 0x90;
        else if (byte == 0xf4)
            f->utf8_max = 0x8f;
    } else {
        return ESCAPE_NONE;
    }
    f->seq[0] = (char)byte;
    f->len = 1;
    return ESCAPE_NONE;
}

static enum escape_item feed_ground(struct escape_filter *f, u8 byte) {
    if (f->utf8_left > 0) {
        if (byte >= f->utf8_min && byte <= f->utf8_max) {
            f->seq[f->len++] = (char)byte;
            f->utf8_min = 0x80;
            f->utf8_max = 0xbf;
            return --f->utf8_left == 0 ? ESCAPE_TEXT : ESCAPE_NONE;
        }
        f->utf8_left = 0; // malformed: forget its beginning, look at this byte afresh
    }
    if (byte >= 0x80)
        return utf8_begin(f, byte);
    f->seq[0] = (char)byte;
    f->len = 1;
    if (byte >= ' ' && byte != DEL)
        return ESCAPE_TEXT;
    return byte == DEL ? ESCAPE_NONE : ESCAPE_CONTROL;
}

static enum escape_item feed_escaped(struct escape_filter *f, u8 byte) {
    if (byte == '[') {
        f->state = CSI;
        f->seq[0] = ESC;
        f->seq[1] = '[';
        f->len = 2;
    } else if (byte == ']' || byte == 'P' || byte == 'X' || byte == '^' || byte == '_') {
        f->state = STRING;
        f->string_len = 0;
    } else if (byte >= ' ' && byte <= '/') {
        f->state = INTERMEDIATE;
    } else {
        f->state = GROUND;
    }
    return ESCAPE_NONE;
}

static enum escape_item feed_csi(struct escape_filter *f, u8 byte) {
    bool fits = f->len < ESCAPE_SEQ_MAX;
    if (fits)
        f->seq[f->len++] = (char)byte;
    if (byte >= ' ' && byte <= '?')
        return ESCAPE_NONE;
    f->state = GROUND;
    return fits && byte >= '@' && byte <= '~' ? ESCAPE_CSI : ESCAPE_NONE;
}

enum escape_item escape_feed(struct escape_filter *f, char byte) {
    u8 code = (u8)byte;
    if (code == ESC) {
        f->state = ESCAPED;
        f->utf8_left = 0;
        return ESCAPE_NONE;
    }
    if (f->state == GROUND)
        return feed_ground(f, code);
    if (code == CAN || code == SUB)
        return item(f, ESCAPE_NONE);
    // A line's end is never part of a sequence here: a VM that dies within one must not swallow what comes later.
    if (byte == '\n' || byte == '\r') {
        f->seq[0] = byte;
        f->len = 1;
        return item(f, ESCAPE_CONTROL);
    }
    switch (f->state) {
    case ESCAPED:
        return feed_escaped(f, code);
    case INTERMEDIATE:
        if (code < ' ' || code > '/')
            f->state = GROUND;
        return ESCAPE_NONE;
    case CSI:
        return feed_csi(f, code);
    default: // STRING: up to BEL, or ST, whose ESC was looked at above
        if (code == BEL || ++f->string_len > STRING_MAX)
            f->state = GROUND;
        return ESCAPE_NONE;
    }
}

void view_append(struct view_out *out, const char *bytes, size_t count) {
    size_t room = out->size - out->len;
    if (count > room)
        count = room;
    memcpy(out->data + out->len, bytes, count);
    out->len += (u32)count;
}

static void append_text(struct view_out *out, const char *text) {
    view_append(out, text, strlen(text));
}

static void append_prefix(const struct view *view, const char *name, struct view_out *out) {
    size_t len = strlen(name);
    view_append(out, name, len);
    for (; len < view->name_width; len++)
        view_append(out, " ", 1);
    append_text(out, " | ");
}

void view_line_init(struct view_line *line, const char *name) {
    memset(line, 0, sizeof *line);
    line->name = name;
}

static void line_clear(struct view_line *line) {
    line->len = line->column = line->shown = line->plain = 0;
    line->colour = line->returned = line->redraw = line->dirty = line->was_shown = false;
}

void view_close(struct view *view, struct view_out *out) {
    struct view_line *line = view->open;
    if (!line)
        return;
    append_text(out, line->lit ? COLOUR_OFF "\r\n" : "\r\n");
    line->lit = false;
    // What is shown is `shown` bytes of the text; if that is all, it need not come again unless it changes.
    line->was_shown = !line->dirty;
    line->shown = 0;
    line->redraw = false;
    view->open = NULL;
}

void view_show(struct view *view, struct view_line *line, struct view_out *out) {
    if (view->open == line && !line->redraw) {
        view_append(out, line->text + line->shown, line->len - line->shown);
    } else {
        if (view->open == line)
            append_text(out, COLOUR_OFF "\r");
        else
            view_close(view, out);
        append_prefix(view, line->name, out);
        view_append(out, line->text, line->len);
        if (line->redraw)
            append_text(out, ERASE_REST);
    }
    view->open = line;
    line->shown = line->len;
    line->lit = line->colour;
    line->redraw = line->dirty = line->was_shown = false;
}

void view_print(struct view *view, const char *name, const char *text, struct view_out *out) {
    view_close(view, out);
    append_prefix(view, name, out);
    append_text(out, text);
    append_text(out, "\r\n");
}

static void end_line(struct view *view, struct view_line *line, struct view_out *out) {
    // A prompt that was shown, then interrupted, and now only ends: nothing new to tell.
    bool told = line->was_shown && !line->dirty;
    if (!told) {
        view_show(view, line, out);
        view_close(view, out);
    }
    line_clear(line);
}

// The line begins anew, as a progress display does it.
static void restart_line(struct view_line *line) {
    bool on_terminal = line->shown > 0 || line->redraw; // it may begin anew several times before it is shown
    line_clear(line);
    line->redraw = on_terminal;
    line->dirty = true;
}

static void add_text(struct view *view, struct view_line *line, const char *bytes, u32 count, struct view_out *out) {
    if (line->returned)
        restart_line(line);
    // 16: a whole character, and a little more
    if (line->column >= VIEW_COLUMNS || line->len + ESCAPE_SEQ_MAX + 16 > VIEW_TEXT_MAX)
        end_line(view, line, out);
    memcpy(line->text + line->len, bytes, count);
    line->len += count;
    line->column++;
    line->dirty = true;
}

static void add_colour(struct view_line *line) {
    const struct escape_filter *f = &line->filter;
    for (u32 i = 2; i + 1 < f->len; i++)
        if ((f->seq[i] < '0' || f->seq[i] > ';')) // digits, ':' and ';': "CSI > 4 m" is a keyboard mode
            return;
    if (line->len + f->len + 16 > VIEW_TEXT_MAX)
        return;
    if (line->returned)
        restart_line(line);
    memcpy(line->text + line->len, f->seq, f->len);
    line->len += f->len;
    line->plain = line->len;
    line->colour = !(f->len == 3 || (f->len == 4 && f->seq[2] == '0'));
    line->dirty = true;
}

static void backspace(struct view_line *line) {
    if (line->len <= line->plain)
        return;
    do
        line->len--;
    while (line->len > line->plain && ((u8)line->text[line->len] & 0xc0) == 0x80);
    line->column--;
    line->redraw = line->redraw || line->len < line->shown;
    line->dirty = true;
}

static void add_control(struct view *view, struct view_line *line, char byte, struct view_out *out) {
    switch (byte) {
    case '\n':
        end_line(view, line, out);
        break;
    case '\r':
        line->returned = true;
        break;
    case '\b':
        if (!line->returned)
            backspace(line);
        break;
    case '\t':
        do
            add_text(view, line, " ", 1, out);
        while (line->column % TAB != 0);
        break;
    default: // bell, form feed, shift out, …
        break;
    }
}

void view_putc(struct view *view, struct view_line *line, char byte, struct view_out *out) {
    switch (escape_feed(&line->filter, byte)) {
    case ESCAPE_TEXT:
        add_text(view, line, line->filter.seq, line->filter.len, out);
        break;
    case ESCAPE_CONTROL:
        add_control(view, line, line->filter.seq[0], out);
        break;
    case ESCAPE_CSI:
        if (line->filter.seq[line->filter.len - 1] == 'm')
            add_colour(line);
        break;
    case ESCAPE_NONE:
        break;
    }
}
