// SPDX-License-Identifier: Apache-2.0
// Registers of the Motorola MC146818 clock (its data sheet; the century is a PC's custom), the machine's and a guest's:
// arch/x86_64/cmos.c reads the one, vdev/vcmos.c is the other.
#pragma once

#include "types.h"

enum { // cells
    SECONDS = 0,
    SECONDS_ALARM,
    MINUTES,
    MINUTES_ALARM,
    HOURS,
    HOURS_ALARM,
    WEEKDAY,
    DAY,
    MONTH,
    YEAR,
    REG_A,
    REG_B,
    REG_C,
    REG_D,
    CENTURY = 0x32,
};

enum : u8 {
    A_UPDATING = 0x80,
    A_RATE = 0x0f,
    A_RESET = 0x26, // 32.768 kHz, 1.024 kHz
    B_SET = 0x80,
    B_PERIODIC = 0x40,
    B_ALARM = 0x20,
    B_UPDATE = 0x10, // flags of register C are where their enables are
    B_BINARY = 0x04,
    B_24_HOURS = 0x02,
    C_REQUEST = 0x80,
    D_VALID = 0x80,
    HOUR_PM = 0x80,
    ALARM_ANY = 0xc0,
};

// A cell's number, and an hour of 0 to 23, in the format that register B says.
static inline u32 mc146818_number(u8 cell, u8 reg_b) {
    return reg_b & B_BINARY ? cell : (cell >> 4) * 10u + (cell & 0xf);
}
static inline u32 mc146818_hour(u8 cell, u8 reg_b) {
    if (reg_b & B_24_HOURS)
        return mc146818_number(cell, reg_b);
    return mc146818_number(cell & (u8)~HOUR_PM, reg_b) % 12 + (cell & HOUR_PM ? 12 : 0);
}
