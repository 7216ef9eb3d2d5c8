// SPDX-License-Identifier: Apache-2.0
// An x86_64 guest: exceptions that are recorded, the local APIC, the IOAPIC and the ports of a PC. The first 4 GiB are
// mapped one to one.
#pragma once

#include "types.h"

#define RAM 0ull
#define RFLAGS_TF (1ull << 8)
#define RFLAGS_IF (1ull << 9)
#define RFLAGS_RF (1ull << 16)
#define DR6_RESET 0xffff0ff0ull
#define DR6_BD (1ull << 13) // access to debug registers
#define DR6_BS (1ull << 14) // single step
#define DR7_RESET 0x400ull
#define LAPIC 0xfee00000ull
#define IOAPIC 0xfec00000ull

// I/O ports
enum {
    PORT_PIC = 0x20,
    PORT_PIT = 0x40,
    PORT_KBC = 0x64,
    PORT_B = 0x61,
    PORT_CMOS = 0x70,
    PORT_A = 0x92,
    COM1 = 0x3f8,
    PORT_SLEEP = 0x600,
    PORT_PM_TIMER = 0x608,
    PORT_RESET = 0xcf9,
};
enum { UART_DATA, UART_IER, UART_IIR, UART_LCR, UART_MCR, UART_LSR, UART_MSR, UART_SCR };
enum { PIN_PIT = 2, PIN_COM1 = 4, PIN_CMOS = 8 };

// Exceptions, and the vectors that the programs use.
enum { X86_DE = 0, X86_DB = 1, X86_NMI = 2, X86_BP = 3, X86_UD = 6, X86_NM = 7, X86_DF = 8, X86_GP = 13, X86_PF = 14 };
enum { VECTOR_COM1 = 0x34, VECTOR_TIMER = 0x40, VECTOR_IPI = 0x50, VECTOR_SPURIOUS = 0xff }; // IPIs: + their numbers

// Registers of the local APIC's page; an x2APIC's MSR is 0x800 + offset / 16.
enum {
    APIC_ID = 0x20,
    APIC_VERSION = 0x30,
    APIC_TPR = 0x80,
    APIC_PPR = 0xa0,
    APIC_EOI = 0xb0,
    APIC_LDR = 0xd0,
    APIC_DFR = 0xe0,
    APIC_SVR = 0xf0,
    APIC_ISR = 0x100,
    APIC_TMR = 0x180,
    APIC_IRR = 0x200,
    APIC_ESR = 0x280,
    APIC_ICR = 0x300,
    APIC_ICR_HIGH = 0x310,
    APIC_LVT_TIMER = 0x320,
    APIC_LVT_LINT0 = 0x350,
    APIC_LVT_ERROR = 0x370,
    APIC_INITIAL = 0x380,
    APIC_CURRENT = 0x390,
    APIC_DIVIDE = 0x3e0,
};
enum {
    ICR_NMI = 4 << 8,
    ICR_INIT = 5 << 8,
    ICR_STARTUP = 6 << 8,
    ICR_LOGICAL = 1 << 11,
    ICR_ASSERT = 1 << 14,
    ICR_SELF = 1 << 18,
    ICR_ALL = 2 << 18,
    ICR_OTHERS = 3 << 18,
    LVT_MASKED = 1 << 16,
    LVT_PERIODIC = 1 << 17,
    LVT_DEADLINE = 2 << 17,
    DIVIDE_BY_1 = 0xb,
};
enum { MSR_TSC = 0x10, MSR_APIC_BASE = 0x1b, MSR_TSC_DEADLINE = 0x6e0, MSR_X2APIC = 0x800 };
enum : u32 { MSR_EFER = 0xc0000080, MSR_STAR = 0xc0000081, MSR_LSTAR = 0xc0000082, MSR_GS_BASE = 0xc0000101 };

struct frame { // as start.S lays it down
    u64 r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
    u64 vector, error, rip, cs, rflags, rsp, ss;
};

struct trap {
    u64 count; // since it was last zeroed
    u64 vector, error, rip, rflags, cr2;
};

// What a CPU found when it came on. start.S knows the layout.
struct began {
    u32 others; // the registers that begin as 0, or-ed; of the first CPU the flags
    u32 cr0, cr4, edx;
    u16 cs, data;          // the other selectors, or-ed
    u32 svr, tpr, waiting; // of its APIC: requested or in service, and timers
};
static_assert(sizeof(struct began) == 32);
extern struct began began[];

extern struct trap trap; // the last exception, of the CPU that expects some
// Where it goes on after an exception; 0: it is a failure that ends the program.
extern volatile u64 trap_resume;
extern volatile u64 ring0_rsp;                          // and with which stack, after one of ring 3
extern volatile u64 irq_count[256], irq_total, irq_rip; // and where the last one came
extern volatile u8 irq_cpu[256];                        // the CPU that took it last
extern void (*irq_hook)(u32 vector);                    // called before its end, unless it is null
extern volatile u64 nmi_count;
extern bool (*trap_hook)(struct frame *frame); // sees exceptions and NMIs first; true: that is all, it goes on
extern u64 idt[512];
extern struct [[gnu::packed]] {
    u16 limit;
    u64 base;
} idt_pointer;

static inline u64 cpu_index(void) {
    u32 low, high;
    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(MSR_GS_BASE));
    return low;
}

static inline u64 rdtsc(void) {
    u32 low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high)::"memory");
    return (u64)high << 32 | low;
}

struct cpuid {
    u32 a, b, c, d;
};
static inline struct cpuid cpuid(u32 leaf, u32 sub) {
    struct cpuid r;
    __asm__ volatile("cpuid" : "=a"(r.a), "=b"(r.b), "=c"(r.c), "=d"(r.d) : "a"(leaf), "c"(sub));
    return r;
}

static inline u8 in8(u16 port) {
    u8 v;
    __asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port) : "memory");
    return v;
}
static inline u16 in16(u16 port) {
    u16 v;
    __asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(port) : "memory");
    return v;
}
static inline u32 in32(u16 port) {
    u32 v;
    __asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port) : "memory");
    return v;
}
static inline void out8(u16 port, u8 v) {
    __asm__ volatile("outb %0, %1" ::"a"(v), "Nd"(port) : "memory");
}
static inline void out16(u16 port, u16 v) {
    __asm__ volatile("outw %0, %1" ::"a"(v), "Nd"(port) : "memory");
}
static inline void out32(u16 port, u32 v) {
    __asm__ volatile("outl %0, %1" ::"a"(v), "Nd"(port) : "memory");
}

static inline u32 read32(u64 at) {
    u32 v;
    __asm__ volatile("movl (%1), %0" : "=r"(v) : "r"(at) : "memory");
    return v;
}
static inline void write32(u64 at, u32 v) {
    __asm__ volatile("movl %0, (%1)" ::"r"(v), "r"(at) : "memory");
}

static inline u64 rdmsr(u32 msr) {
    u32 low, high;
    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr) : "memory");
    return (u64)high << 32 | low;
}
static inline void wrmsr(u32 msr, u64 value) {
    __asm__ volatile("wrmsr" ::"a"((u32)value), "d"((u32)(value >> 32)), "c"(msr) : "memory");
}

#define CR(name)                                                                                                       \
    ({                                                                                                                 \
        u64 v_;                                                                                                        \
        __asm__ volatile("mov %%" #name ", %0" : "=r"(v_)::"memory");                                                  \
        v_;                                                                                                            \
    })
#define SET_CR(name, value) __asm__ volatile("mov %0, %%" #name ::"r"((u64)(value)) : "memory") // DRs as well

// Runs `code` with exceptions expected: it goes on behind, and trap.count says whether there was one.
#define MAY_TRAP(code, ...)                                                                                            \
    __asm__ volatile("leaq 9f(%%rip), %%r11; movq %%r11, trap_resume(%%rip); " code                                    \
                     "; 9: movq $0, trap_resume(%%rip)" __VA_ARGS__)
bool rdmsr_safe(u32 msr, u64 *value); // false: #GP
bool wrmsr_safe(u32 msr, u64 value);

// The local APIC, whichever mode it is in.
u32 apic_read(u32 reg);
void apic_write(u32 reg, u32 value);
void apic_icr(u32 dest, u32 low);
void apic_eoi(void);
u32 ioapic_read(u32 reg);
void ioapic_write(u32 reg, u32 value);
void ioapic_route(u32 pin, u32 low, u32 dest);
u64 acpi_cpus(void); // by ACPI
// INIT and SIPI, whatever the CPU does: it goes to secondary_main(context).
void cpu_restart(u64 cpu, u64 context);
// Called by start.S and by exceptions.
void cpu_came_on(u64 cpu);
void cpu_nmi(struct frame *frame);
void interrupt_taken(const struct frame *frame);
u64 tsc_hz(void);
void irqs_on(void);
void irqs_off(void);
