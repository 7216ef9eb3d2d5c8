// SPDX-License-Identifier: Apache-2.0
// What an SBI call of a guest asks for (SBI 2.0), from its registers alone. Pure: unit tests run it on the host.
#pragma once

#include "types.h"

enum sbi_extension : u64 {
    SBI_LEGACY_SET_TIMER = 0,
    SBI_LEGACY_PUTCHAR = 1,
    SBI_LEGACY_GETCHAR = 2,
    SBI_LEGACY_CLEAR_IPI = 3,
    SBI_LEGACY_SEND_IPI = 4,
    SBI_LEGACY_FENCE_I = 5,
    SBI_LEGACY_SFENCE_VMA = 6,
    SBI_LEGACY_SFENCE_VMA_ASID = 7,
    SBI_LEGACY_SHUTDOWN = 8,
    SBI_BASE = 0x10,
    SBI_TIME = 0x54494d45,
    SBI_IPI = 0x735049,
    SBI_RFENCE = 0x52464e43,
    SBI_HSM = 0x48534d,
    SBI_SRST = 0x53525354,
    SBI_PMU = 0x504d55,
    SBI_DBCN = 0x4442434e,
    SBI_SUSP = 0x53555350,
    SBI_BULKHEAD = 0x0a42484b, // firmware-specific space: our own hypercalls
};

enum sbi_error : s64 { // chapter 3
    SBI_SUCCESS = 0,
    SBI_FAILED = -1,
    SBI_NOT_SUPPORTED = -2,
    SBI_INVALID_PARAM = -3,
    SBI_DENIED = -4,
    SBI_INVALID_ADDRESS = -5,
    SBI_ALREADY_AVAILABLE = -6,
};

enum sbi_hart_state : u8 { // §9, table 2
    SBI_HART_STARTED = 0,
    SBI_HART_STOPPED = 1,
    SBI_HART_START_PENDING = 2,
    SBI_HART_SUSPENDED = 4,
};

// The numbers of RFENCE's functions, which the host's firmware has as well.
enum sbi_fence : u8 {
    RFENCE_FENCE_I,
    RFENCE_SFENCE_VMA,
    RFENCE_SFENCE_VMA_ASID,
    RFENCE_HFENCE_GVMA_VMID,
    RFENCE_HFENCE_GVMA,
    RFENCE_HFENCE_VVMA_ASID,
    RFENCE_HFENCE_VVMA,
};

enum { SBI_HARTS_MAX = 16, SBI_CONSOLE_MAX = 4096 };

// The guest's machine, as far as a call can be right or wrong about it.
struct sbi_guest {
    u32 harts; // 1…SBI_HARTS_MAX
    u64 ram, ram_size;
    u64 machine_id[3]; // mvendorid, marchid, mimpid
};

// What is to be done, with the fields that say more.
enum sbi_action : u8 {
    SBI_ANSWERED,       // nothing: error, value
    SBI_TIMER,          // value: the time to interrupt at
    SBI_SEND_IPI,       // harts
    SBI_CLEAR_IPI,      //
    SBI_FENCE,          // harts fence at size asid; at 0 and size ~0: everything
    SBI_CONSOLE_WRITE,  // at size: guest-physical, in RAM, size ≤ SBI_CONSOLE_MAX; value: bytes written
    SBI_CONSOLE_READ,   // at size: as above; value: bytes read
    SBI_CONSOLE_PUT,    // value: a byte
    SBI_CONSOLE_GET,    // legacy: the byte, or SBI_FAILED, is the error
    SBI_HART_START,     // target entry arg
    SBI_HART_STOP,      //
    SBI_HART_STATUS,    // target; value: enum sbi_hart_state
    SBI_HART_SUSPEND,   // loses; if so, entry arg
    SBI_SYSTEM_SUSPEND, // loses entry arg; SBI_DENIED unless every other hart is stopped
    SBI_SYSTEM_OFF,     //
    SBI_SYSTEM_RESET,   //
    SBI_HYPERCALL,      // target: the function's number; arguments as they are in a0…a5
    SBI_ACTIONS
};

struct sbi_op {
    enum sbi_action action;
    bool legacy;      // the answer goes to a0 alone
    bool mask_in_ram; // SEND_IPI, FENCE: the harts' mask lies at the guest-virtual address `value`: sbi_mask_harts()
    bool loses;       // a suspend from which the hart comes back at `entry`, its registers gone
    enum sbi_fence fence;
    u32 target; // HART_START, HART_STATUS: < harts
    enum sbi_error error;
    u64 value;
    u64 harts; // bit n: hart n
    u64 at, size, asid;
    u64 entry, arg;
};

// x: the guest's registers by number: a0…a5 are x[10]…x[15], the function a6, the extension a7. Changes nothing. Any.
void sbi_decode(const struct sbi_guest *guest, const u64 *x, struct sbi_op *op);
// A legacy call's mask (chapter 5), as it was read. Any.
u64 sbi_mask_harts(const struct sbi_guest *guest, u64 mask);
