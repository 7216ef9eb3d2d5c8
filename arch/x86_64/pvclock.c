// SPDX-License-Identifier: Apache-2.0
// KVM's paravirtual clock (Linux, Documentation/virt/kvm/x86/{cpuid,msr}.rst): a guest that knows it learns from memory
// how its TSC counts nanoseconds. Without it Linux measures the TSC on AMD's processors, where it does not believe
// CPUID's leaf 0x15; that fails whenever its vCPU has to wait at the wrong moment, and then Linux waits for ticks that
// a machine without a PIT's interrupt does not have.
#include <stdatomic.h>

#include "gmem.h"
#include "virt.h"
#include "wallclock.h"
#include "x86_64.h"

#define SYSTEM_TIME_ENABLE BIT(0)

static const u64 NS_PER_S = 1000000000;

// Where `version` is odd, the rest is being written.
struct [[gnu::packed, gnu::aligned(4)]] pvclock_time { // as far as guests have to align it
    u32 version, reserved;
    u64 tsc; // at which the time was `ns`
    u64 ns;
    u32 mult; // ns = (ticks << shift) * mult >> 32
    int8_t shift;
    u8 flags;
    u8 reserved2[2];
};
struct pvclock_wall { // when the time was 0
    u32 version, seconds, ns;
};
enum : u8 { FLAG_TSC_STABLE = 1 }; // the same on all vCPUs
static_assert(sizeof(struct pvclock_time) == 32 && sizeof(struct pvclock_wall) == 12);

static void begin(u32 *version) {
    atomic_store_explicit((_Atomic u32 *)version, *version | 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
}

static void end(u32 *version) {
    // Release: what lies between is there before it. Guests order their reads alike.
    atomic_store_explicit((_Atomic u32 *)version, (*version | 1) + 1, memory_order_release);
}

// What a register's value points at, or nullptr: it is no RAM, or not aligned.
static void *memory(struct vcpu *v, u64 at, u64 size) {
    return at % 4 == 0 ? gmem_ptr(v->vm, gpa(at), size) : nullptr;
}

void pvclock_update(struct vcpu *v) {
    if (!(v->arch.system_time & SYSTEM_TIME_ENABLE))
        return;
    struct pvclock_time *t = memory(v, v->arch.system_time & ~SYSTEM_TIME_ENABLE, sizeof(*t));
    if (t == nullptr)
        return;
    u64 hz = features.tsc_hz;
    int8_t shift = 0;
    for (; hz > 2 * NS_PER_S; hz /= 2)
        shift--;
    for (; hz <= NS_PER_S; hz *= 2)
        shift++;
    begin(&t->version);
    t->tsc = v->arch.tsc_offset + v->vm->arch.tsc_start; // the VM's start, whatever the guest made of its TSC
    t->ns = 0;
    t->mult = (u32)((NS_PER_S << 32) / hz);
    t->shift = shift;
    t->flags = FLAG_TSC_STABLE;
    end(&t->version);
}

bool pvclock_set_system_time(struct vcpu *v, u64 value) {
    if ((value & SYSTEM_TIME_ENABLE) && !memory(v, value & ~SYSTEM_TIME_ENABLE, sizeof(struct pvclock_time)))
        return false;
    v->arch.system_time = value;
    pvclock_update(v);
    return true;
}

bool pvclock_set_wall_clock(struct vcpu *v, u64 value) {
    struct pvclock_wall *w = memory(v, value, sizeof(*w));
    if (w == nullptr)
        return false;
    const u64 since = arch_ticks_to_ns(arch_ticks() - v->vm->arch.tsc_start);
    const u64 start_ns = wallclock_seconds() * NS_PER_S - since;
    begin(&w->version);
    w->seconds = (u32)(start_ns / NS_PER_S);
    w->ns = (u32)(start_ns % NS_PER_S);
    end(&w->version);
    v->arch.wall_clock = value;
    return true;
}
