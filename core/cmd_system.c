// SPDX-License-Identifier: Apache-2.0
// Commands on the hypervisor and the machine.
#include <stdio.h>
#include <string.h>

#include "arch.h"
#include "cmd.h"
#include "cmd_vm.h"
#include "console.h"
#include "cpu.h"
#include "log.h"
#include "page.h"
#include "version.h"
#include "vmm.h"
#include "waitq.h"

static constexpr u64 SAMPLE_NS = 250ull * 1000 * 1000;

typedef unsigned long long ull;

// ── log ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
static int run_log(const struct cmd *cmd) {
    enum log_level level = LOG_DEBUG;
    if (cmd->argc > 0 && !log_level_parse(cmd->argv[0], &level))
        return cmd_fail(cmd, -EINVAL, "'%.40s' is no level; expected: error, warn, info or debug", cmd->argv[0]);
    if (cmd->option && cmd->argc == 0)
        return cmd_fail(cmd, -EINVAL, "--set needs a level: error, warn, info or debug");
    if (cmd->option) {
        log_set_level(level);
        return 0;
    }
    struct log_line line;
    u64 end = log_next(); // not further: what is printed meanwhile may go on for ever
    for (u64 number = 0; number < end && log_read(&number, &line); number++) {
        if (line.level > level)
            continue;
        writer_printf(cmd->out, "[%5llu.%06llu] %-5s %s\n", (ull)(line.time_ns / 1000000000),
                      (ull)(line.time_ns / 1000 % 1000000), log_level_name(line.level), line.text);
    }
    return 0;
}

// ── cpu ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
static u64 idle_ns(const struct cpu *c) {
    u64 since = atomic_load_explicit(&c->idle.switched_in_ns, memory_order_relaxed); // 0: it is not idle
    u64 idle = atomic_load_explicit(&c->idle_ns, memory_order_relaxed);
    u64 now = arch_now_ns();
    return since != 0 && now > since ? idle + (now - since) : idle;
}

static void print_homed(const struct writer *out, const struct cpu *c) {
    for (u32 i = 0; i < vmm_count(); i++) {
        const struct vm *vm = vmm_vm(i);
        for (u32 k = 0; k < vm->vcpu_count; k++)
            if (vm->vcpus[k]->task.cpu == c && vm->vcpus[k]->placed)
                writer_printf(out, " %s/%u", vm->cfg.name, k);
    }
}

static int run_cpu(const struct cmd *cmd) {
    static u64 before[BOARD_MAX_CPUS]; // the shell's alone
    u64 start = arch_now_ns();
    for (u32 i = 0; i < cpu_count; i++)
        before[i] = idle_ns(&cpus[i]);
    struct waitq never;
    bool timed_out;
    waitq_init(&never);
    waitq_wait_until(&never, false, start + SAMPLE_NS, timed_out);
    u64 passed = MAX(arch_now_ns() - start, (u64)1);
    writer_printf(cmd->out, "%-3s %-10s %-6s %5s %-18s %s\n", "CPU", "HWID", "ONLINE", "IDLE", "RUNNING", "VCPUS");
    for (u32 i = 0; i < cpu_count; i++) {
        struct cpu *c = &cpus[i];
        bool online = atomic_load_explicit(&c->online, memory_order_relaxed);
        const struct task *current = atomic_load_explicit(&c->current, memory_order_relaxed);
        u64 idle = idle_ns(c);
        u64 percent = MIN((idle > before[i] ? idle - before[i] : 0) * 100 / passed, (u64)100);
        writer_printf(cmd->out, "%-3u 0x%-8llx %-6s %4u%% %-18.18s", c->id, (ull)c->hwid, online ? "yes" : "no",
                      (u32)percent, !online || !current ? "-" : current->name);
        print_homed(cmd->out, c);
        writer_puts(cmd->out, "\n");
    }
    return 0;
}

// ── mem ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
static int run_mem(const struct cmd *cmd) {
    struct page_stats s = page_stats();
    char a[16], b[16];
    writer_printf(cmd->out, "total  %8s\nfree   %8s  %llu blocks of 2M, %s of them in one run\n",
                  format_size(s.total, a, sizeof a), format_size(s.free, b, sizeof b), (ull)s.free_blocks,
                  format_size(s.largest, (char[16]){0}, 16));
    writer_printf(cmd->out, "pages  %8s  in use by the hypervisor\n",
                  format_size(s.pages_used * PAGE_SIZE, a, sizeof a));
    struct stack_stats stacks = stack_stats();
    writer_printf(cmd->out, "stacks %8s  of %s set aside for them\n", format_size(stacks.used, a, sizeof a),
                  format_size(stacks.reserved, b, sizeof b));
    for (u32 i = 0; i < vmm_count(); i++) {
        const struct vm *vm = vmm_vm(i);
        writer_printf(cmd->out, "%-31s %8s of guest memory, %s in all\n", vm->cfg.name,
                      format_size(vm->extent_count ? vm->cfg.memory : 0, a, sizeof a),
                      format_size(vm->created_bytes, b, sizeof b));
    }
    return 0;
}

// ── stats ───────────────────────────────────────────────────────────────────────────────────────────────────────────
static void print_vcpu_stats(const struct writer *out, const struct vcpu *v) {
    char time[32], guest[32];
    writer_printf(out, "%s vcpu %u: %s on a CPU, %s in the guest, %llu exits\n", v->vm->cfg.name, v->id,
                  format_seconds(vcpu_cpu_time_ns(v), time, sizeof time),
                  format_seconds(arch_ticks_to_ns(v->stats.guest_ticks), guest, sizeof guest), (ull)vcpu_exits(v));
    if (v->stats.inside)
        writer_printf(out, "  %-14s %12llu   served at once: timer ticks, PSCI_VERSION and the like\n", "short",
                      (ull)v->stats.inside);
    for (u32 k = 0; k < VEXIT_KINDS; k++) {
        u64 count = v->stats.count[k];
        if (count == 0)
            continue;
        u64 ns = arch_ticks_to_ns(v->stats.ticks[k]);
        writer_printf(out, "  %-14s %12llu %12llu us %10llu ns/exit\n", vexit_kind_name((enum vexit_kind)k), (ull)count,
                      (ull)(ns / 1000), (ull)(ns / count));
    }
}

static void print_stats(const struct writer *out, const struct vm *vm) {
    for (u32 i = 0; i < vm->vcpu_count; i++)
        print_vcpu_stats(out, vm->vcpus[i]);
}

static int run_stats(const struct cmd *cmd) {
    if (cmd->argc > 0) {
        const struct vm *vm = cmd_vm_arg(cmd, 0);
        if (!vm)
            return -ENOENT;
        print_stats(cmd->out, vm);
        return 0;
    }
    for (u32 i = 0; i < vmm_count(); i++)
        print_stats(cmd->out, vmm_vm(i));
    struct console_counts lost = console_counts();
    writer_printf(cmd->out, "console: %llu bytes of input lost, %llu bytes of output not shown in time\n",
                  (ull)lost.input_lost, (ull)lost.output_lost);
    return 0;
}

// ── The rest ────────────────────────────────────────────────────────────────────────────────────────────────────────
static int run_version(const struct cmd *cmd) {
    writer_printf(cmd->out, "Bulkhead %s, built with %s\n", BULKHEAD_VERSION, __VERSION__);
    return 0;
}

static int run_poweroff(const struct cmd *cmd) {
    (void)cmd;
    vmm_power_off();
}

static int run_reboot(const struct cmd *cmd) {
    (void)cmd;
    vmm_reboot();
}

const struct command cmd_system_table[] = {
    {.name = "cpu",
     .args = "",
     .help = "the physical CPUs: how idle, and who lives there",
     .details = "    IDLE is measured over a quarter of a second. A guest that has its CPU to\n"
                "    itself sleeps there without telling us: that is not counted as idle.\n",
     .run = run_cpu},
    {.name = "mem", .args = "", .help = "the machine's memory, and who has it", .run = run_mem},
    {.name = "stats",
     .args = "[NAME]",
     .help = "exits of each vCPU by reason",
     .details = "    Count, time spent in the hypervisor on them, and how long one took.\n",
     .arg = CMD_ARG_VM,
     .max_args = 1,
     .run = run_stats},
    {.name = "log",
     .args = "[--set] [LEVEL]",
     .help = "the hypervisor's recent log",
     .details = "    With LEVEL (error, warn, info, debug), only lines as grave as that.\n"
                "    --set LEVEL: from now on, lines above that level are neither shown nor kept.\n",
     .option = "--set",
     .arg = CMD_ARG_LEVEL,
     .max_args = 1,
     .run = run_log},
    {.name = "version", .args = "", .help = "which Bulkhead this is", .run = run_version},
    {.name = "poweroff", .args = "", .help = "ends every VM and powers the machine off", .run = run_poweroff},
    {.name = "reboot", .args = "", .help = "ends every VM and reboots the machine", .run = run_reboot},
    {.name = "help",
     .args = "[CMD]",
     .help = "lists the commands, or tells about one",
     .arg = CMD_ARG_COMMAND,
     .max_args = 2,
     .run = cmd_help},
};
const u32 cmd_system_count = ARRAY_SIZE(cmd_system_table);
