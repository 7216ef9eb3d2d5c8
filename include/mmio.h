// SPDX-License-Identifier: Apache-2.0
// Device registers by host-physical address (VA = PA). The compiler neither drops, splits nor reorders these accesses;
// the device mapping keeps their order at one device. Before an access that must come after stores to RAM the caller
// puts the architecture's barrier. Context: any.
#pragma once

#include "types.h"

static inline u8 mmio_read8(u64 addr) {
    return *(const volatile u8 *)(uintptr_t)addr;
}
static inline u32 mmio_read32(u64 addr) {
    return *(const volatile u32 *)(uintptr_t)addr;
}
static inline u64 mmio_read64(u64 addr) {
    return *(const volatile u64 *)(uintptr_t)addr;
}
static inline void mmio_write8(u64 addr, u8 value) {
    *(volatile u8 *)(uintptr_t)addr = value;
}
static inline void mmio_write32(u64 addr, u32 value) {
    *(volatile u32 *)(uintptr_t)addr = value;
}
static inline void mmio_write64(u64 addr, u64 value) {
    *(volatile u64 *)(uintptr_t)addr = value;
}
