// SPDX-License-Identifier: Apache-2.0
// ChaCha20 (RFC 8439) run for fast key erasure: every call's first 32 bytes of key stream become the next key.
#include "rng.h"

#include <libfdt.h>
#include <string.h>

#include "arch.h"
#include "lock.h"

enum { KEY_WORDS = 8, BLOCK_WORDS = 16, ROUNDS = 20 };

static struct {
    struct spinlock lock; // guards the rest; innermost, like the page allocator's
    bool seeded;
    u32 key[KEY_WORDS];
} rng = {.lock = SPINLOCK_INIT(LOCK_PAGE)};

static u32 rotl(u32 v, u32 n) {
    return v << n | v >> (32 - n);
}

static void quarter_round(u32 *a, u32 *b, u32 *c, u32 *d) {
    *a += *b, *d = rotl(*d ^ *a, 16);
    *c += *d, *b = rotl(*b ^ *c, 12);
    *a += *b, *d = rotl(*d ^ *a, 8);
    *c += *d, *b = rotl(*b ^ *c, 7);
}

// §2.3, with a zero nonce: a key is used for one stream only.
static void chacha_block(const u32 key[KEY_WORDS], u32 counter, u32 out[BLOCK_WORDS]) {
    u32 start[BLOCK_WORDS] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574}, x[BLOCK_WORDS];
    memcpy(&start[4], key, KEY_WORDS * sizeof(u32));
    start[12] = counter;
    memcpy(x, start, sizeof(x));
    for (u32 i = 0; i < ROUNDS; i += 2) {
        for (u32 c = 0; c < 4; c++)
            quarter_round(&x[c], &x[4 + c], &x[8 + c], &x[12 + c]);
        for (u32 c = 0; c < 4; c++)
            quarter_round(&x[c], &x[4 + (c + 1) % 4], &x[8 + (c + 2) % 4], &x[12 + (c + 3) % 4]);
    }
    for (u32 i = 0; i < BLOCK_WORDS; i++)
        out[i] = x[i] + start[i];
}

void rng_init(const struct board *board) {
    const void *fdt = (const void *)(uintptr_t)board->fdt.base;
    int size = 0;
    const u8 *seed = NULL;
    rng.seeded = false;
    if (board->has_seed)
        seed = board->seed, size = sizeof(board->seed);
    else if (board->fdt.size)
        seed = fdt_getprop(fdt, fdt_path_offset(fdt, "/chosen"), "rng-seed", &size);
    if (!seed || size < (int)sizeof(rng.key))
        return;
    memcpy(rng.key, seed, sizeof(rng.key));
    rng.seeded = true;
}

bool rng_bytes(void *buf, size_t size) {
    spin_lock(&rng.lock);
    bool seeded = rng.seeded;
    u32 key[KEY_WORDS], block[BLOCK_WORDS];
    memcpy(key, rng.key, sizeof(key));
    chacha_block(key, 0, block);
    memcpy(rng.key, block, sizeof(rng.key));
    spin_unlock(&rng.lock);
    for (size_t done = 0; seeded && done < size; done += sizeof(block)) {
        chacha_block(key, (u32)(done / sizeof(block)) + 1, block);
        memcpy((u8 *)buf + done, block, MIN(sizeof(block), size - done));
    }
    return seeded;
}
