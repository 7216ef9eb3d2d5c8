// SPDX-License-Identifier: Apache-2.0
// A vCPU's task: parked while the vCPU is off, otherwise in the loop "run the guest, serve its exit".
#include "vcpu.h"

#include <stdio.h>
#include <string.h>

#include "arch.h"
#include "bus.h"
#include "cpu.h"
#include "hypercall.h"
#include "log.h"
#include "page.h"
#include "vm.h"

const char *vexit_kind_name(enum vexit_kind kind) {
    static const char *const names[VEXIT_KINDS] = {
        [VEXIT_NONE] = "interrupt",
        [VEXIT_MMIO] = "mmio",
        [VEXIT_PIO] = "pio",
        [VEXIT_HYPERCALL] = "hypercall",
        [VEXIT_HALT] = "halt",
        [VEXIT_CPU_ON] = "cpu-on",
        [VEXIT_CPU_OFF] = "cpu-off",
        [VEXIT_CPU_SUSPEND] = "cpu-suspend",
        [VEXIT_CPU_INFO] = "cpu-info",
        [VEXIT_SYSTEM_OFF] = "system-off",
        [VEXIT_SYSTEM_RESET] = "reset",
        [VEXIT_SEND_IPI] = "send-ipi",
        [VEXIT_SYSREG] = "sysreg",
        [VEXIT_PAGE_FAULT] = "page-fault",
        [VEXIT_FAULT] = "fault",
        [VEXIT_FAIL_ENTRY] = "fail-entry",
    };
    return kind < VEXIT_KINDS ? names[kind] : "?";
}

static enum vcpu_power power_of(struct vcpu *v) {
    return atomic_load_explicit(&v->power, memory_order_acquire); // pairs with the release in vcpu_start
}

static bool stop_wanted(struct vcpu *v) {
    return atomic_load_explicit(&v->requests, memory_order_relaxed) & (VCPU_REQ_STOP | VCPU_REQ_OFF);
}

// The hardware holds one vCPU's registers at a time on each CPU; they move only when another one is to run.
static void make_loaded(struct vcpu *v, struct cpu *cpu) {
    if (cpu->loaded)
        arch_vcpu_save(cpu->loaded);
    cpu->loaded = v;
    arch_vcpu_load(v);
}

static void unload(struct vcpu *v) {
    struct cpu *cpu = cpu_self();
    if (cpu->loaded != v)
        return;
    arch_vcpu_save(v);
    cpu->loaded = NULL;
}

void vcpu_kick(struct vcpu *v) {
    // Partner of the fences in sched (a switch) and in vcpu_wait: we wrote irq_work or requests and read where v is; v
    // wrote where it is and reads irq_work and requests. One of the two sees the other.
    atomic_thread_fence(memory_order_seq_cst);
    struct cpu *cpu = v->task.cpu;
    if (atomic_load_explicit(&v->halted, memory_order_relaxed))
        waitq_wake(&v->wq);
    else if (cpu != cpu_self() && atomic_load_explicit(&cpu->current, memory_order_relaxed) == &v->task)
        arch_cpu_kick(cpu);
}

static bool has_work(struct vcpu *v) {
    return atomic_load_explicit(&v->irq_work, memory_order_relaxed) ||
           atomic_load_explicit(&v->requests, memory_order_relaxed);
}

// Blocks until an interrupt is deliverable or a request came. ready() takes the interrupt controller's lock, which may
// not be taken inside the wait's condition; so the condition is "somebody has raised something", and ready() decides
// outside.
static void vcpu_wait(struct vcpu *v) {
    for (;;) {
        // An exchange, so that a mark set meanwhile is not overwritten; acquire, pairs with the mark's release.
        (void)atomic_exchange_explicit(&v->irq_work, 0, memory_order_acquire);
        if (v->vm->irqchip_ops->ready(v) || atomic_load_explicit(&v->requests, memory_order_relaxed))
            break;
        atomic_store_explicit(&v->halted, true, memory_order_relaxed);
        atomic_thread_fence(memory_order_seq_cst); // partner: vcpu_kick
        waitq_wait(&v->wq, has_work(v));
        atomic_store_explicit(&v->halted, false, memory_order_relaxed);
        // Partner: vcpu_kick. Who still sees us halted, and so does not take us out of the guest, wrote irq_work before
        // we look at it.
        atomic_thread_fence(memory_order_seq_cst);
    }
    atomic_store_explicit(&v->irq_work, 1, memory_order_relaxed); // what woke us is to be injected
}

// ── Exits ───────────────────────────────────────────────────────────────────────────────────────────────────────────
static void crash(struct vcpu *v, const struct vexit *exit) {
    if (exit->kind == VEXIT_PAGE_FAULT)
        vm_stop(v->vm, VM_STOP_CRASH,
                "vCPU %u fetched an instruction from %#llx (guest-physical %#llx), where no memory is, and its "
                "exception vector lies in no memory either",
                v->id, (unsigned long long)exit->gva, (unsigned long long)exit->gpa);
    else if (exit->kind == VEXIT_FAIL_ENTRY)
        vm_stop(v->vm, VM_STOP_CRASH, "vCPU %u could not go on: the hardware reported error %#llx", v->id,
                (unsigned long long)exit->value);
    else
        vm_stop(v->vm, VM_STOP_CRASH, "vCPU %u: a fault (%s at %#llx) that the guest cannot take", v->id,
                vexit_kind_name(exit->kind), (unsigned long long)exit->gpa);
}

static void reflect(struct vcpu *v, const struct vexit *exit) {
    if (arch_vcpu_fault(v, exit) != 0)
        crash(v, exit);
}

static void handle_access(struct vcpu *v, struct vexit *exit, struct bus *bus) {
    struct bus_access a = {.vcpu = v, .value = exit->value, .size = exit->size, .write = exit->write};
    if (unlikely(bus_access(bus, gpa(exit->gpa), &a) != 0)) {
        reflect(v, exit);
        return;
    }
    arch_vcpu_finish_access(v, exit, a.value);
}

static void handle_sysreg(struct vcpu *v, struct vexit *exit) {
    const struct irqchip_ops *ops = v->vm->irqchip_ops;
    if (ops->sysreg && ops->sysreg(v, exit) == 0)
        arch_vcpu_finish_access(v, exit, exit->value);
    else
        reflect(v, exit);
}

static void handle_suspend(struct vcpu *v, struct vexit *exit) {
    vcpu_wait(v);
    exit->status = 0;
    if (!exit->power_down) {
        arch_vcpu_finish(v, exit);
        return;
    }
    if (stop_wanted(v))
        return;
    unload(v); // the core was off: it resumes from reset state
    v->vm->irqchip_ops->vcpu_reset(v);
    arch_vcpu_reset(v, exit->entry, exit->arg);
}

// Back to the interrupted guest after an exit. Returns false when this vCPU's time is over.
static bool handle_exit(struct vcpu *v, struct vexit *exit) {
    struct vm *vm = v->vm;
    switch (exit->kind) {
    case VEXIT_NONE:
        return true;
    case VEXIT_MMIO:
        handle_access(v, exit, &vm->bus);
        return true;
    case VEXIT_PIO:
        handle_access(v, exit, &vm->ports);
        return true;
    case VEXIT_SYSREG:
        handle_sysreg(v, exit);
        return true;
    case VEXIT_SEND_IPI:
        vm->irqchip_ops->ipi(v, exit);
        arch_vcpu_finish(v, exit);
        return true;
    case VEXIT_HYPERCALL:
        hypercall_handle(v, exit);
        arch_vcpu_finish(v, exit);
        return true;
    case VEXIT_HALT:
        vcpu_wait(v);
        exit->status = 0;
        exit->ticks = arch_ticks(); // sleeping is not work
        arch_vcpu_finish(v, exit);
        return true;
    case VEXIT_CPU_SUSPEND:
        handle_suspend(v, exit);
        return true;
    case VEXIT_CPU_ON:
        exit->status = vcpu_start(vm, exit->target, exit->entry, exit->arg);
        arch_vcpu_finish(v, exit);
        return true;
    case VEXIT_CPU_INFO:
        exit->status = exit->target < vm->vcpu_count ? 0 : -EINVAL;
        if (exit->status == 0)
            exit->value = power_of(vm->vcpus[exit->target]);
        arch_vcpu_finish(v, exit);
        return true;
    case VEXIT_CPU_OFF:
        return false;
    case VEXIT_SYSTEM_OFF:
        vm_stop(vm, VM_STOP_SHUTDOWN, "powered off by the guest");
        return true;
    case VEXIT_SYSTEM_RESET:
        vm_stop(vm, VM_STOP_RESET, "reset by the guest");
        return true;
    case VEXIT_FAULT:
    case VEXIT_PAGE_FAULT:
        reflect(v, exit);
        return true;
    case VEXIT_FAIL_ENTRY:
    case VEXIT_KINDS:
        break;
    }
    crash(v, exit);
    return true;
}

static void vcpu_loop(struct vcpu *v) {
    struct vexit exit = {0};
    u64 now = arch_ticks();
    for (;;) {
        struct cpu *cpu = cpu_self();
        if (unlikely(atomic_load_explicit(&cpu->need_resched, memory_order_relaxed))) {
            sched_resched();
            cpu = cpu_self();
            now = arch_ticks();
        }
        if (unlikely(stop_wanted(v)))
            return;
        if (unlikely(cpu->loaded != v))
            make_loaded(v, cpu);
        if (atomic_load_explicit(&v->irq_work, memory_order_relaxed))
            v->vm->irqchip_ops->flush(v); // clears it first: what is raised from then on sets it again
        arch_vcpu_run(v, &exit);
        enum vexit_kind kind = exit.kind;
        v->stats.guest_ticks += exit.ticks - now;
        bool go_on = true;
        if (likely(kind == VEXIT_MMIO)) // by far the most frequent one: not through the switch
            handle_access(v, &exit, &v->vm->bus);
        else
            go_on = handle_exit(v, &exit);
        v->stats.count[kind]++;
        now = arch_ticks();
        v->stats.ticks[kind] += now - exit.ticks;
        if (unlikely(!go_on))
            return;
    }
}

static bool retired(struct vcpu *v) {
    return atomic_load_explicit(&v->retired, memory_order_relaxed);
}

static void vcpu_main(void *arg) {
    struct vcpu *v = arg;
    for (;;) {
        waitq_wait(&v->wq, power_of(v) == VCPU_ON_PENDING || retired(v));
        if (retired(v))
            task_exit();
        vm_vcpu_enter(v);
        v->vm->irqchip_ops->vcpu_reset(v);
        arch_vcpu_reset(v, v->entry, v->arg);
        vcpu_loop(v);
        unload(v);
        v->vm->irqchip_ops->vcpu_reset(v); // what waited for it goes back to where another one may take it
        vm_vcpu_leave(v);
    }
}

// Through the queue: it may be on its way into its park, where task_wake() would find it running and do nothing.
void vcpu_unpark(struct vcpu *v) {
    waitq_wake(&v->wq);
    task_wake(&v->task); // the first time it is in no queue yet
}

static bool leaves_locked(const struct vcpu *v) {
    return atomic_load_explicit(&v->requests, memory_order_relaxed) & VCPU_REQ_OFF;
}

void vcpu_power_on_locked(struct vcpu *v, u64 entry, u64 arg) {
    if (leaves_locked(v)) { // vm_vcpu_leave will do it: until then its task may still read where it was to start
        v->again = true;
        v->next_entry = entry;
        v->next_arg = arg;
        return;
    }
    v->entry = entry;
    v->arg = arg;
    v->vm->vcpus_in++; // counted from here on: a stop waits for it, too
    atomic_store_explicit(&v->power, VCPU_ON_PENDING, memory_order_release); // pairs with power_of in vcpu_main
}

int vcpu_start(struct vm *vm, u32 target, u64 entry, u64 arg) {
    if (target >= vm->vcpu_count)
        return -EINVAL;
    struct vcpu *v = vm->vcpus[target];
    int err = 0;
    spin_lock(&vm->lock);
    bool leaves = leaves_locked(v);
    if (vm->state != VM_RUNNING)
        err = -EPERM;
    else if (leaves ? v->again : power_of(v) == VCPU_ON_PENDING)
        err = -EBUSY;
    else if (!leaves && power_of(v) == VCPU_ON)
        err = -EALREADY;
    else
        vcpu_power_on_locked(v, entry, arg);
    spin_unlock(&vm->lock);
    if (!err && !leaves)
        vcpu_unpark(v);
    return err;
}

int vcpu_stop(struct vm *vm, u32 target) {
    if (target >= vm->vcpu_count)
        return -EINVAL;
    struct vcpu *v = vm->vcpus[target];
    spin_lock(&vm->lock);
    int err = vm->state == VM_RUNNING ? 0 : -EPERM;
    bool stops = !err && power_of(v) != VCPU_OFF;
    if (stops) {
        v->again = false;
        atomic_fetch_or_explicit(&v->requests, VCPU_REQ_OFF, memory_order_relaxed);
    }
    spin_unlock(&vm->lock);
    if (stops)
        vcpu_kick(v);
    return err;
}

int vcpu_init(struct vcpu *v, struct vm *vm, u32 id) {
    char name[TASK_NAME_MAX];
    v->vm = vm;
    v->id = id;
    waitq_init(&v->wq);
    snprintf(name, sizeof(name), "%s/%u", vm->cfg.name, id);
    int err = task_init(&v->task, name, vcpu_main, v, vm->cfg.sched.priority, &cpus[0]);
    if (err)
        return err;
    v->task.vcpu = v;
    err = arch_vcpu_init(v);
    if (err)
        task_fini(&v->task);
    return err;
}

static const u64 RETIRE_POLL_NS = 50 * 1000;

void vcpu_fini(struct vcpu *v) {
    struct waitq nap;
    bool timed_out;
    waitq_init(&nap);
    atomic_store_explicit(&v->retired, true, memory_order_relaxed);
    vcpu_unpark(v);
    while (!task_is_gone(&v->task)) // a yield would not do: its priority may be lower than ours
        waitq_wait_until(&nap, false, arch_now_ns() + RETIRE_POLL_NS, timed_out);
    (void)timed_out;
    arch_vcpu_fini(v);
    task_fini(&v->task);
}
