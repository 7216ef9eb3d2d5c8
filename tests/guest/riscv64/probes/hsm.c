// SPDX-License-Identifier: Apache-2.0
// Calls that start, suspend and end harts and the machine, with arguments that are wrong, on any number of harts; and a
// suspension that forgets the registers. common/probes/power.c has the legal lives.
#include "guest.h"

enum : u64 { RETENTIVE = 0, NON_RETENTIVE = 0x80000000 };
static u64 cpus, ram_end;
static volatile u64 runs, slept, alarm;

static void expect(const char *name, s64 got, s64 want) {
    CHECK(name, got == want, "%d, not %d", got, want);
}

static void wake_up(u64 context);

void secondary_main(u64 context) {
    if (context == 0x51ee9) {
        wake_up(context);
        return;
    }
    runs++;
    if (context == 1) { // sleeps for long
        irqs_init();
        csr_write(sie, 1 << SSI);
        slept = 1;
        (void)sbi(EID_HSM, 3, RETENTIVE, 0, 0);
        csr_clear(sip, 1 << SSI);
        slept = 2;
    }
}

static void wrong_harts(void) {
    const u64 none[] = {cpus, 16, 1ull << 32, ~0ull, 1ull << 63};
    u64 entry = (u64)secondary_entry, bad = 0;
    for (u32 i = 0; i < ARRAY_SIZE(none); i++) {
        bad += hart_start(none[i], entry, 0) != SBI_INVALID_PARAM;
        bad += hart_status(none[i]) != SBI_INVALID_PARAM;
        bad += sbi(EID_IPI, 0, 1, none[i], 0).error != SBI_INVALID_PARAM && none[i] != ~0ull;
        bad += sbi(EID_RFENCE, 0, 1, none[i], 0).error != SBI_INVALID_PARAM && none[i] != ~0ull;
    }
    bad += sbi(EID_IPI, 0, 1ull << cpus, 0, 0).error != SBI_INVALID_PARAM;
    bad += sbi(EID_IPI, 0, 2, cpus - 1, 0).error != SBI_INVALID_PARAM;
    bad += sbi(EID_RFENCE, 1, 1ull << 63, 0, 0).error != SBI_INVALID_PARAM;
    CHECK("a_hart_that_is_not_there_is_an_invalid_parameter", bad == 0, "%u are not", bad);
    expect("HART_START_of_oneself", hart_start(0, entry, 0), SBI_ALREADY_AVAILABLE);
}

static void wrong_addresses(void) {
    const u64 nowhere[] = {ram_end, RAM - 4, 0, UART, PLIC, 1ull << 40, ~1ull, (u64)secondary_entry + 1};
    u64 bad = 0, first = 0;
    for (u32 i = 0; i < ARRAY_SIZE(nowhere); i++) {
        bool right = cpus < 2 || hart_start(1, nowhere[i], 0) == SBI_INVALID_ADDRESS;
        right &= sbi(EID_HSM, 3, NON_RETENTIVE, nowhere[i], 0).error == SBI_INVALID_ADDRESS;
        if (!right && bad++ == 0)
            first = nowhere[i];
    }
    CHECK("a_hart_does_not_begin_where_it_cannot", bad == 0, "%u times it may, first at %x", bad, first);
}

static void wrong_types(void) {
    static const u64 types[] = {1, 0x0fffffff, 0x7fffffff, 0x80000001, 0x8fffffff};
    u64 bad = 0;
    for (u32 i = 0; i < ARRAY_SIZE(types); i++)
        bad += sbi(EID_HSM, 3, types[i], (u64)secondary_entry, 0).error != SBI_INVALID_PARAM;
    CHECK("a_reserved_type_of_suspension_is_an_invalid_parameter", bad == 0, "%u are not", bad);
    expect("RESET_of_a_reserved_type", sbi(EID_SRST, 0, 3, 0, 0).error, SBI_INVALID_PARAM);
    expect("RESET_for_a_reserved_reason", sbi(EID_SRST, 0, 0, 2, 0).error, SBI_INVALID_PARAM);
    if (!sbi_has(EID_SUSP))
        return;
    expect("SYSTEM_SUSPEND_of_a_reserved_type", sbi(EID_SUSP, 0, 1, (u64)secondary_entry, 0).error, SBI_INVALID_PARAM);
    expect("SYSTEM_SUSPEND_to_nowhere", sbi(EID_SUSP, 0, 0, ram_end, 0).error, SBI_INVALID_ADDRESS);
}

static bool status_comes(u64 hart, s64 want) {
    u64 end = now() + ticks_of_ms(10000);
    while (hart_status(hart) != want)
        if (now() > end)
            return false;
    return true;
}

static void suspension_of_another(void) {
    expect("a_hart_that_was_never_started_is_stopped", hart_status(1), 1);
    slept = 0;
    (void)cpu_start(1, 1);
    (void)wait_for(&slept, 1, 10000);
    CHECK("a_hart_that_is_suspended_says_so", status_comes(1, 4), "%d", hart_status(1));
    expect("HART_START_of_a_suspended_hart", hart_start(1, (u64)secondary_entry, 0), SBI_ALREADY_AVAILABLE);
    if (sbi_has(EID_SUSP))
        expect("SYSTEM_SUSPEND_while_others_are_not_stopped", sbi(EID_SUSP, 0, 0, (u64)secondary_entry, 0).error,
               SBI_DENIED);
    send_ipi(2);
    CHECK("an_IPI_ends_a_suspension", wait_for(&slept, 2, 10000) && status_comes(1, 1), "%d", hart_status(1));
}

// On hart 0, after a suspension without retention: as if it had been started, but what woke it is still pending.
static void wake_up(u64 context) {
    bool right = cpu_began_right() && now() >= alarm;
    csr_set(sie, 1 << STI);
    CHECK("a_hart_wakes_from_a_suspension_that_forgets_as_if_it_were_started",
          right && cpu_index() == 0 && context == 0x51ee9 && sip_shows(1 << STI), "%u, hart %u, %x, sip %x", (u64)right,
          cpu_index(), context, csr_read(sip));
    set_timer(~0ull);
    no_traps();
    guest_end();
}

void guest_main(u64 dtb) {
    ram_end = RAM + ram_size(dtb);
    cpus = cpu_count();
    say("hsm: %u CPUs\n", cpus);
    wrong_harts();
    wrong_addresses();
    wrong_types();
    CHECK("none_of_this_started_anything", runs == 0 && trap.count == 0, "%u runs, %u traps", runs, trap.count);
    if (cpus > 1)
        suspension_of_another();
    irqs_init();
    csr_write(sie, 1 << STI);
    alarm = now() + ticks_of_ms(5);
    set_timer(alarm);
    s64 answer = sbi(EID_HSM, 3, NON_RETENTIVE, (u64)secondary_entry, 0x51ee9).error;
    fail("a_hart_wakes_from_a_suspension_that_forgets_as_if_it_were_started", "it came back with %d", answer);
}
