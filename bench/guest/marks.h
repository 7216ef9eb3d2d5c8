// SPDX-License-Identifier: Apache-2.0
// Marks for bench/plugin/count.c: an instruction that does nothing and that no compiler emits, MOVZ to XZR, LUI to
// x0, or a NOP with an address that far from RAX.
#pragma once

#define MARK_BEGIN 0xbe01 // an operation begins
#define MARK_END 0xbe02   // it has ended
#define MARK_FIRST 0xbe03 // the guest's first instruction
#define MARK_RESET 0xbe04 // the next instruction asks for a reset
