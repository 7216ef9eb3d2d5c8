// SPDX-License-Identifier: Apache-2.0
// What the device tree of a RISC-V machine says that of an Arm one does not.
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

enum { TREE_SIZE = 16 * 1024, CHIP = 0x40, IMSIC_M = 0x41, IMSIC_S = 0x42, APLIC_M = 0x43, HARTS = 3 };
enum { IRQ_M = 11, IRQ_S = 9 };

static _Alignas(8) char tree[TREE_SIZE];
static struct board board;

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

// Harts 2, 0 and 1, in this order.
static u32 hartid(u32 n) {
    return (n + 2) % HARTS;
}
static u32 intc(u32 n) {
    return 0x10 + n;
}

static void root_begin(void) {
    memset(tree, 0, sizeof(tree));
    ok(fdt_create(tree, sizeof(tree)));
    ok(fdt_finish_reservemap(tree));
    begin("");
    cells("#address-cells", 2);
    cells("#size-cells", 2);
    text("model", "riscv-virtio,qemu");
    begin("memory@80000000");
    text("device_type", "memory");
    cells("reg", 0, 0x80000000, 0, 0x40000000);
    end();
}

typedef void (*isa_fn)(u32 n);

static void cpus(isa_fn isa) {
    begin("cpus");
    cells("#address-cells", 1);
    cells("#size-cells", 0);
    cells("timebase-frequency", 10000000);
    for (u32 n = 0; n < HARTS; n++) {
        char name[16];
        snprintf(name, sizeof(name), "cpu@%x", hartid(n));
        begin(name);
        text("device_type", "cpu");
        cells("reg", hartid(n));
        isa(n);
        begin("interrupt-controller");
        text("compatible", "riscv,cpu-intc");
        cells("phandle", intc(n));
        end();
        end();
    }
    end();
}

static void plain_isa(u32 n) {
    (void)n;
    text("riscv,isa", "rv64imafdch_zicsr_sstc");
}

static void uart(u32 chip, bool wide) {
    begin("serial@10000000");
    text("compatible", "ns16550a");
    cells("reg", 0, 0x10000000, 0, 0x100);
    cells("clock-frequency", 3686400);
    cells("interrupt-parent", chip);
    if (wide)
        cells("interrupts", 10, 4);
    else
        cells("interrupts", 10);
    end();
}

static void read_good_tree(void) {
    char why[160];
    end();
    ok(fdt_finish(tree));
    const int err = fdt_read_board(tree, sizeof(tree), &board, why, sizeof(why));
    if (err)
        fail_msg("%d: %s", err, why);
}

static void wires(const char *name, u32 irq, u32 other) { // for each hart: other, irq
    u32 list[4 * HARTS], count = 0;
    for (u32 n = HARTS; n-- > 0;) {
        if (other) {
            list[count++] = intc(n);
            list[count++] = other;
        }
        list[count++] = intc(n);
        list[count++] = irq;
    }
    put_cells(name, count, list);
}

static void plic(u32 irq, u32 other) {
    begin("plic@c000000");
    ok(fdt_property(tree, "compatible", "sifive,plic-1.0.0\0riscv,plic0", sizeof("sifive,plic-1.0.0\0riscv,plic0")));
    cells("#interrupt-cells", 1);
    cells("phandle", CHIP);
    cells("reg", 0, 0xc000000, 0, 0x600000);
    cells("riscv,ndev", 95);
    wires("interrupts-extended", irq, other);
    end();
}

static void assert_contexts(u32 first, u32 step) { // the wires' list is in reverse order of the harts
    for (u32 n = 0; n < HARTS; n++) {
        assert_int_equal(board.cpus[n].hwid, hartid(n));
        assert_int_equal(board.cpus[n].irq_context, first + (HARTS - 1 - n) * step);
    }
}

// ── Tests ───────────────────────────────────────────────────────────────────────────────────────────────────────────

static void a_PLIC_machine_is_read(void **state) {
    (void)state;
    root_begin();
    cpus(plain_isa);
    plic(IRQ_S, IRQ_M);
    uart(CHIP, false);
    read_good_tree();
    assert_int_equal(board.cpu_count, HARTS);
    assert_int_equal(board.timer.frequency_hz, 10000000);
    assert_int_equal(board.irqchip.kind, IRQCHIP_PLIC);
    assert_int_equal(board.irqchip.dist.base, 0xc000000);
    assert_int_equal(board.irqchip.dist.size, 0x600000);
    assert_int_equal(board.irqchip.sources, 95);
    assert_contexts(1, 2);
    assert_int_equal(board.uart.kind, UART_16550);
    assert_int_equal(board.uart.base, 0x10000000);
    assert_int_equal(board.uart.irq, 10);
    assert_false(board.uart.irq_edge);
    assert_string_equal(board.isa, "i_m_a_f_d_c_h_zicsr_sstc");
}

static void a_PLIC_with_supervisor_contexts_only_is_read(void **state) {
    (void)state;
    root_begin();
    cpus(plain_isa);
    plic(IRQ_S, 0);
    read_good_tree();
    assert_contexts(0, 1);
}

static void a_hart_without_a_supervisor_context_has_none(void **state) {
    (void)state;
    root_begin();
    cpus(plain_isa);
    plic(IRQ_M, 0);
    read_good_tree();
    for (u32 n = 0; n < HARTS; n++)
        assert_int_equal(board.cpus[n].irq_context, BOARD_NO_CONTEXT);
}

static void aplic(const char *name, u32 base, u32 phandle, u32 msi, u32 child, u32 irq) {
    begin(name);
    text("compatible", "riscv,aplic");
    cells("#interrupt-cells", 2);
    cells("phandle", phandle);
    cells("reg", 0, base, 0, 0x8000);
    cells("riscv,num-sources", 96);
    if (child)
        cells("riscv,children", child);
    if (msi)
        cells("msi-parent", msi);
    else
        wires("interrupts-extended", irq, 0);
    end();
}

static void imsic(const char *name, u32 base, u32 phandle, u32 irq) {
    begin(name);
    text("compatible", "riscv,imsics");
    cells("phandle", phandle);
    cells("reg", 0, base, 0, 0x4000 * HARTS);
    cells("riscv,num-ids", 255);
    cells("riscv,guest-index-bits", 2);
    wires("interrupts-extended", irq, 0);
    end();
}

static void an_APLIC_machine_is_read_at_the_supervisors_level(void **state) {
    (void)state;
    for (u32 imsics = 0; imsics < 2; imsics++) {
        root_begin();
        cpus(plain_isa);
        if (imsics) {
            imsic("imsics@24000000", 0x24000000, IMSIC_M, IRQ_M);
            imsic("imsics@28000000", 0x28000000, IMSIC_S, IRQ_S);
        }
        aplic("interrupt-controller@c000000", 0xc000000, APLIC_M, imsics ? IMSIC_M : 0, CHIP, IRQ_M);
        aplic("interrupt-controller@d000000", 0xd000000, CHIP, imsics ? IMSIC_S : 0, 0, IRQ_S);
        uart(CHIP, true);
        read_good_tree();
        assert_int_equal(board.irqchip.kind, imsics ? IRQCHIP_IMSIC : IRQCHIP_APLIC);
        assert_int_equal(board.irqchip.dist.base, 0xd000000);
        assert_int_equal(board.irqchip.sources, 96);
        assert_int_equal(board.irqchip.redist_count, imsics);
        assert_contexts(0, 1);
        assert_int_equal(board.uart.irq, 10);
        if (!imsics)
            continue;
        assert_int_equal(board.irqchip.redist[0].base, 0x28000000);
        assert_int_equal(board.irqchip.redist[0].size, 0x4000 * HARTS);
        assert_int_equal(board.irqchip.ids, 255);
        assert_int_equal(board.irqchip.guest_index_bits, 2);
    }
}

static void a_disabled_controller_is_none(void **state) {
    (void)state;
    root_begin();
    cpus(plain_isa);
    begin("plic@c000000");
    text("compatible", "riscv,plic0");
    text("status", "disabled");
    cells("reg", 0, 0xc000000, 0, 0x600000);
    end();
    read_good_tree();
    assert_int_equal(board.irqchip.kind, IRQCHIP_NONE);
}

// ── ISA ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

static const char *isa_text, *isa_list;
static size_t isa_list_size;

static void given_isa(u32 n) {
    if (isa_list)
        ok(fdt_property(tree, "riscv,isa-extensions", isa_list, (int)isa_list_size));
    if (isa_text)
        text("riscv,isa", isa_text);
    (void)n;
}

static const char *isa_of(const char *string, const char *list, size_t size) {
    isa_text = string;
    isa_list = list;
    isa_list_size = size;
    root_begin();
    cpus(given_isa);
    read_good_tree();
    return board.isa;
}

static void an_isa_string_is_taken_apart(void **state) {
    (void)state;
    assert_string_equal(isa_of("rv64imac", NULL, 0), "i_m_a_c");
    assert_string_equal(isa_of("RV64GCH", NULL, 0), "i_m_a_f_d_zicsr_zifencei_c_h");
    assert_string_equal(isa_of("rv64i2p1_m2p0_zicsr2p0_sstc", NULL, 0), "i_m_zicsr2p0_sstc");
    assert_string_equal(isa_of("rv64imaczicsr_svinval__h", NULL, 0), "i_m_a_c_zicsr_svinval_h");
    assert_string_equal(isa_of("rv64ii_i_zba_zba", NULL, 0), "i_zba");
    assert_string_equal(isa_of("rv32imac", NULL, 0), "");
    assert_string_equal(isa_of("rv64", NULL, 0), "");
    assert_string_equal(isa_of("rv64i_\xff_z\n_h", NULL, 0), "i_h");
    assert_string_equal(isa_of(NULL, NULL, 0), "");
}

static void the_list_of_extensions_has_precedence(void **state) {
    (void)state;
    static const char list[] = "i\0m\0a\0sstc\0h";
    assert_string_equal(isa_of("rv64gc", list, sizeof(list)), "i_m_a_sstc_h");
    assert_true(board_has_isa(&board, "sstc"));
    assert_true(board_has_isa(&board, "h"));
    assert_false(board_has_isa(&board, "sst"));
    assert_false(board_has_isa(&board, "sstcx"));
    assert_false(board_has_isa(&board, "c"));
    assert_false(board_has_isa(&board, ""));
    assert_string_equal(isa_of(NULL, list, sizeof(list) - 1), "i_m_a_sstc_h"); // unterminated
}

static void mixed_isa(u32 n) {
    static const char *const of[HARTS] = {"rv64imafdch_sstc_zba", "rv64imac_h_zba", "rv64imafdcv_sstc_h_zba"};
    text("riscv,isa", of[n]);
}

static void what_not_every_hart_has_is_not_there(void **state) {
    (void)state;
    root_begin();
    cpus(mixed_isa);
    read_good_tree();
    assert_string_equal(board.isa, "i_m_a_c_h_zba");
}

static void more_extensions_than_there_is_room_are_cut_between_two(void **state) {
    (void)state;
    static char list[4096];
    size_t size = 0;
    for (u32 i = 0; i < 400; i++)
        size += (size_t)snprintf(list + size, sizeof(list) - size, "zx%03u", i) + 1;
    const char *isa = isa_of(NULL, list, size);
    const size_t length = strlen(isa);
    assert_in_range(length, BOARD_ISA_MAX - 8, BOARD_ISA_MAX - 1);
    assert_int_equal(length % 6, 5);
    assert_true(board_has_isa(&board, "zx000"));
}

static void no_corruption_makes_it_read_outside_the_tree(void **state) {
    (void)state;
    root_begin();
    cpus(plain_isa);
    imsic("imsics@28000000", 0x28000000, IMSIC_S, IRQ_S);
    aplic("interrupt-controller@d000000", 0xd000000, CHIP, IMSIC_S, 0, IRQ_S);
    uart(CHIP, true);
    read_good_tree();
    const size_t size = fdt_totalsize(tree);
    char *copy = aligned_alloc(8, (size + 7) & ~(size_t)7), why[160];
    for (size_t at = 0; at < size; at++)
        for (u32 i = 0; i < 4; i++) {
            static const u8 with[] = {0x00, 0xff, 0x80, 0x01};
            memcpy(copy, tree, size);
            copy[at] = (char)((u8)copy[at] ^ (with[i] ? with[i] : (u8)copy[at]));
            (void)fdt_read_board(copy, size, &board, why, sizeof(why));
        }
    free(copy);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_PLIC_machine_is_read),
        cmocka_unit_test(a_PLIC_with_supervisor_contexts_only_is_read),
        cmocka_unit_test(a_hart_without_a_supervisor_context_has_none),
        cmocka_unit_test(an_APLIC_machine_is_read_at_the_supervisors_level),
        cmocka_unit_test(a_disabled_controller_is_none),
        cmocka_unit_test(an_isa_string_is_taken_apart),
        cmocka_unit_test(the_list_of_extensions_has_precedence),
        cmocka_unit_test(what_not_every_hart_has_is_not_there),
        cmocka_unit_test(more_extensions_than_there_is_room_are_cut_between_two),
        cmocka_unit_test(no_corruption_makes_it_read_outside_the_tree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
