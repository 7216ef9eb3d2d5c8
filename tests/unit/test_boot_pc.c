// SPDX-License-Identifier: Apache-2.0
// What a PC's guest finds in its memory when it starts.
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "boot_pc.h"
#include "host.h"
#include "pc_map.h"
#include "vm.h"

static struct vm vm;
static struct loader l;
static struct boot_pc boot;
static u8 file[8192];
static char why[320];

static u64 read_le(const u8 *p, u32 bytes) {
    u64 v = 0;
    for (u32 i = bytes; i-- > 0;)
        v = v << 8 | p[i];
    return v;
}

static void put(u8 *p, u64 v, u32 bytes) {
    for (u32 i = 0; i < bytes; i++, v >>= 8)
        p[i] = (u8)v;
}

// The guest's memory, where the description lies.
static u64 guest(u64 at, u32 bytes) {
    assert_true(at >= l.description.start && at + bytes <= l.description.start + l.description.size);
    return read_le((u8 *)l.draft + (at - l.description.start), bytes);
}

static int setup(void **state) {
    (void)state;
    host_init(&(struct host_options){.memory = MIB(16)});
    memset((void *)&vm, 0, sizeof(vm));
    memset(file, 0, sizeof(file));
    vm.cfg.memory = MIB(256);
    vm.cfg.cpus = 2;
    snprintf(vm.cfg.file, sizeof(vm.cfg.file), "vms/a.toml");
    snprintf(vm.cfg.boot.kernel, sizeof(vm.cfg.boot.kernel), "k");
    snprintf(vm.cfg.boot.cmdline, sizeof(vm.cfg.boot.cmdline), "console=ttyS0 quiet");
    l = (struct loader){.vm = &vm, .cfg = &vm.cfg, .why = why, .why_size = sizeof(why)};
    l.kernel_file = (struct bundle_file){.data = file, .size = sizeof(file)};
    return 0;
}

static int teardown(void **state) {
    (void)state;
    free(l.draft);
    return 0;
}

static int build(void) {
    const int err = boot_pc_prepare(&l);
    if (err)
        return err;
    l.draft = calloc(1, PAGE_SIZE << l.draft_order);
    assert_non_null(l.draft);
    assert_true(boot_pc_place(&l, 0));
    assert_int_equal(boot_pc_build(&l, &boot), 0);
    assert_true(l.description.size <= PAGE_SIZE << l.draft_order);
    assert_true(l.description.start >= l.taken.start &&
                l.description.start + l.description.size <= l.taken.start + l.taken.size);
    return 0;
}

static void make_bzimage(void) {
    file[0x1f1] = 1;
    put(file + 0x1fe, 0xaa55, 2);
    file[0x201] = 0x66;
    memcpy(file + 0x202, "HdrS", 4);
    put(file + 0x206, 0x20f, 2);
    put(file + 0x236, 1, 2);
    put(file + 0x238, 2047, 4);
    put(file + 0x258, MIB(16), 8);
    put(file + 0x260, MIB(32), 4);
    assert_int_equal(image_probe(file, sizeof(file), &l.info), 0);
    assert_int_equal(l.info.kind, IMAGE_LINUX_X86);
    l.protocol = BOOT_LINUX;
    l.kernel = (struct piece){MIB(16), MIB(32)};
    l.entry = MIB(16) + 0x200;
    l.initrd = (struct piece){MIB(64), 12345};
}

static void make_elf(u64 note_entry, u32 note_size) {
    static const u8 magic[] = {0x7f, 'E', 'L', 'F', 2, 1, 1};
    memcpy(file, magic, sizeof(magic));
    put(file + 16, 2, 2);
    put(file + 18, 62, 2);
    put(file + 24, MIB(2) + 0x10, 8);
    put(file + 32, 64, 8);
    put(file + 54, 56, 2);
    put(file + 56, 2, 2);
    u8 *load = file + 64, *note = load + 56;
    put(load, 1, 4);
    put(load + 8, 4096, 8);
    put(load + 16, MIB(2), 8);
    put(load + 24, MIB(2), 8);
    put(load + 32, 4096, 8);
    put(load + 40, 65536, 8);
    put(note, 4, 4);
    put(note + 8, 1024, 8);
    put(note + 32, note_size, 8);
    put(file + 1024, 4, 4); // another note of the same owner first
    put(file + 1028, 1, 4);
    put(file + 1032, 6, 4);
    memcpy(file + 1036, "Xen", 4);
    put(file + 1044, 4, 4);
    put(file + 1048, 4, 4);
    put(file + 1052, 18, 4);
    memcpy(file + 1056, "Xen", 4);
    put(file + 1060, note_entry, 4);
    l.protocol = BOOT_ELF;
    l.kernel = (struct piece){MIB(2), 65536};
}

enum { NOTES = 40 };

// ── Linux ───────────────────────────────────────────────────────────────────────────────────────────────────────────
static void linux_gets_a_zero_page(void **state) {
    (void)state;
    make_bzimage();
    assert_int_equal(build(), 0);
    assert_int_equal(boot.start, BOOT_PC_LONG);
    assert_int_equal(l.entry, MIB(16) + 0x200);
    const u64 zp = l.arg;
    assert_int_equal(zp % PAGE_SIZE, 0);
    assert_int_equal(guest(zp + 0x202, 4), 0x53726448); // the header, copied
    assert_int_equal(guest(zp + 0x238, 4), 2047);
    assert_int_equal(guest(zp + 0x210, 1), 0xff);
    assert_int_equal(guest(zp + 0x214, 4), MIB(16));
    assert_int_equal(guest(zp + 0x218, 4), MIB(64));
    assert_int_equal(guest(zp + 0x21c, 4), 12345);
    assert_int_equal(guest(zp + 0x70, 8), PC_FIRMWARE);
    assert_int_equal(guest(PC_FIRMWARE, 8), 0x2052545020445352); // "RSD PTR "
    const u64 cmdline = guest(zp + 0x228, 4);
    for (u32 i = 0; i <= strlen(vm.cfg.boot.cmdline); i++)
        assert_int_equal(guest(cmdline + i, 1), vm.cfg.boot.cmdline[i]);
    const u64 seed = guest(zp + 0x250, 8);
    if (seed) {
        assert_int_equal(guest(seed, 8), 0);
        assert_int_equal(guest(seed + 8, 4), 9);
        assert_int_equal(guest(seed + 12, 4), 32);
    }
}

static void assert_map(u64 zp, const u64 (*ranges)[3], u32 count) {
    assert_int_equal(guest(zp + 0x1e8, 1), count);
    for (u32 i = 0; i < count; i++) {
        assert_int_equal(guest(zp + 0x2d0 + 20 * i, 8), ranges[i][0]);
        assert_int_equal(guest(zp + 0x2d0 + 20 * i + 8, 8), ranges[i][1] - ranges[i][0]);
        assert_int_equal(guest(zp + 0x2d0 + 20 * i + 16, 4), ranges[i][2]);
    }
}

static void the_memory_map_is_a_pcs(void **state) {
    (void)state;
    make_bzimage();
    assert_int_equal(build(), 0);
    assert_map(l.arg, (const u64[][3]){{0, 0xa0000, 1}, {0xe0000, 0x100000, 2}, {0x100000, MIB(256), 1}}, 3);
}

static void much_memory_goes_on_above_the_hole(void **state) {
    (void)state;
    vm.cfg.memory = GIB(5);
    make_bzimage();
    assert_int_equal(build(), 0);
    assert_map(l.arg,
               (const u64[][3]){{0, 0xa0000, 1}, {0xe0000, 0x100000, 2}, {0x100000, GIB(3), 1}, {GIB(4), GIB(6), 1}},
               4);
}

static void the_page_tables_map_4_gib_one_to_one(void **state) {
    (void)state;
    make_bzimage();
    assert_int_equal(build(), 0);
    for (u64 at = 0; at < GIB(4); at += MIB(2)) {
        const u64 pdpt = guest(boot.cr3.v, 8), directory = guest((pdpt & ~0xfffull) + 8 * (at >> 30), 8);
        assert_int_equal(pdpt & 0xfff, 3);
        assert_int_equal(directory & 0xfff, 3);
        assert_int_equal(guest((directory & ~0xfffull) + 8 * (at >> 21 & 511), 8), at | 0x83);
    }
    assert_int_equal(guest(boot.gdt.v, 8), 0);
    assert_int_equal(guest(boot.gdt.v + 0x10, 8), 0x00af9b000000ffff);
    assert_int_equal(guest(boot.gdt.v + 0x18, 8), 0x00cf93000000ffff);
}

static void a_header_that_claims_to_be_longer_is_cut(void **state) {
    (void)state;
    make_bzimage();
    memset(file + 0x290, 0x77, 0x100);
    file[0x201] = 0xff;
    assert_int_equal(build(), 0);
    assert_int_equal(guest(l.arg + 0x290, 8), 0);
    assert_int_not_equal(guest(l.arg + 0x2d0 + 16, 4), 0x77777777);
}

// ── ELF ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
static void a_pvh_kernel_gets_a_start_info(void **state) {
    (void)state;
    make_elf(MIB(2) + 0x100, NOTES);
    assert_int_equal(image_probe(file, sizeof(file), &l.info), 0);
    assert_int_equal(l.info.pvh_entry, MIB(2) + 0x100);
    l.initrd = (struct piece){MIB(64), 777};
    assert_int_equal(build(), 0);
    assert_int_equal(boot.start, BOOT_PC_PROTECTED);
    assert_int_equal(l.entry, MIB(2) + 0x100);
    assert_int_equal(guest(l.arg, 4), 0x336ec578);
    assert_int_equal(guest(l.arg + 4, 4), 1);
    assert_int_equal(guest(l.arg + 12, 4), 1);
    const u64 module = guest(l.arg + 16, 8), map = guest(l.arg + 40, 8);
    assert_int_equal(guest(module, 8), MIB(64));
    assert_int_equal(guest(module + 8, 8), 777);
    assert_int_equal(guest(guest(l.arg + 24, 8), 8), read_le((const u8 *)"console=", 8));
    assert_int_equal(guest(l.arg + 32, 8), PC_FIRMWARE);
    assert_int_equal(guest(l.arg + 48, 4), 3);
    assert_int_equal(guest(map + 24, 8), 0xe0000);
    assert_int_equal(guest(map + 24 + 16, 4), 2);
    assert_int_equal(guest(map + 48 + 8, 8), MIB(256) - MIB(1));
}

static void without_an_initrd_there_is_no_module(void **state) {
    (void)state;
    make_elf(MIB(2) + 0x100, NOTES);
    assert_int_equal(image_probe(file, sizeof(file), &l.info), 0);
    assert_int_equal(build(), 0);
    assert_int_equal(guest(l.arg + 12, 4), 0);
    assert_int_equal(guest(l.arg + 16, 8), 0);
}

static void an_elf_file_without_the_note_begins_as_linux_does(void **state) {
    (void)state;
    make_elf(0, 0);
    assert_int_equal(image_probe(file, sizeof(file), &l.info), 0);
    assert_int_equal(l.info.pvh_entry, 0);
    l.entry = l.info.entry;
    assert_int_equal(build(), 0);
    assert_int_equal(boot.start, BOOT_PC_LONG);
    assert_int_equal(l.entry, MIB(2) + 0x10);
    assert_int_equal(guest(l.arg + 0x202, 4), 0x53726448);
}

static void malformed_notes_are_no_entry_and_an_entry_outside_is_an_error(void **state) {
    (void)state;
    for (u32 size = 0; size < NOTES; size++) { // cut anywhere
        make_elf(MIB(2), size);
        assert_int_equal(image_probe(file, sizeof(file), &l.info), 0);
        assert_int_equal(l.info.pvh_entry, 0);
    }
    make_elf(MIB(2), NOTES);
    put(file + 1024, 0xffffffff, 4); // a name that reaches beyond
    assert_int_equal(image_probe(file, sizeof(file), &l.info), 0);
    assert_int_equal(l.info.pvh_entry, 0);
    make_elf(MIB(2), NOTES);
    memcpy(file + 1056, "Zen", 4); // another owner's
    assert_int_equal(image_probe(file, sizeof(file), &l.info), 0);
    assert_int_equal(l.info.pvh_entry, 0);
    make_elf(MIB(1), NOTES);
    assert_int_equal(image_probe(file, sizeof(file), &l.info), -EINVAL);
    assert_non_null(strstr(l.info.why, "PVH"));
}

// ── Raw images ──────────────────────────────────────────────────────────────────────────────────────────────────────
static void a_low_raw_image_begins_in_real_mode(void **state) {
    (void)state;
    l.protocol = BOOT_RAW;
    l.kernel = (struct piece){0x7c00, 512};
    l.entry = 0x7c00;
    assert_int_equal(build(), 0);
    assert_int_equal(boot.start, BOOT_PC_REAL);
    assert_int_equal(l.entry, 0x7c00);
    assert_int_equal(guest(PC_FIRMWARE, 8), 0x2052545020445352);
}

static void a_high_raw_image_begins_in_protected_mode(void **state) {
    (void)state;
    l.protocol = BOOT_RAW;
    l.kernel = (struct piece){MIB(4), 4096};
    l.entry = MIB(4) + 3;
    assert_int_equal(build(), 0);
    assert_int_equal(boot.start, BOOT_PC_PROTECTED);
    assert_int_equal(l.entry, MIB(4) + 3);
    assert_int_equal(guest(l.arg, 4), 0x336ec578);
}

static void at_its_end_is_what_resets_a_pc(void **state) {
    (void)state;
    make_bzimage();
    assert_int_equal(build(), 0);
    assert_int_equal(guest(0xffff0, 8), 0xebf4ee0cf9ba06b0); // mov al, 6; mov dx, 0xcf9; out dx, al; hlt; jmp
    assert_int_equal(guest(0xffff8, 8), 0xfd);
}

// ── Errors ──────────────────────────────────────────────────────────────────────────────────────────────────────────
static void what_does_not_fit_a_pc_is_said(void **state) {
    (void)state;
    l.protocol = BOOT_RAW;
    l.kernel = (struct piece){0x90000, 0x20000};
    l.entry = 0x90000;
    assert_int_equal(build(), -EINVAL);
    assert_non_null(strstr(why, "occupies 0x90000 to 0xaffff"));
    l.kernel = (struct piece){0xf0000, 0x1000};
    assert_int_equal(build(), -EINVAL);
    l.kernel = (struct piece){0x7c00, 512};
    l.entry = 0x7c08;
    assert_int_equal(build(), -EINVAL);
    assert_non_null(strstr(why, "multiple of 16"));
    l.entry = 0x7c00;
    l.dtb_file.size = 100;
    assert_int_equal(build(), -EINVAL);
    assert_non_null(strstr(why, "no device tree"));
}

static void the_longest_command_line_and_most_cpus_fit(void **state) {
    (void)state;
    vm.cfg.cpus = VM_CPUS_MAX;
    memset(vm.cfg.boot.cmdline, 'x', CONFIG_CMDLINE_MAX);
    vm.cfg.boot.cmdline[CONFIG_CMDLINE_MAX] = '\0';
    memcpy(vm.cfg.boot.cmdline, "console=", 8);
    make_bzimage();
    assert_int_equal(build(), 0);
    const u64 cmdline = guest(l.arg + 0x228, 4);
    assert_int_equal(guest(cmdline + CONFIG_CMDLINE_MAX - 1, 2), 'x');
}

int main(void) {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(linux_gets_a_zero_page),
        T(the_memory_map_is_a_pcs),
        T(much_memory_goes_on_above_the_hole),
        T(the_page_tables_map_4_gib_one_to_one),
        T(a_header_that_claims_to_be_longer_is_cut),
        T(a_pvh_kernel_gets_a_start_info),
        T(without_an_initrd_there_is_no_module),
        T(an_elf_file_without_the_note_begins_as_linux_does),
        T(malformed_notes_are_no_entry_and_an_entry_outside_is_an_error),
        T(a_low_raw_image_begins_in_real_mode),
        T(a_high_raw_image_begins_in_protected_mode),
        T(at_its_end_is_what_resets_a_pc),
        T(what_does_not_fit_a_pc_is_said),
        T(the_longest_command_line_and_most_cpus_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
