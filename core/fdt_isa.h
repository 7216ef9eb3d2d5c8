// SPDX-License-Identifier: Apache-2.0
// The RISC-V ISA of the device tree's harts, as a list "i_m_a_zicsr": what all of them have.
#pragma once

#include <stddef.h>

#include "types.h"

// Adds an extension; what does not fit, or is no name, is left out.
void isa_add(char *list, size_t size, const char *name, size_t length);
// Adds the extensions of a string "rv64imac_zicsr" of at most `length` bytes.
void isa_add_string(char *list, size_t size, const char *isa, size_t length);
bool isa_has(const char *list, const char *name, size_t length);
// Takes out what `other` has not.
void isa_keep_common(char *list, const char *other);
