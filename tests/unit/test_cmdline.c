// SPDX-License-Identifier: Apache-2.0
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "cmdline.h"

static char warnings[2048];

static void warn(void *ctx, const char *message) {
    assert_ptr_equal(ctx, warnings);
    size_t used = strlen(warnings);
    snprintf(warnings + used, sizeof(warnings) - used, "%s\n", message);
}

static struct cmdline parse(const char *text) {
    struct cmdline out;
    warnings[0] = '\0';
    memset(&out, 0xff, sizeof(out));
    cmdline_parse(text, &out, warn, warnings);
    return out;
}

static void expect_defaults(const struct cmdline *c) {
    assert_int_equal(c->idle, IDLE_POWEROFF);
    assert_int_equal(c->loglevel, LOG_INFO);
    assert_true(c->autostart);
    assert_string_equal(c->console, "all");
}

static void an_empty_line_means_the_defaults(void **state) {
    (void)state;
    struct cmdline c = parse("");
    expect_defaults(&c);
    c = parse(" \t \n");
    expect_defaults(&c);
    assert_string_equal(warnings, "");
}

static void every_word_is_read(void **state) {
    (void)state;
    struct cmdline c = parse("idle=shell\tloglevel=debug  autostart=no console=linux-a\n");
    assert_int_equal(c.idle, IDLE_SHELL);
    assert_int_equal(c.loglevel, LOG_DEBUG);
    assert_false(c.autostart);
    assert_string_equal(c.console, "linux-a");
    c = parse("idle=reboot loglevel=error autostart=yes console=shell");
    assert_int_equal(c.idle, IDLE_REBOOT);
    assert_int_equal(c.loglevel, LOG_ERROR);
    assert_true(c.autostart);
    assert_string_equal(c.console, "shell");
    assert_string_equal(warnings, "");
}

static void the_last_of_several_wins(void **state) {
    (void)state;
    struct cmdline c = parse("idle=shell idle=reboot idle=bogus");
    assert_int_equal(c.idle, IDLE_REBOOT);
}

static void unknown_words_and_values_are_warnings(void **state) {
    (void)state;
    struct cmdline c = parse("quiet idle=never loglevel=INFO autostart console= xyz=1 idlex=shell =x");
    expect_defaults(&c);
    assert_string_equal(warnings,
                        "command line: unknown word 'quiet'; known are idle=, loglevel=, autostart=, console=\n"
                        "command line: 'idle=never': must be poweroff, shell or reboot\n"
                        "command line: 'loglevel=INFO': must be error, warn, info or debug\n"
                        "command line: 'autostart' needs a value, autostart=...\n"
                        "command line: 'console=': must be all, shell or the name of a VM\n"
                        "command line: unknown word 'xyz'; known are idle=, loglevel=, autostart=, console=\n"
                        "command line: unknown word 'idlex'; known are idle=, loglevel=, autostart=, console=\n"
                        "command line: unknown word ''; known are idle=, loglevel=, autostart=, console=\n");
}

static void a_name_longer_than_any_vm_has_is_refused(void **state) {
    (void)state;
    struct cmdline c = parse("console=aaaaaaaaaabbbbbbbbbbccccccccccd");
    assert_int_equal(strlen(c.console), VM_NAME_MAX);
    c = parse("console=aaaaaaaaaabbbbbbbbbbccccccccccdd");
    assert_string_equal(c.console, "all");
}

static void without_a_callback_warnings_are_dropped(void **state) {
    (void)state;
    struct cmdline c;
    cmdline_parse("bogus idle idle=x", &c, NULL, NULL);
    expect_defaults(&c);
}

static void endless_words_do_no_harm(void **state) {
    (void)state;
    char text[1000];
    memset(text, 'x', sizeof(text));
    text[999] = '\0';
    struct cmdline c = parse(text);
    memcpy(text, "idle=", 5);
    c = parse(text);
    expect_defaults(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_line_means_the_defaults),
        cmocka_unit_test(every_word_is_read),
        cmocka_unit_test(the_last_of_several_wins),
        cmocka_unit_test(unknown_words_and_values_are_warnings),
        cmocka_unit_test(a_name_longer_than_any_vm_has_is_refused),
        cmocka_unit_test(without_a_callback_warnings_are_dropped),
        cmocka_unit_test(endless_words_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
