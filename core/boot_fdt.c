// SPDX-License-Identifier: Apache-2.0
// Describes a guest's machine by a device tree, generated or the configuration's own.
#include <libfdt.h>
#include <string.h>

#include "arch.h"
#include "fdt_gen.h"
#include "image_loader.h"
#include "plan.h"
#include "vm.h"

enum {
    DTB_ALIGN = 2 * 1024 * 1024, // old Linux maps the tree by one 2 MiB block; smaller machines need newer kernels
    DTB_MAX_ORDER = 8,
    DTB_PATCH_ROOM = 16 * 1024, // what /chosen may grow by
};

static int fdt_prepare(struct loader *l) {
    u64 size = l->dtb_file.size ? l->dtb_file.size + DTB_PATCH_ROOM : FDT_GEN_SIZE;
    char max[24];
    while (PAGE_SIZE << l->draft_order < size && l->draft_order <= DTB_MAX_ORDER)
        l->draft_order++;
    if (l->draft_order > DTB_MAX_ORDER)
        return loader_fail(l, &l->cfg->pos.dtb, "dtb = \"%.80s\": larger than %s", l->cfg->boot.dtb,
                           plan_format_size((PAGE_SIZE << DTB_MAX_ORDER) - DTB_PATCH_ROOM, max, sizeof(max)));
    return 0;
}

// The device tree lies above all; below a kernel that leaves room there, if it must. Software that is not Linux looks
// for it at the start of RAM, as with QEMU's -bios.
static bool fdt_place(struct loader *l, u64 half) {
    u64 ram = l->vm->ram.v;
    l->description.size = PAGE_SIZE << l->draft_order;
    if (l->protocol != BOOT_LINUX && loader_place(l, &l->description, ram, PAGE_SIZE) && l->description.start == ram)
        return true;
    u64 above = l->initrd.size ? l->initrd.start : half;
    return loader_place(l, &l->description, above, DTB_ALIGN) || loader_place(l, &l->description, ram, DTB_ALIGN) ||
           loader_place(l, &l->description, half, PAGE_SIZE) || loader_place(l, &l->description, ram, PAGE_SIZE);
}

static int fdt_build(struct loader *l) {
    size_t size = PAGE_SIZE << l->draft_order;
    const char *why = NULL;
    int err;
    if (l->dtb_file.size) {
        memcpy(l->draft, l->dtb_file.data, l->dtb_file.size);
        err = fdt_gen_patch(l->vm, gpa(l->initrd.start), l->initrd.size, l->draft, l->dtb_file.size, size, &why);
        if (err)
            return loader_fail(l, &l->cfg->pos.dtb, "dtb = \"%.80s\": not a well-formed device tree: %s",
                               l->cfg->boot.dtb, why);
    } else {
        err = fdt_gen(l->vm, gpa(l->initrd.start), l->initrd.size, l->draft, size);
        BUG_ON(err); // the buffer holds any VM's
    }
    l->description.size = fdt_totalsize(l->draft);
    l->arg = l->description.start;
    return 0;
}

const struct boot_ops boot_fdt_ops = {
    .name = "the device tree",
    .prepare = fdt_prepare,
    .place = fdt_place,
    .build = fdt_build,
};
