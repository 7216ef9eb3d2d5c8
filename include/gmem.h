// SPDX-License-Identifier: Apache-2.0
// The only way for the core to reach a guest's memory. Every address and length comes from the guest or from a file, so
// each is checked for overflow and against the VM's memory.
#pragma once

#include "types.h"

struct vm;

// Allocates cfg.memory bytes in 2 MiB blocks, maps them in vm->s2 (initialised by the caller) from the guest's RAM base
// on, around its hole, and sets vm->ram and vm->hole. -ENOMEM, or -ERANGE: more than stage 2 can address; either leaves
// nothing behind but tables in vm->s2. Context: task.
[[nodiscard]] int gmem_create(struct vm *vm);
// Unmaps and gives the memory back. gmem_scrub was called before, no vCPU runs, and the caller flushes. Context: task.
void gmem_destroy(struct vm *vm);
// Zeroes all of the guest's RAM in chunks, yielding between them. Context: task.
void gmem_scrub(struct vm *vm);

// Is all of the range the guest's RAM? Context: any.
bool gmem_contains(const struct vm *vm, gpa_t at, u64 size);
// -EFAULT if a byte of the range is not the guest's RAM; then nothing was copied. Context: any for ≤ 4 KiB, else task
// (they yield every 256 KiB).
[[nodiscard]] int gmem_read(struct vm *vm, gpa_t from, void *to, u64 size);
[[nodiscard]] int gmem_write(struct vm *vm, gpa_t to, const void *from, u64 size);
[[nodiscard]] int gmem_zero(struct vm *vm, gpa_t to, u64 size);
// A pointer to `size` bytes that lie contiguously in host memory, or NULL: not RAM, or not contiguous. Context: any.
[[nodiscard]] void *gmem_ptr(struct vm *vm, gpa_t at, u64 size);
