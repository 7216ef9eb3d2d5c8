// SPDX-License-Identifier: Apache-2.0
// Image headers: Linux Documentation/arch/{arm64/booting,riscv/boot-image-header,x86/boot}.rst, the System V ABI for
// ELF64. Fields are read byte by byte: a file in the bundle is aligned to four bytes only, and may be looked at before
// the MMU is on.
#include "image.h"

#include <string.h>

// An image says how much memory it takes; more than this is nonsense, and keeps sums of sizes from wrapping.
#define SIZE_LIMIT GIB(64)

static u64 read_le(const u8 *p, u32 bytes) {
    u64 v = 0;
    for (u32 i = bytes; i-- > 0;)
        v = v << 8 | p[i];
    return v;
}
static u16 read16(const u8 *p) {
    return (u16)read_le(p, 2);
}
static u32 read32(const u8 *p) {
    return (u32)read_le(p, 4);
}
static u64 read64(const u8 *p) {
    return read_le(p, 8);
}

static int bad(struct image_info *out, const char *why) {
    out->why = why;
    return -EINVAL;
}

// ── Linux arm64 and riscv64: one layout, two magic numbers ───────────────────────────────────────────────────────────

enum {
    LINUX_TEXT_OFFSET = 8,
    LINUX_IMAGE_SIZE = 16,
    LINUX_FLAGS = 24,
    LINUX_MAGIC = 56,
    LINUX_HEADER_SIZE = 64,
    LINUX_FLAG_BIG_ENDIAN = 1,
    LINUX_OLD_TEXT_OFFSET = 0x80000, // arm64 before 3.17 left image_size zero and was linked for this offset
};

static int probe_linux(const u8 *p, u64 size, struct image_info *out) {
    const u64 image_size = read64(p + LINUX_IMAGE_SIZE);
    out->text_offset = read64(p + LINUX_TEXT_OFFSET);
    if (out->kind == IMAGE_LINUX_ARM64 && image_size == 0)
        out->text_offset = LINUX_OLD_TEXT_OFFSET;
    out->mem_size = MAX(image_size, size);
    if (image_size > SIZE_LIMIT)
        return bad(out, "the size in its header is beyond 64 GiB");
    if (out->text_offset > GIB(1) || out->text_offset % PAGE_SIZE != 0)
        return bad(out, "the text offset in its header makes no sense");
    if (read64(p + LINUX_FLAGS) & LINUX_FLAG_BIG_ENDIAN)
        return bad(out, "it is a big-endian kernel");
    return 0;
}

// ── Linux x86: the boot protocol's setup header ──────────────────────────────────────────────────────────────────────

enum {
    X86_SETUP_SECTS = 0x1f1,
    X86_BOOT_FLAG = 0x1fe, // 0xaa55
    X86_MAGIC = 0x202,     // "HdrS"
    X86_VERSION = 0x206,
    X86_XLOADFLAGS = 0x236,
    X86_PREF_ADDRESS = 0x258,
    X86_INIT_SIZE = 0x260,
    X86_HEADER_SIZE = 0x268,
    X86_XLF_KERNEL_64 = 1,
    X86_ENTRY_64 = 0x200,
    X86_VERSION_PREF = 0x20a, // since 2.10: pref_address and init_size
    X86_VERSION_XLF = 0x20c,  // since 2.12: xloadflags
    X86_SECTOR = 512,
};

static bool is_linux_x86(const u8 *p, u64 size) {
    return size >= X86_HEADER_SIZE && read16(p + X86_BOOT_FLAG) == 0xaa55 && memcmp(p + X86_MAGIC, "HdrS", 4) == 0;
}

static int probe_linux_x86(const u8 *p, u64 size, struct image_info *out) {
    const u32 version = read16(p + X86_VERSION);
    const u32 setup_sectors = p[X86_SETUP_SECTS] ? p[X86_SETUP_SECTS] : 4; // 0 means 4, for history
    out->payload_offset = (u64)(setup_sectors + 1) * X86_SECTOR;
    out->machine = MACHINE_X86_64;
    if (version < X86_VERSION_XLF || !(read16(p + X86_XLOADFLAGS) & X86_XLF_KERNEL_64))
        return bad(out, "it has no 64-bit entry point");
    static_assert(X86_VERSION_PREF < X86_VERSION_XLF, "every version with xloadflags has init_size");
    if (out->payload_offset + X86_ENTRY_64 >= size)
        return bad(out, "the file ends before its kernel begins");
    const u32 init_size = read32(p + X86_INIT_SIZE);
    out->entry = X86_ENTRY_64;
    out->load_base = read64(p + X86_PREF_ADDRESS);
    out->mem_size = MAX(init_size, size - out->payload_offset);
    if (out->load_base > SIZE_LIMIT)
        return bad(out, "the preferred address in its header makes no sense");
    return 0;
}

// ── ELF ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

enum {
    ELF_CLASS = 4, // 2: 64-bit
    ELF_DATA = 5,  // 1: little-endian
    ELF_TYPE = 16, // 2: executable, 3: shared (position-independent)
    ELF_MACHINE = 18,
    ELF_ENTRY = 24,
    ELF_PHOFF = 32,
    ELF_PHENTSIZE = 54,
    ELF_PHNUM = 56,
    ELF_HEADER_SIZE = 64,
    PH_TYPE = 0,
    PH_FLAGS = 4,
    PH_OFFSET = 8,
    PH_VADDR = 16,
    PH_PADDR = 24,
    PH_FILESZ = 32,
    PH_MEMSZ = 40,
    PH_SIZE = 56,
    PH_MAX = 128, // bounds the work that a file can cause
    PT_LOAD = 1,
    PT_NOTE = 4,
    NOTE_HEADER_SIZE = 12,
    XEN_ELFNOTE_PHYS32_ENTRY = 18,
    EM_X86_64 = 62,
    EM_AARCH64 = 183,
    EM_RISCV = 243,
};

static bool is_elf64(const u8 *p, u64 size) {
    const u32 type = size >= ELF_HEADER_SIZE ? read16(p + ELF_TYPE) : 0;
    return (type == 2 || type == 3) && memcmp(p, "\177ELF", 4) == 0 && p[ELF_CLASS] == 2 && p[ELF_DATA] == 1;
}

// nullptr, or what is wrong with the segment.
static const char *segment_fault(const struct image_segment *s, u64 size) {
    if (s->offset > size || s->filesz > size - s->offset)
        return "a segment reaches past the end of the file";
    if (s->memsz < s->filesz)
        return "a segment is larger in the file than in memory";
    if (s->memsz > SIZE_LIMIT || s->paddr > UINT64_MAX - s->memsz || s->vaddr > UINT64_MAX - s->memsz)
        return "a segment's addresses make no sense";
    return nullptr;
}

int image_elf_segments(const void *file, u64 size, image_segment_fn fn, void *ctx, const char **why) {
    const u8 *p = file;
    const char *fault = nullptr;
    if (!is_elf64(p, size)) {
        fault = "it is not a 64-bit little-endian ELF executable";
        goto bad;
    }
    const u64 offset = read64(p + ELF_PHOFF);
    const u32 count = read16(p + ELF_PHNUM);
    if (count > PH_MAX || read16(p + ELF_PHENTSIZE) != PH_SIZE || offset > size ||
        (u64)count * PH_SIZE > size - offset) {
        fault = "its program header table is malformed or outside the file";
        goto bad;
    }
    for (u32 i = 0; i < count; i++) {
        const u8 *ph = p + offset + (u64)i * PH_SIZE;
        const struct image_segment segment = {
            .paddr = read64(ph + PH_PADDR),
            .vaddr = read64(ph + PH_VADDR),
            .offset = read64(ph + PH_OFFSET),
            .filesz = read64(ph + PH_FILESZ),
            .memsz = read64(ph + PH_MEMSZ),
            .flags = read32(ph + PH_FLAGS),
        };
        if (read32(ph + PH_TYPE) != PT_LOAD || (segment.memsz == 0 && segment.filesz == 0))
            continue;
        fault = segment_fault(&segment, size);
        if (fault)
            goto bad;
        const int ret = fn(ctx, &segment);
        if (ret)
            return ret;
    }
    return 0;

bad:
    if (why)
        *why = fault;
    return -EINVAL;
}

// The PVH entry point (Xen, docs/misc/pvh.pandoc): a note of the owner "Xen" that holds a physical address of 4 or 8
// bytes. 0: there is none in this segment.
static u64 pvh_note(const u8 *p, u64 size) {
    for (u64 at = 0; size - at >= NOTE_HEADER_SIZE;) {
        const u64 name = read32(p + at), desc = read32(p + at + 4), body = at + NOTE_HEADER_SIZE;
        const u64 room = align_up(name, 4) + align_up(desc, 4);
        if (room > size - body)
            break;
        if (read32(p + at + 8) == XEN_ELFNOTE_PHYS32_ENTRY && name == 4 && memcmp(p + body, "Xen", 4) == 0 &&
            (desc == 4 || desc == 8))
            return read_le(p + body + 4, (u32)desc);
        at = body + room;
    }
    return 0;
}

// The program header table was checked by image_elf_segments.
static u64 pvh_entry(const u8 *p, u64 size) {
    for (u32 i = 0; i < read16(p + ELF_PHNUM); i++) {
        const u8 *ph = p + read64(p + ELF_PHOFF) + (u64)i * PH_SIZE;
        const u64 offset = read64(ph + PH_OFFSET), length = read64(ph + PH_FILESZ);
        if (read32(ph + PH_TYPE) != PT_NOTE || offset > size || length > size - offset)
            continue;
        const u64 entry = pvh_note(p + offset, length);
        if (entry)
            return entry;
    }
    return 0;
}

struct elf_extent {
    struct image_info *out;
    u64 low, high;
    bool entry_found;
};

static int note_segment(void *ctx, const struct image_segment *s) {
    struct elf_extent *extent = ctx;
    const u64 entry = extent->out->entry_vaddr;
    extent->low = MIN(extent->low, s->paddr);
    extent->high = MAX(extent->high, s->paddr + s->memsz);
    if (!extent->entry_found && entry >= s->vaddr && entry - s->vaddr < s->memsz) {
        extent->out->entry = s->paddr + (entry - s->vaddr);
        extent->entry_found = true;
    }
    return 0;
}

static int probe_elf(const u8 *p, u64 size, struct image_info *out) {
    struct elf_extent extent = {.out = out, .low = UINT64_MAX};
    const u32 machine = read16(p + ELF_MACHINE);
    out->machine = machine == EM_AARCH64  ? MACHINE_AARCH64
                   : machine == EM_RISCV  ? MACHINE_RISCV64
                   : machine == EM_X86_64 ? MACHINE_X86_64
                                          : MACHINE_UNKNOWN;
    out->entry_vaddr = read64(p + ELF_ENTRY);
    const int ret = image_elf_segments(p, size, note_segment, &extent, &out->why);
    if (ret)
        return ret;
    if (extent.high <= extent.low)
        return bad(out, "it has no segment to load");
    if (out->machine == MACHINE_X86_64)
        out->pvh_entry = pvh_entry(p, size);
    if (out->pvh_entry && (out->pvh_entry < extent.low || out->pvh_entry >= extent.high))
        return bad(out, "its PVH entry point lies in none of its segments");
    if (!extent.entry_found)
        return bad(out, "its entry point lies in none of its segments");
    out->load_base = extent.low;
    out->mem_size = extent.high - extent.low;
    if (out->mem_size > SIZE_LIMIT)
        return bad(out, "its segments lie more than 64 GiB apart");
    return 0;
}

// ── All of them ──────────────────────────────────────────────────────────────────────────────────────────────────────

static const struct {
    const char *bytes;
    u8 length, offset;
    enum image_kind kind;
    enum image_machine machine;
} magics[] = {
    {"zimg", 4, 4, IMAGE_EFI_ZBOOT, MACHINE_UNKNOWN}, // before arm64's, whose magic it may carry as well
    {"ARM\x64", 4, LINUX_MAGIC, IMAGE_LINUX_ARM64, MACHINE_AARCH64},
    {"RSC\x05", 4, LINUX_MAGIC, IMAGE_LINUX_RISCV64, MACHINE_RISCV64},
    {"\177ELF", 4, 0, IMAGE_ELF_OTHER, MACHINE_UNKNOWN},
    {"\x1f\x8b\x08", 3, 0, IMAGE_GZIP, MACHINE_UNKNOWN},
    {"\xfd\x37zXZ", 6, 0, IMAGE_XZ, MACHINE_UNKNOWN},
    {"\x28\xb5\x2f\xfd", 4, 0, IMAGE_ZSTD, MACHINE_UNKNOWN},
    {"\x04\x22\x4d\x18", 4, 0, IMAGE_LZ4, MACHINE_UNKNOWN},
    {"\x02\x21\x4c\x18", 4, 0, IMAGE_LZ4, MACHINE_UNKNOWN}, // the legacy frame that kernels are packed in
    {"BZh", 3, 0, IMAGE_BZIP2, MACHINE_UNKNOWN},
};

static void recognise(const u8 *p, u64 size, struct image_info *out) {
    if (is_elf64(p, size)) {
        out->kind = IMAGE_ELF64;
        return;
    }
    for (size_t i = 0; i < ARRAY_SIZE(magics); i++) {
        const u64 least = magics[i].offset == LINUX_MAGIC ? LINUX_HEADER_SIZE : magics[i].offset + magics[i].length;
        if (size >= least && memcmp(p + magics[i].offset, magics[i].bytes, magics[i].length) == 0) {
            out->kind = magics[i].kind;
            out->machine = magics[i].machine;
            return;
        }
    }
    if (is_linux_x86(p, size))
        out->kind = IMAGE_LINUX_X86;
}

int image_probe(const void *file, u64 size, struct image_info *out) {
    const u8 *p = file;
    *out = (struct image_info){.kind = IMAGE_RAW, .file_size = size, .mem_size = size};
    if (size == 0)
        return bad(out, "it is empty");
    if (size > SIZE_LIMIT)
        return bad(out, "it is larger than 64 GiB");
    recognise(p, size, out);
    switch (out->kind) {
    case IMAGE_LINUX_ARM64:
    case IMAGE_LINUX_RISCV64:
        return probe_linux(p, size, out);
    case IMAGE_LINUX_X86:
        return probe_linux_x86(p, size, out);
    case IMAGE_ELF64:
        return probe_elf(p, size, out);
    default:
        return 0;
    }
}

const char *image_kind_name(enum image_kind kind) {
    static const char *const names[] = {
        [IMAGE_RAW] = "flat binary",
        [IMAGE_LINUX_ARM64] = "Linux arm64 Image",
        [IMAGE_LINUX_RISCV64] = "Linux riscv64 Image",
        [IMAGE_LINUX_X86] = "Linux x86 bzImage",
        [IMAGE_ELF64] = "64-bit ELF executable",
        [IMAGE_ELF_OTHER] = "ELF file that is not a 64-bit little-endian executable",
        [IMAGE_EFI_ZBOOT] = "compressed EFI kernel (zboot)",
        [IMAGE_GZIP] = "gzip-compressed file",
        [IMAGE_XZ] = "xz-compressed file",
        [IMAGE_ZSTD] = "zstd-compressed file",
        [IMAGE_LZ4] = "lz4-compressed file",
        [IMAGE_BZIP2] = "bzip2-compressed file",
    };
    return (size_t)kind < ARRAY_SIZE(names) && names[kind] ? names[kind] : "unknown file";
}

const char *image_machine_name(enum image_machine machine) {
    static const char *const names[] = {
        [MACHINE_UNKNOWN] = "unknown",
        [MACHINE_AARCH64] = "aarch64",
        [MACHINE_RISCV64] = "riscv64",
        [MACHINE_X86_64] = "x86_64",
    };
    return (size_t)machine < ARRAY_SIZE(names) && names[machine] ? names[machine] : "unknown";
}

bool image_is_compressed(enum image_kind kind) {
    return kind >= IMAGE_EFI_ZBOOT && kind <= IMAGE_BZIP2;
}

u64 image_linux_offset(const struct image_info *info) {
    switch (info->kind) {
    case IMAGE_LINUX_X86: // RAM begins at 0
        return info->load_base;
    case IMAGE_LINUX_RISCV64: // 2 MiB, too, where QEMU's firmware ends; that is also what a 64-bit kernel's header says
        return info->text_offset ? info->text_offset : MIB(2);
    default: // as QEMU: 2 MiB further, where old kernels find their text_offset and new ones do not mind
        return MIB(2) + info->text_offset;
    }
}
