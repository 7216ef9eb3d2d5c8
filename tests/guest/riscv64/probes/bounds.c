// SPDX-License-Identifier: Apache-2.0
// Where the memory and each device end, for any number of harts, and how faults are reflected: kind, address and the
// instruction that made it.
#include "guest.h"

enum : u32 { RET = 0x8067 };
static u64 cpus, ram_end;
static u64 fault_pc;

void secondary_main(u64 context) {
    (void)context;
}

static void load(u64 at) {
    u64 pc;
    trap.count = 0;
    __asm__ volatile("auipc %0, 0\n\tlw zero, 0(%1)" : "=&r"(pc) : "r"(at) : "memory");
    fault_pc = pc + 4;
}

static void store(u64 at) {
    u64 pc;
    trap.count = 0;
    __asm__ volatile("auipc %0, 0\n\tsw zero, 0(%1)" : "=&r"(pc) : "r"(at) : "memory");
    fault_pc = pc + 4;
}

static void note(u64 at, bool right) {
    tally(at, right, trap.count ? trap.cause : ~0ull);
}

static bool reflected(u64 at, u64 cause) {
    return trap.count == 1 && trap.cause == cause && trap.tval == at && trap.epc == fault_pc;
}

static void nothing(u64 at) {
    load(at);
    note(at, reflected(at, CAUSE_LOAD_ACCESS));
    store(at);
    note(at, reflected(at, CAUSE_STORE_ACCESS));
}

static void something(u64 at) {
    load(at);
    note(at, trap.count == 0);
}

static void devices(void) {
    tally_begin();
    for (u32 i = 0; i < region_count; i++) {
        nothing(regions[i].base - 4);
        something(regions[i].base);
        something(regions[i].end - 4);
        nothing(regions[i].end);
    }
    tally_end("every_region_begins_and_ends_where_it_should");
    tally_begin();
    for (u64 n = cpus; n < 32; n++)
        nothing(IMSIC + 0x1000 * n);
    tally_end("there_is_no_interrupt_file_of_a_hart_that_is_not_there");
    tally_begin();
    nothing(has_aia() ? PLIC : APLIC);
    nothing(has_aia() ? PLIC + 0x200004 : IMSIC);
    tally_end("only_one_kind_of_interrupt_controller_is_there");
}

static void run(u64 at) {
    trap.count = 0;
    __asm__ volatile("jalr ra, 0(%0)" ::"r"(at) : "ra", "memory");
}

static void memory(void) {
    volatile u64 *last = (volatile u64 *)(ram_end - 8);
    trap.count = 0;
    *last = 0x0123456789abcdef;
    CHECK("the_last_word_of_memory_is_memory", trap.count == 0 && *last == 0x0123456789abcdef, "%u traps, %x",
          trap.count, *last);
    *(volatile u32 *)(ram_end - 4) = RET;
    __asm__ volatile("fence.i" ::: "memory");
    run(ram_end - 4);
    CHECK("the_last_instruction_of_memory_executes", trap.count == 0, "%u traps, cause %u", trap.count, trap.cause);
    *(volatile u16 *)(ram_end - 2) = (u16)RET; // the other half is beyond
    __asm__ volatile("fence.i" ::: "memory");
    run(ram_end - 2);
    CHECK("an_instruction_that_begins_in_memory_and_ends_beyond_faults_at_its_second_half",
          trap.count == 1 && trap.cause == CAUSE_FETCH_ACCESS && trap.epc == ram_end - 2 && trap.tval == ram_end,
          "%u traps, cause %u, epc %x, tval %x", trap.count, trap.cause, trap.epc, trap.tval);
    trap.count = 0;
    *last = 0;
    // Each MiB has its own page of memory: no alias, no hole.
    for (u64 at = ram_end - (1 << 20); at >= (u64)__image_end + (1 << 20); at -= 1 << 20)
        *(volatile u64 *)at = at;
    u64 bad = 0;
    for (u64 at = ram_end - (1 << 20); at >= (u64)__image_end + (1 << 20); at -= 1 << 20)
        bad += *(volatile u64 *)at != at;
    CHECK("no_two_addresses_are_the_same_memory", bad == 0 && trap.count == 0, "%u are, %u traps", bad, trap.count);
}

// The scratch register of the UART is what nothing may be stored to.
#define FAULT(name, at, right, ...)                                                                                    \
    do {                                                                                                               \
        u64 at_ = (at), base_ = at_;                                                                                   \
        write8(UART + UART_SCR, 0x5a);                                                                                 \
        trap.count = 0;                                                                                                \
        __asm__ volatile(__VA_ARGS__ : "+r"(base_)::"t0", "t1", "memory");                                             \
        u64 count_ = trap.count;                                                                                       \
        CHECK(name, count_ == 1 && (right) && base_ == at_ && read8(UART + UART_SCR) == 0x5a,                          \
              "%u traps, cause %u, tval %x, scratch %x", count_, trap.cause, trap.tval, (u64)read8(UART + UART_SCR));  \
    } while (0)
#define LOADS(first, last) (trap.cause == CAUSE_LOAD_ACCESS && trap.tval >= (first) && trap.tval <= (last))
#define STORES(first, last) (trap.cause == CAUSE_STORE_ACCESS && trap.tval >= (first) && trap.tval <= (last))

static void odd(void) {
    u64 scr = UART + UART_SCR;
    FAULT("an_unaligned_load_from_a_device_is_an_access_fault", UART + 5, LOADS(UART + 5, UART + 8), "lw t0, 0(%0)");
    FAULT("an_unaligned_store_to_a_device_is_an_access_fault", UART + 6, STORES(UART + 6, UART + 9), "sw zero, 0(%0)");
    FAULT("an_unaligned_load_across_the_end_of_memory_is_an_access_fault", ram_end - 4, LOADS(ram_end - 4, ram_end),
          "ld t0, 0(%0)");
    FAULT("an_unaligned_store_across_the_end_of_memory_is_an_access_fault", ram_end - 4, STORES(ram_end - 4, ram_end),
          "sd zero, 0(%0)");
    FAULT("a_reserving_load_from_a_device_is_an_access_fault", UART + 4, LOADS(UART + 4, UART + 4), "lr.w t0, (%0)");
    FAULT("a_reserving_load_beyond_memory_is_an_access_fault", ram_end, LOADS(ram_end, ram_end), "lr.d t0, (%0)");
    FAULT("an_atomic_addition_to_a_device_is_an_access_fault", UART + 4, STORES(UART + 4, UART + 4),
          "amoadd.w t0, sp, (%0)");
    FAULT("an_atomic_swap_with_a_device_is_an_access_fault", UART, STORES(UART, UART), "amoswap.d t0, sp, (%0)");
    FAULT("an_atomic_operation_beyond_memory_is_an_access_fault", ram_end, STORES(ram_end, ram_end),
          "amoor.d t0, sp, (%0)");
    csr_set(sstatus, 1ull << 13); // floating point on: the instruction itself is fine
    FAULT("a_floating_point_load_from_a_device_is_an_access_fault", UART, LOADS(UART, UART),
          ".insn i 0x07, 3, x1, %0, 0");
    FAULT("a_floating_point_store_to_a_device_is_an_access_fault", UART, STORES(UART, UART),
          ".insn s 0x27, 3, x1, 0(%0)");
    // A conditional store without a reservation fails, or faults; it never stores.
    u64 status = 9;
    write8(scr, 0x5a);
    trap.count = 0;
    __asm__ volatile("sc.w %0, sp, (%1)" : "+&r"(status) : "r"(UART + 4) : "memory");
    CHECK("a_conditional_store_to_a_device_does_not_store",
          (trap.count == 1 ? trap.cause == CAUSE_STORE_ACCESS : status != 0) && read8(scr) == 0x5a,
          "%u traps, status %u, scratch %x", trap.count, status, (u64)read8(scr));
}

static void execute(u64 at, const char *name) {
    run(at);
    CHECK(name, trap.count == 1 && trap.cause == CAUSE_FETCH_ACCESS && trap.tval == at && trap.epc == at,
          "%u traps, cause %u, epc %x, tval %x", trap.count, trap.cause, trap.epc, trap.tval);
}

// Sign-extended loads, loads of every width, and stores of part of a register.
static void widths(void) {
    u64 a, b, c, d;
    trap.count = 0;
    write8(UART + UART_SCR, 0x85);
    __asm__ volatile("lb %0, 0(%4)\n\tlbu %1, 0(%4)\n\tlh %2, -1(%4)\n\tlw %3, -3(%4)"
                     : "=&r"(a), "=&r"(b), "=&r"(c), "=&r"(d)
                     : "r"(UART + UART_SCR)
                     : "memory");
    CHECK("a_loads_sign_is_extended", trap.count == 0 && a == 0xffffffffffffff85 && b == 0x85, "%u traps, %x, %x",
          trap.count, a, b);
    CHECK("a_wide_load_has_the_first_register_in_its_low_byte", (c & 0xff) == 0xb0 && (d & 0xff) == 0, "%x, %x", c, d);
    trap.count = 0;
    __asm__ volatile("lbu zero, 0(%0)" ::"r"(UART + UART_SCR) : "memory");
    CHECK("a_load_into_register_0_is_a_load", trap.count == 0, "%u traps", trap.count);
}

void guest_main(u64 dtb) {
    ram_end = RAM + ram_size(dtb);
    cpus = cpu_count();
    say("bounds: %u CPUs, memory ends at %x\n", cpus, ram_end);
    devices();
    memory();
    odd();
    widths();
    execute(ram_end, "an_instruction_right_beyond_memory_is_an_access_fault");
    execute(RAM - 4, "an_instruction_right_below_memory_is_an_access_fault");
    execute(RTC, "an_instruction_in_the_clock_is_an_access_fault");
    execute(UART, "an_instruction_in_the_UART_is_an_access_fault");
    if (has_aia())
        execute(IMSIC + 0x1000 * cpus, "an_instruction_behind_the_interrupt_files_is_an_access_fault");
    else
        execute(PLIC + 0x200004, "an_instruction_in_the_PLIC_is_an_access_fault");
}
