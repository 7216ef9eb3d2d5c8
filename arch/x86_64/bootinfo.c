// SPDX-License-Identifier: Apache-2.0
// What a PVH or multiboot2 loader hands over: the memory map, the command line, and one module, which is the bundle.
// The loader is believed, but what it says is read within its bounds.
#include <stdio.h>
#include <string.h>

#include "x86_64.h"

enum : u32 {
    PVH_MAGIC = 0x336ec578,
    MB2_MAGIC = 0x36d76289,
    MB2_TAG_END = 0,
    MB2_TAG_CMDLINE = 1,
    MB2_TAG_MODULE = 3,
    MB2_TAG_MMAP = 6,
    MB2_TAG_ACPI_OLD = 14,
    MB2_TAG_ACPI_NEW = 15,
    MB2_TAG_HEADER = 8,
    MB2_INFO_MAX = 1 << 20,
    MEMORY_RAM = 1, // both count types as E820 does
    MAP_ENTRIES_MAX = 1024,
};

// Xen's public/arch-x86/hvm/start_info.h
struct pvh_start_info {
    u32 magic, version, flags, module_count;
    u64 modules, cmdline, rsdp;
    u64 memory_map; // from version 1
    u32 memory_map_count, reserved;
};
static_assert(sizeof(struct pvh_start_info) == 56);
struct pvh_module {
    u64 base, size, cmdline, reserved;
};
struct pvh_memory {
    u64 base, size;
    u32 type, reserved;
};
struct mb2_tag {
    u32 type, size;
};
struct mb2_memory {
    u64 base, size;
    u32 type, reserved;
};

static void add_memory(struct board *board, u64 base, u64 size, u32 type) {
    struct region r = {base, MIN(size, UINT64_MAX - base)};
    if (type == MEMORY_RAM)
        board_add_memory(board, r);
    else // maps of old firmware overlap: what is not RAM wins
        board_reserve(board, r);
}

static void set_bundle(struct board *board, u64 base, u64 size) {
    board->bundle = (struct region){base, size};
    board_reserve(board, board->bundle);
}

static void set_cmdline(const struct acpi_memory *memory, struct board *board, u64 at, u64 limit) {
    u32 n = 0;
    for (; n < BOARD_CMDLINE_MAX - 1 && n < limit; n++) {
        const char *c = at ? memory->map(memory, at + n, 1) : nullptr;
        if (!c || !*c)
            break;
        board->cmdline[n] = *c;
    }
    board->cmdline[n] = '\0';
}

static int read_pvh(const struct acpi_memory *memory, u64 at, struct board *board, u64 *rsdp) {
    const struct pvh_start_info *info = memory->map(memory, at, sizeof(*info));
    if (!info || info->version < 1 || info->memory_map_count > MAP_ENTRIES_MAX)
        return -EINVAL;
    const struct pvh_memory *map = memory->map(memory, info->memory_map, info->memory_map_count * sizeof(*map));
    if (!map)
        return -EINVAL;
    for (u32 i = 0; i < info->memory_map_count; i++)
        add_memory(board, map[i].base, map[i].size, map[i].type);
    const struct pvh_module *module =
        info->module_count ? memory->map(memory, info->modules, sizeof(*module)) : nullptr;
    if (module)
        set_bundle(board, module->base, module->size);
    set_cmdline(memory, board, info->cmdline, BOARD_CMDLINE_MAX);
    *rsdp = info->rsdp;
    return 0;
}

// Entries from version 0 on; how large they are the tag says.
static void read_mb2_map(const u8 *tag, u32 size, struct board *board) {
    u32 header[4];
    if (size < sizeof(header))
        return;
    memcpy(header, tag, sizeof(header));
    u32 entry_size = header[2];
    struct mb2_memory m;
    for (u32 at = sizeof(header); entry_size >= sizeof(m) && size - at >= entry_size; at += entry_size) {
        memcpy(&m, tag + at, sizeof(m));
        add_memory(board, m.base, m.size, m.type);
    }
}

static void read_mb2_tag(const struct acpi_memory *memory, const u8 *tag, struct mb2_tag head, struct board *board,
                         u64 *rsdp) {
    u64 at = (u64)tag;
    u32 range[2];
    switch (head.type) {
    case MB2_TAG_CMDLINE:
        set_cmdline(memory, board, at + sizeof(head), head.size - sizeof(head));
        break;
    case MB2_TAG_MODULE:
        if (head.size < sizeof(head) + sizeof(range) || board->bundle.size)
            break;
        memcpy(range, tag + sizeof(head), sizeof(range));
        if (range[1] > range[0])
            set_bundle(board, range[0], range[1] - range[0]);
        break;
    case MB2_TAG_MMAP:
        read_mb2_map(tag, head.size, board);
        break;
    case MB2_TAG_ACPI_OLD:
        if (*rsdp == 0)
            *rsdp = at + sizeof(head);
        break;
    case MB2_TAG_ACPI_NEW:
        *rsdp = at + sizeof(head);
        break;
    default:
        break;
    }
}

static int read_mb2(const struct acpi_memory *memory, u64 at, struct board *board, u64 *rsdp) {
    const u32 *total = memory->map(memory, at, MB2_TAG_HEADER);
    if (!total || *total < MB2_TAG_HEADER || *total > MB2_INFO_MAX)
        return -EINVAL;
    u32 size = *total;
    const u8 *info = memory->map(memory, at, size);
    if (!info)
        return -EINVAL;
    struct mb2_tag head;
    for (u32 offset = MB2_TAG_HEADER; size - offset >= sizeof(head);) {
        memcpy(&head, info + offset, sizeof(head));
        if (head.type == MB2_TAG_END || head.size < sizeof(head) || head.size > size - offset)
            break;
        read_mb2_tag(memory, info + offset, head, board, rsdp);
        offset = MIN(offset + (u32)align_up(head.size, 8), size);
    }
    return 0;
}

int bootinfo_read(const struct acpi_memory *memory, u64 info, u32 magic, struct board *board, u64 *rsdp, char *why,
                  size_t why_size) {
    const u32 *first = memory->map(memory, info, sizeof(*first));
    *rsdp = 0;
    int err = -EINVAL;
    if (first && *first == PVH_MAGIC)
        err = read_pvh(memory, info, board, rsdp);
    else if (first && magic == MB2_MAGIC)
        err = read_mb2(memory, info, board, rsdp);
    if (!err && board->memory_count == 0)
        err = -EINVAL;
    board_regions_done(board);
    if (err)
        snprintf(why, why_size,
                 "the boot loader is neither PVH (version 1 or later) nor multiboot2, or gave no memory map");
    return err;
}
