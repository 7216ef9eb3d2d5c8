// SPDX-License-Identifier: Apache-2.0
// Writes a bundle. The same input gives the same bytes: no times, no owners.
#include <string.h>

#include "tools.h"

enum { MODE_FILE = 0100644 };

static bool write_padding(FILE *out, size_t written) {
    static const char zeros[4];
    size_t pad = -written & 3;
    return fwrite(zeros, 1, pad, out) == pad;
}

static bool write_entry(FILE *out, unsigned ino, unsigned mode, const char *path, const void *data, size_t size) {
    size_t name_size = strlen(path) + 1;
    // magic, ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize, check
    int header = fprintf(out, "070701%08X%08X%08X%08X%08X%08X%08zX%08X%08X%08X%08X%08zX%08X", ino, mode, 0u, 0u, 1u, 0u,
                         size, 0u, 0u, 0u, 0u, name_size, 0u);
    return header == 110 && fwrite(path, 1, name_size, out) == name_size && write_padding(out, 110 + name_size) &&
           fwrite(data, 1, size, out) == size && write_padding(out, size);
}

static bool write_files(FILE *out, unsigned *ino, const struct project_file *files, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (!write_entry(out, ++*ino, MODE_FILE, files[i].path, files[i].file.data, files[i].file.size))
            return false;
    }
    return true;
}

bool cpio_write(FILE *out, const struct project *project) {
    unsigned ino = 0;
    return write_files(out, &ino, project->configs, project->config_count) &&
           write_files(out, &ino, project->images, project->image_count) &&
           write_entry(out, 0, 0, "TRAILER!!!", "", 0) && fflush(out) == 0;
}
