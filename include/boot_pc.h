// SPDX-License-Identifier: Apache-2.0
// How an x86_64 guest is told of its machine: what firmware and a boot loader leave in the last 128 KiB below 1 MiB.
// Linux gets a zero page and is entered in 64-bit mode (Documentation/arch/x86/boot.rst), as is an ELF file without a
// PVH note; one with such a note gets the start info of PVH and 32-bit mode. A raw image below 1 MiB begins in real
// mode, one above as with PVH.
#pragma once

#include "image_loader.h"
#include "types.h"

enum boot_pc_start { BOOT_PC_REAL, BOOT_PC_PROTECTED, BOOT_PC_LONG };

struct boot_pc {
    enum boot_pc_start start;
    gpa_t cr3; // BOOT_PC_LONG: identity mapping of the first 4 GiB
    gpa_t gdt; // null, unused, 64-bit code, data: selectors 0x10 and 0x18, as Linux expects
};

enum { BOOT_PC_GDT_SIZE = 4 * 8 };

// The parts of struct boot_ops; build says in *out how the primary vCPU starts, beside l->entry and l->arg (RSI or
// EBX).
[[nodiscard]] int boot_pc_prepare(struct loader *l);
[[nodiscard]] bool boot_pc_place(struct loader *l, u64 half);
[[nodiscard]] int boot_pc_build(struct loader *l, struct boot_pc *out);
