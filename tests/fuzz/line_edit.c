// SPDX-License-Identifier: Apache-2.0
// Keys into the line editor, its output onto a terminal of 80 columns: the row shows the prompt, the part of the line
// that it should, and the cursor where it is.
#include "cmd.h"
#include "fuzz.h"
#include "line_edit.h"

#include <stdlib.h>
#include <string.h>

#define PROMPT "bulkhead> "

static struct line_edit editor;
static struct {
    char row[LINE_EDIT_COLUMNS + 1];
    u32 column;
} term;

static void erase_row(u32 from) {
    memset(term.row + from, ' ', LINE_EDIT_COLUMNS - from);
}

static const char *control(const char *p, const char *end) {
    FUZZ_CHECK(end - p >= 3 && p[1] == '[');
    char *final;
    u32 number = (u32)strtoul(p + 2, &final, 10);
    FUZZ_CHECK(final < end);
    if (*final == 'K') {
        erase_row(term.column);
    } else if (*final == 'D') {
        FUZZ_CHECK(number >= 1 && number <= term.column);
        term.column -= number;
    } else {
        FUZZ_CHECK(*final == 'H' || (*final == 'J' && number == 2));
        term.column = 0;
        erase_row(0);
    }
    return final + 1;
}

static void terminal(void *ctx, const char *bytes, size_t count) {
    (void)ctx;
    for (const char *p = bytes, *end = bytes + count; p < end;) {
        if (*p == '\x1b') {
            p = control(p, end);
            continue;
        }
        if (end - p == 4 && memcmp(p, "^C\r\n", 4) == 0) { // may reach over the end of the row, which it leaves
            p += 2;
            continue;
        }
        if (*p == '\r') {
            term.column = 0;
        } else if (*p == '\n') {
            erase_row(0);
        } else {
            FUZZ_CHECK(*p >= ' ' && *p < 0x7f && term.column < LINE_EDIT_COLUMNS - 1);
            term.row[term.column++] = *p;
        }
        p++;
    }
}

static void complete(void *ctx, const char *line, u32 cursor, struct line_edit_matches *matches) {
    (void)ctx;
    cmd_complete(line, cursor, matches);
    FUZZ_CHECK(matches->count <= LINE_EDIT_MATCHES && matches->start <= cursor);
    for (u32 i = 0; i < matches->count; i++)
        FUZZ_CHECK(strncmp(matches->words[i], line + matches->start, cursor - matches->start) == 0);
}

static void check_row(void) {
    const struct line_edit *e = &editor;
    u32 prompt = sizeof(PROMPT) - 1, room = LINE_EDIT_COLUMNS - 1 - prompt;
    FUZZ_CHECK(e->len <= LINE_EDIT_MAX && e->cursor <= e->len && strlen(e->line) == e->len);
    FUZZ_CHECK(e->scroll <= e->cursor && e->cursor - e->scroll <= room);
    FUZZ_CHECK(memcmp(term.row, PROMPT, prompt) == 0);
    u32 shown = MIN(e->len - e->scroll, room);
    FUZZ_CHECK(memcmp(term.row + prompt, e->line + e->scroll, shown) == 0);
    for (u32 i = prompt + shown; i < LINE_EDIT_COLUMNS; i++)
        FUZZ_CHECK(term.row[i] == ' ');
    FUZZ_CHECK(term.column == prompt + e->cursor - e->scroll);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size) {
    static const struct line_edit_hooks hooks = {terminal, complete, NULL};
    term.column = 0;
    erase_row(0);
    line_edit_init(&editor, PROMPT, &hooks);
    line_edit_begin(&editor);
    for (size_t i = 0; i < size; i++) {
        switch (line_edit_feed(&editor, (char)data[i])) {
        case LINE_EDIT_LINE:
            FUZZ_CHECK(strlen(editor.line) == editor.len);
            line_edit_begin(&editor);
            break;
        case LINE_EDIT_END:
            FUZZ_CHECK(editor.len == 0);
            line_edit_redraw(&editor);
            break;
        case LINE_EDIT_MORE:
            break;
        }
        check_row();
    }
    return 0;
}
