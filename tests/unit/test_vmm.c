// SPDX-License-Identifier: Apache-2.0
#include "host_vms.h"

[[noreturn]] void hv_main(void);

static char why[VM_REASON_MAX];

static void off(struct host_guest *g) {
    guest_system_off(g);
}

static void crash(struct host_guest *g) {
    g->no_vectors = true;
    guest_page_fault(g, 0, false, true);
}

static void reset(struct host_guest *g) {
    guest_system_reset(g);
}

static void compute_forever(struct host_guest *g) {
    for (;;)
        guest_compute(g, US(100));
}

static void halt_forever(struct host_guest *g) {
    for (;;)
        guest_halt(g);
}

static void all_ways(struct host_guest *g) { // vCPU 3 stays off
    if (g->cpu == 0) {
        host_check(guest_cpu_on(g, 1, halt_forever, 0) == 0);
        host_check(guest_cpu_on(g, 2, all_ways, 0) == 0);
        compute_forever(g);
    }
    for (;;)
        guest_mmio_write(g, GUEST_UART, 1, '.');
}

static void sleep_until_state(struct vm *vm, enum vm_state state) {
    for (u32 i = 0; vm->state != state; i++) {
        host_check(i < 10000);
        sleep_ns(US(20));
    }
}

// ── From configurations to VMs ──────────────────────────────────────────────────────────────────────────────────────
static void all_vms_with_autostart_run_and_the_end_comes_when_none_does(void **state) {
    (void)state;
    for_each_seed(seed, 30) {
        vms_init(1 + (u32)(seed % 4), seed);
        vms_add("a", off, "");
        vms_add("b", off, "cpus = 3");
        vms_add("c", off, "autostart = false");
        vms_run();
        assert_int_equal(vmm_count(), 3);
        assert_int_equal(vmm_running(), 0);
        assert_stopped("a", "powered off");
        assert_stopped("b", "powered off");
        assert_int_equal(vms_find("c")->state, VM_LOADED);
        assert_int_equal(vms_find("c")->starts, 0);
    }
}

static void without_autostart_nothing_runs(void **state) {
    (void)state;
    vms_init(1, 1);
    vms_add("a", off, "");
    vms_run_as("autostart=no", NULL);
    assert_int_equal(vms_find("a")->state, VM_LOADED);
}

static void a_vm_is_found_by_name_and_by_number(void **state) {
    (void)state;
    vms_init(1, 1);
    vms_add("first", off, "");
    vms_add("second", off, "");
    vms_run();
    assert_ptr_equal(vmm_find("first"), vmm_vm(0));
    assert_ptr_equal(vmm_find("2"), vmm_vm(1));
    assert_string_equal(vmm_vm(1)->cfg.name, "second");
    assert_null(vmm_find("third"));
    assert_null(vmm_find(""));
    assert_null(vmm_vm(2));
}

static void a_broken_configuration_is_listed_with_its_error_and_the_others_run(void **state) {
    (void)state;
    vms_init(1, 1);
    vms_add("a", off, "");
    vms_add("b", off, "memroy = \"3M\"");
    vms_add("c", off, "cpus = 2");
    vms_run();
    assert_stopped("a", "powered off");
    assert_failed("b", "vms/b.toml:3");
    assert_false(vms_find("b")->created);
    assert_stopped("c", "powered off");
}

static void a_vm_without_room_is_listed_with_the_reason_and_the_others_run(void **state) {
    (void)state;
    vms_init(1, 1);
    vms_add("big", off, "memory = \"1G\"");
    vms_add("z", off, "");
    vms_run();
    assert_failed("big", "1 GiB");
    assert_stopped("z", "powered off");
}

static void a_missing_kernel_fails_its_vm_alone(void **state) {
    (void)state;
    vms_init(1, 1);
    vms_add("a", off, "[boot]\nkernel = \"none.bin\"\n");
    vms_add("b", off, "");
    vms_run();
    assert_failed("a", "none.bin");
    assert_stopped("b", "powered off");
}

static void no_bundle(void *arg) {
    struct board board;
    arch_probe(&board);
    board.bundle = *(struct region *)arg;
    (void)vmm_cmdline(&board);
    vmm_init(&board);
    vmm_start();
    host_check(vmm_count() == 0);
}

static void a_missing_or_broken_bundle_is_an_empty_one(void **state) {
    (void)state;
    static const char junk[300] = "070701 but not really";
    struct region regions[] = {{0, 0}, {(u64)(uintptr_t)junk, sizeof(junk)}, {(u64)(uintptr_t)junk, 6}};
    for (u32 i = 0; i < ARRAY_SIZE(regions); i++) {
        vms_init(1, 1);
        console_init(host_board());
        assert_int_equal(host_run(no_bundle, &regions[i]), HOST_DONE);
    }
}

// ── What happens after a stop ───────────────────────────────────────────────────────────────────────────────────────
static void off_the_third_time(struct host_guest *g) {
    if (g->v->vm->starts < 3)
        guest_system_reset(g);
}

static void a_reset_restarts_the_vm(void **state) {
    (void)state;
    for_each_seed(seed, 20) {
        vms_init(2, seed);
        vms_add("a", off_the_third_time, "cpus = 2");
        vms_run();
        assert_stopped("a", "powered off");
        assert_int_equal(vms_find("a")->starts, 3);
    }
}

static void with_on_reset_stop_a_reset_stops_the_vm(void **state) {
    (void)state;
    vms_init(1, 1);
    vms_add("a", reset, "on_reset = \"stop\"");
    vms_run();
    assert_stopped("a", "reset by the guest");
}

static void restart_twice_then_stop(void *arg) {
    (void)arg;
    struct vm *vm = vmm_find("a");
    while (vm->starts < 3)
        sleep_ns(US(10));
    sleep_ns(host_random(US(100)));
    host_check(vmm_vm_stop(vm, false, why, sizeof(why)) == 0); // also between two runs
    u32 starts = vm->starts;
    host_check(vm->state == VM_STOPPED && !vm->cancelled);
    sleep_ns(MS(1));
    host_check(vm->state == VM_STOPPED && vm->starts == starts);
}

static void with_on_shutdown_restart_the_vm_comes_back_until_the_operator_stops_it(void **state) {
    (void)state;
    for_each_seed(seed, 60) {
        vms_init(1 + (u32)(seed % 3), seed);
        vms_add("a", off, "on_shutdown = \"restart\"");
        vms_run_as("", restart_twice_then_stop);
        assert_stopped("a", "operator");
        assert_true(vms_find("a")->starts >= 3);
    }
}

static void a_crash_stops_the_vm_as_failed_and_the_others_go_on(void **state) {
    (void)state;
    vms_init(1, 1);
    vms_add("a", crash, "");
    vms_add("b", off_the_third_time, "");
    vms_run();
    assert_failed("a", "fetched an instruction");
    assert_stopped("b", "powered off");
}

static void with_on_crash_restart_a_vm_that_keeps_crashing_is_given_up(void **state) {
    (void)state;
    vms_init(1, 1);
    vms_add("a", crash, "on_crash = \"restart\"");
    vms_run();
    assert_failed("a", "fetched an instruction");
    assert_in_range(vms_find("a")->starts, 4, 10);
}

// ── The operator ────────────────────────────────────────────────────────────────────────────────────────────────────
static void stop_a(void *arg) {
    (void)arg;
    struct vm *vm = vmm_find("a");
    sleep_until_state(vm, VM_RUNNING);
    sleep_ns(host_random(US(500)));
    host_check(vmm_vm_stop(vm, false, why, sizeof(why)) == 0);
    host_check(vm->state == VM_STOPPED);
}

static void the_operator_stops_a_vm_whatever_its_vcpus_do(void **state) {
    (void)state;
    for_each_seed(seed, 60) {
        vms_init(1 + (u32)(seed % 4), seed);
        vms_add("a", all_ways, "cpus = 4");
        vms_run_as("", stop_a);
        assert_stopped("a", "stopped by the operator");
    }
}

static void the_operator_stops_a_vm_that_shares_its_cpu(void **state) {
    (void)state;
    for_each_seed(seed, 20) {
        vms_init(1, seed);
        vms_add("a", halt_forever, "");
        vms_add("b", off_the_third_time, "");
        vms_run_as("", stop_a);
        assert_stopped("a", "stopped by the operator");
        assert_stopped("b", "powered off");
    }
}

static void start_stop_restart(void *arg) {
    (void)arg;
    struct vm *vm = vmm_find("a");
    sleep_until_state(vm, VM_RUNNING);
    host_check(vmm_vm_start(vm, why, sizeof(why)) == -EBUSY && strstr(why, "running already"));
    host_check(vmm_vm_restart(vm, why, sizeof(why)) == 0);
    host_check(vm->state == VM_RUNNING && vm->starts == 2);
    host_check(vmm_vm_stop(vm, true, why, sizeof(why)) == 0);
    host_check(vmm_vm_stop(vm, true, why, sizeof(why)) == -EBUSY && strstr(why, "is not running"));
}

static void the_operators_commands_work_or_say_why_not(void **state) {
    (void)state;
    for_each_seed(seed, 20) {
        vms_init(2, seed);
        vms_add("a", all_ways, "cpus = 4");
        vms_run_as("", start_stop_restart);
        assert_stopped("a", "stopped by the operator");
    }
}

static void start_what_cannot(void *arg) {
    (void)arg;
    struct vm *vm = vmm_find("a");
    host_check(vmm_vm_start(vm, why, sizeof(why)) == -ENODEV && strstr(why, "cannot be started"));
    host_check(vmm_vm_stop(vm, false, why, sizeof(why)) == -EBUSY);
}

static void a_vm_that_was_not_created_cannot_be_started(void **state) {
    (void)state;
    vms_init(1, 1);
    vms_add("a", off, "x = 1");
    vms_run_as("autostart=no", start_what_cannot);
    assert_failed("a", "vms/a.toml");
}

static void start_and_stop_beside_a_hog(void *arg) {
    (void)arg;
    struct vm *vm = vmm_find("a"), *hog = vmm_find("hog");
    sleep_until_state(hog, VM_RUNNING);
    u64 before = arch_now_ns();
    host_check(vmm_vm_start(vm, why, sizeof(why)) == 0);
    host_check(arch_now_ns() - before < MS(1000));
    host_check(vmm_vm_restart(vm, why, sizeof(why)) == 0);
    host_check(vm->vcpus[0]->task.priority == vm->cfg.sched.priority);
    host_check(vmm_vm_stop(vm, false, why, sizeof(why)) == 0);
    host_check(vmm_vm_restart(hog, why, sizeof(why)) == 0);
    host_check(vmm_vm_stop(hog, false, why, sizeof(why)) == 0);
}

static void the_operator_starts_and_stops_a_vm_beside_a_busy_one_of_any_priority(void **state) {
    (void)state;
    for (u64 priority = 0; priority < TASK_PRIORITIES; priority++) {
        char more[64];
        vms_init(1, priority);
        snprintf(more, sizeof(more), "[sched]\npriority = %u\n", (u32)priority);
        vms_add("a", halt_forever, "autostart = false");
        vms_add("hog", compute_forever, more);
        vms_run_as("", start_and_stop_beside_a_hog);
        assert_stopped("a", "operator");
        assert_stopped("hog", "operator");
    }
}

static void start_again(void *arg) {
    (void)arg;
    struct vm *vm = vmm_find("a"), *keeper = vmm_find("keeper");
    for (u32 i = 1; i <= 5; i++) {
        while (vm->starts < i || vm->state != VM_STOPPED)
            sleep_ns(US(10));
        if (i < 5)
            host_check(vmm_vm_start(vm, why, sizeof(why)) == 0);
    }
    host_check(vmm_vm_stop(keeper, false, why, sizeof(why)) == 0);
}

static void a_stopped_vm_starts_again_at_once(void **state) {
    (void)state;
    for_each_seed(seed, 60) {
        vms_init(1 + (u32)(seed % 4), seed);
        vms_add("a", off, "cpus = 2");
        vms_add("keeper", halt_forever, "");
        vms_run_as("", start_again);
        assert_int_equal(vms_find("a")->starts, 5);
    }
}

// ── Everything at once ──────────────────────────────────────────────────────────────────────────────────────────────
static void busy_secondary(struct host_guest *g);

static void busy(struct host_guest *g) {
    guest_irq_enable(g, GUEST_TIMER_IRQ, 0x80);
    guest_irq_enable(g, 1, 0x90);
    for (u32 i = 0; i < 25; i++) {
        switch (host_random(8)) {
        case 0:
            guest_compute(g, host_random(US(30)));
            break;
        case 1:
            guest_ipi(g, 1, (u32)host_random(8));
            break;
        case 2:
            (void)guest_cpu_on(g, (u32)host_random(4), busy_secondary, 0);
            break;
        case 3:
            guest_mmio_write(g, GUEST_UART, 1, "busy\n"[i % 5]);
            break;
        case 4:
            guest_timer_set(g, guest_now(g) + host_random(US(40)));
            guest_halt(g);
            break;
        case 5:
            (void)guest_hypercall(g, (u32)host_random(6), host_random(~0ull), host_random(8192), 0);
            break;
        case 6:
            (void)guest_mmio_read(g, host_random(4) ? GUEST_GICD + host_random(0x800) * 4 : host_random(~0ull), 4);
            break;
        default: {
            u32 irq = guest_irq_ack(g);
            if (irq == GUEST_TIMER_IRQ)
                guest_timer_off(g);
            if (irq != 1023)
                guest_irq_eoi(g, irq);
        }
        }
    }
}

static void busy_secondary(struct host_guest *g) {
    busy(g);
    guest_cpu_off(g);
}

static void busy_primary(struct host_guest *g) {
    busy(g);
    switch (host_random(8)) {
    case 0:
        crash(g);
        break;
    case 1:
        guest_system_off(g);
    default:
        guest_system_reset(g);
    }
}

static void random_operator(void *arg) {
    (void)arg;
    for (u32 i = 0; i < 12; i++) {
        struct vm *vm = vmm_vm((u32)host_random(vmm_count() - 1)); // all but the keeper
        sleep_ns(host_random(US(300)));
        switch (host_random(3)) {
        case 0:
            (void)vmm_vm_start(vm, why, sizeof(why));
            break;
        case 1:
            (void)vmm_vm_restart(vm, why, sizeof(why));
            break;
        default:
            (void)vmm_vm_stop(vm, host_random(2), why, sizeof(why));
        }
    }
    for (u32 i = 0; i < vmm_count(); i++) {
        struct vm *vm = vmm_vm(i);
        // The keeper, the last one, has kept the machine on until here.
        while (vm->state == VM_RUNNING || vm->state == VM_STOPPING || vm->starting || vm->restart) {
            (void)vmm_vm_stop(vm, false, why, sizeof(why));
            sleep_ns(US(10));
        }
    }
}

static void random_guests_and_a_random_operator_leave_a_quiet_machine(void **state) {
    (void)state;
    for_each_seed(seed, 150) {
        vms_init(1 + (u32)(seed % 4), seed);
        vms_add("a", busy_primary, "cpus = 3\non_crash = \"restart\"");
        vms_add("b", busy_primary, "cpus = 4\n[sched]\npriority = 9");
        vms_add("c", busy_primary, "cpus = 1\non_shutdown = \"restart\"");
        vms_add("keeper", halt_forever, "");
        vms_run_as("", random_operator);
        assert_int_equal(vmm_running(), 0);
        for (u32 i = 0; i < 3; i++)
            assert_int_equal(vmm_vm(i)->vcpus_in, 0);
    }
}

static void the_same_seed_gives_the_same_run(void **state) {
    (void)state;
    u64 trace[2];
    for (u32 i = 0; i < 2; i++) {
        vms_init(3, 42);
        vms_add("a", busy_primary, "cpus = 3");
        vms_add("b", busy_primary, "cpus = 2");
        vms_add("keeper", halt_forever, "");
        vms_run_as("", random_operator);
        trace[i] = host_trace();
    }
    assert_true(trace[0] == trace[1]);
}

// ── The real boot ───────────────────────────────────────────────────────────────────────────────────────────────────
static void boot(void *arg) {
    (void)arg;
    hv_main();
}

static enum host_end boot_with(const char *cmdline) {
    cpio_add("TRAILER!!!", "", 0);
    host_board()->bundle = (struct region){(u64)(uintptr_t)cpio.data, cpio.used};
    snprintf(host_board()->cmdline, sizeof(host_board()->cmdline), "%s", cmdline);
    return host_boot(boot, NULL);
}

static void the_machine_boots_runs_its_vms_and_powers_off(void **state) {
    (void)state;
    for_each_seed(seed, 20) {
        vms_init(4, seed);
        vms_add("a", off, "cpus = 2");
        vms_add("b", off_the_third_time, "");
        assert_int_equal(boot_with(""), HOST_POWER_OFF);
        assert_stopped("a", "powered off");
        assert_stopped("b", "powered off");
        assert_non_null(strstr(host_uart_output(), "bulkhead | a: stopped: powered off by the guest"));
        assert_non_null(strstr(host_uart_output(), "bulkhead | powering off"));
    }
}

static void with_idle_reboot_the_machine_reboots(void **state) {
    (void)state;
    vms_init(1, 1);
    vms_add("a", off, "");
    assert_int_equal(boot_with("idle=reboot"), HOST_REBOOT);
}

static void the_shell_stops_a_vm_and_powers_off(void **state) {
    (void)state;
    for_each_seed(seed, 10) {
        vms_init(2, seed);
        vms_add("a", halt_forever, "");
        host_uart_input("\x1dvm list\rvm stop a\rpoweroff\r");
        assert_int_equal(boot_with("idle=shell"), HOST_POWER_OFF);
        assert_non_null(strstr(host_uart_output(), "a"));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_vms_with_autostart_run_and_the_end_comes_when_none_does),
        cmocka_unit_test(without_autostart_nothing_runs),
        cmocka_unit_test(a_vm_is_found_by_name_and_by_number),
        cmocka_unit_test(a_broken_configuration_is_listed_with_its_error_and_the_others_run),
        cmocka_unit_test(a_vm_without_room_is_listed_with_the_reason_and_the_others_run),
        cmocka_unit_test(a_missing_kernel_fails_its_vm_alone),
        cmocka_unit_test(a_missing_or_broken_bundle_is_an_empty_one),
        cmocka_unit_test(a_reset_restarts_the_vm),
        cmocka_unit_test(with_on_reset_stop_a_reset_stops_the_vm),
        cmocka_unit_test(with_on_shutdown_restart_the_vm_comes_back_until_the_operator_stops_it),
        cmocka_unit_test(a_crash_stops_the_vm_as_failed_and_the_others_go_on),
        cmocka_unit_test(with_on_crash_restart_a_vm_that_keeps_crashing_is_given_up),
        cmocka_unit_test(the_operator_stops_a_vm_whatever_its_vcpus_do),
        cmocka_unit_test(the_operator_stops_a_vm_that_shares_its_cpu),
        cmocka_unit_test(the_operators_commands_work_or_say_why_not),
        cmocka_unit_test(a_vm_that_was_not_created_cannot_be_started),
        cmocka_unit_test(the_operator_starts_and_stops_a_vm_beside_a_busy_one_of_any_priority),
        cmocka_unit_test(a_stopped_vm_starts_again_at_once),
        cmocka_unit_test(random_guests_and_a_random_operator_leave_a_quiet_machine),
        cmocka_unit_test(the_same_seed_gives_the_same_run),
        cmocka_unit_test(the_machine_boots_runs_its_vms_and_powers_off),
        cmocka_unit_test(with_idle_reboot_the_machine_reboots),
        cmocka_unit_test(the_shell_stops_a_vm_and_powers_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
