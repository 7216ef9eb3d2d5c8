// SPDX-License-Identifier: Apache-2.0
// The hypervisor's log: lines on the console and in a ring that the shell's `log` prints.
#pragma once

#include "types.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

// Context: any (takes the log lock, the innermost). A line longer than 240 bytes is cut. No trailing newline needed.
[[gnu::format(printf, 2, 3)]] void log_print(enum log_level level, const char *fmt, ...);

#define log_error(...) log_print(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_print(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_print(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_print(LOG_DEBUG, __VA_ARGS__)

void log_set_level(enum log_level level);
enum log_level log_level_get(void);
