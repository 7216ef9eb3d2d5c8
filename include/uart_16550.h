// SPDX-License-Identifier: Apache-2.0
// A 16550 whose registers are not in memory.
#pragma once

#include "uart.h"

struct uart_16550_access {
    u32 (*read)(const struct board_uart *uart, u32 reg);
    void (*write)(const struct board_uart *uart, u32 reg, u32 value);
};

// Takes the port into use as uart_init() does, with its registers reached in the caller's way. Boot.
void uart_16550_use(const struct board_uart *uart, const struct uart_16550_access *access);
