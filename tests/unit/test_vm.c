// SPDX-License-Identifier: Apache-2.0
#include "host_vms.h"

static void off(struct host_guest *g) {
    guest_system_off(g);
}

static void the_life_cycle_has_these_moves_and_no_others(void **state) {
    (void)state;
    static const bool may[VM_STATES][VM_STATES] = {
        [VM_LOADED] = {[VM_RUNNING] = true, [VM_FAILED] = true},
        [VM_RUNNING] = {[VM_STOPPING] = true, [VM_STOPPED] = true},
        [VM_STOPPING] = {[VM_STOPPED] = true, [VM_FAILED] = true},
        [VM_STOPPED] = {[VM_RUNNING] = true, [VM_FAILED] = true},
        [VM_FAILED] = {[VM_RUNNING] = true, [VM_FAILED] = true},
    };
    for (enum vm_state from = 0; from < VM_STATES; from++)
        for (enum vm_state to = 0; to < VM_STATES; to++)
            assert_int_equal(vm_state_may(from, to), may[from][to]);
    assert_false(vm_state_may(VM_STATES, VM_RUNNING));
    assert_false(vm_state_may(VM_LOADED, VM_STATES));
}

static void every_state_has_a_name(void **state) {
    (void)state;
    for (enum vm_state s = 0; s < VM_STATES; s++)
        assert_true(strlen(vm_state_name(s)) > 3);
    assert_string_equal(vm_state_name(VM_STATES), "?");
}

// ── Creation ────────────────────────────────────────────────────────────────────────────────────────────────────────
static struct vm_config config;
static u32 priority = CONFIG_PRIORITY_DEFAULT;

static void prepare(u32 vcpus) {
    memset(&config, 0, sizeof(config));
    config.valid = true;
    strcpy(config.name, "a");
    config.cpus = vcpus;
    config.memory = MIB(2);
    config.sched.priority = priority;
    for (u32 i = 0; i < VM_CPUS_MAX; i++)
        config.sched.affinity[i] = ~0ull;
    console_init(host_board());
}

static void create_and_destroy(void *arg) {
    u32 *vcpus = arg;
    char why[VM_REASON_MAX];
    prepare(*vcpus);
    u64 before = page_stats().free, stacks = stack_stats().used;
    for (u32 i = 0; i < 3; i++) {
        struct vm *vm = vm_alloc();
        host_check(vm_create(vm, &config, 1, why, sizeof(why)) == 0);
        host_check(vm->created && vm->state == VM_LOADED && vm->vcpu_count == *vcpus);
        host_check(vm->created_bytes >= MIB(2));
        vm_destroy(vm);
        host_check(!vm->created);
        vm_free(vm);
        host_check(page_stats().free == before && stack_stats().used == stacks);
    }
}

static void destroying_a_vm_gives_all_its_memory_back(void **state) {
    (void)state;
    for (u32 vcpus = 1; vcpus <= VM_CPUS_MAX; vcpus += 5) {
        vms_init(2, vcpus);
        assert_int_equal(host_run(create_and_destroy, &vcpus), HOST_DONE);
    }
}

static void a_vm_of_any_priority_can_be_destroyed(void **state) {
    (void)state;
    u32 vcpus = 2;
    for (priority = 0; priority < TASK_PRIORITIES; priority++) {
        vms_init(1, priority);
        assert_int_equal(host_run(create_and_destroy, &vcpus), HOST_DONE);
    }
    priority = CONFIG_PRIORITY_DEFAULT;
}

// Takes the stacks that there are without a new block.
static void take_ready_stacks(void) {
    u64 blocks = page_stats().free_blocks;
    for (;;) {
        void *stack = stack_alloc();
        host_check(stack);
        if (page_stats().free_blocks != blocks) {
            stack_free(stack);
            return;
        }
    }
}

// `blocks` 2 MiB blocks and `pages` pages are left, neighbours of each other.
static void leave_memory(u32 blocks, u32 pages) {
    static void *taken[64 * 512];
    u32 count = 0;
    pa_t block;
    take_ready_stacks();
    host_check(page_alloc_blocks(blocks, &block) == blocks);
    while ((taken[count] = page_alloc(0)))
        count++;
    host_check(pages <= count);
    for (u32 i = 0; i < pages; i++)
        page_free(taken[count - 1 - i], 0);
    page_free_blocks(block, blocks);
}

struct left {
    u32 blocks, pages;
    bool enough;
};

static void create_with(void *arg) {
    struct left *left = arg;
    char why[VM_REASON_MAX];
    prepare(3);
    struct vm *vm = vm_alloc();
    leave_memory(left->blocks, left->pages);
    struct page_stats before = page_stats();
    u64 stacks = stack_stats().used;
    int err = vm_create(vm, &config, 1, why, sizeof(why));
    if (err == 0) {
        left->enough = true;
        return;
    }
    host_check(err == -ENOMEM && strstr(why, "no room for"));
    host_check(!vm->created);
    host_check(page_stats().free == before.free && page_stats().free_blocks == before.free_blocks);
    host_check(stack_stats().used == stacks);
}

static void a_creation_that_runs_out_of_memory_leaves_nothing_behind(void **state) {
    (void)state;
    u32 failures = 0;
    for (u32 blocks = 1; blocks <= 2; blocks++) { // one for the guest, one for the stacks
        for (u32 pages = 0; pages < 100; pages++) {
            struct left left = {.blocks = blocks, .pages = pages};
            vms_init(1, 1);
            assert_int_equal(host_run(create_with, &left), HOST_DONE);
            assert_true(!left.enough || blocks == 2);
            if (left.enough)
                break;
            failures++;
        }
    }
    assert_in_range(failures, 110, 160); // it failed at every step on the way
}

// ── Start and stop ──────────────────────────────────────────────────────────────────────────────────────────────────
static void memory_is_zero(struct host_guest *g) {
    u64 *p = guest_ram(g, GUEST_RAM_BASE + MIB(1) + KIB(512), KIB(256));
    for (u32 i = 0; i < KIB(256) / 8; i++)
        host_check(p[i] == 0);
    memset(p, 0xa5, KIB(256));
    if (g->v->vm->starts < 3)
        guest_system_reset(g);
}

static void a_guest_starts_with_zeroed_memory_every_time(void **state) {
    (void)state;
    vms_init(1, 1);
    vms_add("a", memory_is_zero, "");
    vms_run();
    assert_stopped("a", "powered off");
    assert_int_equal(vms_find("a")->starts, 3);
}

static void clock_is_fresh(struct host_guest *g) {
    host_check(guest_now(g) < MS(1));
    guest_compute(g, MS(2));
    if (g->v->vm->starts < 3)
        guest_system_reset(g);
}

static void a_guests_clock_begins_at_zero_every_time(void **state) {
    (void)state;
    vms_init(1, 1);
    vms_add("a", clock_is_fresh, "");
    vms_run();
    assert_stopped("a", "powered off");
}

static void timer_left_on(struct host_guest *g) {
    guest_irq_enable(g, GUEST_TIMER_IRQ, 0x80);
    if (g->v->vm->starts == 1) {
        guest_timer_set(g, guest_now(g) + US(100));
        guest_system_reset(g);
    }
    guest_compute(g, MS(1));
    host_check(guest_irq_ack(g) == 1023);
}

static void a_reset_forgets_the_timer(void **state) {
    (void)state;
    for_each_seed(seed, 10) {
        vms_init(2, seed);
        vms_add("a", timer_left_on, "");
        vms_run();
        assert_stopped("a", "powered off");
    }
}

static void interrupts_left_on(struct host_guest *g) {
    host_check(guest_mmio_read(g, GUEST_GICD + 0x104, 4) == 0); // GICD_ISENABLER1
    host_check(!(guest_mmio_read(g, GUEST_GICD, 4) & 2));       // GICD_CTLR.EnableGrp1
    guest_irq_enable(g, 40, 0x80);
    guest_irq_enable(g, 3, 0x80);
    guest_mmio_write(g, GUEST_GICD + 0x204, 4, BIT(40 - 32)); // GICD_ISPENDR1
    guest_ipi(g, 3, BIT(0));
    if (g->v->vm->starts < 3)
        guest_system_reset(g);
    host_check(guest_irq_ack(g) != 1023);
}

static void a_reset_forgets_the_state_of_the_interrupt_controller(void **state) {
    (void)state;
    vms_init(1, 1);
    vms_add("a", interrupts_left_on, "");
    vms_run();
    assert_stopped("a", "powered off");
}

static void second_reason(struct host_guest *g) {
    if (g->cpu == 0) {
        for (u32 i = 1; i < 3; i++)
            host_check(guest_cpu_on(g, i, second_reason, 0) == 0);
        guest_compute(g, US(20));
        guest_system_off(g);
    }
    guest_compute(g, US(20));
    guest_system_reset(g);
}

static void the_first_cause_of_a_stop_counts(void **state) {
    (void)state;
    u32 runs = 0, resets = 0, offs = 0;
    for_each_seed(seed, 60) {
        vms_init(3, seed);
        vms_add("a", second_reason, "cpus = 3\non_reset = \"stop\"");
        vms_run();
        struct vm *vm = vms_find("a");
        assert_int_equal(vm->state, VM_STOPPED);
        runs++;
        resets += vm->stop == VM_STOP_RESET && strstr(vm->reason, "reset");
        offs += vm->stop == VM_STOP_SHUTDOWN && strstr(vm->reason, "powered off");
    }
    assert_int_equal(resets + offs, runs);
    assert_true(runs < 60 || (resets > 0 && offs > 0));
}

static void an_affinity_to_a_cpu_that_did_not_come_up_fails_the_vm_alone(void **state) {
    (void)state;
    vms_init(1, 1);
    host_init(&(struct host_options){.cpus = 3, .seed = 1, .cpus_dead = BIT(2)});
    vms_add("a", off, "[sched]\naffinity = [2]");
    vms_add("b", off, "[sched]\naffinity = [1]");
    vms_run();
    assert_int_equal(vms_find("a")->state, VM_FAILED);
    assert_stopped("b", "powered off");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_life_cycle_has_these_moves_and_no_others),
        cmocka_unit_test(every_state_has_a_name),
        cmocka_unit_test(destroying_a_vm_gives_all_its_memory_back),
        cmocka_unit_test(a_vm_of_any_priority_can_be_destroyed),
        cmocka_unit_test(a_creation_that_runs_out_of_memory_leaves_nothing_behind),
        cmocka_unit_test(a_guest_starts_with_zeroed_memory_every_time),
        cmocka_unit_test(a_guests_clock_begins_at_zero_every_time),
        cmocka_unit_test(a_reset_forgets_the_timer),
        cmocka_unit_test(a_reset_forgets_the_state_of_the_interrupt_controller),
        cmocka_unit_test(the_first_cause_of_a_stop_counts),
        cmocka_unit_test(an_affinity_to_a_cpu_that_did_not_come_up_fails_the_vm_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
