// SPDX-License-Identifier: Apache-2.0
#include "host_test.h"

#include <stdio.h>
#include <string.h>

#include "../../core/console_state.h"
#include "log.h"
#include "page.h"
#include "uart.h"
#include "vmm.h"

static struct console *a, *b;

// A serial line: what was sent, what is to be received, and how many bytes a millisecond it takes.
static struct {
    char sent[256 * 1024];
    u32 sent_count;
    const char *input;
    u64 rate, since_ns, accepted;
} line;

static void line_init(const struct board_uart *uart) {
    (void)uart;
}

static u32 line_send(const struct board_uart *uart, const char *bytes, u32 count) {
    (void)uart;
    u64 room = 16 + line.rate * ((arch_now_ns() - line.since_ns) / MS(1)) - line.accepted;
    u32 n = (u32)MIN((u64)count, line.rate ? MIN(room, (u64)16) : 16);
    host_check(line.sent_count + n < sizeof line.sent);
    memcpy(line.sent + line.sent_count, bytes, n);
    line.sent_count += n;
    line.accepted += n;
    line.sent[line.sent_count] = '\0';
    return n;
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

static void clear_sent(void) {
    line.sent_count = 0;
    line.sent[0] = '\0';
}

static void type(const char *keys) {
    line.input = keys;
    console_host_irq();
    host_check(*line.input == '\0');
}

// The UART, and the console as it is at boot.
static void plug(u32 irq) {
    memset(&line, 0, sizeof line);
    line.since_ns = arch_now_ns();
    uart_use(&line_driver, &(struct board_uart){.irq = irq});
    console_init(host_board());
    log_set_level(LOG_INFO);
}

static void begin(void) {
    plug(33);
    console_start();
    a = console_create("linux-a");
    b = console_create("b");
    host_check(a && b);
}

static void say(struct console *c, const char *text) {
    for (; *text; text++)
        console_putc(c, *text);
}

// Waits until the console has nothing more to do.
static const char *settle(void) {
    sleep_ns(MS(150));
    return line.sent;
}

// Ended by this, a step expects exactly that output since the last.
#define host_check_output(text)                                                                                        \
    do {                                                                                                               \
        const char *got = settle();                                                                                    \
        if (strcmp(got, text) != 0) {                                                                                  \
            fprintf(stderr, "got: %s\nnot: %s\n", got, text);                                                          \
            host_check(!"the output");                                                                                 \
        }                                                                                                              \
        clear_sent();                                                                                                  \
    } while (0)

#define SIMULATED(name)                                                                                                \
    static void name##_run(void *);                                                                                    \
    static void name(void **state) {                                                                                   \
        (void)state;                                                                                                   \
        for_each_seed(seed, 3) run_on(2, seed, name##_run, NULL);                                                      \
    }                                                                                                                  \
    static void name##_run([[maybe_unused]] void *arg)

SIMULATED(all_vms_and_the_log_share_the_terminal_in_whole_lines) {
    begin();
    say(a, "hel");
    say(b, "wor");
    say(a, "lo\r\n");
    log_info("a line of ours");
    say(b, "ld\n");
    const char *text = settle();
    host_check(strstr(text, "linux-a  | hello\r\n"));
    host_check(strstr(text, "b        | world\r\n"));
    host_check(strstr(text, "bulkhead | a line of ours\r\n"));
    host_check(strlen(text) == strlen("linux-a  | hello\r\nb        | world\r\nbulkhead | a line of ours\r\n"));
}

SIMULATED(a_prompt_is_shown_after_a_short_silence) {
    begin();
    say(a, "login: ");
    sleep_ns(MS(20));
    host_check(line.sent[0] == '\0');
    host_check_output("linux-a  | login: ");
    say(a, "x\n");
    host_check_output("x\r\n");
}

SIMULATED(before_the_task_runs_the_log_is_written_at_once_and_not_again) {
    plug(33);
    log_info("early");
    host_check(strcmp(host_uart_output(), "bulkhead | early\r\n") == 0); // polled output goes past the driver here
    console_start();
    log_info("late");
    host_check_output("bulkhead | late\r\n");
}

SIMULATED(a_key_in_the_common_view_gives_a_hint_now_and_then_and_enter_none) {
    begin();
    type("\r\n");
    host_check_output("");
    type("ls");
    host_check_output("bulkhead | Ctrl-] opens the shell; 'console NAME' there attaches to a VM\r\n");
    type("x");
    host_check_output("");
    sleep_ns(MS(6000));
    type("x");
    host_check(strstr(settle(), "Ctrl-]"));
}

SIMULATED(what_comes_after_a_page_of_zero_bytes_is_shown) {
    static const char zeroes[4096];
    begin();
    say(a, "before\n");
    console_write(a, zeroes, sizeof zeroes);
    say(a, "after\n");
    host_check_output("linux-a  | before\r\nlinux-a  | after\r\n");
}

static struct task shell;
static char typed[256];
static u32 typed_count;
static bool shell_stop;

static void fake_shell(void *arg) {
    (void)arg;
    typed_count = 0;
    for (;;) {
        int byte = console_shell_getc();
        if (byte == CONSOLE_REDRAW)
            console_printf("\r> %s", typed_count ? "..." : "");
        else
            typed[typed_count++ % sizeof typed] = (char)byte;
        if (byte == 'q')
            break;
    }
    shell_stop = true;
    task_exit();
}

SIMULATED(ctrl_bracket_opens_the_shell_and_what_follows_is_its_input) {
    begin();
    spawn(&shell, "shell", fake_shell, NULL, TASK_PRIORITY_SYSTEM, 0);
    say(a, "partial");
    settle();
    clear_sent();
    type("\x1d"
         "abc");
    host_check_output("\r\n\r> ");
    host_check(typed_count == 3 && memcmp(typed, "abc", 3) == 0);
    say(a, "unseen\n");
    log_info("seen");
    host_check_output("\r\x1b[Kbulkhead | seen\r\n\r> ...");
    type("q");
    settle();
    console_show_all();
    settle();
    host_check(strstr(line.sent, "linux-a  | partialunseen\r\n"));
    join(&shell);
}

// A device whose buffer takes `room` bytes.
struct device {
    char got[32 * 1024];
    u32 count, room;
};

static u32 take(void *ctx, const char *bytes, u32 count) {
    struct device *d = ctx;
    u32 n = MIN(count, d->room);
    memcpy(d->got + d->count, bytes, n);
    d->count += n;
    d->room -= n;
    return n;
}

SIMULATED(an_attached_vm_is_replayed_and_then_raw_both_ways) {
    static struct device d;
    d = (struct device){.room = 100};
    begin();
    console_set_input(a, take, &d);
    say(a, "\x1b[6nold\r\n");
    say(b, "other\n");
    settle();
    clear_sent();
    console_attach(a);
    host_check_output("[bulkhead: console of linux-a; Ctrl-] opens the shell]\r\nold\r\n");
    say(a, "\x1b[2J$ ");
    say(b, "hidden\n");
    host_check_output("\x1b[2J$ ");
    type("ls\r");
    settle();
    host_check(d.count == 3 && memcmp(d.got, "ls\r", 3) == 0);
    console_set_status(a, "has stopped");
    host_check_output("\r\n[bulkhead: linux-a has stopped]\r\n");
    console_show_all();
    host_check(strstr(settle(), "b        | hidden\r\n"));
    host_check(!strstr(line.sent, "old"));
}

// Line `number`, 32 bytes long.
static void say_numbered(struct console *c, u32 number) {
    char text[64];
    snprintf(text, sizeof text, "line %06u of many, all alike\r\n", number);
    host_check(strlen(text) == 32);
    say(c, text);
}

SIMULATED(the_replay_of_a_full_ring_begins_with_a_whole_line_and_ends_with_the_last) {
    begin();
    for (u32 i = 0; i < 1100; i++) // 32 KiB are 1024 of them
        say_numbered(a, i);
    say(a, "$ ");
    settle();
    clear_sent();
    console_attach(a);
    sleep_ns(MS(2000));
    const char *text = settle();
    const char *first = strstr(text, "shell]\r\nline 0");
    host_check(first && strstr(first, "line 000077 of many"));
    host_check(!strstr(text, "line 000076 of many"));
    host_check(strcmp(text + strlen(text) - 7, "ike\r\n$ ") == 0);
}

SIMULATED(the_view_of_all_catches_up_with_the_last_of_what_was_missed) {
    begin();
    console_attach(b);
    settle();
    for (u32 i = 0; i < 400; i++) // 12.5 KiB; 4 KiB are 128 of them
        say_numbered(a, i);
    clear_sent();
    console_show_all();
    sleep_ns(MS(500));
    const char *text = settle();
    host_check(strstr(text, "linux-a  | line 000273 of many"));
    host_check(strstr(text, "linux-a  | line 000399 of many"));
    host_check(!strstr(text, "line 000271 of many"));
}

SIMULATED(a_paste_of_several_kilobytes_reaches_a_slow_vm_whole) {
    static struct device d;
    d = (struct device){.room = 16};
    begin();
    console_set_input(a, take, &d);
    console_attach(a);
    settle();
    char chunk[65] = "";
    for (u32 i = 0; i < 64; i++)
        chunk[i] = (char)('0' + i);
    for (u32 i = 0; i < 6144 / 64; i++) {
        type(chunk);
        sleep_ns(US(100));
    }
    for (u32 i = 0; i < 6144 / 16 + 10; i++) {
        d.room = 16;
        console_input_ready(a);
        sleep_ns(US(200));
    }
    host_check(d.count == 6144);
    for (u32 i = 0; i < d.count; i++)
        host_check(d.got[i] == (char)('0' + i % 64));
    host_check(console_counts().input_lost == 0);
}

SIMULATED(ctrl_bracket_leaves_a_vm_that_takes_no_input_and_what_was_typed_waits_for_it) {
    static struct device d, other;
    d = (struct device){.room = 0};
    other = (struct device){.room = 100};
    begin();
    spawn(&shell, "shell", fake_shell, NULL, TASK_PRIORITY_SYSTEM, 0);
    console_set_input(a, take, &d);
    console_set_input(b, take, &other);
    console_attach(a);
    settle();
    type("for a\x1d"
         "kept");
    host_check(strstr(settle(), "> "));
    host_check(typed_count == 4 && memcmp(typed, "kept", 4) == 0);
    console_attach(b);
    settle();
    type("for b\x1d");
    settle();
    d.room = 100;
    console_input_ready(a);
    settle();
    host_check(d.count == 5 && memcmp(d.got, "for a", 5) == 0);
    host_check(other.count == 5 && memcmp(other.got, "for b", 5) == 0);
    host_check(console_counts().input_lost == 0);
    type("q");
    settle();
    join(&shell);
}

SIMULATED(a_line_longer_than_the_fifo_reaches_its_vm_though_ctrl_bracket_follows_at_once) {
    static struct device d;
    d = (struct device){.room = 16};
    begin();
    console_set_input(a, take, &d);
    console_attach(a);
    settle();
    static const char text[] = "a line that does not fit into sixteen bytes\r";
    type(text);
    type("\x1d");
    settle();
    host_check(console_state.mode == CONSOLE_SHELL);
    for (u32 i = 0; i < sizeof text / 16 + 1; i++) {
        d.room = 16;
        console_input_ready(a);
        sleep_ns(US(200));
    }
    host_check(d.count == sizeof text - 1 && memcmp(d.got, text, d.count) == 0);
}

// 1024 bytes of a pattern that a hole would show in, `rounds` times.
static void type_kilobytes(u32 rounds) {
    char chunk[33];
    for (u32 i = 0; i < rounds * 32; i++) {
        for (u32 j = 0; j < 32; j++)
            chunk[j] = (char)('0' + (i + j) % 64);
        chunk[32] = '\0';
        type(chunk);
        if (i % 32 == 31)
            sleep_ns(MS(1));
    }
}

SIMULATED(a_vm_that_takes_no_input_keeps_the_first_16_kib_and_the_loss_of_more_is_counted) {
    static struct device d;
    d = (struct device){.room = 0};
    begin();
    console_set_input(a, take, &d);
    console_attach(a);
    settle();
    type_kilobytes(17);
    settle();
    host_check(console_counts().input_lost == 1024);
    type("\x1d");
    settle();
    host_check(console_state.mode == CONSOLE_SHELL);
    d.room = 1000;
    console_input_ready(a);
    settle();
    console_attach(a); // there is room for so much again
    type_kilobytes(1);
    settle();
    host_check(console_counts().input_lost == 1024 + 24);
    d.room = sizeof d.got;
    console_input_ready(a);
    settle();
    host_check(d.count == 16 * 1024 + 1000);
    for (u32 i = 0; i < 16 * 1024; i++)
        host_check(d.got[i] == (char)('0' + (i / 32 + i % 32) % 64));
    for (u32 i = 0; i < 1000; i++)
        host_check(d.got[16 * 1024 + i] == (char)('0' + (i / 32 + i % 32) % 64));
}

SIMULATED(ctrl_bracket_is_heard_behind_more_input_than_there_is_room_for_and_the_loss_is_counted) {
    static struct device d;
    static char page[20 * 1024];
    d = (struct device){.room = 0};
    begin();
    spawn(&shell, "shell", fake_shell, NULL, TASK_PRIORITY_SYSTEM, 0);
    console_set_input(a, take, &d);
    console_attach(a);
    settle();
    memset(page, 'x', sizeof page);
    page[sizeof page - 2] = CONSOLE_ESCAPE;
    page[sizeof page - 1] = '\0';
    type(page); // in one go: the console's task runs afterwards
    host_check(strstr(settle(), "> "));
    host_check(console_counts().input_lost == sizeof page - 2 - (CONSOLE_RX_RING - 1));
    type("kept"); // there is room again
    settle();
    host_check(typed_count == 4 && memcmp(typed, "kept", 4) == 0);
    d.room = sizeof d.got;
    console_input_ready(a);
    settle();
    host_check(d.count == CONSOLE_RX_RING - 1);
    type("q");
    settle();
    join(&shell);
}

SIMULATED(what_was_typed_for_a_vm_that_goes_is_not_given_to_the_shell) {
    begin();
    spawn(&shell, "shell", fake_shell, NULL, TASK_PRIORITY_SYSTEM, 0);
    console_attach(a);
    settle();
    type("a secret of a's\r");
    console_destroy(a);
    host_check(strstr(settle(), "> "));
    host_check(typed_count == 0);
    type("q");
    settle();
    join(&shell);
}

SIMULATED(there_is_a_console_for_each_of_as_many_vms_as_a_machine_runs_and_no_more) {
    static struct console *all[VM_MAX];
    begin();
    console_destroy(a);
    console_destroy(b);
    u64 free = page_stats().free;
    for (u32 i = 0; i < VM_MAX; i++)
        host_check((all[i] = console_create("vm")));
    u64 left = page_stats().free;
    host_check(!console_create("one more"));
    host_check(page_stats().free == left);
    console_destroy(all[7]);
    host_check((all[7] = console_create("again")));
    for (u32 i = 0; i < VM_MAX; i++)
        console_destroy(all[i]);
    host_check(page_stats().free == free);
}

SIMULATED(a_vm_that_writes_faster_than_the_line_loses_its_oldest_bytes_and_says_so) {
    begin();
    line.rate = 11; // 115200 baud
    u64 start = arch_now_ns();
    for (u32 i = 0; i < 2 * CONSOLE_RING / 8; i++)
        console_write(a, "1234567\n", 8);
    say(a, "the last\n");
    host_check(arch_now_ns() - start < MS(100)); // the writer was not held up
    sleep_ns(MS(10000));
    const char *text = settle();
    host_check(strstr(text, "linux-a  | … "));
    host_check(strstr(text, " bytes lost\r\n"));
    host_check(strstr(text, "linux-a  | the last\r\n"));
    host_check(console_counts().output_lost > CONSOLE_RING / 2);
}

SIMULATED(a_uart_without_interrupt_is_polled) {
    plug(0);
    console_start();
    line.input = "x";
    host_check(strstr(settle(), "Ctrl-]"));
}

SIMULATED(a_flood_leaves_the_cpu_to_others_between_bursts) {
    begin();
    for (u32 i = 0; i < CONSOLE_RING / 64; i++)
        say(a, "1234567890123456789012345678901234567890123456789012345678901\r\n");
    u32 turns = 0;
    for (u64 end = arch_now_ns() + MS(5); arch_now_ns() < end; turns++)
        sched_yield();
    host_check(turns > 5);
    settle();
}

SIMULATED(a_flush_writes_what_is_queued_and_later_lines_at_once) {
    begin();
    host_uart_clear();
    say(a, "last words\n");
    say(a, "unfinished");
    log_info("good bye");
    console_flush();
    const char *text = host_uart_output();
    host_check(strstr(text, "linux-a  | last words\r\n"));
    host_check(strstr(text, "linux-a  | unfinished\r\n"));
    host_check(strstr(text, "bulkhead | good bye\r\n"));
    host_uart_clear();
    log_error("after");
    host_check(strcmp(host_uart_output(), "bulkhead | error: after\r\n") == 0);
}

SIMULATED(the_first_view_may_be_a_vm_that_comes_later) {
    plug(33);
    console_set_initial("b");
    console_start();
    a = console_create("linux-a");
    b = console_create("b");
    say(a, "hidden\n");
    say(b, "raw\r\n");
    const char *text = settle();
    host_check(strstr(text, "console of b"));
    host_check(strstr(text, "]\r\nraw\r\n"));
    host_check(!strstr(text, "hidden"));
}

SIMULATED(a_console_may_go_while_it_is_attached) {
    begin();
    say(a, "x");
    console_attach(a);
    settle();
    console_destroy(a);
    say(b, "still here\n");
    console_show_all();
    host_check(strstr(settle(), "b        | still here\r\n"));
}

static void writer_task(void *arg) {
    for (u32 i = 0; i < 40; i++) {
        say(arg, arg == (void *)a ? "aaaaaaaa\n" : "bbbbbbbb\n");
        log_info("tick");
    }
    task_exit();
}

SIMULATED(writers_on_several_cpus_lose_nothing_and_mix_nothing) {
    static struct task t[2];
    begin();
    spawn(&t[0], "a", writer_task, a, TASK_PRIORITY_DEFAULT, 0);
    spawn(&t[1], "b", writer_task, b, TASK_PRIORITY_DEFAULT, 1);
    join(&t[0]);
    join(&t[1]);
    sleep_ns(MS(1000)); // 16 bytes a millisecond
    u32 lines[3] = {0};
    for (const char *p = settle(); *p; p = strchr(p, '\n') + 1) {
        if (strncmp(p, "linux-a  | aaaaaaaa\r\n", 21) == 0)
            lines[0]++;
        else if (strncmp(p, "b        | bbbbbbbb\r\n", 21) == 0)
            lines[1]++;
        else if (strncmp(p, "bulkhead | tick\r\n", 17) == 0)
            lines[2]++;
        else
            host_check(!"a mixed line");
    }
    host_check(lines[0] == 40 && lines[1] == 40 && lines[2] == 80);
}

// Its bytes come from another CPU while the console looks.
static void prompt_task(void *arg) {
    for (const char *p = "linux-a:~# and what else there is"; *p; p++) {
        host_point();
        console_putc(arg, *p);
    }
    task_exit();
}

static void a_prompt_from_another_cpu_is_shown_to_its_end_run(void *arg) {
    static struct task t;
    (void)arg;
    begin();
    spawn(&t, "a", prompt_task, a, TASK_PRIORITY_DEFAULT, 1);
    join(&t);
    settle(); // the first bytes
    host_check_output("linux-a  | linux-a:~# and what else there is");
}

static void a_prompt_from_another_cpu_is_shown_to_its_end(void **state) {
    (void)state;
    for_each_seed(seed, 200) run_on(2, seed, a_prompt_from_another_cpu_is_shown_to_its_end_run, NULL);
}

SIMULATED(what_follows_on_a_shown_line_is_shown_too) {
    begin();
    say(a, "testing");
    host_check_output("linux-a  | testing");
    say(a, " ...");
    host_check_output(" ...");
    say(a, " still");
    host_check_output(" still");
    say(a, " ok\n");
    host_check_output(" ok\r\n");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_vms_and_the_log_share_the_terminal_in_whole_lines),
        cmocka_unit_test(a_prompt_is_shown_after_a_short_silence),
        cmocka_unit_test(before_the_task_runs_the_log_is_written_at_once_and_not_again),
        cmocka_unit_test(a_key_in_the_common_view_gives_a_hint_now_and_then_and_enter_none),
        cmocka_unit_test(what_comes_after_a_page_of_zero_bytes_is_shown),
        cmocka_unit_test(ctrl_bracket_opens_the_shell_and_what_follows_is_its_input),
        cmocka_unit_test(an_attached_vm_is_replayed_and_then_raw_both_ways),
        cmocka_unit_test(the_replay_of_a_full_ring_begins_with_a_whole_line_and_ends_with_the_last),
        cmocka_unit_test(the_view_of_all_catches_up_with_the_last_of_what_was_missed),
        cmocka_unit_test(a_paste_of_several_kilobytes_reaches_a_slow_vm_whole),
        cmocka_unit_test(ctrl_bracket_leaves_a_vm_that_takes_no_input_and_what_was_typed_waits_for_it),
        cmocka_unit_test(a_line_longer_than_the_fifo_reaches_its_vm_though_ctrl_bracket_follows_at_once),
        cmocka_unit_test(a_vm_that_takes_no_input_keeps_the_first_16_kib_and_the_loss_of_more_is_counted),
        cmocka_unit_test(ctrl_bracket_is_heard_behind_more_input_than_there_is_room_for_and_the_loss_is_counted),
        cmocka_unit_test(what_was_typed_for_a_vm_that_goes_is_not_given_to_the_shell),
        cmocka_unit_test(there_is_a_console_for_each_of_as_many_vms_as_a_machine_runs_and_no_more),
        cmocka_unit_test(a_vm_that_writes_faster_than_the_line_loses_its_oldest_bytes_and_says_so),
        cmocka_unit_test(a_uart_without_interrupt_is_polled),
        cmocka_unit_test(a_flood_leaves_the_cpu_to_others_between_bursts),
        cmocka_unit_test(a_flush_writes_what_is_queued_and_later_lines_at_once),
        cmocka_unit_test(the_first_view_may_be_a_vm_that_comes_later),
        cmocka_unit_test(a_console_may_go_while_it_is_attached),
        cmocka_unit_test(writers_on_several_cpus_lose_nothing_and_mix_nothing),
        cmocka_unit_test(a_prompt_from_another_cpu_is_shown_to_its_end),
        cmocka_unit_test(what_follows_on_a_shown_line_is_shown_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
