// SPDX-License-Identifier: Apache-2.0
// Commands on VMs.
#include <stdio.h>
#include <string.h>

#include "arch.h"
#include "cmd.h"
#include "cmd_vm.h"
#include "console.h"
#include "cpu.h"
#include "irqchip.h"
#include "vmm.h"

static char scratch[4096]; // the shell's alone: dumps are too long for its stack

// ── What a VM is like now ───────────────────────────────────────────────────────────────────────────────────────────
u64 vcpu_cpu_time_ns(const struct vcpu *v) {
    u64 total = atomic_load_explicit(&v->task.cpu_time_ns, memory_order_relaxed);
    u64 since = atomic_load_explicit(&v->task.switched_in_ns, memory_order_relaxed); // 0: not on a CPU
    u64 now = arch_now_ns();
    return since != 0 && now > since ? total + (now - since) : total;
}

u64 vcpu_exits(const struct vcpu *v) {
    u64 sum = v->stats.inside;
    for (u32 k = 0; k < VEXIT_KINDS; k++)
        sum += v->stats.count[k];
    return sum;
}

struct summary {
    enum vm_state state;
    char reason[VM_REASON_MAX];
    u64 cpu_time_ns, exits;
};

static void summarise(struct vm *vm, struct summary *s) {
    memset(s, 0, sizeof *s);
    spin_lock(&vm->lock);
    s->state = vm->state;
    memcpy(s->reason, vm->reason, sizeof s->reason);
    spin_unlock(&vm->lock);
    s->reason[sizeof s->reason - 1] = '\0';
    for (u32 i = 0; i < vm->vcpu_count; i++) {
        s->cpu_time_ns += vcpu_cpu_time_ns(vm->vcpus[i]);
        s->exits += vcpu_exits(vm->vcpus[i]);
    }
}

const char *format_size(u64 bytes, char *buf, size_t size) {
    if (bytes >= GIB(1) && bytes % GIB(1) == 0)
        snprintf(buf, size, "%lluG", (unsigned long long)(bytes >> 30));
    else if (bytes >= MIB(1))
        snprintf(buf, size, "%lluM", (unsigned long long)(bytes >> 20));
    else
        snprintf(buf, size, "%lluK", (unsigned long long)(bytes >> 10));
    return buf;
}

const char *format_seconds(u64 ns, char *buf, size_t size) {
    snprintf(buf, size, "%llu.%02llus", (unsigned long long)(ns / 1000000000),
             (unsigned long long)(ns / 10000000 % 100));
    return buf;
}

struct vm *cmd_vm_arg(const struct cmd *cmd, u32 index) {
    struct vm *vm = vmm_find(cmd->argv[index]);
    if (vm)
        return vm;
    char known[160];
    int used = 0;
    known[0] = '\0';
    for (u32 i = 0; i < vmm_count() && used < (int)sizeof known - 40; i++)
        used += snprintf(known + used, sizeof known - (size_t)used, "%s%s", i ? ", " : "", vmm_vm(i)->cfg.name);
    cmd_fail(cmd, -ENOENT, "no VM is called '%.40s', and none has that id; there %s %s", cmd->argv[index],
             vmm_count() == 1 ? "is" : "are", vmm_count() ? known : "no VMs");
    return NULL;
}

// ── vm list ─────────────────────────────────────────────────────────────────────────────────────────────────────────
static int list_json(const struct writer *out) {
    struct summary s;
    writer_puts(out, "[");
    for (u32 i = 0; i < vmm_count(); i++) {
        struct vm *vm = vmm_vm(i);
        summarise(vm, &s);
        writer_printf(out, "%s\n  {\"id\": %u, \"name\": ", i ? "," : "", vm->id);
        writer_json(out, vm->cfg.name);
        writer_printf(out, ", \"state\": \"%s\", \"vcpus\": %u, \"memory\": %llu, ", vm_state_name(s.state),
                      vm->cfg.valid ? vm->cfg.cpus : 0,
                      (unsigned long long)(vm->cfg.valid ? vm->cfg.memory : 0)); // else these are only defaults
        writer_printf(out, "\"cpu_time_ns\": %llu, \"exits\": %llu, \"reason\": ", (unsigned long long)s.cpu_time_ns,
                      (unsigned long long)s.exits);
        writer_json(out, s.reason);
        writer_puts(out, "}");
    }
    writer_puts(out, vmm_count() ? "\n]\n" : "]\n");
    return 0;
}

static int run_list(const struct cmd *cmd) {
    if (cmd->option)
        return list_json(cmd->out);
    u32 width = 12;
    for (u32 i = 0; i < vmm_count(); i++)
        width = MAX(width, (u32)strlen(vmm_vm(i)->cfg.name));
    writer_printf(cmd->out, "%-2s %-*s %-9s %5s %6s %10s %9s\n", "ID", (int)width, "NAME", "STATE", "VCPUS", "MEMORY",
                  "CPU-TIME", "EXITS");
    for (u32 i = 0; i < vmm_count(); i++) {
        struct vm *vm = vmm_vm(i);
        struct summary s;
        char vcpus[12] = "-", memory[16] = "-", time[32];
        summarise(vm, &s);
        if (vm->cfg.valid) {
            snprintf(vcpus, sizeof vcpus, "%u", vm->cfg.cpus);
            format_size(vm->cfg.memory, memory, sizeof memory);
        }
        writer_printf(cmd->out, "%-2u %-*s %-9s %5s %6s %10s %9llu\n", vm->id, (int)width, vm->cfg.name,
                      vm_state_name(s.state), vcpus, memory, format_seconds(s.cpu_time_ns, time, sizeof time),
                      (unsigned long long)s.exits);
    }
    return 0;
}

// ── vm show ─────────────────────────────────────────────────────────────────────────────────────────────────────────
static void show_affinity(const struct writer *out, const struct vm_config *cfg) {
    if (!cfg->sched.has_affinity)
        return;
    for (u32 n = 0; n < cfg->cpus; n++) {
        writer_printf(out, "  affinity    vcpu %u: cpu", n);
        const char *comma = " ";
        for (u64 m = cfg->sched.affinity[n]; m; m &= m - 1) {
            writer_printf(out, "%s%u", comma, (u32)__builtin_ctzll(m));
            comma = ",";
        }
        writer_puts(out, "\n");
    }
}

static void show_config(const struct writer *out, const struct vm_config *cfg) {
    char memory[16];
    writer_printf(out, "  file        %s\n", cfg->file);
    if (!cfg->valid)
        return;
    writer_printf(out, "  vcpus       %u, priority %u\n", cfg->cpus, cfg->sched.priority);
    writer_printf(out, "  memory      %s\n", format_size(cfg->memory, memory, sizeof memory));
    show_affinity(out, cfg);
    writer_printf(out, "  autostart   %s; on shutdown %s, on reset %s, on crash %s\n", cfg->autostart ? "yes" : "no",
                  vm_action_name(cfg->on_shutdown), vm_action_name(cfg->on_reset), vm_action_name(cfg->on_crash));
    writer_printf(out, "  kernel      %s (%s)\n", cfg->boot.kernel, boot_protocol_name(cfg->boot.protocol));
    if (cfg->boot.initrd[0])
        writer_printf(out, "  initrd      %s\n", cfg->boot.initrd);
    if (cfg->boot.dtb[0])
        writer_printf(out, "  dtb         %s\n", cfg->boot.dtb);
    if (cfg->boot.cmdline[0]) {
        writer_puts(out, "  cmdline     ");
        writer_puts(out, cfg->boot.cmdline); // may be longer than a formatted line
        writer_puts(out, "\n");
    }
}

static const char *vcpu_state(const struct vcpu *v) {
    enum vcpu_power power = atomic_load_explicit(&v->power, memory_order_relaxed);
    if (power == VCPU_OFF)
        return "off";
    if (power == VCPU_ON_PENDING)
        return "starting";
    if (atomic_load_explicit(&v->halted, memory_order_relaxed))
        return "halted";
    return atomic_load_explicit(&v->task.switched_in_ns, memory_order_relaxed) ? "running" : "ready";
}

// Prints text of several lines below the line that was printed last.
static void print_indented(const struct writer *out, const char *text) {
    while (*text) {
        const char *end = strchr(text, '\n');
        size_t len = end ? (size_t)(end - text) : strlen(text);
        writer_puts(out, "    ");
        out->write(out->ctx, text, len);
        writer_puts(out, "\n");
        text += len + (end != NULL);
    }
}

static void show_vcpus(const struct writer *out, const struct vm *vm, enum vm_state state) {
    for (u32 i = 0; i < vm->vcpu_count; i++) {
        struct vcpu *v = vm->vcpus[i];
        char time[32];
        writer_printf(out, "  vcpu %-2u     %s, cpu %u, %s, %llu exits\n", v->id, vcpu_state(v), v->task.cpu->id,
                      format_seconds(vcpu_cpu_time_ns(v), time, sizeof time), (unsigned long long)vcpu_exits(v));
        if (state != VM_FAILED || vm->starts == 0)
            continue;
        scratch[0] = '\0';
        arch_vcpu_describe(v, scratch, sizeof scratch);
        scratch[sizeof scratch - 1] = '\0';
        print_indented(out, scratch);
    }
}

static void show_machine(const struct writer *out, struct vm *vm, bool running) {
    for (u32 i = 0; i < vm->extent_count; i++) {
        char size[16];
        writer_printf(out, "  ram         0x%llx at host 0x%llx, %s\n", (unsigned long long)vm->extents[i].gpa.v,
                      (unsigned long long)vm->extents[i].pa.v, format_size(vm->extents[i].size, size, sizeof size));
    }
    for (u32 i = 0; i < vm->bus.count; i++) {
        const struct vdev *d = vm->bus.devices[i];
        writer_printf(out, "  device      0x%llx %s\n", (unsigned long long)d->base.v, d->name);
    }
    for (u32 i = 0; i < vm->ports.count; i++) {
        const struct vdev *d = vm->ports.devices[i];
        writer_printf(out, "  device      port 0x%llx %s\n", (unsigned long long)d->base.v, d->name);
    }
    if (!vm->irqchip_ops || !vm->irqchip)
        return;
    writer_printf(out, "  interrupts  %s\n", vm->irqchip_ops->name);
    if (running && vm->irqchip_ops->describe) { // of a stopped VM it would be what is gone
        scratch[0] = '\0';
        vm->irqchip_ops->describe(vm, scratch, sizeof scratch);
        scratch[sizeof scratch - 1] = '\0';
        print_indented(out, scratch);
    }
}

static int run_show(const struct cmd *cmd) {
    struct vm *vm = cmd_vm_arg(cmd, 0);
    if (!vm)
        return -ENOENT;
    struct summary s;
    summarise(vm, &s);
    writer_printf(cmd->out, "%s (id %u): %s\n", vm->cfg.name, vm->id, vm_state_name(s.state));
    if (s.reason[0])
        writer_printf(cmd->out, "  reason      %s\n", s.reason);
    char size[16], time[32];
    u64 now = arch_now_ns();
    if (vm->starts > 0) {
        bool over = s.state == VM_STOPPED || s.state == VM_FAILED;
        u64 since = over ? vm->stopped_ns : vm->started_ns;
        writer_printf(cmd->out, "  starts      %u; %s %s ago\n", vm->starts, over ? "stopped" : "started",
                      format_seconds(now > since ? now - since : 0, time, sizeof time));
    }
    show_config(cmd->out, &vm->cfg);
    if (vm->created_bytes)
        writer_printf(cmd->out, "  host memory %s\n", format_size(vm->created_bytes, size, sizeof size));
    show_vcpus(cmd->out, vm, s.state);
    show_machine(cmd->out, vm, s.state == VM_RUNNING);
    return 0;
}

// ── Life cycle ──────────────────────────────────────────────────────────────────────────────────────────────────────
static int finish(const struct cmd *cmd, struct vm *vm, int err, const char *why, const char *done) {
    if (err)
        return cmd_fail(cmd, err, "%s %s", vm->cfg.name, why);
    writer_printf(cmd->out, "%s %s\n", vm->cfg.name, done);
    return 0;
}

static int run_start(const struct cmd *cmd) {
    char why[VM_REASON_MAX] = "";
    struct vm *vm = cmd_vm_arg(cmd, 0);
    return vm ? finish(cmd, vm, vmm_vm_start(vm, why, sizeof why), why, "started") : -ENOENT;
}

static int run_stop(const struct cmd *cmd) {
    char why[VM_REASON_MAX] = "";
    struct vm *vm = cmd_vm_arg(cmd, 0);
    return vm ? finish(cmd, vm, vmm_vm_stop(vm, cmd->option, why, sizeof why), why, "stopped") : -ENOENT;
}

static int run_restart(const struct cmd *cmd) {
    char why[VM_REASON_MAX] = "";
    struct vm *vm = cmd_vm_arg(cmd, 0);
    return vm ? finish(cmd, vm, vmm_vm_restart(vm, why, sizeof why), why, "restarted") : -ENOENT;
}

static int run_console(const struct cmd *cmd) {
    if (strcmp(cmd->argv[0], "all") == 0) {
        console_show_all();
        return 0;
    }
    struct vm *vm = cmd_vm_arg(cmd, 0);
    if (!vm)
        return -ENOENT;
    if (!vm->console)
        return cmd_fail(cmd, -ENODEV, "%s has no console, since it could not be created; 'vm show %s' says why",
                        vm->cfg.name, vm->cfg.name);
    console_attach(vm->console);
    return 0;
}

#define CONSOLE_DETAILS                                                                                                \
    "    The VM's recent output is shown again, then the terminal is the VM's alone.\n"                                \
    "    Ctrl-] comes back to the shell.\n"                                                                            \
    "    'console all' shows every VM's output in lines behind its name.\n"

const struct command cmd_vm_table[] = {
    {.name = "vm list",
     .args = "[--json]",
     .help = "lists the VMs",
     .details = "    CPU-TIME: of all its vCPUs, since it was created.\n"
                "    EXITS: how often its vCPUs came out of the guest.\n"
                "    States: loaded, running, stopping, stopped, failed.\n",
     .option = "--json",
     .run = run_list},
    {.name = "vm show",
     .args = "NAME",
     .help = "what a VM is, does, and died of",
     .details = "    Of a failed VM the vCPUs' registers are shown as they were.\n",
     .arg = CMD_ARG_VM,
     .min_args = 1,
     .max_args = 1,
     .run = run_show},
    {.name = "vm start",
     .args = "NAME",
     .help = "starts a VM, its images loaded afresh",
     .arg = CMD_ARG_VM,
     .min_args = 1,
     .max_args = 1,
     .run = run_start},
    {.name = "vm stop",
     .args = "[--force] NAME",
     .help = "stops a VM",
     .details = "    Its vCPUs leave at their next exit, whether its guest agrees or not.\n",
     .option = "--force",
     .arg = CMD_ARG_VM,
     .min_args = 1,
     .max_args = 1,
     .run = run_stop},
    {.name = "vm restart",
     .args = "NAME",
     .help = "stops a VM if it runs, and starts it",
     .arg = CMD_ARG_VM,
     .min_args = 1,
     .max_args = 1,
     .run = run_restart},
    {.name = "vm console",
     .args = "NAME|all",
     .help = "attaches the terminal to a VM",
     .details = CONSOLE_DETAILS,
     .arg = CMD_ARG_VM_OR_ALL,
     .min_args = 1,
     .max_args = 1,
     .run = run_console},
    {.name = "console",
     .args = "NAME|all",
     .help = "the same",
     .details = CONSOLE_DETAILS,
     .arg = CMD_ARG_VM_OR_ALL,
     .min_args = 1,
     .max_args = 1,
     .run = run_console},
};
const u32 cmd_vm_count = ARRAY_SIZE(cmd_vm_table);
