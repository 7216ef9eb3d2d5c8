// SPDX-License-Identifier: Apache-2.0
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "../bare_vm.h"
#include "arch.h"
#include "vexit.h"
#include "vm.h"
#include "vplic.h"

enum { VCPUS = 2, BASE = 0xc000000, UART = 10, DISK = 40, NET = 95, S0 = 1, S1 = 3, M0 = 0 };

static struct vm vm;
static struct vcpu vcpus[VCPUS];
static u32 kicks[VCPUS];
static bool timer_level;

void vcpu_kick(struct vcpu *v) {
    kicks[v->id]++;
}

bool arch_irq_level(struct vcpu *v, u32 ppi) {
    (void)v;
    assert_int_equal(ppi, VPLIC_STI);
    return timer_level;
}

static int setup(void **state) {
    (void)state;
    bare_vm(&vm, vcpus, VCPUS);
    memset(kicks, 0, sizeof(kicks));
    timer_level = false;
    return vplic_create(&vm, gpa(BASE));
}

static int teardown(void **state) {
    (void)state;
    vplic_destroy(&vm);
    return vm.bus.count != 0 || vm.irqchip != NULL || vcpus[0].irqchip != NULL;
}

static int access_by(u32 vcpu, u32 offset, u8 size, bool write, u64 *value) {
    struct bus_access a = {.vcpu = &vcpus[vcpu], .size = size, .write = write, .value = *value};
    const int err = bus_access(&vm.bus, gpa(BASE + offset), &a);
    *value = a.value;
    return err;
}

static u32 get(u32 offset) {
    u64 value = ~0ull;
    assert_int_equal(access_by(0, offset, 4, false, &value), 0);
    return (u32)value;
}

static void put(u32 offset, u32 value) {
    u64 v = value;
    assert_int_equal(access_by(0, offset, 4, true, &v), 0);
}

static u32 priority(u32 id) {
    return 4 * id;
}
static u32 enable(u32 context, u32 id) {
    return 0x2000 + 0x80 * context + id / 32 * 4;
}
static u32 threshold(u32 context) {
    return 0x200000 + 0x1000 * context;
}
static u32 claim(u32 context) {
    return threshold(context) + 4;
}

static void use(u32 context, u32 id, u32 level) {
    put(priority(id), level);
    put(enable(context, id), get(enable(context, id)) | 1u << id % 32);
}

// The line as the architecture sees it at the next entry.
static bool seip(u32 n) {
    if (vcpus[n].irq_work)
        vplic_ops.flush(&vcpus[n]);
    return vplic_cpuif(&vcpus[n])->levels & BIT(VPLIC_SEI);
}

static void raise(u32 id, bool level) {
    irqchip_set(&vm, id, level);
}

// ── Sources ─────────────────────────────────────────────────────────────────────────────────────────────────────────

static void a_source_reaches_the_context_that_has_it_enabled(void **state) {
    (void)state;
    use(S1, UART, 1);
    kicks[0] = kicks[1] = 0;
    raise(UART, true);
    assert_false(seip(0));
    assert_true(seip(1));
    assert_int_equal(kicks[0], 0);
    assert_int_equal(kicks[1], 1);
    assert_int_equal(get(claim(S0)), 0);
    assert_int_equal(get(claim(S1)), UART);
}

static void nothing_comes_without_priority_or_enable(void **state) {
    (void)state;
    put(enable(S0, UART), 1u << UART);
    raise(UART, true);
    assert_false(seip(0));
    assert_int_equal(get(claim(S0)), 0);
    assert_int_equal(get(0x1000), 1u << UART);
    put(priority(UART), 1);
    assert_true(seip(0));
    put(enable(S0, UART), 0);
    assert_false(seip(0));
    put(enable(S0, UART), 1u << UART);
    assert_true(seip(0));
}

static void a_claim_takes_the_line_down_until_completion(void **state) {
    (void)state;
    use(S0, UART, 1);
    raise(UART, true);
    assert_true(seip(0));
    assert_int_equal(get(claim(S0)), UART);
    assert_false(seip(0));
    assert_int_equal(get(claim(S0)), 0);
    assert_int_equal(get(0x1000), 0);
    raise(UART, false);
    put(claim(S0), UART);
    assert_false(seip(0));
}

static void a_level_that_stays_is_pending_again_at_completion(void **state) {
    (void)state;
    use(S0, UART, 1);
    raise(UART, true);
    assert_int_equal(get(claim(S0)), UART);
    raise(UART, true);
    assert_false(seip(0));
    put(claim(S0), UART);
    assert_true(seip(0));
    assert_int_equal(get(claim(S0)), UART);
}

static void a_level_that_comes_back_while_claimed_waits_for_completion(void **state) {
    (void)state;
    use(S0, UART, 1);
    raise(UART, true);
    assert_int_equal(get(claim(S0)), UART);
    raise(UART, false);
    raise(UART, true);
    assert_false(seip(0));
    put(claim(S0), UART);
    assert_true(seip(0));
}

static void a_request_once_passed_on_stays_when_the_level_falls(void **state) {
    (void)state;
    use(S0, UART, 1);
    raise(UART, true);
    raise(UART, false);
    assert_true(seip(0));
    assert_int_equal(get(claim(S0)), UART);
    put(claim(S0), UART);
    assert_false(seip(0));
}

static void completion_counts_only_for_an_enabled_source(void **state) {
    (void)state;
    use(S0, UART, 1);
    raise(UART, true);
    assert_int_equal(get(claim(S0)), UART);
    put(claim(S1), UART);
    put(claim(S0), UART + 1);
    put(claim(S0), 96);
    put(claim(S0), ~0u);
    assert_false(seip(0));
    put(claim(S0), UART);
    assert_true(seip(0));
}

static void the_higher_priority_is_claimed_first_then_the_lower_number(void **state) {
    (void)state;
    use(S0, UART, 2);
    use(S0, DISK, 3);
    use(S0, NET, 3);
    raise(UART, true);
    raise(NET, true);
    raise(DISK, true);
    assert_int_equal(get(claim(S0)), DISK);
    assert_int_equal(get(claim(S0)), NET);
    assert_int_equal(get(claim(S0)), UART);
    assert_int_equal(get(claim(S0)), 0);
}

static void the_threshold_holds_the_line_but_not_the_claim(void **state) {
    (void)state;
    use(S0, UART, 2);
    put(threshold(S0), 2);
    raise(UART, true);
    assert_false(seip(0));
    put(threshold(S0), 1);
    assert_true(seip(0));
    put(threshold(S0), 7);
    assert_false(seip(0));
    assert_int_equal(get(claim(S0)), UART);
}

static void a_source_for_two_harts_is_claimed_by_one(void **state) {
    (void)state;
    use(S0, UART, 1);
    use(S1, UART, 1);
    raise(UART, true);
    assert_true(seip(0));
    assert_true(seip(1));
    assert_int_equal(get(claim(S1)), UART);
    assert_false(seip(0));
    assert_false(seip(1));
    assert_int_equal(get(claim(S0)), 0);
}

static void a_machine_context_has_registers_and_no_wire(void **state) {
    (void)state;
    use(M0, UART, 1);
    raise(UART, true);
    assert_false(seip(0));
    assert_false(seip(1));
    assert_int_equal(get(claim(M0)), UART);
    put(claim(M0), UART);
    assert_int_equal(get(claim(M0)), UART);
}

// ── Registers ───────────────────────────────────────────────────────────────────────────────────────────────────────

static void registers_keep_the_bits_that_there_are(void **state) {
    (void)state;
    for (u32 id = 0; id < 128; id++) {
        put(priority(id), ~0u);
        assert_int_equal(get(priority(id)), id >= 1 && id <= VPLIC_SOURCES ? 7 : 0);
    }
    for (u32 n = 0; n < 32; n++) {
        put(0x2080 + 4 * n, ~0u);
        assert_int_equal(get(0x2080 + 4 * n), n == 0 ? 0xfffffffe : n < 3 ? 0xffffffff : 0);
        put(0x1000 + 4 * n, ~0u);
        assert_int_equal(get(0x1000 + 4 * n), 0);
    }
    put(threshold(S0), ~0u);
    assert_int_equal(get(threshold(S0)), 7);
}

static void contexts_that_are_not_there_read_as_zero(void **state) {
    (void)state;
    for (u32 context = 2 * VCPUS; context < 1024; context += 31) {
        put(enable(context, UART), ~0u);
        put(threshold(context), ~0u);
        put(claim(context), UART);
        assert_int_equal(get(enable(context, UART)), 0);
        assert_int_equal(get(threshold(context)), 0);
        assert_int_equal(get(claim(context)), 0);
    }
}

static void only_words_are_served(void **state) {
    (void)state;
    u64 value = 0;
    for (u8 size = 1; size <= 8; size *= 2) {
        const int want = size == 4 ? 0 : -EFAULT;
        assert_int_equal(access_by(0, claim(S0) & ~7u, size, false, &value), want);
        assert_int_equal(access_by(0, 0x2000, size, true, &value), want);
    }
}

static void any_word_of_the_range_bears_reading_and_writing(void **state) {
    (void)state;
    for (u32 offset = 0; offset < VPLIC_SIZE; offset += 4) {
        put(offset, 0xffffffff);
        (void)get(offset);
    }
    raise(0, true);
    raise(96, true);
    raise(~0u, true);
    assert_int_equal(get(0x1000), 0);
}

// ── Private lines ───────────────────────────────────────────────────────────────────────────────────────────────────

static void a_software_interrupt_is_posted_once_to_each_that_is_named(void **state) {
    (void)state;
    (void)seip(0);
    (void)seip(1);
    vplic_cpuif(&vcpus[0])->dirty = vplic_cpuif(&vcpus[1])->dirty = false;
    vplic_ops.ipi(&vcpus[0], &(struct vexit){.value = 3ull | 1ull << 40});
    assert_int_equal(kicks[0], 0); // the sender looks anyway
    assert_int_equal(kicks[1], 1);
    for (u32 n = 0; n < VCPUS; n++) {
        assert_true(vcpus[n].irq_work);
        (void)seip(n);
        assert_true(vplic_cpuif(&vcpus[n])->soft && vplic_cpuif(&vcpus[n])->dirty);
        vplic_cpuif(&vcpus[n])->soft = false; // taken over
        vplic_ops.flush(&vcpus[n]);
        assert_false(vplic_cpuif(&vcpus[n])->soft);
    }
}

static void the_timer_line_is_a_level(void **state) {
    (void)state;
    vplic_ops.set_ppi(&vcpus[1], VPLIC_STI, true);
    vplic_ops.set_ppi(&vcpus[1], VPLIC_STI, true);
    vplic_ops.set_ppi(&vcpus[1], 31, true);
    assert_int_equal(kicks[1], 1);
    (void)seip(1);
    assert_int_equal(vplic_cpuif(&vcpus[1])->levels, BIT(VPLIC_STI));
    vplic_ops.set_ppi(&vcpus[1], VPLIC_STI, false);
    assert_int_equal(kicks[1], 1);
    (void)seip(1);
    assert_int_equal(vplic_cpuif(&vcpus[1])->levels, 0);
}

static void a_halted_vcpu_wakes_for_what_it_has_enabled(void **state) {
    (void)state;
    struct vplic_cpuif *c = vplic_cpuif(&vcpus[0]);
    use(S0, UART, 1);
    raise(UART, true);
    c->enabled = BIT(VPLIC_STI) | BIT(VPLIC_SSI);
    assert_false(vplic_ops.ready(&vcpus[0]));
    timer_level = true;
    assert_true(vplic_ops.ready(&vcpus[0]));
    c->enabled = BIT(VPLIC_SEI);
    timer_level = false;
    assert_true(vplic_ops.ready(&vcpus[0]));
    raise(UART, false);
    assert_int_equal(get(claim(S0)), UART);
    assert_false(vplic_ops.ready(&vcpus[0]));
    vplic_ops.ipi(&vcpus[1], &(struct vexit){.value = 1});
    assert_false(vplic_ops.ready(&vcpus[0]));
    c->enabled = BIT(VPLIC_SSI);
    assert_true(vplic_ops.ready(&vcpus[0]));
}

static void reset_forgets_all_but_the_levels_of_the_lines(void **state) {
    (void)state;
    use(S0, UART, 1);
    use(S0, DISK, 1);
    raise(UART, true);
    raise(DISK, true);
    raise(DISK, false);
    assert_int_equal(get(claim(S0)), UART);
    vplic_ops.set_ppi(&vcpus[0], VPLIC_STI, true);
    vplic_ops.reset(&vm);
    assert_false(seip(0));
    assert_int_equal(vplic_cpuif(&vcpus[0])->levels, 0);
    assert_int_equal(get(priority(UART)), 0);
    assert_int_equal(get(enable(S0, UART)), 0);
    assert_int_equal(get(0x1000), 1u << UART);
    assert_int_equal(get(0x1004), 0);
    use(S0, UART, 1);
    assert_true(seip(0));
}

static void a_hart_that_starts_has_no_software_interrupt_and_keeps_its_context(void **state) {
    (void)state;
    use(S1, UART, 1);
    raise(UART, true);
    vplic_ops.ipi(&vcpus[0], &(struct vexit){.value = 2});
    (void)seip(1);
    vplic_ops.ipi(&vcpus[0], &(struct vexit){.value = 2});
    vplic_ops.vcpu_reset(&vcpus[1]);
    assert_true(seip(1));
    assert_false(vplic_cpuif(&vcpus[1])->soft);
}

static void what_is_busy_is_described(void **state) {
    (void)state;
    char text[128];
    use(S0, UART, 1);
    raise(UART, true);
    (void)get(claim(S0));
    const size_t n = vplic_ops.describe(&vm, text, sizeof(text));
    assert_string_equal(text, "source 10 claimed high priority 1 contexts 0x2\n");
    assert_int_equal(n, strlen(text));
    assert_in_range(vplic_ops.describe(&vm, text, 8), 0, 7);
    assert_int_equal(vplic_ops.describe(&vm, NULL, 0), 0);
}

// Against the specification, straightforwardly.
static struct {
    bool line, pending, claimed, enabled[2];
    u32 priority;
} ref[96];
static u32 ref_threshold[2];

static u32 ref_best(u32 hart) {
    u32 best = 0, most = 0;
    for (u32 id = 1; id < 96; id++)
        if (ref[id].pending && ref[id].enabled[hart] && ref[id].priority > most) {
            best = id;
            most = ref[id].priority;
        }
    return best;
}

static void ref_gateway(u32 id) {
    ref[id].pending |= ref[id].line && !ref[id].claimed;
}

static void random_steps_agree_with_a_plain_model(void **state) {
    (void)state;
    u64 random = 88172645463325252ull;
    memset(ref, 0, sizeof(ref));
    memset(ref_threshold, 0, sizeof(ref_threshold));
    for (u32 step = 0; step < 300000; step++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        const u32 id = 1 + (u32)(random >> 8) % 95, hart = random >> 20 & 1, what = (u32)(random >> 24) % 16;
        const u32 context = 2 * hart + 1, value = random >> 40 & 7;
        if (what < 5) {
            raise(id, ref[id].line = what < 3);
            ref_gateway(id);
        } else if (what < 7) {
            put(priority(id), ref[id].priority = value);
        } else if (what < 8) {
            ref[id].enabled[hart] = value < 6;
            put(enable(context, id), (get(enable(context, id)) & ~(1u << id % 32)) | (u32)(value < 6) << id % 32);
        } else if (what < 9) {
            put(threshold(context), ref_threshold[hart] = value / 2);
        } else if (what < 13) {
            const u32 best = ref_best(hart);
            assert_int_equal(get(claim(context)), best);
            ref[best].pending = false;
            ref[best].claimed = best != 0;
        } else {
            put(claim(context), id);
            if (ref[id].enabled[hart])
                ref[id].claimed = false;
            ref_gateway(id);
        }
        for (u32 n = 0; n < 2; n++) {
            const u32 best = ref_best(n);
            assert_int_equal(seip(n), best && ref[best].priority > ref_threshold[n]);
        }
    }
}

static void a_range_that_is_taken_is_an_error_that_leaves_nothing(void **state) {
    (void)state;
    struct vm other = {.vcpu_count = 1, .vcpus = {&vcpus[0]}};
    bus_init(&other.bus);
    void *saved = vcpus[0].irqchip;
    struct vdev in_the_way = {.name = "x", .base = gpa(BASE + 0x1000), .size = 8};
    assert_int_equal(bus_add(&other.bus, &in_the_way), 0);
    assert_int_equal(vplic_create(&other, gpa(BASE)), -EEXIST);
    assert_null(other.irqchip);
    vcpus[0].irqchip = saved;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_source_reaches_the_context_that_has_it_enabled, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing_comes_without_priority_or_enable, setup, teardown),
        cmocka_unit_test_setup_teardown(a_claim_takes_the_line_down_until_completion, setup, teardown),
        cmocka_unit_test_setup_teardown(a_level_that_stays_is_pending_again_at_completion, setup, teardown),
        cmocka_unit_test_setup_teardown(a_level_that_comes_back_while_claimed_waits_for_completion, setup, teardown),
        cmocka_unit_test_setup_teardown(a_request_once_passed_on_stays_when_the_level_falls, setup, teardown),
        cmocka_unit_test_setup_teardown(completion_counts_only_for_an_enabled_source, setup, teardown),
        cmocka_unit_test_setup_teardown(the_higher_priority_is_claimed_first_then_the_lower_number, setup, teardown),
        cmocka_unit_test_setup_teardown(the_threshold_holds_the_line_but_not_the_claim, setup, teardown),
        cmocka_unit_test_setup_teardown(a_source_for_two_harts_is_claimed_by_one, setup, teardown),
        cmocka_unit_test_setup_teardown(a_machine_context_has_registers_and_no_wire, setup, teardown),
        cmocka_unit_test_setup_teardown(registers_keep_the_bits_that_there_are, setup, teardown),
        cmocka_unit_test_setup_teardown(contexts_that_are_not_there_read_as_zero, setup, teardown),
        cmocka_unit_test_setup_teardown(only_words_are_served, setup, teardown),
        cmocka_unit_test_setup_teardown(any_word_of_the_range_bears_reading_and_writing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_software_interrupt_is_posted_once_to_each_that_is_named, setup, teardown),
        cmocka_unit_test_setup_teardown(the_timer_line_is_a_level, setup, teardown),
        cmocka_unit_test_setup_teardown(a_halted_vcpu_wakes_for_what_it_has_enabled, setup, teardown),
        cmocka_unit_test_setup_teardown(reset_forgets_all_but_the_levels_of_the_lines, setup, teardown),
        cmocka_unit_test_setup_teardown(a_hart_that_starts_has_no_software_interrupt_and_keeps_its_context, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_is_busy_is_described, setup, teardown),
        cmocka_unit_test_setup_teardown(random_steps_agree_with_a_plain_model, setup, teardown),
        cmocka_unit_test_setup_teardown(a_range_that_is_taken_is_an_error_that_leaves_nothing, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
