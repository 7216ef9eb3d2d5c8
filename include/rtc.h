// SPDX-License-Identifier: Apache-2.0
// The machine's real-time clock, looked at once.
#pragma once

#include "board.h"

// Seconds since 1970 by the clock. Its registers are mapped. -ENODEV: there is none; -EINVAL: it has never been set.
// Context: boot.
[[nodiscard]] int rtc_read(const struct board_rtc *rtc, u64 *seconds);
