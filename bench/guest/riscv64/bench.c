// SPDX-License-Identifier: Apache-2.0
// A bare-metal guest that does what is to be measured, many times over, between two marks that bench/plugin/count.c
// sees: the hart's clock is a hundred times too coarse. The word bench=WHAT of its command line chooses: the name of a
// group of operations, of one operation, or reset. Each line of the result reads "bench NAME SAMPLES", in the order of
// the marks.
#include <stddef.h>
#include <stdint.h>

#include "marks.h"
#include "text.h"

typedef uint8_t u8;
typedef uint32_t u32;
typedef uint64_t u64;

enum { SAMPLES = 1000, HARTS = 4, UART_IRQ = 10, IPI_IDENTITY = 1 };
static const uintptr_t UART = 0x10000000, PLIC = 0x0c000000, IMSIC = 0x28000000, IMSIC_STRIDE = 0x1000;
enum { UART_IER = 1, UART_LSR = 5, IER_THRE = 2 };
enum { PLIC_PRIORITY = 0, PLIC_ENABLE = 0x2080, PLIC_THRESHOLD = 0x201000, PLIC_CLAIM = 0x201004 }; // hart 0, S-mode
enum { IMSIC_EIDELIVERY = 0x70, IMSIC_EIE0 = 0xc0 };

enum { SSI = 1, STI = 5, SEI = 9 }; // in sip and sie
#define SSTATUS_SIE 2ull
#define SCAUSE_INTERRUPT (1ull << 63)

enum : u64 { // SBI 2.0
    SBI_BASE = 0x10,
    SBI_UNKNOWN = 0x0badca11,
    SBI_TIME = 0x54494d45,
    SBI_IPI = 0x735049,
    SBI_RFENCE = 0x52464e43,
    SBI_HSM = 0x48534d,
    SBI_SRST = 0x53525354,
};
#define ALL_HARTS (~0ull) // in the place of a hart mask's base
enum { HSM_START, HSM_STOP, HSM_STATUS, HSM_STOPPED = 1 };
enum { SRST_SHUTDOWN, SRST_COLD_REBOOT };
enum : u64 { TICKS_SOON = 50, TICKS_LATER = 1000, TICKS_NEVER = ~0ull, TICKS_SECOND = 10'000'000 };

void bench_main(const u8 *fdt);
void secondary_main(u64 what);
u64 trap_main(u64 cause, u64 pc, u64 value);
extern const u8 secondary_entry[];

static bool has_stimecmp, has_files;
static volatile bool interrupted; // since it was last cleared, by anything
static volatile u64 resume;       // where the timer's handler goes on; 0: where it came from
static volatile u32 harts_ready;

#define mark(n) __asm__ volatile("lui zero, %0" ::"i"(n) : "memory")
#define csr_read(r)                                                                                                    \
    ({                                                                                                                 \
        u64 v_;                                                                                                        \
        __asm__ volatile("csrr %0, " #r : "=r"(v_)::"memory");                                                         \
        v_;                                                                                                            \
    })
#define csr_write(r, v) __asm__ volatile("csrw " #r ", %0" ::"r"((u64)(v)) : "memory")
#define csr_set(r, v) __asm__ volatile("csrs " #r ", %0" ::"r"((u64)(v)) : "memory")
#define csr_clear(r, v) __asm__ volatile("csrc " #r ", %0" ::"r"((u64)(v)) : "memory")
#define STIMECMP 0x14d
#define SISELECT 0x150
#define SIREG 0x151
#define STOPEI 0x15c

// An SBI call, with marks around it or without.
#define SBI_CALL(before, behind, extension, function, arg0, arg1, arg2)                                                \
    ({                                                                                                                 \
        register u64 a0_ __asm__("a0") = (arg0);                                                                       \
        register u64 a1_ __asm__("a1") = (arg1);                                                                       \
        register u64 a2_ __asm__("a2") = (arg2);                                                                       \
        register u64 a3_ __asm__("a3") = 0;                                                                            \
        register u64 a6_ __asm__("a6") = (function);                                                                   \
        register u64 a7_ __asm__("a7") = (extension);                                                                  \
        __asm__ volatile(before "ecall\n\t" behind                                                                     \
                         : "+r"(a0_), "+r"(a1_)                                                                        \
                         : "r"(a2_), "r"(a3_), "r"(a6_), "r"(a7_), "i"(MARK_BEGIN), "i"(MARK_END)                      \
                         : "memory");                                                                                  \
        (struct result){a0_, a1_};                                                                                     \
    })
#define BEGIN "lui zero, %6\n\t"
#define END "lui zero, %7\n\t"
struct result {
    u64 error, value;
};

static struct result sbi(u64 extension, u64 function, u64 arg0, u64 arg1, u64 arg2) {
    return SBI_CALL("", "", extension, function, arg0, arg1, arg2);
}

static u8 mmio_read8(uintptr_t at) {
    return *(volatile u8 *)at;
}
static void mmio_write8(uintptr_t at, u8 value) {
    *(volatile u8 *)at = value;
}
static void mmio_write32(uintptr_t at, u32 value) {
    *(volatile u32 *)at = value;
}
void put_char(char c) {
    mmio_write8(UART, (u8)c);
}

[[noreturn]] void power_off(void) {
    put("bench end\r\n");
    (void)sbi(SBI_SRST, 0, SRST_SHUTDOWN, 0, 0);
    for (;;)
        ;
}

// ── Interrupts ──────────────────────────────────────────────────────────────────────────────────────────────────────
static void timer_set(u64 at) {
    if (has_stimecmp)
        __asm__ volatile("csrw %0, %1" ::"i"(STIMECMP), "r"(at) : "memory");
    else
        (void)sbi(SBI_TIME, 0, at, 0, 0);
}

static void irqs(bool on) {
    if (on)
        csr_set(sstatus, SSTATUS_SIE);
    else
        csr_clear(sstatus, SSTATUS_SIE);
}

static void file_write(u64 reg, u64 value) {
    __asm__ volatile("csrw %0, %1\n\tcsrw %2, %3" ::"i"(SISELECT), "r"(reg), "i"(SIREG), "r"(value) : "memory");
}

static void irqs_init(void) {
    if (has_files) {
        file_write(IMSIC_EIE0, 1u << IPI_IDENTITY);
        file_write(IMSIC_EIDELIVERY, 1);
    }
    csr_write(sie, 1u << SSI | 1u << STI | 1u << SEI);
}

u64 trap_main(u64 cause, u64 pc, u64 value) {
    if (!(cause & SCAUSE_INTERRUPT)) {
        put("bench failed: cause ");
        put_number(cause);
        put(", pc ");
        put_number(pc);
        put(", value ");
        put_number(value);
        put("\r\n");
        power_off();
    }
    switch (cause & ~SCAUSE_INTERRUPT) {
    case SSI:
        csr_clear(sip, 1u << SSI);
        break;
    case STI:
        timer_set(TICKS_NEVER);
        break;
    default:
        __asm__ volatile("csrw %0, zero" ::"i"(STOPEI) : "memory");
        break;
    }
    interrupted = true;
    u64 to = resume;
    resume = 0;
    return to ? to : pc;
}

// Sleeps until the timer or something else ends it; takes no interrupt. The other harts' turn.
static void sleep(void) {
    irqs(false);
    timer_set(csr_read(time) + TICKS_LATER);
    __asm__ volatile("wfi" ::: "memory");
    timer_set(TICKS_NEVER);
    irqs(true);
}

// ── Operations ──────────────────────────────────────────────────────────────────────────────────────────────────────
// Each passes a begin mark and, after what is measured, an end mark: here, in the trap vector or at a hart's start.
static void op_sbi_null(void) {
    (void)SBI_CALL(BEGIN, END, SBI_BASE, 0, 0, 0, 0);
}
static void op_sbi_unknown(void) {
    (void)SBI_CALL(BEGIN, END, SBI_UNKNOWN, 0, 0, 0, 0);
}
static void op_set_timer(void) {
    (void)SBI_CALL(BEGIN, END, SBI_TIME, 0, csr_read(time) + TICKS_SECOND, 0, 0);
    timer_set(TICKS_NEVER);
}
static void op_stimecmp(void) {
    u64 at = csr_read(time) + TICKS_SECOND;
    check(has_stimecmp, "this hart has no stimecmp");
    mark(MARK_BEGIN);
    __asm__ volatile("csrw %0, %1" ::"i"(STIMECMP), "r"(at) : "memory");
    mark(MARK_END);
    timer_set(TICKS_NEVER);
}
static void op_fence_i(void) {
    (void)SBI_CALL(BEGIN, END, SBI_RFENCE, 0, 0, ALL_HARTS, 0);
}

static void op_uart_read(void) {
    u64 value;
    __asm__ volatile("lui zero, %2\n\tlbu %0, 0(%1)\n\tlui zero, %3"
                     : "=&r"(value)
                     : "r"(UART + UART_LSR), "i"(MARK_BEGIN), "i"(MARK_END)
                     : "memory");
}

// The UART's interrupt, which is up: claimed, and completed.
static void plic_cycle(bool claim) {
    u32 source;
    if (claim)
        __asm__ volatile("lui zero, %2\n\tlw %0, 0(%1)\n\tlui zero, %3"
                         : "=&r"(source)
                         : "r"(PLIC + PLIC_CLAIM), "i"(MARK_BEGIN), "i"(MARK_END)
                         : "memory");
    else
        source = *(volatile u32 *)(PLIC + PLIC_CLAIM);
    check(source == UART_IRQ, "the UART does not interrupt");
    if (claim)
        mmio_write32(PLIC + PLIC_CLAIM, source);
    else
        __asm__ volatile("lui zero, %2\n\tsw %0, 0(%1)\n\tlui zero, %3" ::"r"(source), "r"(PLIC + PLIC_CLAIM),
                         "i"(MARK_BEGIN), "i"(MARK_END)
                         : "memory");
}

static void plic_op(bool claim) {
    irqs(false);
    mmio_write32(PLIC + PLIC_PRIORITY + 4 * UART_IRQ, 1);
    mmio_write32(PLIC + PLIC_ENABLE, 1u << UART_IRQ);
    mmio_write32(PLIC + PLIC_THRESHOLD, 0);
    (void)mmio_read8(UART + UART_LSR);
    mmio_write8(UART + UART_IER, IER_THRE);
    plic_cycle(claim);
    mmio_write8(UART + UART_IER, 0);
    mmio_write32(PLIC + PLIC_ENABLE, 0);
    irqs(true);
}
static void op_plic_claim(void) {
    plic_op(true);
}
static void op_plic_complete(void) {
    plic_op(false);
}

static void op_self_ipi(void) {
    interrupted = false;
    (void)SBI_CALL(BEGIN, "", SBI_IPI, 0, 1, 0, 0);
    while (!interrupted)
        ;
}
static void op_self_ipi_file(void) {
    interrupted = false;
    __asm__ volatile("lui zero, %2\n\tsw %0, 0(%1)" ::"r"(IPI_IDENTITY), "r"(IMSIC), "i"(MARK_BEGIN) : "memory");
    while (!interrupted)
        ;
}

// Every turn begins anew, so that what is counted is what comes after the last.
#define SPIN_UNTIL_TIMER()                                                                                             \
    __asm__ volatile("la t0, 2f\n\tsd t0, 0(%1)\n1:\tlui zero, %0\n\tj 1b\n2:" ::"i"(MARK_BEGIN), "r"(&resume)         \
                     : "t0", "memory")

static void op_timer_busy(void) {
    interrupted = false;
    timer_set(csr_read(time) + TICKS_SOON);
    SPIN_UNTIL_TIMER();
}
static void op_timer_wfi(void) {
    interrupted = false;
    timer_set(csr_read(time) + TICKS_SOON);
    mark(MARK_BEGIN);
    __asm__ volatile("wfi" ::: "memory");
    while (!interrupted)
        ;
}

// ── Other harts ─────────────────────────────────────────────────────────────────────────────────────────────────────
enum second_does { SECOND_LEAVES, SECOND_WAITS, SECOND_SPINS };

void secondary_main(u64 what) {
    if (what == SECOND_LEAVES)
        (void)sbi(SBI_HSM, HSM_STOP, 0, 0, 0);
    irqs_init();
    irqs(true);
    __atomic_add_fetch(&harts_ready, 1, __ATOMIC_RELEASE);
    if (what == SECOND_SPINS)
        __asm__ volatile("1:\tlui zero, %0\n\tj 1b" ::"i"(MARK_BEGIN) : "memory");
    for (;;)
        __asm__ volatile("wfi" ::: "memory");
}

// Starts those below `count` that do not run yet; they stay.
static void harts_start(u64 count, enum second_does what) {
    while (harts_ready + 1 < count) {
        u32 before = harts_ready;
        check(sbi(SBI_HSM, HSM_START, before + 1, (uintptr_t)secondary_entry, what).error == 0, "HART_START");
        while (harts_ready == before)
            sleep();
    }
}

static void hart_wait_stopped(void) {
    while (sbi(SBI_HSM, HSM_STATUS, 1, 0, 0).value != HSM_STOPPED)
        sleep();
}
static void op_hart_start_call(void) {
    (void)SBI_CALL(BEGIN, END, SBI_HSM, HSM_START, 1, (uintptr_t)secondary_entry, SECOND_LEAVES);
    hart_wait_stopped();
}
static void op_hart_start(void) {
    (void)SBI_CALL(BEGIN, "", SBI_HSM, HSM_START, 1, (uintptr_t)secondary_entry, SECOND_LEAVES);
    hart_wait_stopped();
}

// To a hart that sleeps; the sender sleeps as soon as it has sent, until its timer ends that.
static void op_ipi(void) {
    harts_start(2, SECOND_WAITS);
    sleep(); // the other one has come to its rest
    timer_set(csr_read(time) + TICKS_LATER);
    (void)SBI_CALL(BEGIN, "wfi", SBI_IPI, 0, 2, 0, 0);
}
static void op_ipi_file(void) {
    harts_start(2, SECOND_WAITS);
    sleep();
    timer_set(csr_read(time) + TICKS_LATER);
    __asm__ volatile("lui zero, %2\n\tsw %0, 0(%1)\n\twfi" ::"r"(IPI_IDENTITY), "r"(IMSIC + IMSIC_STRIDE),
                     "i"(MARK_BEGIN)
                     : "memory");
}

static void op_fence_i_others(void) {
    harts_start(HARTS, SECOND_WAITS);
    sleep();
    op_fence_i();
}

// The vCPU that the other one shares its CPU with spins, and its last turn is where the count begins.
static void op_timer_shared(void) {
    harts_start(2, SECOND_SPINS);
    op_timer_wfi();
}

// ── Main ────────────────────────────────────────────────────────────────────────────────────────────────────────────
static const struct operation {
    const char *name, *group;
    void (*run)(void);
} operations[] = {
    {"sbi_null", "single", op_sbi_null},
    {"sbi_unknown", "single", op_sbi_unknown},
    {"set_timer", "single", op_set_timer},
    {"stimecmp", "single", op_stimecmp},
    {"self_ipi", "single", op_self_ipi},
    {"fence_i", "single", op_fence_i},
    {"uart_read", "single", op_uart_read},
    {"plic_claim", "single", op_plic_claim},
    {"plic_complete", "single", op_plic_complete},
    {"timer_busy", "single", op_timer_busy},
    {"timer_wfi", "single", op_timer_wfi},
    {"set_timer_sbi", "plain", op_set_timer},
    {"timer_busy_sbi", "plain", op_timer_busy},
    {"timer_wfi_sbi", "plain", op_timer_wfi},
    {"timer_shared", "shared", op_timer_shared},
    {"hart_start_call", "smp", op_hart_start_call},
    {"hart_start", "smp", op_hart_start},
    {"ipi", "smp", op_ipi}, // the second hart stays on after it
    {"fence_i_others", "four", op_fence_i_others},
    {"self_ipi_file", "file", op_self_ipi_file},
    {"ipi_file", "files", op_ipi_file},
};

static void measure(const struct operation *op) {
    op->run(); // once before, not reported: what is set up at the first use is no part of the cost
    for (u32 i = 0; i < SAMPLES; i++)
        op->run();
    put("bench ");
    put(op->name);
    put(" ");
    put_number(SAMPLES);
    put("\r\n");
}

void bench_main(const u8 *fdt) {
    const char *word = after(fdt, "bench="), *what = word ? word : "single";
    has_stimecmp = after(fdt, "sstc");
    has_files = after(fdt, "riscv,imsics");
    irqs_init();
    timer_set(TICKS_NEVER);
    irqs(true);
    if (is(what, "reset")) {
        mark(MARK_RESET);
        (void)sbi(SBI_SRST, 0, SRST_COLD_REBOOT, 0, 0);
    }
    for (u32 i = 0; i < sizeof(operations) / sizeof(operations[0]); i++)
        if (is(what, operations[i].group) || is(what, operations[i].name))
            measure(&operations[i]);
    power_off();
}
