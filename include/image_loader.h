// SPDX-License-Identifier: Apache-2.0
// The loader's working state, and what of loading differs between architectures: how a guest is told what its machine
// is made of. core/boot_fdt.c does it by a device tree, core/boot_pc.c by what a PC's boot loader and firmware leave.
#pragma once

#include "bundle.h"
#include "config.h"
#include "image.h"
#include "types.h"

struct vm;

struct piece { // of guest RAM; size 0: none
    u64 start, size;
};

struct loader {
    struct vm *vm;
    const struct vm_config *cfg;
    const struct bundle *bundle;
    const struct boot_ops *ops;
    char *why;
    size_t why_size;
    struct bundle_file kernel_file, initrd_file, dtb_file;
    struct image_info info;
    enum boot_protocol protocol; // never BOOT_AUTO
    struct piece kernel, initrd, description;
    struct piece taken; // where nothing may be placed, set by prepare
    u64 entry, arg;     // for the primary vCPU; the kernel's entry point before build
    void *draft;        // the description's bytes, 2^draft_order zeroed pages
    u32 draft_order;
};

// Called in this order, once each but for place. The first errors of prepare and build are said by loader_fail. Task.
struct boot_ops {
    const char *name; // "the device tree", for messages
    // The kernel is placed. Sets draft_order, and taken. 0, or a negative errno.
    int (*prepare)(struct loader *l);
    // The initrd is placed as well: sets description.start, and .size to what it may need. `half`: where to begin to
    // look for room, so that the kernel has enough. False: there is none; it may be called again with the initrd
    // elsewhere.
    bool (*place)(struct loader *l, u64 half);
    // Fills in draft, description.size (at most what it was), arg, and entry where it is not the kernel's.
    int (*build)(struct loader *l);
};
extern const struct boot_ops boot_fdt_ops;

// Reports an error at a place in the configuration. -EINVAL.
[[gnu::format(printf, 3, 4)]] int loader_fail(struct loader *l, const struct config_pos *at, const char *fmt, ...);
// The lowest free place for p, which has its size, from `from` on; pieces of size 0 are not there. False: none.
bool loader_place(const struct loader *l, struct piece *p, u64 from, u64 align);
