// SPDX-License-Identifier: Apache-2.0
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bundle.h"

static char archive[8192];
static size_t used;
static char why[200];

enum { FILE_MODE = 0100644, FOLDER = 0040755, SYMLINK = 0120777 };

static void put(const void *data, size_t size) {
    memcpy(archive + used, data, size);
    used += size;
    while (used % 4)
        archive[used++] = '\0';
}

static void add_entry(const char *path, u32 mode, u32 ino, u32 nlink, const char *data) {
    char header[512];
    int len = snprintf(header, sizeof(header), "070701%08x%08x%08x%08X%08x%08x%08zx%08x%08x%08x%08x%08zx%08x%s", ino,
                       mode, 0u, 0u, nlink, 0u, strlen(data), 8u, 1u, 0u, 0u, strlen(path) + 1, 0u, path);
    put(header, (size_t)len + 1);
    put(data, strlen(data));
}

static void add(const char *path, const char *data) {
    add_entry(path, FILE_MODE, 1, 1, data);
}

static void begin(void) {
    memset(archive, 0, sizeof(archive));
    used = 0;
}

static void end(void) {
    add_entry("TRAILER!!!", 0, 0, 1, "");
}

// Opens exactly the bytes that are there, with the sanitizer watching their end. The copy is kept until the next call.
static int open_bytes(struct bundle *bundle, const void *data, size_t size) {
    static void *copy;
    free(copy);
    copy = malloc(size > 0 ? size : 1);
    memcpy(copy, data, size);
    why[0] = '\0';
    return bundle_open(bundle, copy, size, why, sizeof(why));
}

static void expect_file(const struct bundle *bundle, const char *path, const char *data) {
    struct bundle_file file;
    assert_int_equal(bundle_find(bundle, path, &file), 0);
    assert_int_equal(file.size, strlen(data));
    assert_memory_equal(file.data, data, file.size);
}

static void files_are_found_by_path(void **state) {
    (void)state;
    struct bundle bundle;
    struct bundle_file file;
    begin();
    add("a", "1");
    add("debian/Image", "22");
    add("empty", "");
    end();
    assert_int_equal(open_bytes(&bundle, archive, used), 0);
    assert_int_equal(bundle.entries, 3);
    expect_file(&bundle, "a", "1");
    expect_file(&bundle, "debian/Image", "22");
    expect_file(&bundle, "empty", "");
    assert_int_equal(bundle_find(&bundle, "debian", &file), -ENOENT);
    assert_int_equal(bundle_find(&bundle, "TRAILER!!!", &file), -ENOENT);
    assert_int_equal(bundle_find(&bundle, "", &file), -ENOENT);
}

static void leading_dots_and_slashes_do_not_count(void **state) {
    (void)state;
    struct bundle bundle;
    begin();
    add("./a", "1");
    add("/b", "2");
    add("c", "3");
    add(".d", "4");
    end();
    assert_int_equal(open_bytes(&bundle, archive, used), 0);
    expect_file(&bundle, "a", "1");
    expect_file(&bundle, "/./b", "2");
    expect_file(&bundle, "././c", "3");
    expect_file(&bundle, ".d", "4");
}

static void the_last_of_several_wins(void **state) {
    (void)state;
    struct bundle bundle;
    begin();
    add("a", "old");
    add("./a", "new");
    end();
    assert_int_equal(open_bytes(&bundle, archive, used), 0);
    expect_file(&bundle, "a", "new");
}

static void what_is_no_regular_file_is_told_apart_from_what_is_absent(void **state) {
    (void)state;
    struct bundle bundle;
    struct bundle_file file;
    begin();
    add_entry("debian", FOLDER, 1, 2, "");
    add_entry("vmlinuz", SYMLINK, 2, 1, "debian/vmlinuz");
    end();
    assert_int_equal(open_bytes(&bundle, archive, used), 0);
    assert_int_equal(bundle_find(&bundle, "debian", &file), -EOPNOTSUPP);
    assert_int_equal(bundle_find(&bundle, "vmlinuz", &file), -EOPNOTSUPP);
}

static void hard_links_share_the_data_of_one(void **state) {
    (void)state;
    struct bundle bundle;
    begin();
    add_entry("a", FILE_MODE, 7, 2, "");
    add_entry("other", FILE_MODE, 8, 2, "not this");
    add_entry("b", FILE_MODE, 7, 2, "shared");
    end();
    assert_int_equal(open_bytes(&bundle, archive, used), 0);
    expect_file(&bundle, "a", "shared");
    expect_file(&bundle, "b", "shared");
}

static void configs_come_in_name_order(void **state) {
    (void)state;
    static const char *const want[] = {"vms/a.toml", "vms/b.toml", "vms/z.toml"};
    struct bundle bundle;
    struct bundle_file file;
    begin();
    add("vms/z.toml", "z");
    add("./vms/a.toml", "a");
    add("vms/.hidden.toml", "");
    add("vms/.toml", "");
    add("vms/deep/x.toml", "");
    add("vms/readme.txt", "");
    add("x.toml", "");
    add_entry("vms/folder.toml", FOLDER, 1, 1, "");
    add("vms/b.toml", "b");
    end();
    assert_int_equal(open_bytes(&bundle, archive, used), 0);
    const char *after = NULL;
    for (size_t i = 0; i < ARRAY_SIZE(want); i++) {
        assert_int_equal(bundle_next_config(&bundle, after, &file), 0);
        assert_string_equal(file.path, want[i]);
        assert_int_equal(*(const char *)file.data, want[i][4]);
        after = file.path;
    }
    assert_int_equal(bundle_next_config(&bundle, after, &file), -ENOENT);
}

static void what_is_not_a_cpio_archive_is_named(void **state) {
    (void)state;
    static const struct {
        const char *data;
        size_t size;
        const char *why;
    } cases[] = {
        {"", 0, "the bundle is empty"},
        {"0707", 4, "the bundle is not a cpio archive (newc)"},
        {"hello world", 11, "the bundle is not a cpio archive (newc)"},
        {"\x1f\x8b\x08\0\0\0\0", 7, "the bundle is compressed with gzip; give it unpacked"},
        {"\xfd"
         "7zXZ\0\0",
         7, "the bundle is compressed with xz; give it unpacked"},
        {"\x28\xb5\x2f\xfd...", 7, "the bundle is compressed with zstd; give it unpacked"},
        {"070707000", 9, "the bundle is a cpio archive in the old portable format; make it with cpio -H newc"},
        {"\xc7\x71......", 8, "the bundle is a cpio archive in the old binary format; make it with cpio -H newc"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct bundle bundle;
        struct bundle_file file;
        assert_int_equal(open_bytes(&bundle, cases[i].data, cases[i].size), -EINVAL);
        assert_string_equal(why, cases[i].why);
        assert_int_equal(bundle.entries, 0);
        assert_int_equal(bundle_find(&bundle, "a", &file), -ENOENT);
        assert_int_equal(bundle_next_config(&bundle, NULL, &file), -ENOENT);
    }
}

static void a_truncated_bundle_keeps_what_is_whole(void **state) {
    (void)state;
    struct bundle bundle;
    struct bundle_file file;
    begin();
    add("vms/a.toml", "a");
    add("Image", "0123456789");
    size_t whole = used;
    end();
    for (size_t size = 0; size < used; size++) {
        int err = open_bytes(&bundle, archive, size);
        if (err == 0) // only the padding behind the trailer may be missing
            assert_true(size > used - 4);
        for (int entry = 0; entry < 2; entry++) {
            bool found = bundle_find(&bundle, entry == 0 ? "vms/a.toml" : "Image", &file) == 0;
            assert_true(found == ((u32)entry < bundle.entries));
        }
    }
    assert_int_equal(open_bytes(&bundle, archive, whole), -EINVAL);
    assert_string_equal(why, "the bundle is truncated: it ends after 'Image', without a trailer");
    assert_int_equal(bundle.entries, 2);
    assert_int_equal(open_bytes(&bundle, archive, whole - 4), -EINVAL);
    assert_string_equal(why, "the bundle is truncated in 'Image', at byte 252");
    assert_int_equal(bundle.entries, 1);
    expect_file(&bundle, "vms/a.toml", "a");
}

static void damage_is_named_with_its_place(void **state) {
    (void)state;
    struct bundle bundle;
    begin();
    add("a", "1");
    size_t second = used;
    add("b", "2");
    end();
    archive[second] = 'x';
    assert_int_equal(open_bytes(&bundle, archive, used), -EINVAL);
    assert_string_equal(why, "the bundle is damaged: no cpio header at byte 116, after 'a'");
    archive[second] = '0';
    archive[second + 54] = 'g';
    assert_int_equal(open_bytes(&bundle, archive, used), -EINVAL);
    assert_string_equal(why, "the bundle is damaged: no number in the header at byte 116");
    memcpy(archive + second + 54, "ffffffff", 8);
    assert_int_equal(open_bytes(&bundle, archive, used), -EINVAL);
    assert_non_null(strstr(why, "truncated in 'b'"));
    memcpy(archive + second + 94, "00000000", 8);
    assert_int_equal(open_bytes(&bundle, archive, used), -EINVAL);
    assert_string_equal(why, "the bundle is damaged: wrong name in the header at byte 116");
    memcpy(archive + second + 94, "ffffffff", 8);
    assert_int_equal(open_bytes(&bundle, archive, used), -EINVAL);
    assert_string_equal(why, "the bundle is damaged: wrong name in the header at byte 116");
    expect_file(&bundle, "a", "1");
}

static void a_name_cannot_drive_the_terminal(void **state) {
    (void)state;
    struct bundle bundle;
    begin();
    add("\033[2J", "1");
    assert_int_equal(open_bytes(&bundle, archive, used), -EINVAL);
    assert_string_equal(why, "the bundle is truncated: it ends after '?[2J', without a trailer");
}

static void every_changed_byte_is_harmless(void **state) {
    (void)state;
    static const char changes[] = "0f\0/x\xff";
    begin();
    add("vms/a.toml", "a");
    add_entry("b", FILE_MODE, 7, 2, "");
    end();
    for (size_t at = 0; at < used; at++) {
        for (size_t i = 0; i < sizeof(changes) - 1; i++) {
            struct bundle bundle;
            struct bundle_file file;
            char before = archive[at];
            archive[at] = changes[i];
            int err = open_bytes(&bundle, archive, used);
            assert_true((err == 0) == (why[0] == '\0'));
            if (bundle_find(&bundle, "b", &file) == 0)
                assert_true(file.size <= used);
            if (bundle_next_config(&bundle, NULL, &file) == 0)
                assert_true(file.size <= used);
            archive[at] = before;
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_are_found_by_path),
        cmocka_unit_test(leading_dots_and_slashes_do_not_count),
        cmocka_unit_test(the_last_of_several_wins),
        cmocka_unit_test(what_is_no_regular_file_is_told_apart_from_what_is_absent),
        cmocka_unit_test(hard_links_share_the_data_of_one),
        cmocka_unit_test(configs_come_in_name_order),
        cmocka_unit_test(what_is_not_a_cpio_archive_is_named),
        cmocka_unit_test(a_truncated_bundle_keeps_what_is_whole),
        cmocka_unit_test(damage_is_named_with_its_place),
        cmocka_unit_test(a_name_cannot_drive_the_terminal),
        cmocka_unit_test(every_changed_byte_is_harmless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
