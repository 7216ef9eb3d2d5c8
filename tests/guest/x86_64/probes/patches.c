// SPDX-License-Identifier: Apache-2.0
// Code that changes: under its own feet, across pages, while an instruction of it is served by the hypervisor, and by
// another CPU.
#include "guest.h"

enum { PAGE = 4096 };
static u8 pages[2 * PAGE] __attribute__((aligned(4096)));
static volatile u64 patched, ready;
static u64 cpus;

// The second CPU patches the routine each time that it is asked to.
void secondary_main(u64 context) {
    volatile u8 *code = (volatile u8 *)context;
    ready = 1;
    for (u64 seen = 0;;) {
        while (patched == seen)
            ;
        seen = patched;
        code[1] = (u8)seen; // the immediate of MOV EAX
        ready = seen + 1;
    }
}

static u32 call(const void *at) {
    u32 eax;
    __asm__ volatile("call *%1" : "=a"(eax) : "r"(at) : "rcx", "rdx", "rbx", "rsi", "rdi", "memory");
    return eax;
}

static void put(u8 *at, const u8 *bytes, u32 count) {
    for (u32 i = 0; i < count; i++)
        ((volatile u8 *)at)[i] = bytes[i];
}

static void own_code(void) {
    static const u8 routine[] = {0xb8, 0, 0, 0, 0, 0xc3}; // MOV EAX, imm; RET
    u64 wrong = 0;
    put(pages, routine, sizeof(routine));
    for (u32 i = 1; i < 250; i++) {
        ((volatile u8 *)pages)[1] = (u8)i;
        wrong += call(pages) != i;
    }
    CHECK("changed_code_is_run_as_changed", wrong == 0, "%u wrong", wrong);
    wrong = 0;
    for (u32 back = 1; back < sizeof(routine); back++) { // across a page's end
        u8 *at = pages + PAGE - back;
        put(at, routine, sizeof(routine));
        for (u32 i = 1; i < 20; i++) {
            ((volatile u8 *)at)[1] = (u8)(i + back);
            ((volatile u8 *)at)[4] = (u8)i;
            wrong += call(at) != (i << 24 | (i + back));
        }
    }
    CHECK("changed_code_across_pages_is_run_as_changed", wrong == 0, "%u wrong", wrong);
    // MOV [RIP + 1], AL; MOV EAX, imm: it changes what comes next.
    static const u8 ahead[] = {0x88, 0x05, 0x01, 0, 0, 0, 0xb8, 0, 0, 0, 0, 0xc3};
    wrong = 0;
    put(pages + 64, ahead, sizeof(ahead));
    for (u32 i = 1; i < 100; i++) {
        u32 eax = i;
        __asm__ volatile("call *%1" : "+a"(eax) : "r"(pages + 64) : "memory");
        wrong += eax != i;
    }
    CHECK("code_that_changes_the_next_instruction", wrong == 0, "%u wrong", wrong);
}

// Instructions that come out, moved and changed: what the hypervisor knows of one must not be taken for another.
static void served_code(void) {
    static const u8 forms[][8] = {
        {0x8b, 0x03, 0xc3},                         // MOV EAX, [RBX]
        {0x44, 0x8b, 0x03, 0x44, 0x89, 0xc0, 0xc3}, // MOV R8D, [RBX]; MOV EAX, R8D
        {0x8b, 0x43, 0x00, 0xc3},                   // MOV EAX, [RBX + 0]
        {0x8b, 0x83, 0, 0, 0, 0, 0xc3},             // MOV EAX, [RBX + 0l]
        {0x0f, 0xb6, 0x03, 0xc3},                   // MOVZX EAX, byte [RBX]
        {0x31, 0xc0, 0x0b, 0x03, 0xc3},             // XOR EAX, EAX; OR EAX, [RBX]
    };
    u64 wrong = 0, version = apic_read(APIC_VERSION);
    for (u32 round = 0; round < 40; round++)
        for (u32 i = 0; i < ARRAY_SIZE(forms); i++) {
            u8 *at = pages + PAGE - 1 - round % 8;
            u32 eax;
            put(at, forms[i], 8);
            __asm__ volatile("call *%1" : "=a"(eax) : "r"(at), "b"(LAPIC + APIC_VERSION) : "r8", "memory");
            wrong += eax != (i == 4 ? (version & 0xff) : version);
        }
    CHECK("a_changed_access_to_a_device_is_served_as_changed", wrong == 0, "%u wrong", wrong);
    static const u8 ops[][4] = {
        {0x0f, 0xa2, 0xc3},       // CPUID
        {0x66, 0x0f, 0xa2, 0xc3}, // with a prefix
        {0xe4, 0x87, 0xc3},       // IN AL, 0x87
        {0xec, 0x90, 0xc3},       // IN AL, DX; NOP
        {0xf3, 0x90, 0xc3},       // PAUSE
    };
    trap.count = 0;
    for (u32 round = 0; round < 40; round++)
        for (u32 i = 0; i < ARRAY_SIZE(ops); i++) {
            put(pages + 200, ops[i], 4);
            u32 eax = 0, ecx = 0, edx = 0x87;
            __asm__ volatile("call *%3" : "+a"(eax), "+c"(ecx), "+d"(edx) : "r"(pages + 200) : "rbx", "memory");
        }
    CHECK("changed_instructions_that_come_out_have_their_lengths", trap.count == 0, "%u traps", trap.count);
}

// The same addresses in other address spaces.
static u64 other_pml4[512] __attribute__((aligned(4096))), other_pdpt[512] __attribute__((aligned(4096)));
static u64 other_directory[512] __attribute__((aligned(4096)));

static void other_space(void) {
    u64 cr3, wrong = 0;
    __asm__ volatile("mov %%cr3, %0" : "=r"(cr3));
    const u64 *pml4 = (const u64 *)cr3, *pdpt = (const u64 *)(pml4[0] & ~0xfffull);
    const u64 *directory = (const u64 *)(pdpt[0] & ~0xfffull);
    for (u32 i = 0; i < 512; i++) {
        other_pml4[i] = pml4[i];
        other_pdpt[i] = pdpt[i];
        other_directory[i] = directory[i];
    }
    other_pml4[0] = (u64)other_pdpt | 3;
    other_pdpt[0] = (u64)other_directory | 3;
    other_directory[511] = directory[1]; // at 1 GiB - 2 MiB: the program again, in one of them
    static const u8 cpuid_ret[] = {0x0f, 0xa2, 0xc3};
    put(pages + 300, cpuid_ret, sizeof(cpuid_ret));
    u64 alias = (511ull << 21) | ((u64)(pages + 300) & 0x1fffff);
    for (u32 i = 0; i < 20; i++) {
        u32 here = 0, there = 0, ecx = 0;
        __asm__ volatile("mov %0, %%cr3" ::"r"(other_pml4) : "memory");
        __asm__ volatile("call *%2" : "+a"(there), "+c"(ecx) : "r"(alias) : "rbx", "rdx", "memory");
        __asm__ volatile("mov %0, %%cr3" ::"r"(cr3) : "memory");
        ecx = 0;
        __asm__ volatile("call *%2" : "+a"(here), "+c"(ecx) : "r"(pages + 300) : "rbx", "rdx", "memory");
        wrong += here != there;
    }
    CHECK("code_at_an_address_of_another_space_is_run", wrong == 0, "%u wrong", wrong);
}

// An address that is mapped elsewhere, with another access to a device there, while CR3 stays.
static void mapped_elsewhere(void) {
    static const u8 reads[] = {0x31, 0xc9, 0x8b, 0x03, 0xc3};      // XOR ECX, ECX; MOV EAX, [RBX]
    static const u8 reads_byte[] = {0x31, 0xc9, 0x8a, 0x03, 0xc3}; // XOR ECX, ECX; MOV AL, [RBX]
    u64 cr3, wrong = 0, version = apic_read(APIC_VERSION);
    u64 at = (u64)(pages + 400), alias = (511ull << 21) | (at & 0x1fffff);
    __asm__ volatile("mov %%cr3, %0" : "=r"(cr3));
    put((u8 *)at, reads, sizeof(reads));
    put((u8 *)(at + (2 << 20)), reads_byte, sizeof(reads_byte)); // nothing else lies there
    __asm__ volatile("mov %0, %%cr3" ::"r"(other_pml4) : "memory");
    for (u32 i = 0; i < 40; i++) {
        u32 eax = 0xaaaaaaaa;
        ((volatile u64 *)other_directory)[511] = ((at >> 21) + i % 2) << 21 | 0xe3; // a large page, used
        __asm__ volatile("invlpg (%0)" ::"r"(alias) : "memory");
        __asm__ volatile("call *%1" : "+a"(eax) : "r"(alias), "b"(LAPIC + APIC_VERSION) : "rcx", "memory");
        wrong += eax != (i % 2 ? 0xaaaaaa00 | (version & 0xff) : version);
    }
    __asm__ volatile("mov %0, %%cr3" ::"r"(cr3) : "memory");
    CHECK("an_access_to_a_device_at_an_address_mapped_elsewhere", wrong == 0, "%u wrong", wrong);
}

static void changed_by_another(void) {
    u64 wrong = 0;
    if (cpus < 2)
        return;
    (void)cpu_start(1, (u64)pages);
    if (!wait_for(&ready, 1, 5000)) {
        fail("the_other_CPU_starts", "%u", ready);
        return;
    }
    static const u8 routine[] = {0xb8, 0, 0, 0, 0, 0xc3};
    put(pages, routine, sizeof(routine));
    for (u64 i = 1; i < 250; i++) {
        patched = i;
        wrong += !wait_for(&ready, i + 1, 5000);
        (void)cpuid(0, 0); // serializes, as cross-modifying code needs
        wrong += call(pages) != i;
    }
    CHECK("code_changed_by_another_CPU_is_run_as_changed", wrong == 0, "%u wrong", wrong);
}

void guest_main(u64 zero_page) {
    (void)zero_page;
    cpus = cpu_count();
    own_code();
    served_code();
    other_space();
    mapped_elsewhere();
    changed_by_another();
}
