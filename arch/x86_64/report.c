// SPDX-License-Identifier: Apache-2.0
// When the hypervisor itself is broken: a report that can be read, then stop. tools/symbolize turns its addresses into
// names.
#include "report.h"

#include <stdarg.h>

#include "cpu.h"
#include "x86_64.h"

// A fault around the world switch finds the guest's GS base.
static struct cpu *this_cpu(void) {
    u64 gs = msr_read(MSR_GS_BASE), first = (u64)&cpus[0];
    bool ours = gs >= first && gs < first + sizeof(cpus) && (gs - first) % sizeof(cpus[0]) == 0;
    return ours ? (struct cpu *)gs : nullptr;
}

// Frame records lie at the address in RBP.
struct report_machine arch_report_machine(void) {
    return (struct report_machine){.text_start = (u64)__image_start,
                                   .text_end = (u64)__text_end,
                                   .frame_align = 8,
                                   .frame_record = 0,
                                   .cpu = this_cpu()};
}

// The NMI brings them to a report of their own, where they stay.
void arch_report_stop_others(void) {
    bool others = false;
    for (u32 i = 1; i < cpu_count; i++)
        others |= atomic_load_explicit(&cpus[i].online, memory_order_relaxed);
    if (others)
        lapic_icr(0, ICR_NMI | ICR_ASSERT | ICR_ALL_OTHERS);
}

void panic_at(const char *file, int line, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    report_panic(file, line, fmt, args, (u64)__builtin_frame_address(0));
    va_end(args);
    arch_halt();
}

static const char *vector_name(u64 vector) {
    static const char *const names[] = {"division error",
                                        "debug exception",
                                        "non-maskable interrupt",
                                        "breakpoint",
                                        "overflow",
                                        "bound exceeded",
                                        "invalid opcode",
                                        "device not available",
                                        "double fault",
                                        "exception 9",
                                        "invalid TSS",
                                        "segment not present",
                                        "stack segment fault",
                                        "general protection",
                                        "page fault",
                                        "exception 15",
                                        "floating-point error",
                                        "misaligned access",
                                        "machine check",
                                        "SIMD error",
                                        "virtualisation exception",
                                        "control protection"};
    return vector < ARRAY_SIZE(names) ? names[vector] : "exception";
}

void hyp_fault_report(const struct trap_frame *f) {
    const struct report_address pc = report_address(f->rip);
    report_begin();
    report_print("\r\nbulkhead: FAULT in the hypervisor: %s", vector_name(f->vector));
    if (this_cpu())
        report_where();
    else
        report_print("on the way into a guest or out of it");
    report_print("pc %s%#lx  vector %lu  error %lx  cr2 %016lx  rflags %lx", pc.base, pc.offset,
                 (unsigned long)f->vector, (unsigned long)f->error, (unsigned long)cr2_read(),
                 (unsigned long)f->rflags);
    const struct {
        const char *name;
        u64 value;
    } regs[] = {{"rax", f->rax}, {"rbx", f->rbx},     {"rcx", f->rcx},
                {"rdx", f->rdx}, {"rsi", f->rsi},     {"rdi", f->rdi},
                {"rbp", f->rbp}, {"rsp", f->rsp},     {"r8", f->r8},
                {"r9", f->r9},   {"r10", f->r10},     {"r11", f->r11},
                {"r12", f->r12}, {"r13", f->r13},     {"r14", f->r14},
                {"r15", f->r15}, {"cr3", cr3_read()}, {"gs", msr_read(MSR_GS_BASE)}};
    for (u32 i = 0; i < ARRAY_SIZE(regs); i += 3)
        report_print("%-3s %016lx  %-3s %016lx  %-3s %016lx", regs[i].name, (unsigned long)regs[i].value,
                     regs[i + 1].name, (unsigned long)regs[i + 1].value, regs[i + 2].name,
                     (unsigned long)regs[i + 2].value);
    report_backtrace(f->rbp);
    arch_halt();
}
