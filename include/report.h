// SPDX-License-Identifier: Apache-2.0
// When the hypervisor itself is broken: a report that can be read, then stop. tools/symbolize turns its addresses into
// names. An architecture's own part is what its registers say (hyp_fault_report), panic_at(), and the two functions
// at the end. Context of all: any; locks may be held, by somebody who will never run again too.
#pragma once

#include <stdarg.h>

#include "types.h"

struct cpu;

// One report at a time, and a fault within it does not recurse: whoever comes second halts. Stops the other CPUs and
// writes out what the console has queued. What follows is written polled.
void report_begin(void);
// A report has begun: a CPU that is not the reporter's is to halt.
bool report_in_progress(void);
// A line, without its end.
[[gnu::format(printf, 1, 2)]] void report_print(const char *fmt, ...);
// Which CPU, and which task.
void report_where(void);
// Where the frames lead to from this frame pointer. Each is checked before it is read: the stack may be what is broken.
void report_backtrace(u64 frame_pointer);
// An address for people: its offset, to be written behind "image+", or itself behind "" if it is not in our code.
struct report_address {
    const char *base;
    unsigned long offset;
};
struct report_address report_address(u64 address);
// What panic_at() does before it halts, once it knows its own frame.
void report_panic(const char *file, int line, const char *fmt, va_list args, u64 frame_pointer);
// The machine will not do, which is nobody's bug: says why, and halts. Boot.
[[noreturn]] void report_and_halt(const char *why);

// ── The architecture's ──────────────────────────────────────────────────────────────────────────────────────────────
struct report_machine {
    u64 text_start, text_end; // our code
    u64 frame_align;          // of a frame pointer
    s64 frame_record;         // where {previous frame pointer, return address} lies, from the frame pointer
    struct cpu *cpu;          // the calling one; NULL: not known now
};
struct report_machine arch_report_machine(void);
// Makes every other CPU that runs halt soon, whatever it does.
void arch_report_stop_others(void);
// That, where a kicked CPU asks report_in_progress().
void report_kick_others(void);
