// SPDX-License-Identifier: Apache-2.0
// Diagnostics as one text, for tests that compare them.
#pragma once

#include <stdio.h>
#include <string.h>

#include "diag.h"

struct diag_log {
    struct diag_list list;
    char text[8192];
};

static inline void diag_log_emit(void *ctx, const struct diag *diag) {
    struct diag_log *log = ctx;
    size_t used = strlen(log->text);
    diag_format(diag, log->text + used, sizeof(log->text) - used);
    used = strlen(log->text);
    snprintf(log->text + used, sizeof(log->text) - used, "\n");
}

static inline struct diag_list *diag_log_init(struct diag_log *log) {
    memset(log, 0, sizeof(*log));
    log->list.emit = diag_log_emit;
    log->list.ctx = log;
    return &log->list;
}
