// SPDX-License-Identifier: Apache-2.0
// The ways in which software resets a PC (besides the keyboard controller's, a triple fault, and ACPI's, which is
// 0xcf9), and the ports beside them, of PCI's configuration, that finds no bus.
#include "bus.h"
#include "page.h"
#include "pc_map.h"
#include "vm.h"
#include "vpc.h"

enum {
    PORT_A_BASE = 0x90,
    PORT_A = 2,
    PORT_A_RESET = 0x01,
    PORT_A_A20 = 0x02, // always open
    RESET_REGISTER = PC_RESET - PC_PCI,
    RESET_CPU = 0x04,
    RESET_KEPT = 0x0a, // full and system reset; the trigger reads as 0
};

struct vreset { // first of one page
    struct vdev port_a, pci;
    _Atomic u8 reset_register;
};

static void reset(struct vdev *dev, const char *how) {
    (void)vm_stop(dev->vm, VM_STOP_RESET, "reset by the guest (%s)", how);
}

static int port_a_access(struct vdev *dev, struct bus_access *a) {
    if (!a->write)
        a->value = a->offset == PORT_A ? PORT_A_A20 : 0xff;
    else if (a->offset == PORT_A && (a->value & PORT_A_RESET))
        reset(dev, "port 0x92");
    return 0;
}

static int pci_access(struct vdev *dev, struct bus_access *a) {
    struct vreset *r = container_of(dev, struct vreset, pci);
    if (a->offset != RESET_REGISTER || a->size != 1) {
        a->value = ~0ull;
    } else if (!a->write) {
        a->value = atomic_load_explicit(&r->reset_register, memory_order_relaxed);
    } else {
        atomic_store_explicit(&r->reset_register, (u8)a->value & RESET_KEPT, memory_order_relaxed);
        if (a->value & RESET_CPU)
            reset(dev, "port 0xcf9");
    }
    return 0;
}

static void pci_reset(struct vdev *dev) {
    struct vreset *r = container_of(dev, struct vreset, pci);
    atomic_store_explicit(&r->reset_register, 0, memory_order_relaxed);
}

int vreset_create(struct vm *vm) {
    struct vreset *r = page_alloc(0);
    if (r == nullptr)
        return -ENOMEM;
    r->port_a = (struct vdev){"port A", vm, gpa(PORT_A_BASE), 8, port_a_access, nullptr};
    r->pci = (struct vdev){"reset", vm, gpa(PC_PCI), 8, pci_access, pci_reset};
    const int err = bus_add(&vm->ports, &r->pci);
    if (err) {
        page_free(r, 0);
        return err;
    }
    return bus_add(&vm->ports, &r->port_a); // the caller destroys what there is
}

void vreset_destroy(struct vm *vm) {
    (void)bus_remove(&vm->ports, port_a_access);
    struct vdev *dev = bus_remove(&vm->ports, pci_access);
    if (dev != nullptr)
        page_free(container_of(dev, struct vreset, pci), 0);
}
