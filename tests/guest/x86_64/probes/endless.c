// SPDX-License-Identifier: Apache-2.0
// Wants the CPU for good: a watchpoint on the stack of its own handler, so that each delivery of #DB raises the next
// one, and not one instruction is executed in between. Other VMs of the same CPU have to run all the same. Not for
// QEMU, which stops itself on such a watchpoint: Bochs 3.0 shows it, with SVM (model=ryzen) and VMX (corei7_skylake_x).
#include "guest.h"

enum { TSS_WORDS = 13, IST1 = 36 / 4, GDT_TSS = 8 };
static u32 tss[2 * TSS_WORDS];
static u64 own_gdt[10], stack[64] __attribute__((aligned(64)));

void secondary_main(u64 context) {
    (void)context;
}

static void load_tss(void) {
    extern u64 gdt[];
    u64 at = (u64)tss, top = (u64)&stack[64];
    for (u32 i = 0; i < 6; i++)
        own_gdt[i] = gdt[i];
    own_gdt[GDT_TSS] = 0x0000890000000067ull | (at & 0xffffff) << 16 | (at >> 24 & 0xff) << 56;
    own_gdt[GDT_TSS + 1] = at >> 32;
    tss[IST1] = (u32)top;
    tss[IST1 + 1] = (u32)(top >> 32);
    struct [[gnu::packed]] {
        u16 limit;
        u64 base;
    } pointer = {sizeof(own_gdt) - 1, (u64)own_gdt};
    __asm__ volatile("lgdt %0\n\tltr %w1" ::"m"(pointer), "r"(8 * GDT_TSS));
}

void guest_main(u64 zero_page) {
    (void)zero_page;
    load_tss();
    idt[2 * X86_DB] |= 1ull << 32; // IST 1
    say("endless: now\n");
    u64 at = (u64)&stack[63];
    __asm__ volatile("mov %0, %%dr0\n\tmov %1, %%dr7" ::"r"(at), "r"(0x400ull | 2 | 0x9ull << 16));
    *(volatile u64 *)at = 1;
    fail("the_exception_has_no_end", "%u", trap.count);
}
