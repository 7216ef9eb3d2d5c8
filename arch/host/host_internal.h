// SPDX-License-Identifier: Apache-2.0
// Between the files of arch/host.
#pragma once

#include "arch.h"
#include "cpu.h"
#include "fiber.h"
#include "host.h"

// Called by a panic before it aborts; may not return.
extern void (*host_panic_hook)(const char *text);

struct vm;

struct host_machine {
    struct host_options opt;
    bool active;   // inside host_run or host_boot
    bool stopping; // letting the CPUs drop their locks
    bool picking;  // looking for the CPU that goes on: not a moment for a scheduling point
    enum host_end end;
    u64 rng;
    u64 now_ns;
    u64 trace;
    u64 points;
    u64 spins; // scheduling points in a row at which every CPU only spun
    struct board board;
};
extern struct host_machine host_machine;

enum host_why {
    WHY_LOCK = 1,
    WHY_UNLOCK,
    WHY_RELAX,
    WHY_IDLE,
    WHY_KICK,
    WHY_ENTRY,
    WHY_GUEST,
    WHY_TEST,
    WHY_ATOMIC,
    WHY_ACCESS
};

// For a simulator that does more at a scheduling point than to pick a CPU evenly. NULL: none.
struct host_hooks {
    void (*step)(enum host_why why);                   // at each, before a CPU is picked
    bool (*leave)(enum host_why why);                  // is one to be picked now?
    u32 (*choose)(struct cpu *const *list, u32 count); // which
    void (*barrier)(void);                             // the calling CPU's stores have reached memory
};
extern const struct host_hooks *host_hooks;

// A scheduling point: time passes, and another CPU may be picked.
void host_schedule(enum host_why why);
// The CPU sleeps until an interrupt is pending for it (returns with it pending).
void host_sleep(void);
// Ends the run as HOST_FAILED.
[[noreturn]] void host_fail(void);
// Bits of enum host_irq that wait for this CPU.
u32 host_pending(const struct cpu *cpu);
// Checks that no lock is held where none may be.
void host_assert_unlocked(const char *where);
[[gnu::format(printf, 1, 2)]] void host_note(const char *fmt, ...); // to stderr

// Set by the first guest, so that tests without guests need neither them nor the virtual interrupt controller.
struct host_guest_hooks {
    u64 (*next_event)(const struct cpu *cpu); // when the guest that the CPU is in needs it next, TIMER_NEVER: never
    bool (*irq)(const struct cpu *cpu);       // it does now
    void (*take)(struct cpu *cpu);            // handle it
    void (*reset)(void);                      // a new machine: forget all
    void (*choose)(struct vm *vm);            // fills in vm->arch.irqchip
    int (*irqchip_create)(struct vm *vm);     // of a machine that has no GIC
    void (*irqchip_destroy)(struct vm *vm);
};
extern const struct host_guest_hooks *host_guest_hooks;
// What the UART's interrupt calls; set by host_uart_attach().
extern void (*host_uart_irq)(void);
// platform.c
void host_platform_reset(void);
