// SPDX-License-Identifier: Apache-2.0
// What the files of this folder share among themselves: our own side of the machine. (The guest's CPU: svm.h.)
#pragma once

#include "acpi.h"
#include "arch.h"
#include "cpu.h"
#include "mmio.h"
#include "sysreg.h"
#include "timer.h"
#include "types.h"

extern char __image_start[], __text_end[], __rodata_end[], __image_end[];

// What was found out about the CPUs, alike on all of them. Written at boot by the first one.
struct x86_features {
    bool x2apic; // in use: the APIC's registers are MSRs
    bool tsc_deadline;
    bool invariant_tsc;
    bool xsave;
    bool gib_pages;
    bool ept;              // stage 2 has the format of Intel's EPT
    bool under_hypervisor; // says CPUID
    u32 phys_bits;         // of a host-physical address
    u64 tsc_hz;
    const char *tsc_source; // who told
    u64 lapic_hz;           // of the APIC's timer; not known with tsc_deadline
    u64 lapic;              // xAPIC: where its registers are
    u64 memory_cut;         // bytes of RAM left unused: boot's page tables do not reach them
    u64 ap_page;            // below 1 MiB, where secondary CPUs start; 0: there is none
    const struct board *board;
    struct acpi acpi;
};
extern struct x86_features features;

// ── The local APIC ──────────────────────────────────────────────────────────────────────────────────────────────────
enum {
    LAPIC_VERSION = 0x30,
    LAPIC_TPR = 0x80,
    LAPIC_EOI = 0xb0,
    LAPIC_SVR = 0xf0,
    LAPIC_ISR = 0x100,
    LAPIC_ESR = 0x280,
    LAPIC_ICR = 0x300,
    LAPIC_ICR_HIGH = 0x310,
    LAPIC_LVT_TIMER = 0x320,
    LAPIC_LVT_THERMAL = 0x330,
    LAPIC_LVT_PERF = 0x340,
    LAPIC_LVT_LINT0 = 0x350,
    LAPIC_LVT_LINT1 = 0x360,
    LAPIC_LVT_ERROR = 0x370,
    LAPIC_TIMER_INITIAL = 0x380,
    LAPIC_TIMER_CURRENT = 0x390,
    LAPIC_TIMER_DIVIDE = 0x3e0,
};

// This CPU's registers. Any.
static inline u32 lapic_read(u32 reg) {
    return features.x2apic ? (u32)msr_read(MSR_X2APIC + reg / 16) : mmio_read32(features.lapic + reg);
}
static inline void lapic_write(u32 reg, u32 v) {
    if (features.x2apic)
        msr_write(MSR_X2APIC + reg / 16, v);
    else
        mmio_write32(features.lapic + reg, v);
}

// Our interrupt vectors. What is above 0x1f and not named here is let go with an EOI.
enum {
    VECTOR_FIRST = 0x20,
    VECTOR_PIC = 0x20, // 16 of them, masked
    VECTOR_UART = 0x41,
    VECTOR_TIMER = 0xec,
    VECTOR_KICK = 0xed,
    VECTOR_ERROR = 0xee,
    VECTOR_SPURIOUS = 0xff,
};

enum { UART_PORT = 0x3f8, UART_ISA_IRQ = 4 }; // COM1

// ── start.S, trap.S ───────────────────────────────────────────────────────────────────────────────────────────
extern char boot_stack_top[], boot_pml4[], boot_pdpt[], ap_trampoline[], ap_trampoline_end[];
extern char trap_stubs[]; // 256 of TRAP_STUB_SIZE bytes
enum { TRAP_STUB_SIZE = 16 };
void ctx_start(void);
// What the secondary CPU that is being started finds; start.S knows the layout.
struct ap_boot {
    u64 apic_id, cr3, stack_top, cpu;
    _Atomic bool arrived;
};
static_assert(offsetof(struct ap_boot, cr3) == 8 && offsetof(struct ap_boot, stack_top) == 16);
static_assert(offsetof(struct ap_boot, cpu) == 24);
extern struct ap_boot ap_boot;
// The result of an instruction that may fault.
struct may_fault {
    u64 failed;
    u64 value;
};
struct may_fault may_msr_read(u32 nr);
struct may_fault may_msr_write(u32 nr, u64 value);

// The registers as trap.S pushes them.
struct trap_frame {
    u64 r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
    u64 vector, error;
    u64 rip, cs, rflags, rsp, ss;
};
// Called by start.S and trap.S.
[[noreturn]] void x86_64_boot(const void *info, u32 magic);
[[noreturn]] void x86_64_boot_secondary(struct cpu *cpu);

void trap_irq(u64 vector);

// ── cpu.c, trap.c ───────────────────────────────────────────────────────────────────────────────────────────────────
void features_probe(const struct board *board);
// GDT, TSS, IDT and GS base of the calling CPU. The emergency stacks are EMERGENCY_STACKS pages' worth of memory.
void cpu_tables_init(struct cpu *cpu, u8 *emergency);
void cpu_tables_load(struct cpu *cpu);
void boot_tables(struct cpu *cpu); // both, before memory can be allocated
u64 boot_mapping_end(void);        // how far boot's page tables reach
enum { EMERGENCY_STACKS = 3, EMERGENCY_STACK_SIZE = 8192 };

// report.c
[[noreturn]] void hyp_fault_report(const struct trap_frame *frame);

// uart_com.c: COM1 by port I/O
void uart_com_use(const struct board_uart *uart);

// irqhw.c
void irqhw_init(const struct board *board);
void irqhw_cpu_init(struct cpu *cpu);
void lapic_icr(u64 apic_id, u32 command);
enum : u32 {
    ICR_FIXED = 0 << 8,
    ICR_NMI = 4 << 8,
    ICR_INIT = 5 << 8,
    ICR_STARTUP = 6 << 8,
    ICR_PENDING = 1 << 12, // xAPIC
    ICR_ASSERT = 1 << 14,
    ICR_LEVEL = 1 << 15,
    ICR_ALL_OTHERS = 3 << 18,
    XAPIC_BROADCAST = 0xff, // an APIC id of 8 bits is below
};

// timers.c: clock_init after features_probe
void clock_init(void);
void cmos_take_time(void); // the wall-clock time, if there is a CMOS clock. Boot, after clock_init
void timers_cpu_init(struct cpu *cpu);
void timers_irq(void);

// pte.c: forgets what arch_host_flush told of since the last time
void host_flush_pending(struct cpu *cpu);
