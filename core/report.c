// SPDX-License-Identifier: Apache-2.0
#include "report.h"

#include <stdatomic.h>
#include <stdio.h>

#include "arch.h"
#include "console.h"
#include "cpu.h"
#include "hostmap.h"

enum { FRAMES_MAX = 32 };

static _Atomic bool reporting;

static void put(const char *s) {
    for (; *s; s++)
        arch_early_putc(*s);
}

void report_print(const char *fmt, ...) {
    char line[200];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof(line), fmt, args);
    va_end(args);
    put(line);
    put("\r\n");
}

static bool in_text(const struct report_machine *m, u64 address) {
    return address >= m->text_start && address < m->text_end;
}

struct report_address report_address(u64 address) {
    const struct report_machine m = arch_report_machine();
    if (!in_text(&m, address))
        return (struct report_address){"", (unsigned long)address};
    return (struct report_address){"image+", (unsigned long)(address - m.text_start)};
}

void report_backtrace(u64 frame_pointer) {
    const struct report_machine m = arch_report_machine();
    report_print("backtrace (offsets in the image; tools/symbolize names them):");
    u64 fp = frame_pointer;
    for (u32 i = 0; i < FRAMES_MAX && fp && fp % m.frame_align == 0; i++) {
        const u64 at = fp + (u64)m.frame_record;
        struct pt_mapping mapping;
        if (host_pt.root.v && pgtable_lookup(&host_pt, at, &mapping) != 0)
            break;
        const u64 *record = (const u64 *)at;
        if (!in_text(&m, record[1]))
            break;
        report_print("  #%u image+%#lx", i, (unsigned long)(record[1] - m.text_start));
        if (record[0] <= fp)
            break;
        fp = record[0];
    }
}

void report_where(void) {
    const struct cpu *cpu = arch_report_machine().cpu;
    if (!cpu)
        return;
    const struct task *t = atomic_load_explicit(&cpu->current, memory_order_relaxed);
    report_print("CPU %u, task %s", cpu->id, t ? t->name : "(none)");
}

bool report_in_progress(void) {
    return atomic_load_explicit(&reporting, memory_order_relaxed);
}

void report_kick_others(void) {
    const struct cpu *self = host_pt.root.v ? arch_report_machine().cpu : NULL;
    for (u32 i = 0; self && i < cpu_count; i++)
        if (&cpus[i] != self && atomic_load_explicit(&cpus[i].online, memory_order_relaxed))
            arch_cpu_kick(&cpus[i]);
}

// The others' guests must not go on without anybody to serve them.
void report_begin(void) {
    if (atomic_exchange_explicit(&reporting, true, memory_order_seq_cst))
        arch_halt();
    arch_report_stop_others();
    console_flush();
}

void report_panic(const char *file, int line, const char *fmt, va_list args, u64 frame_pointer) {
    report_begin();
    char text[160];
    vsnprintf(text, sizeof(text), fmt, args);
    report_print("\r\nbulkhead: PANIC at %s:%d: %s", file, line, text);
    report_where();
    report_backtrace(frame_pointer);
}

void report_and_halt(const char *why) {
    put("\r\nbulkhead: "); // the firmware may have left its own line open
    put(why);
    put("\r\n");
    arch_halt();
}
