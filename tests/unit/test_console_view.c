// SPDX-License-Identifier: Apache-2.0
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "console_view.h"

static char text[64 * 1024];
static struct view_out out;
static struct view view;
static struct view_line a, b;

static int setup(void **state) {
    (void)state;
    memset(text, 0, sizeof text);
    out = (struct view_out){text, 0, sizeof text - 1};
    view = (struct view){.name_width = 2};
    view_line_init(&a, "a");
    view_line_init(&b, "bb");
    return 0;
}

static void say(struct view_line *line, const char *bytes) {
    for (; *bytes; bytes++)
        view_putc(&view, line, *bytes, &out);
}

static void show(struct view_line *line) {
    if (line->dirty)
        view_show(&view, line, &out);
}

static void whole_lines_are_prefixed_with_the_padded_name(void **state) {
    (void)state;
    say(&a, "one\n");
    say(&b, "two\r\n");
    assert_string_equal(text, "a  | one\r\nbb | two\r\n");
}

static void lines_of_two_vms_do_not_mix(void **state) {
    (void)state;
    say(&a, "he");
    say(&b, "wor");
    say(&a, "llo\n");
    say(&b, "ld\n");
    assert_string_equal(text, "a  | hello\r\nbb | world\r\n");
}

static void an_empty_line_is_a_line(void **state) {
    (void)state;
    say(&a, "\n\r\n");
    assert_string_equal(text, "a  | \r\na  | \r\n");
}

static void an_incomplete_line_waits_until_it_is_shown_and_goes_on_in_place(void **state) {
    (void)state;
    say(&a, "login: ");
    assert_string_equal(text, "");
    show(&a);
    say(&a, "root");
    show(&a);
    say(&a, "\n");
    assert_string_equal(text, "a  | login: root\r\n");
}

static void an_interrupted_incomplete_line_is_printed_again_when_it_goes_on(void **state) {
    (void)state;
    say(&a, "login: ");
    show(&a);
    say(&b, "boo\n");
    say(&a, "root\n");
    assert_string_equal(text, "a  | login: \r\nbb | boo\r\na  | login: root\r\n");
}

static void an_interrupted_incomplete_line_that_only_ends_is_not_printed_again(void **state) {
    (void)state;
    say(&a, "done");
    show(&a);
    say(&b, "boo\n");
    say(&a, "\nnext\n");
    assert_string_equal(text, "a  | done\r\nbb | boo\r\na  | next\r\n");
}

static void a_carriage_return_begins_the_line_anew(void **state) {
    (void)state;
    say(&a, "10%\r20%\r30%\n");
    assert_string_equal(text, "a  | 30%\r\n");
}

static void a_carriage_return_redraws_what_was_shown(void **state) {
    (void)state;
    say(&a, "10%");
    show(&a);
    say(&a, "\r9");
    show(&a);
    say(&a, "9\n");
    assert_string_equal(text, "a  | 10%\x1b[0m\ra  | 9\x1b[K"
                              "9\r\n");
}

static void a_backspace_takes_a_character_back(void **state) {
    (void)state;
    say(&a, "ab\xc3\xa4\b\bc\n");
    assert_string_equal(text, "a  | ac\r\n");
}

static void tabs_become_blanks(void **state) {
    (void)state;
    say(&a, "ab\tc\n");
    assert_string_equal(text, "a  | ab      c\r\n");
}

static void colours_stay_and_end_with_the_line(void **state) {
    (void)state;
    say(&a, "\x1b[31mred\nplain\n");
    assert_string_equal(text, "a  | \x1b[31mred\x1b[0m\r\na  | plain\r\n");
}

static void cursor_movement_resets_and_titles_are_dropped(void **state) {
    (void)state;
    say(&a, "\x1b[2J\x1b[H\x1b[1;1Ha\x1b"
            "cb\x1b]0;title\x07"
            "c\x1bP+q\x1b\\d\x1b(Be\x1b[?25lf\x1b[6n\a\n");
    assert_string_equal(text, "a  | abcdef\r\n");
}

static void a_colour_that_is_shown_ends_with_the_line_whatever_became_of_the_text(void **state) {
    (void)state;
    say(&a, "\x1b[31mred");
    show(&a);
    say(&a, "\rplain"); // not shown yet
    say(&b, "b\n");
    assert_string_equal(text, "a  | \x1b[31mred\x1b[0m\r\nbb | b\r\n");
    setup(NULL);
    say(&a, "\x1b[31mred");
    show(&a);
    say(&a, "\x1b[m");
    say(&b, "b\n");
    assert_string_equal(text, "a  | \x1b[31mred\x1b[0m\r\nbb | b\r\n");
}

static void a_line_that_begins_anew_twice_between_two_looks_replaces_what_is_shown(void **state) {
    (void)state;
    say(&a, "10%");
    show(&a);
    say(&a, "\r20%\r30%");
    show(&a);
    assert_string_equal(text, "a  | 10%\x1b[0m\ra  | 30%\x1b[K");
}

static void a_keyboard_mode_that_ends_in_m_is_no_colour(void **state) {
    (void)state;
    say(&a, "\x1b[>4;2mx\n");
    assert_string_equal(text, "a  | x\r\n");
}

static void a_sequence_cut_off_by_the_line_end_does_not_swallow_the_next_line(void **state) {
    (void)state;
    say(&a, "\x1b]0;never ended\nx\n\x1b[3\ny\n");
    assert_string_equal(text, "a  | \r\na  | x\r\na  | \r\na  | y\r\n");
}

static void utf8_passes_and_what_is_malformed_or_a_hidden_control_is_dropped(void **state) {
    (void)state;
    say(&a, "\xe2\x82\xac \xc2\x9b"
            "31m \xff\x80 \xe0\x82\x9b \xf0\x9f\x98\x80 \xe2\x82z\n");
    assert_string_equal(text, "a  | \xe2\x82\xac 31m   \xf0\x9f\x98\x80 z\r\n");
}

static void a_long_line_is_broken(void **state) {
    (void)state;
    for (u32 i = 0; i < VIEW_COLUMNS + 1; i++)
        say(&a, "x");
    say(&a, "\n");
    assert_int_equal(out.len, 2 * strlen("a  | \r\n") + VIEW_COLUMNS + 1);
    assert_string_equal(text + out.len - 8, "a  | x\r\n");
}

static void another_line_printed_between_closes_the_open_one(void **state) {
    (void)state;
    say(&a, "\x1b[1mbold");
    show(&a);
    view_print(&view, "bb", "note", &out);
    assert_string_equal(text, "a  | \x1b[1mbold\x1b[0m\r\nbb | note\r\n");
}

static void one_byte_never_adds_more_than_the_promised_burst(void **state) {
    (void)state;
    srand(1);
    static const char alphabet[] = "\x1b[]0;31mm\r\n\b\tab\xc3\xa4\x07 ";
    for (u32 i = 0; i < 300000; i++) {
        out.len = 0;
        struct view_line *line = rand() & 1 ? &a : &b;
        char byte = rand() % 3 == 0 ? alphabet[(u32)rand() % (sizeof alphabet - 1)] : (char)rand();
        if (rand() % 50 == 0)
            view_show(&view, line, &out);
        else
            view_putc(&view, line, byte, &out);
        assert_true(out.len <= VIEW_BURST_MAX);
        assert_true(line->len <= VIEW_TEXT_MAX && (line->redraw || line->shown <= line->len) &&
                    line->plain <= line->len);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(whole_lines_are_prefixed_with_the_padded_name, setup),
        cmocka_unit_test_setup(lines_of_two_vms_do_not_mix, setup),
        cmocka_unit_test_setup(an_empty_line_is_a_line, setup),
        cmocka_unit_test_setup(an_incomplete_line_waits_until_it_is_shown_and_goes_on_in_place, setup),
        cmocka_unit_test_setup(an_interrupted_incomplete_line_is_printed_again_when_it_goes_on, setup),
        cmocka_unit_test_setup(an_interrupted_incomplete_line_that_only_ends_is_not_printed_again, setup),
        cmocka_unit_test_setup(a_carriage_return_begins_the_line_anew, setup),
        cmocka_unit_test_setup(a_carriage_return_redraws_what_was_shown, setup),
        cmocka_unit_test_setup(a_backspace_takes_a_character_back, setup),
        cmocka_unit_test_setup(tabs_become_blanks, setup),
        cmocka_unit_test_setup(colours_stay_and_end_with_the_line, setup),
        cmocka_unit_test_setup(a_colour_that_is_shown_ends_with_the_line_whatever_became_of_the_text, setup),
        cmocka_unit_test_setup(cursor_movement_resets_and_titles_are_dropped, setup),
        cmocka_unit_test_setup(a_keyboard_mode_that_ends_in_m_is_no_colour, setup),
        cmocka_unit_test_setup(a_line_that_begins_anew_twice_between_two_looks_replaces_what_is_shown, setup),
        cmocka_unit_test_setup(a_sequence_cut_off_by_the_line_end_does_not_swallow_the_next_line, setup),
        cmocka_unit_test_setup(utf8_passes_and_what_is_malformed_or_a_hidden_control_is_dropped, setup),
        cmocka_unit_test_setup(a_long_line_is_broken, setup),
        cmocka_unit_test_setup(another_line_printed_between_closes_the_open_one, setup),
        cmocka_unit_test_setup(one_byte_never_adds_more_than_the_promised_burst, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
