// SPDX-License-Identifier: Apache-2.0
// Local APICs and an IOAPIC without the vCPUs behind them: what would start, stop or wake one is counted.
#pragma once

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "../bare_vm.h"
#include "arch.h"
#include "cpu.h"
#include "vexit.h"
#include "vioapic.h"
#include "vlapic.h"
#include "vm.h"

enum { VCPUS = 4, ID = 0x20, VERSION = 0x30, TPR = 0x80, APR = 0x90, PPR = 0xa0, EOI = 0xb0, LDR = 0xd0, DFR = 0xe0 };
enum { SVR = 0xf0, ISR = 0x100, TMR = 0x180, IRR = 0x200, ESR = 0x280, ICR = 0x300, ICR_HIGH = 0x310 };
enum { LVT_TIMER = 0x320, LVT_LINT0 = 0x350, LVT_ERROR = 0x370, INITIAL = 0x380, CURRENT = 0x390, DIVIDE = 0x3e0 };
enum { ENABLE = 0x100, MASKED = 1 << 16, PERIODIC = 1 << 17, DEADLINE = 2 << 17, BY_1 = 0xb };
enum { SELF = 1 << 18, ALL = 2 << 18, OTHERS = 3 << 18, LOGICAL = 1 << 11, NMI = 4 << 8, INIT = 5 << 8, SIPI = 6 << 8 };
enum { LOWEST = 1 << 8, ASSERT = 1 << 14, LEVEL = 1 << 15 };

enum { TICK_NS = 16 }; // arch_ticks() of the simulated machine

static struct vm vm;
static struct vcpu vcpus[VCPUS];
static u32 kicks[VCPUS], stopped, started;
static u64 start_entry;
static enum vm_stop vm_stop_cause;
static u32 vm_stops;

void vcpu_kick(struct vcpu *v) {
    kicks[v->id]++;
}

int vcpu_stop(struct vm *of, u32 target) {
    assert_ptr_equal(of, &vm);
    stopped |= 1u << target;
    return 0;
}

int vcpu_start(struct vm *of, u32 target, u64 entry, u64 arg) {
    assert_ptr_equal(of, &vm);
    assert_int_equal(arg, 0);
    started |= 1u << target;
    start_entry = entry;
    return 0;
}

bool vm_stop(struct vm *of, enum vm_stop cause, const char *reason, ...) {
    assert_ptr_equal(of, &vm);
    assert_non_null(reason);
    vm_stop_cause = cause;
    vm_stops++;
    return true;
}

static inline struct vlapic *lapic(u32 n) {
    return vlapic_of(&vcpus[n]);
}

static inline void forget(void) {
    memset(kicks, 0, sizeof(kicks));
    stopped = started = vm_stops = 0;
}

static inline u64 get_by(u32 n, u32 reg) {
    struct bus_access a = {.vcpu = &vcpus[n], .size = 4, .value = 0x5555555555555555};
    assert_int_equal(bus_access(&vm.bus, gpa(VLAPIC_BASE + reg), &a), 0);
    return a.value;
}

static inline void put_by(u32 n, u32 reg, u64 value) {
    struct bus_access a = {.vcpu = &vcpus[n], .size = 4, .value = value, .write = true};
    assert_int_equal(bus_access(&vm.bus, gpa(VLAPIC_BASE + reg), &a), 0);
}

static inline u32 get(u32 reg) {
    return (u32)get_by(0, reg);
}

static inline void put(u32 reg, u32 value) {
    put_by(0, reg, value);
}

static inline int rdmsr(u32 n, u32 msr, u64 *value) {
    struct vexit e = {.kind = VEXIT_SYSREG, .nr = msr};
    const int err = vlapic_sysreg(&vcpus[n], &e);
    *value = e.value;
    return err;
}

static inline int wrmsr(u32 n, u32 msr, u64 value) {
    struct vexit e = {.kind = VEXIT_SYSREG, .nr = msr, .write = true, .value = value};
    return vlapic_sysreg(&vcpus[n], &e);
}

static inline u64 x2_get(u32 n, u32 reg) {
    u64 value = 0;
    assert_int_equal(rdmsr(n, 0x800 + reg / 16, &value), 0);
    return value;
}

static inline int x2_put(u32 n, u32 reg, u64 value) {
    return wrmsr(n, 0x800 + reg / 16, value);
}

static inline void go_x2(u32 n) {
    assert_int_equal(wrmsr(n, VLAPIC_MSR_BASE, VLAPIC_BASE | VLAPIC_BASE_ENABLE | VLAPIC_BASE_X2APIC), 0);
}

// What the vCPU would be given on its way into the guest.
static inline s32 next(u32 n) {
    if (atomic_load(&vcpus[n].irq_work))
        vlapic_ops.flush(&vcpus[n]);
    return vlapic_deliverable(lapic(n));
}

// It takes the interrupt.
static inline void take(u32 n, u32 vector) {
    assert_int_equal(next(n), vector);
    vlapic_accept(lapic(n), vector);
}

static inline int setup(void **state) {
    (void)state;
    bare_vm(&vm, vcpus, VCPUS);
    smp_init(host_board(), 0);
    forget();
    int err = vlapic_create(&vm);
    if (!err)
        err = vioapic_create(&vm);
    if (err)
        return err;
    for (u32 n = 0; n < VCPUS; n++)
        put_by(n, SVR, ENABLE | 0xff);
    return 0;
}

static inline int teardown(void **state) {
    (void)state;
    vioapic_destroy(&vm);
    vlapic_destroy(&vm);
    return vm.bus.count != 0 || vm.irqchip != NULL || vcpus[0].irqchip != NULL;
}

// The vCPUs that a vector has reached, which then forget it.
static inline u32 reached(u32 vector) {
    u32 set = 0;
    for (u32 n = 0; n < VCPUS; n++) {
        if (next(n) < 0)
            continue;
        take(n, vector);
        put_by(n, EOI, 0);
        set |= 1u << n;
    }
    return set;
}

static inline void send(u32 by, u32 dest, u32 low) {
    put_by(by, ICR_HIGH, dest << 24);
    put_by(by, ICR, low);
}
