// SPDX-License-Identifier: Apache-2.0
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "board.h"

#include <libfdt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TREE_SIZE = 64 * 1024, GIC_PHANDLE = 0x8001, OTHER_PHANDLE = 0x8002 };

// ── A tree under construction ────────────────────────────────────────────────────────────────────────────────────────

static _Alignas(8) char tree[TREE_SIZE];
static struct board board;
static char why[160];

static void ok(int err) {
    if (err)
        fail_msg("libfdt: %s", fdt_strerror(err));
}

static void begin(const char *name) {
    ok(fdt_begin_node(tree, name));
}
static void end(void) {
    ok(fdt_end_node(tree));
}
static void text(const char *name, const char *value) {
    ok(fdt_property_string(tree, name, value));
}
static void put_cells(const char *name, size_t count, const u32 *values) {
    fdt32_t *out = nullptr;
    ok(fdt_property_placeholder(tree, name, (int)(count * 4), (void **)&out));
    for (size_t i = 0; i < count; i++)
        fdt32_st(out + i, values[i]);
}
#define cells(name, ...) put_cells(name, sizeof((const u32[]){__VA_ARGS__}) / sizeof(u32), (const u32[]){__VA_ARGS__})

static void tree_begin(void) {
    memset(tree, 0, sizeof(tree));
    ok(fdt_create(tree, sizeof(tree)));
    ok(fdt_finish_reservemap(tree));
}

static void root_begin(void) {
    begin("");
    cells("#address-cells", 2);
    cells("#size-cells", 2);
    cells("interrupt-parent", GIC_PHANDLE);
    text("model", "a test machine");
}

static void memory_node(const char *name, u64 base, u64 size) {
    begin(name);
    text("device_type", "memory");
    cells("reg", (u32)(base >> 32), (u32)base, (u32)(size >> 32), (u32)size);
    end();
}

static void cpu_node(u32 hwid, const char *status) {
    char name[32];
    snprintf(name, sizeof(name), "cpu@%x", hwid);
    begin(name);
    text("device_type", "cpu");
    cells("reg", hwid);
    if (status)
        text("status", status);
    end();
}

static void gicv3_node(void) {
    begin("intc@8000000");
    text("compatible", "arm,gic-v3");
    cells("#interrupt-cells", 3);
    cells("phandle", GIC_PHANDLE);
    cells("reg", 0, 0x8000000, 0, 0x10000, 0, 0x80a0000, 0, 0xf60000);
    cells("interrupts", 1, 9, 4);
    end();
}

static void pl011_node(const char *name, u32 base, u32 spi) {
    begin(name);
    ok(fdt_property(tree, "compatible", "arm,pl011\0arm,primecell", sizeof("arm,pl011\0arm,primecell")));
    cells("reg", 0, base, 0, 0x1000);
    cells("interrupts", 0, spi, 4);
    end();
}

static void tree_end(void) {
    end();
    ok(fdt_finish(tree));
}

static int read_tree(void) {
    return fdt_read_board(tree, sizeof(tree), &board, why, sizeof(why));
}

static void read_good_tree(void) {
    tree_end();
    const int ret = read_tree();
    if (ret)
        fail_msg("%d: %s", ret, why);
}

// A machine like QEMU's virt.
static void whole_machine(void) {
    memset(tree, 0, sizeof(tree));
    ok(fdt_create(tree, sizeof(tree)));
    ok(fdt_add_reservemap_entry(tree, 0x41000000, 0x1000));
    ok(fdt_finish_reservemap(tree));
    root_begin();
    begin("chosen");
    text("stdout-path", "serial0:115200n8");
    text("bootargs", "idle=shell");
    cells("linux,initrd-start", 0x48000000);
    cells("linux,initrd-end", 0x48000100);
    end();
    begin("aliases");
    text("serial0", "/uart@9000000");
    end();
    begin("psci");
    ok(fdt_property(tree, "compatible", "arm,psci-1.0\0arm,psci-0.2", sizeof("arm,psci-1.0\0arm,psci-0.2")));
    text("method", "smc");
    end();
    memory_node("memory@40000000", 0x40000000, 0x40000000);
    begin("cpus");
    cells("#address-cells", 1);
    cells("#size-cells", 0);
    cpu_node(0, nullptr);
    cpu_node(1, "okay");
    cpu_node(0x100, nullptr);
    end();
    begin("timer");
    text("compatible", "arm,armv8-timer");
    cells("interrupts", 1, 13, 4, 1, 14, 4, 1, 11, 4, 1, 10, 4);
    end();
    gicv3_node();
    pl011_node("uart@9040000", 0x9040000, 8);
    pl011_node("uart@9000000", 0x9000000, 1);
    begin("rtc@9010000");
    text("compatible", "arm,pl031");
    cells("reg", 0, 0x9010000, 0, 0x1000);
    end();
}

static bool reserves(u64 base, u64 size) {
    for (u32 i = 0; i < board.reserved_count; i++) {
        const struct region *r = &board.reserved[i];
        if (base >= r->base && base + size <= r->base + r->size)
            return true;
    }
    return false;
}

// ── Tests ────────────────────────────────────────────────────────────────────────────────────────────────────────────

static void a_virt_machine_is_read_in_full(void **state) {
    (void)state;
    whole_machine();
    read_good_tree();
    assert_string_equal(board.model, "a test machine");
    assert_string_equal(board.cmdline, "idle=shell");
    assert_int_equal(board.memory_count, 1);
    assert_int_equal(board.memory[0].base, 0x40000000);
    assert_int_equal(board.memory[0].size, 0x40000000);
    assert_int_equal(board.cpu_count, 3);
    assert_int_equal(board.cpus[2].hwid, 0x100);
    assert_int_equal(board.psci, PSCI_SMC);
    assert_int_equal(board.uart.kind, UART_PL011);
    assert_int_equal(board.uart.base, 0x9000000);
    assert_int_equal(board.uart.size, 0x1000);
    assert_int_equal(board.uart.irq, 33);
    assert_false(board.uart.irq_edge);
    assert_int_equal(board.rtc.kind, RTC_PL031);
    assert_int_equal(board.rtc.regs.base, 0x9010000);
    assert_int_equal(board.rtc.regs.size, 0x1000);
    assert_int_equal(board.irqchip.kind, IRQCHIP_GICV3);
    assert_int_equal(board.irqchip.dist.base, 0x8000000);
    assert_int_equal(board.irqchip.redist_count, 1);
    assert_int_equal(board.irqchip.redist[0].base, 0x80a0000);
    assert_int_equal(board.irqchip.redist[0].size, 0xf60000);
    assert_int_equal(board.irqchip.maintenance_irq, 25);
    assert_int_equal(board.timer.secure_irq, 29);
    assert_int_equal(board.timer.phys_irq, 30);
    assert_int_equal(board.timer.virt_irq, 27);
    assert_int_equal(board.timer.hyp_irq, 26);
    assert_int_equal(board.bundle.base, 0x48000000);
    assert_int_equal(board.bundle.size, 0x100);
    assert_true(board.fdt.base == (u64)(uintptr_t)tree);
    assert_int_equal(board.fdt.size, fdt_totalsize(tree));
    assert_true(reserves(board.fdt.base, board.fdt.size));
    assert_true(reserves(0x48000000, 0x100));
    assert_true(reserves(0x41000000, 0x1000));
}

static void memory_banks_are_sorted_and_joined(void **state) {
    (void)state;
    tree_begin();
    root_begin();
    memory_node("memory@880000000", 0x880000000, 0x1000000);
    memory_node("memory@80000000", 0x80000000, 0x10000000);
    begin("memory@40000000");
    text("device_type", "memory");
    cells("reg", 0, 0x40000000, 0, 0x20000000, 0, 0x60000000, 0, 0x20000000, 0, 0x70000000, 0, 0);
    end();
    begin("memory@1000");
    text("device_type", "memory");
    text("status", "disabled");
    cells("reg", 0, 0x1000, 0, 0x1000);
    end();
    read_good_tree();
    assert_int_equal(board.memory_count, 2);
    assert_int_equal(board.memory[0].base, 0x40000000);
    assert_int_equal(board.memory[0].size, 0x50000000);
    assert_int_equal(board.memory[1].base, 0x880000000);
}

static void reserved_memory_is_noted(void **state) {
    (void)state;
    tree_begin();
    root_begin();
    memory_node("memory@40000000", 0x40000000, 0x40000000);
    begin("reserved-memory");
    cells("#address-cells", 2);
    cells("#size-cells", 2);
    ok(fdt_property(tree, "ranges", "", 0));
    begin("firmware@50000000");
    cells("reg", 0, 0x50000000, 0, 0x200000, 0, 0x58000000, 0, 0x1000);
    end();
    begin("pool");
    cells("size", 0, 0x400000);
    end();
    begin("off@60000000");
    cells("reg", 0, 0x60000000, 0, 0x1000);
    text("status", "disabled");
    end();
    end();
    read_good_tree();
    assert_true(reserves(0x50000000, 0x200000));
    assert_true(reserves(0x58000000, 0x1000));
    assert_false(reserves(0x60000000, 1));
}

static void more_reservations_than_fit_grow_over_the_gaps(void **state) {
    (void)state;
    tree_begin();
    root_begin();
    memory_node("memory@40000000", 0x40000000, 0x40000000);
    begin("reserved-memory");
    cells("#address-cells", 2);
    cells("#size-cells", 2);
    ok(fdt_property(tree, "ranges", "", 0));
    for (u32 i = 0; i < 100; i++) {
        char name[32];
        const u32 base = 0x40000000 + (i * 37 % 100) * 0x10000;
        snprintf(name, sizeof(name), "r@%x", base);
        begin(name);
        cells("reg", 0, base, 0, 0x1000);
        end();
    }
    end();
    read_good_tree();
    assert_true(board.reserved_count <= BOARD_MAX_REGIONS);
    for (u32 i = 0; i < 100; i++)
        assert_true(reserves(0x40000000 + i * 0x10000, 0x1000));
    assert_true(reserves(board.fdt.base, board.fdt.size));
}

static void cpus_that_are_not_okay_do_not_count(void **state) {
    (void)state;
    tree_begin();
    root_begin();
    memory_node("memory@0", 0, 0x40000000);
    begin("cpus");
    cells("#address-cells", 2);
    cells("#size-cells", 0);
    for (u32 i = 0; i < 4; i++) {
        char name[32];
        snprintf(name, sizeof(name), "cpu@%x", i);
        begin(name);
        text("device_type", "cpu");
        cells("reg", i, 0x80 + i);
        if (i == 1)
            text("status", "disabled");
        end();
    }
    begin("cpu-map");
    end();
    end();
    read_good_tree();
    assert_int_equal(board.cpu_count, 3);
    assert_int_equal(board.cpus[1].hwid, 0x200000082);
}

static void cpus_past_the_limit_are_counted(void **state) {
    (void)state;
    tree_begin();
    root_begin();
    memory_node("memory@0", 0, 0x40000000);
    begin("cpus");
    cells("#address-cells", 1);
    cells("#size-cells", 0);
    for (u32 i = 0; i < BOARD_MAX_CPUS + 7; i++)
        cpu_node(i, nullptr);
    end();
    read_good_tree();
    assert_int_equal(board.cpu_count, BOARD_MAX_CPUS);
    assert_int_equal(board.cpus_ignored, 7);
}

static void without_stdout_path_the_first_known_uart_is_taken(void **state) {
    (void)state;
    tree_begin();
    root_begin();
    memory_node("memory@0", 0, 0x40000000);
    begin("serial@1000");
    text("compatible", "vendor,unknown-uart");
    cells("reg", 0, 0x1000, 0, 0x1000);
    end();
    begin("serial@2000");
    text("compatible", "arm,pl011");
    text("status", "disabled");
    cells("reg", 0, 0x2000, 0, 0x1000);
    end();
    pl011_node("serial@3000", 0x3000, 5);
    pl011_node("serial@4000", 0x4000, 6);
    read_good_tree();
    assert_int_equal(board.uart.base, 0x3000);
    assert_int_equal(board.uart.irq, 0); // there is no GIC to take it
}

static void a_stdout_that_we_cannot_drive_is_not_replaced_by_another(void **state) {
    (void)state;
    tree_begin();
    root_begin();
    memory_node("memory@0", 0, 0x40000000);
    begin("chosen");
    text("stdout-path", "/serial@1000");
    end();
    pl011_node("serial@3000", 0x3000, 5);
    begin("serial@1000");
    text("compatible", "vendor,unknown-uart");
    cells("reg", 0, 0x1000, 0, 0x1000);
    end();
    read_good_tree();
    assert_int_equal(board.uart.kind, UART_NONE);
}

static void a_uart_behind_buses_is_translated_by_their_ranges(void **state) {
    (void)state;
    tree_begin();
    root_begin();
    memory_node("memory@0", 0, 0x40000000);
    gicv3_node();
    begin("chosen");
    text("stdout-path", "/soc/apb@7e000000/serial@201000:9600");
    end();
    begin("soc");
    cells("#address-cells", 1);
    cells("#size-cells", 1);
    cells("ranges", 0x10000000, 0x2, 0, 0x1000, 0x7e000000, 0x1, 0xfe000000, 0x1800000);
    begin("apb@7e000000");
    cells("#address-cells", 1);
    cells("#size-cells", 1);
    cells("ranges", 0, 0x7e000000, 0x1000000);
    begin("serial@201000");
    text("compatible", "snps,dw-apb-uart");
    cells("reg", 0x201000, 0x100);
    cells("reg-shift", 2);
    cells("reg-io-width", 4);
    cells("clock-frequency", 48000000);
    cells("interrupts", 0, 40, 1);
    end();
    end();
    end();
    read_good_tree();
    assert_int_equal(board.uart.kind, UART_16550);
    assert_int_equal(board.uart.base, 0x1fe201000);
    assert_int_equal(board.uart.reg_shift, 2);
    assert_int_equal(board.uart.reg_width, 4);
    assert_int_equal(board.uart.clock_hz, 48000000);
    assert_int_equal(board.uart.irq, 72);
    assert_true(board.uart.irq_edge);
}

static void a_uart_out_of_its_bus_ranges_is_not_used(void **state) {
    (void)state;
    tree_begin();
    root_begin();
    memory_node("memory@0", 0, 0x40000000);
    begin("soc");
    cells("#address-cells", 1);
    cells("#size-cells", 1);
    cells("ranges", 0, 0, 0x1000, 0x1000);
    begin("serial@f80");
    text("compatible", "arm,pl011");
    cells("reg", 0xf80, 0x100);
    end();
    end();
    read_good_tree();
    assert_int_equal(board.uart.kind, UART_NONE);
}

static void other_uarts_are_known_by_their_compatible(void **state) {
    (void)state;
    static const struct {
        const char *compatible;
        enum uart_kind kind;
    } cases[] = {
        {"ns16550a", UART_16550},       {"cdns,uart-r1p8", UART_CADENCE}, {"arm,sbsa-uart", UART_PL011},
        {"xlnx,xuartps", UART_CADENCE}, {"ns16550aa", UART_NONE},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        tree_begin();
        root_begin();
        memory_node("memory@0", 0, 0x40000000);
        begin("serial@1000");
        text("compatible", cases[i].compatible);
        cells("reg", 0, 0x1000, 0, 0x100);
        end();
        read_good_tree();
        assert_int_equal(board.uart.kind, cases[i].kind);
        if (cases[i].kind != UART_NONE)
            assert_int_equal(board.uart.reg_width, 1);
    }
}

static void an_interrupt_of_another_controller_is_not_taken_for_the_gics(void **state) {
    (void)state;
    tree_begin();
    root_begin();
    memory_node("memory@0", 0, 0x40000000);
    gicv3_node();
    begin("combiner");
    cells("interrupt-parent", OTHER_PHANDLE);
    cells("#address-cells", 2);
    cells("#size-cells", 2);
    ok(fdt_property(tree, "ranges", "", 0));
    pl011_node("uart@9000000", 0x9000000, 1);
    end();
    read_good_tree();
    assert_int_equal(board.uart.kind, UART_PL011);
    assert_int_equal(board.uart.irq, 0);
}

static void extended_interrupts_name_their_controller(void **state) {
    (void)state;
    tree_begin();
    root_begin();
    memory_node("memory@0", 0, 0x40000000);
    gicv3_node();
    begin("gpio");
    cells("phandle", OTHER_PHANDLE);
    cells("#interrupt-cells", 2);
    end();
    begin("timer");
    text("compatible", "arm,armv8-timer");
    cells("interrupts-extended", OTHER_PHANDLE, 1, 1, GIC_PHANDLE, 1, 14, 4, GIC_PHANDLE, 1, 11, 4, GIC_PHANDLE, 1);
    end();
    read_good_tree();
    assert_int_equal(board.timer.secure_irq, 0);
    assert_int_equal(board.timer.phys_irq, 30);
    assert_int_equal(board.timer.virt_irq, 27);
    assert_int_equal(board.timer.hyp_irq, 0);
}

static void timer_interrupts_follow_their_names(void **state) {
    (void)state;
    static const char names[] = "phys\0virt\0hyp-phys\0hyp-virt";
    tree_begin();
    root_begin();
    memory_node("memory@0", 0, 0x40000000);
    gicv3_node();
    begin("timer");
    text("compatible", "arm,armv8-timer");
    cells("interrupts", 1, 14, 4, 1, 11, 4, 1, 10, 4, 1, 12, 4);
    ok(fdt_property(tree, "interrupt-names", names, sizeof(names)));
    cells("clock-frequency", 62500000);
    end();
    read_good_tree();
    assert_int_equal(board.timer.secure_irq, 0);
    assert_int_equal(board.timer.phys_irq, 30);
    assert_int_equal(board.timer.virt_irq, 27);
    assert_int_equal(board.timer.hyp_irq, 26);
    assert_int_equal(board.timer.frequency_hz, 62500000);
}

static void several_redistributor_regions_are_all_read(void **state) {
    (void)state;
    tree_begin();
    root_begin();
    memory_node("memory@0", 0, 0x40000000);
    begin("intc@2f000000");
    text("compatible", "arm,gic-v3");
    cells("#interrupt-cells", 4);
    cells("phandle", GIC_PHANDLE);
    cells("#redistributor-regions", 2);
    cells("redistributor-stride", 0, 0x40000);
    cells("reg", 0, 0x2f000000, 0, 0x10000, 0, 0x2f100000, 0, 0x200000, 8, 0, 0, 0x100000, 0, 0x2c000000, 0, 0x2000);
    cells("interrupts", 1, 9, 4, 0);
    end();
    read_good_tree();
    assert_int_equal(board.irqchip.redist_count, 2);
    assert_int_equal(board.irqchip.redist[1].base, 0x800000000);
    assert_int_equal(board.irqchip.redist_stride, 0x40000);
    assert_int_equal(board.irqchip.maintenance_irq, 25);
}

static void a_gicv2_is_recognised(void **state) {
    (void)state;
    tree_begin();
    root_begin();
    memory_node("memory@0", 0, 0x40000000);
    begin("intc@8000000");
    text("compatible", "arm,gic-400");
    cells("#interrupt-cells", 3);
    cells("phandle", GIC_PHANDLE);
    end();
    pl011_node("uart@9000000", 0x9000000, 1);
    read_good_tree();
    assert_int_equal(board.irqchip.kind, IRQCHIP_GICV2);
    assert_int_equal(board.uart.irq, 33);
}

static void interrupt_numbers_out_of_range_are_none(void **state) {
    (void)state;
    static const u32 wrong[][2] = {{0, 988}, {0, 0xffffffff}, {1, 16}, {2, 0}, {7, 1}};
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        tree_begin();
        root_begin();
        memory_node("memory@0", 0, 0x40000000);
        gicv3_node();
        begin("uart@9000000");
        text("compatible", "arm,pl011");
        cells("reg", 0, 0x9000000, 0, 0x1000);
        cells("interrupts", wrong[i][0], wrong[i][1], 4);
        end();
        read_good_tree();
        assert_int_equal(board.uart.irq, 0);
    }
}

static void the_bundle_may_be_told_in_one_cell_or_two(void **state) {
    (void)state;
    for (int bad = 0; bad < 2; bad++) {
        tree_begin();
        root_begin();
        memory_node("memory@0", 0, 0x40000000);
        begin("chosen");
        cells("linux,initrd-start", 8, 0x1000);
        if (bad)
            cells("linux,initrd-end", 8, 0x1000);
        else
            cells("linux,initrd-end", 8, 0x3000);
        end();
        read_good_tree();
        assert_int_equal(board.bundle.base, bad ? 0 : 0x800001000);
        assert_int_equal(board.bundle.size, bad ? 0 : 0x2000);
    }
}

static void a_long_command_line_is_cut(void **state) {
    (void)state;
    char line[2 * BOARD_CMDLINE_MAX];
    memset(line, 'x', sizeof(line));
    tree_begin();
    root_begin();
    memory_node("memory@0", 0, 0x40000000);
    begin("chosen");
    ok(fdt_property(tree, "bootargs", line, sizeof(line))); // not terminated, on top
    end();
    read_good_tree();
    assert_int_equal(strlen(board.cmdline), BOARD_CMDLINE_MAX - 1);
}

static void a_tree_without_memory_is_refused(void **state) {
    (void)state;
    tree_begin();
    root_begin();
    gicv3_node();
    tree_end();
    assert_int_equal(read_tree(), -EINVAL);
    assert_non_null(strstr(why, "memory"));
}

static void what_is_no_tree_is_refused(void **state) {
    (void)state;
    memset(tree, 0, sizeof(tree));
    assert_int_equal(read_tree(), -EINVAL);
    assert_non_null(strstr(why, "malformed"));
    assert_int_equal(fdt_read_board(nullptr, 100, &board, why, sizeof(why)), -EINVAL);
    assert_int_equal(fdt_read_board(tree, 0, &board, why, sizeof(why)), -EINVAL);
    whole_machine();
    tree_end();
    static _Alignas(8) char shifted[TREE_SIZE + 4];
    memcpy(shifted + 4, tree, TREE_SIZE);
    assert_int_equal(fdt_read_board(shifted + 4, TREE_SIZE, &board, why, sizeof(why)), -EINVAL);
}

// The copies below are exactly as long as told, so that the sanitizer sees any read past them.
static void a_truncated_tree_is_refused(void **state) {
    (void)state;
    whole_machine();
    tree_end();
    const size_t size = fdt_totalsize(tree);
    for (size_t n = 1; n < size; n += n < 64 ? 1 : 13) {
        char *copy = malloc(n);
        memcpy(copy, tree, n);
        assert_int_equal(fdt_read_board(copy, n, &board, why, sizeof(why)), -EINVAL);
        free(copy);
    }
}

static void no_corruption_makes_it_read_outside_the_tree(void **state) {
    (void)state;
    u64 seed = 0x853c49e6748fea9b;
    whole_machine();
    tree_end();
    const size_t size = fdt_totalsize(tree);
    for (int round = 0; round < 20000; round++) {
        char *copy = malloc(size);
        memcpy(copy, tree, size);
        for (int i = 0; i <= round % 4; i++) {
            seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
            const size_t at = (seed >> 16) % size;
            copy[at] = (char)(seed & 0x100 ? seed : (u64)(u8)copy[at] ^ BIT(seed % 8));
        }
        const int ret = fdt_read_board(copy, size, &board, why, sizeof(why));
        assert_true(ret == 0 || (ret == -EINVAL && why[0]));
        assert_true(board.memory_count <= BOARD_MAX_REGIONS && board.reserved_count <= BOARD_MAX_REGIONS);
        free(copy);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_virt_machine_is_read_in_full),
        cmocka_unit_test(memory_banks_are_sorted_and_joined),
        cmocka_unit_test(reserved_memory_is_noted),
        cmocka_unit_test(more_reservations_than_fit_grow_over_the_gaps),
        cmocka_unit_test(cpus_that_are_not_okay_do_not_count),
        cmocka_unit_test(cpus_past_the_limit_are_counted),
        cmocka_unit_test(without_stdout_path_the_first_known_uart_is_taken),
        cmocka_unit_test(a_stdout_that_we_cannot_drive_is_not_replaced_by_another),
        cmocka_unit_test(a_uart_behind_buses_is_translated_by_their_ranges),
        cmocka_unit_test(a_uart_out_of_its_bus_ranges_is_not_used),
        cmocka_unit_test(other_uarts_are_known_by_their_compatible),
        cmocka_unit_test(an_interrupt_of_another_controller_is_not_taken_for_the_gics),
        cmocka_unit_test(extended_interrupts_name_their_controller),
        cmocka_unit_test(timer_interrupts_follow_their_names),
        cmocka_unit_test(several_redistributor_regions_are_all_read),
        cmocka_unit_test(a_gicv2_is_recognised),
        cmocka_unit_test(interrupt_numbers_out_of_range_are_none),
        cmocka_unit_test(the_bundle_may_be_told_in_one_cell_or_two),
        cmocka_unit_test(a_long_command_line_is_cut),
        cmocka_unit_test(a_tree_without_memory_is_refused),
        cmocka_unit_test(what_is_no_tree_is_refused),
        cmocka_unit_test(a_truncated_tree_is_refused),
        cmocka_unit_test(no_corruption_makes_it_read_outside_the_tree),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
