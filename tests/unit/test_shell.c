// SPDX-License-Identifier: Apache-2.0
// The shell on the console, as a terminal sees it. There is no VM.
#include "host_test.h"

#include <stdio.h>
#include <string.h>

#include "console.h"
#include "log.h"
#include "shell.h"
#include "uart.h"

static struct {
    char sent[256 * 1024];
    u32 count;
    const char *input;
} line;

static void line_init(const struct board_uart *uart) {
    (void)uart;
}

static u32 line_send(const struct board_uart *uart, const char *bytes, u32 count) {
    (void)uart;
    host_check(line.count + count < sizeof line.sent);
    memcpy(line.sent + line.count, bytes, count);
    line.count += count;
    line.sent[line.count] = '\0';
    return count;
}

static int line_receive(const struct board_uart *uart) {
    (void)uart;
    return line.input && *line.input ? (unsigned char)*line.input++ : -1;
}

static void line_irq_enable(const struct board_uart *uart, bool receive) {
    (void)uart;
    (void)receive;
}

static void line_irq_ack(const struct board_uart *uart) {
    (void)uart;
}

static const struct uart_driver line_driver = {
    .init = line_init,
    .send = line_send,
    .receive = line_receive,
    .irq_enable = line_irq_enable,
    .irq_ack = line_irq_ack,
};

static void begin(const char *view) {
    memset(&line, 0, sizeof line);
    uart_use(&line_driver, &(struct board_uart){.irq = 33});
    console_init(host_board());
    console_set_initial(view);
    console_start();
    shell_start();
    sleep_ns(MS(20));
}

// Types keys and returns what the terminal got since.
static const char *type(const char *keys) {
    line.count = 0;
    line.sent[0] = '\0';
    line.input = keys;
    console_host_irq();
    sleep_ns(MS(100));
    return line.sent;
}

#define SIMULATED(name)                                                                                                \
    static void name##_run(void *);                                                                                    \
    static void name(void **state) {                                                                                   \
        (void)state;                                                                                                   \
        for_each_seed(seed, 3) run_on(2, seed, name##_run, NULL);                                                      \
    }                                                                                                                  \
    static void name##_run([[maybe_unused]] void *arg)

#define PROMPT "\rbulkhead> \x1b[K"

SIMULATED(no_prompt_is_drawn_before_the_shell_is_asked_for) {
    begin("all");
    host_check(line.sent[0] == '\0');
    host_check(strcmp(type("\x1d"), PROMPT) == 0);
}

SIMULATED(a_command_runs_and_the_prompt_comes_back) {
    begin("shell");
    host_check(strcmp(line.sent, PROMPT) == 0);
    const char *text = type("version\r");
    host_check(strncmp(text, "version\r\nBulkhead ", 18) == 0);
    host_check(strcmp(text + strlen(text) - strlen("\r\n" PROMPT), "\r\n" PROMPT) == 0);
}

SIMULATED(pasted_lines_run_one_after_the_other) {
    begin("shell");
    const char *text = type("nonsens\rversion\r\nhelp log\r");
    const char *first = strstr(text, "unknown command 'nonsens'");
    const char *second = strstr(text, "Bulkhead ");
    const char *third = strstr(text, "--set LEVEL");
    host_check(first && second && third && first < second && second < third);
}

SIMULATED(a_log_line_goes_above_the_line_being_typed) {
    begin("shell");
    type("vm li");
    line.count = 0;
    log_warn("something happened");
    sleep_ns(MS(50));
    host_check(strcmp(line.sent, "\r\x1b[Kbulkhead | warning: something happened\r\n\rbulkhead> vm li\x1b[K") == 0);
}

SIMULATED(console_all_leaves_without_a_prompt_and_what_follows_is_not_the_shells) {
    begin("shell");
    const char *text = type("console all\rversion\r");
    host_check(strncmp(text, "console all\r\n", 13) == 0);
    host_check(!strstr(text, "bulkhead> "));
    host_check(!strstr(text, "built with"));
    host_check(strcmp(type("\x1d"), PROMPT) == 0);
}

SIMULATED(ctrl_d_goes_back_to_all_vms) {
    begin("shell");
    type("\x04");
    log_info("in the common view");
    sleep_ns(MS(50));
    host_check(strstr(line.sent, "bulkhead | in the common view\r\n"));
    host_check(!strstr(line.sent, "bulkhead> "));
}

SIMULATED(long_output_waits_for_the_terminal) {
    begin("shell");
    for (u32 i = 0; i < 100; i++)
        log_info("a line of sixty characters or so, to fill what there is: %u", i);
    sleep_ns(MS(100));
    const char *text = type("log\r");
    sleep_ns(MS(200));
    host_check(strstr(text, "what there is: 0\r\n") && strstr(text, "what there is: 99\r\n"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_prompt_is_drawn_before_the_shell_is_asked_for),
        cmocka_unit_test(a_command_runs_and_the_prompt_comes_back),
        cmocka_unit_test(pasted_lines_run_one_after_the_other),
        cmocka_unit_test(a_log_line_goes_above_the_line_being_typed),
        cmocka_unit_test(console_all_leaves_without_a_prompt_and_what_follows_is_not_the_shells),
        cmocka_unit_test(ctrl_d_goes_back_to_all_vms),
        cmocka_unit_test(long_output_waits_for_the_terminal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
