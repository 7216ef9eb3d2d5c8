// SPDX-License-Identifier: Apache-2.0
// All registers that a guest has to itself beside the general ones (those are in general.S): control and debug
// registers, MSRs, and what XSAVE knows.
#include "guest.h"

// Those of MOV, and the bits that hold any value while nothing uses them.
#define MOVED(op)                                                                                                      \
    op(cr0, 0x50020) op(cr2, ~0ull) op(cr4, 0xcc) op(cr8, 0xf) op(dr0, ~0ull) op(dr1, ~0ull) op(dr2, ~0ull)            \
        op(dr3, ~0ull) op(dr6, 0xe00f) op(dr7, 0xffff0000)

static const struct {
    const char *name;
    u64 mask; // of addresses only those that are canonical
    u32 nr;
} msrs[] = {
    {"STAR", ~0ull, MSR_STAR},
    {"LSTAR", ~0ull >> 17, MSR_LSTAR},
    {"CSTAR", ~0ull >> 17, 0xc0000083},
    {"SFMASK", 0xffffffff, 0xc0000084},
    {"FS_BASE", ~0ull >> 17, 0xc0000100},
    {"KERNEL_GS_BASE", ~0ull >> 17, 0xc0000102},
    {"TSC_AUX", 0xffffffff, 0xc0000103},
    {"SYSENTER_CS", 0xffff, 0x174},
    {"SYSENTER_ESP", ~0ull >> 17, 0x175},
    {"SYSENTER_EIP", ~0ull >> 17, 0x176},
    {"PAT", 0x0101010101010101, 0x277},
    {"EFER", 1, MSR_EFER},
};

// The area of XSAVE, by which vector registers are written and read.
enum { X87, SSE, AVX, OPMASK = 5, ZMM_HIGH, ZMM_MORE, PARTS };
enum { AREA_SIZE = 4096, AREA_HEADER = 512 };
enum { AT_FCW = 0, AT_FSW = 2, AT_MXCSR = 24, AT_X87 = 32, AT_XMM = 160 };
static struct {
    u32 at, size;
} parts[PARTS];
static u64 xcr0;
static struct [[gnu::aligned(64)]] {
    u8 bytes[AREA_SIZE];
} areas[CPUS_MAX];

enum {
    MOVED_WORDS = 0
#define COUNT(name, mask) +1
    MOVED(COUNT),
    MSR_WORDS = ARRAY_SIZE(msrs),
    X87_WORDS = 2 + 16,
    SSE_WORDS = 32
};
static_assert(MOVED_WORDS + MSR_WORDS + X87_WORDS + SSE_WORDS + (256 + 64 + 512 + 1024) / 8 <= STATE_MAX);

static u64 pattern(u64 seed) {
    seed = (seed + 1) * 0x9e3779b97f4a7c15;
    return seed ^ seed >> 29;
}

void state_begin(void) {
    irqs_off();
    SET_CR(cr4, CR(cr4) | 1 << 18 | 1 << 10 | 1 << 9); // OSXSAVE, OSXMMEXCPT, OSFXSR
    struct cpuid all = cpuid(0xd, 0);
    xcr0 = all.a;
    __asm__ volatile("xsetbv" ::"a"(all.a), "d"(all.d), "c"(0) : "memory");
    for (u32 i = AVX; i < PARTS; i++)
        if (xcr0 >> i & 1) {
            struct cpuid one = cpuid(0xd, i);
            parts[i].at = one.b;
            parts[i].size = one.a;
        }
}

static void put(u8 *at, u64 value, u32 bytes) {
    for (u32 i = 0; i < bytes; i++)
        at[i] = (u8)(value >> 8 * i);
}

static u64 get(const u8 *at, u32 bytes) {
    u64 value = 0;
    for (u32 i = 0; i < bytes; i++)
        value |= (u64)at[i] << 8 * i;
    return value;
}

// Without the pointers of the last x87 instruction, which not every CPU keeps.
static u32 vectors_write(u64 seed) {
    u8 *to = areas[cpu_index()].bytes;
    put(to + AREA_HEADER, xcr0, 8);
    put(to + AT_FCW, 0x7f | (pattern(seed) & 0xf00), 2);
    put(to + AT_FSW, pattern(seed) & 0x4700, 2);
    put(to + 4, pattern(seed) & 0xff, 1); // which of the registers are in use
    put(to + AT_MXCSR, 0x1f80 | (pattern(seed) & 0xe03f), 4);
    for (u32 i = 0; i < 8; i++) {
        put(to + AT_X87 + 16 * i, pattern(seed++), 8);
        put(to + AT_X87 + 16 * i + 8, pattern(seed++), 2);
    }
    for (u32 i = 0; i < SSE_WORDS; i++)
        put(to + AT_XMM + 8 * i, pattern(seed++), 8);
    u32 words = X87_WORDS + SSE_WORDS;
    for (u32 part = AVX; part < PARTS; part++)
        for (u32 i = 0; i < parts[part].size; i += 8, words++)
            put(to + parts[part].at + i, pattern(seed++), 8);
    __asm__ volatile("xrstor64 (%0)" ::"r"(to), "a"((u32)xcr0), "d"((u32)(xcr0 >> 32)) : "memory");
    return words;
}

static void vectors_read(u64 *words) {
    u8 *from = areas[cpu_index()].bytes;
    __asm__ volatile("xsave64 (%0)" ::"r"(from), "a"((u32)xcr0), "d"((u32)(xcr0 >> 32)) : "memory");
    *words++ = get(from + AT_FCW, 5); // and the status, and which are in use
    *words++ = get(from + AT_MXCSR, 4);
    for (u32 i = 0; i < 8; i++) {
        *words++ = get(from + AT_X87 + 16 * i, 8);
        *words++ = get(from + AT_X87 + 16 * i + 8, 2);
    }
    for (u32 i = 0; i < SSE_WORDS; i++)
        *words++ = get(from + AT_XMM + 8 * i, 8);
    for (u32 part = AVX; part < PARTS; part++)
        for (u32 i = 0; i < parts[part].size; i += 8)
            *words++ = get(from + parts[part].at + i, 8);
}

u32 state_write(u64 seed) {
    u64 n = 0;
#define WRITE(name, mask) SET_CR(name, (CR(name) & ~(u64)(mask)) | (pattern(seed + n++) & (mask)));
    MOVED(WRITE)
    for (u32 i = 0; i < MSR_WORDS; i++)
        wrmsr(msrs[i].nr, (rdmsr(msrs[i].nr) & ~msrs[i].mask) | (pattern(seed + n++) & msrs[i].mask));
    return MOVED_WORDS + MSR_WORDS + vectors_write(seed + 7777);
}

void state_read(u64 words[STATE_MAX]) {
    u64 n = 0;
#define READ(name, mask) words[n++] = CR(name);
    MOVED(READ)
    for (u32 i = 0; i < MSR_WORDS; i++)
        words[n++] = rdmsr(msrs[i].nr);
    vectors_read(words + n);
}

const char *state_name(u32 word) {
    static const char *const names[] = {
#define NAME(name, mask) #name,
        MOVED(NAME)};
    if (word < MOVED_WORDS)
        return names[word];
    if (word < MOVED_WORDS + MSR_WORDS)
        return msrs[word - MOVED_WORDS].name;
    word -= MOVED_WORDS + MSR_WORDS;
    return word < X87_WORDS ? "the x87" : word < X87_WORDS + SSE_WORDS ? "an XMM register" : "a longer vector";
}
