// SPDX-License-Identifier: Apache-2.0
// The guest's bus. A guest talks to the same device several times in a row (a UART's flag and data register, the
// distributor while it boots), so the device of the last access is tried first; a VM has few devices, and a miss walks
// them.
#include "bus.h"

void bus_init(struct bus *bus) {
    bus->count = 0;
    atomic_init(&bus->hint, nullptr);
}

int bus_add(struct bus *bus, struct vdev *dev) {
    u64 start = dev->base.v, end = start + dev->size;
    if ((start | dev->size) % 8 || dev->size == 0 || end - 1 < start)
        return -EINVAL;
    if (bus->count == BUS_MAX_DEVICES)
        return -ENOSPC;
    u32 at = 0;
    while (at < bus->count && bus->devices[at]->base.v < start)
        at++;
    // Differences of addresses, so that a device that ends at the top of the address space is no special case.
    if (at < bus->count && bus->devices[at]->base.v - start < dev->size)
        return -EEXIST;
    if (at > 0 && start - bus->devices[at - 1]->base.v < bus->devices[at - 1]->size)
        return -EEXIST;
    for (u32 i = bus->count; i > at; i--)
        bus->devices[i] = bus->devices[i - 1];
    bus->devices[at] = dev;
    bus->count++;
    atomic_store_explicit(&bus->hint, dev, memory_order_relaxed);
    return 0;
}

struct vdev *bus_remove(struct bus *bus, vdev_access_fn access) {
    for (u32 at = 0; at < bus->count; at++) {
        struct vdev *dev = bus->devices[at];
        if (dev->access != access)
            continue;
        bus->count--;
        for (u32 i = at; i < bus->count; i++)
            bus->devices[i] = bus->devices[i + 1];
        atomic_store_explicit(&bus->hint, bus->count ? bus->devices[0] : nullptr, memory_order_relaxed);
        return dev;
    }
    return nullptr;
}

void bus_reset(struct bus *bus) {
    for (u32 i = 0; i < bus->count; i++) {
        if (bus->devices[i]->reset)
            bus->devices[i]->reset(bus->devices[i]);
    }
}

// The hint did not help.
[[gnu::noinline]] static int access_other(struct bus *bus, u64 at, struct bus_access *a) {
    for (u32 i = 0; i < bus->count; i++) {
        struct vdev *dev = bus->devices[i];
        u64 offset = at - dev->base.v;
        if (offset >= dev->size)
            continue;
        atomic_store_explicit(&bus->hint, dev, memory_order_relaxed);
        if (offset & (a->size - 1u))
            return -EINVAL;
        a->offset = offset;
        return dev->access(dev, a);
    }
    return -ENODEV;
}

int bus_access(struct bus *bus, gpa_t at, struct bus_access *a) {
    // Relaxed: devices are fixed once the VM is created, the hint only says which one to try first.
    struct vdev *dev = atomic_load_explicit(&bus->hint, memory_order_relaxed);
    if (unlikely(dev == nullptr))
        return -ENODEV;
    u64 offset = at.v - dev->base.v;
    if (unlikely(offset >= dev->size))
        return access_other(bus, at.v, a);
    // Bases and sizes are multiples of 8: what is naturally aligned does not cross a device's end.
    if (unlikely(offset & (a->size - 1u)))
        return -EINVAL;
    a->offset = offset;
    return dev->access(dev, a);
}
