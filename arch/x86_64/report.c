// SPDX-License-Identifier: Apache-2.0
// When the hypervisor itself is broken: a report that can be read, then stop. tools/symbolize turns its addresses into
// names.
#include <stdarg.h>
#include <stdio.h>

#include "console.h"
#include "hostmap.h"
#include "task.h"
#include "x86_64.h"

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

// Frames: {previous frame, return address} at the address in RBP. Each is checked before it is read: the stack may be
// what is broken.
static void print_backtrace(u64 fp) {
    print("backtrace (offsets in the image; tools/symbolize names them):");
    for (u32 i = 0; i < 32 && fp && (fp & 7) == 0; i++) {
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

// A fault around the world switch finds the guest's GS base.
static struct cpu *this_cpu(void) {
    u64 gs = msr_read(MSR_GS_BASE), first = (u64)&cpus[0];
    bool ours = gs >= first && gs < first + sizeof(cpus) && (gs - first) % sizeof(cpus[0]) == 0;
    return ours ? (struct cpu *)gs : nullptr;
}

static void where(void) {
    struct cpu *cpu = this_cpu();
    if (!cpu) {
        print("on the way into a guest or out of it");
        return;
    }
    struct task *t = atomic_load_explicit(&cpu->current, memory_order_relaxed);
    print("CPU %u, task %s", cpu->id, t ? t->name : "(none)");
}

// One report is enough, and a fault within it must not recurse. The other CPUs come here too, by the NMI, and stay: no
// guest goes on with nobody to watch it.
static void report_once(void) {
    static _Atomic bool reporting;
    if (atomic_exchange_explicit(&reporting, true, memory_order_relaxed))
        arch_halt();
    bool others = false;
    for (u32 i = 1; i < cpu_count; i++)
        others |= atomic_load_explicit(&cpus[i].online, memory_order_relaxed);
    if (others)
        lapic_icr(0, ICR_NMI | ICR_ASSERT | ICR_ALL_OTHERS);
}

void panic_at(const char *file, int line, const char *fmt, ...) {
    report_once();
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
    report_once();
    console_flush();
    print("\r\nbulkhead: FAULT in the hypervisor: %s", vector_name(f->vector));
    where();
    print("pc %s%#lx  vector %lu  error %lx  cr2 %016lx  rflags %lx", in_text(f->rip) ? "image+" : "",
          (unsigned long)(in_text(f->rip) ? f->rip - (u64)__image_start : f->rip), (unsigned long)f->vector,
          (unsigned long)f->error, (unsigned long)cr2_read(), (unsigned long)f->rflags);
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
        print("%-3s %016lx  %-3s %016lx  %-3s %016lx", regs[i].name, (unsigned long)regs[i].value, regs[i + 1].name,
              (unsigned long)regs[i + 1].value, regs[i + 2].name, (unsigned long)regs[i + 2].value);
    print_backtrace(f->rbp);
    arch_halt();
}

void report_and_halt(const char *why) {
    put("\r\nbulkhead: "); // the firmware may have left its own line open
    put(why);
    put("\r\n");
    arch_halt();
}
