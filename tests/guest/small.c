// SPDX-License-Identifier: Apache-2.0
// A small system with a command line, driven by the UART's interrupt: what tests of life cycles and of the console
// talk to.
#include "guest.h"

enum { UART_SPI = 33, LINE_MAX = 4096 };

static char line[LINE_MAX];
static u32 length;
static volatile u64 secondaries;

void secondary_main(u64 context) {
    (void)context;
    secondaries++;
    for (;;)
        __asm__ volatile("wfi" ::: "memory");
}

static bool is(const char *word) {
    u32 i = 0;
    while (word[i] && line[i] == word[i])
        i++;
    return !word[i] && !line[i];
}

static void crash(void) {
    write_sysreg(vbar_el1, 0x1000000000);
    __asm__ volatile("br %0" ::"r"(0x2000000000ull));
}

static void start_others(void) {
    u64 cpus = 1;
    while (cpus < CPUS_MAX && psci_cpu_on(cpus, (u64)secondary_entry, 0) == 0)
        (void)wait_for(&secondaries, cpus++, 5000);
    say("small: %u CPUs\n", cpus);
}

static void obey(void) {
    if (is("off"))
        psci_system_off();
    if (is("reset"))
        psci_system_reset();
    if (is("crash"))
        crash();
    if (is("cpus")) {
        start_others();
    } else if (is("ping")) {
        say("small: pong at %u\n", now());
    } else if (is("spin")) {
        for (;;)
            ;
    } else {
        u64 sum = 0;
        for (u32 i = 0; i < length; i++)
            sum = sum * 31 + (u8)line[i];
        say("small: %u bytes, sum %x\n", (u64)length, sum & 0xffffffff);
    }
}

static void receive(void) {
    while (!(read32(UART + 0x18) & 1 << 4)) { // FR.RXFE
        char c = (char)read32(UART);
        if (c == 3) {
            say("small: interrupted\n");
            length = 0;
        } else if (c == '\r' || c == '\n') {
            line[length] = 0;
            obey();
            length = 0;
        } else if (length < LINE_MAX - 1) {
            line[length++] = c;
        }
    }
}

void guest_main(u64 dtb) {
    gic_init();
    gic_enable(UART_SPI);
    __asm__ volatile("strb %w0, [%1]" ::"r"(0x80), "r"(GICD + 0x400 + UART_SPI) : "memory");
    write32(UART + 0x2c, 0x70);  // LCR_H: FIFOs, 8 bits
    write32(UART + 0x30, 0x301); // CR: on
    write32(UART + 0x38, 0x50);  // IMSC: receive, and receive timeout
    // Only now: what is typed before a UART is set up gets lost.
    say("small: up with %u MiB\n", ram_size(dtb) >> 20);
    for (;;) {
        receive();
        irqs_off();
        if (read32(UART + 0x18) & 1 << 4)
            __asm__ volatile("wfi" ::: "memory");
        write32(UART + 0x44, 0x50); // ICR; what is left in the FIFO is looked at in receive()
        u64 intid = read_sysreg(S3_0_C12_C12_0);
        if (intid < 1020)
            write_sysreg(S3_0_C12_C12_1, intid);
    }
}
