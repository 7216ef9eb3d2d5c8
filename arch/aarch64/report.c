// SPDX-License-Identifier: Apache-2.0
// What a report of our own faults says on this architecture; core/report.c has the rest.
#include "report.h"

#include <stdarg.h>

#include "aarch64.h"
#include "cpu.h"

// Frame records lie at the address in x29.
struct report_machine arch_report_machine(void) {
    return (struct report_machine){
        .text_start = (u64)__image_start, .text_end = (u64)__text_end, .frame_align = 16, .cpu = cpu_self()};
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

static const char *ec_name(u64 ec) {
    switch (ec) {
    case EC_UNKNOWN:
        return "undefined instruction";
    case EC_SYSREG:
        return "system register access";
    case EC_SVE:
        return "SVE access";
    case EC_FP:
        return "FP or SIMD access";
    case EC_IABT_SAME:
        return "instruction abort";
    case EC_DABT_SAME:
        return "data abort";
    case 0x22:
        return "PC alignment fault";
    case 0x26:
        return "stack alignment fault";
    case 0x2f:
        return "SError";
    case 0x3c:
        return "BRK instruction";
    default:
        return "exception";
    }
}

static const char *fsc_name(u64 fsc) {
    static const char *const kinds[] = {"address size fault", "translation fault", "access flag fault",
                                        "permission fault"};
    if (fsc < 0x10)
        return kinds[fsc >> 2];
    return fsc == FSC_SEA ? "external abort" : fsc == 0x21 ? "alignment fault" : "other fault";
}

void hyp_fault_report(u64 vector, const u64 *x) {
    static const char *const vectors[] = {"synchronous", "IRQ", "FIQ", "SError"};
    u64 esr = sysreg_read(esr_el2), ec = field_get(ESR_EC, esr);
    const struct report_address pc = report_address(sysreg_read(elr_el2));
    report_begin();
    report_print("\r\nbulkhead: FAULT in the hypervisor: %s, %s", vectors[vector & 3], ec_name(ec));
    if (ec == EC_DABT_SAME || ec == EC_IABT_SAME)
        report_print("%s at address %#lx: %s", esr & ISS_DABT_WNR && ec == EC_DABT_SAME ? "write" : "access",
                     (unsigned long)sysreg_read(far_el2), fsc_name(esr & ISS_ABT_FSC));
    report_where();
    report_print("pc %s%#lx  esr %08lx  spsr %08lx  sp %016lx", pc.base, pc.offset, (unsigned long)esr,
                 (unsigned long)sysreg_read(spsr_el2), (unsigned long)x[32]);
    for (u32 i = 0; i < 30; i += 3)
        report_print("x%-2u %016lx  x%-2u %016lx  x%-2u %016lx", i, (unsigned long)x[i], i + 1, (unsigned long)x[i + 1],
                     i + 2, (unsigned long)x[i + 2]);
    report_print("x30 %016lx (image+%#lx)", (unsigned long)x[30], (unsigned long)(x[30] - (u64)__image_start));
    report_backtrace(x[29]);
    arch_halt();
}
