// SPDX-License-Identifier: Apache-2.0
// Reads ACPI tables where they lie. A table is looked at only after its length and checksum have been found right, and
// then only through the bounds of that length.
#include "acpi.h"

#include <stdio.h>
#include <string.h>

enum {
    RSDP_V1_SIZE = 20,
    RSDP_SIZE = 36,
    RSDP_REVISION = 15,
    RSDP_RSDT = 16,
    RSDP_LENGTH = 20,
    RSDP_XSDT = 24,

    HEADER_SIZE = 36,
    HEADER_LENGTH = 4,
    HEADER_OEM_ID = 10,
    HEADER_OEM_TABLE = 16,

    MADT_LAPIC = 36,
    MADT_ENTRIES = 44,
    MADT_TYPE_LAPIC = 0,
    MADT_TYPE_IOAPIC = 1,
    MADT_TYPE_OVERRIDE = 2,
    MADT_TYPE_LAPIC_ADDRESS = 5,
    MADT_TYPE_X2APIC = 9,
    MADT_ENABLED = 1 << 0,
    XAPIC_BROADCAST = 0xff,
    MPS_POLARITY = 3,
    MPS_POLARITY_LOW = 3,
    MPS_TRIGGER = 3 << 2,
    MPS_TRIGGER_LEVEL = 3 << 2,

    FADT_DSDT = 40,
    FADT_SMI_COMMAND = 48,
    FADT_ACPI_ENABLE = 52,
    FADT_PM1A_CONTROL = 64,
    FADT_PM1B_CONTROL = 68,
    FADT_PM_TIMER = 76,
    FADT_FLAGS = 112,
    FADT_TIMER_IS_32 = 1 << 8,
    FADT_HAS_RESET = 1 << 10,
    FADT_RESET = 116,
    FADT_RESET_VALUE = 128,
    FADT_X_DSDT = 140,
    FADT_X_PM1A_CONTROL = 172,
    FADT_X_PM1B_CONTROL = 184,
    FADT_X_PM_TIMER = 208,
    FADT_SLEEP_CONTROL = 244,
    FADT_SLEEP_STATUS = 256,
    GAS_SIZE = 12,

    HPET_ADDRESS = 40,
    MCFG_ENTRIES = 44,
    MCFG_ENTRY_SIZE = 16,

    AML_ZERO = 0x00,
    AML_ONE = 0x01,
    AML_NAME = 0x08,
    AML_BYTE = 0x0a,
    AML_WORD = 0x0b,
    AML_DWORD = 0x0c,
    AML_PACKAGE = 0x12,
    AML_ONES = 0xff,
};
static const u64 TABLE_MAX = MIB(16);

// A table whose length and checksum are right, or one that is not there: {nullptr, 0}.
struct table {
    const u8 *bytes;
    u64 size;
};

// ── Bytes ───────────────────────────────────────────────────────────────────────────────────────────────────────────
// Little-endian; zero where the table has no such field, as tables of older revisions are shorter.
static u64 field(struct table t, u64 offset, u32 bytes) {
    u64 v = 0;
    if (offset > t.size || t.size - offset < bytes)
        return 0;
    for (u32 i = 0; i < bytes; i++)
        v |= (u64)t.bytes[offset + i] << (8 * i);
    return v;
}

static bool sums_to_zero(const u8 *bytes, u64 size) {
    u8 sum = 0;
    for (u64 i = 0; i < size; i++)
        sum = (u8)(sum + bytes[i]);
    return sum == 0;
}

static struct table table_at(const struct acpi_memory *memory, u64 address) {
    struct table header = {address ? memory->map(memory, address, HEADER_SIZE) : nullptr, HEADER_SIZE};
    if (!header.bytes)
        return (struct table){};
    u64 size = field(header, HEADER_LENGTH, 4);
    if (size < HEADER_SIZE || size > TABLE_MAX)
        return (struct table){};
    struct table t = {memory->map(memory, address, size), size};
    if (!t.bytes || !sums_to_zero(t.bytes, size))
        return (struct table){};
    return t;
}

static bool is(struct table t, const char *signature) {
    return t.bytes && memcmp(t.bytes, signature, 4) == 0;
}

static struct acpi_register generic_register(struct table t, u64 offset) {
    struct acpi_register r = {.space = (enum acpi_space)field(t, offset, 1),
                              .bits = (u8)field(t, offset + 1, 1),
                              .address = field(t, offset + 4, 8)};
    bool there = t.size >= offset + GAS_SIZE && r.address != 0 &&
                 (r.space == ACPI_MEMORY || (r.space == ACPI_PORT && r.address <= UINT16_MAX));
    return there ? r : (struct acpi_register){.space = ACPI_NONE};
}

// The extended field if there is one, or the port of the old field.
static struct acpi_register fixed_register(struct table fadt, u64 extended, u64 old, u8 bits) {
    struct acpi_register r = generic_register(fadt, extended);
    u64 port = field(fadt, old, 4);
    if (r.space != ACPI_NONE || port == 0 || port > UINT16_MAX)
        return r;
    return (struct acpi_register){.space = ACPI_PORT, .bits = bits, .address = port};
}

// ── MADT: CPUs and interrupt controllers ────────────────────────────────────────────────────────────────────────────
static void add_cpu(struct acpi *out, u32 id) {
    for (u32 i = 0; i < out->cpu_count; i++)
        if (out->cpu_ids[i] == id) // some firmware names a CPU both as APIC and as x2APIC
            return;
    if (out->cpu_count < ACPI_MAX_CPUS)
        out->cpu_ids[out->cpu_count++] = id;
    else
        out->cpus_ignored++;
}

static void read_override(struct table entry, struct acpi *out) {
    u64 source = field(entry, 3, 1), flags = field(entry, 8, 2);
    if (source >= ACPI_ISA_IRQS)
        return;
    out->isa[source] = (struct acpi_isa_irq){.gsi = (u32)field(entry, 4, 4),
                                             .level = (flags & MPS_TRIGGER) == MPS_TRIGGER_LEVEL,
                                             .active_low = (flags & MPS_POLARITY) == MPS_POLARITY_LOW};
}

static void read_madt_entry(struct table entry, struct acpi *out) {
    switch (entry.bytes[0]) {
    case MADT_TYPE_LAPIC:
        if (entry.size >= 8 && field(entry, 4, 4) & MADT_ENABLED && field(entry, 3, 1) != XAPIC_BROADCAST)
            add_cpu(out, (u32)field(entry, 3, 1));
        break;
    case MADT_TYPE_X2APIC:
        if (entry.size >= 16 && field(entry, 8, 4) & MADT_ENABLED && field(entry, 4, 4) != UINT32_MAX)
            add_cpu(out, (u32)field(entry, 4, 4));
        break;
    case MADT_TYPE_IOAPIC:
        if (entry.size >= 12 && out->ioapic_count < ACPI_MAX_IOAPICS && field(entry, 4, 4) != 0)
            out->ioapics[out->ioapic_count++] = (struct acpi_ioapic){field(entry, 4, 4), (u32)field(entry, 8, 4)};
        break;
    case MADT_TYPE_OVERRIDE:
        if (entry.size >= 10)
            read_override(entry, out);
        break;
    case MADT_TYPE_LAPIC_ADDRESS:
        if (entry.size >= 12)
            out->lapic = field(entry, 4, 8);
        break;
    default:
        break;
    }
}

static void read_madt(struct table madt, struct acpi *out) {
    out->lapic = field(madt, MADT_LAPIC, 4);
    for (u64 at = MADT_ENTRIES; at + 2 <= madt.size;) {
        struct table entry = {madt.bytes + at, madt.bytes[at + 1]};
        if (entry.size < 2 || entry.size > madt.size - at)
            return;
        read_madt_entry(entry, out);
        at += entry.size;
    }
}

// ── AML: only the constant package \_S5 ─────────────────────────────────────────────────────────────────────────────
// An integer constant at *at, which moves behind it. False: something else is there.
static bool aml_integer(struct table t, u64 *at, u64 *value) {
    u64 op = field(t, *at, 1);
    u32 bytes = op == AML_BYTE ? 1 : op == AML_WORD ? 2 : op == AML_DWORD ? 4 : 0;
    if (*at >= t.size || (!bytes && op != AML_ZERO && op != AML_ONE && op != AML_ONES) || t.size - *at - 1 < bytes)
        return false;
    *value = bytes ? field(t, *at + 1, bytes) : op;
    *at += 1 + bytes;
    return true;
}

// Name (_S5_, Package (…) {a, b, …}) (§7.4.2, §20.2.5.4); at: behind the name.
static bool read_s5_package(struct table t, u64 at, struct acpi *out) {
    if (field(t, at, 1) != AML_PACKAGE || at + 2 >= t.size)
        return false;
    at += 2 + (field(t, at + 1, 1) >> 6); // the length has 0 to 3 bytes more
    u64 elements = field(t, at, 1), a = 0, b = 0;
    at++;
    if (elements < 1 || !aml_integer(t, &at, &a))
        return false;
    if (elements >= 2 && !aml_integer(t, &at, &b))
        return false;
    out->has_s5 = true;
    out->s5_type_a = a & 7;
    out->s5_type_b = b & 7;
    return true;
}

static void find_s5(struct table t, struct acpi *out) {
    static const u8 name[] = {'_', 'S', '5', '_'};
    for (u64 at = HEADER_SIZE; !out->has_s5 && at + sizeof(name) < t.size; at++) {
        if (memcmp(t.bytes + at, name, sizeof(name)) != 0)
            continue;
        bool named = t.bytes[at - 1] == AML_NAME || (t.bytes[at - 1] == '\\' && t.bytes[at - 2] == AML_NAME);
        if (named && read_s5_package(t, at + sizeof(name), out))
            return;
    }
}

// ── FADT and the small ones ─────────────────────────────────────────────────────────────────────────────────────────
static void read_fadt(const struct acpi_memory *memory, struct table fadt, struct acpi *out) {
    u64 flags = field(fadt, FADT_FLAGS, 4), smi = field(fadt, FADT_SMI_COMMAND, 4);
    out->pm_timer = fixed_register(fadt, FADT_X_PM_TIMER, FADT_PM_TIMER, 32);
    out->pm_timer_32 = flags & FADT_TIMER_IS_32;
    out->pm1a_control = fixed_register(fadt, FADT_X_PM1A_CONTROL, FADT_PM1A_CONTROL, 16);
    out->pm1b_control = fixed_register(fadt, FADT_X_PM1B_CONTROL, FADT_PM1B_CONTROL, 16);
    out->sleep_control = generic_register(fadt, FADT_SLEEP_CONTROL);
    out->sleep_status = generic_register(fadt, FADT_SLEEP_STATUS);
    out->smi_command = smi <= UINT16_MAX ? (u16)smi : 0;
    out->acpi_enable = (u8)field(fadt, FADT_ACPI_ENABLE, 1);
    if (flags & FADT_HAS_RESET) {
        out->reset = generic_register(fadt, FADT_RESET);
        out->reset_value = (u8)field(fadt, FADT_RESET_VALUE, 1);
    }
    u64 dsdt = field(fadt, FADT_X_DSDT, 8);
    struct table t = table_at(memory, dsdt ? dsdt : field(fadt, FADT_DSDT, 4));
    if (is(t, "DSDT"))
        find_s5(t, out);
}

static void read_mcfg(struct table mcfg, struct acpi *out) {
    for (u64 at = MCFG_ENTRIES; at + MCFG_ENTRY_SIZE <= mcfg.size; at += MCFG_ENTRY_SIZE) {
        if (field(mcfg, at + 8, 2) != 0) // segment
            continue;
        out->mcfg = field(mcfg, at, 8);
        out->mcfg_bus_first = (u8)field(mcfg, at + 10, 1);
        out->mcfg_bus_last = (u8)field(mcfg, at + 11, 1);
        return;
    }
}

static void read_table(const struct acpi_memory *memory, struct table t, struct acpi *out) {
    if (is(t, "APIC") && out->lapic == 0) {
        read_madt(t, out);
    } else if (is(t, "FACP")) {
        read_fadt(memory, t, out);
    } else if (is(t, "HPET")) {
        struct acpi_register r = generic_register(t, HPET_ADDRESS);
        out->hpet = r.space == ACPI_MEMORY ? r.address : 0;
    } else if (is(t, "MCFG")) {
        read_mcfg(t, out);
    } else if (is(t, "SSDT")) {
        find_s5(t, out);
    }
}

// ── The way there ───────────────────────────────────────────────────────────────────────────────────────────────────
static struct table rsdp_at(const struct acpi_memory *memory, u64 address) {
    struct table t = {memory->map(memory, address, RSDP_V1_SIZE), RSDP_V1_SIZE};
    if (!t.bytes || memcmp(t.bytes, "RSD PTR ", 8) != 0 || !sums_to_zero(t.bytes, RSDP_V1_SIZE))
        return (struct table){};
    if (t.bytes[RSDP_REVISION] < 2)
        return t;
    struct table extended = {memory->map(memory, address, RSDP_SIZE), RSDP_SIZE};
    if (extended.bytes && field(extended, RSDP_LENGTH, 4) == RSDP_SIZE && sums_to_zero(extended.bytes, RSDP_SIZE))
        return extended;
    return t;
}

static void words_of(char *to, const u8 *from, u32 size) {
    u32 n = 0;
    for (u32 i = 0; i < size; i++)
        if (from[i] > ' ' && from[i] < 0x7f)
            to[n++] = (char)from[i];
    to[n] = '\0';
}

int acpi_read(const struct acpi_memory *memory, u64 rsdp, struct acpi *out, char *why, size_t why_size) {
    memset(out, 0, sizeof(*out));
    out->pm_timer.space = out->pm1a_control.space = out->pm1b_control.space = ACPI_NONE;
    out->sleep_control.space = out->sleep_status.space = out->reset.space = ACPI_NONE;
    for (u32 i = 0; i < ACPI_ISA_IRQS; i++)
        out->isa[i].gsi = i;

    struct table pointer = rsdp ? rsdp_at(memory, rsdp) : (struct table){};
    if (!pointer.bytes) {
        snprintf(why, why_size, "there is no ACPI root pointer (RSDP) at %#llx", (unsigned long long)rsdp);
        return -ENOENT;
    }
    u32 width = 8;
    struct table root = table_at(memory, field(pointer, RSDP_XSDT, 8));
    if (!is(root, "XSDT")) {
        width = 4;
        root = table_at(memory, field(pointer, RSDP_RSDT, 4));
        if (!is(root, "RSDT")) {
            snprintf(why, why_size, "the ACPI root pointer leads to no valid table of tables (XSDT or RSDT)");
            return -EINVAL;
        }
    }
    char oem[7], model[9];
    words_of(oem, root.bytes + HEADER_OEM_ID, 6);
    words_of(model, root.bytes + HEADER_OEM_TABLE, 8);
    snprintf(out->oem, sizeof(out->oem), "%s %s", oem, model);
    for (u64 at = HEADER_SIZE; at + width <= root.size; at += width)
        read_table(memory, table_at(memory, field(root, at, width)), out);
    return 0;
}

u64 acpi_find_rsdp(const struct acpi_memory *memory) {
    const u8 *bda = memory->map(memory, 0x40e, 2);
    u64 ebda = bda ? (u64)(bda[0] | bda[1] << 8) << 4 : 0;
    for (u64 at = ebda; ebda && at < ebda + KIB(1); at += 16)
        if (rsdp_at(memory, at).bytes)
            return at;
    for (u64 at = 0xe0000; at < 0x100000; at += 16)
        if (rsdp_at(memory, at).bytes)
            return at;
    return 0;
}
