// SPDX-License-Identifier: Apache-2.0
// The types of arch/aarch64 for a program on the host: its inline functions ask a made-up CPU.
#pragma once

#define arch_cpu_self hardware_cpu_self
#define arch_cpu_relax hardware_cpu_relax
#define arch_ticks hardware_ticks
#include "../../../arch/aarch64/arch_types.h"
#undef arch_cpu_self
#undef arch_cpu_relax
#undef arch_ticks

struct cpu *arch_cpu_self(void);
void arch_cpu_relax(void);
u64 arch_ticks(void);
