// SPDX-License-Identifier: Apache-2.0
// Task stacks: 2 MiB blocks cut into slots. The lowest page of a slot is taken out of the mapping, so that an overflow
// faults at once; the first slot of a block is its header.
#include "arch.h"
#include "hostmap.h"
#include "list.h"
#include "page.h"
#include "task.h"

enum : u64 { SLOT_SIZE = TASK_STACK_SIZE + PAGE_SIZE, SLOTS = BLOCK_SIZE / SLOT_SIZE, HEADER_SLOT = 1 };
static_assert(SLOTS == 64);

struct stack_block {
    struct list node;
    u64 used; // bit n: slot n; the header's own bit is always set
};

// Guards the list and the blocks' books. A leaf of the lock order, as the page allocator's, and never held with it.
static struct spinlock lock = SPINLOCK_INIT(LOCK_PAGE);
static struct list blocks = {&blocks, &blocks};

static void *slot_of(struct stack_block *b, u32 n) {
    return (char *)b + n * SLOT_SIZE;
}

static struct stack_block *block_new(void) {
    pa_t base;
    if (page_alloc_blocks(1, &base) == 0)
        return NULL;
    struct stack_block *b = (void *)(uintptr_t)base.v;
    if (hostmap_split(b) != 0) {
        page_free_blocks(base, 1);
        return NULL;
    }
    arch_zero(b, PAGE_SIZE);
    b->used = HEADER_SLOT;
    hostmap_guards(b, SLOT_SIZE, true);
    return b;
}

static void block_free(struct stack_block *b) {
    hostmap_guards(b, SLOT_SIZE, false);
    page_free_blocks(pa((uintptr_t)b), 1);
}

// Takes a slot. Locked.
static void *slot_take(struct stack_block *b) {
    u32 n = (u32)__builtin_ctzll(~b->used);
    b->used |= BIT(n);
    return (char *)slot_of(b, n) + PAGE_SIZE;
}

void stack_init(void) {
    spin_init(&lock, LOCK_PAGE);
    list_init(&blocks);
}

void *stack_alloc(void) {
    void *stack = NULL;
    spin_lock(&lock);
    list_for_each(node, &blocks) {
        struct stack_block *b = list_entry(node, struct stack_block, node);
        if (~b->used) {
            stack = slot_take(b);
            break;
        }
    }
    spin_unlock(&lock);
    if (!stack) {
        struct stack_block *b = block_new();
        if (!b)
            return NULL;
        spin_lock(&lock);
        list_push_back(&blocks, &b->node);
        stack = slot_take(b);
        spin_unlock(&lock);
    }
    arch_zero(stack, TASK_STACK_SIZE); // what a task leaves behind is not the next one's
    return stack;
}

void stack_free(void *stack) {
    struct stack_block *b = (void *)align_down((uintptr_t)stack, BLOCK_SIZE);
    u64 n = ((uintptr_t)stack - (uintptr_t)b) / SLOT_SIZE;
    BUG_ON((uintptr_t)stack % SLOT_SIZE != PAGE_SIZE || n == 0);
    spin_lock(&lock);
    BUG_ON(!(b->used & BIT(n)));
    b->used &= ~BIT(n);
    bool empty = b->used == HEADER_SLOT;
    if (empty)
        list_remove(&b->node);
    spin_unlock(&lock);
    if (empty)
        block_free(b);
}

struct stack_stats stack_stats(void) {
    struct stack_stats s = {0};
    spin_lock(&lock);
    list_for_each(node, &blocks) {
        const struct stack_block *b = list_entry(node, struct stack_block, node);
        s.used += ((u64)__builtin_popcountll(b->used) - 1) * SLOT_SIZE;
        s.reserved += BLOCK_SIZE;
    }
    spin_unlock(&lock);
    return s;
}
