// SPDX-License-Identifier: Apache-2.0
// Configurations, as many as the input holds (a byte 0xff parts them), their names, and the plan for a machine that the
// input's hash describes. What is said to be valid is, and the plan keeps its promises.
#include "config.h"
#include "fuzz.h"
#include "plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILES_MAX = 6 };

static struct vm_config configs[FILES_MAX], again;
static struct plan_vm plans[FILES_MAX];
static u8 arena_memory[CONFIG_ARENA_SIZE];
static u64 chance;

static void emit(void *ctx, const struct diag *d) {
    (void)ctx;
    char line[DIAG_LINE_MAX];
    FUZZ_CHECK(d->text[0] && strnlen(d->text, DIAG_TEXT_MAX) < DIAG_TEXT_MAX);
    diag_format(d, line, sizeof(line));
    FUZZ_CHECK(strnlen(line, sizeof(line)) < sizeof(line));
}

static void check_name(const char *name) {
    FUZZ_CHECK(name[0] && name[0] != '-' && strnlen(name, VM_NAME_MAX + 1) <= VM_NAME_MAX);
    for (; *name; name++)
        FUZZ_CHECK((*name >= 'a' && *name <= 'z') || (*name >= '0' && *name <= '9') || *name == '-');
}

// A path leads nowhere but into the bundle.
static void check_path(const char *path) {
    FUZZ_CHECK(strnlen(path, CONFIG_PATH_MAX + 1) <= CONFIG_PATH_MAX);
    FUZZ_CHECK(path[0] != '/' && strncmp(path, "./", 2) != 0);
    for (const char *p = path; (p = strstr(p, "..")); p++)
        FUZZ_CHECK((p > path && p[-1] != '/') || (p[2] && p[2] != '/'));
}

static void check_valid(const struct vm_config *c) {
    check_name(c->name);
    FUZZ_CHECK(c->cpus >= 1 && c->cpus <= VM_CPUS_MAX);
    FUZZ_CHECK(c->memory && c->memory % BLOCK_SIZE == 0 && c->memory <= CONFIG_MEMORY_MAX);
    FUZZ_CHECK(strnlen(c->memory_text, sizeof(c->memory_text)) < sizeof(c->memory_text));
    FUZZ_CHECK(c->on_shutdown <= VM_ACTION_RESTART && c->on_reset <= VM_ACTION_RESTART);
    FUZZ_CHECK(c->on_crash <= VM_ACTION_RESTART && c->boot.protocol <= BOOT_RAW);
    FUZZ_CHECK(c->boot.kernel[0]);
    check_path(c->boot.kernel);
    check_path(c->boot.initrd);
    check_path(c->boot.dtb);
    FUZZ_CHECK(strnlen(c->boot.cmdline, CONFIG_CMDLINE_MAX + 1) <= CONFIG_CMDLINE_MAX);
    FUZZ_CHECK(c->sched.priority <= CONFIG_PRIORITY_MAX);
    if (c->boot.protocol == BOOT_RAW)
        FUZZ_CHECK(c->boot.has_load && (c->boot.has_entry || c->boot.entry == c->boot.load));
    for (u32 v = 0; v < c->cpus; v++) {
        FUZZ_CHECK(c->sched.affinity[v]);
        FUZZ_CHECK(c->sched.has_affinity || c->sched.affinity[v] == ~0ull);
    }
}

static void parse(const char *text, size_t len, u8 fill, struct vm_config *out) {
    struct diag_list diags = {.emit = emit};
    struct arena arena;
    memset(arena_memory, fill, MIN(sizeof(arena_memory), 4096 + 64 * len));
    memset(out, fill, sizeof(*out));
    arena_init(&arena, arena_memory, sizeof(arena_memory));
    int err = config_parse("vms/f.toml", text, len, &arena, &diags, out);
    FUZZ_CHECK((err == -EINVAL && diags.errors) || (err == 0 && !diags.errors));
    FUZZ_CHECK(out->valid == !err && strcmp(out->file, "vms/f.toml") == 0);
    if (out->valid)
        check_valid(out);
}

static int find(void *ctx, const char *path, struct plan_file *out) {
    static const u8 flat[64], elf[64] = "\177ELF\2\1\1", gzip[32] = {0x1f, 0x8b, 8};
    static const u8 linux_image[64] = {[16] = 0x20, [24] = 0xa, [56] = 'A', 'R', 'M', 0x64};
    FUZZ_CHECK(ctx == &chance);
    switch ((fuzz_hash(path, strlen(path), 0) ^ chance) % 7) {
    case 0:
        return -ENOENT;
    case 1:
        return -EOPNOTSUPP;
    case 2:
        *out = (struct plan_file){flat, sizeof(flat)};
        return 0;
    case 3:
        *out = (struct plan_file){elf, sizeof(elf)};
        return 0;
    case 4:
        *out = (struct plan_file){gzip, sizeof(gzip)};
        return 0;
    case 5:
        *out = (struct plan_file){flat, 0};
        return 0;
    default:
        *out = (struct plan_file){linux_image, sizeof(linux_image)};
        return 0;
    }
}

static void check_plan(u32 count) {
    static const u32 cpus[] = {0, 1, 2, 4, 64};
    struct diag_list diags = {.emit = emit};
    struct plan_machine machine = {
        .arch = (enum plan_arch)(chance >> 8 & 3),
        .cpu_count = cpus[(chance >> 16) % ARRAY_SIZE(cpus)],
        .free_known = chance >> 24 & 1,
        .free_memory = (chance >> 32 & 0x3ff) * BLOCK_SIZE,
        .guest_ram_base = 0x40000000,
        .guest_hole = chance >> 28 & 1 ? (struct gpa_range){gpa(GIB(2)), GIB(1)} : (struct gpa_range){},
        .find = chance >> 25 & 3 ? find : NULL,
        .ctx = &chance,
    };
    u64 taken = 0;
    u32 fit = 0;
    memset(plans, 0xff, sizeof(plans));
    u32 returned = plan_vms(&machine, configs, count, plans, &diags);
    for (u32 i = 0; i < count; i++) {
        if (!plans[i].ok)
            continue;
        FUZZ_CHECK(configs[i].valid);
        fit++;
        taken += configs[i].memory;
        for (u32 v = 0; v < configs[i].cpus && machine.cpu_count; v++) {
            FUZZ_CHECK(plans[i].cpu[v] < machine.cpu_count);
            FUZZ_CHECK(configs[i].sched.affinity[v] >> plans[i].cpu[v] & 1);
        }
    }
    FUZZ_CHECK(returned == fit);
    FUZZ_CHECK(!machine.free_known || taken <= machine.free_memory);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size) {
    struct diag_list diags = {.emit = emit};
    u32 count = 0, valid = 0;
    chance = fuzz_hash(data, size, 1);
    for (size_t at = 0; at <= size && count < FILES_MAX; count++) {
        const u8 *end = size > at ? memchr(data + at, 0xff, size - at) : NULL;
        size_t len = (end ? (size_t)(end - data) : size) - at;
        char *text = malloc(len + 1); // of its own, so that a byte too far shows
        memcpy(text, data + at, len);
        parse(text, len, 0x00, &configs[count]);
        parse(text, len, 0xff, &again);
        configs[count].valid == again.valid ? (void)0 : fuzz_failed(__FILE__, __LINE__, "the same twice");
        if (again.valid)
            FUZZ_CHECK(memcmp(again.name, configs[count].name, sizeof(again.name)) == 0 &&
                       memcmp(&again.boot, &configs[count].boot,
                              offsetof(struct vm_config, pos) - offsetof(struct vm_config, boot)) == 0);
        free(text);
        at += len + 1;
        snprintf(configs[count].file, sizeof(configs[count].file), "vms/%u.toml", count);
    }
    for (u32 i = 0; i < count; i++)
        valid += configs[i].valid;
    u32 doubles = config_check_names(configs, count, &diags);
    FUZZ_CHECK(diags.errors == doubles);
    for (u32 i = 0; i < count; i++) {
        valid -= configs[i].valid;
        for (u32 k = 0; k < i; k++)
            FUZZ_CHECK(!configs[i].valid || !configs[k].valid || strcmp(configs[i].name, configs[k].name) != 0);
    }
    FUZZ_CHECK(valid == doubles);
    check_plan(count);
    return 0;
}
