// SPDX-License-Identifier: Apache-2.0
#include "host_test.h"

static int fresh(void **state) {
    (void)state;
    host_init(&(struct host_options){.cpus = 1});
    return 0;
}

static struct board board_of(u32 count) {
    struct board b = {.cpu_count = count};
    for (u32 i = 0; i < count; i++)
        b.cpus[i].hwid = 0x80 + i;
    return b;
}

static void the_boot_cpu_becomes_cpu_0_wherever_the_board_lists_it(void **state) {
    (void)state;
    struct board b = board_of(4);
    smp_init(&b, 0x82);
    assert_int_equal(cpu_count, 4);
    const u64 expected[] = {0x82, 0x80, 0x81, 0x83};
    for (u32 i = 0; i < 4; i++) {
        assert_int_equal(cpus[i].id, i);
        assert_int_equal(cpus[i].hwid, expected[i]);
        assert_int_equal(atomic_load(&cpus[i].online), i == 0);
    }
}

static void a_boot_cpu_that_the_board_does_not_list_is_used_all_the_same(void **state) {
    (void)state;
    struct board b = board_of(2);
    smp_init(&b, 0x99);
    assert_int_equal(cpu_count, 3);
    assert_int_equal(cpus[0].hwid, 0x99);
}

static void a_full_board_with_an_unlisted_boot_cpu_stays_within_the_array(void **state) {
    (void)state;
    struct board b = board_of(BOARD_MAX_CPUS);
    smp_init(&b, 0x9999);
    assert_int_equal(cpu_count, BOARD_MAX_CPUS);
    assert_int_equal(cpus[0].hwid, 0x9999);
}

static void check_online(void *arg) {
    u64 expected = *(u64 *)arg;
    for (u32 i = 0; i < cpu_count; i++)
        host_check(atomic_load(&cpus[i].online) == !!(expected & BIT(i)));
}

static void all_cpus_come_up(void **state) {
    (void)state;
    for_each_seed(seed, 20) {
        u64 all = BITS(7, 0);
        host_init(&(struct host_options){.cpus = 8, .seed = seed});
        assert_int_equal(host_run(check_online, &all), HOST_DONE);
    }
}

static void a_cpu_that_does_not_come_is_left_off_after_a_second(void **state) {
    (void)state;
    u64 expected = BIT(0) | BIT(2);
    host_init(&(struct host_options){.cpus = 3, .cpus_dead = BIT(1)});
    assert_int_equal(host_run(check_online, &expected), HOST_DONE);
    assert_in_range(arch_now_ns(), MS(1000), MS(1010));
}

int main(void) {
#define T(f) cmocka_unit_test_setup(f, fresh)
    const struct CMUnitTest tests[] = {
        T(the_boot_cpu_becomes_cpu_0_wherever_the_board_lists_it),
        T(a_boot_cpu_that_the_board_does_not_list_is_used_all_the_same),
        T(a_full_board_with_an_unlisted_boot_cpu_stays_within_the_array),
        T(all_cpus_come_up),
        T(a_cpu_that_does_not_come_is_left_off_after_a_second),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
