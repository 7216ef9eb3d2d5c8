// SPDX-License-Identifier: Apache-2.0
// The firmware's debug console (SBI 2.0 chapter 12) as a serial port, on a machine whose own port we do not know. It
// has no interrupt. Here and not with the other drivers because the firmware is called by an instruction.
#include "riscv64.h"
#include "uart.h"

enum { DBCN_WRITE, DBCN_READ, DBCN_WRITE_BYTE };

static void sbi_init(const struct board_uart *uart) {
    (void)uart;
}

static u32 sbi_send(const struct board_uart *uart, const char *bytes, u32 count) {
    (void)uart;
    struct sbi_result r = sbi_call(SBI_DBCN, DBCN_WRITE, count, (u64)bytes, 0); // VA = PA
    return r.error == 0 ? (u32)MIN(r.value, (u64)count) : count;
}

static int sbi_receive(const struct board_uart *uart) {
    char byte = 0;
    (void)uart;
    struct sbi_result r = sbi_call(SBI_DBCN, DBCN_READ, 1, (u64)&byte, 0);
    return r.error == 0 && r.value == 1 ? (unsigned char)byte : -1;
}

static void sbi_irq_enable(const struct board_uart *uart, bool receive) {
    (void)uart;
    (void)receive;
}

static void sbi_irq_ack(const struct board_uart *uart) {
    (void)uart;
}

static const struct uart_driver uart_sbi = {
    .kind = UART_SBI,
    .init = sbi_init,
    .send = sbi_send,
    .receive = sbi_receive,
    .irq_enable = sbi_irq_enable,
    .irq_ack = sbi_irq_ack,
};

bool uart_sbi_use(struct board *board) {
    if (!sbi_has(SBI_DBCN))
        return false;
    board->uart = (struct board_uart){.kind = UART_SBI};
    uart_use(&uart_sbi, &board->uart);
    return true;
}
