// SPDX-License-Identifier: Apache-2.0
#include "guest.h"

struct trap trap;
volatile u64 trap_resume, ring0_rsp, nmi_count;
bool (*trap_hook)(struct frame *frame);
static u64 zero_page;

extern char vectors[];

// ── Console ─────────────────────────────────────────────────────────────────────────────────────────────────────────
void uart_put(char c) {
    while (!(in8(COM1 + UART_LSR) & 1 << 5)) // THRE
        ;
    out8(COM1 + UART_DATA, (u8)c);
}

int uart_get(void) {
    return in8(COM1 + UART_LSR) & 1 ? in8(COM1 + UART_DATA) : -1;
}

void uart_listen(void) {
    ioapic_route(PIN_COM1, VECTOR_COM1, (u32)cpu_index());
    out8(COM1 + UART_LCR, 3);          // 8 bits
    out8(COM1 + UART_IIR, 1 | 2 << 6); // FIFOs, half full
    out8(COM1 + UART_IER, 1);          // received data
}

// STI lets nothing in before the HLT has begun.
void uart_wait(void) {
    __asm__ volatile("sti; hlt; cli" ::: "memory");
}

// ── Memory and ACPI ─────────────────────────────────────────────────────────────────────────────────────────────────
static u64 get(u64 at, u32 bytes) {
    u64 v = 0;
    for (u32 i = bytes; i-- > 0;)
        v = v << 8 | *(const volatile u8 *)(at + i);
    return v;
}

// By the zero page's map: RAM ends where the highest range below 4 GiB does, and goes on at 4 GiB.
u64 ram_size(u64 zp) {
    u64 low = 0, high = 0;
    for (u64 i = 0; i < get(zp + 0x1e8, 1); i++) {
        u64 entry = zp + 0x2d0 + 20 * i, start = get(entry, 8), size = get(entry + 8, 8);
        if (get(entry + 16, 4) != 1)
            continue;
        if (start >> 32)
            high += size;
        else if (start + size > low)
            low = start + size;
    }
    return low + high;
}

// The boot loader leaves everything between the ROMs' place and 1 MiB.
struct extent machine_told(u64 machine) {
    (void)machine;
    return (struct extent){0xe0000, 0x100000};
}

u64 acpi_cpus(void) {
    u64 xsdt = get(get(zero_page + 0x70, 8) + 24, 8), count = 0;
    for (u64 at = xsdt + 36; at < xsdt + get(xsdt + 4, 4); at += 8) {
        u64 table = get(at, 8);
        if (get(table, 4) != 0x43495041) // "APIC"
            continue;
        for (u64 entry = table + 44; entry < table + get(table + 4, 4); entry += get(entry + 1, 1))
            count += get(entry, 1) == 0;
    }
    return count;
}

// ── Power ───────────────────────────────────────────────────────────────────────────────────────────────────────────
void machine_off(void) {
    out8(PORT_SLEEP, 5 << 2 | 1 << 5);
    for (;;)
        ;
}

void machine_reset(void) {
    out8(PORT_RESET, 6);
    for (;;)
        ;
}

void jump_into_nowhere(void) {
    idt_pointer.limit = 0;
    __asm__ volatile("lidt %0; jmp *%1" ::"m"(idt_pointer), "r"(0xd0000000ull));
    __builtin_unreachable();
}

// ── Exceptions ──────────────────────────────────────────────────────────────────────────────────────────────────────
static void gate(u32 vector) {
    u64 at = (u64)vectors + 16 * vector;
    idt[2 * vector] = (at & 0xffff) | 8ull << 16 | 0x8e00ull << 32 | (at >> 16 & 0xffff) << 48;
    idt[2 * vector + 1] = at >> 32;
}

void runtime_init(u64 cpu, u64 zp);
void runtime_init(u64 cpu, u64 zp) {
    if (cpu == 0) {
        zero_page = zp;
        for (u32 vector = 0; vector < 256; vector++)
            gate(vector);
        __asm__ volatile("lidt %0" ::"m"(idt_pointer));
    }
    cpu_came_on(cpu);
    apic_write(APIC_SVR, 0x100 | VECTOR_SPURIOUS);
    apic_write(APIC_TPR, 0);
}

// An exception is noted, and what expected it goes on; one that nothing expects ends the program.
void exception(struct frame *frame);
void exception(struct frame *frame) {
    if (frame->vector < 32 && trap_hook && trap_hook(frame))
        return;
    if (frame->vector == X86_NMI) {
        nmi_count++;
        cpu_nmi(frame);
        return;
    }
    if (frame->vector >= 32) {
        interrupt_taken(frame);
        return;
    }
    trap.count++;
    trap.vector = frame->vector;
    trap.error = frame->error;
    trap.rip = frame->rip;
    trap.rflags = frame->rflags;
    __asm__ volatile("mov %%cr2, %0" : "=r"(trap.cr2));
    if (!trap_resume) {
        fail("an exception", "%u at %x, error %x, address %x", frame->vector, frame->rip, frame->error, trap.cr2);
        guest_end();
    }
    if (frame->cs & 3) {
        frame->cs = 8;
        frame->ss = 0x10;
        frame->rsp = ring0_rsp;
    }
    frame->rip = trap_resume;
    trap_resume = 0;
}

void no_traps(void) {
    CHECK("no_exception_came", trap.count == 0, "%u, vector %u, at %x", trap.count, trap.vector, trap.rip);
}

bool rdmsr_safe(u32 msr, u64 *value) {
    u32 low = 0, high = 0;
    trap.count = 0;
    MAY_TRAP("rdmsr", : "+a"(low), "+d"(high) : "c"(msr) : "r11", "memory");
    *value = (u64)high << 32 | low;
    return trap.count == 0;
}

bool wrmsr_safe(u32 msr, u64 value) {
    trap.count = 0;
    MAY_TRAP("wrmsr", ::"a"((u32)value), "d"((u32)(value >> 32)), "c"(msr) : "r11", "memory");
    return trap.count == 0;
}

// ── Code ────────────────────────────────────────────────────────────────────────────────────────────────────────────
// MOV EAX, imm32; RET
void code_write(u32 *at, u64 value) {
    volatile u8 *to = (volatile u8 *)at;
    to[0] = 0xb8;
    for (u32 i = 0; i < 4; i++)
        to[1 + i] = (u8)(value >> 8 * i);
    to[5] = 0xc3;
}

u64 code_run(const u32 *at) {
    u32 eax;
    (void)cpuid(0, 0); // serializes, as code that another CPU has written needs
    __asm__ volatile("call *%1" : "=a"(eax) : "r"(at) : "memory");
    return eax;
}

// ── Time ────────────────────────────────────────────────────────────────────────────────────────────────────────────
u64 tsc_hz(void) {
    return (u64)cpuid(0x40000010, 0).a * 1000;
}

u64 now(void) {
    return rdtsc();
}

u64 ticks_of_ms(u64 ms) {
    return tsc_hz() / 1000 * ms;
}

static u32 cmos(u8 index) {
    out8(PORT_CMOS, index);
    return in8(PORT_CMOS + 1);
}

static u32 cmos_digits(u8 index) {
    u32 v = cmos(index);
    return (v >> 4) * 10 + (v & 0xf);
}

static u64 days_before(u64 year, u64 month) { // since 1970, which is year 0
    static const u16 days[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    u64 leaps = (year + 1) / 4 + (year % 4 == 2 && month > 2); // good until 2100
    return 365 * year + days[(month - 1) % 12] + leaps;
}

u64 rtc_seconds(void) {
    u64 second, minute, hour, day, month, year;
    do {
        while (cmos(0x0a) & 0x80) // being updated
            ;
        second = cmos_digits(0);
        minute = cmos_digits(2);
        hour = cmos_digits(4);
        day = cmos_digits(7);
        month = cmos_digits(8);
        year = cmos_digits(9);
    } while ((cmos(0x0a) & 0x80) || cmos_digits(0) != second);
    return ((days_before(year + 30, month) + day - 1) * 24 + hour) * 3600 + minute * 60 + second;
}
