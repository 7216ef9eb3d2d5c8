// SPDX-License-Identifier: Apache-2.0
// KVM's clock: what its page says agrees with the TSC and the CMOS clock, on every CPU, whatever is done to a TSC; and
// wrong addresses are refused.
#include "guest.h"

enum : u32 { WALL_CLOCK = 0x4b564d00, SYSTEM_TIME = 0x4b564d01, KVM_FEATURES = 0x40000101 };
enum { CLOCK2 = 1 << 3, STABLE = 1 << 24, CMOS_INDEX = 0x70, CMOS_DATA = 0x71 };

static volatile struct page {
    u32 version, reserved;
    u64 tsc, ns;
    u32 mult;
    char shift;
    u8 flags, reserved2[2];
} pages[CPUS_MAX] __attribute__((aligned(64)));
static volatile struct {
    u32 version, seconds, ns;
} wall __attribute__((aligned(16)));

static volatile u64 asked, answered, answer;

static u64 page_ns(const volatile struct page *p) {
    u64 ticks = rdtsc() - p->tsc;
    ticks = p->shift < 0 ? ticks >> -p->shift : ticks << p->shift;
    return p->ns + (u64)((unsigned __int128)ticks * p->mult >> 32);
}

static void page_use(u64 cpu) {
    wrmsr(SYSTEM_TIME, (u64)&pages[cpu] | 1);
}

// Tells the time when it is asked.
void secondary_main(u64 context) {
    (void)context;
    u64 cpu = cpu_index();
    page_use(cpu);
    for (u64 last = 0;;)
        if (asked != last) {
            last = asked;
            answer = page_ns(&pages[cpu]);
            __atomic_store_n(&answered, last, __ATOMIC_RELEASE);
        }
}

static u64 cmos(u8 cell) {
    out8(CMOS_INDEX, cell);
    u8 v = in8(CMOS_DATA);
    return (v >> 4) * 10u + (v & 15);
}

static u64 cmos_of_day(void) {
    u64 last, now = ~0ull;
    do {
        last = now;
        now = cmos(4) * 3600 + cmos(2) * 60 + cmos(0);
    } while (now != last);
    return now;
}

static void page(void) {
    u64 hz = tsc_hz();
    page_use(0);
    CHECK("the_page_is_written", pages[0].version && !(pages[0].version & 1) && (pages[0].flags & 1), "version %u",
          pages[0].version);
    CHECK("the_register_reads_as_written", rdmsr(SYSTEM_TIME) == ((u64)&pages[0] | 1), "%x", rdmsr(SYSTEM_TIME));
    u64 tsc = rdtsc(), ns = page_ns(&pages[0]);
    while (rdtsc() - tsc < hz / 10)
        ;
    u64 tenth = page_ns(&pages[0]) - ns; // whoever is kept from running between two looks counts more, never less
    CHECK("a_tenth_of_a_second_is_one", tenth >= 99900000 && tenth < 1000000000, "%u ns", tenth);

    u64 before = page_ns(&pages[0]);
    wrmsr(MSR_TSC, 12345);
    u64 after = page_ns(&pages[0]);
    CHECK("it_goes_on_when_the_TSC_is_set", after >= before && after - before < 1000000000, "%u then %u", before,
          after);
}

static void wall_clock(void) {
    wrmsr(WALL_CLOCK, (u64)&wall);
    u64 of_day = (wall.seconds + (wall.ns + page_ns(&pages[0])) / 1000000000) % 86400, by_cmos = cmos_of_day();
    u64 apart = (by_cmos + 86400 - of_day) % 86400;
    CHECK("the_time_of_day_is_the_CMOS_clocks", !(wall.version & 1) && (apart <= 2 || apart >= 86398), "%u and %u",
          of_day, by_cmos);
}

static void refused(void) {
    static const u64 wrong[] = {3, 1ull << 45 | 1, ~0ull, 0xfee00001, 0x7fffffff0000001};
    u64 taken = 0;
    for (u32 i = 0; i < ARRAY_SIZE(wrong); i++)
        taken += wrmsr_safe(SYSTEM_TIME, wrong[i]) + wrmsr_safe(WALL_CLOCK, wrong[i] - 1);
    CHECK("wrong_addresses_are_refused", taken == 0, "%u taken", taken);
    u32 version = pages[0].version;
    wrmsr(SYSTEM_TIME, (u64)&pages[0]);
    wrmsr(MSR_TSC, 99);
    CHECK("a_clock_that_is_off_writes_nothing", pages[0].version == version, "%u", pages[0].version);
    page_use(0);
}

// What two CPUs say one after the other never goes back.
static void together(u64 cpus) {
    u64 back = 0;
    if (cpus < 2)
        return;
    (void)cpu_start(1, 0);
    for (u64 i = 1; i <= 200; i++) {
        u64 before = page_ns(&pages[0]);
        asked = i;
        if (!wait_for(&answered, i, 5000)) {
            fail("the_other_CPU_tells_the_time", "it does not");
            return;
        }
        back += answer < before || page_ns(&pages[0]) < answer;
    }
    CHECK("no_CPU_is_behind_another", back == 0, "%u times", back);
}

void guest_main(u64 zero_page) {
    (void)zero_page;
    u32 features = cpuid(KVM_FEATURES, 0).a;
    CHECK("the_clock_is_announced", (features & (CLOCK2 | STABLE)) == (CLOCK2 | STABLE), "%x", features);
    page();
    wall_clock();
    refused();
    together(cpu_count());
}
