// SPDX-License-Identifier: Apache-2.0
// What an instruction computes, and its flags. Pure: unit tests run it on the host.
#pragma once

#include "insn.h"

// dest ← dest op source for X86_OP_ADD … X86_OP_DEC and X86_OP_BT … X86_OP_BTC, on `size` bytes; the arithmetic flags
// in *rflags change as the manual says. Any.
u64 x86_alu(enum x86_op op, u32 size, u64 dest, u64 source, u64 *rflags);
