// SPDX-License-Identifier: Apache-2.0
// Errors of libfdt are negative numbers, so those of a row of calls can be or-ed: the sum is negative if one of them
// is.
#include "fdt_gen.h"

#include <libfdt.h>
#include <stdio.h>

#include "arch.h"
#include "rng.h"
#include "vm.h"

int fdt_gen_cells(void *fdt, const char *name, const u32 *cells, u32 count) {
    void *place;
    int err = fdt_property_placeholder(fdt, name, (int)(count * sizeof(u32)), &place);
    if (err)
        return err;
    for (u32 i = 0; i < count; i++)
        fdt32_st((fdt32_t *)place + i, cells[i]);
    return 0;
}

int fdt_gen_reg(void *fdt, u64 base, u64 size) {
    return fdt_gen_cells(fdt, "reg", (const u32[]){(u32)(base >> 32), (u32)base, (u32)(size >> 32), (u32)size}, 4);
}

// Linux credits both as entropy (CONFIG_RANDOM_TRUST_BOOTLOADER), so a guess is worse than nothing.
static int gen_seeds(void *fdt) {
    u8 rng_seed[32];
    u64 kaslr_seed;
    if (!rng_bytes(rng_seed, sizeof(rng_seed)) || !rng_bytes(&kaslr_seed, sizeof(kaslr_seed)))
        return 0;
    return fdt_property(fdt, "rng-seed", rng_seed, sizeof(rng_seed)) | fdt_property_u64(fdt, "kaslr-seed", kaslr_seed);
}

static int gen_chosen(const struct vm *vm, gpa_t initrd, u64 initrd_size, void *fdt) {
    int err = fdt_begin_node(fdt, "chosen");
    if (vm->cfg.boot.cmdline[0])
        err |= fdt_property_string(fdt, "bootargs", vm->cfg.boot.cmdline);
    err |= fdt_property_string(fdt, "stdout-path", "serial0"); // arch_guest_fdt writes /aliases
    if (initrd_size) {
        err |= fdt_property_u64(fdt, "linux,initrd-start", initrd.v);
        err |= fdt_property_u64(fdt, "linux,initrd-end", initrd.v + initrd_size);
    }
    err |= gen_seeds(fdt);
    return err | fdt_end_node(fdt);
}

static int gen_memory(const struct vm *vm, void *fdt) {
    char name[32];
    snprintf(name, sizeof(name), "memory@%llx", (unsigned long long)vm->ram.v);
    int err = fdt_begin_node(fdt, name);
    err |= fdt_property_string(fdt, "device_type", "memory");
    err |= fdt_gen_reg(fdt, vm->ram.v, vm->cfg.memory);
    return err | fdt_end_node(fdt);
}

int fdt_gen(const struct vm *vm, gpa_t initrd, u64 initrd_size, void *buf, size_t size) {
    int err = fdt_create(buf, (int)size);
    if (err)
        return -ENOSPC;
    err |= fdt_finish_reservemap(buf);
    err |= fdt_begin_node(buf, "");
    err |= fdt_property_u32(buf, "#address-cells", 2);
    err |= fdt_property_u32(buf, "#size-cells", 2);
    err |= arch_guest_fdt_root(buf);
    err |= gen_chosen(vm, initrd, initrd_size, buf);
    err |= gen_memory(vm, buf);
    err |= arch_guest_fdt(vm, buf);
    err |= fdt_end_node(buf);
    err |= fdt_finish(buf);
    return err ? -ENOSPC : 0;
}

static int patch_chosen(const struct vm *vm, gpa_t initrd, u64 initrd_size, void *fdt) {
    int node = fdt_path_offset(fdt, "/chosen");
    if (node == -FDT_ERR_NOTFOUND)
        node = fdt_add_subnode(fdt, 0, "chosen");
    if (node < 0)
        return node;
    int err = 0;
    if (vm->cfg.boot.cmdline[0])
        err = fdt_setprop_string(fdt, node, "bootargs", vm->cfg.boot.cmdline);
    if (!err && initrd_size)
        err = fdt_setprop_u64(fdt, node, "linux,initrd-start", initrd.v);
    if (!err && initrd_size)
        err = fdt_setprop_u64(fdt, node, "linux,initrd-end", initrd.v + initrd_size);
    return err;
}

int fdt_gen_patch(const struct vm *vm, gpa_t initrd, u64 initrd_size, void *buf, size_t length, size_t size,
                  const char **why) {
    int err = fdt_check_full(buf, length);
    if (!err)
        err = fdt_open_into(buf, buf, (int)size);
    if (!err)
        err = patch_chosen(vm, initrd, initrd_size, buf);
    if (!err)
        err = fdt_pack(buf);
    *why = fdt_strerror(err);
    return !err ? 0 : err == -FDT_ERR_NOSPACE ? -ENOSPC : -EINVAL;
}
