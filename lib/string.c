// SPDX-License-Identifier: Apache-2.0
// Memory and string routines. The copies count instructions, for whole guest images pass through them, and use aligned
// accesses only, for they run before the MMU is on, where an unaligned access faults.
#include "names.h"

#include "include/string.h"

#include <stdint.h>

// Without it the compiler would see a memcpy() in the loop of memcpy() and call it.
#define NO_BUILTIN [[clang::no_builtin]]
// The merging copy reads whole aligned words, of which only a part may belong to the object. Such a word never crosses
// a page, so no more than that part can matter to the hardware.
#define NO_ASAN [[clang::no_sanitize("address")]]

typedef uint64_t word_t [[gnu::may_alias]];
typedef uint32_t half_t [[gnu::may_alias]];

enum { WORD = sizeof(word_t), HALF = sizeof(half_t), WORD_BITS = 64, CHUNK = 8 * WORD };

static inline size_t misalignment(const void *p) {
    return (uintptr_t)p % WORD;
}

NO_BUILTIN static inline void copy_bytes(unsigned char *d, const unsigned char *s, size_t n) {
    while (n--)
        *d++ = *s++;
}

// Copies the words of [s, s + n) for a source and a destination aligned alike; returns how many bytes that was. Each
// round loads before it stores, so that a destination below an overlapping source is fine.
NO_BUILTIN static inline size_t copy_words(word_t *d, const word_t *s, size_t n) {
    size_t left = n;
    for (; left >= CHUNK; left -= CHUNK, d += 8, s += 8) {
        const word_t a = s[0], b = s[1], c = s[2], e = s[3], f = s[4], g = s[5], h = s[6], i = s[7];
        d[0] = a, d[1] = b, d[2] = c, d[3] = e, d[4] = f, d[5] = g, d[6] = h, d[7] = i;
    }
    for (; left >= WORD; left -= WORD)
        *d++ = *s++;
    return n - left;
}

// The same in half words, for a source and a destination four bytes apart: files in a cpio archive lie so.
NO_BUILTIN static inline size_t copy_halves(half_t *d, const half_t *s, size_t n) {
    size_t left = n;
    for (; left >= 8 * HALF; left -= 8 * HALF, d += 8, s += 8) {
        const half_t a = s[0], b = s[1], c = s[2], e = s[3], f = s[4], g = s[5], h = s[6], i = s[7];
        d[0] = a, d[1] = b, d[2] = c, d[3] = e, d[4] = f, d[5] = g, d[6] = h, d[7] = i;
    }
    for (; left >= HALF; left -= HALF)
        *d++ = *s++;
    return n - left;
}

// The same for a source `skew` bytes past a word: each destination word is put together from two source words (all our
// targets are little-endian). `s` points to the word that the first source byte lies in.
NO_BUILTIN NO_ASAN static inline size_t merge_words(word_t *d, const word_t *s, size_t skew, size_t n) {
    const size_t low = skew * 8, high = WORD_BITS - low;
    size_t left = n;
    word_t have = *s++;
    for (; left >= 4 * WORD; left -= 4 * WORD, d += 4, s += 4) {
        const word_t a = s[0], b = s[1], c = s[2], e = s[3];
        d[0] = have >> low | a << high;
        d[1] = a >> low | b << high;
        d[2] = b >> low | c << high;
        d[3] = c >> low | e << high;
        have = e;
    }
    for (; left >= WORD; left -= WORD) {
        const word_t next = *s++;
        *d++ = have >> low | next << high;
        have = next;
    }
    return n - left;
}

// Upwards; right for disjoint objects and for a destination below its source.
NO_BUILTIN static inline void copy_forward(unsigned char *d, const unsigned char *s, size_t n) {
    if (n >= 2 * WORD) {
        const size_t head = (WORD - misalignment(d)) % WORD;
        copy_bytes(d, s, head);
        d += head, s += head, n -= head;
        const size_t skew = misalignment(s);
        void *to = d;
        const void *from = s, *from_word = s - skew;
        const size_t done = skew == 0      ? copy_words(to, from, n)
                            : skew == HALF ? copy_halves(to, from, n)
                                           : merge_words(to, from_word, skew, n);
        d += done, s += done, n -= done;
    }
    copy_bytes(d, s, n);
}

NO_BUILTIN static inline void copy_backward(unsigned char *d, const unsigned char *s, size_t n) {
    d += n, s += n;
    if (misalignment(d) == misalignment(s)) {
        for (; n && misalignment(d); n--)
            *--d = *--s;
        for (; n >= WORD; n -= WORD) {
            d -= WORD, s -= WORD;
            *(word_t *)(void *)d = *(const word_t *)(const void *)s;
        }
    }
    while (n--)
        *--d = *--s;
}

NO_BUILTIN void *memcpy(void *dst, const void *src, size_t n) {
    copy_forward(dst, src, n);
    return dst;
}

NO_BUILTIN void *memmove(void *dst, const void *src, size_t n) {
    if ((uintptr_t)dst - (uintptr_t)src >= n)
        copy_forward(dst, src, n);
    else
        copy_backward(dst, src, n);
    return dst;
}

NO_BUILTIN void *memset(void *dst, int c, size_t n) {
    unsigned char *d = dst;
    const unsigned char byte = (unsigned char)c;
    if (n >= 2 * WORD) {
        for (; misalignment(d); n--)
            *d++ = byte;
        const word_t value = byte * 0x0101010101010101u;
        word_t *w = (word_t *)(void *)d;
        for (; n >= CHUNK; n -= CHUNK, w += 8)
            w[0] = value, w[1] = value, w[2] = value, w[3] = value, w[4] = value, w[5] = value, w[6] = value,
            w[7] = value;
        for (; n >= WORD; n -= WORD)
            *w++ = value;
        d = (unsigned char *)w;
    }
    while (n--)
        *d++ = byte;
    return dst;
}

NO_BUILTIN int memcmp(const void *a, const void *b, size_t n) {
    const unsigned char *p = a, *q = b;
    if (misalignment(p) == 0 && misalignment(q) == 0)
        for (; n >= WORD && *(const word_t *)(const void *)p == *(const word_t *)(const void *)q; n -= WORD)
            p += WORD, q += WORD;
    for (; n; n--, p++, q++)
        if (*p != *q)
            return *p < *q ? -1 : 1;
    return 0;
}

NO_BUILTIN void *memchr(const void *s, int c, size_t n) {
    const unsigned char *p = s;
    for (; n; n--, p++)
        if (*p == (unsigned char)c)
            return (void *)(uintptr_t)p;
    return nullptr;
}

NO_BUILTIN size_t strlen(const char *s) {
    const char *p = s;
    while (*p)
        p++;
    return (size_t)(p - s);
}

NO_BUILTIN size_t strnlen(const char *s, size_t max) {
    size_t n = 0;
    while (n < max && s[n])
        n++;
    return n;
}

NO_BUILTIN int strcmp(const char *a, const char *b) {
    while (*a && *a == *b)
        a++, b++;
    return (unsigned char)*a - (unsigned char)*b;
}

NO_BUILTIN int strncmp(const char *a, const char *b, size_t n) {
    for (; n; n--, a++, b++)
        if (*a != *b || !*a)
            return (unsigned char)*a - (unsigned char)*b;
    return 0;
}

NO_BUILTIN char *strchr(const char *s, int c) {
    for (;; s++) {
        if (*s == (char)c)
            return (char *)(uintptr_t)s;
        if (!*s)
            return nullptr;
    }
}

NO_BUILTIN char *strrchr(const char *s, int c) {
    const char *last = nullptr;
    for (;; s++) {
        if (*s == (char)c)
            last = s;
        if (!*s)
            return (char *)(uintptr_t)last;
    }
}

NO_BUILTIN char *strstr(const char *haystack, const char *needle) {
    const size_t n = strlen(needle);
    for (;; haystack++) {
        if (strncmp(haystack, needle, n) == 0)
            return (char *)(uintptr_t)haystack;
        if (!*haystack)
            return nullptr;
    }
}
