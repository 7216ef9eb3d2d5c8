// SPDX-License-Identifier: Apache-2.0
// Firmware calls of a guest: SMCCC 1.2 (DEN0028) and PSCI 1.1 (DEN0022). HVC and SMC are answered alike. What touches
// another vCPU or a life cycle leaves as an exit; the rest is answered here. Nothing is forwarded to the host's
// firmware.
#include "aarch64.h"
#include "gmem.h"
#include "hypercall.h"
#include "vm.h"

enum : u32 {
    SMCCC_VERSION = 0x80000000,
    SMCCC_ARCH_FEATURES = 0x80000001,
    SMCCC_TRNG_VERSION = 0x84000050,
    SMCCC_TRNG_FEATURES = 0x84000051,
    SMCCC_TRNG_UUID = 0x84000052,
    SMCCC_TRNG_RND32 = 0x84000053,
    SMCCC_TRNG_RND64 = 0xc4000053,
    VENDOR_CALL_COUNT = 0x8600ff00,
    VENDOR_UID = 0x8600ff01,
    VENDOR_REVISION = 0x8600ff03,
};
#define FN_64BIT BIT(30)
#define PSCI_BASE 0x84000000u
enum psci_fn {
    PSCI_VERSION = 0,
    PSCI_CPU_SUSPEND = 1,
    PSCI_CPU_OFF = 2,
    PSCI_CPU_ON = 3,
    PSCI_AFFINITY_INFO = 4,
    PSCI_MIGRATE_INFO_TYPE = 6,
    PSCI_SYSTEM_OFF = 8,
    PSCI_SYSTEM_RESET = 9,
    PSCI_FEATURES = 10,
    PSCI_SYSTEM_RESET2 = 18,
};
#define PSCI_SUCCESS 0ull
#define PSCI_NOT_SUPPORTED (~0ull)          // -1
#define PSCI_INVALID_PARAMETERS (~0ull - 1) // -2
#define PSCI_DENIED (~0ull - 2)
#define PSCI_ALREADY_ON (~0ull - 3)
#define PSCI_ON_PENDING (~0ull - 4)
#define PSCI_INTERNAL_FAILURE (~0ull - 5)
#define PSCI_INVALID_ADDRESS (~0ull - 8) // -9
#define SUSPEND_POWER_DOWN BIT(16)       // power_state, original format (5.4.2.1)
#define SUSPEND_RESERVED (BITS(31, 26) | BITS(23, 17))

// Our UID for the vendor-specific hypervisor service, a random UUID (SMCCC §6.2)
static const u32 vendor_uid[4] = {0x9b1c56d2, 0x4c7fa813, 0x8f2e0db5, 0x6e71c3aa};

static bool has_rndr(void) {
    return field_get(BITS(63, 60), sysreg_read(id_aa64isar0_el1)) != 0;
}

// RNDR sets NZCV to 0b0100 when it has no entropy to give.
static bool rndr(u64 *v) {
    u64 flags;
    __asm__ volatile("mrs %0, S3_3_C2_C4_0\n\tmrs %1, nzcv" : "=r"(*v), "=r"(flags)::"cc");
    return !(flags & BIT(30));
}

// TRNG firmware interface (DEN0098): only where the CPU has a generator of its own
static u64 trng(struct vcpu *v, u32 fn) {
    u64 *x = v->arch.x;
    if (!has_rndr())
        return PSCI_NOT_SUPPORTED;
    switch (fn) {
    case SMCCC_TRNG_VERSION:
        return 0x10000;
    case SMCCC_TRNG_FEATURES: {
        u32 ask = (u32)x[1];
        bool have = (ask >= SMCCC_TRNG_VERSION && ask <= SMCCC_TRNG_RND32) || ask == SMCCC_TRNG_RND64;
        return have ? 0 : PSCI_NOT_SUPPORTED;
    }
    case SMCCC_TRNG_UUID:
        x[1] = vendor_uid[1];
        x[2] = vendor_uid[2];
        x[3] = vendor_uid[3];
        return vendor_uid[0];
    default:
        break;
    }
    bool wide = fn == SMCCC_TRNG_RND64;
    u64 bits = x[1], words[3];
    if (bits == 0 || bits > (wide ? 192 : 96))
        return PSCI_INVALID_PARAMETERS;
    for (u32 i = 0; i < 3; i++)
        if (!rndr(&words[i]))
            return ~0ull - 2; // NO_ENTROPY
    // The most significant word comes first, in x1 (w1); bits that were not asked for are zero.
    u64 width = wide ? 64 : 32;
    for (u32 i = 0; i < 3; i++) {
        u64 low = (2 - i) * width;
        u64 mask = bits <= low ? 0 : bits - low >= 64 ? ~0ull : BIT(bits - low) - 1;
        x[1 + i] = words[i] & mask & (wide ? ~0ull : 0xffffffffull);
    }
    return 0;
}

static u64 psci_features(u32 fn) {
    if (fn == (u32)SMCCC_VERSION)
        return 0;
    u32 n = (fn & ~(u32)FN_64BIT) - PSCI_BASE;
    bool wide = fn & FN_64BIT;
    switch (n) {
    case PSCI_CPU_SUSPEND: // original power_state format, no OS-initiated mode
    case PSCI_CPU_ON:
    case PSCI_AFFINITY_INFO:
    case PSCI_SYSTEM_RESET2:
        return 0;
    case PSCI_VERSION:
    case PSCI_CPU_OFF:
    case PSCI_MIGRATE_INFO_TYPE:
    case PSCI_SYSTEM_OFF:
    case PSCI_SYSTEM_RESET:
    case PSCI_FEATURES:
        return wide ? PSCI_NOT_SUPPORTED : 0;
    default:
        return PSCI_NOT_SUPPORTED;
    }
}

// The MPIDR argument of a call → vCPU index. Ours have Aff0 = index and zero elsewhere.
static u32 target_of(const struct vcpu *v, u64 mpidr) {
    return mpidr < v->vm->vcpu_count ? (u32)mpidr : VEXIT_NO_VCPU;
}

static bool entry_ok(struct vcpu *v, u64 entry) {
    return (entry & 3) == 0 && gmem_ptr(v->vm, gpa(entry), 4);
}

// Calls that end in an exit. True if answered here after all.
static bool psci_exit(struct vcpu *v, u32 n, bool wide, struct vexit *exit) {
    u64 *x = v->arch.x, mask = wide ? ~0ull : 0xffffffffull;
    if (psci_features((u32)(PSCI_BASE + n + (wide ? FN_64BIT : 0))) != 0) { // some have no 64-bit form
        x[0] = PSCI_NOT_SUPPORTED;
        return true;
    }
    u64 a1 = x[1] & mask, a2 = x[2] & mask, a3 = x[3] & mask;
    switch (n) {
    case PSCI_CPU_ON:
        exit->kind = VEXIT_CPU_ON;
        exit->target = target_of(v, a1);
        exit->entry = a2;
        exit->arg = a3;
        if (exit->target != VEXIT_NO_VCPU && !entry_ok(v, a2)) {
            x[0] = PSCI_INVALID_ADDRESS;
            return true;
        }
        return false;
    case PSCI_CPU_OFF:
        exit->kind = VEXIT_CPU_OFF;
        return false;
    case PSCI_CPU_SUSPEND:
        exit->kind = VEXIT_CPU_SUSPEND;
        exit->power_down = a1 & SUSPEND_POWER_DOWN;
        exit->entry = a2;
        exit->arg = a3;
        if (a1 & (SUSPEND_RESERVED | ~0xffffffffull))
            x[0] = PSCI_INVALID_PARAMETERS;
        else if (exit->power_down && !entry_ok(v, a2))
            x[0] = PSCI_INVALID_ADDRESS;
        else
            return false;
        return true;
    case PSCI_AFFINITY_INFO:
        if (a2 - 1 < 3 && (a1 & ~0xffull) == 0) { // the only node of each higher level is that of the caller
            x[0] = PSCI_SUCCESS;                  // on
            return true;
        }
        exit->kind = VEXIT_CPU_INFO;
        exit->target = a2 == 0 ? target_of(v, a1) : VEXIT_NO_VCPU;
        return false;
    case PSCI_SYSTEM_OFF:
        exit->kind = VEXIT_SYSTEM_OFF;
        return false;
    case PSCI_SYSTEM_RESET2:
        if (a1 != 0) { // only the architectural warm reset
            x[0] = PSCI_INVALID_PARAMETERS;
            return true;
        }
        [[fallthrough]];
    case PSCI_SYSTEM_RESET:
        exit->kind = VEXIT_SYSTEM_RESET;
        return false;
    default:
        x[0] = PSCI_NOT_SUPPORTED;
        return true;
    }
}

// What needs nobody else. False: not one of these.
static bool smccc_local(struct vcpu *v, u32 fn) {
    u64 *x = v->arch.x;
    switch (fn) {
    case PSCI_BASE + PSCI_VERSION:
        x[0] = 0x10001;
        return true;
    case SMCCC_VERSION:
        x[0] = 0x10002;
        return true;
    case SMCCC_ARCH_FEATURES: // the calls themselves; no workaround is offered that we do not carry out
        x[0] = (u32)x[1] == (u32)SMCCC_VERSION || (u32)x[1] == (u32)SMCCC_ARCH_FEATURES ? 0 : PSCI_NOT_SUPPORTED;
        return true;
    case PSCI_BASE + PSCI_FEATURES:
        x[0] = psci_features((u32)x[1]);
        return true;
    case PSCI_BASE + PSCI_MIGRATE_INFO_TYPE: // no trusted OS that would have to move
        x[0] = 2;
        return true;
    case SMCCC_TRNG_VERSION:
    case SMCCC_TRNG_FEATURES:
    case SMCCC_TRNG_UUID:
    case SMCCC_TRNG_RND32:
    case SMCCC_TRNG_RND64:
        x[0] = trng(v, fn);
        return true;
    case VENDOR_CALL_COUNT:
        x[0] = HYPERCALL_COUNT;
        return true;
    case VENDOR_UID:
        for (u32 i = 0; i < 4; i++)
            x[i] = vendor_uid[i];
        return true;
    case VENDOR_REVISION:
        x[0] = 0;
        x[1] = 1;
        return true;
    default:
        return false;
    }
}

// Is it one that must go through smccc_decode's exits? PSCI's and the vendor's own small numbers.
static bool wants_exit(u32 fn) {
    u32 base = fn & ~(u32)FN_64BIT;
    if (base - PSCI_BASE <= 0x1f)
        return true;
    return base - 0x86000000u < 0xff00;
}

// Called on every HVC and SMC straight from the vector.
bool smccc_fast(struct vcpu *v) {
    u32 fn = (u32)v->arch.x[0];
    if (smccc_local(v, fn))
        return true;
    if (wants_exit(fn) && ((fn & 0xff000000u & ~(u32)FN_64BIT) != 0x86000000u || (fn & 0xffff) < HYPERCALL_COUNT))
        return false;
    v->arch.x[0] = PSCI_NOT_SUPPORTED;
    return true;
}

bool smccc_decode(struct vcpu *v, struct vexit *exit) {
    u32 fn = (u32)v->arch.x[0];
    if ((fn & ~(u32)FN_64BIT) - 0x86000000u < 0xff00) {
        exit->kind = VEXIT_HYPERCALL;
        exit->nr = fn & 0xffff;
        for (u32 i = 0; i < 6; i++)
            exit->args[i] = v->arch.x[1 + i] & (fn & FN_64BIT ? ~0ull : 0xffffffffull);
        return false;
    }
    return psci_exit(v, (fn & ~(u32)FN_64BIT) - PSCI_BASE, fn & FN_64BIT, exit);
}

static u64 psci_error(s32 status) {
    switch (status) {
    case 0:
        return PSCI_SUCCESS;
    case -EINVAL:
        return PSCI_INVALID_PARAMETERS;
    case -EALREADY:
        return PSCI_ALREADY_ON;
    case -EBUSY:
        return PSCI_ON_PENDING;
    case -EPERM:
        return PSCI_DENIED;
    default:
        return PSCI_INTERNAL_FAILURE;
    }
}

void psci_finish(struct vcpu *v, const struct vexit *exit) {
    u64 *x0 = &v->arch.x[0];
    if (exit->kind == VEXIT_HYPERCALL)
        *x0 = exit->value;
    else if (exit->kind == VEXIT_CPU_INFO && exit->status == 0)
        *x0 = exit->value == VCPU_ON ? 0 : exit->value == VCPU_OFF ? 1 : 2;
    else
        *x0 = psci_error(exit->status);
}
