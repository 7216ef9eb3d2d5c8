// SPDX-License-Identifier: Apache-2.0
// The machine's serial port. One port is in use: uart_init() chooses its driver, the rest goes to that one. The caller
// serialises: the console owns the port and its lock. Nothing here allocates, blocks or needs the MMU.
#pragma once

#include "board.h"
#include "types.h"

struct uart_driver {
    enum uart_kind kind;
    // Enables the port at the speed that the firmware left it at, 8 data bits, no parity; no interrupts.
    void (*init)(const struct board_uart *uart);
    // Puts as many of the bytes into the transmitter as it has room for now, and returns how many.
    u32 (*send)(const struct board_uart *uart, const char *bytes, u32 count);
    // A received byte, or -1. Bytes with a framing or parity error, and breaks, are dropped.
    int (*receive)(const struct board_uart *uart);
    // Lets received bytes (at once, or after a short silence) raise the interrupt, or masks all of the port's
    // interrupts.
    void (*irq_enable)(const struct board_uart *uart, bool receive);
    // Clears what is latched. Call it before draining the receiver, or a byte that comes in between goes unnoticed.
    void (*irq_ack)(const struct board_uart *uart);
};

extern const struct uart_driver uart_pl011, uart_16550, uart_cadence;

// Takes the port into use. -ENODEV: no driver for that kind; then, and before, output vanishes and there is no input.
// Boot.
[[nodiscard]] int uart_init(const struct board_uart *uart);
// The same with a driver of the caller's (arch/host, tests).
void uart_use(const struct uart_driver *with, const struct board_uart *uart);

// Bytes accepted, maybe 0: never waits. Any.
u32 uart_send(const char *bytes, u32 count);
// Waits for room, but not for ever: what a stuck transmitter does not take is dropped. Any.
void uart_write(const char *bytes, u32 count);
void uart_putc(char c);
// Ends in a zero byte; a newline becomes CR LF. Any.
void uart_puts(const char *text);
// -1: nothing there. Any.
int uart_getc(void);
void uart_irq_enable(bool receive);
void uart_irq_ack(void);
// The port's host interrupt, 0: it has none and must be polled. Any.
u32 uart_irq(void);
