// SPDX-License-Identifier: Apache-2.0
#include "line_edit.h"

#include <stdio.h>
#include <string.h>

enum { GROUND, ESCAPED, CSI, SS3 };
enum { CTRL_A = 1, CTRL_B, CTRL_C, CTRL_D, CTRL_E, CTRL_F, CTRL_H = 8, TAB = 9, CTRL_K = 11, CTRL_L = 12 };
enum { CTRL_N = 14, CTRL_P = 16, CTRL_T = 20, CTRL_U = 21, CTRL_W = 23, CTRL_Y = 25, ESC = 27, DEL = 127 };

static void put(struct line_edit *e, const char *bytes, size_t count) {
    if (count > 0)
        e->hooks->write(e->hooks->ctx, bytes, count);
}

static void put_text(struct line_edit *e, const char *text) {
    put(e, text, strlen(text));
}

static u32 text_columns(const struct line_edit *e) {
    return LINE_EDIT_COLUMNS - 1 -
           (u32)strlen(e->prompt); // the last column stays free: terminals differ in wrapping there
}

void line_edit_init(struct line_edit *e, const char *prompt, const struct line_edit_hooks *hooks) {
    memset(e, 0, sizeof *e);
    e->prompt = prompt;
    e->hooks = hooks;
}

static void clear(struct line_edit *e) {
    e->len = e->cursor = e->scroll = e->browse = 0;
    e->line[0] = '\0';
}

void line_edit_redraw(struct line_edit *e) {
    u32 columns = text_columns(e);
    if (e->cursor < e->scroll)
        e->scroll = e->cursor;
    if (e->cursor > e->scroll + columns)
        e->scroll = e->cursor - columns;
    u32 shown = MIN(e->len - e->scroll, columns);
    put_text(e, "\r");
    put_text(e, e->prompt);
    put(e, e->line + e->scroll, shown);
    put_text(e, "\x1b[K");
    u32 back = e->scroll + shown - e->cursor;
    if (back > 0) {
        char move[16];
        int n = snprintf(move, sizeof move, "\x1b[%uD", back);
        put(e, move, (size_t)n);
    }
}

void line_edit_begin(struct line_edit *e) {
    clear(e);
    line_edit_redraw(e);
}

static void insert(struct line_edit *e, const char *bytes, u32 count) {
    if (count > LINE_EDIT_MAX - e->len)
        return;
    memmove(e->line + e->cursor + count, e->line + e->cursor, e->len - e->cursor + 1);
    memcpy(e->line + e->cursor, bytes, count);
    e->len += count;
    e->cursor += count;
    // The common case, and kind to pasted text: at the end, with room on the row, the bytes alone do.
    if (e->cursor == e->len && e->len - e->scroll <= text_columns(e))
        put(e, bytes, count);
    else
        line_edit_redraw(e);
}

static void erase(struct line_edit *e, u32 from, u32 to) {
    if (from == to)
        return;
    memmove(e->line + from, e->line + to, e->len - to + 1);
    e->len -= to - from;
    e->cursor = from;
    line_edit_redraw(e);
}

static void kill_range(struct line_edit *e, u32 from, u32 to) {
    if (from == to)
        return;
    memcpy(e->kill, e->line + from, to - from);
    e->kill[to - from] = '\0';
    erase(e, from, to);
}

static u32 word_start(const struct line_edit *e) {
    u32 at = e->cursor;
    while (at > 0 && e->line[at - 1] == ' ')
        at--;
    while (at > 0 && e->line[at - 1] != ' ')
        at--;
    return at;
}

static u32 word_end(const struct line_edit *e) {
    u32 at = e->cursor;
    while (at < e->len && e->line[at] == ' ')
        at++;
    while (at < e->len && e->line[at] != ' ')
        at++;
    return at;
}

static void move_to(struct line_edit *e, u32 cursor) {
    if (cursor == e->cursor)
        return;
    e->cursor = cursor;
    line_edit_redraw(e);
}

static void transpose(struct line_edit *e) {
    u32 at = e->cursor == e->len ? e->cursor - 1 : e->cursor;
    if (e->len < 2 || e->cursor == 0)
        return;
    char c = e->line[at];
    e->line[at] = e->line[at - 1];
    e->line[at - 1] = c;
    e->cursor = at + 1;
    line_edit_redraw(e);
}

// ── History ─────────────────────────────────────────────────────────────────────────────────────────────────────────
static char *past(struct line_edit *e, u32 back) {
    return e->history[(e->history_count - back) % LINE_EDIT_HISTORY];
}

static void remember(struct line_edit *e) {
    if (e->len == 0 || e->len > LINE_EDIT_RECALL || e->line[0] == ' ')
        return;
    if (e->history_count > 0 && strcmp(past(e, 1), e->line) == 0)
        return;
    memcpy(e->history[e->history_count++ % LINE_EDIT_HISTORY], e->line, e->len + 1);
}

static void recall(struct line_edit *e, u32 back) {
    if (back > MIN(e->history_count, (u32)LINE_EDIT_HISTORY) || back == e->browse)
        return;
    if (e->browse == 0)
        memcpy(e->draft, e->line, e->len + 1);
    const char *text = back == 0 ? e->draft : past(e, back);
    e->browse = back;
    e->len = (u32)strlen(text);
    memcpy(e->line, text, e->len + 1);
    e->cursor = e->len;
    e->scroll = 0;
    line_edit_redraw(e);
}

static void recall_older(struct line_edit *e) {
    recall(e, e->browse + 1);
}

static void recall_newer(struct line_edit *e) {
    if (e->browse > 0)
        recall(e, e->browse - 1);
}

// ── Completion ──────────────────────────────────────────────────────────────────────────────────────────────────────
static u32 common_length(const struct line_edit_matches *m) {
    u32 n = (u32)strlen(m->words[0]);
    for (u32 i = 1; i < m->count; i++) {
        u32 k = 0;
        while (k < n && m->words[i][k] == m->words[0][k])
            k++;
        n = k;
    }
    return n;
}

static void list_matches(struct line_edit *e, const struct line_edit_matches *m) {
    u32 column = 0;
    put_text(e, "\r\n");
    for (u32 i = 0; i < m->count; i++) {
        u32 len = (u32)strlen(m->words[i]);
        if (column > 0 && column + 2 + len >= LINE_EDIT_COLUMNS) {
            put_text(e, "\r\n");
            column = 0;
        } else if (column > 0) {
            put_text(e, "  ");
            column += 2;
        }
        put(e, m->words[i], len);
        column += len;
    }
    put_text(e, "\r\n");
    line_edit_redraw(e);
}

static void complete(struct line_edit *e) {
    if (!e->hooks->complete)
        return;
    struct line_edit_matches m = {.start = e->cursor};
    e->hooks->complete(e->hooks->ctx, e->line, e->cursor, &m);
    if (m.count == 0 || m.start > e->cursor)
        return;
    u32 typed = e->cursor - m.start;
    u32 common = common_length(&m);
    if (common > typed)
        insert(e, m.words[0] + typed, common - typed);
    if (m.count == 1) {
        if (e->line[e->cursor] == ' ')
            move_to(e, e->cursor + 1);
        else
            insert(e, " ", 1);
    } else if (common <= typed) {
        list_matches(e, &m);
    }
}

// ── Keys ────────────────────────────────────────────────────────────────────────────────────────────────────────────
// The final byte of ESC [ … or ESC O …
static void special_key(struct line_edit *e, char final) {
    bool by_word = e->param == 5; // ESC [ 1 ; 5 C: with Ctrl
    switch (final) {
    case 'A':
        recall_older(e);
        break;
    case 'B':
        recall_newer(e);
        break;
    case 'C':
        move_to(e, by_word ? word_end(e) : MIN(e->cursor + 1, e->len));
        break;
    case 'D':
        move_to(e, by_word ? word_start(e) : e->cursor - (e->cursor > 0));
        break;
    case 'H':
        move_to(e, 0);
        break;
    case 'F':
        move_to(e, e->len);
        break;
    case '~':
        if (e->param == 1 || e->param == 7)
            move_to(e, 0);
        else if (e->param == 4 || e->param == 8)
            move_to(e, e->len);
        else if (e->param == 3 && e->cursor < e->len)
            erase(e, e->cursor, e->cursor + 1);
        break;
    default:
        break;
    }
}

static void feed_escape(struct line_edit *e, char byte) {
    if (byte == ESC) { // a new key begins
        e->state = ESCAPED;
        return;
    }
    if (e->state == ESCAPED) {
        e->state = byte == '[' ? CSI : byte == 'O' ? SS3 : GROUND;
        e->param = 0;
        if (byte == 'b')
            move_to(e, word_start(e));
        else if (byte == 'f')
            move_to(e, word_end(e));
        else if (byte == 'd')
            kill_range(e, e->cursor, word_end(e));
        return;
    }
    if (byte >= '0' && byte <= '9') {
        e->param = (u8)(e->param * 10 + (byte - '0'));
    } else if (byte == ';') {
        e->param = 0; // of "1;5" the 5 matters: the modifier
    } else if (byte >= '@' && byte <= '~') {
        e->state = GROUND;
        special_key(e, byte);
    } else if (byte < ' ') {
        e->state = GROUND;
    }
}

static void edit_key(struct line_edit *e, char byte) {
    switch (byte) {
    case CTRL_A:
        move_to(e, 0);
        break;
    case CTRL_B:
        move_to(e, e->cursor - (e->cursor > 0));
        break;
    case CTRL_D:
        if (e->cursor < e->len)
            erase(e, e->cursor, e->cursor + 1);
        break;
    case CTRL_E:
        move_to(e, e->len);
        break;
    case CTRL_F:
        move_to(e, MIN(e->cursor + 1, e->len));
        break;
    case CTRL_H:
    case DEL:
        if (e->cursor > 0)
            erase(e, e->cursor - 1, e->cursor);
        break;
    case CTRL_K:
        kill_range(e, e->cursor, e->len);
        break;
    case CTRL_U:
        kill_range(e, 0, e->cursor);
        break;
    case CTRL_W:
        kill_range(e, word_start(e), e->cursor);
        break;
    case CTRL_Y:
        insert(e, e->kill, (u32)strlen(e->kill));
        break;
    case CTRL_T:
        transpose(e);
        break;
    case CTRL_P:
        recall_older(e);
        break;
    case CTRL_N:
        recall_newer(e);
        break;
    case CTRL_L:
        put_text(e, "\x1b[H\x1b[2J");
        line_edit_redraw(e);
        break;
    case TAB:
        complete(e);
        break;
    default: // printable ASCII; no command has a use for more
        if (byte >= ' ' && byte < DEL)
            insert(e, &byte, 1);
        break;
    }
}

enum line_edit_event line_edit_feed(struct line_edit *e, char byte) {
    bool after_cr = e->cr;
    e->cr = byte == '\r';
    if (e->state != GROUND && byte != '\r' && byte != '\n') {
        feed_escape(e, byte);
        return LINE_EDIT_MORE;
    }
    e->state = GROUND;
    switch (byte) {
    case '\n':
        if (after_cr)
            return LINE_EDIT_MORE;
        [[fallthrough]];
    case '\r':
        put_text(e, "\r\n");
        remember(e);
        return LINE_EDIT_LINE;
    case ESC:
        e->state = ESCAPED;
        return LINE_EDIT_MORE;
    case CTRL_C:
        put_text(e, "^C\r\n");
        line_edit_begin(e);
        return LINE_EDIT_MORE;
    case CTRL_D:
        if (e->len == 0)
            return LINE_EDIT_END;
        [[fallthrough]];
    default:
        edit_key(e, byte);
        return LINE_EDIT_MORE;
    }
}
