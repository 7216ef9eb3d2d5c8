// SPDX-License-Identifier: Apache-2.0
#include "log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "arch.h"
#include "console.h"
#include "lock.h"

static struct spinlock ring_lock =
    SPINLOCK_INIT(LOCK_LOG); // apart: the ring is large, and as all zeroes not in the image
static struct {
    u64 next; // lines[n % LOG_LINES] holds line n, for the last LOG_LINES of them
    struct log_line lines[LOG_LINES];
} ring;

static _Atomic enum log_level threshold = LOG_INFO;

static const char *const level_names[] = {"error", "warn", "info", "debug"};

void log_set_level(enum log_level level) {
    atomic_store_explicit(&threshold, level, memory_order_relaxed);
}

enum log_level log_level_get(void) {
    return atomic_load_explicit(&threshold, memory_order_relaxed);
}

const char *log_level_name(enum log_level level) {
    return (u32)level < ARRAY_SIZE(level_names) ? level_names[level] : "?";
}

bool log_level_parse(const char *word, enum log_level *level) {
    for (u32 i = 0; i < ARRAY_SIZE(level_names); i++) {
        if (strcmp(word, level_names[i]) == 0) {
            *level = (enum log_level)i;
            return true;
        }
    }
    return false;
}

// Text may carry bytes that a guest or a file chose: none of them may reach the terminal as a control.
static u32 clean(char *text, u32 length) {
    while (length > 0 && (text[length - 1] == '\n' || text[length - 1] == '\r'))
        length--;
    for (u32 i = 0; i < length; i++)
        if ((unsigned char)text[i] < ' ' || text[i] == 0x7f)
            text[i] = ' ';
    text[length] = '\0';
    return length;
}

void log_print(enum log_level level, const char *fmt, ...) {
    if (level > log_level_get())
        return;
    char text[LOG_LINE_MAX + 1];
    va_list args;
    va_start(args, fmt);
    int wanted = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (wanted < 0)
        return;
    u32 length = clean(text, MIN((u32)wanted, (u32)LOG_LINE_MAX));
    u64 now = arch_now_ns();

    spin_lock(&ring_lock);
    struct log_line *line = &ring.lines[ring.next % LOG_LINES];
    line->time_ns = now;
    line->level = level;
    line->length = length;
    memcpy(line->text, text, length + 1);
    ring.next++;
    // Before the console's task runs, the lock keeps the lines of several CPUs apart on the wire.
    console_log_polled(line);
    spin_unlock(&ring_lock);
    console_log_ready();
}

u64 log_next(void) {
    spin_lock(&ring_lock);
    u64 next = ring.next;
    spin_unlock(&ring_lock);
    return next;
}

bool log_read_unlocked(u64 *number, struct log_line *out) {
    u64 next = ring.next;
    u64 oldest = next > LOG_LINES ? next - LOG_LINES : 0;
    if (*number < oldest)
        *number = oldest;
    if (*number >= next)
        return false;
    *out = ring.lines[*number % LOG_LINES];
    return true;
}

bool log_read(u64 *number, struct log_line *out) {
    spin_lock(&ring_lock);
    bool found = log_read_unlocked(number, out);
    spin_unlock(&ring_lock);
    return found;
}
