// SPDX-License-Identifier: Apache-2.0
#include "guest.h"

enum { TRAMPOLINE = 0x8000 };

struct trap trap;
volatile u64 trap_resume, ring0_rsp, irq_count[256], irq_total, nmi_count;
volatile u8 irq_cpu[256];
void (*irq_hook)(u32 vector);
static volatile u64 contexts[CPUS_MAX];
static u64 zero_page;

extern char vectors[], trampoline[], trampoline_end[];
extern u32 trampoline_cr3;

// ── Console ─────────────────────────────────────────────────────────────────────────────────────────────────────────
void uart_put(char c) {
    while (!(in8(COM1 + UART_LSR) & 1 << 5)) // THRE
        ;
    out8(COM1 + UART_DATA, (u8)c);
}

int uart_get(void) {
    return in8(COM1 + UART_LSR) & 1 ? in8(COM1 + UART_DATA) : -1;
}

void uart_listen(void) {
    ioapic_route(PIN_COM1, VECTOR_COM1, (u32)cpu_index());
    out8(COM1 + UART_LCR, 3);          // 8 bits
    out8(COM1 + UART_IIR, 1 | 2 << 6); // FIFOs, half full
    out8(COM1 + UART_IER, 1);          // received data
}

// STI lets nothing in before the HLT has begun.
void uart_wait(void) {
    __asm__ volatile("sti; hlt; cli" ::: "memory");
}

// ── Memory and ACPI ─────────────────────────────────────────────────────────────────────────────────────────────────
static u64 get(u64 at, u32 bytes) {
    u64 v = 0;
    for (u32 i = bytes; i-- > 0;)
        v = v << 8 | *(const volatile u8 *)(at + i);
    return v;
}

// By the zero page's map: RAM ends where the highest range below 4 GiB does, and goes on at 4 GiB.
u64 ram_size(u64 zp) {
    u64 low = 0, high = 0;
    for (u64 i = 0; i < get(zp + 0x1e8, 1); i++) {
        u64 entry = zp + 0x2d0 + 20 * i, start = get(entry, 8), size = get(entry + 8, 8);
        if (get(entry + 16, 4) != 1)
            continue;
        if (start >> 32)
            high += size;
        else if (start + size > low)
            low = start + size;
    }
    return low + high;
}

u64 acpi_cpus(void) {
    u64 xsdt = get(get(zero_page + 0x70, 8) + 24, 8), count = 0;
    for (u64 at = xsdt + 36; at < xsdt + get(xsdt + 4, 4); at += 8) {
        u64 table = get(at, 8);
        if (get(table, 4) != 0x43495041) // "APIC"
            continue;
        for (u64 entry = table + 44; entry < table + get(table + 4, 4); entry += get(entry + 1, 1))
            count += get(entry, 1) == 0;
    }
    return count;
}

// ── Power ───────────────────────────────────────────────────────────────────────────────────────────────────────────
u64 cpu_context(void);
// Only whether there is such a CPU: nothing on a PC tells which of them are on.
s64 cpu_status(u64 cpu) {
    return cpu < acpi_cpus() ? 0 : -1;
}

u64 cpu_context(void) {
    return contexts[cpu_index()];
}

s64 cpu_start(u64 cpu, u64 context) {
    if (cpu >= acpi_cpus())
        return -1;
    contexts[cpu] = context;
    for (u64 i = 0; i < (u64)(trampoline_end - trampoline); i++)
        ((volatile char *)TRAMPOLINE)[i] = trampoline[i];
    u64 cr3;
    __asm__ volatile("mov %%cr3, %0" : "=r"(cr3));
    *(volatile u32 *)(TRAMPOLINE + ((char *)&trampoline_cr3 - trampoline)) = (u32)cr3;
    apic_icr((u32)cpu, ICR_INIT | ICR_ASSERT);
    apic_icr((u32)cpu, ICR_STARTUP | ICR_ASSERT | TRAMPOLINE >> 12);
    return 0;
}

void machine_off(void) {
    out8(PORT_SLEEP, 5 << 2 | 1 << 5);
    for (;;)
        ;
}

void machine_reset(void) {
    out8(PORT_RESET, 6);
    for (;;)
        ;
}

void jump_into_nowhere(void) {
    idt_pointer.limit = 0;
    __asm__ volatile("lidt %0; jmp *%1" ::"m"(idt_pointer), "r"(0xd0000000ull));
    __builtin_unreachable();
}

void wait_for_interrupt(void) {
    __asm__ volatile("hlt" ::: "memory");
}

// ── Exceptions ──────────────────────────────────────────────────────────────────────────────────────────────────────
static void gate(u32 vector) {
    u64 at = (u64)vectors + 16 * vector;
    idt[2 * vector] = (at & 0xffff) | 8ull << 16 | 0x8e00ull << 32 | (at >> 16 & 0xffff) << 48;
    idt[2 * vector + 1] = at >> 32;
}

void runtime_init(u64 cpu, u64 zp);
void runtime_init(u64 cpu, u64 zp) {
    if (cpu == 0) {
        zero_page = zp;
        for (u32 vector = 0; vector < 256; vector++)
            gate(vector);
        __asm__ volatile("lidt %0" ::"m"(idt_pointer));
    }
    apic_write(APIC_SVR, 0x100 | VECTOR_SPURIOUS);
    apic_write(APIC_TPR, 0);
}

static void interrupt(u32 vector) {
    irq_count[vector]++;
    irq_cpu[vector] = (u8)cpu_index();
    irq_total++;
    if (irq_hook)
        irq_hook(vector);
    if (vector != VECTOR_SPURIOUS)
        apic_eoi();
}

// An exception is noted, and what expected it goes on.
void exception(struct frame *frame);
void exception(struct frame *frame) {
    if (frame->vector == X86_NMI) {
        nmi_count++;
        return;
    }
    if (frame->vector >= 32) {
        interrupt((u32)frame->vector);
        return;
    }
    trap.count++;
    trap.vector = frame->vector;
    trap.error = frame->error;
    trap.rip = frame->rip;
    __asm__ volatile("mov %%cr2, %0" : "=r"(trap.cr2));
    if (!trap_resume) {
        fail("an exception", "%u at %x, error %x, address %x", frame->vector, frame->rip, frame->error, trap.cr2);
        guest_end();
    }
    if (frame->cs & 3) {
        frame->cs = 8;
        frame->ss = 0x10;
        frame->rsp = ring0_rsp;
    }
    frame->rip = trap_resume;
    trap_resume = 0;
}

bool rdmsr_safe(u32 msr, u64 *value) {
    u32 low = 0, high = 0;
    trap.count = 0;
    MAY_TRAP("rdmsr", : "+a"(low), "+d"(high) : "c"(msr) : "r11", "memory");
    *value = (u64)high << 32 | low;
    return trap.count == 0;
}

bool wrmsr_safe(u32 msr, u64 value) {
    trap.count = 0;
    MAY_TRAP("wrmsr", ::"a"((u32)value), "d"((u32)(value >> 32)), "c"(msr) : "r11", "memory");
    return trap.count == 0;
}

// ── Interrupts ──────────────────────────────────────────────────────────────────────────────────────────────────────
static bool x2apic(void) {
    return rdmsr(MSR_APIC_BASE) & 1 << 10;
}

u32 apic_read(u32 reg) {
    return x2apic() ? (u32)rdmsr(MSR_X2APIC + reg / 16) : read32(LAPIC + reg);
}

void apic_write(u32 reg, u32 value) {
    if (x2apic())
        wrmsr(MSR_X2APIC + reg / 16, value);
    else
        write32(LAPIC + reg, value);
}

void apic_icr(u32 dest, u32 low) {
    if (x2apic()) {
        wrmsr(MSR_X2APIC + APIC_ICR / 16, (u64)dest << 32 | low);
        return;
    }
    write32(LAPIC + APIC_ICR_HIGH, dest << 24);
    write32(LAPIC + APIC_ICR, low);
}

void apic_eoi(void) {
    apic_write(APIC_EOI, 0);
}

u32 ioapic_read(u32 reg) {
    write32(IOAPIC, reg);
    return read32(IOAPIC + 0x10);
}

void ioapic_write(u32 reg, u32 value) {
    write32(IOAPIC, reg);
    write32(IOAPIC + 0x10, value);
}

void ioapic_route(u32 pin, u32 low, u32 dest) {
    ioapic_write(0x11 + 2 * pin, dest << 24);
    ioapic_write(0x10 + 2 * pin, low);
}

void irqs_on(void) {
    __asm__ volatile("sti" ::: "memory");
}

void irqs_off(void) {
    __asm__ volatile("cli" ::: "memory");
}

// ── Time ────────────────────────────────────────────────────────────────────────────────────────────────────────────
u64 tsc_hz(void) {
    return (u64)cpuid(0x40000010, 0).a * 1000;
}

u64 now(void) {
    return rdtsc();
}

u64 ticks_of_ms(u64 ms) {
    return tsc_hz() / 1000 * ms;
}
