// SPDX-License-Identifier: Apache-2.0
// A cpio archive and every look-up that the hypervisor makes in it: its configurations, in order, and the images that
// they name. Nothing that comes out lies outside the archive.
#include "bundle.h"
#include "config.h"
#include "fuzz.h"
#include "image.h"

#include <stdio.h>
#include <string.h>

static const u8 *archive;
static size_t archive_size;
static u8 arena_memory[CONFIG_ARENA_SIZE];
static struct vm_config config;

static bool inside(const void *at, size_t size) {
    u64 offset = (u64)((const u8 *)at - archive);
    return offset <= archive_size && size <= archive_size - offset;
}

static void check_file(const struct bundle_file *f) {
    FUZZ_CHECK(inside(f->data, f->size));
    size_t room = inside(f->path, 1) ? archive_size - (size_t)((const u8 *)f->path - archive) : 0;
    size_t len = strnlen(f->path, room);
    FUZZ_CHECK(len < room && len <= BUNDLE_PATH_MAX);
    FUZZ_CHECK(bundle_strip(f->path) == f->path);
}

static void look_at(const struct bundle *b, const char *path) {
    struct bundle_file file;
    struct image_info info;
    int err = bundle_find(b, path, &file);
    FUZZ_CHECK(err == 0 || err == -ENOENT || err == -EOPNOTSUPP);
    if (err)
        return;
    check_file(&file);
    FUZZ_CHECK(strcmp(file.path, bundle_strip(path)) == 0);
    err = image_probe(file.data, file.size, &info);
    FUZZ_CHECK(err == 0 || info.why);
}

static void read_config(const struct bundle *b, const struct bundle_file *file) {
    static const char *const leads[] = {"/", "./", "//././"};
    struct diag_list diags = {};
    struct bundle_file same;
    struct arena arena;
    char path[BUNDLE_PATH_MAX + 16];
    for (u32 i = 0; i < ARRAY_SIZE(leads); i++) {
        snprintf(path, sizeof(path), "%s%s", leads[i], file->path);
        FUZZ_CHECK(bundle_find(b, path, &same) == 0);
        FUZZ_CHECK(same.data == file->data && same.size == file->size);
    }
    arena_init(&arena, arena_memory, sizeof(arena_memory));
    if (config_parse(file->path, file->data, file->size, &arena, &diags, &config) != 0)
        return;
    look_at(b, config.boot.kernel);
    look_at(b, config.boot.initrd);
    look_at(b, config.boot.dtb);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size) {
    static const char *const paths[] = {"debian/Image", "", ".", "/", "TRAILER!!!", "vms", "vms/a.toml", "initrd"};
    struct bundle b;
    struct bundle_file file;
    char why[160];
    memset(why, 'x', sizeof(why));
    archive = data;
    archive_size = size;
    int err = bundle_open(&b, data, size, why, sizeof(why));
    FUZZ_CHECK(err == 0 || (err == -EINVAL && why[0] && fuzz_is_text(why, sizeof(why))));
    FUZZ_CHECK(b.size <= size && b.entries <= size / 110);
    u32 configs = 0;
    for (const char *after = NULL; bundle_next_config(&b, after, &file) == 0; after = file.path) {
        check_file(&file);
        size_t len = strlen(file.path);
        FUZZ_CHECK(!after || strcmp(file.path, after) > 0);
        FUZZ_CHECK(strncmp(file.path, "vms/", 4) == 0 && len > 9 && strcmp(file.path + len - 5, ".toml") == 0);
        FUZZ_CHECK(++configs <= b.entries);
        read_config(&b, &file);
    }
    for (u32 i = 0; i < ARRAY_SIZE(paths); i++)
        look_at(&b, paths[i]);
    return 0;
}
