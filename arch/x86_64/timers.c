// SPDX-License-Identifier: Apache-2.0
// Time: the TSC is the clock, and the local APIC's timer the alarm. How fast they run is told by CPUID where it can,
// and measured against a clock of known speed where it cannot.
#include "report.h"
#include "log.h"
#include "x86_64.h"

enum {
    PM_TIMER_HZ = 3579545,
    PIT_HZ = 1193182,
    PIT_CHANNEL2 = 0x42,
    PIT_COMMAND = 0x43,
    PIT_LATCH2 = 0x80,
    PIT_MODE0_CHANNEL2 = 0xb0,
    PIT_GATE = 0x61, // bit 0: channel 2 counts; bit 1: loudspeaker
    HPET_CAPABILITIES = 0x0,
    HPET_CONFIG = 0x10,
    HPET_ENABLE = 1 << 0,
    HPET_COUNTER = 0xf0,
    LVT_MASKED = 1 << 16,
    LVT_TSC_DEADLINE = 2 << 17,
    DIVIDE_BY_1 = 0xb,
};
static const u64 FS_PER_S = 1000000000000000ull, NS_PER_S = 1000000000ull;

// a * b / c; all ones if that does not fit.
static u64 mul_div(u64 a, u64 b, u64 c) {
    u64 low, high, quotient, rest;
    __asm__("mulq %3" : "=a"(low), "=d"(high) : "a"(a), "r"(b) : "cc");
    if (high >= c)
        return ~0ull;
    __asm__("divq %4" : "=a"(quotient), "=d"(rest) : "a"(low), "d"(high), "r"(c) : "cc");
    return quotient;
}

static u64 tsc_start; // the TSC when arch_now_ns() was 0
static u64 ns_mult;   // ns = ticks * ns_mult >> 32

// ── Measuring ───────────────────────────────────────────────────────────────────────────────────────────────────────
// A counter that we read through ports or memory: each look at it lies between two looks at the TSC, which bounds the
// error, however long it took.
struct reference {
    u64 (*read)(void);
    u64 mask; // of the counter's bits
    u64 hz;   // 0: not known, it is what is measured
};
struct look {
    u64 before, after, count;
};

static struct look look(const struct reference *r) {
    struct look l = {.before = rdtsc_ordered()};
    l.count = r->read();
    l.after = rdtsc_ordered();
    return l;
}

static struct look quick_look(const struct reference *r) {
    struct look best = look(r);
    for (u32 i = 0; i < 4; i++) {
        struct look l = look(r);
        if (l.after - l.before < best.after - best.before)
            best = l;
    }
    return best;
}

// How many ticks of the TSC pass during how many of the reference: long enough for 20 parts in a million, or the best
// of `limit` ticks of the reference. -EAGAIN: the reference went back, or by so much of its range that it cannot be
// told from that, because who lends us the CPU took it away; -ENODEV: it stands still.
static int measure(const struct reference *r, u64 limit, u64 *tsc_ticks, u64 *ticks) {
    struct look first = quick_look(r);
    u64 best_error = ~0ull, counted = 0, last = first.count;
    *ticks = 0;
    for (u32 i = 0; i < 1u << 24 && counted < limit; i++) {
        struct look l = look(r);
        u64 step = (l.count - last) & r->mask; // may wrap
        if (step > r->mask / 2)
            return -EAGAIN;
        counted += step;
        last = l.count;
        u64 tsc = (l.before + l.after) / 2 - (first.before + first.after) / 2;
        u64 error = (l.after - l.before + first.after - first.before) / 2;
        if (counted == 0 || tsc == 0)
            continue;
        error += tsc / counted; // the reference's own step
        u64 millionths = mul_div(error, 1000000, tsc);
        if (millionths < best_error) {
            best_error = millionths;
            *tsc_ticks = tsc;
            *ticks = counted;
        }
        if (millionths <= 20)
            break;
    }
    if (*ticks)
        return 0;
    return counted ? -EAGAIN : -ENODEV;
}

// The same until two in turn agree to a part in 500: whoever is kept from looking for longer than the reference's range
// counts too little, though not twice by as much. The ratio is of `per` ticks of the reference; 0: it stands still, or
// never agrees with itself.
static u64 measure_ratio(const struct reference *r, u64 limit, u64 per) {
    u64 previous = 0, tsc_ticks, ticks;
    for (u32 i = 0; i < 16; i++) {
        int err = measure(r, limit, &tsc_ticks, &ticks);
        if (err == -ENODEV)
            return 0;
        if (err)
            continue;
        u64 ratio = mul_div(tsc_ticks, per, ticks);
        u64 apart = ratio > previous ? ratio - previous : previous - ratio;
        if (ratio != ~0ull && apart <= ratio / 500)
            return ratio;
        previous = ratio;
    }
    return 0;
}

// ── Clocks of known speed ───────────────────────────────────────────────────────────────────────────────────────────
static u64 hpet_read(void) {
    return mmio_read32(features.acpi.hpet + HPET_COUNTER);
}

static u64 pm_timer_read(void) {
    const struct acpi_register *r = &features.acpi.pm_timer;
    return r->space == ACPI_PORT ? port_in32((u16)r->address) : mmio_read32(r->address);
}

static u64 pit_read(void) {
    port_out8(PIT_COMMAND, PIT_LATCH2);
    u32 low = port_in8(PIT_CHANNEL2);
    return 0xffffu - (low | (u32)port_in8(PIT_CHANNEL2) << 8); // it counts down
}

static bool hpet_start(struct reference *r) {
    if (!features.acpi.hpet || features.acpi.hpet >= GIB(4)) // boot's mapping
        return false;
    u64 period_fs = mmio_read64(features.acpi.hpet + HPET_CAPABILITIES) >> 32;
    if (period_fs == 0 || period_fs > 100000000) // IA-PC HPET 1.0a §2.3.4
        return false;
    mmio_write32(features.acpi.hpet + HPET_CONFIG, mmio_read32(features.acpi.hpet + HPET_CONFIG) | HPET_ENABLE);
    *r = (struct reference){hpet_read, UINT32_MAX, FS_PER_S / period_fs};
    return true;
}

static bool pm_timer_start(struct reference *r) {
    const struct acpi_register *reg = &features.acpi.pm_timer;
    if (reg->space == ACPI_NONE || (reg->space == ACPI_MEMORY && reg->address >= GIB(4))) // boot's mapping
        return false;
    *r = (struct reference){pm_timer_read, features.acpi.pm_timer_32 ? UINT32_MAX : BITS(23, 0), PM_TIMER_HZ};
    return true;
}

static bool pit_start(struct reference *r) {
    port_out8(PIT_GATE, (u8)((port_in8(PIT_GATE) & ~2u) | 1));
    port_out8(PIT_COMMAND, PIT_MODE0_CHANNEL2);
    port_out8(PIT_CHANNEL2, 0xff);
    port_out8(PIT_CHANNEL2, 0xff);
    *r = (struct reference){pit_read, 0xffff, PIT_HZ};
    return true;
}

// ── How fast the TSC is ─────────────────────────────────────────────────────────────────────────────────────────────
static u64 tsc_hz_by_cpuid(const char **how) {
    struct cpuid c = cpuid_or_zero(CPUID_TSC, 0);
    *how = "CPUID";
    if (c.eax && c.ebx && c.ecx)
        return (u64)c.ecx * c.ebx / c.eax;
    if (!features.under_hypervisor || cpuid(CPUID_HYPERVISOR, 0).eax < CPUID_HYPERVISOR_TIMING)
        return 0;
    return (u64)cpuid(CPUID_HYPERVISOR_TIMING, 0).eax * 1000;
}

static const u64 TSC_HZ_MIN = 1000000;

static u64 tsc_hz_by_clock(const char **how) {
    static const struct {
        const char *name;
        bool (*start)(struct reference *);
    } clocks[] = {{"HPET", hpet_start}, {"ACPI timer", pm_timer_start}, {"PIT", pit_start}};
    for (u32 i = 0; i < ARRAY_SIZE(clocks); i++) {
        struct reference r;
        u64 hz = clocks[i].start(&r) ? measure_ratio(&r, r.hz / 20, r.hz) : 0;
        *how = clocks[i].name;
        if (hz >= TSC_HZ_MIN)
            return hz;
    }
    return 0;
}

void clock_init(void) {
    const char *how;
    features.tsc_hz = tsc_hz_by_cpuid(&how);
    if (!features.tsc_hz)
        features.tsc_hz = tsc_hz_by_clock(&how);
    if (features.tsc_hz < TSC_HZ_MIN)
        report_and_halt("neither CPUID nor HPET, ACPI timer or PIT tell how fast this CPU's time stamp counter runs");
    ns_mult = mul_div(NS_PER_S, 1ull << 32, features.tsc_hz);
    tsc_start = rdtsc_ordered();
    features.tsc_source = how;
}

u64 arch_ticks_to_ns(u64 ticks) {
    u64 low, high;
    __asm__("mulq %3" : "=a"(low), "=d"(high) : "a"(ticks), "r"(ns_mult) : "cc");
    return high << 32 | low >> 32;
}

u64 arch_now_ns(void) {
    return ns_mult ? arch_ticks_to_ns(rdtsc() - tsc_start) : 0;
}

// ── The alarm ───────────────────────────────────────────────────────────────────────────────────────────────────────
static u64 lapic_count(void) {
    return UINT32_MAX - lapic_read(LAPIC_TIMER_CURRENT); // it counts down
}

static void lapic_timer_measure(void) {
    static const struct reference r = {lapic_count, UINT32_MAX, 0};
    const u64 per = BIT(32);
    lapic_write(LAPIC_TIMER_INITIAL, UINT32_MAX);
    // At 5 MHz the longest of the measurements takes 20 ms.
    u64 tsc_ticks = measure_ratio(&r, 100000, per);
    if (!tsc_ticks)
        report_and_halt("this CPU's local APIC has no timer that runs");
    lapic_write(LAPIC_TIMER_INITIAL, 0);
    features.lapic_hz = mul_div(per, features.tsc_hz, tsc_ticks);
}

void timers_cpu_init(struct cpu *cpu) {
    cpu->arch.alarm_tsc = ~0ull;
    if (features.tsc_deadline) {
        lapic_write(LAPIC_LVT_TIMER, LVT_TSC_DEADLINE | VECTOR_TIMER);
        __asm__ volatile("mfence" ::: "memory"); // the mode before the first deadline (Intel SDM vol. 3 §11.5.4.1)
        msr_write(MSR_TSC_DEADLINE, 0);
        return;
    }
    lapic_write(LAPIC_TIMER_DIVIDE, DIVIDE_BY_1);
    lapic_write(LAPIC_LVT_TIMER, LVT_MASKED | VECTOR_TIMER);
    if (!features.lapic_hz)
        lapic_timer_measure();
    lapic_write(LAPIC_TIMER_INITIAL, 0);
    lapic_write(LAPIC_LVT_TIMER, VECTOR_TIMER);
}

// Sets the hardware to cpu->arch.alarm_tsc, or as far ahead as it can: timers_irq sees to the rest.
static void alarm_set(const struct cpu *cpu) {
    u64 at = cpu->arch.alarm_tsc;
    if (features.tsc_deadline) {
        msr_write(MSR_TSC_DEADLINE, at == ~0ull ? 0 : at); // a past one fires at once
        return;
    }
    u64 now = rdtsc(), count = 0;
    if (at != ~0ull)
        count = at > now ? MIN(mul_div(at - now, features.lapic_hz, features.tsc_hz), UINT32_MAX - 1ull) + 1 : 1;
    lapic_write(LAPIC_TIMER_INITIAL, (u32)count);
}

void arch_timer_arm(u64 deadline_ns) {
    struct cpu *cpu = cpu_self();
    u64 ticks = deadline_ns == TIMER_NEVER ? ~0ull : mul_div(deadline_ns, features.tsc_hz, NS_PER_S);
    u64 at = ticks >> 62 ? ~0ull : tsc_start + ticks + 1; // centuries ahead is never
    cpu->arch.alarm_tsc = at;
    alarm_set(cpu);
}

void timers_irq(void) {
    struct cpu *cpu = cpu_self();
    if (rdtsc() < cpu->arch.alarm_tsc) { // the APIC's 32 bits ended before the deadline, or it has been moved meanwhile
        alarm_set(cpu);
        return;
    }
    timer_expire();
}
