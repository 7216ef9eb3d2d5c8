// SPDX-License-Identifier: Apache-2.0
// core/fdt_gen.c and core/rng.c, and the nodes of arch/aarch64/guest_fdt.c, which is plain C.
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <libfdt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fdt_gen.h"
#include "host.h"
#include "rng.h"
#include "vm.h"

int aarch64_guest_fdt(const struct vm *vm, void *fdt);
int aarch64_guest_fdt_root(void *fdt);
#define arch_guest_fdt aarch64_guest_fdt
#define arch_guest_fdt_root aarch64_guest_fdt_root
#include "../../arch/aarch64/guest_fdt.c"
#undef arch_guest_fdt
#undef arch_guest_fdt_root

static struct vm vm;
static _Alignas(8) char buf[FDT_GEN_SIZE];

static int setup(void **state) {
    (void)state;
    host_init(&(struct host_options){});
    memset((void *)&vm, 0, sizeof(vm));
    memset(buf, 0xee, sizeof(buf));
    vm.cfg.memory = MIB(256);
    vm.cfg.cpus = 2;
    vm.ram = gpa(GIB(1));
    rng_init(&(struct board){});
    return 0;
}

static const void *prop(const char *path, const char *name, int want) {
    int size, node = fdt_path_offset(buf, path);
    const void *p = node < 0 ? NULL : fdt_getprop(buf, node, name, &size);
    if (!p)
        fail_msg("%s has no %s", path, name);
    if (want >= 0)
        assert_int_equal(size, want);
    return p;
}

static u32 cell(const char *path, const char *name, u32 index) {
    return fdt32_ld((const fdt32_t *)prop(path, name, -1) + index);
}

static u64 cells64(const char *path, const char *name, u32 index) {
    return (u64)cell(path, name, index) << 32 | cell(path, name, index + 1);
}

static bool has(const char *path, const char *name) {
    return fdt_getprop(buf, fdt_path_offset(buf, path), name, NULL);
}

static void generate(u64 initrd, u64 size) {
    assert_int_equal(fdt_gen(&vm, gpa(initrd), size, buf, sizeof(buf)), 0);
    assert_int_equal(fdt_check_full(buf, fdt_totalsize(buf)), 0);
}

// ── The generated tree ──────────────────────────────────────────────────────────────────────────────────────────────
static void the_root_is_that_of_qemu_virt(void **state) {
    (void)state;
    generate(0, 0);
    assert_string_equal(prop("/", "compatible", -1), "linux,dummy-virt");
    assert_int_equal(cell("/", "#address-cells", 0), 2);
    assert_int_equal(cell("/", "#size-cells", 0), 2);
    assert_int_equal(cell("/", "interrupt-parent", 0), FDT_PHANDLE_INTC);
}

static void memory_is_the_vms(void **state) {
    (void)state;
    vm.cfg.memory = GIB(6);
    generate(0, 0);
    assert_string_equal(prop("/memory@40000000", "device_type", -1), "memory");
    prop("/memory@40000000", "reg", 16);
    assert_int_equal(cells64("/memory@40000000", "reg", 0), GIB(1));
    assert_int_equal(cells64("/memory@40000000", "reg", 2), GIB(6));
}

static void chosen_holds_the_command_line_and_the_initrd(void **state) {
    (void)state;
    strcpy(vm.cfg.boot.cmdline, "console=ttyAMA0 quiet");
    generate(0x48000000, 12345);
    assert_string_equal(prop("/chosen", "bootargs", -1), "console=ttyAMA0 quiet");
    assert_int_equal(cells64("/chosen", "linux,initrd-start", 0), 0x48000000);
    assert_int_equal(cells64("/chosen", "linux,initrd-end", 0), 0x48000000 + 12345);
}

static void without_initrd_or_command_line_chosen_names_none(void **state) {
    (void)state;
    generate(0, 0);
    assert_false(has("/chosen", "bootargs"));
    assert_false(has("/chosen", "linux,initrd-start"));
}

static void the_longest_command_line_fits(void **state) {
    (void)state;
    memset(vm.cfg.boot.cmdline, 'x', CONFIG_CMDLINE_MAX);
    vm.cfg.cpus = VM_CPUS_MAX;
    generate(0x48000000, 1);
    assert_in_range(fdt_totalsize(buf), CONFIG_CMDLINE_MAX, FDT_GEN_SIZE / 2);
}

static void every_buffer_that_is_too_small_is_refused(void **state) {
    (void)state;
    generate(0x48000000, 1);
    size_t enough = fdt_totalsize(buf) + 64;
    for (size_t size = 0; size < enough; size += 4) {
        char *small = malloc(size + 8); // the sanitizer watches its end
        int err = fdt_gen(&vm, gpa(0x48000000), 1, small, size);
        assert_true(err == -ENOSPC || (err == 0 && fdt_totalsize(small) <= size));
        free(small);
    }
}

// ── Seeds ───────────────────────────────────────────────────────────────────────────────────────────────────────────
static void seed_the_host(int size) {
    static _Alignas(8) char tree[1024];
    u8 seed[64];
    for (int i = 0; i < 64; i++)
        seed[i] = (u8)i;
    assert_int_equal(fdt_create_empty_tree(tree, sizeof(tree)), 0);
    int node = fdt_add_subnode(tree, 0, "chosen");
    assert_true(node > 0);
    assert_int_equal(fdt_setprop(tree, node, "rng-seed", seed, size), 0);
    rng_init(&(struct board){.fdt = {(u64)tree, sizeof(tree)}});
}

static void without_a_seed_of_our_own_none_is_made_up(void **state) {
    (void)state;
    generate(0, 0);
    assert_false(has("/chosen", "rng-seed"));
    assert_false(has("/chosen", "kaslr-seed"));
    seed_the_host(31);
    generate(0, 0);
    assert_false(has("/chosen", "rng-seed"));
}

static void every_tree_gets_its_own_seed(void **state) {
    (void)state;
    u8 first[32];
    seed_the_host(32);
    generate(0, 0);
    memcpy(first, prop("/chosen", "rng-seed", 32), 32);
    prop("/chosen", "kaslr-seed", 8);
    generate(0, 0);
    assert_memory_not_equal(first, prop("/chosen", "rng-seed", 32), 32);
}

// What `openssl enc -chacha20` makes of zeroes, with the key 00 … 1f, counter 1 and a zero nonce.
static void the_key_stream_is_chacha20(void **state) {
    (void)state;
    static const u8 want[16] = {0x18, 0xb8, 0x42, 0x31, 0xad, 0xe6, 0xa6, 0xd1,
                                0x13, 0x61, 0x5c, 0x61, 0xaf, 0x43, 0x4e, 0x27};
    u8 got[16];
    seed_the_host(32);
    assert_true(rng_bytes(got, sizeof(got)));
    assert_memory_equal(got, want, sizeof(want));
}

// ── The user's own tree ─────────────────────────────────────────────────────────────────────────────────────────────
static const char *why;

static int user_tree(void) {
    assert_int_equal(fdt_create_empty_tree(buf, 1024), 0);
    assert_int_equal(fdt_setprop_string(buf, 0, "model", "mine"), 0);
    assert_int_equal(fdt_pack(buf), 0);
    return (int)fdt_totalsize(buf);
}

static void a_users_tree_keeps_what_is_in_it(void **state) {
    (void)state;
    strcpy(vm.cfg.boot.cmdline, "root=/dev/vda");
    int length = user_tree();
    assert_int_equal(fdt_gen_patch(&vm, gpa(0x48000000), 4096, buf, length, sizeof(buf), &why), 0);
    assert_int_equal(fdt_check_full(buf, fdt_totalsize(buf)), 0);
    assert_string_equal(prop("/", "model", -1), "mine");
    assert_string_equal(prop("/chosen", "bootargs", -1), "root=/dev/vda");
    assert_int_equal(cells64("/chosen", "linux,initrd-end", 0), 0x48001000);
}

static void a_users_command_line_stays_when_the_vm_has_none(void **state) {
    (void)state;
    strcpy(vm.cfg.boot.cmdline, "theirs");
    int length = user_tree();
    assert_int_equal(fdt_gen_patch(&vm, gpa(0), 0, buf, length, sizeof(buf), &why), 0);
    vm.cfg.boot.cmdline[0] = '\0';
    assert_int_equal(fdt_gen_patch(&vm, gpa(0), 0, buf, fdt_totalsize(buf), sizeof(buf), &why), 0);
    assert_string_equal(prop("/chosen", "bootargs", -1), "theirs");
}

static void a_malformed_tree_is_refused_with_a_reason(void **state) {
    (void)state;
    int length = user_tree();
    assert_int_equal(fdt_gen_patch(&vm, gpa(0), 0, buf, length - 1, sizeof(buf), &why), -EINVAL);
    assert_true(strlen(why) > 0);
    memset(buf, 0, sizeof(buf));
    assert_int_equal(fdt_gen_patch(&vm, gpa(0), 0, buf, 100, sizeof(buf), &why), -EINVAL);
    assert_int_equal(fdt_gen_patch(&vm, gpa(0), 0, buf, 0, sizeof(buf), &why), -EINVAL);
}

static void no_mutation_of_a_tree_does_harm(void **state) {
    (void)state;
    static char good[FDT_GEN_SIZE];
    strcpy(vm.cfg.boot.cmdline, "console=ttyAMA0");
    generate(0x48000000, 4096);
    int length = (int)fdt_totalsize(buf);
    memcpy(good, buf, (size_t)length);
    srand(5);
    for (int i = 0; i < 3000; i++) {
        memcpy(buf, good, (size_t)length);
        for (int n = 1 + rand() % 4; n > 0; n--)
            buf[rand() % length] = (char)rand();
        int err = fdt_gen_patch(&vm, gpa(0x48000000), 4096, buf, length, length + 4096, &why);
        assert_true(err == 0 || err == -EINVAL || err == -ENOSPC);
    }
}

// ── aarch64 ─────────────────────────────────────────────────────────────────────────────────────────────────────────
static void generate_aarch64(u32 cpus) {
    vm.cfg.cpus = cpus;
    assert_int_equal(fdt_create(buf, sizeof(buf)), 0);
    assert_int_equal(fdt_finish_reservemap(buf), 0);
    assert_int_equal(fdt_begin_node(buf, ""), 0);
    assert_int_equal(aarch64_guest_fdt(&vm, buf), 0);
    assert_int_equal(fdt_end_node(buf), 0);
    assert_int_equal(fdt_finish(buf), 0);
    assert_int_equal(fdt_check_full(buf, fdt_totalsize(buf)), 0);
}

static void aarch64_cpus_are_started_by_psci(void **state) {
    (void)state;
    generate_aarch64(16);
    assert_string_equal(prop("/psci", "method", -1), "hvc");
    assert_string_equal(prop("/psci", "compatible", sizeof("arm,psci-1.0\0arm,psci-0.2\0arm,psci")), "arm,psci-1.0");
    assert_int_equal(cell("/cpus", "#address-cells", 0), 1);
    assert_int_equal(cell("/cpus/cpu@0", "reg", 0), 0);
    assert_int_equal(cell("/cpus/cpu@f", "reg", 0), 15);
    assert_string_equal(prop("/cpus/cpu@f", "enable-method", -1), "psci");
    assert_true(fdt_path_offset(buf, "/cpus/cpu@10") < 0);
}

static void aarch64_gic_has_a_redistributor_a_cpu(void **state) {
    (void)state;
    generate_aarch64(3);
    const char *gic = "/intc@8000000";
    assert_string_equal(prop(gic, "compatible", -1), "arm,gic-v3");
    assert_int_equal(cells64(gic, "reg", 0), 0x08000000);
    assert_int_equal(cells64(gic, "reg", 2), 0x10000);
    assert_int_equal(cells64(gic, "reg", 4), 0x080a0000);
    assert_int_equal(cells64(gic, "reg", 6), 3 * 0x20000);
    assert_int_equal(fdt_get_phandle(buf, fdt_path_offset(buf, gic)), FDT_PHANDLE_INTC);
}

static void aarch64_devices_lie_where_qemu_has_them(void **state) {
    (void)state;
    generate_aarch64(1);
    assert_int_equal(cells64("/pl011@9000000", "reg", 0), 0x09000000);
    assert_int_equal(cell("/pl011@9000000", "interrupts", 1), 1);
    assert_int_equal(cells64("/pl031@9010000", "reg", 0), 0x09010000);
    assert_int_equal(cell("/pl031@9010000", "interrupts", 1), 2);
    assert_int_equal(cell("/pl011@9000000", "clocks", 1), fdt_get_phandle(buf, fdt_path_offset(buf, "/apb-pclk")));
    assert_int_equal(cell("/timer", "interrupts", 1), 13);
    assert_int_equal(cell("/timer", "interrupts", 7), 11);
    assert_string_equal(fdt_get_alias(buf, "serial0"), "/pl011@9000000");
}

int main(void) {
#define TEST(t) cmocka_unit_test_setup(t, setup)
    const struct CMUnitTest tests[] = {
        TEST(the_root_is_that_of_qemu_virt),
        TEST(memory_is_the_vms),
        TEST(chosen_holds_the_command_line_and_the_initrd),
        TEST(without_initrd_or_command_line_chosen_names_none),
        TEST(the_longest_command_line_fits),
        TEST(every_buffer_that_is_too_small_is_refused),
        TEST(without_a_seed_of_our_own_none_is_made_up),
        TEST(every_tree_gets_its_own_seed),
        TEST(the_key_stream_is_chacha20),
        TEST(a_users_tree_keeps_what_is_in_it),
        TEST(a_users_command_line_stays_when_the_vm_has_none),
        TEST(a_malformed_tree_is_refused_with_a_reason),
        TEST(no_mutation_of_a_tree_does_harm),
        TEST(aarch64_cpus_are_started_by_psci),
        TEST(aarch64_gic_has_a_redistributor_a_cpu),
        TEST(aarch64_devices_lie_where_qemu_has_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
