// SPDX-License-Identifier: Apache-2.0
// Loads and stores of integer registers, from an instruction or from htinst. Pure: unit tests run it on the host.
#pragma once

#include "types.h"

// A 32-bit instruction, or a transformed one (privileged architecture §22.6.3), which has a zero in its address fields.
struct insn_access {
    u8 size; // 1, 2, 4, 8
    u8 reg;  // that is loaded or stored
    bool write;
    bool sign; // a load: extend the sign
};
// False: not a load or store of an integer register. Any.
bool insn_access(u32 insn, struct insn_access *out);
// A 16-bit load or store of an integer register, from its low half, in htinst's form; 0: not one. Any.
u32 insn_expand(u32 insn);

// An access to a control and status register (Zicsr).
enum insn_csr_op : u8 { CSR_OP_WRITE = 1, CSR_OP_SET, CSR_OP_CLEAR };
struct insn_csr {
    u16 nr;
    u8 rd;
    u8 rs1; // or, if immediate, the value itself
    enum insn_csr_op op;
    bool immediate;
    bool writes; // a set or clear from x0, or of 0, only reads
};
// False: not such an instruction. Any.
bool insn_csr(u32 insn, struct insn_csr *out);
