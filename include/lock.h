// SPDX-License-Identifier: Apache-2.0
// Spin locks, and the one place that says in which order they are taken.
//
// The hypervisor runs with interrupts masked, so a lock needs no interrupt-saving variant. A lock may be taken while
// only locks of a lower rank are held; a debug build (and arch/host) checks that on every acquisition.
#pragma once

#include <stdatomic.h>

#include "arch_types.h"
#include "types.h"

enum lock_rank {
    LOCK_VM_LIST = 1,
    LOCK_VM,
    LOCK_VCPU,
    LOCK_DEVICE, // one a device model
    LOCK_IRQCHIP,
    LOCK_CONSOLE,
    LOCK_WAITQ,
    LOCK_TIMER,
    LOCK_RUNQ,
    LOCK_PAGE,
    LOCK_LOG,
};

// A ticket lock: waiters are served in order, so that the wait is bounded by the number of CPUs.
struct spinlock {
    _Atomic u32 next;
    _Atomic u32 owner;
    u32 rank;
};

#define SPINLOCK_INIT(r) {.rank = (r)}

static inline void spin_init(struct spinlock *l, enum lock_rank rank) {
    atomic_init(&l->next, 0);
    atomic_init(&l->owner, 0);
    l->rank = rank;
}

static inline bool spin_is_locked(struct spinlock *l) {
    return atomic_load_explicit(&l->next, memory_order_relaxed) !=
           atomic_load_explicit(&l->owner, memory_order_relaxed);
}

static inline void spin_lock(struct spinlock *l) {
    arch_lock_enter(l->rank); // nothing on hardware; a scheduling point and the order check on arch/host
    u32 ticket = atomic_fetch_add_explicit(&l->next, 1, memory_order_relaxed);
    // Acquire: pairs with the release in spin_unlock.
    while (atomic_load_explicit(&l->owner, memory_order_acquire) != ticket)
        arch_cpu_relax();
}

static inline void spin_unlock(struct spinlock *l) {
    // Only the holder writes owner, so a plain read is enough; the release pairs with the acquire in spin_lock.
    u32 ticket = atomic_load_explicit(&l->owner, memory_order_relaxed);
    atomic_store_explicit(&l->owner, ticket + 1, memory_order_release);
    arch_lock_exit(l->rank);
}
