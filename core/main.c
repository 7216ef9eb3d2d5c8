// SPDX-License-Identifier: Apache-2.0
// Boot, on one screen.
#include <string.h>

#include "arch.h"
#include "cmdline.h"
#include "console.h"
#include "cpu.h"
#include "log.h"
#include "page.h"
#include "rng.h"
#include "rtc.h"
#include "shell.h"
#include "task.h"
#include "vmm.h"
#include "wallclock.h"

[[noreturn]] void hv_main(void);

static struct board board;
static struct task main_task;

// Everything that may block or take long: the VMs' whole life, and what comes after it.
static void main_run(void *arg) {
    const struct cmdline *cmdline = arg;
    vmm_init(&board);
    if (strcmp(cmdline->console, "all") != 0 && strcmp(cmdline->console, "shell") != 0 && !vmm_find(cmdline->console))
        log_warn("command line: console=%s: no VM has that name; the console shows all", cmdline->console);
    shell_start();
    vmm_start();
    log_info("no VM is running any more");
    if (cmdline->idle == IDLE_REBOOT)
        vmm_reboot();
    vmm_power_off();
}

static void take_time(void) {
    u64 seconds;
    const int err = rtc_read(&board.rtc, &seconds);
    if (err == 0)
        wallclock_set(seconds);
    else if (board.rtc.kind != RTC_NONE)
        log_warn("the real-time clock is not set; guests find a date in 2026");
}

void hv_main(void) {
    arch_probe(&board);
    console_init(&board);
    console_banner(&board);
    const struct cmdline *cmdline = vmm_cmdline(&board);
    log_set_level(cmdline->loglevel);
    console_set_initial(cmdline->console);
    page_init(&board, arch_image_start(), arch_image_end());
    arch_memory_init(&board);
    take_time();
    stack_init();
    rng_init(&board);
    smp_init(&board, arch_cpu_hwid());
    arch_cpu_init(&cpus[0]);
    sched_init_cpu(&cpus[0]);
    smp_start_all();
    console_start();
    if (task_init(&main_task, "main", main_run, (void *)cmdline, TASK_PRIORITY_SYSTEM, &cpus[0]) != 0)
        panic("no memory for the main task");
    task_wake(&main_task);
    sched_idle_loop();
}
