// SPDX-License-Identifier: Apache-2.0
// A machine inside one Linux process, for tests: simulated CPUs under a virtual clock, all in one thread, interleaved
// by a seeded generator at every scheduling point (a lock, a spin, idle, a kick, a guest's instruction). The same seed
// gives the same run. Guests are C functions (guest.h).
//
// Without host_run ("bare") the core's code may be called straight from main(): it is then the boot flow of CPU 0, time
// stands still but for host_advance(), and only the order of locks is checked.
#pragma once

#include "arch_types.h"
#include "board.h"
#include "types.h"

enum host_end {
    HOST_DONE,     // the function given to host_run has returned
    HOST_DEADLOCK, // every CPU waits and nothing is due: only with options.deadlock_ok, else it aborts
    HOST_PANIC,    // only with options.panic_ok
    HOST_FAILED,   // host_check()
    HOST_LIMIT,    // options.max_points scheduling points have passed
    HOST_POWER_OFF,
    HOST_REBOOT,
};

struct host_options {
    u32 cpus; // 1…64, default 1
    u64 seed;
    u64 memory;     // bytes of RAM, default 64 MiB
    u64 max_points; // 0: 20 million
    bool deadlock_ok, panic_ok;
    bool echo;                   // the UART's output goes to stderr as well
    struct gpa_range guest_hole; // arch_guest_ram_hole()
    u64 cpus_dead;               // bit n: CPU n does not come up when it is started
};

// Sets up a fresh machine. Frees what the last run left behind.
void host_init(const struct host_options *options);
// Brings the CPUs up and runs fn(arg) as a task of TASK_PRIORITY_DEFAULT on CPU 0.
enum host_end host_run(void (*fn)(void *), void *arg);
// Runs fn(arg) as the boot flow of CPU 0, with nothing set up but memory: for tests of the boot itself.
enum host_end host_boot(void (*fn)(void *), void *arg);
// Ends the run from inside. Does not return.
[[noreturn]] void host_stop(enum host_end end);
// True if fn(arg), called bare, panics; the message is in host_panic_text().
bool host_panics(void (*fn)(void *), void *arg);
const char *host_panic_text(void);

// Inside a run: like assert, but safe on a simulated stack.
#define host_check(cond) ((cond) ? (void)0 : host_check_failed(__FILE__, __LINE__, #cond))
[[noreturn, gnu::cold]] void host_check_failed(const char *file, int line, const char *what);

// A hash over every scheduling decision so far: equal for equal runs.
u64 host_trace(void);
// Scheduling points so far.
u64 host_points(void);
// A number from the run's generator: tests that vary something by the seed use it, so that a run replays.
u64 host_random(u64 below);
// A scheduling point by itself.
void host_point(void);
// Lets virtual time pass: on this CPU alone (bare: handles interrupts that fall due).
void host_advance(u64 ns);
// Prints what every CPU does.
void host_dump(void);

// The machine's description, as arch_probe hands it to the core.
struct board *host_board(void);
// The simulated UART: makes it the port that drv/uart talks to, its interrupt going to irq() on CPU 0
// (console_host_irq; NULL: none). Otherwise output arrives through arch_early_putc only.
void host_uart_attach(void (*irq)(void));
// All output so far, NUL-terminated, and a way to forget it. Input raises the interrupt.
const char *host_uart_output(void);
void host_uart_clear(void);
void host_uart_input(const char *bytes);
