// SPDX-License-Identifier: Apache-2.0
// The vGICv3 against an ideal one that has no list registers, driven by the same random events.
#include "vgic_machine.h"

#include <string.h>

enum { STEPS = 4000, SPIS = 10, FIRST_SPI = 60 }; // across a word's end

// The ideal interrupt. Private ones have an instance for each vCPU.
struct ideal {
    bool enabled, latch, line, edge, active;
    u32 priority, target, active_on;
};

static struct ideal spis[SPIS], sgis[VM_VCPUS_MAX][16], timers[VM_VCPUS_MAX];
static u32 stack[VM_VCPUS_MAX][VGIC_IRQS]; // what each guest has acknowledged
static u64 rng;
static u32 vcpu_count;

static u32 pick(u32 below) {
    rng = rng * 6364136223846793005u + 1442695040888963407u;
    return (u32)(rng >> 33) % below;
}

static struct ideal *ideal_of(u32 v, u32 irq) {
    if (irq < 16)
        return &sgis[v][irq];
    if (irq == TIMER_PPI)
        return &timers[v];
    assert_in_range(irq, FIRST_SPI, FIRST_SPI + SPIS - 1);
    return &spis[irq - FIRST_SPI];
}

static bool pending(const struct ideal *i) {
    return i->latch || (i->line && !i->edge);
}

static void consider(const struct ideal *i, u32 *best) {
    if (i->enabled && pending(i) && !i->active && i->priority < *best)
        *best = i->priority;
}

// The priority of what vCPU v should take now, or IDLE_PRIORITY.
static u32 due_priority(u32 v) {
    u32 best = IDLE_PRIORITY;
    for (u32 n = 0; n < 16; n++)
        consider(&sgis[v][n], &best);
    consider(&timers[v], &best);
    for (u32 n = 0; n < SPIS; n++) {
        if (spis[n].target == v)
            consider(&spis[n], &best);
    }
    return best;
}

static void ack(u32 v) {
    u32 due = due_priority(v), running = guest_running_priority(v), depth = hw[v].depth;
    u32 irq = guest_ack(v);
    if (due >= running) {
        assert_int_equal(irq, SPURIOUS);
        return;
    }
    assert_int_not_equal(irq, SPURIOUS);
    struct ideal *i = ideal_of(v, irq);
    assert_true(i->enabled && pending(i) && !i->active);
    assert_int_equal(i->priority, due);
    assert_true(irq < VGIC_PRIVATE || i->target == v);
    i->active = true;
    i->active_on = v;
    i->latch = false;
    stack[v][depth] = irq;
}

static void eoi(u32 v) {
    if (hw[v].depth == 0)
        return;
    u32 irq = stack[v][hw[v].depth - 1];
    struct ideal *i = ideal_of(v, irq);
    i->active = false;
    if (irq == TIMER_PPI) { // the handler sets the timer anew
        hw[v].timer_level = false;
        i->line = false;
    }
    guest_eoi(v, irq);
}

static u32 some_irq(void) {
    return pick(3) == 0 ? pick(16) : FIRST_SPI + pick(SPIS);
}

static void change_register(u32 v) {
    u32 irq = pick(12) == 0 ? TIMER_PPI : some_irq(),
        of = irq < VGIC_PRIVATE && irq != TIMER_PPI ? pick(vcpu_count) : v;
    struct ideal *i = ideal_of(of, irq);
    switch (pick(7)) {
    case 0:
    case 1:
        irq_write_of(v, of, GICD_ISENABLER, irq);
        i->enabled = true;
        break;
    case 2:
        irq_write_of(v, of, GICD_ICENABLER, irq);
        i->enabled = false;
        break;
    case 3:
        if (irq == TIMER_PPI)
            return;
        irq_write_of(v, of, GICD_ISPENDR, irq);
        i->latch = true;
        break;
    case 4:
        if (irq == TIMER_PPI)
            return;
        irq_write_of(v, of, GICD_ICPENDR, irq);
        i->latch = false;
        break;
    case 5: // not while it is active: an EOI without a list register ends the most urgent one
        if (i->active || of != v)
            return;
        i->priority = pick(8) * 0x18;
        irq_set_priority(v, irq, i->priority);
        break;
    default:
        if (irq < VGIC_PRIVATE)
            return;
        i->target = pick(vcpu_count);
        mmio_write(v, VM_GICD + GICD_IROUTER + irq * 8, 8, i->target);
        break;
    }
}

// In the registers' view. What another vCPU has in a list register may be known only as of its last exit.
static void compare(u32 v) {
    u32 irq = some_irq();
    struct ideal *i = ideal_of(v, irq);
    bool is_pending = irq_read(v, GICD_ISPENDR, irq), is_active = irq_read(v, GICD_ISACTIVER, irq);
    assert_int_equal(irq_read(v, GICD_ISENABLER, irq), i->enabled);
    if (irq >= VGIC_PRIVATE && (i->target != v || (i->active && i->active_on != v)))
        return;
    assert_int_equal(is_pending, pending(i));
    assert_int_equal(is_active, i->active);
}

static void step(void) {
    u32 v = pick(vcpu_count);
    switch (pick(10)) {
    case 0:
    case 1:
        ack(v);
        break;
    case 2:
    case 3:
        eoi(v);
        break;
    case 4: {
        u32 sgi = pick(16), targets = pick(1u << vcpu_count);
        for (u32 t = 0; t < vcpu_count; t++) {
            if (targets >> t & 1)
                sgis[t][sgi].latch = true;
        }
        send_sgi(v, sgi, targets);
        break;
    }
    case 5: {
        u32 n = pick(SPIS);
        bool level = !spis[n].line;
        spis[n].line = level;
        spis[n].latch |= level && spis[n].edge;
        line_set(FIRST_SPI + n, level);
        break;
    }
    case 6: // rises alone; falls in the handler
        timers[v].line = true;
        timer_set(v, true);
        break;
    case 7:
        compare(v);
        break;
    case 8:
        change_register(v);
        break;
    default:
        guest_bounce(v);
        break;
    }
}

// In the end nothing is lost: with all enabled, each vCPU takes what is due to it, and then nothing.
static void drain(void) {
    for (u32 v = 0; v < vcpu_count; v++) {
        while (hw[v].depth)
            eoi(v);
        for (u32 turn = 0; due_priority(v) != IDLE_PRIORITY; turn++) {
            assert_true(turn < 200);
            ack(v);
            u32 irq = stack[v][0];
            if (irq >= FIRST_SPI && spis[irq - FIRST_SPI].line) {
                spis[irq - FIRST_SPI].line = false;
                line_set(irq, false);
            }
            eoi(v);
        }
        assert_int_equal(guest_ack(v), SPURIOUS);
    }
}

static void run(u32 cpu_count, u32 lr_count, u64 seed) {
    machine_start(cpu_count, lr_count);
    vcpu_count = cpu_count;
    rng = seed * 0x9e3779b97f4a7c15u + lr_count;
    memset(sgis, 0, sizeof sgis);
    memset(timers, 0, sizeof timers);
    for (u32 n = 0; n < SPIS; n++) {
        spis[n] = (struct ideal){.edge = n % 2};
        irq_set_edge(0, FIRST_SPI + n, n % 2);
    }
    for (u32 s = 0; s < STEPS; s++)
        step();
    drain();
    machine_stop();
}

static void every_interrupt_is_delivered_once_in_order_of_priority(void **state) {
    (void)state;
    for (u32 lrs = 1; lrs <= 4; lrs++) {
        for (u32 cpus = 1; cpus <= 3; cpus++) {
            for (u64 seed = 1; seed <= 12; seed++)
                run(cpus, lrs, seed);
        }
    }
}

static void with_sixteen_list_registers_as_well(void **state) {
    (void)state;
    for (u64 seed = 1; seed <= 8; seed++)
        run(2, 16, seed);
}

// Whatever a guest writes where: no crash, no access refused, and the rules of list registers hold (checked at each
// entry).
static void random_accesses_never_break_it(void **state) {
    (void)state;
    for (u64 seed = 1; seed <= 20; seed++) {
        machine_start(2, 1 + (u32)seed % 4);
        vcpu_count = 2;
        rng = seed;
        for (u32 s = 0; s < STEPS; s++) {
            u32 v = pick(2), size = 1u << pick(4);
            u64 value = (u64)pick(~0u) << 32 | pick(~0u);
            u64 window = pick(3) ? VM_GICD : VM_GICR, span = window == VM_GICD ? 0x10000 : 2 * VGIC_GICR_STRIDE;
            u64 at = pick(4) ? pick(0x1000) + (window == VM_GICR ? pick(2) * 0x20000 + 0x10000 : 0) : pick((u32)span);
            at &= ~(u64)(size - 1);
            switch (pick(5)) {
            case 0:
                mmio_read(v, window + at, (u8)size);
                break;
            case 1:
            case 2:
                mmio_write(v, window + at, (u8)size, value);
                break;
            case 3:
                if (guest_ack(v) != SPURIOUS && hw[v].depth > 100)
                    hw[v].depth = 1;
                line_set(32 + pick(300), pick(2));
                break;
            default:
                if (hw[v].depth)
                    guest_eoi(v, pick(VGIC_IRQS));
                send_sgi(v, pick(16), pick(4));
                timer_set(v, pick(2));
                break;
            }
        }
        machine_stop();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_interrupt_is_delivered_once_in_order_of_priority),
        cmocka_unit_test(with_sixteen_list_registers_as_well),
        cmocka_unit_test(random_accesses_never_break_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
