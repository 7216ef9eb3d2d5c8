// SPDX-License-Identifier: Apache-2.0
// Where the memory and each device end: what is beyond reads as ones and takes writes without an effect; and what is
// fetched there, or crosses the edge, is as the architecture says or an exception of the program's own.
#include "guest.h"

static u64 cpus, ram_end;

void secondary_main(u64 context) {
    (void)context;
}

static u64 load(u64 at, u32 size) {
    u64 v = 0;
    trap.count = 0;
    if (size == 8)
        MAY_TRAP("movq (%1), %0", : "+r"(v) : "r"(at) : "r11", "memory");
    else
        MAY_TRAP("movl (%1), %k0", : "+r"(v) : "r"(at) : "r11", "memory");
    return v;
}

static void store(u64 at, u32 v) {
    trap.count = 0;
    MAY_TRAP("movl %0, (%1)", ::"r"(v), "r"(at) : "r11", "memory");
}

static void note(u64 at, u64 came, bool right) {
    tally(at, right, trap.count ? trap.vector : came);
}

static void nothing(u64 at) {
    u64 v = load(at, 4);
    note(at, v, trap.count == 0 && v == 0xffffffff);
    store(at, 0x12345678);
    note(at, 0, trap.count == 0);
    v = load(at, 4);
    note(at, v, trap.count == 0 && v == 0xffffffff);
}

static void something(u64 at) {
    u64 v = load(at, 4);
    note(at, v, trap.count == 0 && v != 0xffffffff);
}

static void devices(void) {
    tally_begin();
    nothing(IOAPIC - 4);
    something(IOAPIC);
    something(IOAPIC + 0xffc);
    nothing(IOAPIC + 0x1000);
    nothing(LAPIC - 4);
    something(LAPIC + APIC_VERSION);
    something(LAPIC + 0xffc);
    nothing(LAPIC + 0x1000);
    apic_write(APIC_ESR, 0);
    nothing(0xfffffffc);
    tally_end("every_device_begins_and_ends_where_it_should");
    // COM1, and ports right beside devices.
    static const struct {
        u16 port;
        bool there;
    } edges[] = {{COM1 - 1, false},  {COM1 + UART_LSR, true}, {COM1 + 8, false},          {PORT_PIT - 1, false},
                 {0x600 - 1, false}, {PORT_PM_TIMER, true},   {PORT_PM_TIMER + 8, false}, {PORT_CMOS - 1, false}};
    tally_begin();
    for (u32 i = 0; i < ARRAY_SIZE(edges); i++) {
        u8 v = in8(edges[i].port);
        if (edges[i].port == PORT_PM_TIMER) // counts, and so is anything
            continue;
        tally_value(edges[i].port, (v == 0xff) != edges[i].there, v, edges[i].there ? 0 : 0xff);
    }
    tally_end("every_port_begins_and_ends_where_it_should");
}

// An exception there leaves the return address on the stack.
static void call(u64 at) {
    trap.count = 0;
    MAY_TRAP("movq %%rsp, %%rbx; call *%0; 9: movq %%rbx, %%rsp", ::"r"(at) : "r11", "rbx", "rax", "memory");
}

static void memory(void) {
    volatile u64 *last = (volatile u64 *)(ram_end - 8);
    *last = 0x0123456789abcdef;
    CHECK("the_last_word_of_memory_is_memory", *last == 0x0123456789abcdef, "%x", *last);
    *(volatile u8 *)(ram_end - 1) = 0xc3; // RET
    call(ram_end - 1);
    CHECK("the_last_instruction_of_memory_executes", trap.count == 0, "%u traps, vector %u", trap.count, trap.vector);
    *last = 0;
    tally_begin();
    nothing(ram_end);
    tally_end("behind_the_memory_is_nothing");
    // Each MiB has its own page of memory: no alias, no hole.
    for (u64 at = ram_end - (1 << 20); at >= (u64)__image_end + (1 << 20); at -= 1 << 20)
        *(volatile u64 *)at = at;
    u64 bad = 0;
    for (u64 at = ram_end - (1 << 20); at >= (u64)__image_end + (1 << 20); at -= 1 << 20)
        bad += *(volatile u64 *)at != at;
    CHECK("no_two_addresses_are_the_same_memory", bad == 0, "%u are", bad);
    for (u64 at = 0xa0000; at < 0xe0000; at += 0x1000) // what the memory map leaves out is memory, or nothing
        (void)load(at, 8);
    CHECK("where_a_PC_has_its_ROMs_nothing_faults", trap.count == 0, "%u traps", trap.count);
}

static void execute(const char *name, u64 at) {
    call(at);
    CHECK(name, trap.count == 1 && trap.vector == X86_UD && trap.rip == at, "%u traps, vector %u at %x", trap.count,
          trap.vector, trap.rip);
}

// Across the edge: one half is memory. Exceptions, if there are any, are the instruction's own, and the half that is
// memory is not written in vain.
static void across(void) {
    *(volatile u32 *)(ram_end - 4) = 0x11223344;
    u64 v = load(ram_end - 4, 8);
    CHECK("a_load_across_the_end_of_memory_is_a_fault_or_ones",
          trap.count <= 1 && (trap.count ? trap.vector == X86_UD || trap.vector == X86_GP : (u32)v == 0x11223344),
          "%u traps, vector %u, %x", trap.count, trap.vector, v);
    trap.count = 0;
    MAY_TRAP("movq %0, (%1)", ::"r"(~0ull), "r"(ram_end - 4) : "r11", "memory");
    CHECK("a_store_across_the_end_of_memory_is_a_fault_or_done", trap.count <= 1, "%u traps", trap.count);
    *(volatile u16 *)(ram_end - 2) = 0x05b8; // MOV EAX, imm32: the rest is beyond
    execute("an_instruction_that_begins_in_memory_and_ends_beyond_is_undefined", ram_end - 2);
}

void guest_main(u64 zero_page) {
    ram_end = RAM + ram_size(zero_page);
    cpus = cpu_count();
    say("bounds: %u CPUs, memory ends at %x\n", cpus, ram_end);
    devices();
    memory();
    across();
    execute("what_is_fetched_right_behind_memory_is_undefined", ram_end);
    execute("what_is_fetched_where_nothing_is_is_undefined", 0xd0000000);
    execute("what_is_fetched_in_an_IOAPIC_is_undefined", IOAPIC + 0x20);
    trap.count = 0;
    no_traps();
}
