// SPDX-License-Identifier: Apache-2.0
// Every way to touch an address where nothing is, and devices in ways that nobody does: each has to be answered with
// an external abort, or carried out; this program has to come to its end.
#include "guest.h"

static u64 ram_end, gicr_end = GICR;

void secondary_main(u64 context) {
    (void)context;
}

static void access(u64 at, u32 size, bool write) {
    u64 v = 0;
    trap.count = 0;
    switch (size * 2 + write) {
    case 2:
        __asm__ volatile("ldrb %w0, [%1]" : "+r"(v) : "r"(at) : "memory");
        break;
    case 3:
        __asm__ volatile("strb %w0, [%1]" : "+r"(v) : "r"(at) : "memory");
        break;
    case 4:
        __asm__ volatile("ldrh %w0, [%1]" : "+r"(v) : "r"(at) : "memory");
        break;
    case 5:
        __asm__ volatile("strh %w0, [%1]" : "+r"(v) : "r"(at) : "memory");
        break;
    case 8:
        __asm__ volatile("ldr %w0, [%1]" : "+r"(v) : "r"(at) : "memory");
        break;
    case 9:
        __asm__ volatile("str %w0, [%1]" : "+r"(v) : "r"(at) : "memory");
        break;
    case 16:
        __asm__ volatile("ldr %0, [%1]" : "+r"(v) : "r"(at) : "memory");
        break;
    default:
        __asm__ volatile("str %0, [%1]" : "+r"(v) : "r"(at) : "memory");
        break;
    }
}

static void note(u64 at, bool right) {
    tally(at, right, trap.count ? trap.esr : 0);
}

static bool aborted(u64 at) {
    return trap.count == 1 && ESR_EC(trap.esr) == EC_DABT && ESR_FSC(trap.esr) == FSC_EXTERNAL && trap.far == at;
}

static void expect_nothing_at(u64 at) {
    if (at + 8 > RAM && at < ram_end)
        return;
    for (u32 size = 1; size <= 8; size *= 2)
        for (u32 write = 0; write < 2; write++) {
            access(at & ~(u64)(size - 1), size, write);
            note(at, aborted(at & ~(u64)(size - 1)));
        }
}

static bool is_device(u64 at) {
    return (at >= GICD && at < GICD + 0x10000) || (at >= GICR && at < gicr_end) || (at >= UART && at < UART + 0x1000) ||
           (at >= RTC && at < RTC + 0x1000);
}

static void sweep(void) {
    tally_begin();
    for (u64 at = 0; at < 8ull << 30; at += 2 << 20)
        if (!is_device(at))
            expect_nothing_at(at);
    tally_end("every_2_MiB_up_to_8_GiB_nothing_answers");
    tally_begin();
    for (u32 bit = 12; bit < 40; bit++) {
        u64 at = 1ull << bit;
        if (!is_device(at))
            expect_nothing_at(at);
        if (!is_device(at - 8))
            expect_nothing_at(at - 8);
        if (!is_device(at + 0x1000))
            expect_nothing_at(at + 0x1000);
    }
    tally_end("powers_of_two_up_to_2_to_the_39_nothing_answers");
    tally_begin();
    const u64 edges[] = {GICD - 8,      GICD + 0x10000, GICR - 8,     gicr_end, UART - 8,
                         UART + 0x1000, RTC - 8,        RTC + 0x1000, RAM - 8};
    for (u32 i = 0; i < ARRAY_SIZE(edges); i++)
        expect_nothing_at(edges[i]);
    expect_nothing_at(ram_end);
    tally_end("around_each_device_and_the_memory_nothing_answers");
}

// Above what stage 2 can translate, the abort may be of another kind, but it comes.
static void beyond(void) {
    tally_begin();
    for (u32 bit = 40; bit < 48; bit++) {
        access(1ull << bit, 4, false);
        note(1ull << bit, trap.count == 1 && ESR_EC(trap.esr) == EC_DABT);
        access(1ull << bit, 8, true);
        note(1ull << bit, trap.count == 1 && ESR_EC(trap.esr) == EC_DABT);
    }
    tally_end("beyond_the_physical_address_space_an_abort_comes");
}

// Any size at any offset of a device: carried out or aborted.
static void devices(const char *name, u64 base, u64 size, u64 step, bool writes) {
    tally_begin();
    for (u64 offset = 0; offset < size; offset += step)
        for (u32 width = 1; width <= 8; width *= 2) {
            access((base + offset) & ~(u64)(width - 1), width, false);
            note(base + offset, trap.count == 0 || aborted((base + offset) & ~(u64)(width - 1)));
        }
    // Not the registers that would end our own output or have the interrupt lines move.
    for (u64 offset = 0x100; writes && offset < size; offset += step)
        for (u32 width = 1; width <= 8; width *= 2) {
            access((base + offset) & ~(u64)(width - 1), width, true);
            note(base + offset, trap.count == 0 || aborted((base + offset) & ~(u64)(width - 1)));
        }
    tally_end(name);
}

static void unaligned(void) {
    tally_begin();
    for (u32 i = 1; i < 4; i++) {
        u64 v;
        trap.count = 0;
        __asm__ volatile("ldr %w0, [%1]" : "=r"(v) : "r"(GICD + i) : "memory");
        note(GICD + i, trap.count == 1 && ESR_EC(trap.esr) == EC_DABT);
    }
    tally_end("an_unaligned_access_to_a_device_is_an_abort");
}

// The hardware gives no syndrome for these.
#define ODD(name, at, ...)                                                                                             \
    do {                                                                                                               \
        u64 base_ = (at), before_ = base_;                                                                             \
        trap.count = 0;                                                                                                \
        __asm__ volatile(__VA_ARGS__ : "+r"(base_)::"x9", "x10", "w11", "v0", "v1", "memory");                         \
        CHECK(name, trap.count == 0 || (trap.count == 1 && ESR_EC(trap.esr) == EC_DABT && base_ == before_),           \
              "%u traps, esr %x, base %x", trap.count, trap.esr, base_);                                               \
    } while (0)

static void odd(void) {
    static const u64 places[] = {GICD + 8, UART + 0x18, RTC, 0x0b000000};
    for (u32 i = 0; i < ARRAY_SIZE(places); i++) {
        u64 at = places[i];
        ODD("load_pair", at, "ldp w9, w10, [%0]");
        ODD("load_pair_of_64_bits", at & ~0xfull, "ldp x9, x10, [%0]");
        ODD("load_with_post_index", at, "ldr w9, [%0], #4");
        ODD("load_with_pre_index", at, "ldr w9, [%0, #4]!");
        ODD("load_of_a_SIMD_register", at & ~0xfull, SIMD "ldr q0, [%0]");
        ODD("load_of_two_SIMD_registers", at & ~0xfull, SIMD "ldp q0, q1, [%0]");
        ODD("structure_load", at & ~0xfull, SIMD "ld1 {v0.16b}, [%0]");
        ODD("load_acquire", at, "ldar w9, [%0]");
        ODD("load_exclusive", at, "ldxr w9, [%0]");
        ODD("store_exclusive", at, "ldxr w9, [%0]\n\tstxr w11, w9, [%0]");
        ODD("load_of_no_register", at, "ldr wzr, [%0]");
        ODD("signed_load", at, "ldrsb x9, [%0]");
        ODD("prefetch", at, "prfm pldl1keep, [%0]");
    }
    ODD("store_pair", GICD + 8, "stp wzr, wzr, [%0]");
    ODD("store_with_post_index", GICD + 8, "str wzr, [%0], #4");
    ODD("store_of_a_SIMD_register", GICD, SIMD "movi v0.16b, #0\n\tstr q0, [%0]");
    ODD("cache_line_zeroed_where_nothing_is", 0x0b000000, "dc zva, %0");
    ODD("cache_line_zeroed_in_a_device", GICD + 0x8000, "dc zva, %0");
    ODD("cache_line_cleaned_where_nothing_is", 0x0b000000, "dc cvac, %0");
    ODD("cache_line_cleaned_in_a_device", GICD, "dc civac, %0");
}

static void fetch(const char *name, u64 at) {
    trap.count = 0;
    __asm__ volatile("mov x9, x30\n\tblr %0\n\tmov x30, x9" ::"r"(at)
                     : "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16", "x17", "x30", "memory");
    CHECK(name, trap.count == 1 && ESR_EC(trap.esr) == EC_IABT && trap.far == at, "%u traps, esr %x, far %x",
          trap.count, trap.esr, trap.far);
}

static void fetches(void) {
    fetch("fetch_from_address_0_is_a_prefetch_abort", 0);
    fetch("fetch_from_the_distributor_is_a_prefetch_abort", GICD);
    fetch("fetch_from_the_UART_is_a_prefetch_abort", UART);
    fetch("fetch_just_below_memory_is_a_prefetch_abort", RAM - 4);
    fetch("fetch_just_above_memory_is_a_prefetch_abort", ram_end);
    fetch("fetch_at_64_GiB_is_a_prefetch_abort", 64ull << 30);
    fetch("fetch_at_512_GiB_is_a_prefetch_abort", 512ull << 30);
}

static void read_only(const char *name, u64 at) {
    u32 before = read32(at);
    trap.count = 0;
    write32(at, ~before);
    CHECK(name, trap.count == 0 && read32(at) == before, "%u traps, was %x, is %x", trap.count, (u64)before,
          (u64)read32(at));
}

void guest_main(u64 dtb) {
    ram_end = RAM + ram_size(dtb);
    for (u64 cpu = 0; psci_affinity_info(cpu) >= 0; cpu++)
        gicr_end += GICR_STRIDE;
    say("memory: %u MiB\n", (ram_end - RAM) >> 20);
    sweep();
    beyond();
    read_only("GICD_TYPER_cannot_be_written", GICD + 4);
    read_only("GICD_IIDR_cannot_be_written", GICD + 8);
    read_only("GICD_PIDR2_cannot_be_written", GICD + 0xffe8);
    read_only("GICR_IIDR_cannot_be_written", GICR + 4);
    read_only("GICR_TYPER_cannot_be_written", GICR + 8);
    read_only("GICR_PIDR2_cannot_be_written", GICR + 0xffe8);
    read_only("UART_PeriphID_cannot_be_written", UART + 0xfe0);
    odd();
    unaligned();
    fetches();
    devices("the_distributor_bears_any_access", GICD, 0x10000, 4, true);
    devices("the_redistributor_bears_any_access", GICR, gicr_end - GICR, 4, true);
    devices("the_RTC_bears_any_access", RTC, 0x1000, 2, true);
    devices("the_UART_bears_any_access", UART, 0x1000, 2, true);
}
