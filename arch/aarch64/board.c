// SPDX-License-Identifier: Apache-2.0
// The machine that we run on, and the fixed part of the machine that a guest sees.
#include <string.h>

#include "aarch64.h"
#include "image_loader.h"
#include "plan.h"
#include "report.h"
#include "uart.h"
#include "vm.h"
#include "vpl011.h"
#include "vpl031.h"

enum { FDT_SIZE_MAX = 2 * 1024 * 1024 }; // the boot protocol's own limit

// The guest's machine: QEMU's virt
enum : u32 {
    GUEST_GICD = 0x08000000,
    GUEST_GICR = 0x080a0000,
    GUEST_UART = 0x09000000,
    GUEST_RTC = 0x09010000,
    GUEST_RAM = 0x40000000,
    GUEST_UART_IRQ = 32 + 1,
    GUEST_RTC_IRQ = 32 + 2,
};

static const void *boot_fdt;
static u64 boot_el;

void hv_main(void);

void aarch64_boot(const void *fdt, u64 el) {
    boot_fdt = fdt;
    boot_el = el;
    if (el == 2)
        sysreg_write(tpidr_el2, 0);
    hv_main();
    arch_halt();
}

u64 arch_cpu_hwid(void) {
    return sysreg_read(mpidr_el1) & 0xff00ffffffull;
}

pa_t arch_image_start(void) {
    return pa((u64)__image_start);
}

pa_t arch_image_end(void) {
    return pa((u64)__image_end);
}

u32 arch_plan(void) {
    return PLAN_ARCH_AARCH64;
}

void arch_early_putc(char c) {
    uart_putc(c);
}

static void check_cpu(void) {
    if (boot_el != 2)
        report_and_halt(
            "started at EL1: a hypervisor needs EL2, which this machine does not have or has given to somebody "
            "else (QEMU: add virtualization=on to -M virt)");
    if (field_get(BITS(31, 28), sysreg_read(id_aa64mmfr0_el1)) == 0xf)
        report_and_halt("this CPU has no 4 KiB pages");
}

static void check_board(const struct board *board) {
    if (board->irqchip.kind == IRQCHIP_GICV2)
        report_and_halt("this machine has a GICv2; Bulkhead needs a GICv3 (QEMU: -M virt,gic-version=3)");
    if (board->irqchip.kind != IRQCHIP_GICV3 || board->irqchip.redist_count == 0)
        report_and_halt("the device tree describes no GICv3 interrupt controller (QEMU: -M virt,gic-version=3)");
    if (board->irqchip.maintenance_irq == 0)
        report_and_halt(
            "the device tree gives the GIC no maintenance interrupt: virtual interrupts are not possible here");
    if (board->timer.hyp_irq == 0 || board->timer.virt_irq == 0)
        report_and_halt("the device tree describes no hypervisor or virtual timer interrupt (arm,armv8-timer)");
}

void arch_probe(struct board *board) {
    char why[160];
    int err = fdt_read_board(boot_fdt, FDT_SIZE_MAX, board, why, sizeof(why));
    // Without a tree there is no UART either, and this goes nowhere; a debugger finds the words all the same.
    if (uart_init(&board->uart) != 0)
        board->uart.kind = UART_NONE;
    if (err)
        report_and_halt(why);
    check_cpu();
    check_board(board);
    power_init(board);
    mmu_boot_enable(board);
}

u64 arch_guest_ram_base(void) {
    return GUEST_RAM;
}

struct gpa_range arch_guest_ram_hole(void) {
    return (struct gpa_range){};
}

int arch_guest_devices(struct vm *vm) {
    int err = vgic_create(vm, gpa(GUEST_GICD), gpa(GUEST_GICR), gic_lr_count());
    if (!err)
        err = vpl011_create(vm, gpa(GUEST_UART), GUEST_UART_IRQ);
    if (!err)
        err = vpl031_create(vm, gpa(GUEST_RTC), GUEST_RTC_IRQ);
    if (err)
        return err;
    for (u32 i = 0; i < vm->vcpu_count; i++) {
        vm->vcpus[i]->arch.cpuif = vgic_cpuif(vm->vcpus[i]);
        vgic_map_ppi(vm->vcpus[i], PPI_VTIMER, intid_virt_timer);
    }
    return 0;
}

void arch_guest_devices_fini(struct vm *vm) {
    vpl031_destroy(vm);
    vpl011_destroy(vm);
    vgic_destroy(vm);
}

int arch_vm_init(struct vm *vm) {
    if (vm->id > 255) // 8-bit VMIDs everywhere
        return -ENOSPC;
    vm->arch.vttbr = vm->s2.root.v | ((u64)vm->id << 48);
    arch_vm_flush(vm, gpa(0), 0); // what an earlier VM with this number left
    return 0;
}

void arch_vm_fini(struct vm *vm) {
    arch_vm_flush(vm, gpa(0), 0);
}

void arch_vm_reset(struct vm *vm) {
    for (u32 i = 0; i < vm->vcpu_count; i++)
        timers_stop(vm->vcpus[i]); // of its former life: they would raise their lines in this one
    memset(vm->arch.last_vcpu, 0, sizeof(vm->arch.last_vcpu));
    vm->arch.cntvoff = arch_ticks(); // the guest's clock starts at 0
    arch_vm_flush(vm, gpa(0), 0);
}

const struct boot_ops *arch_boot_ops(void) {
    return &boot_fdt_ops;
}

bool arch_image_bootable(const struct image_info *info, const char **why) {
    *why = nullptr;
    if (image_is_compressed(info->kind) || info->kind == IMAGE_EFI_ZBOOT)
        *why = "it is compressed; unpack it first";
    else if (info->machine != MACHINE_AARCH64 && info->machine != MACHINE_UNKNOWN)
        *why = "it is for another architecture, this is aarch64";
    return !*why;
}
