// SPDX-License-Identifier: Apache-2.0
// Where things lie in the guest's machine: QEMU's virt (hw/riscv/virt.c).
#pragma once

#include "types.h"

enum : u32 {
    GUEST_RTC = 0x00101000,
    GUEST_PLIC = 0x0c000000,
    GUEST_APLIC = 0x0d000000,
    GUEST_UART = 0x10000000,
    GUEST_IMSIC = 0x28000000,
    GUEST_RAM = 0x80000000,
    GUEST_UART_IRQ = 10,
    GUEST_RTC_IRQ = 11,
};
