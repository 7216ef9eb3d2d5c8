// SPDX-License-Identifier: Apache-2.0
#include "guest.h"

struct trap trap;
volatile u64 irq_count[16], irq_total, source_count[SOURCES];
volatile u8 irq_cpu[16], source_cpu[SOURCES];

// ── Console ─────────────────────────────────────────────────────────────────────────────────────────────────────────
void uart_put(char c) {
    while (!(read8(UART + UART_LSR) & 1 << 5)) // THRE
        ;
    write8(UART + UART_DATA, (u8)c);
}

int uart_get(void) {
    return read8(UART + UART_LSR) & 1 ? read8(UART + UART_DATA) : -1;
}

void uart_listen(void) {
    plic_init();
    plic_enable(cpu_index(), UART_IRQ, true);
    write8(UART + UART_LCR, 3);          // 8 bits
    write8(UART + UART_IIR, 1 | 2 << 6); // FIFOs, half full
    write8(UART + UART_IER, 1);          // received data
    csr_set(sie, 1 << SEI);
}

void uart_wait(void) {
    irqs_off();
    wait_for_interrupt();
    u32 source = plic_claim(cpu_index());
    if (source)
        plic_complete(cpu_index(), source); // what is left in the FIFO is looked at next, or is pending again
}

// ── Firmware ────────────────────────────────────────────────────────────────────────────────────────────────────────
struct sbi_result sbi(u64 extension, u64 function, u64 a0, u64 a1, u64 a2) {
    register u64 r0 __asm__("a0") = a0;
    register u64 r1 __asm__("a1") = a1;
    register u64 r2 __asm__("a2") = a2;
    register u64 r3 __asm__("a3") = 0;
    register u64 r4 __asm__("a4") = 0;
    register u64 r6 __asm__("a6") = function;
    register u64 r7 __asm__("a7") = extension;
    __asm__ volatile("ecall" : "+r"(r0), "+r"(r1) : "r"(r2), "r"(r3), "r"(r4), "r"(r6), "r"(r7) : "memory");
    return (struct sbi_result){(s64)r0, (s64)r1};
}

s64 hart_start(u64 hart, u64 entry, u64 opaque) {
    return sbi(EID_HSM, 0, hart, entry, opaque).error;
}

s64 hart_status(u64 hart) {
    struct sbi_result r = sbi(EID_HSM, 2, hart, 0, 0);
    return r.error ? r.error : r.value;
}

void hart_stop(void) {
    irqs_off();
    sbi(EID_HSM, 1, 0, 0, 0);
}

void send_ipi(u64 harts) {
    sbi(EID_IPI, 0, harts, 0, 0);
}

void set_timer(u64 at) {
    sbi(EID_TIME, 0, at, 0, 0);
}

s64 cpu_start(u64 cpu, u64 context) {
    return hart_start(cpu, (u64)secondary_entry, context);
}

void machine_off(void) {
    sbi(EID_SRST, 0, 0, 0, 0);
    for (;;)
        ;
}

void machine_reset(void) {
    sbi(EID_SRST, 0, 1, 0, 0);
    for (;;)
        ;
}

void jump_into_nowhere(void) {
    csr_write(stvec, 0x1000000000);
    __asm__ volatile("jr %0" ::"r"(0x2000000000ull));
    __builtin_unreachable();
}

void wait_for_interrupt(void) {
    __asm__ volatile("wfi" ::: "memory");
}

// ── Exceptions ──────────────────────────────────────────────────────────────────────────────────────────────────────
static void external(void) {
    u32 source = plic_claim(cpu_index());
    if (source == 0)
        return;
    if (source == UART_IRQ)
        write8(UART + UART_IER, 0);
    if (source < SOURCES) {
        source_count[source]++;
        source_cpu[source] = (u8)cpu_index();
    }
    plic_complete(cpu_index(), source);
}

static void interrupt(u64 number) {
    if (number == SSI)
        csr_clear(sip, 1 << SSI);
    else if (number == STI)
        set_timer(~0ull);
    else if (number == SEI)
        external();
    irq_count[number & 15]++;
    irq_cpu[number & 15] = (u8)cpu_index();
    irq_total++;
}

// An exception is noted and the instruction is skipped; one of a fetch returns to the caller instead.
void exception(struct frame *frame);
void exception(struct frame *frame) {
    u64 cause = csr_read(scause);
    if (cause >> 63) {
        interrupt(cause & 63);
        return;
    }
    trap.count++;
    trap.cause = cause;
    trap.tval = csr_read(stval);
    trap.epc = frame->sepc;
    if (cause == CAUSE_FETCH_ACCESS || cause == CAUSE_FETCH_MISALIGNED || cause == CAUSE_FETCH_PAGE)
        frame->sepc = frame->x[1];
    else
        frame->sepc += (*(const volatile u16 *)frame->sepc & 3) == 3 ? 4 : 2;
}

// ── Interrupts ──────────────────────────────────────────────────────────────────────────────────────────────────────
static u64 context_of(u64 hart) {
    return 2 * hart + 1;
}

void plic_init(void) {
    for (u32 source = 1; source < SOURCES; source++)
        write32(PLIC + 4 * source, 1);
    for (u32 word = 0; word < SOURCES / 32; word++)
        write32(PLIC + 0x2000 + 0x80 * context_of(cpu_index()) + 4 * word, 0);
    write32(PLIC + 0x200000 + 0x1000 * context_of(cpu_index()), 0);
}

void plic_enable(u64 hart, u32 source, bool on) {
    u64 at = PLIC + 0x2000 + 0x80 * context_of(hart) + source / 32 * 4;
    u32 bit = 1u << source % 32;
    write32(at, on ? read32(at) | bit : read32(at) & ~bit);
}

u32 plic_claim(u64 hart) {
    return read32(PLIC + 0x200004 + 0x1000 * context_of(hart));
}

void plic_complete(u64 hart, u32 source) {
    write32(PLIC + 0x200004 + 0x1000 * context_of(hart), source);
}

void irqs_on(void) {
    csr_set(sstatus, 1 << 1);
}

void irqs_off(void) {
    csr_clear(sstatus, 1 << 1);
}

u64 now(void) {
    return csr_read(time);
}

u64 ticks_of_ms(u64 ms) {
    return 10000 * ms; // QEMU's timebase
}

u64 ram_size(u64 machine) {
    return fdt_ram_size(machine);
}
