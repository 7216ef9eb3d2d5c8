// SPDX-License-Identifier: Apache-2.0
// The instructions that a hypervisor has to understand: those that access memory through a general register or an
// immediate (a device's registers may be there), the string instructions, and those that a guest is taken out for.
// Pure: unit tests and a fuzzer run it on the host. AMD64 APM volume 3; Intel SDM volume 2.
#pragma once

#include "types.h"

enum x86_op {
    X86_OP_MOV,   // also with an immediate
    X86_OP_MOVZX, // from src_size to op_size
    X86_OP_MOVSX, // also MOVSXD
    X86_OP_ADD,   // ADD … CMP: in the order of their opcodes
    X86_OP_OR,
    X86_OP_ADC,
    X86_OP_SBB,
    X86_OP_AND,
    X86_OP_SUB,
    X86_OP_XOR,
    X86_OP_CMP,
    X86_OP_TEST,
    X86_OP_NOT,
    X86_OP_NEG,
    X86_OP_INC,
    X86_OP_DEC,
    X86_OP_XCHG,
    X86_OP_XADD,
    X86_OP_CMPXCHG,
    X86_OP_BT, // BT … BTC: in the order of their opcodes
    X86_OP_BTS,
    X86_OP_BTR,
    X86_OP_BTC,
    X86_OP_MOVS, // MOVS … OUTS: string instructions
    X86_OP_CMPS,
    X86_OP_STOS,
    X86_OP_LODS,
    X86_OP_SCAS,
    X86_OP_INS,
    X86_OP_OUTS,
    X86_OP_SYSTEM, // of interest for its length, and for what `system` says
};

enum x86_system {
    X86_SYS_OTHER,
    X86_SYS_MOV_FROM_CR, // reg ← control register rm_reg, both general numbering
    X86_SYS_MOV_TO_CR,
    X86_SYS_CALL, // VMCALL or VMMCALL
};

enum x86_operand {
    X86_MEM_IS_DEST, // memory ← memory op source
    X86_MEM_IS_SRC,  // register ← register op memory
};

enum : u8 { X86_NO_REG = 0xff, X86_REG_RIP = 0xfe, X86_SEG_DEFAULT = 0xff };

struct x86_insn {
    u8 length;       // bytes, prefixes included
    u8 op;           // enum x86_op
    u8 system;       // enum x86_system
    u8 size;         // of the operands in bytes: 1, 2, 4, 8
    u8 src_size;     // MOVZX, MOVSX: of the memory operand; else as `size`
    u8 address_size; // bytes: 2, 4, 8
    u8 direction;    // enum x86_operand
    u8 segment;      // enum x86_segment as overridden, or X86_SEG_DEFAULT
    bool lock, rep, repne;
    bool memory;    // there is a memory operand by ModRM or moffs
    bool immediate; // the other operand is `imm`
    bool high_byte; // the register is AH, CH, DH or BH: reg is 0…3
    u8 reg;         // the other operand
    u8 rm_reg;      // MOV to and from CR: the general register
    // Address: base + index * scale + disp. X86_REG_RIP: relative to the end of the instruction.
    u8 base, index, scale;
    s64 disp;
    s64 imm; // sign-extended
};

// Decodes one instruction of at most `count` bytes (15 are enough for any), in a segment of `code_bits` 16, 32 or 64.
// False: it is none of these, or longer than `count`. Any.
[[nodiscard]] bool x86_insn_decode(const u8 *bytes, u32 count, u32 code_bits, struct x86_insn *out);
