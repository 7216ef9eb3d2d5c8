// SPDX-License-Identifier: Apache-2.0
// The hypercalls of our own.
#include "hypercall.h"

#include "console.h"
#include "gmem.h"
#include "task.h"
#include "vcpu.h"
#include "vm.h"

enum { CONSOLE_WRITE_MAX = 4096 };

typedef s64 (*hypercall_fn)(struct vcpu *v, const u64 *args);

static s64 call_version(struct vcpu *v, const u64 *args) {
    (void)v;
    (void)args;
    return HYPERCALL_VERSION_ANSWER;
}

static s64 call_vm_id(struct vcpu *v, const u64 *args) {
    (void)args;
    return v->vm->id;
}

static s64 call_console_write(struct vcpu *v, const u64 *args) {
    u64 at = args[0], left = args[1];
    if (left > CONSOLE_WRITE_MAX)
        return HYPERCALL_INVALID;
    char chunk[256];
    while (left) {
        u64 n = MIN(left, sizeof(chunk));
        if (gmem_read(v->vm, gpa(at), chunk, n) != 0)
            return HYPERCALL_INVALID;
        console_write(v->vm->console, chunk, n);
        at += n;
        left -= n;
    }
    return (s64)args[1];
}

static s64 call_yield(struct vcpu *v, const u64 *args) {
    (void)v;
    (void)args;
    sched_yield();
    return 0;
}

static const hypercall_fn calls[HYPERCALL_COUNT] = {
    [HYPERCALL_VERSION] = call_version,
    [HYPERCALL_VM_ID] = call_vm_id,
    [HYPERCALL_CONSOLE_WRITE] = call_console_write,
    [HYPERCALL_YIELD] = call_yield,
};

void hypercall_handle(struct vcpu *v, struct vexit *exit) {
    s64 result = exit->nr < HYPERCALL_COUNT ? calls[exit->nr](v, exit->args) : HYPERCALL_NOT_SUPPORTED;
    exit->value = (u64)result;
}
