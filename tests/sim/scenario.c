// SPDX-License-Identifier: Apache-2.0
// One run: a machine, VMs of random configurations with fair and hostile guests, and an operator who types, or calls.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../core/console_state.h"

#include "log.h"
#include "page.h"
#include "shell.h"
#include "sim.h"
#include "vmm.h"
#include "waitq.h"

#define US(n) ((u64)(n) * 1000)

enum mode {
    ALONE, // no operator: the machine ends when the VMs have
    CALLS, // the operator calls the shell's commands
    TYPES, // a user types at the shell, and the operator only ends it all
};

static struct {
    enum mode mode;
    u32 vms;
    bool created; // vmm_init is through
    bool over;    // vmm_start has returned
    bool gone;    // the VMs are destroyed
    bool stays;   // the machine stays on when no VM runs
    u64 free_before, stacks_before;
    struct task operator;
    char bundle[16 * 1024];
    size_t used;
} run;

static const char *const names[] = {"a", "b", "c", "d", "keeper"};

// ── The bundle (cpio newc) ──────────────────────────────────────────────────────────────────────────────────────────
static void bundle_add(const char *path, const char *data, size_t size) {
    size_t name = strlen(path) + 1;
    char *at = run.bundle + run.used;
    at += sprintf(at, "070701%08x%08x%08x%08x%08x%08x%08zx%08x%08x%08x%08x%08zx%08x", 1, 0100644, 0, 0, 1, 0, size, 0,
                  0, 0, 0, name, 0);
    memcpy(at, path, name);
    run.used = align_up((size_t)(at - run.bundle) + name, 4);
    memcpy(run.bundle + run.used, data, size);
    run.used = align_up(run.used + size, 4);
}

static const char *action(void) {
    return one_in(2) ? "restart" : "stop";
}

static void add_vm(const char *name, bool keeper, u32 machine_cpus) {
    char path[32], toml[512];
    u32 cpus_wanted = keeper ? 1 : 1 + rnd(4);
    int n = snprintf(toml, sizeof(toml), "name = \"%s\"\ncpus = %u\nmemory = \"%uM\"\n", name, cpus_wanted,
                     one_in(4) ? 4 : 2);
    if (!keeper) {
        // Without an operator each VM must come to its end by itself.
        bool restarts = run.mode != ALONE;
        n += snprintf(toml + n, sizeof(toml) - (size_t)n, "autostart = %s\non_crash = \"%s\"\n",
                      one_in(6) ? "false" : "true", action());
        n += snprintf(toml + n, sizeof(toml) - (size_t)n, "on_shutdown = \"%s\"\non_reset = \"%s\"\n",
                      restarts && one_in(3) ? "restart" : "stop", action());
    }
    n += snprintf(toml + n, sizeof(toml) - (size_t)n,
                  "[boot]\nkernel = \"guest.bin\"\nprotocol = \"raw\"\nload = 0x40100000\n[sched]\npriority = %u\n",
                  one_in(3) ? 4 + rnd(10) : 8);
    if (one_in(4))
        n += snprintf(toml + n, sizeof(toml) - (size_t)n, "affinity = [%u]\n", rnd(machine_cpus));
    snprintf(path, sizeof(path), "vms/%s.toml", name);
    bundle_add(path, toml, (size_t)n);
    bool hostile = run.mode != ALONE && one_in(3); // it may hang
    sim_vm_kind(name, keeper ? SIM_KEEPER : hostile ? SIM_HOSTILE : SIM_FAIR);
}

// ── Waiting ─────────────────────────────────────────────────────────────────────────────────────────────────────────
static void sleep_ns(u64 ns) {
    struct waitq wq;
    waitq_init(&wq);
    bool timed_out;
    waitq_wait_until(&wq, false, arch_now_ns() + ns, timed_out);
    (void)timed_out;
}

static bool at_rest(const struct vm *vm) {
    return vm->state != VM_RUNNING && vm->state != VM_STOPPING && !vm->starting && !vm->restart;
}

bool sim_quiet(void) {
    for (u32 i = 0; i < vmm_count(); i++)
        if (!at_rest(vmm_vm(i)))
            return false;
    return true;
}

u32 sim_vm_count(void) {
    return run.created && !run.gone ? vmm_count() : 0;
}

// ── The operator ────────────────────────────────────────────────────────────────────────────────────────────────────
static void command(char *line, size_t size) {
    static const char *const on_vm[] = {"vm start",   "vm start", "vm stop",    "vm stop --force",
                                        "vm restart", "vm show",  "vm console", "console"};
    static const char *const alone[] = {"vm list", "vm list --json", "mem",  "stats",      "cpu",         "log",
                                        "help",    "version",        "nope", "vm start x", "console all", "vm stop"};
    if (one_in(5))
        snprintf(line, size, "%s", alone[rnd(ARRAY_SIZE(alone))]);
    else
        snprintf(line, size, "%s %s", on_vm[rnd(ARRAY_SIZE(on_vm))], names[rnd(run.vms)]);
}

static struct vm *named(const char *line) {
    const char *name = strrchr(line, ' ');
    return name ? vmm_find(name + 1) : NULL;
}

static void call_command(void) {
    char line[64];
    command(line, sizeof(line));
    sim_note("the operator calls a command", 0, 0, 0);
    int err = shell_run(line);
    sim_result->commands++;
    struct vm *vm = named(line);
    // Nobody else gives orders, and what an operator has stopped stays so.
    if (err == 0 && vm && strncmp(line, "vm stop", 7) == 0 && !at_rest(vm))
        sim_violation("'%s' has succeeded, and the VM is %s", line, vm_state_name(vm->state));
    console_show_shell(); // else what the shell says stays where it is
}

static void type_command(void) {
    char line[64];
    command(line, sizeof(line));
    host_uart_input("\x1d"); // back from a VM's console
    host_uart_input(line);
    host_uart_input("\r");
    sim_result->commands++;
    if (one_in(4))
        host_uart_input(one_in(2) ? "\x1b[A\r" : "\t\x7f\x01x\x03");
    sleep_ns(US(rnd(400)));
}

// The user's last command has run, and the shell waits for the next.
static void wait_for_shell(void) {
    host_uart_input("\x1d");
    for (u32 i = 0;; i++) {
        if (i == 10000)
            sim_violation("the shell does not come back: mode %d, change %d, input %d, edits %d, redraw %d, sleeps %d",
                          (int)console_state.mode, console_state.change, console_state.rx_any,
                          console_state.shell_edits, console_state.shell_redraw,
                          console_state.shell_wq.waiters.next != &console_state.shell_wq.waiters);
        bool shown = console_state.mode == CONSOLE_SHELL && !console_state.change;
        if (shown && !console_state.rx_any && console_state.shell_edits && !console_state.shell_redraw &&
            console_state.shell_wq.waiters.next != &console_state.shell_wq.waiters)
            return;
        if (i % 100 == 99)
            host_uart_input("\x1d");
        sleep_ns(US(2000)); // the line is slow
    }
}

static void stop_all(void) {
    char why[VM_REASON_MAX];
    for (u32 tries = 0; !sim_quiet() || vmm_running(); tries++) {
        if (tries == 5000)
            sim_violation("the VMs cannot be stopped");
        for (u32 i = 0; i < vmm_count(); i++)
            if (!at_rest(vmm_vm(i)))
                (void)vmm_vm_stop(vmm_vm(i), one_in(2), why, sizeof(why));
        sleep_ns(US(20));
    }
}

static void destroy_all(void) {
    run.gone = true;
    for (u32 i = 0; i < vmm_count(); i++) {
        struct vm *vm = vmm_vm(i);
        if (vm->created)
            vm_destroy(vm);
    }
    sleep_ns(US(5000)); // the VMM's task may be looking at them for the last time
    for (u32 i = 0; i < vmm_count(); i++)
        vm_free(vmm_vm(i));
    sleep_ns(US(5000)); // whoever still has one of them in his hands shows it
    u64 now = page_stats().free, stacks = stack_stats().used;
    if (now != run.free_before)
        sim_violation("%lld bytes are not free any more at the end", (long long)(run.free_before - now));
    if (stacks != run.stacks_before)
        sim_violation("%lld bytes of stacks are left at the end", (long long)(stacks - run.stacks_before));
}

static void finish(void) {
    sim_faults = false;
    sim_invariants_end();
    struct vm *vm = vmm_count() ? vmm_vm(rnd(vmm_count())) : NULL;
    if (vm && vm->console && one_in(2)) { // it is being looked at when it goes
        console_attach(vm->console);
        sleep_ns(US(3000));
    }
    destroy_all();
    console_flush();
}

static void operate(void *arg) {
    (void)arg;
    while (!run.created)
        sleep_ns(US(20));
    for (u32 i = 4 + rnd(16); i; i--) {
        sleep_ns(US(rnd(300)));
        if (run.mode == TYPES)
            type_command();
        else
            call_command();
        if (one_in(8) && vmm_count() && vmm_vm(0)->created) // a kick without reason
            vcpu_kick(vmm_vm(0)->vcpus[0]);
    }
    if (run.mode == TYPES)
        wait_for_shell();
    stop_all();
    if (!run.stays)
        return; // vmm_start returns
    finish();
    host_stop(HOST_DONE);
}

// ── The run ─────────────────────────────────────────────────────────────────────────────────────────────────────────
static void spawn_operator(void) {
    if (run.mode == ALONE)
        return;
    if (task_init(&run.operator, "operator", operate, NULL, TASK_PRIORITY_SYSTEM, &cpus[rnd(cpu_count)]))
        sim_violation("no memory for the operator");
    task_wake(&run.operator);
}

static void machine(void *arg) {
    (void)arg;
    struct board board;
    arch_probe(&board);
    board.bundle = (struct region){(u64)(uintptr_t)run.bundle, run.used};
    snprintf(board.cmdline, sizeof(board.cmdline), "console=%s loglevel=%s idle=%s",
             run.mode == CALLS ? "shell" : "all", one_in(2) ? "debug" : "error", run.stays ? "shell" : "poweroff");
    const struct cmdline *cmdline = vmm_cmdline(&board);
    log_set_level(cmdline->loglevel);
    console_set_initial(cmdline->console);
    console_start();
    if (run.mode == TYPES)
        shell_start();
    spawn_operator();
    run.free_before = page_stats().free;
    run.stacks_before = stack_stats().used;
    sim_faults = true;
    vmm_init(&board);
    run.created = true;
    vmm_start();
    run.over = true;
    while (run.mode != ALONE && !task_is_gone(&run.operator))
        sleep_ns(US(10));
    finish();
}

void sim_dump(void) {
    static const char *const modes[] = {"no operator", "an operator calls", "a user types"};
    fprintf(stderr, "  %s; %s%s\n", modes[run.mode], run.created ? "" : "the VMs are being created",
            run.gone   ? "the VMs are being destroyed"
            : run.over ? "vmm_start has returned"
                       : "");
    for (u32 i = 0; i < sim_vm_count(); i++) {
        const struct vm *vm = vmm_vm(i);
        fprintf(stderr, "  VM %u %s: %s%s%s, %u vCPUs in, %u starts, \"%s\"\n", vm->id, vm->cfg.name,
                vm_state_name(vm->state), vm->starting ? ", starting" : "", vm->restart ? ", restart" : "",
                vm->vcpus_in, vm->starts, vm->reason);
        for (u32 k = 0; k < vm->vcpu_count; k++) {
            const struct vcpu *v = vm->vcpus[k];
            fprintf(stderr, "    vCPU %u on CPU %u: power %d, task state %d%s%s, requests %u\n", k, v->task.cpu->id,
                    (int)v->power, (int)v->task.state, v->halted ? ", halted" : "", v->irq_work ? ", irq_work" : "",
                    v->requests);
        }
    }
}

static u32 of(const u32 *choices, u32 count) {
    return choices[rnd(count)];
}

// Each seed has its own temper.
static void choose_style(void) {
    static const u32 switches[] = {2, 4, 4, 8, 20}, accesses[] = {0, 0, 30, 200}, lingers[] = {0, 2, 8, 64};
    static const u32 freezes[] = {0, 1000, 200, 60};
    sim_style = (struct sim_style){.switch_in = of(switches, 5),
                                   .access_every = of(accesses, 4),
                                   .linger = of(lingers, 4),
                                   .freeze_in = of(freezes, 4),
                                   .stall_in = one_in(2) ? 30 : 0,
                                   .spurious_in = one_in(2) ? 500 : 0,
                                   .jump_in = one_in(3) ? 3000 : 0,
                                   .fail_in = one_in(16) ? 20 : 0,
                                   .fail_at = one_in(4) ? 1 + rnd(60) : 0};
}

enum host_end sim_run(u64 seed) {
    static const u32 sizes[] = {1, 2, 2, 3, 4, 4, 6, 8};
    struct host_options options = {.seed = seed, .memory = MIB(48), .max_points = 1500000};
    host_init(&options); // for its generator
    u32 machine_cpus = sizes[rnd(8)];
    memset(&run, 0, sizeof(run));
    choose_style();
    options.cpus = machine_cpus;
    options.seed = host_random(~0ull);
    options.panic_ok = options.deadlock_ok = true;
    host_init(&options);
    sim_memory_init();
    sim_schedule_init();
    sim_invariants_init();
    run.mode = (enum mode)rnd(3);
    sim_guests_init(run.mode != ALONE);
    bundle_add("guest.bin", "a scripted guest", 16);
    run.stays = run.mode != ALONE && one_in(2);
    if (run.mode != ALONE && !run.stays) // the keeper has to be there
        sim_style.fail_at = sim_style.fail_in = 0;
    run.vms = 1 + rnd(4);
    for (u32 i = 0; i < run.vms; i++)
        add_vm(names[i], false, machine_cpus);
    if (run.mode != ALONE)
        add_vm("keeper", true, machine_cpus);
    bundle_add("TRAILER!!!", "", 0);
    console_init(host_board());
    host_hooks = &sim_hooks;
    enum host_end end = host_run(machine, NULL);
    host_hooks = NULL;
    return end;
}
