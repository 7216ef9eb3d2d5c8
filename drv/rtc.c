// SPDX-License-Identifier: Apache-2.0
#include "rtc.h"

#include "mmio.h"

enum { PL031_DR = 0x00 };                                     // Arm DDI 0224, §3.3.1: seconds
enum { GOLDFISH_TIME_LOW = 0x00, GOLDFISH_TIME_HIGH = 0x04 }; // ns; a read of the low half holds the high one
static constexpr u64 NS = 1000ull * 1000 * 1000;

int rtc_read(const struct board_rtc *rtc, u64 *seconds) {
    switch (rtc->kind) {
    case RTC_PL031:
        *seconds = mmio_read32(rtc->regs.base + PL031_DR);
        break;
    case RTC_GOLDFISH: {
        const u64 low = mmio_read32(rtc->regs.base + GOLDFISH_TIME_LOW);
        *seconds = ((u64)mmio_read32(rtc->regs.base + GOLDFISH_TIME_HIGH) << 32 | low) / NS;
        break;
    }
    default:
        return -ENODEV;
    }
    return *seconds ? 0 : -EINVAL;
}
