// SPDX-License-Identifier: Apache-2.0
// The device tree that a guest is given: generated, or the user's own with what only we know patched in.
#pragma once

#include "types.h"

struct vm;

enum { FDT_GEN_SIZE = 64 * 1024 }; // a buffer of this size holds the tree of any VM

// The phandles of a generated tree. arch_guest_fdt gives FDT_PHANDLE_INTC to the interrupt controller that the devices
// are wired to.
enum { FDT_PHANDLE_INTC = 1, FDT_PHANDLE_CLOCK, FDT_PHANDLE_FIRST_FREE };

// Writes the tree of the VM into buf (8-byte aligned). initrd_size 0: there is no initrd. fdt_totalsize(buf) tells the
// length. -ENOSPC: the buffer is too small. Context: any.
[[nodiscard]] int fdt_gen(const struct vm *vm, gpa_t initrd, u64 initrd_size, void *buf, size_t size);

// Turns the tree in buf (8-byte aligned, `length` of `size` bytes are used, untrusted) into that of the VM: its command
// line, if it has one, and the initrd are put into /chosen. -EINVAL with a clause in *why for a malformed tree, -ENOSPC
// if there is no room left for what is to be added. Context: any.
[[nodiscard]] int fdt_gen_patch(const struct vm *vm, gpa_t initrd, u64 initrd_size, void *buf, size_t length,
                                size_t size, const char **why);

// For arch_guest_fdt, with libfdt's convention: 0 or a negative FDT_ERR. Context: any.
[[nodiscard]] int fdt_gen_cells(void *fdt, const char *name, const u32 *cells, u32 count);
[[nodiscard]] int fdt_gen_reg(void *fdt, u64 base, u64 size); // "reg" of one range, 2 address and 2 size cells
// A property of several strings, given as "a\0b\0c" with the size of that literal.
#define fdt_gen_strings(fdt, name, strings) fdt_property(fdt, name, strings, (int)sizeof(strings))
