// SPDX-License-Identifier: Apache-2.0
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "image.h"

#include <stdlib.h>
#include <string.h>

static u8 file[8192];
static struct image_info info;

static int clear(void **state) {
    (void)state;
    memset(file, 0, sizeof(file));
    memset(&info, 0xff, sizeof(info));
    return 0;
}

static void put(size_t at, u32 bytes, u64 value) {
    for (u32 i = 0; i < bytes; i++)
        file[at + i] = (u8)(value >> 8 * i);
}

static void assert_bad(u64 size, enum image_kind kind) {
    assert_int_equal(image_probe(file, size, &info), -EINVAL);
    assert_non_null(info.why);
    assert_int_equal(info.kind, kind);
}

// ── Linux ────────────────────────────────────────────────────────────────────────────────────────────────────────────

static void arm64_image(void) {
    memcpy(file, "MZ", 2);
    put(8, 8, 0);
    put(16, 8, 0x10000);
    put(24, 8, 0xa);
    memcpy(file + 56, "ARM\x64", 4);
}

static void an_arm64_image_tells_its_size_with_bss(void **state) {
    (void)state;
    arm64_image();
    assert_int_equal(image_probe(file, sizeof(file), &info), 0);
    assert_int_equal(info.kind, IMAGE_LINUX_ARM64);
    assert_int_equal(info.machine, MACHINE_AARCH64);
    assert_int_equal(info.mem_size, 0x10000);
    assert_int_equal(info.file_size, sizeof(file));
    assert_int_equal(info.text_offset, 0);
    assert_int_equal(info.entry, 0);
    assert_null(info.why);
}

static void an_image_smaller_than_its_file_takes_the_files_size(void **state) {
    (void)state;
    arm64_image();
    put(16, 8, 0x1000);
    assert_int_equal(image_probe(file, sizeof(file), &info), 0);
    assert_int_equal(info.mem_size, sizeof(file));
}

static void an_old_arm64_image_without_a_size_has_the_old_offset(void **state) {
    (void)state;
    arm64_image();
    put(8, 8, 0x8000000);
    put(16, 8, 0);
    assert_int_equal(image_probe(file, sizeof(file), &info), 0);
    assert_int_equal(info.text_offset, 0x80000);
    assert_int_equal(info.mem_size, sizeof(file));
}

static void an_arm64_image_of_nonsense_is_refused(void **state) {
    (void)state;
    arm64_image();
    put(16, 8, UINT64_MAX);
    assert_bad(sizeof(file), IMAGE_LINUX_ARM64);
    arm64_image();
    put(8, 8, UINT64_MAX - 0xfff);
    assert_bad(sizeof(file), IMAGE_LINUX_ARM64);
    arm64_image();
    put(8, 8, 0x80004);
    assert_bad(sizeof(file), IMAGE_LINUX_ARM64);
    arm64_image();
    put(24, 8, 1);
    assert_bad(sizeof(file), IMAGE_LINUX_ARM64);
}

static void a_riscv_image_is_known(void **state) {
    (void)state;
    put(8, 8, 0x200000);
    put(16, 8, 0x20000);
    memcpy(file + 48, "RISCV", 5);
    memcpy(file + 56, "RSC\x05", 4);
    assert_int_equal(image_probe(file, sizeof(file), &info), 0);
    assert_int_equal(info.kind, IMAGE_LINUX_RISCV64);
    assert_int_equal(info.machine, MACHINE_RISCV64);
    assert_int_equal(info.text_offset, 0x200000);
    assert_int_equal(info.mem_size, 0x20000);
}

static void bz_image(void) {
    file[0x1f1] = 3;
    put(0x1fe, 2, 0xaa55);
    memcpy(file + 0x202, "HdrS", 4);
    put(0x206, 2, 0x20f);
    put(0x236, 2, 1);
    put(0x258, 8, 0x1000000);
    put(0x260, 4, 0x400000);
}

static void a_bzimage_is_known_with_its_payload(void **state) {
    (void)state;
    bz_image();
    assert_int_equal(image_probe(file, sizeof(file), &info), 0);
    assert_int_equal(info.kind, IMAGE_LINUX_X86);
    assert_int_equal(info.machine, MACHINE_X86_64);
    assert_int_equal(info.payload_offset, 2048);
    assert_int_equal(info.load_base, 0x1000000);
    assert_int_equal(info.mem_size, 0x400000);
    assert_int_equal(info.entry, 0x200);
}

static void a_bzimage_of_nonsense_is_refused(void **state) {
    (void)state;
    bz_image();
    file[0x1f1] = 255;
    assert_bad(sizeof(file), IMAGE_LINUX_X86);
    bz_image();
    put(0x236, 2, 0);
    assert_bad(sizeof(file), IMAGE_LINUX_X86);
    bz_image();
    put(0x206, 2, 0x204);
    assert_bad(sizeof(file), IMAGE_LINUX_X86);
    bz_image();
    put(0x258, 8, UINT64_MAX);
    assert_bad(sizeof(file), IMAGE_LINUX_X86);
}

// ── ELF ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

static void program_header(u32 i, u32 type, u64 offset, u64 vaddr, u64 paddr, u64 filesz, u64 memsz) {
    const size_t at = 64 + i * 56;
    put(at, 4, type);
    put(at + 4, 4, 5);
    put(at + 8, 8, offset);
    put(at + 16, 8, vaddr);
    put(at + 24, 8, paddr);
    put(at + 32, 8, filesz);
    put(at + 40, 8, memsz);
}

static void elf_file(u32 machine) {
    memset(file, 0, sizeof(file));
    memcpy(file, "\177ELF\2\1\1", 7);
    put(16, 2, 2);
    put(18, 2, machine);
    put(24, 8, 0xffff000000000100);
    put(32, 8, 64);
    put(54, 2, 56);
    put(56, 2, 3);
    program_header(0, 1, 0x1000, 0xffff000000000000, 0x40000000, 0x800, 0x800);
    program_header(1, 4, 0, 0, 0, UINT64_MAX, 0); // a note is of no interest
    program_header(2, 1, 0x1800, 0xffff000000002000, 0x40002000, 0x100, 0x3000);
}

static struct image_segment seen[8];
static u32 seen_count;

static int note(void *ctx, const struct image_segment *segment) {
    assert_ptr_equal(ctx, seen);
    seen[seen_count++] = *segment;
    return seen_count == 8 ? -ENOSPC : 0;
}

static void an_elf_file_tells_its_extent_and_physical_entry(void **state) {
    (void)state;
    static const struct {
        u32 machine;
        enum image_machine is;
    } machines[] = {{183, MACHINE_AARCH64}, {243, MACHINE_RISCV64}, {62, MACHINE_X86_64}, {8, MACHINE_UNKNOWN}};
    for (size_t i = 0; i < ARRAY_SIZE(machines); i++) {
        elf_file(machines[i].machine);
        assert_int_equal(image_probe(file, sizeof(file), &info), 0);
        assert_int_equal(info.kind, IMAGE_ELF64);
        assert_int_equal(info.machine, machines[i].is);
        assert_int_equal(info.load_base, 0x40000000);
        assert_int_equal(info.mem_size, 0x5000);
        assert_int_equal(info.entry, 0x40000100);
        assert_true(info.entry_vaddr == 0xffff000000000100);
    }
}

static void elf_segments_come_in_file_order(void **state) {
    (void)state;
    elf_file(183);
    seen_count = 0;
    assert_int_equal(image_elf_segments(file, sizeof(file), note, seen, nullptr), 0);
    assert_int_equal(seen_count, 2);
    assert_int_equal(seen[1].paddr, 0x40002000);
    assert_int_equal(seen[1].offset, 0x1800);
    assert_int_equal(seen[1].filesz, 0x100);
    assert_int_equal(seen[1].memsz, 0x3000);
    assert_int_equal(seen[1].flags, 5);
}

static void the_callback_can_stop_the_iteration(void **state) {
    (void)state;
    elf_file(183);
    seen_count = 7;
    assert_int_equal(image_elf_segments(file, sizeof(file), note, seen, nullptr), -ENOSPC);
    assert_int_equal(seen_count, 8);
}

static void a_hostile_elf_file_is_refused(void **state) {
    (void)state;
    static const struct {
        size_t at;
        u32 bytes;
        u64 value;
    } faults[] = {
        {56, 2, 0xffff},                           // program headers beyond the file
        {56, 2, 0},                                // nothing to load
        {54, 2, 32},                               // headers of another size
        {32, 8, UINT64_MAX - 8},                   // header table wraps around
        {32, 8, 8192},                             // at the end of the file
        {24, 8, 0x1234},                           // entry in no segment
        {64 + 8, 8, UINT64_MAX},                   // offset
        {64 + 8, 8, 8192 - 0x7ff},                 // one byte over the end
        {64 + 24, 8, UINT64_MAX - 4},              // physical address wraps
        {64 + 16, 8, UINT64_MAX - 4},              // virtual address wraps
        {64 + 32, 8, UINT64_MAX},                  // larger than the file
        {64 + 40, 8, 0x7ff},                       // memory smaller than file
        {64 + 40, 8, UINT64_MAX},                  // memory without bounds
        {64 + 2 * 56 + 24, 8, 0x8000000000000000}, // segments very far apart
    };
    for (size_t i = 0; i < ARRAY_SIZE(faults); i++) {
        elf_file(183);
        put(faults[i].at, faults[i].bytes, faults[i].value);
        assert_bad(sizeof(file), IMAGE_ELF64);
    }
}

static void other_elf_files_are_named(void **state) {
    (void)state;
    static const struct {
        size_t at;
        u8 value;
    } changes[] = {{4, 1}, {5, 2}, {16, 1}, {16, 4}};
    for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
        elf_file(183);
        file[changes[i].at] = changes[i].value;
        assert_int_equal(image_probe(file, sizeof(file), &info), 0);
        assert_int_equal(info.kind, IMAGE_ELF_OTHER);
        assert_int_equal(image_elf_segments(file, sizeof(file), note, seen, &info.why), -EINVAL);
        assert_non_null(info.why);
    }
}

// ── The rest ─────────────────────────────────────────────────────────────────────────────────────────────────────────

static void compressed_files_are_named(void **state) {
    (void)state;
    static const struct {
        const char *magic;
        size_t length;
        enum image_kind kind;
    } cases[] = {
        {"\x1f\x8b\x08\x00", 4, IMAGE_GZIP},
        {"\xfd\x37\x7a\x58\x5a\x00", 6, IMAGE_XZ},
        {"\x28\xb5\x2f\xfd", 4, IMAGE_ZSTD},
        {"\x02\x21\x4c\x18", 4, IMAGE_LZ4},
        {"BZh9", 4, IMAGE_BZIP2},
        {"MZ\0\0zimg", 8, IMAGE_EFI_ZBOOT},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        memset(file, 0, sizeof(file));
        memcpy(file, cases[i].magic, cases[i].length);
        assert_int_equal(image_probe(file, 100, &info), 0);
        assert_int_equal(info.kind, cases[i].kind);
        assert_true(image_is_compressed(info.kind));
        assert_string_not_equal(image_kind_name(info.kind), "unknown file");
    }
}

static void a_zboot_file_is_not_taken_for_the_kernel_in_it(void **state) {
    (void)state;
    arm64_image();
    memcpy(file + 4, "zimg", 4);
    assert_int_equal(image_probe(file, sizeof(file), &info), 0);
    assert_int_equal(info.kind, IMAGE_EFI_ZBOOT);
}

static void anything_else_is_a_flat_binary(void **state) {
    (void)state;
    file[0] = 0x14;
    assert_int_equal(image_probe(file, 100, &info), 0);
    assert_int_equal(info.kind, IMAGE_RAW);
    assert_int_equal(info.machine, MACHINE_UNKNOWN);
    assert_int_equal(info.mem_size, 100);
    assert_false(image_is_compressed(IMAGE_RAW));
}

static void an_empty_file_is_refused(void **state) {
    (void)state;
    assert_bad(0, IMAGE_RAW);
}

static void every_kind_and_machine_has_a_name(void **state) {
    (void)state;
    for (int kind = IMAGE_RAW; kind <= IMAGE_BZIP2; kind++)
        assert_string_not_equal(image_kind_name((enum image_kind)kind), "unknown file");
    assert_string_equal(image_kind_name((enum image_kind)99), "unknown file");
    assert_string_equal(image_machine_name(MACHINE_AARCH64), "aarch64");
    assert_string_equal(image_machine_name((enum image_machine)99), "unknown");
}

static int inside(void *ctx, const struct image_segment *segment) {
    const u64 size = *(const u64 *)ctx;
    assert_true(segment->offset <= size && segment->filesz <= size - segment->offset);
    assert_true(segment->memsz >= segment->filesz && segment->paddr + segment->memsz >= segment->paddr);
    return 0;
}

// The copies are exactly as long as told, so that the sanitizer sees any read past them.
static void no_header_makes_it_read_outside_the_file(void **state) {
    (void)state;
    u64 seed = 0xda3e39cb94b95bdb;
    for (int round = 0; round < 30000; round++) {
        clear(nullptr);
        if (round % 3 == 0)
            elf_file(183);
        else if (round % 3 == 1)
            arm64_image();
        else
            bz_image();
        u64 size = 0x1a00;
        for (int i = 0; i < 3; i++) {
            seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
            file[(seed >> 20) % 0x280] = (u8)seed;
            if (seed % 4 == 0)
                size = (seed >> 40) % 0x300;
        }
        u8 *copy = malloc(size ? size : 1);
        memcpy(copy, file, size);
        const int ret = image_probe(copy, size, &info);
        assert_true(ret == 0 ? !info.why : ret == -EINVAL && info.why);
        if (ret == 0) {
            assert_true(info.mem_size && info.mem_size <= GIB(64) && info.payload_offset < size);
            if (info.kind == IMAGE_ELF64)
                assert_int_equal(image_elf_segments(copy, size, inside, &size, nullptr), 0);
        }
        free(copy);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(an_arm64_image_tells_its_size_with_bss, clear),
        cmocka_unit_test_setup(an_image_smaller_than_its_file_takes_the_files_size, clear),
        cmocka_unit_test_setup(an_old_arm64_image_without_a_size_has_the_old_offset, clear),
        cmocka_unit_test_setup(an_arm64_image_of_nonsense_is_refused, clear),
        cmocka_unit_test_setup(a_riscv_image_is_known, clear),
        cmocka_unit_test_setup(a_bzimage_is_known_with_its_payload, clear),
        cmocka_unit_test_setup(a_bzimage_of_nonsense_is_refused, clear),
        cmocka_unit_test_setup(an_elf_file_tells_its_extent_and_physical_entry, clear),
        cmocka_unit_test_setup(elf_segments_come_in_file_order, clear),
        cmocka_unit_test_setup(the_callback_can_stop_the_iteration, clear),
        cmocka_unit_test_setup(a_hostile_elf_file_is_refused, clear),
        cmocka_unit_test_setup(other_elf_files_are_named, clear),
        cmocka_unit_test_setup(compressed_files_are_named, clear),
        cmocka_unit_test_setup(a_zboot_file_is_not_taken_for_the_kernel_in_it, clear),
        cmocka_unit_test_setup(anything_else_is_a_flat_binary, clear),
        cmocka_unit_test_setup(an_empty_file_is_refused, clear),
        cmocka_unit_test_setup(every_kind_and_machine_has_a_name, clear),
        cmocka_unit_test_setup(no_header_makes_it_read_outside_the_file, clear),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
