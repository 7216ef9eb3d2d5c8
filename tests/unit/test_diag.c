// SPDX-License-Identifier: Apache-2.0
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "diag_log.h"

static void a_diagnostic_names_file_line_and_column(void **state) {
    (void)state;
    struct diag_log log;
    diag_error(diag_log_init(&log), "vms/a.toml", 7, 10, "%s = %d", "cpus", 17);
    assert_string_equal(log.text, "vms/a.toml:7:10: cpus = 17\n");
    assert_int_equal(log.list.errors, 1);
    assert_int_equal(log.list.warnings, 0);
}

static void without_a_line_the_whole_file_is_meant(void **state) {
    (void)state;
    struct diag_log log;
    diag_error(diag_log_init(&log), "vms/a.toml", 0, 0, "'name' is missing");
    assert_string_equal(log.text, "vms/a.toml: 'name' is missing\n");
}

static void without_a_file_only_the_text_is_printed(void **state) {
    (void)state;
    struct diag_log log;
    diag_error(diag_log_init(&log), NULL, 0, 0, "the bundle is empty");
    assert_string_equal(log.text, "the bundle is empty\n");
}

static void a_warning_says_that_it_is_one(void **state) {
    (void)state;
    struct diag_log log;
    diag_warning(diag_log_init(&log), "f", 1, 2, "odd");
    assert_string_equal(log.text, "f:1:2: warning: odd\n");
    assert_int_equal(log.list.errors, 0);
    assert_int_equal(log.list.warnings, 1);
}

static void control_characters_do_not_reach_the_terminal(void **state) {
    (void)state;
    struct diag_log log;
    diag_error(diag_log_init(&log), "f", 1, 1, "%s", "a\033[2J\nb\x7f");
    assert_string_equal(log.text, "f:1:1: a?[2J?b?\n");
}

static void a_long_text_is_cut(void **state) {
    (void)state;
    struct diag_log log;
    char text[DIAG_TEXT_MAX * 2];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    diag_error(diag_log_init(&log), "f", 0, 0, "%s", text);
    assert_int_equal(strlen(log.text), strlen("f: ") + DIAG_TEXT_MAX - 1 + strlen("\n"));
}

static void without_a_sink_errors_are_counted(void **state) {
    (void)state;
    struct diag_list list = {0};
    diag_error(&list, "f", 1, 1, "x");
    diag_error(&list, "f", 1, 1, "x");
    assert_int_equal(list.errors, 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_diagnostic_names_file_line_and_column),
        cmocka_unit_test(without_a_line_the_whole_file_is_meant),
        cmocka_unit_test(without_a_file_only_the_text_is_printed),
        cmocka_unit_test(a_warning_says_that_it_is_one),
        cmocka_unit_test(control_characters_do_not_reach_the_terminal),
        cmocka_unit_test(a_long_text_is_cut),
        cmocka_unit_test(without_a_sink_errors_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
