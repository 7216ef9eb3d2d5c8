// SPDX-License-Identifier: Apache-2.0
// When the hypervisor itself is broken: a report that can be read, then stop. tools/symbolize turns its addresses into
// names.
#include <stdarg.h>
#include <stdio.h>

#include "console.h"
#include "hostmap.h"
#include "riscv64.h"
#include "task.h"

static void put(const char *s) {
    for (; *s; s++)
        arch_early_putc(*s);
}

[[gnu::format(printf, 1, 2)]] static void print(const char *fmt, ...) {
    char line[200];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    put(line);
    put("\r\n");
}

static bool in_text(u64 a) {
    return a >= (u64)__image_start && a < (u64)__text_end;
}

// Frames: {previous frame, return address} below the address in s0. Each is checked before it is read: the stack may be
// what is broken.
static void print_backtrace(u64 fp) {
    print("backtrace (offsets in the image; tools/symbolize names them):");
    for (u32 i = 0; i < 32 && fp && (fp & 7) == 0; i++) {
        struct pt_mapping m;
        if (host_pt.root.v && pgtable_lookup(&host_pt, fp - 16, &m) != 0)
            break;
        const u64 *frame = (const u64 *)(fp - 16);
        if (!in_text(frame[1]))
            break;
        print("  #%u image+%#lx", i, (unsigned long)(frame[1] - (u64)__image_start));
        if (frame[0] <= fp)
            break;
        fp = frame[0];
    }
}

static void where(void) {
    struct cpu *cpu = cpu_self();
    if (!cpu)
        return;
    struct task *t = atomic_load_explicit(&cpu->current, memory_order_relaxed);
    print("CPU %u, task %s", cpu->id, t ? t->name : "(none)");
}

static _Atomic bool reporting;

bool report_in_progress(void) {
    return atomic_load_explicit(&reporting, memory_order_relaxed);
}

// One report is enough, and a fault within it must not recurse. The other CPUs stop where they next look: their guests
// must not go on without anybody to serve them.
static void report_begin(void) {
    if (atomic_exchange_explicit(&reporting, true, memory_order_seq_cst))
        arch_halt();
    struct cpu *self = host_pt.root.v ? cpu_self() : nullptr;
    for (u32 i = 0; self && i < cpu_count; i++)
        if (&cpus[i] != self && atomic_load_explicit(&cpus[i].online, memory_order_relaxed))
            arch_cpu_kick(&cpus[i]);
}

void panic_at(const char *file, int line, const char *fmt, ...) {
    report_begin();
    char text[160];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    console_flush();
    print("\r\nbulkhead: PANIC at %s:%d: %s", file, line, text);
    where();
    print_backtrace((u64)__builtin_frame_address(0));
    arch_halt();
}

static const char *cause_name(u64 scause) {
    switch (scause) {
    case CAUSE_FETCH_ACCESS:
        return "instruction access fault";
    case CAUSE_ILLEGAL:
        return "illegal instruction";
    case CAUSE_BREAKPOINT:
        return "breakpoint";
    case CAUSE_LOAD_MISALIGNED:
        return "misaligned load";
    case CAUSE_LOAD_ACCESS:
        return "load access fault";
    case CAUSE_STORE_MISALIGNED:
        return "misaligned store";
    case CAUSE_STORE_ACCESS:
        return "store access fault";
    case CAUSE_FETCH_PAGE:
        return "instruction page fault";
    case CAUSE_LOAD_PAGE:
        return "load page fault";
    case CAUSE_STORE_PAGE:
        return "store page fault";
    default:
        return "exception";
    }
}

void hyp_fault_report(const u64 *x) {
    static const char *const names[] = {"",   "ra", "sp", "gp", "tp",  "t0",  "t1", "t2", "s0", "s1", "a0",
                                        "a1", "a2", "a3", "a4", "a5",  "a6",  "a7", "s2", "s3", "s4", "s5",
                                        "s6", "s7", "s8", "s9", "s10", "s11", "t3", "t4", "t5", "t6"};
    u64 scause = csr_read(CSR_SCAUSE), sepc = csr_read(CSR_SEPC), stval = csr_read(CSR_STVAL);
    report_begin();
    console_flush();
    print("\r\nbulkhead: FAULT in the hypervisor: %s", cause_name(scause));
    where();
    print("pc %s%#lx  scause %lx  stval %016lx  sstatus %016lx", in_text(sepc) ? "image+" : "",
          (unsigned long)(in_text(sepc) ? sepc - (u64)__image_start : sepc), (unsigned long)scause,
          (unsigned long)stval, (unsigned long)csr_read(CSR_SSTATUS));
    for (u32 i = 1; i < 31; i += 3)
        print("%-3s %016lx  %-3s %016lx  %-3s %016lx", names[i], (unsigned long)x[i], names[i + 1],
              (unsigned long)x[i + 1], names[i + 2], (unsigned long)x[i + 2]);
    print("t6  %016lx  (ra image+%#lx)", (unsigned long)x[31], (unsigned long)(x[1] - (u64)__image_start));
    print_backtrace(x[8]);
    arch_halt();
}

void report_and_halt(const char *why) {
    put("bulkhead: ");
    put(why);
    put("\r\n");
    arch_halt();
}
