// SPDX-License-Identifier: Apache-2.0
// The bundle: a cpio "newc" archive (Linux Documentation/driver-api/early-userspace/buffer-format.rst) with the VMs'
// configurations (vms/*.toml) and the images they name. Read in place; nothing in it is trusted.
#pragma once

#include "types.h"

enum { BUNDLE_PATH_MAX = 255 }; // entries with a longer name are ignored

struct bundle {
    const u8 *data;
    size_t size; // of what could be read: up to the trailer, or up to the first fault
    u32 entries;
};

struct bundle_file {
    const char *path; // in the archive, terminated, without leading "./" or "/"
    const void *data;
    size_t size;
};

// Checks the archive once from end to end. Returns 0, or -EINVAL with a sentence in `why` ("not a cpio archive…",
// "truncated in 'debian/Image'…", "compressed with gzip: …"). What stands before the fault remains readable: after an
// error with bundle->entries > 0, say so and go on. Context: any.
[[nodiscard]] int bundle_open(struct bundle *bundle, const void *data, size_t size, char *why, size_t why_size);

// The regular file at `path` (leading "./" and "/" do not count on either side; the last of several wins, as in Linux).
// 0, -ENOENT, or -EOPNOTSUPP: it is there, but a link, a directory or a device. Context: any.
[[nodiscard]] int bundle_find(const struct bundle *bundle, const char *path, struct bundle_file *out);

// The first configuration (regular file vms/NAME.toml) in name order that comes after the path `after`; NULL: the first
// of all. 0, or -ENOENT after the last. Context: any.
[[nodiscard]] int bundle_next_config(const struct bundle *bundle, const char *after, struct bundle_file *out);

// `path` without leading "./" and "/".
const char *bundle_strip(const char *path);
