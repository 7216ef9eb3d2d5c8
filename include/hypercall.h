// SPDX-License-Identifier: Apache-2.0
// The hypercalls of our own: one table, in the vendor range of each architecture's calling convention. The arch layer
// strips its convention's prefix and hands over the function number and arguments.
#pragma once

#include "types.h"

struct vcpu;
struct vexit;

enum hypercall_nr {
    HYPERCALL_VERSION = 0,       // → major << 16 | minor
    HYPERCALL_VM_ID = 1,         // → the caller's VM id
    HYPERCALL_CONSOLE_WRITE = 2, // gpa, length (≤ 4096) → bytes written, or a negative error
    HYPERCALL_YIELD = 3,         // gives the CPU to an equal → 0
    HYPERCALL_COUNT
};

enum { HYPERCALL_NOT_SUPPORTED = -1, HYPERCALL_INVALID = -3 }; // as SMCCC and PSCI number them

// What HYPERCALL_VERSION answers. An architecture may do so itself: it asks for nothing.
enum { HYPERCALL_VERSION_ANSWER = 0 << 16 | 1 };

// Serves VEXIT_HYPERCALL: exit->nr, exit->args → exit->value (sign-extended errors). Task.
void hypercall_handle(struct vcpu *v, struct vexit *exit);
