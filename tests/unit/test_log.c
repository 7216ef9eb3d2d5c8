// SPDX-License-Identifier: Apache-2.0
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "console.h"
#include "host.h"
#include "log.h"

static int setup(void **state) {
    (void)state;
    host_init(&(struct host_options){0});
    console_init(host_board());
    log_set_level(LOG_INFO);
    return 0;
}

static struct log_line last(void) {
    struct log_line line;
    u64 number = log_next() - 1;
    assert_true(log_read(&number, &line));
    return line;
}

static void a_line_is_kept_with_its_level_and_time(void **state) {
    (void)state;
    host_advance(1500);
    log_warn("vm %s: %d", "a", 7);
    struct log_line line = last();
    assert_string_equal(line.text, "vm a: 7");
    assert_int_equal(line.length, 7);
    assert_int_equal(line.level, LOG_WARN);
    assert_true(line.time_ns >= 1500);
}

static void a_line_above_the_level_is_not_kept(void **state) {
    (void)state;
    u64 before = log_next();
    log_debug("hidden");
    assert_int_equal(log_next(), before);
    log_set_level(LOG_DEBUG);
    log_debug("seen");
    assert_int_equal(log_next(), before + 1);
}

static void a_long_line_is_cut(void **state) {
    (void)state;
    char text[400];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    log_info("%s", text);
    assert_int_equal(last().length, LOG_LINE_MAX);
    assert_int_equal(strlen(last().text), LOG_LINE_MAX);
}

static void control_characters_become_blanks_and_newlines_at_the_end_go(void **state) {
    (void)state;
    log_info("a\x1b[2Jb\nc\r\n\n");
    assert_string_equal(last().text, "a [2Jb c");
}

static void the_ring_keeps_the_latest_lines(void **state) {
    (void)state;
    for (u32 i = 0; i < LOG_LINES + 10; i++)
        log_info("line %u", i);
    u64 number = 0;
    struct log_line line;
    assert_true(log_read(&number, &line));
    assert_int_equal(number, log_next() - LOG_LINES);
    assert_string_equal(line.text, "line 10");
    number = log_next();
    assert_false(log_read(&number, &line));
}

static void before_the_console_task_runs_lines_are_written_at_once(void **state) {
    (void)state;
    log_info("first light");
    log_error("no good");
    assert_string_equal(host_uart_output(), "bulkhead | first light\r\nbulkhead | error: no good\r\n");
}

static void levels_have_names(void **state) {
    (void)state;
    enum log_level level;
    assert_true(log_level_parse("warn", &level));
    assert_int_equal(level, LOG_WARN);
    assert_false(log_level_parse("loud", &level));
    assert_string_equal(log_level_name(LOG_DEBUG), "debug");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_line_is_kept_with_its_level_and_time, setup),
        cmocka_unit_test_setup(a_line_above_the_level_is_not_kept, setup),
        cmocka_unit_test_setup(a_long_line_is_cut, setup),
        cmocka_unit_test_setup(control_characters_become_blanks_and_newlines_at_the_end_go, setup),
        cmocka_unit_test_setup(the_ring_keeps_the_latest_lines, setup),
        cmocka_unit_test_setup(before_the_console_task_runs_lines_are_written_at_once, setup),
        cmocka_unit_test(levels_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
