// SPDX-License-Identifier: Apache-2.0
// SBI calls: every kind of extension and function, right and wrong arguments, and the life of a hart.
#include "guest.h"

static volatile u64 secondary_seen, secondary_go;

void secondary_main(u64 context) {
    secondary_seen = context;
    while (!secondary_go)
        ;
}

static void expect(const char *name, s64 got, s64 want) {
    CHECK(name, got == want, "%d, not %d", got, want);
}

static bool known(u64 extension) {
    static const u64 all[] = {EID_BASE, EID_TIME,   EID_IPI,  EID_RFENCE, EID_HSM,    EID_SRST,
                              EID_DBCN, 0x53555350, 0x504d55, 0x535441,   0x43505043, 0x4e41434c};
    for (u32 i = 0; i < ARRAY_SIZE(all); i++)
        if (all[i] == extension)
            return true;
    return false;
}

static void try_all(u64 extension, u64 *wrong, u64 *first) {
    static const u64 functions[] = {0, 1, 2, 15, 16, 255, 0x7fffffff, 0x80000000, ~0ull};
    for (u32 i = 0; i < ARRAY_SIZE(functions); i++)
        if (sbi(extension, functions[i], ~0ull, ~0ull, ~0ull).error != SBI_NOT_SUPPORTED && (*wrong)++ == 0)
            *first = extension;
}

static void unknown_extensions(void) {
    u64 wrong = 0, first = 0;
    for (u64 extension = 9; extension < 0x1000; extension++)
        if (!known(extension))
            try_all(extension, &wrong, &first);
    for (u32 bit = 12; bit < 64; bit++)
        if (!known(1ull << bit))
            try_all(1ull << bit, &wrong, &first);
    for (u64 low = 0; low < 256; low++) {
        try_all(0x0a000000 + low, &wrong, &first); // firmware
        try_all(0x08000000 + low, &wrong, &first); // experimental
        try_all(0x09000000 + low, &wrong, &first); // vendor
    }
    CHECK("an_unknown_extension_is_not_supported", wrong == 0, "%u, first %x", wrong, first);
    wrong = 0;
    static const u64 have[] = {EID_BASE, EID_TIME, EID_IPI, EID_RFENCE, EID_HSM, EID_SRST, EID_DBCN};
    for (u32 i = 0; i < ARRAY_SIZE(have); i++)
        for (u64 function = 32; function < 64; function++)
            wrong += sbi(have[i], function, ~0ull, ~0ull, ~0ull).error != SBI_NOT_SUPPORTED;
    CHECK("an_unknown_function_is_not_supported", wrong == 0, "%u", wrong);
}

static void facts(void) {
    struct sbi_result version = sbi(EID_BASE, 0, 0, 0, 0);
    CHECK("the_SBI_is_2_0_or_later", version.error == 0 && version.value >= 2 << 24, "%x", (u64)version.value);
    static const u64 have[] = {EID_BASE, EID_TIME, EID_IPI, EID_RFENCE, EID_HSM, EID_SRST, EID_DBCN};
    u64 missing = 0;
    for (u32 i = 0; i < ARRAY_SIZE(have); i++)
        missing += sbi(EID_BASE, 3, have[i], 0, 0).value == 0;
    CHECK("the_extensions_are_probed", missing == 0, "%u are missing", missing);
    struct sbi_result absent = sbi(EID_BASE, 3, 0x12345678, 0, 0);
    CHECK("an_extension_that_is_not_there_probes_as_0", absent.error == 0 && absent.value == 0, "%d", absent.value);
    u64 ids = 0;
    for (u64 function = 4; function <= 6; function++)
        ids += sbi(EID_BASE, function, 0, 0, 0).error != 0;
    CHECK("the_machine_ids_are_answered", ids == 0, "%u are not", ids);
}

// The spec: every register but a0 and a1 is preserved.
static void registers(void) {
    u64 wrong = 0;
    for (u64 extension = 0x0f; extension <= 0x10; extension++) {
        register u64 a0 __asm__("a0") = 1;
        register u64 a1 __asm__("a1") = 2;
        register u64 a2 __asm__("a2") = 0x2222;
        register u64 a3 __asm__("a3") = 0x3333;
        register u64 a5 __asm__("a5") = 0x5555;
        register u64 a6 __asm__("a6") = 0;
        register u64 a7 __asm__("a7") = extension;
        register u64 t0 __asm__("t0") = 0x1010;
        register u64 t6 __asm__("t6") = 0x1616;
        __asm__ volatile("ecall"
                         : "+r"(a0), "+r"(a1), "+r"(a2), "+r"(a3), "+r"(a5), "+r"(a6), "+r"(a7), "+r"(t0),
                           "+r"(t6)::"memory");
        wrong +=
            a2 != 0x2222 || a3 != 0x3333 || a5 != 0x5555 || a6 != 0 || a7 != extension || t0 != 0x1010 || t6 != 0x1616;
    }
    CHECK("a_call_changes_a0_and_a1_only", wrong == 0, "%u", wrong);
}

static void wrong_harts(void) {
    u64 entry = (u64)secondary_entry;
    expect("HART_START_of_a_hart_that_is_not_there", hart_start(99, entry, 0), SBI_INVALID_PARAM);
    expect("HART_START_of_a_huge_hart", hart_start(~0ull, entry, 0), SBI_INVALID_PARAM);
    expect("HART_START_of_oneself", hart_start(0, entry, 0), SBI_ALREADY_AVAILABLE);
    expect("HART_STATUS_of_a_hart_that_is_not_there", hart_status(99), SBI_INVALID_PARAM);
    expect("HART_STATUS_of_oneself", hart_status(0), 0);
    expect("HART_STATUS_of_the_other", hart_status(1), 1);
    expect("an_IPI_to_nobody_is_invalid", sbi(EID_IPI, 0, 1, 1000, 0).error, SBI_INVALID_PARAM);
    expect("an_IPI_with_an_empty_mask_succeeds", sbi(EID_IPI, 0, 0, 0, 0).error, 0);
    expect("HART_SUSPEND_of_nonsense", sbi(EID_HSM, 3, 0x12345, 0, 0).error, SBI_INVALID_PARAM);
    expect("RESET_of_nonsense", sbi(EID_SRST, 0, 0x12345, 0, 0).error, SBI_INVALID_PARAM);
}

static void fences(void) {
    u64 wrong = 0;
    for (u64 function = 0; function < 3; function++) {
        wrong += sbi(EID_RFENCE, function, 0, ~0ull, 0).error != 0;
        wrong += sbi(EID_RFENCE, function, 1, 0, 0).error != 0;
        wrong += sbi(EID_RFENCE, function, 1, 0, RAM).error != 0;
        wrong += sbi(EID_RFENCE, function, 1, 0, ~0ull).error != 0;
        wrong += sbi(EID_RFENCE, function, 1, 1000, 0).error != SBI_INVALID_PARAM;
    }
    CHECK("remote_fences_are_carried_out", wrong == 0, "%u of 15", wrong);
}

static void life(void) {
    for (u64 round = 1; round <= 20; round++) {
        secondary_seen = secondary_go = 0;
        s64 answer = cpu_start(1, 0x1234567800000000 + round), again = cpu_start(1, 0);
        if (answer != 0 || (again != SBI_ALREADY_AVAILABLE && again != SBI_INVALID_PARAM)) { // started, or pending
            fail("a_hart_starts_and_stops_20_times", "round %u: answers %d and %d", round, answer, again);
            return;
        }
        if (!wait_for(&secondary_seen, 1, 5000) || secondary_seen != 0x1234567800000000 + round) {
            fail("a_hart_starts_and_stops_20_times", "round %u: argument %x", round, secondary_seen);
            return;
        }
        s64 on = hart_status(1);
        secondary_go = 1;
        u64 end = now() + ticks_of_ms(5000);
        while (hart_status(1) != 1 && now() < end)
            ;
        if (on != 0 || hart_status(1) != 1) {
            fail("a_hart_starts_and_stops_20_times", "round %u: status was %d, then %d", round, on, hart_status(1));
            return;
        }
    }
    pass("a_hart_starts_and_stops_20_times");
}

static void suspend(void) {
    irqs_off();
    csr_set(sie, 1 << STI);
    u64 begin = now();
    set_timer(begin + ticks_of_ms(10));
    s64 answer = sbi(EID_HSM, 3, 0, 0, 0).error; // default retentive
    bool fired = csr_read(sip) & 1 << STI;
    set_timer(~0ull);
    csr_clear(sie, 1 << STI);
    CHECK("a_retentive_suspend_returns_when_the_timer_fires", answer == 0 && fired, "%d, fired %u", answer, (u64)fired);
}

static void console(void) {
    static const char text[] = "a line by the debug console\n";
    struct sbi_result r = sbi(EID_DBCN, 0, sizeof(text) - 1, (u64)text, 0);
    CHECK("the_debug_console_writes", r.error == 0 && r.value == sizeof(text) - 1, "%d, %d", r.error, r.value);
    expect("the_debug_console_writes_a_byte", sbi(EID_DBCN, 2, '\n', 0, 0).error, 0);
    static const u64 bad[][3] = {{16, 0, 0},         {16, PLIC, 0},   {16, RAM - 8, 0},
                                 {16, ~0ull - 7, 0}, {~0ull, RAM, 0}, {16, RAM, 1}};
    u64 taken = 0;
    for (u32 i = 0; i < ARRAY_SIZE(bad); i++)
        for (u64 function = 0; function < 2; function++) {
            struct sbi_result got = sbi(EID_DBCN, function, bad[i][0], bad[i][1], bad[i][2]);
            taken += got.error == 0 && (function == 0 || got.value != 0); // to read nothing needs no memory
        }
    CHECK("the_debug_console_refuses_what_is_no_memory", taken == 0, "%u of 12 were taken", taken);
}

static void legacy(void) {
    sbi(1, 0, '.', 0, 0); // putchar
    sbi(1, 0, '\n', 0, 0);
    s64 got = sbi(2, 0, 0, 0, 0).error; // getchar
    CHECK("legacy_getchar_has_nothing", got == -1, "%d", got);
    s64 timer = sbi(0, 0, ~0ull, 0, 0).error;
    CHECK("legacy_set_timer_is_answered", timer == 0 || timer == SBI_NOT_SUPPORTED, "%d", timer);
}

void guest_main(u64 dtb) {
    (void)dtb;
    set_timer(~0ull);
    facts();
    registers();
    unknown_extensions();
    wrong_harts();
    fences();
    life();
    suspend();
    console();
    legacy();
    CHECK("no_exception_came", trap.count == 0, "%u, cause %u, epc %x", trap.count, trap.cause, trap.epc);
}
