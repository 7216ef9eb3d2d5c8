// SPDX-License-Identifier: Apache-2.0
// All registers of VS-mode that a guest has to itself, those of its interrupt file, floating point and vectors.
#include "guest.h"

// By name, and the bits that hold any value. What is not on every hart is further down.
#define REGISTERS(op)                                                                                                  \
    op(sscratch, ~0ull) op(sepc, ~3ull) op(scause, 0x800000000000000full) op(stval, ~0ull) op(scounteren, 7)           \
        op(sie, 0x222) op(sip, 1 << SSI)
#define SSTATUS_HELD (1ull << 19 | 1ull << 18 | 1ull << 8 | 1ull << 5) // MXR, SUM, SPP, SPIE
#define SSTATUS_FS (3ull << 13)
#define SSTATUS_VS (3ull << 9)
#define FP ".option push\n\t.option arch, +d\n\t"
#define VECTOR ".option push\n\t.option arch, +v\n\t"
#define POP "\n\t.option pop"
enum { VLENB_MAX = 32 }; // of vectors beyond that the first 32 bytes

// In the order of the words: the common ones, sstatus, then what there is of these.
enum part { SSTC, SENVCFG, FILE, FP_REGISTERS, VECTORS, PARTS };
enum { FILE_WORDS = 6, FP_WORDS = 33, VECTOR_WORDS = 32 * VLENB_MAX / 8, VECTOR_CSRS = 3 };
static const u64 file_registers[FILE_WORDS - 1] = {EITHRESHOLD, EIE0, EIE0 + 2, EIE0 + 6, EIP0 + 4};
static const u8 words_of[PARTS] = {1, 1, FILE_WORDS, FP_WORDS, VECTOR_CSRS + VECTOR_WORDS};
static bool has[PARTS];

static u64 pattern(u64 seed) {
    seed = (seed + 1) * 0x9e3779b97f4a7c15;
    return seed ^ seed >> 29;
}

static bool refused(void) {
    bool yes = trap.count != 0;
    trap.count = 0;
    return yes;
}

static bool has_vectors(void) {
    csr_set(sstatus, SSTATUS_VS);
    if (!(csr_read(sstatus) & SSTATUS_VS))
        return false;
    u64 vlenb = 0;
    __asm__ volatile("csrr %0, 0xc22" : "+r"(vlenb));
    return !refused() && vlenb >= 16;
}

// Every CPU finds the same.
void state_begin(void) {
    irqs_off();
    csr_set(sstatus, SSTATUS_FS);
    has[SSTC] = has_sstc();
    has[FILE] = has_aia();
    has[FP_REGISTERS] = csr_read(sstatus) & SSTATUS_FS;
    has[VECTORS] = has_vectors();
    __asm__ volatile("csrr zero, 0x10a"); // senvcfg
    has[SENVCFG] = !refused();
}

static void fp_write(u64 seed) {
    u64 f[32];
    for (u64 i = 0; i < 32; i++)
        f[i] = pattern(seed + i);
    __asm__ volatile(FP "fld f0, 0(%0)\n\t"
                        "fld f1, 8(%0)\n\t"
                        "fld f2, 16(%0)\n\t"
                        "fld f3, 24(%0)\n\t"
                        "fld f4, 32(%0)\n\t"
                        "fld f5, 40(%0)\n\t"
                        "fld f6, 48(%0)\n\t"
                        "fld f7, 56(%0)\n\t"
                        "fld f8, 64(%0)\n\t"
                        "fld f9, 72(%0)\n\t"
                        "fld f10, 80(%0)\n\t"
                        "fld f11, 88(%0)\n\t"
                        "fld f12, 96(%0)\n\t"
                        "fld f13, 104(%0)\n\t"
                        "fld f14, 112(%0)\n\t"
                        "fld f15, 120(%0)\n\t"
                        "fld f16, 128(%0)\n\t"
                        "fld f17, 136(%0)\n\t"
                        "fld f18, 144(%0)\n\t"
                        "fld f19, 152(%0)\n\t"
                        "fld f20, 160(%0)\n\t"
                        "fld f21, 168(%0)\n\t"
                        "fld f22, 176(%0)\n\t"
                        "fld f23, 184(%0)\n\t"
                        "fld f24, 192(%0)\n\t"
                        "fld f25, 200(%0)\n\t"
                        "fld f26, 208(%0)\n\t"
                        "fld f27, 216(%0)\n\t"
                        "fld f28, 224(%0)\n\t"
                        "fld f29, 232(%0)\n\t"
                        "fld f30, 240(%0)\n\t"
                        "fld f31, 248(%0)" POP::"r"(f)
                     : "memory");
    __asm__ volatile("csrw 0x003, %0" ::"r"(pattern(seed + 32) & 0xff)); // fcsr
}

static void fp_read(u64 *f) {
    __asm__ volatile(FP "fsd f0, 0(%0)\n\t"
                        "fsd f1, 8(%0)\n\t"
                        "fsd f2, 16(%0)\n\t"
                        "fsd f3, 24(%0)\n\t"
                        "fsd f4, 32(%0)\n\t"
                        "fsd f5, 40(%0)\n\t"
                        "fsd f6, 48(%0)\n\t"
                        "fsd f7, 56(%0)\n\t"
                        "fsd f8, 64(%0)\n\t"
                        "fsd f9, 72(%0)\n\t"
                        "fsd f10, 80(%0)\n\t"
                        "fsd f11, 88(%0)\n\t"
                        "fsd f12, 96(%0)\n\t"
                        "fsd f13, 104(%0)\n\t"
                        "fsd f14, 112(%0)\n\t"
                        "fsd f15, 120(%0)\n\t"
                        "fsd f16, 128(%0)\n\t"
                        "fsd f17, 136(%0)\n\t"
                        "fsd f18, 144(%0)\n\t"
                        "fsd f19, 152(%0)\n\t"
                        "fsd f20, 160(%0)\n\t"
                        "fsd f21, 168(%0)\n\t"
                        "fsd f22, 176(%0)\n\t"
                        "fsd f23, 184(%0)\n\t"
                        "fsd f24, 192(%0)\n\t"
                        "fsd f25, 200(%0)\n\t"
                        "fsd f26, 208(%0)\n\t"
                        "fsd f27, 216(%0)\n\t"
                        "fsd f28, 224(%0)\n\t"
                        "fsd f29, 232(%0)\n\t"
                        "fsd f30, 240(%0)\n\t"
                        "fsd f31, 248(%0)" POP::"r"(f)
                     : "memory");
    __asm__ volatile("csrr %0, 0x003" : "=r"(f[32]));
}

// Whole registers are moved by way of the first 32 bytes of each: elements of 8 bytes, as many as these are or there
// are.
static void vectors_write(u64 seed) {
    u64 v[VECTOR_WORDS], n = VLENB_MAX / 8;
    for (u64 i = 0; i < VECTOR_WORDS; i++)
        v[i] = pattern(seed + i);
    __asm__ volatile(VECTOR "vsetvli %0, %0, e64, m1, tu, ma\n\tmv t0, %1\n\tslli t1, %0, 3\n\t"
                            "vle64.v v0, (t0)\n\tadd t0, t0, t1\n\t"
                            "vle64.v v1, (t0)\n\tadd t0, t0, t1\n\t"
                            "vle64.v v2, (t0)\n\tadd t0, t0, t1\n\t"
                            "vle64.v v3, (t0)\n\tadd t0, t0, t1\n\t"
                            "vle64.v v4, (t0)\n\tadd t0, t0, t1\n\t"
                            "vle64.v v5, (t0)\n\tadd t0, t0, t1\n\t"
                            "vle64.v v6, (t0)\n\tadd t0, t0, t1\n\t"
                            "vle64.v v7, (t0)\n\tadd t0, t0, t1\n\t"
                            "vle64.v v8, (t0)\n\tadd t0, t0, t1\n\t"
                            "vle64.v v9, (t0)\n\tadd t0, t0, t1\n\t"
                            "vle64.v v10, (t0)\n\tadd t0, t0, t1\n\t"
                            "vle64.v v11, (t0)\n\tadd t0, t0, t1\n\t"
                            "vle64.v v12, (t0)\n\tadd t0, t0, t1\n\t"
                            "vle64.v v13, (t0)\n\tadd t0, t0, t1\n\t"
                            "vle64.v v14, (t0)\n\tadd t0, t0, t1\n\t"
                            "vle64.v v15, (t0)\n\tadd t0, t0, t1\n\t"
                            "vle64.v v16, (t0)\n\tadd t0, t0, t1\n\t"
                            "vle64.v v17, (t0)\n\tadd t0, t0, t1\n\t"
                            "vle64.v v18, (t0)\n\tadd t0, t0, t1\n\t"
                            "vle64.v v19, (t0)\n\tadd t0, t0, t1\n\t"
                            "vle64.v v20, (t0)\n\tadd t0, t0, t1\n\t"
                            "vle64.v v21, (t0)\n\tadd t0, t0, t1\n\t"
                            "vle64.v v22, (t0)\n\tadd t0, t0, t1\n\t"
                            "vle64.v v23, (t0)\n\tadd t0, t0, t1\n\t"
                            "vle64.v v24, (t0)\n\tadd t0, t0, t1\n\t"
                            "vle64.v v25, (t0)\n\tadd t0, t0, t1\n\t"
                            "vle64.v v26, (t0)\n\tadd t0, t0, t1\n\t"
                            "vle64.v v27, (t0)\n\tadd t0, t0, t1\n\t"
                            "vle64.v v28, (t0)\n\tadd t0, t0, t1\n\t"
                            "vle64.v v29, (t0)\n\tadd t0, t0, t1\n\t"
                            "vle64.v v30, (t0)\n\tadd t0, t0, t1\n\t"
                            "vle64.v v31, (t0)\n\tadd t0, t0, t1\n\t"
                            "csrw vcsr, %2" POP
                     : "+r"(n)
                     : "r"(v), "r"(pattern(seed + 99) & 7)
                     : "t0", "t1", "memory");
}

static void vectors_read(u64 *words) {
    u64 n;
    __asm__ volatile(
        VECTOR "csrr %0, vtype\n\tsd %0, 0(%1)\n\tcsrr %0, vl\n\tsd %0, 8(%1)\n\tcsrr %0, vcsr\n\tsd %0, 16(%1)\n\t"
               "addi t0, %1, 24\n\tcsrr %0, vl\n\tslli t1, %0, 3\n\t"
               "vse64.v v0, (t0)\n\tadd t0, t0, t1\n\t"
               "vse64.v v1, (t0)\n\tadd t0, t0, t1\n\t"
               "vse64.v v2, (t0)\n\tadd t0, t0, t1\n\t"
               "vse64.v v3, (t0)\n\tadd t0, t0, t1\n\t"
               "vse64.v v4, (t0)\n\tadd t0, t0, t1\n\t"
               "vse64.v v5, (t0)\n\tadd t0, t0, t1\n\t"
               "vse64.v v6, (t0)\n\tadd t0, t0, t1\n\t"
               "vse64.v v7, (t0)\n\tadd t0, t0, t1\n\t"
               "vse64.v v8, (t0)\n\tadd t0, t0, t1\n\t"
               "vse64.v v9, (t0)\n\tadd t0, t0, t1\n\t"
               "vse64.v v10, (t0)\n\tadd t0, t0, t1\n\t"
               "vse64.v v11, (t0)\n\tadd t0, t0, t1\n\t"
               "vse64.v v12, (t0)\n\tadd t0, t0, t1\n\t"
               "vse64.v v13, (t0)\n\tadd t0, t0, t1\n\t"
               "vse64.v v14, (t0)\n\tadd t0, t0, t1\n\t"
               "vse64.v v15, (t0)\n\tadd t0, t0, t1\n\t"
               "vse64.v v16, (t0)\n\tadd t0, t0, t1\n\t"
               "vse64.v v17, (t0)\n\tadd t0, t0, t1\n\t"
               "vse64.v v18, (t0)\n\tadd t0, t0, t1\n\t"
               "vse64.v v19, (t0)\n\tadd t0, t0, t1\n\t"
               "vse64.v v20, (t0)\n\tadd t0, t0, t1\n\t"
               "vse64.v v21, (t0)\n\tadd t0, t0, t1\n\t"
               "vse64.v v22, (t0)\n\tadd t0, t0, t1\n\t"
               "vse64.v v23, (t0)\n\tadd t0, t0, t1\n\t"
               "vse64.v v24, (t0)\n\tadd t0, t0, t1\n\t"
               "vse64.v v25, (t0)\n\tadd t0, t0, t1\n\t"
               "vse64.v v26, (t0)\n\tadd t0, t0, t1\n\t"
               "vse64.v v27, (t0)\n\tadd t0, t0, t1\n\t"
               "vse64.v v28, (t0)\n\tadd t0, t0, t1\n\t"
               "vse64.v v29, (t0)\n\tadd t0, t0, t1\n\t"
               "vse64.v v30, (t0)\n\tadd t0, t0, t1\n\t"
               "vse64.v v31, (t0)\n\tadd t0, t0, t1" POP
        : "=&r"(n)
        : "r"(words)
        : "t0", "t1", "memory");
}

static void file_state_write(u64 seed) {
    for (u64 i = 0; i < FILE_WORDS - 1; i++)
        file_write(file_registers[i], pattern(seed + i) & (i == 0 ? 0xff : ~0ull));
    csr_write(0x150, file_registers[seed % (FILE_WORDS - 1)]); // siselect
}

static void file_state_read(u64 *words) {
    u64 select = csr_read(0x150);
    for (u64 i = 0; i < FILE_WORDS - 1; i++)
        words[i] = file_read(file_registers[i]);
    words[FILE_WORDS - 1] = select;
    csr_write(0x150, select);
}

static u32 common_count(void) {
    u32 n = 1; // sstatus
#define COUNT(name, mask) n++;
    REGISTERS(COUNT)
    return n;
}

u32 state_write(u64 seed) {
    u32 count = common_count();
    u64 n = 0;
#define WRITE(name, mask) csr_write(name, pattern(seed + n++) & (mask));
    REGISTERS(WRITE)
    csr_clear(sstatus, SSTATUS_HELD);
    csr_set(sstatus, pattern(seed + 20) & SSTATUS_HELD);
    if (has[SSTC])
        csr_write(0x14d, pattern(seed + 21));
    if (has[SENVCFG])
        csr_write(0x10a, seed & 1); // FIOM
    if (has[FILE])
        file_state_write(seed + 30);
    if (has[FP_REGISTERS])
        fp_write(seed + 100);
    if (has[VECTORS])
        vectors_write(seed + 200);
    for (u32 part = 0; part < PARTS; part++)
        count += has[part] ? words_of[part] : 0;
    return count;
}

void state_read(u64 words[STATE_MAX]) {
    u64 n = 0;
#define READ(name, mask) words[n++] = csr_read(name) & (mask);
    REGISTERS(READ)
    words[n++] = csr_read(sstatus) & SSTATUS_HELD;
    if (has[SSTC])
        words[n++] = csr_read(0x14d);
    if (has[SENVCFG])
        words[n++] = csr_read(0x10a);
    if (has[FILE]) {
        file_state_read(words + n);
        n += FILE_WORDS;
    }
    if (has[FP_REGISTERS]) {
        fp_read(words + n);
        n += FP_WORDS;
    }
    if (has[VECTORS])
        vectors_read(words + n);
}

const char *state_name(u32 word) {
    static const char *const names[] = {
#define NAME(name, mask) #name,
        REGISTERS(NAME) "sstatus"};
    static const char *const parts[PARTS] = {"stimecmp", "senvcfg", "the interrupt file", "floating point", "a vector"};
    if (word < common_count())
        return names[word];
    word -= common_count();
    for (u32 part = 0; part < PARTS; part++) {
        u32 there = has[part] ? words_of[part] : 0;
        if (word < there)
            return parts[part];
        word -= there;
    }
    return "?";
}
