// SPDX-License-Identifier: Apache-2.0
#include <stdarg.h>

#include "guest.h"

static u32 passed, failed;

// ── Console ─────────────────────────────────────────────────────────────────────────────────────────────────────────
static void put_string(const char *s) {
    for (; *s; s++) {
        if (*s == '\n')
            uart_put('\r');
        uart_put(*s);
    }
}

static void put_number(u64 v, u32 base) {
    char text[24];
    u32 n = sizeof(text) - 1;
    text[n] = 0;
    do
        text[--n] = "0123456789abcdef"[v % base];
    while ((v /= base) != 0);
    put_string(text + n);
}

static void say_args(const char *fmt, va_list args) {
    for (; *fmt; fmt++) {
        if (*fmt != '%') {
            put_string((char[]){*fmt, 0});
            continue;
        }
        fmt++;
        if (*fmt == 's') {
            put_string(va_arg(args, const char *));
        } else if (*fmt == 'c') {
            uart_put((char)va_arg(args, int));
        } else if (*fmt == 'd') {
            s64 v = va_arg(args, s64);
            if (v < 0)
                uart_put('-');
            put_number(v < 0 ? 0 - (u64)v : (u64)v, 10);
        } else {
            if (*fmt == 'x')
                put_string("0x");
            put_number(va_arg(args, u64), *fmt == 'x' ? 16 : 10);
        }
    }
}

void say(const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    say_args(fmt, args);
    va_end(args);
}

void pass(const char *name) {
    passed++;
    say("PASS %s\n", name);
}

void fail(const char *name, const char *fmt, ...) {
    va_list args;
    failed++;
    say("FAIL %s: ", name);
    va_start(args, fmt);
    say_args(fmt, args);
    va_end(args);
    put_string("\n");
}

static struct {
    u64 tried, wrong, at, came, wanted; // the last three of the first that was wrong
    bool value;
} accesses;

void tally_begin(void) {
    accesses.tried = accesses.wrong = 0;
}

static bool tally_first(u64 at, bool right, u64 came) {
    accesses.tried++;
    if (right || accesses.wrong++ != 0)
        return false;
    accesses.at = at;
    accesses.came = came;
    return true;
}

void tally(u64 at, bool right, u64 came) {
    if (tally_first(at, right, came))
        accesses.value = false;
}

void tally_value(u64 at, bool right, u64 came, u64 wanted) {
    if (!tally_first(at, right, came))
        return;
    accesses.value = true;
    accesses.wanted = wanted;
}

void tally_end(const char *name) {
    if (accesses.wrong == 0)
        pass(name);
    else if (accesses.value)
        fail(name, "%u of %u, first at %x: %x, not %x", accesses.wrong, accesses.tried, accesses.at, accesses.came,
             accesses.wanted);
    else
        fail(name, "%u of %u, first at %x: fault %x", accesses.wrong, accesses.tried, accesses.at, accesses.came);
}

static struct {
    u64 taken, wrong, came, wanted; // the last two of the first that was wrong
    const char *first;
} steps;

void step(const char *what, u64 came, u64 wanted) {
    steps.taken++;
    if (came == wanted || steps.wrong++ != 0)
        return;
    steps.first = what;
    steps.came = came;
    steps.wanted = wanted;
}

void steps_end(const char *name) {
    CHECK(name, steps.wrong == 0, "CPU %u: %u of %u steps, first '%s': %x, not %x", cpu_index(), steps.wrong,
          steps.taken, steps.first, steps.came, steps.wanted);
    steps.taken = steps.wrong = 0;
}

void guest_end(void) {
    if (passed + failed > 0)
        say("%u passed, %u failed\n", (u64)passed, (u64)failed);
    machine_off();
}

// ── Time ────────────────────────────────────────────────────────────────────────────────────────────────────────────
bool wait_for(volatile u64 *value, u64 least, u64 ms) {
    u64 end = now() + ticks_of_ms(ms);
    while (*value < least)
        if (now() > end)
            return *value >= least;
    return true;
}

// ── Device tree ─────────────────────────────────────────────────────────────────────────────────────────────────────
static u32 big_endian(const u8 *p) {
    return (u32)p[0] << 24 | (u32)p[1] << 16 | (u32)p[2] << 8 | p[3];
}

static bool begins(const u8 *p, const char *text) {
    for (; *text; p++, text++)
        if (*p != (u8)*text)
            return false;
    return true;
}

static u32 length_of(const char *text) {
    u32 n = 0;
    while (text[n])
        n++;
    return n;
}

// The structure block is walked word by word.
const u8 *fdt_find(u64 dtb, const char *node, const char *property) {
    const u8 *fdt = (const u8 *)dtb;
    const u8 *at = fdt + big_endian(fdt + 8), *strings = fdt + big_endian(fdt + 12);
    bool inside = false;
    for (;;) {
        u32 token = big_endian(at);
        at += 4;
        if (token == 1) { // a node begins: its name
            inside = begins(at, node);
            while (*at)
                at++;
            at = (const u8 *)(((u64)at + 4) & ~3ull);
        } else if (token == 3) { // a property: length, name, value
            u32 len = big_endian(at);
            const u8 *name = strings + big_endian(at + 4);
            if (inside && begins(name, property) && !name[length_of(property)])
                return at + 8;
            at += 8 + ((len + 3) & ~3u);
        } else if (token == 9) {
            return nullptr;
        }
    }
}

u64 fdt_ram_size(u64 dtb) { // "reg" has two cells each
    const u8 *reg = fdt_find(dtb, "memory@", "reg");
    return reg ? (u64)big_endian(reg + 8) << 32 | big_endian(reg + 12) : 0;
}

struct extent fdt_extent(u64 dtb) { // and the page that it begins on
    return (struct extent){dtb & ~0xfffull, dtb + big_endian((const u8 *)dtb + 4) + 8};
}

// ── CPUs ────────────────────────────────────────────────────────────────────────────────────────────────────────────
u64 cpu_count(void) {
    u64 n = 0;
    while (n < CPUS_MAX && cpu_status(n) >= 0)
        n++;
    return n;
}
