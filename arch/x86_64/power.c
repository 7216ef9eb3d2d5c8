// SPDX-License-Identifier: Apache-2.0
// The host's power: ACPI (6.5 §4.8.3, §16.1), and what emulators and old PCs offer where that is missing.
#include <string.h>

#include "log.h"
#include "x86_64.h"

enum {
    SCI_ENABLED = 1 << 0,   // PM1 control
    SLEEP_TYPE_SHIFT = 10,  // PM1 control
    SLEEP_ENABLE = 1 << 13, // PM1 control
    SLEEP_CONTROL_TYPE_SHIFT = 2,
    SLEEP_CONTROL_ENABLE = 1 << 5,
    SLEEP_STATUS_WAKE = 1 << 7,

    BOCHS_EXIT = 0x8900,
    RESET_CONTROL = 0xcf9,
    RESET_CONTROL_SYSTEM = 0x02,
    RESET_CONTROL_CPU = 0x04,
    KEYBOARD = 0x64,
    KEYBOARD_BUSY = 1 << 1,
    KEYBOARD_RESET = 0xfe,
};
static const u64 POWER_WAIT_NS = 2000000000; // an emulator may be slow to notice

static u64 register_read(const struct acpi_register *r) {
    if (r->space == ACPI_PORT)
        return r->bits == 8 ? port_in8((u16)r->address) : port_in16((u16)r->address);
    return r->bits == 8 ? mmio_read8(r->address) : mmio_read32(r->address);
}

static void register_write(const struct acpi_register *r, u32 value) {
    if (r->space == ACPI_PORT && r->bits == 8)
        port_out8((u16)r->address, (u8)value);
    else if (r->space == ACPI_PORT)
        port_out16((u16)r->address, (u16)value);
    else if (r->space == ACPI_MEMORY && r->bits == 8)
        mmio_write8(r->address, (u8)value);
    else if (r->space == ACPI_MEMORY)
        mmio_write32(r->address, value);
}

static void settle(void) {
    u64 end = arch_now_ns() + POWER_WAIT_NS;
    while (arch_now_ns() < end)
        arch_cpu_relax();
}

// Firmware may have kept the PM1 registers for itself until it is told.
static void acpi_mode_on(void) {
    const struct acpi *a = &features.acpi;
    if (!a->smi_command || !a->acpi_enable || register_read(&a->pm1a_control) & SCI_ENABLED)
        return;
    port_out8(a->smi_command, a->acpi_enable);
    u64 end = arch_now_ns() + POWER_WAIT_NS;
    while (!(register_read(&a->pm1a_control) & SCI_ENABLED) && arch_now_ns() < end)
        arch_cpu_relax();
}

static void acpi_power_off(void) {
    const struct acpi *a = &features.acpi;
    if (!a->has_s5)
        return;
    if (a->sleep_control.space != ACPI_NONE && a->pm1a_control.space == ACPI_NONE) {
        if (a->sleep_status.space != ACPI_NONE)
            register_write(&a->sleep_status, SLEEP_STATUS_WAKE); // cleared by writing it
        register_write(&a->sleep_control, SLEEP_CONTROL_ENABLE | (u32)a->s5_type_a << SLEEP_CONTROL_TYPE_SHIFT);
    } else if (a->pm1a_control.space != ACPI_NONE) {
        acpi_mode_on();
        register_write(&a->pm1a_control, SLEEP_ENABLE | (u32)a->s5_type_a << SLEEP_TYPE_SHIFT);
        register_write(&a->pm1b_control, SLEEP_ENABLE | (u32)a->s5_type_b << SLEEP_TYPE_SHIFT);
    }
    settle();
}

void arch_halt(void) {
    for (;;)
        __asm__ volatile("cli\n\thlt");
}

void arch_power_off(void) {
    acpi_power_off();
    static const char bochs[] = "Shutdown"; // no such port on a real machine
    for (u32 i = 0; i < strlen(bochs); i++)
        port_out8(BOCHS_EXIT, (u8)bochs[i]);
    log_error("this machine's firmware offers no power off; halted");
    arch_halt();
}

void arch_reboot(void) {
    const struct acpi *a = &features.acpi;
    if (a->reset.space != ACPI_NONE) {
        struct acpi_register r = a->reset;
        r.bits = 8; // §4.8.3.6: the value is a byte
        register_write(&r, a->reset_value);
        settle();
    }
    u8 control = port_in8(RESET_CONTROL) & (u8) ~(RESET_CONTROL_SYSTEM | RESET_CONTROL_CPU);
    port_out8(RESET_CONTROL, control | RESET_CONTROL_SYSTEM);
    port_out8(RESET_CONTROL, control | RESET_CONTROL_SYSTEM | RESET_CONTROL_CPU);
    settle();
    for (u32 i = 0; i < 1u << 16 && port_in8(KEYBOARD) & KEYBOARD_BUSY; i++)
        arch_cpu_relax();
    port_out8(KEYBOARD, KEYBOARD_RESET);
    settle();
    struct [[gnu::packed]] {
        u16 limit;
        u64 base;
    } none = {};
    __asm__ volatile("lidt %0\n\tud2" ::"m"(none)); // a fault that nobody takes resets the CPU
    arch_halt();
}
