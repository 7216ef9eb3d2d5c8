// SPDX-License-Identifier: Apache-2.0
// What goes wrong with one VM, and that the others do not hear of it.
#include "host_vms.h"
#include "log.h"

static char why[VM_REASON_MAX];

static void off(struct host_guest *g) {
    guest_system_off(g);
}

static void halt_forever(struct host_guest *g) {
    for (;;)
        guest_halt(g);
}

static bool logged(enum log_level level, const char *part) {
    struct log_line line;
    for (u64 number = 0; log_read(&number, &line); number++)
        if (line.level == level && strstr(line.text, part))
            return true;
    return false;
}

// ── pCPUs that did not come up ──────────────────────────────────────────────────────────────────────────────────────
static void with_dead_cpus(u32 machine_cpus, u64 dead) {
    vms_init(1, 1);
    host_init(&(struct host_options){.cpus = machine_cpus, .seed = 1, .memory = MIB(64), .cpus_dead = dead});
}

static void start_and_restart_fail(void *arg) {
    (void)arg;
    struct vm *vm = vmm_find("a");
    while (vm->state != VM_FAILED)
        sleep_ns(US(10));
    host_check(vmm_vm_start(vm, why, sizeof(why)) == -EIO && strstr(why, "none of the pCPUs of vCPU 1's affinity"));
    why[0] = '\0';
    host_check(vmm_vm_restart(vm, why, sizeof(why)) == -EIO && strstr(why, "is online"));
    host_check(vm->state == VM_FAILED && vm->starts == 0);
    host_check(vmm_vm_stop(vmm_find("b"), false, why, sizeof(why)) == 0);
}

static void a_vm_that_only_a_dead_cpu_may_run_fails_at_every_start_and_counts_nowhere(void **state) {
    (void)state;
    with_dead_cpus(3, BIT(1));
    vms_add("a", off, "cpus = 2\n[sched]\naffinity = [[0], [1]]"); // its first vCPU has a place when the second fails
    vms_add("b", halt_forever, "");
    vms_run_as("", start_and_restart_fail); // looks at each CPU's count, too
    assert_failed("a", "could not be started: none of the pCPUs of vCPU 1's affinity is online");
    assert_stopped("b", "stopped by the operator");
    assert_int_equal(vmm_running(), 0);
}

static void a_cpu_behind_a_dead_one_can_be_named_in_an_affinity(void **state) {
    (void)state;
    with_dead_cpus(3, BIT(1));
    vms_add("a", off, "[sched]\naffinity = [2]");
    vms_run();
    assert_stopped("a", "powered off");
    assert_int_equal(vms_find("a")->vcpus[0]->placed_on, 2);
}

// ── Configurations ──────────────────────────────────────────────────────────────────────────────────────────────────
static void more_configurations_than_vms_are_named_and_left_out(void **state) {
    (void)state;
    vms_init(1, 1);
    for (u32 i = 0; i <= VM_MAX; i++) {
        char path[32];
        snprintf(path, sizeof(path), "vms/v%02u.toml", i);
        cpio_add(path, "", 0);
    }
    vms_run();
    assert_int_equal(vmm_count(), VM_MAX);
    assert_true(logged(LOG_ERROR, "vms/v32.toml: not read: there are more than 32 configurations"));
    assert_failed("v31", "not created: vms/v31.toml: ");
    assert_null(vmm_find("v32"));
}

static void a_configuration_without_a_name_is_listed_by_its_file(void **state) {
    (void)state;
    vms_init(1, 1);
    cpio_add("vms/no-name.toml", "cpus = 1\n", 9);
    vms_add("b", off, "");
    vms_run();
    assert_failed("no-name", "not created: vms/no-name.toml: ");
    assert_stopped("b", "powered off");
}

static void of_two_vms_of_one_name_the_second_says_who_has_it(void **state) {
    (void)state;
    static const char text[] =
        "name = \"a\"\nmemory = \"2M\"\n[boot]\nkernel = \"guest.bin\"\nprotocol = \"raw\"\nload = 0x40100000\n";
    vms_init(1, 1);
    vms_add("a", off, "");
    cpio_add("vms/z.toml", text, sizeof(text) - 1);
    vms_run();
    assert_stopped("a", "powered off");
    assert_int_equal(vmm_vm(1)->state, VM_FAILED);
    assert_non_null(strstr(vmm_vm(1)->reason, "taken by vms/a.toml"));
}

static void a_wrong_word_of_the_command_line_is_a_warning(void **state) {
    (void)state;
    vms_init(1, 1);
    vms_add("a", off, "");
    vms_run_as("idel=shell", NULL);
    assert_true(logged(LOG_WARN, "idel"));
    assert_stopped("a", "powered off");
}

// ── Crashes ─────────────────────────────────────────────────────────────────────────────────────────────────────────
static void untakable(struct host_guest *g) {
    g->no_vectors = true;
    (void)guest_fault(g);
}

static void a_fault_that_a_guest_cannot_take_fails_it_with_its_kind(void **state) {
    (void)state;
    vms_init(1, 1);
    vms_add("a", untakable, "");
    vms_add("b", off, "");
    vms_run();
    assert_failed("a", "vCPU 0: a fault (fault at 0) that the guest cannot take");
    assert_stopped("b", "powered off");
}

static void five_crashes_then_a_long_life(struct host_guest *g) {
    u32 starts = g->v->vm->starts;
    if (starts == 11)
        guest_system_off(g);
    if (starts == 6) {
        guest_irq_enable(g, GUEST_TIMER_IRQ, 0x80);
        guest_timer_set(g, MS(11000)); // its clock begins at 0
        while (guest_now(g) < MS(11000))
            guest_halt(g);
    }
    g->no_vectors = true;
    guest_page_fault(g, 0, false, true);
}

static void crashes_that_are_far_apart_are_no_reason_to_give_a_vm_up(void **state) {
    (void)state;
    vms_init(1, 1);
    vms_add("a", five_crashes_then_a_long_life, "on_crash = \"restart\"");
    vms_run();
    assert_stopped("a", "powered off");
    assert_int_equal(vms_find("a")->starts, 11);
}

// ── An operator who is quicker ──────────────────────────────────────────────────────────────────────────────────────
static void starter(void *arg) {
    (void)arg;
    char reason[VM_REASON_MAX];
    (void)vmm_vm_start(vmm_find("a"), reason, sizeof(reason));
}

static u32 cancelled, started;

static void start_and_stop_at_once(void *arg) {
    (void)arg;
    static struct task other;
    struct vm *vm = vmm_find("a"), *keeper = vmm_find("keeper");
    while (keeper->state != VM_RUNNING)
        sleep_ns(US(10));
    spawn(&other, "starter", starter, NULL, TASK_PRIORITY_SYSTEM, 0);
    while (!vm->starting && vm->state != VM_RUNNING)
        sched_yield();
    host_check(vmm_vm_stop(vm, false, why, sizeof(why)) == 0);
    join(&other);
    host_check(!vm->starting && !vm->restart && !vm->cancelled && vm->vcpus_in == 0);
    host_check(vm->state == (vm->starts ? VM_STOPPED : VM_LOADED));
    cancelled += vm->starts == 0;
    started += vm->starts;
    host_check(vmm_vm_stop(keeper, false, why, sizeof(why)) == 0);
}

static void a_start_that_is_stopped_before_it_ran_leaves_the_vm_as_it_was(void **state) {
    (void)state;
    u32 runs = 0;
    cancelled = started = 0;
    for_each_seed(seed, 60) {
        vms_init(2, seed);
        vms_add("a", halt_forever, "autostart = false");
        vms_add("keeper", halt_forever, "");
        vms_run_as("", start_and_stop_at_once);
        assert_int_equal(vmm_running(), 0);
        runs++;
    }
    assert_int_equal(cancelled + started, runs);
    assert_true(runs < 60 || cancelled > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_vm_that_only_a_dead_cpu_may_run_fails_at_every_start_and_counts_nowhere),
        cmocka_unit_test(a_cpu_behind_a_dead_one_can_be_named_in_an_affinity),
        cmocka_unit_test(more_configurations_than_vms_are_named_and_left_out),
        cmocka_unit_test(a_configuration_without_a_name_is_listed_by_its_file),
        cmocka_unit_test(of_two_vms_of_one_name_the_second_says_who_has_it),
        cmocka_unit_test(a_wrong_word_of_the_command_line_is_a_warning),
        cmocka_unit_test(a_fault_that_a_guest_cannot_take_fails_it_with_its_kind),
        cmocka_unit_test(crashes_that_are_far_apart_are_no_reason_to_give_a_vm_up),
        cmocka_unit_test(a_start_that_is_stopped_before_it_ran_leaves_the_vm_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
