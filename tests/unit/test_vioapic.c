// SPDX-License-Identifier: Apache-2.0
#include "apic_machine.h"

// ── The IOAPIC ──────────────────────────────────────────────────────────────────────────────────────────────────────
static u32 io_get(u32 reg) {
    struct bus_access select = {.vcpu = &vcpus[0], .size = 4, .value = reg, .write = true};
    struct bus_access window = {.vcpu = &vcpus[0], .size = 4};
    assert_int_equal(bus_access(&vm.bus, gpa(VIOAPIC_BASE), &select), 0);
    assert_int_equal(bus_access(&vm.bus, gpa(VIOAPIC_BASE + 0x10), &window), 0);
    return (u32)window.value;
}

static void io_put(u32 reg, u32 value) {
    struct bus_access select = {.vcpu = &vcpus[0], .size = 4, .value = reg, .write = true};
    struct bus_access window = {.vcpu = &vcpus[0], .size = 4, .value = value, .write = true};
    assert_int_equal(bus_access(&vm.bus, gpa(VIOAPIC_BASE), &select), 0);
    assert_int_equal(bus_access(&vm.bus, gpa(VIOAPIC_BASE + 0x10), &window), 0);
}

enum { IO_LEVEL = 1 << 15, IO_REMOTE_IRR = 1 << 14, PIN = 4 };

static void route(u32 pin, u32 low, u32 dest) {
    io_put(0x11 + 2 * pin, dest << 24);
    io_put(0x10 + 2 * pin, low);
}

static void the_ioapic_has_its_registers(void **state) {
    (void)state;
    assert_int_equal(io_get(1), 0x00170020);
    assert_int_equal(io_get(0), 0);
    io_put(0, 0xffffffff);
    assert_int_equal(io_get(0), 0x0f000000);
    for (u32 pin = 0; pin < 24; pin++) {
        assert_int_equal(io_get(0x10 + 2 * pin), MASKED);
        io_put(0x10 + 2 * pin, 0xffffffff);
        io_put(0x11 + 2 * pin, 0xffffffff);
        assert_int_equal(io_get(0x10 + 2 * pin), 0x1afff);
        assert_int_equal(io_get(0x11 + 2 * pin), 0xff000000);
    }
    for (u32 reg = 0x40; reg < 0x100; reg++) {
        io_put(reg, 0xffffffff);
        assert_int_equal(io_get(reg), 0);
    }
}

static void an_edge_is_an_interrupt(void **state) {
    (void)state;
    route(PIN, 0x44, 1);
    irqchip_set(&vm, PIN, true);
    assert_int_equal(kicks[1], 1);
    take(1, 0x44);
    irqchip_set(&vm, PIN, true);
    put_by(1, EOI, 0);
    assert_int_equal(next(1), -1);
    irqchip_set(&vm, PIN, false);
    irqchip_set(&vm, PIN, true);
    take(1, 0x44);
    irqchip_set(&vm, 24, true); // no such pin
}

static void an_edge_waits_behind_a_mask_while_the_line_is_up(void **state) {
    (void)state;
    route(PIN, MASKED | 0x44, 1);
    irqchip_set(&vm, PIN, true);
    assert_int_equal(next(1), -1);
    io_put(0x10 + 2 * PIN, 0x44);
    take(1, 0x44);
    put_by(1, EOI, 0);
    irqchip_set(&vm, PIN, false);
    io_put(0x10 + 2 * PIN, MASKED | 0x44);
    irqchip_set(&vm, PIN, true);
    irqchip_set(&vm, PIN, false);
    io_put(0x10 + 2 * PIN, 0x44);
    assert_int_equal(next(1), -1);
}

static void a_level_comes_again_after_its_end(void **state) {
    (void)state;
    route(PIN, IO_LEVEL | 0x55, 2);
    irqchip_set(&vm, PIN, true);
    assert_int_equal(io_get(0x10 + 2 * PIN), IO_LEVEL | IO_REMOTE_IRR | 0x55);
    take(2, 0x55);
    assert_int_equal(get_by(2, TMR + 0x20), 1 << 0x15);
    assert_false(vlapic_eoi(lapic(2))); // for the core
    assert_int_equal(get_by(2, ISR + 0x20), 1 << 0x15);
    put_by(2, EOI, 0);
    take(2, 0x55);
    irqchip_set(&vm, PIN, false);
    put_by(2, EOI, 0);
    assert_int_equal(next(2), -1);
    assert_int_equal(io_get(0x10 + 2 * PIN), IO_LEVEL | 0x55);
    irqchip_set(&vm, PIN, true);
    take(2, 0x55);
    irqchip_set(&vm, PIN, false);
    struct bus_access eoi = {.vcpu = &vcpus[0], .size = 4, .value = 0x55, .write = true};
    assert_int_equal(bus_access(&vm.bus, gpa(VIOAPIC_BASE + 0x40), &eoi), 0); // by hand
    assert_int_equal(io_get(0x10 + 2 * PIN), IO_LEVEL | 0x55);
}

// 82093AA, 3.2.4: the remote IRR is set when a local APIC accepts the interrupt. One that nobody has accepted has
// nobody who would end it.
static void a_level_that_nobody_takes_is_not_in_service(void **state) {
    (void)state;
    route(PIN, IO_LEVEL | 0x55, 9); // no such APIC
    irqchip_set(&vm, PIN, true);
    assert_int_equal(io_get(0x10 + 2 * PIN), IO_LEVEL | 0x55);
    put_by(3, SVR, 0xff); // off
    route(PIN, IO_LEVEL | 0x55, 3);
    assert_int_equal(io_get(0x10 + 2 * PIN), IO_LEVEL | 0x55);
    route(PIN, IO_LEVEL | 0x5, 2); // no vector
    assert_int_equal(io_get(0x10 + 2 * PIN), IO_LEVEL | 0x5);
    route(PIN, IO_LEVEL | 0x55, 2);
    assert_int_equal(io_get(0x10 + 2 * PIN), IO_LEVEL | IO_REMOTE_IRR | 0x55);
    take(2, 0x55);
}

static void an_edge_vector_takes_the_level_mark_off(void **state) {
    (void)state;
    route(PIN, IO_LEVEL | 0x55, 2);
    irqchip_set(&vm, PIN, true);
    take(2, 0x55);
    irqchip_set(&vm, PIN, false);
    put_by(2, EOI, 0);
    send(0, 2, 0x55);
    take(2, 0x55);
    assert_int_equal(get_by(2, TMR + 0x20), 0);
    assert_true(vlapic_eoi(lapic(2)));
}

static void a_pin_may_send_nmis_and_to_sets(void **state) {
    (void)state;
    for (u32 n = 0; n < VCPUS; n++)
        put_by(n, LDR, 1u << (24 + n));
    route(PIN, LOGICAL | 0x46, 0x6);
    irqchip_set(&vm, PIN, true);
    assert_int_equal(reached(0x46), 0x6);
    route(5, NMI, 3);
    irqchip_set(&vm, 5, true);
    assert_true(vlapic_take_nmi(lapic(3)));
    route(6, INIT, 3); // and nothing else
    irqchip_set(&vm, 6, true);
    assert_int_equal(stopped, 0);
}

static void what_is_going_on_can_be_described(void **state) {
    (void)state;
    char text[256], tiny[8];
    route(PIN, IO_LEVEL | 0x55, 2);
    irqchip_set(&vm, PIN, true);
    assert_true(vlapic_ops.describe(&vm, text, sizeof(text)) > 0);
    assert_non_null(strstr(text, "vCPU 2: in service 0, requested 0x55"));
    assert_non_null(strstr(text, "pin 4: vector 0x55 to 0x2 level in service high"));
    assert_int_equal(vlapic_ops.describe(&vm, tiny, sizeof(tiny)), sizeof(tiny));
    assert_int_equal(vlapic_ops.describe(&vm, tiny, 0), 0);
}

static void an_ipi_exit_is_an_icr(void **state) {
    (void)state;
    const struct vexit e = {.kind = VEXIT_SEND_IPI, .value = 1ull << 32 | 0x71};
    vlapic_ops.ipi(&vcpus[0], &e);
    take(1, 0x71);
}

int main(void) {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(the_ioapic_has_its_registers),
        T(an_edge_is_an_interrupt),
        T(an_edge_waits_behind_a_mask_while_the_line_is_up),
        T(a_level_comes_again_after_its_end),
        T(a_level_that_nobody_takes_is_not_in_service),
        T(an_edge_vector_takes_the_level_mark_off),
        T(a_pin_may_send_nmis_and_to_sets),
        T(what_is_going_on_can_be_described),
        T(an_ipi_exit_is_an_icr),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
