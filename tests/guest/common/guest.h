// SPDX-License-Identifier: Apache-2.0
// What a guest program of the tests stands on, whatever the architecture. machine.h is the architecture's: registers,
// interrupts, exceptions, firmware. The MMU stays off, so every address is guest-physical.
#pragma once

#include "machine.h"
#include "types.h"

enum { CPUS_MAX = 16 };

// Each program's own.
void guest_main(u64 machine); // the device tree, or Linux's zero page
void secondary_main(u64 context);

// The size of the memory that the device tree tells of.
u64 fdt_ram_size(u64 dtb);

// Console. say() knows %s %d %u %x (64-bit values) and %c.
void say(const char *fmt, ...);
void pass(const char *name);
void fail(const char *name, const char *fmt, ...);
// PASS or FAIL by a condition.
#define CHECK(name, cond, ...)                                                                                         \
    do {                                                                                                               \
        if (cond)                                                                                                      \
            pass(name);                                                                                                \
        else                                                                                                           \
            fail(name, __VA_ARGS__);                                                                                   \
    } while (0)
// The totals, then off.
[[noreturn]] void guest_end(void);
// Waits at most that long for *value to reach `least`. True: it did.
bool wait_for(volatile u64 *value, u64 least, u64 ms);

// ── The architecture's (ARCH/runtime.c) ─────────────────────────────────────────────────────────────────────────────
extern char __image_start[], __image_end[];

// The size of the memory, by what guest_main was given.
u64 ram_size(u64 machine);
// Starts another CPU at secondary_main(context): 0, or the firmware's error.
s64 cpu_start(u64 cpu, u64 context);
[[noreturn]] void machine_off(void);
[[noreturn]] void machine_reset(void);
// Points the exception vector to where nothing is, and jumps there.
[[noreturn]] void jump_into_nowhere(void);
void wait_for_interrupt(void);
u64 now(void);
u64 ticks_of_ms(u64 ms);
void uart_put(char c);
int uart_get(void); // -1: nothing was typed
// Input raises the UART's interrupt, which uart_wait() sleeps for, with interrupts masked.
void uart_listen(void);
void uart_wait(void);
