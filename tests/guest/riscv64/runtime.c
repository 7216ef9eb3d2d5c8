// SPDX-License-Identifier: Apache-2.0
#include "guest.h"

struct trap trap;

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
    irqs_init();
    source_enable(cpu_index(), UART_IRQ, true);
    write8(UART + UART_LCR, 3);          // 8 bits
    write8(UART + UART_IIR, 1 | 2 << 6); // FIFOs, half full
    write8(UART + UART_IER, 1);          // received data
}

void uart_wait(void) {
    irqs_off();
    wait_for_interrupt();
    u32 source = source_claim();
    if (source)
        source_complete(source); // what is left in the FIFO is looked at next, or is pending again
}

// ── Firmware ────────────────────────────────────────────────────────────────────────────────────────────────────────
struct sbi_result sbi5(u64 extension, u64 function, u64 a0, u64 a1, u64 a2, u64 a3, u64 a4) {
    register u64 r0 __asm__("a0") = a0;
    register u64 r1 __asm__("a1") = a1;
    register u64 r2 __asm__("a2") = a2;
    register u64 r3 __asm__("a3") = a3;
    register u64 r4 __asm__("a4") = a4;
    register u64 r6 __asm__("a6") = function;
    register u64 r7 __asm__("a7") = extension;
    __asm__ volatile("ecall" : "+r"(r0), "+r"(r1) : "r"(r2), "r"(r3), "r"(r4), "r"(r6), "r"(r7) : "memory");
    return (struct sbi_result){(s64)r0, (s64)r1};
}

struct sbi_result sbi(u64 extension, u64 function, u64 a0, u64 a1, u64 a2) {
    return sbi5(extension, function, a0, a1, a2, 0, 0);
}

bool sbi_has(u64 extension) {
    return sbi(EID_BASE, 3, extension, 0, 0).value != 0;
}

s64 hart_start(u64 hart, u64 entry, u64 opaque) {
    return sbi(EID_HSM, 0, hart, entry, opaque).error;
}

s64 hart_status(u64 hart) {
    struct sbi_result r = sbi(EID_HSM, 2, hart, 0, 0);
    return r.error ? r.error : r.value;
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

s64 cpu_status(u64 cpu) {
    return hart_status(cpu);
}

void cpu_stop(void) {
    irqs_off();
    sbi(EID_HSM, 1, 0, 0, 0);
}

void cpu_yield(void) {
    sbi(EID_BULKHEAD, 3, 0, 0, 0);
}

// SBI 2.0 §9.1: no address translation, interrupts masked; sscratch is nobody's, and tp has the hart's id from a0.
bool cpu_began_right(void) {
    return csr_read(satp) == 0 && (csr_read(sstatus) & 1 << 1) == 0;
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
// An exception is noted and the instruction is skipped; one of a fetch returns to the caller instead.
void exception(struct frame *frame);
void exception(struct frame *frame) {
    u64 cause = csr_read(scause);
    if (cause >> 63) {
        interrupt_taken(cause & 63);
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

void no_traps(void) {
    CHECK("no_exception_came", trap.count == 0, "%u, cause %u, epc %x, value %x", trap.count, trap.cause, trap.epc,
          trap.tval);
}

// ── Code ────────────────────────────────────────────────────────────────────────────────────────────────────────────
enum : u32 { LUI_A0 = 0x537, ADDI_A0_A0 = 0x50513, RET = 0x8067 };

void code_write(u32 *at, u64 value) {
    at[0] = LUI_A0 | (((u32)value + 0x800) & ~0xfffu);
    at[1] = ADDI_A0_A0 | (u32)value << 20;
    at[2] = RET;
    __asm__ volatile("fence rw, rw\n\tfence.i" ::: "memory"); // first for others to see, then to fetch anew
    sbi(EID_RFENCE, 0, 0, ~0ull, 0);                          // every hart
}

u64 code_run(const u32 *at) {
    register u64 a0 __asm__("a0");
    __asm__ volatile("jalr ra, 0(%1)" : "=r"(a0) : "r"(at) : "ra", "memory");
    return a0;
}

// ── Time ────────────────────────────────────────────────────────────────────────────────────────────────────────────
u64 rtc_seconds(void) {
    u64 low = read32(RTC);
    return ((u64)read32(RTC + 4) << 32 | low) / 1000000000;
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

struct extent machine_told(u64 machine) {
    return fdt_extent(machine);
}
