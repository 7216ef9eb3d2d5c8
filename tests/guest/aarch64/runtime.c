// SPDX-License-Identifier: Apache-2.0
#include <stdarg.h>

#include "guest.h"

struct trap trap;
volatile u64 irq_count[INTIDS], irq_total;
volatile u32 irq_level_seen, irq_order[INTIDS];
volatile u8 irq_cpu[INTIDS];
static u32 passed, failed;

// ── Console ─────────────────────────────────────────────────────────────────────────────────────────────────────────
static void put(char c) {
    while (read32(UART + 0x18) & (1 << 5)) // FR.TXFF
        ;
    write32(UART, (u8)c);
}

static void put_string(const char *s) {
    for (; *s; s++) {
        if (*s == '\n')
            put('\r');
        put(*s);
    }
}

static void put_number(u64 v, u32 base) {
    char text[24];
    u32 n = sizeof(text) - 1;
    text[n] = 0;
    do
        text[--n] = "0123456789abcdef"[v % base];
    while ((v /= base) != 0);
    put_string(text + n);
}

static void say_args(const char *fmt, va_list args) {
    for (; *fmt; fmt++) {
        if (*fmt != '%') {
            put_string((char[]){*fmt, 0});
            continue;
        }
        fmt++;
        if (*fmt == 's') {
            put_string(va_arg(args, const char *));
        } else if (*fmt == 'c') {
            put((char)va_arg(args, int));
        } else if (*fmt == 'd') {
            s64 v = va_arg(args, s64);
            if (v < 0)
                put('-');
            put_number(v < 0 ? 0 - (u64)v : (u64)v, 10);
        } else {
            if (*fmt == 'x')
                put_string("0x");
            put_number(va_arg(args, u64), *fmt == 'x' ? 16 : 10);
        }
    }
}

void say(const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    say_args(fmt, args);
    va_end(args);
}

void pass(const char *name) {
    passed++;
    say("PASS %s\n", name);
}

void fail(const char *name, const char *fmt, ...) {
    va_list args;
    failed++;
    say("FAIL %s: ", name);
    va_start(args, fmt);
    say_args(fmt, args);
    va_end(args);
    put_string("\n");
}

void guest_end(void) {
    if (passed + failed > 0)
        say("%u passed, %u failed\n", (u64)passed, (u64)failed);
    psci_system_off();
}

// ── Firmware ────────────────────────────────────────────────────────────────────────────────────────────────────────
#define CALL(insn)                                                                                                     \
    register u64 x0 __asm__("x0") = fn;                                                                                \
    register u64 x1 __asm__("x1") = a1;                                                                                \
    register u64 x2 __asm__("x2") = a2;                                                                                \
    register u64 x3 __asm__("x3") = a3;                                                                                \
    __asm__ volatile(insn " #0"                                                                                        \
                     : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3)::"memory", "x4", "x5", "x6", "x7", "x8", "x9", "x10",    \
                       "x11", "x12", "x13", "x14", "x15", "x16", "x17");                                               \
    return (struct call_result) {                                                                                      \
        x0, x1, x2, x3                                                                                                 \
    }

struct call_result hvc(u64 fn, u64 a1, u64 a2, u64 a3) {
    CALL("hvc");
}

struct call_result smc(u64 fn, u64 a1, u64 a2, u64 a3) {
    CALL("smc");
}

s64 psci_cpu_on(u64 target, u64 entry, u64 context) {
    return (s64)hvc(0xc4000003, target, entry, context).x0;
}

s64 psci_affinity_info(u64 target) {
    return (s64)hvc(0xc4000004, target, 0, 0).x0;
}

void psci_cpu_off(void) {
    hvc(0x84000002, 0, 0, 0);
}

void psci_system_off(void) {
    hvc(0x84000008, 0, 0, 0);
    for (;;)
        ;
}

void psci_system_reset(void) {
    hvc(0x84000009, 0, 0, 0);
    for (;;)
        ;
}

// ── Exceptions ──────────────────────────────────────────────────────────────────────────────────────────────────────
static void interrupt(void) {
    u64 intid = read_sysreg(S3_0_C12_C12_0); // ICC_IAR1_EL1
    if (intid >= 1020)
        return;
    if (intid == PPI_CNTV || intid == PPI_CNTP)
        irq_level_seen = read32(GICR + cpu_index() * GICR_STRIDE + GICR_SGI + 0x200);
    if (intid == PPI_CNTV)
        write_sysreg(cntv_ctl_el0, 0);
    if (intid == PPI_CNTP)
        write_sysreg(cntp_ctl_el0, 0);
    if (intid < INTIDS) {
        irq_count[intid]++;
        irq_cpu[intid] = (u8)cpu_index();
        irq_order[intid] = (u32)irq_total;
    }
    irq_total++;
    write_sysreg(S3_0_C12_C12_1, intid); // ICC_EOIR1_EL1
}

// Synchronous exceptions are noted and the instruction is skipped; one of a fetch returns to the caller instead.
void exception(u64 kind, struct frame *frame);
void exception(u64 kind, struct frame *frame) {
    if ((kind & 3) == 1) {
        interrupt();
        return;
    }
    trap.count++;
    trap.esr = read_sysreg(esr_el1);
    trap.far = read_sysreg(far_el1);
    trap.elr = frame->elr;
    if ((kind & 3) == 3)
        return; // SError
    u32 ec = ESR_EC(trap.esr);
    if (ec == 0x33) { // a step has ended: no more of them
        write_sysreg(mdscr_el1, read_sysreg(mdscr_el1) & ~1ull);
        return;
    }
    if (ec == EC_IABT || ec == EC_PC_ALIGN) {
        frame->elr = frame->x[30];
        return;
    }
    if (ec != 0x15) // an SVC has been executed already
        frame->elr += 4;
}

// ── Interrupts ──────────────────────────────────────────────────────────────────────────────────────────────────────
static u64 my_redistributor(void) {
    return GICR + cpu_index() * GICR_STRIDE;
}

void gic_init(void) {
    u64 gicr = my_redistributor();
    write32(GICD, 0x13); // CTLR: ARE, both groups (the guest sees one security state)
    write32(gicr + 0x14, read32(gicr + 0x14) & ~2u);
    while (read32(gicr + 0x14) & 4) // WAKER.ChildrenAsleep
        ;
    write32(gicr + GICR_SGI + 0x80, ~0u); // IGROUPR0
    for (u32 i = 0; i < 8; i++)
        write32(gicr + GICR_SGI + 0x400 + 4 * i, 0x80808080);
    write_sysreg(S3_0_C12_C12_5, 7);  // ICC_SRE_EL1
    write_sysreg(S3_0_C4_C6_0, 0xff); // ICC_PMR_EL1
    write_sysreg(S3_0_C12_C12_3, 0);  // ICC_BPR1_EL1
    write_sysreg(S3_0_C12_C12_7, 1);  // ICC_IGRPEN1_EL1
}

void gic_enable(u32 intid) {
    if (intid < 32) {
        write32(my_redistributor() + GICR_SGI + 0x100, 1u << intid);
        return;
    }
    write32(GICD + 0x80 + 4 * (intid / 32), read32(GICD + 0x80 + 4 * (intid / 32)) | 1u << intid % 32);
    write32(GICD + 0x100 + 4 * (intid / 32), 1u << intid % 32);
}

void gic_disable(u32 intid) {
    write32(intid < 32 ? my_redistributor() + GICR_SGI + 0x180 : GICD + 0x180 + 4 * (intid / 32), 1u << intid % 32);
}

void irqs_on(void) {
    __asm__ volatile("msr daifclr, #2\n\tisb" ::: "memory");
}

void irqs_off(void) {
    __asm__ volatile("msr daifset, #2\n\tisb" ::: "memory");
}

u64 now(void) {
    return read_sysreg(cntvct_el0);
}

u64 ticks_of_ms(u64 ms) {
    return read_sysreg(cntfrq_el0) / 1000 * ms;
}

bool wait_for(volatile u64 *value, u64 least, u64 ms) {
    u64 end = now() + ticks_of_ms(ms);
    while (*value < least)
        if (now() > end)
            return *value >= least;
    return true;
}

// ── Device tree ─────────────────────────────────────────────────────────────────────────────────────────────────────
static u32 big_endian(const u8 *p) {
    return (u32)p[0] << 24 | (u32)p[1] << 16 | (u32)p[2] << 8 | p[3];
}

static bool same(const u8 *p, const char *text, u32 count) {
    for (u32 i = 0; i < count; i++)
        if (p[i] != (u8)text[i])
            return false;
    return true;
}

// The structure block is walked word by word: "memory@40000000" begins a node, its "reg" has two cells each.
u64 ram_size(u64 dtb) {
    const u8 *fdt = (const u8 *)dtb;
    const u8 *at = fdt + big_endian(fdt + 8), *strings = fdt + big_endian(fdt + 12);
    bool inside = false;
    for (;;) {
        u32 token = big_endian(at);
        at += 4;
        if (token == 1) {
            inside = same(at, "memory@", 7);
            while (*at)
                at++;
            at = (const u8 *)(((u64)at + 4) & ~3ull);
        } else if (token == 3) {
            u32 len = big_endian(at), name = big_endian(at + 4);
            if (inside && same(strings + name, "reg", 4))
                return (u64)big_endian(at + 16) << 32 | big_endian(at + 20);
            at += 8 + ((len + 3) & ~3u);
        } else if (token == 9) {
            return 0;
        }
    }
}
