// SPDX-License-Identifier: Apache-2.0
// IPIs between all CPUs at once. Number 4 * sender + receiver has one sender and one receiver, so its count is that
// pair's: each one that was acknowledged before the next was sent has to arrive, and nothing else.
#include "guest.h"

enum { SIDE = 4, ROUNDS = 100, BURST = 200 };
static_assert(SIDE * SIDE <= IPIS);
static u64 cpus;
static volatile u64 done[SIDE][8], slow[SIDE];

static void send(u64 from, u64 to) {
    ipi_send(to, (u32)(from * SIDE + to));
}

static void relax(u64 turn) {
    switch (turn % 4) {
    case 0:
        cpu_yield();
        break;
    case 1: // sleeps until the next one comes: masked, so that it cannot come before the wait
        irqs_off();
        timer_set(now() + ticks_of_ms(1) / 4);
        wait_for_interrupt();
        irqs_on();
        timer_set(~0ull);
        break;
    default:
        break;
    }
}

static void wait_all(u64 self, u64 least) {
    u64 end = now() + ticks_of_ms(8000);
    for (u64 to = 0; to < cpus; to++)
        for (u64 turn = 0; ipi_taken((u32)(self * SIDE + to)) < least; turn++) {
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
        for (u32 n = 0; n < IPIS; n++) {
            u64 want = n / SIDE < cpus && n % SIDE < cpus ? ROUNDS : 0;
            if (ipi_taken(n) != want && wrong++ == 0)
                first = n;
        }
        CHECK("every_IPI_between_all_CPUs_arrives_once", wrong == 0, "%u pairs wrong; from %u to %u", wrong,
              first / SIDE, first % SIDE);
        ipi_forget();
    }
    meet(self, 2);
    for (u64 i = 0; i < BURST; i++) // without waiting: they merge, but the last one arrives
        for (u64 to = 0; to < cpus; to++)
            send(self, to);
    wait_all(self, 1);
    meet(self, 3);
    if (self == 0) {
        u64 wrong = 0;
        for (u32 n = 0; n < IPIS; n++) {
            u64 most = n / SIDE < cpus && n % SIDE < cpus ? BURST : 0;
            wrong += ipi_taken(n) > most || (most && ipi_taken(n) == 0);
        }
        CHECK("of_a_burst_at_least_one_arrives_and_no_more_than_were_sent", wrong == 0, "%u pairs wrong", wrong);
    }
    meet(self, 4);
}

void secondary_main(u64 context) {
    irqs_init();
    irqs_on();
    storm(context);
    irqs_off();
}

void guest_main(u64 dtb) {
    (void)dtb;
    cpus = cpu_count();
    if (cpus > SIDE)
        cpus = SIDE;
    say("storm: %u CPUs\n", cpus);
    irqs_init();
    irqs_on();
    for (u64 cpu = 1; cpu < cpus; cpu++)
        (void)cpu_start(cpu, cpu);
    storm(0);
    u64 late = 0;
    for (u64 cpu = 0; cpu < cpus; cpu++)
        late += slow[cpu];
    CHECK("no_CPU_waited_in_vain", late == 0, "%u did", late);
    no_traps();
}
