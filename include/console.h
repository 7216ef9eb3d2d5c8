// SPDX-License-Identifier: Apache-2.0
// One physical UART, many consoles: the hypervisor's log and shell, and one console a VM with a ring of its recent
// output.
//
// Writers only append to a ring and wake the console task; the task alone writes to the UART, so an exit never waits
// for a slow line. Input goes the other way: the UART's interrupt fills a ring; the shell takes bytes from it while the
// terminal shows the shell, otherwise the console task puts them into the ring of the VM that is attached. A VM takes
// its own from there when it likes, attached or not; what comes when 16 KiB wait is lost, and counted.
#pragma once

#include "board.h"
#include "types.h"

enum {
    CONSOLE_RING = 32 * 1024,
    CONSOLE_ESCAPE = 0x1d, // Ctrl-]
    CONSOLE_REDRAW = -1,   // from console_shell_getc
};

struct console; // one VM's
struct log_line;

// How input reaches the VM: up to `count` bytes, returns how many were taken; the rest is offered again after
// console_input_ready(), whatever the terminal shows by then. Task (console), no lock held.
typedef u32 (*console_input_fn)(void *ctx, const char *bytes, u32 count);

// Boot: log lines go straight to the UART, polled, until console_start has made the task.
void console_init(const struct board *board);
// Who we are, on which machine, and how to get to the shell: log lines. Boot.
void console_banner(const struct board *board);
// What the terminal shows first: "all", "shell", or a VM's name, which takes effect when its console is created. Boot.
void console_set_initial(const char *view);
// Needs tasks, timers and host interrupts. Boot.
void console_start(void);
// A panic or power off: writes out what is queued, polled, and stays in polled mode. Takes at most a few seconds. Any.
void console_flush(void);
// The UART's interrupt, from arch_irq_poll. Any, no lock of rank LOCK_CONSOLE or later held.
void console_host_irq(void);

// NULL: no memory. Task.
[[nodiscard]] struct console *console_create(const char *vm_name);
void console_destroy(struct console *c);
// NULL: what is typed waits. The function that was set before runs no more when this returns. Task.
void console_set_input(struct console *c, console_input_fn fn, void *ctx);
// The guest wrote a byte. Any, locks of a rank below LOCK_CONSOLE may be held (cheap: a ring append, and a wake-up of
// the console task if it sleeps).
void console_putc(struct console *c, char byte);
void console_write(struct console *c, const char *bytes, size_t count);
// The device has room for input again. Any, as console_putc.
void console_input_ready(struct console *c);
// What became of the VM ("stopped: powered off by the guest"), told to whoever is attached now or attaches later; ""
// when it runs. Any, as console_putc.
[[gnu::format(printf, 2, 3)]] void console_set_status(struct console *c, const char *fmt, ...);

// The shell's side. Output of the shell, blocking while the ring is full; '\n' becomes a whole line end. Task (shell).
void console_shell_write(const char *bytes, size_t count);
[[gnu::format(printf, 1, 2)]] void console_printf(const char *fmt, ...);
// Waits for a byte of input for the shell: 0…255, or CONSOLE_REDRAW: the terminal has come (back) to the shell or
// something was printed over its line, so the prompt and the line are to be drawn again. Task (shell).
int console_shell_getc(void);
// A command has run, the next prompt is due: console_shell_getc gives CONSOLE_REDRAW, now or when the shell is shown
// again.
void console_shell_prompt(void);
// What the terminal shows, once the shell's output so far is out: a VM raw (its ring is replayed first), every VM in
// prefixed lines, or the shell alone. Any task.
void console_attach(struct console *c);
void console_show_all(void);
void console_show_shell(void);

// Used by the log. A line came, LOCK_LOG held: written at once while the console is polled.
void console_log_polled(const struct log_line *line);
// A line came, LOCK_LOG no longer held: wakes the task.
void console_log_ready(void);

struct console_counts {
    u64 input_lost;  // bytes that came when too many were waiting already
    u64 output_lost; // bytes of VMs that the terminal could not follow
};
struct console_counts console_counts(void);
