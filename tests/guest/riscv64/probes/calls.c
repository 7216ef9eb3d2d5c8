// SPDX-License-Identifier: Apache-2.0
// SBI calls: every kind of extension and function, right and wrong arguments, and the life of a hart.
#include "guest.h"

enum : u64 { EID_PMU = 0x504d55, NON_RETENTIVE = 0x80000000 };
enum : u64 { SLEEPS = 0x1000, WAKES = 0x2000, SYSTEM_WAKES = 0x3000 }; // what a hart is to do

static volatile u64 secondary_seen, secondary_go, secondary_pending;

static void system_woke(void);

void secondary_main(u64 context) {
    if (context == SYSTEM_WAKES)
        system_woke();
    if (context == SLEEPS) { // until an IPI comes, and then begins anew
        irqs_off();
        csr_write(sie, 1 << SSI);
        secondary_seen = SLEEPS;
        sbi(EID_HSM, 3, NON_RETENTIVE, (u64)secondary_entry, WAKES);
    }
    if (context == WAKES)
        secondary_pending = csr_read(sip) & 1 << SSI;
    secondary_seen = context;
    while (!secondary_go)
        ;
}

static void expect(const char *name, s64 got, s64 want) {
    CHECK(name, got == want, "%d, not %d", got, want);
}

static bool known(u64 extension) {
    static const u64 all[] = {EID_BASE, EID_TIME, EID_IPI, EID_RFENCE, EID_HSM, EID_SRST, EID_DBCN, EID_SUSP, EID_PMU};
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
    static const u64 have[] = {EID_BASE, EID_TIME, EID_IPI, EID_RFENCE, EID_HSM, EID_SRST, EID_DBCN, EID_SUSP, EID_PMU};
    for (u32 i = 0; i < ARRAY_SIZE(have); i++)
        for (u64 function = 32; function < 64; function++)
            wrong += sbi(have[i], function, ~0ull, ~0ull, ~0ull).error != SBI_NOT_SUPPORTED;
    CHECK("an_unknown_function_is_not_supported", wrong == 0, "%u", wrong);
}

static void facts(void) {
    struct sbi_result version = sbi(EID_BASE, 0, 0, 0, 0);
    CHECK("the_SBI_is_2_0_or_later", version.error == 0 && version.value >= 2 << 24, "%x", (u64)version.value);
    static const u64 have[] = {EID_BASE, EID_TIME, EID_IPI, EID_RFENCE, EID_HSM, EID_SRST, EID_DBCN, EID_SUSP, EID_PMU};
    u64 missing = 0;
    for (u32 i = 0; i < ARRAY_SIZE(have); i++)
        missing += sbi(EID_BASE, 3, have[i], 0, 0).value == 0;
    CHECK("the_extensions_are_probed", missing == 0, "%u are missing", missing);
    struct sbi_result absent = sbi(EID_BASE, 3, 0x12345678, 0, 0);
    CHECK("an_extension_that_is_not_there_probes_as_0", absent.error == 0 && absent.value == 0, "%d", absent.value);
    static const u64 have_not[] = {0x46574654, 0x535441, 0x4e41434c, 0x43505043, 0x535345, 0x44425452};
    u64 there = 0;
    for (u32 i = 0; i < ARRAY_SIZE(have_not); i++) { // FWFT STA NACL CPPC SSE DBTR
        struct sbi_result r = sbi(EID_BASE, 3, have_not[i], 0, 0);
        there += r.error || r.value || sbi(have_not[i], 0, 0, 0, 0).error != SBI_NOT_SUPPORTED;
    }
    CHECK("what_is_for_other_machines_is_not_supported", there == 0, "%u are", there);
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
    bool fired = now() >= begin + ticks_of_ms(10) && sip_shows(1 << STI);
    set_timer(~0ull);
    csr_clear(sie, 1 << STI);
    CHECK("a_retentive_suspend_returns_when_the_timer_fires", answer == 0 && fired, "%d, fired %u", answer, (u64)fired);
}

static void counters(void) {
    struct sbi_result r = sbi(EID_PMU, 0, 0, 0, 0);
    CHECK("there_are_no_performance_counters", r.error == 0 && r.value == 0, "%d, %d", r.error, r.value);
    u64 wrong = 0;
    for (u64 function = 1; function <= 6; function++)
        wrong += sbi(EID_PMU, function, 0, 1, 0).error != SBI_INVALID_PARAM;
    CHECK("a_counter_that_is_not_there_is_an_invalid_parameter", wrong == 0, "%u of 6", wrong);
}

// An IPI ends a suspension that loses the registers, and is still to be seen.
static void deep_sleep(void) {
    secondary_seen = secondary_go = secondary_pending = 0;
    bool ok = cpu_start(1, SLEEPS) == 0;
    u64 end = now() + ticks_of_ms(5000);
    while (ok && hart_status(1) != 4)
        ok = now() < end;
    send_ipi(1 << 1);
    ok = ok && wait_for(&secondary_seen, WAKES, 5000);
    secondary_go = 1;
    CHECK("an_IPI_that_ends_a_deep_suspension_is_still_pending", ok && secondary_pending, "%u, hart is at %x", (u64)ok,
          secondary_seen);
    while (hart_status(1) != 1 && now() < end)
        ;
}

static void system_woke(void) {
    bool right = !(csr_read(satp) || csr_read(sstatus) & 2) && sip_shows(1 << STI) && cpu_index() == 0;
    CHECK("the_system_wakes_where_it_was_told_to", right, "satp %x, sstatus %x, sip %x", csr_read(satp),
          csr_read(sstatus), csr_read(sip));
    set_timer(~0ull);
    CHECK("no_exception_came", trap.count == 0, "%u, cause %u, epc %x", trap.count, trap.cause, trap.epc);
    guest_end();
}

static void system_sleep(void) {
    csr_set(sie, 1 << STI);
    set_timer(now() + ticks_of_ms(5));
    s64 answer = sbi(EID_SUSP, 0, 0, (u64)secondary_entry, SYSTEM_WAKES).error;
    fail("the_system_wakes_where_it_was_told_to", "it did not sleep: %d", answer);
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
        for (u64 function = 0; function < 2; function++)
            taken += sbi(EID_DBCN, function, bad[i][0], bad[i][1], bad[i][2]).error != SBI_INVALID_PARAM;
    CHECK("the_debug_console_refuses_what_is_no_memory", taken == 0, "%u of 12 were taken", taken);
    static char input[8];
    r = sbi(EID_DBCN, 1, sizeof(input), (u64)input, 0);
    CHECK("the_debug_console_reads_nothing_if_nothing_was_typed", r.error == 0 && r.value == 0, "%d, %d", r.error,
          r.value);
}

// What the UART has received, here from itself, firmware reads as well.
static void console_input(void) {
    static char input[8];
    write8(UART + UART_LCR, 3);
    write8(UART + UART_IIR, 1);    // FIFOs
    write8(UART + UART_MCR, 0x10); // loopback
    for (const char *c = "abc"; *c; c++)
        write8(UART + UART_DATA, (u8)*c);
    write8(UART + UART_MCR, 0);
    struct sbi_result r = sbi(EID_DBCN, 1, 2, (u64)input, 0);
    s64 last = sbi(2, 0, 0, 0, 0).error, none = sbi(2, 0, 0, 0, 0).error;
    CHECK("the_debug_console_reads_what_was_received",
          r.error == 0 && r.value == 2 && input[0] == 'a' && input[1] == 'b' && input[2] == 0, "%d, %d, %x %x", r.error,
          r.value, (u64)input[0], (u64)input[1]);
    CHECK("legacy_getchar_reads_the_rest", last == 'c' && none == -1, "%d, %d", last, none);
}

static void legacy(void) {
    sbi(1, 0, '.', 0, 0); // putchar
    sbi(1, 0, '\n', 0, 0);
    s64 got = sbi(2, 0, 0, 0, 0).error; // getchar
    CHECK("legacy_getchar_has_nothing", got == -1, "%d", got);
    s64 timer = sbi(0, 0, ~0ull, 0, 0).error;
    CHECK("legacy_set_timer_is_answered", timer == 0, "%d", timer);
    static u64 mask = 1;
    csr_clear(sip, 1 << SSI);
    s64 sent = sbi(4, 0, (u64)&mask, 0, 0).error;
    u64 pending = csr_read(sip) & 1 << SSI;
    s64 cleared = sbi(3, 0, 0, 0, 0).error;
    CHECK("legacy_IPIs_come_and_go", sent == 0 && pending && cleared == 0 && !(csr_read(sip) & 1 << SSI),
          "%d, pending %x, %d", sent, pending, cleared);
    u64 wrong = 0;
    for (u64 extension = 5; extension <= 7; extension++) {
        wrong += sbi(extension, 0, (u64)&mask, 0, 0x1000).error != 0;
        wrong += sbi(extension, 0, 0, 0, 0).error != 0;
        wrong += sbi(extension, 0, PLIC - 8, 0, 0).error == 0; // the mask lies in no memory
    }
    wrong += sbi(4, 0, PLIC - 8, 0, 0).error == 0;
    CHECK("legacy_fences_are_carried_out", wrong == 0, "%u of 10", wrong);
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
    deep_sleep();
    counters();
    console();
    console_input();
    legacy();
    system_sleep(); // the last one: it goes on in system_woke()
}
