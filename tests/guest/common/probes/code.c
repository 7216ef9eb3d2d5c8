// SPDX-License-Identifier: Apache-2.0
// Code that is written at run time: on this CPU, on another one, by another one.
#include "guest.h"

enum { TIMES = 50 };
static u64 cpus;
static volatile u64 order[CPUS_MAX], answer[CPUS_MAX];
static u32 code[16] __attribute__((aligned(64)));

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
    u64 bad = 0, wrote = 0;
    for (u64 i = 1; i <= TIMES; i++) {
        code_write(code, i);
        bad += !ask(cpu, i, i << 16 | i);
    }
    CHECK("code_written_here_runs_on_another_CPU", bad == 0, "CPU %u: %u of %u not, last %x", cpu, bad, (u64)TIMES,
          answer[cpu]);
    for (u64 i = 1; i <= TIMES; i++) {
        u64 what = 1ull << 63 | i << 16 | (i + 1000);
        wrote += ask(cpu, what, what) && code_run(code) == i + 1000;
    }
    CHECK("code_written_by_another_CPU_runs_here", wrote == TIMES, "CPU %u: %u of %u did", cpu, wrote, (u64)TIMES);
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
