// SPDX-License-Identifier: Apache-2.0
// The guest-memory accessors on a VM whose memory lies scattered: refused exactly when a byte of the range is not RAM,
// and otherwise what was written is read.
#include "fuzz.h"
#include "gmem.h"
#include "host.h"
#include "page.h"
#include "vm.h"

#include <string.h>

enum { BLOCKS = 4 };
#define RAM_SIZE (BLOCKS * BLOCK_SIZE)

static struct vm vm;
static u8 shadow[RAM_SIZE], buffer[RAM_SIZE];
static u64 dirty_low, dirty_high; // of the shadow

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    pa_t all;
    host_init(&(struct host_options){.memory = 16 * BLOCK_SIZE});
    page_init(host_board(), pa(0), pa(0));
    FUZZ_CHECK(pgtable_init(&vm.s2, PT_GUEST) == 0);
    u32 got = page_alloc_blocks(16, &all);
    FUZZ_CHECK(got > 2 * BLOCKS);
    // Free blocks that are no neighbours, but for the first two.
    for (u32 i = 0; i < BLOCKS; i++)
        page_free_blocks(pa(all.v + (i < 2 ? i : 2 * i) * BLOCK_SIZE), 1);
    vm.cfg.memory = RAM_SIZE;
    FUZZ_CHECK(gmem_create(&vm) == 0 && vm.extent_count > 1);
    gmem_scrub(&vm);
    return 0;
}

// Addresses near the edges, or anywhere.
static u64 address(struct fuzz *f) {
    u8 how = fuzz_u8(f);
    u64 near = fuzz_u16(f);
    if (how < 160)
        return vm.ram.v + (how % (BLOCKS + 1)) * BLOCK_SIZE + near - 0x8000;
    if (how < 220)
        return vm.ram.v + near * 512 % RAM_SIZE;
    return how < 240 ? near - 0x8000 : fuzz_u64(f);
}

static u64 length(struct fuzz *f, u64 at) {
    u8 how = fuzz_u8(f);
    if (how < 80) // up to a block's end, or a little less or more
        return vm.ram.v + (how % (BLOCKS + 1)) * BLOCK_SIZE - at + how / 5 - 8;
    if (how < 160)
        return fuzz_u16(f);
    return how < 170 ? (u64)fuzz_u16(f) << 8 : how < 230 ? 0 - (u64)fuzz_u16(f) : fuzz_u64(f);
}

static bool is_ram(u64 at, u64 size) {
    unsigned __int128 end = (unsigned __int128)at + size, ram_end = vm.ram.v + RAM_SIZE;
    return at >= vm.ram.v && at <= ram_end && end <= ram_end;
}

static void note(u64 offset, u64 size) {
    dirty_low = MIN(dirty_low, offset);
    dirty_high = MAX(dirty_high, offset + size);
}

static void check_ptr(u64 at, u64 size) {
    const u8 *p = gmem_ptr(&vm, gpa(at), size);
    bool inside = is_ram(at, size) && at != vm.ram.v + RAM_SIZE;
    FUZZ_CHECK(inside || !p);
    if (!inside)
        return;
    u64 offset = at - vm.ram.v;
    // One block is contiguous for sure.
    FUZZ_CHECK(p || offset / BLOCK_SIZE != (offset + size - 1) / BLOCK_SIZE);
    if (p)
        FUZZ_CHECK(memcmp(p, shadow + offset, size) == 0);
}

static void operate(struct fuzz *f) {
    u8 what = fuzz_u8(f) & 3, fill = fuzz_u8(f);
    u64 at = address(f), size = length(f, at), offset = at - vm.ram.v;
    bool inside = is_ram(at, size);
    int err;
    switch (what) {
    case 0:
        // The caller's buffer has the size it says; what is refused touches neither side.
        err = gmem_read(&vm, gpa(at), buffer, size);
        if (inside)
            FUZZ_CHECK(memcmp(buffer, shadow + offset, size) == 0);
        break;
    case 1:
        if (inside)
            memset(buffer, fill, size);
        err = gmem_write(&vm, gpa(at), buffer, size);
        if (inside)
            memset(shadow + offset, fill, size);
        break;
    case 2:
        err = gmem_zero(&vm, gpa(at), size);
        if (inside)
            memset(shadow + offset, 0, size);
        break;
    default:
        check_ptr(at, size);
        return;
    }
    FUZZ_CHECK(err == (inside ? 0 : -EFAULT));
    if (inside && what != 0)
        note(offset, size);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size) {
    struct fuzz f = {data, size};
    dirty_low = RAM_SIZE;
    dirty_high = 0;
    for (u32 i = 0; i < 64 && fuzz_more(&f); i++)
        operate(&f);
    if (dirty_low < dirty_high) { // everything that was written, read whole, and put back
        u64 dirty = dirty_high - dirty_low;
        FUZZ_CHECK(gmem_read(&vm, gpa(vm.ram.v + dirty_low), buffer, dirty) == 0);
        FUZZ_CHECK(memcmp(buffer, shadow + dirty_low, dirty) == 0);
        FUZZ_CHECK(gmem_zero(&vm, gpa(vm.ram.v + dirty_low), dirty) == 0);
        memset(shadow + dirty_low, 0, dirty);
    }
    return 0;
}
