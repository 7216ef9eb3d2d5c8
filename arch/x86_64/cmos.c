// SPDX-License-Identifier: Apache-2.0
// The machine's MC146818 clock, looked at once at boot.
#include "wallclock.h"
#include "x86_64.h"

enum {
    CMOS_INDEX = 0x70,
    CMOS_DATA = 0x71,
    SECONDS = 0x00,
    MINUTES = 0x02,
    HOURS = 0x04,
    DAY = 0x07,
    MONTH = 0x08,
    YEAR = 0x09,
    REG_A = 0x0a,
    REG_B = 0x0b,
    CENTURY = 0x32, // where ACPI's FADT puts it by custom; what is wrong there does not matter
    A_UPDATING = 0x80,
    B_BINARY = 0x04,
    B_24_HOURS = 0x02,
    HOUR_PM = 0x80,
    LOOKS = 1 << 16, // an update takes 2 ms, a look 1 us or more
};

static u8 cell(u8 index) {
    port_out8(CMOS_INDEX, index);
    return port_in8(CMOS_DATA);
}

static u32 number(u8 v, u8 formats) {
    return formats & B_BINARY ? v : (v >> 4) * 10u + (v & 0xf);
}

static struct date date_read(u8 formats) {
    const u8 hour = cell(HOURS);
    struct date d = {
        .second = number(cell(SECONDS), formats),
        .minute = number(cell(MINUTES), formats),
        .hour = formats & B_24_HOURS ? number(hour, formats)
                                     : number(hour & (u8)~HOUR_PM, formats) % 12 + (hour & HOUR_PM ? 12 : 0),
        .day = number(cell(DAY), formats),
        .month = number(cell(MONTH), formats),
    };
    const u32 century = number(cell(CENTURY), formats);
    d.year = (century >= 20 && century < 25 ? century : 20) * 100 + number(cell(YEAR), formats);
    return d;
}

static bool is_date(const struct date *d) {
    return d->second < 60 && d->minute < 60 && d->hour < 24 && d->day - 1 < 31 && d->month - 1 < 12 && d->year < 2500;
}

// Two looks that agree, neither while the clock is being updated.
void cmos_take_time(void) {
    u64 last = 0;
    for (u32 i = 0; i < LOOKS; i++) {
        const u8 a = cell(REG_A), formats = cell(REG_B);
        if (a == 0xff) // there is none
            return;
        if (a & A_UPDATING)
            continue;
        const struct date d = date_read(formats);
        if (!is_date(&d))
            return;
        const u64 now = epoch_of(&d);
        if (now == last) {
            wallclock_set(now);
            return;
        }
        last = now;
    }
}
