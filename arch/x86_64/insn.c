// SPDX-License-Identifier: Apache-2.0
#include "insn.h"

enum : u8 { REX_B = 1, REX_X = 2, REX_R = 4, REX_W = 8, REX = 0x40 };
enum { INSN_MAX = 15 };

// What is left to read, and the prefixes.
struct decoder {
    const u8 *at, *end;
    bool short_of; // the bytes did not last
    bool size_prefix, address_prefix;
    u8 rex; // with REX set, if there was one
    u32 code_bits;
};

static u8 next(struct decoder *d) {
    if (d->at == d->end) {
        d->short_of = true;
        return 0;
    }
    return *d->at++;
}

static s64 next_signed(struct decoder *d, u32 size) {
    u64 value = 0;
    for (u32 i = 0; i < size; i++)
        value |= (u64)next(d) << (8 * i);
    u32 unused = 64 - 8 * size;
    return (s64)(value << unused) >> unused;
}

// ── Prefixes and sizes ──────────────────────────────────────────────────────────────────────────────────────────────
static u8 read_prefixes(struct decoder *d, struct x86_insn *out) {
    for (;;) {
        u8 byte = next(d);
        switch (byte) {
        case 0x26:
        case 0x2e:
        case 0x36:
        case 0x3e:
            out->segment = byte >> 3 & 3;
            break;
        case 0x64:
        case 0x65:
            out->segment = byte & 7;
            break;
        case 0x66:
            d->size_prefix = true;
            break;
        case 0x67:
            d->address_prefix = true;
            break;
        case 0xf0:
            out->lock = true;
            break;
        case 0xf2:
            out->repne = true;
            out->rep = false;
            break;
        case 0xf3:
            out->rep = true;
            out->repne = false;
            break;
        default:
            if (d->code_bits != 64 || (byte & 0xf0) != REX)
                return byte;
            d->rex = byte;
            continue;
        }
        d->rex = 0; // it counts only right before the opcode
    }
}

static u8 operand_size(const struct decoder *d) {
    if (d->rex & REX_W)
        return 8;
    return (d->code_bits == 16) == d->size_prefix ? 4 : 2;
}

static u8 address_size(const struct decoder *d) {
    if (d->code_bits == 64)
        return d->address_prefix ? 4 : 8;
    return (d->code_bits == 16) == d->address_prefix ? 4 : 2;
}

// ── Operands ────────────────────────────────────────────────────────────────────────────────────────────────────────
static void set_reg(const struct decoder *d, struct x86_insn *out, u8 number, u32 size) {
    out->high_byte = size == 1 && !d->rex && number >= 4;
    out->reg = out->high_byte ? number - 4 : number;
}

static void read_address_16(struct decoder *d, struct x86_insn *out, u8 mod, u8 rm) {
    static const u8 bases[8] = {3, 3, 5, 5, 6, 7, 5, 3}; // BX, BP, SI, DI
    static const u8 indexes[8] = {6, 7, 6, 7, X86_NO_REG, X86_NO_REG, X86_NO_REG, X86_NO_REG};
    out->base = mod == 0 && rm == 6 ? X86_NO_REG : bases[rm];
    out->index = indexes[rm];
    out->disp = mod == 1 ? next_signed(d, 1) : mod == 2 || out->base == X86_NO_REG ? next_signed(d, 2) : 0;
}

static void read_address(struct decoder *d, struct x86_insn *out, u8 mod, u8 rm) {
    bool far = mod == 2;
    if (rm == 4) {
        u8 sib = next(d), index = (u8)((sib >> 3 & 7) | (d->rex & REX_X ? 8 : 0));
        out->index = index == 4 ? X86_NO_REG : index;
        out->scale = (u8)(1 << (sib >> 6));
        rm = sib & 7;
        if (rm == 5 && mod == 0) {
            out->disp = next_signed(d, 4);
            return;
        }
    } else if (rm == 5 && mod == 0) {
        out->base = d->code_bits == 64 ? X86_REG_RIP : X86_NO_REG;
        out->disp = next_signed(d, 4);
        return;
    }
    out->base = (u8)(rm | (d->rex & REX_B ? 8 : 0));
    out->disp = mod == 1 ? next_signed(d, 1) : far ? next_signed(d, 4) : 0;
}

// The ModRM byte and what belongs to it. `size` is that of the register operand. False: no memory operand.
static bool read_modrm(struct decoder *d, struct x86_insn *out, u32 size, u8 *reg_field) {
    u8 modrm = next(d), mod = modrm >> 6, reg = modrm >> 3 & 7, rm = modrm & 7;
    *reg_field = reg;
    set_reg(d, out, (u8)(reg | (d->rex & REX_R ? 8 : 0)), size);
    if (mod == 3)
        return false;
    out->memory = true;
    if (out->address_size == 2)
        read_address_16(d, out, mod, rm);
    else
        read_address(d, out, mod, rm);
    return true;
}

static void read_immediate(struct decoder *d, struct x86_insn *out, u32 size) {
    out->immediate = true;
    out->imm = next_signed(d, size > 4 ? 4 : size);
}

// memory op register, or the other way round, by the opcode's bit 1.
static bool decode_modrm_op(struct decoder *d, struct x86_insn *out, enum x86_op op, bool to_reg) {
    u8 field;
    out->op = (u8)op;
    out->direction = to_reg ? X86_MEM_IS_SRC : X86_MEM_IS_DEST;
    return read_modrm(d, out, out->size, &field);
}

// Sign or zero extension from the memory operand.
static bool decode_extend(struct decoder *d, struct x86_insn *out, enum x86_op op, u32 from) {
    u8 field;
    out->op = (u8)op;
    out->direction = X86_MEM_IS_SRC;
    bool memory = read_modrm(d, out, out->size, &field);
    out->src_size = (u8)from;
    return memory && from <= out->size;
}

static bool decode_string(struct decoder *d, struct x86_insn *out, enum x86_op op) {
    out->op = (u8)op;
    if ((op == X86_OP_INS || op == X86_OP_OUTS) && out->size == 8)
        out->size = 4;
    (void)d;
    return true;
}

// Opcodes whose operation is in the ModRM byte.
static bool decode_group(struct decoder *d, struct x86_insn *out, u8 opcode) {
    u8 field;
    if (!read_modrm(d, out, out->size, &field))
        return false;
    out->reg = X86_NO_REG;
    out->high_byte = false;
    out->direction = X86_MEM_IS_DEST;
    switch (opcode) {
    case 0x80:
    case 0x81:
    case 0x83:
        out->op = X86_OP_ADD + field;
        read_immediate(d, out, opcode == 0x83 ? 1 : out->size);
        return true;
    case 0xc6:
    case 0xc7:
        out->op = X86_OP_MOV;
        read_immediate(d, out, out->size);
        return field == 0;
    case 0xf6:
    case 0xf7:
        if (field <= 1) {
            out->op = X86_OP_TEST;
            read_immediate(d, out, out->size);
            return true;
        }
        out->op = field == 2 ? X86_OP_NOT : X86_OP_NEG;
        return field <= 3;
    case 0xba:
        out->op = X86_OP_BT + (field & 3);
        read_immediate(d, out, 1);
        return field >= 4;
    default: // 0xfe, 0xff
        out->op = field == 0 ? X86_OP_INC : X86_OP_DEC;
        return field <= 1;
    }
}

static bool decode_moffs(struct decoder *d, struct x86_insn *out, u8 opcode) {
    out->op = X86_OP_MOV;
    out->memory = true;
    out->reg = 0;
    out->direction = opcode & 2 ? X86_MEM_IS_DEST : X86_MEM_IS_SRC;
    out->disp = next_signed(d, out->address_size);
    return true;
}

static bool decode_system(struct x86_insn *out) {
    out->op = X86_OP_SYSTEM;
    return true;
}

static bool decode_mov_cr(struct decoder *d, struct x86_insn *out, bool to) {
    u8 modrm = next(d); // its mod field does not matter
    out->op = X86_OP_SYSTEM;
    out->system = to ? X86_SYS_MOV_TO_CR : X86_SYS_MOV_FROM_CR;
    out->size = d->code_bits == 64 ? 8 : 4;
    out->reg = (u8)((modrm >> 3 & 7) | (d->rex & REX_R ? 8 : 0));
    out->rm_reg = (u8)((modrm & 7) | (d->rex & REX_B ? 8 : 0));
    return true;
}

// ── Opcodes ─────────────────────────────────────────────────────────────────────────────────────────────────────────
static bool decode_two_byte(struct decoder *d, struct x86_insn *out) {
    u8 opcode = next(d), byte;
    switch (opcode) {
    case 0x01: // VMRUN … , XSETBV, MONITOR, …: one byte more, and no operands
        byte = next(d);
        out->system = byte == 0xc1 || byte == 0xd9 ? X86_SYS_CALL : X86_SYS_OTHER;
        return byte >= 0xc0 && decode_system(out);
    case 0x08: // INVD
    case 0x09: // WBINVD
    case 0x30: // WRMSR
    case 0x32: // RDMSR
    case 0x33: // RDPMC
    case 0xa2: // CPUID
        return decode_system(out);
    case 0x20:
    case 0x22:
        return decode_mov_cr(d, out, opcode & 2);
    case 0xa3:
    case 0xab:
    case 0xb3:
    case 0xbb:
        return decode_modrm_op(d, out, X86_OP_BT + (opcode >> 3 & 3), false);
    case 0xba:
        return decode_group(d, out, opcode);
    case 0xb0:
        out->size = 1;
        [[fallthrough]];
    case 0xb1:
        return decode_modrm_op(d, out, X86_OP_CMPXCHG, false);
    case 0xb6:
        return decode_extend(d, out, X86_OP_MOVZX, 1);
    case 0xb7:
        return decode_extend(d, out, X86_OP_MOVZX, 2);
    case 0xbe:
        return decode_extend(d, out, X86_OP_MOVSX, 1);
    case 0xbf:
        return decode_extend(d, out, X86_OP_MOVSX, 2);
    case 0xc0:
        out->size = 1;
        [[fallthrough]];
    case 0xc1:
        return decode_modrm_op(d, out, X86_OP_XADD, false);
    case 0xc3: // MOVNTI
        out->size = d->rex & REX_W ? 8 : 4;
        return decode_modrm_op(d, out, X86_OP_MOV, false);
    default:
        return false;
    }
}

static bool decode_opcode(struct decoder *d, struct x86_insn *out, u8 opcode) {
    if (opcode == 0x0f)
        return decode_two_byte(d, out);
    if (!(opcode & 1)) // most come in pairs: bytes, and the operand size
        out->size = 1;
    if (opcode < 0x40)
        return (opcode & 7) < 4 && decode_modrm_op(d, out, X86_OP_ADD + (opcode >> 3), opcode & 2);
    switch (opcode) {
    case 0x63: // in 64-bit mode; ARPL elsewhere
        return d->code_bits == 64 && out->size >= 4 && decode_extend(d, out, X86_OP_MOVSX, 4);
    case 0x6c:
    case 0x6d:
        return decode_string(d, out, X86_OP_INS);
    case 0x6e:
    case 0x6f:
        return decode_string(d, out, X86_OP_OUTS);
    case 0x82: // 0x80 once more, but not in 64-bit mode
        return d->code_bits != 64 && decode_group(d, out, 0x80);
    case 0x80:
    case 0x81:
    case 0x83:
    case 0xc6:
    case 0xc7:
    case 0xf6:
    case 0xf7:
    case 0xfe:
    case 0xff:
        return decode_group(d, out, opcode);
    case 0x84:
    case 0x85:
        return decode_modrm_op(d, out, X86_OP_TEST, false);
    case 0x86:
    case 0x87:
        return decode_modrm_op(d, out, X86_OP_XCHG, false);
    case 0x88:
    case 0x89:
    case 0x8a:
    case 0x8b:
        return decode_modrm_op(d, out, X86_OP_MOV, opcode & 2);
    case 0xa0:
    case 0xa1:
    case 0xa2:
    case 0xa3:
        return decode_moffs(d, out, opcode);
    case 0xa4:
    case 0xa5:
        return decode_string(d, out, X86_OP_MOVS);
    case 0xa6:
    case 0xa7:
        return decode_string(d, out, X86_OP_CMPS);
    case 0xaa:
    case 0xab:
        return decode_string(d, out, X86_OP_STOS);
    case 0xac:
    case 0xad:
        return decode_string(d, out, X86_OP_LODS);
    case 0xae:
    case 0xaf:
        return decode_string(d, out, X86_OP_SCAS);
    case 0xf4: // HLT
        return decode_system(out);
    default:
        return false;
    }
}

bool x86_insn_decode(const u8 *bytes, u32 count, u32 code_bits, struct x86_insn *out) {
    struct decoder d = {.at = bytes, .end = bytes + (count < INSN_MAX ? count : INSN_MAX), .code_bits = code_bits};
    *out = (struct x86_insn){.segment = X86_SEG_DEFAULT,
                             .reg = X86_NO_REG,
                             .rm_reg = X86_NO_REG,
                             .base = X86_NO_REG,
                             .index = X86_NO_REG,
                             .scale = 1};
    u8 opcode = read_prefixes(&d, out);
    out->size = operand_size(&d);
    out->address_size = address_size(&d);
    bool known = decode_opcode(&d, out, opcode);
    if (!out->src_size)
        out->src_size = out->size;
    out->length = (u8)(d.at - bytes);
    return known && !d.short_of;
}
