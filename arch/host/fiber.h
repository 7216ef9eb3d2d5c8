// SPDX-License-Identifier: Apache-2.0
// Stacks of their own in one thread. The memory comes from a pool and goes back all at once when a run ends.
#pragma once

#include "types.h"

struct host_fiber;

// A fiber that will run fn(arg), which must not return. `key` names it: asked again with the same key (a task's stack
// that is used anew), the same fiber starts afresh.
struct host_fiber *host_fiber_new(const void *key, void (*fn)(void *), void *arg);
struct host_fiber *host_fiber_self(void);
void host_fiber_switch(struct host_fiber *to);
// The thread's own stack.
struct host_fiber *host_fiber_main(void);
// Gives every fiber back. Called on the main fiber.
void host_fiber_reset(void);
