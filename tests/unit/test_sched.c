// SPDX-License-Identifier: Apache-2.0
#include "host_test.h"

#include <string.h>

// ── A log of who ran ────────────────────────────────────────────────────────────────────────────────────────────────
static char ran[256];
static u32 ran_count;

static void log_ran(char c) {
    host_check(ran_count + 1 < sizeof(ran));
    ran[ran_count++] = c;
    ran[ran_count] = '\0';
}

static void log_name(void *arg) {
    log_ran(*(const char *)arg);
}

static int fresh(void **state) {
    (void)state;
    memset(ran, 0, sizeof(ran));
    ran_count = 0;
    return 0;
}

static struct task tasks[8];

static void expect_ran(const char *order) {
    if (strcmp(ran, order) != 0)
        print_error("ran \"%s\", expected \"%s\"\n", ran, order);
    host_check(strcmp(ran, order) == 0);
}

// ── Order ───────────────────────────────────────────────────────────────────────────────────────────────────────────
static void wake_three(void *arg) {
    (void)arg;
    spawn(&tasks[0], "low", log_name, "l", 3, 0);
    spawn(&tasks[1], "high", log_name, "h", 12, 0);
    spawn(&tasks[2], "middle", log_name, "m", 8, 0);
    expect_ran(""); // a wake-up alone does not switch
    sleep_ns(MS(1));
    expect_ran("hml");
}

static void the_highest_priority_runs_first(void **state) {
    (void)state;
    run_on(1, 1, wake_three, NULL);
}

static void wake_equals(void *arg) {
    (void)arg;
    spawn(&tasks[0], "a", log_name, "a", 5, 0);
    spawn(&tasks[1], "b", log_name, "b", 5, 0);
    spawn(&tasks[2], "c", log_name, "c", 5, 0);
    sleep_ns(MS(1));
    expect_ran("abc");
}

static void equals_run_in_the_order_of_waking(void **state) {
    (void)state;
    run_on(1, 1, wake_equals, NULL);
}

static void yielder(void *arg) {
    for (int i = 0; i < 3; i++) {
        log_name(arg);
        sched_yield();
    }
}

static void yield_among_equals(void *arg) {
    (void)arg;
    spawn(&tasks[0], "a", yielder, "a", 5, 0);
    spawn(&tasks[1], "b", yielder, "b", 5, 0);
    sleep_ns(MS(1));
    expect_ran("ababab");
}

static void a_yield_lets_equals_run_in_turn(void **state) {
    (void)state;
    run_on(1, 1, yield_among_equals, NULL);
}

static void yield_with_lower_ready(void *arg) {
    (void)arg;
    spawn(&tasks[0], "low", log_name, "l", TASK_PRIORITY_DEFAULT - 1, 0);
    sched_yield();
    expect_ran("");
    sleep_ns(MS(1));
    expect_ran("l");
}

static void a_yield_does_not_let_a_lower_priority_run(void **state) {
    (void)state;
    run_on(1, 1, yield_with_lower_ready, NULL);
}

static void resched_with_higher(void *arg) {
    (void)arg;
    spawn(&tasks[0], "high", log_name, "h", 12, 0);
    host_check(atomic_load(&cpu_self()->need_resched));
    sched_resched();
    expect_ran("h");
    host_check(!atomic_load(&cpu_self()->need_resched));
}

static void resched_switches_to_a_higher_priority(void **state) {
    (void)state;
    run_on(1, 1, resched_with_higher, NULL);
}

static void resched_with_equal(void *arg) {
    (void)arg;
    spawn(&tasks[0], "equal", log_name, "e", TASK_PRIORITY_DEFAULT, 0);
    sched_resched();
    sched_resched();
    expect_ran("");
    sched_yield();
    expect_ran("e");
}

static void resched_does_not_give_way_to_an_equal_within_the_slice(void **state) {
    (void)state;
    run_on(1, 1, resched_with_equal, NULL);
}

// Who is interrupted by a higher priority goes on before its equals.
static void preempted(void *arg) {
    log_name(arg);
    compute(US(200));
    log_name(arg);
}

static void waker_of_high(struct timer *t) {
    (void)t;
    task_wake(&tasks[2]);
}

static void preempt_first_of_two(void *arg) {
    (void)arg;
    struct timer t;
    timer_init(&t, waker_of_high);
    spawn(&tasks[0], "a", preempted, "a", 5, 0);
    spawn(&tasks[1], "b", preempted, "b", 5, 0);
    host_check(task_init(&tasks[2], "high", log_name, "H", 9, &cpus[0]) == 0);
    timer_arm(&t, arch_now_ns() + US(100));
    sleep_ns(MS(1));
    expect_ran("aHabb");
}

static void a_preempted_task_goes_on_before_its_equals(void **state) {
    (void)state;
    run_on(1, 1, preempt_first_of_two, NULL);
}

// ── Slices ──────────────────────────────────────────────────────────────────────────────────────────────────────────
static void compute_long(void *arg) {
    compute(*(u64 *)arg);
}

static void two_equals_compute(void *arg) {
    (void)arg;
    u64 work = MS(50);
    spawn(&tasks[0], "a", compute_long, &work, 5, 0);
    spawn(&tasks[1], "b", compute_long, &work, 5, 0);
    sleep_ns(MS(40));
    u64 a = task_cpu_time_ns(&tasks[0]), b = task_cpu_time_ns(&tasks[1]);
    u64 apart = a > b ? a - b : b - a;
    host_check(a + b > MS(39));
    host_check(apart <= TASK_SLICE_NS + US(100));
    u64 switches = atomic_load(&cpus[0].switches);
    host_check(switches >= 40 / 5 && switches <= 40 / 5 + 4);
    join(&tasks[0]);
    join(&tasks[1]);
}

static void equals_share_the_cpu_by_slices(void **state) {
    (void)state;
    run_on(1, 1, two_equals_compute, NULL);
}

static void alone(void *arg) {
    (void)arg;
    u64 work = MS(50);
    spawn(&tasks[0], "a", compute_long, &work, 5, 1);
    sleep_ns(MS(1));
    host_check(!cpus[1].slice.armed);
    host_check(cpus[1].arch.timer_deadline_ns == TIMER_NEVER);
    host_check(!sched_cpu_contended(&cpus[1]));
    join(&tasks[0]);
}

static void a_task_alone_takes_no_tick(void **state) {
    (void)state;
    run_on(2, 1, alone, NULL);
}

static void company_of_another_priority(void *arg) {
    (void)arg;
    u64 work = MS(20);
    spawn(&tasks[0], "a", compute_long, &work, 5, 1);
    spawn(&tasks[1], "lower", compute_long, &work, 4, 1);
    sleep_ns(MS(2));
    host_check(!cpus[1].slice.armed);
    host_check(sched_cpu_contended(&cpus[1])); // but a halt must let the lower one run
    join(&tasks[0]);
    join(&tasks[1]);
}

static void a_lower_priority_waiting_arms_no_slice_but_contends(void **state) {
    (void)state;
    run_on(2, 1, company_of_another_priority, NULL);
}

static void company_from_elsewhere(void *arg) {
    (void)arg;
    u64 work = MS(30);
    spawn(&tasks[0], "a", compute_long, &work, 5, 1);
    sleep_ns(MS(10));
    host_check(!cpus[1].slice.armed);
    spawn(&tasks[1], "b", compute_long, &work, 5, 1);
    sleep_ns(US(100));
    host_check(cpus[1].slice.armed);
    sleep_ns(MS(20));
    u64 a = task_cpu_time_ns(&tasks[0]), b = task_cpu_time_ns(&tasks[1]);
    host_check(a >= MS(15) && b >= MS(5));
    join(&tasks[0]);
    join(&tasks[1]);
}

static void an_equal_woken_from_another_cpu_starts_the_slice(void **state) {
    (void)state;
    for_each_seed(seed, 10) run_on(2, seed, company_from_elsewhere, NULL);
}

static void company_leaves(void *arg) {
    (void)arg;
    u64 work = MS(30), little = MS(1);
    spawn(&tasks[0], "a", compute_long, &work, 5, 1);
    spawn(&tasks[1], "b", compute_long, &little, 5, 1);
    join(&tasks[1]);
    sleep_ns(US(100));
    host_check(!cpus[1].slice.armed);
    join(&tasks[0]);
}

static void the_slice_ends_with_the_company(void **state) {
    (void)state;
    run_on(2, 1, company_leaves, NULL);
}

// A task of the system that runs every millisecond must not give the one that it interrupts a new slice each time.
static void chatter(void *arg) {
    u32 *rounds = arg;
    while (*rounds) {
        --*rounds;
        sleep_ns(MS(1));
    }
}

static void preempted_often(void *arg) {
    (void)arg;
    u64 work = MS(60);
    u32 rounds = 80;
    spawn(&tasks[2], "chatter", chatter, &rounds, TASK_PRIORITY_SYSTEM, 1);
    spawn(&tasks[0], "a", compute_long, &work, 5, 1);
    spawn(&tasks[1], "b", compute_long, &work, 5, 1);
    sleep_ns(MS(40));
    u64 a = task_cpu_time_ns(&tasks[0]), b = task_cpu_time_ns(&tasks[1]);
    u64 apart = a > b ? a - b : b - a;
    host_check(apart <= TASK_SLICE_NS + US(200));
    rounds = 0;
    join(&tasks[2]);
    join(&tasks[0]);
    join(&tasks[1]);
}

static void equals_stay_fair_under_frequent_preemption(void **state) {
    (void)state;
    for_each_seed(seed, 10) run_on(2, seed, preempted_often, NULL);
}

static void many_equals(void *arg) {
    (void)arg;
    u64 work = MS(100);
    for (u32 i = 0; i < 5; i++)
        spawn(&tasks[i], "t", compute_long, &work, 5, 1);
    sleep_ns(MS(100));
    for (u32 i = 0; i < 5; i++) {
        u64 ran_ns = task_cpu_time_ns(&tasks[i]);
        host_check(ran_ns > MS(20) - TASK_SLICE_NS - MS(1) && ran_ns < MS(20) + TASK_SLICE_NS + MS(1));
    }
}

static void round_robin_is_fair(void **state) {
    (void)state;
    for_each_seed(seed, 5) run_on(2, seed, many_equals, NULL);
}

// ── Wake-ups across CPUs ────────────────────────────────────────────────────────────────────────────────────────────
static void wake_idle_cpu(void *arg) {
    (void)arg;
    sleep_ns(US(10));
    u64 start = arch_now_ns();
    spawn(&tasks[0], "a", log_name, "a", 5, 1);
    while (!ran_count)
        host_point();
    host_check(arch_now_ns() - start < US(20));
}

static void waking_kicks_an_idle_cpu(void **state) {
    (void)state;
    for_each_seed(seed, 50) {
        (void)fresh(state);
        run_on(2, seed, wake_idle_cpu, NULL);
    }
}

static void wake_over_lower(void *arg) {
    (void)arg;
    u64 work = MS(10);
    spawn(&tasks[0], "low", compute_long, &work, 5, 1);
    sleep_ns(MS(1));
    u64 start = arch_now_ns();
    spawn(&tasks[1], "high", log_name, "h", 6, 1);
    while (!ran_count)
        host_point();
    host_check(arch_now_ns() - start < US(20));
}

static void waking_preempts_a_lower_priority_on_another_cpu(void **state) {
    (void)state;
    for_each_seed(seed, 50) {
        (void)fresh(state);
        run_on(2, seed, wake_over_lower, NULL);
    }
}

static void wake_lower_first(void *arg) {
    (void)arg;
    u64 work = MS(10);
    spawn(&tasks[0], "high", compute_long, &work, 9, 1);
    sleep_ns(MS(1));
    u64 before = atomic_load(&cpus[1].kicks);
    spawn(&tasks[1], "low", log_name, "l", 6, 1);
    host_check(atomic_load(&cpus[1].kicks) == before + 1); // its wait for an interrupt is trapped from now on
    spawn(&tasks[2], "lower", log_name, "m", 5, 1);
    host_check(atomic_load(&cpus[1].kicks) == before + 1);
    join(&tasks[0]);
}

static void the_first_lower_priority_to_wait_kicks_and_the_next_does_not(void **state) {
    (void)state;
    run_on(2, 1, wake_lower_first, NULL);
}

static void wake_twice(void *arg) {
    (void)arg;
    host_check(task_init(&tasks[0], "a", log_name, "a", 5, &cpus[0]) == 0);
    task_wake(&tasks[0]);
    task_wake(&tasks[0]);
    task_wake(task_self()); // runs: nothing to do
    sleep_ns(MS(1));
    expect_ran("a");
    task_wake(&tasks[0]); // dead
    sleep_ns(MS(1));
    expect_ran("a");
}

static void waking_what_is_not_blocked_does_nothing(void **state) {
    (void)state;
    run_on(1, 1, wake_twice, NULL);
}

static void home_checker(void *arg) {
    u32 home = (u32)(uintptr_t)arg;
    for (u32 i = 0; i < 30; i++) {
        host_check(cpu_self()->id == home);
        switch (host_random(3)) {
        case 0:
            sched_yield();
            break;
        case 1:
            sleep_ns(host_random(US(30)));
            break;
        default:
            compute(host_random(US(30)));
        }
    }
}

static void tasks_everywhere(void *arg) {
    (void)arg;
    for (u32 i = 0; i < 8; i++) {
        u32 cpu = (u32)host_random(cpu_count);
        spawn(&tasks[i], "t", home_checker, (void *)(uintptr_t)cpu, (u32)host_random(16), cpu);
    }
    for (u32 i = 0; i < 8; i++)
        join(&tasks[i]);
}

static void a_task_runs_on_its_home_only(void **state) {
    (void)state;
    for_each_seed(seed, 100) run_on(1 + (u32)(seed % 4), seed, tasks_everywhere, NULL);
}

// At any moment the running task has at least the priority of every ready one, once the CPU has looked.
static void priority_checker(void *arg) {
    (void)arg;
    for (u32 i = 0; i < 40; i++) {
        compute(host_random(US(10)));
        const struct cpu *c = cpu_self();
        if (!atomic_load(&c->need_resched))
            host_check(atomic_load(&c->ready_mask) >> task_self()->priority <= 1);
        if (host_random(2))
            sleep_ns(host_random(US(20)));
    }
}

static void tasks_of_all_priorities(void *arg) {
    (void)arg;
    for (u32 i = 0; i < 8; i++)
        spawn(&tasks[i], "t", priority_checker, NULL, (u32)host_random(16), (u32)host_random(cpu_count));
    for (u32 i = 0; i < 8; i++)
        join(&tasks[i]);
}

static void no_ready_task_outranks_the_running_one(void **state) {
    (void)state;
    for_each_seed(seed, 100) run_on(1 + (u32)(seed % 4), seed, tasks_of_all_priorities, NULL);
}

// ── Time ────────────────────────────────────────────────────────────────────────────────────────────────────────────
static void account_time(void *arg) {
    (void)arg;
    u64 work = MS(7);
    u64 idle_before = atomic_load(&cpus[1].idle_ns);
    sleep_ns(MS(3));
    spawn(&tasks[0], "a", compute_long, &work, 5, 1);
    sleep_ns(MS(2));
    u64 half = task_cpu_time_ns(&tasks[0]);
    host_check(half > MS(2) - US(50) && half < MS(2) + US(50)); // counted while it still runs
    join(&tasks[0]);
    u64 all = task_cpu_time_ns(&tasks[0]);
    host_check(all >= MS(7) && all < MS(7) + US(100));
    host_check(atomic_load(&cpus[1].idle_ns) - idle_before >= MS(3));
}

static void cpu_time_is_charged_to_who_ran(void **state) {
    (void)state;
    run_on(2, 1, account_time, NULL);
}

static void the_same_seed_gives_the_same_run(void **state) {
    (void)state;
    u64 trace[3], points[3];
    u64 seeds[] = {7, 7, 8};
    for (u32 i = 0; i < 3; i++) {
        run_on(3, seeds[i], tasks_everywhere, NULL);
        trace[i] = host_trace();
        points[i] = host_points();
    }
    assert_true(trace[0] == trace[1] && points[0] == points[1]);
    assert_true(trace[0] != trace[2]);
}

int main(void) {
#define T(f) cmocka_unit_test_setup(f, fresh)
    const struct CMUnitTest tests[] = {
        T(the_highest_priority_runs_first),
        T(equals_run_in_the_order_of_waking),
        T(a_yield_lets_equals_run_in_turn),
        T(a_yield_does_not_let_a_lower_priority_run),
        T(resched_switches_to_a_higher_priority),
        T(resched_does_not_give_way_to_an_equal_within_the_slice),
        T(a_preempted_task_goes_on_before_its_equals),
        T(equals_share_the_cpu_by_slices),
        T(a_task_alone_takes_no_tick),
        T(a_lower_priority_waiting_arms_no_slice_but_contends),
        T(an_equal_woken_from_another_cpu_starts_the_slice),
        T(the_slice_ends_with_the_company),
        T(equals_stay_fair_under_frequent_preemption),
        T(round_robin_is_fair),
        T(waking_kicks_an_idle_cpu),
        T(waking_preempts_a_lower_priority_on_another_cpu),
        T(the_first_lower_priority_to_wait_kicks_and_the_next_does_not),
        T(waking_what_is_not_blocked_does_nothing),
        T(a_task_runs_on_its_home_only),
        T(no_ready_task_outranks_the_running_one),
        T(cpu_time_is_charged_to_who_ran),
        T(the_same_seed_gives_the_same_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
