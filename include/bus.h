// SPDX-License-Identifier: Apache-2.0
// The guest's bus: device models by guest-physical range.
#pragma once

#include <stdatomic.h>

#include "types.h"

struct vcpu;
struct vm;
struct vdev;

struct bus_access {
    struct vcpu *vcpu;
    u64 offset; // from the device's base, set by the bus; naturally aligned to size, and inside the device
    u64 value;  // written value, zero-extended; a read puts its answer here
    u8 size;    // 1, 2, 4, 8
    bool write;
};

// Serves one access. Returns 0, or -EFAULT if the device answers with a bus error. Context: any vCPU of the VM, at the
// same time as others: the device takes its own lock (LOCK_DEVICE or LOCK_IRQCHIP).
typedef int (*vdev_access_fn)(struct vdev *dev, struct bus_access *a);

struct vdev {
    const char *name;
    struct vm *vm;
    gpa_t base;
    u64 size;
    vdev_access_fn access;
    void (*reset)(struct vdev *dev); // VM (re)start, no vCPU runs
};

enum { BUS_MAX_DEVICES = 32 };

struct bus {
    struct vdev *_Atomic hint; // served the last access; never nullptr while a device is there
    u32 count;
    struct vdev *devices[BUS_MAX_DEVICES]; // sorted by base; fixed once the VM is created
};

void bus_init(struct bus *bus);
// base and size are multiples of 8. -EINVAL: they are not, or the range is empty or wraps; -EEXIST: overlaps a device;
// -ENOSPC. Context: VM creation.
[[nodiscard]] int bus_add(struct bus *bus, struct vdev *dev);
// Takes the device off whose access function is `access`, or returns nullptr. Context: VM destruction.
struct vdev *bus_remove(struct bus *bus, vdev_access_fn access);
// Context: VM (re)start, no vCPU runs.
void bus_reset(struct bus *bus);
// Finds the device, sets a->offset and calls it. -ENODEV: nothing there; -EINVAL: misaligned; else what the device
// says. Context: any vCPU.
[[nodiscard]] int bus_access(struct bus *bus, gpa_t at, struct bus_access *a);
