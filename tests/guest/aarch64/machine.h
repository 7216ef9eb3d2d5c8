// SPDX-License-Identifier: Apache-2.0
// An aarch64 guest: exceptions that are recorded and skipped, the interrupt controller and the firmware's calls.
#pragma once

#include "types.h"

// The guest's machine, as QEMU's virt has it.
#define UART 0x09000000ull
#define RTC 0x09010000ull
#define GICD 0x08000000ull
#define GICR 0x080a0000ull
#define GICR_STRIDE 0x20000ull
#define GICR_SGI 0x10000ull
#define RAM 0x40000000ull

enum { PPI_CNTV = 27, PPI_CNTP = 30, INTIDS = 64 };

// ESR_EL1.EC
enum {
    EC_UNKNOWN = 0x00,
    EC_SYSREG = 0x18,
    EC_IABT = 0x21,
    EC_PC_ALIGN = 0x22,
    EC_DABT = 0x25,
    EC_SERROR = 0x2f,
};
#define ESR_EC(esr) ((u32)((esr) >> 26) & 0x3f)
#define ESR_FSC(esr) ((u32)(esr) & 0x3f)
enum { FSC_EXTERNAL = 0x10 };

struct frame { // as start.S lays it down
    u64 x[31], elr, spsr, unused;
};

struct trap {
    u64 count; // since it was last zeroed
    u64 esr, elr, far;
};

extern struct trap trap;                          // the last synchronous exception or SError
extern volatile u64 irq_count[INTIDS], irq_total; // by INTID
extern volatile u32 irq_level_seen;               // GICR_ISPENDR0 when the last timer interrupt was taken
extern volatile u32 irq_order[INTIDS];            // the value of irq_total when it came last
extern volatile u8 irq_cpu[INTIDS];               // the CPU that took it last
extern char secondary_entry[], vectors[];

struct call_result {
    u64 x0, x1, x2, x3;
};
struct call_result hvc(u64 fn, u64 a1, u64 a2, u64 a3);
struct call_result smc(u64 fn, u64 a1, u64 a2, u64 a3);
s64 psci_cpu_on(u64 target, u64 entry, u64 context);
s64 psci_affinity_info(u64 target);

// Before an instruction on FP or SIMD registers: the compiler is told to leave those alone.
#define SIMD ".arch_extension fp\n\t.arch_extension simd\n\t"

static inline u64 cpu_index(void) {
    u64 v;
    __asm__("mrs %0, mpidr_el1" : "=r"(v));
    return v & 0xff;
}

#define read_sysreg(name)                                                                                              \
    ({                                                                                                                 \
        u64 v_;                                                                                                        \
        __asm__ volatile("mrs %0, " #name : "=r"(v_)::"memory");                                                       \
        v_;                                                                                                            \
    })
#define write_sysreg(name, value) __asm__ volatile("msr " #name ", %0\n\tisb" ::"r"((u64)(value)) : "memory")

static inline u32 read32(u64 at) {
    u32 v;
    __asm__ volatile("ldr %w0, [%1]" : "=r"(v) : "r"(at) : "memory");
    return v;
}

static inline void write32(u64 at, u32 v) {
    __asm__ volatile("str %w0, [%1]" ::"r"(v), "r"(at) : "memory");
}

// Interrupts: this CPU's redistributor and interface on, every interrupt of group 1, priority 0x80.
void gic_init(void);
void gic_enable(u32 intid);
void gic_disable(u32 intid);
