// SPDX-License-Identifier: Apache-2.0
// core/report.c, on an architecture that is made up here: code at TEXT, and frames as it likes.
#include "host_test.h"

#include <string.h>

#include "arch.h"
#include "console.h"
#include "report.h"

enum { TEXT = 0x40000, TEXT_SIZE = 0x1000 };

static s64 record_at;
static u32 stopped;

struct report_machine arch_report_machine(void) {
    return (struct report_machine){.text_start = TEXT,
                                   .text_end = TEXT + TEXT_SIZE,
                                   .frame_align = 8,
                                   .frame_record = record_at,
                                   .cpu = cpu_self()};
}

void arch_report_stop_others(void) {
    stopped++;
}

struct frame {
    u64 previous, address;
};

static u64 fp_of(const struct frame *f) {
    return (u64)(uintptr_t)f - (u64)record_at;
}

static const char *backtrace(u64 fp) {
    host_uart_clear();
    report_backtrace(fp);
    const char *text = host_uart_output();
    const char *end = strchr(text, '\n');
    host_check(end && strncmp(text, "backtrace", 9) == 0);
    return end + 1;
}

static void begin(void) {
    console_init(host_board());
    record_at = 0;
}

static void addresses_run(void *arg) {
    (void)arg;
    begin();
    host_check(strcmp(report_address(TEXT + 0x10).base, "image+") == 0 && report_address(TEXT + 0x10).offset == 0x10);
    host_check(strcmp(report_address(TEXT).base, "image+") == 0 && report_address(TEXT).offset == 0);
    host_check(*report_address(TEXT - 1).base == '\0' && report_address(TEXT - 1).offset == TEXT - 1);
    host_check(*report_address(TEXT + TEXT_SIZE).base == '\0');
}

static void an_address_of_ours_is_an_offset_in_the_image(void **state) {
    (void)state;
    run_on(1, 1, addresses_run, NULL);
}

static void frames_run(void *arg) {
    (void)arg;
    begin();
    for (record_at = -16; record_at <= 0; record_at += 16) {
        struct frame f[3];
        f[2] = (struct frame){0, TEXT + 0x30};
        f[1] = (struct frame){fp_of(&f[2]), TEXT + 0x20};
        f[0] = (struct frame){fp_of(&f[1]), TEXT + 0x10};
        host_check(strcmp(backtrace(fp_of(&f[0])), "  #0 image+0x10\r\n  #1 image+0x20\r\n  #2 image+0x30\r\n") == 0);
        f[1].address = TEXT + TEXT_SIZE; // overwritten
        host_check(strcmp(backtrace(fp_of(&f[0])), "  #0 image+0x10\r\n") == 0);
        f[1] = (struct frame){fp_of(&f[0]), TEXT + 0x20}; // a circle
        host_check(strcmp(backtrace(fp_of(&f[0])), "  #0 image+0x10\r\n  #1 image+0x20\r\n") == 0);
        f[0].previous = fp_of(&f[1]) + 4; // crooked
        host_check(strcmp(backtrace(fp_of(&f[0])), "  #0 image+0x10\r\n") == 0);
    }
    record_at = 0;
    host_check(*backtrace(0) == '\0');
    host_check(*backtrace(3) == '\0');
}

static void frames_are_followed_as_long_as_they_make_sense(void **state) {
    (void)state;
    run_on(1, 1, frames_run, NULL);
}

static void deep_run(void *arg) {
    (void)arg;
    static struct frame f[40];
    begin();
    for (u32 i = 0; i < ARRAY_SIZE(f); i++)
        f[i] = (struct frame){i + 1 < ARRAY_SIZE(f) ? fp_of(&f[i + 1]) : 0, TEXT + i};
    const char *text = backtrace(fp_of(&f[0]));
    host_check(strstr(text, "#31 image+0x1f\r\n") && !strstr(text, "#32"));
}

static void a_backtrace_ends_after_32_frames(void **state) {
    (void)state;
    run_on(1, 1, deep_run, NULL);
}

static void twice(void *arg) {
    (void)arg;
    report_begin();
    host_check(!"a second report goes on");
}

static void once_run(void *arg) {
    static struct task second;
    (void)arg;
    begin();
    host_check(!report_in_progress() && stopped == 0);
    report_begin();
    host_check(report_in_progress() && stopped == 1);
    host_uart_clear();
    report_where();
    report_print("%s", "words");
    host_check(strncmp(host_uart_output(), "CPU 0, task ", 12) == 0 && strstr(host_uart_output(), "\r\nwords\r\n"));
    spawn(&second, "second", twice, NULL, TASK_PRIORITY_SYSTEM, 1);
    sleep_ns(MS(10));
    host_check(stopped == 1);
}

static void there_is_one_report_and_it_stops_the_others(void **state) {
    (void)state;
    run_on(2, 1, once_run, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address_of_ours_is_an_offset_in_the_image),
        cmocka_unit_test(frames_are_followed_as_long_as_they_make_sense),
        cmocka_unit_test(a_backtrace_ends_after_32_frames),
        cmocka_unit_test(there_is_one_report_and_it_stops_the_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
