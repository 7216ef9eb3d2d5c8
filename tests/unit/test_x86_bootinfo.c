// SPDX-License-Identifier: Apache-2.0
// What PVH and multiboot2 loaders hand over on x86_64.
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "../../arch/x86_64/bootinfo.c"

enum { BASE = 0x9000, SIZE = 0x8000, INFO = 0x9000, MAP = 0xa000, MODULES = 0xb000, TEXT = 0xc000 };
static u8 ram[SIZE];
static u64 end; // of the multiboot2 tags so far
static struct board board;
static u64 rsdp;
static char why[160];

static const void *map(const struct acpi_memory *memory, u64 address, u64 size) {
    (void)memory;
    return address >= BASE && address - BASE <= SIZE && size <= SIZE - (address - BASE) ? ram + (address - BASE)
                                                                                        : nullptr;
}
static const struct acpi_memory memory = {map};

static void put(u64 address, const void *bytes, size_t size) {
    memcpy(ram + (address - BASE), bytes, size);
}

static int fresh(void **state) {
    (void)state;
    memset(ram, 0, sizeof(ram));
    memset(&board, 0, sizeof(board));
    end = INFO + 8;
    return 0;
}

static int read(u32 magic) {
    return bootinfo_read(&memory, INFO, magic, &board, &rsdp, why, sizeof(why));
}

static void expect_region(const struct region *r, u64 base, u64 size) {
    assert_int_equal(r->base, base);
    assert_int_equal(r->size, size);
}

// ── PVH ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
static struct pvh_start_info pvh(void) {
    const struct pvh_memory entries[] = {
        {0x100000, 0x7f00000, 1, 0}, {0, 0x9fc00, 1, 0}, {0xf0000, 0x10000, 2, 0}, {0x8000000, 0x1000, 1, 0}};
    const struct pvh_module module = {0x7000000, 0x1234, 0, 0};
    put(MAP, entries, sizeof(entries));
    put(MODULES, &module, sizeof(module));
    put(TEXT, "console=shell", 14);
    return (struct pvh_start_info){.magic = PVH_MAGIC,
                                   .version = 1,
                                   .module_count = 1,
                                   .modules = MODULES,
                                   .cmdline = TEXT,
                                   .rsdp = 0xf5a0,
                                   .memory_map = MAP,
                                   .memory_map_count = 4};
}

static void a_pvh_loader_gives_memory_module_and_command_line(void **state) {
    (void)state;
    struct pvh_start_info info = pvh();
    put(INFO, &info, sizeof(info));
    assert_int_equal(read(0), 0);
    assert_int_equal(board.memory_count, 2);
    expect_region(&board.memory[0], 0, 0x9fc00);
    expect_region(&board.memory[1], 0x100000, 0x7f01000);
    expect_region(&board.bundle, 0x7000000, 0x1234);
    assert_int_equal(board.reserved_count, 2);
    expect_region(&board.reserved[0], 0xf0000, 0x10000);
    expect_region(&board.reserved[1], 0x7000000, 0x1234);
    assert_string_equal(board.cmdline, "console=shell");
    assert_int_equal(rsdp, 0xf5a0);
}

static void a_pvh_loader_without_a_map_is_refused_in_words(void **state) {
    (void)state;
    struct pvh_start_info info = pvh();
    info.version = 0;
    put(INFO, &info, sizeof(info));
    assert_int_equal(read(0), -EINVAL);
    assert_string_equal(why,
                        "the boot loader is neither PVH (version 1 or later) nor multiboot2, or gave no memory map");
    info = pvh();
    info.memory_map_count = 0;
    put(INFO, &info, sizeof(info));
    assert_int_equal(read(0), -EINVAL);
    info.memory_map_count = 1u << 30;
    put(INFO, &info, sizeof(info));
    assert_int_equal(read(0), -EINVAL);
    info = pvh();
    info.memory_map = ~0ull - 8;
    put(INFO, &info, sizeof(info));
    assert_int_equal(read(0), -EINVAL);
}

static void a_command_line_that_does_not_end_is_cut(void **state) {
    (void)state;
    struct pvh_start_info info = pvh();
    memset(ram + (TEXT - BASE), 'x', BOARD_CMDLINE_MAX + 10);
    put(INFO, &info, sizeof(info));
    assert_int_equal(read(0), 0);
    assert_int_equal(strlen(board.cmdline), BOARD_CMDLINE_MAX - 1);
    fresh(nullptr);
    info = pvh();
    info.cmdline = BASE + SIZE - 3; // the end of what can be reached
    info.module_count = 0;
    put(INFO, &info, sizeof(info));
    put(BASE + SIZE - 3, "abc", 3);
    assert_int_equal(read(0), 0);
    assert_string_equal(board.cmdline, "abc");
    assert_int_equal(board.bundle.size, 0);
}

static void a_region_up_to_the_end_of_addresses_does_not_wrap(void **state) {
    (void)state;
    struct pvh_start_info info = pvh();
    const struct pvh_memory entries[] = {{0, 0x9f000, 1, 0}, {~0ull - 0xfff, ~0ull, 2, 0}};
    info.memory_map_count = 2;
    put(MAP, entries, sizeof(entries));
    put(INFO, &info, sizeof(info));
    assert_int_equal(read(0), 0);
    for (u32 i = 0; i < board.reserved_count; i++)
        assert_true(board.reserved[i].base + board.reserved[i].size >= board.reserved[i].base);
}

// ── multiboot2 ──────────────────────────────────────────────────────────────────────────────────────────────────────
static void tag(u32 type, const void *content, u32 size) {
    const struct mb2_tag head = {type, (u32)sizeof(head) + size};
    put(end, &head, sizeof(head));
    put(end + sizeof(head), content, size);
    end += align_up(head.size, 8);
    u32 total = (u32)(end + 8 - INFO); // with the end tag
    put(INFO, &total, sizeof(total));
    put(end, &(struct mb2_tag){MB2_TAG_END, 8}, 8);
}

static void tag_map(void) {
    const struct {
        u32 entry_size, version;
        struct mb2_memory entries[2];
    } map = {24, 0, {{0, 0xa0000, 1, 0}, {0x100000, 0xff00000, 1, 0}}};
    tag(MB2_TAG_MMAP, &map, sizeof(map));
}

static void a_multiboot2_loader_gives_memory_module_and_command_line(void **state) {
    (void)state;
    const u32 module[] = {0x4000000, 0x4001000, 'b'}, second[] = {0x5000000, 0x5001000, 0};
    const char pointer[36] = "RSD PTR ";
    tag(MB2_TAG_CMDLINE, "idle=shell", 11);
    tag(MB2_TAG_MODULE, module, sizeof(module));
    tag(MB2_TAG_MODULE, second, sizeof(second));
    tag_map();
    const u64 new_at = end + 8;
    tag(MB2_TAG_ACPI_NEW, pointer, 36);
    tag(MB2_TAG_ACPI_OLD, pointer, 20);
    assert_int_equal(read(MB2_MAGIC), 0);
    assert_int_equal(board.memory_count, 2);
    expect_region(&board.memory[1], 0x100000, 0xff00000);
    expect_region(&board.bundle, 0x4000000, 0x1000);
    assert_string_equal(board.cmdline, "idle=shell");
    assert_int_equal(rsdp, new_at);
}

static void the_old_root_pointer_will_do(void **state) {
    (void)state;
    const char pointer[20] = "RSD PTR ";
    tag(MB2_TAG_ACPI_OLD, pointer, sizeof(pointer));
    tag_map();
    assert_int_equal(read(MB2_MAGIC), 0);
    assert_int_equal(rsdp, INFO + 16);
}

static void tags_that_lie_about_their_size_end_the_reading(void **state) {
    (void)state;
    tag_map();
    const u64 at = end;
    tag(MB2_TAG_CMDLINE, "x", 2);
    tag(MB2_TAG_CMDLINE, "never", 6);
    for (u32 size = 0; size < 8; size++) {
        put(at, &(struct mb2_tag){77, size}, 8);
        assert_int_equal(read(MB2_MAGIC), 0);
        assert_string_equal(board.cmdline, "");
    }
    put(at, &(struct mb2_tag){77, 0xfffffff0}, 8);
    assert_int_equal(read(MB2_MAGIC), 0);
    assert_string_equal(board.cmdline, "");
}

static void the_magic_number_decides(void **state) {
    (void)state;
    tag_map();
    assert_int_equal(read(0), -EINVAL);
    u32 total = 1 << 30;
    put(INFO, &total, sizeof(total));
    assert_int_equal(read(MB2_MAGIC), -EINVAL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_pvh_loader_gives_memory_module_and_command_line, fresh),
        cmocka_unit_test_setup(a_pvh_loader_without_a_map_is_refused_in_words, fresh),
        cmocka_unit_test_setup(a_command_line_that_does_not_end_is_cut, fresh),
        cmocka_unit_test_setup(a_region_up_to_the_end_of_addresses_does_not_wrap, fresh),
        cmocka_unit_test_setup(a_multiboot2_loader_gives_memory_module_and_command_line, fresh),
        cmocka_unit_test_setup(the_old_root_pointer_will_do, fresh),
        cmocka_unit_test_setup(tags_that_lie_about_their_size_end_the_reading, fresh),
        cmocka_unit_test_setup(the_magic_number_decides, fresh),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
