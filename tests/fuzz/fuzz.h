// SPDX-License-Identifier: Apache-2.0
// What the fuzzers share: reading the input as a script, and checks that hold whatever it says.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "types.h"

// Called by libFuzzer with each input, which is a heap block of exactly that size.
int LLVMFuzzerTestOneInput(const u8 *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

// Like assert, never compiled out.
#define FUZZ_CHECK(cond) ((cond) ? (void)0 : fuzz_failed(__FILE__, __LINE__, #cond))
[[noreturn, gnu::cold]] void fuzz_failed(const char *file, int line, const char *what);

// The input as a stream of numbers; zeroes after its end.
struct fuzz {
    const u8 *data;
    size_t left;
};

static inline bool fuzz_more(const struct fuzz *f) {
    return f->left > 0;
}
u64 fuzz_number(struct fuzz *f, u32 bytes); // little-endian
static inline u8 fuzz_u8(struct fuzz *f) {
    return (u8)fuzz_number(f, 1);
}
static inline u16 fuzz_u16(struct fuzz *f) {
    return (u16)fuzz_number(f, 2);
}
static inline u32 fuzz_u32(struct fuzz *f) {
    return (u32)fuzz_number(f, 4);
}
static inline u64 fuzz_u64(struct fuzz *f) {
    return fuzz_number(f, 8);
}
// 0 … below - 1, from one byte or two.
u32 fuzz_below(struct fuzz *f, u32 below);
// Up to `count` bytes of the input itself; *count becomes how many there are.
const u8 *fuzz_bytes(struct fuzz *f, size_t *count);

// A number that depends on every byte: what an input has no room to say is chosen by it.
u64 fuzz_hash(const void *data, size_t size, u64 seed);

// Bytes that form printable text (UTF-8 without controls), terminated within `size`.
bool fuzz_is_text(const char *text, size_t size);

// ── A cpio archive under construction ───────────────────────────────────────────────────────────────────────────────
struct cpio {
    u8 *data;
    size_t used, size;
};
void cpio_add(struct cpio *c, const char *path, const void *data, size_t size);
void cpio_end(struct cpio *c);

// ── A device tree that is whole, with properties that the input chooses ─────────────────────────────────────────────
// Returns its size, 0: no room.
size_t fuzz_tree(struct fuzz *f, void *buf, size_t size);
