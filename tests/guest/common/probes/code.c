// SPDX-License-Identifier: Apache-2.0
// Code that is written at run time: on this CPU, on another one, by another one.
#include "guest.h"

enum { TIMES = 50 };
static u64 cpus;
static volatile u64 order[CPUS_MAX], answer[CPUS_MAX];
// A page of its own: QEMU loses sight of a write to code when a CPU touches the page for the first time (which, after
// an exit, is every time) just as another translates from it (accel/tcg/cputlb.c looks at the dirty bit without its
// lock).
static u32 code[1024] __attribute__((aligned(4096)));

// An order: run what is there, or, with the top bit, write it.
void secondary_main(u64 context) {
    u64 last = 0;
    for (;;) {
        u64 now_order = order[context];
        if (now_order == ~0ull)
            return;
        if (now_order == last) {
            cpu_yield();
            continue;
        }
        last = now_order;
        if (now_order >> 63) {
            code_write(code, now_order & 0xffff);
            answer[context] = now_order;
        } else {
            answer[context] = now_order << 16 | code_run(code);
        }
    }
}

static bool ask(u64 cpu, u64 what, u64 want) {
    order[cpu] = what;
    u64 end = now() + ticks_of_ms(10000);
    while (answer[cpu] != want)
        if (now() > end)
            return false;
        else
            cpu_yield();
    return true;
}

static void here(void) {
    u64 bad = 0;
    for (u64 i = 1; i <= 500; i++) {
        code_write(code, i * 7);
        bad += code_run(code) != i * 7;
    }
    CHECK("code_written_here_runs_here", bad == 0, "%u of 500 ran as they were before", bad);
}

static void elsewhere(u64 cpu) {
    u64 bad = 0, silent = 0, ran = 0, stale = 0;
    for (u64 i = 1; i <= TIMES; i++) {
        code_write(code, i);
        bad += !ask(cpu, i, i << 16 | i);
    }
    CHECK("code_written_here_runs_on_another_CPU", bad == 0, "CPU %u: %u of %u not, last %x", cpu, bad, (u64)TIMES,
          answer[cpu]);
    for (u64 i = 1; i <= TIMES; i++) {
        u64 what = 1ull << 63 | i << 16 | (i + 1000);
        silent += !ask(cpu, what, what);
        u64 got = code_run(code);
        if (got != i + 1000 && stale++ == 0)
            ran = got << 16 | (i + 1000);
    }
    CHECK("code_written_by_another_CPU_runs_here", silent == 0 && stale == 0,
          "CPU %u: %u of %u not, %u were not written in time, first (ran << 16 | was written) %x", cpu, stale,
          (u64)TIMES, silent, ran);
}

void guest_main(u64 dtb) {
    (void)dtb;
    cpus = cpu_count();
    say("code: %u CPUs\n", cpus);
    here();
    for (u64 cpu = 1; cpu < cpus; cpu++) {
        (void)cpu_start(cpu, cpu);
        elsewhere(cpu);
        order[cpu] = ~0ull;
    }
    no_traps();
}
