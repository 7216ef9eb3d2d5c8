// SPDX-License-Identifier: Apache-2.0
// The devices that every guest has: a PC without its old interrupt controllers, a keyboard and a screen.
#include "arch.h"
#include "pc_map.h"
#include "v16550.h"
#include "vioapic.h"
#include "vlapic.h"
#include "vm.h"
#include "vpc.h"

int arch_guest_devices(struct vm *vm) {
    int err = vlapic_create(vm);
    if (!err)
        err = vioapic_create(vm);
    if (!err)
        err = v16550_create(vm, &vm->ports, gpa(PC_COM1), V16550_PORTS, PC_PIN_COM1);
    if (!err)
        err = vpit_create(vm);
    if (!err)
        err = vcmos_create(vm);
    if (!err)
        err = vacpi_pm_create(vm);
    if (!err)
        err = vkbc_create(vm);
    if (!err)
        err = vreset_create(vm);
    return err;
}

void arch_guest_devices_fini(struct vm *vm) {
    vreset_destroy(vm);
    vkbc_destroy(vm);
    vacpi_pm_destroy(vm);
    vcmos_destroy(vm);
    vpit_destroy(vm);
    v16550_destroy(vm);
    vioapic_destroy(vm);
    vlapic_destroy(vm);
}
