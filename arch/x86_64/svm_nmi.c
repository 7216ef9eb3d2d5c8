// SPDX-License-Identifier: Apache-2.0
// NMIs of a guest on SVM, which has no window for them: an NMI that cannot be injected now waits for the end of the one
// before, of a shadow or of another event, and the guest has to come out right there.
//
// An IRET comes out before it is executed, and NMIs are blocked until it has been. So it is stepped over, as is what a
// shadow covers: with TF, and with every exception intercepted. #DB says that the instruction was executed, and any
// other exception is handed on without the TF that is not the guest's. An event that is to be delivered first is, and
// then an interrupt of our own takes the guest out before it executes anything.
#include "svm_nmi.h"

#include "x86_64.h"

#define HAVE_ERROR                                                                                                     \
    (BIT(8) /* #DF */ | BITS(VECTOR_PF, 10) | BIT(VECTOR_AC) | BIT(21) /* #CP */ | BITS(30, 29) /* #VC, #SX */)

static void step_over(struct vcpu *v, struct vmcb *c) {
    struct arch_vcpu *a = &v->arch;
    a->stepping = true;
    a->step_tf = c->rflags & RFLAGS_TF;
    a->step_dr6 = c->dr6;
    c->dr6 = DR6_RESET;
    c->rflags |= RFLAGS_TF;
    c->exceptions = ~0u;
}

void svm_nmi_in(struct vcpu *v, struct vmcb *c) {
    struct arch_vcpu *a = &v->arch;
    const bool done = a->work & X86_WORK_STEP; // with the instruction that came out, and so with its shadow
    if (a->nmi_blocked && a->iret_rip == ~0ull)
        return;
    if ((a->event & EVENT_VALID) || (done && (c->rflags & RFLAGS_TF))) { // #DB comes first
        arch_cpu_kick(cpu_self());
        return;
    }
    if (a->nmi_blocked || ((c->shadow & SVM_SHADOW) && !done)) {
        step_over(v, c);
        return;
    }
    if (!vlapic_take_nmi(vlapic_of(v)))
        return;
    a->event = EVENT_VALID | field_set(EVENT_TYPE, EVENT_NMI) | VECTOR_NMI;
    a->work |= X86_WORK_EVENT;
    a->nmi_blocked = true;
    a->iret_rip = ~0ull;
    c->intercepts1 |= SVM_IRET;
}

void svm_nmi_iret(struct vcpu *v, struct vmcb *c) {
    v->arch.iret_rip = c->rip;
    c->intercepts1 &= ~SVM_IRET;
}

// The guest's own part in a #DB that came out.
static u64 debug_hits(const struct arch_vcpu *a, const struct vmcb *c, u64 dr6) {
    u64 hits = dr6 ^ DR6_RESET, mine = a->step_tf ? 0 : DR6_BS;
    for (u32 n = 0; n < 4; n++)
        if (!(c->dr7 >> 2 * n & 3)) // matches are told of also for those that are off
            mine |= BIT(n);
    return hits & ~mine;
}

bool svm_step_end(struct vcpu *v, struct vmcb *c) {
    struct arch_vcpu *a = &v->arch;
    const u64 dr6 = c->dr6, vector = c->exit_code - SVM_EXIT_EXCEPTION;
    const bool executed = vector == VECTOR_DB && (dr6 & DR6_BS);
    a->stepping = false;
    c->exceptions = EXCEPTIONS_OURS;
    c->dr6 = a->step_dr6;
    if (!executed || !a->nmi_blocked) // an IRET has taken its own from the stack
        c->rflags = (c->rflags & ~RFLAGS_TF) | (a->step_tf ? RFLAGS_TF : 0);
    if (executed)
        a->nmi_blocked = false;
    if (vector == VECTOR_DB) {
        const u64 hits = debug_hits(a, c, dr6);
        if (hits) {
            c->dr6 |= hits;
            guest_exception(v, VECTOR_DB);
        }
        return true;
    }
    if (vector >= 32 || (EXCEPTIONS_OURS & BIT(vector)))
        return false;
    if (vector == VECTOR_PF)
        c->cr2 = c->exit_info2;
    if (HAVE_ERROR & BIT(vector))
        guest_exception_error(v, (u8)vector, (u32)c->exit_info1);
    else
        guest_exception(v, (u8)vector);
    return true;
}
