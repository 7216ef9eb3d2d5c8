// SPDX-License-Identifier: Apache-2.0
// The lives of interrupts step by step, on each CPU: NMIs and what blocks them, requests, priorities and ends in the
// local APIC, the ways that a message finds its CPUs, edges and levels at the IOAPIC; and timers that are never early.
#include "guest.h"

enum { TIMERS = 32, LOG = 16, SPINS = 100000000, IOAPIC_LEVEL = 1 << 15, REMOTE_IRR = 1 << 14 };
static u64 cpus, self;
static volatile u64 finished[CPUS_MAX], timers_go, fired[CPUS_MAX], early[CPUS_MAX], latest[CPUS_MAX];

// ── NMIs ────────────────────────────────────────────────────────────────────────────────────────────────────────────
extern char vectors[];
static volatile u64 nmis, nmi_within, steps_seen, nmis_at_step;
static struct {
    u64 rip, rflags;
} nmi[LOG];
static void (*in_nmi)(void); // what the first one does
static bool step_behind;     // and with which flags it returns

static bool on_nmi(struct frame *frame) {
    if (frame->vector == X86_DB) {
        steps_seen++;
        nmis_at_step = nmis;
        SET_CR(dr6, DR6_RESET);
        frame->rflags &= ~RFLAGS_TF;
        return true;
    }
    if (frame->vector != X86_NMI)
        return false;
    if (nmis < LOG) {
        nmi[nmis].rip = frame->rip;
        nmi[nmis].rflags = frame->rflags;
    }
    if (nmis++ == 0 && in_nmi)
        in_nmi();
    if (nmis == 1 && step_behind)
        frame->rflags |= RFLAGS_TF;
    return true;
}

static void nmi_self(void) {
    apic_icr((u32)cpu_index(), ICR_NMI | ICR_ASSERT);
}

// Without an exit from the guest.
static void spin(u64 least) {
    for (u64 i = 0; i < SPINS && nmis < least; i++)
        ;
}

static void two_more(void) {
    nmi_self();
    nmi_self();
    (void)cpuid(0, 0); // out of the guest and back in
    nmi_within = nmis;
}

static void halt_with_one_waiting(void) {
    u64 before = irq_count[VECTOR_TIMER];
    apic_write(APIC_LVT_TIMER, LVT_DEADLINE | VECTOR_TIMER);
    wrmsr(MSR_TSC_DEADLINE, now() + ticks_of_ms(20));
    nmi_self();
    __asm__ volatile("sti; hlt; cli" ::: "memory");
    nmi_within = irq_count[VECTOR_TIMER] - before;
}

static void nmi_begin(void (*first)(void)) {
    nmis = steps_seen = nmis_at_step = 0;
    in_nmi = first;
}

static void nmi_lives(void) {
    trap_hook = on_nmi;
    nmi_begin(nullptr);
    nmi_self();
    step("comes at once, interrupts masked", nmis, 1);
    nmi_begin(two_more);
    nmi_self();
    spin(2);
    step("blocked while one is handled", nmi_within, 1);
    step("two that wait are one", nmis, 2);
    step("which comes right behind IRET", nmi[1].rip, nmi[0].rip);
    step("with the flags as they were", nmi[1].rflags, nmi[0].rflags);
    for (u64 i = 0; i < 20; i++) {
        nmi_begin(two_more);
        nmi_self();
        spin(2);
        step("again", nmis, 2);
    }
    nmi_begin(nullptr);
    nmi_self();
    step("none is left", nmis, 1);
    nmi_begin(halt_with_one_waiting);
    nmi_self();
    spin(2);
    step("HLT does not wake for one that is blocked", nmi_within, 1);
    step("nor is it lost", nmis, 2);
    // A single step's trap is more urgent; then the NMI comes before the handler's first instruction.
    nmi_begin(nullptr);
    __asm__ volatile("pushfq; orq $0x100, (%%rsp); popfq; wrmsr; nop" ::"a"(ICR_NMI | ICR_ASSERT), "d"((u32)self),
                     "c"(MSR_X2APIC + APIC_ICR / 16)
                     : "memory", "cc");
    step("a step over the instruction that sends it", steps_seen, 1);
    step("the NMI comes in front of the step's handler", nmis_at_step, 1);
    step("at its first instruction", nmi[0].rip, (u64)vectors + 16 * X86_DB);
    step("once", nmis, 1);
    nmi_begin(two_more);
    step_behind = true;
    nmi_self();
    spin(2);
    step_behind = false;
    step("an IRET that sets TF, and one that waits for it", nmis, 2);
    step("with TF", nmi[1].rflags & RFLAGS_TF, RFLAGS_TF);
    step("then there is one step", steps_seen, 1);
    trap_hook = nullptr;
    steps_end("NMIs_are_blocked_until_IRET_and_come_right_behind_it");
}

// ── Requests and priorities ─────────────────────────────────────────────────────────────────────────────────────────
static struct {
    u32 vector, in_service, requested, level, priority;
} taken[LOG];
static u32 count;
static u32 nested; // the vector whose handler lets others in

static u32 bit_of(u32 bank, u32 vector) {
    return apic_read(bank + vector / 32 * 16) >> vector % 32 & 1;
}

static void send(u32 vector) {
    apic_icr((u32)self, vector);
}

static void let_in(void) {
    __asm__ volatile("sti; nop; nop; cli" ::: "memory");
}

static void on_irq(u32 vector) {
    if (count < LOG) {
        taken[count].vector = vector;
        taken[count].in_service = bit_of(APIC_ISR, vector);
        taken[count].requested = bit_of(APIC_IRR, vector);
        taken[count].level = bit_of(APIC_TMR, vector);
        taken[count].priority = apic_read(APIC_PPR);
    }
    count++;
    if (vector != nested)
        return;
    nested = 0;
    send(vector + 6);    // of the same class
    send(vector - 0x10); // below
    send(vector + 0x10); // above
    send(vector);        // once more, when this one has ended
    let_in();
    step("only the one above comes within", count, 2);
}

static void requests(void) {
    irq_hook = on_irq;
    count = nested = 0;
    send(0x62);
    send(0x62);
    step("requested", bit_of(APIC_IRR, 0x62), 1);
    step("not in service", bit_of(APIC_ISR, 0x62), 0);
    step("priority at rest", apic_read(APIC_PPR), 0);
    step("nothing came", count, 0);
    let_in();
    step("two requests are one", count, 1);
    step("it", taken[0].vector, 0x62);
    step("in service in its handler", taken[0].in_service, 1);
    step("no request any more", taken[0].requested, 0);
    step("its priority", taken[0].priority, 0x60);
    step("no level", taken[0].level, 0);
    step("ended", bit_of(APIC_ISR, 0x62), 0);
    count = 0;
    nested = 0x62;
    send(0x62);
    let_in();
    step("five", count, 5);
    step("first", taken[0].vector, 0x62);
    step("the one above within", taken[1].vector, 0x72);
    step("with its priority", taken[1].priority, 0x70);
    step("then the highest of the class", taken[2].vector, 0x68);
    step("then the same again", taken[3].vector, 0x62);
    step("the one below last", taken[4].vector, 0x52);
    apic_eoi(); // of nothing
    step("at rest again", apic_read(APIC_PPR), 0);
    steps_end("requests_services_and_ends");
    count = 0;
    apic_write(APIC_TPR, 0x60);
    send(0x6f);
    let_in();
    step("held back by the priority of its class", count, 0);
    step("which PPR shows", apic_read(APIC_PPR), 0x60);
    apic_write(APIC_TPR, 0x5f);
    let_in();
    step("let through below it", count, 1);
    step("its priority is above the task's", taken[0].priority, 0x60);
    step("the task's is left", apic_read(APIC_PPR), 0x5f);
    SET_CR(cr8, 15);
    send(0xfe);
    let_in();
    step("the highest holds back everything", count, 1);
    SET_CR(cr8, 0);
    let_in();
    step("nothing holds back", count, 2);
    steps_end("task_priorities");
}

// What an APIC says of vectors that are none, and does when software switches it off.
static void errors(void) {
    count = 0;
    apic_write(APIC_ESR, 0);
    apic_write(APIC_LVT_ERROR, 0x42);
    send(5);
    let_in();
    step("an error's interrupt", count == 1 ? taken[0].vector : 0, 0x42);
    apic_write(APIC_ESR, 0);
    step("a vector that cannot be sent", apic_read(APIC_ESR) & 0x20, 0x20);
    apic_write(APIC_ESR, 0);
    step("told once", apic_read(APIC_ESR), 0);
    apic_write(APIC_LVT_ERROR, LVT_MASKED);
    apic_write(APIC_SVR, VECTOR_SPURIOUS);
    send(0x61);
    step("off: no request", bit_of(APIC_IRR, 0x61), 0);
    step("off: masked", apic_read(APIC_LVT_TIMER) & LVT_MASKED, LVT_MASKED);
    apic_write(APIC_LVT_TIMER, VECTOR_TIMER);
    step("off: cannot be unmasked", apic_read(APIC_LVT_TIMER) & LVT_MASKED, LVT_MASKED);
    apic_write(APIC_SVR, 0x100 | VECTOR_SPURIOUS);
    step("on: still masked", apic_read(APIC_LVT_TIMER) & LVT_MASKED, LVT_MASKED);
    count = 0;
    send(0x61);
    let_in();
    step("on", count, 1);
    steps_end("errors_and_an_APIC_that_is_off");
}

static void x2apic_registers(void) {
    u64 value = 0;
    u32 x2 = MSR_X2APIC;
    count = 0;
    step("the number", rdmsr(x2 + APIC_ID / 16), self);
    step("the logical number", rdmsr(x2 + APIC_LDR / 16), self / 16 << 16 | 1u << self % 16);
    wrmsr(x2 + 0x3f, 0x63); // SELF IPI
    let_in();
    step("to itself", count == 1 ? taken[0].vector : 0, 0x63);
    step("SELF IPI is written only", rdmsr_safe(x2 + 0x3f, &value), false);
    step("there is no DFR", rdmsr_safe(x2 + APIC_DFR / 16, &value), false);
    step("nor a second half of ICR", rdmsr_safe(x2 + APIC_ICR_HIGH / 16, &value), false);
    step("the number cannot be written", wrmsr_safe(x2 + APIC_ID / 16, 0), false);
    step("nor the logical one", wrmsr_safe(x2 + APIC_LDR / 16, 0), false);
    step("EOI is 0", wrmsr_safe(x2 + APIC_EOI / 16, 1), false);
    step("ICR has reserved bits", wrmsr_safe(x2 + APIC_ICR / 16, 1 << 20), false);
    step("so has TPR", wrmsr_safe(x2 + APIC_TPR / 16, 0x100), false);
    step("back to an xAPIC only by way of off", wrmsr_safe(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) & ~0x400ull), false);
    step("the page is not there", read32(LAPIC + APIC_VERSION), 0xffffffff);
    trap.count = 0;
    steps_end("registers_of_an_x2APIC");
}

// ── The IOAPIC ──────────────────────────────────────────────────────────────────────────────────────────────────────
static void line(bool up) { // the UART's: its transmitter is always empty
    out8(COM1 + UART_IER, 0);
    if (up)
        out8(COM1 + UART_IER, 2);
}

static u32 came(void) {
    u32 before = count;
    let_in();
    return count - before;
}

static bool down_by_hand;
static void on_level(u32 vector) {
    u32 pin = ioapic_read(0x10 + 2 * PIN_COM1);
    on_irq(vector);
    step("in service at the IOAPIC", pin & REMOTE_IRR, REMOTE_IRR);
    if (down_by_hand)
        line(false);
}

static void pins(void) {
    count = 0;
    line(false);
    ioapic_route(PIN_COM1, 0x64, (u32)self);
    line(true);
    step("an edge", came(), 1);
    step("is no level", taken[0].level, 0);
    step("an input that stays is none", came(), 0);
    line(false);
    line(true);
    step("a second edge", came(), 1);
    line(false);
    irq_hook = on_level;
    ioapic_route(PIN_COM1, 0x65 | IOAPIC_LEVEL, (u32)self);
    step("a level that is down", came(), 0);
    count = 0;
    down_by_hand = true;
    line(true);
    step("a level", came(), 1);
    step("is one", taken[0].level, 1);
    step("is over when it is down", came(), 0);
    step("at the IOAPIC, too", ioapic_read(0x10 + 2 * PIN_COM1) & REMOTE_IRR, 0);
    ioapic_write(0x10 + 2 * PIN_COM1, 0x65 | IOAPIC_LEVEL | LVT_MASKED);
    line(true);
    step("masked", came(), 0);
    ioapic_write(0x10 + 2 * PIN_COM1, 0x65 | IOAPIC_LEVEL);
    step("no longer", came(), 1);
    line(true);
    ioapic_write(0x10 + 2 * PIN_COM1, 0x65 | IOAPIC_LEVEL | LVT_MASKED); // the message is on its way
    step("masked too late", came(), 1);
    step("ended while masked", ioapic_read(0x10 + 2 * PIN_COM1) & REMOTE_IRR, 0);
    irq_hook = on_irq;
    line(false);
    trap_hook = on_nmi;
    nmi_begin(nullptr);
    ioapic_route(PIN_COM1, ICR_NMI, (u32)self);
    line(true);
    step("as an NMI", nmis, 1);
    trap_hook = nullptr;
    line(false);
    count = 0;
    ioapic_route(PIN_COM1, 0x67, (u32)(self + 1 == 16 ? 0 : cpus)); // a CPU that is not there
    line(true);
    step("nobody's", came(), 0);
    line(false);
    ioapic_route(PIN_COM1, LVT_MASKED, 0);
    steps_end("edges_and_levels_of_a_pin");
}

// ── The timer ───────────────────────────────────────────────────────────────────────────────────────────────────────
static u64 ticks_of_ns(u64 ns) {
    return ns * (tsc_hz() / 1000) / 1000000;
}

static void settings(void) {
    count = 0;
    apic_write(APIC_DIVIDE, DIVIDE_BY_1);
    apic_write(APIC_LVT_TIMER, LVT_MASKED | VECTOR_TIMER);
    apic_write(APIC_INITIAL, 3000000000u);
    u32 first = apic_read(APIC_CURRENT);
    u64 end = now() + ticks_of_ms(1);
    while (now() < end)
        ;
    u32 second = apic_read(APIC_CURRENT);
    step("it counts down", first <= 3000000000u && second < first && first - second >= 900000, 1);
    apic_write(APIC_DIVIDE, 0xa); // by 128
    step("more slowly", apic_read(APIC_CURRENT) <= second && apic_read(APIC_DIVIDE) == 0xa, 1);
    apic_write(APIC_INITIAL, 0);
    step("stopped", apic_read(APIC_CURRENT), 0);
    apic_write(APIC_DIVIDE, DIVIDE_BY_1);
    apic_write(APIC_INITIAL, 1000);
    end = now() + ticks_of_ms(2);
    while (now() < end)
        ;
    apic_write(APIC_LVT_TIMER, VECTOR_TIMER);
    step("what a masked one had to say is lost", came(), 0);
    apic_write(APIC_LVT_TIMER, LVT_DEADLINE | VECTOR_TIMER);
    wrmsr(MSR_TSC_DEADLINE, 1);
    step("a deadline of the past comes at once", came(), 1);
    step("and is none any more", rdmsr(MSR_TSC_DEADLINE), 0);
    apic_write(APIC_INITIAL, 1);
    step("a count does nothing to deadlines", came() + apic_read(APIC_CURRENT), 0);
    u64 far = now() + ticks_of_ms(1000000);
    wrmsr(MSR_TSC_DEADLINE, far);
    step("one of the future stays", rdmsr(MSR_TSC_DEADLINE), far);
    apic_write(APIC_LVT_TIMER, VECTOR_TIMER);
    apic_write(APIC_LVT_TIMER, LVT_DEADLINE | VECTOR_TIMER);
    step("another mode disarms", rdmsr(MSR_TSC_DEADLINE), 0);
    wrmsr(MSR_TSC_DEADLINE, far);
    wrmsr(MSR_TSC, far); // the clock goes on, and the deadline is there
    u64 come = 0, give_up = now() + ticks_of_ms(2000);
    while ((come = came()) == 0 && now() < give_up)
        ;
    step("a TSC that is set has the deadline come", come, 1);
    wrmsr(MSR_TSC, now() - far + (end - ticks_of_ms(2)));
    steps_end("settings_of_the_timer");
}

static void on_timer(u32 vector) {
    if (vector == VECTOR_TIMER)
        fired[cpu_index()]++;
}

// Never early; late only by what others on this CPU take.
static void timers(void) {
    u64 cpu = cpu_index(), distances[] = {1, 100, 1000, 10000, 50000, 250000, 1000000, 3000000}; // ns
    irqs_off();
    apic_write(APIC_DIVIDE, DIVIDE_BY_1);
    for (u32 i = 0; i < TIMERS; i++) {
        bool deadline = i / 8 & 1, sleep = i / 16;
        u64 before = fired[cpu], when, give_up;
        apic_write(APIC_LVT_TIMER, deadline ? LVT_DEADLINE | VECTOR_TIMER : VECTOR_TIMER);
        when = now() + ticks_of_ns(distances[i % 8]);
        give_up = when + ticks_of_ms(4000);
        if (deadline)
            wrmsr(MSR_TSC_DEADLINE, when);
        else
            apic_write(APIC_INITIAL, (u32)distances[i % 8]);
        while (fired[cpu] == before && now() < give_up)
            if (sleep)
                wait_for_interrupt();
            else
                let_in();
        u64 at = now();
        early[cpu] += at < when;
        if (at > when && at - when > latest[cpu])
            latest[cpu] = at - when;
    }
}

static void lives(void) {
    irqs_off();
    self = cpu_index();
    irqs_init();
    nmi_lives();
    requests();
    errors();
    x2apic_registers();
    pins();
    settings();
    irq_hook = nullptr;
}

// ── Ways to CPUs ────────────────────────────────────────────────────────────────────────────────────────────────────
// Every message has a vector of its own; when the last one, which is the least urgent, has come to every CPU, nothing
// is on its way any more.
enum { MESSAGES = 16, VECTOR_MESSAGE = 0x90, VECTOR_LAST = 0x22, VECTOR_HOME = 0x23 };
enum way { FLAT = 10, CLUSTERS = 20, X2APIC = 30 };
static volatile u64 got[MESSAGES][CPUS_MAX], got_last[CPUS_MAX], home;
static struct {
    const char *what;
    u64 cpus; // that it is for, as a set
    bool one; // any one of them
} sent[MESSAGES];
static u32 messages;

static void on_message(u32 vector) {
    if (vector == VECTOR_LAST)
        got_last[cpu_index()]++;
    else if (vector - VECTOR_MESSAGE < MESSAGES)
        got[vector - VECTOR_MESSAGE][cpu_index()]++;
}

static u32 logical_of(u64 cpu, enum way way) {
    return way == FLAT ? 1u << cpu % 8 : (u32)(cpu / 4 << 4) | 1u << cpu % 4;
}

static void prepare(enum way way) {
    if (way == X2APIC) {
        wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | 1 << 10);
        return;
    }
    write32(LAPIC + APIC_DFR, way == FLAT ? ~0u : 0x0fffffff);
    write32(LAPIC + APIC_LDR, logical_of(cpu_index(), way) << 24);
}

static void message(const char *what, u32 dest, u32 mode, u64 to, bool one) {
    sent[messages].what = what;
    sent[messages].cpus = to;
    sent[messages].one = one;
    apic_icr(dest, mode | ICR_ASSERT | (VECTOR_MESSAGE + messages++));
}

static void check_messages(void) {
    apic_icr(0, ICR_ALL | ICR_ASSERT | VECTOR_LAST);
    irqs_on();
    for (u64 cpu = 0; cpu < cpus; cpu++)
        step("the last message comes to every CPU", wait_for(&got_last[cpu], 1, 10000), 1);
    irqs_off();
    for (u32 n = 0; n < messages; n++) {
        u64 set = 0, sum = 0;
        for (u64 cpu = 0; cpu < cpus; cpu++) {
            set |= (u64)(got[n][cpu] != 0) << cpu;
            sum += got[n][cpu];
            got[n][cpu] = 0;
        }
        u64 right = sent[n].one ? set && !(set & ~sent[n].cpus) && sum == 1
                                : set == sent[n].cpus && sum == (u64)__builtin_popcountll(set);
        step(sent[n].what, right ? sent[n].cpus : set, sent[n].cpus);
    }
    for (u64 cpu = 0; cpu < cpus; cpu++)
        got_last[cpu] = 0;
    messages = 0;
}

static void ways(enum way way, const char *name) {
    u64 all = (1ull << cpus) - 1, last = cpus - 1;
    u32 logical_all = 0, logical_last = way == X2APIC ? 1u << last : logical_of(last, way);
    home = 0;
    for (u64 cpu = 1; cpu < cpus; cpu++) {
        (void)cpu_start(cpu, way);
        (void)wait_for(&finished[cpu], way, 10000);
    }
    prepare(way);
    for (u64 cpu = 0; cpu < cpus; cpu++)
        logical_all |= way == X2APIC ? 1u << cpu : logical_of(cpu, way);
    irq_hook = on_message;
    message("to the last one", (u32)last, 0, 1ull << last, false);
    message("to the first one", 0, 0, 1, false);
    message("to one that is not there", (u32)cpus, 0, 0, false);
    message("to all by number", way == X2APIC ? ~0u : 0xff, 0, all, false);
    message("to itself", 0, ICR_SELF, 1, false);
    message("to all", 0, ICR_ALL, all, false);
    message("to the others", 0, ICR_OTHERS, all & ~1ull, false);
    message("to a set of all", logical_all, ICR_LOGICAL, all, false);
    message("to a set of one", logical_last, ICR_LOGICAL, 1ull << last, false);
    message("to a set of nobody", way == X2APIC ? 1u << cpus : way == FLAT ? 1u << cpus : 0xe1, ICR_LOGICAL, 0, false);
    for (u32 i = 0; i < 5; i++)
        message("to one of a set", logical_all, ICR_LOGICAL | 1 << 8, all, true);
    message("to one of a set of one", logical_last, ICR_LOGICAL | 1 << 8, 1ull << last, true);
    check_messages();
    home = 1;
    apic_icr(0, ICR_OTHERS | ICR_ASSERT | VECTOR_HOME);
    for (u64 cpu = 1; cpu < cpus; cpu++)
        while (cpu_status(cpu) != 1)
            ;
    irq_hook = nullptr;
    self = 0;
    steps_end(name);
}

// ── NMIs between CPUs ───────────────────────────────────────────────────────────────────────────────────────────────
// They come to a CPU whatever it does: each one that was taken before the next was sent, and of a burst the last.
enum { VICTIM = 40, NMIS = 30, BURST = 30 };
static volatile u64 nmis_of[CPUS_MAX], last_sent[CPUS_MAX], seen_sent[CPUS_MAX];

static bool on_count(struct frame *frame) {
    u64 cpu = cpu_index();
    if (frame->vector == X86_NMI) {
        seen_sent[cpu] = last_sent[cpu];
        nmis_of[cpu]++;
        if (nmis_of[cpu] % 4 == 0)
            (void)cpuid(0, 0);
        return true;
    }
    if (frame->vector != X86_DB)
        return false;
    SET_CR(dr6, DR6_RESET);
    return true;
}

static void be_a_victim(void) {
    finished[cpu_index()] = VICTIM;
    for (u64 i = 0; !home; i++)
        switch (i / 16 % 5) {
        case 0:
            (void)cpuid(0, 0);
            break;
        case 4:
            cpu_yield();
            break;
        case 1: // at each step an exception
            __asm__ volatile(
                "pushfq; orq $0x100, (%%rsp); popfq; cpuid; nop; pushfq; andq $~0x100, (%%rsp); popfq" ::"a"(0), "c"(0)
                : "rbx", "rdx", "cc", "memory");
            break;
        case 2:
            (void)apic_read(APIC_TPR);
            break;
        default:
            __asm__ volatile("mov %%ss, %%eax; mov %%eax, %%ss; cpuid; sti; nop; cli" ::"c"(0)
                             : "rax", "rbx", "rdx", "memory");
            break;
        }
}

static bool wait_idly(volatile u64 *value, u64 least) { // it may need this CPU
    u64 end = now() + ticks_of_ms(5000);
    while (*value < least && now() < end)
        cpu_yield();
    return *value >= least;
}

static void nmi_ways(void) {
    home = 0;
    trap_hook = on_count;
    for (u64 cpu = 1; cpu < cpus; cpu++) {
        (void)cpu_start(cpu, VICTIM);
        (void)wait_for(&finished[cpu], VICTIM, 10000);
        u64 before = nmis_of[cpu];
        for (u64 i = 1; i <= NMIS; i++) {
            apic_icr((u32)cpu, ICR_NMI | ICR_ASSERT);
            step("an NMI comes to another CPU", wait_idly(&nmis_of[cpu], before + i), 1);
        }
        step("and once", nmis_of[cpu] - before, NMIS);
        for (u64 i = 1; i <= BURST; i++) {
            last_sent[cpu] = i;
            apic_icr((u32)cpu, ICR_NMI | ICR_ASSERT);
        }
        step("the last of a burst comes", wait_idly(&seen_sent[cpu], BURST), 1);
    }
    home = 1;
    for (u64 cpu = 1; cpu < cpus; cpu++)
        while (cpu_status(cpu) != 1)
            ;
    trap_hook = nullptr;
    steps_end("NMIs_come_to_CPUs_whatever_they_do");
}

static void listen(enum way way) {
    prepare(way);
    finished[cpu_index()] = way;
    while (!home)
        __asm__ volatile("sti; hlt; cli" ::: "memory");
}

void secondary_main(u64 context) {
    u64 cpu = cpu_index();
    if (context == 1)
        lives();
    if (context == 2) {
        irqs_init();
        finished[cpu] = 1;
        (void)wait_for(&timers_go, 1, 20000);
        timers();
    }
    if (context == VICTIM)
        be_a_victim();
    else if (context >= FLAT)
        listen((enum way)context);
    finished[cpu] = context + 1;
}

void guest_main(u64 zero_page) {
    (void)zero_page;
    cpus = cpu_count();
    say("irqlives: %u CPUs\n", cpus);
    ways(FLAT, "ways_to_CPUs_in_a_flat_set");
    ways(CLUSTERS, "ways_to_CPUs_in_clusters");
    ways(X2APIC, "ways_to_CPUs_of_x2APICs");
    nmi_ways();
    lives();
    for (u64 cpu = 1; cpu < cpus; cpu++) {
        finished[cpu] = 0;
        s64 answer = cpu_start(cpu, 1);
        CHECK("a_CPU_lives_through_it", answer == 0 && wait_for(&finished[cpu], 2, 30000), "CPU %u: %d", cpu, answer);
        while (cpu_status(cpu) != 1)
            ;
        finished[cpu] = 0;
    }
    irqs_init();
    irq_hook = on_timer;
    for (u64 cpu = 1; cpu < cpus; cpu++) {
        (void)cpu_start(cpu, 2);
        (void)wait_for(&finished[cpu], 1, 20000);
    }
    timers_go = 1;
    timers();
    for (u64 cpu = 0; cpu < cpus; cpu++) {
        if (cpu > 0)
            (void)wait_for(&finished[cpu], 3, 20000);
        CHECK("every_timer_fires_once_and_none_is_early", fired[cpu] == TIMERS && early[cpu] == 0,
              "CPU %u: %u fired, %u early", cpu, fired[cpu], early[cpu]);
        CHECK("no_timer_is_late_by_more_than_the_others_on_its_CPU_take", latest[cpu] < ticks_of_ms(2000),
              "CPU %u: %u ticks", cpu, latest[cpu]);
    }
    no_traps();
}
