// SPDX-License-Identifier: Apache-2.0
// A bare-metal guest that does what is to be measured, many times over, between two marks that bench/plugin/count.c
// sees: QEMU counts the elements of a string instruction one by one, the plugin does not, so the TSC would not tell the
// same. The word bench=WHAT of its command line chooses: the name of a group of operations, of one operation, or reset.
// Each line of the result reads "bench NAME SAMPLES", in the order of the marks.
#include <stddef.h>
#include <stdint.h>

#include "marks.h"
#include "text.h"

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int64_t s64;

enum { SAMPLES = 1000 };
enum { COM1 = 0x3f8, COM1_LSR = COM1 + 5, LSR_THRE = 1 << 5, PORT_SLEEP = 0x600, PORT_RESET = 0xcf9 };
static const uintptr_t LAPIC = 0xfee00000, IOAPIC = 0xfec00000;
enum { IOAPIC_WINDOW = 0x10 };
enum { LEAVES_PAGE = 0x8000, STAYS_PAGE = 0x9000 };
enum { ZERO_PAGE_COMMAND_LINE = 0x228, COMMAND_LINE_SIZE = 2048 };

enum { // registers of the local APIC's page; an x2APIC's MSR is 0x800 + offset / 16
    APIC_EOI = 0xb0,
    APIC_SVR = 0xf0,
    APIC_ICR = 0x300,
    APIC_LVT_TIMER = 0x320,
    APIC_SELF_IPI = 0x3f0,
    SVR_ENABLE = 1 << 8,
    LVT_DEADLINE = 2 << 17,
    ICR_INIT = 5 << 8 | 1 << 14,
    ICR_STARTUP = 6 << 8 | 1 << 14,
    ICR_SELF = 1 << 18,
};
enum { MSR_APIC_BASE = 0x1b, MSR_TSC_DEADLINE = 0x6e0, MSR_X2APIC = 0x800, APIC_BASE_X2APIC = 1 << 10 };
enum { VECTOR_TIMER = 0x40, VECTOR_IPI = 0x50, VECTOR_SPURIOUS = 0xff };
enum : u32 { CALL_VERSION = 0x86000000, CALL_VM_ID };
// Of the TSC's ticks, which are nanoseconds here.
enum : u64 { TICKS_SOON = 10'000, TICKS_LATER = 200'000, TICKS_SECOND = 1'000'000'000 };

void bench_main(const u8 *zero_page);
void secondary_main(void);
void interrupt_main(u64 *rip);
void exception_main(u64 number, u64 error, u64 rip);
extern const u8 leaves[], leaves_end[], stays[], stays_end[], stays_cr3[], exceptions[], vector[];
extern u64 idt[512];
extern const u8 idt_pointer[];

static bool x2apic;
static volatile bool interrupted;                     // since it was last cleared, by anything
static volatile u64 resume;                           // where the handler goes on; 0: where it came from
static volatile bool second_is_to_spin, second_spins; // once the first CPU takes no interrupt that is not measured
static volatile u32 second_ready;

#define BEGIN "nopl %c[begin](%%rax)\n\t"
#define END "nopl %c[end](%%rax)\n\t"
#define MARKS [begin] "i"(MARK_BEGIN), [end] "i"(MARK_END)
#define mark(n) __asm__ volatile("nopl %c0(%%rax)" ::"i"(n) : "memory")

static u8 in8(u16 port) {
    u8 value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "d"(port) : "memory");
    return value;
}
static void out8(u16 port, u8 value) {
    __asm__ volatile("outb %0, %1" ::"a"(value), "d"(port) : "memory");
}
static u64 rdtsc(void) {
    u32 low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high)::"memory");
    return (u64)high << 32 | low;
}
static u64 rdmsr(u32 msr) {
    u32 low, high;
    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr) : "memory");
    return (u64)high << 32 | low;
}
// At one place, as in a kernel: the hypervisor remembers few places.
[[gnu::noinline]] static void wrmsr(u32 msr, u64 value) {
    __asm__ volatile("wrmsr" ::"c"(msr), "a"((u32)value), "d"((u32)(value >> 32)) : "memory");
}

void put_char(char c) {
    while (!(in8(COM1_LSR) & LSR_THRE))
        ;
    out8(COM1, (u8)c);
}

[[noreturn]] void power_off(void) {
    put("bench end\r\n");
    out8(PORT_SLEEP, 5 << 2 | 1 << 5);
    for (;;)
        ;
}

// ── Interrupts ──────────────────────────────────────────────────────────────────────────────────────────────────────
static void irqs(bool on) {
    if (on)
        __asm__ volatile("sti" ::: "memory");
    else
        __asm__ volatile("cli" ::: "memory");
}

static void gate(u32 number, const u8 *to) {
    u64 at = (u64)to;
    idt[2 * number] = (at & 0xffff) | 8ull << 16 | 0x8e00ull << 32 | (at >> 16 & 0xffff) << 48;
    idt[2 * number + 1] = at >> 32;
}

static void idt_init(void) {
    for (u32 number = 0; number < 32; number++)
        gate(number, exceptions + 16 * number);
    gate(VECTOR_TIMER, vector);
    gate(VECTOR_IPI, vector);
    gate(VECTOR_SPURIOUS, vector);
    __asm__ volatile("lidt %0" ::"m"(*(const u8(*)[10])idt_pointer));
}

static void timer_set(u64 at) {
    wrmsr(MSR_TSC_DEADLINE, at);
}

static void x2apic_begin(void) {
    wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | APIC_BASE_X2APIC);
    wrmsr(MSR_X2APIC + APIC_SVR / 16, SVR_ENABLE | VECTOR_SPURIOUS);
    wrmsr(MSR_X2APIC + APIC_LVT_TIMER / 16, LVT_DEADLINE | VECTOR_TIMER);
    __asm__ volatile("mfence" ::: "memory");
    x2apic = true;
    irqs(true);
}

void interrupt_main(u64 *rip) {
    wrmsr(MSR_X2APIC + APIC_EOI / 16, 0);
    interrupted = true;
    if (resume)
        *rip = resume;
    resume = 0;
}

void exception_main(u64 number, u64 error, u64 rip) {
    put("bench failed: exception ");
    put_number(number);
    put(", error ");
    put_number(error);
    put(", at ");
    put_number(rip);
    put("\r\n");
    power_off();
}

// The other CPU's turn.
static void sleep(void) {
    interrupted = false;
    timer_set(rdtsc() + TICKS_LATER);
    irqs(false);
    while (!interrupted)
        __asm__ volatile("sti\n\thlt\n\tcli" ::: "memory");
    irqs(true);
}

// ── Operations ──────────────────────────────────────────────────────────────────────────────────────────────────────
static void vmmcall_marked(u64 rax) {
    __asm__ volatile(BEGIN "vmmcall\n\t" END : "+a"(rax) : MARKS : "memory");
    check((s64)rax >= 0, "the call is not known");
}
static void op_vmmcall(void) {
    vmmcall_marked(CALL_VERSION);
}
static void op_vmmcall_id(void) {
    vmmcall_marked(CALL_VM_ID);
}

static void op_cpuid(void) {
    u32 a = 1, b, c = 0, d;
    __asm__ volatile(BEGIN "cpuid\n\t" END : "+a"(a), "=b"(b), "+c"(c), "=d"(d) : MARKS : "memory");
}

static void op_port(void) {
    u8 value;
    __asm__ volatile(BEGIN "inb %%dx, %0\n\t" END : "=a"(value) : "d"((u16)COM1_LSR), MARKS : "memory");
}

static u32 read32_marked(uintptr_t at) {
    u32 value;
    __asm__ volatile(BEGIN "movl (%1), %0\n\t" END : "=r"(value) : "r"(at), MARKS : "memory");
    return value;
}
static void write32_marked(uintptr_t at, u32 value) {
    __asm__ volatile(BEGIN "movl %1, (%0)\n\t" END ::"r"(at), "r"(value), MARKS : "memory");
}

static void op_lapic_mmio(void) {
    check((read32_marked(LAPIC + APIC_SVR) & 0xff) == VECTOR_SPURIOUS, "what the local APIC says");
}
static void op_eoi_mmio(void) {
    write32_marked(LAPIC + APIC_EOI, 0);
}
static void op_ioapic(void) {
    *(volatile u32 *)IOAPIC = 1; // version and number of entries
    check((read32_marked(IOAPIC + IOAPIC_WINDOW) >> 16 & 0xff) != 0, "what the IOAPIC says");
}

static u64 rdmsr_marked(u32 msr) {
    u32 low, high;
    __asm__ volatile(BEGIN "rdmsr\n\t" END : "=a"(low), "=d"(high) : "c"(msr), MARKS : "memory");
    return (u64)high << 32 | low;
}
static void wrmsr_marked(u32 msr, u64 value) {
    __asm__ volatile(BEGIN "wrmsr\n\t" END ::"c"(msr), "a"((u32)value), "d"((u32)(value >> 32)), MARKS : "memory");
}
static void wrmsr_begun(u32 msr, u64 value) {
    __asm__ volatile(BEGIN "wrmsr" ::"c"(msr), "a"((u32)value), "d"((u32)(value >> 32)), MARKS : "memory");
}

static void op_lapic_msr(void) {
    check((rdmsr_marked(MSR_X2APIC + APIC_SVR / 16) & 0xff) == VECTOR_SPURIOUS, "what the x2APIC says");
}
static void op_eoi_msr(void) {
    wrmsr_marked(MSR_X2APIC + APIC_EOI / 16, 0);
}
static void op_self_ipi(void) {
    interrupted = false;
    wrmsr_begun(MSR_X2APIC + APIC_SELF_IPI / 16, VECTOR_IPI);
    while (!interrupted)
        ;
}
static void op_self_ipi_icr(void) {
    interrupted = false;
    wrmsr_begun(MSR_X2APIC + APIC_ICR / 16, ICR_SELF | VECTOR_IPI);
    while (!interrupted)
        ;
}

static void op_timer_arm(void) {
    wrmsr_marked(MSR_TSC_DEADLINE, rdtsc() + TICKS_SECOND);
    timer_set(0);
}
// Every turn begins anew, so that what is counted is what comes after the last.
static void op_timer_busy(void) {
    irqs(false); // the hypervisor may have let the deadline pass before we spin
    timer_set(rdtsc() + TICKS_SOON);
    __asm__ volatile("lea 2f(%%rip), %%rax\n\tmov %%rax, %0\n\tsti\n1:\t" BEGIN "jmp 1b\n2:"
                     : "=m"(resume)
                     : MARKS
                     : "rax", "memory");
}
static void op_timer_hlt(void) {
    interrupted = false;
    irqs(false);
    timer_set(rdtsc() + TICKS_SOON);
    __asm__ volatile(BEGIN "sti\n\thlt" ::MARKS : "memory");
    while (!interrupted)
        ;
}

// ── The other CPU ───────────────────────────────────────────────────────────────────────────────────────────────────
static void copy(u32 to, const u8 *from, const u8 *end) {
    for (u32 i = 0; from + i < end; i++)
        *(volatile u8 *)(uintptr_t)(to + i) = from[i];
}

static void icr(u32 low) {
    wrmsr(MSR_X2APIC + APIC_ICR / 16, 1ull << 32 | low);
}

// It has halted by the time this returns. INIT takes it out of that.
static void op_ap_start(void) {
    copy(LEAVES_PAGE, leaves, leaves_end);
    mark(MARK_BEGIN);
    icr(ICR_INIT);
    icr(ICR_STARTUP | LEAVES_PAGE >> 12);
    sleep();
}

void secondary_main(void) {
    x2apic_begin();
    second_ready++;
    if (second_is_to_spin) {
        while (!second_spins)
            __asm__ volatile("pause");
        __asm__ volatile("1:\t" BEGIN "jmp 1b" ::MARKS : "memory");
    }
    for (;;)
        __asm__ volatile("sti\n\thlt" ::: "memory");
}

static void second_start(bool spins) {
    u64 cr3;
    if (second_ready)
        return;
    __asm__ volatile("mov %%cr3, %0" : "=r"(cr3));
    second_is_to_spin = spins;
    copy(STAYS_PAGE, stays, stays_end);
    *(volatile u32 *)(uintptr_t)(STAYS_PAGE + (stays_cr3 - stays)) = (u32)cr3;
    icr(ICR_INIT);
    icr(ICR_STARTUP | STAYS_PAGE >> 12);
    while (!second_ready)
        sleep();
    second_spins = spins;
}

// To a CPU that sleeps; the sender sleeps as soon as it has sent, until its timer ends that.
static void op_ipi(void) {
    second_start(false);
    sleep(); // the other one has come to its rest
    interrupted = false;
    irqs(false);
    timer_set(rdtsc() + TICKS_LATER);
    wrmsr_begun(MSR_X2APIC + APIC_ICR / 16, 1ull << 32 | VECTOR_IPI);
    __asm__ volatile("sti\n\thlt" ::: "memory");
}

// The vCPU that the other one shares its CPU with spins, and its last turn is where the count begins.
static void op_timer_shared(void) {
    second_start(true);
    op_timer_hlt();
}

// ── Main ────────────────────────────────────────────────────────────────────────────────────────────────────────────
static const struct operation {
    const char *name, *group;
    void (*run)(void);
    bool x2; // with an x2APIC, from then on
} operations[] = {
    {"vmmcall", "single", op_vmmcall, false},
    {"vmmcall_id", "single", op_vmmcall_id, false},
    {"cpuid", "single", op_cpuid, false},
    {"port", "single", op_port, false},
    {"lapic_mmio", "single", op_lapic_mmio, false},
    {"eoi_mmio", "single", op_eoi_mmio, false},
    {"ioapic", "single", op_ioapic, false},
    {"lapic_msr", "single", op_lapic_msr, true},
    {"eoi_msr", "single", op_eoi_msr, true},
    {"self_ipi", "single", op_self_ipi, true},
    {"self_ipi_icr", "single", op_self_ipi_icr, true},
    {"timer_arm", "single", op_timer_arm, true},
    {"timer_busy", "single", op_timer_busy, true},
    {"timer_hlt", "single", op_timer_hlt, true},
    {"timer_shared", "shared", op_timer_shared, true},
    {"ap_start", "smp", op_ap_start, true},
    {"ipi", "smp", op_ipi, true}, // the second CPU stays on after it
};

static void measure(const struct operation *op) {
    if (op->x2 && !x2apic)
        x2apic_begin();
    op->run(); // once before, not reported: what is set up at the first use is no part of the cost
    for (u32 i = 0; i < SAMPLES; i++)
        op->run();
    put("bench ");
    put(op->name);
    put(" ");
    put_number(SAMPLES);
    put("\r\n");
}

void bench_main(const u8 *zero_page) {
    const u8 *line = (const u8 *)(uintptr_t)*(const u32 *)(zero_page + ZERO_PAGE_COMMAND_LINE);
    const char *word = after_in(line, COMMAND_LINE_SIZE, "bench="), *what = word ? word : "single";
    idt_init();
    *(volatile u32 *)(LAPIC + APIC_SVR) = SVR_ENABLE | VECTOR_SPURIOUS;
    if (is(what, "reset")) {
        mark(MARK_RESET);
        out8(PORT_RESET, 6);
    }
    for (u32 i = 0; i < sizeof(operations) / sizeof(operations[0]); i++)
        if (is(what, operations[i].group) || is(what, operations[i].name))
            measure(&operations[i]);
    power_off();
}
