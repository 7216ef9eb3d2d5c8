// SPDX-License-Identifier: Apache-2.0
// Diagnostics: what is wrong with a configuration, and where. Every error is reported, not only the first; where they
// go (the log, stderr, a list in a test) is the business of the one who made the diag_list.
#pragma once

#include "types.h"

enum diag_severity { DIAG_ERROR, DIAG_WARNING };

enum { DIAG_TEXT_MAX = 200, DIAG_LINE_MAX = 480 };

struct diag {
    const char *file; // lives only as long as the call
    u32 line;         // from 1; 0: the whole file is meant
    u32 col;          // from 1, counted in characters
    enum diag_severity severity;
    char text[DIAG_TEXT_MAX];
};

struct diag_list {
    void (*emit)(void *ctx, const struct diag *diag); // called once a diagnostic; may be NULL: only count
    void *ctx;
    u32 errors; // how many there were
    u32 warnings;
};

// Context: any that `emit` allows.
[[gnu::format(printf, 5, 6)]] void diag_error(struct diag_list *list, const char *file, u32 line, u32 col,
                                              const char *fmt, ...);
[[gnu::format(printf, 5, 6)]] void diag_warning(struct diag_list *list, const char *file, u32 line, u32 col,
                                                const char *fmt, ...);

// "file:line:col: text", "file: text" when line is 0, "text" when there is no file either; a warning says so before its
// text. Cut at `size`; always terminated.
void diag_format(const struct diag *diag, char *buf, size_t size);
