// SPDX-License-Identifier: Apache-2.0
// A riscv64 guest: exceptions that are recorded and skipped, the interrupt controllers and the SBI.
#pragma once

#include "types.h"

// The guest's machine, as QEMU's virt has it.
#define RTC 0x00101000ull
#define PLIC 0x0c000000ull
#define PLIC_SIZE 0x600000ull
#define APLIC 0x0d000000ull
#define APLIC_SIZE 0x8000ull
#define UART 0x10000000ull
#define UART_SIZE 0x100ull
#define IMSIC 0x28000000ull // a page for each hart
#define RAM 0x80000000ull

enum { UART_IRQ = 10, RTC_IRQ = 11, SOURCES = 96 };
enum { UART_DATA, UART_IER, UART_IIR, UART_LCR, UART_MCR, UART_LSR, UART_MSR, UART_SCR };

enum { SSI = 1, STI = 5, SEI = 9 }; // interrupts, as in sip

// scause
enum {
    CAUSE_FETCH_MISALIGNED = 0,
    CAUSE_FETCH_ACCESS = 1,
    CAUSE_ILLEGAL = 2,
    CAUSE_LOAD_MISALIGNED = 4,
    CAUSE_LOAD_ACCESS = 5,
    CAUSE_STORE_MISALIGNED = 6,
    CAUSE_STORE_ACCESS = 7,
    CAUSE_FETCH_PAGE = 12,
    CAUSE_LOAD_PAGE = 13,
    CAUSE_STORE_PAGE = 15,
};

struct frame { // as start.S lays it down
    u64 x[32], sepc, sstatus;
};

struct trap {
    u64 count; // since it was last zeroed
    u64 cause, epc, tval;
};

extern struct trap trap;                             // the last exception
extern volatile u64 irq_count[16], irq_total;        // by number in sip
extern volatile u64 source_count[SOURCES];           // by source of the PLIC or the APLIC
extern volatile u8 irq_cpu[16], source_cpu[SOURCES]; // the hart that took it last
extern char secondary_entry[], vector[];

// SBI 2.0 §3
struct sbi_result {
    s64 error, value;
};
enum : s64 {
    SBI_SUCCESS = 0,
    SBI_FAILED = -1,
    SBI_NOT_SUPPORTED = -2,
    SBI_INVALID_PARAM = -3,
    SBI_DENIED = -4,
    SBI_INVALID_ADDRESS = -5,
    SBI_ALREADY_AVAILABLE = -6,
    SBI_ALREADY_STARTED = -7,
    SBI_ALREADY_STOPPED = -8,
};
enum : u64 {
    EID_BASE = 0x10,
    EID_TIME = 0x54494d45,
    EID_IPI = 0x735049,
    EID_RFENCE = 0x52464e43,
    EID_HSM = 0x48534d,
    EID_SRST = 0x53525354,
    EID_DBCN = 0x4442434e,
    EID_SUSP = 0x53555350,
    EID_BULKHEAD = 0x0a42484b, // our hypercalls
};
struct sbi_result sbi(u64 extension, u64 function, u64 a0, u64 a1, u64 a2);
struct sbi_result sbi5(u64 extension, u64 function, u64 a0, u64 a1, u64 a2, u64 a3, u64 a4);
bool sbi_has(u64 extension);
s64 hart_start(u64 hart, u64 entry, u64 opaque);
s64 hart_status(u64 hart); // 0 started, 1 stopped, 2 start pending, 3 stop pending, or an error
void send_ipi(u64 harts);  // by the SBI
void set_timer(u64 at);    // ~0ull: never

static inline u64 cpu_index(void) {
    u64 v;
    __asm__ volatile("mv %0, tp" : "=r"(v));
    return v;
}

#define csr_read(name)                                                                                                 \
    ({                                                                                                                 \
        u64 v_;                                                                                                        \
        __asm__ volatile("csrr %0, " #name : "=r"(v_)::"memory");                                                      \
        v_;                                                                                                            \
    })
#define csr_write(name, value) __asm__ volatile("csrw " #name ", %0" ::"r"((u64)(value)) : "memory")
#define csr_set(name, bits) __asm__ volatile("csrs " #name ", %0" ::"r"((u64)(bits)) : "memory")
#define csr_clear(name, bits) __asm__ volatile("csrc " #name ", %0" ::"r"((u64)(bits)) : "memory")

static inline u32 read32(u64 at) {
    u32 v;
    __asm__ volatile("lw %0, 0(%1)" : "=r"(v) : "r"(at) : "memory");
    return v;
}
static inline void write32(u64 at, u32 v) {
    __asm__ volatile("sw %0, 0(%1)" ::"r"(v), "r"(at) : "memory");
}
static inline u8 read8(u64 at) {
    u8 v;
    __asm__ volatile("lbu %0, 0(%1)" : "=r"(v) : "r"(at) : "memory");
    return v;
}
static inline void write8(u64 at, u8 v) {
    __asm__ volatile("sb %0, 0(%1)" ::"r"(v), "r"(at) : "memory");
}

// What there is in the address space, in order: the devices, then the memory.
struct region {
    u64 base, end;
};
enum { REGIONS_MAX = 6 };
extern struct region regions[REGIONS_MAX];
extern u32 region_count;
// A region of a device or of the memory has the address.
bool is_something(u64 at);

// Which controller the device tree tells of: an APLIC that sends messages to IMSICs, or a PLIC.
bool has_aia(void);
bool has_sstc(void); // stimecmp can be written

// A level-sensitive source and the hart that gets it. irqs_init() makes a hart ready for all.
void source_enable(u64 hart, u32 source, bool on);
bool source_pending(u32 source);
u32 source_claim(void);           // by this hart; 0: none
void source_complete(u32 source); // by this hart; a level that is still up comes again
void sources_hold(bool on);       // this hart's threshold lets nothing through

u32 plic_claim(u64 hart);
void plic_complete(u64 hart, u32 source);
// A hart's own interrupt file, AIA 1.0 §3.8
enum { EIDELIVERY = 0x70, EITHRESHOLD = 0x72, EIP0 = 0x80, EIE0 = 0xc0, IDENTITIES = 255, IPI_IDENTITY = 128 };
u64 file_read(u64 reg);
void file_write(u64 reg, u64 value);
u32 file_claim(void); // 0: none

// The pending bits come within a moment: Sstc lets the timer's lag behind the clock, and QEMU's does.
bool sip_shows(u64 bits);
void interrupt_taken(u64 number); // by the vector: the number as in sip
