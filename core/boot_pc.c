// SPDX-License-Identifier: Apache-2.0
#include "boot_pc.h"

#include <string.h>

#include "acpi_gen.h"
#include "pc_map.h"
#include "rng.h"
#include "vm.h"

// The description, from PC_FIRMWARE on. The RSDP is where ACPI 5.2.5.1 has software look for it.
enum {
    AT_ACPI = 0x0,
    AT_ZERO_PAGE = 0x2000,
    AT_GDT = 0x3000,
    AT_START_INFO = 0x3100,
    AT_MEMORY_MAP = 0x3200,
    AT_MODULES = 0x3400,
    AT_SEED = 0x3500,
    AT_PML4 = 0x4000,
    AT_PDPT = 0x5000,
    AT_DIRECTORIES = 0x6000, // four
    AT_CMDLINE = 0xa000,
    AT_RESET = 0x1fff0,
    DRAFT_SIZE = 0x20000,
    DRAFT_ORDER = 5,
};
static_assert(DRAFT_SIZE <= PAGE_SIZE << DRAFT_ORDER && PC_FIRMWARE + DRAFT_SIZE == PC_HIGH);
static_assert(CONFIG_CMDLINE_MAX < AT_RESET - AT_CMDLINE);

static void put(struct loader *l, u32 at, u64 value, u32 bytes) {
    for (u32 i = 0; i < bytes; i++)
        ((u8 *)l->draft)[at + i] = (u8)(value >> 8 * i);
}

static u64 address(u32 at) {
    return PC_FIRMWARE + at;
}

// ── Place ───────────────────────────────────────────────────────────────────────────────────────────────────────────
int boot_pc_prepare(struct loader *l) {
    const u64 start = l->kernel.start, end = start + l->kernel.size;
    if (l->dtb_file.size)
        return loader_fail(l, &l->cfg->pos.dtb, "dtb = \"%.80s\": an x86_64 guest has ACPI tables, and no device tree",
                           l->cfg->boot.dtb);
    if (start < PC_HIGH && end > PC_LOW_END)
        return loader_fail(l, &l->cfg->pos.kernel,
                           "kernel = \"%.80s\": occupies 0x%llx to 0x%llx; a PC has video memory and firmware from "
                           "0x%llx to 0x%llx",
                           l->cfg->boot.kernel, (unsigned long long)start, (unsigned long long)(end - 1), PC_LOW_END,
                           PC_HIGH - 1);
    if (l->protocol == BOOT_RAW && l->entry < PC_HIGH && l->entry % 16)
        return loader_fail(l, l->cfg->boot.has_entry ? &l->cfg->pos.entry : &l->cfg->pos.load,
                           "entry = 0x%llx: below 1 MiB a PC begins in real mode, at a multiple of 16",
                           (unsigned long long)l->entry);
    l->taken = (struct piece){0, PC_HIGH};
    l->draft_order = DRAFT_ORDER;
    return 0;
}

bool boot_pc_place(struct loader *l, u64 half) {
    (void)half;
    l->description = (struct piece){PC_FIRMWARE, DRAFT_SIZE}; // in what prepare has taken
    return true;
}

// ── The memory map ──────────────────────────────────────────────────────────────────────────────────────────────────
enum { MAP_RAM = 1, MAP_RESERVED = 2, MAP_MAX = 4 };

struct range {
    u64 start, end;
    u32 type;
};

static u32 memory_map(const struct loader *l, struct range map[MAP_MAX]) {
    const u64 memory = l->cfg->memory;
    u32 n = 0;
    map[n++] = (struct range){0, PC_LOW_END, MAP_RAM};
    map[n++] = (struct range){PC_FIRMWARE, PC_HIGH, MAP_RESERVED};
    map[n++] = (struct range){PC_HIGH, MIN(memory, PC_HOLE), MAP_RAM};
    if (memory > PC_HOLE)
        map[n++] = (struct range){GIB(4), GIB(4) + memory - PC_HOLE, MAP_RAM};
    return n;
}

// ── Linux (boot.rst; struct boot_params in zero-page.rst) ───────────────────────────────────────────────────────────
enum {
    ZP_ACPI_RSDP = 0x70,
    ZP_EXT_RAMDISK_IMAGE = 0xc0,
    ZP_EXT_RAMDISK_SIZE = 0xc4,
    ZP_E820_COUNT = 0x1e8,
    ZP_HEADER = 0x1f1,
    ZP_BOOT_FLAG = 0x1fe,
    ZP_HEADER_END = 0x201, // how far the header reaches beyond 0x202
    ZP_MAGIC = 0x202,
    ZP_VERSION = 0x206,
    ZP_LOADER = 0x210,
    ZP_CODE32_START = 0x214,
    ZP_RAMDISK_IMAGE = 0x218,
    ZP_RAMDISK_SIZE = 0x21c,
    ZP_CMD_LINE_PTR = 0x228,
    ZP_SETUP_DATA = 0x250,
    ZP_HEADER_MAX = 0x290,
    ZP_E820 = 0x2d0,
    E820_SIZE = 20,
    LOADER_UNDEFINED = 0xff,
    VERSION_2_15 = 0x20f,
    SETUP_RNG_SEED = 9,
    SETUP_DATA_HEADER = 16,
    SEED_SIZE = 32,
};

static void put_seed(struct loader *l) {
    u8 *seed = (u8 *)l->draft + AT_SEED;
    if (!rng_bytes(seed + SETUP_DATA_HEADER, SEED_SIZE)) // Linux would credit it: a guess is worse than nothing
        return;
    put(l, AT_SEED + 8, SETUP_RNG_SEED, 4);
    put(l, AT_SEED + 12, SEED_SIZE, 4);
    put(l, AT_ZERO_PAGE + ZP_SETUP_DATA, address(AT_SEED), 8);
}

static void build_zero_page(struct loader *l) {
    u8 *zero_page = (u8 *)l->draft + AT_ZERO_PAGE;
    const u8 *kernel = l->kernel_file.data;
    struct range map[MAP_MAX];
    const u32 count = memory_map(l, map);
    if (l->info.kind == IMAGE_LINUX_X86) {
        static_assert(ZP_HEADER_MAX <= 2 * 512, "a bzImage has at least a boot sector and a sector of setup");
        const u8 reach = MIN(kernel[ZP_HEADER_END], ZP_HEADER_MAX - ZP_MAGIC);
        memcpy(zero_page + ZP_HEADER, kernel + ZP_HEADER, ZP_MAGIC - ZP_HEADER + reach);
    } else {
        put(l, AT_ZERO_PAGE + ZP_BOOT_FLAG, 0xaa55, 2);
        memcpy(zero_page + ZP_MAGIC, "HdrS", 4);
        put(l, AT_ZERO_PAGE + ZP_VERSION, VERSION_2_15, 2);
    }
    put(l, AT_ZERO_PAGE + ZP_ACPI_RSDP, address(AT_ACPI), 8);
    put(l, AT_ZERO_PAGE + ZP_LOADER, LOADER_UNDEFINED, 1);
    put(l, AT_ZERO_PAGE + ZP_CODE32_START, l->kernel.start, 4);
    put(l, AT_ZERO_PAGE + ZP_RAMDISK_IMAGE, l->initrd.start, 4);
    put(l, AT_ZERO_PAGE + ZP_EXT_RAMDISK_IMAGE, l->initrd.start >> 32, 4);
    put(l, AT_ZERO_PAGE + ZP_RAMDISK_SIZE, l->initrd.size, 4);
    put(l, AT_ZERO_PAGE + ZP_EXT_RAMDISK_SIZE, l->initrd.size >> 32, 4);
    put(l, AT_ZERO_PAGE + ZP_CMD_LINE_PTR, address(AT_CMDLINE), 4);
    put_seed(l);
    put(l, AT_ZERO_PAGE + ZP_E820_COUNT, count, 1);
    for (u32 i = 0; i < count; i++) {
        const u32 at = AT_ZERO_PAGE + ZP_E820 + E820_SIZE * i;
        put(l, at, map[i].start, 8);
        put(l, at + 8, map[i].end - map[i].start, 8);
        put(l, at + 16, map[i].type, 4);
    }
}

// 64-bit mode: identity mapping of the first 4 GiB in blocks of 2 MiB, present and writable, and the segments that
// Linux expects, marked accessed.
enum { ENTRY_TABLE = 0x3, ENTRY_BLOCK = 0x83, DIRECTORIES = 4 };
#define GDT_CODE64 0x00af9b000000ffffull
#define GDT_DATA 0x00cf93000000ffffull

static void build_long_mode(struct loader *l) {
    put(l, AT_GDT + 0x10, GDT_CODE64, 8);
    put(l, AT_GDT + 0x18, GDT_DATA, 8);
    put(l, AT_PML4, address(AT_PDPT) | ENTRY_TABLE, 8);
    for (u32 n = 0; n < DIRECTORIES; n++) {
        const u32 directory = AT_DIRECTORIES + (u32)PAGE_SIZE * n;
        put(l, AT_PDPT + 8 * n, address(directory) | ENTRY_TABLE, 8);
        for (u32 i = 0; i < 512; i++)
            put(l, directory + 8 * i, GIB(n) + MIB(2) * i + ENTRY_BLOCK, 8);
    }
}

// ── PVH (Xen, public/arch-x86/hvm/start_info.h) ─────────────────────────────────────────────────────────────────────
enum {
    PVH_MAGIC = 0x336ec578,
    PVH_VERSION = 1,
    PVH_MODULE_SIZE = 32,
    PVH_MAP_SIZE = 24,
};
static_assert(AT_MEMORY_MAP + PVH_MAP_SIZE * MAP_MAX <= AT_MODULES && AT_MODULES + PVH_MODULE_SIZE <= AT_SEED);

static void build_start_info(struct loader *l) {
    struct range map[MAP_MAX];
    const u32 count = memory_map(l, map), modules = l->initrd.size ? 1 : 0;
    put(l, AT_START_INFO, PVH_MAGIC, 4);
    put(l, AT_START_INFO + 4, PVH_VERSION, 4);
    put(l, AT_START_INFO + 12, modules, 4);
    put(l, AT_START_INFO + 16, modules ? address(AT_MODULES) : 0, 8);
    put(l, AT_START_INFO + 24, address(AT_CMDLINE), 8);
    put(l, AT_START_INFO + 32, address(AT_ACPI), 8);
    put(l, AT_START_INFO + 40, address(AT_MEMORY_MAP), 8);
    put(l, AT_START_INFO + 48, count, 4);
    put(l, AT_MODULES, l->initrd.start, 8);
    put(l, AT_MODULES + 8, l->initrd.size, 8);
    for (u32 i = 0; i < count; i++) {
        const u32 at = AT_MEMORY_MAP + PVH_MAP_SIZE * i;
        put(l, at, map[i].start, 8);
        put(l, at + 8, map[i].end - map[i].start, 8);
        put(l, at + 16, map[i].type, 4);
    }
}

static bool names_console(const char *cmdline) {
    static const char word[] = "console=";
    for (const char *at = cmdline; (at = strstr(at, word)) != nullptr; at++)
        if (at == cmdline || at[-1] == ' ')
            return true;
    return false;
}

// Linux has no way to find out that its console is COM1, as it does from a device tree's stdout-path.
static void build_cmdline(struct loader *l) {
    static const char console[] = "console=ttyS0 ";
    static_assert(sizeof(console) + CONFIG_CMDLINE_MAX <= AT_RESET - AT_CMDLINE);
    const char *cmdline = l->cfg->boot.cmdline;
    char *to = (char *)l->draft + AT_CMDLINE;
    if (l->info.kind == IMAGE_LINUX_X86 && !names_console(cmdline)) {
        memcpy(to, console, sizeof(console) - 1);
        to += sizeof(console) - 1;
    }
    memcpy(to, cmdline, strlen(cmdline) + 1);
}

// Where a PC begins after a reset, and where software jumps to for one: Linux takes a machine of the hardware-reduced
// model for one with EFI's reset, and finding none leaves it to the BIOS.
static void build_reset(struct loader *l) {
    // mov al, 6; mov dx, 0xcf9; out dx, al; hlt; jmp to the hlt
    static const u8 code[] = {0xb0, PC_RESET_VALUE, 0xba, PC_RESET & 0xff, PC_RESET >> 8, 0xee, 0xf4, 0xeb, 0xfd};
    static_assert(sizeof(code) <= DRAFT_SIZE - AT_RESET);
    memcpy((u8 *)l->draft + AT_RESET, code, sizeof(code));
}

int boot_pc_build(struct loader *l, struct boot_pc *out) {
    const s64 acpi = acpi_gen(l->cfg->cpus, gpa(address(AT_ACPI)), l->draft, AT_ZERO_PAGE - AT_ACPI);
    BUG_ON(acpi < 0); // there is room for any VM's
    *out = (struct boot_pc){.cr3 = gpa(address(AT_PML4)), .gdt = gpa(address(AT_GDT))};
    build_cmdline(l);
    build_reset(l);
    build_long_mode(l); // of use to one that leaves 32-bit mode, too
    if (l->protocol == BOOT_RAW && l->entry < PC_HIGH) {
        out->start = BOOT_PC_REAL;
        l->arg = 0;
    } else if (l->protocol == BOOT_RAW || l->info.pvh_entry) {
        out->start = BOOT_PC_PROTECTED;
        build_start_info(l);
        l->arg = address(AT_START_INFO);
        if (l->protocol != BOOT_RAW)
            l->entry = l->info.pvh_entry;
    } else {
        out->start = BOOT_PC_LONG;
        build_zero_page(l);
        l->arg = address(AT_ZERO_PAGE);
    }
    return 0;
}
