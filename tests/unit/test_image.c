// SPDX-License-Identifier: Apache-2.0
// core/image.c: where kernel, initrd and device tree come to lie, and every way in which they do not.
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <libfdt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arch.h"
#include "bundle.h"
#include "gmem.h"
#include "host.h"
#include "image_load.h"
#include "page.h"
#include "vm.h"

static struct vm vm;
static u64 ram;
static struct boot_entry boot;
static char why[320];

// ── A bundle in the making ──────────────────────────────────────────────────────────────────────────────────────────
static u8 archive[MIB(40)];
static size_t archive_size;

static void add_entry(const char *name, const void *data, size_t size, unsigned mode) {
    archive_size += (size_t)sprintf((char *)archive + archive_size,
                                    "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s", 1u, mode, 0u, 0u,
                                    1u, 0u, (unsigned)size, 0u, 0u, 0u, 0u, (unsigned)strlen(name) + 1, 0u, name) +
                    1;
    archive_size = align_up(archive_size, 4);
    memcpy(archive + archive_size, data, size);
    archive_size = align_up(archive_size + size, 4);
}
static void add_file(const char *name, const void *data, size_t size) {
    add_entry(name, data, size, 0100644);
}

static int load(void) {
    struct bundle bundle;
    size_t end = archive_size;
    add_entry("TRAILER!!!", "", 0, 0);
    assert_int_equal(bundle_open(&bundle, archive, archive_size, why, sizeof(why)), 0);
    archive_size = end;
    memset(why, 0, sizeof(why));
    boot = (struct boot_entry){};
    u64 free = page_stats().free;
    int err = image_load(&vm, &bundle, &boot, why, sizeof(why));
    assert_int_equal(page_stats().free, free);
    return err;
}

static u8 content[MIB(24)]; // what files are made of: no 64 bytes are twice the same

static void put(u8 *p, u64 v, u32 bytes) {
    for (u32 i = 0; i < bytes; i++, v >>= 8)
        p[i] = (u8)v;
}

static u8 kernel[MIB(16)];

// A Linux arm64 image (Documentation/arch/arm64/booting.rst) of `size` bytes that asks for `image_size`.
static void add_linux(u64 size, u64 image_size) {
    memcpy(kernel, content, size);
    memset(kernel, 0, 64);
    put(kernel + 16, image_size, 8);
    put(kernel + 24, 0xa, 8);
    memcpy(kernel + 56, "ARM\x64", 4);
    add_file("k", kernel, size);
}

struct phdr {
    u64 paddr, filesz, memsz;
};

static void add_elf(u64 entry, const struct phdr *ph, u32 count) {
    memset(kernel, 0, 4096);
    memcpy(kernel, "\177ELF\2\1\1", 7);
    put(kernel + 16, 2, 2);
    put(kernel + 18, 183, 2);
    put(kernel + 20, 1, 4);
    put(kernel + 24, entry, 8);
    put(kernel + 32, 64, 8);
    put(kernel + 52, 64, 2);
    put(kernel + 54, 56, 2);
    put(kernel + 56, count, 2);
    u64 offset = 4096;
    for (u32 i = 0; i < count; i++) {
        u8 *p = kernel + 64 + 56 * i;
        put(p, 1, 4);
        put(p + 4, 7, 4);
        put(p + 8, offset, 8);
        put(p + 16, ph[i].paddr, 8);
        put(p + 24, ph[i].paddr, 8);
        put(p + 32, ph[i].filesz, 8);
        put(p + 40, ph[i].memsz, 8);
        memcpy(kernel + offset, content + offset, ph[i].filesz);
        offset += ph[i].filesz;
    }
    add_file("k", kernel, offset);
}

// ── The VM ──────────────────────────────────────────────────────────────────────────────────────────────────────────
static void create(u64 memory) {
    if (vm.extent_count)
        gmem_destroy(&vm);
    vm.cfg.memory = memory;
    assert_int_equal(gmem_create(&vm), 0);
    gmem_scrub(&vm);
}

static int setup(void **state) {
    (void)state;
    host_init(&(struct host_options){.memory = MIB(192)});
    page_init(host_board(), pa(0), pa(0));
    memset((void *)&vm, 0, sizeof(vm));
    archive_size = 0;
    for (u32 i = 0; i < sizeof(content); i++)
        content[i] = (u8)((i * 2654435761u) >> 24);
    ram = arch_guest_ram_base();
    strcpy(vm.cfg.file, "vms/a.toml");
    strcpy(vm.cfg.boot.kernel, "k");
    vm.cfg.cpus = 1;
    vm.cfg.pos.kernel = (struct config_pos){9, 10};
    vm.cfg.pos.initrd = (struct config_pos){11, 12};
    vm.cfg.pos.dtb = (struct config_pos){13, 14};
    vm.cfg.pos.load = (struct config_pos){15, 16};
    return pgtable_init(&vm.s2, PT_GUEST);
}

static int teardown(void **state) {
    (void)state;
    gmem_destroy(&vm);
    pgtable_fini(&vm.s2);
    return 0;
}

static void with_initrd(u64 size) {
    strcpy(vm.cfg.boot.initrd, "i");
    add_file("i", content + 77, size);
}

static void raw_at(u64 load, u64 entry) {
    vm.cfg.boot.protocol = BOOT_RAW;
    vm.cfg.boot.load = load;
    vm.cfg.boot.entry = entry;
}

static void assert_guest_holds(u64 at, const void *data, u64 size) {
    const void *p = gmem_ptr(&vm, gpa(at), size);
    assert_non_null(p);
    assert_int_equal(memcmp(p, data, size), 0);
}

static const void *tree(void) {
    static _Alignas(8) u8 copy[MIB(1)];
    u64 size = MIN(sizeof(copy), ram + vm.cfg.memory - boot.arg);
    assert_int_equal(gmem_read(&vm, gpa(boot.arg), copy, size), 0);
    assert_int_equal(fdt_check_full(copy, size), 0);
    return copy;
}

static u64 initrd_start(void) {
    const void *fdt = tree();
    const fdt64_t *p = fdt_getprop(fdt, fdt_path_offset(fdt, "/chosen"), "linux,initrd-start", NULL);
    assert_non_null(p);
    return fdt64_ld(p);
}

static void assert_refused(const char *text) {
    assert_int_equal(load(), -EINVAL);
    if (!strstr(why, text))
        fail_msg("said \"%s\", not \"%s\"", why, text);
}

// ── Linux ───────────────────────────────────────────────────────────────────────────────────────────────────────────
static void linux_lies_at_its_offset_and_starts_there(void **state) {
    (void)state;
    add_linux(MIB(3) + 5, MIB(4));
    create(MIB(64));
    assert_int_equal(load(), 0);
    assert_int_equal(boot.entry, ram + MIB(2));
    assert_guest_holds(boot.entry, kernel, MIB(3) + 5);
}

static void initrd_lies_half_way_up_and_the_tree_above_it(void **state) {
    (void)state;
    add_linux(MIB(3), MIB(4));
    with_initrd(MIB(2) + 7);
    create(MIB(64));
    assert_int_equal(load(), 0);
    assert_int_equal(initrd_start(), ram + MIB(32));
    assert_guest_holds(ram + MIB(32), content + 77, MIB(2) + 7);
    assert_int_equal(boot.arg, ram + MIB(36));
}

static void initrd_lies_above_a_kernel_that_reaches_half_way(void **state) {
    (void)state;
    add_linux(MIB(1), MIB(33));
    with_initrd(MIB(2));
    create(MIB(64));
    assert_int_equal(load(), 0);
    assert_int_equal(initrd_start(), ram + MIB(2) + MIB(33));
}

static void in_a_small_vm_everything_moves_together(void **state) {
    (void)state;
    add_linux(MIB(12), MIB(13));
    with_initrd(MIB(12));
    create(MIB(28)); // 2 to 15: kernel; the initrd does not fit above the half with the tree above it
    assert_int_equal(load(), 0);
    assert_guest_holds(ram + MIB(2), kernel, MIB(12));
    assert_guest_holds(initrd_start(), content + 77, MIB(12));
}

static void below_the_kernel_there_is_room_for_the_tree(void **state) {
    (void)state;
    add_linux(MIB(12), MIB(12));
    with_initrd(MIB(2));
    create(MIB(16)); // 2 to 14: kernel, 14 to 16: initrd
    assert_int_equal(load(), 0);
    assert_int_equal(initrd_start(), ram + MIB(14));
    assert_int_equal(boot.arg, ram);
}

static void what_does_not_fit_is_said_with_numbers(void **state) {
    (void)state;
    add_linux(MIB(1), MIB(300));
    create(MIB(64));
    assert_refused("vms/a.toml:9:10: kernel = \"k\": needs 302 MiB, the VM has 64 MiB");
    assert_int_equal(*(u8 *)gmem_ptr(&vm, gpa(ram + MIB(2) + 70), 1), 0); // nothing was copied
}

static void an_initrd_that_does_not_fit_is_said_with_numbers(void **state) {
    (void)state;
    add_linux(MIB(8), MIB(8));
    with_initrd(MIB(23));
    create(MIB(32));
    assert_refused("vms/a.toml:11:12: no room in memory: the kernel, the initrd and the device tree take 31 MiB");
}

// ── ELF ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
static void elf_segments_lie_at_their_addresses(void **state) {
    (void)state;
    const struct phdr ph[] = {{ram + MIB(1), 5000, 9000}, {ram + MIB(3) + 8, 300, 300}};
    add_elf(ram + MIB(1) + 16, ph, 2);
    create(MIB(8));
    assert_int_equal(load(), 0);
    assert_int_equal(boot.entry, ram + MIB(1) + 16);
    assert_guest_holds(ram + MIB(1), content + 4096, 5000);
    assert_guest_holds(ram + MIB(3) + 8, content + 9096, 300);
    assert_int_equal(*(u8 *)gmem_ptr(&vm, gpa(ram + MIB(1) + 5001), 1), 0);
    assert_int_equal(boot.arg, ram); // as QEMU does it for what is not Linux
    tree();
}

static void an_elf_segment_outside_ram_is_refused(void **state) {
    (void)state;
    const struct phdr below[] = {{ram - 4096, 100, 100}}, across[] = {{ram + MIB(8) - 100, 50, 101}};
    create(MIB(8));
    add_elf(ram - 4096, below, 1);
    assert_refused("vms/a.toml:9:10: kernel = \"k\": a segment occupies 0x3ffff000 to 0x3ffff063, the VM's memory is");
    archive_size = 0;
    add_elf(ram + MIB(8) - 100, across, 1);
    assert_refused("a segment occupies");
}

static void an_elf_that_covers_the_start_of_ram_has_the_tree_elsewhere(void **state) {
    (void)state;
    const struct phdr ph[] = {{ram, 5000, 6000}};
    add_elf(ram, ph, 1);
    create(MIB(8));
    assert_int_equal(load(), 0);
    assert_int_equal(boot.arg, ram + MIB(4));
    assert_guest_holds(ram, content + 4096, 5000);
}

// ── Raw ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
static void raw_lies_where_it_is_told_and_the_tree_at_the_start_of_ram(void **state) {
    (void)state;
    add_file("k", content, 100000);
    raw_at(ram + MIB(2), ram + MIB(2) + 64);
    create(MIB(8));
    assert_int_equal(load(), 0);
    assert_int_equal(boot.entry, ram + MIB(2) + 64);
    assert_int_equal(boot.arg, ram);
    assert_guest_holds(ram + MIB(2), content, 100000);
    tree();
}

static void raw_at_the_start_of_ram_is_not_overwritten(void **state) {
    (void)state;
    add_file("k", content, 100000);
    raw_at(ram, ram);
    create(MIB(2));
    assert_int_equal(load(), 0);
    assert_guest_holds(ram, content, 100000);
    tree();
}

static void raw_outside_ram_is_refused(void **state) {
    (void)state;
    add_file("k", content, 5000);
    create(MIB(8));
    raw_at(ram - MIB(1), ram - MIB(1));
    assert_refused("vms/a.toml:15:16: load = 0x3ff00000: outside the VM's memory, 0x40000000 to 0x407fffff");
    raw_at(~0ull, ~0ull);
    assert_refused("vms/a.toml:15:16: load = 0xffffffffffffffff: outside");
    raw_at(ram + MIB(8) - 4999, ram);
    assert_refused("needs 8 MiB, the VM has 8 MiB");
    raw_at(ram, ram + MIB(8));
    assert_refused("entry point 0x40800000 is outside the VM's memory");
}

// ── Files ───────────────────────────────────────────────────────────────────────────────────────────────────────────
static void a_file_that_is_not_there_is_named(void **state) {
    (void)state;
    create(MIB(32));
    assert_refused("vms/a.toml:9:10: kernel = \"k\": not in the bundle");
    add_linux(MIB(1), MIB(1));
    strcpy(vm.cfg.boot.initrd, "gone");
    assert_refused("vms/a.toml:11:12: initrd = \"gone\": not in the bundle");
    add_entry("gone", "k", 1, 0120777);
    assert_refused("vms/a.toml:11:12: initrd = \"gone\": not a regular file");
    add_file("gone", "", 0);
    assert_refused("vms/a.toml:11:12: initrd = \"gone\": the file is empty");
}

static void a_kernel_of_the_wrong_kind_is_named(void **state) {
    (void)state;
    create(MIB(32));
    add_file("k", "\x1f\x8b\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
    assert_refused("unpack it first");
    add_file("k", "once upon a time", 16);
    assert_refused("a flat binary needs protocol = \"raw\"");
    vm.cfg.boot.protocol = BOOT_ELF;
    add_linux(MIB(1), MIB(1));
    assert_refused("protocol = \"elf\" cannot boot a");
    vm.cfg.boot.protocol = BOOT_LINUX;
    add_elf(ram, &(struct phdr){ram, 1, 1}, 1);
    assert_refused("protocol = \"linux\" cannot boot a");
}

static void a_damaged_kernel_is_refused(void **state) {
    (void)state;
    create(MIB(32));
    add_linux(MIB(1), ~0ull);
    assert_refused("vms/a.toml:9:10: kernel = \"k\": a damaged");
    add_elf(ram, &(struct phdr){ram, 100, 50}, 1);
    assert_refused("a damaged");
}

// ── The user's own tree ─────────────────────────────────────────────────────────────────────────────────────────────
static void a_users_tree_replaces_ours(void **state) {
    (void)state;
    static _Alignas(8) u8 own[1024];
    assert_int_equal(fdt_create_empty_tree(own, sizeof(own)), 0);
    assert_int_equal(fdt_setprop_string(own, 0, "model", "mine"), 0);
    add_linux(MIB(1), MIB(1));
    add_file("xy", "?", 1); // so that the next one is not aligned to 8
    add_file("d", own, sizeof(own));
    with_initrd(1000);
    strcpy(vm.cfg.boot.dtb, "d");
    strcpy(vm.cfg.boot.cmdline, "quiet");
    create(MIB(32));
    assert_int_equal(load(), 0);
    const void *fdt = tree();
    assert_string_equal(fdt_getprop(fdt, 0, "model", NULL), "mine");
    assert_string_equal(fdt_getprop(fdt, fdt_path_offset(fdt, "/chosen"), "bootargs", NULL), "quiet");
    assert_guest_holds(initrd_start(), content + 77, 1000);
}

static void a_bad_tree_of_the_user_is_refused(void **state) {
    (void)state;
    add_linux(MIB(1), MIB(1));
    strcpy(vm.cfg.boot.dtb, "d");
    create(MIB(32));
    add_file("d", content, 100);
    assert_refused("vms/a.toml:13:14: dtb = \"d\": not a well-formed device tree: FDT_ERR_BADMAGIC");
    add_file("d", content, MIB(1));
    assert_refused("vms/a.toml:13:14: dtb = \"d\": larger than 1008 KiB");
}

// ── Any sizes ───────────────────────────────────────────────────────────────────────────────────────────────────────
static void whatever_the_sizes_nothing_overlaps(void **state) {
    (void)state;
    u32 loaded = 0;
    srand(3);
    for (int i = 0; i < 60; i++) {
        archive_size = 0;
        u64 memory = BLOCK_SIZE * (1 + (u64)rand() % 20);
        u64 size = 64 + (u64)rand() % MIN(memory, MIB(16) - 64), initrd = (u64)rand() % MIN(memory, MIB(20));
        u64 at = ram + ((u64)rand() % memory & ~7ull);
        int kind = rand() % 3;
        struct phdr ph = {at, MIN(size, MIB(15)), size + (u64)rand() % MIB(1)};
        vm.cfg.boot.protocol = BOOT_AUTO;
        vm.cfg.boot.initrd[0] = '\0';
        if (kind == 0) {
            add_linux(size, size + (u64)rand() % MIB(3));
            at = ram + MIB(2);
        } else if (kind == 1) {
            ph.memsz = MAX(ph.memsz, ph.filesz);
            add_elf(at, &ph, 1);
        } else {
            add_file("k", content, size);
            raw_at(at, at);
        }
        if (initrd > MIB(1))
            with_initrd(initrd);
        create(memory);
        if (load()) {
            assert_true(strncmp(why, "vms/a.toml:", 11) == 0);
            continue;
        }
        loaded++;
        assert_int_equal(boot.entry, at);
        if (kind == 0)
            assert_guest_holds(at, kernel, size);
        else
            assert_guest_holds(at, kind == 1 ? content + 4096 : content, kind == 1 ? ph.filesz : size);
        if (vm.cfg.boot.initrd[0])
            assert_guest_holds(initrd_start(), content + 77, initrd);
        tree();
    }
    assert_in_range(loaded, 10, 59);
}

int main(void) {
#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(linux_lies_at_its_offset_and_starts_there),
        TEST(initrd_lies_half_way_up_and_the_tree_above_it),
        TEST(initrd_lies_above_a_kernel_that_reaches_half_way),
        TEST(in_a_small_vm_everything_moves_together),
        TEST(below_the_kernel_there_is_room_for_the_tree),
        TEST(what_does_not_fit_is_said_with_numbers),
        TEST(an_initrd_that_does_not_fit_is_said_with_numbers),
        TEST(elf_segments_lie_at_their_addresses),
        TEST(an_elf_segment_outside_ram_is_refused),
        TEST(an_elf_that_covers_the_start_of_ram_has_the_tree_elsewhere),
        TEST(raw_lies_where_it_is_told_and_the_tree_at_the_start_of_ram),
        TEST(raw_at_the_start_of_ram_is_not_overwritten),
        TEST(raw_outside_ram_is_refused),
        TEST(a_file_that_is_not_there_is_named),
        TEST(a_kernel_of_the_wrong_kind_is_named),
        TEST(a_damaged_kernel_is_refused),
        TEST(a_users_tree_replaces_ours),
        TEST(a_bad_tree_of_the_user_is_refused),
        TEST(whatever_the_sizes_nothing_overlaps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
