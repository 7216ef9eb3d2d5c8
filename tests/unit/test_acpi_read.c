// SPDX-License-Identifier: Apache-2.0
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "acpi.h"

#include <stdlib.h>
#include <string.h>

// ── A machine's memory with tables in it ─────────────────────────────────────────────────────────────────────────────
enum { BASE = 0xe0000, SIZE = 0x20000, RSDP = 0xf0000, HEADER = 36 };
static u8 ram[SIZE];
static u64 end; // where the next table goes
static struct acpi acpi;
static char why[160];

static const void *map(const struct acpi_memory *memory, u64 address, u64 size) {
    (void)memory;
    return address >= BASE && address - BASE <= SIZE && size <= SIZE - (address - BASE) ? ram + (address - BASE)
                                                                                        : nullptr;
}
static const struct acpi_memory memory = {map};

static void put(u64 address, u64 value, u32 bytes) {
    for (u32 i = 0; i < bytes; i++)
        ram[address - BASE + i] = (u8)(value >> (8 * i));
}

static void put_bytes(u64 address, const void *bytes, size_t size) {
    memcpy(ram + (address - BASE), bytes, size);
}

// Makes [address, address + size) add up to 0 by its byte at `at`.
static void sum(u64 address, u64 size, u64 at) {
    u8 total = 0;
    put(address + at, 0, 1);
    for (u64 i = 0; i < size; i++)
        total = (u8)(total + ram[address - BASE + i]);
    put(address + at, (u8)-total, 1);
}

// A table of `size` bytes, zero but for its header: to be filled in, then summed.
static u64 table(const char *signature, u32 size) {
    u64 at = end;
    end += (size + 15) & ~15u;
    put_bytes(at, signature, 4);
    put(at + 4, size, 4);
    put_bytes(at + 10, "BLKHD ", 6);
    put_bytes(at + 16, "MACHINE ", 8);
    return at;
}

static void done(u64 at) {
    u32 size;
    memcpy(&size, ram + (at - BASE) + 4, 4);
    sum(at, size, 9);
}

static int fresh(void **state) {
    (void)state;
    memset(ram, 0, sizeof(ram));
    memset(why, 0, sizeof(why));
    end = BASE;
    return 0;
}

static void rsdp(u32 revision, u64 rsdt, u64 xsdt) {
    put_bytes(RSDP, "RSD PTR ", 8);
    put(RSDP + 15, revision, 1);
    put(RSDP + 16, rsdt, 4);
    put(RSDP + 20, 36, 4);
    put(RSDP + 24, xsdt, 8);
    sum(RSDP, 20, 8);
    sum(RSDP, 36, 32);
}

static void root(const u64 *tables, u32 count) {
    u64 xsdt = table("XSDT", HEADER + 8 * count);
    for (u32 i = 0; i < count; i++)
        put(xsdt + HEADER + 8 * i, tables[i], 8);
    done(xsdt);
    rsdp(2, 0, xsdt);
}

static int read(void) {
    return acpi_read(&memory, RSDP, &acpi, why, sizeof(why));
}

static void read_one(u64 only) {
    root(&only, 1);
    assert_int_equal(read(), 0);
}

static u64 madt(const void *entries, u32 size) {
    u64 at = table("APIC", 44 + size);
    put(at + 36, 0xfee00000, 4);
    put_bytes(at + 44, entries, size);
    done(at);
    return at;
}

static u64 fadt(u32 size) {
    return table("FACP", size);
}

static void gas(u64 at, u32 space, u32 bits, u64 address) {
    put(at, space, 1);
    put(at + 1, bits, 1);
    put(at + 4, address, 8);
}

static u64 aml(const char *signature, const void *code, u32 size) {
    u64 at = table(signature, HEADER + size);
    put_bytes(at + HEADER, code, size);
    done(at);
    return at;
}

// ── The way to the tables ────────────────────────────────────────────────────────────────────────────────────────────
static void no_root_pointer_is_said_in_words(void **state) {
    (void)state;
    assert_int_equal(read(), -ENOENT);
    assert_string_equal(why, "there is no ACPI root pointer (RSDP) at 0xf0000");
    assert_int_equal(acpi_read(&memory, 0, &acpi, why, sizeof(why)), -ENOENT);
}

static void a_root_pointer_with_a_wrong_checksum_is_none(void **state) {
    (void)state;
    root(nullptr, 0);
    put(RSDP + 8, ram[RSDP + 8 - BASE] + 1, 1);
    assert_int_equal(read(), -ENOENT);
}

static void a_root_pointer_that_leads_nowhere_is_said_in_words(void **state) {
    (void)state;
    rsdp(2, 0x12345678, ~0ull);
    assert_int_equal(read(), -EINVAL);
    assert_string_equal(why, "the ACPI root pointer leads to no valid table of tables (XSDT or RSDT)");
}

static void a_first_revision_has_an_rsdt(void **state) {
    (void)state;
    u8 cpu[] = {0, 8, 0, 7, 1, 0, 0, 0};
    u64 apic = madt(cpu, sizeof(cpu)), rsdt = table("RSDT", HEADER + 4);
    put(rsdt + HEADER, apic, 4);
    done(rsdt);
    rsdp(0, rsdt, 0xdead);
    assert_int_equal(read(), 0);
    assert_int_equal(acpi.cpu_count, 1);
    assert_int_equal(acpi.cpu_ids[0], 7);
    assert_string_equal(acpi.oem, "BLKHD MACHINE");
}

static void a_broken_xsdt_leaves_the_rsdt(void **state) {
    (void)state;
    u8 cpu[] = {0, 8, 0, 7, 1, 0, 0, 0};
    u64 apic = madt(cpu, sizeof(cpu)), rsdt = table("RSDT", HEADER + 4), xsdt = table("XSDT", HEADER);
    put(rsdt + HEADER, apic, 4);
    done(rsdt);
    put(xsdt + 9, 1, 1);
    rsdp(2, rsdt, xsdt);
    assert_int_equal(read(), 0);
    assert_int_equal(acpi.cpu_count, 1);
}

static void a_bios_root_pointer_is_found(void **state) {
    (void)state;
    assert_int_equal(acpi_find_rsdp(&memory), 0);
    root(nullptr, 0);
    assert_int_equal(acpi_find_rsdp(&memory), RSDP);
}

static void tables_with_a_wrong_checksum_or_length_are_left_out(void **state) {
    (void)state;
    u8 cpu[] = {0, 8, 0, 7, 1, 0, 0, 0};
    u64 bad_sum = madt(cpu, sizeof(cpu)), too_long = table("APIC", 44), too_short = table("APIC", 44);
    put(bad_sum + 43, 1, 1);
    put(too_long + 4, 0x7fffffff, 4);
    put(too_short + 4, 35, 4);
    u64 tables[] = {bad_sum, too_long, too_short, 0, 1, ~0ull, BASE + SIZE - 8};
    root(tables, 7);
    assert_int_equal(read(), 0);
    assert_int_equal(acpi.cpu_count, 0);
    assert_int_equal(acpi.lapic, 0);
}

// ── CPUs and interrupt controllers ───────────────────────────────────────────────────────────────────────────────────
static void enabled_cpus_are_counted_once(void **state) {
    (void)state;
    u8 entries[] = {
        0, 8,  0, 3,    1,    0,    0,    0,                            // APIC 3
        0, 8,  1, 4,    0,    0,    0,    0,                            // off
        0, 8,  2, 5,    2,    0,    0,    0,                            // may be plugged in
        0, 8,  3, 0xff, 1,    0,    0,    0,                            // nobody
        9, 16, 0, 0,    3,    0,    0,    0,    1, 0, 0, 0, 0, 0, 0, 0, // APIC 3 again
        9, 16, 0, 0,    0,    1,    0,    0,    1, 0, 0, 0, 1, 0, 0, 0, // 0x100
        9, 16, 0, 0,    0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0, 2, 0, 0, 0, // nobody
    };
    read_one(madt(entries, sizeof(entries)));
    assert_int_equal(acpi.cpu_count, 2);
    assert_int_equal(acpi.cpu_ids[0], 3);
    assert_int_equal(acpi.cpu_ids[1], 0x100);
    assert_int_equal(acpi.lapic, 0xfee00000);
}

static void more_cpus_than_fit_are_counted_apart(void **state) {
    (void)state;
    u8 entries[8 * (ACPI_MAX_CPUS + 3)];
    for (u32 i = 0; i < ACPI_MAX_CPUS + 3; i++)
        memcpy(entries + 8 * i, (u8[]){0, 8, 0, (u8)i, 1, 0, 0, 0}, 8);
    read_one(madt(entries, sizeof(entries)));
    assert_int_equal(acpi.cpu_count, ACPI_MAX_CPUS);
    assert_int_equal(acpi.cpus_ignored, 3);
}

static void ioapics_and_overrides_are_read(void **state) {
    (void)state;
    u8 entries[] = {
        1,  12, 0, 0,  0,  0,    0xc0, 0xfe, 0,   0, 0, 0, // IOAPIC at 0xfec00000, from 0
        1,  12, 1, 0,  0,  0x10, 0xc0, 0xfe, 24,  0, 0, 0, // at 0xfec01000, from 24
        2,  10, 0, 0,  2,  0,    0,    0,    0,   0,       // the timer at 2
        2,  10, 0, 4,  20, 0,    0,    0,    0xf, 0,       // COM1 at 20, level, active low
        2,  10, 0, 16, 1,  0,    0,    0,    0,   0,       // no ISA interrupt
        5,  12, 0, 0,  0,  0,    0,    0xfe, 1,   0, 0, 0, // APICs at 0x1fe000000
        77, 3,  0,                                         // unknown
    };
    read_one(madt(entries, sizeof(entries)));
    assert_int_equal(acpi.ioapic_count, 2);
    assert_int_equal(acpi.ioapics[1].address, 0xfec01000);
    assert_int_equal(acpi.ioapics[1].gsi_base, 24);
    assert_int_equal(acpi.isa[0].gsi, 2);
    assert_int_equal(acpi.isa[4].gsi, 20);
    assert_true(acpi.isa[4].level && acpi.isa[4].active_low);
    assert_true(!acpi.isa[3].level && acpi.isa[3].gsi == 3);
    assert_int_equal(acpi.lapic, 0x1fe000000);
}

static void an_entry_that_ends_past_its_table_ends_the_reading(void **state) {
    (void)state;
    u8 entries[] = {0, 8, 0, 1, 1, 0, 0, 0, 0, 0, 0, 8, 0, 2, 1, 0, 0, 0, 0, 200};
    read_one(madt(entries, 8));
    assert_int_equal(acpi.cpu_count, 1);
    fresh(nullptr);
    read_one(madt(entries, 18)); // an entry of no length
    assert_int_equal(acpi.cpu_count, 1);
    fresh(nullptr);
    entries[8] = 77, entries[9] = 2;
    read_one(madt(entries, 20)); // one that is longer than what is left
    assert_int_equal(acpi.cpu_count, 2);
}

// ── Power and clocks ─────────────────────────────────────────────────────────────────────────────────────────────────
static const u8 S5[] = {0x08, '_', 'S', '5', '_', 0x12, 0x06, 0x04, 0x0a, 0x05, 0x0a, 0x06, 0x00, 0x00};

static void an_old_fadt_names_ports(void **state) {
    (void)state;
    u64 dsdt = aml("DSDT", S5, sizeof(S5)), at = fadt(116);
    put(at + 40, dsdt, 4);
    put(at + 48, 0xb2, 4);
    put(at + 52, 0xf1, 1);
    put(at + 64, 0x604, 4);
    put(at + 76, 0x608, 4);
    done(at);
    read_one(at);
    assert_int_equal(acpi.smi_command, 0xb2);
    assert_int_equal(acpi.acpi_enable, 0xf1);
    assert_int_equal(acpi.pm1a_control.space, ACPI_PORT);
    assert_int_equal(acpi.pm1a_control.address, 0x604);
    assert_int_equal(acpi.pm1b_control.space, ACPI_NONE);
    assert_int_equal(acpi.pm_timer.address, 0x608);
    assert_false(acpi.pm_timer_32);
    assert_int_equal(acpi.reset.space, ACPI_NONE);
    assert_true(acpi.has_s5);
    assert_int_equal(acpi.s5_type_a, 5);
    assert_int_equal(acpi.s5_type_b, 6);
}

static void the_extended_fields_of_a_fadt_win(void **state) {
    (void)state;
    u64 dsdt = aml("DSDT", S5, sizeof(S5)), at = fadt(268);
    put(at + 40, 0xdead, 4);
    put(at + 64, 0x604, 4);
    put(at + 112, 1 << 8 | 1 << 10, 4);
    gas(at + 116, ACPI_MEMORY, 8, 0xfed00000);
    put(at + 128, 0x42, 1);
    put(at + 140, dsdt, 8);
    gas(at + 172, ACPI_PORT, 16, 0x1604);
    gas(at + 208, ACPI_PORT, 32, 0x12345); // no port: the old field, which is not there either
    gas(at + 244, ACPI_PORT, 8, 0x600);
    gas(at + 256, 3, 8, 0x601); // a space that we do not know
    done(at);
    read_one(at);
    assert_int_equal(acpi.pm1a_control.address, 0x1604);
    assert_int_equal(acpi.pm_timer.space, ACPI_NONE);
    assert_true(acpi.pm_timer_32 && acpi.has_s5);
    assert_int_equal(acpi.reset.address, 0xfed00000);
    assert_int_equal(acpi.reset_value, 0x42);
    assert_int_equal(acpi.sleep_control.address, 0x600);
    assert_int_equal(acpi.sleep_status.space, ACPI_NONE);
}

static void expect_s5(const void *code, u32 size, bool there, u8 a, u8 b) {
    fresh(nullptr);
    read_one(aml("SSDT", code, size));
    assert_int_equal(acpi.has_s5, there);
    assert_int_equal(acpi.s5_type_a, a);
    assert_int_equal(acpi.s5_type_b, b);
}

static void sleep_types_are_constants_of_any_width(void **state) {
    (void)state;
    u8 zero[] = {0x08, '\\', '_', 'S', '5', '_', 0x12, 0x06, 0x02, 0x00, 0x01};
    u8 wide[] = {0xff, 0x08, '_', 'S', '5', '_', 0x12, 0x4a, 0x00, 0x02, 0x0b, 7, 0, 0x0c, 3, 0, 0, 0};
    u8 one[] = {0x08, '_', 'S', '5', '_', 0x12, 0x04, 0x01, 0x0a, 0x05};
    expect_s5(zero, sizeof(zero), true, 0, 1);
    expect_s5(wide, sizeof(wide), true, 7, 3);
    expect_s5(one, sizeof(one), true, 5, 0);
}

static void what_only_looks_like_a_sleep_state_is_none(void **state) {
    (void)state;
    for (u32 size = 5; size < 12; size++) // cut short
        expect_s5(S5, size, false, 0, 0);
    u8 method[] = {0x14, '_', 'S', '5', '_', 0x12, 0x06, 0x02, 0x00, 0x01, 0x00};
    u8 name[] = {0x08, '_', 'S', '5', '_', 'S', '5', '_', 0x12, 0x00, 0x00};
    u8 empty[] = {0x08, '_', 'S', '5', '_', 0x12, 0x02, 0x00, 0x00};
    expect_s5(method, sizeof(method), false, 0, 0);
    expect_s5(name, sizeof(name), false, 0, 0);
    expect_s5(empty, sizeof(empty), false, 0, 0);
}

static void hpet_and_mcfg_are_read(void **state) {
    (void)state;
    u64 hpet = table("HPET", 56), mcfg = table("MCFG", 44 + 32);
    gas(hpet + 40, ACPI_MEMORY, 64, 0xfed00000);
    done(hpet);
    put(mcfg + 44 + 8, 1, 2); // another segment
    put(mcfg + 60, 0xb0000000, 8);
    put(mcfg + 60 + 11, 0x7f, 1);
    done(mcfg);
    u64 tables[] = {hpet, mcfg};
    root(tables, 2);
    assert_int_equal(read(), 0);
    assert_int_equal(acpi.hpet, 0xfed00000);
    assert_int_equal(acpi.mcfg, 0xb0000000);
    assert_int_equal(acpi.mcfg_bus_last, 0x7f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(no_root_pointer_is_said_in_words, fresh),
        cmocka_unit_test_setup(a_root_pointer_with_a_wrong_checksum_is_none, fresh),
        cmocka_unit_test_setup(a_root_pointer_that_leads_nowhere_is_said_in_words, fresh),
        cmocka_unit_test_setup(a_first_revision_has_an_rsdt, fresh),
        cmocka_unit_test_setup(a_broken_xsdt_leaves_the_rsdt, fresh),
        cmocka_unit_test_setup(a_bios_root_pointer_is_found, fresh),
        cmocka_unit_test_setup(tables_with_a_wrong_checksum_or_length_are_left_out, fresh),
        cmocka_unit_test_setup(enabled_cpus_are_counted_once, fresh),
        cmocka_unit_test_setup(more_cpus_than_fit_are_counted_apart, fresh),
        cmocka_unit_test_setup(ioapics_and_overrides_are_read, fresh),
        cmocka_unit_test_setup(an_entry_that_ends_past_its_table_ends_the_reading, fresh),
        cmocka_unit_test_setup(an_old_fadt_names_ports, fresh),
        cmocka_unit_test_setup(the_extended_fields_of_a_fadt_win, fresh),
        cmocka_unit_test_setup(sleep_types_are_constants_of_any_width, fresh),
        cmocka_unit_test_setup(what_only_looks_like_a_sleep_state_is_none, fresh),
        cmocka_unit_test_setup(hpet_and_mcfg_are_read, fresh),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
