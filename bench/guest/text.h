// SPDX-License-Identifier: Apache-2.0
// What the measuring guests of all architectures share: their words, and the word bench=WHAT of the command line.
#pragma once

#include <stdint.h>

void put_char(char c);             // the machine's
[[noreturn]] void power_off(void); // and how it ends

static inline void put(const char *text) {
    for (; *text; text++)
        put_char(*text);
}

static inline void put_number(uint64_t n) {
    char digits[21];
    char *at = &digits[sizeof(digits) - 1];
    *at = 0;
    do
        *--at = (char)('0' + n % 10);
    while (n /= 10);
    put(at);
}

// What follows a text in memory, or nullptr.
static inline const char *after_in(const uint8_t *from, uint32_t size, const char *key) {
    for (uint32_t at = 0; at < size; at++) {
        uint32_t n = 0;
        while (key[n] && at + n < size && from[at + n] == (uint8_t)key[n])
            n++;
        if (!key[n])
            return (const char *)&from[at + n];
    }
    return nullptr;
}

// What follows a text anywhere in the device tree, whose command line is the only place that has it; or nullptr.
static inline const char *after(const uint8_t *fdt, const char *key) {
    uint32_t size = (uint32_t)fdt[4] << 24 | (uint32_t)fdt[5] << 16 | (uint32_t)fdt[6] << 8 | fdt[7];
    return after_in(fdt, size, key);
}

static inline bool is(const char *word, const char *name) {
    for (; *name; word++, name++)
        if (*word != *name)
            return false;
    return *word == 0 || *word == ' ';
}

static inline void check(bool ok, const char *what) {
    if (ok)
        return;
    put("bench failed: ");
    put(what);
    put("\r\n");
    power_off();
}
