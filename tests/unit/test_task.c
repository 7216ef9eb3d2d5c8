// SPDX-License-Identifier: Apache-2.0
#include "host_test.h"

#include <string.h>

#include "page.h"

static struct task tasks[4];
static u32 ran_on;
static u32 runs;

static void note_cpu(void *arg) {
    (void)arg;
    ran_on = cpu_self()->id;
    runs++;
}

static void check_init(void *arg) {
    (void)arg;
    struct task *t = &tasks[0];
    host_check(task_init(t, "a-name", note_cpu, NULL, 5, &cpus[1]) == 0);
    host_check(t->state == TASK_BLOCKED && t->priority == 5 && t->cpu == &cpus[1]);
    host_check(strcmp(t->name, "a-name") == 0);
    runs = 0;
    sleep_ns(US(100));
    host_check(runs == 0);
    task_fini(t); // never started
}

static void a_new_task_is_parked(void **state) {
    (void)state;
    run_on(2, 1, check_init, NULL);
}

static void check_long_name(void *arg) {
    (void)arg;
    char name[3 * TASK_NAME_MAX];
    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    host_check(task_init(&tasks[0], name, note_cpu, NULL, 5, &cpus[0]) == 0);
    host_check(strlen(tasks[0].name) == TASK_NAME_MAX - 1);
    task_fini(&tasks[0]);
}

static void a_long_name_is_cut(void **state) {
    (void)state;
    run_on(1, 1, check_long_name, NULL);
}

static void check_stack(void *arg) {
    (void)arg;
    u64 before = page_stats().free;
    char *stack = stack_alloc();
    host_check(stack && (uintptr_t)stack % PAGE_SIZE == 0);
    memset(stack, 0x5a, TASK_STACK_SIZE);
    stack_free(stack);
    host_check(page_stats().free == before);
}

static void a_stack_is_usable_and_returned(void **state) {
    (void)state;
    run_on(1, 1, check_stack, NULL);
}

static void check_no_memory(void *arg) {
    (void)arg;
    while (stack_alloc())
        ;
    host_check(task_init(&tasks[0], "t", note_cpu, NULL, 5, &cpus[0]) == -ENOMEM);
    task_fini(&tasks[0]); // nothing to free
}

static void without_memory_for_the_stack_init_fails(void **state) {
    (void)state;
    host_init(&(struct host_options){.cpus = 1, .memory = MIB(8)});
    assert_int_equal(host_run(check_no_memory, NULL), HOST_DONE);
}

static void check_memory_returns(void *arg) {
    (void)arg;
    u64 before = page_stats().free;
    for (u32 i = 0; i < 20; i++) {
        spawn(&tasks[0], "t", note_cpu, NULL, 5, i % cpu_count);
        join(&tasks[0]);
        host_check(ran_on == i % cpu_count);
    }
    host_check(page_stats().free == before);
}

static void an_ended_task_gives_its_memory_back(void **state) {
    (void)state;
    for_each_seed(seed, 20) run_on(3, seed, check_memory_returns, NULL);
}

static void check_gone(void *arg) {
    (void)arg;
    host_check(task_init(&tasks[0], "t", note_cpu, NULL, 5, &cpus[0]) == 0);
    host_check(!task_is_gone(&tasks[0]));
    task_wake(&tasks[0]);
    host_check(!task_is_gone(&tasks[0]));
    sleep_ns(US(100));
    host_check(task_is_gone(&tasks[0]));
}

static void a_task_is_gone_once_its_function_has_returned(void **state) {
    (void)state;
    run_on(1, 1, check_gone, NULL);
}

static void fini_of_running(void *arg) {
    (void)arg;
    spawn(&tasks[0], "t", note_cpu, NULL, 5, 0);
    task_fini(&tasks[0]); // ready
}

static void freeing_a_task_that_can_run_is_a_bug(void **state) {
    (void)state;
    host_init(&(struct host_options){.cpus = 1, .panic_ok = true});
    assert_int_equal(host_run(fini_of_running, NULL), HOST_PANIC);
}

// ── Moving ──────────────────────────────────────────────────────────────────────────────────────────────────────────
static void check_move(void *arg) {
    (void)arg;
    host_check(task_init(&tasks[0], "t", note_cpu, NULL, 5, &cpus[0]) == 0);
    task_set_home(&tasks[0], &cpus[1]);
    task_wake(&tasks[0]);
    join(&tasks[0]);
    host_check(ran_on == 1);
}

static void a_parked_task_runs_where_it_was_moved(void **state) {
    (void)state;
    run_on(2, 1, check_move, NULL);
}

static void move_against_affinity(void *arg) {
    (void)arg;
    host_check(task_init(&tasks[0], "t", note_cpu, NULL, 5, &cpus[0]) == 0);
    tasks[0].affinity = BIT(0);
    task_set_home(&tasks[0], &cpus[1]);
}

static void moving_against_the_affinity_is_a_bug(void **state) {
    (void)state;
    host_init(&(struct host_options){.cpus = 2, .panic_ok = true});
    assert_int_equal(host_run(move_against_affinity, NULL), HOST_PANIC);
}

// A task that parks itself again and again, a mover, and a third who wakes it at any moment, meant or not.
static struct {
    struct waitq wq;
    u32 permits; // under wq.lock
    _Atomic u32 rounds;
    _Atomic bool parked;
    u32 expected_cpu;
    bool stop;
} park;

static void parker(void *arg) {
    (void)arg;
    for (;;) {
        atomic_store(&park.parked, true);
        waitq_wait(&park.wq, park.permits > 0);
        park.permits--;
        host_check(cpu_self()->id == park.expected_cpu);
        host_check(task_self() == &tasks[0] && task_self()->cpu == cpu_self());
        atomic_fetch_add(&park.rounds, 1);
        if (park.stop)
            return;
    }
}

static void nudge(void *arg) {
    (void)arg;
    while (!park.stop) {
        waitq_wake(&park.wq);
        host_advance(host_random(US(5)));
        sched_yield();
        if (host_random(3) == 0)
            sleep_ns(host_random(US(10)));
    }
}

static void mover(void *arg) {
    (void)arg;
    memset(&park, 0, sizeof(park));
    waitq_init(&park.wq);
    spawn(&tasks[1], "nudge", nudge, NULL, 8, cpu_count - 1);
    spawn(&tasks[0], "parker", parker, NULL, 6, 0);
    for (u32 i = 1; i <= 30; i++) {
        u32 before = atomic_load(&park.rounds);
        while (!atomic_load(&park.parked))
            sleep_ns(US(1));
        atomic_store(&park.parked, false);
        u32 to = (u32)host_random(cpu_count);
        task_set_home(&tasks[0], &cpus[to]);
        park.expected_cpu = to;
        park.stop = i == 30;
        spin_lock(&park.wq.lock);
        park.permits++;
        spin_unlock(&park.wq.lock);
        waitq_wake(&park.wq);
        while (atomic_load(&park.rounds) == before)
            sleep_ns(US(3));
    }
    join(&tasks[0]);
    join(&tasks[1]);
}

static void a_task_moves_safely_while_others_wake_it(void **state) {
    (void)state;
    for_each_seed(seed, 200) run_on(2 + (u32)(seed % 3), seed, mover, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_task_is_parked),
        cmocka_unit_test(a_long_name_is_cut),
        cmocka_unit_test(a_stack_is_usable_and_returned),
        cmocka_unit_test(without_memory_for_the_stack_init_fails),
        cmocka_unit_test(an_ended_task_gives_its_memory_back),
        cmocka_unit_test(a_task_is_gone_once_its_function_has_returned),
        cmocka_unit_test(freeing_a_task_that_can_run_is_a_bug),
        cmocka_unit_test(a_parked_task_runs_where_it_was_moved),
        cmocka_unit_test(moving_against_the_affinity_is_a_bug),
        cmocka_unit_test(a_task_moves_safely_while_others_wake_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
