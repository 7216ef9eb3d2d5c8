// SPDX-License-Identifier: Apache-2.0
// The ways in which software resets a PC (besides the keyboard controller's, a triple fault, and ACPI's, which is
// 0xcf9), and the ports beside them: PCI's configuration, which finds a bus with nothing on it but the bridge that it
// hangs from. (Without one Linux complains of a fatal error.)
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
enum : u32 { // PCI Local Bus 3.0 §3.2.2.3.2
    CONFIG_ADDRESS = 0,
    CONFIG_DATA = 4,
    CONFIG_ENABLE = 1u << 31,
    CONFIG_FUNCTION = 0xffff00, // bus, device, function
    CONFIG_REGISTER = 0xfc,
};

struct vreset { // first of one page
    struct vdev port_a, pci;
    _Atomic u8 reset_register;
    _Atomic u32 config_address; // of all vCPUs: software locks it
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

// The configuration registers of the bridge, which is QEMU's of a generic machine (docs/specs/pci-ids.rst); nothing of
// it can be changed.
static u32 config_read(u32 address) {
    static const u32 header[] = {0x00081b36, 0, 0x06000000}; // device and vendor, status, class: host bridge
    const u32 n = (address & CONFIG_REGISTER) / 4;
    if (!(address & CONFIG_ENABLE) || (address & CONFIG_FUNCTION))
        return UINT32_MAX;
    return n < ARRAY_SIZE(header) ? header[n] : 0;
}

static void reset_register_access(struct vreset *r, struct bus_access *a) {
    if (!a->write) {
        a->value = atomic_load_explicit(&r->reset_register, memory_order_relaxed);
        return;
    }
    atomic_store_explicit(&r->reset_register, (u8)a->value & RESET_KEPT, memory_order_relaxed);
    if (a->value & RESET_CPU)
        reset(&r->pci, "port 0xcf9");
}

static int pci_access(struct vdev *dev, struct bus_access *a) {
    struct vreset *r = container_of(dev, struct vreset, pci);
    const u32 address = atomic_load_explicit(&r->config_address, memory_order_relaxed);
    if (a->offset == RESET_REGISTER && a->size == 1)
        reset_register_access(r, a);
    else if (a->write && a->offset == CONFIG_ADDRESS && a->size == 4)
        atomic_store_explicit(&r->config_address, (u32)a->value, memory_order_relaxed);
    else if (!a->write && a->offset >= CONFIG_DATA)
        a->value = config_read(address) >> 8 * (a->offset - CONFIG_DATA);
    else if (!a->write)
        a->value = a->offset == CONFIG_ADDRESS && a->size == 4 ? address : ~0ull;
    return 0;
}

static void pci_reset(struct vdev *dev) {
    struct vreset *r = container_of(dev, struct vreset, pci);
    atomic_store_explicit(&r->reset_register, 0, memory_order_relaxed);
    atomic_store_explicit(&r->config_address, 0, memory_order_relaxed);
}

int vreset_create(struct vm *vm) {
    struct vreset *r = page_alloc(0);
    if (r == nullptr)
        return -ENOMEM;
    r->port_a = (struct vdev){"port A", vm, gpa(PORT_A_BASE), 8, port_a_access, nullptr};
    r->pci = (struct vdev){"PCI and reset", vm, gpa(PC_PCI), 8, pci_access, pci_reset};
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
