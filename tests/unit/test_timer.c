// SPDX-License-Identifier: Apache-2.0
#include "host_test.h"

#include <string.h>

#include "timer.h"

static char fired[64];
static u32 fired_count;

struct named {
    struct timer timer;
    char name;
    u64 at_ns;
    u32 cpu;
    u32 rearm; // times to arm again, at once
};

static void note(struct timer *t) {
    struct named *n = container_of(t, struct named, timer);
    n->at_ns = arch_now_ns();
    n->cpu = cpu_self()->id;
    if (fired_count + 1 < sizeof(fired))
        fired[fired_count] = n->name;
    fired[++fired_count] = '\0';
    if (n->rearm) {
        n->rearm--;
        timer_arm(t, arch_now_ns());
    }
}

static struct named make(char name) {
    struct named n = {.name = name};
    return n;
}

static int fresh(void **state) {
    (void)state;
    host_init(&(struct host_options){.cpus = 1, .seed = 1});
    fired_count = 0;
    memset(fired, 0, sizeof(fired));
    return 0;
}

#define NAMED(var, letter)                                                                                             \
    struct named var = make(letter);                                                                                   \
    timer_init(&var.timer, note)

static void a_timer_fires_once_at_its_deadline(void **state) {
    (void)state;
    NAMED(a, 'a');
    u64 start = arch_now_ns();
    timer_arm(&a.timer, start + US(5));
    host_advance(US(4));
    assert_string_equal(fired, "");
    assert_true(a.timer.armed);
    host_advance(US(100));
    assert_string_equal(fired, "a");
    assert_int_equal(a.at_ns, start + US(5));
    assert_false(a.timer.armed);
}

static void timers_fire_in_the_order_of_their_deadlines(void **state) {
    (void)state;
    NAMED(a, 'a');
    NAMED(b, 'b');
    NAMED(c, 'c');
    timer_arm(&c.timer, US(30));
    timer_arm(&a.timer, US(10));
    timer_arm(&b.timer, US(20));
    host_advance(US(100));
    assert_string_equal(fired, "abc");
    assert_int_equal(b.at_ns, US(20));
}

static void timers_of_one_deadline_fire_in_the_order_of_arming(void **state) {
    (void)state;
    NAMED(a, 'a');
    NAMED(b, 'b');
    NAMED(c, 'c');
    timer_arm(&a.timer, US(10));
    timer_arm(&b.timer, US(10));
    timer_arm(&c.timer, US(10));
    timer_arm(&a.timer, US(10)); // again: goes to the end
    host_advance(US(100));
    assert_string_equal(fired, "bca");
}

static void a_cancelled_timer_does_not_fire(void **state) {
    (void)state;
    NAMED(a, 'a');
    NAMED(b, 'b');
    timer_arm(&a.timer, US(10));
    timer_arm(&b.timer, US(20));
    timer_cancel(&a.timer);
    timer_cancel(&a.timer); // twice is as good as once
    host_advance(US(100));
    assert_string_equal(fired, "b");
}

static void cancelling_a_timer_that_was_never_armed_does_nothing(void **state) {
    (void)state;
    NAMED(a, 'a');
    timer_cancel(&a.timer);
    timer_cancel_sync(&a.timer);
    assert_false(a.timer.armed);
}

static void arming_again_moves_the_deadline(void **state) {
    (void)state;
    NAMED(a, 'a');
    timer_arm(&a.timer, US(10));
    timer_arm(&a.timer, US(50));
    host_advance(US(40));
    assert_string_equal(fired, "");
    timer_arm(&a.timer, US(45));
    host_advance(US(100));
    assert_string_equal(fired, "a");
    assert_int_equal(a.at_ns, US(45));
}

static void arming_for_never_cancels(void **state) {
    (void)state;
    NAMED(a, 'a');
    timer_arm(&a.timer, US(10));
    timer_arm(&a.timer, TIMER_NEVER);
    host_advance(US(100));
    assert_string_equal(fired, "");
}

static void a_deadline_in_the_past_fires_at_the_next_poll(void **state) {
    (void)state;
    NAMED(a, 'a');
    host_advance(US(100));
    timer_arm(&a.timer, US(10));
    assert_string_equal(fired, "");
    arch_irq_poll();
    assert_string_equal(fired, "a");
}

static void a_function_that_arms_its_timer_in_the_past_runs_once_a_poll(void **state) {
    (void)state;
    NAMED(a, 'a');
    a.rearm = 3;
    host_advance(US(100));
    timer_arm(&a.timer, US(10));
    arch_irq_poll();
    assert_string_equal(fired, "a");
    arch_irq_poll();
    assert_string_equal(fired, "aa");
    arch_irq_poll();
    arch_irq_poll();
    arch_irq_poll();
    assert_string_equal(fired, "aaaa");
}

static struct named *victim;
static void cancel_victim(struct timer *t) {
    note(t);
    timer_cancel(&victim->timer);
}

static void a_function_may_cancel_a_timer_that_is_due_as_well(void **state) {
    (void)state;
    struct named a = make('a');
    timer_init(&a.timer, cancel_victim);
    NAMED(b, 'b');
    NAMED(c, 'c');
    victim = &b;
    host_advance(US(100));
    timer_arm(&a.timer, US(10));
    timer_arm(&b.timer, US(11));
    timer_arm(&c.timer, US(12));
    arch_irq_poll();
    assert_string_equal(fired, "ac");
}

static void the_hardware_is_set_to_the_earliest_deadline(void **state) {
    (void)state;
    NAMED(a, 'a');
    NAMED(b, 'b');
    timer_arm(&a.timer, US(50));
    assert_int_equal(cpus[0].arch.timer_deadline_ns, US(50));
    timer_arm(&b.timer, US(20));
    assert_int_equal(cpus[0].arch.timer_deadline_ns, US(20));
    host_advance(US(30));
    assert_int_equal(cpus[0].arch.timer_deadline_ns, US(50));
    host_advance(US(30));
    assert_int_equal(cpus[0].arch.timer_deadline_ns, TIMER_NEVER);
}

// ── Across CPUs ─────────────────────────────────────────────────────────────────────────────────────────────────────
static struct named shared;

// A comparator that latches: its interrupt is up for a deadline that was replaced, until the next one is written.
static void an_interrupt_for_nothing_sets_the_hardware_again(void **state) {
    (void)state;
    struct timer t;
    timer_init(&t, note);
    timer_arm(&t, MS(5));
    cpus[0].arch.timer_deadline_ns = 1; // up
    arch_irq_poll();
    assert_true(cpus[0].arch.timer_deadline_ns == MS(5));
    timer_cancel(&t);
    cpus[0].arch.timer_deadline_ns = 1;
    arch_irq_poll();
    assert_true(cpus[0].arch.timer_deadline_ns == TIMER_NEVER);
    cpus[0].arch.timer_deadline_ns = 1; // nothing is armed, nor was before
    arch_irq_poll();
    assert_true(cpus[0].arch.timer_deadline_ns == TIMER_NEVER);
}

static void rearm_here(void *arg) {
    (void)arg;
    timer_arm(&shared.timer, arch_now_ns() + US(50));
}

static void rearm_elsewhere(void *arg) {
    (void)arg;
    static struct task other;
    shared = make('s');
    timer_init(&shared.timer, note);
    timer_arm(&shared.timer, arch_now_ns() + MS(1));
    spawn(&other, "other", rearm_here, NULL, 8, 1);
    join(&other);
    host_check(shared.timer.cpu == &cpus[1]);
    sleep_ns(MS(2));
    host_check(fired_count == 1);
    host_check(shared.cpu == 1);
}

static void arming_on_another_cpu_moves_the_timer_there(void **state) {
    for_each_seed(seed, 20) {
        (void)fresh(state);
        run_on(2, seed, rearm_elsewhere, NULL);
    }
}

static void cancel_elsewhere(void *arg) {
    (void)arg;
    timer_cancel(&shared.timer);
}

static void cancel_from_other(void *arg) {
    (void)arg;
    static struct task other;
    shared = make('s');
    timer_init(&shared.timer, note);
    timer_arm(&shared.timer, arch_now_ns() + MS(1));
    spawn(&other, "other", cancel_elsewhere, NULL, 8, 1);
    sleep_ns(MS(2));
    host_check(fired_count == 0);
    join(&other);
}

static void a_timer_can_be_cancelled_from_another_cpu(void **state) {
    for_each_seed(seed, 20) {
        (void)fresh(state);
        run_on(2, seed, cancel_from_other, NULL);
    }
}

static _Atomic bool inside;
static _Atomic u32 entered;
static void slow(struct timer *t) {
    inside = true;
    entered++;
    for (int i = 0; i < 20; i++)
        host_point();
    if (entered % 3 == 0)
        timer_arm(t, arch_now_ns());
    inside = false;
}

static _Atomic bool arm_it; // on the other CPU: the function runs where it was armed

static void cancel_repeatedly(void *arg) {
    struct timer *t = arg;
    for (int i = 0; i < 20; i++) {
        arm_it = true;
        while (arm_it)
            arch_cpu_relax();
        host_advance(host_random(US(6)));
        timer_cancel_sync(t);
        u32 before = entered;
        host_check(!inside);
        host_advance(US(10));
        host_check(!inside && entered == before);
    }
}

static void sync_race(void *arg) {
    (void)arg;
    static struct task other;
    static struct timer t;
    timer_init(&t, slow);
    inside = arm_it = false;
    spawn(&other, "other", cancel_repeatedly, &t, 8, 1);
    while (!task_is_gone(&other)) {
        if (arm_it) {
            timer_arm(&t, arch_now_ns() + host_random(US(3)));
            arm_it = false;
        }
        if (host_random(2))
            sleep_ns(US(2));
        sched_yield();
        host_point();
    }
    task_fini(&other);
}

static void after_cancel_sync_the_function_neither_waits_nor_runs(void **state) {
    (void)state;
    for_each_seed(seed, 100) run_on(2, seed, sync_race, NULL);
}

// Every timer fires as often as the model says, whoever arms and cancels it in between.
enum { STORM_TIMERS = 6, STORM_STEPS = 60 };
struct storm {
    struct timer timer;
    u64 armed_ns; // what it was armed for last; 0: not armed
    u32 early, fired;
};
static struct storm storms[4][STORM_TIMERS];

static void storm_fires(struct timer *t) {
    struct storm *s = container_of(t, struct storm, timer);
    s->fired++;
    if (!s->armed_ns || arch_now_ns() < s->armed_ns)
        s->early++;
    s->armed_ns = 0;
}

static void storm_task(void *arg) {
    struct storm *mine = arg;
    for (u32 i = 0; i < STORM_STEPS; i++) {
        struct storm *s = &mine[host_random(STORM_TIMERS)];
        if (host_random(4) == 0) {
            timer_cancel(&s->timer);
            s->armed_ns = 0;
        } else {
            s->armed_ns = 0;
            timer_cancel(&s->timer); // it may fire between the two lines below
            s->armed_ns = arch_now_ns() + host_random(US(20));
            timer_arm(&s->timer, s->armed_ns);
        }
        sched_yield();
    }
    sleep_ns(MS(1));
    for (u32 i = 0; i < STORM_TIMERS; i++) {
        host_check(mine[i].early == 0);
        host_check(mine[i].armed_ns == 0); // what was armed has fired
    }
}

static void storm(void *arg) {
    (void)arg;
    static struct task tasks[4];
    memset(storms, 0, sizeof(storms));
    for (u32 i = 0; i < 4; i++) {
        for (u32 n = 0; n < STORM_TIMERS; n++)
            timer_init(&storms[i][n].timer, storm_fires);
        spawn(&tasks[i], "storm", storm_task, storms[i], 8, i % cpu_count);
    }
    for (u32 i = 0; i < 4; i++)
        join(&tasks[i]);
}

static void timers_never_fire_early_nor_get_lost(void **state) {
    (void)state;
    for_each_seed(seed, 100) run_on(1 + (u32)(seed % 4), seed, storm, NULL);
}

int main(void) {
#define T(f) cmocka_unit_test_setup(f, fresh)
    const struct CMUnitTest tests[] = {
        T(a_timer_fires_once_at_its_deadline),
        T(timers_fire_in_the_order_of_their_deadlines),
        T(timers_of_one_deadline_fire_in_the_order_of_arming),
        T(a_cancelled_timer_does_not_fire),
        T(cancelling_a_timer_that_was_never_armed_does_nothing),
        T(arming_again_moves_the_deadline),
        T(arming_for_never_cancels),
        T(a_deadline_in_the_past_fires_at_the_next_poll),
        T(a_function_that_arms_its_timer_in_the_past_runs_once_a_poll),
        T(a_function_may_cancel_a_timer_that_is_due_as_well),
        T(the_hardware_is_set_to_the_earliest_deadline),
        T(an_interrupt_for_nothing_sets_the_hardware_again),
        T(arming_on_another_cpu_moves_the_timer_there),
        T(a_timer_can_be_cancelled_from_another_cpu),
        T(after_cancel_sync_the_function_neither_waits_nor_runs),
        T(timers_never_fire_early_nor_get_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
