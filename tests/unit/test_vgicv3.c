// SPDX-License-Identifier: Apache-2.0
#include "vgic_machine.h"

#include <string.h>

#include "arch.h"

enum { SPI = 40, OTHER = 41 };

static int one(void **state) {
    (void)state;
    machine_start(1, 4);
    return 0;
}

static int two(void **state) {
    (void)state;
    machine_start(2, 4);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    machine_stop();
    return vm.bus.count != 0;
}

static u64 redist(u32 v, u32 offset) {
    return VM_GICR + v * VGIC_GICR_STRIDE + offset;
}

static u32 take(u32 v) {
    u32 irq = guest_ack(v);
    if (irq != SPURIOUS)
        guest_eoi(v, irq);
    return irq;
}

// ── Registers ───────────────────────────────────────────────────────────────────────────────────────────────────────
static void the_distributor_describes_itself(void **state) {
    (void)state;
    assert_int_equal(dist_read(GICD_TYPER) & 0x1f, 8);                // 288 interrupts
    assert_int_equal(dist_read(GICD_TYPER) & (BIT(16) | BIT(17)), 0); // no LPIs, no message-based SPIs
    assert_int_equal(dist_read(GIC_PIDR2) >> 4 & 15, 3);
    assert_int_equal(dist_read(GICD_IIDR) & 0xfff, 0x43b);
    assert_int_equal(dist_read(GICD_CTLR), 0x52); // DS, ARE, and the group that is on
    dist_write(GICD_CTLR, 0);
    assert_int_equal(dist_read(GICD_CTLR), 0x50);
    dist_write(GICD_CTLR, ~0u);
    assert_int_equal(dist_read(GICD_CTLR), 0x53);
}

static void each_redistributor_says_whose_it_is(void **state) {
    (void)state;
    assert_true(mmio_read(0, redist(0, GICR_TYPER), 8) == 0);
    assert_true(mmio_read(0, redist(1, GICR_TYPER), 8) == (1ull << 32 | 1 << 8 | GICR_TYPER_LAST));
    assert_int_equal(mmio_read(1, redist(1, GICR_TYPER), 4), 1 << 8 | GICR_TYPER_LAST);
    assert_int_equal(mmio_read(1, redist(1, GICR_TYPER + 4), 4), 1);
    assert_int_equal(mmio_read(1, redist(1, GICR_TYPER), 2), 0); // no register of that size
    assert_int_equal(mmio_read(1, redist(1, GIC_PIDR2), 4) >> 4, 3);
}

static void a_redistributor_sleeps_until_it_is_woken(void **state) {
    (void)state;
    assert_int_equal(mmio_read(0, redist(0, GICR_WAKER), 4), GICR_WAKER_SLEEP | GICR_WAKER_ASLEEP);
    mmio_write(0, redist(0, GICR_WAKER), 4, 0);
    assert_int_equal(mmio_read(0, redist(0, GICR_WAKER), 4), 0);
    mmio_write(0, redist(0, GICR_WAKER), 4, GICR_WAKER_SLEEP);
    assert_int_equal(mmio_read(0, redist(0, GICR_WAKER), 4), GICR_WAKER_SLEEP | GICR_WAKER_ASLEEP);
}

static void set_and_clear_registers_pair_up(void **state) {
    (void)state;
    static const u32 pairs[][2] = {{GICD_ISENABLER, GICD_ICENABLER}, {GICD_ISPENDR, GICD_ICPENDR}};
    for (u32 p = 0; p < ARRAY_SIZE(pairs); p++) {
        for (u32 w = 1; w <= 8; w++) {
            dist_write(pairs[p][0] + w * 4, 0xf0f0);
            dist_write(pairs[p][0] + w * 4, 0x0f00);
            assert_int_equal(dist_read(pairs[p][0] + w * 4), 0xfff0);
            assert_int_equal(dist_read(pairs[p][1] + w * 4), 0xfff0);
            dist_write(pairs[p][1] + w * 4, 0x0ff0);
            assert_int_equal(dist_read(pairs[p][0] + w * 4), 0xf000);
            dist_write(pairs[p][1] + w * 4, ~0u);
            assert_int_equal(dist_read(pairs[p][1] + w * 4), 0);
        }
    }
}

static void private_registers_and_reserved_ones_are_not_in_the_distributor(void **state) {
    (void)state;
    static const u32 at[] = {GICD_ISENABLER,
                             GICD_ISPENDR,
                             GICD_ISACTIVER,
                             GICD_IGROUPR,
                             GICD_IPRIORITYR,
                             GICD_ICFGR,
                             GICD_IPRIORITYR + 28,
                             GICD_ISENABLER + 9 * 4,
                             GICD_ITARGETSR + 40,
                             GICD_SGIR,
                             GICD_NSACR + 8,
                             GICD_IGRPMODR + 4,
                             GICD_STATUSR,
                             GICD_SETSPI_NSR,
                             GICD_IPRIORITYR + 288,
                             GICD_IROUTER + 8,
                             0x7fe0,
                             0xc000,
                             GICD_TYPER2};
    for (u32 i = 0; i < ARRAY_SIZE(at); i++) {
        dist_write(at[i], ~0u);
        assert_int_equal(dist_read(at[i]), 0);
    }
}

static void priorities_have_five_bits_and_byte_access(void **state) {
    (void)state;
    dist_write(GICD_IPRIORITYR + SPI, 0xffffffff);
    assert_int_equal(dist_read(GICD_IPRIORITYR + SPI), 0xf8f8f8f8);
    mmio_write(0, VM_GICD + GICD_IPRIORITYR + SPI + 1, 1, 0xa7);
    assert_int_equal(dist_read(GICD_IPRIORITYR + SPI), 0xf8f8a0f8);
    assert_int_equal(mmio_read(0, VM_GICD + GICD_IPRIORITYR + SPI + 1, 1), 0xa0);
    mmio_write(0, redist(0, GICR_SGI_FRAME + GICR_IPRIORITYR + 27), 1, 0x50);
    assert_int_equal(mmio_read(0, redist(0, GICR_SGI_FRAME + GICR_IPRIORITYR + 24), 4), 0x50000000);
}

static void configuration_is_two_bits_an_interrupt(void **state) {
    (void)state;
    dist_write(GICD_ICFGR + 8, 0xffffffff);
    assert_int_equal(dist_read(GICD_ICFGR + 8), 0xaaaaaaaa); // the low bit is reserved
    dist_write(GICD_ICFGR + 12, 0x80000002);
    assert_int_equal(dist_read(GICD_ICFGR + 12), 0x80000002);
    assert_int_equal(dist_read(GICD_ICFGR + 8), 0xaaaaaaaa);
    u64 sgis = redist(0, GICR_SGI_FRAME + GICR_ICFGR0), ppis = redist(0, GICR_SGI_FRAME + GICR_ICFGR1);
    mmio_write(0, sgis, 4, 0);
    assert_int_equal(mmio_read(0, sgis, 4), 0xaaaaaaaa);
    mmio_write(0, ppis, 4, 0xffffffff);
    assert_int_equal(mmio_read(0, ppis, 4), 0xaaaaaaaa & ~(3u << 22)); // the timer's line stays a level
}

static void routes_are_64_bits_wide(void **state) {
    (void)state;
    u64 at = VM_GICD + GICD_IROUTER + SPI * 8;
    mmio_write(0, at, 8, ~0ull);
    assert_true(mmio_read(0, at, 8) == 0xff80ffffff);
    mmio_write(0, at, 4, 1);
    mmio_write(0, at + 4, 4, 0);
    assert_true(mmio_read(0, at, 8) == 1);
}

static void odd_sizes_read_as_zero_and_change_nothing(void **state) {
    (void)state;
    irq_write(0, GICD_ISENABLER, SPI);
    assert_int_equal(mmio_read(0, VM_GICD + GICD_ISENABLER + 4, 1), 0);
    assert_int_equal(mmio_read(0, VM_GICD + GICD_ISENABLER, 8), 0);
    mmio_write(0, VM_GICD + GICD_ICENABLER + 4, 2, 0xffff);
    mmio_write(0, VM_GICD + GICD_ICENABLER, 8, ~0ull);
    assert_true(irq_read(0, GICD_ISENABLER, SPI));
    assert_int_equal(mmio_read(0, redist(0, GICR_SGI_FRAME + GICR_ICFGR0), 2), 0);
}

// ── Delivery ────────────────────────────────────────────────────────────────────────────────────────────────────────
static void a_level_comes_again_until_its_line_falls(void **state) {
    (void)state;
    irq_write(0, GICD_ISENABLER, SPI);
    line_set(SPI, true);
    assert_int_equal(take(0), SPI);
    assert_int_equal(take(0), SPI);
    assert_int_equal(guest_ack(0), SPI);
    line_set(SPI, false);
    guest_eoi(0, SPI);
    assert_int_equal(take(0), SPURIOUS);
}

static void an_edge_comes_once_and_again_if_it_rises_while_active(void **state) {
    (void)state;
    irq_set_edge(0, SPI, true);
    irq_write(0, GICD_ISENABLER, SPI);
    line_set(SPI, true);
    assert_int_equal(guest_ack(0), SPI);
    assert_false(irq_read(0, GICD_ISPENDR, SPI));
    line_set(SPI, false);
    line_set(SPI, true);
    assert_true(irq_read(0, GICD_ISPENDR, SPI));
    assert_true(irq_read(0, GICD_ISACTIVER, SPI));
    guest_eoi(0, SPI);
    assert_int_equal(take(0), SPI);
    assert_int_equal(take(0), SPURIOUS);
}

static void a_line_that_falls_before_it_was_taken_is_not_delivered(void **state) {
    (void)state;
    irq_write(0, GICD_ISENABLER, SPI);
    line_set(SPI, true);
    line_set(SPI, false);
    assert_int_equal(take(0), SPURIOUS);
}

static void an_interrupt_waits_until_it_is_enabled(void **state) {
    (void)state;
    line_set(SPI, true);
    assert_int_equal(take(0), SPURIOUS);
    assert_true(irq_read(0, GICD_ISPENDR, SPI));
    irq_write(0, GICD_ISENABLER, SPI);
    irq_write(0, GICD_ICENABLER, SPI); // in a list register by now
    assert_int_equal(take(0), SPURIOUS);
    irq_write(0, GICD_ISENABLER, SPI);
    assert_int_equal(take(0), SPI);
}

static void the_group_enables_hold_interrupts_back(void **state) {
    (void)state;
    irq_write(0, GICD_ISENABLER, SPI);
    dist_write(GICD_CTLR, GICD_CTLR_GRP0);
    line_set(SPI, true);
    assert_int_equal(take(0), SPURIOUS);
    dist_write(GICD_CTLR, GICD_CTLR_GRP1);
    assert_int_equal(take(0), SPI);
}

static void a_group_0_interrupt_is_offered_as_one(void **state) {
    (void)state;
    dist_write(GICD_CTLR, 3);
    irq_write(0, GICD_ISENABLER, SPI);
    dist_write(GICD_IGROUPR + 4, 0);
    line_set(SPI, true);
    assert_int_equal(guest_ack(0), SPURIOUS); // our guest reads ICC_IAR1
    assert_int_equal(hw[0].lr[0] & (LR_STATE | LR_GROUP1), LR_PENDING);
}

static void pending_can_be_made_and_taken_away_by_software(void **state) {
    (void)state;
    irq_write(0, GICD_ISENABLER, SPI);
    irq_write(0, GICD_ISPENDR, SPI);
    irq_write(0, GICD_ICPENDR, SPI);
    assert_int_equal(take(0), SPURIOUS);
    irq_write(0, GICD_ISPENDR, SPI);
    assert_true(irq_read(0, GICD_ISPENDR, SPI));
    assert_int_equal(take(0), SPI);
    assert_int_equal(take(0), SPURIOUS); // a level whose line is low: once
}

static void a_more_urgent_interrupt_preempts(void **state) {
    (void)state;
    irq_set_priority(0, SPI, 0x80);
    irq_set_priority(0, OTHER, 0x40);
    irq_write(0, GICD_ISENABLER, SPI);
    irq_write(0, GICD_ISENABLER, OTHER);
    line_set(SPI, true);
    assert_int_equal(guest_ack(0), SPI);
    line_set(OTHER, true);
    assert_int_equal(guest_ack(0), OTHER);
    line_set(OTHER, false);
    guest_eoi(0, OTHER);
    line_set(SPI, false);
    guest_eoi(0, SPI);
    assert_int_equal(take(0), SPURIOUS);
}

static void twice_as_many_as_list_registers_nest_and_end(void **state) {
    (void)state;
    for (u32 i = 0; i < 8; i++) {
        irq_set_edge(0, SPI + i, true);
        irq_set_priority(0, SPI + i, 0xf0 - i * 8);
        irq_write(0, GICD_ISENABLER, SPI + i);
    }
    for (u32 i = 0; i < 8; i++) {
        line_set(SPI + i, true);
        assert_int_equal(guest_ack(0), SPI + i);
    }
    assert_int_equal(dist_read(GICD_ISACTIVER + 4), 0xff00);
    for (u32 i = 8; i-- > 0;) {
        guest_eoi(0, SPI + i);
        assert_int_equal(dist_read(GICD_ISACTIVER + 4), ((1u << i) - 1) << 8);
    }
}

static void active_can_be_made_and_taken_away_by_software(void **state) {
    (void)state;
    irq_write(0, GICD_ISENABLER, SPI);
    irq_write(0, GICD_ISACTIVER, SPI);
    assert_true(irq_read(0, GICD_ISACTIVER, SPI));
    line_set(SPI, true);
    assert_int_equal(take(0), SPURIOUS);
    irq_write(0, GICD_ICACTIVER, SPI);
    assert_false(irq_read(0, GICD_ISACTIVER, SPI));
    assert_int_equal(take(0), SPI);
}

static void an_interrupt_goes_where_its_route_says(void **state) {
    (void)state;
    u64 route = VM_GICD + GICD_IROUTER + SPI * 8;
    irq_write(0, GICD_ISENABLER, SPI);
    mmio_write(0, route, 8, 1);
    line_set(SPI, true);
    assert_int_equal(take(0), SPURIOUS);
    mmio_write(1, route, 8, 0); // it leaves the other's list register
    assert_int_equal(take(1), SPURIOUS);
    assert_int_equal(take(0), SPI);
    mmio_write(1, route, 8, 7); // nobody
    assert_int_equal(take(0), SPURIOUS);
    vcpus[0].power = VCPU_OFF; // any, and only one runs
    mmio_write(1, route, 8, GICD_IROUTER_IRM);
    assert_int_equal(take(1), SPI);
}

// ── SGIs ────────────────────────────────────────────────────────────────────────────────────────────────────────────
static void an_edge_while_active_goes_to_the_new_target_as_soon_as_the_old_one_is_done(void **state) {
    (void)state;
    irq_set_edge(0, SPI, true);
    irq_write(0, GICD_ISENABLER, SPI);
    line_set(SPI, true);
    assert_int_equal(guest_ack(0), SPI);
    line_set(SPI, false);
    line_set(SPI, true);
    mmio_write(1, VM_GICD + GICD_IROUTER + SPI * 8, 8, 1);
    assert_int_equal(guest_ack(1), SPURIOUS); // it is active
    guest_eoi(0, SPI);
    assert_int_equal(guest_ack(0), SPURIOUS);
    assert_int_equal(take(1), SPI);
}

static void what_waited_for_a_vcpu_that_goes_off_goes_to_its_new_target(void **state) {
    (void)state;
    irq_set_edge(0, SPI, true);
    irq_write(0, GICD_ISENABLER, SPI);
    irq_write(0, GICD_ISPENDR, SPI); // in a list register of vCPU 0
    hw[0].in_guest = false;
    mmio_write(1, VM_GICD + GICD_IROUTER + SPI * 8, 8, 1); // vCPU 0 does not hear of it any more
    vgicv3_ops.vcpu_reset(&vcpus[0]);
    vcpus[0].power = VCPU_OFF;
    assert_int_equal(take(1), SPI);
}

static void an_active_interrupt_of_nobody_is_not_offered_when_it_ends(void **state) {
    (void)state;
    irq_write(0, GICR_ISENABLER0, 3);
    irq_set_priority(0, 3, 0x80);
    irq_write(0, GICD_ISENABLER, SPI);
    mmio_write(0, VM_GICD + GICD_IROUTER + SPI * 8, 8, 7);
    irq_write(0, GICD_ISPENDR, SPI);
    irq_write(0, GICD_ISACTIVER, SPI); // into a list register of vCPU 0, which may end it
    send_sgi(0, 3, 1);
    assert_int_equal(guest_ack(0), 3);
    guest_eoi(0, SPI);
    assert_int_equal(guest_ack(0), SPURIOUS);
    assert_true(irq_read(0, GICD_ISPENDR, SPI));
}

static void an_sgi_reaches_its_targets_and_itself(void **state) {
    (void)state;
    irq_write(0, GICD_ISENABLER, 5);
    irq_write(1, GICD_ISENABLER, 5);
    send_sgi(0, 5, 3);
    assert_int_equal(take(0), 5);
    assert_int_equal(take(1), 5);
    send_sgi(0, 5, 2);
    assert_int_equal(take(0), SPURIOUS);
    assert_int_equal(take(1), 5);
    send_sgi(0, 5, 0xfffc); // nobody's
}

static void all_but_self_is_all_but_self(void **state) {
    (void)state;
    irq_write(0, GICD_ISENABLER, 5);
    irq_write(1, GICD_ISENABLER, 5);
    vgicv3_ops.ipi(&vcpus[1], &(struct vexit){.value = ICC_SGIR_IRM | field_set(ICC_SGIR_INTID, 5)});
    assert_int_equal(take(0), 5);
    assert_int_equal(take(1), SPURIOUS);
}

static void sgis_to_other_affinities_or_of_the_other_group_go_nowhere(void **state) {
    (void)state;
    irq_write(0, GICD_ISENABLER, 5);
    u64 sgi = field_set(ICC_SGIR_INTID, 5) | 1;
    static const u64 elsewhere[] = {ICC_SGIR_AFF1, ICC_SGIR_AFF2, ICC_SGIR_AFF3, ICC_SGIR_RS};
    for (u32 i = 0; i < ARRAY_SIZE(elsewhere); i++)
        vgicv3_ops.ipi(&vcpus[0], &(struct vexit){.value = sgi | elsewhere[i]});
    vgicv3_ops.ipi(&vcpus[0], &(struct vexit){.value = sgi, .nr = 1});
    vgicv3_ops.ipi(&vcpus[0], &(struct vexit){.value = sgi, .nr = 2});
    guest_bounce(0);
    assert_int_equal(take(0), SPURIOUS);
    mmio_write(0, redist(0, GICR_SGI_FRAME + GICR_IGROUPR0), 4, 0);
    vgicv3_ops.ipi(&vcpus[0], &(struct vexit){.value = sgi});
    assert_false(irq_read(0, GICD_ISPENDR, 5));
    vgicv3_ops.ipi(&vcpus[0], &(struct vexit){.value = sgi, .nr = 1});
    assert_true(irq_read(0, GICD_ISPENDR, 5));
}

static void an_sgi_sent_again_while_active_comes_again(void **state) {
    (void)state;
    irq_write(0, GICD_ISENABLER, 5);
    send_sgi(0, 5, 1);
    send_sgi(0, 5, 1); // one with the first
    assert_int_equal(guest_ack(0), 5);
    send_sgi(0, 5, 1);
    guest_eoi(0, 5);
    assert_int_equal(take(0), 5);
    assert_int_equal(take(0), SPURIOUS);
}

static void another_vcpus_private_interrupts_can_be_controlled(void **state) {
    (void)state;
    irq_write_of(0, 1, GICD_ISENABLER, 5);
    irq_write_of(0, 1, GICD_ISPENDR, 5);
    irq_write_of(0, 1, GICD_ICPENDR, 5);
    assert_int_equal(take(1), SPURIOUS);
    irq_write_of(0, 1, GICD_ISPENDR, 5);
    irq_write_of(0, 1, GICD_ICENABLER, 5);
    assert_int_equal(take(1), SPURIOUS);
    irq_write_of(0, 1, GICD_ISENABLER, 5);
    assert_int_equal(take(1), 5);
}

// ── The timer ───────────────────────────────────────────────────────────────────────────────────────────────────────
static void the_timer_is_a_hardware_interrupt_that_the_guest_ends(void **state) {
    (void)state;
    irq_write(0, GICD_ISENABLER, TIMER_PPI);
    for (u32 i = 0; i < 3; i++) {
        timer_set(0, true);
        assert_true(hw[0].timer_active);
        assert_int_equal(guest_ack(0), TIMER_PPI);
        hw[0].timer_level = false;
        guest_eoi(0, TIMER_PPI);
        assert_false(hw[0].timer_active);
        assert_int_equal(take(0), SPURIOUS);
    }
}

static void the_timers_line_shows_in_ispendr(void **state) {
    (void)state;
    assert_false(irq_read(0, GICD_ISPENDR, TIMER_PPI));
    timer_set(0, true);
    assert_true(irq_read(0, GICD_ISPENDR, TIMER_PPI));
    irq_write(0, GICD_ISENABLER, TIMER_PPI);
    assert_int_equal(guest_ack(0), TIMER_PPI);
    assert_true(irq_read(0, GICD_ISPENDR, TIMER_PPI)); // still asserted
    assert_true(irq_read(0, GICD_ISACTIVER, TIMER_PPI));
    hw[0].timer_level = false;
    assert_false(irq_read(0, GICD_ISPENDR, TIMER_PPI));
    guest_eoi(0, TIMER_PPI);
}

static void a_timer_set_anew_while_disabled_is_forgotten(void **state) {
    (void)state;
    timer_set(0, true);
    assert_int_equal(vgic_held_ppis(&vcpus[0]), BIT(TIMER_PPI));
    timer_set(0, false);
    irq_write(0, GICD_ISENABLER, TIMER_PPI);
    assert_int_equal(take(0), SPURIOUS);
    assert_int_equal(vgic_held_ppis(&vcpus[0]), 0);
    timer_set(0, true);
    assert_int_equal(take(0), TIMER_PPI);
}

static void a_timer_made_pending_while_active_comes_again_if_its_end_is_seen_in_a_register(void **state) {
    (void)state;
    irq_write(0, GICR_ISENABLER0, 3);
    irq_write(0, GICR_ISENABLER0, TIMER_PPI);
    irq_write(0, GICD_ISACTIVER, TIMER_PPI);
    irq_write(0, GICD_ISPENDR, TIMER_PPI);
    irq_set_priority(0, 3, 0x80);
    send_sgi(0, 3, 1);
    assert_int_equal(guest_ack(0), 3);
    guest_eoi(0, TIMER_PPI);
    assert_false(irq_read(0, GICD_ISACTIVER, TIMER_PPI));
    assert_int_equal(guest_ack(0), TIMER_PPI);
}

static void disabling_a_delivered_timer_keeps_it_for_later(void **state) {
    (void)state;
    irq_write(0, GICD_ISENABLER, TIMER_PPI);
    timer_set(0, true);
    irq_write(0, GICD_ICENABLER, TIMER_PPI);
    assert_int_equal(take(0), SPURIOUS);
    irq_write(0, GICD_ISENABLER, TIMER_PPI);
    assert_int_equal(take(0), TIMER_PPI);
}

// A guest that only ticks: the interrupt takes the way that gives up at everything unusual, every second time.
static void a_timer_that_ticks_uses_one_list_register_whichever_way_it_takes(void **state) {
    (void)state;
    irq_write(0, GICD_ISENABLER, TIMER_PPI);
    for (u32 i = 0; i < 10; i++) {
        timer_set(0, true);
        assert_int_equal(vcpus[0].irq_work, 0);
        assert_int_equal(__builtin_popcount(vgic_cpuif(&vcpus[0])->lr_used), 1);
        assert_int_equal(guest_ack(0), TIMER_PPI);
        hw[0].timer_level = false;
        guest_eoi(0, TIMER_PPI);
        assert_int_equal(take(0), SPURIOUS);
    }
}

static void a_timer_is_taken_at_once_only_if_nothing_else_is_to_be_done(void **state) {
    (void)state;
    struct vcpu *v = &vcpus[0];
    assert_int_equal(vgic_take_ppi(v, TIMER_PPI), VGIC_NO_LR); // it is not enabled
    irq_write(0, GICD_ISENABLER, TIMER_PPI);
    v->irq_work = 1; // somebody wants a flush first
    assert_int_equal(vgic_take_ppi(v, TIMER_PPI), VGIC_NO_LR);
    v->irq_work = 0;
    u32 n = vgic_take_ppi(v, TIMER_PPI);
    assert_true(n < 4);
    u64 lr = vgic_cpuif(v)->lr[n];
    assert_int_equal((u32)lr, TIMER_PPI);
    assert_true((lr & LR_STATE) == LR_PENDING && (lr & LR_HW) && field_get(LR_PINTID, lr) == TIMER_PPI);
    assert_int_equal(vgic_take_ppi(v, TIMER_PPI), VGIC_NO_LR); // it is there already
}

static void a_timer_waits_while_every_list_register_is_taken(void **state) {
    (void)state;
    irq_write(0, GICD_ISENABLER, TIMER_PPI);
    for (u32 sgi = 0; sgi < 4; sgi++) {
        irq_write(0, GICD_ISENABLER, sgi);
        irq_set_priority(0, sgi, 0x80);
        send_sgi(0, sgi, 1);
    }
    irq_set_priority(0, TIMER_PPI, 0xa0);
    assert_int_equal(vgic_take_ppi(&vcpus[0], TIMER_PPI), VGIC_NO_LR);
    timer_set(0, true);
    for (u32 sgi = 0; sgi < 4; sgi++)
        assert_in_range(take(0), 0, 3);
    assert_int_equal(take(0), TIMER_PPI);
    assert_int_equal(take(0), TIMER_PPI); // its line is still up
    hw[0].timer_level = false;
}

static void a_timer_taken_back_by_software_asks_its_line_again(void **state) {
    (void)state;
    irq_write(0, GICD_ISENABLER, TIMER_PPI);
    timer_set(0, true);
    irq_write(0, GICD_ICPENDR, TIMER_PPI); // of a level that is up this changes nothing
    assert_true(irq_read(0, GICD_ISPENDR, TIMER_PPI));
    assert_int_equal(guest_ack(0), TIMER_PPI);
    irq_write(0, GICD_ICACTIVER, TIMER_PPI); // the guest ends it by register: due again, as long as the line is up
    assert_false(irq_read(0, GICD_ISACTIVER, TIMER_PPI));
    assert_true(irq_read(0, GICD_ISPENDR, TIMER_PPI));
    guest_eoi(0, TIMER_PPI);
    assert_int_equal(guest_ack(0), TIMER_PPI);
    hw[0].timer_level = false;
    guest_eoi(0, TIMER_PPI);
    assert_int_equal(take(0), SPURIOUS);
}

// ── Life cycle ──────────────────────────────────────────────────────────────────────────────────────────────────────
static void a_halted_vcpu_is_ready_when_something_is_deliverable(void **state) {
    (void)state;
    assert_false(vgicv3_ops.ready(&vcpus[0]));
    line_set(SPI, true);
    assert_false(vgicv3_ops.ready(&vcpus[0]));
    irq_write(0, GICD_ISENABLER, SPI);
    assert_true(vgicv3_ops.ready(&vcpus[0]));
    assert_int_equal(guest_ack(0), SPI);
    assert_false(vgicv3_ops.ready(&vcpus[0]));
    irq_write(0, GICD_ISENABLER, 5);
    guest_eoi(0, SPI);
    line_set(SPI, false);
    assert_false(vgicv3_ops.ready(&vcpus[0]));
    vgicv3_ops.ipi(&vcpus[0], &(struct vexit){.value = field_set(ICC_SGIR_INTID, 5) | 1});
    assert_true(vgicv3_ops.ready(&vcpus[0]));
    guest_bounce(0);
    assert_int_equal(take(0), 5);
    // Once more, while the image still shows the last one.
    vgicv3_ops.ipi(&vcpus[0], &(struct vexit){.value = field_set(ICC_SGIR_INTID, 5) | 1});
    assert_true(vgicv3_ops.ready(&vcpus[0]));
}

// The maintenance interrupt of an EOI may come later than the exit of the WFI behind it.
static void a_halted_vcpu_is_ready_for_a_level_that_outlived_its_interrupt(void **state) {
    (void)state;
    irq_write(0, GICD_ISENABLER, SPI);
    line_set(SPI, true);
    assert_int_equal(guest_ack(0), SPI);
    for (u32 n = 0; n < vgic_cpuif(&vcpus[0])->lr_count; n++)
        if ((u32)hw[0].lr[n] == SPI)
            hw[0].lr[n] &= ~LR_ACTIVE;
    hw[0].depth--;
    assert_true(vgicv3_ops.ready(&vcpus[0]));
    vcpus[0].irq_work = 1; // as the end of a halt does
    guest_bounce(0);
    assert_int_equal(take(0), SPI);
}

static void switching_a_vcpu_on_resets_its_interface_and_loses_nothing(void **state) {
    (void)state;
    mmio_write(0, VM_GICD + GICD_IROUTER + SPI * 8, 8, 1);
    irq_write(0, GICD_ISENABLER, SPI);
    irq_write(1, GICD_ISENABLER, 5);
    line_set(SPI, true);
    send_sgi(0, 5, 2);
    arch_irq_sync(&vcpus[1]);
    vgic_cpuif(&vcpus[1])->vmcr = 0xff;
    vgicv3_ops.vcpu_reset(&vcpus[1]);
    assert_int_equal(vgic_cpuif(&vcpus[1])->vmcr, 0);
    assert_int_equal(vgic_cpuif(&vcpus[1])->lr_used, 0);
    assert_int_equal(irq_read(0, GICD_ISENABLER, SPI), 1);
    guest_bounce(1);
    u32 first = take(1);
    line_set(SPI, false);
    u32 second = take(1);
    assert_true((first == SPI && second == 5) || (first == 5 && second == SPURIOUS) || (first == 5 && second == SPI));
}

static void reset_returns_to_power_on(void **state) {
    (void)state;
    irq_write(0, GICD_ISENABLER, SPI);
    irq_set_edge(0, SPI, true);
    irq_write(0, GICD_ISPENDR, SPI);
    vgicv3_ops.reset(&vm);
    assert_int_equal(dist_read(GICD_CTLR), 0x50);
    assert_int_equal(dist_read(GICD_ISENABLER + 4) | dist_read(GICD_ISPENDR + 4) | dist_read(GICD_ICFGR + 8), 0);
    assert_int_equal(dist_read(GICD_IGROUPR + 4), 0);
    assert_int_equal(mmio_read(0, redist(0, GICR_SGI_FRAME + GICR_ICFGR0), 4), 0xaaaaaaaa);
    assert_int_equal(take(0), SPURIOUS);
}

static void what_is_going_on_can_be_described(void **state) {
    (void)state;
    char text[200];
    assert_int_equal(vgicv3_ops.describe(&vm, text, sizeof text), 0);
    irq_write(0, GICD_ISENABLER, SPI);
    line_set(SPI, true);
    size_t n = vgicv3_ops.describe(&vm, text, sizeof text);
    assert_int_equal(n, strlen(text));
    assert_non_null(strstr(text, "SPI 40"));
    for (u32 i = 0; i < 200; i++)
        line_set(32 + i, true);
    n = vgicv3_ops.describe(&vm, text, sizeof text);
    assert_int_equal(n, strlen(text));
    assert_int_equal(vgicv3_ops.describe(&vm, text, 1), 0);
    assert_int_equal(text[0], 0);
}

static void lines_that_do_not_exist_are_ignored(void **state) {
    (void)state;
    line_set(0, true);
    line_set(31, true);
    line_set(VGIC_IRQS, true);
    line_set(~0u, true);
    vgicv3_ops.set_ppi(&vcpus[0], 3, true);
    vgicv3_ops.set_ppi(&vcpus[0], 32, true);
    assert_false(vgicv3_ops.ready(&vcpus[0]));
}

#define test_on(machine, name) cmocka_unit_test_setup_teardown(name, machine, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        test_on(one, the_distributor_describes_itself),
        test_on(two, each_redistributor_says_whose_it_is),
        test_on(one, a_redistributor_sleeps_until_it_is_woken),
        test_on(one, set_and_clear_registers_pair_up),
        test_on(one, private_registers_and_reserved_ones_are_not_in_the_distributor),
        test_on(one, priorities_have_five_bits_and_byte_access),
        test_on(one, configuration_is_two_bits_an_interrupt),
        test_on(one, routes_are_64_bits_wide),
        test_on(one, odd_sizes_read_as_zero_and_change_nothing),
        test_on(one, a_level_comes_again_until_its_line_falls),
        test_on(one, an_edge_comes_once_and_again_if_it_rises_while_active),
        test_on(one, a_line_that_falls_before_it_was_taken_is_not_delivered),
        test_on(one, an_interrupt_waits_until_it_is_enabled),
        test_on(one, the_group_enables_hold_interrupts_back),
        test_on(one, a_group_0_interrupt_is_offered_as_one),
        test_on(one, pending_can_be_made_and_taken_away_by_software),
        test_on(one, a_more_urgent_interrupt_preempts),
        test_on(one, twice_as_many_as_list_registers_nest_and_end),
        test_on(one, active_can_be_made_and_taken_away_by_software),
        test_on(two, an_interrupt_goes_where_its_route_says),
        test_on(two, an_edge_while_active_goes_to_the_new_target_as_soon_as_the_old_one_is_done),
        test_on(two, what_waited_for_a_vcpu_that_goes_off_goes_to_its_new_target),
        test_on(two, an_active_interrupt_of_nobody_is_not_offered_when_it_ends),
        test_on(two, a_timer_made_pending_while_active_comes_again_if_its_end_is_seen_in_a_register),
        test_on(two, an_sgi_reaches_its_targets_and_itself),
        test_on(two, all_but_self_is_all_but_self),
        test_on(one, sgis_to_other_affinities_or_of_the_other_group_go_nowhere),
        test_on(one, an_sgi_sent_again_while_active_comes_again),
        test_on(two, another_vcpus_private_interrupts_can_be_controlled),
        test_on(one, the_timer_is_a_hardware_interrupt_that_the_guest_ends),
        test_on(one, the_timers_line_shows_in_ispendr),
        test_on(one, a_timer_set_anew_while_disabled_is_forgotten),
        test_on(one, disabling_a_delivered_timer_keeps_it_for_later),
        test_on(one, a_timer_that_ticks_uses_one_list_register_whichever_way_it_takes),
        test_on(one, a_timer_is_taken_at_once_only_if_nothing_else_is_to_be_done),
        test_on(one, a_timer_waits_while_every_list_register_is_taken),
        test_on(one, a_timer_taken_back_by_software_asks_its_line_again),
        test_on(one, a_halted_vcpu_is_ready_when_something_is_deliverable),
        test_on(one, a_halted_vcpu_is_ready_for_a_level_that_outlived_its_interrupt),
        test_on(two, switching_a_vcpu_on_resets_its_interface_and_loses_nothing),
        test_on(one, reset_returns_to_power_on),
        test_on(one, what_is_going_on_can_be_described),
        test_on(one, lines_that_do_not_exist_are_ignored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
