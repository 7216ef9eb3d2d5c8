// SPDX-License-Identifier: Apache-2.0
// sim [--seed N] [--steps N] [--first N] [--trace LINES] [--quiet]: runs seeds, one process each, until the steps are
// done or one fails. The same seed gives the same run: its trace is a hash over every decision.
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "sim.h"

struct sim_result *sim_result;
static u32 trace_lines = 40;
enum { SECONDS_MAX = 60 }; // of one run: it hangs without a scheduling point

static const char *const ends[] = {
    "done", "deadlock: every CPU waits and nothing is due", "panic", "a check failed", "no end", "power off", "reboot"};

// Where it was, as far as the machine tells.
static const void *pc_of(const void *context) {
#if defined(__x86_64__)
    return (const void *)((const ucontext_t *)context)->uc_mcontext.gregs[REG_RIP]; // NOLINT
#else
    return context ? NULL : context;
#endif
}

static void died(int signal_number, siginfo_t *info, void *context) {
    static const char text[] = "sim: a signal; the last events:\n";
    (void)!write(2, text, sizeof(text) - 1);
    fprintf(stderr, "sim: signal %d at address %p, in", signal_number, info->si_addr);
    sim_print_where(pc_of(context));
    sim_dump();
    sim_trace_print(trace_lines);
    _exit(128 + signal_number);
}

static void catch_signals(void) {
    static char stack[256 * 1024];
    stack_t alternative = {.ss_sp = stack, .ss_size = sizeof(stack)};
    struct sigaction action = {.sa_sigaction = died, .sa_flags = SA_SIGINFO | SA_ONSTACK | (int)SA_RESETHAND};
    static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGALRM};
    sigaltstack(&alternative, NULL);
    for (u32 i = 0; i < ARRAY_SIZE(signals); i++)
        sigaction(signals[i], &action, NULL);
    alarm(SECONDS_MAX);
}

static void child(u64 seed) {
    catch_signals();
    enum host_end end = sim_run(seed);
    sim_result->steps = host_points();
    sim_result->trace = host_trace();
    sim_result->ns = host_machine.now_ns;
    sim_result->end = end;
    if (end == HOST_DONE)
        _exit(0);
    if (!sim_result->what[0])
        snprintf(sim_result->what, sizeof(sim_result->what), "%s%s%s", ends[end], end == HOST_PANIC ? ": " : "",
                 end == HOST_PANIC ? host_panic_text() : "");
    fprintf(stderr, "sim: seed %llu, step %llu: %s\n", (unsigned long long)seed, (unsigned long long)sim_result->steps,
            sim_result->what);
    host_dump();
    sim_dump();
    sim_trace_print(trace_lines);
    _exit(1);
}

// True: nothing was violated.
static bool run_seed(u64 seed) {
    memset(sim_result, 0, sizeof(*sim_result));
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        child(seed);
    int status;
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        abort();
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return true;
    fprintf(stderr, "sim: seed %llu fails; make sim SEED=%llu replays it\n", (unsigned long long)seed,
            (unsigned long long)seed);
    return false;
}

struct totals {
    u64 runs, steps, starts, ipis, interrupts, commands, failed_allocations, crashes, inits;
};

static void add(struct totals *t) {
    t->runs++;
    t->steps += sim_result->steps;
    t->starts += sim_result->starts;
    t->ipis += sim_result->ipis;
    t->interrupts += sim_result->interrupts;
    t->commands += sim_result->commands;
    t->failed_allocations += sim_result->failed_allocations;
    t->crashes += sim_result->crashes;
    t->inits += sim_result->inits;
}

static void print_totals(const struct totals *t, u64 first, double seconds) {
    printf("seeds %llu to %llu: %llu steps in %.1f s\n", (unsigned long long)first,
           (unsigned long long)(first + t->runs - 1), (unsigned long long)t->steps, seconds);
    printf("VM starts %llu, crashes %llu, IPIs %llu, INITs %llu, interrupts taken %llu, commands %llu, "
           "failed allocations %llu\n",
           (unsigned long long)t->starts, (unsigned long long)t->crashes, (unsigned long long)t->ipis,
           (unsigned long long)t->inits, (unsigned long long)t->interrupts, (unsigned long long)t->commands,
           (unsigned long long)t->failed_allocations);
}

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

static u64 number(const char *option, const char *text) {
    char *end;
    u64 value = text ? strtoull(text, &end, 0) : 0;
    if (text && end != text && *end == '\0')
        return value;
    fprintf(stderr, "sim: %s needs a number\n", option);
    exit(2);
}

int main(int argc, char **argv) {
    u64 seed = 0, steps = 1000000, first = 1, seconds_max = 0;
    for (int i = 1; i < argc; i += 2) {
        const char *text = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(argv[i], "--seed") == 0)
            seed = number(argv[i], text);
        else if (strcmp(argv[i], "--steps") == 0)
            steps = number(argv[i], text);
        else if (strcmp(argv[i], "--first") == 0)
            first = number(argv[i], text);
        else if (strcmp(argv[i], "--seconds") == 0)
            seconds_max = number(argv[i], text);
        else if (strcmp(argv[i], "--trace") == 0)
            trace_lines = (u32)number(argv[i], text);
        else
            return fprintf(stderr, "usage: sim [--seed N | --steps N [--first N] [--seconds N]] [--trace LINES]\n"), 2;
    }
    sim_result = mmap(NULL, sizeof(*sim_result), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (sim_result == MAP_FAILED)
        abort();
    if (seed) {
        bool good = run_seed(seed);
        printf("seed %llu: %llu steps, %llu us, trace %016llx, %s\n", (unsigned long long)seed,
               (unsigned long long)sim_result->steps, (unsigned long long)sim_result->ns / 1000,
               (unsigned long long)sim_result->trace, good ? "no violation" : sim_result->what);
        return !good;
    }
    struct totals totals = {};
    double began = now();
    bool good = true;
    for (u64 s = first; good && totals.steps < steps; s++) {
        good = run_seed(s);
        add(&totals);
        if (seconds_max && now() - began > (double)seconds_max)
            break;
    }
    print_totals(&totals, first, now() - began);
    printf("%llu passed, %d failed\n", (unsigned long long)(totals.runs - !good), !good);
    return !good;
}
