// SPDX-License-Identifier: Apache-2.0
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "../../core/console_state.h"
#include "v16550.h"

#define CHECK assert_true
#include "../one_device.h"

enum { DATA, IER, IIR, LCR, MCR, LSR, MSR, SCR, FCR = IIR };
enum { BASE = 0x10000000, IRQ = 10 };
enum { RDI = 1, THRI = 2, RLSI = 4, MSI = 8, DLAB = 0x80, LOOP = 0x10 };
enum { DR = 1, OE = 2, EMPTY = 0x60 };
enum { FIFOS = 0xc0, NONE = 1, IS_MSI = 0, IS_THRI = 2, IS_RDI = 4, IS_RLSI = 6, IS_TIMEOUT = 0xc };

static struct console *console;
static bool asked(void) {
    return atomic_exchange(&console->input_ready, false);
}

static int setup(void **state) {
    (void)state;
    one_device_vm(BASE, IRQ);
    console_init(host_board());
    vm.console = console = console_create("uart");
    const int err = v16550_create(&vm, &vm.bus, gpa(BASE), V16550_SIZE, IRQ);
    asked();
    return err;
}

static int teardown(void **state) {
    (void)state;
    v16550_destroy(&vm);
    const bool left = console->input || vm.bus.count;
    console_destroy(console);
    return left;
}

static u64 read_sized(u32 offset, u8 size) {
    return device_access(offset, size, false, ~0ull);
}

static u32 get(u32 offset) {
    return (u32)read_sized(offset, 1);
}

static void put(u32 offset, u64 value) {
    device_access(offset, 1, true, value);
}

static u32 type(const char *text) {
    return console->input(console->input_ctx, text, (u32)strlen(text));
}

static void start(u32 trigger) {
    put(FCR, 1 | trigger << 6);
    put(LCR, 3);
    put(MCR, 0xb);
}

// ── Tests ───────────────────────────────────────────────────────────────────────────────────────────────────────────

static void comes_out_of_reset_quiet_and_empty(void **state) {
    (void)state;
    start(3);
    put(IER, 0xf);
    put(SCR, 0x5a);
    type("x");
    bus_reset(&vm.bus);
    assert_false(line);
    static const u8 after[] = {
        [DATA] = 0, [IER] = 0, [IIR] = NONE, [LCR] = 0, [MCR] = 0, [LSR] = EMPTY, [MSR] = 0xb0, [SCR] = 0};
    for (u32 i = 0; i < ARRAY_SIZE(after); i++)
        assert_int_equal(get(i), after[i]);
}

static void what_is_sent_is_on_the_console(void **state) {
    (void)state;
    start(0);
    for (const char *c = "hello"; *c; c++) {
        assert_int_equal(get(LSR) & 0x20, 0x20);
        put(DATA, (u8)*c);
    }
    assert_memory_equal(console->ring, "hello", 5);
}

static void the_divisor_is_kept_apart_from_the_data(void **state) {
    (void)state;
    start(0);
    put(IER, RDI);
    put(LCR, DLAB | 3);
    put(DATA, 0x34);
    put(IER, 0x12);
    assert_int_equal(get(DATA), 0x34);
    assert_int_equal(get(IER), 0x12);
    put(LCR, 3);
    assert_int_equal(get(IER), RDI);
    assert_int_equal(console->ring[0], 0);
}

static void the_scratch_register_tells_that_there_is_a_uart(void **state) {
    (void)state;
    put(SCR, 0x5a);
    assert_int_equal(get(SCR), 0x5a);
    put(IER, 0xff);
    assert_int_equal(get(IER), 0xf);
}

static void typed_bytes_come_in_order_and_interrupt(void **state) {
    (void)state;
    start(0);
    put(IER, RDI);
    assert_int_equal(type("ab"), 2);
    assert_true(line);
    assert_int_equal(get(IIR), FIFOS | IS_RDI);
    assert_int_equal(get(LSR), EMPTY | DR);
    assert_int_equal(get(DATA), 'a');
    assert_true(line);
    assert_int_equal(get(DATA), 'b');
    assert_false(line);
    assert_int_equal(get(IIR), FIFOS | NONE);
    assert_int_equal(get(LSR), EMPTY);
    assert_int_equal(get(DATA), 0);
}

static void below_the_trigger_level_it_is_the_timeout(void **state) {
    (void)state;
    static const u32 triggers[] = {1, 4, 8, 14};
    for (u32 t = 0; t < 4; t++) {
        start(t);
        put(IER, RDI);
        for (u32 n = 1; n <= 16; n++) {
            assert_int_equal(type("x"), 1);
            assert_int_equal(get(IIR), FIFOS | (n >= triggers[t] ? IS_RDI : IS_TIMEOUT));
        }
        put(FCR, 3 | t << 6);
        assert_int_equal(get(LSR), EMPTY);
        assert_false(line);
    }
}

static void a_full_fifo_refuses_and_asks_again_when_half_empty(void **state) {
    (void)state;
    start(0);
    assert_int_equal(type("0123456789abcdefXYZ"), 16);
    for (u32 i = 0; i < 7; i++)
        (void)get(DATA);
    assert_false(asked());
    (void)get(DATA);
    assert_true(asked());
    (void)get(DATA);
    assert_false(asked());
    assert_int_equal(get(LSR), EMPTY | DR);
}

static void without_fifos_one_byte_has_room(void **state) {
    (void)state;
    put(LCR, 3);
    put(IER, RDI);
    assert_int_equal(type("ab"), 1);
    assert_int_equal(get(IIR), IS_RDI);
    assert_int_equal(get(DATA), 'a');
    assert_true(asked());
    assert_int_equal(type("b"), 1);
    assert_int_equal(get(DATA), 'b');
}

static void switching_the_fifos_empties_them(void **state) {
    (void)state;
    start(0);
    type("abc");
    put(FCR, 0);
    assert_int_equal(get(LSR), EMPTY);
    assert_int_equal(get(IIR), NONE);
    type("d");
    put(FCR, 1);
    assert_int_equal(get(LSR), EMPTY);
}

static void the_transmitter_interrupts_when_enabled_and_after_each_byte(void **state) {
    (void)state;
    start(0);
    put(IER, THRI);
    assert_true(line);
    assert_int_equal(get(IIR), FIFOS | IS_THRI);
    assert_false(line);
    assert_int_equal(get(IIR), FIFOS | NONE);
    put(DATA, 'x');
    assert_true(line);
    put(DATA, 'y');
    assert_true(line);
    put(IER, 0);
    assert_false(line);
    put(IER, THRI);
    assert_true(line);
    put(IER, THRI);
    assert_int_equal(get(IIR), FIFOS | IS_THRI);
    put(IER, THRI); // no news
    assert_int_equal(get(IIR), FIFOS | NONE);
    assert_memory_equal(console->ring, "xy", 2);
}

// Linux: serial8250_do_startup()
static void linux_finds_neither_of_the_transmitter_bugs(void **state) {
    (void)state;
    start(0);
    put(IER, THRI);
    const u32 first = get(IIR);
    put(IER, 0);
    put(IER, THRI);
    const u32 second = get(IIR);
    put(IER, 0);
    assert_false(!(first & NONE) && (second & NONE)); // UART_BUG_THRE
    put(IER, THRI);
    const u32 lsr = get(LSR), iir = get(IIR);
    put(IER, 0);
    assert_false((lsr & 0x40) && (iir & NONE)); // UART_BUG_TXEN
}

// Linux: autoconfig()
static void linux_takes_it_for_a_16550A(void **state) {
    (void)state;
    put(IER, 0);
    assert_int_equal(get(IER) & 0xf, 0);
    put(IER, 0xf);
    assert_int_equal(get(IER) & 0xf, 0xf);
    put(IER, 0);
    put(MCR, LOOP | 0xa);
    assert_int_equal(get(MSR) & 0xf0, 0x90);
    put(MCR, 0);
    put(FCR, 1);
    assert_int_equal(get(IIR) >> 6, 3);
    put(LCR, DLAB);
    assert_int_not_equal(get(IIR), 0); // no enhanced features register there
    put(LCR, 0);
    put(FCR, 0x21);
    assert_int_equal(get(IIR) >> 5, 6); // no FIFOs of 64 bytes
    put(IER, 0x40);
    assert_int_equal(get(IER), 0); // no UUE bit
}

static void loopback_sends_to_oneself_and_crosses_the_modem_lines(void **state) {
    (void)state;
    start(0);
    (void)get(MSR);
    put(MCR, LOOP);
    assert_int_equal(get(MSR), 0x0b);
    put(MCR, LOOP | 1);
    assert_int_equal(get(MSR), 0x22);
    put(MCR, LOOP | 4);
    assert_int_equal(get(MSR), 0x42); // DSR has gone; RI says so when it goes
    put(MCR, LOOP);
    assert_int_equal(get(MSR), 0x04);
    put(DATA, 'q');
    assert_int_equal(console->ring[0], 0);
    assert_int_equal(get(LSR), EMPTY | DR);
    assert_int_equal(get(DATA), 'q');
    assert_int_equal(type("z"), 0);
    put(MCR, 0xb);
    assert_true(asked());
    assert_int_equal(type("z"), 1);
}

static void an_overrun_is_told_once(void **state) {
    (void)state;
    start(0);
    put(IER, RLSI);
    put(MCR, LOOP);
    for (u32 i = 0; i < 17; i++)
        put(DATA, 'a' + i);
    assert_true(line);
    assert_int_equal(get(IIR), FIFOS | IS_RLSI);
    assert_int_equal(get(LSR), EMPTY | DR | OE);
    assert_false(line);
    assert_int_equal(get(LSR), EMPTY | DR);
    for (u32 i = 0; i < 16; i++)
        assert_int_equal(get(DATA), 'a' + i);
}

static void a_change_of_a_modem_line_interrupts(void **state) {
    (void)state;
    start(0);
    (void)get(MSR);
    put(IER, MSI);
    assert_false(line);
    put(MCR, LOOP);
    assert_true(line);
    assert_int_equal(get(IIR), FIFOS | IS_MSI);
    (void)get(MSR);
    assert_false(line);
}

static void the_more_urgent_interrupt_is_named_first(void **state) {
    (void)state;
    start(0);
    put(MCR, LOOP);
    put(IER, 0xf);
    for (u32 i = 0; i < 17; i++)
        put(DATA, 'a');
    assert_int_equal(get(IIR), FIFOS | IS_RLSI);
    (void)get(LSR);
    assert_int_equal(get(IIR), FIFOS | IS_RDI);
    put(FCR, 3);
    assert_int_equal(get(IIR), FIFOS | IS_THRI);
    assert_int_equal(get(IIR), FIFOS | IS_MSI);
    (void)get(MSR);
    assert_int_equal(get(IIR), FIFOS | NONE);
    assert_false(line);
}

static void any_access_is_borne(void **state) {
    (void)state;
    for (u32 round = 0; round < 3; round++)
        for (u32 offset = 0; offset < V16550_SIZE; offset++)
            for (u8 size = 1; size <= 8; size *= 2) {
                if (offset % size)
                    continue;
                struct bus_access a = {.size = size, .value = 0xa5a5a5a5a5a5a5a5ull >> round, .write = true};
                assert_int_equal(bus_access(&vm.bus, gpa(BASE + offset), &a), 0);
                assert_in_range(read_sized(offset, size), 0, 255);
                type("abcdefgh");
            }
    for (u32 offset = 8; offset < V16550_SIZE; offset++)
        assert_int_equal(get(offset), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static void what_firmware_takes_is_gone_for_the_guest_and_makes_room(void **state) {
    (void)state;
    char bytes[4];
    assert_int_equal(v16550_take(&vm, bytes, 4), 0);
    start(0);
    put(IER, RDI);
    assert_int_equal(type("0123456789abcdefgh"), V16550_FIFO);
    assert_true(line);
    assert_int_equal(v16550_take(&vm, bytes, 4), 4);
    assert_memory_equal(bytes, "0123", 4);
    assert_int_equal(get(DATA), '4');
    assert_false(asked());
    for (u32 i = 0; i < 3; i++)
        v16550_take(&vm, bytes, 4);
    assert_true(asked());
    assert_false(line);
    assert_int_equal(get(LSR) & DR, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(comes_out_of_reset_quiet_and_empty),
        TEST(what_is_sent_is_on_the_console),
        TEST(the_divisor_is_kept_apart_from_the_data),
        TEST(the_scratch_register_tells_that_there_is_a_uart),
        TEST(typed_bytes_come_in_order_and_interrupt),
        TEST(what_firmware_takes_is_gone_for_the_guest_and_makes_room),
        TEST(below_the_trigger_level_it_is_the_timeout),
        TEST(a_full_fifo_refuses_and_asks_again_when_half_empty),
        TEST(without_fifos_one_byte_has_room),
        TEST(switching_the_fifos_empties_them),
        TEST(the_transmitter_interrupts_when_enabled_and_after_each_byte),
        TEST(linux_finds_neither_of_the_transmitter_bugs),
        TEST(linux_takes_it_for_a_16550A),
        TEST(loopback_sends_to_oneself_and_crosses_the_modem_lines),
        TEST(an_overrun_is_told_once),
        TEST(a_change_of_a_modem_line_interrupts),
        TEST(the_more_urgent_interrupt_is_named_first),
        TEST(any_access_is_borne),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
