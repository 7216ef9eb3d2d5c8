// SPDX-License-Identifier: Apache-2.0
// Loading is done in the order validate, lay out, build the tree, copy: an error leaves the guest's memory as it was.
#include "image_load.h"

#include <libfdt.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "arch.h"
#include "fdt_gen.h"
#include "gmem.h"
#include "image.h"
#include "page.h"
#include "plan.h"
#include "task.h"
#include "vm.h"

enum {
    DTB_ALIGN = 2 * 1024 * 1024, // old Linux maps the tree by one 2 MiB block; smaller machines need newer kernels
    DTB_MAX_ORDER = 8,
    DTB_PATCH_ROOM = 16 * 1024, // what /chosen may grow by
    SYNC_CHUNK = 256 * 1024,
};
#define INITRD_OFFSET_MAX MIB(128) // QEMU hw/arm/boot.c: not beyond lowmem, half-way up in a small machine

struct piece { // of guest RAM; size 0: none
    u64 start, size;
};

struct loader {
    struct vm *vm;
    const struct vm_config *cfg;
    const struct bundle *bundle;
    char *why;
    size_t why_size;
    struct bundle_file kernel_file, initrd_file, dtb_file;
    struct image_info info;
    enum boot_protocol protocol; // never BOOT_AUTO
    struct piece kernel, initrd, dtb;
    u64 entry;
    void *tree; // 2^tree_order pages
    u32 tree_order;
};

static void report(void *ctx, const struct diag *diag) {
    const struct loader *l = ctx;
    diag_format(diag, l->why, l->why_size);
}

[[gnu::format(printf, 3, 4)]] static int fail(struct loader *l, const struct config_pos *at, const char *fmt, ...) {
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
        return fail(l, at, "%s = \"%.80s\": not in the bundle", key, path);
    if (err)
        return fail(l, at, "%s = \"%.80s\": not a regular file in the bundle", key, path);
    if (!out->size)
        return fail(l, at, "%s = \"%.80s\": the file is empty", key, path);
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
        return fail(l, at, "kernel = \"%.80s\": a %s; unpack it first", path, image_kind_name(kind));
    if (kind == IMAGE_RAW && l->protocol == BOOT_AUTO)
        return fail(l, at, "kernel = \"%.80s\": neither a Linux image nor ELF; a flat binary needs protocol = \"raw\"",
                    path);
    if (l->protocol == BOOT_AUTO)
        l->protocol = is_elf ? BOOT_ELF : BOOT_LINUX;
    if (l->protocol == BOOT_LINUX ? !is_linux : !is_elf)
        return fail(l, at, "kernel = \"%.80s\": protocol = \"%s\" cannot boot a %s", path,
                    boot_protocol_name(l->protocol), image_kind_name(kind));
    if (err)
        return fail(l, at, "kernel = \"%.80s\": a damaged %s: %s", path, image_kind_name(kind), l->info.why);
    if (!arch_image_bootable(&l->info, &why))
        return fail(l, at, "kernel = \"%.80s\": %s", path, why);
    return 0;
}

// ── Lay out ─────────────────────────────────────────────────────────────────────────────────────────────────────────
static u64 ram_end(const struct loader *l) {
    return l->vm->ram.v + l->cfg->memory;
}

static bool piece_in_ram(const struct loader *l, struct piece p) {
    u64 offset = p.start - l->vm->ram.v;
    return p.start >= l->vm->ram.v && offset <= l->cfg->memory && p.size <= l->cfg->memory - offset;
}

static int place_segment(void *ctx, const struct image_segment *s) {
    struct loader *l = ctx;
    if (!piece_in_ram(l, (struct piece){s->paddr, s->memsz}))
        return fail(l, &l->cfg->pos.kernel,
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
            return l->why[0] ? -EINVAL : fail(l, &l->cfg->pos.kernel, "kernel = \"%.80s\": %s", path, why);
        l->entry = l->info.entry;
        break;
    case BOOT_RAW:
        l->kernel = (struct piece){l->cfg->boot.load, l->kernel_file.size};
        l->entry = l->cfg->boot.entry;
        break;
    default:
        l->kernel = (struct piece){l->vm->ram.v + arch_image_offset(&l->info), l->info.mem_size};
        l->entry = l->kernel.start + l->info.entry;
        break;
    }
    if (!piece_in_ram(l, l->kernel)) {
        u64 end = l->kernel.size;
        if (l->kernel.start >= l->vm->ram.v && l->kernel.start < ram_end(l))
            end += l->kernel.start - l->vm->ram.v; // with what lies below it
        else if (l->protocol == BOOT_RAW)
            return fail(l, &l->cfg->pos.load, "load = 0x%llx: outside the VM's memory, 0x%llx to 0x%llx",
                        (unsigned long long)l->kernel.start, (unsigned long long)l->vm->ram.v,
                        (unsigned long long)(ram_end(l) - 1));
        return fail(l, &l->cfg->pos.kernel, "kernel = \"%.80s\": needs %s, the VM has %s", path,
                    plan_format_size(end, need, sizeof(need)), plan_format_size(l->cfg->memory, have, sizeof(have)));
    }
    if (!piece_in_ram(l, (struct piece){l->entry, 1}))
        return fail(l, &l->cfg->pos.kernel, "kernel = \"%.80s\": its entry point 0x%llx is outside the VM's memory",
                    path, (unsigned long long)l->entry);
    return 0;
}

// The lowest free place from `from` on, or false. `p` has its size; pieces of size 0 are not there.
static bool place_from(const struct loader *l, struct piece *p, u64 from, u64 align) {
    const struct piece *placed[] = {&l->kernel, &l->initrd, &l->dtb};
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

// The device tree lies above all; below a kernel that leaves room there, if it must. Software that is not Linux looks
// for it at the start of RAM, as with QEMU's -bios.
static bool place_dtb(struct loader *l, u64 half) {
    u64 ram = l->vm->ram.v;
    if (l->protocol != BOOT_LINUX && place_from(l, &l->dtb, ram, PAGE_SIZE) && l->dtb.start == ram)
        return true;
    u64 above = l->initrd.size ? l->initrd.start : half;
    return place_from(l, &l->dtb, above, DTB_ALIGN) || place_from(l, &l->dtb, ram, DTB_ALIGN) ||
           place_from(l, &l->dtb, half, PAGE_SIZE) || place_from(l, &l->dtb, ram, PAGE_SIZE);
}

static int place_files(struct loader *l) {
    char need[24], have[24];
    u64 ram = l->vm->ram.v, half = ram + MIN(l->cfg->memory / 2, INITRD_OFFSET_MAX);
    u64 initrd_size = l->initrd_file.size, dtb_size = PAGE_SIZE << l->tree_order;
    const u64 initrd_from[] = {half, l->kernel.start, ram}; // the second and the third for small machines
    for (u32 i = 0; i < ARRAY_SIZE(initrd_from); i++) {
        l->initrd = (struct piece){0, initrd_size};
        l->dtb = (struct piece){}; // not placed yet
        if (initrd_size && !place_from(l, &l->initrd, initrd_from[i], PAGE_SIZE))
            continue;
        l->dtb.size = dtb_size;
        if (place_dtb(l, half))
            return 0;
    }
    u64 sum = l->kernel.size + initrd_size + dtb_size;
    return fail(
        l, initrd_size ? &l->cfg->pos.initrd : &l->cfg->pos.kernel,
        "no room in memory: the kernel%s and the device tree take %s (and the gaps between them), the VM has %s",
        initrd_size ? ", the initrd" : "", plan_format_size(sum, need, sizeof(need)),
        plan_format_size(l->cfg->memory, have, sizeof(have)));
}

// ── Device tree ─────────────────────────────────────────────────────────────────────────────────────────────────────
static int tree_alloc(struct loader *l) {
    u64 size = l->dtb_file.size ? l->dtb_file.size + DTB_PATCH_ROOM : FDT_GEN_SIZE;
    char max[24];
    while (PAGE_SIZE << l->tree_order < size && l->tree_order <= DTB_MAX_ORDER)
        l->tree_order++;
    if (l->tree_order > DTB_MAX_ORDER)
        return fail(l, &l->cfg->pos.dtb, "dtb = \"%.80s\": larger than %s", l->cfg->boot.dtb,
                    plan_format_size((PAGE_SIZE << DTB_MAX_ORDER) - DTB_PATCH_ROOM, max, sizeof(max)));
    l->tree = page_alloc(l->tree_order);
    if (l->tree)
        return 0;
    fail(l, &(struct config_pos){}, "the hypervisor has no memory left to build the device tree in");
    return -ENOMEM;
}

static int tree_build(struct loader *l) {
    size_t size = PAGE_SIZE << l->tree_order;
    const char *why = NULL;
    int err;
    if (l->dtb_file.size) {
        memcpy(l->tree, l->dtb_file.data, l->dtb_file.size);
        err = fdt_gen_patch(l->vm, gpa(l->initrd.start), l->initrd.size, l->tree, l->dtb_file.size, size, &why);
        if (err)
            return fail(l, &l->cfg->pos.dtb, "dtb = \"%.80s\": not a well-formed device tree: %s", l->cfg->boot.dtb,
                        why);
    } else {
        err = fdt_gen(l->vm, gpa(l->initrd.start), l->initrd.size, l->tree, size);
        BUG_ON(err); // the buffer holds any VM's
    }
    l->dtb.size = fdt_totalsize(l->tree);
    return 0;
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
    copy(l, l->dtb.start, l->tree, l->dtb.size);
    sync_code(l, l->dtb);
}

int image_load(struct vm *vm, const struct bundle *bundle, struct boot_entry *out, char *why, size_t why_size) {
    const struct vm_config *cfg = &vm->cfg;
    struct loader l = {.vm = vm, .cfg = cfg, .bundle = bundle, .why = why, .why_size = why_size};
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
        err = tree_alloc(&l);
    if (err)
        return err;
    err = place_files(&l);
    if (!err)
        err = tree_build(&l);
    if (!err) {
        copy_all(&l);
        *out = (struct boot_entry){.entry = l.entry, .arg = l.dtb.start};
    }
    page_free(l.tree, l.tree_order);
    return err;
}
