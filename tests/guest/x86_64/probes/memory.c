// SPDX-License-Identifier: Apache-2.0
// Every way to touch an address where nothing is, and devices in ways that nobody does: reads are ones, writes are
// lost, and this program comes to its end.
#include "guest.h"

static u64 ram_end;
u8 accesses_spare[64]; // where strings go to and come from

void secondary_main(u64 context) {
    (void)context;
}

static void note(u64 at, u64 value, bool right) {
    tally(at, right, trap.count ? trap.vector : value);
}

static u64 access(u64 at, u32 size, bool write) {
    u64 v = write ? 0x1122334455667788 : 0;
    trap.count = 0;
    switch (size * 2 + write) {
    case 2:
        MAY_TRAP("movb (%1), %b0", : "+q"(v) : "r"(at) : "r11", "memory");
        break;
    case 3:
        MAY_TRAP("movb %b0, (%1)", : "+q"(v) : "r"(at) : "r11", "memory");
        break;
    case 4:
        MAY_TRAP("movw (%1), %w0", : "+r"(v) : "r"(at) : "r11", "memory");
        break;
    case 5:
        MAY_TRAP("movw %w0, (%1)", : "+r"(v) : "r"(at) : "r11", "memory");
        break;
    case 8:
        MAY_TRAP("movl (%1), %k0", : "+r"(v) : "r"(at) : "r11", "memory");
        break;
    case 9:
        MAY_TRAP("movl %k0, (%1)", : "+r"(v) : "r"(at) : "r11", "memory");
        break;
    case 16:
        MAY_TRAP("movq (%1), %0", : "+r"(v) : "r"(at) : "r11", "memory");
        break;
    default:
        MAY_TRAP("movq %0, (%1)", : "+r"(v) : "r"(at) : "r11", "memory");
        break;
    }
    return v;
}

static u64 ones(u32 size) {
    return ~0ull >> (64 - 8 * size);
}

static void expect_nothing_at(u64 at) {
    if (at + 8 > ram_end)
        for (u32 size = 1; size <= 8; size *= 2) {
            u64 to = at & ~(u64)(size - 1), value = access(to, size, false);
            note(to, value, trap.count == 0 && value == ones(size));
            (void)access(to, size, true);
            note(to, 0, trap.count == 0);
        }
}

static bool is_device(u64 at) {
    return (at >= LAPIC && at < LAPIC + 0x1000) || (at >= IOAPIC && at < IOAPIC + 0x1000);
}

static void sweep(void) {
    tally_begin();
    for (u64 at = ram_end; at < 1ull << 32; at += 8 << 20)
        if (!is_device(at))
            expect_nothing_at(at);
    tally_end("every_8_MiB_up_to_4_GiB_nothing_answers");
    tally_begin();
    expect_nothing_at(ram_end);
    expect_nothing_at(LAPIC - 8);
    expect_nothing_at(LAPIC + 0x1000);
    expect_nothing_at(IOAPIC - 8);
    expect_nothing_at(IOAPIC + 0x1000);
    expect_nothing_at((1ull << 32) - 8);
    tally_end("around_each_device_and_the_memory_nothing_answers");
}

// Any size at any offset of a device, and across its end. Not the ICR, which would end us.
static void devices(const char *name, u64 base, u64 skip) {
    tally_begin();
    for (u64 offset = 0; offset <= 0x1000 - 8; offset += 1 + offset % 3)
        for (u32 size = 1; size <= 8; size *= 2) {
            if (offset + size > skip && offset < skip + 16)
                continue;
            (void)access(base + offset, size, false);
            note(base + offset, 0, trap.count == 0);
            (void)access(base + offset, size, true);
            note(base + offset, 0, trap.count == 0);
        }
    (void)access(base + 0xffc, 8, false);
    note(base + 0xffc, 0, trap.count <= 1);
    tally_end(name);
}

// An instruction on `at`, which a device answers or nothing does: carried out, or an exception that comes.
#define ODD(name, at, ...)                                                                                             \
    do {                                                                                                               \
        u64 base_ = (at);                                                                                              \
        trap.count = 0;                                                                                                \
        MAY_TRAP(__VA_ARGS__, : "+b"(base_)::"rax", "rcx", "rdx", "rsi", "rdi", "r8", "r11", "cc", "memory");          \
        CHECK(name, trap.count <= 1 && base_ == (at), "%u traps, vector %u", trap.count, trap.vector);                 \
    } while (0)

static void odd(void) {
    static const u64 places[] = {LAPIC + APIC_LDR, IOAPIC + 0x10, 0xd0000000};
    for (u32 i = 0; i < ARRAY_SIZE(places); i++) {
        u64 at = places[i];
        ODD("an_AND_to_memory", at, "andl $0xff000000, (%0)");
        ODD("an_OR_from_memory", at, "orl (%0), %%eax");
        ODD("a_TEST", at, "testl $1, (%0)");
        ODD("a_CMP_with_an_immediate", at, "cmpl $1, (%0)");
        ODD("an_exchange", at, "xor %%eax, %%eax; xchgl %%eax, (%0)");
        ODD("a_locked_addition", at, "lock addl $0, (%0)");
        ODD("a_compare_and_exchange", at, "lock cmpxchgl %%ecx, (%0)");
        ODD("an_increment", at, "incl (%0)");
        ODD("a_zero_extension", at, "movzbl (%0), %%eax");
        ODD("a_sign_extension", at, "movslq (%0), %%rax");
        ODD("a_bit_test", at, "btl $3, (%0)");
        ODD("a_bit_set", at, "lock btsl $31, (%0)");
        ODD("a_string_store", at, "movq %0, %%rdi; xor %%eax, %%eax; mov $4, %%ecx; cld; rep stosl");
        ODD("a_string_move_from", at, "movq %0, %%rsi; lea accesses_spare(%%rip), %%rdi; mov $4, %%ecx; rep movsl");
        ODD("a_string_move_to", at, "movq %0, %%rdi; lea accesses_spare(%%rip), %%rsi; mov $4, %%ecx; rep movsl");
        ODD("a_push_from", at, "push (%0); pop %%rax");
        ODD("a_jump_through", at + 8, "jmp *(%0)");
        ODD("a_cache_line_flush", at, "clflush (%0)");
        ODD("a_floating_point_load", at, "flds (%0)");
        ODD("a_vector_load", at, ".byte 0x0f, 0x10, 0x03"); // MOVUPS (%rbx), %xmm0
        ODD("an_unaligned_access", at + 1, "movl (%0), %%eax");
        ODD("an_access_with_all_prefixes", at, ".byte 0x66, 0x66, 0x66, 0x2e, 0x3e, 0x48; movl (%0), %%eax");
    }
}

static void fetch(const char *name, u64 at) {
    trap.count = 0;
    MAY_TRAP("jmp *%0", ::"b"(at) : "rax", "rcx", "rdx", "r11", "memory");
    CHECK(name, trap.count == 1, "%u traps, vector %u", trap.count, trap.vector);
}

static void fetches(void) {
    fetch("a_fetch_from_the_local_APIC_is_an_exception", LAPIC);
    fetch("a_fetch_from_the_IOAPIC_is_an_exception", IOAPIC + 0x10);
    fetch("a_fetch_from_where_nothing_is_is_an_exception", 0xd0000000);
    fetch("a_fetch_just_above_memory_is_an_exception", ram_end);
    fetch("a_fetch_from_no_canonical_address_is_an_exception", 1ull << 50);
    fetch("a_fetch_from_no_mapped_address_is_an_exception", 1ull << 40);
}

void guest_main(u64 zero_page) {
    ram_end = ram_size(zero_page);
    say("memory: %u MiB\n", ram_end >> 20);
    sweep();
    odd();
    devices("the_local_APIC_bears_any_access", LAPIC, APIC_ICR);
    apic_write(APIC_SVR, 0x100 | VECTOR_SPURIOUS);
    devices("the_IOAPIC_bears_any_access", IOAPIC, 0x1000);
    fetches();
}
