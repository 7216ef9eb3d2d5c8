// SPDX-License-Identifier: Apache-2.0
// A kernel of any content: what the probe says of it is consistent, and loading it into a small VM either refuses with
// a sentence, the memory untouched, or puts kernel, initrd and device tree where they do not overlap. The first eight
// bytes choose the VM, the rest is the kernel's file.
#include "image.h"

#include <libfdt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arch.h"
#include "bundle.h"
#include "fuzz.h"
#include "gmem.h"
#include "host.h"
#include "image_load.h"
#include "page.h"
#include "vm.h"

enum { HEADER = 8, ARCHIVE_MAX = 256 * 1024 };

static struct vm vm;
static u8 archive[ARCHIVE_MAX], initrd[70000], user_tree[1024];
static size_t user_tree_size;

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    host_init(&(struct host_options){.memory = MIB(24)});
    page_init(host_board(), pa(0), pa(0));
    FUZZ_CHECK(pgtable_init(&vm.s2, PT_GUEST) == 0);
    for (u32 i = 0; i < sizeof(initrd); i++)
        initrd[i] = (u8)(i * 2654435761u >> 24);
    struct fuzz nothing = {};
    user_tree_size = fuzz_tree(&nothing, user_tree, sizeof(user_tree));
    FUZZ_CHECK(user_tree_size);
    return 0;
}

// ── The probe ───────────────────────────────────────────────────────────────────────────────────────────────────────
struct segments {
    const u8 *file;
    u64 size, low, loaded;
    bool entry_inside;
    u64 entry;
    u32 count;
};

static int see_segment(void *ctx, const struct image_segment *s) {
    struct segments *all = ctx;
    FUZZ_CHECK(s->offset <= all->size && s->filesz <= all->size - s->offset);
    FUZZ_CHECK(s->memsz && s->memsz >= s->filesz && s->paddr + (s->memsz - 1) >= s->paddr);
    all->low = MIN(all->low, s->paddr);
    all->entry_inside |= all->entry - s->paddr < s->memsz;
    all->count++;
    return 0;
}

static void probe(const u8 *file, u64 size) {
    struct image_info info;
    memset(&info, 0xa5, sizeof(info));
    int err = image_probe(file, size, &info);
    FUZZ_CHECK(image_kind_name(info.kind)[0] && image_machine_name(info.machine)[0]);
    FUZZ_CHECK(err == 0 ? !info.why : err == -EINVAL && info.why && info.why[0]);
    if (err)
        return;
    FUZZ_CHECK(info.file_size == size && info.payload_offset <= size);
    FUZZ_CHECK(image_is_compressed(info.kind) || info.kind == IMAGE_ELF64 || info.kind == IMAGE_ELF_OTHER ||
               info.mem_size >= size - info.payload_offset);
    struct segments all = {.file = file, .size = size, .low = ~0ull, .entry = info.entry};
    const char *why = NULL;
    int elf = image_elf_segments(file, size, see_segment, &all, &why);
    FUZZ_CHECK(elf == 0 || (elf == -EINVAL && why && why[0]));
    if (info.kind == IMAGE_ELF64)
        FUZZ_CHECK(elf == 0 && all.count && all.low == info.load_base && info.mem_size);
}

// ── Loading ─────────────────────────────────────────────────────────────────────────────────────────────────────────
static bool same(u64 at, const void *want, u64 size) {
    const u8 *p = gmem_ptr(&vm, gpa(at), size);
    return p && memcmp(p, want, size) == 0;
}

static u64 cells64(const void *fdt, int node, const char *name) {
    int size;
    const fdt64_t *p = fdt_getprop(fdt, node, name, &size);
    FUZZ_CHECK(p && size == 8);
    return fdt64_ld(p);
}

struct range {
    u64 start, size;
};

static bool apart(struct range a, struct range b) {
    return !a.size || !b.size || a.start >= b.start + b.size || b.start >= a.start + a.size;
}

static void check_loaded(const struct boot_entry *boot, const u8 *kernel, u64 size) {
    const struct vm_config *cfg = &vm.cfg;
    struct image_info info;
    u64 ram = vm.ram.v;
    FUZZ_CHECK(boot->entry - ram < cfg->memory && boot->arg - ram < cfg->memory && boot->arg % 8 == 0);
    const void *fdt = gmem_ptr(&vm, gpa(boot->arg), sizeof(struct fdt_header));
    FUZZ_CHECK(fdt && boot->arg - ram + fdt_totalsize(fdt) <= cfg->memory);
    FUZZ_CHECK(fdt_check_full(fdt, fdt_totalsize(fdt)) == 0);
    struct range tree = {boot->arg, fdt_totalsize(fdt)}, files = {}, loaded = {};
    if (cfg->boot.initrd[0]) {
        int chosen = fdt_path_offset(fdt, "/chosen");
        files.start = cells64(fdt, chosen, "linux,initrd-start");
        files.size = cells64(fdt, chosen, "linux,initrd-end") - files.start;
        FUZZ_CHECK(files.size && files.size <= sizeof(initrd) && same(files.start, initrd, files.size));
    }
    if (cfg->boot.protocol == BOOT_RAW) {
        loaded = (struct range){cfg->boot.load, size};
        FUZZ_CHECK(boot->entry == cfg->boot.entry && same(loaded.start, kernel, size));
    } else {
        FUZZ_CHECK(image_probe(kernel, size, &info) == 0 && !image_is_compressed(info.kind));
        if (info.kind != IMAGE_ELF64) {
            loaded = (struct range){boot->entry - info.entry, info.mem_size};
            FUZZ_CHECK(same(loaded.start, kernel + info.payload_offset, size - info.payload_offset));
        }
    }
    FUZZ_CHECK(apart(tree, files) && apart(tree, loaded) && apart(files, loaded));
}

static void load(const u8 *head, const u8 *kernel, u64 size) {
    struct cpio c = {.data = archive, .size = sizeof(archive)};
    struct bundle bundle;
    struct boot_entry boot = {};
    char why[320];
    struct vm_config *cfg = &vm.cfg;
    memset(cfg, 0, sizeof(*cfg));
    cfg->memory = (1 + head[0] % 3) * BLOCK_SIZE;
    cfg->cpus = 1;
    cfg->boot.protocol = (enum boot_protocol)(head[0] >> 4 & 3);
    snprintf(cfg->file, sizeof(cfg->file), "vms/a.toml");
    snprintf(cfg->boot.kernel, sizeof(cfg->boot.kernel), "k");
    cfg->boot.load = 0x40000000 + (head[1] | (u64)head[2] << 8 | (u64)head[3] << 16) * (head[0] & 0x40 ? 1 : 16);
    cfg->boot.entry = cfg->boot.load + (head[4] & 0x80 ? size - 1 : head[4] & 0x7fu);
    cpio_add(&c, "k", kernel, size);
    if (head[5]) {
        snprintf(cfg->boot.initrd, sizeof(cfg->boot.initrd), "i");
        cpio_add(&c, "i", initrd, head[5] * 257u);
    }
    if (head[6] & 1) {
        snprintf(cfg->boot.dtb, sizeof(cfg->boot.dtb), "d");
        cpio_add(&c, "d", user_tree, user_tree_size);
    }
    cpio_end(&c);
    FUZZ_CHECK(bundle_open(&bundle, archive, c.used, why, sizeof(why)) == 0);
    FUZZ_CHECK(gmem_create(&vm) == 0);
    gmem_scrub(&vm);
    u64 free_before = page_stats().free;
    memset(why, 0, sizeof(why));
    int err = image_load(&vm, &bundle, &boot, why, sizeof(why));
    FUZZ_CHECK(page_stats().free == free_before);
    FUZZ_CHECK(err == 0 || ((err == -EINVAL || err == -ENOMEM) && why[0]));
    const u8 *ram = gmem_ptr(&vm, vm.ram, BLOCK_SIZE);
    if (err == 0)
        check_loaded(&boot, kernel, size);
    else // nothing was written; sampled, for a whole look would take most of the time
        for (u64 at = 0; at < BLOCK_SIZE; at += 64)
            FUZZ_CHECK(ram[at] == 0);
    gmem_destroy(&vm);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size) {
    if (size < HEADER || size > 64 * 1024)
        return -1;
    u8 *file = malloc(size - HEADER); // its start is as aligned as in a bundle
    memcpy(file, data + HEADER, size - HEADER);
    probe(file, size - HEADER);
    load(data, file, size - HEADER);
    free(file);
    return 0;
}
