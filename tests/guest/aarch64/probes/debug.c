// SPDX-License-Identifier: Apache-2.0
// Breakpoints, watchpoints and single step in the guest, on every CPU in turn; what one CPU sets stops only that one.
#include "guest.h"

static u64 cpus;
static volatile u64 done[CPUS_MAX];
static u64 watched[4];

enum { EC_BREAKPOINT = 0x31, EC_STEP = 0x33, EC_WATCHPOINT = 0x35, EC_BRK = 0x3c };
// Enabled, EL1, any security state; BAS: four bytes (an instruction), or eight of a watchpoint.
#define BCR (0xfull << 5 | 1ull << 1 | 1ull)
#define WCR(bytes, kind) ((u64)(bytes) << 5 | (u64)(kind) << 3 | 1ull << 1 | 1ull)

// A function of three instructions; returns how often the middle one was executed.
extern char break_here[];
[[gnu::noinline]] static u64 run(void) {
    u64 v = 0;
    __asm__ volatile(".global break_here\n\tnop\nbreak_here:\tadd %0, %0, #1\n\tnop" : "+r"(v));
    return v;
}

static void on(bool enable) {
    write_sysreg(oslar_el1, 0);
    u64 mdscr = read_sysreg(mdscr_el1) & ~(1ull << 13 | 1ull << 15 | 1);
    write_sysreg(mdscr_el1, enable ? mdscr | 1ull << 13 | 1ull << 15 : mdscr); // KDE, MDE
    if (enable)
        __asm__ volatile("msr daifclr, #8\n\tisb" ::: "memory");
    else
        __asm__ volatile("msr daifset, #8\n\tisb" ::: "memory");
}

static void breakpoints(u64 cpu) {
    trap.count = 0;
    write_sysreg(dbgbvr0_el1, (u64)break_here);
    write_sysreg(dbgbcr0_el1, BCR);
    CHECK("a_breakpoint_waits_for_debug_to_be_enabled", run() == 1 && trap.count == 0, "CPU %u: %u traps", cpu,
          trap.count);
    on(true);
    u64 v = run();
    CHECK("a_breakpoint_stops_before_its_instruction",
          v == 0 && trap.count == 1 && ESR_EC(trap.esr) == EC_BREAKPOINT && trap.elr == (u64)break_here,
          "CPU %u: %u traps, esr %x, elr %x", cpu, trap.count, trap.esr, trap.elr);
    trap.count = 0;
    (void)hvc(0x86000003, 0, 0, 0); // yield
    (void)read32(GICD + 4);
    v = run();
    CHECK("a_breakpoint_outlives_an_exit", v == 0 && trap.count == 1, "CPU %u: %u traps, esr %x", cpu, trap.count,
          trap.esr);
    write_sysreg(dbgbcr0_el1, 0);
    trap.count = 0;
    CHECK("a_breakpoint_taken_away_is_gone", run() == 1 && trap.count == 0, "CPU %u: %u traps", cpu, trap.count);
    on(false);
}

static void watchpoints(u64 cpu) {
    write_sysreg(dbgwvr0_el1, (u64)&watched[1]);
    write_sysreg(dbgwcr0_el1, WCR(0xff, 2)); // stores
    on(true);
    trap.count = 0;
    write32((u64)&watched[0], 1);
    write32((u64)&watched[2], 1);
    u64 v = read32((u64)&watched[1]);
    CHECK("a_watchpoint_lets_others_pass", trap.count == 0, "CPU %u: %u traps, %x", cpu, trap.count, v);
    write32((u64)&watched[1], (u32)v + 1); // the exception comes before the store, which is skipped
    CHECK("a_watchpoint_stops_a_store",
          trap.count == 1 && ESR_EC(trap.esr) == EC_WATCHPOINT && trap.far == (u64)&watched[1] &&
              (trap.esr >> 6 & 1) == 1,
          "CPU %u: %u traps, esr %x, far %x", cpu, trap.count, trap.esr, trap.far);
    write_sysreg(dbgwcr0_el1, WCR(0xff, 1)); // loads
    trap.count = 0;
    write32((u64)&watched[1], (u32)v);
    u64 stores = trap.count;
    (void)read32((u64)&watched[1]);
    CHECK("a_watchpoint_stops_a_load", stores == 0 && trap.count == 1 && ESR_EC(trap.esr) == EC_WATCHPOINT,
          "CPU %u: %u and %u traps, esr %x", cpu, stores, trap.count, trap.esr);
    write_sysreg(dbgwcr0_el1, 0);
    on(false);
    trap.count = 0;
    write32((u64)&watched[1], 0);
    CHECK("a_watchpoint_taken_away_is_gone", trap.count == 0, "CPU %u: %u traps", cpu, trap.count);
}

static void single_steps(u64 cpu) {
    u64 steps = 0;
    write_sysreg(oslar_el1, 0);
    static u64 expected;
    u64 at = 0;
    for (u32 i = 0; i < 20; i++) {
        trap.count = 0;
        __asm__ volatile(
            "msr daifset, #8\n\tmrs x9, mdscr_el1\n\tmov x10, #0x2001\n\torr x9, x9, x10\n\tmsr mdscr_el1, x9\n\t"
            "adr x9, 1f\n\tmsr elr_el1, x9\n\tmov x9, #0x1c5\n\tmovk x9, #0x0020, lsl #16\n\t"
            "msr spsr_el1, x9\n\tadr %0, 2f\n\tisb\n\teret\n"
            "1:\tadd %1, %1, #1\n2:\tnop\n\tnop\n\t"
            "mrs x9, mdscr_el1\n\tand x9, x9, #~1\n\tmsr mdscr_el1, x9\n\tisb\n\tmsr daifset, #8"
            : "=&r"(expected), "+r"(at)::"x9", "x10", "memory");
        steps += trap.count == 1 && ESR_EC(trap.esr) == EC_STEP && trap.elr == expected;
    }
    CHECK("single_steps_execute_one_instruction", steps == 20 && at == 20, "CPU %u: %u steps of 20, %u executed", cpu,
          steps, at);
    trap.count = 0;
    __asm__ volatile("brk #0x123" ::: "memory");
    CHECK("a_breakpoint_instruction_is_the_guests_own",
          trap.count == 1 && ESR_EC(trap.esr) == EC_BRK && (trap.esr & 0xffff) == 0x123, "CPU %u: %u traps, esr %x",
          cpu, trap.count, trap.esr);
}

static void all(u64 cpu) {
    breakpoints(cpu);
    watchpoints(cpu);
    single_steps(cpu);
}

void secondary_main(u64 context) {
    if (context == 99) { // somebody else's breakpoint is set here and enabled there
        on(true);
        trap.count = 0;
        u64 v = run();
        CHECK("another_CPUs_breakpoint_does_not_stop_this_one", v == 1 && trap.count == 0, "%u, %u traps", v,
              trap.count);
        on(false);
    } else {
        all(cpu_index());
    }
    done[cpu_index()]++;
}

void guest_main(u64 dtb) {
    (void)dtb;
    while (psci_affinity_info(cpus) >= 0)
        cpus++;
    say("debug: %u CPUs\n", cpus);
    all(0);
    for (u64 cpu = 1; cpu < cpus; cpu++) {
        (void)psci_cpu_on(cpu, (u64)secondary_entry, 0);
        CHECK("a_CPU_comes_through", wait_for(&done[cpu], 1, 20000), "CPU %u", cpu);
        while (psci_affinity_info(cpu) != 1)
            ;
        write_sysreg(dbgbvr0_el1, (u64)break_here);
        write_sysreg(dbgbcr0_el1, BCR);
        on(true);
        (void)psci_cpu_on(cpu, (u64)secondary_entry, 99);
        CHECK("a_CPU_comes_through", wait_for(&done[cpu], 2, 20000), "CPU %u", cpu);
        trap.count = 0;
        CHECK("and_stops_its_own", run() == 0 && trap.count == 1, "%u traps", trap.count);
        write_sysreg(dbgbcr0_el1, 0);
        on(false);
    }
}
