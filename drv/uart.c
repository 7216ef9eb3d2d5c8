// SPDX-License-Identifier: Apache-2.0
// The serial port in use, and the table of drivers.
#include "uart.h"

static const struct uart_driver *const drivers[] = {&uart_pl011, &uart_16550, &uart_cadence};

// At 9600 baud a byte takes a millisecond, which no bus can fill with this many reads of the flag register.
enum { SEND_ATTEMPTS = 1 << 20 };

// Written at boot before there is a second CPU, then only read.
static struct board_uart port;
static const struct uart_driver *driver;

void uart_use(const struct uart_driver *with, const struct board_uart *uart) {
    port = *uart;
    driver = with;
    if (driver)
        driver->init(&port);
}

int uart_init(const struct board_uart *uart) {
    for (size_t i = 0; i < ARRAY_SIZE(drivers); i++) {
        if (drivers[i]->kind == uart->kind) {
            uart_use(drivers[i], uart);
            return 0;
        }
    }
    driver = nullptr;
    return -ENODEV;
}

u32 uart_send(const char *bytes, u32 count) {
    return driver ? driver->send(&port, bytes, count) : count;
}

void uart_write(const char *bytes, u32 count) {
    for (u32 attempts = 0; count && attempts < SEND_ATTEMPTS; attempts++) {
        const u32 sent = uart_send(bytes, count);
        bytes += sent;
        count -= sent;
        if (sent)
            attempts = 0;
    }
}

void uart_putc(char c) {
    uart_write(&c, 1);
}

void uart_puts(const char *text) {
    while (*text) {
        u32 n = 0;
        while (text[n] && text[n] != '\n')
            n++;
        uart_write(text, n);
        text += n;
        if (*text == '\n') {
            uart_write("\r\n", 2);
            text++;
        }
    }
}

int uart_getc(void) {
    return driver ? driver->receive(&port) : -1;
}

void uart_irq_enable(bool receive) {
    if (driver)
        driver->irq_enable(&port, receive);
}

void uart_irq_ack(void) {
    if (driver)
        driver->irq_ack(&port);
}

u32 uart_irq(void) {
    return driver ? port.irq : 0;
}
