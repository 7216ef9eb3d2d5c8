// SPDX-License-Identifier: Apache-2.0
// The machine's MC146818 clock, looked at once at boot.
#include "mc146818.h"
#include "wallclock.h"
#include "x86_64.h"

enum {
    CMOS_INDEX = 0x70,
    CMOS_DATA = 0x71,
    LOOKS = 1 << 16, // an update takes 2 ms, a look 1 us or more
};

static u8 cell(u8 index) {
    port_out8(CMOS_INDEX, index);
    return port_in8(CMOS_DATA);
}

static struct date date_read(u8 formats) {
    // Where ACPI's FADT puts the century by custom; what is wrong there does not matter.
    const u32 century = mc146818_number(cell(CENTURY), formats);
    return (struct date){
        .second = mc146818_number(cell(SECONDS), formats),
        .minute = mc146818_number(cell(MINUTES), formats),
        .hour = mc146818_hour(cell(HOURS), formats),
        .day = mc146818_number(cell(DAY), formats),
        .month = mc146818_number(cell(MONTH), formats),
        .year = (century >= 20 && century < 25 ? century : 20) * 100 + mc146818_number(cell(YEAR), formats),
    };
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
