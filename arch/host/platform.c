// SPDX-License-Identifier: Apache-2.0
// The simulated machine's UART, power switch and memory.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host_internal.h"
#include "uart.h"

// ── UART: output into a buffer, input from one ──────────────────────────────────────────────────────────────────────
static struct {
    char *out;
    size_t out_used, out_size;
    char in[4096];
    size_t in_head, in_tail;
    bool irq_on;
} uart;

void arch_early_putc(char c) {
    if (uart.out_used + 2 > uart.out_size) {
        uart.out_size = uart.out_size ? 2 * uart.out_size : 4096;
        char *larger = realloc(uart.out, uart.out_size);
        if (!larger)
            abort();
        uart.out = larger;
    }
    uart.out[uart.out_used++] = c;
    uart.out[uart.out_used] = '\0';
    if (host_machine.opt.echo)
        fputc(c, stderr);
}

static void raise_irq(void) {
    if (uart.irq_on && uart.in_head != uart.in_tail)
        cpus[0].arch.pending |= HOST_IRQ_UART;
}

static void uart_host_init(const struct board_uart *port) {
    (void)port;
}

static u32 uart_host_send(const struct board_uart *port, const char *bytes, u32 count) {
    (void)port;
    u32 room = host_machine.active ? 1 + (u32)host_random(16) : count; // as a FIFO that the line empties slowly
    u32 taken = MIN(count, room);
    for (u32 i = 0; i < taken; i++)
        arch_early_putc(bytes[i]);
    return taken;
}

static int uart_host_receive(const struct board_uart *port) {
    (void)port;
    if (uart.in_head == uart.in_tail)
        return -1;
    return (unsigned char)uart.in[uart.in_tail++ % sizeof(uart.in)];
}

static void uart_host_irq_enable(const struct board_uart *port, bool receive) {
    (void)port;
    uart.irq_on = receive;
    raise_irq();
}

static void uart_host_irq_ack(const struct board_uart *port) {
    (void)port;
}

static const struct uart_driver uart_host = {
    .kind = UART_NONE,
    .init = uart_host_init,
    .send = uart_host_send,
    .receive = uart_host_receive,
    .irq_enable = uart_host_irq_enable,
    .irq_ack = uart_host_irq_ack,
};

void host_uart_attach(void (*irq)(void)) {
    host_uart_irq = irq;
    uart_use(&uart_host, &(struct board_uart){.irq = 33});
}

const char *host_uart_output(void) {
    return uart.out ? uart.out : "";
}

void host_uart_clear(void) {
    uart.out_used = 0;
    if (uart.out)
        uart.out[0] = '\0';
}

void host_uart_input(const char *bytes) {
    for (; *bytes; bytes++) {
        BUG_ON(uart.in_head - uart.in_tail == sizeof(uart.in));
        uart.in[uart.in_head++ % sizeof(uart.in)] = *bytes;
    }
    raise_irq();
}

void host_platform_reset(void) {
    host_uart_clear();
    uart.in_head = uart.in_tail = 0;
    uart.irq_on = false;
    host_uart_irq = NULL;
}

// ── The rest ────────────────────────────────────────────────────────────────────────────────────────────────────────
u64 arch_cpu_hwid(void) {
    return cpu_self()->hwid ? cpu_self()->hwid : host_machine.board.cpus[0].hwid;
}

void arch_memory_init(const struct board *board) {
    (void)board;
}

void arch_zero(void *p, u64 size) {
    memset(p, 0, size);
}

void arch_power_off(void) {
    if (host_machine.active)
        host_stop(HOST_POWER_OFF);
    exit(0);
}

void arch_reboot(void) {
    if (host_machine.active)
        host_stop(HOST_REBOOT);
    exit(0);
}
