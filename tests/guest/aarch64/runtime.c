// SPDX-License-Identifier: Apache-2.0
#include "guest.h"

struct trap trap;
volatile u64 irq_count[INTIDS], irq_total;
volatile u32 irq_level_seen, irq_order[INTIDS];
volatile u8 irq_cpu[INTIDS];

// ── Console ─────────────────────────────────────────────────────────────────────────────────────────────────────────
enum { UART_SPI = 33, UART_FR = 0x18, FR_RXFE = 1 << 4, FR_TXFF = 1 << 5 };

void uart_put(char c) {
    while (read32(UART + UART_FR) & FR_TXFF)
        ;
    write32(UART, (u8)c);
}

int uart_get(void) {
    return read32(UART + UART_FR) & FR_RXFE ? -1 : (u8)read32(UART);
}

void uart_listen(void) {
    gic_init();
    gic_enable(UART_SPI);
    __asm__ volatile("strb %w0, [%1]" ::"r"(0x80), "r"(GICD + 0x400 + UART_SPI) : "memory");
    write32(UART + 0x2c, 0x70);  // LCR_H: FIFOs, 8 bits
    write32(UART + 0x30, 0x301); // CR: on
    write32(UART + 0x38, 0x50);  // IMSC: receive, and receive timeout
}

void uart_wait(void) {
    irqs_off();
    if (read32(UART + UART_FR) & FR_RXFE)
        wait_for_interrupt();
    write32(UART + 0x44, 0x50);              // ICR; what is left in the FIFO is looked at next
    u64 intid = read_sysreg(S3_0_C12_C12_0); // ICC_IAR1_EL1
    if (intid < 1020)
        write_sysreg(S3_0_C12_C12_1, intid);
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

void machine_off(void) {
    hvc(0x84000008, 0, 0, 0);
    for (;;)
        ;
}

void machine_reset(void) {
    hvc(0x84000009, 0, 0, 0);
    for (;;)
        ;
}

s64 cpu_start(u64 cpu, u64 context) {
    return psci_cpu_on(cpu, (u64)secondary_entry, context);
}

s64 cpu_status(u64 cpu) {
    return psci_affinity_info(cpu);
}

void cpu_stop(void) {
    hvc(0x84000002, 0, 0, 0);
}

void cpu_yield(void) {
    hvc(0x86000003, 0, 0, 0);
}

// PSCI §6.4: MMU and caches off, interrupts masked; and EL1 on its own stack pointer.
bool cpu_began_right(void) {
    return read_sysreg(daif) == 0x3c0 && read_sysreg(currentel) == 4 && (read_sysreg(sctlr_el1) & 0x1005) == 0;
}

void jump_into_nowhere(void) {
    write_sysreg(vbar_el1, 0x1000000000);
    __asm__ volatile("br %0" ::"r"(0x2000000000ull));
    __builtin_unreachable();
}

void wait_for_interrupt(void) {
    __asm__ volatile("wfi" ::: "memory");
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

void no_traps(void) {
    CHECK("no_exception_came", trap.count == 0, "%u, esr %x, elr %x", trap.count, trap.esr, trap.elr);
}

// ── Code ────────────────────────────────────────────────────────────────────────────────────────────────────────────
enum : u32 { RET = 0xd65f03c0, MOVZ_X0 = 0xd2800000 };

void code_write(u32 *at, u64 value) {
    at[0] = MOVZ_X0 | (u32)(value & 0xffff) << 5;
    at[1] = RET;
    __asm__ volatile("dc cvau, %0\n\tdsb ish\n\tic ivau, %0\n\tdsb ish\n\tisb" ::"r"(at) : "memory");
}

u64 code_run(const u32 *at) {
    u64 v;
    __asm__ volatile("isb\n\tmov x19, x30\n\tblr %1\n\tmov x30, x19\n\tmov %0, x0"
                     : "=r"(v)
                     : "r"(at)
                     : "x0", "x19", "x30", "memory");
    return v;
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

// IPIs are SGIs of the same number.
void irqs_init(void) {
    gic_init();
    for (u32 i = 0; i < IPIS; i++)
        gic_enable(i);
    gic_enable(PPI_CNTV);
}

void ipi_send(u64 to, u32 number) {
    __asm__ volatile("dsb sy" ::: "memory");
    write_sysreg(S3_0_C12_C11_5, (u64)number << 24 | 1u << to);
}

u64 ipi_taken(u32 number) {
    return irq_count[number];
}

void ipi_forget(void) {
    for (u32 i = 0; i < IPIS; i++)
        irq_count[i] = 0;
}

void timer_set(u64 at) {
    write_sysreg(cntv_cval_el0, at);
    write_sysreg(cntv_ctl_el0, at != ~0ull);
}

// ── Time ────────────────────────────────────────────────────────────────────────────────────────────────────────────
u64 rtc_seconds(void) {
    return read32(RTC);
}

u64 now(void) {
    return read_sysreg(cntvct_el0);
}

u64 ticks_of_ms(u64 ms) {
    return read_sysreg(cntfrq_el0) / 1000 * ms;
}

u64 ram_size(u64 machine) {
    return fdt_ram_size(machine);
}

struct extent machine_told(u64 machine) {
    return fdt_extent(machine);
}
