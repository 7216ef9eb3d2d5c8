// SPDX-License-Identifier: Apache-2.0
// What vmx.c and vmx_exit.c share.
#pragma once

#include "virt.h"
#include "vmx.h"

struct vmx_state {
    u32 revision;
    u32 pin, proc, proc2, exit, entry; // controls
    u64 msr_bitmap;
};
extern struct vmx_state vmx;

// Bits of CR0 that a guest believes to change: what it has them at is in the read shadow.
#define CR0_HIDDEN (CR0_NE | CR0_CD | CR0_NW | CR0_ET)

// Of the VMCS that is current.
static inline u64 vmcs_read(u32 field) {
    u64 value;
    __asm__ volatile("vmread %1, %0" : "=r"(value) : "r"((u64)field) : "cc");
    return value;
}
static inline void vmcs_write(u32 field, u64 value) {
    __asm__ volatile("vmwrite %1, %0" ::"r"((u64)field), "r"(value) : "cc", "memory");
}
static inline u8 vmx_cpl(void) {
    return vmcs_read(VMCS_GUEST_RIGHTS + 2 * SEG_SS) >> 5 & 3; // that of SS is the CPL
}

// DR6 is the guest's while it is loaded: neither an entry nor an exit switches it.
static inline u64 dr6_read(void) {
    u64 value;
    __asm__ volatile("mov %%dr6, %0" : "=r"(value));
    return value;
}
static inline void dr6_write(u64 value) {
    __asm__ volatile("mov %0, %%dr6" ::"r"(value));
}

u64 vmx_get(const struct vcpu *v, enum guest_reg reg);
void vmx_set(struct vcpu *v, enum guest_reg reg, u64 value);
void vmx_flush(struct vcpu *v);
// vmx_exit.c
void vmx_run(struct vcpu *v, struct vexit *exit);

// entry.S
u64 vmx_enter(struct arch_vcpu *a, bool launched); // 0: it came out, else the entry's instruction failed
extern char vmx_exit[];
