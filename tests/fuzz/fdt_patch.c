// SPDX-License-Identifier: Apache-2.0
// A user's device tree that the VM's command line and initrd are patched into. What comes out is a well-formed tree
// that says what it should, or nothing.
#include "fdt_gen.h"
#include "fuzz.h"
#include "vm.h"

#include <libfdt.h>
#include <stdlib.h>
#include <string.h>

enum { TREE_MAX = 64 * 1024, ROOM = 16 * 1024 };

static struct vm vm;

static void check_number(const void *fdt, int chosen, const char *name, u64 want) {
    int size;
    const fdt64_t *p = fdt_getprop(fdt, chosen, name, &size);
    FUZZ_CHECK(p && size == 8 && fdt64_ld(p) == want);
}

static void patch(const void *tree, size_t length, size_t room, u64 initrd_size) {
    size_t size = length + room;
    char *buf = aligned_alloc(8, align_up(size, 8));
    const char *why = NULL;
    memcpy(buf, tree, length);
    memset(buf + length, 0xa5, size - length);
    int err = fdt_gen_patch(&vm, gpa(0x48000000), initrd_size, buf, length, size, &why);
    FUZZ_CHECK(err == 0 || ((err == -EINVAL || err == -ENOSPC) && why && why[0]));
    if (err == 0) {
        int chosen = fdt_path_offset(buf, "/chosen");
        FUZZ_CHECK(fdt_totalsize(buf) <= size && fdt_check_full(buf, fdt_totalsize(buf)) == 0);
        if (vm.cfg.boot.cmdline[0]) {
            const char *args = fdt_getprop(buf, chosen, "bootargs", NULL);
            FUZZ_CHECK(chosen > 0 && args && strcmp(args, vm.cfg.boot.cmdline) == 0);
        }
        if (initrd_size) {
            check_number(buf, chosen, "linux,initrd-start", 0x48000000);
            check_number(buf, chosen, "linux,initrd-end", 0x48000000 + initrd_size);
        }
    }
    free(buf);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size) {
    static _Alignas(8) u8 tree[TREE_MAX];
    u64 chance = fuzz_hash(data, size, 3);
    memset(vm.cfg.boot.cmdline, 'c', CONFIG_CMDLINE_MAX);
    vm.cfg.boot.cmdline[chance & 1 ? chance >> 8 & 63 : chance >> 8 & CONFIG_CMDLINE_MAX] = '\0';
    size_t room = chance & 2 ? ROOM : chance >> 20 & 255; // image.c gives the one; too little must be no harm
    u64 initrd_size = chance & 4 ? 1 + (chance >> 40) : 0;
    if (size >= 4 && data[0] == 0xd0 && data[1] == 0x0d) {
        patch(data, size, room, initrd_size);
        return 0;
    }
    struct fuzz f = {data, size};
    size_t length = fuzz_tree(&f, tree, sizeof(tree));
    if (length)
        patch(tree, length, room, initrd_size);
    return 0;
}
