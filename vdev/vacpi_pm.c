// SPDX-License-Identifier: Apache-2.0
// ACPI 4.8.4: the PM timer, and the sleep registers of the hardware-reduced model (4.8.5).
#include "arch.h"
#include "bus.h"
#include "page.h"
#include "pc_map.h"
#include "vm.h"
#include "vpc.h"

enum { PM_SIZE = 16, SLEEP_CONTROL = 0, SLEEP_STATUS = 1, TIMER = PC_PM_TIMER - PC_SLEEP, TIMER_HZ = 3579545 };
static const u64 NS = 1000000000;

static u32 timer_now(void) { // by whole seconds, and the rest: the product would overflow within two hours
    const u64 now = arch_now_ns();
    return (u32)(now / NS * TIMER_HZ + now % NS * TIMER_HZ / NS);
}

static int pm_access(struct vdev *dev, struct bus_access *a) {
    if (a->write) {
        const u32 type = (u32)a->value >> PC_SLEEP_TYPE_SHIFT & 7;
        if (a->offset == SLEEP_CONTROL && (a->value & PC_SLEEP_ENABLE) && type == PC_SLEEP_TYPE_OFF)
            (void)vm_stop(dev->vm, VM_STOP_SHUTDOWN, "powered off by the guest");
        return 0;
    }
    if (a->offset >= TIMER && a->offset < TIMER + 4)
        a->value = timer_now() >> 8 * (a->offset - TIMER);
    else
        a->value = 0;
    return 0;
}

int vacpi_pm_create(struct vm *vm) {
    struct vdev *dev = page_alloc(0);
    if (dev == nullptr)
        return -ENOMEM;
    *dev = (struct vdev){"ACPI", vm, gpa(PC_SLEEP), PM_SIZE, pm_access, nullptr};
    const int err = bus_add(&vm->ports, dev);
    if (err)
        page_free(dev, 0);
    return err;
}

void vacpi_pm_destroy(struct vm *vm) {
    struct vdev *dev = bus_remove(&vm->ports, pm_access);
    if (dev != nullptr)
        page_free(dev, 0);
}
