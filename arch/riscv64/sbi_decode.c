// SPDX-License-Identifier: Apache-2.0
// SBI 2.0, the side that is asked. Everything is checked here but what only the moment tells: other harts' states, and
// what a guest-virtual address leads to.
#include "sbi.h"

#include "hypercall.h"

enum : u32 { SPEC_VERSION = 2 << 24, IMPLEMENTATION_ID = 0x42484b, IMPLEMENTATION_VERSION = 1 };
enum base_function { BASE_SPEC, BASE_IMPLEMENTATION, BASE_VERSION, BASE_PROBE, BASE_VENDOR, BASE_ARCH, BASE_MACHINE };
enum hsm_function { HSM_START, HSM_STOP, HSM_STATUS, HSM_SUSPEND };
enum dbcn_function { DBCN_WRITE, DBCN_READ, DBCN_WRITE_BYTE };
enum pmu_function { PMU_NUM_COUNTERS, PMU_GET_INFO, PMU_CONFIG_MATCHING, PMU_START, PMU_STOP, PMU_READ, PMU_READ_HIGH };
enum : u32 { SUSPEND_RETENTIVE = 0, SUSPEND_NON_RETENTIVE = 0x80000000 };
enum : u32 { SUSPEND_TO_RAM = 0 };
enum : u32 { RESET_SHUTDOWN, RESET_COLD, RESET_WARM };
enum : u32 { REASON_NONE, REASON_SYSTEM_FAILURE };
static const u64 ALL_HARTS = ~0ull, EVERYTHING = ~0ull;

static enum sbi_action answer(struct sbi_op *op, enum sbi_error error, u64 value) {
    op->error = error;
    op->value = value;
    return SBI_ANSWERED;
}

static u64 all_harts(const struct sbi_guest *guest) {
    return BIT(guest->harts) - 1;
}

// §3.1. False: the base, or a hart of the mask, is not there.
static bool harts_of(const struct sbi_guest *guest, u64 mask, u64 base, u64 *harts) {
    u64 all = all_harts(guest);
    if (base == ALL_HARTS)
        *harts = all;
    else if (base >= guest->harts || mask & ~(all >> base))
        return false;
    else
        *harts = mask << base;
    return true;
}

u64 sbi_mask_harts(const struct sbi_guest *guest, u64 mask) {
    return mask & all_harts(guest);
}

static bool in_ram(const struct sbi_guest *guest, u64 at, u64 size) {
    u64 offset = at - guest->ram;
    return at >= guest->ram && offset <= guest->ram_size && size <= guest->ram_size - offset;
}

// Where a hart can begin: an instruction of two bytes at least fits.
static bool entry_ok(const struct sbi_guest *guest, u64 entry) {
    return (entry & 1) == 0 && in_ram(guest, entry, 2);
}

static bool probe(u64 extension) {
    switch (extension) {
    case SBI_LEGACY_SET_TIMER:
    case SBI_LEGACY_PUTCHAR:
    case SBI_LEGACY_GETCHAR:
    case SBI_LEGACY_CLEAR_IPI:
    case SBI_LEGACY_SEND_IPI:
    case SBI_LEGACY_FENCE_I:
    case SBI_LEGACY_SFENCE_VMA:
    case SBI_LEGACY_SFENCE_VMA_ASID:
    case SBI_LEGACY_SHUTDOWN:
    case SBI_BASE:
    case SBI_TIME:
    case SBI_IPI:
    case SBI_RFENCE:
    case SBI_HSM:
    case SBI_SRST:
    case SBI_PMU:
    case SBI_DBCN:
    case SBI_SUSP:
    case SBI_BULKHEAD:
        return true;
    default:
        return false;
    }
}

static enum sbi_action base_call(const struct sbi_guest *guest, const u64 *x, struct sbi_op *op) {
    switch (x[16]) {
    case BASE_SPEC:
        return answer(op, SBI_SUCCESS, SPEC_VERSION);
    case BASE_IMPLEMENTATION:
        return answer(op, SBI_SUCCESS, IMPLEMENTATION_ID);
    case BASE_VERSION:
        return answer(op, SBI_SUCCESS, IMPLEMENTATION_VERSION);
    case BASE_PROBE:
        return answer(op, SBI_SUCCESS, probe(x[10]));
    case BASE_VENDOR: // the hart is the host's, and its errata are for the guest to know
    case BASE_ARCH:
    case BASE_MACHINE:
        return answer(op, SBI_SUCCESS, guest->machine_id[x[16] - BASE_VENDOR]);
    default:
        return answer(op, SBI_NOT_SUPPORTED, 0);
    }
}

static enum sbi_action ipi_call(const struct sbi_guest *guest, const u64 *x, struct sbi_op *op) {
    if (x[16] != 0)
        return answer(op, SBI_NOT_SUPPORTED, 0);
    if (!harts_of(guest, x[10], x[11], &op->harts))
        return answer(op, SBI_INVALID_PARAM, 0);
    return SBI_SEND_IPI;
}

// §8: both zero, or a size of all ones: everything. A range may end where the address space does.
static bool fence_range(struct sbi_op *op, u64 start, u64 size) {
    u64 last;
    if ((start == 0 && size == 0) || size == EVERYTHING) {
        op->at = 0;
        op->size = EVERYTHING;
        return true;
    }
    op->at = start;
    op->size = size;
    return size == 0 || !__builtin_add_overflow(start, size - 1, &last);
}

static enum sbi_action fence(struct sbi_op *op, enum sbi_fence fence, u64 start, u64 size, u64 asid) {
    if (fence != RFENCE_FENCE_I && !fence_range(op, start, size))
        return answer(op, SBI_INVALID_ADDRESS, 0);
    op->fence = fence;
    op->asid = asid & 0xffff;
    return SBI_FENCE;
}

static enum sbi_action rfence_call(const struct sbi_guest *guest, const u64 *x, struct sbi_op *op) {
    if (x[16] > RFENCE_SFENCE_VMA_ASID) // the others fence a guest of the guest's
        return answer(op, SBI_NOT_SUPPORTED, 0);
    if (!harts_of(guest, x[10], x[11], &op->harts))
        return answer(op, SBI_INVALID_PARAM, 0);
    return fence(op, (enum sbi_fence)x[16], x[12], x[13], x[14]);
}

static enum sbi_action hsm_call(const struct sbi_guest *guest, const u64 *x, struct sbi_op *op) {
    bool has_target = x[16] == HSM_START || x[16] == HSM_STATUS;
    if (has_target && x[10] >= guest->harts)
        return answer(op, SBI_INVALID_PARAM, 0);
    op->target = has_target ? (u32)x[10] : 0;
    op->entry = x[11];
    op->arg = x[12];
    switch (x[16]) {
    case HSM_START:
        return entry_ok(guest, op->entry) ? SBI_HART_START : answer(op, SBI_INVALID_ADDRESS, 0);
    case HSM_STOP:
        return SBI_HART_STOP;
    case HSM_STATUS:
        return SBI_HART_STATUS;
    case HSM_SUSPEND: // a type has 32 bits (§9.4), and compilers extend its sign
        if ((u32)x[10] != SUSPEND_RETENTIVE && (u32)x[10] != SUSPEND_NON_RETENTIVE)
            return answer(op, SBI_INVALID_PARAM, 0);
        op->loses = (u32)x[10] == SUSPEND_NON_RETENTIVE;
        return !op->loses || entry_ok(guest, op->entry) ? SBI_HART_SUSPEND : answer(op, SBI_INVALID_ADDRESS, 0);
    default:
        return answer(op, SBI_NOT_SUPPORTED, 0);
    }
}

static enum sbi_action susp_call(const struct sbi_guest *guest, const u64 *x, struct sbi_op *op) {
    if (x[16] != 0)
        return answer(op, SBI_NOT_SUPPORTED, 0);
    if ((u32)x[10] != SUSPEND_TO_RAM)
        return answer(op, SBI_INVALID_PARAM, 0);
    if (!entry_ok(guest, x[11]))
        return answer(op, SBI_INVALID_ADDRESS, 0);
    op->loses = true;
    op->entry = x[11];
    op->arg = x[12];
    return SBI_SYSTEM_SUSPEND;
}

static enum sbi_action srst_call(const u64 *x, struct sbi_op *op) {
    if (x[16] != 0)
        return answer(op, SBI_NOT_SUPPORTED, 0);
    if ((u32)x[10] > RESET_WARM || (u32)x[11] > REASON_SYSTEM_FAILURE)
        return answer(op, SBI_INVALID_PARAM, 0);
    return (u32)x[10] == RESET_SHUTDOWN ? SBI_SYSTEM_OFF : SBI_SYSTEM_RESET;
}

// Chapter 12. A part of what was asked for may be done, and is when it is more than a page.
static enum sbi_action dbcn_call(const struct sbi_guest *guest, const u64 *x, struct sbi_op *op) {
    switch (x[16]) {
    case DBCN_WRITE:
    case DBCN_READ:
        if (x[12] != 0 || !in_ram(guest, x[11], x[10])) // the address has 2 XLEN bits
            return answer(op, SBI_INVALID_PARAM, 0);
        op->at = x[11];
        op->size = MIN(x[10], (u64)SBI_CONSOLE_MAX);
        return x[16] == DBCN_WRITE ? SBI_CONSOLE_WRITE : SBI_CONSOLE_READ;
    case DBCN_WRITE_BYTE:
        op->value = (u8)x[10];
        return SBI_CONSOLE_PUT;
    default:
        return answer(op, SBI_NOT_SUPPORTED, 0);
    }
}

// Chapter 11, of a machine without counters: whatever names one is wrong.
static enum sbi_action pmu_call(const u64 *x, struct sbi_op *op) {
    if (x[16] == PMU_NUM_COUNTERS)
        return answer(op, SBI_SUCCESS, 0);
    return answer(op, x[16] <= PMU_READ_HIGH ? SBI_INVALID_PARAM : SBI_NOT_SUPPORTED, 0);
}

// A mask lies in memory (chapter 5); no pointer: all harts.
static enum sbi_action legacy_mask(const struct sbi_guest *guest, const u64 *x, struct sbi_op *op,
                                   enum sbi_action action) {
    op->mask_in_ram = x[10] != 0;
    op->value = x[10];
    op->harts = op->mask_in_ram ? 0 : all_harts(guest);
    return action;
}

// These have no function number.
static enum sbi_action legacy_call(const struct sbi_guest *guest, const u64 *x, struct sbi_op *op) {
    op->legacy = true;
    switch (x[17]) {
    case SBI_LEGACY_SET_TIMER:
        op->value = x[10];
        return SBI_TIMER;
    case SBI_LEGACY_PUTCHAR:
        op->value = (u8)x[10];
        return SBI_CONSOLE_PUT;
    case SBI_LEGACY_GETCHAR:
        return SBI_CONSOLE_GET;
    case SBI_LEGACY_CLEAR_IPI:
        return SBI_CLEAR_IPI;
    case SBI_LEGACY_SEND_IPI:
        return legacy_mask(guest, x, op, SBI_SEND_IPI);
    case SBI_LEGACY_SHUTDOWN:
        return SBI_SYSTEM_OFF;
    default:
        break;
    }
    enum sbi_action action = fence(op, (enum sbi_fence)(x[17] - SBI_LEGACY_FENCE_I), x[11], x[12], x[13]);
    return action == SBI_FENCE ? legacy_mask(guest, x, op, action) : action;
}

static enum sbi_action decode(const struct sbi_guest *guest, const u64 *x, struct sbi_op *op) {
    switch (x[17]) {
    case SBI_BASE:
        return base_call(guest, x, op);
    case SBI_TIME:
        op->value = x[10];
        return x[16] == 0 ? SBI_TIMER : answer(op, SBI_NOT_SUPPORTED, 0);
    case SBI_IPI:
        return ipi_call(guest, x, op);
    case SBI_RFENCE:
        return rfence_call(guest, x, op);
    case SBI_HSM:
        return hsm_call(guest, x, op);
    case SBI_SRST:
        return srst_call(x, op);
    case SBI_PMU:
        return pmu_call(x, op);
    case SBI_DBCN:
        return dbcn_call(guest, x, op);
    case SBI_SUSP:
        return susp_call(guest, x, op);
    case SBI_BULKHEAD:
        op->target = (u32)x[16];
        return x[16] < HYPERCALL_COUNT ? SBI_HYPERCALL : answer(op, SBI_NOT_SUPPORTED, 0);
    default:
        return x[17] <= SBI_LEGACY_SHUTDOWN ? legacy_call(guest, x, op) : answer(op, SBI_NOT_SUPPORTED, 0);
    }
}

void sbi_decode(const struct sbi_guest *guest, const u64 *x, struct sbi_op *op) {
    op->legacy = op->mask_in_ram = op->loses = false;
    op->error = SBI_SUCCESS;
    op->value = 0;
    op->action = decode(guest, x, op);
}
