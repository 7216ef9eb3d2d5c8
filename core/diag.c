// SPDX-License-Identifier: Apache-2.0
#include "diag.h"

#include <stdarg.h>
#include <stdio.h>

[[gnu::format(printf, 6, 0)]] static void diag_emit(struct diag_list *list, enum diag_severity severity,
                                                    const char *file, u32 line, u32 col, const char *fmt,
                                                    va_list args) {
    struct diag diag = {.file = file, .line = line, .col = col, .severity = severity};
    if (severity == DIAG_ERROR)
        list->errors++;
    else
        list->warnings++;
    if (list->emit == NULL)
        return;
    vsnprintf(diag.text, sizeof(diag.text), fmt, args);
    // What is quoted from a file must not drive the terminal.
    for (char *c = diag.text; *c != '\0'; c++) {
        if ((u8)*c < 0x20 || *c == 0x7f)
            *c = '?';
    }
    list->emit(list->ctx, &diag);
}

void diag_error(struct diag_list *list, const char *file, u32 line, u32 col, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    diag_emit(list, DIAG_ERROR, file, line, col, fmt, args);
    va_end(args);
}

void diag_warning(struct diag_list *list, const char *file, u32 line, u32 col, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    diag_emit(list, DIAG_WARNING, file, line, col, fmt, args);
    va_end(args);
}

void diag_format(const struct diag *diag, char *buf, size_t size) {
    const char *kind = diag->severity == DIAG_WARNING ? "warning: " : "";
    if (diag->file == NULL)
        snprintf(buf, size, "%s%s", kind, diag->text);
    else if (diag->line == 0)
        snprintf(buf, size, "%s: %s%s", diag->file, kind, diag->text);
    else
        snprintf(buf, size, "%s:%u:%u: %s%s", diag->file, diag->line, diag->col, kind, diag->text);
}
