// SPDX-License-Identifier: Apache-2.0
// An operator who types anything, on a machine with two VMs: console, line editor, commands, VMM. Nothing panics, every
// command comes back, the machine ends when it is told to, and the terminal gets no byte that the shell may not send.
#include "fuzz.h"

#include <stdio.h>
#include <string.h>

#include "arch.h"
#include "console.h"
#include "cpu.h"
#include "guest.h"
#include "host.h"
#include "shell.h"
#include "task.h"
#include "vmm.h"
#include "waitq.h"

enum { KEYS_MAX = 400, CHUNK = 40 };

static struct fuzz input;
static struct cpio bundle;
static u8 bundle_data[8192];

static void sleeper(struct host_guest *g) {
    for (;;)
        guest_halt(g);
}

static void talker(struct host_guest *g) {
    for (u32 lines = 0; lines < 1000; lines++) { // then it rests: the operator waits for longer than it could talk
        guest_mmio_write(g, GUEST_UART, 1, guest_mmio_read(g, GUEST_UART, 1) | '@');
        guest_mmio_write(g, GUEST_UART, 1, '\n');
        guest_compute(g, 50 * 1000);
    }
    sleeper(g);
}

static void sleep_ns(u64 ns) {
    struct waitq wq;
    bool timed_out;
    waitq_init(&wq);
    waitq_wait_until(&wq, false, arch_now_ns() + ns, timed_out);
    (void)timed_out;
}

static void operator(void *arg) {
    (void)arg;
    while (fuzz_more(&input)) {
        char keys[CHUNK + 1];
        size_t count = 0;
        while (fuzz_more(&input) && count < CHUNK) {
            char c = (char)fuzz_u8(&input);
            if (c == 0x02) // pause
                break;
            if (c)
                keys[count++] = c;
        }
        keys[count] = '\0';
        host_uart_input(keys);
        sleep_ns(300 * 1000);
    }
    host_uart_input("\x1d\x03\r");
    sleep_ns(30ull * 1000 * 1000 * 1000); // a stop may take ten seconds
    host_uart_input("\x1d\x03\rpoweroff\rpoweroff --force\r");
}

static void machine(void *arg) {
    static struct task operator_task;
    struct board board;
    (void)arg;
    arch_probe(&board);
    board.bundle = (struct region){(u64)(uintptr_t)bundle.data, bundle.used};
    snprintf(board.cmdline, sizeof(board.cmdline), "idle=shell console=shell");
    console_set_initial(vmm_cmdline(&board)->console);
    console_start();
    vmm_init(&board);
    shell_start();
    host_check(task_init(&operator_task, "operator", operator, NULL, TASK_PRIORITY_SYSTEM, &cpus[cpu_count - 1]) == 0);
    task_wake(&operator_task);
    vmm_start();
}

static void add_vm(const char *name, guest_fn fn, const char *more) {
    char path[32], toml[512];
    snprintf(path, sizeof(path), "vms/%s.toml", name);
    int n = snprintf(toml, sizeof(toml),
                     "name = \"%s\"\nmemory = \"2M\"\n%s[boot]\nkernel = \"k\"\nprotocol = \"raw\"\n"
                     "load = 0x40100000\n",
                     name, more);
    cpio_add(&bundle, path, toml, (size_t)n);
    host_guest_register(name, fn);
}

static void check_output(const char *text) {
    for (; *text; text++) {
        u8 c = (u8)*text;
        FUZZ_CHECK(c >= ' ' || c == '\r' || c == '\n' || c == '\x1b' || c == '\b' || c == '\t');
    }
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size) {
    input = (struct fuzz){data, MIN(size, (size_t)KEYS_MAX)};
    u64 chance = fuzz_hash(data, size, 0);
    host_init(&(struct host_options){
        .cpus = 1 + chance % 2, .seed = chance >> 8 & 0xff, .memory = MIB(16), .max_points = 20 * 1000 * 1000});
    bundle = (struct cpio){.data = bundle_data, .size = sizeof(bundle_data)};
    cpio_add(&bundle, "k", "a scripted guest", 16);
    add_vm("lin", sleeper, "cpus = 2\n");
    add_vm("rtos", chance & 0x100000 ? talker : sleeper, "autostart = false\n");
    cpio_add(&bundle, "vms/bad.toml", "name = 1\n", 9);
    cpio_end(&bundle);
    console_init(host_board());
    enum host_end end = host_run(machine, NULL);
    FUZZ_CHECK(end == HOST_POWER_OFF || end == HOST_REBOOT);
    check_output(host_uart_output());
    return 0;
}
