// SPDX-License-Identifier: Apache-2.0
// What the probe found out about the machine that we run on. Filled at boot from the device tree (core/fdt_read.c) or
// ACPI; read-only afterwards. Nothing about a machine is compiled in.
#pragma once

#include "types.h"

enum {
    BOARD_MAX_CPUS = 64,
    BOARD_MAX_REGIONS = 32,
    BOARD_MAX_GICR = 8,
    BOARD_CMDLINE_MAX = 512,
    BOARD_ISA_MAX = 1024,
};

struct region {
    u64 base; // host-physical
    u64 size; // bytes
};

enum uart_kind { UART_NONE, UART_PL011, UART_16550, UART_CADENCE, UART_SBI };

struct board_uart {
    enum uart_kind kind;
    u64 base; // MMIO base
    u64 size;
    u32 reg_shift; // 16550: registers lie 1 << reg_shift bytes apart
    u32 reg_width; // 16550: bytes an access, 1 or 4
    u32 clock_hz;  // 0: unknown, leave the divisor alone
    u32 irq;       // host interrupt number (GIC INTID, PLIC or APLIC source), 0: poll
    bool irq_edge;
};

enum rtc_kind { RTC_NONE, RTC_PL031, RTC_GOLDFISH };

struct board_rtc { // a clock that goes on while the machine is off
    enum rtc_kind kind;
    struct region regs;
};

enum irqchip_kind { IRQCHIP_NONE, IRQCHIP_GICV2, IRQCHIP_GICV3, IRQCHIP_PLIC, IRQCHIP_APLIC, IRQCHIP_IMSIC };

struct board_irqchip {
    enum irqchip_kind kind;
    struct region dist;                   // GICD; PLIC; the supervisor's APLIC
    struct region redist[BOARD_MAX_GICR]; // GICR regions; the supervisor's IMSICs
    u32 redist_count;
    u32 sources;          // PLIC, APLIC: 1…sources
    u32 ids;              // IMSIC: interrupt identities
    u32 guest_index_bits; // IMSIC: 2^bits pages a CPU, the first one the supervisor's, the others for guests
    u64 redist_stride;    // 0: the architecture's default
    u32 maintenance_irq;  // INTID of the GIC maintenance interrupt
};

struct board_timer {
    u32 secure_irq, phys_irq, virt_irq, hyp_irq; // INTIDs, 0: absent
    u32 frequency_hz;                            // 0: read it from the CPU, or there is no telling
};

enum psci_conduit { PSCI_NONE, PSCI_SMC, PSCI_HVC };

enum : u32 { BOARD_NO_CONTEXT = UINT32_MAX };

struct board_cpu {
    u64 hwid;        // MPIDR affinity or hartid
    u32 irq_context; // PLIC: its supervisor context; APLIC, IMSIC: its index there; or BOARD_NO_CONTEXT
};

struct board {
    char model[64];
    struct region memory[BOARD_MAX_REGIONS]; // sorted by base, merged, reservations not yet cut out
    u32 memory_count;
    struct region reserved[BOARD_MAX_REGIONS]; // by the device tree or the firmware, the tree itself, the bundle
    u32 reserved_count;
    struct board_cpu cpus[BOARD_MAX_CPUS];
    u32 cpu_count;    // those usable; the boot CPU is found by its hwid
    u32 cpus_ignored; // there, but past BOARD_MAX_CPUS
    struct board_uart uart;
    struct board_rtc rtc;
    struct board_irqchip irqchip;
    struct board_timer timer;
    enum psci_conduit psci;
    struct region fdt;    // the device tree itself
    struct region bundle; // size 0: none was given
    char cmdline[BOARD_CMDLINE_MAX];
    u8 seed[32]; // random, if has_seed: from the CPU; boot loaders give theirs in the device tree
    bool has_seed;
    char isa[BOARD_ISA_MAX]; // riscv64: the extensions that every hart has, "i_m_a_f_d_c_h_zicsr_sstc"
};

// For those who fill a board: adds RAM; keeps a region out of use, maybe more than it when there are very many; and at
// the end sorts and joins both sets. Boot.
void board_add_memory(struct board *board, struct region r);
void board_reserve(struct board *board, struct region r);
void board_regions_done(struct board *board);

// Does every CPU have the ISA extension (lower case)? Any.
bool board_has_isa(const struct board *board, const char *extension);

// Reads a flattened device tree of at most max_size bytes. Task: boot. Malformed trees give -EINVAL and a line in `why`
// (a printable sentence); what is missing but not fatal is left zero.
[[nodiscard]] int fdt_read_board(const void *fdt, u64 max_size, struct board *board, char *why, size_t why_size);
