// SPDX-License-Identifier: Apache-2.0
// Every register of EL0 and EL1 and all of FP and SIMD hold a pattern of each CPU's own, over thousands of switches to
// other vCPUs of this and of other VMs.
#include "guest.h"

enum { SWITCHES = 2000, SIDE = 16 };
static u64 cpus;
static volatile u64 up[SIDE], done[SIDE], switches[SIDE], bad[SIDE], bad_at[SIDE], bad_got[SIDE], bad_want[SIDE];

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
    REGISTERS(COUNT) REGISTER_COUNT
};
static u64 held[SIDE][REGISTER_COUNT];

static u64 pattern(u64 seed) {
    seed = (seed + 1) * 0x9e3779b97f4a7c15;
    return seed ^ seed >> 29;
}

// What a register keeps of what is written is what it has to keep from then on.
static void write_all(u64 cpu, u64 epoch) {
    u64 n = 0;
#define WRITE(name, mask)                                                                                              \
    write_sysreg(name, pattern(cpu * 1000 + epoch * 100000 + n) & (mask));                                             \
    held[cpu][n++] = read_sysreg(name);
    REGISTERS(WRITE)
}

static void wrong(u64 cpu, u64 which, u64 got, u64 want) {
    if (bad[cpu]++ != 0)
        return;
    bad_at[cpu] = which;
    bad_got[cpu] = got;
    bad_want[cpu] = want;
}

static void check_all(u64 cpu) {
    u64 n = 0, v;
#define READ(name, mask)                                                                                               \
    v = read_sysreg(name);                                                                                             \
    if (v != held[cpu][n])                                                                                             \
        wrong(cpu, n, v, held[cpu][n]);                                                                                \
    n++;
    REGISTERS(READ)
}

#define EACH_V(op)                                                                                                     \
    op(0) op(1) op(2) op(3) op(4) op(5) op(6) op(7) op(8) op(9) op(10) op(11) op(12) op(13) op(14) op(15) op(16)       \
        op(17) op(18) op(19) op(20) op(21) op(22) op(23) op(24) op(25) op(26) op(27) op(28) op(29) op(30) op(31)
static u64 vectors_of[SIDE][64] __attribute__((aligned(16)));

static void load_vectors(const u64 *from) {
#define LOAD(n) "ldr q" #n ", [%0, #" #n " * 16]\n\t"
    __asm__ volatile(SIMD EACH_V(LOAD)::"r"(from) : "memory");
}
static void store_vectors(u64 *to) {
#define STORE(n) "str q" #n ", [%0, #" #n " * 16]\n\t"
    __asm__ volatile(SIMD EACH_V(STORE)::"r"(to) : "memory");
}

// The general registers and the flags, across one switch.
static u64 general(u64 seed) {
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

static void hold(u64 cpu) {
    u64 seen[64] __attribute__((aligned(16)));
    u64 until = now() + ticks_of_ms(3000);
    for (u64 epoch = 0; epoch < 4; epoch++) {
        write_all(cpu, epoch);
        for (u64 i = 0; i < 64; i++)
            vectors_of[cpu][i] = pattern(cpu * 64 + i + epoch * 7777);
        load_vectors(vectors_of[cpu]);
        for (u64 i = 0; i < SWITCHES / 4 && (now() < until || i < 20); i++) {
            u64 sum = general(pattern(i + cpu));
            if (sum)
                wrong(cpu, 200, sum, 0);
            if (i % 4 == 0)
                check_all(cpu);
            store_vectors(seen);
            for (u64 k = 0; k < 64; k++)
                if (seen[k] != vectors_of[cpu][k])
                    wrong(cpu, 100 + k / 2, seen[k], vectors_of[cpu][k]);
            switches[cpu]++;
        }
    }
}

static void reset_debug(void) {
    write_sysreg(oslar_el1, 0);
    write_sysreg(S3_0_C12_C12_5, 7);
}

void secondary_main(u64 context) {
    reset_debug();
    up[context] = 1;
    hold(context);
    done[context] = 1;
}

void guest_main(u64 dtb) {
    static const char *const names[] = {
#define NAME(name, mask) #name,
        REGISTERS(NAME)};
    (void)dtb;
    while (cpus < SIDE && psci_affinity_info(cpus) >= 0)
        cpus++;
    say("switches: %u CPUs\n", cpus);
    reset_debug();
    for (u64 cpu = 1; cpu < cpus; cpu++) {
        (void)psci_cpu_on(cpu, (u64)secondary_entry, cpu);
        (void)wait_for(&up[cpu], 1, 10000);
    }
    hold(0);
    done[0] = 1;
    for (u64 cpu = 0; cpu < cpus; cpu++) {
        CHECK("a_CPU_comes_through", wait_for(&done[cpu], 1, 20000), "CPU %u", cpu);
        u64 at = bad_at[cpu];
        CHECK("every_register_is_its_CPUs_own", bad[cpu] == 0,
              "CPU %u: %u times in %u switches, first %s (%u): %x, not %x", cpu, bad[cpu], switches[cpu],
              at < REGISTER_COUNT ? names[at]
              : at < 200          ? "v"
                                  : "x",
              at, bad_got[cpu], bad_want[cpu]);
        say("switches: %u on CPU %u\n", switches[cpu], cpu);
    }
    CHECK("no_exception_came", trap.count == 0, "%u, esr %x, elr %x", trap.count, trap.esr, trap.elr);
}
