// SPDX-License-Identifier: Apache-2.0
// Where the memory and each device end, for any number of CPUs, and how faults are reflected: kind, direction, address
// and the instruction that made it.
#include "guest.h"

enum : u32 { RET = 0xd65f03c0 };
static u64 cpus, ram_end;
static u64 fault_pc;

void secondary_main(u64 context) {
    (void)context;
}

static u64 load(u64 at) {
    u64 v = 0;
    trap.count = 0;
    __asm__ volatile("adr x9, 1f\n\tstr x9, %1\n1:\tldr %w0, [%2]"
                     : "+r"(v), "=m"(fault_pc)
                     : "r"(at)
                     : "x9", "memory");
    return v;
}

static void store(u64 at) {
    trap.count = 0;
    __asm__ volatile("adr x9, 1f\n\tstr x9, %0\n1:\tstr wzr, [%1]" : "=m"(fault_pc) : "r"(at) : "x9", "memory");
}

static bool reflected(u64 at, bool write) {
    return trap.count == 1 && ESR_EC(trap.esr) == EC_DABT && ESR_FSC(trap.esr) == FSC_EXTERNAL &&
           (trap.esr >> 6 & 1) == write && trap.far == at && trap.elr == fault_pc;
}

static void note(u64 at, bool right) {
    tally(at, right, trap.count ? trap.esr : 0);
}

static void nothing(u64 at) {
    load(at);
    note(at, reflected(at, false));
    store(at);
    note(at, reflected(at, true));
}

static void something(u64 at) {
    load(at);
    note(at, trap.count == 0);
}

static void devices(void) {
    const u64 regions[][2] = {
        {GICD, 0x10000}, {GICR, cpus * GICR_STRIDE}, {UART, 0x1000}, {RTC, 0x1000}, {RAM, ram_end - RAM}};
    tally_begin();
    for (u32 i = 0; i < ARRAY_SIZE(regions); i++) {
        u64 first = regions[i][0], beyond = first + regions[i][1];
        if (first != RTC) // the UART is right below
            nothing(first - 4);
        something(first);
        something(beyond - 4);
        if (first != UART)
            nothing(beyond);
    }
    tally_end("every_region_begins_and_ends_where_it_should");
    tally_begin();
    for (u64 n = cpus; n < 32; n++) {
        nothing(GICR + n * GICR_STRIDE);
        nothing(GICR + n * GICR_STRIDE + GICR_SGI);
    }
    tally_end("there_is_no_redistributor_of_a_CPU_that_is_not_there");
}

static void memory(void) {
    volatile u64 *last = (volatile u64 *)(ram_end - 8);
    trap.count = 0;
    *last = 0x0123456789abcdef;
    CHECK("the_last_word_of_memory_is_memory", trap.count == 0 && *last == 0x0123456789abcdef, "%u traps, %x",
          trap.count, *last);
    *(volatile u32 *)(ram_end - 4) = RET;
    __asm__ volatile("dc cvau, %0\n\tdsb ish\n\tic ivau, %0\n\tdsb ish\n\tisb" ::"r"(ram_end - 4) : "memory");
    __asm__ volatile("mov x19, x30\n\tblr %0\n\tmov x30, x19" ::"r"(ram_end - 4) : "x19", "x30", "memory");
    CHECK("the_last_instruction_of_memory_executes", trap.count == 0, "%u traps, esr %x", trap.count, trap.esr);
    *last = 0;
    // Each MiB has its own page of memory: no alias, no hole.
    for (u64 at = ram_end - (1 << 20); at >= (u64)__image_end + (1 << 20); at -= 1 << 20)
        *(volatile u64 *)at = at;
    u64 bad = 0;
    for (u64 at = ram_end - (1 << 20); at >= (u64)__image_end + (1 << 20); at -= 1 << 20)
        bad += *(volatile u64 *)at != at;
    CHECK("no_two_addresses_are_the_same_memory", bad == 0 && trap.count == 0, "%u are, %u traps", bad, trap.count);
}

#define FAULT(name, right, ...)                                                                                        \
    do {                                                                                                               \
        u64 status_ = 9;                                                                                               \
        trap.count = 0;                                                                                                \
        __asm__ volatile(__VA_ARGS__ : "+r"(status_) : "r"(UART + 0x24), "r"(ram_end) : "x9", "memory");               \
        CHECK(name, (right) && ESR_EC(trap.esr) == EC_DABT, "%u traps, esr %x, far %x", trap.count, trap.esr,          \
              trap.far);                                                                                               \
    } while (0)

static void odd(void) {
    u32 before = read32(UART + 0x24);
    FAULT("an_unaligned_load_from_a_device_aborts", trap.count == 1 && trap.far == UART + 0x25, "ldur %w0, [%1, #1]");
    FAULT("an_unaligned_store_to_a_device_aborts", trap.count == 1 && trap.far == UART + 0x26,
          "sturh %w0, [%1, #2]\n\tsturh %w0, [%1, #2]\n\tstur %w0, [%1, #2]");
    FAULT("an_exclusive_load_beyond_memory_aborts", trap.count == 1 && trap.far == ram_end, "ldxr %w0, [%2]");
    FAULT("an_exclusive_pair_beyond_memory_aborts", trap.count == 1 && trap.far == ram_end, "ldxp %w0, w9, [%2]");
    FAULT("an_acquiring_exclusive_load_from_a_device_aborts", trap.count == 1 && trap.far == UART + 0x24,
          "ldaxr %w0, [%1]");
    // A store-exclusive without a monitor fails, or aborts; it never stores.
    u64 status = 9;
    trap.count = 0;
    __asm__ volatile("clrex\n\tstxr %w0, %w1, [%2]" : "+&r"(status) : "r"(0x77), "r"(UART + 0x24) : "memory");
    CHECK("an_exclusive_store_to_a_device_does_not_store",
          (trap.count == 1 ? ESR_EC(trap.esr) == EC_DABT : status == 1) && read32(UART + 0x24) == before,
          "%u traps, status %u, %x", trap.count, status, (u64)read32(UART + 0x24));
}

static void execute(u64 at, bool right(u64 at), const char *name) {
    trap.count = 0;
    __asm__ volatile("mov x19, x30\n\tblr %0\n\tmov x30, x19" ::"r"(at) : "x19", "x30", "x9", "memory");
    CHECK(name, trap.count == 1 && right(at), "%u traps, esr %x, elr %x, far %x", trap.count, trap.esr, trap.elr,
          trap.far);
}

static bool fetch_aborted(u64 at) {
    return ESR_EC(trap.esr) == EC_IABT && ESR_FSC(trap.esr) == FSC_EXTERNAL && trap.far == at && trap.elr == at;
}

static bool misaligned(u64 at) {
    return ESR_EC(trap.esr) == EC_PC_ALIGN && trap.far == at;
}

void guest_main(u64 dtb) {
    ram_end = RAM + ram_size(dtb);
    while (psci_affinity_info(cpus) >= 0)
        cpus++;
    say("bounds: %u CPUs, memory ends at %x\n", cpus, ram_end);
    devices();
    memory();
    odd();
    execute(ram_end, fetch_aborted, "an_instruction_right_beyond_memory_is_a_prefetch_abort");
    execute(GICR + cpus * GICR_STRIDE - 4, fetch_aborted, "an_instruction_in_a_redistributor_is_a_prefetch_abort");
    execute(RTC, fetch_aborted, "an_instruction_in_the_clock_is_a_prefetch_abort");
    execute(RAM + 2, misaligned, "an_unaligned_instruction_is_the_guests_own_fault");
}
