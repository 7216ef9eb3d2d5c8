// SPDX-License-Identifier: Apache-2.0
#include "acpi_gen.h"

#include <string.h>

#include "pc_map.h"
#include "vioapic.h"
#include "vlapic.h"

enum {
    HEADER_SIZE = 36,
    HEADER_LENGTH = 4,
    HEADER_CHECKSUM = 9,
    RSDP_SIZE = 36,
    RSDP_V1_SIZE = 20,
    FADT_SIZE = 276,
};

// What is being written. Writing past the end only counts.
struct out {
    u8 *bytes;
    size_t size, at;
    u32 base; // guest address of bytes[0]
};

static void put(struct out *o, const void *from, size_t count) {
    if (o->at <= o->size && count <= o->size - o->at)
        memcpy(o->bytes + o->at, from, count);
    o->at += count;
}

static void put_le(struct out *o, u64 value, u32 count) {
    for (u32 i = 0; i < count; i++)
        put(o, &(u8){(u8)(value >> 8 * i)}, 1);
}

static void fill_to(struct out *o, size_t end) {
    while (o->at < end)
        put_le(o, 0, 1);
}

static void patch(struct out *o, size_t at, u64 value, u32 count) {
    struct out there = {o->bytes, o->size, at, 0};
    put_le(&there, value, count);
}

static void checksum(struct out *o, size_t from, size_t count, size_t at) {
    u8 sum = 0;
    if (from + count > o->size)
        return;
    for (size_t i = 0; i < count; i++)
        sum = (u8)(sum + o->bytes[from + i]);
    patch(o, at, (u8)-sum, 1);
}

// ── Tables (5.2) ────────────────────────────────────────────────────────────────────────────────────────────────────
static size_t table_begin(struct out *o, const char *signature, u8 revision) {
    fill_to(o, align_up(o->at, 16));
    const size_t start = o->at;
    put(o, signature, 4);
    put_le(o, 0, 4); // length, at the end
    put_le(o, revision, 1);
    put_le(o, 0, 1); // checksum, at the end
    put(o, "BLKHD ", 6);
    put(o, "BULKHEAD", 8);
    put_le(o, 1, 4);
    put(o, "BLKH", 4);
    put_le(o, 1, 4);
    return start;
}

static u32 table_end(struct out *o, size_t start) {
    patch(o, start + HEADER_LENGTH, o->at - start, 4);
    checksum(o, start, o->at - start, start + HEADER_CHECKSUM);
    return o->base + (u32)start;
}

enum { SPACE_IO = 1, ACCESS_BYTE = 1, ACCESS_DWORD = 3 };

static void put_gas(struct out *o, u32 port, u32 bits, u32 access) { // generic address structure, 5.2.3.2
    put_le(o, SPACE_IO, 1);
    put_le(o, bits, 1);
    put_le(o, 0, 1);
    put_le(o, access, 1);
    put_le(o, port, 8);
}

// Fixed ACPI description table, 5.2.9: the offsets are the table's. The PM timer is not part of the hardware-reduced
// model, which ignores its address; Linux looks for it all the same, and has no other clock to measure the TSC by.
enum {
    FADT_DSDT = 40,
    FADT_BOOT_ARCH = 109,
    FADT_FLAGS = 112,
    FADT_RESET_REG = 116,
    FADT_RESET_VALUE = 128,
    FADT_MINOR = 131,
    FADT_X_DSDT = 140,
    FADT_X_PM_TMR = 208,
    FADT_SLEEP_CONTROL = 244,
    BOOT_ARCH_LEGACY_DEVICES = 1 << 0,
    BOOT_ARCH_NO_VGA = 1 << 2,
    FLAG_WBINVD = 1 << 0,
    FLAG_NO_POWER_BUTTON = 1 << 4,
    FLAG_NO_SLEEP_BUTTON = 1 << 5,
    FLAG_TIMER_32 = 1 << 8,
    FLAG_RESET_REG = 1 << 10,
    FLAG_HARDWARE_REDUCED = 1 << 20,
};

static u32 gen_fadt(struct out *o, u32 dsdt) {
    const size_t start = table_begin(o, "FACP", 6);
    fill_to(o, start + FADT_DSDT);
    put_le(o, dsdt, 4);
    fill_to(o, start + FADT_BOOT_ARCH);
    put_le(o, BOOT_ARCH_LEGACY_DEVICES | BOOT_ARCH_NO_VGA, 2);
    fill_to(o, start + FADT_FLAGS);
    put_le(o,
           FLAG_WBINVD | FLAG_NO_POWER_BUTTON | FLAG_NO_SLEEP_BUTTON | FLAG_TIMER_32 | FLAG_RESET_REG |
               FLAG_HARDWARE_REDUCED,
           4);
    put_gas(o, PC_RESET, 8, ACCESS_BYTE);
    put_le(o, PC_RESET_VALUE, 1);
    fill_to(o, start + FADT_MINOR);
    put_le(o, 5, 1);
    fill_to(o, start + FADT_X_DSDT);
    put_le(o, dsdt, 8);
    fill_to(o, start + FADT_X_PM_TMR);
    put_gas(o, PC_PM_TIMER, 32, ACCESS_DWORD);
    fill_to(o, start + FADT_SLEEP_CONTROL);
    put_gas(o, PC_SLEEP, 8, ACCESS_BYTE);
    put_gas(o, PC_SLEEP + 1, 8, ACCESS_BYTE);
    put_le(o, 0, 8); // no hypervisor vendor id
    return table_end(o, start);
}

enum { MADT_LAPIC = 0, MADT_IOAPIC = 1, MADT_OVERRIDE = 2, MADT_LAPIC_NMI = 4, ALL_CPUS = 0xff, LINT1 = 1 };

static u32 gen_madt(struct out *o, u32 cpus) { // 5.2.12
    const size_t start = table_begin(o, "APIC", 5);
    put_le(o, VLAPIC_BASE, 4);
    put_le(o, 0, 4); // there is no 8259
    for (u32 n = 0; n < cpus; n++) {
        put(o, (u8[]){MADT_LAPIC, 8, (u8)n, (u8)n}, 4);
        put_le(o, 1, 4); // enabled
    }
    put(o, (u8[]){MADT_IOAPIC, 12, 0, 0}, 4);
    put_le(o, VIOAPIC_BASE, 4);
    put_le(o, 0, 4);
    put(o, (u8[]){MADT_OVERRIDE, 10, 0, 0}, 4); // ISA's interrupt 0, the PIT
    put_le(o, PC_PIN_PIT, 4);
    put_le(o, 0, 2);
    put(o, (u8[]){MADT_LAPIC_NMI, 6, ALL_CPUS, 0, 0, LINT1}, 6);
    return table_end(o, start);
}

// ── The DSDT's code (chapter 20) ────────────────────────────────────────────────────────────────────────────────────
enum {
    AML_NAME = 0x08,
    AML_BYTE = 0x0a,
    AML_DWORD = 0x0c,
    AML_SCOPE = 0x10,
    AML_BUFFER = 0x11,
    AML_PACKAGE = 0x12,
    AML_EXTENDED = 0x5b,
    AML_DEVICE = 0x82,
    AML_ROOT = 0x5c,
};
#define EISA_PNP(number) ((u32)0xd041 | (u32)__builtin_bswap16(number) << 16)

// A package's length counts its own bytes; two always do (20.2.4).
static size_t package_begin(struct out *o) {
    put_le(o, 0, 2);
    return o->at - 2;
}

static void package_end(struct out *o, size_t start) {
    const size_t length = o->at - start;
    patch(o, start, 0x40 | (length & 0xf) | length >> 4 << 8, 2);
}

static void put_name(struct out *o, const char *name) {
    put_le(o, AML_NAME, 1);
    put(o, name, 4);
}

struct resources {
    u16 port, count;
    u32 irq; // 0: none
};

// One I/O range, and an edge-triggered interrupt, active high (6.4).
static void put_crs(struct out *o, const struct resources *r) {
    put_name(o, "_CRS");
    put_le(o, AML_BUFFER, 1);
    const size_t package = package_begin(o);
    put(o, (u8[]){AML_BYTE, (u8)(8 + (r->irq ? 9 : 0) + 2)}, 2);
    put(o, (u8[]){0x47, 1}, 2); // I/O port, 16 bits decoded
    put_le(o, r->port, 2);
    put_le(o, r->port, 2);
    put(o, (u8[]){1, (u8)r->count}, 2);
    if (r->irq) {
        put(o, (u8[]){0x89, 6, 0, 3, 1}, 5); // extended interrupt: consumer, edge
        put_le(o, r->irq, 4);
    }
    put(o, (u8[]){0x79, 0}, 2); // the end
    package_end(o, package);
}

static void put_device(struct out *o, const char *name, u16 pnp, const struct resources *r) {
    put(o, (u8[]){AML_EXTENDED, AML_DEVICE}, 2);
    const size_t package = package_begin(o);
    put(o, name, 4);
    put_name(o, "_HID");
    put_le(o, AML_DWORD, 1);
    put_le(o, EISA_PNP(pnp), 4);
    put_name(o, "_UID");
    put(o, (u8[]){AML_BYTE, 1}, 2);
    put_crs(o, r);
    package_end(o, package);
}

static u32 gen_dsdt(struct out *o) {
    const size_t start = table_begin(o, "DSDT", 2);
    put_name(o, "_S5_");
    put_le(o, AML_PACKAGE, 1);
    size_t package = package_begin(o);
    put(o, (u8[]){4, AML_BYTE, PC_SLEEP_TYPE_OFF, AML_BYTE, 0, AML_BYTE, 0, AML_BYTE, 0}, 9);
    package_end(o, package);
    put_le(o, AML_SCOPE, 1);
    package = package_begin(o);
    put_le(o, AML_ROOT, 1);
    put(o, "_SB_", 4);
    put_device(o, "COM1", 0x0501, &(struct resources){PC_COM1, 8, PC_PIN_COM1});
    put_device(o, "RTC_", 0x0b00, &(struct resources){PC_CMOS, 2, PC_PIN_CMOS});
    package_end(o, package);
    return table_end(o, start);
}

// ── All of them ─────────────────────────────────────────────────────────────────────────────────────────────────────
static u32 gen_root(struct out *o, const char *signature, u32 entry_size, u32 fadt, u32 madt) {
    const size_t start = table_begin(o, signature, 1);
    put_le(o, fadt, entry_size);
    put_le(o, madt, entry_size);
    return table_end(o, start);
}

s64 acpi_gen(u32 cpus, gpa_t at, void *buf, size_t size) {
    struct out o = {.bytes = buf, .size = size, .base = (u32)at.v};
    fill_to(&o, RSDP_SIZE); // at the end: it says where the others are
    const u32 fadt = gen_fadt(&o, gen_dsdt(&o)), madt = gen_madt(&o, cpus);
    const u32 rsdt = gen_root(&o, "RSDT", 4, fadt, madt), xsdt = gen_root(&o, "XSDT", 8, fadt, madt);
    struct out rsdp = {buf, size, 0, (u32)at.v};
    put(&rsdp, "RSD PTR ", 8);
    put_le(&rsdp, 0, 1);
    put(&rsdp, "BLKHD ", 6);
    put_le(&rsdp, 2, 1);
    put_le(&rsdp, rsdt, 4);
    put_le(&rsdp, RSDP_SIZE, 4);
    put_le(&rsdp, xsdt, 8);
    put_le(&rsdp, 0, 4);
    checksum(&rsdp, 0, RSDP_V1_SIZE, 8);
    checksum(&rsdp, 0, RSDP_SIZE, 32);
    return o.at <= size ? (s64)o.at : -ENOSPC;
}
