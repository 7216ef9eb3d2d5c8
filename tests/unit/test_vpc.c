// SPDX-License-Identifier: Apache-2.0
// The small devices of a PC: clock, timers, reset.
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "../bare_vm.h"
#include "cpu.h"
#include "pc_map.h"
#include "vm.h"
#include "vpc.h"
#include "wallclock.h"

enum { NEW_YEAR_2026 = 1767225600, UNTOUCHED = 0x55 };
#define SECOND (1000ull * 1000 * 1000)

static bool line[24];
static u32 edges[24];
static u32 vm_stops;
static enum vm_stop vm_stop_cause;
static struct vm vm;

bool vm_stop(struct vm *of, enum vm_stop cause, const char *reason, ...) {
    assert_ptr_equal(of, &vm);
    assert_non_null(reason);
    vm_stop_cause = cause;
    vm_stops++;
    return true;
}

static void irq_set(struct vm *of, u32 irq, bool level) {
    (void)of;
    assert_in_range(irq, 0, 23);
    edges[irq] += level && !line[irq];
    line[irq] = level;
}

static const struct irqchip_ops irqchip = {.set = irq_set};

static int setup(void **state) {
    (void)state;
    bare_vm(&vm, NULL, 0);
    smp_init(host_board(), 0);
    vm.irqchip_ops = &irqchip;
    memset(line, 0, sizeof(line));
    memset(edges, 0, sizeof(edges));
    vm_stops = 0;
    wallclock_set(NEW_YEAR_2026);
    int err = vpit_create(&vm);
    if (!err)
        err = vcmos_create(&vm);
    if (!err)
        err = vacpi_pm_create(&vm);
    if (!err)
        err = vkbc_create(&vm);
    if (!err)
        err = vreset_create(&vm);
    memset(edges, 0, sizeof(edges));
    return err;
}

static int teardown(void **state) {
    (void)state;
    vreset_destroy(&vm);
    vkbc_destroy(&vm);
    vacpi_pm_destroy(&vm);
    vcmos_destroy(&vm);
    vpit_destroy(&vm);
    vpit_destroy(&vm); // fine without it
    return vm.ports.count != 0;
}

static u64 in(u32 port, u8 size) {
    struct bus_access a = {.size = size, .value = UNTOUCHED};
    assert_int_equal(bus_access(&vm.ports, gpa(port), &a), 0);
    return size == 8 ? a.value : a.value & (BIT(8 * size) - 1);
}

static void out(u32 port, u8 size, u64 value) {
    struct bus_access a = {.size = size, .value = value, .write = true};
    assert_int_equal(bus_access(&vm.ports, gpa(port), &a), 0);
}

// ── ACPI ────────────────────────────────────────────────────────────────────────────────────────────────────────────
static void the_pm_timer_counts_at_its_rate(void **state) {
    (void)state;
    const u32 start = (u32)in(PC_PM_TIMER, 4);
    host_advance(SECOND);
    assert_int_equal((u32)in(PC_PM_TIMER, 4) - start, 3579545);
    host_advance(3 * 3600 * SECOND); // past what 64 bits of a product would hold, and past its own wrap
    assert_int_equal((u32)in(PC_PM_TIMER, 4) - start, (u32)(3579545ull * (3 * 3600 + 1)));
    assert_int_equal(in(PC_PM_TIMER, 1), in(PC_PM_TIMER, 4) & 0xff);
    assert_int_equal(in(PC_PM_TIMER + 2, 2), in(PC_PM_TIMER, 4) >> 16);
}

static void the_sleep_register_switches_off_and_nothing_else_does(void **state) {
    (void)state;
    out(PC_SLEEP, 1, 5 << 2);            // no enable
    out(PC_SLEEP, 1, 3 << 2 | 1 << 5);   // another state
    out(PC_SLEEP + 1, 1, 5 << 2 | 0x20); // the status register
    assert_int_equal(vm_stops, 0);
    assert_int_equal(in(PC_SLEEP, 1), 0);
    out(PC_SLEEP, 1, 5 << 2 | 1 << 5);
    assert_int_equal(vm_stops, 1);
    assert_int_equal(vm_stop_cause, VM_STOP_SHUTDOWN);
}

// ── Reset ───────────────────────────────────────────────────────────────────────────────────────────────────────────
static void each_way_of_a_reset_resets(void **state) {
    (void)state;
    out(PC_RESET, 1, 0x02); // what kind of reset, and then do it
    assert_int_equal(vm_stops, 0);
    assert_int_equal(in(PC_RESET, 1), 0x02);
    out(PC_RESET, 1, 0x06);
    assert_int_equal(vm_stops, 1);
    assert_int_equal(vm_stop_cause, VM_STOP_RESET);
    out(0x64, 1, 0xfe);
    assert_int_equal(vm_stops, 2);
    out(0x92, 1, 0x03);
    assert_int_equal(vm_stops, 3);
    out(0x64, 1, 0xd1); // by the keyboard controller's output port
    out(0x60, 1, 0x02);
    assert_int_equal(vm_stops, 4);
}

static void what_is_not_a_reset_is_none(void **state) {
    (void)state;
    for (u32 command = 0; command < 0xf0; command++)
        out(0x64, 1, command);
    for (u32 command = 0xf1; command < 0x100; command += 2)
        out(0x64, 1, command);
    out(0x60, 1, 0xfe);
    out(0x92, 1, 0x02);
    out(0x91, 1, 0x01);
    out(0xcf8, 4, 0x80000006);
    out(0xcf8, 2, 0x0606);
    out(0xcfc, 4, 0x06060606);
    assert_int_equal(vm_stops, 0);
    assert_int_equal(in(0x92, 1), 0x02);
    assert_int_equal(in(0x90, 1), 0xff);
}

static void on_PCI_there_is_a_bridge_and_nothing_else(void **state) {
    (void)state;
    out(0xcf8, 4, 0x80000000);
    assert_int_equal(in(0xcf8, 4), 0x80000000);
    assert_int_equal(in(0xcfc, 4), 0x00081b36);
    assert_int_equal(in(0xcfe, 2), 0x0008);
    out(0xcf8, 4, 0x80000008);
    assert_int_equal(in(0xcff, 1), 0x06); // a bridge, and of the host
    out(0xcfc, 4, 0);
    assert_int_equal(in(0xcfc, 4), 0x06000000);
    out(0xcf8, 4, 0x8000000c);
    assert_int_equal(in(0xcfe, 1), 0); // of a single function
    for (u32 function = 1; function < 0x10000; function += 7) {
        out(0xcf8, 4, 0x80000000 | function << 8);
        assert_int_equal(in(0xcfc, 4), 0xffffffff);
    }
    out(0xcf8, 4, 0);
    assert_int_equal(in(0xcfc, 4), 0xffffffff);
    assert_int_equal(in(0xcfa, 2), 0xffff);
}

static void a_restart_clears_the_reset_register(void **state) {
    (void)state;
    out(PC_RESET, 1, 0x0a);
    bus_reset(&vm.ports);
    assert_int_equal(in(PC_RESET, 1), 0);
}

// ── Keyboard controller ─────────────────────────────────────────────────────────────────────────────────────────────
enum { FULL = 0x01, SYSTEM = 0x04, COMMAND = 0x08, TIME_OUT = 0x40 };

// A command's answer is there at once, and gone when it was read.
static u8 controller_says(u8 command) {
    out(0x64, 1, command);
    assert_int_equal(in(0x64, 1) & (FULL | COMMAND | TIME_OUT), FULL | COMMAND);
    const u8 answer = (u8)in(0x60, 1);
    assert_int_equal(in(0x64, 1) & FULL, 0);
    return answer;
}

static void the_keyboard_controller_answers_its_own_commands(void **state) {
    (void)state;
    assert_int_equal(in(0x64, 1), SYSTEM);
    assert_int_equal(controller_says(0xaa), 0x55);
    assert_int_equal(controller_says(0xab), 0);
    assert_int_equal(controller_says(0xa9), 0);
    assert_int_equal(controller_says(0xd0), 0x03);
    out(0x64, 1, 0x60);
    out(0x60, 1, 0x45);
    assert_int_equal(in(0x64, 1) & (FULL | COMMAND), 0);
    assert_int_equal(controller_says(0x20), 0x45);
    out(0x64, 1, 0xad);
    out(0x64, 1, 0xa7);
    assert_int_equal(controller_says(0x20), 0x75);
    out(0x64, 1, 0xae);
    assert_int_equal(controller_says(0x20), 0x65);
    out(0x64, 1, 0xa8);
    assert_int_equal(controller_says(0x20), 0x45);
    bus_reset(&vm.ports);
    assert_int_equal(controller_says(0x20), 0x24);
    assert_int_equal(vm_stops, 0);
}

static void a_keyboard_that_is_not_there_times_out(void **state) {
    (void)state;
    out(0x60, 1, 0xff); // reset, to the keyboard
    assert_int_equal(in(0x64, 1) & (FULL | TIME_OUT), FULL | TIME_OUT);
    assert_int_equal(in(0x60, 1), 0xfe);
    assert_int_equal(in(0x64, 1) & (FULL | TIME_OUT), 0);
    out(0x64, 1, 0xd4); // and to a mouse
    out(0x60, 1, 0xf4);
    assert_int_equal(in(0x64, 1) & (FULL | TIME_OUT), FULL | TIME_OUT);
    out(0x64, 1, 0x20); // instead of that answer
    assert_int_equal(in(0x64, 1) & (FULL | TIME_OUT), FULL);
    assert_int_equal(in(0x60, 1), 0x24);
    out(0x64, 1, 0xd1); // a command that another one takes the place of gets no data
    out(0x64, 1, 0xad);
    out(0x60, 1, 0x00);
    assert_int_equal(vm_stops, 0);
}

// ── Clock ───────────────────────────────────────────────────────────────────────────────────────────────────────────
static u8 cmos(u8 index) {
    out(0x70, 1, index);
    return (u8)in(0x71, 1);
}

static void cmos_put(u8 index, u8 value) {
    out(0x70, 1, index | 0x80); // with the NMI masked, as software does
    out(0x71, 1, value);
}

static void assert_date(const u8 expected[8]) { // second, minute, hour, weekday, day, month, year, century
    static const u8 indices[] = {0, 2, 4, 6, 7, 8, 9, 0x32};
    for (u32 i = 0; i < ARRAY_SIZE(indices); i++)
        if (cmos(indices[i]) != expected[i])
            fail_msg("cell %#x: %#x, not %#x", indices[i], cmos(indices[i]), expected[i]);
}

static void the_clock_shows_wall_clock_time(void **state) {
    (void)state;
    assert_date((u8[]){0, 0, 0, 0x05, 0x01, 0x01, 0x26, 0x20}); // a Thursday
    host_advance(3600 * SECOND * 23 + 61 * SECOND);
    assert_date((u8[]){0x01, 0x01, 0x23, 0x05, 0x01, 0x01, 0x26, 0x20});
    wallclock_set(951782400 + 86399); // 2000-02-29 23:59:59
    assert_date((u8[]){0x59, 0x59, 0x23, 0x03, 0x29, 0x02, 0x00, 0x20});
    host_advance(SECOND);
    assert_date((u8[]){0, 0, 0, 0x04, 0x01, 0x03, 0x00, 0x20});
    wallclock_set(4102444799ull); // 2099-12-31 23:59:59
    assert_date((u8[]){0x59, 0x59, 0x23, 0x05, 0x31, 0x12, 0x99, 0x20});
    assert_int_equal(cmos(0x0d), 0x80);
    assert_int_equal(in(0x70, 1), 0xff);
}

static void formats_are_as_register_b_says(void **state) {
    (void)state;
    host_advance((13 * 3600 + 45 * 60 + 30) * SECOND);
    assert_int_equal(cmos(4), 0x13);
    cmos_put(0x0b, 0x06); // binary, 24 hours
    assert_int_equal(cmos(4), 13);
    assert_int_equal(cmos(2), 45);
    cmos_put(0x0b, 0x04); // binary, 12 hours
    assert_int_equal(cmos(4), 0x81);
    cmos_put(0x0b, 0x00);
    assert_int_equal(cmos(4), 0x81);
    host_advance(11 * 3600 * SECOND); // past midnight
    assert_int_equal(cmos(4), 0x12);
}

static void the_clock_can_be_set(void **state) {
    (void)state;
    cmos_put(0x0b, 0x82); // hold
    static const u8 date[8] = {0x58, 0x59, 0x23, 0x07, 0x31, 0x12, 0x27, 0x20};
    static const u8 indices[] = {0, 2, 4, 6, 7, 8, 9, 0x32};
    for (u32 i = 0; i < ARRAY_SIZE(indices); i++)
        cmos_put(indices[i], date[i]);
    host_advance(5 * SECOND);
    assert_date(date); // it holds
    cmos_put(0x0b, 0x02);
    host_advance(2 * SECOND);
    assert_date((u8[]){0, 0, 0, 0x07, 0x01, 0x01, 0x28, 0x20}); // a Saturday
    cmos_put(4, 0x17);                                          // without holding it
    host_advance(SECOND);
    assert_date((u8[]){0x01, 0, 0x17, 0x07, 0x01, 0x01, 0x28, 0x20});
}

static void nonsense_in_the_clock_does_no_harm(void **state) {
    (void)state;
    for (u32 value = 0; value < 256; value += 5) {
        cmos_put(0x0b, 0x82 | (value & 4));
        for (u8 i = 0; i < 10; i++)
            cmos_put(i, (u8)value);
        cmos_put(0x32, (u8)value);
        cmos_put(0x0b, 0x02);
        for (u32 i = 0; i < 128; i++)
            (void)cmos((u8)i);
    }
}

static void no_year_is_before_1970(void **state) {
    (void)state;
    cmos_put(9, 0x70);
    cmos_put(0x32, 0x19);
    assert_date((u8[]){0, 0, 0, 0x05, 0x01, 0x01, 0x70, 0x19});
    cmos_put(9, 0x69);
    assert_date((u8[]){0, 0, 0, 0x03, 0x01, 0x01, 0x69, 0x20});
}

static bool is_firmwares(u32 i) {
    return (i >= 0x15 && i <= 0x18) || i == 0x30 || i == 0x31 || i == 0x34 || i == 0x35 || (i >= 0x5b && i <= 0x5d);
}

static void memory_keeps_its_bytes_over_a_restart(void **state) {
    (void)state;
    for (u32 i = 0x0e; i < 0x80; i++)
        if (i != 0x32)
            cmos_put((u8)i, (u8)(i ^ 0x5a));
    bus_reset(&vm.ports);
    for (u32 i = 0x0e; i < 0x80; i++)
        if (i != 0x32 && !is_firmwares(i))
            assert_int_equal(cmos((u8)i), i ^ 0x5a);
}

static u32 cells(u8 index, u32 count) {
    u32 value = 0;
    for (u32 i = count; i-- > 0;)
        value = value << 8 | cmos((u8)(index + i));
    return value;
}

static void memory_tells_how_much_ram_there_is(void **state) {
    (void)state;
    static const struct {
        u64 memory;
        u32 base, extended, low, high; // KiB, KiB, 64 KiB, 64 KiB
    } cases[] = {
        {KIB(512), 512, 0, 0, 0},
        {MIB(2), 640, 1024, 0, 0},
        {MIB(16), 640, 15360, 0, 0},
        {MIB(64), 640, 64512, 48 * 16, 0},
        {MIB(66), 640, 0xffff, 50 * 16, 0},
        {GIB(3), 640, 0xffff, 3056 * 16, 0},
        {GIB(5), 640, 0xffff, 3056 * 16, 2048 * 16},
    };
    for (u32 i = 0; i < ARRAY_SIZE(cases); i++) {
        vm.cfg.memory = cases[i].memory;
        bus_reset(&vm.ports);
        assert_int_equal(cells(0x15, 2), cases[i].base);
        assert_int_equal(cells(0x17, 2), cases[i].extended);
        assert_int_equal(cells(0x30, 2), cases[i].extended);
        assert_int_equal(cells(0x34, 2), cases[i].low);
        assert_int_equal(cells(0x5b, 3), cases[i].high);
    }
}

static void an_update_is_announced_flagged_and_interrupts(void **state) {
    (void)state;
    assert_int_equal(cmos(0x0a), 0x26);
    host_advance(SECOND - 100000);
    assert_int_equal(cmos(0x0a), 0xa6);
    (void)cmos(0x0c);
    host_advance(200000);
    assert_int_equal(cmos(0x0a), 0x26);
    assert_int_equal(cmos(0x0c) & 0x90, 0x10); // without its enable, no request
    cmos_put(0x0b, 0x12);
    for (u32 i = 0; i < 3; i++) {
        host_advance(SECOND);
        assert_true(line[PC_PIN_CMOS]);
        assert_int_equal(cmos(0x0c) & 0x90, 0x90);
        assert_false(line[PC_PIN_CMOS]);
        assert_int_equal(cmos(0x0c), 0);
    }
    assert_int_equal(edges[PC_PIN_CMOS], 3);
}

static void the_periodic_interrupt_has_its_rate(void **state) {
    (void)state;
    cmos_put(0x0a, 0x2f); // 2 Hz
    (void)cmos(0x0c);
    cmos_put(0x0b, 0x42);
    for (u32 i = 0; i < 20; i++) {
        host_advance(SECOND / 4);
        (void)cmos(0x0c);
    }
    assert_in_range(edges[PC_PIN_CMOS], 9, 11);
    cmos_put(0x0a, 0x20); // none
    host_advance(5 * SECOND);
    (void)cmos(0x0c);
    assert_in_range(edges[PC_PIN_CMOS], 9, 11);
}

static void the_alarm_rings_when_it_matches(void **state) {
    (void)state;
    cmos_put(1, 0x05);
    cmos_put(3, 0x00);
    cmos_put(5, 0xff); // any hour
    (void)cmos(0x0c);
    cmos_put(0x0b, 0x22);
    host_advance(4 * SECOND + SECOND / 2);
    assert_false(line[PC_PIN_CMOS]);
    host_advance(SECOND);
    assert_true(line[PC_PIN_CMOS]);
    assert_int_equal(cmos(0x0c) & 0xa0, 0xa0);
    host_advance(60 * SECOND);
    assert_false(line[PC_PIN_CMOS]);
}

// A guest may look once a day.
static void an_alarm_that_nobody_looked_at_has_rung(void **state) {
    (void)state;
    cmos_put(1, 0x00);
    cmos_put(3, 0x00);
    cmos_put(5, 0x07);
    (void)cmos(0x0c);
    host_advance(6 * 3600 * SECOND);
    assert_int_equal(cmos(0x0c) & 0x20, 0);
    host_advance(10 * 3600 * SECOND);
    assert_int_equal(cmos(0x0c) & 0x20, 0x20);
}

// ── Interval timer ──────────────────────────────────────────────────────────────────────────────────────────────────
static void pit_load(u32 counter, u8 control, u32 count) {
    out(0x43, 1, counter << 6 | 0x30 | control);
    out(0x40 + counter, 1, count & 0xff);
    out(0x40 + counter, 1, count >> 8);
}

static u32 pit_count(u32 counter) {
    out(0x43, 1, counter << 6); // latch
    const u32 low = (u32)in(0x40 + counter, 1);
    return low | (u32)in(0x40 + counter, 1) << 8;
}

static u64 pit_ns(u64 ticks) {
    return (ticks * SECOND + 1193181) / 1193182;
}

static void a_counter_counts_down(void **state) {
    (void)state;
    pit_load(0, 0, 10000);
    assert_int_equal(pit_count(0), 10000);
    host_advance(pit_ns(4000));
    assert_int_equal(pit_count(0), 6000);
    out(0x43, 1, 0); // latched, it stays
    host_advance(pit_ns(1000));
    assert_int_equal(in(0x40, 1), 6000 & 0xff);
    assert_int_equal(in(0x40, 1), 6000 >> 8);
    assert_int_equal(in(0x43, 1), 0xff);
    assert_int_equal(in(0x44, 1), 0xff);
}

static void the_first_counter_interrupts(void **state) {
    (void)state;
    pit_load(0, 0, 1000); // once
    assert_false(line[PC_PIN_PIT]);
    host_advance(pit_ns(1000) + 1);
    assert_true(line[PC_PIN_PIT]);
    assert_int_equal(edges[PC_PIN_PIT], 1);
    host_advance(SECOND);
    assert_int_equal(edges[PC_PIN_PIT], 1);
    pit_load(0, 4, 11932); // 100 Hz
    edges[PC_PIN_PIT] = 0;
    for (u32 i = 0; i < 100; i++)
        host_advance(SECOND / 100);
    assert_in_range(edges[PC_PIN_PIT], 99, 101);
}

static void a_mad_rate_is_bounded(void **state) {
    (void)state;
    pit_load(0, 4, 1);
    edges[PC_PIN_PIT] = 0;
    for (u32 i = 0; i < 1000; i++)
        host_advance(1000);
    assert_in_range(edges[PC_PIN_PIT], 5, 25);
}

static void software_that_measures_by_counter_2_sees_its_output(void **state) {
    (void)state;
    out(0x61, 1, 0x01); // gate on, speaker off
    pit_load(2, 0, 11932);
    assert_int_equal(in(0x61, 1) & 0x21, 0x01);
    host_advance(SECOND / 100 - 10000);
    assert_int_equal(in(0x61, 1) & 0x20, 0);
    host_advance(20000);
    assert_int_equal(in(0x61, 1) & 0x20, 0x20);
    const u64 before = in(0x61, 1) & 0x10; // the refresh bit toggles
    host_advance(15085);
    assert_int_not_equal(in(0x61, 1) & 0x10, before);
    out(0x61, 1, 0);
    assert_int_equal(in(0x61, 1) & 0x21, 0);
}

static void the_read_back_command_latches_status_and_count(void **state) {
    (void)state;
    pit_load(2, 4, 0x1234); // gate is off: not counting
    out(0x43, 1, 0xc0 | 1 << 3);
    assert_int_equal(in(0x42, 1) & 0x7f, 0x40 | 0x34); // null count, both bytes, mode 2
    assert_int_equal(in(0x42, 1), 0x34);
    assert_int_equal(in(0x42, 1), 0x12);
}

static void decimal_and_single_byte_counters(void **state) {
    (void)state;
    pit_load(0, 1, 0x1000);
    assert_int_equal(pit_count(0), 0x1000);
    host_advance(pit_ns(1));
    assert_int_equal(pit_count(0), 0x0999);
    out(0x43, 1, 0x10); // the low byte only
    out(0x40, 1, 200);
    host_advance(pit_ns(50));
    assert_int_equal(in(0x40, 1), 150);
    out(0x43, 1, 0x20); // the high byte only
    out(0x40, 1, 2);
    assert_int_equal(in(0x40, 1), 2);
}

static void a_decimal_counter_goes_on_below_zero_in_decimals(void **state) {
    (void)state;
    pit_load(0, 1, 0x0003);
    host_advance(pit_ns(5));
    assert_int_equal(pit_count(0), 0x9998);
}

static u32 pit_status(u32 counter) {
    out(0x43, 1, 0xe0 | 2 << counter);
    return (u32)in(0x40 + counter, 1);
}

static void modes_1_and_5_wait_for_the_gate(void **state) {
    (void)state;
    pit_load(0, 2, 100); // its gate never rises
    edges[PC_PIN_PIT] = 0;
    host_advance(SECOND);
    assert_int_equal(edges[PC_PIN_PIT], 0);
    assert_int_equal(pit_status(0), 0xf2); // output high, no count
    pit_load(2, 2, 100);
    out(0x61, 1, 1);
    assert_int_equal(pit_status(2), 0x32);
    host_advance(pit_ns(100));
    assert_int_equal(pit_status(2), 0xb2);
}

static void a_strobe_is_low_for_one_tick(void **state) {
    (void)state;
    pit_load(0, 8, 100);
    assert_int_equal(pit_status(0), 0xb8);
    host_advance(pit_ns(100));
    assert_int_equal(pit_status(0), 0x38);
    host_advance(pit_ns(1));
    assert_int_equal(pit_status(0), 0xb8);
}

static void any_access_is_survived(void **state) {
    (void)state;
    static const u16 bases[] = {0x40, 0x60, 0x70, 0x90, 0x600, 0x608, 0xcf8};
    u32 seed = 1;
    for (u32 i = 0; i < 200000; i++) {
        seed = seed * 1664525 + 1013904223;
        const u32 port = bases[(seed >> 8) % ARRAY_SIZE(bases)] + (seed >> 12) % 8;
        const u8 size = (u8)(1u << (seed >> 16) % 3);
        struct bus_access a = {.size = size, .value = seed >> 4, .write = seed >> 30 & 1};
        const int err = bus_access(&vm.ports, gpa(port), &a);
        assert_true(err == 0 || (err == -EINVAL && port % size));
        if (i % 16 == 0)
            host_advance((seed >> 20) * 100);
    }
}

int main(void) {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(the_pm_timer_counts_at_its_rate),
        T(the_sleep_register_switches_off_and_nothing_else_does),
        T(each_way_of_a_reset_resets),
        T(what_is_not_a_reset_is_none),
        T(on_PCI_there_is_a_bridge_and_nothing_else),
        T(a_restart_clears_the_reset_register),
        T(the_keyboard_controller_answers_its_own_commands),
        T(a_keyboard_that_is_not_there_times_out),
        T(the_clock_shows_wall_clock_time),
        T(formats_are_as_register_b_says),
        T(the_clock_can_be_set),
        T(nonsense_in_the_clock_does_no_harm),
        T(no_year_is_before_1970),
        T(memory_keeps_its_bytes_over_a_restart),
        T(memory_tells_how_much_ram_there_is),
        T(an_update_is_announced_flagged_and_interrupts),
        T(the_periodic_interrupt_has_its_rate),
        T(the_alarm_rings_when_it_matches),
        T(an_alarm_that_nobody_looked_at_has_rung),
        T(a_counter_counts_down),
        T(the_first_counter_interrupts),
        T(a_mad_rate_is_bounded),
        T(software_that_measures_by_counter_2_sees_its_output),
        T(the_read_back_command_latches_status_and_count),
        T(decimal_and_single_byte_counters),
        T(a_decimal_counter_goes_on_below_zero_in_decimals),
        T(modes_1_and_5_wait_for_the_gate),
        T(a_strobe_is_low_for_one_tick),
        T(any_access_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
