// SPDX-License-Identifier: Apache-2.0
// Whole virtual machines on the simulated machine: configurations as text, guests as C functions, the real VMM in
// between.
#pragma once

#include "host_test.h"

#include <stdio.h>
#include <string.h>

#include "console.h"
#include "guest.h"
#include "hypercall.h"
#include "irqchip.h"
#include "page.h"
#include "vm.h"
#include "vmm.h"

// ── A bundle in memory (cpio newc) ──────────────────────────────────────────────────────────────────────────────────
static struct {
    char data[64 * 1024];
    size_t used;
} cpio;

static inline void cpio_add(const char *path, const void *data, size_t size) {
    size_t name = strlen(path) + 1;
    assert_true(cpio.used + 110 + name + size + 8 < sizeof(cpio.data));
    cpio.used += (size_t)sprintf(cpio.data + cpio.used, "070701%08x%08x%08x%08x%08x%08x%08zx%08x%08x%08x%08x%08zx%08x",
                                 1, 0100644, 0, 0, 1, 0, size, 0, 0, 0, 0, name, 0);
    memcpy(cpio.data + cpio.used, path, name);
    cpio.used = align_up(cpio.used + name, 4);
    memcpy(cpio.data + cpio.used, data, size);
    cpio.used = align_up(cpio.used + size, 4);
}

// A fresh machine with an empty bundle.
static inline void vms_init(u32 machine_cpus, u64 seed) {
    host_init(&(struct host_options){.cpus = machine_cpus, .seed = seed, .memory = MIB(64)});
    memset(&cpio, 0, sizeof(cpio));
    cpio_add("guest.bin", "a scripted guest", 16);
}

// A VM of that name whose vCPU 0 runs fn. `more` is TOML after the name: cpus, memory and other top-level keys first.
static inline void vms_add(const char *name, guest_fn fn, const char *more) {
    char path[64], toml[1024];
    snprintf(path, sizeof(path), "vms/%s.toml", name);
    int n = snprintf(
        toml, sizeof(toml), "name = \"%s\"\n%s%s\n%s", name, strstr(more, "memory") ? "" : "memory = \"2M\"\n", more,
        strstr(more, "[boot]") ? "" : "[boot]\nkernel = \"guest.bin\"\nprotocol = \"raw\"\nload = 0x40100000\n");
    cpio_add(path, toml, (size_t)n);
    host_guest_register(name, fn);
}

// ── Running ─────────────────────────────────────────────────────────────────────────────────────────────────────────
static struct {
    void (*operator)(void *);
    struct task task;
    u64 free_before;
} vms;

static inline void vms_main(void *arg) {
    struct board board;
    task_self()->priority = TASK_PRIORITY_SYSTEM; // as the main task's
    arch_probe(&board);
    board.bundle = (struct region){(u64)(uintptr_t)cpio.data, cpio.used};
    snprintf(board.cmdline, sizeof(board.cmdline), "%s", (const char *)arg);
    console_set_initial(vmm_cmdline(&board)->console);
    console_start();
    vmm_init(&board);
    if (vms.operator)
        spawn(&vms.task, "operator", vms.operator, NULL, TASK_PRIORITY_SYSTEM, 0);
    vmm_start();
    if (vms.operator)
        join(&vms.task);
    for (u32 i = 0; i < cpu_count; i++)
        host_check(atomic_load(&cpus[i].homed) == 0); // nobody stays counted
    console_flush();
}

// Boots the VMs and waits until none runs; `operator` (may be NULL) is a task beside.
static inline void vms_run_as(const char *cmdline, void (*operator)(void *)) {
    vms.operator= operator;
    cpio_add("TRAILER!!!", "", 0);
    console_init(host_board());
    assert_int_equal(host_run(vms_main, (void *)(uintptr_t)cmdline), HOST_DONE);
}

static inline void vms_run(void) {
    vms_run_as("", NULL);
}

static inline struct vm *vms_find(const char *name) {
    struct vm *vm = vmm_find(name);
    assert_non_null(vm);
    return vm;
}

static inline void assert_stopped(const char *name, const char *reason_part) {
    struct vm *vm = vms_find(name);
    if (vm->state != VM_STOPPED || !strstr(vm->reason, reason_part))
        fail_msg("%s is %s: %s", name, vm_state_name(vm->state), vm->reason);
}

static inline void assert_failed(const char *name, const char *reason_part) {
    struct vm *vm = vms_find(name);
    if (vm->state != VM_FAILED || !strstr(vm->reason, reason_part))
        fail_msg("%s is %s: %s", name, vm_state_name(vm->state), vm->reason);
}
