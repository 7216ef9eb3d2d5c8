// SPDX-License-Identifier: Apache-2.0
// A VM that has nothing but one device, and whose interrupt controller is one line: what the tests of a device model
// share, unit and fuzz. The includer has defined CHECK(condition), its way to fail.
#pragma once

#include "bare_vm.h"

static struct vm vm;
static bool line;        // the device's
static u32 line_repeats; // how often it was set to the level that it had
static struct {
    u64 base;
    u32 irq;
} device;

static void line_set(struct vm *of, u32 irq, bool level) {
    CHECK(of == &vm && irq == device.irq);
    line_repeats += level == line;
    line = level;
}

// A fresh VM on a fresh machine, ready for the device to be created.
static void one_device_vm(u64 base, u32 irq) {
    static const struct irqchip_ops ops = {.set = line_set};
    bare_vm(&vm, NULL, 0);
    vm.irqchip_ops = &ops;
    device.base = base;
    device.irq = irq;
    line = false;
    line_repeats = 0;
}

// An access that the device answers; returns what was read.
static u64 device_access(u32 offset, u8 size, bool write, u64 value) {
    struct bus_access a = {.value = value, .size = size, .write = write};
    CHECK(bus_access(&vm.bus, gpa(device.base + offset), &a) == 0);
    return a.value;
}
