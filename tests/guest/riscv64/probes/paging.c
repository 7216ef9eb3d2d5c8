// SPDX-License-Identifier: Apache-2.0
// The guest's own address translation: its page faults are its own, accesses that go nowhere are told by their virtual
// address, and remote fences reach every hart.
#include "guest.h"

enum : u64 {
    V = 1,
    R = 2,
    W = 4,
    X = 8,
    AD = 3 << 6,
    SV39 = 8ull << 60,
    PAGE = 4096,
    WINDOW = 0x40000000,
    HOLE = 0x0b000000
};
static u64 root[512] __attribute__((aligned(4096)));
static u64 middle[512] __attribute__((aligned(4096)));
static u64 leaves[512] __attribute__((aligned(4096)));
static volatile u64 pages[2][512] __attribute__((aligned(4096)));
static u64 cpus;
static volatile u64 order[CPUS_MAX], answer[CPUS_MAX];

static u64 pte(u64 pa, u64 bits) {
    return pa >> 12 << 10 | bits;
}
static void fence(void) {
    __asm__ volatile("sfence.vma" ::: "memory");
}

// Devices and memory where they are, and a window of 2 MiB between them. Every hart uses the same ASID.
static void translate(void) {
    csr_write(satp, SV39 | 1ull << 44 | (u64)root >> 12);
    fence();
}

static void build(void) {
    root[0] = pte(0, V | R | W | AD);
    root[RAM >> 30] = pte(RAM, V | R | W | X | AD);
    root[WINDOW >> 30] = pte((u64)middle, V);
    middle[0] = pte((u64)leaves, V);
}

static void map(u64 page, u64 pa, u64 bits) {
    leaves[page] = pte(pa, bits | V | AD);
    fence();
}

static u64 load(u64 at) {
    u64 v = 0;
    trap.count = 0;
    __asm__ volatile("ld %0, 0(%1)" : "+r"(v) : "r"(at) : "memory");
    return v;
}
static void store(u64 at) {
    trap.count = 0;
    __asm__ volatile("sd zero, 0(%0)" ::"r"(at) : "memory");
}
static void run(u64 at) {
    trap.count = 0;
    __asm__ volatile("jalr ra, 0(%0)" ::"r"(at) : "ra", "memory");
}

static void expect(const char *name, u64 cause, u64 at) {
    CHECK(name, trap.count == 1 && trap.cause == cause && trap.tval == at, "%u traps, cause %u, tval %x, not %u and %x",
          trap.count, trap.cause, trap.tval, cause, at);
}

static void here(void) {
    map(0, (u64)pages[0], R | W);
    u64 first = load(WINDOW);
    map(0, (u64)pages[1], R | W);
    u64 second = load(WINDOW);
    CHECK("a_page_that_is_mapped_anew_shows_after_a_fence", first == 1000 && second == 1001, "%u, %u", first, second);
    map(1, UART, R | W);
    write8(WINDOW + PAGE + UART_SCR, 0x6b);
    CHECK("a_device_is_where_it_is_mapped", read8(WINDOW + PAGE + UART_SCR) == 0x6b && read8(UART + UART_SCR) == 0x6b,
          "%x", (u64)read8(UART + UART_SCR));
}

static void faults(void) {
    leaves[2] = 0;
    map(3, (u64)pages[0], R);
    load(WINDOW + 2 * PAGE + 8);
    expect("a_load_from_a_page_that_is_not_mapped_is_a_page_fault", CAUSE_LOAD_PAGE, WINDOW + 2 * PAGE + 8);
    store(WINDOW + 3 * PAGE + 16);
    expect("a_store_to_a_page_that_is_read_only_is_a_page_fault", CAUSE_STORE_PAGE, WINDOW + 3 * PAGE + 16);
    run(WINDOW + 3 * PAGE);
    expect("an_instruction_in_a_page_that_is_data_is_a_page_fault", CAUSE_FETCH_PAGE, WINDOW + 3 * PAGE);
    map(4, HOLE, R | W | X);
    u64 at = WINDOW + 4 * PAGE + 24;
    load(at);
    expect("a_load_that_goes_nowhere_is_told_by_its_virtual_address", CAUSE_LOAD_ACCESS, at);
    store(at);
    expect("a_store_that_goes_nowhere_is_told_by_its_virtual_address", CAUSE_STORE_ACCESS, at);
    run(at);
    expect("an_instruction_that_is_nowhere_is_told_by_its_virtual_address", CAUSE_FETCH_ACCESS, at);
    middle[1] = pte(HOLE, V);
    fence();
    at = WINDOW + (2 << 20) + 8;
    load(at);
    expect("a_load_by_page_tables_that_are_nowhere_is_an_access_fault", CAUSE_LOAD_ACCESS, at);
    store(at);
    expect("a_store_by_page_tables_that_are_nowhere_is_an_access_fault", CAUSE_STORE_ACCESS, at);
    middle[1] = pte(UART, V); // nor can the walker read a device
    fence();
    load(at);
    expect("a_load_by_page_tables_in_a_device_is_an_access_fault", CAUSE_LOAD_ACCESS, at);
    run(at);
    expect("an_instruction_by_page_tables_in_a_device_is_an_access_fault", CAUSE_FETCH_ACCESS, at);
    middle[1] = 0;
    fence();
}

// An order: read that page of the window.
void secondary_main(u64 context) {
    translate();
    for (u64 last = 0, next; (next = order[context]) != ~0ull;) {
        if (next == last) {
            cpu_yield();
            continue;
        }
        last = next;
        answer[context] = next << 16 | *(volatile u64 *)(WINDOW + (next & 0xff) * PAGE);
    }
    csr_write(satp, 0);
}

static bool sees(u64 cpu, u64 what, u64 value) {
    order[cpu] = what;
    u64 end = now() + ticks_of_ms(10000);
    while (answer[cpu] >> 16 != what)
        if (now() > end)
            return false;
        else
            cpu_yield();
    return (answer[cpu] & 0xffff) == value;
}

static void elsewhere(u64 cpu) {
    static const struct {
        u64 function, offset, size;
    } ways[] = {{1, 0, PAGE},         {1, 8, 8},         {1, -PAGE, 3 * PAGE}, {1, 0, 200 * PAGE}, {2, 0, PAGE},
                {2, -PAGE + 1, PAGE}, {2, 0, 200 * PAGE}};
    u64 bad = 0, first = 0, number = 0;
    for (u32 i = 0; i < ARRAY_SIZE(ways) * 6; i++) {
        u32 way = i % ARRAY_SIZE(ways);
        u64 page = 8 + i % 3, at = WINDOW + page * PAGE + ways[way].offset, mask = i & 1 ? 1ull << cpu : 1;
        leaves[page] = pte((u64)pages[i & 1], V | R | W | AD);
        bool right = sbi5(EID_RFENCE, ways[way].function, mask, i & 1 ? 0 : cpu, at, ways[way].size, 1).error == 0 &&
                     sees(cpu, ++number << 8 | page, 1000 + (i & 1));
        if (!right && bad++ == 0)
            first = way;
    }
    bool all = true;
    for (u64 i = 0; i < 6; i++) {
        leaves[8] = pte((u64)pages[i & 1], V | R | W | AD);
        all &= sbi(EID_RFENCE, 1, 0, ~0ull, 0).error == 0 && sees(cpu, ++number << 8 | 8, 1000 + (i & 1));
    }
    CHECK("remote_fences_of_ranges_reach_another_hart", bad == 0, "hart %u: %u of %u not, first way %u", cpu, bad,
          (u64)ARRAY_SIZE(ways) * 6, first);
    CHECK("remote_fences_of_everything_reach_another_hart", all, "hart %u", cpu);
}

void guest_main(u64 dtb) {
    (void)dtb;
    cpus = cpu_count();
    say("paging: %u CPUs\n", cpus);
    build();
    for (u64 i = 0; i < 2; i++)
        pages[i][0] = 1000 + i;
    translate();
    here();
    faults();
    trap.count = 0;
    for (u64 page = 8; page < 11; page++)
        map(page, (u64)pages[0], R | W);
    for (u64 cpu = 1; cpu < cpus; cpu++) {
        (void)cpu_start(cpu, cpu);
        elsewhere(cpu);
    }
    for (u64 cpu = 1; cpu < cpus; cpu++)
        order[cpu] = ~0ull;
    csr_write(satp, 0);
    no_traps();
}
