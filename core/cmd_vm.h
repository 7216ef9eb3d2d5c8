// SPDX-License-Identifier: Apache-2.0
// What the commands share, besides cmd.h.
#pragma once

#include "cmd.h"
#include "vm.h"

// The VM that argument `index` names, or NULL after a sentence that says which there are.
struct vm *cmd_vm_arg(const struct cmd *cmd, u32 index);
u64 vcpu_cpu_time_ns(const struct vcpu *v);
u64 vcpu_exits(const struct vcpu *v);
const char *format_size(u64 bytes, char *buf, size_t size); // "256M"; returns buf
const char *format_seconds(u64 ns, char *buf, size_t size); // "12.34s"
