// SPDX-License-Identifier: Apache-2.0
// Random numbers for the guests' device trees and boot parameters, from a seed that the boot loader or the CPU gave.
// There is no other source: without a seed there are none.
#pragma once

#include "board.h"
#include "types.h"

// Takes board->seed, or /chosen/rng-seed (at least 32 bytes) of the machine's device tree, which is still at
// board->fdt. Context: boot.
void rng_init(const struct board *board);
// Fills the buffer; false, and nothing is written, if there was no seed. Output tells nothing about the state before or
// after it. Context: any, LOCK_PAGE.
[[nodiscard]] bool rng_bytes(void *buf, size_t size);
