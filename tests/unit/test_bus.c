// SPDX-License-Identifier: Apache-2.0
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "bus.h"

static struct vdev *served;
static struct bus_access seen;
static u32 resets;

static int device_access(struct vdev *dev, struct bus_access *a) {
    served = dev;
    seen = *a;
    a->value = 42;
    return 0;
}

static int broken_access(struct vdev *dev, struct bus_access *a) {
    (void)dev;
    (void)a;
    return -EFAULT;
}

static void device_reset(struct vdev *dev) {
    (void)dev;
    resets++;
}

static struct bus bus;
static struct vdev low, mid, high, broken;

static int setup(void **state) {
    (void)state;
    low = (struct vdev){"low", NULL, gpa(0x1000), 0x1000, device_access, device_reset};
    mid = (struct vdev){"mid", NULL, gpa(0x2000), 0x200, device_access, NULL};
    high = (struct vdev){"high", NULL, gpa(0ull - 0x1000), 0x1000, device_access, device_reset};
    broken = (struct vdev){"broken", NULL, gpa(0x8000), 0x10, broken_access, NULL};
    served = NULL;
    resets = 0;
    bus_init(&bus);
    return bus_add(&bus, &mid) || bus_add(&bus, &high) || bus_add(&bus, &low) || bus_add(&bus, &broken);
}

static int access_at(u64 at, u8 size) {
    struct bus_access a = {.size = size, .offset = 77};
    served = NULL;
    return bus_access(&bus, gpa(at), &a);
}

static void an_access_reaches_its_device_with_its_offset(void **state) {
    (void)state;
    assert_int_equal(access_at(0x2104, 4), 0);
    assert_ptr_equal(served, &mid);
    assert_int_equal(seen.offset, 0x104);
    assert_int_equal(access_at(0x1ff8, 8), 0);
    assert_ptr_equal(served, &low);
    assert_int_equal(seen.offset, 0xff8);
    assert_int_equal(access_at(0ull - 1, 1), 0);
    assert_ptr_equal(served, &high);
    assert_int_equal(seen.offset, 0xfff);
}

static void alternating_between_devices_works(void **state) {
    (void)state;
    for (u32 i = 0; i < 10; i++) {
        assert_int_equal(access_at(0x1000 + i * 4, 4), 0);
        assert_ptr_equal(served, &low);
        assert_int_equal(access_at(0x2000 + i * 4, 4), 0);
        assert_ptr_equal(served, &mid);
    }
}

static void nothing_answers_between_devices(void **state) {
    (void)state;
    static const u64 holes[] = {0, 0xfff, 0x2200, 0x7fff, 0x8010, 0ull - 0x1001};
    for (u32 i = 0; i < ARRAY_SIZE(holes); i++) {
        assert_int_equal(access_at(holes[i], 1), -ENODEV);
        assert_null(served);
    }
}

static void an_empty_bus_has_nothing(void **state) {
    (void)state;
    bus_init(&bus);
    assert_int_equal(access_at(0x1000, 4), -ENODEV);
}

static void misaligned_accesses_do_not_reach_a_device(void **state) {
    (void)state;
    assert_int_equal(access_at(0x1002, 4), -EINVAL); // not the device of the last access
    assert_int_equal(access_at(0x1000, 4), 0);
    assert_int_equal(access_at(0x1002, 4), -EINVAL); // the device of the last access
    assert_int_equal(access_at(0x1ffc, 8), -EINVAL);
    assert_int_equal(access_at(0x1fff, 2), -EINVAL);
    assert_null(served);
}

static void a_devices_error_is_passed_on(void **state) {
    (void)state;
    assert_int_equal(access_at(0x8000, 4), -EFAULT);
}

static void overlapping_and_malformed_devices_are_refused(void **state) {
    (void)state;
    struct vdev d = {"d", NULL, gpa(0x1800), 0x1000, device_access, NULL};
    assert_int_equal(bus_add(&bus, &d), -EEXIST);
    d.base = gpa(0x800);
    assert_int_equal(bus_add(&bus, &d), -EEXIST);
    d.base = gpa(0x21f8);
    assert_int_equal(bus_add(&bus, &d), -EEXIST);
    d.base = gpa(0x3004);
    assert_int_equal(bus_add(&bus, &d), -EINVAL);
    d = (struct vdev){"d", NULL, gpa(0x3000), 0, device_access, NULL};
    assert_int_equal(bus_add(&bus, &d), -EINVAL);
    d = (struct vdev){"d", NULL, gpa(0ull - 0x800), 0x1000, device_access, NULL};
    assert_int_equal(bus_add(&bus, &d), -EINVAL);
    assert_int_equal(bus.count, 4);
}

static void a_full_bus_says_so(void **state) {
    (void)state;
    static struct vdev many[BUS_MAX_DEVICES];
    bus_init(&bus);
    for (u32 i = 0; i < BUS_MAX_DEVICES; i++) {
        many[i] = (struct vdev){"d", NULL, gpa(i * 0x1000), 0x1000, device_access, NULL};
        assert_int_equal(bus_add(&bus, &many[i]), 0);
    }
    assert_int_equal(bus_add(&bus, &high), -ENOSPC);
}

static void a_removed_device_is_gone(void **state) {
    (void)state;
    assert_int_equal(access_at(0x8000, 4), -EFAULT);
    assert_ptr_equal(bus_remove(&bus, broken_access), &broken);
    assert_int_equal(access_at(0x8000, 4), -ENODEV);
    assert_null(bus_remove(&bus, broken_access));
    assert_int_equal(access_at(0x1000, 4), 0);
    while (bus_remove(&bus, device_access))
        ;
    assert_int_equal(access_at(0x1000, 4), -ENODEV);
}

static void reset_reaches_each_device_that_has_one(void **state) {
    (void)state;
    bus_reset(&bus);
    assert_int_equal(resets, 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(an_access_reaches_its_device_with_its_offset, setup),
        cmocka_unit_test_setup(alternating_between_devices_works, setup),
        cmocka_unit_test_setup(nothing_answers_between_devices, setup),
        cmocka_unit_test_setup(an_empty_bus_has_nothing, setup),
        cmocka_unit_test_setup(misaligned_accesses_do_not_reach_a_device, setup),
        cmocka_unit_test_setup(a_devices_error_is_passed_on, setup),
        cmocka_unit_test_setup(overlapping_and_malformed_devices_are_refused, setup),
        cmocka_unit_test_setup(a_full_bus_says_so, setup),
        cmocka_unit_test_setup(a_removed_device_is_gone, setup),
        cmocka_unit_test_setup(reset_reaches_each_device_that_has_one, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
