// SPDX-License-Identifier: Apache-2.0
// The decoder of x86_64's device accesses against LLVM's disassembler. An instruction that ours knows is written down
// as LLVM writes it (Intel's syntax), so that length, operation, operands and sizes are compared at once; and what is
// one of those operations on memory as LLVM says, ours has to know.
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../arch/x86_64/insn.c"
#include "fuzz.h"

// llvm-c/Disassembler.h and llvm-c/Target.h: the library comes with the compiler, its headers do not.
void *LLVMCreateDisasm(const char *triple, void *info, int tag, void *get_op_info, void *lookup);
int LLVMSetDisasmOptions(void *disassembler, u64 options);
size_t LLVMDisasmInstruction(void *disassembler, u8 *bytes, u64 count, u64 pc, char *out, size_t size);
void LLVMInitializeX86TargetInfo(void);
void LLVMInitializeX86TargetMC(void);
void LLVMInitializeX86Disassembler(void);
enum { OPTION_INTEL_SYNTAX = 4 };

enum { TEXT = 200, BYTES = 15, MODES = 3 };
static const u32 modes[MODES] = {16, 32, 64};
static void *disassemblers[MODES];

// ── Ours, as LLVM writes it ─────────────────────────────────────────────────────────────────────────────────────────
static const char *const segment_names[] = {"es", "cs", "ss", "ds", "fs", "gs"};
static const char *const op_names[] = {
    [X86_OP_MOV] = "mov",   [X86_OP_MOVZX] = "movzx", [X86_OP_MOVSX] = "movsx",     [X86_OP_ADD] = "add",
    [X86_OP_OR] = "or",     [X86_OP_ADC] = "adc",     [X86_OP_SBB] = "sbb",         [X86_OP_AND] = "and",
    [X86_OP_SUB] = "sub",   [X86_OP_XOR] = "xor",     [X86_OP_CMP] = "cmp",         [X86_OP_TEST] = "test",
    [X86_OP_NOT] = "not",   [X86_OP_NEG] = "neg",     [X86_OP_INC] = "inc",         [X86_OP_DEC] = "dec",
    [X86_OP_XCHG] = "xchg", [X86_OP_XADD] = "xadd",   [X86_OP_CMPXCHG] = "cmpxchg", [X86_OP_BT] = "bt",
    [X86_OP_BTS] = "bts",   [X86_OP_BTR] = "btr",     [X86_OP_BTC] = "btc",         [X86_OP_MOVS] = "movs",
    [X86_OP_CMPS] = "cmps", [X86_OP_STOS] = "stos",   [X86_OP_LODS] = "lods",       [X86_OP_SCAS] = "scas",
    [X86_OP_INS] = "ins",   [X86_OP_OUTS] = "outs",
};

struct text {
    char at[TEXT];
    size_t used;
};

[[gnu::format(printf, 2, 3)]] static void put(struct text *t, const char *format, ...) {
    va_list ap;
    va_start(ap, format);
    t->used += (size_t)vsnprintf(t->at + t->used, sizeof(t->at) - t->used, format, ap);
    va_end(ap);
    FUZZ_CHECK(t->used < sizeof(t->at));
}

static void put_reg(struct text *t, u32 reg, u32 size, bool high) {
    static const char *const bytes[] = {"al", "cl", "dl", "bl", "spl", "bpl", "sil", "dil"};
    static const char *const highs[] = {"ah", "ch", "dh", "bh"};
    static const char *const words[] = {"ax", "cx", "dx", "bx", "sp", "bp", "si", "di"};
    FUZZ_CHECK(reg < 16 && (!high || (reg < 4 && size == 1)));
    if (high)
        put(t, "%s", highs[reg]);
    else if (reg >= 8)
        put(t, "r%u%s", reg, size == 1 ? "b" : size == 2 ? "w" : size == 4 ? "d" : "");
    else if (size == 1)
        put(t, "%s", bytes[reg]);
    else
        put(t, "%s%s", size == 8 ? "r" : size == 4 ? "e" : "", words[reg]);
}

static void put_size(struct text *t, u32 size) {
    put(t, "%s ptr ", size == 1 ? "byte" : size == 2 ? "word" : size == 4 ? "dword" : "qword");
}

static void put_address(struct text *t, const struct x86_insn *i) {
    const char *plus = "";
    put(t, "[");
    if (i->base == X86_REG_RIP)
        put(t, i->address_size == 8 ? "rip" : "eip");
    else if (i->base != X86_NO_REG)
        put_reg(t, i->base, i->address_size, false);
    if (i->base != X86_NO_REG)
        plus = " + ";
    if (i->index != X86_NO_REG) {
        put(t, "%s", plus);
        if (i->scale > 1 || i->base == X86_NO_REG)
            put(t, "%u*", i->scale);
        put_reg(t, i->index, i->address_size, false);
        plus = " + ";
    }
    if (!*plus || i->disp)
        put(t, "%s%lld", plus, (long long)i->disp);
    put(t, "]");
}

static void put_memory(struct text *t, const struct x86_insn *i) {
    put_size(t, i->src_size);
    if (i->segment != X86_SEG_DEFAULT)
        put(t, "%s:", segment_names[i->segment]);
    put_address(t, i);
}

static void put_string_operand(struct text *t, const struct x86_insn *i, u32 reg) {
    put_size(t, i->size);
    if (reg == 7)
        put(t, "es:");
    else if (i->segment != X86_SEG_DEFAULT)
        put(t, "%s:", segment_names[i->segment]);
    put(t, "[");
    put_reg(t, reg, i->address_size, false);
    put(t, "]");
}

static void put_string(struct text *t, const struct x86_insn *i) {
    put(t, "%s%c ", op_names[i->op], i->size == 1 ? 'b' : i->size == 2 ? 'w' : i->size == 4 ? 'd' : 'q');
    bool to_reg = i->op == X86_OP_LODS || i->op == X86_OP_SCAS;
    if (to_reg) {
        put_reg(t, 0, i->size, false);
        put(t, ", ");
        put_string_operand(t, i, i->op == X86_OP_SCAS ? 7 : 6);
    } else if (i->op == X86_OP_OUTS) {
        put(t, "dx, ");
        put_string_operand(t, i, 6);
    } else {
        put_string_operand(t, i, i->op == X86_OP_CMPS ? 6 : 7);
        put(t, ", ");
        if (i->op == X86_OP_MOVS || i->op == X86_OP_CMPS)
            put_string_operand(t, i, i->op == X86_OP_MOVS ? 6 : 7);
        else if (i->op == X86_OP_INS)
            put(t, "dx");
        else
            put_reg(t, 0, i->size, false);
    }
}

static void write_down(const struct x86_insn *i, struct text *t) {
    if (i->op >= X86_OP_MOVS) {
        put_string(t, i);
        return;
    }
    put(t, "%s ", op_names[i->op]);
    if (i->direction == X86_MEM_IS_SRC) {
        put_reg(t, i->reg, i->size, i->high_byte);
        put(t, ", ");
    }
    put_memory(t, i);
    if (i->direction == X86_MEM_IS_SRC)
        return;
    if (i->immediate)
        put(t, ", %lld", (long long)i->imm);
    else if (i->reg != X86_NO_REG) {
        put(t, ", ");
        put_reg(t, i->reg, i->size, i->high_byte);
    }
}

// ── Comparing ───────────────────────────────────────────────────────────────────────────────────────────────────────
static void cut(char *from, char *to) {
    memmove(from, to, strlen(to) + 1);
}

// An index register that is none, named so where the encoding has a factor for it.
static void drop_no_index(char *text) {
    char *at = strstr(text, "eiz");
    at = at ? at : strstr(text, "riz");
    if (!at)
        return;
    char *end = at + 3;
    if (at[-1] == '*')
        at -= 2;
    if (at[-1] == '[' && strncmp(end, " + ", 3) == 0)
        cut(at, end + 3);
    else if (at[-1] == '[' && strncmp(end, " - ", 3) == 0) {
        cut(at, end + 2);
        at[0] = '-';
    } else if (at[-1] == '[') {
        *at = '0';
        cut(at + 1, end);
    } else
        cut(at - 3, end);
}

// LLVM's text without what makes no difference to us: prefixes in words, tabs, other names for the same.
static void simplify(char *text) {
    static const char *const drop[] = {"lock ", "rep ", "repne ", "addr32 ", "addr16 ", "data16 ", "data32 "};
    static const char *const same[][2] = {{"movabs ", "mov "}, {"movnti ", "mov "}, {"movsxd ", "movsx "}};
    char *to = text;
    for (const char *from = text; *from; from++)
        if (*from != '\t' && *from != '\n' && *from != ' ')
            *to++ = *from;
        else if (to != text && to[-1] != ' ')
            *to++ = ' ';
    *to = 0;
    drop_no_index(text);
    for (bool again = true; again;) {
        again = false;
        for (size_t n = 0; n < ARRAY_SIZE(drop); n++)
            if (strncmp(text, drop[n], strlen(drop[n])) == 0) {
                cut(text, text + strlen(drop[n]));
                again = true;
            }
    }
    for (size_t n = 0; n < ARRAY_SIZE(same); n++)
        if (strncmp(text, same[n][0], strlen(same[n][0])) == 0) {
            size_t old = strlen(same[n][0]), new = strlen(same[n][1]);
            memmove(text + new, text + old, strlen(text + old) + 1);
            memcpy(text, same[n][1], new);
        }
}

static bool number_starts(const char *s, const char *begin) {
    bool digit = *s >= '0' && *s <= '9';
    bool before = s != begin && ((s[-1] >= 'a' && s[-1] <= 'z') || (s[-1] >= '0' && s[-1] <= '9'));
    return digit && !before;
}

// Numbers are the same if they are on `size` bytes, with " - n" for " + -n"; the rest must be so to the letter.
static bool same_text(const char *ours, const char *theirs, const struct x86_insn *i) {
    const char *a = ours, *b = theirs;
    bool in_address = false;
    while (*a || *b) {
        bool minus = *a == '+' && *b == '-' && a[1] == ' ' && b[1] == ' ';
        if (minus) {
            a += 2;
            b += 2;
        }
        bool neg_a = *a == '-', neg_b = *b == '-';
        if (number_starts(a + neg_a, ours) && number_starts(b + neg_b, theirs)) {
            u64 x = strtoull(a + neg_a, (char **)&a, 10), y = strtoull(b + neg_b, (char **)&b, 10);
            x = neg_a ? 0 - x : x;
            y = neg_b != minus ? 0 - y : y;
            u32 immediate = i->op >= X86_OP_BT && i->op <= X86_OP_BTC ? 1 : i->size;
            u32 size = in_address ? i->address_size : immediate;
            if ((x ^ y) & (size == 8 ? ~0ull : BIT(8 * size) - 1))
                return false;
            continue;
        }
        if (minus || *a != *b)
            return false;
        in_address = *a == '[' || (in_address && *a != ']');
        a++;
        b++;
    }
    return true;
}

// Is it an operation on memory that we promise to know?
static bool is_ours(const char *text) {
    if (!strchr(text, '[') || strstr(text, "xmm") || strstr(text, "mm0"))
        return false;
    for (size_t n = 0; n < X86_OP_MOVS; n++) {
        size_t length = strlen(op_names[n]);
        const char *operands = text + length + 1;
        if (strncmp(text, op_names[n], length) != 0 || text[length] != ' ')
            continue;
        for (size_t s = 0; s < ARRAY_SIZE(segment_names); s++) // MOV of a segment register
            if (strncmp(operands, segment_names[s], 2) == 0 && operands[2] == ',')
                return false;
        const char *last = strrchr(text, ',');
        for (size_t s = 0; last && s < ARRAY_SIZE(segment_names); s++)
            if (strcmp(last + 2, segment_names[s]) == 0)
                return false;
        for (const char *p = operands; *p; p++) // control, debug, x87 and vector registers
            if (strncmp(p, "cr", 2) == 0 || strncmp(p, "dr", 2) == 0 || strncmp(p, "mm", 2) == 0)
                return false;
        return true;
    }
    return false;
}

// MOVSXD of 16 bits: AMD's and Intel's manuals differ in what it reads. No compiler makes it; ours leaves it out.
static bool movsxd_to_16_bits(const char *text) {
    const char *reg = text + 6, *end = strchr(text, ',');
    bool word = end && (end[-1] == 'w' || end - reg == 2);
    return strncmp(text, "movsx ", 6) == 0 && strstr(text, "dword") && word && !(reg[0] == 'r' && end[-1] != 'w');
}

// `repeat`: 0xf0, 0xf2, 0xf3 or none. LLVM makes an instruction of its own of such a prefix, so it does not see it.
static void check(const u8 *bytes, u8 repeat, u32 mode) {
    struct x86_insn insn;
    char theirs[TEXT];
    u8 copy[BYTES + 1] = {repeat};
    memcpy(copy + 1, bytes, BYTES - 1);
    bool known = x86_insn_decode(repeat ? copy : copy + 1, BYTES - !repeat, modes[mode], &insn);
    size_t length = LLVMDisasmInstruction(disassemblers[mode], copy + 1, BYTES - 1, 0, theirs, sizeof(theirs));
    if (length) {
        simplify(theirs);
        length += repeat != 0;
    }
    struct text ours = {};
    const char *wrong = nullptr;
    if (known && insn.op == X86_OP_SYSTEM) {
        if (length && insn.length != length)
            wrong = "length";
    } else if (known) {
        write_down(&insn, &ours);
        if (length && insn.length != length)
            wrong = "length";
        else if (length && !same_text(ours.at, theirs, &insn))
            wrong = "operands";
    } else if (length && !repeat && is_ours(theirs) && !movsxd_to_16_bits(theirs)) {
        wrong = "unknown to us";
    }
    if (!wrong)
        return;
    fprintf(stderr, "%u-bit code,", modes[mode]);
    for (u32 i = 0; i < BYTES; i++)
        fprintf(stderr, " %02x", copy[i + !repeat]);
    fprintf(stderr, "\nours (%u): %s\nLLVM's (%zu): %s\n", known ? insn.length : 0, ours.at, length, theirs);
    fuzz_failed(__FILE__, __LINE__, wrong);
}

// With fewer bytes it is refused, never read beyond, and never another instruction.
static void check_short(const u8 *bytes, u32 mode) {
    struct x86_insn whole, part;
    if (!x86_insn_decode(bytes, BYTES, modes[mode], &whole))
        return;
    FUZZ_CHECK(whole.length && whole.length <= BYTES);
    for (u32 count = 0; count < whole.length; count++) {
        u8 *exactly = malloc(count + !count);
        memcpy(exactly, bytes, count);
        FUZZ_CHECK(!x86_insn_decode(exactly, count, modes[mode], &part));
        free(exactly);
    }
    FUZZ_CHECK(x86_insn_decode(bytes, whole.length, modes[mode], &part) && memcmp(&whole, &part, sizeof(part)) == 0);
}

// ── Inputs ──────────────────────────────────────────────────────────────────────────────────────────────────────────
// Prefixes in an order and number that assemblers use: of the others LLVM makes instructions of their own.
static u32 prefixes(struct fuzz *f, u32 mode, u8 *to, u8 *repeat) {
    static const u8 segments[] = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65};
    u8 which = fuzz_u8(f), rex = fuzz_u8(f);
    u32 count = 0;
    if ((which & 7) < ARRAY_SIZE(segments))
        to[count++] = segments[which & 7];
    if (which & 8)
        to[count++] = 0x66;
    if (which & 16)
        to[count++] = 0x67;
    *repeat = (which & 0xe0) != 0x20 ? 0 : rex >> 6 == 1 ? 0xf2 : rex >> 6 == 2 ? 0xf3 : 0xf0;
    if (modes[mode] == 64 && (which & 0xc0))
        to[count++] = 0x40 | (rex & 15);
    return count;
}

static bool is_prefix(u8 byte, u32 mode) {
    return (byte & 0xe7) == 0x26 || (byte & 0xfc) == 0x64 || byte == 0xf0 || (byte & 0xfe) == 0xf2 ||
           byte == 0x62 || // EVEX: LLVM decodes APX of it in 32-bit code, too, where there is none
           (modes[mode] == 64 && ((byte & 0xf0) == 0x40 || byte == 0xd5)); // the last: APX's REX2
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    static const char *const triples[MODES] = {"i386-unknown-linux-code16", "i386-unknown-linux",
                                               "x86_64-unknown-linux"};
    (void)argc;
    (void)argv;
    LLVMInitializeX86TargetInfo();
    LLVMInitializeX86TargetMC();
    LLVMInitializeX86Disassembler();
    for (u32 i = 0; i < MODES; i++) {
        disassemblers[i] = LLVMCreateDisasm(triples[i], nullptr, 0, nullptr, nullptr);
        FUZZ_CHECK(disassemblers[i] && LLVMSetDisasmOptions(disassemblers[i], OPTION_INTEL_SYNTAX) == 1);
    }
    return 0;
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size) {
    struct fuzz f = {data, size};
    u8 bytes[BYTES] = {}, repeat;
    u32 mode = fuzz_u8(&f) % MODES, count = prefixes(&f, mode, bytes, &repeat);
    u32 opcode = count;
    for (; count < BYTES; count++)
        bytes[count] = fuzz_u8(&f);
    if (!is_prefix(bytes[opcode], mode))
        check(bytes, repeat, mode);
    check_short(bytes, mode);
    for (u32 i = 0; i < BYTES; i++) // any bytes at all
        bytes[i] = fuzz_u8(&f);
    check_short(bytes, mode);
    return 0;
}
