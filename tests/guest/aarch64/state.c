// SPDX-License-Identifier: Apache-2.0
// All registers of EL0 and EL1 that a guest has to itself, and FP and SIMD.
#include "guest.h"

#define YIELD "movz x0, #3\n\tmovk x0, #0x8600, lsl #16\n\thvc #0\n\t"

// By name, and the bits that hold any value.
#define REGISTERS(op)                                                                                                  \
    op(tpidr_el0, ~0ull) op(tpidrro_el0, ~0ull) op(tpidr_el1, ~0ull) op(contextidr_el1, 0xffffffff)                    \
        op(mair_el1, 0x4400ff4400ff4404) op(amair_el1, ~0ull) op(afsr0_el1, ~0ull) op(afsr1_el1, ~0ull)                \
            op(par_el1, 0xfffffff000) op(csselr_el1, 3) op(cntkctl_el1, 0x3ff) op(sp_el0, ~0xfull) op(elr_el1, ~3ull)  \
                op(spsr_el1, 0xf00003c0) op(esr_el1, 0xffffffff) op(far_el1, ~0ull) op(ttbr0_el1, 0xfffffffff000)      \
                    op(ttbr1_el1, 0xfffffffff000) op(tcr_el1, 0x1f003f) op(dbgbvr0_el1, 0xfffffffffffc)                \
                        op(dbgbvr1_el1, 0xfffffffffffc) op(dbgbvr5_el1, 0xfffffffffffc) op(dbgbcr0_el1, 0x1e6)         \
                            op(dbgbcr5_el1, 0x1e6) op(dbgwvr0_el1, 0xfffffffffffc) op(dbgwvr1_el1, 0xfffffffffffc)     \
                                op(dbgwvr3_el1, 0xfffffffffffc) op(dbgwcr0_el1, 0x1ffe) op(dbgwcr3_el1, 0x1ffe)        \
                                    op(mdscr_el1, 1 << 12) op(cntv_cval_el0, ~0ull) op(cntp_cval_el0, ~0ull)           \
                                        op(S3_3_C4_C4_0, 0x07c00000) op(S3_3_C4_C4_1, 0x0800009f)                      \
                                            op(S3_0_C4_C6_0, 0xf8) // FPCR, FPSR, ICC_PMR_EL1

enum {
#define COUNT(name, mask) INDEX_##name,
    REGISTERS(COUNT) REGISTER_COUNT,
    VECTOR_WORDS = 64
};
static_assert(REGISTER_COUNT + VECTOR_WORDS <= STATE_MAX);

#define EACH_V(op)                                                                                                     \
    op(0) op(1) op(2) op(3) op(4) op(5) op(6) op(7) op(8) op(9) op(10) op(11) op(12) op(13) op(14) op(15) op(16)       \
        op(17) op(18) op(19) op(20) op(21) op(22) op(23) op(24) op(25) op(26) op(27) op(28) op(29) op(30) op(31)

static u64 pattern(u64 seed) {
    seed = (seed + 1) * 0x9e3779b97f4a7c15;
    return seed ^ seed >> 29;
}

void state_begin(void) {
    irqs_off();
    write_sysreg(oslar_el1, 0);
    write_sysreg(S3_0_C12_C12_5, 7);
}

u32 state_write(u64 seed) {
    u64 words[VECTOR_WORDS] __attribute__((aligned(16)));
    u64 n = 0;
#define WRITE(name, mask) write_sysreg(name, pattern(seed + n++) & (mask));
    REGISTERS(WRITE)
    for (u64 i = 0; i < VECTOR_WORDS; i++)
        words[i] = pattern(seed + 7777 + i);
#define LOAD(n) "ldr q" #n ", [%0, #" #n " * 16]\n\t"
    __asm__ volatile(SIMD EACH_V(LOAD)::"r"(words) : "memory");
    return REGISTER_COUNT + VECTOR_WORDS;
}

void state_read(u64 words[STATE_MAX]) {
    u64 vectors_of[VECTOR_WORDS] __attribute__((aligned(16)));
    u64 n = 0;
#define READ(name, mask) words[n++] = read_sysreg(name);
    REGISTERS(READ)
#define STORE(n) "str q" #n ", [%0, #" #n " * 16]\n\t"
    __asm__ volatile(SIMD EACH_V(STORE)::"r"(vectors_of) : "memory");
    for (u64 i = 0; i < VECTOR_WORDS; i++)
        words[n++] = vectors_of[i];
}

const char *state_name(u32 word) {
    static const char *const names[] = {
#define NAME(name, mask) #name,
        REGISTERS(NAME)};
    return word < REGISTER_COUNT ? names[word] : "a vector";
}

// The general registers and the flags, across one switch.
u64 state_general(u64 seed) {
    u64 sum;
    __asm__ volatile(
        "mov x4, %1\n\tadd x5, x4, #5\n\tadd x6, x4, #6\n\tadd x7, x4, #7\n\tadd x8, x4, #8\n\t"
        "add x9, x4, #9\n\tadd x10, x4, #10\n\tadd x11, x4, #11\n\tadd x12, x4, #12\n\tadd x13, x4, #13\n\t"
        "add x14, x4, #14\n\tadd x15, x4, #15\n\tadd x16, x4, #16\n\tadd x17, x4, #17\n\t"
        "add x20, x4, #20\n\tadd x21, x4, #21\n\tadd x22, x4, #22\n\tadd x23, x4, #23\n\t"
        "add x24, x4, #24\n\tadd x25, x4, #25\n\tmsr nzcv, x4\n\t" YIELD
        "mrs x0, nzcv\n\tand x1, x4, #0xf0000000\n\tsub x0, x0, x1\n\t"
        "sub x5, x5, #5\n\tsub x6, x6, #6\n\tsub x7, x7, #7\n\tsub x8, x8, #8\n\tsub x9, x9, #9\n\t"
        "sub x10, x10, #10\n\tsub x11, x11, #11\n\tsub x12, x12, #12\n\tsub x13, x13, #13\n\t"
        "sub x14, x14, #14\n\tsub x15, x15, #15\n\tsub x16, x16, #16\n\tsub x17, x17, #17\n\t"
        "sub x20, x20, #20\n\tsub x21, x21, #21\n\tsub x22, x22, #22\n\tsub x23, x23, #23\n\t"
        "sub x24, x24, #24\n\tsub x25, x25, #25\n\t"
        "eor x5, x5, x4\n\teor x6, x6, x4\n\teor x7, x7, x4\n\teor x8, x8, x4\n\teor x9, x9, x4\n\t"
        "eor x10, x10, x4\n\teor x11, x11, x4\n\teor x12, x12, x4\n\teor x13, x13, x4\n\t"
        "eor x14, x14, x4\n\teor x15, x15, x4\n\teor x16, x16, x4\n\teor x17, x17, x4\n\t"
        "eor x20, x20, x4\n\teor x21, x21, x4\n\teor x22, x22, x4\n\teor x23, x23, x4\n\t"
        "eor x24, x24, x4\n\teor x25, x25, x4\n\t"
        "orr x0, x0, x5\n\torr x0, x0, x6\n\torr x0, x0, x7\n\torr x0, x0, x8\n\torr x0, x0, x9\n\t"
        "orr x0, x0, x10\n\torr x0, x0, x11\n\torr x0, x0, x12\n\torr x0, x0, x13\n\torr x0, x0, x14\n\t"
        "orr x0, x0, x15\n\torr x0, x0, x16\n\torr x0, x0, x17\n\torr x0, x0, x20\n\torr x0, x0, x21\n\t"
        "orr x0, x0, x22\n\torr x0, x0, x23\n\torr x0, x0, x24\n\torr %0, x0, x25"
        : "=r"(sum)
        : "r"(seed)
        : "x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16",
          "x17", "x20", "x21", "x22", "x23", "x24", "x25", "cc", "memory");
    return sum;
}
