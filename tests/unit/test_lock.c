// SPDX-License-Identifier: Apache-2.0
#include "host_test.h"

#include <string.h>

#include "lock.h"

static struct spinlock low = SPINLOCK_INIT(LOCK_VM), high = SPINLOCK_INIT(LOCK_RUNQ), same = SPINLOCK_INIT(LOCK_VM);

static int fresh(void **state) {
    (void)state;
    host_init(&(struct host_options){.cpus = 1});
    spin_init(&low, LOCK_VM);
    spin_init(&same, LOCK_VM);
    spin_init(&high, LOCK_RUNQ);
    return 0;
}

static void a_lock_is_held_from_lock_to_unlock(void **state) {
    (void)state;
    assert_false(spin_is_locked(&low));
    spin_lock(&low);
    assert_true(spin_is_locked(&low));
    spin_unlock(&low);
    assert_false(spin_is_locked(&low));
}

static void a_lock_survives_the_wrap_of_its_tickets(void **state) {
    (void)state;
    atomic_store(&low.next, ~0u);
    atomic_store(&low.owner, ~0u);
    for (int i = 0; i < 3; i++) {
        spin_lock(&low);
        assert_true(spin_is_locked(&low));
        spin_unlock(&low);
    }
    assert_false(spin_is_locked(&low));
}

static void rising_ranks_nest(void **state) {
    (void)state;
    spin_lock(&low);
    spin_lock(&high);
    spin_unlock(&low); // not in the order of taking
    spin_unlock(&high);
}

static void take_falling(void *arg) {
    (void)arg;
    spin_lock(&high);
    spin_lock(&low);
}

static void taking_a_lower_rank_is_a_bug(void **state) {
    (void)state;
    assert_true(host_panics(take_falling, NULL));
    assert_non_null(strstr(host_panic_text(), "lock order"));
}

static void take_same(void *arg) {
    (void)arg;
    spin_lock(&low);
    spin_lock(&same);
}

static void taking_two_of_a_rank_is_a_bug(void **state) {
    (void)state;
    assert_true(host_panics(take_same, NULL));
}

static void drop_unheld(void *arg) {
    (void)arg;
    spin_unlock(&low);
}

static void dropping_a_lock_that_is_not_held_is_a_bug(void **state) {
    (void)state;
    assert_true(host_panics(drop_unheld, NULL));
}

static void take_uninitialised(void *arg) {
    (void)arg;
    struct spinlock lock = {0};
    spin_lock(&lock);
}

static void taking_a_lock_without_a_rank_is_a_bug(void **state) {
    (void)state;
    assert_true(host_panics(take_uninitialised, NULL));
}

// ── Exclusion and fairness ──────────────────────────────────────────────────────────────────────────────────────────
static struct {
    struct spinlock lock;
    bool inside;
    u32 entered[4];
    bool stop;
} critical;

static void enter_often(void *arg) {
    u32 who = (u32)(uintptr_t)arg;
    while (!critical.stop) {
        spin_lock(&critical.lock);
        host_check(!critical.inside);
        critical.inside = true;
        for (u64 i = host_random(4); i; i--)
            host_point();
        critical.inside = false;
        critical.entered[who]++;
        critical.stop |= critical.entered[who] == 100;
        spin_unlock(&critical.lock);
    }
}

static void contend(void *arg) {
    (void)arg;
    static struct task tasks[4];
    memset(&critical, 0, sizeof(critical));
    spin_init(&critical.lock, LOCK_VM);
    for (u32 i = 0; i < 4; i++)
        spawn(&tasks[i], "t", enter_often, (void *)(uintptr_t)i, 5, i);
    for (u32 i = 0; i < 4; i++)
        join(&tasks[i]);
    for (u32 i = 0; i < 4; i++)
        host_check(critical.entered[i] > 50); // tickets: nobody is passed over
}

static void one_cpu_at_a_time_is_inside_and_each_gets_its_turn(void **state) {
    (void)state;
    for_each_seed(seed, 50) run_on(4, seed, contend, NULL);
}

int main(void) {
#define T(f) cmocka_unit_test_setup(f, fresh)
    const struct CMUnitTest tests[] = {
        T(a_lock_is_held_from_lock_to_unlock),
        T(a_lock_survives_the_wrap_of_its_tickets),
        T(rising_ranks_nest),
        T(taking_a_lower_rank_is_a_bug),
        T(taking_two_of_a_rank_is_a_bug),
        T(dropping_a_lock_that_is_not_held_is_a_bug),
        T(taking_a_lock_without_a_rank_is_a_bug),
        T(one_cpu_at_a_time_is_inside_and_each_gets_its_turn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
