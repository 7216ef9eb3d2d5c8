// SPDX-License-Identifier: Apache-2.0
#include "fuzz.h"

#include <libfdt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void fuzz_failed(const char *file, int line, const char *what) {
    fprintf(stderr, "%s:%d: check failed: %s\n", file, line, what);
    abort();
}

u64 fuzz_number(struct fuzz *f, u32 bytes) {
    u64 v = 0;
    for (u32 i = 0; i < bytes && f->left; i++, f->left--)
        v |= (u64)*f->data++ << (8 * i);
    return v;
}

u32 fuzz_below(struct fuzz *f, u32 below) {
    return (u32)fuzz_number(f, below > 256 ? 2 : 1) % below;
}

const u8 *fuzz_bytes(struct fuzz *f, size_t *count) {
    const u8 *at = f->data;
    *count = MIN(*count, f->left);
    f->data += *count;
    f->left -= *count;
    return at;
}

u64 fuzz_hash(const void *data, size_t size, u64 seed) {
    const u8 *p = data;
    u64 h = seed ^ 0xcbf29ce484222325ull; // FNV-1a
    for (size_t i = 0; i < size; i++)
        h = (h ^ p[i]) * 0x100000001b3ull;
    return h ^ (h >> 29);
}

bool fuzz_is_text(const char *text, size_t size) {
    size_t len = strnlen(text, size);
    if (len == size)
        return false;
    for (size_t i = 0; i < len; i++)
        if ((u8)text[i] < ' ' || text[i] == 0x7f)
            return false;
    return true;
}

// ── cpio ────────────────────────────────────────────────────────────────────────────────────────────────────────────
static void cpio_bytes(struct cpio *c, const void *data, size_t size) {
    FUZZ_CHECK(size <= c->size - c->used);
    memcpy(c->data + c->used, data, size);
    c->used += size;
}

static void cpio_pad(struct cpio *c) {
    cpio_bytes(c, "\0\0\0", (4 - c->used % 4) % 4);
}

void cpio_add(struct cpio *c, const char *path, const void *data, size_t size) {
    char header[111];
    snprintf(header, sizeof(header), "070701%08x%08x%08x%08x%08x%08x%08zx%08x%08x%08x%08x%08zx%08x", 1, 0100644, 0, 0,
             1, 0, size, 0, 0, 0, 0, strlen(path) + 1, 0);
    cpio_bytes(c, header, 110);
    cpio_bytes(c, path, strlen(path) + 1);
    cpio_pad(c);
    cpio_bytes(c, data, size);
    cpio_pad(c);
}

void cpio_end(struct cpio *c) {
    cpio_add(c, "TRAILER!!!", "", 0);
}

// ── Device trees ────────────────────────────────────────────────────────────────────────────────────────────────────
static const char *const node_names[] = {
    "memory@40000000",
    "memory@80000000",
    "cpus",
    "cpu@0",
    "cpu@1",
    "chosen",
    "aliases",
    "psci",
    "intc@8000000",
    "its@8080000",
    "timer",
    "pl011@9000000",
    "serial@9000000",
    "soc",
    "bus@0",
    "reserved-memory",
    "region@1000",
    "firmware",
    "clock",
    "cluster0",
    "core0",
    "uart@0",
    "hypervisor",
    "x",
};
static const char *const property_names[] = {
    "reg",
    "ranges",
    "compatible",
    "device_type",
    "#address-cells",
    "#size-cells",
    "#interrupt-cells",
    "interrupts",
    "interrupt-parent",
    "interrupts-extended",
    "phandle",
    "status",
    "stdout-path",
    "linux,stdout-path",
    "bootargs",
    "linux,initrd-start",
    "linux,initrd-end",
    "rng-seed",
    "model",
    "method",
    "enable-method",
    "reg-shift",
    "reg-io-width",
    "clock-frequency",
    "interrupt-names",
    "interrupt-controller",
    "#redistributor-regions",
    "redistributor-stride",
    "serial0",
    "reg-offset",
    "current-speed",
    "fifo-size",
    "no-map",
    "name",
};
static const char *const strings[] = {
    "memory",
    "cpu",
    "okay",
    "disabled",
    "arm,gic-v3",
    "arm,cortex-a15-gic",
    "arm,gic-400",
    "arm,armv8-timer",
    "arm,pl011",
    "ns16550a",
    "snps,dw-apb-uart",
    "cdns,uart-r1p12",
    "arm,psci-1.0",
    "arm,psci",
    "smc",
    "hvc",
    "psci",
    "simple-bus",
    "/soc",
    "/pl011@9000000",
    "serial0:115200n8",
    "serial0",
    "phys",
    "hyp-virt",
    "virt",
    "sec-phys",
    "fail",
    "",
    "/",
    "arm,sbsa-uart",
    "riscv",
    "xlnx,xuartps",
};
static const u32 numbers[] = {0,          1,          2,          3,          4,         8,
                              9,          11,         13,         14,         16,        32,
                              0x1000,     0x10000,    0x8000000,  0x80a0000,  0x9000000, 0x40000000,
                              0x7fffffff, 0x80000000, 0xfffff000, 0xffffffff, 0xf60000,  0x8001};

#define CHOOSE(f, list) ((list)[fuzz_below((f), ARRAY_SIZE(list))])

static u32 number(struct fuzz *f) {
    u8 how = fuzz_u8(f);
    return how < 128 ? numbers[how % ARRAY_SIZE(numbers)] : how < 224 ? how & 0x1fu : fuzz_u32(f);
}

static int property(struct fuzz *f, void *fdt) {
    const char *name = CHOOSE(f, property_names);
    u8 kind = fuzz_u8(f);
    if (kind < 150) {
        fdt32_t cells[16];
        u32 count = kind % 13;
        for (u32 i = 0; i < count; i++)
            cells[i] = cpu_to_fdt32(number(f));
        return fdt_property(fdt, name, cells, (int)count * 4);
    }
    if (kind < 240) { // one string, or two
        char text[80];
        const char *first = CHOOSE(f, strings), *second = kind < 220 ? "" : CHOOSE(f, strings);
        int size = (int)strlen(first) + 1 + (kind < 220 ? 0 : (int)strlen(second) + 1);
        snprintf(text, sizeof(text), "%s%c%s", first, 0, second);
        memcpy(text, first, strlen(first) + 1);
        memcpy(text + strlen(first) + 1, second, strlen(second) + 1);
        return fdt_property(fdt, name, text, size);
    }
    size_t count = fuzz_u8(f);
    const u8 *bytes = fuzz_bytes(f, &count);
    return fdt_property(fdt, name, bytes, (int)count);
}

size_t fuzz_tree(struct fuzz *f, void *buf, size_t size) {
    u32 depth = 1, fresh = 1; // fresh: properties may still follow
    int err = fdt_create(buf, (int)size);
    u32 reservations = fuzz_below(f, 4);
    for (u32 i = 0; i < reservations && !err; i++)
        err = fdt_add_reservemap_entry(buf, (u64)number(f) << 32 | number(f), (u64)number(f) << 32 | number(f));
    err = err ? err : fdt_finish_reservemap(buf);
    err = err ? err : fdt_begin_node(buf, "");
    while (!err && fuzz_more(f)) {
        u8 what = fuzz_u8(f);
        if (what < 150 && fresh) {
            err = property(f, buf);
        } else if (what < 200 && depth < 70) {
            err = fdt_begin_node(buf, CHOOSE(f, node_names));
            depth++;
            fresh = 1;
        } else if (depth > 1) {
            err = fdt_end_node(buf);
            depth--;
            fresh = 0;
        }
    }
    for (; depth && !err; depth--)
        err = fdt_end_node(buf);
    err = err ? err : fdt_finish(buf);
    return err ? 0 : fdt_totalsize(buf);
}
