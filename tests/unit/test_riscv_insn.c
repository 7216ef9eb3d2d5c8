// SPDX-License-Identifier: Apache-2.0
// The decoder of riscv64's device accesses. The words come from an assembler.
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "../../arch/riscv64/insn.c"

static void expect(u32 insn, bool write, u32 size, u32 reg, bool sign) {
    struct insn_access a;
    assert_true(insn_access(insn, &a));
    assert_int_equal(a.write, write);
    assert_int_equal(a.size, size);
    assert_int_equal(a.reg, reg);
    assert_int_equal(a.sign, sign);
}

static void loads_tell_size_register_and_sign(void **state) {
    (void)state;
    expect(0x00528503, false, 1, 10, true);  // lb a0, 5(t0)
    expect(0x0052c503, false, 1, 10, false); // lbu a0, 5(t0)
    expect(0xffe29f83, false, 2, 31, true);  // lh t6, -2(t0)
    expect(0x0002d083, false, 2, 1, false);  // lhu ra, 0(t0)
    expect(0x0002a003, false, 4, 0, true);   // lw zero, 0(t0)
    expect(0x0002e903, false, 4, 18, false); // lwu s2, 0(t0)
    expect(0x7f82b603, false, 8, 12, true);  // ld a2, 2040(t0)
}

static void stores_tell_size_and_register(void **state) {
    (void)state;
    expect(0x00a282a3, true, 1, 10, false); // sb a0, 5(t0)
    expect(0xfff29f23, true, 2, 31, false); // sh t6, -2(t0)
    expect(0x0002a023, true, 4, 0, false);  // sw zero, 0(t0)
    expect(0x00c2bc23, true, 8, 12, false); // sd a2, 24(t0)
}

static void what_is_no_integer_load_or_store_is_refused(void **state) {
    (void)state;
    static const u32 others[] = {
        0x00000000, 0x0002f503, // reserved load
        0x0002c023,             // reserved stores
        0x0002f023, 0x0002b507, // fld fa0, 0(t0)
        0x00a2b027,             // fsd fa0, 0(t0)
        0x00a2a52f,             // amoadd.w a0, a0, (t0)
        0x1002b52f,             // lr.d a0, (t0)
        0x0042a00f,             // cbo.zero (t0)
        0x00000013,             // nop
    };
    struct insn_access a;
    for (size_t i = 0; i < ARRAY_SIZE(others); i++)
        assert_false(insn_access(others[i], &a));
}

static void compressed_forms_expand_to_the_same(void **state) {
    (void)state;
    expect(insn_expand(0x4388), false, 4, 10, true);  // c.lw a0, 0(a5)
    expect(insn_expand(0x6388), false, 8, 10, true);  // c.ld a0, 0(a5)
    expect(insn_expand(0xc388), true, 4, 10, false);  // c.sw a0, 0(a5)
    expect(insn_expand(0xe384), true, 8, 9, false);   // c.sd s1, 0(a5)
    expect(insn_expand(0x4502), false, 4, 10, true);  // c.lwsp a0, 0(sp)
    expect(insn_expand(0x6f82), false, 8, 31, true);  // c.ldsp t6, 0(sp)
    expect(insn_expand(0xc02a), true, 4, 10, false);  // c.swsp a0, 0(sp)
    expect(insn_expand(0xe07e), true, 8, 31, false);  // c.sdsp t6, 0(sp)
    expect(insn_expand(0x8388), false, 1, 10, false); // c.lbu a0, 0(a5)
    expect(insn_expand(0x8788), false, 2, 10, false); // c.lhu a0, 0(a5)
    expect(insn_expand(0x87c8), false, 2, 10, true);  // c.lh a0, 0(a5)
    expect(insn_expand(0x8b88), true, 1, 10, false);  // c.sb a0, 0(a5)
    expect(insn_expand(0x8f88), true, 2, 10, false);  // c.sh a0, 0(a5)
}

static void other_compressed_instructions_expand_to_nothing(void **state) {
    (void)state;
    static const u32 others[] = {
        0x0000, 0x0001, // c.nop
        0x2388,         // c.fld fa0, 0(a5)
        0xa388,         // c.fsd fa0, 0(a5)
        0x2502,         // c.fldsp fa0, 0(sp)
        0xa02a,         // c.fsdsp fa0, 0(sp)
        0x8082,         // c.jr ra
        0x8fc8,         // reserved beside c.sh
        0x852a,         // c.mv a0, a0
    };
    struct insn_access a;
    for (size_t i = 0; i < ARRAY_SIZE(others); i++)
        assert_false(insn_access(insn_expand(others[i]), &a));
}

static void csr_accesses_tell_number_registers_and_whether_they_write(void **state) {
    (void)state;
    static const struct {
        u32 insn;
        struct insn_csr is;
    } cases[] = {
        {0x151f9573, {0x151, 10, 31, CSR_OP_WRITE, false, true}}, // csrrw a0, sireg, t6
        {0x15c01573, {0x15c, 10, 0, CSR_OP_WRITE, false, true}},  // csrrw a0, stopei, x0
        {0x15c02573, {0x15c, 10, 0, CSR_OP_SET, false, false}},   // csrr a0, stopei
        {0x1512a073, {0x151, 0, 5, CSR_OP_SET, false, true}},     // csrs sireg, t0
        {0x1512b073, {0x151, 0, 5, CSR_OP_CLEAR, false, true}},   // csrc sireg, t0
        {0x15105073, {0x151, 0, 0, CSR_OP_WRITE, true, true}},    // csrwi sireg, 0
        {0x1510e073, {0x151, 0, 1, CSR_OP_SET, true, true}},      // csrsi sireg, 1
        {0x15107073, {0x151, 0, 0, CSR_OP_CLEAR, true, false}},   // csrci sireg, 0
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct insn_csr c;
        const struct insn_csr *is = &cases[i].is;
        assert_true(insn_csr(cases[i].insn, &c));
        assert_true(c.nr == is->nr && c.rd == is->rd && c.rs1 == is->rs1 && c.op == is->op);
        assert_true(c.immediate == is->immediate && c.writes == is->writes);
    }
    static const u32 others[] = {0x00000073, 0x10500073, 0x62000073, 0x00004073, 0x15102503}; // ecall wfi hfence hlv lw
    struct insn_csr c;
    for (size_t i = 0; i < ARRAY_SIZE(others); i++)
        assert_false(insn_csr(others[i], &c));
}

// Whatever a guest's memory holds: an answer is one that the rest can work with.
static void every_half_word_gives_a_sane_answer(void **state) {
    (void)state;
    for (u32 insn = 0; insn < 0x10000; insn++) {
        struct insn_access a;
        if (!insn_access(insn_expand(insn), &a))
            continue;
        assert_true(insn & 3 ? (insn & 3) == 2 : true);
        assert_true(a.reg < 32);
        assert_true(a.size == 1 || a.size == 2 || a.size == 4 || a.size == 8);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loads_tell_size_register_and_sign),
        cmocka_unit_test(stores_tell_size_and_register),
        cmocka_unit_test(what_is_no_integer_load_or_store_is_refused),
        cmocka_unit_test(compressed_forms_expand_to_the_same),
        cmocka_unit_test(other_compressed_instructions_expand_to_nothing),
        cmocka_unit_test(csr_accesses_tell_number_registers_and_whether_they_write),
        cmocka_unit_test(every_half_word_gives_a_sane_answer),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
