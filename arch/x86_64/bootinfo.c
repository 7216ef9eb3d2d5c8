// SPDX-License-Identifier: Apache-2.0
// What a PVH or multiboot2 loader hands over: the memory map, the command line, and one module, which is the bundle.
// The loader is believed, but what it says is read within its bounds.
#include "bootinfo.h"

#include <stdio.h>
#include <string.h>

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

// Copies from where the loader put it; false: that is not memory that we can reach.
static bool copy_from(const struct acpi_memory *memory, u64 at, void *to, u64 size) {
    const void *from = memory->map(memory, at, size);
    if (from)
        memcpy(to, from, size);
    return from != nullptr;
}

static void add_memory(struct board *board, u64 base, u64 size, u32 type) {
    struct region r = {base, MIN(size, UINT64_MAX - base)}; // so that its end does not wrap
    if (type == MEMORY_RAM)
        board_add_memory(board, r);
    else // maps of old firmware overlap: what is not RAM wins
        board_reserve(board, r);
}

static void set_bundle(struct board *board, u64 base, u64 size) {
    board->bundle = (struct region){base, MIN(size, UINT64_MAX - base)};
    board_reserve(board, board->bundle);
}

static void set_cmdline(const struct acpi_memory *memory, struct board *board, u64 at, u64 limit) {
    u64 n = 0;
    char c;
    while (at && n < BOARD_CMDLINE_MAX - 1 && n < limit && copy_from(memory, at + n, &c, 1) && c)
        board->cmdline[n++] = c;
    board->cmdline[n] = '\0';
}

static int read_pvh(const struct acpi_memory *memory, u64 at, struct board *board, u64 *rsdp) {
    struct pvh_start_info info;
    struct pvh_memory entry;
    struct pvh_module module;
    if (!copy_from(memory, at, &info, sizeof(info)) || info.version < 1 || info.memory_map_count > MAP_ENTRIES_MAX)
        return -EINVAL;
    for (u32 i = 0; i < info.memory_map_count; i++) {
        if (!copy_from(memory, info.memory_map + i * sizeof(entry), &entry, sizeof(entry)))
            return -EINVAL;
        add_memory(board, entry.base, entry.size, entry.type);
    }
    if (info.module_count && copy_from(memory, info.modules, &module, sizeof(module)))
        set_bundle(board, module.base, module.size);
    set_cmdline(memory, board, info.cmdline, BOARD_CMDLINE_MAX);
    *rsdp = info.rsdp;
    return 0;
}

// Entries from version 0 on; how large they are the tag says.
static void read_mb2_map(const struct acpi_memory *memory, u64 tag, u32 size, struct board *board) {
    u32 header[4], entry_size;
    struct mb2_memory m;
    if (size < sizeof(header) || !copy_from(memory, tag, header, sizeof(header)))
        return;
    entry_size = header[2];
    for (u32 at = sizeof(header); entry_size >= sizeof(m) && size - at >= entry_size; at += entry_size) {
        if (copy_from(memory, tag + at, &m, sizeof(m)))
            add_memory(board, m.base, m.size, m.type);
    }
}

static void read_mb2_tag(const struct acpi_memory *memory, u64 at, struct mb2_tag head, struct board *board,
                         u64 *rsdp) {
    u32 range[2];
    switch (head.type) {
    case MB2_TAG_CMDLINE:
        set_cmdline(memory, board, at + sizeof(head), head.size - sizeof(head));
        break;
    case MB2_TAG_MODULE:
        if (head.size >= sizeof(head) + sizeof(range) && !board->bundle.size &&
            copy_from(memory, at + sizeof(head), range, sizeof(range)) && range[1] > range[0])
            set_bundle(board, range[0], range[1] - range[0]);
        break;
    case MB2_TAG_MMAP:
        read_mb2_map(memory, at, head.size, board);
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
    u32 size;
    struct mb2_tag head;
    if (!copy_from(memory, at, &size, sizeof(size)) || size < MB2_TAG_HEADER || size > MB2_INFO_MAX)
        return -EINVAL;
    for (u32 offset = MB2_TAG_HEADER; size - offset >= sizeof(head);) {
        bool there = copy_from(memory, at + offset, &head, sizeof(head));
        if (!there || head.type == MB2_TAG_END || head.size < sizeof(head) || head.size > size - offset)
            break;
        read_mb2_tag(memory, at + offset, head, board, rsdp);
        offset = MIN(offset + (u32)align_up(head.size, 8), size);
    }
    return 0;
}

int bootinfo_read(const struct acpi_memory *memory, u64 info, u32 magic, struct board *board, u64 *rsdp, char *why,
                  size_t why_size) {
    u32 first = 0;
    *rsdp = 0;
    int err = -EINVAL;
    if (copy_from(memory, info, &first, sizeof(first)) && first == PVH_MAGIC)
        err = read_pvh(memory, info, board, rsdp);
    else if (magic == MB2_MAGIC)
        err = read_mb2(memory, info, board, rsdp);
    if (!err && board->memory_count == 0)
        err = -EINVAL;
    board_regions_done(board);
    if (err)
        snprintf(why, why_size,
                 "the boot loader is neither PVH (version 1 or later) nor multiboot2, or gave no memory map");
    return err;
}
