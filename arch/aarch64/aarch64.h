// SPDX-License-Identifier: Apache-2.0
// What the files of this folder share among themselves.
#pragma once

#include "arch.h"
#include "cpu.h"
#include "sysreg.h"
#include "timer.h"
#include "types.h"
#include "vcpu.h"
#include "vgic.h"

enum exit_source { EXIT_SYNC, EXIT_IRQ, EXIT_SERROR }; // as in entry.S

extern char __image_start[], __text_end[], __rodata_end[], __image_end[];

// One vCPU's timers as far as we keep them in software.
struct aarch64_timers {
    struct vcpu *v;
    struct timer virt; // stands in for CNTV while the vCPU is not loaded
    struct timer phys; // CNTP is always emulated
    u64 cntp_ctl, cntp_cval;
};

// entry.S
u32 guest_enter(struct arch_vcpu *v);
void ctx_start(void);
void simd_save(void *q);
void simd_load(const void *q);
extern char hyp_vectors[], secondary_start[], boot_stack_top[];

// called by start.S and entry.S
[[noreturn]] void aarch64_boot(const void *fdt, u64 el);
u32 vcpu_exit_fast(struct vcpu *v, u32 source, u64 esr);
[[noreturn]] void hyp_fault_report(u64 vector, const u64 *x);

// cpu.c
void mmu_boot_enable(const struct board *board);
void aarch64_hyp_regs_init(void);

// pte.c: guest memory is cached whatever the guest asks for; without it, what a guest writes with its caches off may
// meet what we left in them
bool has_forced_write_back(void);

// power.c
void power_init(const struct board *board);
[[nodiscard]] int psci_cpu_on(u64 mpidr, u64 entry, u64 arg);

// irqhw.c
void gic_init(const struct board *board);
void gic_cpu_init(struct cpu *cpu);
void gic_handle(u32 intid); // an acknowledged interrupt
u32 gic_lr_count(void);
void gic_deactivate(u32 intid);
bool gic_ppi_active(u32 intid);
void gic_ppi_set_active(u32 intid, bool active);
void gic_if_load(struct vcpu *v);
void gic_if_eoi_count(struct vgic_cpuif *cif);
void gic_if_save(struct vgic_cpuif *cif);
void gic_if_sync(struct vgic_cpuif *cif);
void gic_if_write_dirty(struct vgic_cpuif *cif);
extern u32 intid_hyp_timer, intid_virt_timer, intid_maintenance;

static inline void gic_eoi(u32 intid) { // priority drop; ICC_EOIR1_EL1
    sysreg_write(S3_0_C12_C12_1, intid);
}
static inline u32 gic_ack(void) { // ICC_IAR1_EL1
    return (u32)sysreg_read(S3_0_C12_C12_0);
}

// decode.c: the trapped access → *exit; true if it was served here and the guest can go on
bool decode_sync(struct vcpu *v, u64 esr, struct vexit *exit);
// idregs.c: the sanitised value; false: not an ID register
bool idreg_read(u32 sysreg, u64 *value);
// psci.c: a call by HVC or SMC (x0…); true if answered
bool smccc_decode(struct vcpu *v, struct vexit *exit);
bool smccc_fast(struct vcpu *v);
void psci_finish(struct vcpu *v, const struct vexit *exit);
// debug.c: breakpoints, watchpoints, single step
void debug_save(struct arch_vcpu *a);
void debug_load(const struct arch_vcpu *a);
// timers.c
void timers_init(void);
bool timer_sysreg(struct vcpu *v, u32 sysreg, bool write, u64 *value);
void timers_load(struct vcpu *v);
void timers_save(struct vcpu *v);
void timers_reset(struct vcpu *v);
void timers_stop(struct vcpu *v);
u64 ticks_deadline_ns(u64 cntpct);
extern u32 counter_hz;
