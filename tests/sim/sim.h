// SPDX-License-Identifier: Apache-2.0
// The simulator: the real core on simulated CPUs, its interleaving, guests, operator and faults chosen by a seed.
//
//   main.c        seeds, one process each; reports
//   memory.c      atomics as scheduling points, store buffers, the allocator's faults
//   schedule.c    which CPU goes on; interrupts, kicks and clock jumps that nobody ordered; the trace
//   invariants.c  what must hold after each step
//   guests.c      what the guests do, and what each of them may expect
//   scenario.c    the machine, its VMs and the operator
#pragma once

#include "guest_internal.h"
#include "host_internal.h"
#include "vcpu.h"
#include "vm.h"

// How this run is scheduled and what goes wrong in it; fixed by the seed before it begins.
struct sim_style {
    u32 switch_in;    // one scheduling point in so many picks a CPU
    u32 access_every; // plain memory accesses between two scheduling points, on average; 0: none
    u32 linger;       // a buffered store reaches memory at one step in so many; 0: at once
    u32 freeze_in;    // one step in so many stops a CPU for a while; 0: never
    u32 stall_in;     // a CPU with stores on their way is stopped at one step in so many
    u32 spurious_in;  // likewise an interrupt without reason
    u32 jump_in;      // likewise the clock jumps
    u32 fail_in;      // one allocation in so many fails; 0: none
    u32 fail_at;      // the n-th allocation fails; 0: none
};
extern struct sim_style sim_style;

// Shared with the parent, which survives.
struct sim_result {
    u64 steps, trace, ns;
    u32 end;                                                                    // enum host_end
    u32 starts, ipis, interrupts, commands, failed_allocations, crashes, inits; // what happened, for the summary
    char what[512];                                                             // the violation; "": none
};
extern struct sim_result *sim_result;

// Ends the run as failed. Does not return.
[[noreturn, gnu::format(printf, 1, 2), gnu::cold]] void sim_violation(const char *fmt, ...);
// A line of the trace; fmt stays where it is, up to three numbers.
void sim_note(const char *fmt, u64 a, u64 b, u64 c);
void sim_trace_print(u32 lines);
void sim_print_where(const void *pc); // in the source, to stderr
// A number from the run's generator.
static inline u32 rnd(u32 below) {
    return (u32)host_random(below);
}
static inline bool one_in(u32 n) {
    return n && host_random(n) == 0;
}

// memory.c
void sim_memory_init(void);
void sim_memory_step(void);    // some stores reach memory
void sim_memory_barrier(void); // the calling CPU's do
bool sim_memory_waits(void);   // some of the calling CPU's have not
extern bool sim_faults;        // allocations may fail from now on
extern void *sim_pc;           // the last atomic's

// schedule.c
void sim_schedule_init(void);
extern const struct host_hooks sim_hooks;

// invariants.c
void sim_invariants_init(void);
void sim_invariants_step(enum host_why why);
enum { SIM_INIT = 2000 };                       // in place of an interrupt: it is to leave
void sim_expect_awake(struct vcpu *v, u32 irq); // whoever raised this interrupt for it is through
void sim_invariants_end(void);                  // when everything is over

// guests.c
void sim_guest(struct host_guest *g); // what each VM's first vCPU runs
void sim_guests_init(bool operator_comes);
enum sim_kind { SIM_FAIR, SIM_HOSTILE, SIM_KEEPER }; // the last one waits until it is stopped
bool sim_vcpu_starts(const struct vcpu *v);          // it was sent a SIPI after an INIT, and has not begun
void sim_vm_kind(const char *name, enum sim_kind kind);

// scenario.c
enum host_end sim_run(u64 seed);
bool sim_quiet(void);   // every VM has come to rest
u32 sim_vm_count(void); // 0 while they are not there
void sim_dump(void);    // to stderr
