// SPDX-License-Identifier: Apache-2.0
// The descriptor tables of a CPU: one 64-bit code segment, one for data, a TSS that names the emergency stacks, and
// gates that all go to trap.S. Interrupts come back from there.
#include "x86_64.h"

enum {
    GDT_CODE = SEL_CODE / 8,
    GDT_DATA = SEL_DATA / 8,
    GDT_TSS = SEL_TSS / 8, // takes two places
    GDT_ENTRIES = GDT_TSS + 2,
    TSS_SIZE = 104,
    TSS_IST1 = 36 / 4, // in words of 32 bits
    TSS_IOMAP = 100 / 4,
    IST_FAULT = 1,
    IST_NMI = 2, // and #MC
    IST_DOUBLE = 3,
    GATE_INTERRUPT = 0x8e,
    EXCEPTIONS = 32,
    EXCEPTION_NMI = 2,
    EXCEPTION_DF = 8,
    EXCEPTION_MC = 18,
};
#define DESCRIPTOR_CODE64 0x00af9b000000ffffull
#define DESCRIPTOR_DATA 0x00cf93000000ffffull
#define DESCRIPTOR_TSS 0x0000890000000000ull // available, 64-bit

struct cpu_tables {
    alignas(16) u64 gdt[GDT_ENTRIES];
    u32 tss[TSS_SIZE / 4];
};
static struct cpu_tables tables[BOARD_MAX_CPUS];

struct gate {
    u16 offset_low, selector;
    u8 ist, type;
    u16 offset_middle;
    u32 offset_high, reserved;
};
static_assert(sizeof(struct gate) == 16);
static alignas(16) struct gate idt[256];

struct [[gnu::packed]] table_pointer {
    u16 limit;
    u64 base;
};

static void idt_init(void) {
    for (u32 i = 0; i < ARRAY_SIZE(idt); i++) {
        u64 at = (u64)trap_stubs + (u64)TRAP_STUB_SIZE * i;
        u8 ist = i >= EXCEPTIONS                           ? 0
                 : i == EXCEPTION_NMI || i == EXCEPTION_MC ? IST_NMI
                 : i == EXCEPTION_DF                       ? IST_DOUBLE
                                                           : IST_FAULT;
        idt[i] = (struct gate){.offset_low = (u16)at,
                               .selector = SEL_CODE,
                               .ist = ist,
                               .type = GATE_INTERRUPT,
                               .offset_middle = (u16)(at >> 16),
                               .offset_high = (u32)(at >> 32)};
    }
}

void cpu_tables_init(struct cpu *cpu, u8 *emergency) {
    struct cpu_tables *t = &tables[cpu->id];
    if (!idt[0].type)
        idt_init();
    for (u32 i = 0; i < EMERGENCY_STACKS; i++) {
        u64 top = (u64)emergency + (u64)EMERGENCY_STACK_SIZE * (i + 1);
        t->tss[TSS_IST1 + 2 * i] = (u32)top;
        t->tss[TSS_IST1 + 2 * i + 1] = (u32)(top >> 32);
    }
    t->tss[TSS_IOMAP] = (u32)TSS_SIZE << 16; // none
    u64 tss = (u64)t->tss;
    t->gdt[GDT_CODE] = DESCRIPTOR_CODE64;
    t->gdt[GDT_DATA] = DESCRIPTOR_DATA;
    t->gdt[GDT_TSS] = DESCRIPTOR_TSS | (TSS_SIZE - 1) | (tss & 0xffffff) << 16 | (tss >> 24 & 0xff) << 56;
    t->gdt[GDT_TSS + 1] = tss >> 32;
    cpu->arch.self = cpu;
}

void cpu_tables_load(struct cpu *cpu) {
    struct cpu_tables *t = &tables[cpu->id];
    struct table_pointer gdtr = {sizeof(t->gdt) - 1, (u64)t->gdt}, idtr = {sizeof(idt) - 1, (u64)idt};
    t->gdt[GDT_TSS] &= ~BIT(41); // not busy: LTR refuses one that is
    __asm__ volatile("lgdt %0\n\t"
                     "mov %1, %%ds\n\tmov %1, %%es\n\tmov %1, %%ss\n\t"
                     "pushq %2\n\tlea 1f(%%rip), %%rax\n\tpushq %%rax\n\tlretq\n1:\n\t"
                     "lidt %3\n\tltr %w4" ::"m"(gdtr),
                     "r"((u32)SEL_DATA), "i"(SEL_CODE), "m"(idtr), "r"((u32)SEL_TSS)
                     : "rax", "memory");
    msr_write(MSR_GS_BASE, (u64)cpu);
}
