// SPDX-License-Identifier: Apache-2.0
// Loading is done in the order validate, lay out, describe the machine, copy: an error leaves the guest's memory as it
// was. How the machine is described, and where the guest finds that, is the architecture's (struct boot_ops).
#include "image_load.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "arch.h"
#include "gmem.h"
#include "image.h"
#include "image_loader.h"
#include "page.h"
#include "plan.h"
#include "task.h"
#include "vm.h"

enum { SYNC_CHUNK = 256 * 1024 };
#define INITRD_OFFSET_MAX MIB(128) // QEMU hw/arm/boot.c: not beyond lowmem, half-way up in a small machine

static void report(void *ctx, const struct diag *diag) {
    const struct loader *l = ctx;
    diag_format(diag, l->why, l->why_size);
}

int loader_fail(struct loader *l, const struct config_pos *at, const char *fmt, ...) {
    struct diag_list list = {.emit = report, .ctx = l};
    char text[DIAG_TEXT_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    diag_error(&list, l->cfg->file, at->line, at->col, "%s", text);
    return -EINVAL;
}

// ── Validate ────────────────────────────────────────────────────────────────────────────────────────────────────────
static int find_file(struct loader *l, const char *key, const char *path, const struct config_pos *at,
                     struct bundle_file *out) {
    *out = (struct bundle_file){};
    if (!path[0])
        return 0;
    int err = bundle_find(l->bundle, path, out);
    if (err == -ENOENT)
        return loader_fail(l, at, "%s = \"%.80s\": not in the bundle", key, path);
    if (err)
        return loader_fail(l, at, "%s = \"%.80s\": not a regular file in the bundle", key, path);
    if (!out->size)
        return loader_fail(l, at, "%s = \"%.80s\": the file is empty", key, path);
    return 0;
}

static int choose_protocol(struct loader *l) {
    const struct config_pos *at = &l->cfg->pos.kernel;
    const char *path = l->cfg->boot.kernel, *why = NULL;
    int err = image_probe(l->kernel_file.data, l->kernel_file.size, &l->info);
    enum image_kind kind = l->info.kind;
    bool is_elf = kind == IMAGE_ELF64;
    bool is_linux = kind == IMAGE_LINUX_ARM64 || kind == IMAGE_LINUX_RISCV64 || kind == IMAGE_LINUX_X86;
    l->protocol = l->cfg->boot.protocol;
    if (l->protocol == BOOT_RAW)
        return 0;
    if (image_is_compressed(kind))
        return loader_fail(l, at, "kernel = \"%.80s\": a %s; unpack it first", path, image_kind_name(kind));
    if (kind == IMAGE_RAW && l->protocol == BOOT_AUTO)
        return loader_fail(
            l, at, "kernel = \"%.80s\": neither a Linux image nor ELF; a flat binary needs protocol = \"raw\"", path);
    if (l->protocol == BOOT_AUTO)
        l->protocol = is_elf ? BOOT_ELF : BOOT_LINUX;
    if (l->protocol == BOOT_LINUX ? !is_linux : !is_elf)
        return loader_fail(l, at, "kernel = \"%.80s\": protocol = \"%s\" cannot boot a %s", path,
                           boot_protocol_name(l->protocol), image_kind_name(kind));
    if (err)
        return loader_fail(l, at, "kernel = \"%.80s\": a damaged %s: %s", path, image_kind_name(kind), l->info.why);
    if (!arch_image_bootable(&l->info, &why))
        return loader_fail(l, at, "kernel = \"%.80s\": %s", path, why);
    return 0;
}

// ── Lay out ─────────────────────────────────────────────────────────────────────────────────────────────────────────
static u64 ram_end(const struct loader *l) {
    return l->vm->ram.v + l->cfg->memory;
}

static bool piece_in_ram(const struct loader *l, struct piece p) {
    return gmem_contains(l->vm, gpa(p.start), p.size);
}

static int place_segment(void *ctx, const struct image_segment *s) {
    struct loader *l = ctx;
    if (!piece_in_ram(l, (struct piece){s->paddr, s->memsz}))
        return loader_fail(
            l, &l->cfg->pos.kernel,
            "kernel = \"%.80s\": a segment occupies 0x%llx to 0x%llx, the VM's memory is 0x%llx to 0x%llx",
            l->cfg->boot.kernel, (unsigned long long)s->paddr, (unsigned long long)(s->paddr + s->memsz - 1),
            (unsigned long long)l->vm->ram.v, (unsigned long long)(ram_end(l) - 1));
    u64 end = s->paddr + s->memsz;
    if (l->kernel.size) {
        end = MAX(end, l->kernel.start + l->kernel.size);
        l->kernel.start = MIN(l->kernel.start, s->paddr);
    } else {
        l->kernel.start = s->paddr;
    }
    l->kernel.size = end - l->kernel.start;
    return 0;
}

static int place_kernel(struct loader *l) {
    const char *path = l->cfg->boot.kernel, *why = NULL;
    char need[24], have[24];
    l->why[0] = '\0';
    switch (l->protocol) {
    case BOOT_ELF:
        if (image_elf_segments(l->kernel_file.data, l->kernel_file.size, place_segment, l, &why))
            return l->why[0] ? -EINVAL : loader_fail(l, &l->cfg->pos.kernel, "kernel = \"%.80s\": %s", path, why);
        l->entry = l->info.entry;
        break;
    case BOOT_RAW:
        l->kernel = (struct piece){l->cfg->boot.load, l->kernel_file.size};
        l->entry = l->cfg->boot.entry;
        break;
    default:
        l->kernel = (struct piece){l->vm->ram.v + image_linux_offset(&l->info), l->info.mem_size};
        l->entry = l->kernel.start + l->info.entry;
        break;
    }
    if (!piece_in_ram(l, l->kernel)) {
        u64 end = l->kernel.size;
        if (l->kernel.start >= l->vm->ram.v && l->kernel.start < ram_end(l))
            end += l->kernel.start - l->vm->ram.v; // with what lies below it
        else if (l->protocol == BOOT_RAW)
            return loader_fail(l, &l->cfg->pos.load, "load = 0x%llx: outside the VM's memory, 0x%llx to 0x%llx",
                               (unsigned long long)l->kernel.start, (unsigned long long)l->vm->ram.v,
                               (unsigned long long)(ram_end(l) - 1));
        return loader_fail(l, &l->cfg->pos.kernel, "kernel = \"%.80s\": needs %s, the VM has %s", path,
                           plan_format_size(end, need, sizeof(need)),
                           plan_format_size(l->cfg->memory, have, sizeof(have)));
    }
    if (!piece_in_ram(l, (struct piece){l->entry, 1}))
        return loader_fail(l, &l->cfg->pos.kernel,
                           "kernel = \"%.80s\": its entry point 0x%llx is outside the VM's memory", path,
                           (unsigned long long)l->entry);
    return 0;
}

// The lowest free place from `from` on, or false. `p` has its size; pieces of size 0 are not there.
bool loader_place(const struct loader *l, struct piece *p, u64 from, u64 align) {
    const struct piece *placed[] = {&l->kernel, &l->initrd, &l->description, &l->taken};
    p->start = align_up(from, align);
    for (u32 i = 0; i < ARRAY_SIZE(placed);) {
        const struct piece *q = placed[i++];
        if (q == p || !q->size || p->start >= q->start + q->size || q->start >= p->start + p->size)
            continue;
        p->start = align_up(q->start + q->size, align);
        i = 0; // start moved up: look at all again. It moves at most once past each
    }
    return piece_in_ram(l, *p);
}

static int place_files(struct loader *l) {
    char need[24], have[24];
    u64 ram = l->vm->ram.v, half = ram + MIN(l->cfg->memory / 2, INITRD_OFFSET_MAX);
    u64 initrd_size = l->initrd_file.size;
    const u64 initrd_from[] = {half, l->kernel.start, ram}; // the second and the third for small machines
    for (u32 i = 0; i < ARRAY_SIZE(initrd_from); i++) {
        l->initrd = (struct piece){0, initrd_size};
        l->description = (struct piece){}; // not placed yet
        if (initrd_size && !loader_place(l, &l->initrd, initrd_from[i], PAGE_SIZE))
            continue;
        if (l->ops->place(l, half))
            return 0;
    }
    u64 sum = l->kernel.size + initrd_size + (PAGE_SIZE << l->draft_order);
    return loader_fail(l, initrd_size ? &l->cfg->pos.initrd : &l->cfg->pos.kernel,
                       "no room in memory: the kernel%s and %s take %s (and the gaps between them), the VM has %s",
                       initrd_size ? ", the initrd" : "", l->ops->name, plan_format_size(sum, need, sizeof(need)),
                       plan_format_size(l->cfg->memory, have, sizeof(have)));
}

// ── Copy ────────────────────────────────────────────────────────────────────────────────────────────────────────────
// For a guest that starts with its caches off. Extents consist of 2 MiB blocks, so an aligned chunk is contiguous.
static void sync_code(struct loader *l, struct piece p) {
    for (u64 at = p.start, end = p.start + p.size; at < end;) {
        u64 stop = MIN(end, align_down(at, SYNC_CHUNK) + SYNC_CHUNK);
        arch_vm_sync_code(gmem_ptr(l->vm, gpa(at), stop - at), stop - at);
        task_breathe();
        at = stop;
    }
}

static void copy(struct loader *l, u64 to, const void *from, u64 size) {
    BUG_ON(gmem_write(l->vm, gpa(to), from, size)); // the layout has checked it
}

static int copy_segment(void *ctx, const struct image_segment *s) {
    struct loader *l = ctx;
    copy(l, s->paddr, (const u8 *)l->kernel_file.data + s->offset, s->filesz);
    sync_code(l, (struct piece){s->paddr, s->filesz});
    return 0;
}

static void copy_all(struct loader *l) {
    const u8 *kernel = l->kernel_file.data;
    if (l->protocol == BOOT_ELF) {
        BUG_ON(image_elf_segments(kernel, l->kernel_file.size, copy_segment, l, NULL));
    } else {
        u64 skip = l->protocol == BOOT_LINUX ? l->info.payload_offset : 0;
        u64 size = l->kernel_file.size - skip;
        copy(l, l->kernel.start, kernel + skip, size);
        sync_code(l, (struct piece){l->kernel.start, size});
    }
    if (l->initrd.size)
        copy(l, l->initrd.start, l->initrd_file.data, l->initrd.size);
    copy(l, l->description.start, l->draft, l->description.size);
    sync_code(l, l->description);
}

int image_load(struct vm *vm, const struct bundle *bundle, struct boot_entry *out, char *why, size_t why_size) {
    const struct vm_config *cfg = &vm->cfg;
    struct loader l = {
        .vm = vm, .cfg = cfg, .bundle = bundle, .ops = arch_boot_ops(), .why = why, .why_size = why_size};
    int err = find_file(&l, "kernel", cfg->boot.kernel, &cfg->pos.kernel, &l.kernel_file);
    if (!err)
        err = find_file(&l, "initrd", cfg->boot.initrd, &cfg->pos.initrd, &l.initrd_file);
    if (!err)
        err = find_file(&l, "dtb", cfg->boot.dtb, &cfg->pos.dtb, &l.dtb_file);
    if (!err)
        err = choose_protocol(&l);
    if (!err)
        err = place_kernel(&l);
    if (!err)
        err = l.ops->prepare(&l);
    if (err)
        return err;
    l.draft = page_alloc(l.draft_order);
    if (!l.draft) {
        const struct config_pos nowhere = {};
        (void)loader_fail(&l, &nowhere, "the hypervisor has no memory left to build %s in", l.ops->name);
        return -ENOMEM;
    }
    err = place_files(&l);
    if (!err)
        err = l.ops->build(&l);
    if (!err) {
        copy_all(&l);
        *out = (struct boot_entry){.entry = l.entry, .arg = l.arg};
    }
    page_free(l.draft, l.draft_order);
    return err;
}
