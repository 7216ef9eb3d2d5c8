// SPDX-License-Identifier: Apache-2.0
// What kind of file a guest's kernel is, told by its header. Nothing in a file is trusted: what these functions report
// is consistent and lies inside the file, whether it fits into the guest's memory is the loader's question. Context:
// any; pure functions, shared with the host command.
#pragma once

#include "types.h"

enum image_kind {
    IMAGE_RAW, // nothing known: a flat binary
    IMAGE_LINUX_ARM64,
    IMAGE_LINUX_RISCV64,
    IMAGE_LINUX_X86, // bzImage
    IMAGE_ELF64,     // 64-bit, little-endian, executable, with something to load
    // Recognised so that a message can name them; none of these can be booted as it is.
    IMAGE_ELF_OTHER, // 32-bit, big-endian, or not an executable
    IMAGE_EFI_ZBOOT, // an EFI program that holds a compressed kernel (vmlinuz.efi)
    IMAGE_GZIP,
    IMAGE_XZ,
    IMAGE_ZSTD,
    IMAGE_LZ4,
    IMAGE_BZIP2,
};

enum image_machine { MACHINE_UNKNOWN, MACHINE_AARCH64, MACHINE_RISCV64, MACHINE_X86_64 };

struct image_info {
    enum image_kind kind;
    enum image_machine machine;
    u64 file_size;   // bytes
    u64 mem_size;    // bytes of guest memory that it occupies from where it is loaded, bss included; >= what is copied
    u64 text_offset; // Linux arm64, riscv64: of the load address from a 2 MiB boundary, in bytes
    u64 load_base;   // ELF: lowest physical address; x86: the preferred load address; else 0
    u64 entry;       // ELF: physical entry address; else bytes from the load address
    u64 payload_offset; // in the file, of what is loaded (x86: the protected-mode kernel), else 0
    u64 pvh_entry;      // ELF of x86_64: the physical address of its 32-bit PVH entry, or 0
    u64 entry_vaddr;    // ELF: e_entry as it stands, else 0
    const char *why;    // after -EINVAL: a clause that says what is wrong ("its image size is …"); else nullptr
};

struct image_segment {
    u64 paddr, vaddr; // guest addresses as linked
    u64 offset;       // in the file
    u64 filesz;       // bytes to copy; offset + filesz lies inside the file
    u64 memsz;        // bytes occupied, >= filesz; the rest is zero; paddr + memsz does not wrap
    u32 flags;        // PF_X 1, PF_W 2, PF_R 4
};

// Looks at the whole file [file, file + size). 0, or -EINVAL and out->why for an empty file or a known kind whose
// header contradicts itself; out->kind is right in either case. A compressed file is no error here.
[[nodiscard]] int image_probe(const void *file, u64 size, struct image_info *out);

// Where a Linux image's boot protocol wants it, in bytes from the start of RAM.
u64 image_linux_offset(const struct image_info *info);

// "Linux arm64 Image", "gzip-compressed file", …; "aarch64", …
const char *image_kind_name(enum image_kind kind);
const char *image_machine_name(enum image_machine machine);
bool image_is_compressed(enum image_kind kind);

// Calls fn for each PT_LOAD of an ELF64 file that occupies memory, in file order. Stops at the first nonzero return of
// fn and returns it; -EINVAL and *why (may be null) for a malformed file, possibly after some calls.
typedef int (*image_segment_fn)(void *ctx, const struct image_segment *segment);
[[nodiscard]] int image_elf_segments(const void *file, u64 size, image_segment_fn fn, void *ctx, const char **why);
