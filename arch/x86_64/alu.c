// SPDX-License-Identifier: Apache-2.0
#include "alu.h"

#define FLAG_CF BIT(0)
#define FLAG_PF BIT(2)
#define FLAG_AF BIT(4)
#define FLAG_ZF BIT(6)
#define FLAG_SF BIT(7)
#define FLAG_OF BIT(11)
#define FLAGS_ARITHMETIC (FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF | FLAG_OF)

static u64 flags_of_result(u64 result, u64 sign) {
    u64 flags = result == 0 ? FLAG_ZF : 0;
    flags |= result & sign ? FLAG_SF : 0;
    flags |= __builtin_parity((u32)result & 0xff) ? 0 : FLAG_PF;
    return flags;
}

// a + b + carry; the carry out of each bit is that of the majority of the operands and the sum's complement.
static u64 add(u64 a, u64 b, u64 carry, u64 mask, u64 *flags) {
    u64 sign = mask ^ (mask >> 1), sum = (a + b + carry) & mask;
    u64 carries = (a & b) | ((a | b) & ~sum), overflow = (a ^ sum) & (b ^ sum);
    *flags = flags_of_result(sum, sign) | (carries & sign ? FLAG_CF : 0) | (carries & 8 ? FLAG_AF : 0) |
             (overflow & sign ? FLAG_OF : 0);
    return sum;
}

static u64 subtract(u64 a, u64 b, u64 borrow, u64 mask, u64 *flags) {
    u64 sign = mask ^ (mask >> 1), difference = (a - b - borrow) & mask;
    u64 borrows = (~a & b) | ((~a | b) & difference), overflow = (a ^ b) & (a ^ difference);
    *flags = flags_of_result(difference, sign) | (borrows & sign ? FLAG_CF : 0) | (borrows & 8 ? FLAG_AF : 0) |
             (overflow & sign ? FLAG_OF : 0);
    return difference;
}

// BT, BTS, BTR, BTC: only CF is defined.
static u64 bit_operation(enum x86_op op, u32 size, u64 dest, u64 source, u64 *rflags) {
    u64 bit = BIT(source & (8 * size - 1));
    *rflags = (*rflags & ~FLAG_CF) | (dest & bit ? FLAG_CF : 0);
    return op == X86_OP_BTS ? dest | bit : op == X86_OP_BTR ? dest & ~bit : op == X86_OP_BTC ? dest ^ bit : dest;
}

u64 x86_alu(enum x86_op op, u32 size, u64 dest, u64 source, u64 *rflags) {
    u64 mask = size == 8 ? ~0ull : BIT(8 * size) - 1, flags = 0, carry = *rflags & FLAG_CF, keep = 0, result;
    if (op >= X86_OP_BT && op <= X86_OP_BTC)
        return bit_operation(op, size, dest, source, rflags);
    dest &= mask;
    source &= mask;
    switch (op) {
    case X86_OP_ADD:
    case X86_OP_XADD:
        result = add(dest, source, 0, mask, &flags);
        break;
    case X86_OP_ADC:
        result = add(dest, source, carry, mask, &flags);
        break;
    case X86_OP_SBB:
        result = subtract(dest, source, carry, mask, &flags);
        break;
    case X86_OP_SUB:
    case X86_OP_CMP:
        result = subtract(dest, source, 0, mask, &flags);
        break;
    case X86_OP_INC:
        keep = carry;
        result = add(dest, 1, 0, mask, &flags);
        flags &= ~FLAG_CF;
        break;
    case X86_OP_DEC:
        keep = carry;
        result = subtract(dest, 1, 0, mask, &flags);
        flags &= ~FLAG_CF;
        break;
    case X86_OP_NEG:
        result = subtract(0, dest, 0, mask, &flags);
        break;
    case X86_OP_NOT:
        return ~dest & mask;
    case X86_OP_OR:
        result = dest | source;
        flags = flags_of_result(result, mask ^ (mask >> 1));
        break;
    case X86_OP_XOR:
        result = dest ^ source;
        flags = flags_of_result(result, mask ^ (mask >> 1));
        break;
    default: // AND, TEST
        result = dest & source;
        flags = flags_of_result(result, mask ^ (mask >> 1));
        break;
    }
    *rflags = (*rflags & ~FLAGS_ARITHMETIC) | flags | keep;
    return result;
}
