// SPDX-License-Identifier: Apache-2.0
#include "irqchip.h"

#include "vm.h"

void irqchip_set(struct vm *vm, u32 irq, bool level) {
    vm->irqchip_ops->set(vm, irq, level);
}
