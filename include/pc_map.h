// SPDX-License-Identifier: Apache-2.0
// Where things are in an x86_64 guest's machine: a PC's places, so that software for PCs finds what it knows.
#pragma once

#include "types.h"

// I/O ports.
enum {
    PC_PIT = 0x40,       // 8254: 0x40 … 0x43
    PC_SYSTEM = 0x60,    // 8042 at 0x60 and 0x64, port B at 0x61
    PC_CMOS = 0x70,      // index and data
    PC_COM1 = 0x3f8,     // 16550
    PC_SLEEP = 0x600,    // ACPI: sleep control, and status one above it
    PC_PM_TIMER = 0x608, // ACPI: 32 bits at 3.58 MHz
    PC_PCI = 0xcf8,      // PCI configuration; the reset register is among its bytes, at 0xcf9
    PC_RESET = 0xcf9,
};

// IOAPIC pins.
enum { PC_PIN_PIT = 2, PC_PIN_COM1 = 4, PC_PIN_CMOS = 8 };

// Memory. RAM is everywhere from 0 on, but not from the hole to 4 GiB, and software is told to leave alone what a PC
// has below 1 MiB.
#define PC_LOW_END 0xa0000ull  // of low memory; video memory and ROMs follow
#define PC_FIRMWARE 0xe0000ull // to 1 MiB: where boot_pc.h leaves what firmware and a boot loader leave
#define PC_HIGH 0x100000ull    // RAM goes on
#define PC_HOLE 0xc0000000ull  // to 4 GiB: devices

// What a guest writes to the sleep control register to switch its machine off: SLP_TYP of \_S5, and SLP_EN.
enum { PC_SLEEP_TYPE_OFF = 5, PC_SLEEP_ENABLE = 1 << 5, PC_SLEEP_TYPE_SHIFT = 2 };
enum { PC_RESET_VALUE = 0x06 }; // to the reset register
