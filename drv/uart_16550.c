// SPDX-License-Identifier: Apache-2.0
// National Semiconductor PC16550D and what descends from it, the Synopsys DesignWare APB UART included.
#include "uart_16550.h"

#include "mmio.h"

enum {
    DATA = 0, // receive buffer, transmit holding
    IER = 1,
    IER_RECEIVE = 1 << 0,
    IIR = 2, // read
    IIR_ID = 0xf,
    IIR_DW_BUSY = 0x7, // DesignWare: LCR was written while it was busy; reading USR clears it
    FCR = 2,           // write
    FCR_ENABLE = 1 << 0,
    FCR_CLEAR = 3 << 1, // receive and transmit FIFOs
    LCR = 3,
    LCR_8N1 = 3, // the divisor latch bit clear
    MCR = 4,
    MCR_DTR = 1 << 0,
    MCR_RTS = 1 << 1,
    MCR_OUT2 = 1 << 3, // on a PC: lets the interrupt out
    LSR = 5,
    LSR_READY = 1 << 0,
    LSR_PARITY = 1 << 2,
    LSR_FRAMING = 1 << 3,
    LSR_BREAK = 1 << 4,
    LSR_THRE = 1 << 5, // transmit FIFO empty
    LSR_TEMT = 1 << 6, // and the shift register too
    USR = 0x1f,        // DesignWare
    FIFO_DEPTH = 16,
    IDLE_ATTEMPTS = 1 << 18,
};

static u32 memory_read(const struct board_uart *uart, u32 reg) {
    const u64 addr = uart->base + ((u64)reg << uart->reg_shift);
    return uart->reg_width == 4 ? mmio_read32(addr) : mmio_read8(addr);
}

static void memory_write(const struct board_uart *uart, u32 reg, u32 value) {
    const u64 addr = uart->base + ((u64)reg << uart->reg_shift);
    if (uart->reg_width == 4)
        mmio_write32(addr, value);
    else
        mmio_write8(addr, (u8)value);
}

static const struct uart_16550_access memory = {memory_read, memory_write};
static const struct uart_16550_access *registers = &memory; // written at boot only

static u32 u16550_read(const struct board_uart *uart, u32 reg) {
    return registers->read(uart, reg);
}

static void u16550_write(const struct board_uart *uart, u32 reg, u32 value) {
    registers->write(uart, reg, value);
}

static void u16550_init(const struct board_uart *uart) {
    for (u32 i = 0; i < IDLE_ATTEMPTS && !(u16550_read(uart, LSR) & LSR_TEMT); i++)
        ;
    u16550_write(uart, LCR, LCR_8N1);
    u16550_write(uart, IER, 0);
    u16550_write(uart, FCR, FCR_ENABLE | FCR_CLEAR);
    u16550_write(uart, MCR, MCR_DTR | MCR_RTS | MCR_OUT2);
}

static u32 u16550_send(const struct board_uart *uart, const char *bytes, u32 count) {
    u32 sent = 0;
    if (count && u16550_read(uart, LSR) & LSR_THRE)
        for (; sent < MIN(count, (u32)FIFO_DEPTH); sent++)
            u16550_write(uart, DATA, (u8)bytes[sent]);
    return sent;
}

static int u16550_receive(const struct board_uart *uart) {
    for (u32 i = 0; i < FIFO_DEPTH; i++) {
        const u32 status = u16550_read(uart, LSR);
        if (!(status & LSR_READY))
            break;
        const u32 data = u16550_read(uart, DATA);
        if (!(status & (LSR_PARITY | LSR_FRAMING | LSR_BREAK)))
            return (int)(data & 0xff);
    }
    return -1;
}

static void u16550_irq_enable(const struct board_uart *uart, bool receive) {
    u16550_write(uart, IER, receive ? IER_RECEIVE : 0);
}

static void u16550_irq_ack(const struct board_uart *uart) {
    if ((u16550_read(uart, IIR) & IIR_ID) == IIR_DW_BUSY)
        (void)u16550_read(uart, USR);
}

const struct uart_driver uart_16550 = {
    .kind = UART_16550,
    .init = u16550_init,
    .send = u16550_send,
    .receive = u16550_receive,
    .irq_enable = u16550_irq_enable,
    .irq_ack = u16550_irq_ack,
};

void uart_16550_use(const struct board_uart *uart, const struct uart_16550_access *access) {
    registers = access;
    uart_use(&uart_16550, uart);
}
