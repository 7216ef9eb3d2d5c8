// SPDX-License-Identifier: Apache-2.0
// For those parts of the host command that share the core's headers.
#pragma once

#include "config.h"
#include "diag.h"
#include "plan.h"
#include "tools.h"

// Diagnostics, kept to be printed in the order of files and lines.
struct report {
    struct diag_list diags;
    struct diag *list; // file is ours
    size_t count, size;
};

void report_init(struct report *report);
// Prints all to stderr. Returns the number of errors.
unsigned report_print(struct report *report, char *const *files, size_t count);
