// SPDX-License-Identifier: Apache-2.0
// What is wrong, sorted as a reader goes through the files.
#include <stdlib.h>
#include <string.h>

#include "project.h"

static void keep(void *ctx, const struct diag *diag) {
    struct report *report = ctx;
    if (report->count == report->size) {
        report->size = report->size * 2 + 16;
        struct diag *list = host_alloc(report->size * sizeof(*list));
        if (report->count > 0)
            memcpy(list, report->list, report->count * sizeof(*list));
        free(report->list);
        report->list = list;
    }
    report->list[report->count] = *diag;
    report->list[report->count++].file = host_format("%s", diag->file);
}

void report_init(struct report *report) {
    *report = (struct report){.diags = {.emit = keep}};
    report->diags.ctx = report;
}

// What concerns a whole file comes after its lines.
static bool comes_before(const struct diag *a, const struct diag *b) {
    u32 a_line = a->line - 1, b_line = b->line - 1;
    return a_line != b_line ? a_line < b_line : a->col < b->col;
}

// Insertion: stable, and the lists are short.
static void sort(struct diag *list, size_t count) {
    for (size_t i = 1; i < count; i++) {
        struct diag moved = list[i];
        size_t j = i;
        for (; j > 0 && comes_before(&moved, &list[j - 1]); j--)
            list[j] = list[j - 1];
        list[j] = moved;
    }
}

unsigned report_print(struct report *report, char *const *files, size_t count) {
    char line[DIAG_LINE_MAX];
    sort(report->list, report->count);
    for (size_t i = 0; i < count; i++) {
        bool seen = false; // a file that was given twice is printed once
        for (size_t j = 0; j < i; j++)
            seen |= strcmp(files[i], files[j]) == 0;
        for (size_t j = 0; j < report->count && !seen; j++) {
            if (strcmp(report->list[j].file, files[i]) != 0)
                continue;
            diag_format(&report->list[j], line, sizeof(line));
            fprintf(stderr, "%s\n", line);
        }
    }
    for (size_t i = 0; i < report->count; i++)
        free((char *)(uintptr_t)report->list[i].file);
    free(report->list);
    return report->diags.errors;
}
