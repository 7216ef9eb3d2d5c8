// SPDX-License-Identifier: Apache-2.0
#include "host_test.h"

#include <string.h>

static struct waitq wq;
static struct task tasks[8];
static bool ready; // under wq.lock
static _Atomic u32 through;

static void wait_for_ready(void *arg) {
    (void)arg;
    waitq_wait(&wq, ready);
    atomic_fetch_add(&through, 1);
}

static void start(void) {
    waitq_init(&wq);
    ready = false;
    through = 0;
}

static void set_ready(void) {
    spin_lock(&wq.lock);
    ready = true;
    spin_unlock(&wq.lock);
}

static void check_no_block(void *arg) {
    (void)arg;
    start();
    ready = true;
    u64 switches = atomic_load(&cpus[0].switches);
    waitq_wait(&wq, ready);
    host_check(atomic_load(&cpus[0].switches) == switches);
}

static void a_condition_that_holds_does_not_block(void **state) {
    (void)state;
    run_on(1, 1, check_no_block, NULL);
}

static void check_all_woken(void *arg) {
    (void)arg;
    start();
    for (u32 i = 0; i < 5; i++)
        spawn(&tasks[i], "w", wait_for_ready, NULL, i, i % cpu_count);
    sleep_ns(US(100));
    host_check(through == 0);
    set_ready();
    waitq_wake(&wq);
    for (u32 i = 0; i < 5; i++)
        join(&tasks[i]);
    host_check(through == 5 && list_empty(&wq.waiters));
}

static void a_wake_up_reaches_all_waiters(void **state) {
    (void)state;
    for_each_seed(seed, 50) run_on(1 + (u32)(seed % 4), seed, check_all_woken, NULL);
}

static void check_spurious(void *arg) {
    (void)arg;
    start();
    spawn(&tasks[0], "w", wait_for_ready, NULL, 5, 0);
    for (u32 i = 0; i < 5; i++) {
        sleep_ns(US(20));
        waitq_wake(&wq);
        task_wake(&tasks[0]); // not even through the queue
    }
    sleep_ns(US(20));
    host_check(through == 0);
    set_ready();
    waitq_wake(&wq);
    join(&tasks[0]);
    host_check(through == 1);
}

static void a_spurious_wake_up_is_absorbed(void **state) {
    (void)state;
    run_on(1, 1, check_spurious, NULL);
}

static void nobody_wakes(void *arg) {
    (void)arg;
    start();
    waitq_wait(&wq, ready);
}

static void waiting_for_what_nobody_does_is_found_as_a_deadlock(void **state) {
    (void)state;
    host_init(&(struct host_options){.cpus = 2, .deadlock_ok = true});
    assert_int_equal(host_run(nobody_wakes, NULL), HOST_DEADLOCK);
}

static void wait_with_lock(void *arg) {
    (void)arg;
    start();
    struct spinlock lock = SPINLOCK_INIT(LOCK_VM);
    spin_lock(&lock);
    waitq_wait(&wq, ready);
}

static void blocking_with_a_lock_held_is_a_bug(void **state) {
    (void)state;
    host_init(&(struct host_options){.cpus = 1, .panic_ok = true});
    assert_int_equal(host_run(wait_with_lock, NULL), HOST_PANIC);
}

// ── Deadlines ───────────────────────────────────────────────────────────────────────────────────────────────────────
static void check_timeout(void *arg) {
    (void)arg;
    start();
    bool timed_out;
    u64 deadline = arch_now_ns() + MS(3);
    waitq_wait_until(&wq, ready, deadline, timed_out);
    host_check(timed_out);
    host_check(arch_now_ns() >= deadline && arch_now_ns() < deadline + US(20));
    host_check(list_empty(&wq.waiters));
}

static void a_wait_ends_at_its_deadline(void **state) {
    (void)state;
    run_on(1, 1, check_timeout, NULL);
}

static void check_past(void *arg) {
    (void)arg;
    start();
    bool timed_out;
    waitq_wait_until(&wq, ready, 0, timed_out);
    host_check(timed_out);
    ready = true;
    waitq_wait_until(&wq, ready, 0, timed_out);
    host_check(!timed_out); // the condition counts first
}

static void a_deadline_in_the_past_does_not_block(void **state) {
    (void)state;
    run_on(1, 1, check_past, NULL);
}

static void make_ready_later(void *arg) {
    sleep_ns(*(u64 *)arg);
    set_ready();
    waitq_wake(&wq);
}

static void check_in_time(void *arg) {
    (void)arg;
    start();
    bool timed_out;
    u64 delay = MS(1), begin = arch_now_ns();
    spawn(&tasks[0], "waker", make_ready_later, &delay, 5, cpu_count - 1);
    waitq_wait_until(&wq, ready, begin + MS(3), timed_out);
    host_check(!timed_out && arch_now_ns() < begin + MS(2));
    join(&tasks[0]);
    sleep_ns(MS(5)); // and the alarm has gone with its stack frame
}

static void a_wake_up_before_the_deadline_ends_the_wait(void **state) {
    (void)state;
    for_each_seed(seed, 50) run_on(1 + (u32)(seed % 3), seed, check_in_time, NULL);
}

static void check_race(void *arg) {
    (void)arg;
    for (u32 i = 0; i < 20; i++) {
        start();
        bool timed_out;
        u64 delay = US(50), deadline = arch_now_ns() + US(40) + host_random(US(30));
        spawn(&tasks[0], "waker", make_ready_later, &delay, 5, cpu_count - 1);
        waitq_wait_until(&wq, ready, deadline, timed_out);
        host_check(timed_out || ready);
        host_check(!timed_out || arch_now_ns() >= deadline);
        host_check(list_empty(&task_self()->wait_node));
        join(&tasks[0]);
    }
}

static void a_wake_up_that_races_with_the_deadline_leaves_nothing_behind(void **state) {
    (void)state;
    for_each_seed(seed, 100) run_on(1 + (u32)(seed % 3), seed, check_race, NULL);
}

// ── Producers and consumers ─────────────────────────────────────────────────────────────────────────────────────────
enum { RING = 4, EACH = 40, PAIRS = 3 };
static struct {
    struct waitq not_empty, not_full;
    struct spinlock lock;
    u32 head, tail;
    u32 slots[RING];
    u32 left; // items that nobody has taken on yet
    u64 sum;
} ring;

static bool try_put(u32 value) {
    spin_lock(&ring.lock);
    bool room = ring.head - ring.tail < RING;
    if (room)
        ring.slots[ring.head++ % RING] = value;
    spin_unlock(&ring.lock);
    return room;
}

static bool try_get(u32 *value) {
    spin_lock(&ring.lock);
    bool any = ring.head != ring.tail;
    if (any)
        *value = ring.slots[ring.tail++ % RING];
    spin_unlock(&ring.lock);
    return any;
}

static void produce(void *arg) {
    u32 base = *(u32 *)arg;
    for (u32 i = 0; i < EACH; i++) {
        waitq_wait(&ring.not_full, try_put(base + i));
        waitq_wake(&ring.not_empty);
        if (host_random(8) == 0)
            sleep_ns(host_random(US(10)));
    }
}

static void consume(void *arg) {
    u64 *sum = arg;
    for (u32 i = 0; i < EACH; i++) {
        u32 value = 0;
        waitq_wait(&ring.not_empty, try_get(&value));
        waitq_wake(&ring.not_full);
        *sum += value;
    }
}

static void produce_and_consume(void *arg) {
    (void)arg;
    static u32 base[PAIRS];
    static u64 sums[PAIRS];
    memset(&ring, 0, sizeof(ring));
    waitq_init(&ring.not_empty);
    waitq_init(&ring.not_full);
    spin_init(&ring.lock, LOCK_TIMER); // below the wait queues: taken inside their conditions
    u64 expected = 0, got = 0;
    for (u32 i = 0; i < PAIRS; i++) {
        sums[i] = 0;
        base[i] = 1000 * i;
        for (u32 n = 0; n < EACH; n++)
            expected += base[i] + n;
        spawn(&tasks[2 * i], "consumer", consume, &sums[i], (u32)host_random(16), (u32)host_random(cpu_count));
        spawn(&tasks[2 * i + 1], "producer", produce, &base[i], (u32)host_random(16), (u32)host_random(cpu_count));
    }
    for (u32 i = 0; i < 2 * PAIRS; i++)
        join(&tasks[i]);
    for (u32 i = 0; i < PAIRS; i++)
        got += sums[i];
    host_check(got == expected);
}

static void no_wake_up_is_lost(void **state) {
    (void)state;
    for_each_seed(seed, 200) run_on(1 + (u32)(seed % 4), seed, produce_and_consume, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_condition_that_holds_does_not_block),
        cmocka_unit_test(a_wake_up_reaches_all_waiters),
        cmocka_unit_test(a_spurious_wake_up_is_absorbed),
        cmocka_unit_test(waiting_for_what_nobody_does_is_found_as_a_deadlock),
        cmocka_unit_test(blocking_with_a_lock_held_is_a_bug),
        cmocka_unit_test(a_wait_ends_at_its_deadline),
        cmocka_unit_test(a_deadline_in_the_past_does_not_block),
        cmocka_unit_test(a_wake_up_before_the_deadline_ends_the_wait),
        cmocka_unit_test(a_wake_up_that_races_with_the_deadline_leaves_nothing_behind),
        cmocka_unit_test(no_wake_up_is_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
