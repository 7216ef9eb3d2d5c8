// SPDX-License-Identifier: Apache-2.0
// The drivers on a block of memory in place of registers: what a register holds is what was written last.
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "uart.h"

#include <string.h>

static _Alignas(8) u8 registers[0x1000];

static u32 *reg32(u32 offset) {
    return (u32 *)(void *)(registers + offset);
}

static struct board_uart port(enum uart_kind kind) {
    memset(registers, 0, sizeof(registers));
    return (struct board_uart){.kind = kind, .base = (u64)(uintptr_t)registers, .size = sizeof(registers), .irq = 33};
}

// ── PL011 ────────────────────────────────────────────────────────────────────────────────────────────────────────────

enum { DR = 0x00, FR = 0x18, IBRD = 0x24, LCR_H = 0x2c, CR = 0x30, IMSC = 0x38, ICR = 0x44 };

static void pl011_is_enabled_with_fifos_and_without_interrupts(void **state) {
    (void)state;
    const struct board_uart uart = port(UART_PL011);
    *reg32(IBRD) = 13;
    *reg32(IMSC) = 0x7ff;
    assert_int_equal(uart_init(&uart), 0);
    assert_int_equal(*reg32(CR) & 0x301, 0x301);
    assert_int_equal(*reg32(LCR_H), 0x70);
    assert_int_equal(*reg32(IMSC), 0);
    assert_int_equal(*reg32(IBRD), 13); // the speed is the firmware's
    assert_int_equal(uart_irq(), 33);
}

static void pl011_fills_an_empty_fifo_once(void **state) {
    (void)state;
    const struct board_uart uart = port(UART_PL011);
    const char text[] = "0123456789abcdefghij";
    assert_int_equal(uart_init(&uart), 0);
    *reg32(FR) = 0xa0; // contradictory on purpose: empty at the first look, full at every other
    assert_int_equal(uart_send(text, 20), 16);
    assert_int_equal(*reg32(DR), 'f');
    *reg32(FR) = 0x20;
    assert_int_equal(uart_send(text, 20), 0);
    *reg32(FR) = 0;
    assert_int_equal(uart_send(text, 3), 3);
    assert_int_equal(*reg32(DR), '2');
}

static void pl011_receives_a_byte_and_drops_errors(void **state) {
    (void)state;
    const struct board_uart uart = port(UART_PL011);
    assert_int_equal(uart_init(&uart), 0);
    *reg32(FR) = 0x10;
    assert_int_equal(uart_getc(), -1);
    *reg32(FR) = 0;
    *reg32(DR) = 0xe4;
    assert_int_equal(uart_getc(), 0xe4);
    *reg32(DR) = 0x4e4; // a break
    assert_int_equal(uart_getc(), -1);
    *reg32(DR) = 0x8e4; // an overrun lost others, not this one
    assert_int_equal(uart_getc(), 0xe4);
}

static void pl011_receive_interrupts_come_on_and_off(void **state) {
    (void)state;
    const struct board_uart uart = port(UART_PL011);
    assert_int_equal(uart_init(&uart), 0);
    uart_irq_enable(true);
    assert_int_equal(*reg32(IMSC), 0x50);
    *reg32(ICR) = 0;
    uart_irq_ack();
    assert_int_equal(*reg32(ICR) & 0x50, 0x50);
    uart_irq_enable(false);
    assert_int_equal(*reg32(IMSC), 0);
}

// ── 16550 ────────────────────────────────────────────────────────────────────────────────────────────────────────────

static void u16550_uses_the_register_spacing_of_the_board(void **state) {
    (void)state;
    struct board_uart uart = port(UART_16550);
    registers[5] = 0x60;
    uart.reg_width = 1;
    assert_int_equal(uart_init(&uart), 0);
    assert_int_equal(registers[3], 3);
    assert_int_equal(registers[2], 7);
    assert_int_equal(uart_send("AB", 2), 2);
    assert_int_equal(registers[0], 'B');

    uart = port(UART_16550);
    uart.reg_width = 4;
    uart.reg_shift = 2;
    *reg32(5 << 2) = 0x60;
    assert_int_equal(uart_init(&uart), 0);
    assert_int_equal(*reg32(3 << 2), 3);
    assert_int_equal(uart_send("AB", 2), 2);
    assert_int_equal(*reg32(0), 'B');
}

static void u16550_sends_only_into_an_empty_fifo(void **state) {
    (void)state;
    struct board_uart uart = port(UART_16550);
    const char text[] = "0123456789abcdefghij";
    registers[5] = 0x60;
    uart.reg_width = 1;
    assert_int_equal(uart_init(&uart), 0);
    assert_int_equal(uart_send(text, 20), 16);
    registers[5] = 0;
    assert_int_equal(uart_send(text, 20), 0);
}

static void u16550_receives_a_byte_and_drops_errors(void **state) {
    (void)state;
    struct board_uart uart = port(UART_16550);
    registers[5] = 0x60;
    uart.reg_width = 1;
    assert_int_equal(uart_init(&uart), 0);
    assert_int_equal(uart_getc(), -1);
    registers[5] = 0x61;
    registers[0] = 0x9c;
    assert_int_equal(uart_getc(), 0x9c);
    registers[5] = 0x71; // a break
    assert_int_equal(uart_getc(), -1);
    uart_irq_enable(true);
    assert_int_equal(registers[1], 1);
    uart_irq_enable(false);
    assert_int_equal(registers[1], 0);
}

// ── Cadence ──────────────────────────────────────────────────────────────────────────────────────────────────────────

static void cadence_sends_receives_and_interrupts(void **state) {
    (void)state;
    const struct board_uart uart = port(UART_CADENCE);
    *reg32(0x04) = 1;
    assert_int_equal(uart_init(&uart), 0);
    assert_int_equal(*reg32(0x00) & 0x14, 0x14);
    assert_int_equal(*reg32(0x04), 0x21);
    *reg32(0x2c) = 0x02; // nothing received, room to send
    assert_int_equal(uart_getc(), -1);
    assert_int_equal(uart_send("xy", 2), 2);
    assert_int_equal(*reg32(0x30), 'y');
    *reg32(0x2c) = 0x10; // full, and something received
    assert_int_equal(uart_send("z", 1), 0);
    assert_int_equal(uart_getc(), 'y');
    uart_irq_enable(true);
    assert_int_equal(*reg32(0x08), 0x101);
    uart_irq_ack();
    assert_int_equal(*reg32(0x14), 0x1fff);
    *reg32(0x0c) = 0;
    uart_irq_enable(false);
    assert_int_equal(*reg32(0x0c), 0x1fff);
}

// ── The port in use ──────────────────────────────────────────────────────────────────────────────────────────────────

static char sent[64];
static u32 sent_count, room;

static void fake_init(const struct board_uart *uart) {
    (void)uart;
    sent_count = 0;
}
static u32 fake_send(const struct board_uart *uart, const char *bytes, u32 count) {
    (void)uart;
    const u32 n = MIN(MIN(count, room), (u32)sizeof(sent) - sent_count);
    memcpy(sent + sent_count, bytes, n);
    sent_count += n;
    return n;
}

static const struct uart_driver fake = {.init = fake_init, .send = fake_send};

static void writes_go_out_whole_through_a_small_fifo(void **state) {
    (void)state;
    const struct board_uart uart = {.irq = 7};
    room = 3;
    uart_use(&fake, &uart);
    uart_puts("one line\nand\n\n");
    uart_putc('!');
    assert_int_equal(sent_count, 18);
    assert_memory_equal(sent, "one line\r\nand\r\n\r\n!", 18);
    assert_int_equal(uart_irq(), 7);
}

static void a_stuck_transmitter_does_not_hold_the_writer(void **state) {
    (void)state;
    room = 0;
    uart_use(&fake, &(const struct board_uart){0});
    uart_write("lost", 4);
    assert_int_equal(sent_count, 0);
}

static void without_a_known_port_output_vanishes(void **state) {
    (void)state;
    const struct board_uart none = {.kind = UART_NONE};
    assert_int_equal(uart_init(&none), -ENODEV);
    assert_int_equal(uart_send("gone", 4), 4);
    uart_puts("gone\n");
    uart_irq_enable(true);
    uart_irq_ack();
    assert_int_equal(uart_getc(), -1);
    assert_int_equal(uart_irq(), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pl011_is_enabled_with_fifos_and_without_interrupts),
        cmocka_unit_test(pl011_fills_an_empty_fifo_once),
        cmocka_unit_test(pl011_receives_a_byte_and_drops_errors),
        cmocka_unit_test(pl011_receive_interrupts_come_on_and_off),
        cmocka_unit_test(u16550_uses_the_register_spacing_of_the_board),
        cmocka_unit_test(u16550_sends_only_into_an_empty_fifo),
        cmocka_unit_test(u16550_receives_a_byte_and_drops_errors),
        cmocka_unit_test(cadence_sends_receives_and_interrupts),
        cmocka_unit_test(writes_go_out_whole_through_a_small_fifo),
        cmocka_unit_test(a_stuck_transmitter_does_not_hold_the_writer),
        cmocka_unit_test(without_a_known_port_output_vanishes),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
