// SPDX-License-Identifier: Apache-2.0
// arch/riscv64's pure decoders. A firmware call with any registers asks for something that is there, or is answered
// with an error of the specification's; an instruction is taken for a load, store or CSR access exactly if it matches
// one of the manual's encodings, with the operands that these say.
#include "../../arch/riscv64/insn.c"
#include "../../arch/riscv64/sbi_decode.c"

#include <string.h>

#include "fuzz.h"

#define RAM 0x80000000ull
#define RAM_SIZE MIB(16)

// ── Instructions: by mask and match, as the manual's tables of opcodes ─────────────────────────────────────────────
struct row {
    u32 mask, match;
    u8 size, reg;            // reg: lowest bit of the register's field
    bool write, sign, three; // three: a register of three bits, x8 … x15
};

static const struct row wide[] = {
    {0x707f, 0x0003, 1, 7, false, true, false},  {0x707f, 0x1003, 2, 7, false, true, false},
    {0x707f, 0x2003, 4, 7, false, true, false},  {0x707f, 0x3003, 8, 7, false, true, false},
    {0x707f, 0x4003, 1, 7, false, false, false}, {0x707f, 0x5003, 2, 7, false, false, false},
    {0x707f, 0x6003, 4, 7, false, false, false}, {0x707f, 0x0023, 1, 20, true, false, false},
    {0x707f, 0x1023, 2, 20, true, false, false}, {0x707f, 0x2023, 4, 20, true, false, false},
    {0x707f, 0x3023, 8, 20, true, false, false},
};
static const struct row narrow[] = {
    {0xe003, 0x4000, 4, 2, false, true, true},  {0xe003, 0x6000, 8, 2, false, true, true},
    {0xe003, 0xc000, 4, 2, true, false, true},  {0xe003, 0xe000, 8, 2, true, false, true},
    {0xe003, 0x4002, 4, 7, false, true, false}, {0xe003, 0x6002, 8, 7, false, true, false},
    {0xe003, 0xc002, 4, 2, true, false, false}, {0xe003, 0xe002, 8, 2, true, false, false},
    {0xfc03, 0x8000, 1, 2, false, false, true}, {0xfc43, 0x8400, 2, 2, false, false, true},
    {0xfc43, 0x8440, 2, 2, false, true, true},  {0xfc03, 0x8800, 1, 2, true, false, true},
    {0xfc43, 0x8c00, 2, 2, true, false, true},
};

static void check_insn(u32 insn, bool is_access, const struct insn_access *a, const struct row *rows, u32 count) {
    const struct row *found = nullptr;
    for (u32 i = 0; i < count; i++)
        if ((insn & rows[i].mask) == rows[i].match)
            found = &rows[i];
    FUZZ_CHECK(is_access == (found != nullptr));
    if (!found)
        return;
    FUZZ_CHECK(a->size == found->size && a->write == found->write);
    FUZZ_CHECK(a->sign == found->sign);
    FUZZ_CHECK(a->reg == (found->three ? 8 + (insn >> found->reg & 7) : (insn >> found->reg & 31)));
}

static void instruction(u32 insn) {
    struct insn_access a;
    struct insn_csr c;
    bool is_access = insn_access(insn, &a);
    check_insn(insn, is_access, &a, wide, ARRAY_SIZE(wide));
    u32 half = insn & 0xffff, expanded = insn_expand(half);
    is_access = insn_access(expanded, &a);
    FUZZ_CHECK(is_access == (expanded != 0));
    check_insn(half, is_access, &a, narrow, ARRAY_SIZE(narrow));
    bool is_csr = (insn & 0x7f) == 0x73 && (insn >> 12 & 7) != 0 && (insn >> 12 & 7) != 4;
    FUZZ_CHECK(insn_csr(insn, &c) == is_csr);
    if (is_csr)
        FUZZ_CHECK(c.nr == insn >> 20 && c.rd == (insn >> 7 & 31) && c.op >= CSR_OP_WRITE && c.op <= CSR_OP_CLEAR);
}

// ── Firmware calls ──────────────────────────────────────────────────────────────────────────────────────────────────
static bool fits(u64 at, u64 size) {
    return at >= RAM && size <= RAM_SIZE && at - RAM <= RAM_SIZE - size;
}

static void check_op(const struct sbi_guest *guest, const u64 *x, const struct sbi_op *op) {
    const u64 all = BIT(guest->harts) - 1;
    FUZZ_CHECK(op->action < SBI_ACTIONS);
    FUZZ_CHECK(op->legacy == (x[17] <= SBI_LEGACY_SHUTDOWN));
    FUZZ_CHECK(op->error <= 0 && op->error >= SBI_ALREADY_AVAILABLE);
    FUZZ_CHECK(op->action == SBI_ANSWERED || op->error == SBI_SUCCESS);
    FUZZ_CHECK(op->error == SBI_SUCCESS || op->value == 0);
    FUZZ_CHECK(!op->mask_in_ram || (op->legacy && op->value));
    FUZZ_CHECK((op->action != SBI_FENCE && op->action != SBI_SEND_IPI) || !(op->harts & ~all));
    switch (op->action) {
    case SBI_FENCE:
        FUZZ_CHECK(op->fence <= RFENCE_SFENCE_VMA_ASID && (op->fence == RFENCE_FENCE_I || op->asid <= 0xffff));
        FUZZ_CHECK(op->fence == RFENCE_FENCE_I || op->size == 0 || op->size == ~0ull ||
                   op->at + (op->size - 1) >= op->at);
        break;
    case SBI_CONSOLE_WRITE:
    case SBI_CONSOLE_READ:
        FUZZ_CHECK(op->size <= SBI_CONSOLE_MAX && fits(op->at, op->size));
        break;
    case SBI_CONSOLE_PUT:
        FUZZ_CHECK(op->value <= 0xff);
        break;
    case SBI_HART_START:
        FUZZ_CHECK(fits(op->entry, 2) && !(op->entry & 1));
        [[fallthrough]];
    case SBI_HART_STATUS:
        FUZZ_CHECK(op->target < guest->harts);
        break;
    case SBI_HART_SUSPEND:
    case SBI_SYSTEM_SUSPEND:
        FUZZ_CHECK(!op->loses || (fits(op->entry, 2) && !(op->entry & 1)));
        break;
    case SBI_HYPERCALL:
        FUZZ_CHECK(op->target < HYPERCALL_COUNT);
        break;
    default:
        break;
    }
}

static u64 some_value(struct fuzz *f) {
    static const u64 edges[] = {0,       1,       RAM,       RAM + RAM_SIZE, RAM + RAM_SIZE - 2,    RAM + RAM_SIZE - 1,
                                RAM - 1, ~0ull,   ~0ull - 1, 0x80000000ull,  0xffffffff80000000ull, 4096,
                                4097,    BIT(63), 16,        0xffff};
    u8 how = fuzz_u8(f);
    return how < 64    ? how
           : how < 128 ? edges[how & 15]
           : how < 160 ? RAM + 2ull * fuzz_u8(f)
           : how < 200 ? fuzz_u16(f)
                       : fuzz_u64(f);
}

static void firmware_call(struct fuzz *f) {
    static const u64 extensions[] = {0,       1,        2,       3,        4,        5,           6,
                                     7,       8,        9,       SBI_BASE, SBI_TIME, SBI_IPI,     SBI_RFENCE,
                                     SBI_HSM, SBI_SRST, SBI_PMU, SBI_DBCN, SBI_SUSP, SBI_BULKHEAD};
    struct sbi_guest guest = {.harts = 1 + fuzz_u8(f) % SBI_HARTS_MAX, .ram = RAM, .ram_size = RAM_SIZE};
    u64 x[32] = {0}, before[32];
    u8 which = fuzz_u8(f);
    x[17] = which < 240 ? extensions[which % ARRAY_SIZE(extensions)] : fuzz_u64(f);
    x[16] = which & 1 ? fuzz_u8(f) % 12 : some_value(f);
    for (u32 i = 10; i < 16; i++)
        x[i] = some_value(f);
    memcpy(before, x, sizeof(x));
    struct sbi_op op, again;
    memset(&op, 0xa5, sizeof(op));
    memset(&again, 0x5a, sizeof(again));
    sbi_decode(&guest, x, &op);
    sbi_decode(&guest, x, &again);
    FUZZ_CHECK(memcmp(before, x, sizeof(x)) == 0);
    FUZZ_CHECK(op.action == again.action && op.error == again.error && op.value == again.value);
    check_op(&guest, x, &op);
    FUZZ_CHECK(sbi_mask_harts(&guest, x[10]) == (x[10] & (BIT(guest.harts) - 1)));
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size) {
    struct fuzz f = {data, size};
    while (fuzz_more(&f)) {
        if (fuzz_u8(&f) & 1)
            instruction(fuzz_u32(&f));
        else
            firmware_call(&f);
    }
    return 0;
}
