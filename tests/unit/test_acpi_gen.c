// SPDX-License-Identifier: Apache-2.0
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "acpi_gen.h"
#include "pc_map.h"

enum { AT = 0xe0000 };
static u8 tables[8192];
static s64 size;

static u64 get(size_t at, u32 bytes) {
    u64 v = 0;
    assert_true(at + bytes <= (size_t)size);
    for (u32 i = bytes; i-- > 0;)
        v = v << 8 | tables[at + i];
    return v;
}

static u8 sum(size_t at, size_t count) {
    u8 s = 0;
    for (size_t i = 0; i < count; i++)
        s = (u8)(s + tables[at + i]);
    return s;
}

static int setup(void **state) {
    (void)state;
    memset(tables, 0x5a, sizeof(tables));
    memset(tables, 0, 4096);
    size = acpi_gen(3, gpa(AT), tables, 4096);
    return size <= 0;
}

// A table's place in `tables`, checked.
static size_t table(u64 address, const char *signature) {
    assert_in_range(address, AT, AT + (u64)size - 36);
    const size_t at = address - AT;
    assert_int_equal(at % 16, 0);
    assert_memory_equal(tables + at, signature, 4);
    assert_int_equal(sum(at, get(at + 4, 4)), 0);
    assert_memory_equal(tables + at + 10, "BLKHD BULKHEAD", 14);
    return at;
}

static size_t by_xsdt(const char *signature) {
    const size_t xsdt = table(get(24, 8), "XSDT");
    for (size_t at = xsdt + 36; at < xsdt + get(xsdt + 4, 4); at += 8)
        if (memcmp(tables + (get(at, 8) - AT), signature, 4) == 0)
            return table(get(at, 8), signature);
    fail_msg("no %s", signature);
    return 0;
}

static void the_rsdp_leads_to_both_root_tables(void **state) {
    (void)state;
    assert_memory_equal(tables, "RSD PTR ", 8);
    assert_int_equal(sum(0, 20), 0);
    assert_int_equal(sum(0, 36), 0);
    assert_int_equal(tables[15], 2);
    assert_int_equal(get(20, 4), 36);
    const size_t rsdt = table(get(16, 4), "RSDT"), xsdt = table(get(24, 8), "XSDT");
    assert_int_equal(get(rsdt + 4, 4), 36 + 2 * 4);
    assert_int_equal(get(xsdt + 4, 4), 36 + 2 * 8);
    for (u32 n = 0; n < 2; n++)
        assert_int_equal(get(rsdt + 36 + 4 * n, 4), get(xsdt + 36 + 8 * n, 8));
}

static void the_fadt_describes_reduced_hardware(void **state) {
    (void)state;
    const size_t fadt = by_xsdt("FACP");
    assert_int_equal(get(fadt + 4, 4), 276);
    assert_int_equal(tables[fadt + 8], 6);
    const u32 flags = (u32)get(fadt + 112, 4);
    assert_true(flags & 1 << 20); // hardware-reduced
    assert_true(flags & 1 << 10); // reset register
    assert_true(flags & 1 << 8);  // 32-bit PM timer
    assert_int_equal(tables[fadt + 116], 1);
    assert_int_equal(get(fadt + 120, 8), 0xcf9);
    assert_int_equal(tables[fadt + 128], 6);
    assert_int_equal(get(fadt + 212, 8), PC_PM_TIMER);
    assert_int_equal(get(fadt + 248, 8), PC_SLEEP);
    assert_int_equal(get(fadt + 260, 8), PC_SLEEP + 1);
    assert_int_equal(get(fadt + 40, 4), get(fadt + 140, 8));
    table(get(fadt + 40, 4), "DSDT");
}

static void the_madt_counts_cpus_and_has_the_ioapic(void **state) {
    (void)state;
    const size_t madt = by_xsdt("APIC");
    u32 cpus = 0, ioapics = 0;
    assert_int_equal(get(madt + 36, 4), 0xfee00000);
    assert_int_equal(get(madt + 40, 4), 0);
    for (size_t at = madt + 44; at < madt + get(madt + 4, 4); at += tables[at + 1]) {
        assert_true(tables[at + 1] >= 2);
        if (tables[at] == 0) {
            assert_int_equal(tables[at + 3], cpus);
            assert_int_equal(get(at + 4, 4), 1);
            cpus++;
        } else if (tables[at] == 1) {
            assert_int_equal(get(at + 4, 4), 0xfec00000);
            assert_int_equal(get(at + 8, 4), 0);
            ioapics++;
        }
    }
    assert_int_equal(cpus, 3);
    assert_int_equal(ioapics, 1);
}

static void the_dsdt_has_the_devices_and_the_sleep_state(void **state) {
    (void)state;
    static const u8 s5[] = {0x08, '_', 'S', '5', '_', 0x12, 0x4b, 0x00, 4, 0x0a, 5};
    static const u8 com1[] = {0x0c, 0x41, 0xd0, 0x05, 0x01}, rtc[] = {0x0c, 0x41, 0xd0, 0x0b, 0x00};
    static const u8 port[] = {0x47, 1, 0xf8, 3, 0xf8, 3, 1, 8}, irq[] = {0x89, 6, 0, 3, 1, 4, 0, 0, 0, 0x79, 0};
    const size_t dsdt = table(get(by_xsdt("FACP") + 40, 4), "DSDT"), length = get(dsdt + 4, 4);
    const struct {
        const u8 *bytes;
        size_t count;
    } parts[] = {{s5, sizeof(s5)}, {com1, sizeof(com1)}, {rtc, sizeof(rtc)}, {port, sizeof(port)}, {irq, sizeof(irq)}};
    for (u32 i = 0; i < ARRAY_SIZE(parts); i++) {
        bool found = false;
        for (size_t at = dsdt + 36; at + parts[i].count <= dsdt + length; at++)
            found |= memcmp(tables + at, parts[i].bytes, parts[i].count) == 0;
        if (!found)
            fail_msg("part %u is missing", i);
    }
}

static void a_buffer_that_is_too_small_is_refused_and_not_overrun(void **state) {
    (void)state;
    for (size_t room = 0; room < (size_t)size; room++) {
        u8 *exact = malloc(room ? room : 1);
        assert_non_null(exact);
        assert_int_equal(acpi_gen(3, gpa(AT), exact, room), -ENOSPC);
        free(exact);
    }
    assert_int_equal(acpi_gen(3, gpa(AT), tables, (size_t)size), size);
    assert_true(acpi_gen(16, gpa(AT), tables, 4096) > size);
}

// Debian's acpica-tools take every table apart, find nothing odd in it, and can make it again of what they found.
static void iasl_takes_apart(const char *dir, const char *name, u64 address, const char *signature) {
    char path[64], command[320];
    const size_t at = table(address, signature), length = get(at + 4, 4);
    snprintf(path, sizeof(path), "%s/%s.aml", dir, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(tables + at, 1, length, f), length);
    fclose(f);
    snprintf(command, sizeof(command),
             "cd %s && iasl -d %s.aml >log 2>&1 && ! grep -iE 'warning|error|invalid|unknown' %s.dsl && "
             "iasl -vw 2173 -p again %s.dsl >>log 2>&1 && grep -q ' 0 Errors, 0 Warnings' log || { cat log; exit 1; }",
             dir, name, name, name);
    if (system(command) != 0)
        fail_msg("iasl on %s", name);
}

static void iasl_takes_every_table_apart(void **state) {
    (void)state;
    char dir[] = "/tmp/acpi_gen.XXXXXX", command[64];
    assert_non_null(mkdtemp(dir));
    const size_t fadt = by_xsdt("FACP"), madt = by_xsdt("APIC");
    iasl_takes_apart(dir, "rsdt", get(16, 4), "RSDT");
    iasl_takes_apart(dir, "xsdt", get(24, 8), "XSDT");
    iasl_takes_apart(dir, "fadt", AT + fadt, "FACP");
    iasl_takes_apart(dir, "madt", AT + madt, "APIC");
    iasl_takes_apart(dir, "dsdt", get(fadt + 40, 4), "DSDT");
    snprintf(command, sizeof(command), "rm -rf %s", dir);
    (void)!system(command);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(the_rsdp_leads_to_both_root_tables, setup),
        cmocka_unit_test_setup(the_fadt_describes_reduced_hardware, setup),
        cmocka_unit_test_setup(the_madt_counts_cpus_and_has_the_ioapic, setup),
        cmocka_unit_test_setup(the_dsdt_has_the_devices_and_the_sleep_state, setup),
        cmocka_unit_test_setup(a_buffer_that_is_too_small_is_refused_and_not_overrun, setup),
        cmocka_unit_test_setup(iasl_takes_every_table_apart, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
