// SPDX-License-Identifier: Apache-2.0
// What the files of this folder share among themselves.
#pragma once

#include "arch.h"
#include "cpu.h"
#include "sbi.h"
#include "sysreg.h"
#include "timer.h"
#include "types.h"
#include "vcpu.h"
#include "vplic.h"

extern char __image_start[], __text_end[], __rodata_end[], __image_end[];

// One vCPU's timer as far as we keep it in software.
struct riscv64_timers {
    struct vcpu *v;
    struct timer virt; // stands in for vstimecmp while the vCPU is not loaded or halted, and where there is none
};

// One vCPU's vector registers; entry.S knows the layout.
struct riscv64_vector {
    u64 vstart, vcsr, vl, vtype;
    u8 v[]; // 32 * features.vlenb
};

// VMs are numbered up to 255; with fewer VMIDs than that, a switch of VMs empties the TLB.
enum { VMID_BITS_ENOUGH = 8 };

// What was found out about the harts, alike on all of them. Written at boot by the first one.
struct riscv64_features {
    bool sstc;          // stimecmp and vstimecmp
    bool fp;            // F and D
    bool aia;           // vsiselect and what belongs to it
    bool senvcfg;       // privileged architecture 1.12
    bool hstateen;      // Smstateen
    bool cbo_zero;      // in HS-mode
    u32 cbo_zero_bytes; // of a block
    u32 vlenb;          // bytes of a vector register; 0: there are none
    u32 vmid_bits;
    u64 host_mode;     // satp.MODE in use
    u64 guest_mode;    // hgatp.MODE in use
    u64 vs_mode;       // the largest satp.MODE that a guest has
    u64 henvcfg;       // as it reads back
    bool messages;     // that is what interrupts come as: so do the guests'
    u64 guest_files;   // bit n: IMSICs have guest interrupt file n
    u64 machine_id[3]; // mvendorid, marchid, mimpid
    const struct board *board;
};
extern struct riscv64_features features;

// entry.S
u64 guest_enter(struct arch_vcpu *v);
void ctx_start(void);
void fp_save(u64 *f);
void fp_load(const u64 *f, u64 fcsr);
void vector_save(struct riscv64_vector *to);
void vector_load(const struct riscv64_vector *from);
extern char trap_entry[], secondary_start[], boot_stack_top[];
struct may_fault { // the result of an instruction that may fault
    u64 failed;
    u64 value;
};
struct may_fault may_read_hgatp(void);
struct may_fault may_read_stimecmp(void);
struct may_fault may_read_senvcfg(void);
struct may_fault may_read_hstateen0(void);
struct may_fault may_read_vsiselect(void);
struct may_fault may_read_vlenb(void);
struct may_fault may_cbo_zero(void *at);
// Of the guest that is loaded, with its rights, by its own addresses. After a failure guest_return_mode() is due.
struct may_fault may_fetch16(u64 gva);
struct may_fault may_load64(u64 gva);

// called by start.S and entry.S
[[noreturn]] void riscv64_boot(u64 hartid, const void *fdt);
u64 sbi_fast(struct vcpu *v);
[[noreturn]] void hyp_fault_report(const u64 *x);

// cpu.c
void features_probe(const struct board *board); // with mode and extensions; before that, H has been found
u32 satp_levels(u64 mode);
u32 satp_bits(u64 mode);

// power.c: calls of the host's firmware
struct sbi_result {
    s64 error;
    u64 value;
};
struct sbi_result sbi_call(u64 extension, u64 function, u64 a0, u64 a1, u64 a2);
struct sbi_result sbi_call5(u64 extension, u64 function, u64 arg0, u64 arg1, u64 arg2, u64 arg3, u64 arg4);
bool sbi_has(u64 extension);
// On all harts that are in use but the caller's.
void rfence_others(enum sbi_fence function, u64 start, u64 size, u64 arg);
// On the pCPUs of the set (bit n: cpus[n]).
void rfence_cpus(u64 set, enum sbi_fence function, u64 start, u64 size, u64 arg);

// uart_sbi.c: takes the firmware's console into use; false: it has none
bool uart_sbi_use(struct board *board);

// irqhw.c
void irqhw_init(const struct board *board);
void irqhw_cpu_init(struct cpu *cpu);

// imsic.c
void imsic_init(const struct board *b);
u64 imsic_own_page(const struct cpu *cpu);        // the file of the hypervisor there; 0: none is known
[[nodiscard]] int imsic_vm_create(struct vm *vm); // -ENOMEM
u32 imsic_ids(void);                              // that a guest's interrupt files have
void imsic_vm_destroy(struct vm *vm);
[[nodiscard]] int imsic_vm_reset(struct vm *vm); // its vCPUs have been placed
void imsic_load(struct vcpu *v);
void imsic_save(struct vcpu *v);
void imsic_halt(struct vcpu *v); // a message wakes it from now on …
void imsic_wake(struct vcpu *v); // … and from now on not
// The external interrupt of an emulated file, beside hvip.
void imsic_show(bool external);
// A trapped access to a register of the vCPU's emulated interrupt file; false: it is none of those. Loaded.
bool imsic_emulate(struct vcpu *v, u32 insn);
void imsic_poll(void);

// decode.c: the exit → *exit; true if it was served here and the guest can go on
bool decode_sync(struct vcpu *v, u64 scause, struct vexit *exit);
// A trap in between has made us forget that we were on the way back to the guest.
void guest_return_mode(void);
// True if an interrupt that wakes the guest is pending: nothing to wait for. Else makes ready for a wait.
bool halt_ends_at_once(struct vcpu *v);
// sbi.c: a call that sbi_fast() left; true if the guest can go on
void sbi_vm_init(struct vm *vm);
bool sbi_exit(struct vcpu *v, struct vexit *exit);
void sbi_finish(struct vcpu *v, const struct vexit *exit);
// timers.c
void timers_init(const struct board *board);
void timers_set(struct vcpu *v, u64 value);
void timers_halt(struct vcpu *v);
void timers_load(struct vcpu *v);
void timers_save(struct vcpu *v);
void timers_reset(struct vcpu *v);
extern u32 counter_hz;
