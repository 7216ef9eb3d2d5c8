// SPDX-License-Identifier: Apache-2.0
// The simulated machine: which CPU goes on, what time it is, which interrupts wait.
#define _DEFAULT_SOURCE // MAP_ANONYMOUS
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "host_internal.h"
#include "page.h"

enum {
    POINT_NS = 100,      // virtual time that a scheduling point takes
    ATOMIC_NS = 5,       // one within a run of instructions
    RELAX_NS = 1000,     // and a round of a spin loop
    SPINS_MAX = 5000000, // nobody did anything but spin: 5 s of virtual time
    HWID_FIRST = 0x100,  // CPU n has hwid 0x100 + n: not its index
};
static const u64 DEFAULT_POINTS = 20u * 1000 * 1000;
static const u64 DEFAULT_MEMORY = MIB(64);

struct host_machine host_machine;
const struct host_guest_hooks *host_guest_hooks;
const struct host_hooks *host_hooks;
void (*host_uart_irq)(void);
struct cpu *host_cpu_current = &cpus[0];

static struct host_machine *const m = &host_machine;

// ── Chance and the trace ────────────────────────────────────────────────────────────────────────────────────────────
// splitmix64
static u64 next_random(void) {
    u64 z = (m->rng += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

u64 host_random(u64 below) {
    return below ? next_random() % below : 0;
}

static void trace(u64 what) {
    m->trace = (m->trace ^ what) * 0x100000001b3ull;
    m->trace ^= m->trace >> 29;
}

u64 host_trace(void) {
    return m->trace;
}

u64 host_points(void) {
    return m->points;
}

// ── Interrupts ──────────────────────────────────────────────────────────────────────────────────────────────────────
static bool timer_due(const struct cpu *c) {
    return c->arch.timer_deadline_ns && c->arch.timer_deadline_ns <= m->now_ns;
}

u32 host_pending(const struct cpu *c) {
    return c->arch.pending | (timer_due(c) ? (u32)HOST_IRQ_TIMER : 0);
}

static bool guest_irq(const struct cpu *c) {
    return host_guest_hooks && host_guest_hooks->irq(c);
}

static bool wants_cpu(const struct cpu *c) {
    if (!c->arch.resume || c->arch.halted)
        return false;
    return !c->arch.idle || host_pending(c) || guest_irq(c);
}

void arch_irq_poll(void) {
    struct cpu *c = cpu_self();
    host_assert_unlocked("arch_irq_poll");
    u32 pending = host_pending(c);
    c->arch.pending = 0;
    if (pending & HOST_IRQ_TIMER)
        timer_expire();
    if (pending & HOST_IRQ_UART && host_uart_irq)
        host_uart_irq();
    if (host_guest_hooks)
        host_guest_hooks->take(c);
}

// ── Picking a CPU ───────────────────────────────────────────────────────────────────────────────────────────────────
static u64 next_event(void) {
    u64 at = TIMER_NEVER;
    for (u32 i = 0; i < cpu_count; i++) {
        const struct cpu *c = &cpus[i];
        if (!c->arch.resume || c->arch.halted)
            continue;
        if (c->arch.timer_deadline_ns)
            at = MIN(at, c->arch.timer_deadline_ns);
        if (host_guest_hooks)
            at = MIN(at, host_guest_hooks->next_event(c));
    }
    return at;
}

static u32 candidates(struct cpu **out) {
    u32 count = 0;
    for (u32 i = 0; i < cpu_count; i++) {
        struct cpu *c = &cpus[i];
        if (m->stopping ? c->arch.resume && c->arch.lock_count : wants_cpu(c))
            out[count++] = c;
    }
    return count;
}

[[noreturn]] static void leave_run(void) {
    m->active = false;
    m->picking = false;
    m->stopping = false;
    host_fiber_switch(host_fiber_main());
    abort();
}

static void run_on(struct cpu *c) {
    struct cpu *self = cpu_self();
    if (c == self)
        return;
    self->arch.resume = host_fiber_self();
    host_cpu_current = c;
    host_fiber_switch(c->arch.resume);
}

[[noreturn]] static void deadlock(const char *what) {
    if (!m->opt.deadlock_ok) {
        host_note("host: %s (seed %llu)\n", what, (unsigned long long)m->opt.seed);
        host_dump();
        abort();
    }
    m->end = HOST_DEADLOCK;
    leave_run();
}

// Picks a CPU among those that want to run, letting time jump while none does.
static void pick(void) {
    struct cpu *list[BOARD_MAX_CPUS];
    u32 count;
    m->picking = true;
    while (!(count = candidates(list))) {
        if (m->stopping)
            leave_run();
        u64 at = next_event();
        if (at == TIMER_NEVER)
            deadlock("deadlock: every CPU waits and nothing is due");
        m->now_ns = MAX(m->now_ns, at);
    }
    u32 at = count <= 1 ? 0 : host_hooks ? host_hooks->choose(list, count) : (u32)(next_random() % count);
    m->picking = false;
    struct cpu *c = list[at];
    trace(c->id + 1);
    run_on(c);
}

static u64 point_ns(enum host_why why) {
    return why == WHY_RELAX ? RELAX_NS : why >= WHY_ATOMIC ? ATOMIC_NS : POINT_NS;
}

static bool leaves(enum host_why why) {
    return host_hooks ? host_hooks->leave(why) : next_random() % 4 == 0;
}

void host_schedule(enum host_why why) {
    if (!m->active || m->picking)
        return;
    struct cpu *c = cpu_self();
    if (++m->points > (m->opt.max_points ? m->opt.max_points : DEFAULT_POINTS)) {
        host_note("host: more than %llu scheduling points (seed %llu)\n", (unsigned long long)m->points,
                  (unsigned long long)m->opt.seed);
        host_dump();
        m->end = HOST_LIMIT;
        leave_run();
    }
    m->now_ns += point_ns(why);
    if (why == WHY_RELAX)
        m->spins++;
    else if (why < WHY_ATOMIC) // a spinning CPU looks at its lock between two rounds
        m->spins = 0;
    if (m->spins > SPINS_MAX)
        deadlock("livelock: CPUs only spin");
    trace((u64)why << 8 | c->id);
    if (host_hooks && !m->stopping)
        host_hooks->step(why);
    // A spinning CPU has nothing to do; the others go on for a few points before somebody else comes in.
    if (why == WHY_RELAX || m->stopping || leaves(why))
        pick();
}

void host_point(void) {
    host_schedule(WHY_TEST);
}

void host_sleep(void) {
    struct cpu *c = cpu_self();
    if (host_hooks)
        host_hooks->barrier();
    while (!host_pending(c) && !guest_irq(c)) {
        c->arch.idle = true;
        if (!m->active)
            panic("bare code sleeps");
        m->spins = 0;
        pick();
    }
    c->arch.idle = false;
}

void host_advance(u64 ns) {
    u64 end = m->now_ns + ns;
    if (m->active) {
        while (m->now_ns < end)
            host_schedule(WHY_TEST);
        return;
    }
    struct cpu *c = cpu_self();
    while (c->arch.timer_deadline_ns && c->arch.timer_deadline_ns <= end) {
        m->now_ns = MAX(m->now_ns, c->arch.timer_deadline_ns);
        arch_irq_poll();
    }
    m->now_ns = end;
}

// ── Locks ───────────────────────────────────────────────────────────────────────────────────────────────────────────
void arch_lock_enter(u32 rank) {
    host_schedule(WHY_LOCK);
    struct arch_cpu *a = &cpu_self()->arch;
    if (rank == 0)
        panic("a lock is taken that spin_init has not seen");
    if (a->lock_count && a->locks[a->lock_count - 1] >= rank)
        panic("lock order: a lock of rank %u is taken while one of rank %u is held", rank, a->locks[a->lock_count - 1]);
    BUG_ON(a->lock_count == HOST_LOCKS_MAX);
    a->locks[a->lock_count++] = rank;
}

void arch_lock_exit(u32 rank) {
    struct arch_cpu *a = &cpu_self()->arch;
    u32 at = a->lock_count;
    while (at && a->locks[at - 1] != rank)
        at--;
    if (!at)
        panic("a lock of rank %u is dropped that is not held", rank);
    memmove(&a->locks[at - 1], &a->locks[at], (a->lock_count - at) * sizeof(a->locks[0]));
    a->lock_count--;
    host_schedule(WHY_UNLOCK);
}

void host_assert_unlocked(const char *where) {
    const struct arch_cpu *a = &cpu_self()->arch;
    if (a->lock_count)
        panic("%s with a lock of rank %u held", where, a->locks[a->lock_count - 1]);
}

void arch_cpu_relax(void) {
    if (!m->active)
        panic("bare code spins: nobody else can make progress");
    host_schedule(WHY_RELAX);
}

// ── CPUs, time and contexts ─────────────────────────────────────────────────────────────────────────────────────────
void arch_cpu_init(struct cpu *cpu) {
    BUG_ON(cpu != cpu_self());
}

static void secondary_entry(void *arg) {
    smp_secondary_main(arg);
}

int arch_cpu_start(struct cpu *cpu, void *stack_top) {
    if (cpu->arch.started)
        return -EIO;
    cpu->arch.started = true;
    if (m->opt.cpus_dead & BIT(cpu->id))
        return 0;
    cpu->arch.timer_deadline_ns = TIMER_NEVER;
    cpu->arch.resume = host_fiber_new(stack_top, secondary_entry, cpu);
    return 0;
}

void arch_cpu_kick(struct cpu *cpu) {
    if (host_hooks)
        host_hooks->barrier();
    cpu->arch.pending |= HOST_IRQ_KICK;
    host_schedule(WHY_KICK);
}

void arch_cpu_idle(void) {
    host_assert_unlocked("arch_cpu_idle");
    host_schedule(WHY_IDLE);
    host_sleep();
    arch_irq_poll();
}

void arch_ctx_init(struct arch_ctx *ctx, void *stack_top, void (*fn)(void *), void *arg) {
    ctx->fiber = host_fiber_new(stack_top, fn, arg);
}

void arch_ctx_switch(struct arch_ctx *from, struct arch_ctx *to) {
    host_assert_unlocked("a context switch");
    from->fiber = host_fiber_self();
    trace(0x51);
    host_fiber_switch(to->fiber);
}

u64 arch_now_ns(void) {
    return m->now_ns;
}

u64 arch_ticks(void) {
    return m->now_ns / 16; // 62.5 MHz, so that a mix-up of the units shows
}

u64 arch_ticks_to_ns(u64 ticks) {
    return ticks * 16;
}

void arch_timer_arm(u64 deadline_ns) {
    cpu_self()->arch.timer_deadline_ns = deadline_ns ? deadline_ns : 1;
}

void arch_halt(void) {
    if (!m->active) {
        host_note("host: halted\n");
        abort();
    }
    cpu_self()->arch.halted = true;
    cpu_self()->arch.lock_count = 0;
    for (;;)
        pick();
}

// ── Runs ────────────────────────────────────────────────────────────────────────────────────────────────────────────
static char panic_text[512];
static struct {
    void (*fn)(void *);
    void *arg;
    struct task task;
} job;

static void caught_panic(const char *text) {
    snprintf(panic_text, sizeof(panic_text), "%s", text);
    if (m->active && m->opt.panic_ok) {
        m->end = HOST_PANIC;
        leave_run();
    }
    if (m->active) {
        host_note("panic: %s (seed %llu)\n", text, (unsigned long long)m->opt.seed);
        host_dump();
    }
}

const char *host_panic_text(void) {
    return panic_text;
}

void host_fail(void) {
    if (!m->active)
        abort();
    m->end = HOST_FAILED;
    leave_run();
}

void host_check_failed(const char *file, int line, const char *what) {
    host_note("%s:%d: check failed on CPU %u: %s (seed %llu)\n", file, line, cpu_self()->id, what,
              (unsigned long long)m->opt.seed);
    host_fail();
}

// Locks of the core that outlive a run (the log's, the allocator's) must be free when it ends.
void host_stop(enum host_end end) {
    m->end = end;
    m->stopping = true;
    for (;;)
        pick();
}

static void *machine_memory(u64 size) {
    static char *base;
    static u64 mapped;
    if (mapped < size) {
        if (mapped)
            munmap(base, mapped);
        base =
            mmap(NULL, size + BLOCK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (base == MAP_FAILED) {
            host_note("host: no memory for a machine of %llu bytes\n", (unsigned long long)size);
            abort();
        }
        mapped = size;
    }
    return (void *)align_up((u64)base, BLOCK_SIZE);
}

static void describe_board(void) {
    struct board *b = &m->board;
    *b = (struct board){.model = "simulated machine", .memory_count = 1, .cpu_count = m->opt.cpus};
    b->memory[0] = (struct region){(u64)machine_memory(m->opt.memory), m->opt.memory};
    for (u32 i = 0; i < m->opt.cpus; i++)
        b->cpus[i].hwid = HWID_FIRST + i;
    b->timer.virt_irq = 27;
}

struct board *host_board(void) {
    return &m->board;
}

void host_init(const struct host_options *options) {
    BUG_ON(m->active);
    host_fiber_reset();
    if (host_guest_hooks)
        host_guest_hooks->reset();
    host_platform_reset();
    *m = (struct host_machine){.opt = *options, .end = HOST_DONE, .rng = options->seed};
    m->opt.cpus = MAX(1u, m->opt.cpus);
    BUG_ON(m->opt.cpus > BOARD_MAX_CPUS);
    if (!m->opt.memory)
        m->opt.memory = DEFAULT_MEMORY;
    m->now_ns = POINT_NS;
    panic_text[0] = '\0';
    describe_board();
    memset((void *)cpus, 0, sizeof(cpus));
    host_cpu_current = &cpus[0];
    host_panic_hook = caught_panic;
    smp_init(&m->board, HWID_FIRST);
    sched_init_cpu(&cpus[0]);
}

static enum host_end run_boot_flow(void (*fn)(void *)) {
    page_init(&m->board, pa(0), pa(0));
    stack_init();
    cpus[0].arch.started = true;
    cpus[0].arch.timer_deadline_ns = TIMER_NEVER;
    cpus[0].arch.resume = host_fiber_new(&job, fn, NULL);
    m->active = true;
    host_fiber_switch(cpus[0].arch.resume);
    host_cpu_current = &cpus[0];
    return m->end;
}

static void job_main(void *arg) {
    (void)arg;
    job.fn(job.arg);
    host_stop(HOST_DONE);
}

static void boot_flow(void *arg) {
    (void)arg;
    arch_cpu_init(&cpus[0]);
    smp_start_all();
    if (task_init(&job.task, "test", job_main, NULL, TASK_PRIORITY_DEFAULT, &cpus[0]))
        panic("no memory for the test's task");
    task_wake(&job.task);
    sched_idle_loop();
}

enum host_end host_run(void (*fn)(void *), void *arg) {
    job.fn = fn;
    job.arg = arg;
    return run_boot_flow(boot_flow);
}

enum host_end host_boot(void (*fn)(void *), void *arg) {
    job.fn = fn;
    job.arg = arg;
    memset((void *)cpus, 0, sizeof(cpus));
    return run_boot_flow(job_main);
}

static void bare_main(void *arg) {
    (void)arg;
    job.fn(job.arg);
    m->end = HOST_DONE;
    leave_run();
}

bool host_panics(void (*fn)(void *), void *arg) {
    static char key;
    struct host_machine before = *m;
    struct arch_cpu cpu_before = cpu_self()->arch;
    void (*hook)(const char *) = host_panic_hook;
    host_panic_hook = caught_panic;
    m->active = true;
    m->opt.panic_ok = true;
    m->opt.deadlock_ok = true;
    job.fn = fn;
    job.arg = arg;
    cpu_self()->arch.resume = host_fiber_new(&key, bare_main, NULL);
    host_fiber_switch(cpu_self()->arch.resume);
    enum host_end end = m->end;
    *m = before;
    cpu_self()->arch = cpu_before;
    host_panic_hook = hook;
    return end == HOST_PANIC;
}

void host_note(const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
}

void host_dump(void) {
    host_note("host: at %llu ns, after %llu points\n", (unsigned long long)m->now_ns, (unsigned long long)m->points);
    for (u32 i = 0; i < cpu_count; i++) {
        const struct cpu *c = &cpus[i];
        const struct task *t = atomic_load_explicit(&c->current, memory_order_relaxed);
        host_note("  cpu %u%s: %s%s%s, task \"%s\", ready 0x%x, pending 0x%x, timer %lld ns, locks", i,
                  c == host_cpu_current ? "*" : "", c->arch.resume ? "up" : "off", c->arch.idle ? ", asleep" : "",
                  c->arch.halted ? ", halted" : "", t ? t->name : "-", atomic_load(&c->ready_mask), host_pending(c),
                  (long long)c->arch.timer_deadline_ns);
        for (u32 n = 0; n < c->arch.lock_count; n++)
            host_note(" %u", c->arch.locks[n]);
        host_note("%s\n", c->arch.lock_count ? "" : " none");
    }
}

// The machine of code that never calls host_init: one CPU, no memory.
[[gnu::constructor]] static void bare_machine(void) {
    m->opt.cpus = 1;
    m->now_ns = POINT_NS;
    m->board = (struct board){.model = "simulated machine", .cpu_count = 1, .cpus = {{.hwid = HWID_FIRST}}};
    smp_init(&m->board, HWID_FIRST);
    sched_init_cpu(&cpus[0]);
}
