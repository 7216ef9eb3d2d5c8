// SPDX-License-Identifier: Apache-2.0
// A small system with a command line, driven by the UART's interrupt: what tests of life cycles and of the console
// talk to.
#include "guest.h"

enum { LINE_MAX = 4096 };

static char line[LINE_MAX];
static u32 length;
static volatile u64 secondaries;

void secondary_main(u64 context) {
    (void)context;
    secondaries++;
    for (;;)
        wait_for_interrupt();
}

static bool is(const char *word) {
    u32 i = 0;
    while (word[i] && line[i] == word[i])
        i++;
    return !word[i] && !line[i];
}

static void start_others(void) {
    u64 cpus = 1;
    while (cpus < CPUS_MAX && cpu_start(cpus, 0) == 0)
        (void)wait_for(&secondaries, cpus++, 5000);
    say("small: %u CPUs\n", cpus);
}

static void obey(void) {
    if (is("off"))
        machine_off();
    if (is("reset"))
        machine_reset();
    if (is("crash"))
        jump_into_nowhere();
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
    for (int c; (c = uart_get()) >= 0;) {
        if (c == 3) {
            say("small: interrupted\n");
            length = 0;
        } else if (c == '\r' || c == '\n') {
            line[length] = 0;
            obey();
            length = 0;
        } else if (length < LINE_MAX - 1) {
            line[length++] = (char)c;
        }
    }
}

void guest_main(u64 dtb) {
    uart_listen();
    // Only now: what is typed before a UART is set up gets lost.
    say("small: up with %u MiB\n", ram_size(dtb) >> 20);
    for (;;) {
        receive();
        uart_wait();
    }
}
