// SPDX-License-Identifier: Apache-2.0
// The configurations of one call: read, checked by the core's own parser and planner, and the images they name.
#include "project.h"

#include <stdlib.h>
#include <string.h>

#include "bundle.h"
#include "pc_map.h"

struct loader {
    const struct project_options *options;
    struct report report;
    struct project *project;
    char *const *files;
    size_t count;
};

// ---- options

static const struct arch {
    const char *name;
    enum plan_arch arch;
    u64 ram_base;
    struct gpa_range hole;
} archs[] = {
    {"aarch64", PLAN_ARCH_AARCH64, 0x40000000, {}},
    {"riscv64", PLAN_ARCH_RISCV64, 0x80000000, {}},
    {"x86_64", PLAN_ARCH_X86_64, 0, {{PC_HOLE}, GIB(4) - PC_HOLE}},
};

static const struct arch *find_arch(const char *name) {
    for (size_t i = 0; i < ARRAY_SIZE(archs); i++) {
        if (strcmp(archs[i].name, name) == 0)
            return &archs[i];
    }
    return NULL;
}

// "4": 1…64; 0 when it is not.
static u32 parse_smp(const char *text) {
    char *end;
    unsigned long v = strtoul(text, &end, 10);
    return text[0] >= '0' && text[0] <= '9' && *end == '\0' && v >= 1 && v <= CONFIG_PCPU_MAX ? (u32)v : 0;
}

// "2G", "512M": bytes; 0 when it is not.
static u64 parse_memory(const char *text) {
    char *end;
    unsigned long long v = strtoull(text, &end, 10);
    u32 shift = *end == 'G' ? 30 : *end == 'M' ? 20 : 0;
    if (text[0] < '0' || text[0] > '9' || shift == 0 || end[1] != '\0' || v > GIB(1024))
        return 0;
    return (u64)v << shift;
}

bool project_options_valid(const struct project_options *options) {
    if (options->arch != NULL && find_arch(options->arch) == NULL)
        fprintf(stderr, "bulkhead: --arch %s: must be aarch64, riscv64 or x86_64\n", options->arch);
    else if (options->smp != NULL && parse_smp(options->smp) == 0)
        fprintf(stderr, "bulkhead: --smp %s: must be 1 to %d\n", options->smp, CONFIG_PCPU_MAX);
    else if (options->memory != NULL && parse_memory(options->memory) == 0)
        fprintf(stderr, "bulkhead: --memory %s: must be a number and M or G, such as 2G\n", options->memory);
    else
        return true;
    return false;
}

// ---- images

// Called by the planner for each file that a configuration names: it is opened once, and remembered for the bundle.
static int find_image(void *ctx, const char *path, struct plan_file *out) {
    struct loader *l = ctx;
    struct project *project = l->project;
    struct hostfile file;
    const char *why;
    for (size_t i = 0; i < project->image_count; i++) {
        const struct project_file *image = &project->images[i];
        if (strcmp(image->path, path) == 0) {
            *out = (struct plan_file){image->file.data, image->file.size};
            return 0;
        }
    }
    char *host_path = host_format("%s/%s", l->options->dir, path);
    enum hostfile_status status = hostfile_open(host_path, &file, &why);
    free(host_path);
    if (status != HOSTFILE_OK)
        return status == HOSTFILE_ABSENT ? -ENOENT : -EINVAL;
    if (file.size > UINT32_MAX)
        return -EINVAL; // a newc archive cannot hold it
    project->images[project->image_count++] = (struct project_file){host_format("%s", path), file};
    *out = (struct plan_file){file.data, file.size};
    return 0;
}

// ---- configurations

// The name in the bundle: vms/ and the file's own. NULL after an error.
static char *bundle_path(struct loader *l, size_t index) {
    const char *path = l->files[index], *slash = strrchr(path, '/'), *name = slash != NULL ? slash + 1 : path;
    size_t len = strlen(name);
    if (len <= 5 || strcmp(name + len - 5, ".toml") != 0 || name[0] == '.') {
        diag_error(&l->report.diags, path, 0, 0, "the file of a VM must be called NAME.toml");
        return NULL;
    }
    char *out = host_format("vms/%s", name);
    for (size_t i = 0; i < index; i++) {
        if (l->project->configs[i].path != NULL && strcmp(l->project->configs[i].path, out) == 0) {
            diag_error(&l->report.diags, path, 0, 0, "would be %s in the bundle, as is %s", out, l->files[i]);
            free(out);
            return NULL;
        }
    }
    return out;
}

static void load_config(struct loader *l, size_t index, struct arena *arena, struct vm_config *config) {
    struct project_file *out = &l->project->configs[index];
    const char *path = l->files[index], *why;
    if (hostfile_open(path, &out->file, &why) != HOSTFILE_OK) {
        diag_error(&l->report.diags, path, 0, 0, "%s", why);
        return;
    }
    out->path = bundle_path(l, index);
    arena_reset(arena);
    if (config_parse(path, out->file.data, out->file.size, arena, &l->report.diags, config) != 0)
        return; // reported, and not valid
    if (out->path == NULL)
        config->valid = false;
}

static void plan_configs(struct loader *l, const struct vm_config *configs) {
    const struct project_options *options = l->options;
    const struct arch *arch = options->arch != NULL ? find_arch(options->arch) : NULL;
    struct plan_vm *plan = host_alloc(l->count * sizeof(*plan));
    bool here = options->dir != NULL && strcmp(options->dir, ".") == 0;
    struct plan_machine machine = {
        .arch = arch != NULL ? arch->arch : PLAN_ARCH_ANY,
        .guest_ram_base = arch != NULL ? arch->ram_base : 0,
        .guest_hole = arch != NULL ? arch->hole : (struct gpa_range){},
        .cpu_count = options->smp != NULL ? parse_smp(options->smp) : 0,
        .free_known = options->memory != NULL,
        .free_memory = options->memory != NULL ? parse_memory(options->memory) : 0,
        .find = options->dir != NULL ? find_image : NULL,
        .ctx = l,
        .where = here ? "the current directory" : options->dir,
    };
    plan_vms(&machine, configs, (u32)l->count, plan, &l->report.diags);
    free(plan);
}

unsigned project_load(const struct project_options *options, char *const *files, size_t count, struct project *out) {
    struct loader l = {.options = options, .project = out, .files = files, .count = count};
    struct vm_config *configs = host_alloc(count * sizeof(*configs));
    void *memory = host_alloc(CONFIG_ARENA_SIZE);
    struct arena arena;
    arena_init(&arena, memory, CONFIG_ARENA_SIZE);
    report_init(&l.report);
    *out = (struct project){
        .config_count = count,
        .configs = host_alloc(count * sizeof(struct project_file)),
        .images = host_alloc(3 * count * sizeof(struct project_file)), // kernel, initrd, dtb
    };
    for (size_t i = 0; i < count; i++)
        load_config(&l, i, &arena, &configs[i]);
    config_check_names(configs, (u32)count, &l.report.diags);
    plan_configs(&l, configs);
    free(memory);
    free(configs);
    return report_print(&l.report, files, count);
}

static void free_files(struct project_file *files, size_t count) {
    for (size_t i = 0; i < count; i++)
        free(files[i].path);
    free(files);
}

void project_free(struct project *project) {
    free_files(project->configs, project->config_count);
    free_files(project->images, project->image_count);
}
