// SPDX-License-Identifier: Apache-2.0
// Reads a cpio "newc" archive where it lies. Each entry is a header of 110 bytes in ASCII hexadecimal, the name, and
// the data, both padded to 4 bytes from the archive's start.
#include "bundle.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {
    CPIO_HEADER = 110,
    CPIO_INO = 6,
    CPIO_MODE = 14,
    CPIO_NLINK = 38,
    CPIO_FILESIZE = 54,
    CPIO_DEVMAJOR = 62,
    CPIO_DEVMINOR = 70,
    CPIO_NAMESIZE = 94,
    CPIO_FIELD = 8, // digits of every field

    CPIO_NAME_MAX = 4096, // bytes with the terminator: Linux's PATH_MAX
    CPIO_TYPE = 0170000,  // of the mode
    CPIO_REGULAR = 0100000,
};

struct entry {
    const char *path; // terminated
    size_t path_len;
    const u8 *data;
    size_t size;
    u32 mode, nlink;
    u32 ino, dev_major, dev_minor;
};

const char *bundle_strip(const char *path) {
    for (;;) {
        if (path[0] == '/')
            path++;
        else if (path[0] == '.' && path[1] == '/')
            path += 2;
        else
            return path;
    }
}

// ---- one entry

static bool read_field(const u8 *field, u32 *out) {
    u32 v = 0;
    for (u32 i = 0; i < CPIO_FIELD; i++) {
        u8 c = field[i], lower = c | 0x20;
        if (c >= '0' && c <= '9')
            v = v << 4 | (u32)(c - '0');
        else if (lower >= 'a' && lower <= 'f')
            v = v << 4 | (u32)(lower - 'a' + 10);
        else
            return false;
    }
    *out = v;
    return true;
}

static bool is_newc(const u8 *p) {
    return memcmp(p, "070701", 6) == 0 ||
           memcmp(p, "070702", 6) == 0; // 070702: with checksums, which Linux ignores too
}

enum entry_status { ENTRY_OK, ENTRY_TRUNCATED, ENTRY_BAD_MAGIC, ENTRY_BAD_FIELD, ENTRY_BAD_NAME, ENTRY_DATA_TRUNCATED };

// The entry at *offset; steps to the next one. After ENTRY_DATA_TRUNCATED the name is there.
static enum entry_status read_entry(const u8 *data, size_t size, size_t *offset, struct entry *out) {
    const u8 *header = data + *offset;
    size_t left = size - *offset;
    u32 name_size, file_size;
    if (left < CPIO_HEADER)
        return left >= 6 && !is_newc(header) ? ENTRY_BAD_MAGIC : ENTRY_TRUNCATED;
    if (!is_newc(header))
        return ENTRY_BAD_MAGIC;
    if (!read_field(header + CPIO_MODE, &out->mode) || !read_field(header + CPIO_FILESIZE, &file_size) ||
        !read_field(header + CPIO_NAMESIZE, &name_size) || !read_field(header + CPIO_INO, &out->ino) ||
        !read_field(header + CPIO_NLINK, &out->nlink) || !read_field(header + CPIO_DEVMAJOR, &out->dev_major) ||
        !read_field(header + CPIO_DEVMINOR, &out->dev_minor))
        return ENTRY_BAD_FIELD;
    if (name_size == 0 || name_size > CPIO_NAME_MAX)
        return ENTRY_BAD_NAME;
    if (name_size > left - CPIO_HEADER)
        return ENTRY_TRUNCATED;
    out->path = (const char *)header + CPIO_HEADER;
    if (memchr(out->path, '\0', name_size) != out->path + name_size - 1)
        return ENTRY_BAD_NAME;
    out->path = bundle_strip(out->path);
    out->path_len = strlen(out->path);
    u64 data_at = align_up(*offset + CPIO_HEADER + name_size, 4);
    if (data_at > size || file_size > size - data_at)
        return ENTRY_DATA_TRUNCATED;
    out->data = data + data_at;
    out->size = file_size;
    // The padding of the last entry may be missing.
    *offset = (size_t)MIN(align_up(data_at + file_size, 4), (u64)size);
    return ENTRY_OK;
}

static bool is_trailer(const struct entry *entry) {
    return strcmp(entry->path, "TRAILER!!!") == 0;
}

// ---- the archive as a whole

// What is it, if it does not begin as a cpio archive?
static const char *name_format(const u8 *p, size_t size) {
    static const struct {
        const char *magic;
        size_t len;
        const char *what;
    } formats[] = {
        {"\x1f\x8b", 2, "compressed with gzip; give it unpacked"},
        {"\xfd"
         "7zXZ",
         5, "compressed with xz; give it unpacked"},
        {"\x28\xb5\x2f\xfd", 4, "compressed with zstd; give it unpacked"},
        {"\x02\x21\x4c\x18", 4, "compressed with lz4; give it unpacked"},
        {"\x04\x22\x4d\x18", 4, "compressed with lz4; give it unpacked"},
        {"BZh", 3, "compressed with bzip2; give it unpacked"},
        {"\x5d\x00\x00", 3, "compressed with lzma; give it unpacked"},
        {"070707", 6, "a cpio archive in the old portable format; make it with cpio -H newc"},
        {"\xc7\x71", 2, "a cpio archive in the old binary format; make it with cpio -H newc"},
        {"\x71\xc7", 2, "a cpio archive in the old binary format; make it with cpio -H newc"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
        if (size >= formats[i].len && memcmp(p, formats[i].magic, formats[i].len) == 0)
            return formats[i].what;
    }
    if (size > 262 && memcmp(p + 257, "ustar", 5) == 0)
        return "a tar archive; make it with cpio -o -H newc";
    return "not a cpio archive (newc)";
}

[[gnu::format(printf, 3, 4)]] static int bundle_fail(char *why, size_t why_size, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    vsnprintf(why, why_size, fmt, args);
    va_end(args);
    for (char *c = why; why_size > 0 && *c != '\0'; c++) {
        if ((u8)*c < 0x20 || *c == 0x7f) // a name in the archive must not drive the terminal
            *c = '?';
    }
    return -EINVAL;
}

int bundle_open(struct bundle *bundle, const void *data, size_t size, char *why, size_t why_size) {
    const u8 *p = data;
    struct entry entry = {.path = ""};
    size_t offset = 0;
    *bundle = (struct bundle){.data = p};
    if (size == 0)
        return bundle_fail(why, why_size, "the bundle is empty");
    if (size < 6 || !is_newc(p))
        return bundle_fail(why, why_size, "the bundle is %s", name_format(p, size));
    for (;;) {
        bundle->size = offset;
        unsigned at = (unsigned)offset;
        const char *after = bundle->entries > 0 ? entry.path : "";
        if (offset == size)
            return bundle_fail(why, why_size, "the bundle is truncated: it ends after '%.80s', without a trailer",
                               after);
        switch (read_entry(p, size, &offset, &entry)) {
        case ENTRY_OK:
            break;
        case ENTRY_TRUNCATED:
            return bundle_fail(why, why_size, "the bundle is truncated in a header, at byte %zu", size);
        case ENTRY_DATA_TRUNCATED:
            return bundle_fail(why, why_size, "the bundle is truncated in '%.80s', at byte %zu", entry.path, size);
        case ENTRY_BAD_MAGIC:
            return bundle_fail(why, why_size, "the bundle is damaged: no cpio header at byte %u, after '%.80s'", at,
                               after);
        case ENTRY_BAD_FIELD:
            return bundle_fail(why, why_size, "the bundle is damaged: no number in the header at byte %u", at);
        case ENTRY_BAD_NAME:
            return bundle_fail(why, why_size, "the bundle is damaged: wrong name in the header at byte %u", at);
        }
        if (is_trailer(&entry))
            return 0;
        bundle->entries++;
    }
}

// Steps through the part that bundle_open has found sound.
static bool next_entry(const struct bundle *bundle, size_t *offset, struct entry *entry) {
    return *offset < bundle->size && read_entry(bundle->data, bundle->size, offset, entry) == ENTRY_OK;
}

static bool is_regular(const struct entry *entry) {
    return (entry->mode & CPIO_TYPE) == CPIO_REGULAR;
}

// Of several hard links newc gives the data with one only.
static void follow_link(const struct bundle *bundle, struct entry *entry) {
    struct entry other;
    size_t offset = 0;
    if (entry->size > 0 || entry->nlink < 2)
        return;
    while (next_entry(bundle, &offset, &other)) {
        if (is_regular(&other) && other.size > 0 && other.nlink > 1 && other.ino == entry->ino &&
            other.dev_major == entry->dev_major && other.dev_minor == entry->dev_minor) {
            entry->data = other.data;
            entry->size = other.size;
            return;
        }
    }
}

int bundle_find(const struct bundle *bundle, const char *path, struct bundle_file *out) {
    struct entry entry, found = {0};
    size_t offset = 0;
    path = bundle_strip(path);
    while (next_entry(bundle, &offset, &entry)) {
        if (strcmp(entry.path, path) == 0)
            found = entry;
    }
    if (found.path == NULL)
        return -ENOENT;
    if (!is_regular(&found))
        return -EOPNOTSUPP;
    follow_link(bundle, &found);
    *out = (struct bundle_file){.path = found.path, .data = found.data, .size = found.size};
    return 0;
}

// vms/NAME.toml, directly in vms/, and not hidden.
static bool is_config(const struct entry *entry) {
    size_t len = entry->path_len;
    return len > 9 && len <= BUNDLE_PATH_MAX && memcmp(entry->path, "vms/", 4) == 0 && entry->path[4] != '.' &&
           strchr(entry->path + 4, '/') == NULL && strcmp(entry->path + len - 5, ".toml") == 0;
}

int bundle_next_config(const struct bundle *bundle, const char *after, struct bundle_file *out) {
    struct entry entry;
    const char *best = NULL;
    size_t offset = 0;
    while (next_entry(bundle, &offset, &entry)) {
        if (is_config(&entry) && is_regular(&entry) && (after == NULL || strcmp(entry.path, after) > 0) &&
            (best == NULL || strcmp(entry.path, best) < 0))
            best = entry.path;
    }
    if (best == NULL)
        return -ENOENT;
    return bundle_find(bundle, best, out);
}
