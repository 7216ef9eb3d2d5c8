// SPDX-License-Identifier: Apache-2.0
// The VM side of the seam, without the vCPUs.
#include "vm.h"

#include "host_internal.h"
#include "guest.h"
#include "image_loader.h"
#include "plan.h"

int arch_vm_init(struct vm *vm) {
    vm->arch.used = true;
    return 0;
}

void arch_vm_fini(struct vm *vm) {
    BUG_ON(!vm->arch.used);
    vm->arch.used = false;
}

void arch_vm_reset(struct vm *vm) {
    vm->arch.clock_start_ns = arch_now_ns();
}

void arch_vm_flush(struct vm *vm, gpa_t start, u64 size) {
    (void)start;
    (void)size;
    vm->arch.flushes++;
}

void arch_vm_sync_code(void *start, u64 size) {
    (void)start;
    (void)size;
}

u64 arch_guest_ram_base(void) {
    return GUEST_RAM_BASE;
}

struct gpa_range arch_guest_ram_hole(void) {
    return host_machine.opt.guest_hole;
}

pa_t arch_image_start(void) {
    return pa(0);
}

pa_t arch_image_end(void) {
    return pa(0);
}

u32 arch_plan(void) {
    return PLAN_ARCH_AARCH64; // the simulated guests' machine is that one
}

const struct boot_ops *arch_boot_ops(void) {
    return &boot_fdt_ops;
}

bool arch_image_bootable(const struct image_info *info, const char **why) {
    *why = image_is_compressed(info->kind) ? "it is compressed; unpack it first" : NULL;
    return !*why;
}
