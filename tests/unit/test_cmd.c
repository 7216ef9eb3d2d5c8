// SPDX-License-Identifier: Apache-2.0
// The commands, on VMs that are made up here: this file stands in for core/vmm.c.
#include "host_test.h"

#include <stdio.h>
#include <string.h>

#include "cmd.h"
#include "console.h"
#include "log.h"
#include "vmm.h"

static struct vm vms[2];
static struct vcpu vcpus[2];
static u32 vm_total;
static char called[64]; // the last operation on a VM

u32 vmm_count(void) {
    return vm_total;
}

struct vm *vmm_vm(u32 index) {
    return &vms[index];
}

struct vm *vmm_find(const char *name_or_id) {
    for (u32 i = 0; i < vm_total; i++) {
        char id[16];
        snprintf(id, sizeof id, "%u", vms[i].id);
        if (strcmp(vms[i].cfg.name, name_or_id) == 0 || strcmp(id, name_or_id) == 0)
            return &vms[i];
    }
    return NULL;
}

u32 vmm_running(void) {
    return 0;
}

void vmm_vm_stops(struct vm *vm, enum vm_state end, bool restart) {
    (void)vm;
    (void)end;
    (void)restart;
}

void vmm_vm_stopped(bool restart) {
    (void)restart;
}

int vmm_vm_start(struct vm *vm, char *why, size_t why_size) {
    snprintf(called, sizeof called, "start %s", vm->cfg.name);
    if (vm->state != VM_RUNNING)
        return 0;
    snprintf(why, why_size, "is running already");
    return -EALREADY;
}

int vmm_vm_stop(struct vm *vm, bool force, char *why, size_t why_size) {
    (void)why;
    (void)why_size;
    snprintf(called, sizeof called, "stop %s%s", vm->cfg.name, force ? " by force" : "");
    return 0;
}

int vmm_vm_restart(struct vm *vm, char *why, size_t why_size) {
    (void)why;
    (void)why_size;
    snprintf(called, sizeof called, "restart %s", vm->cfg.name);
    return 0;
}

void vmm_power_off(void) {
    host_stop(HOST_POWER_OFF);
}

void vmm_reboot(void) {
    host_stop(HOST_REBOOT);
}

// ── Help ────────────────────────────────────────────────────────────────────────────────────────────────────────────
static char output[32 * 1024];
static size_t output_len;

static void write_output(void *ctx, const char *bytes, size_t count) {
    (void)ctx;
    BUG_ON(output_len + count >= sizeof output);
    memcpy(output + output_len, bytes, count);
    output_len += count;
    output[output_len] = '\0';
}

static const struct writer writer = {write_output, NULL};

static int run(const char *line) {
    output_len = 0;
    output[0] = '\0';
    called[0] = '\0';
    return cmd_run(line, &writer);
}

static void make_vm(u32 index, const char *name, enum vm_state state) {
    struct vm *vm = &vms[index];
    memset(vm, 0, sizeof *vm);
    memset(&vcpus[index], 0, sizeof vcpus[index]);
    spin_init(&vm->lock, LOCK_VM);
    vm->id = index + 1;
    vm->state = state;
    vm->cfg.valid = true;
    snprintf(vm->cfg.name, sizeof vm->cfg.name, "%s", name);
    snprintf(vm->cfg.file, sizeof vm->cfg.file, "vms/%s.toml", name);
    snprintf(vm->cfg.boot.kernel, sizeof vm->cfg.boot.kernel, "debian/Image");
    vm->cfg.cpus = 1;
    vm->cfg.memory = MIB(256);
    vm->vcpus[0] = &vcpus[index];
    vm->vcpu_count = 1;
    vcpus[index].vm = vm;
    vcpus[index].task.cpu = &cpus[0];
}

static int setup(void **state) {
    (void)state;
    host_init(&(struct host_options){.cpus = 2});
    console_init(host_board());
    log_set_level(LOG_INFO);
    make_vm(0, "linux-a", VM_RUNNING);
    make_vm(1, "a-name-of-thirty-one-characters", VM_FAILED);
    snprintf(vms[1].reason, sizeof vms[1].reason, "no \"kernel\"");
    vms[0].starts = 1;
    vcpus[0].stats.count[VEXIT_MMIO] = 1000;
    vcpus[0].stats.count[VEXIT_HALT] = 23;
    vcpus[0].task.cpu_time_ns = 12345000000;
    vcpus[0].power = VCPU_ON;
    vm_total = 2;
    return 0;
}

static void no_line_is_wider_than(u32 columns) {
    u32 column = 0;
    for (const char *p = output; *p; p++) {
        column = *p == '\n' ? 0 : column + 1;
        assert_true(column <= columns);
    }
}

#define assert_says(part) assert_non_null(strstr(output, part))

// ── Lines ───────────────────────────────────────────────────────────────────────────────────────────────────────────
static void blank_lines_and_comments_do_nothing(void **state) {
    (void)state;
    assert_int_equal(run(""), 0);
    assert_int_equal(run("  \t "), 0);
    assert_int_equal(run("# vm stop linux-a"), 0);
    assert_string_equal(output, "");
}

static void an_unknown_command_names_the_likely_one(void **state) {
    (void)state;
    assert_int_equal(run("versoin"), -ENOENT);
    assert_string_equal(output, "unknown command 'versoin', did you mean 'version'?\n");
    assert_int_equal(run("frobnicate"), -ENOENT);
    assert_string_equal(output, "unknown command 'frobnicate'; 'help' lists the commands\n");
    assert_int_equal(run("list"), -ENOENT);
    assert_string_equal(output, "unknown command 'list', did you mean 'vm list'?\n");
}

static void an_unknown_subcommand_names_the_likely_one_or_all(void **state) {
    (void)state;
    assert_int_equal(run("vm lsit"), -ENOENT);
    assert_string_equal(output, "vm: unknown subcommand 'lsit', did you mean 'list'?\n");
    assert_int_equal(run("vm"), -EINVAL);
    assert_string_equal(output, "vm: one of these is expected: list show start stop restart console\n");
    assert_int_equal(run("vm frobnicate"), -ENOENT);
    assert_says("'frobnicate'; one of these is expected: list");
}

static void missing_surplus_and_unknown_arguments_are_told_with_what_is_expected(void **state) {
    (void)state;
    assert_int_equal(run("vm stop"), -EINVAL);
    assert_string_equal(output, "vm stop: something is missing; expected: vm stop [--force] NAME\n");
    assert_int_equal(run("vm show linux-a x"), -EINVAL);
    assert_string_equal(output, "vm show: too much: 'x'; expected: vm show NAME\n");
    assert_int_equal(run("vm list --yaml"), -EINVAL);
    assert_string_equal(output, "vm list: unknown option '--yaml'; expected: vm list [--json]\n");
    assert_int_equal(run("cpu 1"), -EINVAL);
    assert_string_equal(output, "cpu: too much: '1'; expected: cpu\n");
    assert_int_equal(run("a b c d e f g h i"), -E2BIG);
}

static void an_unknown_vm_is_told_with_those_that_there_are(void **state) {
    (void)state;
    assert_int_equal(run("vm show linux-c"), -ENOENT);
    assert_string_equal(output, "vm show: no VM is called 'linux-c', and none has that id; there are linux-a, "
                                "a-name-of-thirty-one-characters\n");
    vm_total = 0;
    assert_int_equal(run("vm show linux-c"), -ENOENT);
    assert_says("there are no VMs");
}

static void help_lists_every_command_and_tells_about_each(void **state) {
    (void)state;
    assert_int_equal(run("help"), 0);
    no_line_is_wider_than(80);
    const struct command *c;
    char all[sizeof output];
    memcpy(all, output, sizeof all);
    for (u32 i = 0; (c = cmd_table(i)); i++) {
        char line[64];
        assert_non_null(strstr(all, c->name));
        snprintf(line, sizeof line, "help %s", c->name);
        assert_int_equal(run(line), 0);
        assert_says(c->help);
        snprintf(line, sizeof line, "%s --help", c->name);
        assert_int_equal(run(line), 0);
        assert_says(c->help);
    }
    assert_int_equal(run("help vm"), 0);
    assert_says("vm list [--json]");
    assert_int_equal(run("help nonsense"), -ENOENT);
}

// ── VMs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
static void vm_list_is_a_table_of_eighty_columns(void **state) {
    (void)state;
    assert_int_equal(run("vm list"), 0);
    no_line_is_wider_than(80);
    assert_says("ID NAME                            STATE     VCPUS MEMORY   CPU-TIME     EXITS\n");
    assert_says("1  linux-a                         running       1   256M     12.34s      1023\n");
    assert_says("2  a-name-of-thirty-one-characters failed        1   256M      0.00s         0\n");
}

static void vm_list_json_is_json(void **state) {
    (void)state;
    assert_int_equal(run("vm list --json"), 0);
    assert_string_equal(output, "[\n  {\"id\": 1, \"name\": \"linux-a\", \"state\": \"running\", \"vcpus\": 1, "
                                "\"memory\": 268435456, \"cpu_time_ns\": 12345000000, \"exits\": 1023, "
                                "\"reason\": \"\"},\n  {\"id\": 2, \"name\": \"a-name-of-thirty-one-characters\", "
                                "\"state\": \"failed\", \"vcpus\": 1, \"memory\": 268435456, \"cpu_time_ns\": 0, "
                                "\"exits\": 0, \"reason\": \"no \\\"kernel\\\"\"}\n]\n");
    vm_total = 0;
    assert_int_equal(run("vm list --json"), 0);
    assert_string_equal(output, "[]\n");
}

static void json_strings_are_escaped(void **state) {
    (void)state;
    output_len = 0;
    writer_json(&writer, "a\"\\\n\x01 ä");
    assert_string_equal(output, "\"a\\\"\\\\\\u000a\\u0001 ä\"");
}

static void vm_show_tells_state_reason_configuration_and_vcpus(void **state) {
    (void)state;
    assert_int_equal(run("vm show 2"), 0);
    assert_says("a-name-of-thirty-one-characters (id 2): failed\n");
    assert_says("reason      no \"kernel\"\n");
    assert_says("debian/Image (auto)\n");
    assert_int_equal(run("vm show linux-a"), 0);
    assert_says("linux-a (id 1): running\n");
    assert_says("vcpu 0      ready, cpu 0, 12.34s, 1023 exits\n");
}

static void a_vm_is_named_by_name_or_id_and_the_operation_called(void **state) {
    (void)state;
    assert_int_equal(run("vm stop linux-a"), 0);
    assert_string_equal(called, "stop linux-a");
    assert_int_equal(run("vm stop --force 1"), 0);
    assert_string_equal(called, "stop linux-a by force");
    assert_int_equal(run("vm stop 1 --force"), 0);
    assert_string_equal(called, "stop linux-a by force");
    assert_int_equal(run("vm restart 1"), 0);
    assert_string_equal(called, "restart linux-a");
    assert_string_equal(output, "linux-a restarted\n");
}

static void an_operation_that_fails_says_why(void **state) {
    (void)state;
    assert_int_equal(run("vm start linux-a"), -EALREADY);
    assert_string_equal(output, "vm start: linux-a is running already\n");
}

static void a_vm_without_console_is_not_attached(void **state) {
    (void)state;
    assert_int_equal(run("console linux-a"), -ENODEV);
    assert_says("'vm show linux-a' says why");
    assert_int_equal(run("console all"), 0);
    assert_int_equal(run("vm console all"), 0);
}

// ── The machine ─────────────────────────────────────────────────────────────────────────────────────────────────────
static void stats_count_exits_by_reason(void **state) {
    (void)state;
    assert_int_equal(run("stats linux-a"), 0);
    assert_says("linux-a vcpu 0: 12.34s on a CPU");
    assert_says(vexit_kind_name(VEXIT_MMIO));
    assert_says("1000 ");
    assert_int_equal(run("stats"), 0);
    assert_says("console: 0 bytes of input lost");
}

static void log_shows_lines_down_to_a_level(void **state) {
    (void)state;
    log_info("about nothing");
    log_error("about fire");
    assert_int_equal(run("log"), 0);
    assert_says("info  about nothing\n");
    assert_int_equal(run("log warn"), 0);
    assert_null(strstr(output, "about nothing"));
    assert_says("error about fire\n");
    assert_int_equal(run("log loud"), -EINVAL);
    assert_string_equal(output, "log: 'loud' is no level; expected: error, warn, info or debug\n");
    assert_int_equal(run("log --set debug"), 0);
    assert_int_equal(log_level_get(), LOG_DEBUG);
}

static void log_set_without_a_level_changes_nothing(void **state) {
    (void)state;
    log_set_level(LOG_INFO);
    assert_int_equal(run("log --set"), -EINVAL);
    assert_string_equal(output, "log: --set needs a level: error, warn, info or debug\n");
    assert_int_equal(log_level_get(), LOG_INFO);
}

static void stats_of_nobody_says_who_there_is(void **state) {
    (void)state;
    assert_int_equal(run("stats nobody"), -ENOENT);
    assert_says("no VM is called 'nobody'");
    assert_says("linux-a");
}

static void of_a_vm_whose_file_is_wrong_nothing_is_made_up(void **state) {
    (void)state;
    vms[0].cfg.valid = false;
    assert_int_equal(run("vm list"), 0);
    assert_says("    -      - "); // VCPUS and MEMORY
    assert_int_equal(run("vm list --json"), 0);
    assert_says("\"name\": \"linux-a\"");
    assert_says("\"vcpus\": 0, \"memory\": 0");
    assert_int_equal(run("vm show linux-a"), 0);
    assert_null(strstr(output, "kernel"));
}

static void show_names_every_image_and_the_command_line(void **state) {
    (void)state;
    snprintf(vms[0].cfg.boot.initrd, sizeof vms[0].cfg.boot.initrd, "debian/initrd.gz");
    snprintf(vms[0].cfg.boot.dtb, sizeof vms[0].cfg.boot.dtb, "my.dtb");
    snprintf(vms[0].cfg.boot.cmdline, sizeof vms[0].cfg.boot.cmdline, "console=ttyAMA0");
    assert_int_equal(run("vm show linux-a"), 0);
    assert_says("  initrd      debian/initrd.gz\n");
    assert_says("  dtb         my.dtb\n");
    assert_says("console=ttyAMA0");
}

static void mem_and_version_say_something(void **state) {
    (void)state;
    assert_int_equal(run("mem"), 0);
    assert_says("total");
    assert_says("linux-a");
    assert_int_equal(run("version"), 0);
    assert_says("Bulkhead ");
}

static void sample_cpus(void *arg) {
    (void)arg;
    host_check(run("cpu") == 0);
    host_check(strstr(output, "CPU HWID       ONLINE  IDLE RUNNING            VCPUS\n"));
    host_check(strstr(output, "\n1   0x"));
    host_check(strstr(output, "100%"));
}

static void cpu_samples_how_idle_the_cpus_are(void **state) {
    (void)state;
    vm_total = 0;
    assert_int_equal(host_run(sample_cpus, NULL), HOST_DONE);
}

static void turn_off(void *arg) {
    run(arg);
}

static void poweroff_and_reboot_do_so(void **state) {
    (void)state;
    assert_int_equal(host_run(turn_off, "poweroff"), HOST_POWER_OFF);
    host_init(&(struct host_options){0});
    assert_int_equal(host_run(turn_off, "reboot"), HOST_REBOOT);
}

// ── Completion ──────────────────────────────────────────────────────────────────────────────────────────────────────
static void expect_matches(const char *line, const char *expected) {
    struct line_edit_matches m = {0};
    cmd_complete(line, (u32)strlen(line), &m);
    char all[512] = "";
    for (u32 i = 0; i < m.count; i++)
        snprintf(all + strlen(all), sizeof all - strlen(all), "%s ", m.words[i]);
    assert_string_equal(all, expected);
}

static void completion_knows_commands_subcommands_options_and_vms(void **state) {
    (void)state;
    expect_matches("v", "vm version ");
    expect_matches("co", "console ");
    expect_matches("vm s", "show start stop ");
    expect_matches("vm stop l", "linux-a ");
    expect_matches("vm stop --force l", "linux-a ");
    expect_matches("vm stop --", "--force ");
    expect_matches("console ", "all linux-a a-name-of-thirty-one-characters ");
    expect_matches("log d", "debug ");
    expect_matches("help vm st", "start stop ");
    expect_matches("help ver", "version ");
    expect_matches("cpu ", "");
    expect_matches("nonsense ", "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(blank_lines_and_comments_do_nothing, setup),
        cmocka_unit_test_setup(an_unknown_command_names_the_likely_one, setup),
        cmocka_unit_test_setup(an_unknown_subcommand_names_the_likely_one_or_all, setup),
        cmocka_unit_test_setup(missing_surplus_and_unknown_arguments_are_told_with_what_is_expected, setup),
        cmocka_unit_test_setup(an_unknown_vm_is_told_with_those_that_there_are, setup),
        cmocka_unit_test_setup(help_lists_every_command_and_tells_about_each, setup),
        cmocka_unit_test_setup(vm_list_is_a_table_of_eighty_columns, setup),
        cmocka_unit_test_setup(vm_list_json_is_json, setup),
        cmocka_unit_test_setup(json_strings_are_escaped, setup),
        cmocka_unit_test_setup(vm_show_tells_state_reason_configuration_and_vcpus, setup),
        cmocka_unit_test_setup(a_vm_is_named_by_name_or_id_and_the_operation_called, setup),
        cmocka_unit_test_setup(an_operation_that_fails_says_why, setup),
        cmocka_unit_test_setup(a_vm_without_console_is_not_attached, setup),
        cmocka_unit_test_setup(stats_count_exits_by_reason, setup),
        cmocka_unit_test_setup(log_shows_lines_down_to_a_level, setup),
        cmocka_unit_test_setup(log_set_without_a_level_changes_nothing, setup),
        cmocka_unit_test_setup(stats_of_nobody_says_who_there_is, setup),
        cmocka_unit_test_setup(of_a_vm_whose_file_is_wrong_nothing_is_made_up, setup),
        cmocka_unit_test_setup(show_names_every_image_and_the_command_line, setup),
        cmocka_unit_test_setup(mem_and_version_say_something, setup),
        cmocka_unit_test_setup(cpu_samples_how_idle_the_cpus_are, setup),
        cmocka_unit_test_setup(poweroff_and_reboot_do_so, setup),
        cmocka_unit_test_setup(completion_knows_commands_subcommands_options_and_vms, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
