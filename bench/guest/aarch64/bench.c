// SPDX-License-Identifier: Apache-2.0
// A bare-metal guest that measures what a hypervisor costs it, in ticks of its virtual counter: under QEMU's -icount
// with a 1 GHz counter, in instructions. The word bench=WHAT of its command line chooses: single (the default), smp,
// reset, or the name of one operation. Each line of the result reads "bench NAME SAMPLES MEDIAN MIN MAX".
#include <stddef.h>
#include <stdint.h>

#include "marks.h"
#include "text.h"

typedef uint8_t u8;
typedef uint32_t u32;
typedef uint64_t u64;

enum { SAMPLES = 1000, YIELDS_TO_SETTLE = 16, SGI_SELF = 1, SGI_OTHER = 2, PPI_VTIMER = 27 };
static const uintptr_t UART = 0x09000000, GICD = 0x08000000, GICR = 0x080a0000, GICR_STRIDE = 0x20000;

enum : u32 {
    PSCI_VERSION = 0x84000000,
    PSCI_CPU_OFF = 0x84000002,
    PSCI_CPU_ON = 0xc4000003,
    PSCI_AFFINITY_INFO = 0xc4000004,
    PSCI_SYSTEM_OFF = 0x84000008,
    PSCI_SYSTEM_RESET = 0x84000009,
    UNKNOWN_CALL = 0xc2001234, // nobody's in the owner's range of standard hypervisor services
};
enum { AFFINITY_OFF = 1 };

void bench_main(const u8 *fdt);
void secondary_main(u64 context, u64 when);
void irq_main(u64 when);
void fault_main(u64 vector, u64 esr, u64 elr);
extern const u8 secondary_entry[];

static u32 samples[SAMPLES];
static volatile u64 irq_when;    // when the last interrupt reached the vector
static volatile u64 second_when; // when the second CPU ran its first instruction
static volatile u32 second_ready;

#define mark(n) __asm__ volatile("movz xzr, %0" ::"i"(n) : "memory")
#define sysreg_read(r)                                                                                                 \
    ({                                                                                                                 \
        u64 v_;                                                                                                        \
        __asm__ volatile("mrs %0, " #r : "=r"(v_)::"memory");                                                          \
        v_;                                                                                                            \
    })
#define sysreg_write(r, v)                                                                                             \
    do {                                                                                                               \
        u64 v_ = (v);                                                                                                  \
        __asm__ volatile("msr " #r ", %0\n\tisb" ::"r"(v_) : "memory");                                                \
    } while (0)

static inline u64 now(void) {
    return sysreg_read(cntvct_el0);
}
static void mmio_write(uintptr_t at, u32 value) {
    *(volatile u32 *)at = value;
}
static u32 mmio_read(uintptr_t at) {
    return *(volatile u32 *)at;
}
// Hands the turn to the other CPU, which QEMU otherwise gives only when this one's time slice is over.
static inline void yield(void) {
    __asm__ volatile("yield" ::: "memory");
}
static inline u64 hvc(u64 fn, u64 a1, u64 a2, u64 a3) {
    register u64 x0 __asm__("x0") = fn;
    register u64 x1 __asm__("x1") = a1;
    register u64 x2 __asm__("x2") = a2;
    register u64 x3 __asm__("x3") = a3;
    __asm__ volatile("hvc #0" : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3)::"memory");
    return x0;
}

// ── Text ────────────────────────────────────────────────────────────────────────────────────────────────────────────
void put_char(char c) {
    mmio_write(UART, (u8)c);
}

static void put_row(const char *name, u32 count) {
    for (u32 i = 1; i < count; i++) { // insertion sort: the samples are nearly all alike
        u32 sample = samples[i], at = i;
        for (; at > 0 && samples[at - 1] > sample; at--)
            samples[at] = samples[at - 1];
        samples[at] = sample;
    }
    const u32 shown[] = {count, samples[count / 2], samples[0], samples[count - 1]};
    put("bench ");
    put(name);
    for (u32 i = 0; i < 4; i++) {
        put(" ");
        put_number(shown[i]);
    }
    put("\r\n");
}

[[noreturn]] void power_off(void) {
    put("bench end\r\n");
    hvc(PSCI_SYSTEM_OFF, 0, 0, 0);
    for (;;)
        ;
}

void fault_main(u64 vector, u64 esr, u64 elr) {
    put("bench failed: vector ");
    put_number(vector);
    put(", esr ");
    put_number(esr);
    put(", elr ");
    put_number(elr);
    put("\r\n");
    power_off();
}

// ── Interrupts ──────────────────────────────────────────────────────────────────────────────────────────────────────
static void gic_init(u32 cpu) {
    uintptr_t rd = GICR + cpu * GICR_STRIDE, sgi = rd + 0x10000;
    mmio_write(GICD, 0x12);          // GICD_CTLR: ARE, group 1
    mmio_write(rd + 0x14, 0);        // GICR_WAKER
    while (mmio_read(rd + 0x14) & 4) // ChildrenAsleep
        ;
    mmio_write(sgi + 0x80, 0xffffffff); // GICR_IGROUPR0
    mmio_write(sgi + 0x100, 1u << SGI_SELF | 1u << SGI_OTHER | 1u << PPI_VTIMER);
    sysreg_write(S3_0_C12_C12_5, 7);  // ICC_SRE_EL1
    sysreg_write(S3_0_C4_C6_0, 0xf0); // ICC_PMR_EL1
    sysreg_write(S3_0_C12_C12_7, 1);  // ICC_IGRPEN1_EL1
    __asm__ volatile("msr daifclr, #2" ::: "memory");
}

static inline void sgi_send(u64 intid, u64 targets) {
    __asm__ volatile("msr S3_0_C12_C11_5, %0" ::"r"(intid << 24 | targets) : "memory"); // ICC_SGI1R_EL1
}

void irq_main(u64 when) {
    u64 intid = sysreg_read(S3_0_C12_C12_0); // ICC_IAR1_EL1
    if (intid == PPI_VTIMER)
        sysreg_write(cntv_ctl_el0, 0);
    sysreg_write(S3_0_C12_C12_1, intid); // ICC_EOIR1_EL1
    irq_when = when;
}

// ── Operations ──────────────────────────────────────────────────────────────────────────────────────────────────────
// Each returns ticks, of which `empty` belong to the measuring itself.
static u64 empty;

static inline __attribute__((always_inline)) u64 timed_hvc(u64 fn) {
    register u64 x0 __asm__("x0") = fn;
    register u64 x1 __asm__("x1") = 0;
    register u64 x2 __asm__("x2") = 0;
    register u64 x3 __asm__("x3") = 0;
    u64 t0, t1;
    __asm__ volatile("mrs %0, cntvct_el0\n\thvc #0\n\tmrs %1, cntvct_el0"
                     : "=&r"(t0), "=&r"(t1), "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3)::"memory");
    return t1 - t0;
}
static inline __attribute__((always_inline)) u64 timed_read(uintptr_t at) {
    u64 t0, t1;
    u32 value;
    __asm__ volatile("mrs %0, cntvct_el0\n\tldr %w2, [%3]\n\tmrs %1, cntvct_el0"
                     : "=&r"(t0), "=&r"(t1), "=&r"(value)
                     : "r"(at)
                     : "memory");
    return t1 - t0;
}

static u64 op_empty(void) {
    u64 t0, t1;
    __asm__ volatile("mrs %0, cntvct_el0\n\tmrs %1, cntvct_el0" : "=&r"(t0), "=&r"(t1)::"memory");
    return t1 - t0;
}
static u64 op_psci_version(void) {
    return timed_hvc(PSCI_VERSION);
}
static u64 op_hvc_unknown(void) {
    return timed_hvc(UNKNOWN_CALL);
}
static u64 op_uart_read(void) {
    return timed_read(UART + 0x18);
}
static u64 op_gicd_typer(void) {
    return timed_read(GICD + 4);
}
static u64 op_gicd_isenabler(void) {
    return timed_read(GICD + 0x104);
}
static u64 op_gicd_icenabler(void) {
    u64 t0, t1;
    __asm__ volatile("mrs %0, cntvct_el0\n\tstr wzr, [%2]\n\tmrs %1, cntvct_el0"
                     : "=&r"(t0), "=&r"(t1)
                     : "r"(GICD + 0x184)
                     : "memory");
    return t1 - t0;
}
static u64 op_gicr_typer(void) {
    u64 t0, t1, value;
    __asm__ volatile("mrs %0, cntvct_el0\n\tldr %2, [%3]\n\tmrs %1, cntvct_el0"
                     : "=&r"(t0), "=&r"(t1), "=&r"(value)
                     : "r"(GICR + 8)
                     : "memory");
    return t1 - t0;
}

static u64 op_self_sgi(void) {
    irq_when = 0;
    u64 t0 = now();
    sgi_send(SGI_SELF, 1);
    while (irq_when == 0)
        ;
    return irq_when - t0;
}

static u64 op_timer_busy(void) {
    irq_when = 0;
    u64 cval = now() + 5000;
    sysreg_write(cntv_cval_el0, cval);
    sysreg_write(cntv_ctl_el0, 1);
    while (irq_when == 0)
        ;
    return irq_when - cval;
}

static u64 op_timer_wfi(void) {
    irq_when = 0;
    __asm__ volatile("msr daifset, #2" ::: "memory"); // the interrupt waits for the WFI, however early it comes
    u64 cval = now() + 5000;
    sysreg_write(cntv_cval_el0, cval);
    sysreg_write(cntv_ctl_el0, 1);
    __asm__ volatile("wfi\n\tmsr daifclr, #2" ::: "memory");
    while (irq_when == 0)
        ;
    return irq_when - cval;
}

// ── Two CPUs ────────────────────────────────────────────────────────────────────────────────────────────────────────
enum second_does { SECOND_LEAVES, SECOND_RECEIVES };

void secondary_main(u64 context, u64 when) {
    second_when = when;
    if (context == SECOND_LEAVES) {
        for (u32 i = 0; i < YIELDS_TO_SETTLE; i++)
            yield();
        hvc(PSCI_CPU_OFF, 0, 0, 0);
    }
    gic_init(1);
    second_ready = 1;
    for (;;)
        yield();
}

static void second_start(enum second_does what) {
    second_when = 0;
    check(hvc(PSCI_CPU_ON, 1, (uintptr_t)secondary_entry, what) == 0, "CPU_ON");
}

static void second_wait_off(void) {
    while (hvc(PSCI_AFFINITY_INFO, 1, 0, 0) != AFFINITY_OFF)
        yield();
}

static u64 cpu_on(bool call) {
    u64 t0 = now();
    second_start(SECOND_LEAVES);
    u64 t1 = now();
    while (second_when == 0)
        yield();
    mark(MARK_END);
    second_wait_off();
    return call ? t1 - t0 : second_when - t0;
}
static u64 op_cpu_on_call(void) {
    return cpu_on(true);
}
static u64 op_cpu_on_first(void) {
    return cpu_on(false);
}

static u64 op_ipi(void) {
    if (!second_ready) {
        second_start(SECOND_RECEIVES);
        while (!second_ready)
            yield();
    }
    for (u32 i = 0; i < YIELDS_TO_SETTLE; i++)
        yield();
    irq_when = 0;
    u64 t0 = now();
    sgi_send(SGI_OTHER, 2);
    while (irq_when == 0)
        yield();
    return irq_when - t0;
}

// ── Main ────────────────────────────────────────────────────────────────────────────────────────────────────────────
static const struct operation {
    const char *name;
    u64 (*run)(void);
    bool smp;
} operations[] = {
    {"psci_version", op_psci_version, false},
    {"hvc_unknown", op_hvc_unknown, false},
    {"uart_read", op_uart_read, false},
    {"gicd_typer", op_gicd_typer, false},
    {"gicd_isenabler", op_gicd_isenabler, false},
    {"gicd_icenabler", op_gicd_icenabler, false},
    {"gicr_typer", op_gicr_typer, false},
    {"self_sgi", op_self_sgi, false},
    {"timer_busy", op_timer_busy, false},
    {"timer_wfi", op_timer_wfi, false},
    {"cpu_on_call", op_cpu_on_call, true},
    {"cpu_on_first", op_cpu_on_first, true},
    {"ipi", op_ipi, true}, // the second CPU stays on after it
};

static void measure(const struct operation *op) {
    op->run(); // once before, not counted: what is set up at the first use is no part of the cost
    for (u32 i = 0; i < SAMPLES; i++) {
        mark(MARK_BEGIN);
        u64 ticks = op->run();
        mark(MARK_END);
        samples[i] = (u32)(ticks - empty);
    }
    put_row(op->name, SAMPLES);
}

void bench_main(const u8 *fdt) {
    const char *word = after(fdt, "bench="), *what = word ? word : "single";
    gic_init(0);
    empty = op_empty();
    put("bench counter ");
    put_number(sysreg_read(cntfrq_el0));
    put(" empty ");
    put_number(empty);
    put("\r\n");
    if (is(what, "reset")) {
        mark(MARK_RESET);
        hvc(PSCI_SYSTEM_RESET, 0, 0, 0);
    }
    for (u32 i = 0; i < sizeof(operations) / sizeof(operations[0]); i++) {
        const struct operation *op = &operations[i];
        if (is(what, op->smp ? "smp" : "single") || is(what, op->name))
            measure(op);
    }
    power_off();
}
