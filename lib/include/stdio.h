// SPDX-License-Identifier: Apache-2.0
// Formatting into memory: %s %c %d %i %u %o %x %X %p %%, with hh h l ll z j t, width and precision (digits or *), and
// the flags '-' '0' '+' ' ' '#'. No floating point, no %n; an unknown conversion is printed as it stands.
// Context: any.
#pragma once

#include <stdarg.h>
#include <stddef.h>

// At most `size` bytes are written, the terminating zero included; the length that the whole text has is returned.
[[gnu::format(printf, 3, 4)]] int snprintf(char *buf, size_t size, const char *fmt, ...);
[[gnu::format(printf, 3, 0)]] int vsnprintf(char *buf, size_t size, const char *fmt, va_list list);
