// SPDX-License-Identifier: Apache-2.0
// What the boot loader hands over, in pure C.
#pragma once

#include "acpi.h"
#include "board.h"
#include "types.h"

// Fills in memory, reservations, command line and bundle from a PVH start info or, where `magic` (EAX at entry) says
// so, a multiboot2 information structure at `info`; *rsdp is where the ACPI root pointer is, 0: the loader does not
// say. -EINVAL: `why` is a printable sentence. Boot.
[[nodiscard]] int bootinfo_read(const struct acpi_memory *memory, u64 info, u32 magic, struct board *board, u64 *rsdp,
                                char *why, size_t why_size);
