// SPDX-License-Identifier: Apache-2.0
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "../bare_vm.h"
#include "arch.h"
#include "vimsic.h"
#include "vm.h"
#include "vplic.h"

enum { VCPUS = 2, BASE = 0x28000000, IDS = 255, EIDELIVERY = 0x70, EITHRESHOLD = 0x72, EIP = 0x80, EIE = 0xc0 };

static struct vm vm;
static struct vcpu vcpus[VCPUS];
static struct vimsic *imsic;
static u32 kicks[VCPUS];

void vcpu_kick(struct vcpu *v) {
    kicks[v->id]++;
}

bool arch_irq_level(struct vcpu *v, u32 ppi) {
    (void)v;
    (void)ppi;
    return false;
}

static int setup(void **state) {
    (void)state;
    bare_vm(&vm, vcpus, VCPUS);
    memset(kicks, 0, sizeof(kicks));
    if (vplic_create_lines(&vm) != 0)
        return -1;
    imsic = vimsic_create(&vm, gpa(BASE), IDS);
    return imsic == NULL;
}

static int teardown(void **state) {
    (void)state;
    vimsic_destroy(imsic);
    vplic_destroy(&vm);
    return vm.bus.count != 0 || vm.irqchip != NULL;
}

static int store(u64 offset, u8 size, u64 value) {
    struct bus_access a = {.vcpu = &vcpus[0], .size = size, .write = true, .value = value};
    return bus_access(&vm.bus, gpa(BASE + offset), &a);
}

static u64 csr(u32 v, u64 select, enum vimsic_op op, u64 value) {
    u64 old = 0xdead;
    assert_int_equal(vimsic_access(imsic, &vcpus[v], select, op, value, &old), 0);
    return old;
}

static u64 get(u32 v, u64 select) {
    return csr(v, select, VIMSIC_READ, ~0ull);
}

static void put(u32 v, u64 select, u64 value) {
    (void)csr(v, select, VIMSIC_WRITE, value);
}

static void use_all(u32 v) {
    put(v, EIDELIVERY, 1);
    for (u32 i = 0; i < 4; i++)
        put(v, EIE + 2 * i, ~0ull);
}

// As on the way into the guest; is its external interrupt up?
static bool up(u32 v) {
    if (vcpus[v].irq_work) {
        vplic_ops.flush(&vcpus[v]);
        vimsic_flush(imsic, &vcpus[v]);
    }
    return vplic_cpuif(&vcpus[v])->levels & BIT(VPLIC_SEI);
}

static u64 claim(u32 v) {
    return vimsic_topei(imsic, &vcpus[v], true);
}

static void a_message_interrupts_its_hart_until_it_is_claimed(void **state) {
    (void)state;
    use_all(1);
    assert_int_equal(store(PAGE_SIZE, 4, 77), 0);
    assert_int_equal(kicks[1], 1);
    assert_true(up(1));
    assert_false(up(0));
    assert_int_equal(vimsic_topei(imsic, &vcpus[1], false), 77 << 16 | 77);
    assert_int_equal(claim(1), 77 << 16 | 77);
    assert_false(up(1));
    assert_int_equal(claim(1), 0);
}

static void the_lowest_identity_comes_first(void **state) {
    (void)state;
    use_all(0);
    static const u32 sent[] = {200, 3, 64, 255, 63, 1};
    for (u32 i = 0; i < ARRAY_SIZE(sent); i++)
        vimsic_send(imsic, 0, sent[i]);
    static const u32 due[] = {1, 3, 63, 64, 200, 255, 0};
    for (u32 i = 0; i < ARRAY_SIZE(due); i++)
        assert_int_equal(claim(0), due[i] << 16 | due[i]);
}

static void what_is_sent_twice_before_it_is_claimed_comes_once(void **state) {
    (void)state;
    use_all(0);
    vimsic_send(imsic, 0, 9);
    vimsic_send(imsic, 0, 9);
    assert_int_equal(kicks[0], 1);
    assert_int_equal(claim(0) >> 16, 9);
    assert_false(up(0));
    vimsic_send(imsic, 0, 9);
    assert_int_equal(kicks[0], 2);
    assert_true(up(0));
}

static void identities_and_harts_that_do_not_exist_are_ignored(void **state) {
    (void)state;
    use_all(0);
    use_all(1);
    vimsic_send(imsic, 0, 0);
    vimsic_send(imsic, 0, IDS + 1);
    vimsic_send(imsic, 0, ~0u);
    vimsic_send(imsic, VCPUS, 5);
    vimsic_send(imsic, ~0u, 5);
    assert_int_equal(kicks[0] + kicks[1], 0);
    assert_false(up(0) || up(1));
}

static void a_message_waits_until_it_is_enabled_and_delivered(void **state) {
    (void)state;
    vimsic_send(imsic, 0, 70);
    assert_false(up(0));
    assert_int_equal(get(0, EIP + 2), BIT(6));
    assert_int_equal(csr(0, EIE + 2, VIMSIC_SET, BIT(6)), 0);
    assert_false(up(0));
    assert_int_equal(vimsic_topei(imsic, &vcpus[0], false) >> 16, 70); // whether delivered or not
    put(0, EIDELIVERY, 1);
    assert_true(up(0));
    assert_int_equal(csr(0, EIE + 2, VIMSIC_CLEAR, BIT(6)), BIT(6));
    assert_false(up(0));
    put(0, EIE + 2, BIT(6));
    put(0, EIDELIVERY, 0);
    assert_false(up(0));
}

static void the_threshold_holds_back_itself_and_what_is_above(void **state) {
    (void)state;
    use_all(0);
    put(0, EITHRESHOLD, 20);
    vimsic_send(imsic, 0, 20);
    assert_false(up(0));
    assert_int_equal(claim(0), 0);
    vimsic_send(imsic, 0, 19);
    assert_int_equal(claim(0) >> 16, 19);
    put(0, EITHRESHOLD, 0);
    assert_int_equal(claim(0) >> 16, 20);
}

static void software_may_write_the_pending_bits(void **state) {
    (void)state;
    use_all(0);
    put(0, EIP, ~0ull);
    assert_int_equal(get(0, EIP), ~1ull); // there is no identity 0
    assert_true(up(0));
    assert_int_equal(csr(0, EIP, VIMSIC_CLEAR, ~0ull), ~1ull);
    assert_false(up(0));
    (void)csr(0, EIP, VIMSIC_SET, BIT(5));
    assert_int_equal(claim(0) >> 16, 5);
}

static void registers_keep_what_they_have_and_no_more(void **state) {
    (void)state;
    put(0, EIDELIVERY, ~0ull);
    assert_int_equal(get(0, EIDELIVERY), 1);
    put(0, EITHRESHOLD, ~0ull);
    assert_int_equal(get(0, EITHRESHOLD), 255);
    for (u64 select = EIP; select <= VIMSIC_LAST; select += 2) {
        put(0, select, ~0ull);
        const u64 word = select % 0x40 / 2;
        assert_int_equal(get(0, select), word == 0 ? ~1ull : word < 4 ? ~0ull : 0);
    }
    assert_int_equal(get(1, EIE), 0); // the other hart's are its own
}

static void there_are_no_other_registers(void **state) {
    (void)state;
    static const u64 none[] = {0, 0x30, 0x6f, 0x71, 0x73, 0x7f, 0x81, 0xbf, 0xc1, 0xff, 0x100, ~0ull};
    for (u32 i = 0; i < ARRAY_SIZE(none); i++) {
        u64 old;
        assert_int_equal(vimsic_access(imsic, &vcpus[0], none[i], VIMSIC_WRITE, 1, &old), -EINVAL);
    }
}

static void a_page_takes_words_and_reads_as_zero(void **state) {
    (void)state;
    use_all(0);
    assert_int_equal(store(0, 8, 5), -EFAULT);
    assert_int_equal(store(0, 1, 5), -EFAULT);
    assert_int_equal(store(4, 4, 5), 0); // seteipnum_be
    assert_int_equal(store(0xffc, 4, 5), 0);
    assert_false(up(0));
    assert_int_equal(store(0, 4, 5), 0);
    assert_true(up(0));
    struct bus_access a = {.size = 4, .value = ~0ull};
    assert_int_equal(bus_access(&vm.bus, gpa(BASE), &a), 0);
    assert_int_equal(a.value, 0);
    assert_int_equal(store(VCPUS * PAGE_SIZE, 4, 5), -ENODEV);
}

static void a_sleeper_wakes_for_what_it_has_enabled(void **state) {
    (void)state;
    use_all(0);
    struct vplic_cpuif *cif = vplic_cpuif(&vcpus[0]);
    atomic_store(&cif->enabled, BIT(VPLIC_SEI));
    assert_false(vimsic_ready(imsic, &vcpus[0]));
    vimsic_send(imsic, 0, 4);
    assert_true(vimsic_ready(imsic, &vcpus[0]));
    atomic_store(&cif->enabled, BIT(VPLIC_STI));
    assert_false(vimsic_ready(imsic, &vcpus[0]));
}

static void a_restart_forgets_and_a_vcpu_reset_does_not(void **state) {
    (void)state;
    use_all(0);
    vimsic_send(imsic, 0, 4);
    vplic_ops.vcpu_reset(&vcpus[0]);
    assert_true(up(0));
    bus_reset(&vm.bus);
    vplic_ops.reset(&vm);
    assert_false(up(0));
    assert_int_equal(get(0, EIP), 0);
    assert_int_equal(get(0, EIE), 0);
    assert_int_equal(get(0, EIDELIVERY), 0);
}

static void without_memory_or_room_there_is_none_and_nothing_is_left(void **state) {
    (void)state;
    assert_null(vimsic_create(&vm, gpa(BASE), IDS)); // in the way: the first one
    assert_int_equal(vm.bus.count, 1);
    vimsic_destroy(NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_message_interrupts_its_hart_until_it_is_claimed),
        TEST(the_lowest_identity_comes_first),
        TEST(what_is_sent_twice_before_it_is_claimed_comes_once),
        TEST(identities_and_harts_that_do_not_exist_are_ignored),
        TEST(a_message_waits_until_it_is_enabled_and_delivered),
        TEST(the_threshold_holds_back_itself_and_what_is_above),
        TEST(software_may_write_the_pending_bits),
        TEST(registers_keep_what_they_have_and_no_more),
        TEST(there_are_no_other_registers),
        TEST(a_page_takes_words_and_reads_as_zero),
        TEST(a_sleeper_wakes_for_what_it_has_enabled),
        TEST(a_restart_forgets_and_a_vcpu_reset_does_not),
        TEST(without_memory_or_room_there_is_none_and_nothing_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
