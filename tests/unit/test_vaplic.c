// SPDX-License-Identifier: Apache-2.0
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "../bare_vm.h"
#include "vaplic.h"
#include "vm.h"

enum { BASE = 0xd000000, UART = 10, LAST = VAPLIC_SOURCES };
enum { DOMAINCFG = 0, SETIP = 0x1c00, SETIPNUM = 0x1cdc, CLRIP = 0x1d00, CLRIPNUM = 0x1ddc, SETIE = 0x1e00 };
enum { SETIENUM = 0x1edc, CLRIE = 0x1f00, CLRIENUM = 0x1fdc, SETIPNUM_LE = 0x2000, GENMSI = 0x3000, IE = 0x100 };
enum { RISE = 4, FALL = 5, HIGH = 6, LOW = 7 };

static struct vm vm;
static struct vaplic *aplic;
static u32 sent, last_hart, last_identity;

static void send(struct vm *to, u32 hart, u32 identity) {
    assert_ptr_equal(to, &vm);
    sent++;
    last_hart = hart;
    last_identity = identity;
}

static int setup(void **state) {
    (void)state;
    bare_vm(&vm, NULL, 0);
    sent = 0;
    aplic = vaplic_create(&vm, gpa(BASE), send);
    return aplic == NULL;
}

static int teardown(void **state) {
    (void)state;
    vaplic_destroy(aplic);
    return vm.bus.count != 0;
}

static u32 get(u32 offset) {
    struct bus_access a = {.size = 4};
    assert_int_equal(bus_access(&vm.bus, gpa(BASE + offset), &a), 0);
    return (u32)a.value;
}

static void put(u32 offset, u32 value) {
    struct bus_access a = {.size = 4, .write = true, .value = value};
    assert_int_equal(bus_access(&vm.bus, gpa(BASE + offset), &a), 0);
}

static void use(u32 source, u32 mode, u32 hart, u32 identity) {
    put(4 * source, mode);
    put(GENMSI + 4 * source, hart << 18 | identity);
    put(SETIENUM, source);
    put(DOMAINCFG, IE);
}

static void a_rising_level_sends_one_message_to_its_target(void **state) {
    (void)state;
    use(UART, HIGH, 3, 77);
    vaplic_set(aplic, UART, true);
    vaplic_set(aplic, UART, true);
    assert_int_equal(sent, 1);
    assert_int_equal(last_hart, 3);
    assert_int_equal(last_identity, 77);
    vaplic_set(aplic, UART, false);
    vaplic_set(aplic, UART, true);
    assert_int_equal(sent, 2);
}

static void a_level_that_is_still_up_is_sent_again_when_asked(void **state) {
    (void)state;
    use(UART, HIGH, 0, 5);
    vaplic_set(aplic, UART, true);
    put(SETIPNUM, UART);
    assert_int_equal(sent, 2);
    vaplic_set(aplic, UART, false);
    put(SETIPNUM_LE, UART);
    assert_int_equal(sent, 2);
}

static void what_comes_while_disabled_is_sent_once_enabled_or_forgotten_with_its_level(void **state) {
    (void)state;
    use(UART, HIGH, 0, 5);
    put(CLRIENUM, UART);
    vaplic_set(aplic, UART, true);
    assert_int_equal(sent, 0);
    assert_int_equal(get(SETIP), BIT(UART));
    vaplic_set(aplic, UART, false);
    assert_int_equal(get(SETIP), 0);
    vaplic_set(aplic, UART, true);
    put(SETIE, BIT(UART));
    assert_int_equal(sent, 1);
}

static void nothing_is_sent_before_the_domain_delivers(void **state) {
    (void)state;
    use(UART, RISE, 1, 9);
    put(DOMAINCFG, 0);
    vaplic_set(aplic, UART, true);
    vaplic_set(aplic, UART, false);
    assert_int_equal(sent, 0);
    put(DOMAINCFG, IE);
    assert_int_equal(sent, 1);
}

static void falling_edges_and_low_levels_are_the_other_way_round(void **state) {
    (void)state;
    vaplic_set(aplic, UART, true);
    use(UART, FALL, 0, 1);
    vaplic_set(aplic, UART, false);
    assert_int_equal(sent, 1);
    vaplic_set(aplic, LAST, true);
    use(LAST, LOW, 0, 2);
    assert_int_equal(get(CLRIP + 8) >> 31, 0);
    vaplic_set(aplic, LAST, false);
    assert_int_equal(get(CLRIP + 8) >> 31, 1);
    assert_int_equal(sent, 2);
    assert_int_equal(last_identity, 2);
}

static void a_source_of_another_mode_has_the_input_of_that_mode(void **state) {
    (void)state;
    use(UART, RISE, 0, 5);
    put(CLRIENUM, UART);
    vaplic_set(aplic, UART, true);
    vaplic_set(aplic, UART, false);
    put(4 * UART, FALL); // the edge that came stays pending
    assert_int_equal(get(SETIP), BIT(UART));
    assert_int_equal(get(CLRIP), BIT(UART));
    put(4 * UART, HIGH); // a level that is down is never pending
    assert_int_equal(get(SETIP), 0);
    assert_int_equal(get(CLRIP), 0);
    put(4 * UART, LOW);
    assert_int_equal(get(SETIP), BIT(UART));
}

static void an_edge_that_was_sent_is_an_interrupt_again_as_a_level(void **state) {
    (void)state;
    use(UART, RISE, 0, 5);
    vaplic_set(aplic, UART, true);
    assert_int_equal(sent, 1);
    put(4 * UART, RISE);
    assert_int_equal(sent, 1);
    put(4 * UART, HIGH); // up from the start: no rise would ever come
    assert_int_equal(sent, 2);
    put(4 * UART, HIGH);
    put(4 * UART, RISE); // no edge
    assert_int_equal(sent, 2);
}

static void an_inactive_source_has_no_bits(void **state) {
    (void)state;
    use(UART, RISE, 2, 9);
    put(4 * UART, 0);
    put(SETIENUM, UART);
    put(SETIPNUM, UART);
    vaplic_set(aplic, UART, true);
    assert_int_equal(sent, 0);
    assert_int_equal(get(SETIE), 0);
    assert_int_equal(get(GENMSI + 4 * UART), 0);
    put(4 * UART, BIT(10) | 3); // delegated to nobody
    assert_int_equal(get(4 * UART), 0);
}

static void genmsi_sends_what_it_says(void **state) {
    (void)state;
    put(GENMSI, 2 << 18 | 33);
    assert_int_equal(sent, 1);
    assert_int_equal(last_hart, 2);
    assert_int_equal(last_identity, 33);
}

static void sources_that_do_not_exist_are_ignored(void **state) {
    (void)state;
    static const u32 registers[] = {SETIPNUM, CLRIPNUM, SETIENUM, CLRIENUM, SETIPNUM_LE};
    for (size_t i = 0; i < ARRAY_SIZE(registers); i++) {
        put(registers[i], 0);
        put(registers[i], LAST + 1);
        put(registers[i], ~0u);
    }
    vaplic_set(aplic, 0, true);
    vaplic_set(aplic, LAST + 1, true);
    assert_int_equal(sent, 0);
}

static void every_register_bears_any_value(void **state) {
    (void)state;
    for (u32 at = 0; at < VAPLIC_SIZE; at += 4) {
        put(at, ~0u);
        (void)get(at);
        put(at, 0x12345678);
    }
    struct bus_access a = {.size = 8};
    assert_int_not_equal(bus_access(&vm.bus, gpa(BASE), &a), 0);
}

static void a_reset_forgets_all_but_the_wires(void **state) {
    (void)state;
    use(UART, HIGH, 0, 5);
    vaplic_set(aplic, UART, true);
    bus_reset(&vm.bus);
    assert_int_equal(get(SETIE), 0);
    assert_int_equal(get(DOMAINCFG) & IE, 0);
    use(UART, HIGH, 0, 6); // the wire is up: the mode makes it a rise
    assert_int_equal(sent, 2);
    assert_int_equal(last_identity, 6);
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(a_rising_level_sends_one_message_to_its_target),
        T(a_level_that_is_still_up_is_sent_again_when_asked),
        T(what_comes_while_disabled_is_sent_once_enabled_or_forgotten_with_its_level),
        T(nothing_is_sent_before_the_domain_delivers),
        T(falling_edges_and_low_levels_are_the_other_way_round),
        T(a_source_of_another_mode_has_the_input_of_that_mode),
        T(an_edge_that_was_sent_is_an_interrupt_again_as_a_level),
        T(an_inactive_source_has_no_bits),
        T(genmsi_sends_what_it_says),
        T(sources_that_do_not_exist_are_ignored),
        T(every_register_bears_any_value),
        T(a_reset_forgets_all_but_the_wires),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
