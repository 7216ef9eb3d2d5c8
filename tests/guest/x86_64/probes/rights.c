// SPDX-License-Identifier: Apache-2.0
// What a guest's page tables forbid or take away, while instructions that the hypervisor serves go by them.
#include "guest.h"

enum { PRESENT = 1, WRITABLE = 2, BLOCK_SHIFT = 21, DEVICE_AT = 3, DEVICE_ENTRY = 503 }; // 0xfee00000
#define PF_READ_ONLY 3 // a write to a page that is there

static u64 *directory(u32 gib) {
    u64 cr3;
    __asm__ volatile("mov %%cr3, %0" : "=r"(cr3));
    const u64 *pml4 = (const u64 *)(cr3 & ~0xfffull), *pdpt = (const u64 *)(pml4[0] & ~0xfffull);
    return (u64 *)(pdpt[gib] & ~0xfffull);
}

static void forget(u64 at) {
    __asm__ volatile("invlpg (%0)" ::"r"(at) : "memory");
}

// ── A device's page that may be read only ───────────────────────────────────────────────────────────────────────────
#define REFUSED(name, code)                                                                                            \
    do {                                                                                                               \
        u64 a_ = 0, c_ = 1, i_ = LAPIC + APIC_TPR;                                                                     \
        trap.count = 0;                                                                                                \
        MAY_TRAP(code, : "+a"(a_), "+c"(c_), "+D"(i_)::"r11", "cc", "memory");                                         \
        CHECK(name, trap.count == 1 && trap.vector == X86_PF && trap.error == PF_READ_ONLY && trap.cr2 == i_,          \
              "%u traps, vector %u, error %x, at %x", trap.count, trap.vector, trap.error, trap.cr2);                  \
        trap.count = 0;                                                                                                \
    } while (0)

static void read_only(void) {
    u64 cr0, *entry = &directory(DEVICE_AT)[DEVICE_ENTRY];
    __asm__ volatile("mov %%cr0, %0" : "=r"(cr0));
    __asm__ volatile("mov %0, %%cr0" ::"r"(cr0 | 1 << 16)); // WP
    *entry &= ~(u64)WRITABLE;
    forget(LAPIC);
    CHECK("a_device_that_may_be_read_is_read", read32(LAPIC + APIC_TPR) == 0, "%x", read32(LAPIC + APIC_TPR));
    REFUSED("a_store_is_refused", "movl %%eax, (%%rdi)");
    REFUSED("an_OR_is_refused", "orl $0x10, (%%rdi)");
    REFUSED("a_locked_OR_is_refused", "lock orl $0x10, (%%rdi)");
    REFUSED("an_exchange_is_refused", "xchgl %%eax, (%%rdi)");
    REFUSED("STOS_is_refused", "stosl");
    REFUSED("a_repeated_STOS_is_refused", "rep stosl");
    u64 value = read32(LAPIC + APIC_TPR);
    CHECK("nothing_was_written", value == 0, "%x", value);
    *entry |= WRITABLE;
    forget(LAPIC);
    __asm__ volatile("mov %0, %%cr0" ::"r"(cr0));
}

// ── Code whose page another CPU takes away and gives back ───────────────────────────────────────────────────────────
// The other CPU tells nobody: what is left in a TLB may be used, else it is a page fault, and never anything else.
static volatile u64 stop, turns;

void secondary_main(u64 entry) {
    while (!stop) {
        __atomic_fetch_xor((u64 *)entry, PRESENT, __ATOMIC_SEQ_CST);
        turns++;
    }
    __atomic_fetch_or((u64 *)entry, PRESENT, __ATOMIC_SEQ_CST);
    stop = 2;
}

static void code_comes_and_goes(void) {
    static const u8 routine[] = {0x8b, 0x03, 0xc3}; // MOV EAX, [RBX]; RET
    u64 at = 2ull << BLOCK_SHIFT, *entry = &directory(0)[2], wrong = 0, faults = 0, vector = 0;
    u32 version = apic_read(APIC_VERSION);
    for (u32 i = 0; i < sizeof(routine); i++)
        ((volatile u8 *)at)[i] = routine[i];
    if (cpu_start(1, (u64)entry) != 0)
        return;
    (void)wait_for(&turns, 1, 5000);
    for (u64 end = now() + ticks_of_ms(1000); now() < end;) {
        u32 eax = 0;
        u64 rsp;
        trap.count = 0;
        forget(at);
        // What a fault inside leaves on the stack is taken away.
        MAY_TRAP("movq %%rsp, %1; call *%2; 9: movq %1, %%rsp", : "+a"(eax), "=&r"(rsp) : "r"(at),
                 "b"(LAPIC + APIC_VERSION) : "r11", "memory");
        faults += trap.count;
        if (trap.count ? trap.vector != X86_PF : eax != version) {
            wrong++;
            vector = trap.vector;
        }
    }
    stop = 1;
    CHECK("an_access_whose_code_goes_is_a_page_fault_or_served", wrong == 0, "%u are not, the last %u; %u faults",
          wrong, vector, faults);
    CHECK("the_other_CPU_comes_to_an_end", wait_for(&stop, 2, 5000), "it does not");
    trap.count = 0;
}

void guest_main(u64 zero_page) {
    (void)zero_page;
    read_only();
    if (cpu_count() > 1)
        code_comes_and_goes();
    no_traps();
}
