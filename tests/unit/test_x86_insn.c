// SPDX-License-Identifier: Apache-2.0
// The decoder of x86_64's device accesses and what its instructions compute. The bytes come from an assembler;
// tests/fuzz/x86insn.c compares the decoder with LLVM's.
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "../../arch/x86_64/alu.c"
#include "../../arch/x86_64/insn.c"

enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R9 = 9, R12 = 12 };

#define DECODE(bits, ...)                                                                                              \
    ({                                                                                                                 \
        static const u8 bytes[] = {__VA_ARGS__};                                                                       \
        decoded(bytes, sizeof(bytes), bits);                                                                           \
    })

// All of it is one instruction.
static struct x86_insn decoded(const u8 *bytes, u32 count, u32 bits) {
    struct x86_insn i;
    assert_true(x86_insn_decode(bytes, count, bits, &i));
    assert_int_equal(i.length, count);
    return i;
}

static void expect(struct x86_insn i, u32 op, u32 direction, u32 size, u32 reg) {
    assert_int_equal(i.op, op);
    assert_int_equal(i.direction, direction);
    assert_int_equal(i.size, size);
    assert_int_equal(i.reg, reg);
    assert_true(i.memory);
}

static void moves_tell_direction_size_and_register(void **state) {
    (void)state;
    expect(DECODE(64, 0x8b, 0x43, 0x04), X86_OP_MOV, X86_MEM_IS_SRC, 4, RAX);        // mov eax, [rbx + 4]
    expect(DECODE(64, 0x48, 0x89, 0x43, 0x04), X86_OP_MOV, X86_MEM_IS_DEST, 8, RAX); // mov [rbx + 4], rax
    expect(DECODE(64, 0x66, 0x44, 0x89, 0x0b), X86_OP_MOV, X86_MEM_IS_DEST, 2, R9);  // mov [rbx], r9w
    expect(DECODE(64, 0x40, 0x88, 0x33), X86_OP_MOV, X86_MEM_IS_DEST, 1, RSI);       // mov [rbx], sil
    expect(DECODE(16, 0x89, 0x07), X86_OP_MOV, X86_MEM_IS_DEST, 2, RAX);             // mov [bx], ax
    expect(DECODE(16, 0x66, 0x89, 0x07), X86_OP_MOV, X86_MEM_IS_DEST, 4, RAX);       // mov [bx], eax
    expect(DECODE(32, 0x89, 0x03), X86_OP_MOV, X86_MEM_IS_DEST, 4, RAX);             // mov [ebx], eax
    expect(DECODE(64, 0xa1, 1, 2, 3, 4, 5, 6, 7, 8), X86_OP_MOV, X86_MEM_IS_SRC, 4, RAX);
}

static void a_byte_register_is_a_high_one_only_without_rex(void **state) {
    (void)state;
    struct x86_insn i = DECODE(64, 0x8a, 0x23); // mov ah, [rbx]
    assert_true(i.high_byte);
    assert_int_equal(i.reg, RAX);
    i = DECODE(64, 0x40, 0x8a, 0x23); // mov spl, [rbx]
    assert_false(i.high_byte);
    assert_int_equal(i.reg, RSP);
}

static void extensions_read_less_than_they_write(void **state) {
    (void)state;
    struct x86_insn i = DECODE(64, 0x48, 0x0f, 0xb7, 0x03); // movzx rax, word [rbx]
    expect(i, X86_OP_MOVZX, X86_MEM_IS_SRC, 8, RAX);
    assert_int_equal(i.src_size, 2);
    i = DECODE(64, 0x48, 0x63, 0x03); // movsxd rax, dword [rbx]
    expect(i, X86_OP_MOVSX, X86_MEM_IS_SRC, 8, RAX);
    assert_int_equal(i.src_size, 4);
}

static void immediates_are_sign_extended(void **state) {
    (void)state;
    struct x86_insn i = DECODE(64, 0x48, 0xc7, 0x03, 0xfe, 0xff, 0xff, 0xff); // mov qword [rbx], -2
    assert_true(i.immediate);
    assert_int_equal(i.imm, -2);
    i = DECODE(64, 0x66, 0xc7, 0x03, 0x34, 0x12);
    assert_int_equal(i.imm, 0x1234);
    i = DECODE(64, 0x83, 0x0b, 0x80); // or dword [rbx], -128
    expect(i, X86_OP_OR, X86_MEM_IS_DEST, 4, X86_NO_REG);
    assert_int_equal(i.imm, -128);
}

static void addresses_have_base_index_scale_and_displacement(void **state) {
    (void)state;
    struct x86_insn i = DECODE(64, 0x42, 0x8b, 0x44, 0x88, 0xf0); // mov eax, [rax + r9*4 - 16]
    assert_int_equal(i.base, RAX);
    assert_int_equal(i.index, R9);
    assert_int_equal(i.scale, 4);
    assert_int_equal(i.disp, -16);
    i = DECODE(64, 0x8b, 0x05, 0x10, 0, 0, 0); // mov eax, [rip + 16]
    assert_int_equal(i.base, X86_REG_RIP);
    i = DECODE(64, 0x41, 0x8b, 0x04, 0x24); // mov eax, [r12]
    assert_int_equal(i.base, R12);
    assert_int_equal(i.index, X86_NO_REG);
    i = DECODE(64, 0x8b, 0x04, 0x25, 0xf0, 0xff, 0xff, 0xff); // mov eax, [-16]
    assert_int_equal(i.base, X86_NO_REG);
    assert_int_equal(i.disp, -16);
    i = DECODE(32, 0x8b, 0x0d, 1, 2, 3, 4); // mov ecx, [0x4030201]
    assert_int_equal(i.base, X86_NO_REG);
    assert_int_equal(i.disp, 0x4030201);
    i = DECODE(16, 0x8b, 0x42, 0x05); // mov ax, [bp + si + 5]
    assert_int_equal(i.base, RBP);
    assert_int_equal(i.index, RSI);
    assert_int_equal(i.address_size, 2);
}

static void segments_may_be_overridden(void **state) {
    (void)state;
    assert_int_equal((DECODE(64, 0x65, 0x8b, 0x03)).segment, 5);
    assert_int_equal((DECODE(32, 0x26, 0x8b, 0x03)).segment, 0);
    assert_int_equal((DECODE(32, 0x3e, 0x8b, 0x03)).segment, 3);
    assert_int_equal((DECODE(32, 0x8b, 0x03)).segment, X86_SEG_DEFAULT);
}

static void string_instructions_tell_size_and_repetition(void **state) {
    (void)state;
    struct x86_insn i = DECODE(64, 0xf3, 0x48, 0xa5); // rep movsq
    assert_int_equal(i.op, X86_OP_MOVS);
    assert_int_equal(i.size, 8);
    assert_true(i.rep);
    assert_false(i.memory);
    i = DECODE(64, 0xf2, 0xae); // repne scasb
    assert_true(i.repne);
    i = DECODE(16, 0x67, 0x66, 0x6d); // insd to [edi]
    assert_int_equal(i.size, 4);
    assert_int_equal(i.address_size, 4);
}

static void a_rex_prefix_counts_only_right_before_the_opcode(void **state) {
    (void)state;
    assert_int_equal((DECODE(64, 0x48, 0x66, 0x89, 0x03)).size, 2);
    assert_int_equal((DECODE(64, 0x66, 0x48, 0x89, 0x03)).size, 8);
}

static void instructions_that_come_out_tell_their_length(void **state) {
    (void)state;
    assert_int_equal((DECODE(64, 0x0f, 0x01, 0xd9)).op, X86_OP_SYSTEM); // vmmcall
    assert_int_equal((DECODE(64, 0x66, 0x66, 0x0f, 0xa2)).op, X86_OP_SYSTEM);
    assert_int_equal((DECODE(64, 0xf4)).op, X86_OP_SYSTEM);
    struct x86_insn i = DECODE(64, 0x41, 0x0f, 0x22, 0xe4); // mov cr4, r12
    assert_int_equal(i.system, X86_SYS_MOV_TO_CR);
    assert_int_equal(i.reg, 4);
    assert_int_equal(i.rm_reg, R12);
}

static void what_does_not_touch_memory_or_goes_on_is_refused(void **state) {
    (void)state;
    static const u8 refused[][4] = {{0x89, 0xc3},       {0x90},      {0x0f, 0x28, 0x03}, {0xff, 0x13}, {0xc6, 0x0b},
                                    {0x0f, 0x01, 0x13}, {0x8d, 0x03}};
    struct x86_insn i;
    for (size_t n = 0; n < ARRAY_SIZE(refused); n++)
        assert_false(x86_insn_decode(refused[n], 4, 64, &i));
    static const u8 cut[] = {0x48, 0xc7, 0x84, 0x88, 1, 2, 3, 4, 5, 6, 7, 8};
    for (u32 count = 0; count < sizeof(cut); count++)
        assert_false(x86_insn_decode(cut, count, 64, &i));
    assert_true(x86_insn_decode(cut, sizeof(cut), 64, &i));
    u8 prefixes[16];
    memset(prefixes, 0x66, sizeof(prefixes));
    prefixes[15] = 0xf4; // the 16th byte
    assert_false(x86_insn_decode(prefixes, sizeof(prefixes), 64, &i));
}

// ── Arithmetic ──────────────────────────────────────────────────────────────────────────────────────────────────────
#if defined(__x86_64__)
// The machine that the test runs on knows best.
#define NATIVE(name, insn, type)                                                                                       \
    static type name##_##type(type dest, type source, u64 *flags) {                                                    \
        __asm__("push %1\n\tpopfq\n\t" insn " %2, %0\n\tpushfq\n\tpop %1"                                              \
                : "+r"(dest), "+r"(*flags)                                                                             \
                : "r"(source)                                                                                          \
                : "cc");                                                                                               \
        return dest;                                                                                                   \
    }
#define NATIVES(name, insn)                                                                                            \
    NATIVE(name, insn, u8) NATIVE(name, insn, u16) NATIVE(name, insn, u32) NATIVE(name, insn, u64)
NATIVES(add, "add")
NATIVES(or, "or")
NATIVES(adc, "adc")
NATIVES(sbb, "sbb")
NATIVES(and, "and")
NATIVES(sub, "sub")
NATIVES(xor, "xor")

static void compare(u32 op, u32 size, u64 dest, u64 source, u64 flags, u64 native, u64 native_flags) {
    const u64 compared =
        op == X86_OP_OR || op == X86_OP_AND || op == X86_OP_XOR ? 0x8c5 : 0x8d5; // AF is undefined there
    u64 got_flags = flags, got = x86_alu(op, size, dest, source, &got_flags);
    assert_int_equal(got, native);
    assert_int_equal(got_flags & compared, native_flags & compared);
}

#define COMPARE(op, name)                                                                                              \
    do {                                                                                                               \
        u64 f8 = flags, f16 = flags, f32 = flags, f64 = flags;                                                         \
        compare(op, 1, a, b, flags, name##_u8((u8)a, (u8)b, &f8), f8);                                                 \
        compare(op, 2, a, b, flags, name##_u16((u16)a, (u16)b, &f16), f16);                                            \
        compare(op, 4, a, b, flags, name##_u32((u32)a, (u32)b, &f32), f32);                                            \
        compare(op, 8, a, b, flags, name##_u64(a, b, &f64), f64);                                                      \
    } while (0)

static void results_and_flags_are_the_machine_s(void **state) {
    (void)state;
    static const u64 values[] = {0,
                                 1,
                                 2,
                                 0xf,
                                 0x10,
                                 0x7f,
                                 0x80,
                                 0xff,
                                 0x7fff,
                                 0x8000,
                                 0xffff,
                                 0x7fffffff,
                                 0x80000000,
                                 0xffffffff,
                                 0x7fffffffffffffff,
                                 0x8000000000000000,
                                 ~0ull,
                                 0x123456789abcdef0};
    for (u32 i = 0; i < ARRAY_SIZE(values) * ARRAY_SIZE(values) * 2; i++) {
        u64 a = values[i / 2 % ARRAY_SIZE(values)], b = values[i / 2 / ARRAY_SIZE(values)], flags = 0x202 | (i & 1);
        COMPARE(X86_OP_ADD, add);
        COMPARE(X86_OP_OR, or);
        COMPARE(X86_OP_ADC, adc);
        COMPARE(X86_OP_SBB, sbb);
        COMPARE(X86_OP_AND, and);
        COMPARE(X86_OP_SUB, sub);
        COMPARE(X86_OP_XOR, xor);
    }
}
#endif

static void increments_keep_the_carry(void **state) {
    (void)state;
    u64 flags = 1;
    assert_int_equal(x86_alu(X86_OP_INC, 1, 0xff, 0, &flags), 0);
    assert_int_equal(flags & 0x41, 0x41);
    flags = 0;
    assert_int_equal(x86_alu(X86_OP_DEC, 2, 0, 0, &flags), 0xffff);
    assert_int_equal(flags & 0x81, 0x80);
}

static void bit_operations_put_the_bit_into_the_carry(void **state) {
    (void)state;
    u64 flags = 0;
    assert_int_equal(x86_alu(X86_OP_BTS, 4, 0, 35, &flags), 8);
    assert_int_equal(flags & 1, 0);
    assert_int_equal(x86_alu(X86_OP_BTR, 4, 0xf, 3, &flags), 7);
    assert_int_equal(flags & 1, 1);
    assert_int_equal(x86_alu(X86_OP_BTC, 4, 8, 3, &flags), 0);
    assert_int_equal(flags & 1, 1);
    assert_int_equal(x86_alu(X86_OP_BT, 4, 5, 1, &flags), 5);
    assert_int_equal(flags & 1, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(moves_tell_direction_size_and_register),
        cmocka_unit_test(a_byte_register_is_a_high_one_only_without_rex),
        cmocka_unit_test(extensions_read_less_than_they_write),
        cmocka_unit_test(immediates_are_sign_extended),
        cmocka_unit_test(addresses_have_base_index_scale_and_displacement),
        cmocka_unit_test(segments_may_be_overridden),
        cmocka_unit_test(string_instructions_tell_size_and_repetition),
        cmocka_unit_test(a_rex_prefix_counts_only_right_before_the_opcode),
        cmocka_unit_test(instructions_that_come_out_tell_their_length),
        cmocka_unit_test(what_does_not_touch_memory_or_goes_on_is_refused),
#if defined(__x86_64__)
        cmocka_unit_test(results_and_flags_are_the_machine_s),
#endif
        cmocka_unit_test(increments_keep_the_carry),
        cmocka_unit_test(bit_operations_put_the_bit_into_the_carry),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
