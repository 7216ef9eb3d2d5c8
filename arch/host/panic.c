// SPDX-License-Identifier: Apache-2.0
// A panic on the host. Apart from the rest, so that a program that needs no simulated machine does not link one.
#include "host_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void (*host_panic_hook)(const char *text);

void panic_at(const char *file, int line, const char *fmt, ...) {
    static char text[512];
    int at = snprintf(text, sizeof(text), "%s:%d: ", file, line);
    va_list args;
    va_start(args, fmt);
    if (at > 0 && (size_t)at < sizeof(text))
        vsnprintf(text + at, sizeof(text) - (size_t)at, fmt, args);
    va_end(args);
    if (host_panic_hook)
        host_panic_hook(text);
    fprintf(stderr, "panic: %s\n", text);
    abort();
}
