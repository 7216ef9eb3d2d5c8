// SPDX-License-Identifier: Apache-2.0
#include "insn.h"

enum { OP_LOAD = 0x03, OP_STORE = 0x23, OP_SYSTEM = 0x73 };
enum { F3_B = 0, F3_H = 1, F3_W = 2, F3_D = 3, F3_UNSIGNED = 4 };

static u32 bits(u32 value, u32 high, u32 low) {
    return (value >> low) & ((2u << (high - low)) - 1);
}

// Loads and stores in the form that htinst has (§22.6.3): opcode, funct3 and the register of the data.
static u32 as_load(u32 rd, u32 funct3) {
    return OP_LOAD | rd << 7 | funct3 << 12;
}
static u32 as_store(u32 rs2, u32 funct3) {
    return OP_STORE | rs2 << 20 | funct3 << 12;
}

// Zcb (§28.11): bytes and halfwords.
static u32 expand_zcb(u32 insn) {
    u32 reg = 8 + bits(insn, 4, 2);
    switch (bits(insn, 12, 10)) {
    case 0:
        return as_load(reg, F3_B | F3_UNSIGNED);
    case 1:
        return as_load(reg, bits(insn, 6, 6) ? F3_H : F3_H | F3_UNSIGNED);
    case 2:
        return as_store(reg, F3_B);
    case 3:
        return bits(insn, 6, 6) ? 0 : as_store(reg, F3_H);
    default:
        return 0;
    }
}

// A 16-bit load or store of an integer register (chapter 26); 0: not one.
u32 insn_expand(u32 insn) {
    u32 reg = 8 + bits(insn, 4, 2), funct3 = bits(insn, 15, 13);
    if ((insn & 3) == 2) { // relative to the stack pointer
        u32 rd = bits(insn, 11, 7), rs2 = bits(insn, 6, 2);
        return funct3 == 2 || funct3 == 3   ? as_load(rd, funct3)
               : funct3 == 6 || funct3 == 7 ? as_store(rs2, funct3 - 4)
                                            : 0;
    }
    if (insn & 3)
        return 0;
    switch (funct3) {
    case 2:
    case 3:
        return as_load(reg, funct3);
    case 4:
        return expand_zcb(insn);
    case 6:
    case 7:
        return as_store(reg, funct3 - 4);
    default:
        return 0;
    }
}

bool insn_access(u32 insn, struct insn_access *out) {
    u32 opcode = bits(insn, 6, 0), funct3 = bits(insn, 14, 12);
    *out = (struct insn_access){.size = (u8)(1u << (funct3 & 3)), .write = opcode == OP_STORE};
    out->reg = (u8)(out->write ? bits(insn, 24, 20) : bits(insn, 11, 7));
    out->sign = !out->write && !(funct3 & F3_UNSIGNED);
    if (out->write)
        return funct3 <= F3_D;
    return opcode == OP_LOAD && funct3 <= (F3_W | F3_UNSIGNED);
}

bool insn_csr(u32 insn, struct insn_csr *out) {
    u32 funct3 = bits(insn, 14, 12), op = funct3 & 3;
    *out = (struct insn_csr){.nr = (u16)bits(insn, 31, 20), .rd = (u8)bits(insn, 11, 7), .rs1 = (u8)bits(insn, 19, 15)};
    out->op = (enum insn_csr_op)op;
    out->immediate = funct3 & 4;
    out->writes = op == CSR_OP_WRITE || out->rs1 != 0;
    return bits(insn, 6, 0) == OP_SYSTEM && op != 0;
}
