// SPDX-License-Identifier: Apache-2.0
// Code that is written at run time: on this CPU, on another one, by another one. And the caches by set and way.
#include "guest.h"

enum { SIDE = 16, TIMES = 50 };
enum : u32 { RET = 0xd65f03c0, MOVZ_X0 = 0xd2800000 };
static u64 cpus;
static volatile u64 order[SIDE], answer[SIDE];
static u32 code[16] __attribute__((aligned(64)));

static void write_code(u64 value) {
    code[0] = MOVZ_X0 | (u32)(value & 0xffff) << 5;
    code[1] = RET;
    __asm__ volatile("dc cvau, %0\n\tdsb ish\n\tic ivau, %0\n\tdsb ish\n\tisb" ::"r"(code) : "memory");
}

static u64 run(void) {
    u64 v;
    __asm__ volatile("isb\n\tmov x19, x30\n\tblr %1\n\tmov x30, x19\n\tmov %0, x0"
                     : "=r"(v)
                     : "r"(code)
                     : "x0", "x19", "x30", "memory");
    return v;
}

// An order: run what is there, or, with the top bit, write it.
void secondary_main(u64 context) {
    u64 last = 0;
    for (;;) {
        u64 now_order = order[context];
        if (now_order == ~0ull)
            return;
        if (now_order == last) {
            (void)hvc(0x86000003, 0, 0, 0); // yield
            continue;
        }
        last = now_order;
        if (now_order >> 63) {
            write_code(now_order & 0xffff);
            answer[context] = now_order;
        } else {
            answer[context] = now_order << 16 | run();
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
            (void)hvc(0x86000003, 0, 0, 0);
    return true;
}

static void here(void) {
    u64 bad = 0;
    for (u64 i = 1; i <= 500; i++) {
        write_code(i * 7);
        bad += run() != i * 7;
    }
    CHECK("code_written_here_runs_here", bad == 0, "%u of 500 ran as they were before", bad);
}

static void elsewhere(u64 cpu) {
    u64 bad = 0, wrote = 0;
    for (u64 i = 1; i <= TIMES; i++) {
        write_code(i);
        bad += !ask(cpu, i, i << 16 | i);
    }
    CHECK("code_written_here_runs_on_another_CPU", bad == 0, "CPU %u: %u of %u not, last %x", cpu, bad, (u64)TIMES,
          answer[cpu]);
    for (u64 i = 1; i <= TIMES; i++) {
        u64 what = 1ull << 63 | i << 16 | (i + 1000);
        wrote += ask(cpu, what, what) && run() == i + 1000;
    }
    CHECK("code_written_by_another_CPU_runs_here", wrote == TIMES, "CPU %u: %u of %u did", cpu, wrote, (u64)TIMES);
}

// As an operating system does it: every level up to the point of coherence, every way, every set.
static u64 set_way(u32 what) {
    u64 clidr = read_sysreg(clidr_el1), count = 0;
    for (u64 level = 0; level < (clidr >> 24 & 7); level++) {
        if ((clidr >> (3 * level) & 7) < 2)
            continue;
        write_sysreg(csselr_el1, level << 1);
        u64 ccsidr = read_sysreg(ccsidr_el1);
        u64 line = (ccsidr & 7) + 4, ways = (ccsidr >> 3 & 0x3ff) + 1, sets = (ccsidr >> 13 & 0x7fff) + 1;
        u32 shift = ways > 1 ? (u32)__builtin_clz((u32)ways - 1) : 0;
        for (u64 way = 0; way < ways; way++)
            for (u64 set = 0; set < sets; set += 16, count++) {
                u64 v = way << shift | set << line | level << 1;
                if (what == 0)
                    __asm__ volatile("dc cisw, %0" ::"r"(v) : "memory");
                else if (what == 1)
                    __asm__ volatile("dc csw, %0" ::"r"(v) : "memory");
                else
                    __asm__ volatile("dc isw, %0" ::"r"(v) : "memory");
            }
    }
    __asm__ volatile("dsb sy\n\tisb" ::: "memory");
    return count;
}

static void caches(void) {
    static u64 data[1024];
    static const char *const names[] = {"cleaned_and_invalidated", "cleaned", "invalidated"};
    for (u32 what = 0; what < 3; what++) {
        for (u64 i = 0; i < ARRAY_SIZE(data); i++)
            data[i] = i * 0x9e3779b97f4a7c15 + what;
        trap.count = 0;
        u64 count = set_way(what), bad = 0;
        for (u64 i = 0; i < ARRAY_SIZE(data); i++)
            bad += data[i] != i * 0x9e3779b97f4a7c15 + what;
        say("code: %u lines %s\n", count, names[what]);
        CHECK("data_stays_what_it_is_when_caches_are_maintained_by_set_and_way", bad == 0 && trap.count == 0,
              "%s: %u words, %u traps", names[what], bad, trap.count);
    }
}

void guest_main(u64 dtb) {
    (void)dtb;
    while (cpus < SIDE && psci_affinity_info(cpus) >= 0)
        cpus++;
    say("code: %u CPUs\n", cpus);
    here();
    for (u64 cpu = 1; cpu < cpus; cpu++) {
        (void)psci_cpu_on(cpu, (u64)secondary_entry, cpu);
        elsewhere(cpu);
        order[cpu] = ~0ull;
    }
    caches();
    CHECK("no_exception_came", trap.count == 0, "%u, esr %x, elr %x", trap.count, trap.esr, trap.elr);
}
