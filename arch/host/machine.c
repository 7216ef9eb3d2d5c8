// SPDX-License-Identifier: Apache-2.0
// What the core itself boots on: the probe, and the devices of a scripted guest's machine, which is an aarch64 guest's
// with few list registers, so that they run out.
#include <libfdt.h>

#include "console.h"
#include "fdt_gen.h"
#include "guest_internal.h"
#include "vm.h"
#include "vpl011.h"
#include "vpl031.h"

enum { LIST_REGISTERS = 4 };

void arch_probe(struct board *board) {
    *board = host_machine.board;
    host_uart_attach(console_host_irq);
}

int arch_guest_devices(struct vm *vm) {
    if (host_guest_hooks)
        host_guest_hooks->choose(vm);
    bool gic = !host_guest_hooks || host_has_gic(vm);
    int err =
        gic ? vgic_create(vm, gpa(GUEST_GICD), gpa(GUEST_GICR), LIST_REGISTERS) : host_guest_hooks->irqchip_create(vm);
    if (!err)
        err = vpl011_create(vm, gpa(GUEST_UART), GUEST_UART_IRQ);
    if (!err)
        err = vpl031_create(vm, gpa(GUEST_RTC), GUEST_RTC_IRQ);
    if (err)
        return err;
    for (u32 i = 0; gic && i < vm->vcpu_count; i++)
        vgic_map_ppi(vm->vcpus[i], GUEST_TIMER_IRQ, GUEST_TIMER_IRQ);
    return 0;
}

void arch_guest_devices_fini(struct vm *vm) {
    vpl031_destroy(vm);
    vpl011_destroy(vm);
    if (host_has_gic(vm))
        vgic_destroy(vm);
    else
        host_guest_hooks->irqchip_destroy(vm);
}

int arch_guest_fdt_root(void *fdt) {
    int err = fdt_property_string(fdt, "compatible", "linux,dummy-virt");
    err |= fdt_property_string(fdt, "model", "linux,dummy-virt");
    return err | fdt_property_u32(fdt, "interrupt-parent", FDT_PHANDLE_INTC);
}

int arch_guest_fdt(const struct vm *vm, void *fdt) {
    (void)vm;
    (void)fdt;
    return 0;
}
