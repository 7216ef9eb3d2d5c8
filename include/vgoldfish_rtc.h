// SPDX-License-Identifier: Apache-2.0
// The goldfish real-time clock (google,goldfish-rtc) of a riscv64 guest: nanoseconds since 1970, and an alarm.
#pragma once

#include "types.h"

struct vm;

enum { VGOLDFISH_RTC_SIZE = 0x1000 };

// Puts the clock at `base` on vm->bus; it raises `irq` (the interrupt controller's number). -ENOMEM, or what bus_add
// says. Context: VM creation.
[[nodiscard]] int vgoldfish_rtc_create(struct vm *vm, gpa_t base, u32 irq);
// No vCPU runs. A VM without this clock is fine. Context: task.
void vgoldfish_rtc_destroy(struct vm *vm);
