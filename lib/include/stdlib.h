// SPDX-License-Identifier: Apache-2.0
// What libfdt wants of <stdlib.h>. There is no allocator here on purpose.
#pragma once

#include <stddef.h>

// As ISO C, but without errno: a value out of range is the type's maximum, an unknown base converts nothing.
unsigned long strtoul(const char *s, char **end, int base);
unsigned long long strtoull(const char *s, char **end, int base);
