// SPDX-License-Identifier: Apache-2.0
// The guest's self-hosted debug state (DDI 0487 D2): it owns the registers, so that breakpoints, watchpoints and single
// step work in it as on a bare machine. They move with the vCPU.
#include "aarch64.h"

#define OSLSR_OSLK BIT(1)
#define DBG_CASES(op)                                                                                                  \
    op(15) op(14) op(13) op(12) op(11) op(10) op(9) op(8) op(7) op(6) op(5) op(4) op(3) op(2) op(1) op(0)

#define SAVE_B(n)                                                                                                      \
    case n:                                                                                                            \
        a->dbgbvr[n] = sysreg_read(dbgbvr##n##_el1);                                                                   \
        a->dbgbcr[n] = sysreg_read(dbgbcr##n##_el1);                                                                   \
        [[fallthrough]];
#define SAVE_W(n)                                                                                                      \
    case n:                                                                                                            \
        a->dbgwvr[n] = sysreg_read(dbgwvr##n##_el1);                                                                   \
        a->dbgwcr[n] = sysreg_read(dbgwcr##n##_el1);                                                                   \
        [[fallthrough]];
#define LOAD_B(n)                                                                                                      \
    case n:                                                                                                            \
        sysreg_write(dbgbvr##n##_el1, a->dbgbvr[n]);                                                                   \
        sysreg_write(dbgbcr##n##_el1, a->dbgbcr[n]);                                                                   \
        [[fallthrough]];
#define LOAD_W(n)                                                                                                      \
    case n:                                                                                                            \
        sysreg_write(dbgwvr##n##_el1, a->dbgwvr[n]);                                                                   \
        sysreg_write(dbgwcr##n##_el1, a->dbgwcr[n]);                                                                   \
        [[fallthrough]];

// ID_AA64DFR0_EL1: the number less one
static u64 last_breakpoint(void) {
    return field_get(BITS(15, 12), sysreg_read(id_aa64dfr0_el1));
}
static u64 last_watchpoint(void) {
    return field_get(BITS(23, 20), sysreg_read(id_aa64dfr0_el1));
}

void debug_save(struct arch_vcpu *a) {
    a->mdscr = sysreg_read(mdscr_el1);
    a->oslar = field_get(OSLSR_OSLK, sysreg_read(oslsr_el1));
    a->osdlr = sysreg_read(osdlr_el1);
    switch (last_breakpoint()) {
        DBG_CASES(SAVE_B)
    default:
        break;
    }
    switch (last_watchpoint()) {
        DBG_CASES(SAVE_W)
    default:
        break;
    }
}

void debug_load(const struct arch_vcpu *a) {
    switch (last_breakpoint()) {
        DBG_CASES(LOAD_B)
    default:
        break;
    }
    switch (last_watchpoint()) {
        DBG_CASES(LOAD_W)
    default:
        break;
    }
    sysreg_write(mdscr_el1, a->mdscr);
    sysreg_write(osdlr_el1, a->osdlr);
    sysreg_write(oslar_el1, a->oslar);
}
