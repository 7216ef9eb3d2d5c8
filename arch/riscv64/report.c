// SPDX-License-Identifier: Apache-2.0
// What a report of our own faults says on this architecture; core/report.c has the rest.
#include "report.h"

#include <stdarg.h>

#include "cpu.h"
#include "riscv64.h"

// Frame records lie below the address in s0.
struct report_machine arch_report_machine(void) {
    return (struct report_machine){.text_start = (u64)__image_start,
                                   .text_end = (u64)__text_end,
                                   .frame_align = 8,
                                   .frame_record = -16,
                                   .cpu = cpu_self()};
}

void arch_report_stop_others(void) {
    report_kick_others();
}

void panic_at(const char *file, int line, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    report_panic(file, line, fmt, args, (u64)__builtin_frame_address(0));
    va_end(args);
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
    u64 scause = csr_read(CSR_SCAUSE), stval = csr_read(CSR_STVAL);
    const struct report_address pc = report_address(csr_read(CSR_SEPC));
    report_begin();
    report_print("\r\nbulkhead: FAULT in the hypervisor: %s", cause_name(scause));
    report_where();
    report_print("pc %s%#lx  scause %lx  stval %016lx  sstatus %016lx", pc.base, pc.offset, (unsigned long)scause,
                 (unsigned long)stval, (unsigned long)csr_read(CSR_SSTATUS));
    for (u32 i = 1; i < 31; i += 3)
        report_print("%-3s %016lx  %-3s %016lx  %-3s %016lx", names[i], (unsigned long)x[i], names[i + 1],
                     (unsigned long)x[i + 1], names[i + 2], (unsigned long)x[i + 2]);
    report_print("t6  %016lx  (ra image+%#lx)", (unsigned long)x[31], (unsigned long)(x[1] - (u64)__image_start));
    report_backtrace(x[8]);
    arch_halt();
}
