// SPDX-License-Identifier: Apache-2.0
// Wall-clock time, UTC: what the machine's own clock said at boot, and the time since. Context of all: any.
#pragma once

#include "types.h"

// Seconds since 1970. Until somebody has told us, boot was at 2026-01-01 00:00:00.
u64 wallclock_seconds(void);
// It is `seconds` since 1970 now.
void wallclock_set(u64 seconds);

// The proleptic Gregorian calendar.
struct date {
    u32 second, minute, hour, weekday, day, month, year; // weekday 1: Sunday; day and month from 1
};
struct date date_of(u64 epoch);
// Of a date from 1970 on; the weekday is not looked at. A day or month of 0 counts as 1, one that is too high as the
// last; a second, minute or hour as the rest.
u64 epoch_of(const struct date *d);
