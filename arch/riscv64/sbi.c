// SPDX-License-Identifier: Apache-2.0
// Firmware calls of a guest: SBI 2.0. What touches another vCPU's task or a life cycle leaves as an exit; the rest is
// answered here, most of it in sbi_fast(), right from the trap vector. Nothing is forwarded to the host's firmware as
// it is.
#include "console.h"
#include "gmem.h"
#include "hypercall.h"
#include "riscv64.h"
#include "vm.h"

enum : u64 {
    LEGACY_SET_TIMER = 0,
    LEGACY_PUTCHAR = 1,
    LEGACY_GETCHAR = 2,
    LEGACY_CLEAR_IPI = 3,
    LEGACY_SEND_IPI = 4,
    LEGACY_FENCE_I = 5,
    LEGACY_SFENCE_VMA = 6,
    LEGACY_SFENCE_VMA_ASID = 7,
    LEGACY_SHUTDOWN = 8,
    SBI_BULKHEAD = 0x0a42484b, // firmware-specific space: our own hypercalls
};
enum : u32 { SPEC_VERSION = 2 << 24, IMPLEMENTATION_ID = 0x42484b, IMPLEMENTATION_VERSION = 1 };
enum base_function { BASE_SPEC, BASE_IMPLEMENTATION, BASE_VERSION, BASE_PROBE, BASE_VENDOR, BASE_ARCH, BASE_MACHINE };
enum hsm_function { HSM_START, HSM_STOP, HSM_STATUS, HSM_SUSPEND };
enum hsm_state { HSM_STARTED, HSM_STOPPED, HSM_START_PENDING };
enum : u64 { SUSPEND_RETENTIVE = 0, SUSPEND_NON_RETENTIVE = 0x80000000 };
enum srst_type { SRST_SHUTDOWN, SRST_COLD_REBOOT, SRST_WARM_REBOOT };
enum dbcn_function { DBCN_WRITE, DBCN_READ, DBCN_WRITE_BYTE };
#define SBI_SUCCESS 0ull
#define SBI_FAILED (~0ull)            // -1
#define SBI_NOT_SUPPORTED (~0ull - 1) // -2
#define SBI_INVALID_PARAM (~0ull - 2)
#define SBI_DENIED (~0ull - 3)
#define SBI_INVALID_ADDRESS (~0ull - 4)
#define SBI_ALREADY_AVAILABLE (~0ull - 5)
#define SBI_ALREADY_STARTED (~0ull - 6)
#define ALL_HARTS (~0ull)
#define FENCE_PAGES_MAX 64 // above that, everything is forgotten

static u64 vm_harts(const struct vcpu *v) {
    return BIT(v->vm->vcpu_count) - 1; // at most 16
}

// A hart mask and its base (§3.1) → a set of vCPUs; false: it names a hart that does not exist.
static bool harts_of(const struct vcpu *v, u64 mask, u64 base, u64 *set) {
    u64 all = vm_harts(v);
    if (base == ALL_HARTS)
        *set = all;
    else if (mask == 0)
        *set = 0;
    else if (base >= v->vm->vcpu_count || mask & ~(all >> base))
        return false;
    else
        *set = mask << base;
    return true;
}

// ── Remote fences ───────────────────────────────────────────────────────────────────────────────────────────────────
static void fence_here(enum rfence_function function, u64 start, u64 size, u64 asid) {
    bool by_asid = function == RFENCE_HFENCE_VVMA_ASID;
    if (function == RFENCE_FENCE_I) {
        fence_i();
    } else if ((start == 0 && size == 0) || size > FENCE_PAGES_MAX * PAGE_SIZE) {
        if (by_asid)
            hfence_vvma_asid(asid);
        else
            hfence_vvma();
    } else {
        u64 at = align_down(start, PAGE_SIZE), pages = (start - at + size + PAGE_SIZE - 1) / PAGE_SIZE;
        for (; pages; pages--, at += PAGE_SIZE) {
            if (by_asid)
                hfence_vvma_va_asid(at, asid);
            else
                hfence_vvma_va(at);
        }
    }
}

// A vCPU's translations are on its home CPU only, under our VMID, whether it is loaded there or not: so the pCPUs are
// fenced, by the host's firmware, and no vCPU is asked.
static void fence_harts(struct vcpu *v, u64 set, enum rfence_function function, u64 start, u64 size, u64 asid) {
    u64 homes = 0;
    for (; set; set &= set - 1) {
        const struct task *t = &v->vm->vcpus[__builtin_ctzll(set)]->task;
        homes |= BIT(atomic_load_explicit(&t->cpu, memory_order_relaxed)->id);
    }
    u64 here = BIT(cpu_self()->id);
    if (homes & here)
        fence_here(function, start, size, asid);
    if (homes & ~here)
        rfence_cpus(homes & ~here, function, start, size, asid);
}

static u64 rfence(struct vcpu *v) {
    u64 *x = v->arch.x, set;
    static const enum rfence_function functions[] = {RFENCE_FENCE_I, RFENCE_HFENCE_VVMA, RFENCE_HFENCE_VVMA_ASID};
    if (x[16] >= ARRAY_SIZE(functions)) // the others fence a guest of the guest's
        return SBI_NOT_SUPPORTED;
    if (!harts_of(v, x[10], x[11], &set))
        return SBI_INVALID_PARAM;
    fence_harts(v, set, functions[x[16]], x[12], x[13], x[14] & 0xffff);
    return SBI_SUCCESS;
}

// ── What needs nobody else ──────────────────────────────────────────────────────────────────────────────────────────
static bool probe(u64 extension) {
    switch (extension) {
    case LEGACY_SET_TIMER:
    case LEGACY_PUTCHAR:
    case LEGACY_GETCHAR:
    case LEGACY_CLEAR_IPI:
    case LEGACY_SEND_IPI:
    case LEGACY_FENCE_I:
    case LEGACY_SFENCE_VMA:
    case LEGACY_SFENCE_VMA_ASID:
    case LEGACY_SHUTDOWN:
    case SBI_BASE:
    case SBI_TIME:
    case SBI_IPI:
    case SBI_RFENCE:
    case SBI_HSM:
    case SBI_SRST:
    case SBI_DBCN:
    case SBI_BULKHEAD:
        return true;
    default:
        return false;
    }
}

static u64 base_call(struct vcpu *v) {
    u64 *x = v->arch.x;
    switch (x[16]) {
    case BASE_SPEC:
        x[11] = SPEC_VERSION;
        return SBI_SUCCESS;
    case BASE_IMPLEMENTATION:
        x[11] = IMPLEMENTATION_ID;
        return SBI_SUCCESS;
    case BASE_VERSION:
        x[11] = IMPLEMENTATION_VERSION;
        return SBI_SUCCESS;
    case BASE_PROBE:
        x[11] = probe(x[10]);
        return SBI_SUCCESS;
    case BASE_VENDOR: // the hart is the host's, and its errata are for the guest to know
    case BASE_ARCH:
    case BASE_MACHINE:
        x[11] = features.machine_id[x[16] - BASE_VENDOR];
        return SBI_SUCCESS;
    default:
        x[11] = 0;
        return SBI_NOT_SUPPORTED;
    }
}

// The error goes to a0; functions without a value give 0 in a1.
static u64 answer(struct vcpu *v, u64 error) {
    v->arch.x[10] = error;
    v->arch.x[11] = 0;
    return 0;
}

// An old kernel's hart mask lies in its memory; no pointer: all harts.
static bool legacy_harts(struct vcpu *v, u64 *set) {
    u64 mask = ALL_HARTS;
    if (v->arch.x[10]) {
        struct may_fault m = may_load64(v->arch.x[10]);
        if (m.failed) {
            guest_return_mode();
            return false;
        }
        mask = m.value;
    }
    *set = mask & vm_harts(v);
    return true;
}

// Called on every ECALL, with only x1, x2, x4 … x7, x10 … x17 and x28 … x31 in v->arch: the guest's other registers are
// live in our own. 0: answered; else nothing was changed.
u64 sbi_fast(struct vcpu *v) {
    u64 *x = v->arch.x, set;
    switch (x[17]) {
    case SBI_BASE:
        x[10] = base_call(v);
        return 0;
    case SBI_TIME:
        if (x[16] != 0)
            return answer(v, SBI_NOT_SUPPORTED);
        timers_set(v, x[10]);
        return answer(v, SBI_SUCCESS);
    case SBI_IPI:
        if (x[16] != 0)
            return answer(v, SBI_NOT_SUPPORTED);
        if (!harts_of(v, x[10], x[11], &set))
            return answer(v, SBI_INVALID_PARAM);
        if (set & ~BIT(v->id))
            return 1;
        if (set)
            csr_set(CSR_HVIP, BIT(IRQ_VSSI));
        return answer(v, SBI_SUCCESS);
    case SBI_RFENCE:
        return answer(v, rfence(v));
    case LEGACY_SET_TIMER:
        timers_set(v, x[10]);
        x[10] = 0;
        return 0;
    case LEGACY_PUTCHAR:
    case LEGACY_GETCHAR:
    case LEGACY_CLEAR_IPI:
    case LEGACY_SEND_IPI:
    case LEGACY_FENCE_I:
    case LEGACY_SFENCE_VMA:
    case LEGACY_SFENCE_VMA_ASID:
    case LEGACY_SHUTDOWN:
    case SBI_HSM:
    case SBI_SRST:
    case SBI_DBCN:
    case SBI_BULKHEAD:
        return 1;
    default:
        return answer(v, SBI_NOT_SUPPORTED);
    }
}

// ── Calls that may end in an exit ───────────────────────────────────────────────────────────────────────────────────
static bool answered(struct vcpu *v, u64 error) {
    (void)answer(v, error);
    return true;
}

static bool entry_ok(struct vcpu *v, u64 entry) {
    return (entry & 1) == 0 && gmem_ptr(v->vm, gpa(entry), 2);
}

static bool hsm_suspend(struct vcpu *v, struct vexit *exit) {
    u64 *x = v->arch.x, type = x[10];
    if (type != SUSPEND_RETENTIVE && type != SUSPEND_NON_RETENTIVE)
        return answered(v, SBI_INVALID_PARAM);
    exit->kind = VEXIT_CPU_SUSPEND;
    exit->power_down = type == SUSPEND_NON_RETENTIVE;
    exit->entry = x[11];
    exit->arg = x[12];
    if (exit->power_down && !entry_ok(v, x[11]))
        return answered(v, SBI_INVALID_ADDRESS);
    if (halt_ends_at_once(v)) {
        if (!exit->power_down)
            return answered(v, SBI_SUCCESS);
        if (csr_read(CSR_HVIP) & BIT(IRQ_VSSI)) // the only one that the interrupt controller has forgotten
            v->vm->irqchip_ops->set_ppi(v, VPLIC_SSI, true);
    }
    v->arch.suspended = exit->power_down;
    return false;
}

static bool hsm_call(struct vcpu *v, struct vexit *exit) {
    u64 *x = v->arch.x;
    switch (x[16]) {
    case HSM_START:
        exit->kind = VEXIT_CPU_ON;
        exit->target = x[10] < v->vm->vcpu_count ? (u32)x[10] : VEXIT_NO_VCPU;
        exit->entry = x[11];
        exit->arg = x[12];
        return exit->target != VEXIT_NO_VCPU && !entry_ok(v, x[11]) ? answered(v, SBI_INVALID_ADDRESS) : false;
    case HSM_STOP:
        exit->kind = VEXIT_CPU_OFF;
        return false;
    case HSM_STATUS:
        exit->kind = VEXIT_CPU_INFO;
        exit->target = x[10] < v->vm->vcpu_count ? (u32)x[10] : VEXIT_NO_VCPU;
        return false;
    case HSM_SUSPEND:
        return hsm_suspend(v, exit);
    default:
        return answered(v, SBI_NOT_SUPPORTED);
    }
}

static bool srst_call(struct vcpu *v, struct vexit *exit) {
    u64 *x = v->arch.x;
    if (x[16] != 0)
        return answered(v, SBI_NOT_SUPPORTED);
    if (x[10] > SRST_WARM_REBOOT || x[11] > 1) // reasons: none, system failure
        return answered(v, SBI_INVALID_PARAM);
    exit->kind = x[10] == SRST_SHUTDOWN ? VEXIT_SYSTEM_OFF : VEXIT_SYSTEM_RESET;
    return false;
}

// A part of what was to be written may be, and is when it is more than a page.
static bool dbcn_call(struct vcpu *v, struct vexit *exit) {
    u64 *x = v->arch.x;
    switch (x[16]) {
    case DBCN_WRITE:
        if (x[12] != 0 || x[10] > v->vm->cfg.memory)
            return answered(v, SBI_INVALID_PARAM);
        exit->kind = VEXIT_HYPERCALL;
        exit->nr = HYPERCALL_CONSOLE_WRITE;
        exit->args[0] = x[11];
        exit->args[1] = MIN(x[10], PAGE_SIZE);
        return false;
    case DBCN_READ: // input goes to the UART
        return answered(v, SBI_SUCCESS);
    case DBCN_WRITE_BYTE:
        console_putc(v->vm->console, (char)x[10]);
        return answered(v, SBI_SUCCESS);
    default:
        return answered(v, SBI_NOT_SUPPORTED);
    }
}

// These have no function number, and answer in a0 only.
static bool legacy_call(struct vcpu *v, struct vexit *exit) {
    static const enum rfence_function functions[] = {RFENCE_FENCE_I, RFENCE_HFENCE_VVMA, RFENCE_HFENCE_VVMA_ASID};
    u64 *x = v->arch.x, set;
    switch (x[17]) {
    case LEGACY_PUTCHAR:
        console_putc(v->vm->console, (char)x[10]);
        x[10] = 0;
        return true;
    case LEGACY_GETCHAR:
        x[10] = SBI_FAILED; // nothing there
        return true;
    case LEGACY_CLEAR_IPI:
        csr_clear(CSR_HVIP, BIT(IRQ_VSSI));
        x[10] = 0;
        return true;
    case LEGACY_SHUTDOWN:
        exit->kind = VEXIT_SYSTEM_OFF;
        return false;
    default:
        break;
    }
    if (!legacy_harts(v, &set)) {
        x[10] = SBI_FAILED;
        return true;
    }
    if (x[17] == LEGACY_SEND_IPI) {
        exit->kind = VEXIT_SEND_IPI;
        exit->value = set;
        return false;
    }
    fence_harts(v, set, functions[x[17] - LEGACY_FENCE_I], x[11], x[12], x[13] & 0xffff);
    x[10] = 0;
    return true;
}

static bool decode(struct vcpu *v, struct vexit *exit) {
    u64 *x = v->arch.x;
    switch (x[17]) {
    case SBI_IPI:
        exit->kind = VEXIT_SEND_IPI;
        return !harts_of(v, x[10], x[11], &exit->value) && answered(v, SBI_INVALID_PARAM);
    case SBI_HSM:
        return hsm_call(v, exit);
    case SBI_SRST:
        return srst_call(v, exit);
    case SBI_DBCN:
        return dbcn_call(v, exit);
    case SBI_BULKHEAD:
        if (x[16] >= HYPERCALL_COUNT)
            return answered(v, SBI_NOT_SUPPORTED);
        exit->kind = VEXIT_HYPERCALL;
        exit->nr = (u32)x[16];
        for (u32 i = 0; i < 6; i++)
            exit->args[i] = x[10 + i];
        return false;
    default: // what sbi_fast() leaves to us is one of these or a legacy call
        return legacy_call(v, exit);
    }
}

bool sbi_decode(struct vcpu *v, struct vexit *exit) {
    if (!decode(v, exit))
        return false;
    v->arch.sepc += 4;
    return true;
}

static u64 sbi_error(s32 status) {
    switch (status) {
    case 0:
        return SBI_SUCCESS;
    case -EINVAL:
        return SBI_INVALID_PARAM;
    case -EALREADY:
    case -EBUSY:
        return SBI_ALREADY_AVAILABLE;
    case -EPERM:
        return SBI_DENIED;
    default:
        return SBI_FAILED;
    }
}

void sbi_finish(struct vcpu *v, const struct vexit *exit) {
    u64 *x = v->arch.x;
    switch (exit->kind) {
    case VEXIT_SEND_IPI:
        x[10] = SBI_SUCCESS;
        if (x[17] != LEGACY_SEND_IPI)
            x[11] = 0;
        return;
    case VEXIT_HYPERCALL: {
        bool bad = x[17] == SBI_DBCN && (s64)exit->value < 0;
        x[10] = bad ? SBI_INVALID_PARAM : SBI_SUCCESS;
        x[11] = bad ? 0 : exit->value;
        return;
    }
    case VEXIT_CPU_INFO: {
        static const u8 states[] = {
            [VCPU_OFF] = HSM_STOPPED, [VCPU_ON_PENDING] = HSM_START_PENDING, [VCPU_ON] = HSM_STARTED};
        x[10] = sbi_error(exit->status);
        x[11] = exit->status == 0 && exit->value < ARRAY_SIZE(states) ? states[exit->value] : 0;
        return;
    }
    default:
        x[10] = sbi_error(exit->status);
        x[11] = 0;
        return;
    }
}
