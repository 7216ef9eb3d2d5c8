// SPDX-License-Identifier: Apache-2.0
// COM1: the 16550 behind ports.
#include "uart_16550.h"
#include "x86_64.h"

static u32 com_read(const struct board_uart *uart, u32 reg) {
    return port_in8((u16)(uart->base + reg));
}

static void com_write(const struct board_uart *uart, u32 reg, u32 value) {
    port_out8((u16)(uart->base + reg), (u8)value);
}

static const struct uart_16550_access com_ports = {com_read, com_write};

void uart_com_use(const struct board_uart *uart) {
    uart_16550_use(uart, &com_ports);
}
