// SPDX-License-Identifier: Apache-2.0
// The hart's three interrupts, and behind the external one a PLIC, or an APLIC and IMSICs.
#include <stdatomic.h>

#include "guest.h"

enum { // AIA 1.0 §4.5
    APLIC_DOMAINCFG = 0,
    APLIC_SOURCECFG = 0, // + 4 n
    APLIC_SETIP = 0x1c00,
    APLIC_SETIPNUM = 0x1cdc,
    APLIC_SETIENUM = 0x1edc,
    APLIC_CLRIENUM = 0x1fdc,
    APLIC_TARGET = 0x3000, // + 4 n
    LEVEL_HIGH = 6,
};

volatile u64 irq_count[16], irq_total, source_count[SOURCES];
volatile u8 irq_cpu[16], source_cpu[SOURCES];
static bool aia;
static volatile u64 ipi_count[IPIS];
static _Atomic u32 mail[CPUS_MAX]; // without IMSICs all IPIs are one interrupt: which they were

struct region regions[REGIONS_MAX];
u32 region_count;

static void region(u64 base, u64 size) {
    regions[region_count++] = (struct region){base, base + size};
}

void machine_init(u64 dtb); // called by start.S
void machine_init(u64 dtb) {
    aia = fdt_find(dtb, "", "riscv,num-sources");
    region(RTC, 0x1000);
    if (aia)
        region(APLIC, APLIC_SIZE);
    else
        region(PLIC, PLIC_SIZE);
    region(UART, UART_SIZE);
    if (aia)
        region(IMSIC, 0x1000 * cpu_count());
    region(RAM, ram_size(dtb));
}

bool is_something(u64 at) {
    for (u32 i = 0; i < region_count; i++)
        if (at >= regions[i].base && at < regions[i].end)
            return true;
    return false;
}

bool has_aia(void) {
    return aia;
}

bool has_sstc(void) {
    struct trap before = trap;
    trap.count = 0;
    __asm__ volatile("csrr zero, 0x14d");
    bool there = trap.count == 0;
    trap = before;
    return there;
}

void irqs_on(void) {
    csr_set(sstatus, 1 << 1);
}

void irqs_off(void) {
    csr_clear(sstatus, 1 << 1);
}

// ── The interrupt file ──────────────────────────────────────────────────────────────────────────────────────────────
u64 file_read(u64 reg) {
    csr_write(0x150, reg); // siselect, sireg
    return csr_read(0x151);
}

void file_write(u64 reg, u64 value) {
    csr_write(0x150, reg);
    csr_write(0x151, value);
}

u32 file_claim(void) {
    u64 top;
    __asm__ volatile("csrrw %0, 0x15c, zero" : "=r"(top)::"memory"); // stopei
    return (u32)(top >> 16);
}

static void file_init(void) {
    for (u64 i = 0; i <= IDENTITIES / 64; i++)
        file_write(EIE0 + 2 * i, ~0ull);
    file_write(EITHRESHOLD, 0);
    file_write(EIDELIVERY, 1);
    if (cpu_index() == 0)
        write32(APLIC + APLIC_DOMAINCFG, 1 << 8);
}

// ── The PLIC ────────────────────────────────────────────────────────────────────────────────────────────────────────
static u64 context_of(u64 hart) {
    return 2 * hart + 1;
}

static void plic_init(void) {
    for (u32 source = 1; source < SOURCES; source++)
        write32(PLIC + 4 * source, 1);
    for (u32 word = 0; word < SOURCES / 32; word++)
        write32(PLIC + 0x2000 + 0x80 * context_of(cpu_index()) + 4 * word, 0);
    write32(PLIC + 0x200000 + 0x1000 * context_of(cpu_index()), 0);
}

u32 plic_claim(u64 hart) {
    return read32(PLIC + 0x200004 + 0x1000 * context_of(hart));
}

void plic_complete(u64 hart, u32 source) {
    write32(PLIC + 0x200004 + 0x1000 * context_of(hart), source);
}

// ── Either ──────────────────────────────────────────────────────────────────────────────────────────────────────────
void irqs_init(void) {
    set_timer(~0ull);
    if (aia)
        file_init();
    else
        plic_init();
    csr_set(sie, 1 << SSI | 1 << STI | 1 << SEI);
}

void source_enable(u64 hart, u32 source, bool on) {
    if (aia) {
        write32(APLIC + APLIC_SOURCECFG + 4 * source, LEVEL_HIGH);
        write32(APLIC + APLIC_TARGET + 4 * source, (u32)(hart << 18) | source);
        write32(APLIC + (on ? APLIC_SETIENUM : APLIC_CLRIENUM), source);
        return;
    }
    u64 at = PLIC + 0x2000 + 0x80 * context_of(hart) + source / 32 * 4;
    u32 bit = 1u << source % 32;
    write32(at, on ? read32(at) | bit : read32(at) & ~bit);
}

bool source_pending(u32 source) {
    return read32((aia ? APLIC + APLIC_SETIP : PLIC + 0x1000) + source / 32 * 4) >> source % 32 & 1;
}

u32 source_claim(void) {
    return aia ? file_claim() : plic_claim(cpu_index());
}

void source_complete(u32 source) {
    if (aia)
        write32(APLIC + APLIC_SETIPNUM, source); // §4.9.2: sends another one if the level is still up
    else
        plic_complete(cpu_index(), source);
}

void sources_hold(bool on) {
    if (aia)
        file_write(EITHRESHOLD, on); // identities from 1 on
    else
        write32(PLIC + 0x200000 + 0x1000 * context_of(cpu_index()), on ? 7 : 0);
}

void ipi_send(u64 to, u32 number) {
    atomic_fetch_or(&mail[to], aia ? 0 : 1u << number);
    atomic_thread_fence(memory_order_seq_cst);
    if (aia)
        write32(IMSIC + 0x1000 * to, IPI_IDENTITY + number);
    else
        send_ipi(1ull << to);
}

u64 ipi_taken(u32 number) {
    return ipi_count[number];
}

void ipi_forget(void) {
    for (u32 i = 0; i < IPIS; i++)
        ipi_count[i] = 0;
}

void timer_set(u64 at) {
    set_timer(at);
}

static void external(void) {
    u32 source = source_claim();
    if (source >= IPI_IDENTITY && source < IPI_IDENTITY + IPIS)
        ipi_count[source - IPI_IDENTITY]++;
    if (source == 0 || source >= SOURCES)
        return;
    if (source == UART_IRQ)
        write8(UART + UART_IER, 0);
    source_count[source]++;
    source_cpu[source] = (u8)cpu_index();
    source_complete(source);
}

static void soft(void) {
    csr_clear(sip, 1 << SSI);
    for (u32 letters = atomic_exchange(&mail[cpu_index()], 0); letters; letters &= letters - 1)
        ipi_count[__builtin_ctz(letters)]++;
}

bool sip_shows(u64 bits) {
    u64 end = now() + ticks_of_ms(1000);
    while ((csr_read(sip) & bits) != bits)
        if (now() > end)
            return false;
    return true;
}

void interrupt_taken(u64 number) {
    if (number == SSI)
        soft();
    else if (number == STI)
        set_timer(~0ull);
    else if (number == SEI)
        external();
    irq_count[number & 15]++;
    irq_cpu[number & 15] = (u8)cpu_index();
    irq_total++;
}
