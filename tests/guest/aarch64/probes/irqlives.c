// SPDX-License-Identifier: Apache-2.0
// The life cycle of an interrupt, step by step, on every CPU in turn. PSTATE.I stays set: each step acknowledges by
// itself and looks at the state in between. Then the timers, all CPUs at once.
#include "guest.h"

enum { SPI = 50, OTHER = 51, NONE = 1023 };
static u64 cpus, self;
static volatile u64 finished[CPUS_MAX], fired[CPUS_MAX], early[CPUS_MAX], latest[CPUS_MAX];
static volatile u64 timers_go;

#define ICC_PMR S3_0_C4_C6_0
#define ICC_RPR S3_0_C12_C11_3
#define ICC_DIR S3_0_C12_C11_1
#define ICC_IAR S3_0_C12_C12_0
#define ICC_EOIR S3_0_C12_C12_1
#define ICC_HPPIR S3_0_C12_C12_2
#define ICC_BPR S3_0_C12_C12_3
#define ICC_CTLR S3_0_C12_C12_4
#define ICC_IGRPEN1 S3_0_C12_C12_7
#define icc_read(name) read_sysreg(name) // with the name replaced first
#define icc_write(name, value) write_sysreg(name, value)

static u64 bank(u32 intid, u32 offset) {
    return (intid < 32 ? GICR + self * GICR_STRIDE + GICR_SGI : GICD + 4 * (intid / 32)) + offset;
}
static bool is(u32 intid, u32 offset) {
    return read32(bank(intid, offset)) >> intid % 32 & 1;
}
static void set(u32 intid, u32 offset) {
    write32(bank(intid, offset), 1u << intid % 32);
}
static void priority(u32 intid, u8 value) {
    u64 at = (intid < 32 ? GICR + self * GICR_STRIDE + GICR_SGI : GICD) + 0x400 + intid;
    __asm__ volatile("strb %w0, [%1]" ::"r"(value), "r"(at) : "memory");
}
static void route(u32 intid, u64 cpu) {
    __asm__ volatile("str %0, [%1]" ::"r"(cpu), "r"(GICD + 0x6000 + 8ull * intid) : "memory");
}
static void edge(u32 intid, bool on) {
    u64 at = GICD + 0xc00 + 4 * (intid / 16);
    u32 bit = 2u << 2 * (intid % 16);
    write32(at, on ? read32(at) | bit : read32(at) & ~bit);
}
static bool pending(u32 intid) {
    return is(intid, 0x200) && is(intid, 0x280);
}
static bool active(u32 intid) {
    return is(intid, 0x300) && is(intid, 0x380);
}
// The state as two digits: pending, active.
static u64 state(u32 intid) {
    return (u64)(pending(intid) ? 0x10 : 0) + (u64)(active(intid) ? 1 : 0);
}

// The interrupt that comes within a moment.
static u64 ack(void) {
    u64 end = now() + ticks_of_ms(1000), intid;
    while ((intid = icc_read(ICC_IAR)) >= 1020 && now() < end)
        ;
    __asm__ volatile("dsb sy" ::: "memory");
    return intid;
}
// What must not come: a look after every change is enough, there is nothing to wait for but the other CPU.
static u64 peek(void) {
    for (u32 i = 0; i < 50; i++)
        if (icc_read(ICC_HPPIR) < 1020)
            break;
    return icc_read(ICC_HPPIR);
}

static void end(u32 intid) {
    icc_write(ICC_EOIR, intid);
}

// intid pends by ISPENDR: an edge, or an SGI.
static void cycle(u32 intid, const char *name) {
    step("at rest", state(intid), 0);
    set(intid, 0x180);
    set(intid, 0x200);
    step("pending, not enabled", state(intid), 0x10);
    step("not signalled", peek(), NONE);
    set(intid, 0x100);
    step("enabled", ack(), intid);
    step("active", state(intid), 1);
    step("running priority", icc_read(ICC_RPR), 0x80);
    set(intid, 0x200);
    step("active and pending", state(intid), 0x11);
    step("not twice at a time", peek(), NONE);
    end(intid);
    step("idle priority", icc_read(ICC_RPR), 0xff);
    step("again", ack(), intid);
    end(intid);
    step("over", state(intid), 0);
    set(intid, 0x200);
    set(intid, 0x280);
    step("taken back", state(intid), 0);
    step("does not come", peek(), NONE);
    set(intid, 0x300);
    set(intid, 0x200);
    step("activated by hand", state(intid), 0x11);
    step("held back by that", peek(), NONE);
    set(intid, 0x380);
    step("deactivated by hand", ack(), intid);
    set(intid, 0x380);
    step("deactivated while it runs", state(intid), 0);
    end(intid);
    steps_end(name);
}

static void modes(u32 intid) {
    icc_write(ICC_CTLR, icc_read(ICC_CTLR) | 2); // EOImode: a drop of the priority, and a deactivation
    step("EOImode", icc_read(ICC_CTLR) >> 1 & 1, 1);
    set(intid, 0x200);
    step("comes", ack(), intid);
    set(intid, 0x200);
    end(intid);
    step("dropped", icc_read(ICC_RPR), 0xff);
    step("still active", state(intid), 0x11);
    step("not before it is deactivated", peek(), NONE);
    icc_write(ICC_DIR, intid);
    step("then", ack(), intid);
    end(intid);
    icc_write(ICC_DIR, intid);
    step("over", state(intid), 0);
    icc_write(ICC_CTLR, icc_read(ICC_CTLR) & ~2ull);
    steps_end("priority_drop_and_deactivation_apart");
}

static void preemption(void) {
    priority(SPI, 0x80);
    priority(OTHER, 0x40);
    set(SPI, 0x200);
    step("the first", ack(), SPI);
    set(OTHER, 0x200);
    step("the more urgent one", ack(), OTHER);
    step("its priority", icc_read(ICC_RPR), 0x40);
    step("both active", (u64)(state(SPI) << 8 | state(OTHER)), 0x101);
    end(OTHER);
    step("back to the first", icc_read(ICC_RPR), 0x80);
    priority(OTHER, 0xa0);
    set(OTHER, 0x200);
    for (u32 i = 0; i < 10; i++)
        step("the less urgent one waits", icc_read(ICC_IAR), NONE);
    end(SPI);
    step("for its end", ack(), OTHER);
    end(OTHER);
    priority(OTHER, 0x80);
    icc_write(ICC_PMR, 0x80);
    set(SPI, 0x200);
    for (u32 i = 0; i < 10; i++)
        step("masked", icc_read(ICC_IAR), NONE);
    icc_write(ICC_PMR, 0x88);
    step("unmasked", ack(), SPI);
    end(SPI);
    icc_write(ICC_PMR, 0xff);
    priority(SPI, 0xff);
    priority(SPI, 0x80);
    icc_write(ICC_IGRPEN1, 0);
    set(SPI, 0x200);
    step("the group is off", icc_read(ICC_IAR), NONE);
    icc_write(ICC_IGRPEN1, 1);
    step("the group is on", ack(), SPI);
    end(SPI);
    u64 group = bank(SPI, 0x80);
    write32(group, read32(group) & ~(1u << SPI % 32));
    set(SPI, 0x200);
    step("of another group", peek() == SPI, 0);
    step("pending there", state(SPI), 0x10);
    write32(group, read32(group) | 1u << SPI % 32);
    step("of ours again", ack(), SPI);
    end(SPI);
    steps_end("preemption_masks_and_groups");
}

// The timer's level comes again for as long as it is asserted.
static void levels(u32 ppi) {
    set(ppi, 0x100);
    write_sysreg(cntv_cval_el0, 0); // long ago
    write_sysreg(cntv_ctl_el0, 1);
    for (u32 i = 0; i < 5; i++) {
        step("asserted", ack(), ppi);
        step("active and pending", state(ppi), 0x11);
        step("not while active", icc_read(ICC_IAR), NONE);
        end(ppi);
    }
    step("once more", ack(), ppi);
    write_sysreg(cntv_ctl_el0, 3);
    step("masked in the timer", state(ppi), 1);
    end(ppi);
    step("gone", peek(), NONE);
    step("at rest", state(ppi), 0);
    write_sysreg(cntv_ctl_el0, 1);
    step("unmasked in the timer", ack(), ppi);
    write_sysreg(cntv_cval_el0, ~0ull);
    end(ppi);
    step("moved ahead", state(ppi), 0);
    write_sysreg(cntv_ctl_el0, 0);
    write_sysreg(cntp_cval_el0, 0);
    write_sysreg(cntp_ctl_el0, 1);
    set(PPI_CNTP, 0x100);
    for (u32 i = 0; i < 5; i++) {
        step("the physical one", ack(), PPI_CNTP);
        step("active", active(PPI_CNTP), 1);
        end(PPI_CNTP);
    }
    write_sysreg(cntp_ctl_el0, 0);
    step("and gone", peek(), NONE);
    // The UART's line, a level of a device: the transmit interrupt
    if (self == 0) {
        edge(33, false);
        route(33, 0);
        priority(33, 0x80);
        gic_enable(33);
        write32(UART + 0x38, 0x20);
        write32(UART, '\n');
        for (u32 i = 0; i < 5; i++) {
            step("the UART's", ack(), 33);
            end(33);
        }
        step("once more", ack(), 33);
        write32(UART + 0x44, 0x20);
        end(33);
        step("cleared in the UART", peek(), NONE);
        write32(UART + 0x38, 0);
        gic_disable(33);
    }
    set(ppi, 0x180);
    set(PPI_CNTP, 0x180);
    steps_end("a_level_comes_again_until_it_is_taken_away");
}

static void prepare(u32 intid) {
    priority(intid, 0x80);
    edge(intid, true);
    route(intid, self);
    gic_enable(intid);
}

static void lives(void) {
    irqs_off();
    self = cpu_index();
    gic_init();
    prepare(SPI);
    prepare(OTHER);
    cycle(SPI, "life_of_an_SPI");
    cycle(7, "life_of_an_SGI");
    modes(SPI);
    gic_enable(9);
    modes(9);
    preemption();
    levels(PPI_CNTV);
    edge(SPI, false);
    set(SPI, 0x200); // a level-sensitive one that ISPENDR makes pending comes once
    step("by ISPENDR", ack(), SPI);
    step("no longer pending", state(SPI), 1);
    end(SPI);
    step("only once", peek(), NONE);
    steps_end("a_level_without_a_line_pends_once");
    gic_disable(SPI);
    gic_disable(OTHER);
}

// Never early; late only by what others on this CPU take.
static void timers(void) {
    u64 cpu = cpu_index(), distances[] = {0, 1, 10, 100, 1000, ticks_of_ms(1) / 4, ticks_of_ms(1), ticks_of_ms(3)};
    irqs_off();
    for (u32 i = 0; i < 32; i++) {
        u64 when = now() + distances[i % 8];
        bool physical = i / 8 & 1, sleep = i / 16;
        u64 skew = read_sysreg(cntpct_el0) - now();
        if (physical) {
            write_sysreg(cntp_cval_el0, when + skew);
            write_sysreg(cntp_ctl_el0, 1);
        } else {
            write_sysreg(cntv_cval_el0, when);
            write_sysreg(cntv_ctl_el0, 1);
        }
        u64 give_up = now() + ticks_of_ms(4000), intid = NONE;
        while (intid >= 1020 && now() < give_up) {
            if (sleep)
                __asm__ volatile("wfi" ::: "memory");
            intid = icc_read(ICC_IAR);
        }
        u64 at = physical ? read_sysreg(cntpct_el0) - skew : now();
        write_sysreg(cntp_ctl_el0, 0);
        write_sysreg(cntv_ctl_el0, 0);
        if (intid < 1020)
            icc_write(ICC_EOIR, intid);
        fired[cpu] += intid == (physical ? PPI_CNTP : PPI_CNTV);
        early[cpu] += !physical && at < when;
        if (at > when && at - when > latest[cpu])
            latest[cpu] = at - when;
    }
}

// Fires, and never, by the sign of a 32-bit distance; a status that is masked shows; an unreachable deadline stays
// away.
static void settings(void) {
    irqs_off();
    write_sysreg(cntv_tval_el0, 0xffffffff);
    write_sysreg(cntv_ctl_el0, 1);
    step("a distance below 0 is in the past", read_sysreg(cntv_ctl_el0), 5);
    write_sysreg(cntv_tval_el0, 0x7fffffff);
    step("the largest is not", read_sysreg(cntv_ctl_el0), 1);
    write_sysreg(cntv_cval_el0, 0);
    write_sysreg(cntv_ctl_el0, 3);
    step("masked, the status shows", read_sysreg(cntv_ctl_el0), 7);
    // Until the hypervisor looks, what was pending may still be offered: the timer's registers are the CPU's own.
    step("masked, it does not pend", state(PPI_CNTV), 0);
    step("masked, nothing comes", peek(), NONE);
    write_sysreg(cntv_ctl_el0, 0);
    write_sysreg(cntp_tval_el0, 0xffffffff);
    write_sysreg(cntp_ctl_el0, 3);
    step("physical: masked, the status shows", read_sysreg(cntp_ctl_el0), 7);
    step("physical: masked, nothing comes", peek(), NONE);
    write_sysreg(cntp_tval_el0, 0x7fffffff);
    step("physical: not in the past", read_sysreg(cntp_ctl_el0), 3);
    write_sysreg(cntp_cval_el0, 0x123456789abcdef0);
    step("physical: its value", read_sysreg(cntp_cval_el0), 0x123456789abcdef0);
    write_sysreg(cntp_ctl_el0, 0);
    // WFI with the timer masked in the timer must not return for it; SPI is what ends it.
    u64 begin = now();
    write_sysreg(cntv_cval_el0, begin + ticks_of_ms(2));
    write_sysreg(cntv_ctl_el0, 1);
    while (!(read_sysreg(cntv_ctl_el0) & 4))
        __asm__ volatile("wfi" ::: "memory");
    step("a masked wake-up is not early", now() - begin >= ticks_of_ms(2), 1);
    step("and pends", ack(), PPI_CNTV);
    write_sysreg(cntv_ctl_el0, 0);
    end(PPI_CNTV);
    steps_end("timer_settings");
}

void secondary_main(u64 context) {
    if (context == 1)
        lives();
    if (context == 2) {
        gic_init();
        gic_enable(PPI_CNTV);
        gic_enable(PPI_CNTP);
        finished[cpu_index()] = 1;
        (void)wait_for(&timers_go, 1, 20000);
        timers();
    }
    finished[cpu_index()] = context + 1;
}

void guest_main(u64 dtb) {
    (void)dtb;
    while (psci_affinity_info(cpus) >= 0)
        cpus++;
    say("irqlives: %u CPUs\n", cpus);
    lives();
    for (u64 cpu = 1; cpu < cpus; cpu++) {
        s64 answer = psci_cpu_on(cpu, (u64)secondary_entry, 1);
        CHECK("a_CPU_lives_through_it", answer == 0 && wait_for(&finished[cpu], 2, 30000), "CPU %u: %d", cpu, answer);
        while (psci_affinity_info(cpu) != 1)
            ;
        finished[cpu] = 0;
    }
    self = 0;
    gic_enable(PPI_CNTV);
    gic_enable(PPI_CNTP);
    settings();
    for (u64 cpu = 1; cpu < cpus; cpu++) {
        (void)psci_cpu_on(cpu, (u64)secondary_entry, 2);
        (void)wait_for(&finished[cpu], 1, 20000);
    }
    timers_go = 1;
    timers();
    for (u64 cpu = 0; cpu < cpus; cpu++) {
        if (cpu > 0)
            (void)wait_for(&finished[cpu], 3, 20000);
        CHECK("every_timer_fires_and_none_is_early", fired[cpu] == 32 && early[cpu] == 0, "CPU %u: %u fired, %u early",
              cpu, fired[cpu], early[cpu]);
        CHECK("no_timer_is_late_by_more_than_the_others_on_its_CPU_take", latest[cpu] < ticks_of_ms(2000),
              "CPU %u: %u ticks", cpu, latest[cpu]);
    }
    CHECK("no_exception_came", trap.count == 0, "%u, esr %x, elr %x", trap.count, trap.esr, trap.elr);
}
