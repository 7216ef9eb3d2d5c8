// SPDX-License-Identifier: Apache-2.0
// Arm PrimeCell UART PL011 (DDI 0183G). The SBSA generic UART is its subset and ignores the writes to what it lacks.
#include "mmio.h"
#include "uart.h"

enum {
    DR = 0x00,
    DR_FRAMING = 1 << 8,
    DR_PARITY = 1 << 9,
    DR_BREAK = 1 << 10,
    FR = 0x18,
    FR_BUSY = 1 << 3,
    FR_RXFE = 1 << 4, // receive FIFO empty
    FR_TXFF = 1 << 5, // transmit FIFO full
    FR_TXFE = 1 << 7, // transmit FIFO empty
    LCR_H = 0x2c,
    LCR_H_FEN = 1 << 4, // FIFOs on
    LCR_H_8BIT = 3 << 5,
    CR = 0x30,
    CR_UARTEN = 1 << 0,
    CR_TXE = 1 << 8,
    CR_RXE = 1 << 9,
    CR_DTR = 1 << 10,
    CR_RTS = 1 << 11,
    IFLS = 0x34, // 0: both FIFOs interrupt at one eighth
    IMSC = 0x38,
    ICR = 0x44,
    INT_RX = 1 << 4,
    INT_RT = 1 << 6, // receive timeout
    INT_ALL = 0x7ff,
    FIFO_DEPTH = 16, // 32 since r1p5
    IDLE_ATTEMPTS = 1 << 18,
};

static u32 pl011_read(const struct board_uart *uart, u32 reg) {
    return mmio_read32(uart->base + reg);
}
static void pl011_write(const struct board_uart *uart, u32 reg, u32 value) {
    mmio_write32(uart->base + reg, value);
}

// §3.3.8: disable the UART and wait for the character in flight before the line control register is written.
static void pl011_init(const struct board_uart *uart) {
    for (u32 i = 0; i < IDLE_ATTEMPTS && pl011_read(uart, FR) & FR_BUSY; i++)
        ;
    pl011_write(uart, CR, 0);
    pl011_write(uart, IMSC, 0);
    pl011_write(uart, ICR, INT_ALL);
    pl011_write(uart, IFLS, 0);
    pl011_write(uart, LCR_H, LCR_H_8BIT | LCR_H_FEN);
    pl011_write(uart, CR, CR_UARTEN | CR_TXE | CR_RXE | CR_DTR | CR_RTS);
}

static u32 pl011_send(const struct board_uart *uart, const char *bytes, u32 count) {
    u32 sent = 0;
    // One look at an empty FIFO is good for its whole depth.
    if (count && pl011_read(uart, FR) & FR_TXFE)
        for (; sent < MIN(count, (u32)FIFO_DEPTH); sent++)
            pl011_write(uart, DR, (u8)bytes[sent]);
    for (; sent < count && !(pl011_read(uart, FR) & FR_TXFF); sent++)
        pl011_write(uart, DR, (u8)bytes[sent]);
    return sent;
}

static int pl011_receive(const struct board_uart *uart) {
    for (u32 i = 0; i < FIFO_DEPTH && !(pl011_read(uart, FR) & FR_RXFE); i++) {
        const u32 data = pl011_read(uart, DR);
        if (!(data & (DR_FRAMING | DR_PARITY | DR_BREAK)))
            return (int)(data & 0xff);
    }
    return -1;
}

static void pl011_irq_enable(const struct board_uart *uart, bool receive) {
    pl011_write(uart, IMSC, receive ? INT_RX | INT_RT : 0);
}

static void pl011_irq_ack(const struct board_uart *uart) {
    pl011_write(uart, ICR, INT_ALL);
}

const struct uart_driver uart_pl011 = {
    .kind = UART_PL011,
    .init = pl011_init,
    .send = pl011_send,
    .receive = pl011_receive,
    .irq_enable = pl011_irq_enable,
    .irq_ack = pl011_irq_ack,
};
