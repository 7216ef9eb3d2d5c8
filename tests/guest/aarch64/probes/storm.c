// SPDX-License-Identifier: Apache-2.0
// IPIs between all CPUs at once. SGI number 4 * sender + receiver has one sender and one receiver, so its count is that
// pair's: each one that was acknowledged before the next was sent has to arrive, and nothing else.
#include "guest.h"

enum { SIDE = 4, ROUNDS = 100, BURST = 200 };
static u64 cpus;
static volatile u64 done[SIDE][8], slow[SIDE];

static void send(u64 from, u64 to) {
    __asm__ volatile("dsb sy" ::: "memory");
    write_sysreg(S3_0_C12_C11_5, (from * SIDE + to) << 24 | 1u << to);
}

static void relax(u64 turn) {
    switch (turn % 4) {
    case 0:
        (void)hvc(0x86000003, 0, 0, 0); // yield
        break;
    case 1: // sleeps until the next one comes: masked, so that it cannot come before the WFI
        irqs_off();
        write_sysreg(cntv_tval_el0, ticks_of_ms(1) / 4);
        write_sysreg(cntv_ctl_el0, 1);
        __asm__ volatile("wfi" ::: "memory");
        irqs_on();
        write_sysreg(cntv_ctl_el0, 0);
        break;
    default:
        break;
    }
}

static void wait_all(u64 self, u64 least) {
    u64 end = now() + ticks_of_ms(8000);
    for (u64 to = 0; to < cpus; to++)
        for (u64 turn = 0; irq_count[self * SIDE + to] < least; turn++) {
            relax(turn);
            if (now() > end) {
                slow[self]++;
                return;
            }
        }
}

static void meet(u64 self, u32 number) {
    done[self][number] = 1;
    u64 end = now() + ticks_of_ms(20000);
    for (u64 cpu = 0; cpu < cpus; cpu++)
        while (!done[cpu][number] && now() < end)
            relax(0);
}

static void storm(u64 self) {
    meet(self, 0);
    for (u64 round = 1; round <= ROUNDS && !slow[self]; round++) {
        for (u64 to = 0; to < cpus; to++)
            send(self, (self + to) % cpus);
        wait_all(self, round);
    }
    meet(self, 1);
    if (self == 0) {
        u64 wrong = 0, first = 0;
        for (u64 n = 0; n < 16; n++) {
            u64 want = n / SIDE < cpus && n % SIDE < cpus ? ROUNDS : 0;
            if (irq_count[n] != want && wrong++ == 0)
                first = n;
            irq_count[n] = 0;
        }
        CHECK("every_IPI_between_all_CPUs_arrives_once", wrong == 0, "%u pairs wrong; from %u to %u", wrong,
              first / SIDE, first % SIDE);
    }
    meet(self, 2);
    for (u64 i = 0; i < BURST; i++) // without waiting: they merge, but the last one arrives
        for (u64 to = 0; to < cpus; to++)
            send(self, to);
    wait_all(self, 1);
    meet(self, 3);
    if (self == 0) {
        u64 wrong = 0;
        for (u64 n = 0; n < 16; n++) {
            u64 most = n / SIDE < cpus && n % SIDE < cpus ? BURST : 0;
            wrong += irq_count[n] > most || (most && irq_count[n] == 0);
        }
        CHECK("of_a_burst_at_least_one_arrives_and_no_more_than_were_sent", wrong == 0, "%u pairs wrong", wrong);
    }
    meet(self, 4);
}

static void prepare(void) {
    gic_init();
    for (u32 i = 0; i < 16; i++)
        gic_enable(i);
    gic_enable(PPI_CNTV);
    irqs_on();
}

void secondary_main(u64 context) {
    prepare();
    storm(context);
    irqs_off();
}

void guest_main(u64 dtb) {
    (void)dtb;
    while (cpus < SIDE && psci_affinity_info(cpus) >= 0)
        cpus++;
    say("storm: %u CPUs\n", cpus);
    prepare();
    for (u64 cpu = 1; cpu < cpus; cpu++)
        (void)psci_cpu_on(cpu, (u64)secondary_entry, cpu);
    storm(0);
    u64 late = 0;
    for (u64 cpu = 0; cpu < cpus; cpu++)
        late += slow[cpu];
    CHECK("no_CPU_waited_in_vain", late == 0, "%u did", late);
    CHECK("no_exception_came", trap.count == 0, "%u, esr %x, elr %x", trap.count, trap.esr, trap.elr);
}
