// SPDX-License-Identifier: Apache-2.0
// Reads the firmware's ACPI tables (ACPI 6.5 §5.2): which CPUs and interrupt controllers there are, where the timers
// are, how to power off and to reset. Firmware is not trusted either: lengths, checksums and references are checked,
// and what is wrong is left out or said in words; nothing that a table says can make the reader leave the memory it was
// given.
#pragma once

#include "types.h"

enum { ACPI_MAX_CPUS = 64, ACPI_MAX_IOAPICS = 8, ACPI_ISA_IRQS = 16 };

// A register as a generic address structure names it (§5.2.3.2). space ACPI_NONE: there is no such register.
enum acpi_space : u8 { ACPI_MEMORY = 0, ACPI_PORT = 1, ACPI_NONE = 0xff };
struct acpi_register {
    enum acpi_space space;
    u8 bits; // of an access
    u64 address;
};

struct acpi_ioapic {
    u64 address;
    u32 gsi_base;
};

// What an ISA interrupt has become: MADT §5.2.12.5. By default itself, edge-triggered, active high.
struct acpi_isa_irq {
    u32 gsi;
    bool level, active_low;
};

struct acpi {
    u32 cpu_ids[ACPI_MAX_CPUS]; // APIC ids of the enabled ones, in the table's order
    u32 cpu_count;
    u32 cpus_ignored; // enabled, past ACPI_MAX_CPUS
    u64 lapic;        // address of the xAPIC registers; 0: no MADT
    struct acpi_ioapic ioapics[ACPI_MAX_IOAPICS];
    u32 ioapic_count;
    struct acpi_isa_irq isa[ACPI_ISA_IRQS];

    struct acpi_register pm_timer; // 3.579545 MHz
    bool pm_timer_32;              // 32 bits wide, not 24
    struct acpi_register pm1a_control, pm1b_control;
    struct acpi_register sleep_control, sleep_status; // machines without PM1 (hardware-reduced)
    u16 smi_command;                                  // port that takes acpi_enable; 0: ACPI mode is always on
    u8 acpi_enable;
    struct acpi_register reset;
    u8 reset_value;
    bool has_s5; // the DSDT or an SSDT has \_S5:
    u8 s5_type_a, s5_type_b;
    u64 hpet; // registers, 0: none
    u64 mcfg; // PCI configuration space of segment 0, 0: none
    u8 mcfg_bus_first, mcfg_bus_last;
    char oem[32]; // who made the machine, by the XSDT or RSDT: "BOCHS BXPC"
};

// How the reader reaches physical memory: [address, address + size) or nullptr if that is not there.
struct acpi_memory {
    const void *(*map)(const struct acpi_memory *memory, u64 address, u64 size);
};

// Reads the tables that the RSDP at `rsdp` leads to. -ENOENT: no valid RSDP there; -EINVAL: no valid XSDT or RSDT;
// `why` is then a printable sentence. A missing or invalid table below leaves its part of *out at "none". Any.
[[nodiscard]] int acpi_read(const struct acpi_memory *memory, u64 rsdp, struct acpi *out, char *why, size_t why_size);
// Looks for an RSDP where a BIOS puts it (§5.2.5.1); 0: none. Any.
u64 acpi_find_rsdp(const struct acpi_memory *memory);
