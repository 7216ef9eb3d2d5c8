// SPDX-License-Identifier: Apache-2.0
// The nodes of a guest's machine. Names, compatibles and addresses are those of QEMU's `virt` (hw/arm/virt.c), so that
// software built for it finds what it knows. Errors of libfdt are negative: a row of calls is or-ed.
#include <libfdt.h>
#include <stdio.h>

#include "arch.h"
#include "fdt_gen.h"
#include "vgic.h"
#include "vm.h"

// Linux Documentation/devicetree/bindings/interrupt-controller/arm,gic-v3.yaml
enum { GIC_SPI = 0, GIC_PPI = 1, IRQ_LEVEL_HIGH = 4 };

#define GICD_BASE 0x08000000ull
#define GICR_BASE 0x080a0000ull
#define UART_BASE 0x09000000ull
#define RTC_BASE 0x09010000ull
enum { UART_SPI = 1, RTC_SPI = 2, APB_CLOCK_HZ = 24000000 };

static int gen_psci(void *fdt) {
    int err = fdt_begin_node(fdt, "psci");
    err |= fdt_gen_strings(fdt, "compatible", "arm,psci-1.0\0arm,psci-0.2\0arm,psci");
    err |= fdt_property_string(fdt, "method", "hvc");
    // for arm,psci (0.1), which has no numbers of its own
    err |= fdt_property_u32(fdt, "cpu_suspend", 0xc4000001);
    err |= fdt_property_u32(fdt, "cpu_off", 0x84000002);
    err |= fdt_property_u32(fdt, "cpu_on", 0xc4000003);
    return err | fdt_end_node(fdt);
}

static int gen_cpus(const struct vm *vm, void *fdt) {
    int err = fdt_begin_node(fdt, "cpus");
    err |= fdt_property_u32(fdt, "#address-cells", 1);
    err |= fdt_property_u32(fdt, "#size-cells", 0);
    for (u32 i = 0; i < vm->cfg.cpus; i++) {
        char name[16];
        snprintf(name, sizeof(name), "cpu@%x", i);
        err |= fdt_begin_node(fdt, name);
        err |= fdt_property_string(fdt, "device_type", "cpu");
        err |= fdt_property_string(fdt, "compatible", "arm,armv8");
        err |= fdt_property_string(fdt, "enable-method", "psci");
        err |= fdt_property_u32(fdt, "reg", i); // MPIDR_EL1: Aff0 = index
        err |= fdt_end_node(fdt);
    }
    return err | fdt_end_node(fdt);
}

static int gen_timer(void *fdt) {
    static const u32 ppis[] = {13, 14, 11, 10}; // secure and non-secure physical, virtual, hypervisor
    u32 cells[ARRAY_SIZE(ppis) * 3];
    for (u32 i = 0; i < ARRAY_SIZE(ppis); i++) {
        cells[3 * i] = GIC_PPI;
        cells[3 * i + 1] = ppis[i];
        cells[3 * i + 2] = IRQ_LEVEL_HIGH;
    }
    int err = fdt_begin_node(fdt, "timer");
    err |= fdt_gen_strings(fdt, "compatible", "arm,armv8-timer\0arm,armv7-timer");
    err |= fdt_property(fdt, "always-on", "", 0);
    err |= fdt_gen_cells(fdt, "interrupts", cells, ARRAY_SIZE(cells));
    return err | fdt_end_node(fdt);
}

static int gen_gic(const struct vm *vm, void *fdt) {
    const u32 reg[] = {0, GICD_BASE, 0, VGIC_GICD_SIZE, 0, GICR_BASE, 0, VGIC_GICR_STRIDE * vm->cfg.cpus};
    int err = fdt_begin_node(fdt, "intc@8000000");
    err |= fdt_property_string(fdt, "compatible", "arm,gic-v3");
    err |= fdt_property_u32(fdt, "#interrupt-cells", 3);
    err |= fdt_property(fdt, "interrupt-controller", "", 0);
    err |= fdt_property_u32(fdt, "#address-cells", 2);
    err |= fdt_property_u32(fdt, "#size-cells", 2);
    err |= fdt_property(fdt, "ranges", "", 0);
    err |= fdt_property_u32(fdt, "#redistributor-regions", 1);
    err |= fdt_gen_cells(fdt, "reg", reg, ARRAY_SIZE(reg));
    err |= fdt_property_u32(fdt, "phandle", FDT_PHANDLE_INTC);
    return err | fdt_end_node(fdt);
}

static int gen_clock(void *fdt) {
    int err = fdt_begin_node(fdt, "apb-pclk");
    err |= fdt_property_string(fdt, "compatible", "fixed-clock");
    err |= fdt_property_u32(fdt, "#clock-cells", 0);
    err |= fdt_property_u32(fdt, "clock-frequency", APB_CLOCK_HZ);
    err |= fdt_property_string(fdt, "clock-output-names", "clk24mhz");
    err |= fdt_property_u32(fdt, "phandle", FDT_PHANDLE_CLOCK);
    return err | fdt_end_node(fdt);
}

// What both PrimeCells have; the node stays open.
static int begin_primecell(void *fdt, const char *name, u64 base, u32 spi) {
    int err = fdt_begin_node(fdt, name);
    err |= fdt_gen_reg(fdt, base, PAGE_SIZE);
    return err | fdt_gen_cells(fdt, "interrupts", (const u32[]){GIC_SPI, spi, IRQ_LEVEL_HIGH}, 3);
}

static int gen_uart(void *fdt) {
    int err = begin_primecell(fdt, "pl011@9000000", UART_BASE, UART_SPI);
    err |= fdt_gen_strings(fdt, "compatible", "arm,pl011\0arm,primecell");
    err |= fdt_gen_cells(fdt, "clocks", (const u32[]){FDT_PHANDLE_CLOCK, FDT_PHANDLE_CLOCK}, 2);
    err |= fdt_gen_strings(fdt, "clock-names", "uartclk\0apb_pclk");
    err |= fdt_end_node(fdt);
    err |= fdt_begin_node(fdt, "aliases");
    err |= fdt_property_string(fdt, "serial0", "/pl011@9000000");
    return err | fdt_end_node(fdt);
}

static int gen_rtc(void *fdt) {
    int err = begin_primecell(fdt, "pl031@9010000", RTC_BASE, RTC_SPI);
    err |= fdt_gen_strings(fdt, "compatible", "arm,pl031\0arm,primecell");
    err |= fdt_property_u32(fdt, "clocks", FDT_PHANDLE_CLOCK);
    err |= fdt_property_string(fdt, "clock-names", "apb_pclk");
    return err | fdt_end_node(fdt);
}

int arch_guest_fdt_root(void *fdt) {
    int err = fdt_property_string(fdt, "compatible", "linux,dummy-virt");
    err |= fdt_property_string(fdt, "model", "linux,dummy-virt");
    err |= fdt_property_u32(fdt, "interrupt-parent", FDT_PHANDLE_INTC);
    return err | fdt_property(fdt, "dma-coherent", "", 0);
}

int arch_guest_fdt(const struct vm *vm, void *fdt) {
    return gen_psci(fdt) | gen_cpus(vm, fdt) | gen_timer(fdt) | gen_gic(vm, fdt) | gen_clock(fdt) | gen_uart(fdt) |
           gen_rtc(fdt);
}
