// SPDX-License-Identifier: Apache-2.0
#include "host_vms.h"

static void one(guest_fn fn, const char *more) {
    vms_init(1, 1);
    vms_add("a", fn, more);
    vms_run();
}

// ── Exits and their answers ─────────────────────────────────────────────────────────────────────────────────────────
static void off(struct host_guest *g) {
    guest_system_off(g);
}

static void a_guest_that_powers_off_stops_its_vm(void **state) {
    (void)state;
    one(off, "");
    assert_stopped("a", "powered off by the guest");
}

static void start_values(struct host_guest *g) {
    host_check(g->cpu == 0 && g->entry == 0x40100000);
    host_check(g->arg >= GUEST_RAM_BASE && guest_ram(g, g->arg, 4)); // a device tree
}

static void the_first_vcpu_starts_at_the_entry_with_the_device_tree(void **state) {
    (void)state;
    one(start_values, "");
    assert_stopped("a", "");
}

static void calls(struct host_guest *g) {
    host_check(guest_hypercall(g, HYPERCALL_VERSION, 0, 0, 0) > 0);
    host_check(guest_hypercall(g, HYPERCALL_VM_ID, 0, 0, 0) == 1);
    host_check(guest_hypercall(g, HYPERCALL_YIELD, 0, 0, 0) == 0);
    host_check(guest_hypercall(g, HYPERCALL_COUNT, 0, 0, 0) == HYPERCALL_NOT_SUPPORTED);
    host_check(guest_hypercall(g, ~0u, 0, 0, 0) == HYPERCALL_NOT_SUPPORTED);
    memcpy(guest_ram(g, GUEST_RAM_BASE + 0x100, 16), "hello from guest", 16);
    host_check(guest_hypercall(g, HYPERCALL_CONSOLE_WRITE, GUEST_RAM_BASE + 0x100, 16, 0) == 16);
    host_check(guest_hypercall(g, HYPERCALL_CONSOLE_WRITE, GUEST_RAM_BASE - 1, 16, 0) == HYPERCALL_INVALID);
    host_check(guest_hypercall(g, HYPERCALL_CONSOLE_WRITE, ~0ull, 16, 0) == HYPERCALL_INVALID);
    host_check(guest_hypercall(g, HYPERCALL_CONSOLE_WRITE, GUEST_RAM_BASE, 4097, 0) == HYPERCALL_INVALID);
    host_check(guest_hypercall(g, HYPERCALL_CONSOLE_WRITE, GUEST_RAM_BASE, 0, 0) == 0);
}

static void hypercalls_answer_or_refuse(void **state) {
    (void)state;
    one(calls, "");
    assert_stopped("a", "");
    assert_non_null(strstr(host_uart_output(), "a        | hello from guest"));
}

static void write_uart(struct host_guest *g) {
    for (const char *p = "a line\n"; *p; p++)
        guest_mmio_write(g, GUEST_UART, 1, (u64)(unsigned char)*p);
}

static void what_a_guest_writes_to_its_uart_is_seen(void **state) {
    (void)state;
    one(write_uart, "");
    assert_non_null(strstr(host_uart_output(), "a        | a line"));
}

static void touch_nothing(struct host_guest *g) {
    guest_mmio_read(g, 0x0b000000, 4);
    host_check(g->faulted);
    guest_mmio_write(g, ~0ull - 7, 8, 1);
    host_check(g->faulted);
    host_check(guest_page_fault(g, 0x80000000, true, false));
    host_check(guest_fault(g));
    guest_mmio_read(g, GUEST_GICD, 4);
    host_check(!g->faulted);
}

static void an_access_to_nothing_is_reflected_into_the_guest(void **state) {
    (void)state;
    one(touch_nothing, "");
    assert_stopped("a", "powered off");
}

static void fault_without_vectors(struct host_guest *g) {
    g->no_vectors = true;
    guest_page_fault(g, 0x80000000, false, true);
    host_check(false);
}

static void a_fault_that_the_guest_cannot_take_fails_its_vm_with_the_reason(void **state) {
    (void)state;
    one(fault_without_vectors, "");
    assert_failed("a", "0x80000000");
}

static void fail_entry(struct host_guest *g) {
    struct vexit e = {.kind = VEXIT_FAIL_ENTRY, .value = 0xbad};
    guest_exit(g, &e);
}

static void a_refused_entry_fails_the_vm(void **state) {
    (void)state;
    one(fail_entry, "");
    assert_failed("a", "0xbad");
}

// ── Power ───────────────────────────────────────────────────────────────────────────────────────────────────────────
static _Atomic u32 count;

static void bump(struct host_guest *g) {
    host_check(g->arg == 77 && g->cpu != 0);
    atomic_fetch_add(&count, 1);
    guest_cpu_off(g);
}

static void power_others(struct host_guest *g) {
    u64 power;
    host_check(guest_cpu_info(g, 0, &power) == 0 && power == VCPU_ON);
    host_check(guest_cpu_info(g, 1, &power) == 0 && power == VCPU_OFF);
    host_check(guest_cpu_info(g, 2, &power) == -EINVAL);
    host_check(guest_cpu_info(g, VEXIT_NO_VCPU, &power) == -EINVAL);
    host_check(guest_cpu_on(g, 0, bump, 77) == -EALREADY);
    host_check(guest_cpu_on(g, 2, bump, 77) == -EINVAL);
    host_check(guest_cpu_on(g, VEXIT_NO_VCPU, bump, 77) == -EINVAL);
    host_check(guest_cpu_on(g, 1, bump, 77) == 0);
    s32 again = guest_cpu_on(g, 1, bump, 77);
    host_check(again == -EBUSY || again == -EALREADY || again == 0);
    do {
        host_check(guest_cpu_info(g, 1, &power) == 0);
    } while (power != VCPU_OFF);
}

static void cpu_on_starts_a_vcpu_once_and_info_tells(void **state) {
    (void)state;
    for_each_seed(seed, 50) {
        count = 0;
        vms_init(1 + (u32)(seed % 3), seed);
        vms_add("a", power_others, "cpus = 2");
        vms_run();
        assert_stopped("a", "powered off");
        assert_in_range(count, 1, 2);
    }
}

static void off_and_on(struct host_guest *g) {
    for (u32 i = 0; i < 30; i++) {
        s32 err;
        while ((err = guest_cpu_on(g, 1, bump, 77)) != 0) {
            host_check(err == -EBUSY || err == -EALREADY);
            guest_compute(g, host_random(US(2)));
        }
    }
    u64 power;
    do {
        host_check(guest_cpu_info(g, 1, &power) == 0);
    } while (power != VCPU_OFF);
    host_check(count == 30);
}

static void a_vcpu_comes_up_however_soon_after_it_went_off(void **state) {
    (void)state;
    for_each_seed(seed, 100) {
        count = 0;
        vms_init(2, seed);
        vms_add("a", off_and_on, "cpus = 2");
        vms_run();
        assert_stopped("a", "powered off");
    }
}

static void all_off(struct host_guest *g) {
    host_check(guest_cpu_on(g, 1, bump, 77) == 0);
    guest_cpu_off(g);
}

static void a_vm_whose_last_vcpu_goes_off_stops(void **state) {
    (void)state;
    for_each_seed(seed, 50) {
        vms_init(2, seed);
        vms_add("a", all_off, "cpus = 2");
        vms_run();
        assert_stopped("a", "last vCPU");
    }
}

static void resumed(struct host_guest *g) {
    host_check(g->arg == 5);
    guest_system_off(g);
}

static void power_down(struct host_guest *g) {
    guest_irq_enable(g, GUEST_TIMER_IRQ, 0x80);
    guest_timer_set(g, guest_now(g) + US(50));
    guest_cpu_suspend_to(g, resumed, 5);
}

static void a_powered_down_vcpu_resumes_at_its_entry_on_an_interrupt(void **state) {
    (void)state;
    for_each_seed(seed, 20) {
        vms_init(1, seed);
        vms_add("a", power_down, "");
        vms_run();
        assert_stopped("a", "powered off");
    }
}

static void standby(struct host_guest *g) {
    guest_irq_enable(g, GUEST_TIMER_IRQ, 0x80);
    u64 deadline = guest_now(g) + US(50);
    guest_timer_set(g, deadline);
    host_check(guest_cpu_suspend(g) == 0);
    host_check(guest_now(g) >= deadline);
}

static void a_standby_ends_with_an_interrupt(void **state) {
    (void)state;
    one(standby, "");
    assert_stopped("a", "powered off");
}

// ── Interrupts ──────────────────────────────────────────────────────────────────────────────────────────────────────
static void ticks(struct host_guest *g) {
    guest_irq_enable(g, GUEST_TIMER_IRQ, 0x80);
    for (u32 i = 0; i < 20; i++) {
        u64 deadline = guest_now(g) + US(10) + host_random(US(30));
        guest_timer_set(g, deadline);
        u32 irq;
        while ((irq = guest_irq_ack(g)) == 1023)
            host_random(2) ? guest_halt(g) : guest_compute(g, US(5));
        host_check(irq == GUEST_TIMER_IRQ);
        host_check(guest_now(g) >= deadline);
        guest_timer_off(g);
        guest_irq_eoi(g, irq);
        host_check(guest_irq_ack(g) == 1023);
    }
    atomic_fetch_add(&count, 1);
}

static void a_guest_takes_its_timer_interrupts(void **state) {
    (void)state;
    for_each_seed(seed, 50) {
        vms_init(1, seed);
        vms_add("a", ticks, "");
        vms_run();
        assert_stopped("a", "powered off");
    }
}

static void guests_that_share_a_cpu_take_their_timer_interrupts(void **state) {
    (void)state;
    for_each_seed(seed, 50) {
        count = 0;
        vms_init(1 + (u32)(seed % 2), seed);
        vms_add("a", ticks, "");
        vms_add("b", ticks, "");
        vms_add("c", ticks, "[sched]\npriority = 5");
        vms_run();
        assert_int_equal(count, 3);
    }
}

// The timer's line stays up while the guest does not move the deadline: its interrupt comes again.
static void level(struct host_guest *g) {
    guest_irq_enable(g, GUEST_TIMER_IRQ, 0x80);
    guest_timer_set(g, guest_now(g));
    for (u32 i = 0; i < 5; i++) {
        u32 irq;
        while ((irq = guest_irq_ack(g)) == 1023)
            guest_step(g);
        host_check(irq == GUEST_TIMER_IRQ);
        guest_irq_eoi(g, irq);
    }
    guest_timer_off(g);
}

static void a_timer_line_that_stays_up_interrupts_again(void **state) {
    (void)state;
    one(level, "");
    assert_stopped("a", "powered off");
}

// Two vCPUs play ping-pong: each waits for the other's interrupt. A lost one is a deadlock.
enum { ROUNDS = 30 };

static u32 await(struct host_guest *g) {
    u32 irq;
    while ((irq = guest_irq_ack(g)) == 1023)
        guest_halt(g);
    guest_irq_eoi(g, irq);
    return irq;
}

static void pong(struct host_guest *g) {
    guest_irq_enable(g, 1, 0x80);
    guest_ipi(g, 2, BIT(0)); // here I am
    for (u32 i = 0; i < ROUNDS; i++) {
        host_check(await(g) == 1);
        guest_ipi(g, 2, BIT(0));
    }
    guest_cpu_off(g);
}

static void ping(struct host_guest *g) {
    guest_irq_enable(g, 2, 0x80);
    host_check(guest_cpu_on(g, 1, pong, 0) == 0);
    host_check(await(g) == 2);
    for (u32 i = 0; i < ROUNDS; i++) {
        guest_ipi(g, 1, BIT(1));
        host_check(await(g) == 2);
    }
    atomic_fetch_add(&count, 1);
}

static void no_interrupt_between_vcpus_is_lost(void **state) {
    (void)state;
    for_each_seed(seed, 100) {
        count = 0;
        vms_init(1 + (u32)(seed % 3), seed);
        vms_add("a", ping, "cpus = 2");
        vms_add("b", ping, "cpus = 2");
        vms_run();
        assert_int_equal(count, 2);
    }
}

// More interrupts at once than the hardware has list registers, of all priorities.
static u32 served;

static void serve(struct host_guest *g) {
    u32 irq = guest_irq_ack(g);
    if (irq == 1023)
        return;
    host_check(irq < 16 && !(served & BIT(irq)));
    served |= (u32)BIT(irq);
    guest_compute(g, host_random(US(2)));
    guest_irq_eoi(g, irq);
}

static void flood(struct host_guest *g) {
    for (u32 sgi = 0; sgi < 16; sgi++)
        guest_irq_enable(g, sgi, (u8)(host_random(16) << 4));
    for (u32 i = 0; i < 5; i++) {
        served = 0;
        for (u32 sgi = 0; sgi < 16; sgi++)
            guest_ipi(g, sgi, BIT(0));
        g->irq = serve;
        while (served != 0xffff)
            host_random(2) ? guest_step(g) : guest_halt(g);
        g->irq = NULL;
    }
}

static void more_interrupts_than_list_registers_all_arrive(void **state) {
    (void)state;
    for_each_seed(seed, 50) {
        vms_init(1, seed);
        vms_add("a", flood, "");
        vms_run();
        assert_stopped("a", "powered off");
    }
}

// ── Sharing ─────────────────────────────────────────────────────────────────────────────────────────────────────────
static bool done;

static void spin_until_done(struct host_guest *g) {
    while (!done)
        guest_compute(g, US(10));
}

static void finish_soon(struct host_guest *g) {
    guest_compute(g, MS(1));
    done = true;
}

static void equals_on_one_cpu_both_get_on(void **state) {
    (void)state;
    for_each_seed(seed, 10) {
        done = false;
        vms_init(1, seed);
        vms_add("a", spin_until_done, "");
        vms_add("b", finish_soon, "");
        vms_run();
        assert_stopped("a", "powered off");
    }
}

static void wait_until_done(struct host_guest *g) {
    guest_irq_enable(g, GUEST_TIMER_IRQ, 0x80);
    while (!done) {
        guest_timer_set(g, guest_now(g) + MS(20));
        await(g);
    }
}

// The higher one waits for an interrupt in the guest, untrapped as it was alone when it went in.
static void start_late(struct host_guest *g) {
    guest_compute(g, US(100));
    host_check(guest_cpu_on(g, 1, finish_soon, 0) == 0);
    guest_compute(g, MS(5));
    host_check(done);
}

static void a_lower_priority_runs_while_the_higher_waits_for_an_interrupt(void **state) {
    (void)state;
    for_each_seed(seed, 20) {
        done = false;
        vms_init(2, seed);
        vms_add("high", wait_until_done, "[sched]\npriority = 10\naffinity = [1]");
        vms_add("low", start_late, "cpus = 2\n[sched]\npriority = 3\naffinity = [[0], [1]]");
        vms_run();
        assert_stopped("high", "powered off");
    }
}

static void check_home(struct host_guest *g) {
    for (u32 i = 0; i < 20; i++) {
        host_check(cpu_self()->id == 2);
        guest_compute(g, US(5));
        guest_mmio_read(g, GUEST_UART + 0x18, 4);
    }
}

// ── One vCPU switches another off (x86's INIT) ──────────────────────────────────────────────────────────────────────
static _Atomic u32 begun;
static _Atomic bool finished;

static void stay(struct host_guest *g) {
    host_check(g->cpu == 1 && count - g->arg <= 1); // of this round, or of the last one and stopped by now
    atomic_fetch_add(&begun, 1);
    for (;;)
        if (g->arg % 2)
            guest_halt(g);
        else
            guest_compute(g, US(1));
}

static void wait_until_finished(struct host_guest *g) {
    while (!finished)
        guest_compute(g, US(10));
}

static void stop_and_start(void *arg) {
    (void)arg;
    struct vm *vm = vms_find("a");
    while (vcpu_stop(vm, 1) != 0) // it does not run yet
        sleep_ns(US(10));
    host_check(vcpu_stop(vm, 2) == -EINVAL);
    for (u32 i = 1; i <= 20; i++) {
        const u32 seen = begun;
        count = i;
        host_check(vcpu_stop(vm, 1) == 0);
        // However far it is on its way out, it is startable at once; and whoever is to start is not startable again.
        host_check(vcpu_start(vm, 1, host_guest_entry(stay), i) == 0);
        s32 again = vcpu_start(vm, 1, host_guest_entry(stay), 99);
        host_check(again == -EBUSY || again == -EALREADY);
        if (i % 3 == 0) { // an INIT takes the start back
            host_check(vcpu_stop(vm, 1) == 0);
            host_check(vcpu_start(vm, 1, host_guest_entry(stay), i) == 0);
        }
        while (begun == seen && i % 4)
            sleep_ns(host_random(US(20)));
    }
    finished = true;
    while (vm->state == VM_RUNNING)
        sleep_ns(US(10));
    host_check(vcpu_stop(vm, 1) == -EPERM);
}

static void a_vcpu_that_is_stopped_starts_again_however_soon(void **state) {
    (void)state;
    for_each_seed(seed, 60) {
        begun = 0;
        finished = false;
        vms_init(1 + (u32)(seed % 3), seed);
        vms_add("a", wait_until_finished, "cpus = 2");
        vms_run_as("", stop_and_start);
        assert_stopped("a", "powered off");
        assert_int_equal(vms_find("a")->vcpus_in, 0);
        assert_in_range(begun, 1, 27);
    }
}

static void stop_the_first(void *arg) {
    (void)arg;
    while (vcpu_stop(vms_find("a"), 0) != 0)
        sleep_ns(US(10));
}

static void a_vm_whose_last_vcpu_is_stopped_stops(void **state) {
    (void)state;
    for_each_seed(seed, 20) {
        finished = false;
        vms_init(2, seed);
        vms_add("a", wait_until_finished, "cpus = 2");
        vms_run_as("", stop_the_first);
        assert_stopped("a", "last vCPU");
    }
}

static void affinity_is_honoured(void **state) {
    (void)state;
    vms_init(4, 1);
    vms_add("a", check_home, "[sched]\naffinity = [2]");
    vms_run();
    assert_stopped("a", "powered off");
}

static void exits_are_counted_by_kind(void **state) {
    (void)state;
    one(calls, "");
    struct vcpu *v = vms_find("a")->vcpus[0];
    assert_int_equal(v->stats.count[VEXIT_HYPERCALL], 10);
    assert_int_equal(v->stats.count[VEXIT_SYSTEM_OFF], 1);
    assert_int_equal(v->stats.count[VEXIT_MMIO], 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_guest_that_powers_off_stops_its_vm),
        cmocka_unit_test(the_first_vcpu_starts_at_the_entry_with_the_device_tree),
        cmocka_unit_test(hypercalls_answer_or_refuse),
        cmocka_unit_test(what_a_guest_writes_to_its_uart_is_seen),
        cmocka_unit_test(an_access_to_nothing_is_reflected_into_the_guest),
        cmocka_unit_test(a_fault_that_the_guest_cannot_take_fails_its_vm_with_the_reason),
        cmocka_unit_test(a_refused_entry_fails_the_vm),
        cmocka_unit_test(cpu_on_starts_a_vcpu_once_and_info_tells),
        cmocka_unit_test(a_vcpu_comes_up_however_soon_after_it_went_off),
        cmocka_unit_test(a_vm_whose_last_vcpu_goes_off_stops),
        cmocka_unit_test(a_powered_down_vcpu_resumes_at_its_entry_on_an_interrupt),
        cmocka_unit_test(a_standby_ends_with_an_interrupt),
        cmocka_unit_test(a_guest_takes_its_timer_interrupts),
        cmocka_unit_test(guests_that_share_a_cpu_take_their_timer_interrupts),
        cmocka_unit_test(a_timer_line_that_stays_up_interrupts_again),
        cmocka_unit_test(no_interrupt_between_vcpus_is_lost),
        cmocka_unit_test(more_interrupts_than_list_registers_all_arrive),
        cmocka_unit_test(equals_on_one_cpu_both_get_on),
        cmocka_unit_test(a_lower_priority_runs_while_the_higher_waits_for_an_interrupt),
        cmocka_unit_test(a_vcpu_that_is_stopped_starts_again_however_soon),
        cmocka_unit_test(a_vm_whose_last_vcpu_is_stopped_stops),
        cmocka_unit_test(affinity_is_honoured),
        cmocka_unit_test(exits_are_counted_by_kind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
