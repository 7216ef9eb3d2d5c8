// SPDX-License-Identifier: Apache-2.0
// Breakpoints, watchpoints and single step in the guest, on every CPU in turn, above all around instructions that the
// hypervisor serves; what one CPU sets stops only that one.
#include "guest.h"

enum { LOG = 32, WRITES = 1, ACCESSES = 3, EIGHT_BYTES = 2 };
static u64 cpus;
static volatile u64 done[CPUS_MAX];
static u64 watched[4] __attribute__((aligned(64)));
static volatile u32 hits;
static struct {
    u64 rip, dr6, rflags;
} hit[LOG];

// #DB is noted, and the program goes on where it was: over a breakpoint with RF.
static bool on_debug(struct frame *frame) {
    if (frame->vector != X86_DB && frame->vector != X86_BP)
        return false;
    u64 dr6 = CR(dr6);
    if (hits < LOG) {
        hit[hits].rip = frame->rip;
        hit[hits].dr6 = frame->vector == X86_BP ? 0 : dr6 ^ DR6_RESET;
        hit[hits].rflags = frame->rflags;
    }
    hits++;
    SET_CR(dr6, DR6_RESET);
    if (dr6 & DR6_BD) // DR7.GD is off in here
        SET_CR(dr7, DR7_RESET);
    if (dr6 & 15)
        frame->rflags |= RFLAGS_RF;
    return true;
}

static void enable(u32 number, u64 at, u32 kind, u32 length) {
    SET_CR(dr0, 0);
    SET_CR(dr1, 0);
    SET_CR(dr2, 0);
    SET_CR(dr3, 0);
    switch (number) {
    case 0:
        SET_CR(dr0, at);
        break;
    case 1:
        SET_CR(dr1, at);
        break;
    case 2:
        SET_CR(dr2, at);
        break;
    default:
        SET_CR(dr3, at);
        break;
    }
    SET_CR(dr7, DR7_RESET | 2ull << 2 * number | (u64)(length << 2 | kind) << (16 + 4 * number));
    hits = 0;
}

static void disable(void) {
    SET_CR(dr7, DR7_RESET);
    hits = 0;
}

// ── Breakpoints ─────────────────────────────────────────────────────────────────────────────────────────────────────
extern char break_here[], break_served[], break_behind[];

// How often the middle one was executed.
[[gnu::noinline]] static u64 run(void) {
    u64 v = 0;
    __asm__ volatile(".global break_here\n\tnop\nbreak_here:\tadd $1, %0\n\tnop" : "+r"(v));
    return v;
}

[[gnu::noinline]] static u32 run_served(void) {
    u32 eax = 0, ecx = 0;
    __asm__ volatile(".global break_served, break_behind\n\tnop\nbreak_served:\tcpuid\nbreak_behind:\tnop"
                     : "+a"(eax), "+c"(ecx)::"rbx", "rdx");
    return eax;
}

static bool hit_once(const char *at, u64 dr6) {
    return hits == 1 && hit[0].rip == (u64)at && hit[0].dr6 == dr6;
}

static void breakpoints(u64 cpu) {
    hits = 0;
    SET_CR(dr0, break_here);
    CHECK("a_breakpoint_waits_until_it_is_enabled", run() == 1 && hits == 0, "CPU %u: %u hits", cpu, (u64)hits);
    for (u32 number = 0; number < 4; number++) {
        enable(number, (u64)break_here, 0, 0);
        u64 v = run();
        CHECK("a_breakpoint_stops_before_its_instruction_and_RF_takes_it_on",
              v == 1 && hit_once(break_here, 1u << number), "CPU %u, DR%u: %u executed, %u hits at %x, DR6 %x", cpu,
              (u64)number, v, (u64)hits, hit[0].rip, hit[0].dr6);
    }
    hits = 0;
    cpu_yield();
    (void)cpuid(0, 0);
    (void)apic_read(APIC_VERSION);
    (void)in8(PORT_CMOS + 1);
    u64 v = run();
    CHECK("a_breakpoint_outlives_exits", v == 1 && hit_once(break_here, 8), "CPU %u: %u hits", cpu, (u64)hits);
    enable(1, (u64)break_served, 0, 0);
    u32 most = run_served();
    CHECK("a_breakpoint_stops_before_an_instruction_that_is_served", most >= 0xd && hit_once(break_served, 2),
          "CPU %u: %u hits at %x, CPUID %x", cpu, (u64)hits, hit[0].rip, (u64)most);
    (void)run_served();
    CHECK("and_again_the_next_time", hits == 2 && hit[1].rip == (u64)break_served, "CPU %u: %u hits", cpu, (u64)hits);
    enable(2, (u64)break_behind, 0, 0);
    (void)run_served();
    CHECK("a_breakpoint_stops_behind_an_instruction_that_is_served", hit_once(break_behind, 4),
          "CPU %u: %u hits at %x, DR6 %x", cpu, (u64)hits, hit[0].rip, hit[0].dr6);
    disable();
    v = run();
    CHECK("a_breakpoint_taken_away_is_gone", v == 1 && hits == 0, "CPU %u: %u hits", cpu, (u64)hits);
}

// ── Watchpoints ─────────────────────────────────────────────────────────────────────────────────────────────────────
static void watchpoints(u64 cpu) {
    volatile u32 *words = (volatile u32 *)watched;
    enable(0, (u64)&watched[1], WRITES, EIGHT_BYTES);
    words[1] = 1;
    words[4] = 1;
    u32 v = words[2];
    CHECK("a_watchpoint_lets_others_pass", hits == 0, "CPU %u: %u hits", cpu, (u64)hits);
    words[3] = v + 1; // a trap: it is stored
    CHECK("a_watchpoint_stops_after_a_store", hits == 1 && hit[0].dr6 == 1 && words[3] == v + 1,
          "CPU %u: %u hits, DR6 %x", cpu, (u64)hits, hit[0].dr6);
    enable(3, (u64)&watched[1], ACCESSES, EIGHT_BYTES);
    v = words[2];
    CHECK("a_watchpoint_stops_after_a_load", hits == 1 && hit[0].dr6 == 8, "CPU %u: %u hits, DR6 %x", cpu, (u64)hits,
          hit[0].dr6);
    disable();
    words[2] = v;
    CHECK("a_watchpoint_taken_away_is_gone", hits == 0, "CPU %u: %u hits", cpu, (u64)hits);
}

// ── Single step ─────────────────────────────────────────────────────────────────────────────────────────────────────
// TF from behind the POPF on: `traps` of them come with `code` (0: however many), the last right behind it, and four
// more behind NOP, PUSHF, AND and POPF.
#define STEP(name, traps, code, a, c, d)                                                                               \
    do {                                                                                                               \
        u64 behind_, a_ = (u64)(a), c_ = (u64)(c), d_ = (u64)(d), i_ = (u64)spare;                                     \
        hits = 0;                                                                                                      \
        __asm__ volatile("pushfq; orq $0x100, (%%rsp); popfq; " code                                                   \
                         "\n7:\tnop; pushfq; andq $~0x100, (%%rsp); popfq; leaq 7b(%%rip), %0"                         \
                         : "=r"(behind_), "+a"(a_), "+c"(c_), "+d"(d_), "+D"(i_)::"rbx", "r8", "cc", "memory");        \
        stepped("a_step_over_" name, traps, behind_);                                                                  \
    } while (0)

static u8 spare[8];

static void stepped(const char *name, u32 traps, u64 behind) {
    u32 last = hits - 5;
    bool right = hits >= 5 && hits <= LOG && (traps == 0 || hits == traps + 4);
    CHECK(name, right && hit[last].rip == behind && hit[last].dr6 == DR6_BS,
          "CPU %u: %u traps; the first at %x, it ends at %x, DR6 %x", cpu_index(), (u64)hits, hit[0].rip, behind,
          hit[0].dr6);
}

static void steps(void) {
    u64 base = rdmsr(MSR_APIC_BASE), cr4 = CR(cr4);
    STEP("an_ordinary_instruction", 1, "add $1, %%r8", 0, 0, 0);
    STEP("CPUID", 1, "cpuid", 0, 0, 0);
    STEP("a_hypercall", 1, "vmmcall", 0x86000003, 0, 0);
    STEP("RDMSR", 1, "rdmsr", 0, MSR_TSC, 0);
    STEP("WRMSR", 1, "wrmsr", base, MSR_APIC_BASE, base >> 32);
    STEP("IN", 1, "inb %%dx, %%al", 0, 0, PORT_CMOS + 1);
    STEP("OUT", 1, "outb %%al, %%dx", 0, 0, PORT_CMOS);
    STEP("a_load_from_a_device", 1, "movl (%%rdx), %%eax", 0, 0, LAPIC + APIC_VERSION);
    STEP("a_store_to_a_device", 1, "movl %%eax, (%%rdx)", 0, 0, LAPIC + APIC_TPR);
    STEP("an_AND_in_a_device", 1, "andl %%eax, (%%rdx)", 0, 0, LAPIC + APIC_TPR);
    STEP("MOV_to_CR8", 1, "mov %%rax, %%cr8", 0, 0, 0);
    STEP("MOV_to_CR4", 1, "mov %%rax, %%cr4", cr4, 0, 0);
    STEP("WBINVD", 1, "wbinvd", 0, 0, 0);
    STEP("each_byte_of_a_string_from_a_port", 3, "rep insb", 0, 3, 0x1234);
    STEP("each_word_of_a_string_to_a_device", 4, "mov $0xd0000000, %%edi; rep stosl", 0, 3, 0);
    // No trap comes between MOV SS and what follows it.
    STEP("MOV_SS_and_an_ordinary_instruction", 2, "mov %%ss, %%ebx; mov %%ebx, %%ss; add $1, %%r8", 0, 0, 0);
    STEP("MOV_SS_and_CPUID", 2, "mov %%ss, %%ebx; mov %%ebx, %%ss; cpuid", 0, 0, 0);
    STEP("STI_and_CPUID", 0, "sti; cpuid", 0, 0, 0);
    irqs_off();
}

static void step_and_halt(u64 cpu) {
    u64 before = irq_count[VECTOR_TIMER];
    irqs_off();
    apic_write(APIC_DIVIDE, DIVIDE_BY_1);
    apic_write(APIC_LVT_TIMER, LVT_PERIODIC | VECTOR_TIMER); // one may come before the HLT, but then another
    apic_write(APIC_INITIAL, 1000000);
    STEP("HLT_that_an_interrupt_ends", 0, "sti; hlt", 0, 0, 0);
    irqs_off();
    apic_write(APIC_INITIAL, 0);
    CHECK("and_the_interrupt_comes", irq_count[VECTOR_TIMER] > before, "CPU %u", cpu);
}

// What goes on in the handler of #GP and #UD is not stepped through, and the fault is pushed with RF.
static void faults(u64 cpu) {
    trap.count = hits = 0;
    MAY_TRAP("rdmsr", ::"c"(0xdead0000u) : "r11", "rax", "rdx", "memory");
    CHECK("a_fault_that_the_hypervisor_reflects_is_pushed_with_RF",
          trap.count == 1 && trap.vector == X86_GP && (trap.rflags & RFLAGS_RF), "CPU %u: %u traps, flags %x", cpu,
          trap.count, trap.rflags);
    trap.count = 0;
    MAY_TRAP("vmrun %%rax", ::"a"(0) : "r11", "memory");
    CHECK("an_undefined_instruction_of_SVM_is_pushed_with_RF",
          trap.count == 1 && trap.vector == X86_UD && (trap.rflags & RFLAGS_RF), "CPU %u: %u traps, flags %x", cpu,
          trap.count, trap.rflags);
    trap.count = 0;
    MAY_TRAP("ud2", :: : "r11", "memory");
    CHECK("an_undefined_instruction_is_pushed_with_RF",
          trap.count == 1 && trap.vector == X86_UD && (trap.rflags & RFLAGS_RF), "CPU %u: %u traps, flags %x", cpu,
          trap.count, trap.rflags);
    u64 behind;
    hits = 0;
    __asm__ volatile("int3; leaq 0(%%rip), %0" : "=r"(behind)::"memory");
    CHECK("INT3_stops_behind_itself", hits == 1 && hit[0].rip == behind - 7 && !(hit[0].rflags & RFLAGS_RF),
          "CPU %u: %u traps at %x, not %x", cpu, (u64)hits, hit[0].rip, behind - 7);
    hits = 0;
    SET_CR(dr7, DR7_RESET | 1 << 13); // GD
    u64 got = CR(dr0);
    CHECK("access_to_debug_registers_can_be_watched", hits == 1 && hit[0].dr6 == DR6_BD, "CPU %u: %u traps, DR6 %x, %x",
          cpu, (u64)hits, hit[0].dr6, got);
    disable();
    trap.count = 0;
}

static void all(u64 cpu) {
    breakpoints(cpu);
    watchpoints(cpu);
    steps();
    step_and_halt(cpu);
    faults(cpu);
}

void secondary_main(u64 context) {
    if (context == 99) { // somebody else's breakpoint is set
        hits = 0;
        u64 v = run();
        CHECK("another_CPUs_breakpoint_does_not_stop_this_one", v == 1 && hits == 0, "%u, %u hits", v, (u64)hits);
        CHECK("a_CPU_comes_on_with_its_debug_registers_at_reset",
              CR(dr7) == DR7_RESET && CR(dr6) == DR6_RESET && (CR(dr0) | CR(dr1) | CR(dr2) | CR(dr3)) == 0,
              "DR7 %x, DR6 %x", CR(dr7), CR(dr6));
    } else {
        all(cpu_index());
    }
    done[cpu_index()]++;
}

void guest_main(u64 zero_page) {
    (void)zero_page;
    cpus = cpu_count();
    trap_hook = on_debug;
    say("debug: %u CPUs\n", cpus);
    all(0);
    for (u64 cpu = 1; cpu < cpus; cpu++) {
        (void)cpu_start(cpu, 0);
        CHECK("a_CPU_comes_through", wait_for(&done[cpu], 1, 20000), "CPU %u", cpu);
        while (cpu_status(cpu) != 1)
            ;
        enable(0, (u64)break_here, 0, 0);
        (void)cpu_start(cpu, 99);
        CHECK("a_CPU_comes_through", wait_for(&done[cpu], 2, 20000), "CPU %u", cpu);
        hits = 0;
        CHECK("and_stops_its_own", run() == 1 && hit_once(break_here, 1), "%u hits", (u64)hits);
        disable();
    }
    no_traps();
}
