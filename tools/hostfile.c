// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools.h"

static enum hostfile_status map_file(int fd, struct hostfile *out, const char **why) {
    struct stat status;
    if (fstat(fd, &status) != 0) {
        *why = strerror(errno);
        return HOSTFILE_UNREADABLE;
    }
    if (!S_ISREG(status.st_mode)) {
        *why = S_ISDIR(status.st_mode) ? "is a directory" : "is not a regular file";
        return HOSTFILE_UNREADABLE;
    }
    *out = (struct hostfile){.data = "", .size = (size_t)status.st_size};
    if (out->size == 0)
        return HOSTFILE_OK;
    out->data = mmap(NULL, out->size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (out->data != MAP_FAILED)
        return HOSTFILE_OK;
    *why = strerror(errno);
    return HOSTFILE_UNREADABLE;
}

enum hostfile_status hostfile_open(const char *path, struct hostfile *out, const char **why) {
    // Not blocking: a FIFO must not hold us up before fstat tells what it is.
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        *why = strerror(errno);
        return errno == ENOENT || errno == ENOTDIR ? HOSTFILE_ABSENT : HOSTFILE_UNREADABLE;
    }
    enum hostfile_status status = map_file(fd, out, why);
    close(fd);
    return status;
}

const char *hostfile_error(void) {
    return strerror(errno);
}

static void out_of_memory(void) {
    fputs("bulkhead: out of memory\n", stderr);
    exit(EXIT_ERRORS);
}

void *host_alloc(size_t size) {
    void *p = calloc(1, size > 0 ? size : 1);
    if (p == NULL)
        out_of_memory();
    return p;
}

char *host_format(const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (len < 0)
        out_of_memory();
    char *text = host_alloc((size_t)len + 1);
    va_start(args, fmt);
    vsnprintf(text, (size_t)len + 1, fmt, args);
    va_end(args);
    return text;
}
