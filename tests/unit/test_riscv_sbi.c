// SPDX-License-Identifier: Apache-2.0
// What a riscv64 guest's SBI call asks for, by the SBI specification 2.0.
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "../../arch/riscv64/sbi_decode.c"

enum : u64 { RAM = 0x80000000, RAM_SIZE = 0x1000000, RAM_END = RAM + RAM_SIZE };
static const struct sbi_guest guest = {.harts = 4, .ram = RAM, .ram_size = RAM_SIZE, .machine_id = {11, 22, 33}};

static struct sbi_op call(u64 extension, u64 function, u64 a0, u64 a1, u64 a2, u64 a3, u64 a4) {
    u64 x[32] = {};
    x[10] = a0;
    x[11] = a1;
    x[12] = a2;
    x[13] = a3;
    x[14] = a4;
    x[16] = function;
    x[17] = extension;
    struct sbi_op op;
    sbi_decode(&guest, x, &op);
    return op;
}

#define CALL(extension, function, a0, a1, a2) call(extension, function, a0, a1, a2, 0, 0)

static void is(struct sbi_op op, enum sbi_action action) {
    assert_int_equal(op.action, action);
    assert_int_equal(op.error, SBI_SUCCESS);
}

static void answers(struct sbi_op op, enum sbi_error error, u64 value) {
    assert_int_equal(op.action, SBI_ANSWERED);
    assert_int_equal(op.error, error);
    assert_int_equal(op.value, value);
    assert_false(op.legacy);
}

static void the_base_tells_who_we_are(void **state) {
    (void)state;
    answers(CALL(SBI_BASE, 0, 0, 0, 0), SBI_SUCCESS, 2 << 24);
    answers(CALL(SBI_BASE, 1, 0, 0, 0), SBI_SUCCESS, 0x42484b);
    answers(CALL(SBI_BASE, 2, 0, 0, 0), SBI_SUCCESS, 1);
    answers(CALL(SBI_BASE, 4, 0, 0, 0), SBI_SUCCESS, 11);
    answers(CALL(SBI_BASE, 5, 0, 0, 0), SBI_SUCCESS, 22);
    answers(CALL(SBI_BASE, 6, 0, 0, 0), SBI_SUCCESS, 33);
    answers(CALL(SBI_BASE, 7, 0, 0, 0), SBI_NOT_SUPPORTED, 0);
}

static void a_probe_finds_what_is_answered_and_nothing_else(void **state) {
    (void)state;
    static const u64 have[] = {0,        1,        2,        3,          4,           5,       6,
                               7,        8,        SBI_BASE, SBI_TIME,   SBI_IPI,     SBI_HSM, SBI_SRST,
                               SBI_DBCN, SBI_SUSP, SBI_PMU,  SBI_RFENCE, SBI_BULKHEAD};
    static const u64 have_not[] = {9,          0xf,        0x11,     0x46574654, 0x535441,
                                   0x4e41434c, 0x43505043, 0x535345, 0x44425452, ~0ull};
    for (size_t i = 0; i < ARRAY_SIZE(have); i++)
        answers(CALL(SBI_BASE, 3, have[i], 0, 0), SBI_SUCCESS, 1);
    for (size_t i = 0; i < ARRAY_SIZE(have_not); i++) {
        answers(CALL(SBI_BASE, 3, have_not[i], 0, 0), SBI_SUCCESS, 0);
        for (u64 function = 0; function < 20; function++)
            answers(CALL(have_not[i], function, ~0ull, ~0ull, ~0ull), SBI_NOT_SUPPORTED, 0);
    }
}

static void a_function_that_is_not_there_is_not_supported(void **state) {
    (void)state;
    static const struct {
        u64 extension, first;
    } all[] = {{SBI_BASE, 7}, {SBI_TIME, 1}, {SBI_IPI, 1},  {SBI_RFENCE, 3}, {SBI_HSM, 4},
               {SBI_SRST, 1}, {SBI_PMU, 7},  {SBI_DBCN, 3}, {SBI_SUSP, 1},   {SBI_BULKHEAD, HYPERCALL_COUNT}};
    for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
        answers(CALL(all[i].extension, all[i].first, 0, 0, 0), SBI_NOT_SUPPORTED, 0);
        answers(CALL(all[i].extension, 1ull << 32, 0, 0, 0), SBI_NOT_SUPPORTED, 0);
        answers(CALL(all[i].extension, ~0ull, 0, 0, 0), SBI_NOT_SUPPORTED, 0);
    }
}

static void a_timer_has_64_bits(void **state) {
    (void)state;
    struct sbi_op op = CALL(SBI_TIME, 0, ~0ull, 0, 0);
    is(op, SBI_TIMER);
    assert_int_equal(op.value, ~0ull);
}

static void harts_are_a_mask_from_a_base_on(void **state) {
    (void)state;
    static const struct {
        u64 mask, base, harts;
    } right[] = {{1, 0, 1}, {0xf, 0, 0xf}, {1, 3, 8},       {3, 2, 0xc},
                 {0, 0, 0}, {0, 3, 0},     {0, ~0ull, 0xf}, {~0ull, ~0ull, 0xf}};
    static const struct {
        u64 mask, base;
    } wrong[] = {{0x10, 0}, {~0ull, 0}, {2, 3}, {1, 4}, {0, 4}, {0, ~0ull - 1}, {1, 64}, {1, 1ull << 63}};
    for (size_t i = 0; i < ARRAY_SIZE(right); i++) {
        struct sbi_op op = CALL(SBI_IPI, 0, right[i].mask, right[i].base, 0);
        is(op, SBI_SEND_IPI);
        assert_false(op.mask_in_ram);
        assert_int_equal(op.harts, right[i].harts);
        op = CALL(SBI_RFENCE, 0, right[i].mask, right[i].base, 0);
        is(op, SBI_FENCE);
        assert_int_equal(op.harts, right[i].harts);
    }
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        answers(CALL(SBI_IPI, 0, wrong[i].mask, wrong[i].base, 0), SBI_INVALID_PARAM, 0);
        for (u64 function = 0; function < 3; function++)
            answers(CALL(SBI_RFENCE, function, wrong[i].mask, wrong[i].base, 0), SBI_INVALID_PARAM, 0);
    }
}

static void the_greatest_VM_has_16_harts(void **state) {
    (void)state;
    const struct sbi_guest big = {.harts = SBI_HARTS_MAX, .ram = RAM, .ram_size = RAM_SIZE};
    u64 x[32] = {[10] = 0xffff, [17] = SBI_IPI};
    struct sbi_op op;
    sbi_decode(&big, x, &op);
    is(op, SBI_SEND_IPI);
    assert_int_equal(op.harts, 0xffff);
    assert_int_equal(sbi_mask_harts(&big, ~0ull), 0xffff);
}

static void a_fence_has_a_range_and_an_ASID(void **state) {
    (void)state;
    struct sbi_op op = call(SBI_RFENCE, 2, 0xf, 0, 0x1000, 0x2000, 0x12345);
    is(op, SBI_FENCE);
    assert_int_equal(op.fence, RFENCE_SFENCE_VMA_ASID);
    assert_int_equal(op.at, 0x1000);
    assert_int_equal(op.size, 0x2000);
    assert_int_equal(op.asid, 0x2345);
    static const u64 everything[][2] = {{0, 0}, {0, ~0ull}, {0x5000, ~0ull}};
    for (size_t i = 0; i < ARRAY_SIZE(everything); i++) {
        op = call(SBI_RFENCE, 1, 1, 0, everything[i][0], everything[i][1], 0);
        is(op, SBI_FENCE);
        assert_int_equal(op.at, 0);
        assert_int_equal(op.size, ~0ull);
    }
    op = call(SBI_RFENCE, 1, 1, 0, ~0ull - 0xfff, 0x1000, 0); // to the very end
    is(op, SBI_FENCE);
    answers(call(SBI_RFENCE, 1, 1, 0, ~0ull - 0xfff, 0x1001, 0), SBI_INVALID_ADDRESS, 0);
    answers(call(SBI_RFENCE, 2, 1, 0, 3, ~0ull - 1, 0), SBI_INVALID_ADDRESS, 0);
    is(call(SBI_RFENCE, 0, 1, 0, 2, ~0ull - 1, 0), SBI_FENCE); // FENCE.I has no range
}

static void a_hart_starts_in_memory(void **state) {
    (void)state;
    static const u64 right[] = {RAM, RAM + 2, RAM_END - 2};
    static const u64 wrong[] = {0, RAM - 2, RAM + 1, RAM_END - 1, RAM_END, ~0ull, ~1ull, 1ull << 63};
    for (size_t i = 0; i < ARRAY_SIZE(right); i++) {
        struct sbi_op op = CALL(SBI_HSM, 0, 3, right[i], 99);
        is(op, SBI_HART_START);
        assert_int_equal(op.target, 3);
        assert_int_equal(op.entry, right[i]);
        assert_int_equal(op.arg, 99);
    }
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        answers(CALL(SBI_HSM, 0, 1, wrong[i], 0), SBI_INVALID_ADDRESS, 0);
        answers(CALL(SBI_HSM, 3, 0x80000000, wrong[i], 0), SBI_INVALID_ADDRESS, 0);
        answers(CALL(SBI_SUSP, 0, 0, wrong[i], 0), SBI_INVALID_ADDRESS, 0);
    }
    static const u64 nobody[] = {4, 64, 1ull << 32, ~0ull};
    for (size_t i = 0; i < ARRAY_SIZE(nobody); i++) {
        answers(CALL(SBI_HSM, 0, nobody[i], RAM, 0), SBI_INVALID_PARAM, 0);
        answers(CALL(SBI_HSM, 2, nobody[i], 0, 0), SBI_INVALID_PARAM, 0);
    }
    is(CALL(SBI_HSM, 1, ~0ull, ~0ull, ~0ull), SBI_HART_STOP);
    struct sbi_op op = CALL(SBI_HSM, 2, 2, ~0ull, ~0ull);
    is(op, SBI_HART_STATUS);
    assert_int_equal(op.target, 2);
}

static void a_suspend_keeps_the_registers_or_loses_them(void **state) {
    (void)state;
    struct sbi_op op = CALL(SBI_HSM, 3, 0, 1, 2); // retentive: the address does not matter
    is(op, SBI_HART_SUSPEND);
    assert_false(op.loses);
    static const u64 losing[] = {0x80000000, 0xffffffff80000000};
    for (size_t i = 0; i < ARRAY_SIZE(losing); i++) {
        op = CALL(SBI_HSM, 3, losing[i], RAM + 4, 5);
        is(op, SBI_HART_SUSPEND);
        assert_true(op.loses);
        assert_int_equal(op.entry, RAM + 4);
        assert_int_equal(op.arg, 5);
    }
    static const u64 reserved[] = {1, 0x0fffffff, 0x10000000, 0x7fffffff, 0x80000001, 0x90000000, 0xffffffff};
    for (size_t i = 0; i < ARRAY_SIZE(reserved); i++)
        answers(CALL(SBI_HSM, 3, reserved[i], RAM, 0), SBI_INVALID_PARAM, 0);
}

static void the_system_suspends_to_memory_only(void **state) {
    (void)state;
    struct sbi_op op = CALL(SBI_SUSP, 0, 0, RAM + 8, 7);
    is(op, SBI_SYSTEM_SUSPEND);
    assert_true(op.loses);
    assert_int_equal(op.entry, RAM + 8);
    assert_int_equal(op.arg, 7);
    answers(CALL(SBI_SUSP, 0, 1, RAM, 0), SBI_INVALID_PARAM, 0);
    answers(CALL(SBI_SUSP, 0, 0x80000000, RAM, 0), SBI_INVALID_PARAM, 0);
}

static void a_reset_has_a_type_and_a_reason(void **state) {
    (void)state;
    is(CALL(SBI_SRST, 0, 0, 0, 0), SBI_SYSTEM_OFF);
    is(CALL(SBI_SRST, 0, 0, 1, 0), SBI_SYSTEM_OFF);
    is(CALL(SBI_SRST, 0, 1, 0, 0), SBI_SYSTEM_RESET);
    is(CALL(SBI_SRST, 0, 2, 1, 0), SBI_SYSTEM_RESET);
    static const u64 wrong[][2] = {{3, 0}, {0xefffffff, 0}, {0xf0000000, 0}, {0, 2}, {1, 0xe0000000}, {0, ~0ull}};
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
        answers(CALL(SBI_SRST, 0, wrong[i][0], wrong[i][1], 0), SBI_INVALID_PARAM, 0);
}

static void the_debug_console_reaches_memory_only(void **state) {
    (void)state;
    static const enum sbi_action actions[] = {SBI_CONSOLE_WRITE, SBI_CONSOLE_READ};
    static const u64 wrong[][3] = {{1, RAM - 1, 0},   {1, RAM_END, 0},    {2, RAM_END - 1, 0}, {RAM_SIZE + 1, RAM, 0},
                                   {~0ull, RAM, 0},   {16, ~0ull - 7, 0}, {1, RAM, 1},         {0, 0, 0},
                                   {~0ull, ~0ull, 0}, {1, 0, 0},          {1ull << 63, RAM, 0}};
    for (u64 function = 0; function < 2; function++) {
        struct sbi_op op = CALL(SBI_DBCN, function, 5, RAM_END - 5, 0);
        is(op, actions[function]);
        assert_int_equal(op.at, RAM_END - 5);
        assert_int_equal(op.size, 5);
        op = CALL(SBI_DBCN, function, RAM_SIZE, RAM, 0);
        is(op, actions[function]);
        assert_int_equal(op.size, SBI_CONSOLE_MAX);
        op = CALL(SBI_DBCN, function, 0, RAM, 0);
        is(op, actions[function]);
        assert_int_equal(op.size, 0);
        for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
            answers(CALL(SBI_DBCN, function, wrong[i][0], wrong[i][1], wrong[i][2]), SBI_INVALID_PARAM, 0);
    }
    struct sbi_op op = CALL(SBI_DBCN, 2, 0x1141, 0, 0);
    is(op, SBI_CONSOLE_PUT);
    assert_int_equal(op.value, 'A');
}

static void there_are_no_counters(void **state) {
    (void)state;
    answers(CALL(SBI_PMU, 0, 0, 0, 0), SBI_SUCCESS, 0);
    for (u64 function = 1; function <= 6; function++)
        answers(CALL(SBI_PMU, function, 0, 1, 0), SBI_INVALID_PARAM, 0);
    answers(CALL(SBI_PMU, 7, RAM, 0, 0), SBI_NOT_SUPPORTED, 0); // snapshots
}

static void legacy_calls_have_no_function_number_and_answer_in_a0(void **state) {
    (void)state;
    static const enum sbi_action actions[] = {SBI_TIMER, SBI_CONSOLE_PUT, SBI_CONSOLE_GET, SBI_CLEAR_IPI, SBI_SEND_IPI,
                                              SBI_FENCE, SBI_FENCE,       SBI_FENCE,       SBI_SYSTEM_OFF};
    for (u64 extension = 0; extension < ARRAY_SIZE(actions); extension++) {
        struct sbi_op op = call(extension, 77, 0x1030, 0x4000, 0x1000, 9, 0);
        is(op, actions[extension]);
        assert_true(op.legacy);
    }
    assert_int_equal(CALL(SBI_LEGACY_SET_TIMER, 5, 123, 0, 0).value, 123);
    assert_int_equal(CALL(SBI_LEGACY_PUTCHAR, 5, 0x130, 0, 0).value, '0');
    struct sbi_op op = call(SBI_LEGACY_SFENCE_VMA_ASID, 0, 0x1030, 0x4000, 0x1000, 9, 0);
    assert_int_equal(op.fence, RFENCE_SFENCE_VMA_ASID);
    assert_int_equal(op.at, 0x4000);
    assert_int_equal(op.size, 0x1000);
    assert_int_equal(op.asid, 9);
}

static void a_legacy_mask_lies_in_memory(void **state) {
    (void)state;
    for (u64 extension = SBI_LEGACY_SEND_IPI; extension <= SBI_LEGACY_SFENCE_VMA_ASID; extension++) {
        struct sbi_op op = CALL(extension, 0, 0x1238, 0, 0);
        assert_true(op.mask_in_ram);
        assert_int_equal(op.value, 0x1238);
        assert_int_equal(op.harts, 0);
        op = CALL(extension, 0, 0, 0, 0); // no pointer: all
        assert_false(op.mask_in_ram);
        assert_int_equal(op.harts, 0xf);
    }
    assert_int_equal(sbi_mask_harts(&guest, 0x35), 5);
}

static void our_own_calls_have_their_number_in_a6(void **state) {
    (void)state;
    struct sbi_op op = CALL(SBI_BULKHEAD, HYPERCALL_CONSOLE_WRITE, 1, 2, 3);
    is(op, SBI_HYPERCALL);
    assert_int_equal(op.target, HYPERCALL_CONSOLE_WRITE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_base_tells_who_we_are),
        cmocka_unit_test(a_probe_finds_what_is_answered_and_nothing_else),
        cmocka_unit_test(a_function_that_is_not_there_is_not_supported),
        cmocka_unit_test(a_timer_has_64_bits),
        cmocka_unit_test(harts_are_a_mask_from_a_base_on),
        cmocka_unit_test(the_greatest_VM_has_16_harts),
        cmocka_unit_test(a_fence_has_a_range_and_an_ASID),
        cmocka_unit_test(a_hart_starts_in_memory),
        cmocka_unit_test(a_suspend_keeps_the_registers_or_loses_them),
        cmocka_unit_test(the_system_suspends_to_memory_only),
        cmocka_unit_test(a_reset_has_a_type_and_a_reason),
        cmocka_unit_test(the_debug_console_reaches_memory_only),
        cmocka_unit_test(there_are_no_counters),
        cmocka_unit_test(legacy_calls_have_no_function_number_and_answer_in_a0),
        cmocka_unit_test(a_legacy_mask_lies_in_memory),
        cmocka_unit_test(our_own_calls_have_their_number_in_a6),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
