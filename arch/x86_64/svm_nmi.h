// SPDX-License-Identifier: Apache-2.0
// How NMIs come to a guest on SVM: what svm.c asks of svm_nmi.c at entries and exits. The vCPU's own task, loaded.
#pragma once

#include "svm.h"
#include "virt.h"

// Before an entry, when an NMI waits: injects it, or has the guest come out as soon as it can be.
void svm_nmi_in(struct vcpu *v, struct vmcb *c);
// IRET came out, and is about to be executed: it ends the blocking of NMIs.
void svm_nmi_iret(struct vcpu *v, struct vmcb *c);
// After an exit of a vCPU that was stepping. True: that is what it came out for, or an exception, which is on its way.
[[nodiscard]] bool svm_step_end(struct vcpu *v, struct vmcb *c);
// After any other exit with NMIs blocked.
static inline void svm_nmi_window(struct vcpu *v, const struct vmcb *c) {
    if (v->arch.iret_rip != ~0ull && v->arch.iret_rip != c->rip)
        v->arch.nmi_blocked = false;
}
