// SPDX-License-Identifier: Apache-2.0
#include "plan.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "image.h"
#include "pc_map.h"

// One VM under examination.
struct check {
    const struct plan_machine *machine;
    const struct vm_config *config;
    struct diag_list *diags;
};

[[gnu::format(printf, 3, 4)]] static void plan_fail(const struct check *c, const struct config_pos *at, const char *fmt,
                                                    ...) {
    char text[DIAG_TEXT_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    diag_error(c->diags, c->config->file, at->line, at->col, "%s", text);
}

char *plan_format_size(u64 bytes, char *buf, size_t size) {
    static const char units[] = "KMG";
    if (bytes < KIB(1)) {
        snprintf(buf, size, "%u bytes", (unsigned)bytes);
        return buf;
    }
    u32 unit = 0;
    while (unit < 2 && bytes >> (10 * (unit + 2)) != 0)
        unit++;
    u64 one = KIB(1) << (10 * unit);
    u64 whole = bytes / one, tenth = bytes % one * 10 / one;
    if (tenth == 0)
        snprintf(buf, size, "%llu %ciB", (unsigned long long)whole, units[unit]);
    else
        snprintf(buf, size, "%llu.%u %ciB", (unsigned long long)whole, (unsigned)tenth, units[unit]);
    return buf;
}

// ---- images

static enum image_machine wanted_machine(enum plan_arch arch) {
    static const enum image_machine machines[] = {
        [PLAN_ARCH_ANY] = MACHINE_UNKNOWN,
        [PLAN_ARCH_AARCH64] = MACHINE_AARCH64,
        [PLAN_ARCH_RISCV64] = MACHINE_RISCV64,
        [PLAN_ARCH_X86_64] = MACHINE_X86_64,
    };
    return machines[arch];
}

// The file of a key; false: reported that it is not there, or nothing is named or can be looked up.
static bool find_file(const struct check *c, const char *key, const char *path, const struct config_pos *at,
                      struct plan_file *out) {
    const char *where = c->machine->where != NULL ? c->machine->where : "the bundle";
    if (path[0] == '\0' || c->machine->find == NULL)
        return false;
    *out = (struct plan_file){0};
    int err = c->machine->find(c->machine->ctx, path, out);
    if (err == -ENOENT)
        plan_fail(c, at, "%s = \"%.80s\": not in %.60s", key, path, where);
    else if (err < 0)
        plan_fail(c, at, "%s = \"%.80s\": not a readable regular file in %.60s", key, path, where);
    else if (out->size == 0)
        plan_fail(c, at, "%s = \"%.80s\": the file is empty", key, path);
    else
        return true;
    return false;
}

static bool kind_is_linux(enum image_kind kind) {
    return kind == IMAGE_LINUX_ARM64 || kind == IMAGE_LINUX_RISCV64 || kind == IMAGE_LINUX_X86;
}

// Is it an image that this protocol boots, on this machine?
static bool check_kind(const struct check *c, const struct image_info *info) {
    const struct vm_config *config = c->config;
    const struct config_pos *at = &config->pos.kernel;
    const char *path = config->boot.kernel, *kind = image_kind_name(info->kind);
    enum boot_protocol protocol = config->boot.protocol;
    enum image_machine machine = wanted_machine(c->machine->arch);
    if (protocol == BOOT_RAW)
        return true;
    bool is_linux = kind_is_linux(info->kind), is_elf = info->kind == IMAGE_ELF64;
    if (image_is_compressed(info->kind)) {
        plan_fail(c, at, "kernel = \"%.80s\": %s; unpack it first", path, kind);
    } else if (info->kind == IMAGE_RAW && protocol == BOOT_AUTO) {
        plan_fail(c, at, "kernel = \"%.80s\": neither a Linux image nor ELF; a flat binary needs protocol = \"raw\"",
                  path);
    } else if ((protocol == BOOT_LINUX && !is_linux) || (protocol == BOOT_ELF && !is_elf) || (!is_linux && !is_elf)) {
        plan_fail(c, at, "kernel = \"%.80s\": protocol = \"%s\" cannot boot it (%s)", path,
                  boot_protocol_name(protocol), kind);
    } else if (machine != MACHINE_UNKNOWN && info->machine != machine) {
        plan_fail(c, at, "kernel = \"%.80s\": built for %s, this machine is %s", path,
                  image_machine_name(info->machine), image_machine_name(machine));
    } else {
        return true;
    }
    return false;
}

// ---- where in the guest's memory

struct part {
    u64 start, end;
};

// The part of the VM's RAM that an address is in; the first one if it is in none. Only of a known architecture.
static struct part ram_part(const struct check *c, u64 at) {
    const struct gpa_range *hole = &c->machine->guest_hole;
    const u64 base = c->machine->guest_ram_base, memory = c->config->memory;
    const u64 low = hole->size != 0 ? MIN(memory, hole->start.v - base) : memory;
    const struct part high = {hole->start.v + hole->size, hole->start.v + hole->size + memory - low};
    return low < memory && at >= high.start && at < high.end ? high : (struct part){base, base + low};
}

// What a PC has in the midst of its RAM is nobody's. `start` up to `end` is in RAM. False: reported.
static bool check_pc(const struct check *c, u64 start, u64 end) {
    if (c->machine->arch != PLAN_ARCH_X86_64 || start >= PC_HIGH || end <= PC_LOW_END)
        return true;
    plan_fail(c, &c->config->pos.kernel,
              "kernel = \"%.80s\": occupies 0x%llx to 0x%llx; a PC has video memory and firmware from 0x%llx to 0x%llx",
              c->config->boot.kernel, (unsigned long long)start, (unsigned long long)(end - 1), PC_LOW_END,
              PC_HIGH - 1);
    return false;
}

static void check_entry(const struct check *c, u64 size) {
    const struct vm_config *config = c->config;
    const u64 load = config->boot.load, entry = config->boot.entry;
    const struct config_pos *at = config->boot.has_entry ? &config->pos.entry : &config->pos.load;
    if (entry < load || entry - load >= size)
        plan_fail(c, at, "entry = 0x%llx: outside the image, 0x%llx to 0x%llx", (unsigned long long)entry,
                  (unsigned long long)load, (unsigned long long)(load + size - 1));
    else if (c->machine->arch == PLAN_ARCH_X86_64 && entry < PC_HIGH && entry % 16 != 0)
        plan_fail(c, at, "entry = 0x%llx: below 1 MiB a PC begins in real mode, at a multiple of 16",
                  (unsigned long long)entry);
}

static void check_raw(const struct check *c, u64 size) {
    const struct vm_config *config = c->config;
    const u64 load = config->boot.load;
    if (c->machine->arch == PLAN_ARCH_ANY)
        return; // nor is it known where the guest's memory is
    const struct part ram = ram_part(c, load);
    if (load < ram.start || load >= ram.end)
        plan_fail(c, &config->pos.load, "load = 0x%llx: outside the VM's memory, 0x%llx to 0x%llx",
                  (unsigned long long)load, (unsigned long long)ram.start, (unsigned long long)(ram.end - 1));
    else if (size > ram.end - load)
        plan_fail(c, &config->pos.load,
                  "load = 0x%llx: the image would reach beyond the VM's memory, which ends at 0x%llx",
                  (unsigned long long)load, (unsigned long long)(ram.end - 1));
    else if (check_pc(c, load, load + size))
        check_entry(c, size);
}

struct segments {
    const struct check *check;
    struct part all; // from the lowest to the highest; end 0: none yet
};

static int check_segment(void *ctx, const struct image_segment *s) {
    struct segments *segments = ctx;
    const struct check *c = segments->check;
    const struct part ram = ram_part(c, s->paddr);
    if (s->paddr < ram.start || s->paddr > ram.end || s->memsz > ram.end - s->paddr) {
        plan_fail(c, &c->config->pos.kernel,
                  "kernel = \"%.80s\": a segment occupies 0x%llx to 0x%llx, the VM's memory is 0x%llx to 0x%llx",
                  c->config->boot.kernel, (unsigned long long)s->paddr, (unsigned long long)(s->paddr + s->memsz - 1),
                  (unsigned long long)ram.start, (unsigned long long)(ram.end - 1));
        return -EINVAL;
    }
    struct part *all = &segments->all;
    all->start = all->end != 0 ? MIN(all->start, s->paddr) : s->paddr;
    all->end = MAX(all->end, s->paddr + s->memsz);
    return 0;
}

// An ELF file says itself where it wants to be. As check_kernel.
static u64 check_elf(const struct check *c, const struct plan_file *file, const struct image_info *info) {
    struct segments segments = {.check = c};
    const int err = image_elf_segments(file->data, file->size, check_segment, &segments, NULL);
    return err == 0 && check_pc(c, segments.all.start, segments.all.end) ? info->mem_size : 0;
}

// Linux is put where its boot protocol wants it. As check_kernel.
static u64 check_linux(const struct check *c, const struct image_info *info) {
    const struct vm_config *config = c->config;
    char need[24], have[24];
    const u64 end = image_linux_offset(info) + info->mem_size;
    if (end <= config->memory)
        return info->mem_size;
    plan_fail(c, &config->pos.kernel, "kernel = \"%.80s\": needs %s, the VM has %s", config->boot.kernel,
              plan_format_size(end, need, sizeof(need)), plan_format_size(config->memory, have, sizeof(have)));
    return 0;
}

// What the kernel takes of the VM's memory; 0 after an error.
static u64 check_kernel(const struct check *c) {
    const struct vm_config *config = c->config;
    struct plan_file file;
    struct image_info info;
    if (!find_file(c, "kernel", config->boot.kernel, &config->pos.kernel, &file))
        return 0;
    int err = image_probe(file.data, file.size, &info);
    if (!check_kind(c, &info))
        return 0;
    if (config->boot.protocol == BOOT_RAW) {
        check_raw(c, file.size);
        return file.size;
    }
    if (err != 0) {
        plan_fail(c, &config->pos.kernel, "kernel = \"%.80s\": damaged (%s): %s", config->boot.kernel,
                  image_kind_name(info.kind), info.why);
        return 0;
    }
    if (info.kind != IMAGE_ELF64)
        return check_linux(c, &info);
    return c->machine->arch == PLAN_ARCH_ANY ? info.mem_size : check_elf(c, &file, &info);
}

static void check_images(const struct check *c) {
    const struct vm_config *config = c->config;
    struct plan_file initrd = {0}, dtb;
    char need[24], have[24];
    u64 kernel_size = check_kernel(c);
    bool has_initrd = find_file(c, "initrd", config->boot.initrd, &config->pos.initrd, &initrd);
    if (has_initrd && (initrd.size > config->memory || kernel_size > config->memory - initrd.size)) {
        plan_fail(c, &config->pos.initrd, "initrd = \"%.80s\": with the kernel it needs %s, the VM has %s",
                  config->boot.initrd, plan_format_size(kernel_size + initrd.size, need, sizeof(need)),
                  plan_format_size(config->memory, have, sizeof(have)));
    }
    if (config->boot.dtb[0] != '\0' && c->machine->arch == PLAN_ARCH_X86_64) {
        plan_fail(c, &config->pos.dtb, "dtb = \"%.80s\": an x86_64 guest has ACPI tables, and no device tree",
                  config->boot.dtb);
    } else if (find_file(c, "dtb", config->boot.dtb, &config->pos.dtb, &dtb)) {
        static const u8 magic[] = {0xd0, 0x0d, 0xfe, 0xed};
        if (dtb.size < sizeof(magic) || memcmp(dtb.data, magic, sizeof(magic)) != 0)
            plan_fail(c, &config->pos.dtb, "dtb = \"%.80s\": not a flattened device tree", config->boot.dtb);
    }
}

// ---- memory and CPUs

static void check_memory(const struct check *c, u64 free_memory) {
    const struct vm_config *config = c->config;
    char asked[24], left[24];
    if (c->machine->free_known && config->memory > free_memory)
        plan_fail(c, &config->pos.memory, "memory = \"%s\": %s asked, %s free", config->memory_text,
                  plan_format_size(config->memory, asked, sizeof(asked)),
                  plan_format_size(free_memory, left, sizeof(left)));
}

static u64 cpus_mask(u32 cpu_count) {
    return cpu_count >= CONFIG_PCPU_MAX ? ~0ull : BIT(cpu_count) - 1;
}

static void check_affinity(const struct check *c) {
    const struct vm_config *config = c->config;
    u32 cpus = c->machine->cpu_count;
    if (cpus == 0 || !config->sched.has_affinity)
        return;
    for (u32 i = 0; i < config->cpus; i++) {
        const struct config_pos *at = &config->pos.affinity[i];
        u64 absent = config->sched.affinity[i] & ~cpus_mask(cpus);
        bool same_list = i > 0 && at->line == at[-1].line && at->col == at[-1].col; // a flat one: say it once
        if (absent == 0 || same_list)
            continue;
        if (cpus == 1)
            plan_fail(c, at, "affinity: pCPU %d does not exist; the machine has only 0", __builtin_ctzll(absent));
        else
            plan_fail(c, at, "affinity: pCPU %d does not exist; the machine has 0 to %u", __builtin_ctzll(absent),
                      cpus - 1);
    }
}

int plan_place_vcpu(const u32 *load, u32 cpu_count, u64 affinity_mask) {
    int best = -ENODEV;
    for (u32 cpu = 0; cpu < cpu_count && cpu < CONFIG_PCPU_MAX; cpu++) {
        if ((affinity_mask & BIT(cpu)) && (best < 0 || load[cpu] < load[best]))
            best = (int)cpu;
    }
    return best;
}

static void place_vm(const struct plan_machine *machine, const struct vm_config *config, u32 *load,
                     struct plan_vm *out) {
    for (u32 i = 0; i < config->cpus; i++) {
        int cpu = plan_place_vcpu(load, machine->cpu_count, config->sched.affinity[i]);
        if (cpu < 0)
            continue; // the CPUs are unknown: check_affinity has seen to all other cases
        out->cpu[i] = (u32)cpu;
        load[cpu]++;
    }
}

u32 plan_vms(const struct plan_machine *machine, const struct vm_config *configs, u32 count, struct plan_vm *out,
             struct diag_list *diags) {
    u32 load[CONFIG_PCPU_MAX] = {0}, ok = 0;
    u64 free_memory = machine->free_memory;
    for (u32 i = 0; i < count; i++) {
        struct check c = {machine, &configs[i], diags};
        u32 errors_before = diags->errors;
        out[i] = (struct plan_vm){0};
        if (!configs[i].valid)
            continue;
        check_memory(&c, free_memory);
        check_images(&c);
        check_affinity(&c);
        out[i].ok = diags->errors == errors_before;
        if (out[i].ok && machine->free_known)
            free_memory -= configs[i].memory;
        ok += out[i].ok;
    }
    for (int pinned = 1; pinned >= 0; pinned--) {
        for (u32 i = 0; i < count; i++) {
            if (out[i].ok && configs[i].sched.has_affinity == (bool)pinned)
                place_vm(machine, &configs[i], load, &out[i]);
        }
    }
    return ok;
}
