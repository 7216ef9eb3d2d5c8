// SPDX-License-Identifier: Apache-2.0
// The ACPI tables of an x86_64 guest (ACPI 6.5): RSDP, RSDT, XSDT, a hardware-reduced FADT, MADT, and a DSDT with COM1,
// the clock and the sleep state "off". Pure: bytes out.
#pragma once

#include "types.h"

// Writes the tables of a machine with that many CPUs, for the guest-physical address `at`, which is a multiple of 16
// and below 4 GiB: the RSDP comes first. Returns how many bytes they take, or -ENOSPC. Any.
[[nodiscard]] s64 acpi_gen(u32 cpus, gpa_t at, void *buf, size_t size);
