// SPDX-License-Identifier: Apache-2.0
// The machine that we run on, and the fixed part of the machine that a guest sees.
#include <string.h>

#include "guest_map.h"
#include "image_loader.h"
#include "log.h"
#include "plan.h"
#include "report.h"
#include "riscv64.h"
#include "uart.h"
#include "v16550.h"
#include "vgoldfish_rtc.h"
#include "vm.h"

enum { FDT_SIZE_MAX = 2 * 1024 * 1024 };

static const void *boot_fdt;
static u64 boot_hartid;

void hv_main(void);

void riscv64_boot(u64 hartid, const void *fdt) {
    boot_hartid = hartid;
    boot_fdt = fdt;
    hv_main();
    arch_halt();
}

u64 arch_cpu_hwid(void) {
    return boot_hartid;
}

pa_t arch_image_start(void) {
    return pa((u64)__image_start);
}

pa_t arch_image_end(void) {
    return pa((u64)__image_end);
}

u32 arch_plan(void) {
    return PLAN_ARCH_RISCV64;
}

void arch_early_putc(char c) {
    uart_putc(c);
}

static void check_cpu(void) {
    if (may_read_hgatp().failed)
        report_and_halt("this CPU has no hypervisor extension (H), or the firmware keeps it from us (QEMU: -cpu rv64, "
                        "max or rva23s64 have it; not sifive-u54, rva22s64 or h=false)");
    if (!sbi_has(SBI_TIME) || !sbi_has(SBI_IPI) || !sbi_has(SBI_RFENCE) || !sbi_has(SBI_HSM))
        report_and_halt(
            "the firmware lacks one of the SBI extensions TIME, IPI, RFENCE and HSM (OpenSBI 0.9 has them)");
}

void arch_probe(struct board *board) {
    char why[160];
    int err = fdt_read_board(boot_fdt, FDT_SIZE_MAX, board, why, sizeof(why));
    // Without a UART that we know, the firmware's console takes our words.
    if (uart_init(&board->uart) != 0 && !uart_sbi_use(board))
        board->uart.kind = UART_NONE;
    if (err)
        report_and_halt(why);
    check_cpu();
    features_probe(board);
}

u64 arch_guest_ram_base(void) {
    return GUEST_RAM;
}

struct gpa_range arch_guest_ram_hole(void) {
    return (struct gpa_range){};
}

int arch_guest_devices(struct vm *vm) {
    int err = features.messages ? vplic_create_lines(vm) : vplic_create(vm, gpa(GUEST_PLIC));
    if (!err)
        err = v16550_create(vm, &vm->bus, gpa(GUEST_UART), V16550_SIZE, GUEST_UART_IRQ);
    if (!err)
        err = vgoldfish_rtc_create(vm, gpa(GUEST_RTC), GUEST_RTC_IRQ);
    if (err)
        return err;
    for (u32 i = 0; i < vm->vcpu_count; i++)
        vm->vcpus[i]->arch.cpuif = vplic_cpuif(vm->vcpus[i]);
    return features.messages ? imsic_vm_create(vm) : 0;
}

void arch_guest_devices_fini(struct vm *vm) {
    imsic_vm_destroy(vm);
    vgoldfish_rtc_destroy(vm);
    v16550_destroy(vm);
    vplic_destroy(vm);
}

int arch_vm_init(struct vm *vm) {
    if (vm->id >> VMID_BITS_ENOUGH)
        return -ENOSPC;
    u64 vmid = vm->id & (BIT(features.vmid_bits) - 1);
    vm->arch.hgatp = features.guest_mode << ATP_MODE_SHIFT | field_set(HGATP_VMID, vmid) | vm->s2.root.v >> PAGE_SHIFT;
    sbi_vm_init(vm);
    arch_vm_flush(vm, gpa(0), 0); // what an earlier VM with this number left
    return 0;
}

void arch_vm_fini(struct vm *vm) {
    arch_vm_flush(vm, gpa(0), 0);
}

void arch_vm_reset(struct vm *vm) {
    memset(vm->arch.last_vcpu, 0, sizeof(vm->arch.last_vcpu));
    for (u32 i = 0; i < vm->vcpu_count; i++)
        atomic_store_explicit(&vm->vcpus[i]->arch.suspend, VCPU_AWAKE, memory_order_relaxed);
    vm->arch.htimedelta = -arch_ticks(); // the guest's clock starts at 0
    if (imsic_vm_reset(vm) != 0)
        log_error("%s: no memory to map its interrupt files: it gets no interrupts", vm->cfg.name);
    arch_vm_flush(vm, gpa(0), 0);
    fence_i(); // its code is new
    rfence_others(RFENCE_FENCE_I, 0, 0, 0);
}

const struct boot_ops *arch_boot_ops(void) {
    return &boot_fdt_ops;
}

bool arch_image_bootable(const struct image_info *info, const char **why) {
    *why = nullptr;
    if (image_is_compressed(info->kind) || info->kind == IMAGE_EFI_ZBOOT)
        *why = "it is compressed; unpack it first";
    else if (info->machine != MACHINE_RISCV64 && info->machine != MACHINE_UNKNOWN)
        *why = "it is for another architecture, this is riscv64";
    return !*why;
}
