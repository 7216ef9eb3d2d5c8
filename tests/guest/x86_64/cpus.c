// SPDX-License-Identifier: Apache-2.0
// CPUs, and the interrupts that they take: local APICs as xAPICs or x2APICs, and the IOAPIC.
#include "guest.h"

enum { TRAMPOLINE = 0x8000, STACK_SIZE = 1 << 14 };

volatile u64 irq_count[256], irq_total, irq_rip;
volatile u8 irq_cpu[256];
void (*irq_hook)(u32 vector);

extern char trampoline[], trampoline_end[], stacks[];
extern u32 trampoline_cr3;

// ── CPUs ────────────────────────────────────────────────────────────────────────────────────────────────────────────
// Nothing on a PC tells which CPUs are on: that is for software to keep. As in Linux, one that is off is halted for
// good. An INIT and a SIPI bring it back; but an INIT of the first CPU is a reset of the machine, so that one waits for
// an NMI.
enum power { POWER_OFF, POWER_COMING, POWER_ON };
static volatile u64 power[CPUS_MAX], contexts[CPUS_MAX];

s64 cpu_status(u64 cpu) {
    if (cpu >= acpi_cpus())
        return -1;
    return power[cpu] == POWER_ON ? 0 : power[cpu] == POWER_OFF ? 1 : 2;
}

s64 cpu_start(u64 cpu, u64 context) {
    s64 status = cpu_status(cpu);
    if (status != 1)
        return status < 0 ? status : -4; // as PSCI has it
    contexts[cpu] = context;
    power[cpu] = POWER_COMING;
    if (cpu == 0) {
        apic_icr(0, ICR_NMI | ICR_ASSERT);
        return 0;
    }
    cpu_restart(cpu, context);
    return 0;
}

void cpu_restart(u64 cpu, u64 context) {
    u64 cr3;
    __asm__ volatile("mov %%cr3, %0" : "=r"(cr3));
    contexts[cpu] = context;
    trampoline_cr3 = (u32)cr3;
    for (u64 i = 0; i < (u64)(trampoline_end - trampoline); i++) // others may be on it: it stays what it is
        ((volatile char *)TRAMPOLINE)[i] = trampoline[i];
    apic_icr((u32)cpu, ICR_INIT | ICR_ASSERT);
    apic_icr((u32)cpu, ICR_STARTUP | ICR_ASSERT | TRAMPOLINE >> 12);
}

void cpu_stop(void) {
    irqs_off();
    power[cpu_index()] = POWER_OFF;
    for (;;)
        __asm__ volatile("hlt" ::: "memory");
}

[[noreturn]] void secondary_begin(void);
void secondary_begin(void) {
    u64 cpu = cpu_index();
    power[cpu] = POWER_ON;
    secondary_main(contexts[cpu]);
    cpu_stop();
    __builtin_unreachable();
}

void cpu_nmi(struct frame *frame) {
    u64 cpu = cpu_index();
    if (power[cpu] != POWER_COMING)
        return;
    frame->rip = (u64)secondary_begin;
    frame->rsp = (u64)stacks + (cpu + 1) * STACK_SIZE - 8; // as by a call
}

void cpu_yield(void) {
    u64 rax = 0x86000003;
    __asm__ volatile("vmmcall" : "+a"(rax)::"memory");
}

void cpu_came_on(u64 cpu) {
    struct began *b = &began[cpu];
    b->svr = apic_read(APIC_SVR);
    b->tpr = apic_read(APIC_TPR);
    b->waiting = apic_read(APIC_INITIAL) | apic_read(APIC_CURRENT);
    for (u32 i = 0; i < 8; i++)
        b->waiting |= apic_read(APIC_ISR + 16 * i) | apic_read(APIC_IRR + 16 * i);
    for (u32 lvt = APIC_LVT_TIMER; lvt <= APIC_LVT_ERROR; lvt += 16)
        b->waiting |= apic_read(lvt) ^ LVT_MASKED;
    if (cpu == 0)
        power[0] = POWER_ON;
}

// The first CPU: Linux's boot protocol. Others: what INIT leaves (Intel SDM volume 3 §9.1.1) and SIPI (§8.4.3).
bool cpu_began_right(void) {
    u64 cpu = cpu_index();
    const struct began *b = &began[cpu];
    if (b->svr != 0xff || b->tpr != 0 || b->waiting != 0)
        return false;
    if (cpu == 0)
        return !(b->others & 1 << 9) && (b->cr0 & 0x80000001) == 0x80000001 && b->cs == 0x10 && b->data == 0x18;
    return b->others == 0 && (b->cr0 & ~0x60000000u) == 0x10 && b->cr4 == 0 && b->edx == cpuid(1, 0).a &&
           b->cs == TRAMPOLINE >> 4 && b->data == 0;
}

// With interrupts masked it takes the one that it waits for: there is no other way to be woken by it.
void wait_for_interrupt(void) {
    u64 flags;
    __asm__ volatile("pushfq; pop %0" : "=r"(flags)::"memory");
    if (flags & 1 << 9)
        __asm__ volatile("hlt" ::: "memory");
    else
        __asm__ volatile("sti; hlt; cli" ::: "memory");
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

void irqs_init(void) {
    wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | 1 << 10); // as an x2APIC
    apic_write(APIC_LVT_TIMER, LVT_DEADLINE | VECTOR_TIMER);
}

void ipi_send(u64 to, u32 number) {
    apic_icr((u32)to, VECTOR_IPI + number);
}

u64 ipi_taken(u32 number) {
    return irq_count[VECTOR_IPI + number];
}

void ipi_forget(void) {
    for (u32 i = 0; i < IPIS; i++)
        irq_count[VECTOR_IPI + i] = 0;
}

void timer_set(u64 at) {
    wrmsr(MSR_TSC_DEADLINE, at == ~0ull ? 0 : at ? at : 1);
}

void interrupt_taken(const struct frame *frame) {
    u32 vector = (u32)frame->vector;
    irq_rip = frame->rip;
    irq_count[vector]++;
    irq_cpu[vector] = (u8)cpu_index();
    irq_total++;
    if (irq_hook)
        irq_hook(vector);
    if (vector != VECTOR_SPURIOUS)
        apic_eoi();
}
