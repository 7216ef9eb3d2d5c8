// SPDX-License-Identifier: Apache-2.0
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "line_edit.h"

static char output[16 * 1024];
static size_t output_len;
static struct line_edit e;

static void write_output(void *ctx, const char *bytes, size_t count) {
    (void)ctx;
    if (output_len + count >= sizeof output)
        output_len = 0;
    memcpy(output + output_len, bytes, count);
    output_len += count;
    output[output_len] = '\0';
}

static void complete(void *ctx, const char *line, u32 cursor, struct line_edit_matches *m) {
    static const char *const words[] = {"start", "stop", "show", "list"};
    (void)ctx;
    m->start = cursor;
    while (m->start > 0 && line[m->start - 1] != ' ')
        m->start--;
    for (u32 i = 0; i < ARRAY_SIZE(words); i++)
        if (strncmp(words[i], line + m->start, cursor - m->start) == 0)
            m->words[m->count++] = words[i];
}

static const struct line_edit_hooks hooks = {write_output, complete, NULL};

static int setup(void **state) {
    (void)state;
    line_edit_init(&e, "> ", &hooks);
    line_edit_begin(&e);
    output_len = 0;
    output[0] = '\0';
    return 0;
}

// What the row shows after the output, on a terminal that knows what the editor uses, and where the cursor stands.
static char row[256];
static u32 row_cursor;
static void render(void) {
    memset(row, 0, sizeof row);
    row_cursor = 0;
    u32 len = 0;
    for (const char *p = output; *p; p++) {
        if (*p == '\r') {
            row_cursor = 0;
        } else if (*p == '\n') {
            memset(row, 0, sizeof row);
            len = 0;
        } else if (*p == '\x1b') {
            char *end;
            u32 n = (u32)strtoul(p + 2, &end, 10);
            if (*end == 'K') {
                memset(row + row_cursor, 0, sizeof row - row_cursor);
                len = row_cursor;
            } else if (*end == 'D') {
                row_cursor -= n;
            }
            p = end;
        } else {
            row[row_cursor++] = *p;
            len = MAX(len, row_cursor);
            assert_true(row_cursor < LINE_EDIT_COLUMNS);
        }
    }
}

static enum line_edit_event type(const char *bytes) {
    enum line_edit_event event = LINE_EDIT_MORE;
    for (; *bytes; bytes++)
        event = line_edit_feed(&e, *bytes);
    return event;
}

static void expect(const char *keys, const char *line, u32 cursor) {
    setup(NULL);
    line_edit_redraw(&e);
    assert_int_equal(type(keys), LINE_EDIT_MORE);
    assert_string_equal(e.line, line);
    assert_int_equal(e.len, strlen(line));
    assert_int_equal(e.cursor, cursor);
    render();
    char shown[300];
    snprintf(shown, sizeof shown, "> %s", line);
    assert_string_equal(row, shown);
    assert_int_equal(row_cursor, cursor + 2);
}

static void typed_text_is_echoed_as_it_is(void **state) {
    (void)state;
    type("vm list");
    assert_string_equal(output, "vm list");
    assert_int_equal(type("\r"), LINE_EDIT_LINE);
    assert_string_equal(e.line, "vm list");
    assert_string_equal(output, "vm list\r\n");
}

static void a_newline_after_a_carriage_return_is_not_another_line(void **state) {
    (void)state;
    assert_int_equal(type("a\r"), LINE_EDIT_LINE);
    line_edit_begin(&e);
    assert_int_equal(type("\n"), LINE_EDIT_MORE);
    assert_int_equal(type("b\n"), LINE_EDIT_LINE);
    line_edit_begin(&e);
    assert_int_equal(type("\n"), LINE_EDIT_LINE);
}

static void keys_move_and_edit(void **state) {
    (void)state;
    expect("abc\x1b[D\x1b[Dx", "axbc", 2);
    expect("abc\x1b[D\x1b[C\x1b[Cd", "abcd", 4);
    expect("abc\x01x", "xabc", 1);
    expect("abc\x1b[Hx\x1b[Fy", "xabcy", 5);
    expect("abc\x1b[1~x\x1b[4~y", "xabcy", 5);
    expect("abc\x1bOHx\x1bOFy", "xabcy", 5);
    expect("abc\x7f", "ab", 2);
    expect("abc\x01\x7f", "abc", 0);
    expect("abc\x02\x08", "ac", 1);
    expect("abc\x01\x1b[3~", "bc", 0);
    expect("abc\x01\x04", "bc", 0);
    expect("abc\x05\x1b[3~", "abc", 3);
    expect("ab cd\x02\x0b", "ab c", 4);
    expect("ab cd\x02\x15", "d", 0);
    expect("ab cd  \x17", "ab ", 3);
    expect("ab cd\x17\x19\x19", "ab cdcd", 7);
    expect("ab\x14", "ba", 2);
    expect("ab cd\x1b[1;5Dx", "ab xcd", 4);
    expect("ab cd\x01\x1b[1;5Cx", "abx cd", 3);
    expect("ab\x03", "", 0);
}

static void unknown_keys_and_other_alphabets_leave_no_trace(void **state) {
    (void)state;
    expect("a\x1b[5~\x1b[15~\x1b[?1;2c\x1b[200~\xc3\xa4\x07"
           "b",
           "ab", 2);
}

static void a_line_longer_than_the_row_scrolls(void **state) {
    (void)state;
    for (u32 i = 0; i < LINE_EDIT_MAX + 20; i++)
        line_edit_feed(&e, (char)('a' + i % 26));
    assert_int_equal(e.len, LINE_EDIT_MAX);
    render();
    assert_true(strlen(row) < LINE_EDIT_COLUMNS);
    type("\x01");
    render();
    assert_int_equal(row_cursor, 2);
    assert_memory_equal(row, "> abcdef", 8);
    type("\x05\x1b[D\x1b[D");
    render();
    assert_memory_equal(row + row_cursor, e.line + e.len - 2, 2);
}

static void history_goes_back_and_forth_and_keeps_the_draft(void **state) {
    (void)state;
    type("one\r");
    line_edit_begin(&e);
    type("two\r");
    line_edit_begin(&e);
    type("two\r");
    line_edit_begin(&e);
    type("dra\x1b[A");
    assert_string_equal(e.line, "two");
    type("\x1b[A");
    assert_string_equal(e.line, "one");
    type("\x1b[A");
    assert_string_equal(e.line, "one");
    type("\x1b[B\x1b[B");
    assert_string_equal(e.line, "dra");
    type("\x1b[B");
    assert_string_equal(e.line, "dra");
}

static void history_forgets_the_oldest(void **state) {
    (void)state;
    for (u32 i = 0; i < LINE_EDIT_HISTORY + 3; i++) {
        char line[16];
        snprintf(line, sizeof line, "line %u\r", i);
        type(line);
        line_edit_begin(&e);
    }
    for (u32 i = 0; i < LINE_EDIT_HISTORY + 10; i++)
        type("\x1b[A");
    assert_string_equal(e.line, "line 3");
}

static void tab_completes_what_is_certain_and_lists_the_rest(void **state) {
    (void)state;
    type("li\t");
    assert_string_equal(e.line, "list ");
    type("\x15st\t");
    assert_string_equal(e.line, "st");
    assert_non_null(strstr(output, "start  stop\r\n"));
    type("o\tx");
    assert_string_equal(e.line, "stop x");
    type("\x15zz\t");
    assert_string_equal(e.line, "zz");
    type("\x15s\x1b[Dli\t");
    assert_string_equal(e.line, "list s");
}

static void ctrl_d_on_an_empty_line_ends(void **state) {
    (void)state;
    assert_int_equal(type("\x04"), LINE_EDIT_END);
}

static void a_redraw_brings_back_prompt_line_and_cursor(void **state) {
    (void)state;
    type("hello\x1b[D\x1b[D");
    output_len = 0;
    line_edit_redraw(&e);
    render();
    assert_string_equal(row, "> hello");
    assert_int_equal(row_cursor, 5);
}

static void any_bytes_keep_the_editor_whole(void **state) {
    (void)state;
    srand(2);
    for (u32 i = 0; i < 200000; i++) {
        static const char keys[] = "\x1b[ABCDHF~0123;OH\x01\x02\x04\x05\x06\x08\x0b\t\x15\x17\x19\x14 st";
        char byte = rand() % 4 ? keys[(u32)rand() % (sizeof keys - 1)] : (char)rand();
        if (line_edit_feed(&e, byte) != LINE_EDIT_MORE)
            line_edit_begin(&e);
        assert_true(e.cursor <= e.len && e.len <= LINE_EDIT_MAX && e.scroll <= e.len);
        assert_int_equal(strlen(e.line), e.len);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(typed_text_is_echoed_as_it_is, setup),
        cmocka_unit_test_setup(a_newline_after_a_carriage_return_is_not_another_line, setup),
        cmocka_unit_test_setup(keys_move_and_edit, setup),
        cmocka_unit_test_setup(unknown_keys_and_other_alphabets_leave_no_trace, setup),
        cmocka_unit_test_setup(a_line_longer_than_the_row_scrolls, setup),
        cmocka_unit_test_setup(history_goes_back_and_forth_and_keeps_the_draft, setup),
        cmocka_unit_test_setup(history_forgets_the_oldest, setup),
        cmocka_unit_test_setup(tab_completes_what_is_certain_and_lists_the_rest, setup),
        cmocka_unit_test_setup(ctrl_d_on_an_empty_line_ends, setup),
        cmocka_unit_test_setup(a_redraw_brings_back_prompt_line_and_cursor, setup),
        cmocka_unit_test_setup(any_bytes_keep_the_editor_whole, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
