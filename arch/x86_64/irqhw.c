// SPDX-License-Identifier: Apache-2.0
// The host's interrupts: the local APIC's timer, kicks from other CPUs, and behind an IOAPIC the UART, the only device
// of ours, which interrupts the boot CPU. The 8259s are masked for good.
#include "console.h"
#include "log.h"
#include "x86_64.h"

enum { // 8259A
    PIC1_COMMAND = 0x20,
    PIC1_DATA = 0x21,
    PIC2_COMMAND = 0xa0,
    PIC2_DATA = 0xa1,
    PIC_INIT = 0x11, // edge-triggered, cascaded, four words
    PIC_8086 = 0x01,
    PIC_CASCADE = 2,
};
enum { // 82093AA
    IOAPIC_SELECT = 0x00,
    IOAPIC_WINDOW = 0x10,
    IOAPIC_VERSION = 1,
    IOAPIC_ENTRY = 0x10, // + 2 n: low, high
    ENTRY_MASKED = 1 << 16,
    ENTRY_LEVEL = 1 << 15,
    ENTRY_ACTIVE_LOW = 1 << 13,
};
enum : u32 {
    SVR_ENABLE = 1 << 8,
    LVT_MASKED = 1 << 16,
    MAX_LVT_SHIFT = 16, // LAPIC_VERSION
    ICR_ATTEMPTS = 1 << 20,
};

// ── 8259 and IOAPIC ─────────────────────────────────────────────────────────────────────────────────────────────────
// Firmware leaves them live, with vectors that are exceptions to us: a spurious interrupt can come even when all is
// masked.
static void pics_silence(void) {
    static const u8 words[][2] = {{PIC_INIT, PIC_INIT},
                                  {VECTOR_PIC, VECTOR_PIC + 8},
                                  {1 << PIC_CASCADE, PIC_CASCADE},
                                  {PIC_8086, PIC_8086},
                                  {0xff, 0xff}};
    for (u32 i = 0; i < ARRAY_SIZE(words); i++) {
        port_out8(i == 0 ? PIC1_COMMAND : PIC1_DATA, words[i][0]);
        port_out8(i == 0 ? PIC2_COMMAND : PIC2_DATA, words[i][1]);
    }
}

static u32 ioapic_read(const struct acpi_ioapic *io, u32 reg) {
    mmio_write32(io->address + IOAPIC_SELECT, reg);
    return mmio_read32(io->address + IOAPIC_WINDOW);
}

static void ioapic_write(const struct acpi_ioapic *io, u32 reg, u32 value) {
    mmio_write32(io->address + IOAPIC_SELECT, reg);
    mmio_write32(io->address + IOAPIC_WINDOW, value);
}

static u32 ioapic_entries(const struct acpi_ioapic *io) {
    return (ioapic_read(io, IOAPIC_VERSION) >> 16 & 0xff) + 1;
}

static void ioapic_route(const struct acpi_isa_irq *irq, u8 vector, u64 apic_id) {
    for (u32 i = 0; i < features.acpi.ioapic_count; i++) {
        const struct acpi_ioapic *io = &features.acpi.ioapics[i];
        u32 pin = irq->gsi - io->gsi_base;
        if (irq->gsi < io->gsi_base || pin >= ioapic_entries(io))
            continue;
        u32 low = vector | (irq->level ? ENTRY_LEVEL : 0u) | (irq->active_low ? ENTRY_ACTIVE_LOW : 0u);
        ioapic_write(io, IOAPIC_ENTRY + 2 * pin + 1, (u32)apic_id << 24);
        ioapic_write(io, IOAPIC_ENTRY + 2 * pin, low);
    }
}

void irqhw_init(const struct board *board) {
    (void)board;
    pics_silence();
    for (u32 i = 0; i < features.acpi.ioapic_count; i++) {
        const struct acpi_ioapic *io = &features.acpi.ioapics[i];
        for (u32 pin = 0, pins = ioapic_entries(io); pin < pins; pin++)
            ioapic_write(io, IOAPIC_ENTRY + 2 * pin, ENTRY_MASKED);
    }
}

// ── The local APIC ──────────────────────────────────────────────────────────────────────────────────────────────────
static void lapic_on(void) {
    u64 base = msr_read(MSR_APIC_BASE) | APIC_BASE_ENABLE;
    msr_write(MSR_APIC_BASE, base);
    if (features.x2apic) // by way of the xAPIC mode (Intel SDM vol. 3 §11.12.5)
        msr_write(MSR_APIC_BASE, base | APIC_BASE_X2APIC);
}

// Interrupts that firmware or a boot loader took and did not finish would keep ours out.
static void lapic_finish_old(void) {
    for (u32 i = 0; i < 8; i++)
        for (u32 left = lapic_read(LAPIC_ISR + 0x10 * i); left; left &= left - 1)
            lapic_write(LAPIC_EOI, 0);
}

void irqhw_cpu_init(struct cpu *cpu) {
    lapic_on();
    lapic_write(LAPIC_SVR, SVR_ENABLE | VECTOR_SPURIOUS);
    u32 max_lvt = lapic_read(LAPIC_VERSION) >> MAX_LVT_SHIFT & 0xff;
    lapic_write(LAPIC_LVT_LINT0, LVT_MASKED);
    lapic_write(LAPIC_LVT_LINT1, LVT_MASKED);
    if (max_lvt >= 4)
        lapic_write(LAPIC_LVT_PERF, LVT_MASKED);
    if (max_lvt >= 5)
        lapic_write(LAPIC_LVT_THERMAL, LVT_MASKED);
    lapic_write(LAPIC_LVT_ERROR, VECTOR_ERROR);
    lapic_write(LAPIC_TPR, 0);
    lapic_finish_old();
    timers_cpu_init(cpu);
    if (cpu->id == 0 && features.board->uart.irq)
        ioapic_route(&features.acpi.isa[UART_ISA_IRQ], VECTOR_UART, cpu->hwid);
}

void lapic_icr(u64 apic_id, u32 command) {
    // What the target is to see, before the interrupt: a write of an MSR of the x2APIC waits for nothing (Intel SDM
    // vol. 3 §11.12.3).
    __asm__ volatile("mfence\n\tlfence" ::: "memory");
    if (features.x2apic) {
        msr_write(MSR_X2APIC + LAPIC_ICR / 16, apic_id << 32 | command);
        return;
    }
    for (u32 i = 0; i < ICR_ATTEMPTS && lapic_read(LAPIC_ICR) & ICR_PENDING; i++)
        arch_cpu_relax();
    lapic_write(LAPIC_ICR_HIGH, (u32)apic_id << 24);
    lapic_write(LAPIC_ICR, command);
}

void arch_cpu_kick(struct cpu *cpu) {
    lapic_icr(cpu->hwid, ICR_FIXED | ICR_ASSERT | VECTOR_KICK);
}

// ── In the window ───────────────────────────────────────────────────────────────────────────────────────────────────
void trap_irq(u64 vector) {
    if (vector == VECTOR_SPURIOUS || (vector >= VECTOR_PIC && vector < VECTOR_PIC + 16))
        return; // these are not in service
    if (vector == VECTOR_UART)
        console_host_irq(); // before the EOI: a level is down again by then
    lapic_write(LAPIC_EOI, 0);
    if (vector == VECTOR_TIMER)
        timers_irq();
    else if (vector == VECTOR_KICK)
        host_flush_pending(cpu_self());
    else if (vector == VECTOR_ERROR)
        lapic_write(LAPIC_ESR, 0);
}

void arch_irq_poll(void) {
    __asm__ volatile("sti\n\tnop\n\tcli" ::: "memory"); // STI takes effect after the NOP
}

void arch_cpu_idle(void) {
    __asm__ volatile("sti\n\thlt\n\tcli" ::: "memory"); // nothing comes between STI and HLT
}
