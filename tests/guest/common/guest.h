// SPDX-License-Identifier: Apache-2.0
// What a guest program of the tests stands on, whatever the architecture. machine.h is the architecture's: registers,
// interrupts, exceptions, firmware. The MMU stays off, so every address is guest-physical.
#pragma once

#include "machine.h"
#include "types.h"

enum { CPUS_MAX = 16 };

struct extent {
    u64 base, end;
};

// Each program's own.
void guest_main(u64 machine); // the device tree, or Linux's zero page
void secondary_main(u64 context);

// The size of the memory that the device tree tells of; and its own place.
u64 fdt_ram_size(u64 dtb);
struct extent fdt_extent(u64 dtb);
// The value of a property of the first node whose name begins like that ("": of any node); nullptr: there is none.
const u8 *fdt_find(u64 dtb, const char *node, const char *property);

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
// One verdict on many accesses: it says how many were wrong, and of the first one where, and what came: a fault's
// number, or a value instead of the one that was wanted.
void tally_begin(void);
void tally(u64 at, bool right, u64 came);
void tally_value(u64 at, bool right, u64 came, u64 wanted);
void tally_end(const char *name);
// One verdict on many steps of one CPU's: it says how many went wrong, and of the first one which, and what came
// instead.
void step(const char *what, u64 came, u64 wanted);
void steps_end(const char *name);
// The totals, then off.
[[noreturn]] void guest_end(void);
// Waits at most that long for *value to reach `least`. True: it did.
bool wait_for(volatile u64 *value, u64 least, u64 ms);

// How many CPUs there are.
u64 cpu_count(void);

// ── The architecture's (ARCH/*.c) ───────────────────────────────────────────────────────────────────────────────────
extern char __image_start[], __image_end[];

// The size of the memory, by what guest_main was given.
u64 ram_size(u64 machine);
// Where the boot loader has left what tells of the machine.
struct extent machine_told(u64 machine);
[[noreturn]] void machine_off(void);
[[noreturn]] void machine_reset(void);
// Points the exception vector to where nothing is, and jumps there.
[[noreturn]] void jump_into_nowhere(void);
void uart_put(char c);
int uart_get(void); // -1: nothing was typed
// Input raises the UART's interrupt, which uart_wait() sleeps for, with interrupts masked.
void uart_listen(void);
void uart_wait(void);

// CPUs. cpu_index() is in machine.h.
// Starts another CPU at secondary_main(context): 0, or the firmware's error.
s64 cpu_start(u64 cpu, u64 context);
s64 cpu_status(u64 cpu);       // 0: on, 1: off, more: on its way; negative: there is no such CPU
void cpu_stop(void);           // this one; returns only if it was refused
void cpu_yield(void);          // to another vCPU of the same pCPU
bool cpu_began_right(void);    // what this CPU found when it came on is what the firmware's specification says
void wait_for_interrupt(void); // also with interrupts masked; whether it is taken then is the architecture's

// Time
u64 now(void);
u64 ticks_of_ms(u64 ms);
u64 rtc_seconds(void);

// Interrupts: each CPU says first that it wants any; they stay masked until irqs_on(). IPIs have numbers, and are
// counted by them; so a number that has one sender and one receiver tells how many of its IPIs came.
enum { IPIS = 16 };
void irqs_init(void);
void irqs_on(void);
void irqs_off(void);
void ipi_send(u64 to, u32 number);
u64 ipi_taken(u32 number);
void ipi_forget(void);  // counts from 0 again
void timer_set(u64 at); // one interrupt of this CPU's when now() is there; ~0ull: none

// Exceptions are counted and skipped; a verdict that there was none.
void no_traps(void);

// Code: a function that returns a value below 2^15, made at run time for every CPU to run.
void code_write(u32 *at, u64 value);
u64 code_run(const u32 *at);

// All registers that a switch has to keep, in words. Each CPU on its own, with interrupts masked.
enum { STATE_MAX = 320 };
void state_begin(void);                // once on each CPU
u32 state_write(u64 seed);             // patterns; how many words there are
void state_read(u64 words[STATE_MAX]); // what they keep of the patterns, from then on
const char *state_name(u32 word);
u64 state_general(u64 seed); // the general registers across one cpu_yield(); 0: all are as they were
