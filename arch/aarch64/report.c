// SPDX-License-Identifier: Apache-2.0
// When the hypervisor itself is broken: a report that can be read, then stop. tools/symbolize turns its addresses into
// names.
#include <stdarg.h>
#include <stdio.h>

#include "aarch64.h"
#include "console.h"
#include "hostmap.h"
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

// Frame records: {previous fp, return address}. Each is checked before it is read: the stack may be what is broken.
void print_backtrace(u64 fp) {
    print("backtrace (offsets in the image; tools/symbolize names them):");
    for (u32 i = 0; i < 32 && fp && (fp & 15) == 0; i++) {
        struct pt_mapping m;
        if (host_pt.root.v && pgtable_lookup(&host_pt, fp, &m) != 0)
            break;
        const u64 *frame = (const u64 *)fp;
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
    struct cpu *self = host_pt.root.v ? cpu_self() : NULL;
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
    u64 esr = sysreg_read(esr_el2), ec = field_get(ESR_EC, esr), elr = sysreg_read(elr_el2);
    report_begin();
    console_flush();
    print("\r\nbulkhead: FAULT in the hypervisor: %s, %s", vectors[vector & 3], ec_name(ec));
    if (ec == EC_DABT_SAME || ec == EC_IABT_SAME)
        print("%s at address %#lx: %s", esr & ISS_DABT_WNR && ec == EC_DABT_SAME ? "write" : "access",
              (unsigned long)sysreg_read(far_el2), fsc_name(esr & ISS_ABT_FSC));
    where();
    print("pc %s%#lx  esr %08lx  spsr %08lx  sp %016lx", in_text(elr) ? "image+" : "",
          (unsigned long)(in_text(elr) ? elr - (u64)__image_start : elr), (unsigned long)esr,
          (unsigned long)sysreg_read(spsr_el2), (unsigned long)x[32]);
    for (u32 i = 0; i < 30; i += 3)
        print("x%-2u %016lx  x%-2u %016lx  x%-2u %016lx", i, (unsigned long)x[i], i + 1, (unsigned long)x[i + 1], i + 2,
              (unsigned long)x[i + 2]);
    print("x30 %016lx (image+%#lx)", (unsigned long)x[30], (unsigned long)(x[30] - (u64)__image_start));
    print_backtrace(x[29]);
    arch_halt();
}

void report_and_halt(const char *why) {
    put("bulkhead: ");
    put(why);
    put("\r\n");
    arch_halt();
}
