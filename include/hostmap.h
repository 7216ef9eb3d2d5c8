// SPDX-License-Identifier: Apache-2.0
// The hypervisor's own mapping, VA = PA and W^X: RAM writable and never executable, our image by its sections, devices.
// Built at boot by arch_memory_init; afterwards only the guard pages of stacks change.
//
// Leaves are 2 MiB at most. A block is mapped by pages before its first guard page is taken out, while nobody uses it:
// so an entry that somebody may be using never changes its size, which needs break-before-make on aarch64 (DDI 0487
// D8.16.1) and is an erratum on others.
#pragma once

#include "board.h"
#include "pgtable.h"
#include "types.h"

struct image_layout {
    u64 start, text_end, rodata_end, end; // text R-X, then read-only data, then data; the first three page-aligned
};

// Root 0 before hostmap_init, and on arch/host, which has no mapping of its own.
extern struct pgtable host_pt;

// All RAM of the board but page 0, and the device tree if it lies in none. Panics without memory. Boot.
void hostmap_init(const struct board *board, const struct image_layout *image);
// A device's registers, in whole pages; nothing if size is 0. Panics without memory. `what` is for that. Boot.
void hostmap_device(u64 base, u64 size, const char *what);
// The pages of a range that are not mapped yet, for what RAM or a neighbour on the same page may have brought in.
// Panics without memory. Boot.
void hostmap_rest(u64 base, u64 size, u32 attr, const char *what);
// Maps a 2 MiB block that nobody uses by 4 KiB pages, for good. -ENOMEM: it is mapped as before. Any.
[[nodiscard]] int hostmap_split(void *block);
// Takes the first page of each `stride` bytes of such a block, but not the block's first, out of the mapping, or puts
// them back. Any.
void hostmap_guards(void *block, u64 stride, bool on);
