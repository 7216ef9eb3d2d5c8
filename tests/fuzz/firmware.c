// SPDX-License-Identifier: Apache-2.0
// What firmware and boot loader leave in an x86_64 machine's memory → struct acpi and struct board. The input is that
// memory from 896 KiB on; its first byte chooses the loader.
#include "fuzz.h"

#include "../../arch/x86_64/bootinfo.c"

enum { BASE = 0xe0000, INFO = BASE + 8 };
struct input {
    struct acpi_memory memory;
    const u8 *data;
    u64 size;
};

static const void *map(const struct acpi_memory *memory, u64 address, u64 size) {
    const struct input *in = container_of(memory, const struct input, memory);
    return address >= BASE && address - BASE <= in->size && size <= in->size - (address - BASE)
               ? in->data + (address - BASE)
               : nullptr;
}

// The reader believes nothing without a checksum, so mend those of the tables: at BASE + 0x100 and 0x200, and the RSDP
// at 0x80.
static void sum(u8 *bytes, u64 size, u64 at) {
    u8 total = 0;
    bytes[at] = 0;
    for (u64 i = 0; i < size; i++)
        total = (u8)(total + bytes[i]);
    bytes[at] = (u8)-total;
}

static void mend(u8 *data, u64 size) {
    enum { RSDP = 0x80, ROOT = 0x100, TABLE = 0x200, HEADER = 36 };
    if (size < TABLE + HEADER)
        return;
    memcpy(data + RSDP, "RSD PTR ", 8);
    memcpy(data + RSDP + 16, &(u32){BASE + ROOT}, 4);
    sum(data + RSDP, 20, 8);
    memcpy(data + ROOT, "RSDT", 4);
    memcpy(data + ROOT + 4, &(u32){HEADER + 8}, 4);
    memcpy(data + ROOT + HEADER, &(u32){BASE + TABLE}, 4);
    sum(data + ROOT, HEADER + 8, 9);
    u32 length;
    memcpy(&length, data + TABLE + 4, 4);
    length = MIN(length % 0x400 + HEADER, (u32)(size - TABLE));
    memcpy(data + TABLE + 4, &length, 4);
    sum(data + TABLE, length, 9);
}

static void check(const struct acpi *a) {
    FUZZ_CHECK(a->cpu_count <= ACPI_MAX_CPUS && a->ioapic_count <= ACPI_MAX_IOAPICS);
    FUZZ_CHECK(a->s5_type_a < 8 && a->s5_type_b < 8 && strnlen(a->oem, sizeof(a->oem)) < sizeof(a->oem));
    const struct acpi_register *registers[] = {&a->pm_timer,      &a->pm1a_control, &a->pm1b_control,
                                               &a->sleep_control, &a->sleep_status, &a->reset};
    for (size_t i = 0; i < ARRAY_SIZE(registers); i++)
        FUZZ_CHECK(registers[i]->space == ACPI_NONE || registers[i]->space == ACPI_MEMORY ||
                   (registers[i]->space == ACPI_PORT && registers[i]->address <= UINT16_MAX));
    for (u32 i = 0; i < a->cpu_count; i++)
        for (u32 k = 0; k < i; k++)
            FUZZ_CHECK(a->cpu_ids[i] != a->cpu_ids[k]);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size) {
    static u8 ram[4096];
    static struct acpi acpi;
    static struct board board;
    char why[160] = "";
    if (size == 0 || size > sizeof(ram))
        return -1;
    memcpy(ram, data, size);
    if (ram[0] & 2)
        mend(ram, size);
    const struct input in = {{map}, ram, size};
    u64 rsdp = 0;
    memset(&board, 0, sizeof(board));
    if (bootinfo_read(&in.memory, INFO, ram[0] & 1 ? MB2_MAGIC : 0, &board, &rsdp, why, sizeof(why)) == 0)
        FUZZ_CHECK(board.memory_count > 0 && board.memory_count <= BOARD_MAX_REGIONS);
    FUZZ_CHECK(strnlen(board.cmdline, sizeof(board.cmdline)) < sizeof(board.cmdline));
    u64 found = acpi_find_rsdp(&in.memory);
    int err = acpi_read(&in.memory, found, &acpi, why, sizeof(why));
    FUZZ_CHECK(err == 0 || why[0]);
    check(&acpi);
    return 0;
}
