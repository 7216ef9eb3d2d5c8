// SPDX-License-Identifier: Apache-2.0
// What arch/x86_64 does with an instruction that touches a device: any bytes at RIP, any registers, mode and page
// tables, the exits answered as the core does. An operation on memory gives out the accesses that it takes, in order,
// and leaves registers and flags as the manual's tables say, computed here bit by bit; string instructions and all else
// come to an end, within the guest's memory, and change what is theirs alone.
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "gmem.h"
#include "vm.h"

#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wkeyword-macro"
#define __asm__ memcpy(&v, (const void *)(uintptr_t)from, sizeof(v)); // the one instruction of emulate.c, a load
#define volatile(...)
#include "../../arch/x86_64/emulate.c"
#undef volatile
#undef __asm__
#pragma clang diagnostic pop
#include "../../arch/x86_64/alu.c"
#include "../../arch/x86_64/exits.c"
#include "../../arch/x86_64/insn.c"
#include "../../arch/x86_64/walk.c"

enum { RAM_SIZE = 0x8000, CODE = 0x4000, STEPS_MAX = 64, CF = 1, PF = 4, AF = 16, ZF = 64, SF = 128, OF = 2048 };
enum { ARITHMETIC = CF | PF | AF | ZF | SF | OF, DEVICE = 0x50000000 };

static struct vm vm;
static struct vcpu vcpu;
static u8 *ram; // a block of its own, so that an access beyond it is found
static struct x86_mode mode;
static u64 regs[GUEST_REGS], bases[SEG_COUNT];

// ── The CPU and the core ────────────────────────────────────────────────────────────────────────────────────────────
static void get_mode(struct vcpu *v, struct x86_mode *out) {
    FUZZ_CHECK(v == &vcpu);
    *out = mode;
    out->rflags = regs[GUEST_RFLAGS];
}

static u64 look_reg(const struct vcpu *v, enum guest_reg reg) {
    FUZZ_CHECK(v == &vcpu && reg < GUEST_REGS);
    return regs[reg];
}

static void put_reg(struct vcpu *v, enum guest_reg reg, u64 value) {
    FUZZ_CHECK(v == &vcpu && reg < GUEST_REGS);
    regs[reg] = value;
}

static u64 get_base(struct vcpu *v, enum x86_segment segment) {
    FUZZ_CHECK(v == &vcpu && segment < SEG_COUNT);
    return bases[segment];
}

static const struct x86_virt_ops ops = {.mode = get_mode, .get = look_reg, .set = put_reg, .segment_base = get_base};
const struct x86_virt_ops *virt = &ops;

void *gmem_ptr(struct vm *of, gpa_t at, u64 size) {
    FUZZ_CHECK(of == &vm && size);
    return size <= RAM_SIZE && at.v <= RAM_SIZE - size ? ram + at.v : nullptr;
}

int gmem_read(struct vm *of, gpa_t from, void *to, u64 size) {
    const void *at = gmem_ptr(of, from, size);
    if (at)
        memcpy(to, at, size);
    return at ? 0 : -EFAULT;
}

int gmem_write(struct vm *of, gpa_t to, const void *from, u64 size) {
    void *at = gmem_ptr(of, to, size);
    if (at)
        memcpy(at, from, size);
    return at ? 0 : -EFAULT;
}

void arch_irq_poll(void) {
}
bool vlapic_msr_try(struct vcpu *v, u32 msr, bool write, u64 *value) {
    return v && msr && write && value;
}
bool msr_read_guest(struct vcpu *v, u32 nr, u64 *value) {
    return v && nr && value;
}
bool msr_write_guest(struct vcpu *v, u32 nr, u64 value) {
    return v && nr && value;
}
u64 guest_xcr0_mask(void) {
    return 7;
}
u64 guest_cr4_mask(void) {
    return ~0ull;
}

// ── The manual ──────────────────────────────────────────────────────────────────────────────────────────────────────
static u64 cut(u64 value, u32 size) {
    return size == 8 ? value : value & (BIT(8 * size) - 1);
}

// dest ± source ± carry, one bit after the other.
static u64 sum(u64 dest, u64 source, bool carry, bool minus, u32 size, u64 *flags) {
    u64 result = 0;
    bool before = false;
    for (u32 i = 0; i < 8 * size; i++) {
        bool a = dest >> i & 1, b = source >> i & 1;
        before = carry;
        result |= (u64)(a ^ b ^ carry) << i;
        carry = minus ? (!a && b) || (!(a ^ b) && carry) : (a && b) || ((a ^ b) && carry);
        *flags |= i == 3 && carry ? AF : 0;
    }
    *flags |= (carry ? CF : 0) | (carry != before ? OF : 0);
    return result;
}

static u64 result_flags(u64 result, u32 size) {
    u32 ones = 0;
    for (u32 i = 0; i < 8; i++)
        ones += result >> i & 1;
    return (result == 0 ? ZF : 0) | (result >> (8 * size - 1) & 1 ? SF : 0) | (ones % 2 ? 0 : PF);
}

// What `op` makes of the two, and the flags.
static u64 compute(u32 op, u32 size, u64 dest, u64 source, u64 *rflags) {
    u64 flags = 0, bit = BIT(source % (8 * size)), result;
    bool carry = *rflags & CF;
    dest = cut(dest, size);
    if (op >= X86_OP_BT && op <= X86_OP_BTC) {
        *rflags = (*rflags & ~(u64)CF) | (dest & bit ? CF : 0);
        return op == X86_OP_BTS ? dest | bit : op == X86_OP_BTR ? dest & ~bit : op == X86_OP_BTC ? dest ^ bit : dest;
    }
    source = cut(source, size);
    if (op == X86_OP_NOT)
        return cut(~dest, size);
    if (op == X86_OP_ADD || op == X86_OP_XADD || op == X86_OP_ADC)
        result = sum(dest, source, op == X86_OP_ADC && carry, false, size, &flags);
    else if (op == X86_OP_SUB || op == X86_OP_CMP || op == X86_OP_SBB)
        result = sum(dest, source, op == X86_OP_SBB && carry, true, size, &flags);
    else if (op == X86_OP_NEG)
        result = sum(0, dest, false, true, size, &flags);
    else if (op == X86_OP_INC || op == X86_OP_DEC) {
        result = sum(dest, 1, false, op == X86_OP_DEC, size, &flags);
        flags = (flags & ~(u64)CF) | (carry ? CF : 0);
    } else {
        result = op == X86_OP_OR ? dest | source : op == X86_OP_XOR ? dest ^ source : dest & source;
    }
    *rflags = (*rflags & ~(u64)ARITHMETIC) | flags | result_flags(result, size);
    return result;
}

// ── An instruction with an operand in memory ────────────────────────────────────────────────────────────────────────
static u64 gprs[X86_REGS], rflags; // as they are to be afterwards

static u64 read_gpr(const struct x86_insn *i, u32 reg) {
    return cut(i->high_byte ? gprs[reg] >> 8 : gprs[reg], i->size);
}

static void write_gpr(const struct x86_insn *i, u32 reg, u64 value) {
    u64 mask = i->size >= 4 ? ~0ull : (BIT(8 * i->size) - 1) << (i->high_byte ? 8 : 0);
    value = cut(value, i->size) << (i->high_byte ? 8 : 0);
    gprs[reg] = (gprs[reg] & ~mask) | value;
}

static u64 get_gpr(u32 reg) {
    return reg == X86_RSP ? regs[GUEST_RSP] : vcpu.arch.gpr[reg];
}

// Only the accumulator of CMPXCHG has no high byte.
static void write_rax(const struct x86_insn *i, u64 value) {
    struct x86_insn plain = *i;
    plain.high_byte = false;
    write_gpr(&plain, X86_RAX, value);
}

// What follows when `value` was read; whether a write of *result comes then.
static bool after_read(const struct x86_insn *i, u64 value, u64 *result) {
    u64 other = i->immediate ? cut((u64)i->imm, i->size) : i->reg == X86_NO_REG ? 0 : read_gpr(i, i->reg);
    value = cut(value, i->src_size);
    switch (i->op) {
    case X86_OP_MOVSX:
        if (value >> (8 * i->src_size - 1) & 1)
            value |= ~cut(~0ull, i->src_size);
        [[fallthrough]];
    case X86_OP_MOV:
    case X86_OP_MOVZX:
        write_gpr(i, i->reg, value);
        return false;
    case X86_OP_XCHG:
        *result = other;
        write_gpr(i, i->reg, value);
        return true;
    case X86_OP_CMPXCHG: {
        u64 rax = cut(gprs[X86_RAX], i->size);
        compute(X86_OP_CMP, i->size, rax, value, &rflags);
        *result = rax == value ? other : value;
        if (rax != value)
            write_rax(i, value);
        return true;
    }
    default:
        break;
    }
    bool to_reg = i->direction == X86_MEM_IS_SRC;
    u64 answer = compute(i->op, i->size, to_reg ? other : value, to_reg ? value : other, &rflags);
    if (i->op == X86_OP_XADD)
        write_gpr(i, i->reg, value);
    if (to_reg && i->op != X86_OP_CMP && i->op != X86_OP_TEST)
        write_gpr(i, i->reg, answer);
    *result = answer;
    return !to_reg && i->op != X86_OP_CMP && i->op != X86_OP_TEST && i->op != X86_OP_BT;
}

static void check_registers(u64 rip) {
    FUZZ_CHECK(vcpu.arch.rip == rip && regs[GUEST_RFLAGS] == rflags);
    for (u32 i = 0; i < X86_REGS; i++)
        FUZZ_CHECK(get_gpr(i) == gprs[i]);
}

// The core's part: answers the exit, and goes on.
static bool more(struct vexit *exit, u64 answer) {
    emulate_finish(&vcpu, exit, answer);
    *exit = (struct vexit){};
    if (!(vcpu.arch.work & X86_WORK_MORE))
        return false;
    FUZZ_CHECK(!emulate_continue(&vcpu, exit));
    return true;
}

static bool writes(const struct x86_insn *i) {
    return i->direction == X86_MEM_IS_DEST && i->op != X86_OP_CMP && i->op != X86_OP_TEST && i->op != X86_OP_BT;
}

static void memory_operand(struct fuzz *f, const struct x86_insn *i, u64 at, struct vexit *exit) {
    u64 rip = vcpu.arch.next_rip, result, answer = fuzz_u8(f) & 1 ? gprs[X86_RAX] : fuzz_u64(f);
    bool store = i->op == X86_OP_MOV && i->direction == X86_MEM_IS_DEST;
    FUZZ_CHECK(exit->kind == VEXIT_MMIO && exit->gpa == at && exit->write == store);
    if (store) {
        FUZZ_CHECK(exit->size == i->size);
        FUZZ_CHECK(exit->value == (i->immediate ? cut((u64)i->imm, i->size) : read_gpr(i, i->reg)));
        FUZZ_CHECK(!more(exit, 0));
    } else {
        FUZZ_CHECK(exit->size == i->src_size);
        bool then = more(exit, answer);
        FUZZ_CHECK(then == after_read(i, answer, &result) && then == writes(i));
        if (then) {
            FUZZ_CHECK(exit->kind == VEXIT_MMIO && exit->gpa == at && exit->write && exit->size == i->size);
            FUZZ_CHECK(exit->value == result);
            FUZZ_CHECK(!more(exit, 0));
        }
    }
    FUZZ_CHECK(!(vcpu.arch.work & X86_WORK_EVENT));
    check_registers(rip);
}

// ── Everything else ─────────────────────────────────────────────────────────────────────────────────────────────────
static bool one_element(struct fuzz *f, struct vexit *exit, u64 at, bool write) {
    bool served = emulate_mmio(&vcpu, at, write, nullptr, 0, exit);
    for (u32 accesses = 0; !served && exit->kind == VEXIT_MMIO; accesses++) {
        FUZZ_CHECK(accesses < 2 && exit->size && exit->size <= 8 && (exit->size & (exit->size - 1)) == 0);
        FUZZ_CHECK((exit->gpa & (PAGE_SIZE - 1)) + exit->size <= PAGE_SIZE);
        FUZZ_CHECK(!exit->write || exit->value == cut(exit->value, exit->size));
        served = !more(exit, fuzz_u8(f) * 0x0101010101010101ull);
    }
    return served;
}

static void anything_else(struct fuzz *f, const struct x86_insn *i, bool known, u64 at, bool write) {
    u64 rip = vcpu.arch.rip, mask = BIT(X86_RAX) | BIT(X86_RCX) | BIT(X86_RSI) | BIT(X86_RDI);
    for (u32 steps = 0; steps < STEPS_MAX && vcpu.arch.rip == rip; steps++) {
        struct vexit exit = {};
        bool served = one_element(f, &exit, at, write);
        if (!served)
            FUZZ_CHECK(exit.kind == VEXIT_FAULT);
        if (!served || (vcpu.arch.work & X86_WORK_EVENT))
            break;
    }
    bool string = known && !i->memory && i->op >= X86_OP_MOVS && i->op <= X86_OP_OUTS;
    for (u32 r = 0; r < X86_REGS; r++)
        FUZZ_CHECK(get_gpr(r) == gprs[r] || (string && (mask >> r & 1)));
    FUZZ_CHECK(vcpu.arch.rip == rip || (string && vcpu.arch.rip == vcpu.arch.next_rip));
}

// It may be another instruction than the one that lies at RIP in memory.
static void whatever_is_there(struct fuzz *f, u64 at, bool write) {
    for (u32 steps = 0; steps < STEPS_MAX; steps++) {
        struct vexit exit = {};
        if (!one_element(f, &exit, at, write) || (vcpu.arch.work & X86_WORK_EVENT))
            break;
    }
}

static void string_io(struct fuzz *f, u8 how) {
    struct vexit exit = {};
    if (emulate_string_io(&vcpu, how & 1, 1u << how % 3, &exit))
        return;
    FUZZ_CHECK(exit.kind == VEXIT_FAULT || (exit.kind == VEXIT_PIO && exit.gpa <= 0xffff && exit.write == !(how & 1)));
    if (exit.kind == VEXIT_PIO)
        FUZZ_CHECK(!more(&exit, fuzz_u32(f)));
}

// ── Page tables ─────────────────────────────────────────────────────────────────────────────────────────────────────
// The manual's walk (Intel SDM volume 3, chapter 4), without reserved bits. Marks what it uses. ~0: *error says why
// not.
static u64 manual_walk(u64 linear, u32 access, u32 *error) {
    bool is_long = mode.efer & EFER_LMA, pae = is_long || (mode.cr4 & CR4_PAE), nxe = mode.efer & EFER_NXE;
    bool user = mode.cpl == 3, write = access & WALK_WRITE, fetch = access & WALK_FETCH;
    bool may_write = true, may_user = true, no_execute = false;
    u32 size = pae ? 8 : 4, bits = pae ? 9 : 10, top = is_long ? 39 : pae ? 30 : 22;
    u64 table = mode.cr3 & (is_long ? ~0xfffull : pae ? 0xffffffe0 : 0xfffff000);
    *error = (write ? 2 : 0) | (user ? 4 : 0) | (fetch && (nxe || (mode.cr4 & CR4_SMEP)) ? 16 : 0);
    for (u32 shift = top;; shift -= bits) {
        bool pointers = pae && !is_long && shift == 30; // the four of PAE have no rights
        u8 *at = gmem_ptr(&vm, gpa(table + (linear >> shift & (BIT(bits) - 1)) * size), size);
        u64 entry = 0;
        if (at)
            memcpy(&entry, at, size);
        if (!(entry & 1))
            return ~0ull;
        may_write = may_write && (pointers || (entry & 2));
        may_user = may_user && (pointers || (entry & 4));
        no_execute = no_execute || (!pointers && pae && (entry >> 63));
        bool large = (entry & 0x80) && !pointers && shift < 39 && (pae || (mode.cr4 & CR4_PSE));
        if (shift > 12 && !large) {
            at[0] |= pointers ? 0 : 0x20;
            table = entry & (pae ? BITS(51, 12) : BITS(31, 12));
            continue;
        }
        bool ok = user    ? may_user
                  : fetch ? !may_user || !(mode.cr4 & CR4_SMEP)
                          : !may_user || !(mode.cr4 & CR4_SMAP) || (regs[GUEST_RFLAGS] & BIT(18));
        ok = ok && (!write || may_write || (!user && !(mode.cr0 & CR0_WP))) && !(fetch && no_execute && nxe);
        *error |= 1;
        if (!ok)
            return ~0ull;
        at[0] |= write ? 0x60 : 0x20;
        u64 page = entry & (pae ? BITS(51, 12) : BITS(31, 12));
        if (!pae && shift == 22) // PSE-36
            page = (entry & BITS(31, 22)) | (entry >> 13 & 0xff) << 32;
        return (page & ~(BIT(shift) - 1)) | (linear & (BIT(shift) - 1));
    }
}

// A walk whose entries the input has chosen.
static void walks(struct fuzz *f) {
    static const u32 accesses[] = {WALK_READ, WALK_WRITE, WALK_FETCH, WALK_READ};
    u8 *before = malloc(RAM_SIZE), how = fuzz_u8(f), rights = fuzz_u8(f);
    mode.efer = (how & 1 ? EFER_LMA : 0) | (how & 2 ? EFER_NXE : 0);
    mode.cr4 =
        (how & 4 ? CR4_PAE : 0) | (how & 8 ? CR4_PSE : 0) | (how & 16 ? CR4_SMEP : 0) | (how & 32 ? CR4_SMAP : 0);
    mode.cr0 = CR0_PE | CR0_PG | (how & 64 ? CR0_WP : 0);
    mode.cpl = how & 128 ? 3 : 0;
    mode.cr3 = 0x1000 | (how & 4 ? fuzz_u8(f) & 0xe0 : 0);
    regs[GUEST_RFLAGS] = rights & 16 ? BIT(18) : 0;
    u64 linear = mode.efer & EFER_LMA ? fuzz_u64(f) : fuzz_u32(f), out = 0, table = mode.cr3;
    bool pae = mode.efer & EFER_LMA || mode.cr4 & CR4_PAE;
    table &= mode.efer & EFER_LMA ? ~0xfffull : ~0x1full;
    for (u32 bits = pae ? 9 : 10, shift = mode.efer & EFER_LMA ? 39 : pae ? 30 : 22;; shift -= bits) {
        u64 entry = (u64)(2 + fuzz_u8(f) % 7) << 12 | (fuzz_u16(f) & 0xfff) | (rights & 32 ? 7 : 1);
        entry |= rights & 64 ? 0 : (u64)fuzz_u16(f) << 48;
        (void)!gmem_write(&vm, gpa(table + (linear >> shift & (BIT(bits) - 1)) * (pae ? 8 : 4)), &entry, pae ? 8 : 4);
        table = entry & 0xffff000;
        if (shift == 12)
            break;
    }
    u32 access = accesses[rights & 3], error = 0, expected_error = 0;
    memcpy(before, ram, RAM_SIZE);
    int err = walk(&vcpu, &(struct x86_mode){mode.cr0, mode.cr3, mode.cr4, mode.efer, regs[GUEST_RFLAGS], mode.cpl, 64},
                   linear, access, &out, &error);
    for (u32 i = 0; i < RAM_SIZE; i++) { // before ↔ ram
        u8 byte = ram[i];
        ram[i] = before[i];
        before[i] = byte;
    }
    u64 expected = manual_walk(linear, access, &expected_error);
    FUZZ_CHECK(err == (expected == ~0ull ? -EFAULT : 0) && memcmp(ram, before, RAM_SIZE) == 0);
    FUZZ_CHECK(err ? error == expected_error : out == expected);
    free(before);
}

// ── Inputs ──────────────────────────────────────────────────────────────────────────────────────────────────────────
// 4 levels, the last ones of 1 GiB or 4 KiB, as the input has them.
static void make_tables(struct fuzz *f) {
    u64 *tables = (u64 *)(void *)ram;
    for (u32 i = 0; i < 4; i++) {
        u8 flags = fuzz_u8(f);
        tables[0x200 + i] = 0x2000 | 7;
        tables[0x400 + i] = flags & 0x80 ? (u64)i << 30 | 0x87 | (flags & 0x40 ? BIT(63) : 0)
                                         : 0x3000 | (flags & 7) | (flags & 0x40 ? 0x80000000000 : 0);
        tables[0x600 + i] = (fuzz_u8(f) & 0xf8) << 12 | 7;
    }
    tables[0x400] |= 0x87; // where the code is
    tables[0x400] &= 0xfff;
}

static u32 set_up(struct fuzz *f) {
    u8 shape = fuzz_u8(f);
    memset(ram, 0, RAM_SIZE);
    memset((void *)&vcpu, 0, sizeof(vcpu));
    vcpu.vm = &vm;
    mode = (struct x86_mode){.cr0 = CR0_PE, .code_bits = 64, .cpl = shape & 0x40 ? 3 : 0};
    if ((shape & 3) == 1)
        mode.code_bits = 32;
    else if ((shape & 3) == 2)
        mode.code_bits = 16;
    if (mode.code_bits == 64) {
        mode.cr0 |= CR0_PG | (shape & 0x20 ? CR0_WP : 0);
        mode.cr3 = 0x1000;
        mode.cr4 = CR4_PAE | (shape & 0x10 ? CR4_SMAP | CR4_SMEP : 0);
        mode.efer = EFER_LMA | EFER_LME | (shape & 0x80 ? EFER_NXE : 0);
        make_tables(f);
    } else if (shape & 0x10) { // tables made of what comes
        mode.cr0 |= CR0_PG;
        mode.cr4 = shape & 0x20 ? CR4_PAE : CR4_PSE;
        mode.cr3 = 0x1000;
        for (u32 i = 0x1000; i < 0x1040; i++)
            ram[i] = fuzz_u8(f);
    }
    for (u32 i = 0; i < SEG_COUNT; i++)
        bases[i] = shape & 8 ? (u64)fuzz_u8(f) << 4 : 0;
    bases[SEG_CS] = 0;
    for (u32 i = 0; i < X86_REGS; i++) {
        u8 how = fuzz_u8(f);
        gprs[i] = how < 0x60 ? fuzz_u64(f) : how < 0xa0 ? fuzz_u32(f) : DEVICE + fuzz_u16(f);
    }
    gprs[X86_RCX] = shape & 4 ? gprs[X86_RCX] : gprs[X86_RCX] & 7;
    rflags = fuzz_u16(f);
    rflags = (rflags & ~(u64)RFLAGS_TF) | 2;
    memcpy(vcpu.arch.gpr, gprs, sizeof(gprs));
    regs[GUEST_RSP] = gprs[X86_RSP];
    regs[GUEST_RFLAGS] = rflags;
    regs[GUEST_CR0] = mode.cr0;
    vcpu.arch.rip = CODE + (fuzz_u8(f) & 1 ? PAGE_SIZE - 1 - fuzz_u8(f) % 15 : 0);
    return shape;
}

// How an instruction begins, if it is to be one that we know; how many bytes.
static u32 opcode(struct fuzz *f, u8 *to) {
    static const u8 one[] = {0x00, 0x03, 0x11, 0x12, 0x39, 0x80, 0x83, 0x86, 0x88, 0x8b, 0xa4,
                             0xa5, 0xa6, 0xaa, 0xac, 0xaf, 0xc7, 0xf6, 0xf7, 0xfe, 0xff};
    static const u8 two[] = {0xa3, 0xab, 0xb0, 0xb1, 0xb3, 0xb6, 0xb7, 0xba, 0xbb, 0xbe, 0xbf, 0xc0, 0xc1};
    u8 how = fuzz_u8(f), which = fuzz_u8(f);
    u32 count = 0;
    if (how & 0x80) // any bytes
        return 0;
    if (how & 1)
        to[count++] = 0x66;
    if ((how & 6) == 6)
        to[count++] = 0xf3;
    if (mode.code_bits == 64 && (how & 8))
        to[count++] = 0x40 | which >> 4;
    if (how & 0x10)
        to[count++] = 0x0f;
    to[count++] = how & 0x10 ? two[which % ARRAY_SIZE(two)] : one[which % ARRAY_SIZE(one)];
    return count;
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size) {
    struct fuzz f = {data, size};
    struct x86_insn insn = {};
    struct vexit exit = {};
    ram = malloc(RAM_SIZE);
    set_up(&f);
    u64 rip = vcpu.arch.rip, linear;
    for (u32 i = opcode(&f, ram + rip); i < INSN_BYTES; i++)
        ram[rip + i] = fuzz_u8(&f);
    u8 how = fuzz_u8(&f);
    bool known = x86_insn_decode(ram + rip, INSN_BYTES, mode.code_bits, &insn);
    linear = known && insn.memory ? operand_linear(&vcpu, &mode, &insn) : fuzz_u16(&f);
    u64 at = DEVICE | (linear & (PAGE_SIZE - 1));
    bool fits = known && insn.memory && insn.op != X86_OP_SYSTEM && (at & (PAGE_SIZE - 1)) + insn.src_size <= PAGE_SIZE;
    bool write = how & 1 && known ? writes(&insn) : how & 4; // as the hardware says of the access
    bool elsewhere = (mode.cr0 & CR0_PG) && (mode.code_bits != 64 || (rip & (PAGE_SIZE - 1)) + INSN_BYTES > PAGE_SIZE);
    if (how >= 0xf0) {
        string_io(&f, how);
    } else if (how >= 0xd0) {
        walks(&f);
    } else if (elsewhere) {
        whatever_is_there(&f, at, write);
    } else if (!fits) {
        anything_else(&f, &insn, known, at, write);
    } else if (!emulate_mmio(&vcpu, at, write, how & 2 ? ram + rip : nullptr, INSN_BYTES, &exit)) {
        FUZZ_CHECK(write == writes(&insn) || (!write && insn.op != X86_OP_MOV));
        memory_operand(&f, &insn, at, &exit);
    } else { // it cannot be fetched, is none that accesses memory so, or may not write there
        rflags |= vcpu.arch.work & X86_WORK_EVENT ? RFLAGS_RF : 0;
        check_registers(rip);
    }
    free(ram);
    return 0;
}
