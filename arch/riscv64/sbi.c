// SPDX-License-Identifier: Apache-2.0
// Firmware calls of a guest, carried out: sbi_decode.c says what is asked. What touches another vCPU's task or a life
// cycle leaves as an exit; the rest is answered here, most of it in sbi_fast(), right from the trap vector. Nothing is
// forwarded to the host's firmware as it is.
#include "sbi.h"

#include <string.h>

#include "console.h"
#include "gmem.h"
#include "hypercall.h"
#include "riscv64.h"
#include "v16550.h"
#include "vm.h"

enum { FENCE_PAGES_MAX = 64 }; // above that, everything is forgotten

void sbi_vm_init(struct vm *vm) {
    struct sbi_guest *guest = &vm->arch.sbi;
    *guest = (struct sbi_guest){.harts = vm->cfg.cpus, .ram = arch_guest_ram_base(), .ram_size = vm->cfg.memory};
    static_assert(sizeof(guest->machine_id) == sizeof(features.machine_id));
    memcpy(guest->machine_id, features.machine_id, sizeof(guest->machine_id));
}

static inline void answer(struct vcpu *v, struct sbi_op op) {
    v->arch.x[10] = (u64)op.error;
    if (!op.legacy)
        v->arch.x[11] = op.value;
}

// ── Remote fences ───────────────────────────────────────────────────────────────────────────────────────────────────
static void fence_here(const struct sbi_op *op) {
    bool by_asid = op->fence == RFENCE_SFENCE_VMA_ASID;
    if (op->fence == RFENCE_FENCE_I) {
        fence_i();
    } else if (op->size > FENCE_PAGES_MAX * PAGE_SIZE) {
        if (by_asid)
            hfence_vvma_asid(op->asid);
        else
            hfence_vvma();
    } else {
        u64 at = align_down(op->at, PAGE_SIZE), pages = (op->at - at + op->size + PAGE_SIZE - 1) / PAGE_SIZE;
        for (; pages; pages--, at += PAGE_SIZE) {
            if (by_asid)
                hfence_vvma_va_asid(at, op->asid);
            else
                hfence_vvma_va(at);
        }
    }
}

// A vCPU's translations are on its home CPU only, under our VMID, whether it is loaded there or not: so the pCPUs are
// fenced, by the host's firmware, and no vCPU is asked.
static void fence_harts(struct vcpu *v, struct sbi_op op) {
    static const enum sbi_fence functions[] = {RFENCE_FENCE_I, RFENCE_HFENCE_VVMA, RFENCE_HFENCE_VVMA_ASID};
    u64 homes = 0;
    for (u64 set = op.harts; set; set &= set - 1) {
        const struct task *t = &v->vm->vcpus[__builtin_ctzll(set)]->task;
        homes |= BIT(atomic_load_explicit(&t->cpu, memory_order_relaxed)->id);
    }
    u64 here = BIT(cpu_self()->id);
    if (homes & here)
        fence_here(&op);
    if (homes & ~here)
        rfence_cpus(homes & ~here, functions[op.fence], op.at, op.size, op.asid);
}

// ── What needs nobody else ──────────────────────────────────────────────────────────────────────────────────────────
// Called on every ECALL, with only x1, x2, x4 … x7, x10 … x17 and x28 … x31 in v->arch: the guest's other registers are
// live in our own. 0: answered; else nothing was changed.
u64 sbi_fast(struct vcpu *v) {
    struct sbi_op op;
    // A copy of its own: nearly all of what the decoder does is known not to matter to a call that is served here.
    [[clang::always_inline]] sbi_decode(&v->vm->arch.sbi, v->arch.x, &op);
    switch (op.action) {
    case SBI_ANSWERED:
        break;
    case SBI_TIMER:
        timers_set(v, op.value);
        op.value = 0;
        break;
    case SBI_SEND_IPI:
        if (op.mask_in_ram || op.harts & ~BIT(v->id))
            return 1;
        if (op.harts)
            csr_set(CSR_HVIP, BIT(IRQ_VSSI));
        break;
    case SBI_CLEAR_IPI:
        csr_clear(CSR_HVIP, BIT(IRQ_VSSI));
        break;
    case SBI_FENCE:
        if (op.mask_in_ram)
            return 1;
        fence_harts(v, op);
        break;
    default:
        return 1;
    }
    answer(v, op);
    return 0;
}

// ── Calls that may end in an exit ───────────────────────────────────────────────────────────────────────────────────
// An old kernel's hart mask lies in its memory.
static bool mask_load(struct vcpu *v, struct sbi_op *op) {
    if (!op->mask_in_ram)
        return true;
    struct may_fault m = may_load64(op->value);
    op->value = 0;
    if (m.failed) {
        guest_return_mode();
        op->error = SBI_FAILED;
        return false;
    }
    op->harts = sbi_mask_harts(&v->vm->arch.sbi, m.value);
    return true;
}

// Input is the UART's, as on a machine whose firmware and kernel share one.
static void console_read(struct vcpu *v, struct sbi_op *op) {
    char bytes[V16550_FIFO];
    u32 n = v16550_take(v->vm, bytes, (u32)MIN(op->size, sizeof(bytes)));
    BUG_ON(gmem_write(v->vm, gpa(op->at), bytes, n) != 0); // the decoder has looked at the range
    op->value = n;
}

static void console_get(struct vcpu *v, struct sbi_op *op) {
    char byte;
    op->error = v16550_take(v->vm, &byte, 1) ? (enum sbi_error)(u8)byte : SBI_FAILED;
}

// Every other hart is off, and stays so: who could start one is the caller.
static bool others_are_stopped(const struct vcpu *v) {
    for (u32 i = 0; i < v->vm->vcpu_count; i++)
        if (i != v->id && atomic_load_explicit(&v->vm->vcpus[i]->power, memory_order_relaxed) != VCPU_OFF)
            return false;
    return true;
}

// Back from a suspend. A hart that has lost its registers begins at `entry` without translation and interrupts (§9.4).
// It may have been unloaded while it slept.
static void resume(struct vcpu *v, u64 entry, u64 arg) {
    struct arch_vcpu *a = &v->arch;
    u8 state = atomic_load_explicit(&a->suspend, memory_order_relaxed);
    atomic_store_explicit(&a->suspend, VCPU_AWAKE, memory_order_relaxed);
    if (state != VCPU_ASLEEP_LOSING) {
        a->x[10] = SBI_SUCCESS;
        a->x[11] = 0;
        a->sepc += 4;
        return;
    }
    memset(a->x, 0, sizeof(a->x));
    a->x[10] = v->id;
    a->x[11] = arg;
    a->sepc = entry;
    if (cpu_self()->loaded == v) {
        csr_clear(CSR_VSSTATUS, SSTATUS_SIE);
        csr_write(CSR_VSATP, 0);
    } else {
        a->vsstatus &= ~SSTATUS_SIE;
        a->vsatp = 0;
    }
}

// What wakes it is an interrupt that its sie enables. For the core it is a sleep like any other: what is pending stays
// so, and resume() takes the registers away.
static bool suspend(struct vcpu *v, struct sbi_op *op, struct vexit *exit) {
    if (op->action == SBI_SYSTEM_SUSPEND && !others_are_stopped(v)) {
        op->error = SBI_DENIED;
        answer(v, *op);
        v->arch.sepc += 4;
        return true;
    }
    atomic_store_explicit(&v->arch.suspend, op->loses ? VCPU_ASLEEP_LOSING : VCPU_ASLEEP, memory_order_relaxed);
    if (halt_ends_at_once(v)) {
        resume(v, op->entry, op->arg);
        return true;
    }
    exit->kind = VEXIT_CPU_SUSPEND;
    exit->power_down = false;
    exit->entry = op->entry;
    exit->arg = op->arg;
    return false;
}

static void hypercall(const struct vcpu *v, const struct sbi_op *op, struct vexit *exit) {
    exit->kind = VEXIT_HYPERCALL;
    if (op->action == SBI_CONSOLE_WRITE) {
        exit->nr = HYPERCALL_CONSOLE_WRITE;
        exit->args[0] = op->at;
        exit->args[1] = op->size;
        return;
    }
    exit->nr = op->target;
    for (u32 i = 0; i < ARRAY_SIZE(exit->args); i++)
        exit->args[i] = v->arch.x[10 + i];
}

// True: carried out, or refused.
static bool carry_out(struct vcpu *v, struct sbi_op *op, struct vexit *exit) {
    switch (op->action) {
    case SBI_SEND_IPI:
        exit->kind = VEXIT_SEND_IPI;
        if (!mask_load(v, op))
            return true;
        exit->value = op->harts;
        return false;
    case SBI_FENCE:
        if (mask_load(v, op))
            fence_harts(v, *op);
        return true;
    case SBI_CONSOLE_PUT:
        console_putc(v->vm->console, (char)op->value);
        op->value = 0;
        return true;
    case SBI_CONSOLE_READ:
        console_read(v, op);
        return true;
    case SBI_CONSOLE_GET:
        console_get(v, op);
        return true;
    case SBI_CONSOLE_WRITE:
    case SBI_HYPERCALL:
        hypercall(v, op, exit);
        return false;
    case SBI_HART_START:
    case SBI_HART_STATUS:
        exit->kind = op->action == SBI_HART_START ? VEXIT_CPU_ON : VEXIT_CPU_INFO;
        exit->target = op->target;
        exit->entry = op->entry;
        exit->arg = op->arg;
        return false;
    case SBI_HART_STOP:
        exit->kind = VEXIT_CPU_OFF;
        return false;
    case SBI_SYSTEM_OFF:
        exit->kind = VEXIT_SYSTEM_OFF;
        return false;
    case SBI_SYSTEM_RESET:
        exit->kind = VEXIT_SYSTEM_RESET;
        return false;
    default: // sbi_fast() has answered it
        return true;
    }
}

bool sbi_exit(struct vcpu *v, struct vexit *exit) {
    struct sbi_op op;
    sbi_decode(&v->vm->arch.sbi, v->arch.x, &op);
    if (op.action == SBI_HART_SUSPEND || op.action == SBI_SYSTEM_SUSPEND)
        return suspend(v, &op, exit);
    if (!carry_out(v, &op, exit))
        return false;
    answer(v, op);
    v->arch.sepc += 4;
    return true;
}

// ── The core's answers ──────────────────────────────────────────────────────────────────────────────────────────────
static enum sbi_error error_of(s32 status) {
    switch (status) {
    case 0:
        return SBI_SUCCESS;
    case -EINVAL:
        return SBI_INVALID_PARAM;
    case -EALREADY:
    case -EBUSY:
        return SBI_ALREADY_AVAILABLE;
    default:
        return SBI_FAILED;
    }
}

static enum sbi_hart_state state_of(const struct vcpu *target, u64 power) {
    if (power == VCPU_OFF)
        return SBI_HART_STOPPED;
    if (power == VCPU_ON_PENDING)
        return SBI_HART_START_PENDING;
    return atomic_load_explicit(&target->arch.suspend, memory_order_relaxed) ? SBI_HART_SUSPENDED : SBI_HART_STARTED;
}

void sbi_finish(struct vcpu *v, const struct vexit *exit) {
    if (exit->kind == VEXIT_CPU_SUSPEND) {
        resume(v, exit->entry, exit->arg);
        return;
    }
    struct sbi_op op = {.legacy = v->arch.x[17] <= SBI_LEGACY_SHUTDOWN};
    switch (exit->kind) {
    case VEXIT_SEND_IPI:
        break;
    case VEXIT_HYPERCALL:
        op.value = exit->value;
        if (v->arch.x[17] == SBI_DBCN && (s64)exit->value < 0) {
            op.error = SBI_INVALID_PARAM;
            op.value = 0;
        }
        break;
    case VEXIT_CPU_INFO:
        op.error = error_of(exit->status);
        if (exit->status == 0)
            op.value = state_of(v->vm->vcpus[exit->target], exit->value);
        break;
    default:
        op.error = error_of(exit->status);
        break;
    }
    answer(v, op);
    v->arch.sepc += 4;
}
