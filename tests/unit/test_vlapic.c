// SPDX-License-Identifier: Apache-2.0
#include "apic_machine.h"

// ── Registers ───────────────────────────────────────────────────────────────────────────────────────────────────────
static void registers_have_their_reset_values(void **state) {
    (void)state;
    vlapic_ops.reset(&vm);
    for (u32 n = 0; n < VCPUS; n++)
        assert_int_equal(get_by(n, ID), n << 24);
    assert_int_equal(get(VERSION), 0x00050014);
    assert_int_equal(get(DFR), 0xffffffff);
    assert_int_equal(get(SVR), 0xff);
    for (u32 reg = LVT_TIMER; reg <= LVT_ERROR; reg += 16)
        assert_int_equal(get(reg), MASKED);
    static const u32 zero[] = {TPR,        APR, PPR, LDR,      ISR,     ISR + 0x70, TMR,
                               IRR + 0x10, ESR, ICR, ICR_HIGH, INITIAL, CURRENT,    DIVIDE};
    for (u32 i = 0; i < ARRAY_SIZE(zero); i++)
        assert_int_equal(get(zero[i]), 0);
    u64 base;
    assert_int_equal(rdmsr(0, VLAPIC_MSR_BASE, &base), 0);
    assert_int_equal(base, 0xfee00900);
    assert_int_equal(rdmsr(1, VLAPIC_MSR_BASE, &base), 0);
    assert_int_equal(base, 0xfee00800);
}

static void reserved_and_read_only_bits_keep_their_values(void **state) {
    (void)state;
    static const struct {
        u32 reg, value;
    } expected[] = {
        {TPR, 0xff},          {LDR, 0xff000000},    {DFR, 0xffffffff}, {SVR, 0x3ff},           {LVT_TIMER, 0x700ff},
        {LVT_LINT0, 0x1a7ff}, {LVT_ERROR, 0x100ff}, {DIVIDE, 0xb},     {ICR_HIGH, 0xff000000},
    };
    for (u32 i = 0; i < ARRAY_SIZE(expected); i++) {
        put(expected[i].reg, 0xffffffff);
        assert_int_equal(get(expected[i].reg), expected[i].value);
    }
    put(DFR, 0);
    assert_int_equal(get(DFR), 0x0fffffff);
    for (u32 reg = 0; reg < VLAPIC_SIZE; reg += 16) {
        if (reg == ICR) // it would send
            continue;
        put(reg, 0xffffffff);
        (void)get(reg);
    }
    put(ID, 0x7f000000);
    put(VERSION, 0);
    assert_int_equal(get(ID), 0);
    assert_int_equal(get(VERSION), 0x00050014);
}

static void accesses_of_other_sizes_read_pieces_and_write_nothing(void **state) {
    (void)state;
    struct bus_access a = {.vcpu = &vcpus[3], .size = 1};
    assert_int_equal(bus_access(&vm.bus, gpa(VLAPIC_BASE + ID + 3), &a), 0);
    assert_int_equal(a.value, 3);
    a = (struct bus_access){.vcpu = &vcpus[3], .size = 8};
    assert_int_equal(bus_access(&vm.bus, gpa(VLAPIC_BASE + ID), &a), 0);
    assert_int_equal(a.value, 0);
    a = (struct bus_access){.vcpu = &vcpus[0], .size = 2, .write = true, .value = 0x55};
    assert_int_equal(bus_access(&vm.bus, gpa(VLAPIC_BASE + TPR), &a), 0);
    assert_int_equal(get(TPR), 0);
}

static void an_unknown_register_is_an_error_that_is_told(void **state) {
    (void)state;
    put(LVT_ERROR, 0xe0);
    assert_int_equal(get(0x40), 0);
    take(0, 0xe0);
    assert_int_equal(get(ESR), 0); // as of the last write
    put(ESR, 0);
    assert_int_equal(get(ESR), 1 << 7);
    put(ESR, 0);
    assert_int_equal(get(ESR), 0);
}

// ── Priorities ──────────────────────────────────────────────────────────────────────────────────────────────────────
static void a_self_ipi_is_requested_served_and_ended(void **state) {
    (void)state;
    put(ICR, SELF | 0x45);
    assert_int_equal(get(IRR + 0x20), 1 << 5);
    assert_int_equal(kicks[0], 0);
    take(0, 0x45);
    assert_int_equal(get(IRR + 0x20), 0);
    assert_int_equal(get(ISR + 0x20), 1 << 5);
    assert_int_equal(get(PPR), 0x40);
    put(ICR, SELF | 0x4f); // the same class has to wait
    assert_int_equal(next(0), -1);
    put(ICR, SELF | 0x50);
    take(0, 0x50);
    assert_int_equal(get(PPR), 0x50);
    put(EOI, 0);
    assert_int_equal(get(PPR), 0x40);
    assert_int_equal(next(0), -1);
    put(EOI, 0);
    assert_int_equal(get(PPR), 0);
    take(0, 0x4f);
    put(EOI, 0);
    put(EOI, 0); // one too many
    assert_int_equal(next(0), -1);
}

static void the_task_priority_holds_interrupts_back(void **state) {
    (void)state;
    put(TPR, 0x51);
    assert_int_equal(get(PPR), 0x51);
    put(ICR, SELF | 0x5f);
    assert_int_equal(next(0), -1);
    assert_int_equal(vlapic_pending(lapic(0)), 0x5f);
    assert_false(vlapic_ops.ready(&vcpus[0]));
    vlapic_halt(&vcpus[0], true, true);
    assert_false(vlapic_ops.ready(&vcpus[0]));
    vlapic_set_tpr(lapic(0), 0x40);
    assert_true(vlapic_ops.ready(&vcpus[0]));
    vlapic_halt(&vcpus[0], false, true); // IF is clear
    assert_false(vlapic_ops.ready(&vcpus[0]));
    take(0, 0x5f);
}

static void every_vector_finds_its_bit(void **state) {
    (void)state;
    for (u32 vector = 16; vector < 256; vector++) {
        put(ICR, SELF | vector);
        assert_int_equal(get(IRR + vector / 32 * 16), 1u << vector % 32);
        take(0, vector);
        assert_int_equal(get(ISR + vector / 32 * 16), 1u << vector % 32);
        put(EOI, 0);
        assert_int_equal(get(ISR + vector / 32 * 16), 0);
    }
}

static void an_illegal_vector_is_an_error(void **state) {
    (void)state;
    put(ICR, SELF | 15);
    assert_int_equal(next(0), -1);
    put(ESR, 0);
    assert_int_equal(get(ESR), 1 << 5);
    const struct vlapic_message m = {.dest = 0, .vector = 3};
    vlapic_kick(&vm, vlapic_send(&vm, &m), NULL);
    assert_int_equal(kicks[0], 1);
    assert_int_equal(next(0), -1);
    put(ESR, 0);
    assert_int_equal(get(ESR), 1 << 6);
    put(ICR, OTHERS | 2 << 8); // SMI, whose vector is none
    put(ESR, 0);
    assert_int_equal(get(ESR), 0);
}

static void an_error_wakes_who_waits_for_interrupts(void **state) {
    (void)state;
    const struct vlapic_message m = {.dest = 0, .vector = 3};
    put(LVT_ERROR, 0xe0);
    assert_int_equal(next(0), -1);
    vlapic_halt(&vcpus[0], true, true);
    vlapic_kick(&vm, vlapic_send(&vm, &m), NULL);
    assert_int_equal(kicks[0], 1);
    assert_true(vlapic_ops.ready(&vcpus[0]));
    take(0, 0xe0);
    put(LVT_ERROR, MASKED | 0xe0);
    put(EOI, 0);
    vlapic_kick(&vm, vlapic_send(&vm, &m), NULL);
    assert_false(vlapic_ops.ready(&vcpus[0]));
}

static void a_software_disabled_apic_takes_no_vector_and_masks_its_own(void **state) {
    (void)state;
    put(LVT_TIMER, 0x40);
    put(SVR, 0xff);
    assert_int_equal(get(LVT_TIMER), MASKED | 0x40);
    put(LVT_TIMER, 0x41);
    assert_int_equal(get(LVT_TIMER), MASKED | 0x41);
    put(ICR, SELF | 0x60);
    assert_int_equal(next(0), -1);
    put_by(1, ICR_HIGH, 0);
    put_by(1, ICR, NMI);
    assert_true(vlapic_take_nmi(lapic(0)));
}

// ── Destinations ────────────────────────────────────────────────────────────────────────────────────────────────────
static void physical_destinations_and_shorthands(void **state) {
    (void)state;
    send(1, 2, 0x33);
    assert_int_equal(kicks[2], 1);
    assert_int_equal(reached(0x33), 1 << 2);
    send(1, 9, 0x33);
    assert_int_equal(reached(0x33), 0);
    send(1, 0xff, 0x34);
    assert_int_equal(reached(0x34), 0xf);
    send(1, 3, ALL | 0x35);
    assert_int_equal(reached(0x35), 0xf);
    send(1, 3, OTHERS | 0x36);
    assert_int_equal(reached(0x36), 0xd);
    send(1, 3, SELF | 0x37);
    assert_int_equal(reached(0x37), 0x2);
}

static void logical_destinations_flat(void **state) {
    (void)state;
    for (u32 n = 0; n < VCPUS; n++)
        put_by(n, LDR, 1u << (24 + n));
    send(0, 0x0a, LOGICAL | 0x41);
    assert_int_equal(reached(0x41), 0xa);
    send(0, 0xff, LOGICAL | 0x41);
    assert_int_equal(reached(0x41), 0xf);
    send(0, 0x10, LOGICAL | 0x41);
    assert_int_equal(reached(0x41), 0);
}

static void logical_destinations_by_cluster(void **state) {
    (void)state;
    for (u32 n = 0; n < VCPUS; n++) {
        put_by(n, DFR, 0x0fffffff);
        put_by(n, LDR, (n / 2 << 4 | 1u << n % 2) << 24);
    }
    send(0, 0x12, LOGICAL | 0x41);
    assert_int_equal(reached(0x41), 1 << 3);
    send(0, 0x03, LOGICAL | 0x41);
    assert_int_equal(reached(0x41), 0x3);
    send(0, 0x13, LOGICAL | 0x41);
    assert_int_equal(reached(0x41), 0xc);
    send(0, 0x20, LOGICAL | 0x41);
    assert_int_equal(reached(0x41), 0);
}

static void lowest_priority_goes_to_one_that_can_take_it(void **state) {
    (void)state;
    u32 all = 0;
    put_by(2, SVR, 0xff); // off
    for (u32 i = 0; i < 16; i++) {
        send(0, 0xff, LOWEST | 0x51);
        const u32 set = reached(0x51);
        assert_int_equal(__builtin_popcount(set), 1);
        all |= set;
    }
    assert_int_equal(all, 0xb);
}

static void x2apic_destinations_have_32_bits(void **state) {
    (void)state;
    for (u32 n = 0; n < VCPUS; n++) {
        go_x2(n);
        assert_int_equal(x2_get(n, ID), n);
        assert_int_equal(x2_get(n, LDR), 1u << n);
    }
    assert_int_equal(x2_put(0, ICR, 3ull << 32 | 0x61), 0);
    assert_int_equal(x2_get(0, ICR), 3ull << 32 | 0x61);
    vlapic_ops.flush(&vcpus[3]);
    assert_int_equal(vlapic_deliverable(lapic(3)), 0x61);
    vlapic_accept(lapic(3), 0x61);
    assert_int_equal(x2_put(3, EOI, 0), 0);
    assert_int_equal(x2_put(0, ICR, 0xffffffffull << 32 | 0x62), 0);
    for (u32 n = 0; n < VCPUS; n++) {
        take(n, 0x62);
        assert_int_equal(x2_put(n, EOI, 0), 0);
    }
    assert_int_equal(x2_put(0, ICR, 0x6ull << 32 | LOGICAL | 0x63), 0);
    assert_int_equal(next(0), -1);
    assert_int_equal(next(3), -1);
    take(1, 0x63);
    take(2, 0x63);
    assert_int_equal(x2_put(0, ICR, 0x10006ull << 32 | LOGICAL | 0x64), 0); // the next cluster
    for (u32 n = 0; n < VCPUS; n++)
        assert_int_equal(next(n), -1);
}

// A processor that was given a vector takes it by itself, and its handler may run before anybody hears of that.
static void a_request_while_another_of_its_vector_is_being_offered_is_one_more(void **state) {
    (void)state;
    send(0, 1, 0x51);
    assert_int_equal(next(1), 0x51);
    vlapic_offer(lapic(1), 0x51);
    forget();
    send(0, 1, 0x51);
    assert_int_equal(kicks[1], 1);
    vlapic_offered(lapic(1), 0x51, true);
    assert_int_equal(next(1), -1); // the first one is in service
    put_by(1, EOI, 0);
    take(1, 0x51);
    put_by(1, EOI, 0);
    assert_int_equal(next(1), -1);
}

static void an_offer_that_is_not_taken_is_a_request_again(void **state) {
    (void)state;
    send(0, 1, 0x51);
    assert_int_equal(next(1), 0x51);
    vlapic_offer(lapic(1), 0x51);
    send(0, 1, 0x61);
    send(0, 1, 0x51);
    vlapic_offered(lapic(1), 0x51, false);
    take(1, 0x61);
    put_by(1, EOI, 0);
    take(1, 0x51); // merged, as while it is requested
    put_by(1, EOI, 0);
    assert_int_equal(next(1), -1);
}

static void an_nmi_passes_everything_by(void **state) {
    (void)state;
    put_by(2, TPR, 0xff);
    vlapic_halt(&vcpus[2], false, true);
    assert_false(vlapic_ops.ready(&vcpus[2]));
    send(0, 2, NMI);
    assert_int_equal(kicks[2], 1);
    assert_true(vlapic_ops.ready(&vcpus[2]));
    vlapic_halt(&vcpus[2], false, false); // another one is being handled
    assert_false(vlapic_ops.ready(&vcpus[2]));
    assert_true(vlapic_nmi_pending(lapic(2)));
    assert_true(vlapic_take_nmi(lapic(2)));
    assert_false(vlapic_take_nmi(lapic(2)));
}

// ── INIT and SIPI ───────────────────────────────────────────────────────────────────────────────────────────────────
static void init_and_sipi_are_power_calls(void **state) {
    (void)state;
    send(0, 2, INIT | LEVEL | ASSERT);
    assert_int_equal(stopped, 1 << 2);
    send(0, 2, INIT | LEVEL); // de-assertion
    assert_int_equal(stopped, 1 << 2);
    send(0, 2, SIPI | 0x9a);
    assert_int_equal(started, 1 << 2);
    assert_int_equal(start_entry, 0x9a000);
    forget();
    send(0, 0, OTHERS | INIT | ASSERT);
    assert_int_equal(stopped, 0xe);
    send(0, 0, OTHERS | SIPI | 0x10);
    assert_int_equal(started, 0xe);
    forget();
    send(0, 0, ALL | INIT | ASSERT); // not possible with these shorthands
    send(0, 0, SELF | INIT | ASSERT);
    send(0, 0, ALL | SIPI | 1);
    assert_int_equal(stopped | started | vm_stops, 0);
}

static void init_of_the_first_vcpu_resets_the_machine(void **state) {
    (void)state;
    send(1, 0, INIT | ASSERT);
    assert_int_equal(vm_stops, 1);
    assert_int_equal(vm_stop_cause, VM_STOP_RESET);
    assert_int_equal(stopped, 0);
}

static void a_vcpu_reset_keeps_the_mode_and_forgets_the_rest(void **state) {
    (void)state;
    go_x2(1);
    assert_int_equal(x2_put(1, TPR, 0x20), 0);
    send(0, 1, 0x70);
    send(0, 1, NMI);
    vlapic_ops.vcpu_reset(&vcpus[1]);
    assert_int_equal(next(1), -1);
    assert_false(vlapic_nmi_pending(lapic(1)));
    assert_int_equal(x2_get(1, TPR), 0);
    assert_int_equal(x2_get(1, SVR), 0xff);
    vlapic_ops.reset(&vm);
    u64 base;
    assert_int_equal(rdmsr(1, VLAPIC_MSR_BASE, &base), 0);
    assert_int_equal(base, 0xfee00800);
}

// ── Modes and MSRs ──────────────────────────────────────────────────────────────────────────────────────────────────
static void modes_change_only_as_allowed(void **state) {
    (void)state;
    const u64 off = VLAPIC_BASE, on = off | VLAPIC_BASE_ENABLE, x2 = on | VLAPIC_BASE_X2APIC;
    u64 base;
    assert_int_equal(wrmsr(1, VLAPIC_MSR_BASE, off | VLAPIC_BASE_X2APIC), -EFAULT);
    assert_int_equal(wrmsr(1, VLAPIC_MSR_BASE, x2), 0);
    assert_int_equal(wrmsr(1, VLAPIC_MSR_BASE, on), -EFAULT);
    assert_int_equal(wrmsr(1, VLAPIC_MSR_BASE, off), 0);
    assert_false(vlapic_enabled(lapic(1)));
    assert_int_equal(wrmsr(1, VLAPIC_MSR_BASE, x2), -EFAULT);
    assert_int_equal(wrmsr(1, VLAPIC_MSR_BASE, on), 0);
    assert_int_equal(wrmsr(1, VLAPIC_MSR_BASE, on + 0x1000), -EFAULT); // it cannot be moved
    assert_int_equal(wrmsr(1, VLAPIC_MSR_BASE, on | 1), -EFAULT);
    assert_int_equal(wrmsr(1, VLAPIC_MSR_BASE, on | VLAPIC_BASE_BSP), 0);
    assert_int_equal(rdmsr(1, VLAPIC_MSR_BASE, &base), 0);
    assert_int_equal(base, on);
}

static void the_page_is_not_there_but_as_an_xapic(void **state) {
    (void)state;
    go_x2(1);
    assert_int_equal(get_by(1, ID), ~0ull);
    put_by(1, TPR, 0x50);
    assert_int_equal(x2_get(1, TPR), 0);
    assert_int_equal(get_by(2, ID), 2u << 24);
    u64 value;
    assert_int_equal(rdmsr(2, 0x802, &value), -EFAULT); // nor the MSRs but as an x2APIC
    assert_int_equal(wrmsr(2, 0x80b, 0), -EFAULT);
}

static void x2apic_msrs_fault_on_what_is_reserved(void **state) {
    (void)state;
    static const u16 readable[] = {0x02, 0x03, 0x08, 0x0a, 0x0d, 0x0f, 0x28, 0x30, 0x32,
                                   0x33, 0x34, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3e};
    static const u16 writable[] = {0x08, 0x0b, 0x0f, 0x28, 0x30, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37, 0x38, 0x3e, 0x3f};
    go_x2(0);
    for (u32 n = 0; n < 0x40; n++) {
        bool can_read = n >= 0x10 && n < 0x28, can_write = false;
        u64 value;
        for (u32 i = 0; i < ARRAY_SIZE(readable); i++)
            can_read |= readable[i] == n;
        for (u32 i = 0; i < ARRAY_SIZE(writable); i++)
            can_write |= writable[i] == n;
        assert_int_equal(rdmsr(0, 0x800 + n, &value), can_read ? 0 : -EFAULT);
        assert_int_equal(wrmsr(0, 0x800 + n, 0), can_write ? 0 : -EFAULT);
        if (n != 0x30)
            assert_int_equal(wrmsr(0, 0x800 + n, 1ull << 32), -EFAULT);
    }
    assert_int_equal(x2_put(0, EOI, 1), -EFAULT);
    assert_int_equal(x2_put(0, ESR, 1), -EFAULT);
    assert_int_equal(x2_put(0, TPR, 0x100), -EFAULT);
    assert_int_equal(x2_put(0, SVR, 0x400), -EFAULT);
    assert_int_equal(x2_put(0, LVT_TIMER, 1 << 19), -EFAULT);
    assert_int_equal(x2_put(0, ICR, 1 << 20), -EFAULT);
    assert_int_equal(wrmsr(0, 0x83f, 0x100), -EFAULT);
}

static void self_ipi_register_posts(void **state) {
    (void)state;
    go_x2(0);
    assert_int_equal(x2_put(0, SVR, ENABLE | 0xff), 0);
    assert_int_equal(wrmsr(0, 0x83f, 0x77), 0);
    assert_int_equal(vlapic_deliverable(lapic(0)), 0x77); // without a flush
    assert_int_equal(wrmsr(0, 0x83f, 0x88), 0);
    assert_int_equal(vlapic_deliverable(lapic(0)), 0x88);
    assert_int_equal(wrmsr(0, 0x83f, 3), 0); // no vector: an error of the sender and the receiver, and nothing to take
    assert_int_equal(vlapic_deliverable(lapic(0)), 0x88);
    assert_int_equal(x2_put(0, ESR, 0), 0);
    assert_int_equal(x2_get(0, ESR), 1 << 5 | 1 << 6);
}

static void what_concerns_others_is_left_to_the_core(void **state) {
    (void)state;
    u64 value = 1ull << 32 | 0x55;
    go_x2(0);
    assert_false(vlapic_msr_try(&vcpus[0], 0x830, true, &value));
    assert_int_equal(kicks[1], 0);
    assert_int_equal(x2_get(0, ICR), 0);
    value = SELF | 0x55;
    assert_true(vlapic_msr_try(&vcpus[0], 0x830, true, &value));
    take(0, 0x55);
    value = 0;
    assert_true(vlapic_msr_try(&vcpus[0], 0x80b, true, &value));
    assert_int_equal(vlapic_ppr(lapic(0)), 0);
    value = 1;
    assert_false(vlapic_msr_try(&vcpus[0], 0x80b, true, &value)); // #GP is the core's to say
    assert_int_equal(x2_put(0, LVT_ERROR, 0x41), 0);
    value = 5; // no vector: an error, which the core has to take notice of
    assert_false(vlapic_msr_try(&vcpus[0], 0x83f, true, &value));
    assert_int_equal(next(0), -1);
    assert_int_equal(wrmsr(0, 0x83f, 5), 0);
    take(0, 0x41);
    value = 0;
    assert_true(vlapic_msr_try(&vcpus[0], 0x80b, true, &value));
    value = 0x30;
    assert_true(vlapic_msr_try(&vcpus[0], 0x808, true, &value));
    value = 0;
    assert_true(vlapic_msr_try(&vcpus[0], 0x80a, false, &value));
    assert_int_equal(value, 0x30);
}

// ── The timer ───────────────────────────────────────────────────────────────────────────────────────────────────────
static void what_came_due_while_masked_stays_unsaid_though_our_own_timer_is_late(void **state) {
    (void)state;
    put(DIVIDE, BY_1);
    put(LVT_TIMER, 0x10031);
    put(INITIAL, 1000);
    cpu_self()->arch.timer_deadline_ns = 0; // the machine's alarm does not come yet
    host_advance(2000);
    put(LVT_TIMER, 0x31);
    timer_expire();
    assert_int_equal(next(0), -1);
    put(INITIAL, 1000);
    cpu_self()->arch.timer_deadline_ns = 0;
    host_advance(2000);
    put(LVT_TIMER, 0x10031);
    timer_expire();
    take(0, 0x31); // and what was not masked then is said
}

// Where the guest came out nobody flushes before it goes back in.
static void what_came_due_is_pending_at_once_when_its_settings_change(void **state) {
    (void)state;
    u64 value = MASKED | 0x31;
    go_x2(0);
    assert_int_equal(x2_put(0, DIVIDE, BY_1), 0);
    assert_int_equal(x2_put(0, LVT_TIMER, 0x31), 0);
    assert_int_equal(x2_put(0, INITIAL, 1000), 0);
    cpu_self()->arch.timer_deadline_ns = 0; // the machine's alarm does not come yet
    host_advance(2000);
    assert_true(vlapic_msr_try(&vcpus[0], 0x832, true, &value));
    assert_int_equal(vlapic_pending(lapic(0)), 0x31);
}

static void a_one_shot_timer_counts_down_and_fires_once(void **state) {
    (void)state;
    put(DIVIDE, BY_1);
    put(LVT_TIMER, 0x31);
    put(INITIAL, 100000);
    assert_int_equal(get(CURRENT), 100000);
    host_advance(40000);
    assert_int_equal(get(CURRENT), 60000);
    assert_int_equal(next(0), -1);
    host_advance(59999);
    assert_int_equal(next(0), -1);
    host_advance(1);
    take(0, 0x31);
    put(EOI, 0);
    assert_int_equal(get(CURRENT), 0);
    assert_int_equal(get(INITIAL), 100000);
    host_advance(1000000);
    assert_int_equal(next(0), -1);
    put(INITIAL, 50);
    put(INITIAL, 0); // stopped
    host_advance(1000);
    assert_int_equal(next(0), -1);
}

static void the_divider_divides(void **state) {
    (void)state;
    static const struct {
        u32 value, by;
    } dividers[] = {{0, 2}, {1, 4}, {2, 8}, {3, 16}, {8, 32}, {9, 64}, {0xa, 128}, {0xb, 1}};
    for (u32 i = 0; i < ARRAY_SIZE(dividers); i++) {
        put(DIVIDE, dividers[i].value);
        put(LVT_TIMER, 0x31);
        put(INITIAL, 1000);
        host_advance(1000 * dividers[i].by - 1);
        assert_int_equal(next(0), -1);
        host_advance(1);
        take(0, 0x31);
        put(EOI, 0);
    }
    put(DIVIDE, BY_1);
    put(INITIAL, 1000);
    host_advance(600);
    put(DIVIDE, 0); // the rest by two
    assert_int_equal(get(CURRENT), 400);
    host_advance(799);
    assert_int_equal(next(0), -1);
    host_advance(1);
    take(0, 0x31);
}

static void a_periodic_timer_goes_on(void **state) {
    (void)state;
    put(DIVIDE, BY_1);
    put(LVT_TIMER, PERIODIC | 0x32);
    put(INITIAL, 1000000);
    for (u32 i = 0; i < 5; i++) {
        host_advance(999999);
        assert_int_equal(next(0), -1);
        assert_int_equal(get(CURRENT), 1);
        host_advance(1);
        take(0, 0x32);
        put(EOI, 0);
    }
    host_advance(10500000); // missed ones are one, and the phase stays
    take(0, 0x32);
    put(EOI, 0);
    assert_int_equal(next(0), -1);
    host_advance(499999);
    assert_int_equal(next(0), -1);
    host_advance(1);
    take(0, 0x32);
    put(EOI, 0);
    put(LVT_TIMER, PERIODIC | MASKED | 0x32);
    host_advance(2000000);
    assert_int_equal(next(0), -1);
    assert_int_not_equal(get(CURRENT), 0);
}

static void a_mad_period_is_bounded(void **state) {
    (void)state;
    put(DIVIDE, BY_1);
    put(LVT_TIMER, PERIODIC | 0x32);
    put(INITIAL, 1);
    u32 fires = 0;
    for (u32 i = 0; i < 1000; i++) {
        host_advance(1000);
        if (next(0) < 0)
            continue;
        take(0, 0x32);
        put(EOI, 0);
        fires++;
    }
    assert_in_range(fires, 20, 60);
}

// Its neighbours on the CPU pay for each of its timers that expires.
static void a_mad_period_costs_little_while_nobody_takes_it(void **state) {
    (void)state;
    put(DIVIDE, BY_1);
    put(LVT_TIMER, PERIODIC | 0x32);
    put(INITIAL, 1);
    host_advance(100000);
    u32 armed = 0;
    for (u64 i = 0, at = lapic(0)->timer.deadline_ns; i < 1000; i++) {
        host_advance(10000);
        armed += lapic(0)->timer.deadline_ns != at;
        at = lapic(0)->timer.deadline_ns;
    }
    assert_in_range(armed, 5, 11);
    take(0, 0x32);
    put(EOI, 0);
    for (u32 i = 0; i < 100 && next(0) < 0; i++)
        host_advance(10000);
    take(0, 0x32); // and then it is as fast as before
    put(EOI, 0);
    host_advance(21000);
    take(0, 0x32);
}

static void a_tsc_deadline_fires_when_the_guests_clock_is_there(void **state) {
    (void)state;
    u64 value;
    vlapic_set_tsc_offset(&vcpus[0], 5000);
    put(LVT_TIMER, DEADLINE | 0x33);
    put(INITIAL, 1000); // not in this mode
    assert_int_equal(get(INITIAL), 0);
    const u64 deadline = arch_ticks() + 5000 + 100000 / TICK_NS;
    assert_int_equal(wrmsr(0, VLAPIC_MSR_DEADLINE, deadline), 0);
    assert_int_equal(rdmsr(0, VLAPIC_MSR_DEADLINE, &value), 0);
    assert_int_equal(value, deadline);
    assert_int_equal(get(CURRENT), 0);
    host_advance(99000);
    assert_int_equal(next(0), -1);
    host_advance(1010);
    take(0, 0x33);
    put(EOI, 0);
    assert_int_equal(rdmsr(0, VLAPIC_MSR_DEADLINE, &value), 0);
    assert_int_equal(value, 0);
    assert_int_equal(wrmsr(0, VLAPIC_MSR_DEADLINE, 1), 0); // long ago: at once
    take(0, 0x33);
    put(EOI, 0);
    assert_int_equal(wrmsr(0, VLAPIC_MSR_DEADLINE, ~0ull), 0); // never
    host_advance(1000000000);
    assert_int_equal(next(0), -1);
    assert_int_equal(wrmsr(0, VLAPIC_MSR_DEADLINE, arch_ticks() + 5000 + 50000 / TICK_NS), 0);
    put(LVT_TIMER, 0x33); // a change of mode disarms
    host_advance(1000000);
    assert_int_equal(next(0), -1);
    assert_int_equal(wrmsr(0, VLAPIC_MSR_DEADLINE, 1), 0); // and in another mode it is not there
    assert_int_equal(next(0), -1);
    assert_int_equal(rdmsr(0, VLAPIC_MSR_DEADLINE, &value), 0);
    assert_int_equal(value, 0);
}

static void a_clock_that_jumps_takes_its_deadline_along(void **state) {
    (void)state;
    put(LVT_TIMER, DEADLINE | 0x33);
    assert_int_equal(wrmsr(0, VLAPIC_MSR_DEADLINE, arch_ticks() + 100000 / TICK_NS), 0);
    vlapic_set_tsc_offset(&vcpus[0], 90000 / TICK_NS);
    host_advance(10100);
    take(0, 0x33);
}

static void an_expired_timer_kicks_its_vcpu(void **state) {
    (void)state;
    put_by(2, DIVIDE, BY_1);
    put_by(2, LVT_TIMER, 0x31);
    put_by(2, INITIAL, 500);
    host_advance(600);
    assert_int_equal(kicks[2], 1);
    assert_int_equal(atomic_load(&vcpus[2].irq_work), 1);
}

int main(void) {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(registers_have_their_reset_values),
        T(reserved_and_read_only_bits_keep_their_values),
        T(accesses_of_other_sizes_read_pieces_and_write_nothing),
        T(an_unknown_register_is_an_error_that_is_told),
        T(a_self_ipi_is_requested_served_and_ended),
        T(the_task_priority_holds_interrupts_back),
        T(every_vector_finds_its_bit),
        T(an_illegal_vector_is_an_error),
        T(an_error_wakes_who_waits_for_interrupts),
        T(a_software_disabled_apic_takes_no_vector_and_masks_its_own),
        T(physical_destinations_and_shorthands),
        T(logical_destinations_flat),
        T(logical_destinations_by_cluster),
        T(lowest_priority_goes_to_one_that_can_take_it),
        T(x2apic_destinations_have_32_bits),
        T(a_request_while_another_of_its_vector_is_being_offered_is_one_more),
        T(an_offer_that_is_not_taken_is_a_request_again),
        T(an_nmi_passes_everything_by),
        T(init_and_sipi_are_power_calls),
        T(init_of_the_first_vcpu_resets_the_machine),
        T(a_vcpu_reset_keeps_the_mode_and_forgets_the_rest),
        T(modes_change_only_as_allowed),
        T(the_page_is_not_there_but_as_an_xapic),
        T(x2apic_msrs_fault_on_what_is_reserved),
        T(self_ipi_register_posts),
        T(what_concerns_others_is_left_to_the_core),
        T(what_came_due_while_masked_stays_unsaid_though_our_own_timer_is_late),
        T(what_came_due_is_pending_at_once_when_its_settings_change),
        T(a_one_shot_timer_counts_down_and_fires_once),
        T(the_divider_divides),
        T(a_periodic_timer_goes_on),
        T(a_mad_period_is_bounded),
        T(a_mad_period_costs_little_while_nobody_takes_it),
        T(a_tsc_deadline_fires_when_the_guests_clock_is_there),
        T(a_clock_that_jumps_takes_its_deadline_along),
        T(an_expired_timer_kicks_its_vcpu),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
