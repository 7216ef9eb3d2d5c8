// SPDX-License-Identifier: Apache-2.0
// Task stacks: a block of pages of which the lowest is taken out of the mapping, so that an overflow faults at once.
#include "arch.h"
#include "page.h"
#include "task.h"

enum { STACK_ORDER = 3 };
static_assert(TASK_STACK_SIZE + PAGE_SIZE == PAGE_SIZE << STACK_ORDER);

void *stack_alloc(void) {
    char *block = page_alloc(STACK_ORDER);
    if (!block)
        return NULL;
    arch_stack_guard(block, true);
    return block + PAGE_SIZE;
}

void stack_free(void *stack) {
    char *block = (char *)stack - PAGE_SIZE;
    arch_stack_guard(block, false);
    page_free(block, STACK_ORDER);
}
