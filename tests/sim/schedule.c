// SPDX-License-Identifier: Apache-2.0
// Which simulated CPU goes on, what happens to it without reason, and the trace of it all.
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "sim.h"

struct sim_style sim_style;

// ── The trace ───────────────────────────────────────────────────────────────────────────────────────────────────────
enum { TRACE_MAX = 1 << 14, SYMBOLS_MAX = 1000 }; // a symbol takes a process

static struct event {
    u64 step, ns;
    u32 cpu;
    enum host_why why; // 0: a note
    const void *pc;
    const char *fmt;
    u64 arg[3];
} ring[TRACE_MAX];
static u64 events;

static struct event *next_event(void) {
    struct event *e = &ring[events++ % TRACE_MAX];
    e->step = host_machine.points;
    e->ns = host_machine.now_ns;
    e->cpu = host_cpu_current->id;
    return e;
}

void sim_note(const char *fmt, u64 a, u64 b, u64 c) {
    struct event *e = next_event();
    e->why = (enum host_why)0;
    e->fmt = fmt;
    e->arg[0] = a;
    e->arg[1] = b;
    e->arg[2] = c;
}

static void trace_point(enum host_why why) {
    struct event *e = next_event();
    e->why = why;
    e->pc = why >= WHY_ATOMIC ? sim_pc : NULL;
    const struct arch_cpu *a = &host_cpu_current->arch;
    e->arg[0] = a->lock_count ? a->locks[a->lock_count - 1] : 0;
    const struct task *t = host_cpu_current->current;
    e->fmt = t ? t->name : "-";
}

// A line of the trace, and where in the source, if the toolchain's symbolizer is there.
void sim_print_where(const void *pc) {
    char command[128], line[256];
    fflush(stderr);
    snprintf(command, sizeof(command), "llvm-symbolizer-19 --obj=/proc/%d/exe --output-style=GNU -s -f -a -p %p 2>&1",
             (int)getpid(), pc);
    FILE *f = popen(command, "r");
    if (!f)
        return;
    if (fgets(line, sizeof(line), f)) {
        const char *at = line;
        while (*at && *at != ' ')
            at++;
        fprintf(stderr, "%s", *at ? at : "\n");
    }
    pclose(f);
}

void sim_trace_print(u32 lines) {
    static const char *const names[] = {"",      "lock",  "unlock", "spin",   "idle",  "kick",
                                        "entry", "guest", "test",   "atomic", "access"};
    u64 from = events > MIN(lines, TRACE_MAX) ? events - MIN(lines, TRACE_MAX) : 0;
    for (u64 n = from; n < events; n++) {
        const struct event *e = &ring[n % TRACE_MAX];
        fprintf(stderr, "  step %llu, %llu ns, cpu %u: ", (unsigned long long)e->step, (unsigned long long)e->ns,
                e->cpu);
        if (!e->why) {
            fprintf(stderr, e->fmt, (unsigned long long)e->arg[0], (unsigned long long)e->arg[1],
                    (unsigned long long)e->arg[2]);
            fprintf(stderr, "\n");
            continue;
        }
        fprintf(stderr, "%s", names[e->why]);
        if (e->arg[0])
            fprintf(stderr, " (holds rank %llu)", (unsigned long long)e->arg[0]);
        if (e->pc && lines <= SYMBOLS_MAX)
            sim_print_where(e->pc);
        else
            fprintf(stderr, "\n");
    }
}

void sim_violation(const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    vsnprintf(sim_result->what, sizeof(sim_result->what), fmt, args);
    va_end(args);
    host_fail();
}

// ── Chance ──────────────────────────────────────────────────────────────────────────────────────────────────────────
static struct cpu *frozen; // stands still while others can go on
static u64 frozen_until;   // step

void sim_schedule_init(void) {
    events = 0;
    frozen = NULL;
}

// What the hardware may do at any moment.
static void disturb(void) {
    struct cpu *c = &cpus[rnd(cpu_count)];
    if (one_in(sim_style.spurious_in) && c->arch.started) {
        u32 irq = one_in(2) ? HOST_IRQ_KICK : HOST_IRQ_TIMER;
        sim_note("an interrupt without reason for cpu %llu: %llu", c->id, irq, 0);
        c->arch.pending |= irq;
    }
    if (one_in(sim_style.jump_in)) {
        u64 ns = 1000ull << rnd(15);
        sim_note("the clock jumps by %llu ns", ns, 0, 0);
        host_machine.now_ns += ns;
    }
    if (one_in(sim_style.freeze_in)) {
        frozen = one_in(2) ? c : host_cpu_current;
        frozen_until = host_machine.points + 1 + rnd(400);
    } else if (sim_memory_waits() && one_in(sim_style.stall_in)) {
        frozen = host_cpu_current;
        frozen_until = host_machine.points + 1 + rnd(100);
    }
}

static void step(enum host_why why) {
    host_machine.picking = true; // what we look at does not run
    trace_point(why);
    sim_memory_step();
    disturb();
    sim_invariants_step(why);
    host_machine.picking = false;
}

static bool leave(enum host_why why) {
    (void)why;
    return one_in(sim_style.switch_in) || frozen == host_cpu_current;
}

static u32 choose(struct cpu *const *list, u32 count) {
    if (frozen && host_machine.points >= frozen_until)
        frozen = NULL;
    u32 at = rnd(count);
    return list[at] == frozen ? (at + 1) % count : at;
}

const struct host_hooks sim_hooks = {step, leave, choose, sim_memory_barrier};
