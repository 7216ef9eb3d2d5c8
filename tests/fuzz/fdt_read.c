// SPDX-License-Identifier: Apache-2.0
// The host's device tree → struct board, and what the allocator makes of that. The input is a tree, or, if it does not
// begin like one, the script of a well-formed one.
#include "../../core/page_ranges.h"
#include "board.h"
#include "fuzz.h"
#include "rng.h"

#include <libfdt.h>
#include <stdlib.h>
#include <string.h>

static void check_regions(const struct region *set, u32 count, u32 max) {
    FUZZ_CHECK(count <= max);
    for (u32 i = 0; i < count; i++) {
        FUZZ_CHECK(set[i].size && set[i].base + (set[i].size - 1) >= set[i].base);
        if (i > 0) // sorted, apart
            FUZZ_CHECK(set[i - 1].base + (set[i - 1].size - 1) < set[i].base);
    }
}

static void check_board(const struct board *b, const void *fdt) {
    check_regions(b->memory, b->memory_count, BOARD_MAX_REGIONS);
    check_regions(b->reserved, b->reserved_count, BOARD_MAX_REGIONS);
    FUZZ_CHECK(b->memory_count > 0 && b->cpu_count <= BOARD_MAX_CPUS);
    FUZZ_CHECK(strnlen(b->model, sizeof(b->model)) < sizeof(b->model));
    FUZZ_CHECK(strnlen(b->cmdline, sizeof(b->cmdline)) < sizeof(b->cmdline));
    FUZZ_CHECK(b->irqchip.redist_count <= BOARD_MAX_GICR);
    FUZZ_CHECK(b->irqchip.kind <= IRQCHIP_IMSIC && b->uart.kind <= UART_SBI && b->psci <= PSCI_HVC);
    FUZZ_CHECK(b->fdt.base == (u64)(uintptr_t)fdt && b->fdt.size == fdt_totalsize(fdt));
    FUZZ_CHECK(!b->bundle.size || b->bundle.base + b->bundle.size > b->bundle.base);
}

static bool in_region(const struct region *r, u64 at) {
    return at - r->base < r->size;
}

// Everything that may be allocated is RAM and not reserved.
static void check_ranges(const struct board *b) {
    struct page_ranges ranges = {};
    page_ranges_collect(&ranges, b, pa(0x40080000), pa(0x40100000));
    FUZZ_CHECK(ranges.count <= PAGE_RANGES_MAX);
    for (u32 i = 0; i < ranges.count; i++) {
        const struct page_range *p = &ranges.range[i];
        FUZZ_CHECK(p->start && p->start < p->end && p->start % PAGE_SIZE == 0 && p->end % PAGE_SIZE == 0);
        FUZZ_CHECK(i == 0 || ranges.range[i - 1].end < p->start);
        bool start_is_ram = false, end_is_ram = false;
        for (u32 n = 0; n < b->memory_count; n++) {
            start_is_ram |= in_region(&b->memory[n], p->start);
            end_is_ram |= in_region(&b->memory[n], p->end - 1);
        }
        FUZZ_CHECK(start_is_ram && end_is_ram);
        for (u32 n = 0; n < b->reserved_count; n++) {
            const struct region *r = &b->reserved[n];
            FUZZ_CHECK(!in_region(r, p->start) && !in_region(r, p->end - 1) && r->base - p->start >= p->end - p->start);
        }
    }
    u64 taken = page_ranges_take(&ranges, 16 * PAGE_SIZE);
    FUZZ_CHECK(taken % PAGE_SIZE == 0);
}

static void read_tree(const void *fdt, size_t size) {
    static struct board a, b;
    char why[160];
    memset(&a, 0x00, sizeof(a));
    memset(&b, 0xff, sizeof(b));
    memset(why, 'x', sizeof(why));
    int err = fdt_read_board(fdt, size, &a, why, sizeof(why));
    FUZZ_CHECK(err == 0 || (err == -EINVAL && why[0]));
    FUZZ_CHECK(fuzz_is_text(why, sizeof(why)));
    FUZZ_CHECK(fdt_read_board(fdt, size, &b, why, sizeof(why)) == err);
    if (err)
        return;
    check_board(&a, fdt);
    FUZZ_CHECK(a.cpu_count == b.cpu_count && memcmp(a.memory, b.memory, sizeof(a.memory)) == 0);
    FUZZ_CHECK(memcmp(a.reserved, b.reserved, sizeof(a.reserved)) == 0 && strcmp(a.cmdline, b.cmdline) == 0);
    check_ranges(&a);
    rng_init(&a);
    u8 random[16];
    (void)!rng_bytes(random, sizeof(random));
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size) {
    static _Alignas(8) u8 tree[64 * 1024];
    if (size >= 4 && data[0] == 0xd0 && data[1] == 0x0d) {
        read_tree(data, size);
        return 0;
    }
    struct fuzz f = {data, size};
    size_t length = fuzz_tree(&f, tree, sizeof(tree));
    if (!length)
        return 0;
    void *exact = malloc(length);
    memcpy(exact, tree, length);
    read_tree(exact, length);
    free(exact);
    return 0;
}
