// SPDX-License-Identifier: Apache-2.0
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "diag_log.h"
#include "plan.h"

static struct diag_log log;
static struct vm_config configs[4];
static struct plan_vm plan[4];

// A valid configuration without anything special, as config_parse leaves it.
static struct vm_config *config(u32 i, u32 cpus, u64 memory) {
    struct vm_config *c = &configs[i];
    memset(c, 0, sizeof(*c));
    c->valid = true;
    snprintf(c->file, sizeof(c->file), "vms/%c.toml", (char)('a' + i));
    snprintf(c->name, sizeof(c->name), "%c", (char)('a' + i));
    snprintf(c->memory_text, sizeof(c->memory_text), "%lluM", (unsigned long long)(memory >> 20));
    snprintf(c->boot.kernel, sizeof(c->boot.kernel), "Image");
    c->cpus = cpus;
    c->memory = memory;
    c->pos.memory = (struct config_pos){7, 10};
    c->pos.kernel = (struct config_pos){9, 10};
    c->pos.initrd = (struct config_pos){10, 10};
    for (u32 v = 0; v < VM_CPUS_MAX; v++)
        c->sched.affinity[v] = ~0ull;
    return c;
}

static void pin(struct vm_config *c, u32 vcpu, u64 mask) {
    c->sched.has_affinity = true;
    c->sched.affinity[vcpu] = mask;
    c->pos.affinity[vcpu] = (struct config_pos){12, 10 + vcpu};
}

static u32 make_plan(const struct plan_machine *machine, u32 count) {
    memset(plan, 0xff, sizeof(plan));
    return plan_vms(machine, configs, count, plan, diag_log_init(&log));
}

static void memory_is_given_in_order_until_it_is_used_up(void **state) {
    (void)state;
    struct plan_machine machine = {.cpu_count = 1, .free_known = true, .free_memory = MIB(512)};
    config(0, 1, MIB(256));
    config(1, 1, MIB(320));
    config(2, 1, MIB(256));
    assert_int_equal(make_plan(&machine, 3), 2);
    assert_true(plan[0].ok);
    assert_false(plan[1].ok);
    assert_true(plan[2].ok); // what did not fit has taken nothing
    assert_string_equal(log.text, "vms/b.toml:7:10: memory = \"320M\": 320 MiB asked, 256 MiB free\n");
}

static void memory_is_not_judged_when_it_is_unknown(void **state) {
    (void)state;
    struct plan_machine machine = {0};
    config(0, 1, GIB(1024));
    assert_int_equal(make_plan(&machine, 1), 1);
    assert_string_equal(log.text, "");
}

static void invalid_configs_are_passed_over_in_silence(void **state) {
    (void)state;
    struct plan_machine machine = {.cpu_count = 2, .free_known = true, .free_memory = MIB(64)};
    config(0, 2, MIB(64))->valid = false;
    config(1, 1, MIB(64));
    assert_int_equal(make_plan(&machine, 2), 1);
    assert_false(plan[0].ok);
    assert_true(plan[1].ok);
    assert_int_equal(plan[1].cpu[0], 0);
    assert_string_equal(log.text, "");
}

static void vcpus_spread_over_the_least_loaded_cpus(void **state) {
    (void)state;
    struct plan_machine machine = {.cpu_count = 4};
    config(0, 2, MIB(2));
    config(1, 2, MIB(2));
    config(2, 3, MIB(2));
    assert_int_equal(make_plan(&machine, 3), 3);
    assert_int_equal(plan[0].cpu[0], 0);
    assert_int_equal(plan[0].cpu[1], 1);
    assert_int_equal(plan[1].cpu[0], 2);
    assert_int_equal(plan[1].cpu[1], 3);
    assert_int_equal(plan[2].cpu[2], 2);
}

static void more_vcpus_than_cpus_share(void **state) {
    (void)state;
    struct plan_machine machine = {.cpu_count = 2};
    config(0, 8, MIB(2));
    assert_int_equal(make_plan(&machine, 1), 1);
    for (u32 i = 0; i < 8; i++)
        assert_int_equal(plan[0].cpu[i], i % 2);
}

static void those_with_an_affinity_choose_first(void **state) {
    (void)state;
    struct plan_machine machine = {.cpu_count = 2};
    config(0, 1, MIB(2));
    pin(config(1, 1, MIB(2)), 0, BIT(0));
    assert_int_equal(make_plan(&machine, 2), 2);
    assert_int_equal(plan[1].cpu[0], 0);
    assert_int_equal(plan[0].cpu[0], 1);
}

static void a_cpu_that_does_not_exist_is_named(void **state) {
    (void)state;
    struct plan_machine machine = {.cpu_count = 2};
    struct vm_config *c = config(0, 2, MIB(2));
    pin(c, 0, BIT(0));
    pin(c, 1, BIT(1) | BIT(5));
    assert_int_equal(make_plan(&machine, 1), 0);
    assert_string_equal(log.text, "vms/a.toml:12:11: affinity: pCPU 5 does not exist; the machine has 0 to 1\n");
}

static void sixty_four_cpus_are_all_usable(void **state) {
    (void)state;
    struct plan_machine machine = {.cpu_count = 64};
    pin(config(0, 1, MIB(2)), 0, BIT(63));
    assert_int_equal(make_plan(&machine, 1), 1);
    assert_int_equal(plan[0].cpu[0], 63);
}

static void a_vcpu_goes_to_the_least_loaded_allowed_cpu(void **state) {
    (void)state;
    static const u32 load[] = {3, 1, 1, 0};
    assert_int_equal(plan_place_vcpu(load, 4, ~0ull), 3);
    assert_int_equal(plan_place_vcpu(load, 3, ~0ull), 1);
    assert_int_equal(plan_place_vcpu(load, 4, BIT(0) | BIT(2)), 2);
    assert_int_equal(plan_place_vcpu(load, 4, BIT(4)), -ENODEV);
    assert_int_equal(plan_place_vcpu(load, 4, 0), -ENODEV);
}

// A bundle of one kernel, a big-enough arm64 Image header, and one initrd.
static u8 image[64] = {[17] = 0x10, [56] = 'A', 'R', 'M', 0x64};

static int find(void *ctx, const char *path, struct plan_file *out) {
    (void)ctx;
    if (strcmp(path, "Image") == 0)
        *out = (struct plan_file){image, sizeof(image)};
    else if (strcmp(path, "initrd") == 0)
        *out = (struct plan_file){image, MIB(100)};
    else if (strcmp(path, "link") == 0)
        return -EOPNOTSUPP;
    else
        return -ENOENT;
    return 0;
}

static void images_are_looked_up_and_measured(void **state) {
    (void)state;
    struct plan_machine machine = {.arch = PLAN_ARCH_AARCH64, .find = find};
    config(0, 1, MIB(4));
    struct vm_config *b = config(1, 1, MIB(64));
    struct vm_config *c = config(2, 1, MIB(64));
    struct vm_config *d = config(3, 1, MIB(64));
    snprintf(b->boot.initrd, sizeof(b->boot.initrd), "initrd");
    snprintf(c->boot.kernel, sizeof(c->boot.kernel), "nowhere");
    snprintf(d->boot.kernel, sizeof(d->boot.kernel), "link");
    assert_int_equal(make_plan(&machine, 4), 1);
    assert_true(plan[0].ok);
    assert_string_equal(log.text,
                        "vms/b.toml:10:10: initrd = \"initrd\": with the kernel it needs 100 MiB, the VM has 64 MiB\n"
                        "vms/c.toml:9:10: kernel = \"nowhere\": not in the bundle\n"
                        "vms/d.toml:9:10: kernel = \"link\": not a readable regular file in the bundle\n");
}

static void a_kernel_for_another_machine_is_refused(void **state) {
    (void)state;
    struct plan_machine machine = {.arch = PLAN_ARCH_X86_64, .find = find};
    config(0, 1, MIB(64));
    assert_int_equal(make_plan(&machine, 1), 0);
    assert_string_equal(log.text, "vms/a.toml:9:10: kernel = \"Image\": built for aarch64, this machine is x86_64\n");
}

static void every_reason_is_given_at_once(void **state) {
    (void)state;
    struct plan_machine machine = {.cpu_count = 1, .free_known = true, .find = find};
    struct vm_config *c = config(0, 1, MIB(64));
    snprintf(c->boot.kernel, sizeof(c->boot.kernel), "nowhere");
    pin(c, 0, BIT(1));
    assert_int_equal(make_plan(&machine, 1), 0);
    assert_int_equal(log.list.errors, 3);
}

static void sizes_are_written_with_one_decimal_at_most(void **state) {
    (void)state;
    static const struct {
        u64 bytes;
        const char *text;
    } cases[] = {
        {0, "0 bytes"},
        {1023, "1023 bytes"},
        {KIB(4), "4 KiB"},
        {MIB(512), "512 MiB"},
        {GIB(64), "64 GiB"},
        {MIB(1900), "1.8 GiB"},
        {MIB(1024), "1 GiB"},
        {GIB(4096), "4096 GiB"},
        {GIB(1) - 1, "1023.9 MiB"},
        {~0ull, "17179869183.9 GiB"},
    };
    char buf[24];
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        assert_string_equal(plan_format_size(cases[i].bytes, buf, sizeof(buf)), cases[i].text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_given_in_order_until_it_is_used_up),
        cmocka_unit_test(memory_is_not_judged_when_it_is_unknown),
        cmocka_unit_test(invalid_configs_are_passed_over_in_silence),
        cmocka_unit_test(vcpus_spread_over_the_least_loaded_cpus),
        cmocka_unit_test(more_vcpus_than_cpus_share),
        cmocka_unit_test(those_with_an_affinity_choose_first),
        cmocka_unit_test(a_cpu_that_does_not_exist_is_named),
        cmocka_unit_test(sixty_four_cpus_are_all_usable),
        cmocka_unit_test(a_vcpu_goes_to_the_least_loaded_allowed_cpu),
        cmocka_unit_test(images_are_looked_up_and_measured),
        cmocka_unit_test(a_kernel_for_another_machine_is_refused),
        cmocka_unit_test(every_reason_is_given_at_once),
        cmocka_unit_test(sizes_are_written_with_one_decimal_at_most),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
