// SPDX-License-Identifier: Apache-2.0
// Every way to touch an address where nothing is, and devices in ways that nobody does: each has to be answered with
// an access fault, or carried out; this program has to come to its end.
#include "guest.h"

static u64 ram_end;

void secondary_main(u64 context) {
    (void)context;
}

// Uncompressed and compressed forms by turns.
static void access(u64 at, u32 size, bool write) {
    register u64 a __asm__("a0") = at;
    register u64 v __asm__("a1") = 0;
    trap.count = 0;
    switch (size * 2 + write) {
    case 2:
        __asm__ volatile("lbu %0, 0(%1)" : "+r"(v) : "r"(a) : "memory");
        break;
    case 3:
        __asm__ volatile("sb %0, 0(%1)" : "+r"(v) : "r"(a) : "memory");
        break;
    case 4:
        __asm__ volatile("lh %0, 0(%1)" : "+r"(v) : "r"(a) : "memory");
        break;
    case 5:
        __asm__ volatile("sh %0, 0(%1)" : "+r"(v) : "r"(a) : "memory");
        break;
    case 8:
        __asm__ volatile("c.lw %0, 0(%1)" : "+r"(v) : "r"(a) : "memory");
        break;
    case 9:
        __asm__ volatile("c.sw %0, 0(%1)" : "+r"(v) : "r"(a) : "memory");
        break;
    case 16:
        __asm__ volatile("c.ld %0, 0(%1)" : "+r"(v) : "r"(a) : "memory");
        break;
    default:
        __asm__ volatile("c.sd %0, 0(%1)" : "+r"(v) : "r"(a) : "memory");
        break;
    }
}

static void note(u64 at, bool right) {
    tally(at, right, trap.count ? trap.cause : ~0ull);
}

static bool faulted(u64 at, bool write) {
    return trap.count == 1 && trap.cause == (write ? CAUSE_STORE_ACCESS : CAUSE_LOAD_ACCESS) && trap.tval == at;
}

static void expect_nothing_at(u64 at) {
    if (at + 8 > RAM && at < ram_end)
        return;
    for (u32 size = 1; size <= 8; size *= 2)
        for (u32 write = 0; write < 2; write++) {
            u64 to = at & ~(u64)(size - 1);
            access(to, size, write);
            note(to, faulted(to, write));
        }
}

static void sweep(void) {
    tally_begin();
    for (u64 at = 0x800000; at < 8ull << 30; at += 2 << 20)
        if (!is_something(at))
            expect_nothing_at(at);
    tally_end("every_2_MiB_up_to_8_GiB_nothing_answers");
    tally_begin();
    for (u32 bit = 12; bit < 39; bit++) {
        u64 at = 1ull << bit;
        if (!is_something(at))
            expect_nothing_at(at);
        if (!is_something(at - 8))
            expect_nothing_at(at - 8);
    }
    tally_end("powers_of_two_up_to_2_to_the_38_nothing_answers");
    tally_begin();
    for (u32 i = 0; i < region_count; i++) {
        expect_nothing_at(regions[i].base - 8);
        expect_nothing_at(regions[i].end);
    }
    tally_end("around_each_device_and_the_memory_nothing_answers");
}

// Above what stage 2 can translate, the fault may be of another kind, but it comes.
static void beyond(void) {
    tally_begin();
    for (u32 bit = 39; bit < 64; bit++) {
        access(1ull << bit, 4, false);
        note(1ull << bit, trap.count == 1);
        access(1ull << bit, 8, true);
        note(1ull << bit, trap.count == 1);
    }
    tally_end("beyond_the_physical_address_space_a_fault_comes");
}

// Any size at any offset of a device: carried out or answered with a fault.
static void devices(const char *name, u64 base, u64 from, u64 size, u64 step) {
    tally_begin();
    for (u64 offset = from; offset < size; offset += step)
        for (u32 width = 1; width <= 8; width *= 2)
            for (u32 write = 0; write < 2; write++) {
                u64 at = (base + offset) & ~(u64)(width - 1);
                access(at, width, write);
                note(at, trap.count == 0 || faulted(at, write));
            }
    tally_end(name);
}

#define ODD(name, at, ...)                                                                                             \
    do {                                                                                                               \
        u64 base_ = (at), before_ = base_;                                                                             \
        trap.count = 0;                                                                                                \
        __asm__ volatile(__VA_ARGS__ : "+r"(base_)::"t1", "t2", "memory");                                             \
        CHECK(name, trap.count <= 2 && base_ == before_, "%u traps, cause %u, base %x", trap.count, trap.cause,        \
              base_);                                                                                                  \
    } while (0)

static void odd(void) {
    const u64 places[] = {has_aia() ? APLIC + 4 : PLIC + 4, UART, RTC, 0x0b000000};
    for (u32 i = 0; i < ARRAY_SIZE(places); i++) {
        u64 at = places[i];
        ODD("an_atomic_addition", at, "amoadd.w t1, zero, (%0)");
        ODD("an_atomic_swap_of_64_bits", at & ~7ull, "amoor.d t1, zero, (%0)");
        ODD("a_load_reserved_and_a_store_conditional", at, "lr.w t1, (%0)\n\tsc.w t2, t1, (%0)");
        ODD("a_load_into_no_register", at, "lw zero, 0(%0)");
        ODD("a_signed_load", at, "lb t1, 0(%0)");
        ODD("a_load_with_an_offset", at, "lw t1, -4(%0)");
        ODD("an_unaligned_load", at + 1, "lw t1, 0(%0)");
        ODD("an_unaligned_load_of_64_bits", at + 4, "ld t1, -3(%0)");
        ODD("a_cache_block_cleaned", at, ".insn i 0x0f, 2, x0, %0, 1");
        ODD("a_cache_block_flushed", at, ".insn i 0x0f, 2, x0, %0, 2");
        ODD("a_floating_point_load", at & ~7ull, ".insn i 0x07, 3, x1, %0, 0");
    }
    ODD("a_cache_block_zeroed_where_nothing_is", 0x0b000000, ".insn i 0x0f, 2, x0, %0, 4");
    ODD("a_cache_block_invalidated_where_nothing_is", 0x0b000000, ".insn i 0x0f, 2, x0, %0, 0");
    ODD("an_unaligned_store", 0x0b000001, "sw zero, 0(%0)");
}

static void fetch(const char *name, u64 at) {
    trap.count = 0;
    __asm__ volatile("jalr ra, 0(%0)" ::"r"(at)
                     : "ra", "t0", "t1", "t2", "t3", "t4", "t5", "t6", "a0", "a1", "a2", "a3", "a4", "a5", "a6", "a7",
                       "memory");
    CHECK(name, trap.count == 1 && trap.cause == CAUSE_FETCH_ACCESS && trap.tval == at, "%u traps, cause %u, tval %x",
          trap.count, trap.cause, trap.tval);
}

static void fetches(void) {
    fetch("fetch_from_address_0_is_an_access_fault", 0);
    fetch("fetch_from_the_interrupt_controller_is_an_access_fault", has_aia() ? APLIC : PLIC);
    fetch("fetch_from_the_UART_is_an_access_fault", UART);
    fetch("fetch_just_below_memory_is_an_access_fault", RAM - 4);
    fetch("fetch_just_above_memory_is_an_access_fault", ram_end);
    fetch("fetch_at_64_GiB_is_an_access_fault", 64ull << 30);
}

void guest_main(u64 dtb) {
    ram_end = RAM + ram_size(dtb);
    say("memory: %u MiB\n", (ram_end - RAM) >> 20);
    sweep();
    beyond();
    odd();
    fetches();
    if (has_aia()) {
        devices("the_APLIC_bears_any_access", APLIC, 0, APLIC_SIZE, 4);
        devices("the_IMSIC_bears_any_access", IMSIC, 0, 0x1000, 4);
    } else {
        devices("the_PLICs_sources_bear_any_access", PLIC, 0, 0x4000, 4);
        devices("the_PLICs_contexts_bear_any_access", PLIC, 0x200000, 0x208000, 4);
        devices("the_PLIC_bears_any_access", PLIC, 0x208000, PLIC_SIZE, 0x1fc);
    }
    devices("the_RTC_bears_any_access", RTC, 0, 0x1000, 2);
    devices("the_UART_bears_any_access", UART, 8, UART_SIZE, 1);
}
