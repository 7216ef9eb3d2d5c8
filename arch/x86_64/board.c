// SPDX-License-Identifier: Apache-2.0
// The machine that we run on: what the boot loader says, and what the firmware's ACPI tables say.
#include <stdio.h>
#include <string.h>

#include "report.h"
#include "bootinfo.h"
#include "uart.h"
#include "virt.h"
#include "x86_64.h"

enum { AP_PAGE_END = 0xa0000 };

static const void *boot_info;
static u32 boot_magic;

void hv_main(void);

void x86_64_boot(const void *info, u32 magic) {
    boot_tables(&cpus[0]);
    boot_info = info;
    boot_magic = magic;
    hv_main();
    arch_halt();
}

pa_t arch_image_start(void) {
    return pa((u64)__image_start);
}

pa_t arch_image_end(void) {
    return pa((u64)__image_end);
}

void arch_early_putc(char c) {
    uart_putc(c);
}

static const void *map_physical(const struct acpi_memory *memory, u64 address, u64 size) {
    (void)memory;
    u64 end;
    return __builtin_add_overflow(address, size, &end) || end > boot_mapping_end() ? nullptr : (const void *)address;
}
static const struct acpi_memory physical = {map_physical};

// ── What there is ───────────────────────────────────────────────────────────────────────────────────────────────────
// "BOCHS BXPC, QEMU Virtual CPU"
static void name_machine(struct board *board) {
    char brand[49] = "";
    for (u32 i = 0; i < 3; i++) {
        struct cpuid c = cpuid_or_zero(CPUID_EXT_BRAND + i, 0);
        memcpy(brand + 16 * i, &c, 16);
    }
    const char *cpu = brand;
    while (*cpu == ' ')
        cpu++;
    snprintf(board->model, sizeof(board->model), "%s%s%s", features.acpi.oem, features.acpi.oem[0] && *cpu ? ", " : "",
             cpu);
    size_t n = strlen(board->model);
    while (n && board->model[n - 1] == ' ')
        board->model[--n] = '\0';
}

static bool random_word(u64 *out) {
    for (u32 i = 0; i < 10; i++) { // Intel SDM vol. 1 §7.3.17.1: more failures than that mean it is broken
        bool done;
        __asm__ volatile("rdrand %0" : "=r"(*out), "=@ccc"(done));
        if (done)
            return true;
    }
    return false;
}

static void take_seed(struct board *board) {
    if (!(cpuid(CPUID_FEATURES, 0).ecx & CPUID_1_ECX_RDRAND))
        return;
    for (u32 i = 0; i < sizeof(board->seed); i += sizeof(u64)) {
        u64 word;
        if (!random_word(&word))
            return;
        memcpy(board->seed + i, &word, sizeof(word));
    }
    board->has_seed = true;
}

static void add_cpus(struct board *board) {
    for (u32 i = 0; i < features.acpi.cpu_count && board->cpu_count < BOARD_MAX_CPUS; i++)
        board->cpus[board->cpu_count++] =
            (struct board_cpu){.hwid = features.acpi.cpu_ids[i], .irq_context = BOARD_NO_CONTEXT};
    board->cpus_ignored = features.acpi.cpus_ignored;
    if (board->cpu_count == 0) // no MADT: the one that runs this
        board->cpus[board->cpu_count++] = (struct board_cpu){.hwid = arch_cpu_hwid(), .irq_context = BOARD_NO_CONTEXT};
}

static bool overlaps(const struct region *set, u32 count, u64 base, u64 size) {
    for (u32 i = 0; i < count; i++)
        if (set[i].base < base + size && base < set[i].base + set[i].size)
            return true;
    return false;
}

static bool contains(const struct region *set, u32 count, u64 base, u64 size) {
    for (u32 i = 0; i < count; i++)
        if (base >= set[i].base && base - set[i].base < set[i].size && set[i].size - (base - set[i].base) >= size)
            return true;
    return false;
}

// A page for the secondary CPUs' first instructions: as high as there is one, since low memory is the firmware's
// favourite.
static void reserve_ap_page(struct board *board) {
    for (u64 at = AP_PAGE_END - PAGE_SIZE; at >= PAGE_SIZE; at -= PAGE_SIZE) {
        if (!contains(board->memory, board->memory_count, at, PAGE_SIZE) ||
            overlaps(board->reserved, board->reserved_count, at, PAGE_SIZE))
            continue;
        features.ap_page = at;
        board_reserve(board, (struct region){at, PAGE_SIZE});
        board_regions_done(board);
        return;
    }
}

// What boot's mapping does not reach cannot be handed to the page allocator.
static void cut_memory(struct board *board) {
    u32 kept = 0;
    for (u32 i = 0; i < board->memory_count; i++) {
        struct region *r = &board->memory[i];
        u64 end = boot_mapping_end();
        u64 keep = r->base < end ? MIN(r->size, end - r->base) : 0;
        features.memory_cut += r->size - keep;
        r->size = keep;
        if (keep)
            kept++;
    }
    board->memory_count = kept; // sorted: those that are cut off altogether are the last
}

void arch_probe(struct board *board) {
    char why[160] = "";
    u64 rsdp;
    board->uart = (struct board_uart){.kind = UART_16550, .base = UART_PORT, .size = 8, .reg_width = 1};
    uart_com_use(&board->uart);
    uart_puts("\n"); // SeaBIOS and GRUB leave their last line open
    features_probe(board);
    if (bootinfo_read(&physical, (u64)boot_info, boot_magic, board, &rsdp, why, sizeof(why)) != 0)
        report_and_halt(why);
    if (acpi_read(&physical, rsdp ? rsdp : acpi_find_rsdp(&physical), &features.acpi, why, sizeof(why)) != 0) {
        uart_puts("\nbulkhead: ");
        uart_puts(why);
        uart_puts(": only one CPU is used, and there is no power off\n");
    }
    cut_memory(board);
    add_cpus(board);
    reserve_ap_page(board);
    if (features.acpi.ioapic_count) {
        board->uart.irq = features.acpi.isa[UART_ISA_IRQ].gsi;
        board->uart.irq_edge = !features.acpi.isa[UART_ISA_IRQ].level;
    }
    uart_com_use(&board->uart);
    name_machine(board);
    take_seed(board);
    clock_init();
    cmos_take_time();
    virt_probe();
}
