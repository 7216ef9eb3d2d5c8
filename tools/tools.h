// SPDX-License-Identifier: Apache-2.0
// The host command's own parts. Files are read through hostfile.c, which knows the system's errno; the rest shares the
// core's headers, whose E* are enumerators.
#pragma once

#include <stddef.h>
#include <stdio.h>

enum { EXIT_FINE = 0, EXIT_ERRORS = 1, EXIT_USAGE = 2 };

// ---- hostfile.c

struct hostfile {
    const void *data; // whole, read-only, for the life of the process; not NULL even when empty
    size_t size;
};

enum hostfile_status { HOSTFILE_OK, HOSTFILE_ABSENT, HOSTFILE_UNREADABLE };

// Opens a regular file. After an error *why is the system's sentence.
enum hostfile_status hostfile_open(const char *path, struct hostfile *out, const char **why);
// The system's sentence for what went wrong last.
const char *hostfile_error(void);

// malloc and friends that end the process when there is no memory.
void *host_alloc(size_t size);
[[gnu::format(printf, 1, 2)]] char *host_format(const char *fmt, ...);

// ---- project.c: the configurations of one call, checked

struct project_options {
    const char *dir;    // where the images are; NULL: they are not looked at
    const char *arch;   // "aarch64", …; NULL: any
    const char *memory; // "2G"; NULL: unknown
    const char *smp;    // "4"; NULL: unknown
};

struct project_file {
    char *path; // in the bundle
    struct hostfile file;
};

struct project {
    size_t config_count;
    struct project_file *configs; // in the order of the command line
    size_t image_count;
    struct project_file *images; // each once
};

// Is the value of an option right? False after a message.
bool project_options_valid(const struct project_options *options);

// Reads and checks the files, writes every error to stderr in the order of files and lines. Returns how many there
// were.
unsigned project_load(const struct project_options *options, char *const *files, size_t count, struct project *out);
void project_free(struct project *project);

// ---- cpio.c

// Writes the project as a newc archive. False: writing failed, hostfile_error() says why.
bool cpio_write(FILE *out, const struct project *project);

// ---- run.c

struct run_options {
    const char *arch, *smp, *memory, *cpu, *append, *image, *dir;
    bool print;
    char *const *qemu_args; // NULL-terminated
    char *const *files;
    size_t file_count;
};

// Bundles and boots. Returns the exit status.
int run_qemu(const struct run_options *options, const struct project *project);
