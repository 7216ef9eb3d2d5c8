// SPDX-License-Identifier: Apache-2.0
// The hypervisor's log: lines on the console and in a ring that the shell's `log` prints. The ring is the only store:
// the console reads its lines from there.
#pragma once

#include "types.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

enum { LOG_LINE_MAX = 240, LOG_LINES = 256 }; // bytes of a line without the terminator; lines kept

struct log_line {
    u64 time_ns; // arch_now_ns() when it was printed
    enum log_level level;
    u32 length; // without the terminator
    char text[LOG_LINE_MAX + 1];
};

// Context: any, but with no lock of rank LOCK_WAITQ or later held, since it may wake the console's task (LOCK_WAITQ). A
// line longer than LOG_LINE_MAX is cut. No trailing newline needed; control characters become blanks.
[[gnu::format(printf, 2, 3)]] void log_print(enum log_level level, const char *fmt, ...);

#define log_error(...) log_print(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_print(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_print(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_print(LOG_DEBUG, __VA_ARGS__)

// Lines above the level are neither shown nor kept. Any.
void log_set_level(enum log_level level);
enum log_level log_level_get(void);
const char *log_level_name(enum log_level level);              // "error", "warn", "info", "debug"
bool log_level_parse(const char *word, enum log_level *level); // false: not one of these

// Lines are numbered from 0. The number that the next line will get. Any.
u64 log_next(void);
// Copies line *number or, if that one is gone, the oldest that is kept, and sets *number to the line's own. False:
// there is none yet. Any (LOCK_LOG).
bool log_read(u64 *number, struct log_line *out);
// For a panic: the same without the lock, which the one who panics may hold.
bool log_read_unlocked(u64 *number, struct log_line *out);
