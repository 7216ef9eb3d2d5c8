// SPDX-License-Identifier: Apache-2.0
#include "wallclock.h"

#include <stdatomic.h>

#include "arch.h"

static constexpr u64 NS = 1000ull * 1000 * 1000;
static constexpr u64 EPOCH_DEFAULT = 1767225600; // 2026-01-01 00:00:00

static _Atomic u64 boot_seconds = EPOCH_DEFAULT; // when arch_now_ns() was 0; written at boot, before there are VMs

u64 wallclock_seconds(void) {
    return atomic_load_explicit(&boot_seconds, memory_order_relaxed) + arch_now_ns() / NS;
}

void wallclock_set(u64 seconds) {
    atomic_store_explicit(&boot_seconds, seconds - arch_now_ns() / NS, memory_order_relaxed);
}

// Days since 1970 to a date, by eras of 400 years that begin in March.
struct date date_of(u64 epoch) {
    const u64 days = epoch / 86400 + 719468, rest = epoch % 86400;
    const u64 era = days / 146097, of_era = days % 146097;
    const u64 year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    const u64 of_year = of_era - (365 * year + year / 4 - year / 100), m = (5 * of_year + 2) / 153;
    return (struct date){
        .second = (u32)(rest % 60),
        .minute = (u32)(rest / 60 % 60),
        .hour = (u32)(rest / 3600),
        .weekday = (u32)((epoch / 86400 + 4) % 7 + 1),
        .day = (u32)(of_year - (153 * m + 2) / 5 + 1),
        .month = (u32)(m < 10 ? m + 3 : m - 9),
        .year = (u32)(year + era * 400 + (m < 10 ? 0 : 1)),
    };
}

u64 epoch_of(const struct date *d) {
    const u64 month = MIN(MAX(d->month, 1), 12), day = MIN(MAX(d->day, 1), 31);
    const u64 year = d->year - (month <= 2), era = year / 400, of_era = year % 400;
    const u64 of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    const u64 days = era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
    return days * 86400 + d->hour % 24 * 3600ull + d->minute % 60 * 60ull + d->second % 60;
}
