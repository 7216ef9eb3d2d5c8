// SPDX-License-Identifier: Apache-2.0
// What the official suite (tests/toml-suite) does not ask: places, messages, recovery, limits.
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "diag_log.h"
#include "toml.h"

static char memory[512 * 1024];
static struct arena arena;
static struct diag_log log;

// Parses exactly len bytes that end where the sanitizer watches.
static int parse_bytes(const char *text, size_t len, struct toml_node **root) {
    char *copy = malloc(len > 0 ? len : 1);
    memcpy(copy, text, len);
    arena_init(&arena, memory, sizeof(memory));
    int err = toml_parse("t", copy, len, &arena, diag_log_init(&log), root);
    free(copy); // the tree must not point into the text
    return err;
}

static int parse(const char *text, struct toml_node **root) {
    return parse_bytes(text, strlen(text), root);
}

static void expect_errors(const char *text, const char *errors) {
    struct toml_node *root;
    assert_int_equal(parse(text, &root), -EINVAL);
    assert_string_equal(log.text, errors);
    assert_non_null(root);
}

static void values_have_their_types(void **state) {
    (void)state;
    struct toml_node *root;
    assert_int_equal(parse("i = -0x\n", &root), -EINVAL);
    assert_int_equal(
        parse("s = 'x'\ni = 0xff\nb = true\nf = 1.5e3\nd = 1979-05-27\na = [1, 2]\nt = { x = 1 }\n", &root), 0);
    assert_string_equal(toml_get(root, "s")->text, "x");
    assert_int_equal(toml_get(root, "i")->integer, 255);
    assert_true(toml_get(root, "b")->boolean);
    assert_string_equal(toml_get(root, "f")->text, "1.5e3");
    assert_int_equal(toml_get(root, "f")->type, TOML_FLOAT);
    assert_int_equal(toml_get(root, "d")->type, TOML_LOCAL_DATE);
    assert_int_equal(toml_get(root, "a")->count, 2);
    assert_int_equal(toml_get(toml_get(root, "t"), "x")->integer, 1);
    assert_null(toml_get(root, "nothing"));
    assert_int_equal(root->count, 7);
}

static void members_keep_the_order_of_the_text(void **state) {
    (void)state;
    struct toml_node *root;
    assert_int_equal(parse("z = 1\na = 2\nm = 3\n", &root), 0);
    assert_string_equal(root->first->key, "z");
    assert_string_equal(root->first->next->key, "a");
    assert_string_equal(root->last->key, "m");
}

static void keys_and_values_know_their_place(void **state) {
    (void)state;
    struct toml_node *root;
    assert_int_equal(parse("# one\n\n  key   =   [ 1,\n\n    22 ]\r\n[ table ]\n  x.y = 'z'\n", &root), 0);
    struct toml_node *key = toml_get(root, "key");
    assert_int_equal(key->key_line, 3);
    assert_int_equal(key->key_col, 3);
    assert_int_equal(key->line, 3);
    assert_int_equal(key->col, 13);
    assert_int_equal(key->first->next->line, 5);
    assert_int_equal(key->first->next->col, 5);
    struct toml_node *table = toml_get(root, "table");
    assert_int_equal(table->line, 6);
    assert_int_equal(table->col, 3);
    struct toml_node *y = toml_get(toml_get(table, "x"), "y");
    assert_int_equal(y->key_col, 5);
    assert_int_equal(y->col, 9);
}

static void columns_count_characters_not_bytes(void **state) {
    (void)state;
    expect_errors("'ä€😀' = x\n", "t:1:9: 'x' is not a value; text is written in quotes\n");
}

static void a_byte_order_mark_is_no_column(void **state) {
    (void)state;
    expect_errors("\xef\xbb\xbf"
                  "a = x\n",
                  "t:1:5: 'x' is not a value; text is written in quotes\n");
}

static void a_table_named_late_gets_its_own_place(void **state) {
    (void)state;
    struct toml_node *root;
    assert_int_equal(parse("[a.b]\n[a]\n", &root), 0);
    assert_int_equal(toml_get(root, "a")->line, 2);
}

static void strings_may_hold_nul_bytes(void **state) {
    (void)state;
    struct toml_node *root;
    assert_int_equal(parse("s = \"a\\u0000b\"\n", &root), 0);
    assert_int_equal(toml_get(root, "s")->len, 3);
    assert_memory_equal(toml_get(root, "s")->text, "a\0b", 4);
}

static void quotes_before_the_closing_ones_belong_to_the_string(void **state) {
    (void)state;
    struct toml_node *root;
    assert_int_equal(parse("a = \"\"\"x\"\"\"\"\"\nb = '''''y'''''\n", &root), 0);
    assert_string_equal(toml_get(root, "a")->text, "x\"\"");
    assert_string_equal(toml_get(root, "b")->text, "''y''");
}

static void integers_reach_to_both_ends(void **state) {
    (void)state;
    struct toml_node *root;
    assert_int_equal(parse("a = -9223372036854775808\nb = 0x7fff_ffff_ffff_ffff\nc = 0b11\nd = 0o17\n", &root), 0);
    assert_true(toml_get(root, "a")->integer == INT64_MIN);
    assert_true(toml_get(root, "b")->integer == INT64_MAX);
    assert_int_equal(toml_get(root, "c")->integer, 3);
    assert_int_equal(toml_get(root, "d")->integer, 15);
    expect_errors("a = 9223372036854775808\n", "t:1:5: the number 9223372036854775808 does not fit 64 bits\n");
    expect_errors("a = -9223372036854775809\n", "t:1:5: the number -9223372036854775809 does not fit 64 bits\n");
}

static void every_error_is_reported(void **state) {
    (void)state;
    expect_errors("a = \nb 1\n[c\nd = 'x\ne = 1 1\nf = 1\nf = 2\n",
                  "t:1:5: expected a value, found the end of the line\n"
                  "t:2:3: expected '=' after the key, found '1'\n"
                  "t:3:3: expected ']' after the table's name, found the end of the line\n"
                  "t:4:5: the string that begins here is not closed on this line\n"
                  "t:5:7: expected the end of the line after the value, found '1'\n"
                  "t:7:1: duplicate key 'f', first seen at 6:1\n");
}

static void an_error_inside_a_long_array_costs_that_array_only(void **state) {
    (void)state;
    struct toml_node *root;
    assert_int_equal(parse("a = [\n  1 2,\n  [ 3 ],\n]\nb = 1\n[c]\nd = x\n", &root), -EINVAL);
    assert_string_equal(log.text, "t:2:5: expected ',' or ']' in the array, found '2'\n"
                                  "t:7:5: 'x' is not a value; text is written in quotes\n");
    assert_int_equal(toml_get(root, "b")->integer, 1);
}

static void keys_under_a_wrong_header_are_read_but_go_nowhere(void **state) {
    (void)state;
    struct toml_node *root;
    assert_int_equal(parse("[a\nx = 1\nx = 2\n[b]\ny = 1\n", &root), -EINVAL);
    assert_string_equal(log.text, "t:1:3: expected ']' after the table's name, found the end of the line\n"
                                  "t:3:1: duplicate key 'x', first seen at 2:1\n");
    assert_int_equal(root->count, 1);
    assert_int_equal(toml_get(toml_get(root, "b"), "y")->integer, 1);
}

static void what_may_not_be_extended_is_named_with_its_place(void **state) {
    (void)state;
    expect_errors("a = 1\n[a.b]\n", "t:2:2: 'a' is an integer since 1:1 and cannot be extended\n");
    expect_errors("a = {}\na.b = 1\n", "t:2:1: 'a' is a table since 1:1 and cannot be extended by a dotted key\n");
    expect_errors("[a]\n[a]\n", "t:2:2: duplicate table 'a', first seen at 1:2\n");
}

static void a_flood_of_errors_is_cut(void **state) {
    (void)state;
    char text[1000];
    struct toml_node *root;
    for (size_t i = 0; i + 1 < sizeof(text); i += 2)
        memcpy(text + i, "!\n", 2);
    assert_int_equal(parse_bytes(text, sizeof(text), &root), -EINVAL);
    assert_int_equal(log.list.errors, 21);
    assert_non_null(strstr(log.text, "t: 20 errors: not read any further\n"));
}

static void nesting_has_a_limit(void **state) {
    (void)state;
    char text[300];
    struct toml_node *root;
    for (int depth = 64; depth <= 65; depth++) {
        int len = snprintf(text, sizeof(text), "a = ");
        memset(text + len, '[', (size_t)depth);
        memset(text + len + depth, ']', (size_t)depth);
        int err = parse_bytes(text, (size_t)(len + 2 * depth), &root);
        assert_int_equal(err, depth == 64 ? 0 : -EINVAL);
    }
    assert_string_equal(log.text, "t:1:69: more than 64 arrays and inline tables in one another\n");
}

static void a_dotted_key_has_a_limit(void **state) {
    (void)state;
    char text[300];
    struct toml_node *root;
    for (int parts = 64; parts <= 65; parts++) {
        for (int i = 0; i < parts; i++)
            memcpy(text + 2 * i, "a.", 2);
        memcpy(text + 2 * parts - 1, "=1", 3);
        assert_int_equal(parse(text, &root), parts == 64 ? 0 : -EINVAL);
    }
    assert_string_equal(log.text, "t:1:127: more than 64 parts in a key\n");
}

static void too_small_an_arena_is_an_error_with_a_place(void **state) {
    (void)state;
    static const char text[] = "a = 'xyz'\nb = [1, 2, 3, [4, 5]]\n[c]\nd.e = \"f\"\n";
    struct toml_node *root;
    for (size_t size = 0; size < 2048; size++) {
        arena_init(&arena, memory, size);
        int err = toml_parse("t", text, sizeof(text) - 1, &arena, diag_log_init(&log), &root);
        if (err == 0) {
            assert_int_equal(log.list.errors, 0);
            return;
        }
        assert_int_equal(err, -ENOMEM);
        assert_non_null(strstr(log.text, ": too complex: more than the "));
        assert_int_equal(log.list.errors, 1);
    }
    fail_msg("no size was enough");
}

static void text_that_is_not_utf8_ends_before_that_line(void **state) {
    (void)state;
    struct toml_node *root;
    static const char *const bad[] = {"\x80",
                                      "\xc0\x80",
                                      "\xc1\xbf",
                                      "\xe0\x80\x80",
                                      "\xed\xa0\x80",
                                      "\xf0\x80\x80\x80",
                                      "\xf4\x90\x80\x80",
                                      "\xf5\x80\x80\x80",
                                      "\xff",
                                      "\xe2\x82",
                                      "\xc3"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        char text[64], want[128];
        snprintf(text, sizeof(text), "a = 1\nb = '%s", bad[i]);
        assert_int_equal(parse(text, &root), -EINVAL);
        snprintf(want, sizeof(want), "t:2:6: the byte 0x%02x is not UTF-8; a configuration is a text file\n",
                 (unsigned)(u8)bad[i][0]);
        assert_string_equal(log.text, want);
        assert_int_equal(root->count, 1);
    }
}

// A text of everything the grammar has; each prefix and each single changed byte must do no harm.
static const char everything[] =
    "\xef\xbb\xbf# comment\r\nbare-key_1 = \"b\\u00e9\\n\" # x\n\"q.k\".'l' = 'lit'\n"
    "m = \"\"\"\nfoo \\\n   bar\"\"\"\"\nn = '''x''''\ni = [ +1_000, 0xFf, 0o7, 0b1, -0 ]\n"
    "f = [1.5, 6e-3, inf, -nan]\nd = 1979-05-27T07:32:00.5-07:00\nt = 07:32:00\n"
    "s = 1979-05-27 07:32:00Z\nu = { a.b = [ {c = 1}, {} ], d = true }\n[x.y]\nz = false\n"
    "[[aot]]\n[aot.sub]\n[[aot]]\nk = [\n 1, # c\n]\n";

static void every_prefix_is_harmless(void **state) {
    (void)state;
    struct toml_node *root;
    for (size_t len = 0; len < sizeof(everything); len++) {
        int err = parse_bytes(everything, len, &root);
        assert_true((err == 0) == (log.list.errors == 0));
    }
    assert_int_equal(parse(everything, &root), 0);
}

static void every_changed_byte_is_harmless(void **state) {
    (void)state;
    static const char changes[] = "\0\"'\\[]{}=.,#\n\r\t x0_-:T\x80\xff";
    struct toml_node *root;
    char text[sizeof(everything)];
    for (size_t at = 0; at < sizeof(everything) - 1; at++) {
        for (size_t i = 0; i < sizeof(changes) - 1; i++) {
            memcpy(text, everything, sizeof(text));
            text[at] = changes[i];
            int err = parse_bytes(text, sizeof(text) - 1, &root);
            assert_true((err == 0) == (log.list.errors == 0));
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_have_their_types),
        cmocka_unit_test(members_keep_the_order_of_the_text),
        cmocka_unit_test(keys_and_values_know_their_place),
        cmocka_unit_test(columns_count_characters_not_bytes),
        cmocka_unit_test(a_byte_order_mark_is_no_column),
        cmocka_unit_test(a_table_named_late_gets_its_own_place),
        cmocka_unit_test(strings_may_hold_nul_bytes),
        cmocka_unit_test(quotes_before_the_closing_ones_belong_to_the_string),
        cmocka_unit_test(integers_reach_to_both_ends),
        cmocka_unit_test(every_error_is_reported),
        cmocka_unit_test(an_error_inside_a_long_array_costs_that_array_only),
        cmocka_unit_test(keys_under_a_wrong_header_are_read_but_go_nowhere),
        cmocka_unit_test(what_may_not_be_extended_is_named_with_its_place),
        cmocka_unit_test(a_flood_of_errors_is_cut),
        cmocka_unit_test(nesting_has_a_limit),
        cmocka_unit_test(a_dotted_key_has_a_limit),
        cmocka_unit_test(too_small_an_arena_is_an_error_with_a_place),
        cmocka_unit_test(text_that_is_not_utf8_ends_before_that_line),
        cmocka_unit_test(every_prefix_is_harmless),
        cmocka_unit_test(every_changed_byte_is_harmless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
