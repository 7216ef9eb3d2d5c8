// SPDX-License-Identifier: Apache-2.0
// The IMSIC of a riscv64 guest whose vCPUs have no guest interrupt files of the hardware's (RISC-V Advanced Interrupt
// Architecture 1.0, chapter 3): a supervisor-level interrupt file a vCPU. Messages come by stores to the file's page;
// its registers are CSRs, whose accesses trap while hstatus.VGEIN is 0. Pure C: what is shown to the guest is the
// external interrupt in struct vplic_cpuif, beside the other two that the vPLIC's lines give.
#pragma once

#include "bus.h"
#include "types.h"

enum { VIMSIC_IDS_MAX = 2047 };

// What siselect says of an interrupt file (§3.8).
enum { VIMSIC_FIRST = 0x70, VIMSIC_LAST = 0xff };

enum vimsic_op { VIMSIC_READ, VIMSIC_WRITE, VIMSIC_SET, VIMSIC_CLEAR }; // as CSRRW, CSRRS and CSRRC do

struct vimsic;
struct vplic_cpuif;

// A file for each of the VM's vCPUs with identities 1 … ids (64 n - 1), whose pages lie on the bus from `base` on, one
// after the other. NULL: no memory, or what is on the bus is in the way. After vplic_create. Context: VM creation.
[[nodiscard]] struct vimsic *vimsic_create(struct vm *vm, gpa_t base, u32 ids);
// No vCPU runs. nullptr is fine. Context: task.
void vimsic_destroy(struct vimsic *m);
// Message `identity` to hart `hart`, both as the guest gave them: what does not exist is ignored (§3.2). Marks the vCPU
// and kicks it. Any, LOCK_IRQCHIP may be held.
void vimsic_send(struct vimsic *m, u32 hart, u32 identity);
// The vCPU's own access to the register that siselect names; *old becomes what it was. -EINVAL: there is none. Brings
// cif->levels up to date. Context: the vCPU's own task.
[[nodiscard]] int vimsic_access(struct vimsic *m, struct vcpu *v, u64 select, enum vimsic_op op, u64 value, u64 *old);
// The same for stopei: the pending interrupt that is due, and with a write it is claimed.
u64 vimsic_topei(struct vimsic *m, struct vcpu *v, bool claim);
// In irqchip_ops.flush, after vplic_ops.flush: the external interrupt is the file's. Context: the vCPU's own task.
void vimsic_flush(struct vimsic *m, struct vcpu *v);
// For irqchip_ops.ready. Any.
bool vimsic_ready(const struct vimsic *m, const struct vcpu *v);
