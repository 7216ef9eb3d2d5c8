// SPDX-License-Identifier: Apache-2.0
// How a guest is started: boot_pc.h makes what it finds in memory, and the primary vCPU begins as that says.
#include "boot_pc.h"
#include "pc_map.h"
#include "plan.h"
#include "vm.h"
#include "x86_64.h"

u64 arch_guest_ram_base(void) {
    return 0;
}

struct gpa_range arch_guest_ram_hole(void) {
    return (struct gpa_range){gpa(PC_HOLE), GIB(4) - PC_HOLE};
}

u32 arch_plan(void) {
    return PLAN_ARCH_X86_64;
}

bool arch_image_bootable(const struct image_info *info, const char **why) {
    *why = nullptr;
    if (image_is_compressed(info->kind))
        *why = "it is compressed; unpack it first";
    else if (info->machine != MACHINE_X86_64 && info->machine != MACHINE_UNKNOWN)
        *why = "it is for another architecture, this is x86_64";
    return !*why;
}

static int build(struct loader *l) {
    static const enum x86_start starts[] = {
        [BOOT_PC_REAL] = X86_START_REAL,
        [BOOT_PC_PROTECTED] = X86_START_PVH32,
        [BOOT_PC_LONG] = X86_START_LONG64,
    };
    struct boot_pc boot;
    const int err = boot_pc_build(l, &boot);
    if (err)
        return err;
    l->vm->arch.start = starts[boot.start];
    l->vm->arch.start_cr3 = boot.cr3;
    l->vm->arch.start_gdt = boot.gdt;
    return 0;
}

static const struct boot_ops boot_pc_ops = {
    .name = "the firmware's tables",
    .prepare = boot_pc_prepare,
    .place = boot_pc_place,
    .build = build,
};

const struct boot_ops *arch_boot_ops(void) {
    return &boot_pc_ops;
}
