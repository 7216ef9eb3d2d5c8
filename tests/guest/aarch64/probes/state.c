// SPDX-License-Identifier: Apache-2.0
// State that could stay behind: what a CPU finds after it was off or asleep, what one vCPU leaves to the next on the
// same CPU, and what an emulated instruction leaves of the one before.
#include "guest.h"

static volatile u64 secondary_up, secondary_seen, secondary_go, secondary_runs;
static volatile u64 secondary_oslock, secondary_pending;

// S3_0_C4_C6_0: ICC_PMR_EL1, S3_0_C12_C12_7: ICC_IGRPEN1_EL1, S3_0_C12_C12_5: ICC_SRE_EL1
#define OSLSR_LOCKED 2ull

static u64 pending_of(u64 cpu) {
    return read32(GICR + cpu * GICR_STRIDE + GICR_SGI + 0x200);
}

// First life: goes off with its physical timer asserted. Second life: finds it in reset state.
void secondary_main(u64 context) {
    secondary_runs++;
    secondary_oslock = read_sysreg(oslsr_el1) & OSLSR_LOCKED;
    secondary_pending = pending_of(1) >> PPI_CNTP & 1;
    if (context == 1) {
        gic_init();
        write_sysreg(cntp_cval_el0, 0);
        write_sysreg(cntp_ctl_el0, 1);
    }
    if (context == 3) { // sleeps deeply until its timer wakes it, and begins anew
        gic_init();
        gic_enable(PPI_CNTV);
        write_sysreg(S3_0_C4_C6_0, 0xf0);
        write_sysreg(cntv_tval_el0, ticks_of_ms(5));
        write_sysreg(cntv_ctl_el0, 1);
        secondary_up = (u64)hvc(0xc4000001, 1 << 16, (u64)secondary_entry, 4).x0;
    }
    if (context == 4)
        secondary_seen = read_sysreg(S3_0_C4_C6_0) << 8 | read_sysreg(S3_0_C12_C12_7);
    if (context == 5) { // goes off with an SPI on its way to it
        gic_init();
        secondary_up = 4;
        while (!secondary_go)
            ;
        (void)pending_of(1);
        (void)psci_affinity_info(0);
    }
    secondary_up = context;
    while (context == 2 && !secondary_go)
        ;
}

static bool off(void) {
    u64 end = now() + ticks_of_ms(5000);
    while (psci_affinity_info(1) != 1)
        if (now() > end)
            return false;
    return true;
}

static bool run_secondary(u64 context, u64 until) {
    secondary_up = 0;
    if (psci_cpu_on(1, (u64)secondary_entry, context) != 0)
        return false;
    u64 end = now() + ticks_of_ms(5000);
    while (secondary_up != until)
        if (now() > end)
            return false;
    return true;
}

static void lives(void) {
    CHECK("a_CPU_goes_off_with_its_timer_asserted", run_secondary(1, 1) && off(), "%d", psci_affinity_info(1));
    bool ran = run_secondary(2, 2);
    CHECK("a_CPU_that_goes_on_again_finds_its_timer_at_rest",
          ran && !secondary_pending && !(pending_of(1) >> PPI_CNTP & 1), "ran %u, then %u, now %x", (u64)ran,
          secondary_pending, pending_of(1));
    secondary_go = 1;
    CHECK("it_goes_off_again", off(), "%d", psci_affinity_info(1));
    ran = run_secondary(3, 4);
    CHECK("a_CPU_that_wakes_from_power_down_has_its_interrupt_interface_at_reset", ran && secondary_seen == 0,
          "ran %u, PMR << 8 | IGRPEN1 = %x", (u64)ran, secondary_seen);
    (void)off();
}

// Nothing leaves the guest between the write and the wait: the interrupt has to be there at once.
static void due_timer(void) {
    irq_total = irq_count[PPI_CNTP] = 0;
    gic_enable(PPI_CNTP);
    irqs_on();
    u64 before = read_sysreg(cntpct_el0);
    write_sysreg(cntp_cval_el0, before);
    write_sysreg(cntp_ctl_el0, 1);
    CHECK("a_physical_timer_that_is_due_when_it_is_set_fires_at_once",
          wait_for(&irq_count[PPI_CNTP], 1, 3) || irq_total, "%u interrupts", irq_total);
    write_sysreg(cntp_ctl_el0, 0);
    irqs_off();
    write_sysreg(cntv_cval_el0, ~0ull);
    write_sysreg(cntv_ctl_el0, 1);
    write_sysreg(cntp_cval_el0, ~0ull);
    write_sysreg(cntp_ctl_el0, 1);
    (void)hvc(0x86000003, 0, 0, 0); // yield
    CHECK("timers_set_to_the_end_of_time_do_not_fire",
          !(read_sysreg(cntv_ctl_el0) & 4) && !(read_sysreg(cntp_ctl_el0) & 4) && !(pending_of(0) >> PPI_CNTP & 1) &&
              !(pending_of(0) >> PPI_CNTV & 1),
          "pending %x", pending_of(0));
    write_sysreg(cntv_ctl_el0, 0);
    write_sysreg(cntp_ctl_el0, 0);
}

enum { SPI = 40 };

static void route(u64 cpu) {
    __asm__ volatile("str %0, [%1]" ::"r"(cpu), "r"(GICD + 0x6000 + 8ull * SPI) : "memory");
}

static void waiting_spi(void) {
    irq_count[SPI] = 0;
    secondary_go = 0;
    route(1);
    write32(GICD + 0xc00 + 4 * (SPI / 16), 2u << 2 * (SPI % 16)); // an edge
    gic_enable(SPI);
    bool ran = run_secondary(5, 4);
    write32(GICD + 0x200 + 4 * (SPI / 32), 1u << SPI % 32); // ISPENDR
    secondary_go = 1;
    ran = ran && off();
    irqs_on();
    bool early = irq_count[SPI] != 0;
    route(0);
    CHECK("an_SPI_that_a_CPU_left_behind_goes_to_the_next", wait_for(&irq_count[SPI], 1, 1000) && ran && !early,
          "ran %u, early %u, %u came", (u64)ran, (u64)early, irq_count[SPI]);
    irqs_off();
}

// Two vCPUs on one CPU: what this one does to the OS lock is its own business.
static void os_lock(void) {
    write_sysreg(oslar_el1, 0);
    CHECK("the_OS_lock_opens", !(read_sysreg(oslsr_el1) & OSLSR_LOCKED), "%x", read_sysreg(oslsr_el1));
    secondary_go = 0;
    bool ran = run_secondary(2, 2);
    CHECK("another_CPU_finds_its_OS_lock_as_at_reset", ran && secondary_oslock, "ran %u, %x", (u64)ran,
          secondary_oslock);
    CHECK("and_leaves_ours_as_it_was", !(read_sysreg(oslsr_el1) & OSLSR_LOCKED), "%x", read_sysreg(oslsr_el1));
    secondary_go = 1;
    (void)off();
}

// MDSCR.SS, and PSTATE.SS by an ERET to the next line: one instruction is executed, an emulated one (the read of an ID
// register, then of a device), and the exception comes before the one after it.
#define STEP_OVER(name, instruction)                                                                                   \
    static void name(void) {                                                                                           \
        u64 at, expected, value = 0;                                                                                   \
        write_sysreg(oslar_el1, 0);                                                                                    \
        trap.count = 0;                                                                                                \
        __asm__ volatile(                                                                                              \
            "msr daifset, #8\n\tmrs x9, mdscr_el1\n\tmov x10, #0x2001\n\torr x9, x9, x10\n\tmsr mdscr_el1, x9\n\t"     \
            "adr x9, 1f\n\tmsr elr_el1, x9\n\tmov x9, #0x1c5\n\tmovk x9, #0x0020, lsl #16\n\t"                         \
            "msr spsr_el1, x9\n\tadr %1, 2f\n\tisb\n\teret\n"                                                          \
            "1:\t" instruction "\n2:\tnop\n\tnop\n\t"                                                                  \
            "mrs x9, mdscr_el1\n\tand x9, x9, #~1\n\tmsr mdscr_el1, x9\n\tisb\n\tmsr daifset, #8"                      \
            : "+r"(value), "=&r"(expected)                                                                             \
            : "r"(RTC)                                                                                                 \
            : "x9", "x10", "memory");                                                                                  \
        at = trap.elr;                                                                                                 \
        CHECK("a_step_over_" #name "_ends_right_after_it",                                                             \
              trap.count == 1 && ESR_EC(trap.esr) == 0x33 && at == expected, "%u traps, esr %x at %x, not %x",         \
              trap.count, trap.esr, at, expected);                                                                     \
    }

STEP_OVER(an_ordinary_instruction, "mov %0, #1")
STEP_OVER(an_emulated_register, "mrs %0, id_aa64pfr0_el1")
STEP_OVER(an_emulated_device, "ldr %w0, [%2]")

static void others(void) {
    u64 sre = read_sysreg(S3_0_C12_C12_5);
    write_sysreg(S3_0_C12_C12_5, 0);
    CHECK("the_system_register_interface_cannot_be_switched_off", (read_sysreg(S3_0_C12_C12_5) & 1) && (sre & 1),
          "%x, %x", sre, read_sysreg(S3_0_C12_C12_5));
    trap.count = 0;
    u64 value = 0;
    __asm__ volatile("mrs %0, S3_0_C5_C3_0" : "=r"(value)); // ERRIDR_EL1: RAS is not offered
    CHECK("the_hosts_error_records_are_out_of_reach", trap.count == 1 && ESR_EC(trap.esr) == EC_UNKNOWN, "%x, %u traps",
          value, trap.count);
    trap.count = 0;
    __asm__ volatile("mrs %0, S3_0_C10_C4_7" : "=r"(value)); // LORID_EL1
    CHECK("limited_ordering_regions_are_not_there", trap.count == 1 && ESR_EC(trap.esr) == EC_UNKNOWN, "%x, %u traps",
          value, trap.count);
    trap.count = 0;
    for (u64 op = 0; op < 1 << 16; op++) // every level, and sets and ways far beyond what there are
        __asm__ volatile("dc cisw, %0\n\tdc isw, %0\n\tdc csw, %0" ::"r"(op * 0x10001) : "memory");
    CHECK("cache_operations_by_any_set_and_way_are_carried_out_or_ignored", trap.count == 0, "%u traps, esr %x",
          trap.count, trap.esr);
}

void guest_main(u64 dtb) {
    (void)dtb;
    gic_init();
    due_timer();
    if (psci_affinity_info(1) >= 0) {
        lives();
        waiting_spi();
        os_lock();
    }
    an_ordinary_instruction();
    an_emulated_register();
    an_emulated_device();
    others();
}
