// SPDX-License-Identifier: Apache-2.0
// The Cadence UART of Zynq and ZynqMP (UG1085, chapter 21; registers: UG1087, module UART).
#include "mmio.h"
#include "uart.h"

enum {
    CR = 0x00,
    CR_RX_ENABLE = 1 << 2,
    CR_TX_ENABLE = 1 << 4,
    CR_RESTART_TIMEOUT = 1 << 6,
    MR = 0x04,
    MR_CLOCK_DIV8 = 1 << 0, // belongs to the speed
    MR_8N1 = 4 << 3,        // 8 bits, no parity, 1 stop bit, normal mode
    IER = 0x08,
    IDR = 0x0c,
    ISR = 0x14,
    INT_RX_TRIGGER = 1 << 0,
    INT_RX_TIMEOUT = 1 << 8,
    INT_ALL = 0x1fff,
    RX_TIMEOUT = 0x1c, // in units of four bit times
    RX_TRIGGER = 0x20,
    SR = 0x2c,
    SR_RX_EMPTY = 1 << 1,
    SR_TX_FULL = 1 << 4,
    FIFO = 0x30,
};

static u32 cadence_read(const struct board_uart *uart, u32 reg) {
    return mmio_read32(uart->base + reg);
}
static void cadence_write(const struct board_uart *uart, u32 reg, u32 value) {
    mmio_write32(uart->base + reg, value);
}

static void cadence_init(const struct board_uart *uart) {
    cadence_write(uart, IDR, INT_ALL);
    cadence_write(uart, ISR, INT_ALL);
    cadence_write(uart, MR, MR_8N1 | (cadence_read(uart, MR) & MR_CLOCK_DIV8));
    cadence_write(uart, RX_TRIGGER, 1);
    cadence_write(uart, RX_TIMEOUT, 10);
    cadence_write(uart, CR, CR_RX_ENABLE | CR_TX_ENABLE | CR_RESTART_TIMEOUT);
}

static u32 cadence_send(const struct board_uart *uart, const char *bytes, u32 count) {
    u32 sent = 0;
    for (; sent < count && !(cadence_read(uart, SR) & SR_TX_FULL); sent++)
        cadence_write(uart, FIFO, (u8)bytes[sent]);
    return sent;
}

static int cadence_receive(const struct board_uart *uart) {
    if (cadence_read(uart, SR) & SR_RX_EMPTY)
        return -1;
    return (int)(cadence_read(uart, FIFO) & 0xff);
}

static void cadence_irq_enable(const struct board_uart *uart, bool receive) {
    if (receive)
        cadence_write(uart, IER, INT_RX_TRIGGER | INT_RX_TIMEOUT);
    else
        cadence_write(uart, IDR, INT_ALL);
}

static void cadence_irq_ack(const struct board_uart *uart) {
    cadence_write(uart, ISR, INT_ALL);
}

const struct uart_driver uart_cadence = {
    .kind = UART_CADENCE,
    .init = cadence_init,
    .send = cadence_send,
    .receive = cadence_receive,
    .irq_enable = cadence_irq_enable,
    .irq_ack = cadence_irq_ack,
};
