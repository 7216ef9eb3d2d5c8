// SPDX-License-Identifier: Apache-2.0
// A virtual machine: what it is made of, and the moves of its life.
#include "vm.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "arch.h"
#include "console.h"
#include "cpu.h"
#include "gmem.h"
#include "image_load.h"
#include "log.h"
#include "page.h"
#include "plan.h"
#include "vmm.h"

const char *vm_state_name(enum vm_state s) {
    static const char *const names[VM_STATES] = {"loaded", "running", "suspended", "stopping", "stopped", "failed"};
    return s < VM_STATES ? names[s] : "?";
}

// The life of a VM. A move that is not here is refused in the shell, and a bug of ours elsewhere.
bool vm_state_may(enum vm_state from, enum vm_state to) {
    static const u8 moves[VM_STATES] = {
        [VM_LOADED] = 1 << VM_RUNNING | 1 << VM_FAILED,
        [VM_RUNNING] = 1 << VM_STOPPING | 1 << VM_STOPPED,
        [VM_SUSPENDED] = 0,
        [VM_STOPPING] = 1 << VM_STOPPED | 1 << VM_FAILED,
        [VM_STOPPED] = 1 << VM_RUNNING | 1 << VM_FAILED,
        [VM_FAILED] = 1 << VM_RUNNING | 1 << VM_FAILED,
    };
    return from < VM_STATES && to < VM_STATES && (moves[from] & (1 << to));
}

static void move(struct vm *vm, enum vm_state to) {
    BUG_ON(!vm_state_may(vm->state, to));
    vm->state = to;
}

// ── Creation ────────────────────────────────────────────────────────────────────────────────────────────────────────
struct vm *vm_alloc(void) {
    struct vm *vm = page_alloc(page_order(sizeof(struct vm)));
    if (vm)
        spin_init(&vm->lock, LOCK_VM);
    return vm;
}

void vm_free(struct vm *vm) {
    page_free(vm, page_order(sizeof(struct vm)));
}

static int create_vcpus(struct vm *vm) {
    for (u32 i = 0; i < vm->cfg.cpus; i++) {
        struct vcpu *v = page_alloc(page_order(sizeof(struct vcpu)));
        int err = v ? vcpu_init(v, vm, i) : -ENOMEM;
        if (err) {
            if (v)
                page_free(v, page_order(sizeof(struct vcpu)));
            return err;
        }
        vm->vcpus[vm->vcpu_count++] = v;
    }
    return 0;
}

static void destroy_vcpus(struct vm *vm) {
    while (vm->vcpu_count) {
        struct vcpu *v = vm->vcpus[--vm->vcpu_count];
        vcpu_fini(v);
        page_free(v, page_order(sizeof(struct vcpu)));
    }
}

// Stacks count as such, not as the blocks that they are cut from.
static u64 memory_taken(void) {
    struct page_stats pages = page_stats();
    struct stack_stats stacks = stack_stats();
    return pages.total - pages.free - stacks.reserved + stacks.used;
}

int vm_create(struct vm *vm, const struct vm_config *cfg, u32 id, char *why, size_t why_size) {
    u64 taken_before = memory_taken();
    const char *part = "its page tables";
    vm->id = id;
    vm->cfg = *cfg;
    vm->state = VM_LOADED;
    vm->ram = gpa(arch_guest_ram_base());
    bus_init(&vm->bus);
    bus_init(&vm->ports);
    int err = pgtable_init(&vm->s2, PT_GUEST);
    if (err)
        goto fail;
    part = "an address-space number";
    err = arch_vm_init(vm);
    if (err)
        goto fail_tables;
    part = "its memory";
    err = gmem_create(vm);
    if (err)
        goto fail_vm;
    part = "its console";
    vm->console = console_create(vm->cfg.name);
    err = vm->console ? 0 : -ENOMEM;
    if (err)
        goto fail_memory;
    part = "its vCPUs";
    err = create_vcpus(vm);
    if (err)
        goto fail_vcpus;
    part = "its devices";
    err = arch_guest_devices(vm);
    if (err)
        goto fail_devices;
    vm->created = true;
    vm->created_bytes = memory_taken() - taken_before;
    return 0;

fail_devices:
    arch_guest_devices_fini(vm);
fail_vcpus:
    destroy_vcpus(vm);
    console_destroy(vm->console);
    vm->console = NULL;
fail_memory:
    gmem_destroy(vm);
fail_vm:
    arch_vm_fini(vm);
fail_tables:
    pgtable_fini(&vm->s2);
fail:
    snprintf(why, why_size, "no room for %s (error %d)", part, err);
    return err;
}

void vm_destroy(struct vm *vm) {
    BUG_ON(vm->state == VM_RUNNING || vm->state == VM_STOPPING);
    gmem_scrub(vm); // nobody finds the guest's secrets in what he gets
    destroy_vcpus(vm);
    arch_guest_devices_fini(vm);
    console_destroy(vm->console);
    vm->console = NULL;
    gmem_destroy(vm);
    arch_vm_fini(vm);
    pgtable_fini(&vm->s2);
    vm->created = false;
}

// ── Start ───────────────────────────────────────────────────────────────────────────────────────────────────────────
static void unplace(struct vcpu *v) {
    if (v->placed)
        atomic_fetch_sub_explicit(&cpus[v->placed_on].homed, 1, memory_order_relaxed);
    v->placed = false;
}

// A pCPU for each vCPU: the least loaded of those that it may use. It stays there until the VM starts anew.
static int place_vcpus(struct vm *vm, char *why, size_t why_size) {
    u64 online = 0;
    for (u32 i = 0; i < cpu_count; i++)
        if (atomic_load_explicit(&cpus[i].online, memory_order_relaxed))
            online |= BIT(i);
    for (u32 n = 0; n < vm->vcpu_count; n++) {
        struct vcpu *v = vm->vcpus[n];
        u32 load[BOARD_MAX_CPUS];
        for (u32 i = 0; i < cpu_count; i++)
            load[i] = atomic_load_explicit(&cpus[i].homed, memory_order_relaxed);
        int at = plan_place_vcpu(load, cpu_count, vm->cfg.sched.affinity[n] & online);
        if (at < 0) {
            snprintf(why, why_size, "none of the pCPUs of vCPU %u's affinity is online", n);
            return at;
        }
        v->placed = true;
        v->placed_on = (u32)at;
        atomic_fetch_add_explicit(&cpus[at].homed, 1, memory_order_relaxed);
        task_set_home(&v->task, &cpus[at]);
        task_set_priority(&v->task, vm->cfg.sched.priority);
    }
    return 0;
}

int vm_boot(struct vm *vm, const struct bundle *bundle, struct boot_entry *entry, char *why, size_t why_size) {
    gmem_scrub(vm);
    int err = image_load(vm, bundle, entry, why, why_size);
    if (err)
        return err;
    err = place_vcpus(vm, why, why_size);
    if (err) {
        for (u32 n = 0; n < vm->vcpu_count; n++)
            unplace(vm->vcpus[n]);
        return err;
    }
    arch_vm_reset(vm);
    vm->irqchip_ops->reset(vm);
    bus_reset(&vm->bus);
    bus_reset(&vm->ports);
    return 0;
}

bool vm_run(struct vm *vm, const struct boot_entry *entry) {
    spin_lock(&vm->lock);
    if (vm->cancelled) {
        spin_unlock(&vm->lock);
        for (u32 i = 0; i < vm->vcpu_count; i++)
            unplace(vm->vcpus[i]);
        return false;
    }
    move(vm, VM_RUNNING);
    vm->starting = false;
    vm->reason[0] = 0;
    vm->starts++;
    vm->started_ns = arch_now_ns();
    vcpu_power_on_locked(vm->vcpus[0], entry->entry, entry->arg); // in the same breath: a running VM has a vCPU to stop
    spin_unlock(&vm->lock);
    console_set_status(vm->console, "%s", "");
    vcpu_unpark(vm->vcpus[0]);
    return true;
}

void vm_fail(struct vm *vm, const char *reason, ...) {
    va_list ap;
    va_start(ap, reason);
    spin_lock(&vm->lock);
    vm->starting = vm->cancelled = false;
    vm->state = VM_FAILED;
    vsnprintf(vm->reason, sizeof(vm->reason), reason, ap);
    spin_unlock(&vm->lock);
    va_end(ap);
    log_error("%s: %s", vm->cfg.name, vm->reason);
    if (vm->console)
        console_set_status(vm->console, "failed: %s", vm->reason);
}

// ── Stop ────────────────────────────────────────────────────────────────────────────────────────────────────────────
bool vm_stop(struct vm *vm, enum vm_stop cause, const char *reason, ...) {
    va_list ap;
    va_start(ap, reason);
    spin_lock(&vm->lock);
    bool first = vm->state == VM_RUNNING; // the first cause wins
    if (first) {
        move(vm, VM_STOPPING);
        vm->stop = cause;
        vsnprintf(vm->reason, sizeof(vm->reason), reason, ap);
        for (u32 i = 0; i < vm->vcpu_count; i++)
            if (atomic_load_explicit(&vm->vcpus[i]->power, memory_order_relaxed) != VCPU_OFF) {
                atomic_fetch_or_explicit(&vm->vcpus[i]->requests, VCPU_REQ_STOP, memory_order_relaxed);
                // It leaves even if a busy guest of a higher priority has its CPU. Until it is placed anew.
                task_set_priority(&vm->vcpus[i]->task, TASK_PRIORITY_SYSTEM);
            }
    }
    spin_unlock(&vm->lock);
    va_end(ap);
    if (first)
        for (u32 i = 0; i < vm->vcpu_count; i++)
            vcpu_kick(vm->vcpus[i]);
    return first;
}

bool vm_cancel(struct vm *vm) {
    spin_lock(&vm->lock);
    bool moves = vm->state == VM_STOPPING || vm->starting || vm->restart;
    if (moves)
        vm->cancelled = true;
    spin_unlock(&vm->lock);
    return moves;
}

static void set_reason_cancelled_locked(struct vm *vm) {
    if (vm->stop != VM_STOP_CRASH)
        snprintf(vm->reason, sizeof(vm->reason), "stopped by the operator");
}

bool vm_drop_start(struct vm *vm) {
    spin_lock(&vm->lock);
    bool drop = vm->cancelled && (vm->starting || vm->restart);
    if (drop) {
        vm->cancelled = vm->starting = vm->restart = false;
        if (vm->state == VM_STOPPED)
            set_reason_cancelled_locked(vm);
    }
    spin_unlock(&vm->lock);
    return drop;
}

void vm_vcpu_enter(struct vcpu *v) {
    spin_lock(&v->vm->lock);
    atomic_store_explicit(&v->power, VCPU_ON, memory_order_relaxed);
    spin_unlock(&v->vm->lock);
}

// Too many crashes in a row: restarting again would only fill the console.
enum { CRASH_LIMIT = 5 };
static const u64 CRASH_WINDOW_NS = 10ull * 1000 * 1000 * 1000;

static bool crash_limit_reached(struct vm *vm) {
    u64 now = arch_now_ns();
    if (now - vm->crash_window_ns > CRASH_WINDOW_NS) {
        vm->crash_window_ns = now;
        vm->crashes = 0;
    }
    if (++vm->crashes <= CRASH_LIMIT)
        return false;
    size_t used = strnlen(vm->reason, sizeof(vm->reason) - 1);
    snprintf(vm->reason + used, sizeof(vm->reason) - used, "; crashed %u times within %u s, not restarted again",
             vm->crashes, (u32)(CRASH_WINDOW_NS / 1000000000));
    return true;
}

static bool wants_restart(struct vm *vm) {
    switch (vm->stop) {
    case VM_STOP_SHUTDOWN:
        return vm->cfg.on_shutdown == VM_ACTION_RESTART;
    case VM_STOP_RESET:
        return vm->cfg.on_reset == VM_ACTION_RESTART;
    case VM_STOP_CRASH:
        return vm->cfg.on_crash == VM_ACTION_RESTART && !crash_limit_reached(vm);
    case VM_STOP_RESTART:
        return true;
    case VM_STOP_OPERATOR:
        break;
    }
    return false;
}

// The last vCPU is out: STOPPING, if it is not yet. vm->lock held.
static void last_out_locked(struct vm *vm) {
    if (vm->state == VM_RUNNING) { // each vCPU has switched itself off: nobody is left to switch one on
        vm->stop = VM_STOP_SHUTDOWN;
        snprintf(vm->reason, sizeof(vm->reason), "the guest switched off its last vCPU");
        move(vm, VM_STOPPING);
    }
    vm->stopped_ns = arch_now_ns();
}

// Nobody else touches a VM that is STOPPING and has no vCPU left. With the last move it can be started again, at once
// and elsewhere: everything that looks at it comes before.
static void stopped(struct vm *vm) {
    bool restart = wants_restart(vm);
    spin_lock(&vm->lock);
    if (restart && vm->cancelled) { // what comes later finds it in vm_drop_start
        restart = false;
        set_reason_cancelled_locked(vm);
    }
    spin_unlock(&vm->lock);
    enum vm_state end = vm->stop == VM_STOP_CRASH && !restart ? VM_FAILED : VM_STOPPED;
    for (u32 i = 0; i < vm->vcpu_count; i++)
        unplace(vm->vcpus[i]);
    vmm_vm_stops(vm, end, restart);
    spin_lock(&vm->lock);
    vm->restart = restart;
    vm->cancelled = vm->cancelled && restart;
    move(vm, end);
    spin_unlock(&vm->lock);
    vmm_vm_stopped(restart);
}

void vm_vcpu_leave(struct vcpu *v) {
    struct vm *vm = v->vm;
    spin_lock(&vm->lock);
    atomic_store_explicit(&v->requests, 0, memory_order_relaxed);
    atomic_store_explicit(&v->power, VCPU_OFF, memory_order_relaxed);
    vm->vcpus_in--;
    if (v->again && vm->state == VM_RUNNING)
        vcpu_power_on_locked(v, v->next_entry, v->next_arg); // its own task: it finds that when it parks
    v->again = false;
    bool last = vm->vcpus_in == 0;
    if (last)
        last_out_locked(vm);
    spin_unlock(&vm->lock);
    if (last)
        stopped(vm);
}
