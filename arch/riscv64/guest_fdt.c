// SPDX-License-Identifier: Apache-2.0
// The nodes of a guest's machine. Names, compatibles and addresses are those of QEMU's `virt` (hw/riscv/virt.c), so
// that software built for it finds what it knows. Errors of libfdt are negative: a row of calls is or-ed.
#include <libfdt.h>
#include <stdio.h>
#include <string.h>

#include "fdt_gen.h"
#include "guest_map.h"
#include "riscv64.h"
#include "v16550.h"
#include "vaplic.h"
#include "vgoldfish_rtc.h"
#include "vm.h"

enum { ISA_MAX = 1024, UART_CLOCK_HZ = 3686400, IRQ_LEVEL_HIGH = 4 };

// What a guest may use of the host's ISA, in canonical order: what has no state but the registers that we move, and
// nothing that traps or that a guest could do harm with.
static const char *const single_letters[] = {"i", "m", "a", "f", "d", "c", "v"};
static const char *const multi_letter[] = {
    "zicbom", "zicbop",   "zicboz",    "ziccamoa",    "ziccif", "zicclsm", "ziccrse", "zicntr",  "zicond",
    "zicsr",  "zifencei", "zihintntl", "zihintpause", "zimop",  "za64rs",  "zaamo",   "zabha",   "zacas",
    "zalrsc", "zawrs",    "zfa",       "zfh",         "zfhmin", "zca",     "zcb",     "zcd",     "zcmop",
    "zba",    "zbb",      "zbc",       "zbkb",        "zbkc",   "zbkx",    "zbs",     "zknd",    "zkne",
    "zknh",   "zksed",    "zksh",      "zkt",         "zvbb",   "zvbc",    "zve32f",  "zve32x",  "zve64d",
    "zve64f", "zve64x",   "zvfbfmin",  "zvfbfwma",    "zvfh",   "zvfhmin", "zvkb",    "zvkg",    "zvkn",
    "zvknc",  "zvkned",   "zvkng",     "zvknha",      "zvknhb", "zvks",    "zvksc",   "zvksed",  "zvksg",
    "zvksh",  "zvkt",     "ssaia",     "sstc",        "svade",  "svadu",   "svinval", "svnapot", "svpbmt",
    "svvptc",
};

static bool guest_has(const char *extension, bool with_aia) {
    if (!board_has_isa(features.board, extension))
        return false;
    if (strcmp(extension, "sstc") == 0)
        return features.sstc && (features.henvcfg & ENVCFG_STCE);
    if (strcmp(extension, "ssaia") == 0)
        return with_aia;
    if (strcmp(extension, "svpbmt") == 0)
        return features.henvcfg & ENVCFG_PBMTE;
    if (strcmp(extension, "svadu") == 0)
        return features.henvcfg & ENVCFG_ADUE;
    if (extension[0] == 'v' || strncmp(extension, "zv", 2) == 0)
        return features.vlenb;
    if (strcmp(extension, "zicboz") == 0)
        return features.cbo_zero && (features.henvcfg & ENVCFG_CBZE);
    if (strcmp(extension, "zicbom") == 0)
        return features.cbo_zero && (features.henvcfg & ENVCFG_CBCFE); // whose block size is known with the other's
    if (extension[1] == 0 && (extension[0] == 'f' || extension[0] == 'd'))
        return features.fp;
    return extension[0] != 'z' || extension[1] != 'f' || features.fp;
}

struct isa {
    char string[ISA_MAX], list[ISA_MAX]; // "rv64imac_zicsr"; "i\0m\0a\0…"
    size_t string_used, list_used;
};

static void isa_put(struct isa *isa, const char *name, bool underscore) {
    size_t n = strlen(name);
    BUG_ON(isa->string_used + n + 2 > ISA_MAX || isa->list_used + n + 1 > ISA_MAX);
    if (underscore)
        isa->string[isa->string_used++] = '_';
    memcpy(isa->string + isa->string_used, name, n + 1);
    memcpy(isa->list + isa->list_used, name, n + 1);
    isa->string_used += n;
    isa->list_used += n + 1;
}

static void isa_build(struct isa *isa, bool with_aia) {
    *isa = (struct isa){.string = "rv64", .string_used = 4};
    for (u32 i = 0; i < ARRAY_SIZE(single_letters); i++)
        if (guest_has(single_letters[i], with_aia))
            isa_put(isa, single_letters[i], false);
    for (u32 i = 0; i < ARRAY_SIZE(multi_letter); i++)
        if (guest_has(multi_letter[i], with_aia))
            isa_put(isa, multi_letter[i], true);
}

static u32 intc_phandle(u32 cpu) {
    return FDT_PHANDLE_FIRST_FREE + cpu;
}

static u32 imsic_phandle(const struct vm *vm) {
    return intc_phandle(vm->cfg.cpus);
}

static int gen_cpu(void *fdt, u32 n, const struct isa *isa) {
    static const char *const mmu[] = {"riscv,sv39", "riscv,sv48", "riscv,sv57"};
    char name[16];
    snprintf(name, sizeof(name), "cpu@%x", n);
    int err = fdt_begin_node(fdt, name);
    err |= fdt_property_string(fdt, "device_type", "cpu");
    err |= fdt_property_u32(fdt, "reg", n);
    err |= fdt_property_string(fdt, "status", "okay");
    err |= fdt_property_string(fdt, "compatible", "riscv");
    if (guest_has("zicboz", false))
        err |= fdt_property_u32(fdt, "riscv,cboz-block-size", features.cbo_zero_bytes);
    if (guest_has("zicbom", false))
        err |= fdt_property_u32(fdt, "riscv,cbom-block-size", features.cbo_zero_bytes);
    err |= fdt_property_string(fdt, "riscv,isa", isa->string);
    err |= fdt_property_string(fdt, "riscv,isa-base", "rv64i");
    err |= fdt_property(fdt, "riscv,isa-extensions", isa->list, (int)isa->list_used);
    err |= fdt_property_string(fdt, "mmu-type", mmu[features.vs_mode - MODE_SV39]);
    err |= fdt_begin_node(fdt, "interrupt-controller");
    err |= fdt_property_u32(fdt, "#interrupt-cells", 1);
    err |= fdt_property(fdt, "interrupt-controller", "", 0);
    err |= fdt_property_string(fdt, "compatible", "riscv,cpu-intc");
    err |= fdt_property_u32(fdt, "phandle", intc_phandle(n));
    err |= fdt_end_node(fdt);
    return err | fdt_end_node(fdt);
}

static int gen_cpus(const struct vm *vm, void *fdt) {
    struct isa isa;
    isa_build(&isa, vm->arch.aplic);
    int err = fdt_begin_node(fdt, "cpus");
    err |= fdt_property_u32(fdt, "#address-cells", 1);
    err |= fdt_property_u32(fdt, "#size-cells", 0);
    err |= fdt_property_u32(fdt, "timebase-frequency", counter_hz);
    for (u32 i = 0; i < vm->cfg.cpus; i++)
        err |= gen_cpu(fdt, i, &isa);
    return err | fdt_end_node(fdt);
}

static int gen_plic(const struct vm *vm, void *fdt) {
    u32 wires[4 * VPLIC_MAX_VCPUS]; // M-mode's context goes nowhere
    for (u32 i = 0; i < vm->cfg.cpus; i++) {
        wires[4 * i] = wires[4 * i + 2] = intc_phandle(i);
        wires[4 * i + 1] = ~0u;
        wires[4 * i + 3] = VPLIC_SEI;
    }
    int err = fdt_begin_node(fdt, "plic@c000000");
    err |= fdt_property_u32(fdt, "phandle", FDT_PHANDLE_INTC);
    err |= fdt_property_u32(fdt, "riscv,ndev", VPLIC_SOURCES);
    err |= fdt_gen_reg(fdt, GUEST_PLIC, VPLIC_SIZE);
    err |= fdt_gen_cells(fdt, "interrupts-extended", wires, 4 * vm->cfg.cpus);
    err |= fdt_property(fdt, "interrupt-controller", "", 0);
    err |= fdt_gen_strings(fdt, "compatible", "sifive,plic-1.0.0\0riscv,plic0");
    err |= fdt_property_u32(fdt, "#address-cells", 0);
    err |= fdt_property_u32(fdt, "#interrupt-cells", 1);
    return err | fdt_end_node(fdt);
}

static int gen_imsic(const struct vm *vm, void *fdt) {
    u32 wires[2 * VPLIC_MAX_VCPUS];
    for (u32 i = 0; i < vm->cfg.cpus; i++) {
        wires[2 * i] = intc_phandle(i);
        wires[2 * i + 1] = VPLIC_SEI;
    }
    int err = fdt_begin_node(fdt, "interrupt-controller@28000000");
    err |= fdt_property_u32(fdt, "phandle", imsic_phandle(vm));
    err |= fdt_property_u32(fdt, "riscv,num-ids", imsic_ids());
    err |= fdt_gen_reg(fdt, GUEST_IMSIC, PAGE_SIZE * vm->cfg.cpus);
    err |= fdt_gen_cells(fdt, "interrupts-extended", wires, 2 * vm->cfg.cpus);
    err |= fdt_property(fdt, "msi-controller", "", 0);
    err |= fdt_property_u32(fdt, "#msi-cells", 0);
    err |= fdt_property(fdt, "interrupt-controller", "", 0);
    err |= fdt_property_u32(fdt, "#interrupt-cells", 0);
    err |= fdt_gen_strings(fdt, "compatible", "qemu,imsics\0riscv,imsics");
    return err | fdt_end_node(fdt);
}

static int gen_aplic(const struct vm *vm, void *fdt) {
    int err = fdt_begin_node(fdt, "interrupt-controller@d000000");
    err |= fdt_property_u32(fdt, "phandle", FDT_PHANDLE_INTC);
    err |= fdt_property_u32(fdt, "riscv,num-sources", VAPLIC_SOURCES);
    err |= fdt_gen_reg(fdt, GUEST_APLIC, VAPLIC_SIZE);
    err |= fdt_property_u32(fdt, "msi-parent", imsic_phandle(vm));
    err |= fdt_property(fdt, "interrupt-controller", "", 0);
    err |= fdt_property_u32(fdt, "#interrupt-cells", 2);
    err |= fdt_property_u32(fdt, "#address-cells", 0);
    err |= fdt_gen_strings(fdt, "compatible", "qemu,aplic\0riscv,aplic");
    return err | fdt_end_node(fdt);
}

static int gen_wire(const struct vm *vm, void *fdt, u32 irq) {
    int err = fdt_gen_cells(fdt, "interrupts", (const u32[]){irq, IRQ_LEVEL_HIGH}, vm->arch.aplic ? 2 : 1);
    return err | fdt_property_u32(fdt, "interrupt-parent", FDT_PHANDLE_INTC);
}

static int gen_uart(const struct vm *vm, void *fdt) {
    int err = fdt_begin_node(fdt, "serial@10000000");
    err |= gen_wire(vm, fdt, GUEST_UART_IRQ);
    err |= fdt_property_u32(fdt, "clock-frequency", UART_CLOCK_HZ);
    err |= fdt_gen_reg(fdt, GUEST_UART, V16550_SIZE);
    err |= fdt_property_string(fdt, "compatible", "ns16550a");
    return err | fdt_end_node(fdt);
}

static int gen_rtc(const struct vm *vm, void *fdt) {
    int err = fdt_begin_node(fdt, "rtc@101000");
    err |= gen_wire(vm, fdt, GUEST_RTC_IRQ);
    err |= fdt_gen_reg(fdt, GUEST_RTC, VGOLDFISH_RTC_SIZE);
    err |= fdt_property_string(fdt, "compatible", "google,goldfish-rtc");
    return err | fdt_end_node(fdt);
}

// Not the root: its interrupt parent would be that of the harts' own controllers, too.
int arch_guest_fdt_root(void *fdt) {
    int err = fdt_property_string(fdt, "compatible", "riscv-virtio");
    return err | fdt_property_string(fdt, "model", "riscv-virtio,qemu");
}

int arch_guest_fdt(const struct vm *vm, void *fdt) {
    int err = gen_cpus(vm, fdt);
    err |= fdt_begin_node(fdt, "soc");
    err |= fdt_property_u32(fdt, "#address-cells", 2);
    err |= fdt_property_u32(fdt, "#size-cells", 2);
    err |= fdt_property_string(fdt, "compatible", "simple-bus");
    err |= fdt_property(fdt, "ranges", "", 0);
    err |= vm->arch.aplic ? gen_imsic(vm, fdt) | gen_aplic(vm, fdt) : gen_plic(vm, fdt);
    err |= gen_uart(vm, fdt) | gen_rtc(vm, fdt);
    err |= fdt_end_node(fdt);
    err |= fdt_begin_node(fdt, "aliases");
    err |= fdt_property_string(fdt, "serial0", "/soc/serial@10000000");
    return err | fdt_end_node(fdt);
}
