// SPDX-License-Identifier: Apache-2.0
// The messages of single wrong values are in tests/configs; here is what a program sees.
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "config.h"
#include "diag_log.h"

#define MINIMAL "name = \"a\"\nmemory = \"64M\"\n[boot]\nkernel = \"Image\"\n"

static char memory[CONFIG_ARENA_SIZE];
static struct diag_log log;

static int parse_named(const char *file, const char *text, struct vm_config *out) {
    struct arena arena;
    size_t len = strlen(text);
    char *copy = malloc(len > 0 ? len : 1);
    memcpy(copy, text, len);
    arena_init(&arena, memory, sizeof(memory));
    int err = config_parse(file, copy, len, &arena, diag_log_init(&log), out);
    free(copy);
    memset(memory, 0xaa, sizeof(memory)); // the configuration must not point into the arena either
    return err;
}

static int parse(const char *text, struct vm_config *out) {
    return parse_named("f", text, out);
}

static void what_is_not_said_has_its_default(void **state) {
    (void)state;
    struct vm_config c;
    assert_int_equal(parse(MINIMAL, &c), 0);
    assert_true(c.valid);
    assert_string_equal(c.file, "f");
    assert_string_equal(c.name, "a");
    assert_int_equal(c.cpus, 1);
    assert_int_equal(c.memory, MIB(64));
    assert_string_equal(c.memory_text, "64M");
    assert_true(c.autostart);
    assert_int_equal(c.on_shutdown, VM_ACTION_STOP);
    assert_int_equal(c.on_reset, VM_ACTION_RESTART);
    assert_int_equal(c.on_crash, VM_ACTION_STOP);
    assert_string_equal(c.boot.kernel, "Image");
    assert_string_equal(c.boot.initrd, "");
    assert_string_equal(c.boot.dtb, "");
    assert_string_equal(c.boot.cmdline, "");
    assert_int_equal(c.boot.protocol, BOOT_AUTO);
    assert_false(c.boot.has_load);
    assert_false(c.boot.has_entry);
    assert_false(c.sched.has_affinity);
    assert_true(c.sched.affinity[0] == ~0ull);
    assert_int_equal(c.sched.priority, CONFIG_PRIORITY_DEFAULT);
    assert_int_equal(c.pos.memory.line, 2);
    assert_int_equal(c.pos.memory.col, 10);
    assert_int_equal(c.pos.initrd.line, 0);
}

static void every_key_is_read(void **state) {
    (void)state;
    struct vm_config c;
    assert_int_equal(
        parse("name = \"linux-a\"\ncpus = 3\nmemory = \"2G\"\nautostart = false\non_shutdown = \"restart\"\n"
              "on_reset = \"stop\"\non_crash = \"restart\"\n[boot]\nkernel = \"/debian/Image\"\n"
              "initrd = \"./initrd\"\ncmdline = \"console=ttyAMA0\"\nprotocol = \"raw\"\n"
              "load = 0x40200000\nentry = 0x40200010\ndtb = \"my.dtb\"\n"
              "[sched]\naffinity = [[0], [1, 2], [63]]\npriority = 0\n",
              &c),
        0);
    assert_string_equal(log.text, "");
    assert_int_equal(c.cpus, 3);
    assert_true(c.memory == GIB(2));
    assert_false(c.autostart);
    assert_int_equal(c.on_shutdown, VM_ACTION_RESTART);
    assert_int_equal(c.on_reset, VM_ACTION_STOP);
    assert_int_equal(c.on_crash, VM_ACTION_RESTART);
    assert_string_equal(c.boot.kernel, "debian/Image");
    assert_string_equal(c.boot.initrd, "initrd");
    assert_string_equal(c.boot.cmdline, "console=ttyAMA0");
    assert_int_equal(c.boot.protocol, BOOT_RAW);
    assert_int_equal(c.boot.load, 0x40200000);
    assert_int_equal(c.boot.entry, 0x40200010);
    assert_string_equal(c.boot.dtb, "my.dtb");
    assert_true(c.sched.has_affinity);
    assert_true(c.sched.affinity[0] == 1);
    assert_true(c.sched.affinity[1] == 6);
    assert_true(c.sched.affinity[2] == BIT(63));
    assert_int_equal(c.pos.affinity[1].line, 17);
    assert_int_equal(c.pos.affinity[1].col, 18);
    assert_int_equal(c.sched.priority, 0);
}

static void one_flat_affinity_holds_for_every_vcpu(void **state) {
    (void)state;
    struct vm_config c;
    assert_int_equal(parse("cpus = 16\n" MINIMAL "[sched]\naffinity = [1, 3]\n", &c), 0);
    for (int i = 0; i < 16; i++)
        assert_true(c.sched.affinity[i] == 0xa);
}

static void entry_of_a_raw_image_defaults_to_its_load_address(void **state) {
    (void)state;
    struct vm_config c;
    assert_int_equal(parse(MINIMAL "protocol = \"raw\"\nload = 0x1000\n", &c), 0);
    assert_int_equal(c.boot.entry, 0x1000);
}

static void the_longest_values_fit(void **state) {
    (void)state;
    struct vm_config c;
    char text[4096], name[32], path[256], cmdline[2048];
    memset(name, 'n', sizeof(name));
    memset(path, 'p', sizeof(path));
    memset(cmdline, 'c', sizeof(cmdline));
    name[31] = path[255] = cmdline[2047] = '\0';
    snprintf(text, sizeof(text), "name = '%s'\nmemory = '1024G'\n[boot]\nkernel = '%s'\ncmdline = '%s'\n", name, path,
             cmdline);
    assert_int_equal(parse(text, &c), 0);
    assert_string_equal(c.name, name);
    assert_string_equal(c.boot.kernel, path);
    assert_string_equal(c.boot.cmdline, cmdline);
    assert_true(c.memory == GIB(1024));
}

static void every_error_is_reported_at_once(void **state) {
    (void)state;
    struct vm_config c;
    assert_int_equal(parse("name = \"A\"\ncpus = 0\nmemroy = \"64M\"\n[boot]\n[sched]\npriority = 16\n", &c), -EINVAL);
    assert_false(c.valid);
    assert_string_equal(log.text, "f:1:8: name = \"A\": only a-z, 0-9 and '-' are allowed\n"
                                  "f:2:8: cpus = 0: must be 1 to 16\n"
                                  "f:3:1: unknown key 'memroy', did you mean 'memory'?\n"
                                  "f:6:12: priority = 16: must be 0 to 15\n"
                                  "f: 'memory' is missing, such as memory = \"256M\"\n"
                                  "f:4:2: [boot] has no 'kernel'\n");
}

static void a_key_in_a_line_that_cannot_be_read_is_not_called_missing(void **state) {
    (void)state;
    struct vm_config c;
    assert_int_equal(parse("name = a\nmemory = \"64M\"\n[boot]\nkernel = \"x\"\n", &c), -EINVAL);
    assert_string_equal(log.text, "f:1:8: 'a' is not a value; text is written in quotes\n");
}

static void what_depends_on_a_wrong_value_is_not_judged(void **state) {
    (void)state;
    struct vm_config c;
    assert_int_equal(parse("cpus = 99\n" MINIMAL "protocol = \"x\"\nload = 1\n[sched]\naffinity = [[0], [1]]\n", &c),
                     -EINVAL);
    assert_string_equal(log.text, "f:1:8: cpus = 99: must be 1 to 16\n"
                                  "f:6:12: protocol = \"x\": must be \"auto\", \"linux\", \"elf\" or \"raw\"\n");
}

static void too_long_a_file_is_refused(void **state) {
    (void)state;
    struct vm_config c;
    struct arena arena;
    char *text = calloc(1, CONFIG_FILE_MAX + 1);
    arena_init(&arena, memory, sizeof(memory));
    memset(text, '\n', CONFIG_FILE_MAX + 1);
    assert_int_equal(config_parse("f", text, CONFIG_FILE_MAX + 1, &arena, diag_log_init(&log), &c), -EINVAL);
    assert_string_equal(log.text, "f: 65537 bytes long; a configuration has at most 65536\n");
    free(text);
}

static void text_too_complex_for_the_arena_is_an_error_of_that_file(void **state) {
    (void)state;
    struct vm_config c;
    char *text = calloc(1, CONFIG_FILE_MAX + 1);
    memcpy(text, "a = [", 5);
    for (size_t i = 5; i < CONFIG_FILE_MAX; i++)
        text[i] = i % 2 ? '1' : ',';
    assert_int_equal(parse(text, &c), -EINVAL);
    assert_false(c.valid);
    assert_non_null(strstr(log.text, ": too complex: "));
    free(text);
}

static void of_two_equal_names_the_first_keeps_it(void **state) {
    (void)state;
    static struct vm_config configs[4];
    assert_int_equal(parse_named("vms/a.toml", MINIMAL, &configs[0]), 0);
    assert_int_equal(parse_named("vms/b.toml", "cpus = 1\n" MINIMAL, &configs[1]), 0);
    assert_int_equal(parse_named("vms/c.toml", "cpus = 99\n" MINIMAL, &configs[2]), -EINVAL);
    assert_int_equal(parse_named("vms/d.toml", MINIMAL, &configs[3]), 0);
    assert_int_equal(config_check_names(configs, 4, diag_log_init(&log)), 2);
    assert_true(configs[0].valid);
    assert_false(configs[1].valid);
    assert_false(configs[3].valid);
    assert_string_equal(log.text, "vms/b.toml:2:8: name = \"a\": taken by vms/a.toml:1:8\n"
                                  "vms/d.toml:1:8: name = \"a\": taken by vms/a.toml:1:8\n");
}

static void the_name_of_a_wrong_config_is_free(void **state) {
    (void)state;
    static struct vm_config configs[2];
    assert_int_equal(parse_named("vms/a.toml", "cpus = 99\n" MINIMAL, &configs[0]), -EINVAL);
    assert_int_equal(parse_named("vms/b.toml", MINIMAL, &configs[1]), 0);
    assert_int_equal(config_check_names(configs, 2, diag_log_init(&log)), 0);
    assert_true(configs[1].valid);
}

static void words_have_names(void **state) {
    (void)state;
    assert_string_equal(vm_action_name(VM_ACTION_STOP), "stop");
    assert_string_equal(vm_action_name(VM_ACTION_RESTART), "restart");
    assert_string_equal(boot_protocol_name(BOOT_AUTO), "auto");
    assert_string_equal(boot_protocol_name(BOOT_RAW), "raw");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_said_has_its_default),
        cmocka_unit_test(every_key_is_read),
        cmocka_unit_test(one_flat_affinity_holds_for_every_vcpu),
        cmocka_unit_test(entry_of_a_raw_image_defaults_to_its_load_address),
        cmocka_unit_test(the_longest_values_fit),
        cmocka_unit_test(every_error_is_reported_at_once),
        cmocka_unit_test(a_key_in_a_line_that_cannot_be_read_is_not_called_missing),
        cmocka_unit_test(what_depends_on_a_wrong_value_is_not_judged),
        cmocka_unit_test(too_long_a_file_is_refused),
        cmocka_unit_test(text_too_complex_for_the_arena_is_an_error_of_that_file),
        cmocka_unit_test(of_two_equal_names_the_first_keeps_it),
        cmocka_unit_test(the_name_of_a_wrong_config_is_free),
        cmocka_unit_test(words_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
