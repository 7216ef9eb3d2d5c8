// SPDX-License-Identifier: Apache-2.0
#include "arena.h"

#include <string.h>

void *arena_alloc(struct arena *arena, size_t size, size_t align) {
    // The address is aligned, not the offset: base may be any pointer.
    uintptr_t at = (uintptr_t)arena->base + arena->used;
    size_t pad = (size_t)(-at & (align - 1));
    size_t left = arena->size - arena->used;
    if (arena->base == NULL || pad > left || size > left - pad)
        return NULL;
    char *p = arena->base + arena->used + pad;
    arena->used += pad + size;
    memset(p, 0, size);
    return p;
}
