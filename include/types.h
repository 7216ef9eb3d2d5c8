// SPDX-License-Identifier: Apache-2.0
// The base types of every file: fixed-width integers, address types, error numbers, assertions.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int32_t s32;
typedef int64_t s64;

// Addresses are distinct struct types, so that mixing a host and a guest address does not compile.
typedef struct {
    u64 v;
} pa_t; // host-physical (and, since the hypervisor maps VA = PA, a pointer's value)
typedef struct {
    u64 v;
} gpa_t; // guest-physical
typedef struct {
    u64 v;
} gva_t; // guest-virtual

struct gpa_range {
    gpa_t start;
    u64 size; // bytes
};

static inline pa_t pa(u64 v) {
    return (pa_t){v};
}
static inline gpa_t gpa(u64 v) {
    return (gpa_t){v};
}
static inline gva_t gva(u64 v) {
    return (gva_t){v};
}

#define KIB(n) ((u64)(n) << 10)
#define MIB(n) ((u64)(n) << 20)
#define GIB(n) ((u64)(n) << 30)
#define PAGE_SIZE KIB(4)
#define PAGE_SHIFT 12
#define BLOCK_SIZE MIB(2)

#define BIT(n) (1ull << (n))
// The bits high..low, both included.
#define BITS(high, low) ((~0ull >> (63 - (high))) & (~0ull << (low)))

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr) - offsetof(type, member)))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

static inline u64 align_up(u64 v, u64 to) {
    return (v + to - 1) & ~(to - 1);
}
static inline u64 align_down(u64 v, u64 to) {
    return v & ~(to - 1);
}
// The field of `value` under a contiguous `mask`, shifted down.
static inline u64 field_get(u64 mask, u64 value) {
    return (value & mask) >> __builtin_ctzll(mask);
}
static inline u64 field_set(u64 mask, u64 value) {
    return (value << __builtin_ctzll(mask)) & mask;
}

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

// Functions return 0 or a negative one of these. The numbers are Linux's, so that host tools may use strerror().
enum {
    EPERM = 1,
    ENOENT = 2,
    EIO = 5,
    E2BIG = 7,
    EAGAIN = 11,
    ENOMEM = 12,
    EFAULT = 14,
    EBUSY = 16,
    EEXIST = 17,
    ENODEV = 19,
    EINVAL = 22,
    ENOSPC = 28,
    ERANGE = 34,
    ENOSYS = 38,
    EALREADY = 114,
    EOPNOTSUPP = 95,
    ETIMEDOUT = 110,
};

// Stops the hypervisor with a report. For our own broken invariants only: unreachable from guest, configuration or
// shell input. On arch/host it aborts the process.
[[noreturn, gnu::cold, gnu::format(printf, 3, 4)]] void panic_at(const char *file, int line, const char *fmt, ...);
#define panic(...) panic_at(__FILE__, __LINE__, __VA_ARGS__)
#define BUG_ON(cond)                                                                                                   \
    do {                                                                                                               \
        if (unlikely(cond))                                                                                            \
            panic("BUG: %s", #cond);                                                                                   \
    } while (0)
