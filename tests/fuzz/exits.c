// SPDX-License-Identifier: Apache-2.0
// Every kind of exit with arbitrary fields, by every vCPU of two VMs, through the real vCPU loop, VMM, scheduler and
// devices on the simulated machine. Whatever guests do, the run ends, nothing panics, and each VM ends stopped or
// failed with its CPUs given back.
#include "fuzz.h"

#include <stdio.h>
#include <string.h>

#include "arch.h"
#include "console.h"
#include "cpu.h"
#include "guest.h"
#include "host.h"
#include "hypercall.h"
#include "page.h"
#include "task.h"
#include "vmm.h"
#include "waitq.h"

enum { STEPS_MAX = 120 }; // of all guests together: a run stays short
#define MS(n) ((u64)(n) * 1000 * 1000)

static struct fuzz input;
static u32 steps;
static struct cpio bundle;
static u8 bundle_data[8192];

static u64 place(struct fuzz *f) {
    static const u64 bases[] = {GUEST_GICD, GUEST_GICR, GUEST_GICR + 0x10000, GUEST_GICR + 0x30000,
                                GUEST_UART, GUEST_RTC,  GUEST_RAM_BASE,       0};
    u8 how = fuzz_u8(f);
    return how >= 0xf0 ? fuzz_u64(f) : bases[how & 7] + (how & 0x40 ? fuzz_u16(f) : fuzz_u8(f) * 4u);
}

static void access(struct host_guest *g, u8 head) {
    static const enum vexit_kind kinds[] = {VEXIT_PIO, VEXIT_SYSREG, VEXIT_MMIO, VEXIT_MMIO};
    struct vexit e = {.kind = kinds[head >> 6]};
    e.size = (u8)(1 << (head >> 4 & 3));
    e.gpa = e.gva = place(&input);
    u8 how = fuzz_u8(&input);
    e.write = how & 1;
    e.sign = how & 2;
    e.wide = how & 4;
    e.reg = how >> 3;
    e.value = e.write ? fuzz_u32(&input) * (how & 0x80 ? 0x100000001ull : 1) : 0;
    if (e.size < 8)
        e.value &= BIT(8 * e.size) - 1;
    e.nr = (u32)e.gpa;
    guest_exit(g, &e);
    bool device = e.gpa >= GUEST_GICD && e.gpa < GUEST_RTC + 0x1000;
    FUZZ_CHECK(g->faulted || device);
}

static void call(struct host_guest *g) {
    struct vexit e = {.kind = VEXIT_HYPERCALL, .nr = fuzz_u8(&input)};
    if (e.nr >= 0xf0)
        e.nr = fuzz_u32(&input);
    else
        e.nr %= HYPERCALL_COUNT + 2;
    e.args[0] = place(&input);
    e.args[1] = fuzz_u16(&input);
    for (u32 i = 2; i < 6; i++)
        e.args[i] = fuzz_u8(&input) * 0x0101010101010101ull;
    u32 nr = e.nr;
    guest_exit(g, &e);
    FUZZ_CHECK(nr < HYPERCALL_COUNT || (s64)e.value == HYPERCALL_NOT_SUPPORTED);
    if (nr == HYPERCALL_VM_ID)
        FUZZ_CHECK(e.value == g->v->vm->id);
}

static void run_guest(struct host_guest *g);

// For what sleeps: something that will wake it.
static void set_alarm(struct host_guest *g) {
    if (fuzz_u8(&input) < 64)
        return;
    guest_irq_enable(g, GUEST_TIMER_IRQ, 0x80);
    guest_timer_set(g, guest_now(g) + fuzz_u16(&input));
}

static void power(struct host_guest *g, u8 head) {
    u32 target = head & 0x80 ? fuzz_u32(&input) : fuzz_u8(&input) % 5;
    u64 state;
    s32 status;
    switch (head >> 4 & 7) {
    case 0:
    case 1:
        status = guest_cpu_on(g, target, run_guest, fuzz_u64(&input));
        FUZZ_CHECK(status == 0 || status == -EINVAL || status == -EALREADY || status == -EBUSY || status == -EPERM);
        FUZZ_CHECK((status == -EINVAL) == (target >= g->v->vm->vcpu_count));
        break;
    case 2:
        status = guest_cpu_info(g, target, &state);
        FUZZ_CHECK(status == (target < g->v->vm->vcpu_count ? 0 : -EINVAL));
        FUZZ_CHECK(status || state < VCPU_POWER_STATES);
        FUZZ_CHECK(status || target != g->cpu || state == VCPU_ON);
        break;
    case 3:
        guest_cpu_off(g);
    case 4:
        set_alarm(g);
        guest_cpu_suspend_to(g, run_guest, fuzz_u64(&input));
    case 5:
        set_alarm(g);
        FUZZ_CHECK(guest_cpu_suspend(g) == 0);
        break;
    case 6:
        if (fuzz_u8(&input) & 1)
            guest_system_off(g);
        guest_system_reset(g);
    default:
        set_alarm(g);
        guest_halt(g);
        break;
    }
}

static void fault(struct host_guest *g, u8 head) {
    struct vexit e = {.kind = head & 0x10 ? VEXIT_FAULT : VEXIT_PAGE_FAULT, .gpa = place(&input)};
    e.gva = e.gpa;
    e.write = head & 0x20;
    e.exec = head & 0x40;
    e.nr = head;
    if ((head & 0xf0) == 0xf0)
        e.kind = VEXIT_FAIL_ENTRY;
    g->no_vectors = fuzz_u8(&input) >= 0xe0;
    guest_exit(g, &e);
    FUZZ_CHECK(g->faulted && !g->no_vectors && e.kind != VEXIT_FAIL_ENTRY);
}

static void interrupts(struct host_guest *g, u8 head) {
    struct vexit e = {.kind = VEXIT_SEND_IPI, .nr = head >> 6, .value = fuzz_u8(&input)};
    switch (head >> 4 & 3) {
    case 0:
        e.value |= (u64)(head & 0xc0) << 18 | (u64)fuzz_u16(&input) << 24;
        guest_exit(g, &e);
        break;
    case 1:
        guest_irq_enable(g, fuzz_u8(&input) % 64, fuzz_u8(&input));
        break;
    case 2:
        guest_timer_set(g, guest_now(g) + fuzz_u16(&input));
        break;
    default:
        guest_irq_eoi(g, guest_irq_ack(g));
        break;
    }
}

static void take_interrupt(struct host_guest *g) {
    u32 irq = guest_irq_ack(g);
    if (irq == GUEST_TIMER_IRQ)
        guest_timer_off(g);
    if (irq < 1020)
        guest_irq_eoi(g, irq);
}

static void run_guest(struct host_guest *g) {
    g->irq = g->arg & 1 ? NULL : take_interrupt;
    while (fuzz_more(&input) && ++steps < STEPS_MAX) {
        u8 head = fuzz_u8(&input);
        switch (head & 7) {
        case 0:
        case 1:
        case 2:
            access(g, head);
            break;
        case 3:
            call(g);
            break;
        case 4:
            power(g, head);
            break;
        case 5:
            fault(g, head);
            break;
        case 6:
            interrupts(g, head);
            break;
        default:
            guest_compute(g, (u64)head << 4);
            break;
        }
    }
}

// Guests that sleep for good are stopped by an operator.
static void sleep_ns(u64 ns) {
    struct waitq wq;
    bool timed_out;
    waitq_init(&wq);
    waitq_wait_until(&wq, false, arch_now_ns() + ns, timed_out);
    (void)timed_out;
}

static void stop_all(void *arg) {
    char why[VM_REASON_MAX];
    (void)arg;
    sleep_ns(MS(2));
    for (u32 round = 0; round < 3; round++) {
        for (u32 i = 0; i < vmm_count(); i++)
            (void)vmm_vm_stop(vmm_vm(i), true, why, sizeof(why));
        sleep_ns(MS(1));
    }
}

static void machine(void *arg) {
    static struct task operator;
    struct board board;
    (void)arg;
    arch_probe(&board);
    board.bundle = (struct region){(u64)(uintptr_t)bundle.data, bundle.used};
    console_set_initial(vmm_cmdline(&board)->console);
    console_start();
    u64 free_before = page_stats().free;
    vmm_init(&board);
    host_check(vmm_count() == 2);
    host_check(task_init(&operator, "operator", stop_all, NULL, TASK_PRIORITY_SYSTEM, &cpus[0]) == 0);
    task_wake(&operator);
    vmm_start();
    while (!task_is_gone(&operator))
        sleep_ns(10000);
    task_fini(&operator);
    for (u32 i = 0; i < cpu_count; i++)
        host_check(atomic_load(&cpus[i].homed) == 0);
    for (u32 i = 0; i < vmm_count(); i++) {
        struct vm *vm = vmm_vm(i);
        host_check(vm->state == VM_STOPPED || vm->state == VM_FAILED);
        host_check(vm->vcpus_in == 0 && vm->reason[0]);
        vm_destroy(vm);
        vm_free(vm);
    }
    host_check(page_stats().free == free_before);
    console_flush();
}

static void add_vm(const char *name, u8 how) {
    static const char *const actions[] = {"stop", "restart"};
    char path[32], toml[512];
    snprintf(path, sizeof(path), "vms/%s.toml", name);
    int n = snprintf(toml, sizeof(toml),
                     "name = \"%s\"\nmemory = \"2M\"\ncpus = %u\non_reset = \"%s\"\non_crash = \"%s\"\n[boot]\n"
                     "kernel = \"k\"\nprotocol = \"raw\"\nload = 0x40100000\n",
                     name, 1 + how % 3, actions[how >> 4 & 1], actions[how >> 5 & 1]);
    cpio_add(&bundle, path, toml, (size_t)n);
    host_guest_register(name, run_guest);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size) {
    input = (struct fuzz){data, size};
    steps = 0;
    u8 shape = fuzz_u8(&input);
    host_init(&(struct host_options){
        .cpus = 1 + shape % 3, .seed = fuzz_u8(&input), .memory = MIB(16), .max_points = 2000 * 1000});
    bundle = (struct cpio){.data = bundle_data, .size = sizeof(bundle_data)};
    cpio_add(&bundle, "k", "a scripted guest", 16);
    add_vm("a", shape >> 2);
    add_vm("b", shape);
    cpio_end(&bundle);
    console_init(host_board());
    enum host_end end = host_run(machine, NULL);
    FUZZ_CHECK(end == HOST_DONE);
    return 0;
}
