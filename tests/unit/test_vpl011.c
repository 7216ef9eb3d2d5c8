// SPDX-License-Identifier: Apache-2.0
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "../../core/console_state.h"
#include "vpl011.h"

#define CHECK assert_true
#include "../one_device.h"

enum {
    DR = 0x00,
    RSR = 0x04,
    FR = 0x18,
    IBRD = 0x24,
    FBRD = 0x28,
    LCR_H = 0x2c,
    CR = 0x30,
    IFLS = 0x34,
    IMSC = 0x38,
    RIS = 0x3c,
    MIS = 0x40,
    ICR = 0x44,
    BASE = 0x9000000,
    IRQ = 33,
};
#define FEN BIT(4)
#define RXFE BIT(4)
#define TXFF BIT(5)
#define RXFF BIT(6)
#define TXFE BIT(7)
#define INT_RX BIT(4)
#define INT_TX BIT(5)
#define INT_RT BIT(6)
#define INT_OE BIT(10)
#define CR_ON 0x301
#define CR_LOOPBACK 0x381

static struct console *console;

// Has the console been asked for more input since the last time?
static bool asked(void) {
    return atomic_exchange(&console->input_ready, false);
}

static int setup(void **state) {
    (void)state;
    one_device_vm(BASE, IRQ);
    console_init(host_board());
    vm.console = console = console_create("uart");
    int err = vpl011_create(&vm, gpa(BASE), IRQ);
    asked();
    return err;
}

static int teardown(void **state) {
    (void)state;
    vpl011_destroy(&vm);
    bool left = console->input || vm.bus.count;
    console_destroy(console);
    return left;
}

static u64 read_sized(u32 offset, u8 size) {
    return device_access(offset, size, false, ~0ull);
}

static u32 get(u32 offset) {
    return (u32)read_sized(offset, 4);
}

static void put(u32 offset, u64 value) {
    device_access(offset, 4, true, value);
}

static u32 type(const char *text) {
    return console->input(console->input_ctx, text, (u32)strlen(text));
}

static void start(void) { // as Linux does
    put(IBRD, 13);
    put(FBRD, 1);
    put(LCR_H, 0x60 | FEN);
    put(CR, CR_ON);
}

// ── Tests ───────────────────────────────────────────────────────────────────────────────────────────────────────────
static void identifies_itself_as_a_pl011_r1p5(void **state) {
    (void)state;
    static const u8 ids[] = {0x11, 0x10, 0x34, 0x00, 0x0d, 0xf0, 0x05, 0xb1};
    for (u32 i = 0; i < ARRAY_SIZE(ids); i++)
        assert_int_equal(get(0xfe0 + i * 4), ids[i]);
}

static void comes_out_of_reset_as_the_manual_says(void **state) {
    (void)state;
    start();
    type("x");
    put(IMSC, 0x7ff);
    assert_true(line);
    bus_reset(&vm.bus);
    assert_false(line);
    assert_int_equal(get(CR), 0x300);
    assert_int_equal(get(IFLS), 0x12);
    assert_int_equal(get(FR) & (TXFE | RXFE | TXFF | RXFF), TXFE | RXFE);
    assert_int_equal(get(IBRD) | get(FBRD) | get(LCR_H) | get(IMSC) | get(RIS) | get(MIS) | get(RSR), 0);
}

static void what_the_guest_writes_is_printed_at_once(void **state) {
    (void)state;
    put(DR, 'h'); // without enabling anything, as early consoles do
    start();
    put(DR, 'i');
    assert_int_equal(console->head, 2);
    assert_memory_equal(console->ring, "hi", 2);
    assert_int_equal(get(FR) & (TXFE | TXFF), TXFE);
    struct bus_access a = {.size = 1, .value = '!', .write = true};
    assert_int_equal(bus_access(&vm.bus, gpa(BASE), &a), 0);
    assert_int_equal(console->ring[2], '!');
}

static void the_transmit_interrupt_comes_when_it_is_enabled_after_a_byte(void **state) {
    (void)state;
    start();
    assert_int_equal(get(RIS) & INT_TX, 0);
    put(DR, 'a');
    assert_false(line);
    put(IMSC, INT_TX);
    assert_true(line);
    assert_int_equal(get(MIS), INT_TX);
    put(IMSC, 0);
    assert_false(line);
}

static void a_cleared_transmit_interrupt_comes_back_with_the_next_byte(void **state) {
    (void)state;
    start();
    put(IMSC, INT_TX);
    put(DR, 'a');
    assert_true(line);
    put(ICR, INT_TX);
    assert_false(line);
    put(DR, 'b');
    assert_true(line);
}

static void typed_bytes_are_read_in_order(void **state) {
    (void)state;
    start();
    assert_int_equal(type("abc"), 3);
    assert_int_equal(get(FR) & RXFE, 0);
    assert_int_equal(get(DR), 'a');
    assert_int_equal(get(DR), 'b');
    assert_int_equal(get(DR), 'c');
    assert_int_equal(get(FR) & RXFE, RXFE);
    assert_int_equal(get(DR), 0);
}

static void a_short_line_raises_the_time_out_and_reading_it_ends_it(void **state) {
    (void)state;
    start();
    put(IMSC, INT_RX | INT_RT);
    type("ab");
    assert_int_equal(get(MIS), INT_RT);
    assert_true(line);
    get(DR);
    assert_true(line);
    get(DR);
    assert_false(line);
    assert_int_equal(get(RIS), 0);
}

static void the_receive_interrupt_follows_the_trigger_level(void **state) {
    (void)state;
    static const u32 levels[] = {4, 8, 16, 24, 28};
    for (u32 l = 0; l < ARRAY_SIZE(levels); l++) {
        bus_reset(&vm.bus);
        start();
        put(IFLS, l << 3);
        put(IMSC, INT_RX | INT_RT);
        for (u32 i = 1; i <= 32; i++) {
            type("x");
            assert_int_equal(get(RIS) & INT_RX, i >= levels[l] ? INT_RX : 0);
        }
        for (u32 i = 31; i < 32; i--) {
            get(DR);
            assert_int_equal(get(RIS) & INT_RX, i >= levels[l] ? INT_RX : 0);
        }
    }
}

static void without_the_time_out_the_first_byte_interrupts(void **state) {
    (void)state;
    start();
    put(IMSC, INT_RX);
    type("ab");
    assert_true(line);
    get(DR);
    assert_true(line); // a handler that takes one byte at a time gets the other as well
    get(DR);
    assert_false(line);
}

static void bytes_that_waited_interrupt_when_that_is_enabled(void **state) {
    (void)state;
    start();
    type("a");
    assert_false(line);
    put(IMSC, INT_RX);
    assert_true(line);
}

static void a_full_fifo_refuses_and_asks_again_when_there_is_room(void **state) {
    (void)state;
    start();
    assert_int_equal(type("0123456789012345678901234567890123456789"), 32);
    assert_int_equal(get(FR) & RXFF, RXFF);
    assert_int_equal(type("x"), 0);
    for (u32 i = 0; i < 32; i++)
        assert_int_equal(get(DR), '0' + i % 10);
    assert_true(asked());
    assert_int_equal(get(RIS) & INT_OE, 0);
    assert_int_equal(type("x"), 1);
}

static void without_the_fifo_one_byte_waits(void **state) {
    (void)state;
    put(CR, CR_ON);
    put(IMSC, INT_RX | INT_RT);
    assert_int_equal(type("ab"), 1);
    assert_int_equal(get(FR) & RXFF, RXFF);
    assert_true(get(RIS) & INT_RX);
    assert_int_equal(get(DR), 'a');
    assert_true(asked());
    assert_int_equal(type("b"), 1);
}

static void a_receiver_that_is_off_takes_nothing_until_it_is_on(void **state) {
    (void)state;
    put(CR, 0x101);
    assert_int_equal(type("a"), 0);
    assert_false(asked());
    put(CR, CR_ON);
    assert_true(asked());
    assert_int_equal(type("a"), 1);
}

static void loopback_returns_what_is_sent_and_overruns(void **state) {
    (void)state;
    start();
    put(CR, CR_LOOPBACK);
    assert_int_equal(type("x"), 0);
    for (u32 i = 0; i < 33; i++)
        put(DR, i);
    assert_int_equal(console->head, 0);
    assert_true(get(RIS) & INT_OE);
    assert_int_equal(get(RSR), BIT(3));
    assert_int_equal(get(DR), BIT(11) | 0);
    put(RSR, 0);
    for (u32 i = 1; i < 32; i++)
        assert_int_equal(get(DR), i);
    put(ICR, INT_OE);
    assert_int_equal(get(RIS) & INT_OE, 0);
    put(CR, CR_LOOPBACK | BIT(11)); // RTS comes back as CTS
    assert_int_equal(get(FR) & 7, 1);
}

static void any_access_anywhere_is_survived(void **state) {
    (void)state;
    u64 rng = 1;
    for (u32 i = 0; i < 100000; i++) {
        rng = rng * 6364136223846793005u + 1442695040888963407u;
        u8 size = (u8)(1u << (rng >> 60 & 3));
        u32 offset = (u32)(rng >> 32) & (rng >> 59 & 1 ? 0xfff : 0x4f) & ~(size - 1u);
        struct bus_access a = {.size = size, .value = rng >> 20, .write = rng >> 58 & 1};
        assert_int_equal(bus_access(&vm.bus, gpa(BASE + offset), &a), 0);
        if ((rng >> 50 & 7) == 0)
            type("hello");
        assert_int_equal(line, (get(RIS) & get(IMSC)) != 0);
        assert_int_equal(get(MIS), get(RIS) & get(IMSC));
    }
    assert_int_equal(read_sized(FR, 8), 0);
    assert_int_equal(read_sized(2, 1), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(identifies_itself_as_a_pl011_r1p5, setup, teardown),
        cmocka_unit_test_setup_teardown(comes_out_of_reset_as_the_manual_says, setup, teardown),
        cmocka_unit_test_setup_teardown(what_the_guest_writes_is_printed_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(the_transmit_interrupt_comes_when_it_is_enabled_after_a_byte, setup, teardown),
        cmocka_unit_test_setup_teardown(a_cleared_transmit_interrupt_comes_back_with_the_next_byte, setup, teardown),
        cmocka_unit_test_setup_teardown(typed_bytes_are_read_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(a_short_line_raises_the_time_out_and_reading_it_ends_it, setup, teardown),
        cmocka_unit_test_setup_teardown(the_receive_interrupt_follows_the_trigger_level, setup, teardown),
        cmocka_unit_test_setup_teardown(without_the_time_out_the_first_byte_interrupts, setup, teardown),
        cmocka_unit_test_setup_teardown(bytes_that_waited_interrupt_when_that_is_enabled, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_fifo_refuses_and_asks_again_when_there_is_room, setup, teardown),
        cmocka_unit_test_setup_teardown(without_the_fifo_one_byte_waits, setup, teardown),
        cmocka_unit_test_setup_teardown(a_receiver_that_is_off_takes_nothing_until_it_is_on, setup, teardown),
        cmocka_unit_test_setup_teardown(loopback_returns_what_is_sent_and_overruns, setup, teardown),
        cmocka_unit_test_setup_teardown(any_access_anywhere_is_survived, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
