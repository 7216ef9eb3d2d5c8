// SPDX-License-Identifier: Apache-2.0
#define _DEFAULT_SOURCE // MAP_ANONYMOUS
#include "fiber.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FIBER_ASAN 1
#endif
#endif
#ifndef FIBER_ASAN
#define FIBER_ASAN 0
#endif
#if FIBER_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

enum { FIBER_STACK = 256 * 1024 }; // sanitized frames are large

struct host_fiber {
    struct host_fiber *next; // in use, or in the pool
    const void *key;
    char *stack;
    size_t size;
    void *fake_stack; // AddressSanitizer's
    void (*fn)(void *);
    void *arg;
#if defined(__x86_64__)
    void *sp;
#else
    ucontext_t uc;
#endif
};

static struct host_fiber main_fiber;
static struct host_fiber *self = &main_fiber;
static struct host_fiber *came_from;
static struct host_fiber *used, *pool;

#if defined(__x86_64__)
// ucontext saves the signal mask with two system calls a switch; a simulated run has millions of switches.
void host_fiber_swap(void **save, void *load);
__asm__(".text\n"
        ".globl host_fiber_swap\n"
        ".type host_fiber_swap, @function\n"
        "host_fiber_swap:\n"
        "    pushq %rbp\n    pushq %rbx\n    pushq %r12\n    pushq %r13\n    pushq %r14\n    pushq %r15\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    popq %r15\n    popq %r14\n    popq %r13\n    popq %r12\n    popq %rbx\n    popq %rbp\n"
        "    ret\n"
        ".size host_fiber_swap, . - host_fiber_swap\n");
#endif

static void finish_switch(void) {
#if FIBER_ASAN
    const void *bottom;
    size_t size;
    __sanitizer_finish_switch_fiber(self->fake_stack, &bottom, &size);
    if (came_from == &main_fiber) { // its bounds are known to the sanitizer only
        main_fiber.stack = (char *)(uintptr_t)bottom;
        main_fiber.size = size;
    }
#endif
}

static void fiber_entry(void) {
    finish_switch();
    self->fn(self->arg);
    fprintf(stderr, "host: a fiber has returned\n");
    abort();
}

static void make_context(struct host_fiber *f) {
#if FIBER_ASAN
    ASAN_UNPOISON_MEMORY_REGION(f->stack, f->size); // an earlier life may have ended inside any call
#endif
#if defined(__x86_64__)
    void **sp = (void **)(void *)(f->stack + f->size);
    *--sp = NULL; // where the entry's return address would be: ends a backtrace, and aligns
    *--sp = (void *)(uintptr_t)fiber_entry;
    for (int i = 0; i < 6; i++)
        *--sp = NULL;
    f->sp = sp;
#else
    getcontext(&f->uc);
    f->uc.uc_stack.ss_sp = f->stack;
    f->uc.uc_stack.ss_size = f->size;
    f->uc.uc_link = NULL;
    makecontext(&f->uc, fiber_entry, 0);
#endif
}

static struct host_fiber *take(void) {
    struct host_fiber *f = pool;
    if (f) {
        pool = f->next;
        return f;
    }
    f = calloc(1, sizeof(*f));
    if (f) {
        f->size = FIBER_STACK;
        f->stack = mmap(NULL, FIBER_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    }
    if (!f || f->stack == MAP_FAILED) {
        fprintf(stderr, "host: no memory for a fiber\n");
        abort();
    }
    return f;
}

struct host_fiber *host_fiber_new(const void *key, void (*fn)(void *), void *arg) {
    struct host_fiber *f = used;
    while (f && f->key != key)
        f = f->next;
    if (!f) {
        f = take();
        f->next = used;
        used = f;
    }
    f->key = key;
    f->fn = fn;
    f->arg = arg;
    make_context(f);
    return f;
}

struct host_fiber *host_fiber_self(void) {
    return self;
}

struct host_fiber *host_fiber_main(void) {
    return &main_fiber;
}

void host_fiber_switch(struct host_fiber *to) {
    struct host_fiber *from = self;
    if (to == from)
        return;
    came_from = from;
    self = to;
#if FIBER_ASAN
    __sanitizer_start_switch_fiber(&from->fake_stack, to->stack, to->size);
#endif
#if defined(__x86_64__)
    host_fiber_swap(&from->sp, to->sp);
#else
    swapcontext(&from->uc, &to->uc);
#endif
    finish_switch();
}

void host_fiber_reset(void) {
    while (used) {
        struct host_fiber *f = used;
        used = f->next;
        f->key = NULL;
        f->next = pool;
        pool = f;
    }
}
