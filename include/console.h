// SPDX-License-Identifier: Apache-2.0
// One physical UART, many consoles: the hypervisor's log and shell, and one console a VM with a ring of its recent
// output.
//
// Writers only append to a ring and wake the console task; the task alone writes to the UART, so an exit never waits
// for a slow line. Input goes the other way: the UART's interrupt fills a ring, the console task hands each byte to the
// shell or to the VM that is attached.
#pragma once

#include "board.h"
#include "types.h"

enum { CONSOLE_RING = 32 * 1024, CONSOLE_ESCAPE = 0x1d }; // Ctrl-]

struct console; // one VM's

// How input reaches the VM: up to `count` bytes, returns how many were taken; the rest is offered again after
// console_input_ready(). Task (console), no lock held.
typedef u32 (*console_input_fn)(void *ctx, const char *bytes, u32 count);

// Boot: log lines go straight to the UART, polled, until console_start has made the task.
void console_init(const struct board *board);
void console_start(void);
// A panic or power off: writes out what is queued, polled, and stays in polled mode. Any.
void console_flush(void);
// The UART's interrupt, from arch_irq_poll. Any.
void console_host_irq(void);

// NULL: no memory. Task.
[[nodiscard]] struct console *console_create(const char *vm_name);
void console_destroy(struct console *c);
void console_set_input(struct console *c, console_input_fn fn, void *ctx);
// The guest wrote a byte. Any (cheap: a ring append, and a wake-up of the console task if it sleeps).
void console_putc(struct console *c, char byte);
void console_write(struct console *c, const char *bytes, size_t count);
// The device has room for input again. Any.
void console_input_ready(struct console *c);

// The shell's side. Output of the shell, blocking while the ring is full. Task (shell).
void console_shell_write(const char *bytes, size_t count);
[[gnu::format(printf, 1, 2)]] void console_printf(const char *fmt, ...);
// Waits for a byte of input for the shell. Task (shell).
int console_shell_getc(void);
// What the terminal shows: a VM raw (its ring is replayed first), every VM in prefixed lines, or the shell alone.
void console_attach(struct console *c);
void console_show_all(void);
void console_show_shell(void);
// Used by the log (holds LOCK_LOG): one line, without prefix or newline.
void console_log_line(const char *line, size_t count);
