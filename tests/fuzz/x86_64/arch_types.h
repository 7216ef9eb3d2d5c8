// SPDX-License-Identifier: Apache-2.0
// The types of arch/x86_64, and its registers and instructions, for a program on the host: the inline functions ask a
// made-up CPU, and nothing of what they would execute is left.
#pragma once

#include "types.h"

#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wkeyword-macro"
#pragma clang diagnostic ignored "-Wuninitialized"
#pragma clang diagnostic ignored "-Wunused-parameter"
#define __asm__ (void)0;
#define volatile(...)
#define arch_cpu_self hardware_cpu_self
#define arch_cpu_relax hardware_cpu_relax
#define arch_ticks hardware_ticks
#define msr_read hardware_msr_read
#define msr_write hardware_msr_write
#define rdtsc hardware_rdtsc
#define rdtsc_ordered hardware_rdtsc_ordered
#define cpuid(...) hardware_cpuid(__VA_ARGS__)
#define cpuid_or_zero hardware_cpuid_or_zero
#include "../../../arch/x86_64/arch_types.h"
#include "../../../arch/x86_64/sysreg.h"
#undef arch_cpu_self
#undef arch_cpu_relax
#undef arch_ticks
#undef msr_read
#undef msr_write
#undef rdtsc
#undef rdtsc_ordered
#undef cpuid
#undef cpuid_or_zero
#undef volatile
#undef __asm__
#pragma clang diagnostic pop

struct cpu *arch_cpu_self(void);
void arch_cpu_relax(void);
u64 arch_ticks(void);
u64 msr_read(u32 nr);
void msr_write(u32 nr, u64 v);
u64 rdtsc(void);
struct cpuid cpuid(u32 leaf, u32 subleaf);
struct cpuid cpuid_or_zero(u32 leaf, u32 subleaf);
