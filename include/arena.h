// SPDX-License-Identifier: Apache-2.0
// A bump allocator over memory that the caller owns: nothing is freed singly, the whole arena is dropped or reset.
#pragma once

#include "types.h"

struct arena {
    char *base;
    size_t size; // bytes at base
    size_t used;
};

// Context of all: any; the caller serialises.
static inline void arena_init(struct arena *arena, void *base, size_t size) {
    *arena = (struct arena){.base = base, .size = size};
}

// Forgets every allocation.
static inline void arena_reset(struct arena *arena) {
    arena->used = 0;
}

// `size` zeroed bytes whose address is a multiple of `align` (a power of two). NULL: the arena is full.
void *arena_alloc(struct arena *arena, size_t size, size_t align);

#define arena_new(arena, type) ((type *)arena_alloc((arena), sizeof(type), alignof(type)))
