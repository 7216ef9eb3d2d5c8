// SPDX-License-Identifier: Apache-2.0
// The virtual machine manager. VMs are loaded and started by one task, the main one: an operator's command and an
// automatic restart only leave a note (vm->starting, vm->restart) and wake it. So a VM is never loaded twice at once,
// and a vCPU never does long work.
#include "vmm.h"

#include <stdio.h>
#include <string.h>

#include "arch.h"
#include "bundle.h"
#include "cmdline.h"
#include "console.h"
#include "cpu.h"
#include "image_load.h"
#include "log.h"
#include "page.h"
#include "plan.h"
#include "waitq.h"

static struct {
    struct vm *vms[VM_MAX]; // fixed after vmm_init
    u32 count;
    struct bundle bundle;
    struct cmdline cmdline;
    struct waitq wq;       // the main task and operators wait here for VMs to move
    _Atomic u32 running;   // VMs that run, are being started or will be restarted
    _Atomic u32 attention; // a VM wants the main task
} vmm;

u32 vmm_count(void) {
    return vmm.count;
}

struct vm *vmm_vm(u32 index) {
    return index < vmm.count ? vmm.vms[index] : NULL;
}

u32 vmm_running(void) {
    return atomic_load_explicit(&vmm.running, memory_order_acquire); // pairs with vmm_vm_stopped
}

struct vm *vmm_find(const char *name_or_id) {
    for (u32 i = 0; i < vmm.count; i++) {
        char id[12];
        snprintf(id, sizeof(id), "%u", vmm.vms[i]->id);
        if (strcmp(vmm.vms[i]->cfg.name, name_or_id) == 0 || strcmp(id, name_or_id) == 0)
            return vmm.vms[i];
    }
    return NULL;
}

// Both sides use a read-modify-write: if the main task clears the mark after this, it sees what was noted before; if it
// did before, the mark stays.
static void attention(void) {
    atomic_exchange_explicit(&vmm.attention, 1, memory_order_acq_rel);
    waitq_wake(&vmm.wq);
}

// ── From the bundle to VMs ──────────────────────────────────────────────────────────────────────────────────────────
struct reader { // the state of vmm_init while it reads configurations
    struct vm_config *configs;
    struct plan_vm *plans;
    char (*first_error)[VM_REASON_MAX]; // one a config
    u32 count;
};

static struct reader *reading; // for the diagnostics' callback

static void keep_reason(const struct diag *d) {
    for (u32 i = 0; i < reading->count; i++)
        if (strcmp(reading->configs[i].file, d->file) == 0 && !reading->first_error[i][0])
            diag_format(d, reading->first_error[i], VM_REASON_MAX);
}

static void report(void *ctx, const struct diag *d) {
    char line[DIAG_LINE_MAX];
    (void)ctx;
    diag_format(d, line, sizeof(line));
    if (d->severity == DIAG_ERROR) {
        log_error("%s", line);
        if (d->file)
            keep_reason(d);
    } else {
        log_warn("%s", line);
    }
}

static void read_configs(struct reader *r, struct diag_list *diags) {
    struct bundle_file file;
    const char *after = NULL;
    u32 order = 6;
    static_assert(CONFIG_ARENA_SIZE <= PAGE_SIZE << 6);
    void *memory = page_alloc(order);
    if (!memory) {
        log_error("no memory to read configurations in");
        return;
    }
    for (; bundle_next_config(&vmm.bundle, after, &file) == 0; after = file.path) {
        if (r->count == VM_MAX) {
            log_error("%s: not read: there are more than %u configurations", file.path, (u32)VM_MAX);
            continue;
        }
        struct arena arena;
        arena_init(&arena, memory, CONFIG_ARENA_SIZE);
        struct vm_config *cfg = &r->configs[r->count];
        snprintf(cfg->file, sizeof(cfg->file), "%s", file.path);
        r->count++; // before: its errors find their place in first_error
        if (config_parse(file.path, file.data, file.size, &arena, diags, cfg) != 0)
            cfg->valid = false;
    }
    page_free(memory, order);
    config_check_names(r->configs, r->count, diags);
}

static int find_image(void *ctx, const char *path, struct plan_file *out) {
    struct bundle_file file;
    (void)ctx;
    int err = bundle_find(&vmm.bundle, path, &file);
    if (!err)
        *out = (struct plan_file){.data = file.data, .size = file.size};
    return err;
}

// A name to list a VM by whose configuration has none that is valid: that of its file.
static void name_from_file(struct vm_config *cfg) {
    const char *base = strrchr(cfg->file, '/');
    base = base ? base + 1 : cfg->file;
    snprintf(cfg->name, sizeof(cfg->name), "%s", base);
    char *dot = strrchr(cfg->name, '.');
    if (dot)
        *dot = 0;
}

static void add_vm(struct reader *r, u32 i) {
    struct vm_config *cfg = &r->configs[i];
    struct vm *vm = vm_alloc();
    char why[VM_REASON_MAX];
    if (!vm) {
        log_error("%s: no memory even to list it", cfg->file);
        return;
    }
    vmm.vms[vmm.count++] = vm;
    if (r->plans[i].ok) {
        if (vm_create(vm, cfg, vmm.count, why, sizeof(why)) == 0) {
            char size[16];
            log_info("VM %u %s: %u vCPU%s, %s, from %s", vm->id, cfg->name, cfg->cpus, cfg->cpus == 1 ? "" : "s",
                     plan_format_size(cfg->memory, size, sizeof(size)), cfg->file);
            return;
        }
        vm_fail(vm, "%s", why);
        return;
    }
    vm->id = vmm.count;
    vm->cfg = *cfg;
    if (!cfg->name[0])
        name_from_file(&vm->cfg);
    vm_fail(vm, "not created: %s", r->first_error[i][0] ? r->first_error[i] : "its configuration has errors");
}

static void plan_and_create(struct reader *r, struct diag_list *diags) {
    u32 online = 0; // up to the last one; that one in between is not, place_vcpus finds out
    for (u32 i = 0; i < cpu_count; i++)
        if (atomic_load_explicit(&cpus[i].online, memory_order_relaxed))
            online = i + 1;
    struct plan_machine machine = {.arch = (enum plan_arch)arch_plan(),
                                   .cpu_count = online,
                                   .free_known = true,
                                   .free_memory = page_stats().free_blocks * BLOCK_SIZE,
                                   .guest_ram_base = arch_guest_ram_base(),
                                   .guest_hole = arch_guest_ram_hole(),
                                   .find = find_image,
                                   .where = "the bundle"};
    plan_vms(&machine, r->configs, r->count, r->plans, diags);
    for (u32 i = 0; i < r->count; i++)
        add_vm(r, i);
}

static void warn_word(void *ctx, const char *message) {
    (void)ctx;
    log_warn("%s", message);
}

const struct cmdline *vmm_cmdline(const struct board *board) {
    cmdline_parse(board->cmdline, &vmm.cmdline, warn_word, NULL);
    return &vmm.cmdline;
}

void vmm_init(const struct board *board) {
    char why[VM_REASON_MAX];
    vmm.count = 0; // a simulated machine may boot many times
    atomic_store_explicit(&vmm.running, 0, memory_order_relaxed);
    waitq_init(&vmm.wq);
    if (!board->bundle.size) {
        log_error("no bundle: give the VMs as an initrd (QEMU: -initrd bundle.cpio; 'bulkhead bundle' makes one)");
        return;
    }
    if (bundle_open(&vmm.bundle, (const void *)board->bundle.base, board->bundle.size, why, sizeof(why)) != 0)
        log_error("bundle: %s", why);
    u32 configs = page_order(VM_MAX * sizeof(struct vm_config)),
        rest = page_order(VM_MAX * (sizeof(struct plan_vm) + VM_REASON_MAX));
    struct reader r = {.configs = page_alloc(configs)};
    char *other = page_alloc(rest);
    struct diag_list diags = {.emit = report};
    reading = &r;
    if (r.configs && other) {
        r.plans = (void *)other;
        r.first_error = (void *)(other + VM_MAX * sizeof(struct plan_vm));
        read_configs(&r, &diags);
        if (r.count == 0)
            log_error("the bundle has no vms/*.toml: there is nothing to run");
        plan_and_create(&r, &diags);
    } else {
        log_error("no memory to read configurations in");
    }
    reading = NULL;
    if (r.configs)
        page_free(r.configs, configs);
    if (other)
        page_free(other, rest);
}

// ── Running ─────────────────────────────────────────────────────────────────────────────────────────────────────────
// Marks a VM to be started by the main task. Counts it as running from now on, so that nobody powers off in between.
static int request_start(struct vm *vm, char *why, size_t why_size) {
    int err = 0;
    spin_lock(&vm->lock);
    if (!vm->created)
        err = -ENODEV;
    else if (vm->starting || vm->restart || !vm_state_may(vm->state, VM_RUNNING))
        err = -EBUSY;
    if (!err) { // counted before the main task can see it
        vm->starting = true;
        atomic_fetch_add_explicit(&vmm.running, 1, memory_order_relaxed);
    }
    enum vm_state state = vm->state;
    spin_unlock(&vm->lock);
    if (err == -ENODEV)
        snprintf(why, why_size, "cannot be started: %s", vm->reason);
    else if (err)
        snprintf(why, why_size, "is %s already", state == VM_RUNNING ? "running" : "being started or stopped");
    return err;
}

static void start_failed(struct vm *vm, const char *why) {
    vm_fail(vm, "could not be started: %s", why);
    atomic_fetch_sub_explicit(&vmm.running, 1, memory_order_release);
}

// If the operator has stopped a VM that was about to run, it does not.
static bool drop_start(struct vm *vm) {
    if (!vm_drop_start(vm))
        return false;
    log_info("%s: not started: stopped by the operator", vm->cfg.name);
    console_set_status(vm->console, "%s: stopped by the operator", vm_state_name(vm->state));
    atomic_fetch_sub_explicit(&vmm.running, 1, memory_order_release);
    waitq_wake(&vmm.wq);
    return true;
}

static void start_now(struct vm *vm) {
    char why[VM_REASON_MAX];
    struct boot_entry entry;
    if (vm_boot(vm, &vmm.bundle, &entry, why, sizeof(why)) != 0) {
        start_failed(vm, why);
    } else {
        // Before it runs: a VM that ends at once is not to be reported as stopped before it is as started.
        log_info("%s: started (%u vCPU%s, entry %#llx)", vm->cfg.name, vm->vcpu_count, vm->vcpu_count == 1 ? "" : "s",
                 (unsigned long long)entry.entry);
        if (!vm_run(vm, &entry))
            drop_start(vm);
    }
    waitq_wake(&vmm.wq);
}

void vmm_vm_stops(struct vm *vm, enum vm_state end, bool restart) {
    const char *state = vm_state_name(end);
    if (restart) {
        log_info("%s: %s: %s; restarting", vm->cfg.name, state, vm->reason);
        return;
    }
    if (end == VM_FAILED)
        log_error("%s: %s: %s", vm->cfg.name, state, vm->reason);
    else
        log_info("%s: %s: %s", vm->cfg.name, state, vm->reason);
    console_set_status(vm->console, "%s: %s", state, vm->reason);
}

void vmm_vm_stopped(bool restart) {
    if (!restart)
        atomic_fetch_sub_explicit(&vmm.running, 1, memory_order_release); // pairs with vmm_running
    attention();
}

// Takes the note that a VM left; it stays counted as running.
static bool take_start(struct vm *vm) {
    spin_lock(&vm->lock);
    bool start = vm->starting || vm->restart;
    if (vm->restart) {
        vm->restart = false;
        vm->starting = true;
    }
    spin_unlock(&vm->lock);
    return start;
}

static bool attention_wanted(void) {
    return atomic_load_explicit(&vmm.attention, memory_order_acquire); // pairs with attention()
}

void vmm_start(void) {
    char why[VM_REASON_MAX];
    for (u32 i = 0; i < vmm.count; i++)
        if (vmm.cmdline.autostart && vmm.vms[i]->cfg.autostart && vmm.vms[i]->created)
            (void)request_start(vmm.vms[i], why, sizeof(why)); // a loaded VM always may
    for (;;) {
        atomic_exchange_explicit(&vmm.attention, 0, memory_order_acq_rel);
        for (u32 i = 0; i < vmm.count; i++)
            if (!drop_start(vmm.vms[i]) && take_start(vmm.vms[i]))
                start_now(vmm.vms[i]);
        if (vmm_running() == 0 && vmm.cmdline.idle != IDLE_SHELL)
            return;
        waitq_wait(&vmm.wq, attention_wanted());
    }
}

// ── The operator ────────────────────────────────────────────────────────────────────────────────────────────────────
static const u64 STOP_TIMEOUT_NS = 10ull * 1000 * 1000 * 1000;

static bool is_starting(struct vm *vm) {
    spin_lock(&vm->lock);
    bool starting = vm->starting || vm->restart;
    spin_unlock(&vm->lock);
    return starting;
}

static bool is_stopping(struct vm *vm) {
    spin_lock(&vm->lock);
    bool stopping = vm->state == VM_STOPPING || (vm->cancelled && (vm->starting || vm->restart));
    spin_unlock(&vm->lock);
    return stopping;
}

// VM locks rank below wait queues, so the condition is looked at between the waits; every move of a VM wakes vmm.wq,
// and the short deadline only bounds what a move between look and wait would cost.
static bool wait_while(struct vm *vm, bool (*busy)(struct vm *)) {
    u64 deadline = arch_now_ns() + STOP_TIMEOUT_NS;
    while (busy(vm)) {
        if (arch_now_ns() > deadline)
            return false;
        sched_yield();
        u64 next = arch_now_ns() + 1000 * 1000;
        bool timed_out;
        waitq_wait_until(&vmm.wq, false, next, timed_out);
        (void)timed_out;
    }
    return true;
}

int vmm_vm_start(struct vm *vm, char *why, size_t why_size) {
    int err = request_start(vm, why, why_size);
    if (err)
        return err;
    attention();
    while (is_starting(vm)) // loading takes as long as its images are large
        (void)wait_while(vm, is_starting);
    if (vm->state == VM_FAILED) {
        snprintf(why, why_size, "%s", vm->reason);
        return -EIO;
    }
    return 0;
}

static int stop_as(struct vm *vm, enum vm_stop cause, const char *reason, char *why, size_t why_size) {
    bool stops = vm_stop(vm, cause, "%s", reason);
    if (!stops && cause == VM_STOP_OPERATOR) // once more: it may have come to run in between
        stops = vm_cancel(vm) || vm_stop(vm, cause, "%s", reason);
    if (!stops) {
        snprintf(why, why_size, "is not running (it is %s)", vm_state_name(vm->state));
        return -EBUSY;
    }
    if (!wait_while(vm, is_stopping)) {
        snprintf(why, why_size, "has not stopped within 10 s; it is still being stopped");
        return -ETIMEDOUT;
    }
    return 0;
}

int vmm_vm_stop(struct vm *vm, bool force, char *why, size_t why_size) {
    return stop_as(vm, VM_STOP_OPERATOR, force ? "stopped by the operator (forced)" : "stopped by the operator", why,
                   why_size);
}

int vmm_vm_restart(struct vm *vm, char *why, size_t why_size) {
    if (vm->state != VM_RUNNING)
        return vmm_vm_start(vm, why, why_size);
    u32 starts = vm->starts;
    int err = stop_as(vm, VM_STOP_RESTART, "restarted by the operator", why, why_size);
    if (err)
        return err;
    while (is_starting(vm))
        (void)wait_while(vm, is_starting);
    if (vm->state == VM_FAILED && vm->starts == starts) {
        snprintf(why, why_size, "%s", vm->reason);
        return -EIO;
    }
    return 0;
}

void vmm_power_off(void) {
    log_info("powering off");
    console_flush();
    arch_power_off();
}

void vmm_reboot(void) {
    log_info("rebooting");
    console_flush();
    arch_reboot();
}
