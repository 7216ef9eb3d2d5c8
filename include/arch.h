// SPDX-License-Identifier: Apache-2.0
// The seam: everything that the core asks of an architecture. arch/<name>/ implements all of it; a missing function is
// a link error. arch_types.h (the architecture's, included here) adds the types that are embedded in core structures
// and the inline functions that must not cost a call:
//
//   struct arch_cpu, arch_ctx, arch_vcpu, arch_vm
//   struct cpu *arch_cpu_self(void)          the calling CPU
//   void arch_cpu_relax(void)                in a spin loop
//   u64 arch_ticks(void)                     a free-running counter, for statistics
//   void arch_lock_enter/exit(u32 rank)      nothing on hardware; scheduling points and order checks on arch/host
//   u32 ARCH_NR (enum)                       see below
//
// Contexts: boot = single flow before tasks run; task = a task's stack, may block; any = also host-interrupt path and
// with locks held. Interrupts are always masked in the hypervisor: they are taken in arch_irq_poll, in arch_cpu_idle,
// and by taking a guest out.
#pragma once

#include "arch_types.h"
#include "board.h"
#include "image.h"
#include "pgtable.h"
#include "types.h"
#include "vexit.h"

struct boot_ops;
struct cpu;
struct vcpu;
struct vm;

// ── CPU and time ────────────────────────────────────────────────────────────────────────────────────────────────────
// Where the hypervisor's own image lies. Boot.
pa_t arch_image_start(void);
pa_t arch_image_end(void);
// The calling CPU's identity, as in struct board_cpu. Boot.
u64 arch_cpu_hwid(void);
// The hypervisor's own mapping: RAM writable and not executable, our image by its sections, the board's devices. Called
// once, after page_init; starts what all CPUs share (interrupt distributor, clock rate). Boot.
void arch_memory_init(const struct board *board);
// Finishes this CPU's set-up: traps, interrupt controller, timer. Boot.
void arch_cpu_init(struct cpu *cpu);
// Starts a stopped CPU at smp_secondary_main(cpu) on the given stack top. 0, -ENODEV, -EIO. Boot.
[[nodiscard]] int arch_cpu_start(struct cpu *cpu, void *stack_top);
// Makes another CPU come out of its guest or out of idle. Orders earlier stores before it. Any.
void arch_cpu_kick(struct cpu *cpu);
// Sleeps until an interrupt is pending, then handles it as arch_irq_poll does. Task (idle).
void arch_cpu_idle(void);
// Handles every host interrupt that is pending now: timer → timer_expire(), UART → console_host_irq(), kick → nothing.
// Any, no lock held.
void arch_irq_poll(void);
// Prepares a context that starts fn(arg) on the stack that ends at stack_top. Any.
void arch_ctx_init(struct arch_ctx *ctx, void *stack_top, void (*fn)(void *), void *arg);
// Saves the caller in `from`, continues `to`. Task.
void arch_ctx_switch(struct arch_ctx *from, struct arch_ctx *to);
// Monotonic time since boot. Any.
u64 arch_now_ns(void);
// Converts a difference of arch_ticks(). Any.
u64 arch_ticks_to_ns(u64 ticks);
// This CPU's one-shot timer: timer_expire() is called at or after deadline_ns; TIMER_NEVER disarms. Any.
void arch_timer_arm(u64 deadline_ns);
// Stops this CPU for good. Any.
[[noreturn]] void arch_halt(void);

// ── Page tables ─────────────────────────────────────────────────────────────────────────────────────────────────────
// How many levels, and how the root is indexed: bits of input address, page order of the root. Level 0 is the leaf
// level (4 KiB).
struct arch_pt_format {
    u32 levels;     // 3 or 4
    u32 input_bits; // size of the input range
    u32 root_order; // concatenated root pages: 2^order
    u32 output_bits;
};
struct arch_pt_format arch_pt_format(enum pt_stage stage);
u64 arch_pte_leaf(enum pt_stage stage, pa_t to, u32 level, u32 attr);
u64 arch_pte_table(enum pt_stage stage, pa_t table);
enum pte_kind arch_pte_kind(enum pt_stage stage, u64 pte, u32 level);
pa_t arch_pte_address(enum pt_stage stage, u64 pte);
u32 arch_pte_attr(enum pt_stage stage, u64 pte);
// Publishes an entry: barriers so that a walker sees the table's content before the entry. Any.
void arch_pte_write(u64 *slot, u64 pte);
// After an unmap or protect of the hypervisor's own mapping, on all CPUs. Any.
void arch_host_flush(u64 va, u64 size);

// ── Virtual machines and vCPUs ──────────────────────────────────────────────────────────────────────────────────────
// After vm->s2 is there; takes a VMID. -ENOSPC. Task.
[[nodiscard]] int arch_vm_init(struct vm *vm);
void arch_vm_fini(struct vm *vm);
// Called when a VM (re)starts, no vCPU running: the guest's clock begins at 0, TLBs forget the VM. Task.
void arch_vm_reset(struct vm *vm);
// After an unmap or protect in vm->s2, on all CPUs. Any.
void arch_vm_flush(struct vm *vm, gpa_t start, u64 size);
// Caches agree with what the hypervisor wrote (images), for a guest with caches off. Task.
void arch_vm_sync_code(void *start, u64 size);
// Zeroes memory the fastest way that the CPU has. p and size are multiples of 4 KiB. Any, MMU on.
void arch_zero(void *p, u64 size);
[[nodiscard]] int arch_vcpu_init(struct vcpu *v);
void arch_vcpu_fini(struct vcpu *v);
// Architectural reset state, the guest starts at `entry` with `arg` in the first argument register. The vCPU is not
// loaded. Task.
void arch_vcpu_reset(struct vcpu *v, u64 entry, u64 arg);
// Registers that live in the hardware while the vCPU is current on this CPU. save is called on the CPU that loaded.
// Any.
void arch_vcpu_load(struct vcpu *v);
void arch_vcpu_save(struct vcpu *v);
// Enters the guest; returns with *exit filled in. Takes host interrupts by itself before it returns VEXIT_NONE. Task,
// loaded.
void arch_vcpu_run(struct vcpu *v, struct vexit *exit);
// The same for a served VEXIT_MMIO, VEXIT_PIO or VEXIT_SYSREG: a read's `value` (as wide as the access) goes into its
// register. On its own because it is on the hottest way there is. Task, loaded.
void arch_vcpu_finish_access(struct vcpu *v, const struct vexit *exit, u64 value);
// Writes the core's answer into the guest's general registers and steps over the instruction. Task; a vCPU that slept
// meanwhile may have been unloaded.
void arch_vcpu_finish(struct vcpu *v, const struct vexit *exit);
// Reflects the exit into the guest as the architecture's own fault (external abort, undefined instruction, …). -EFAULT
// if the guest cannot take it. Task, loaded.
[[nodiscard]] int arch_vcpu_fault(struct vcpu *v, const struct vexit *exit);
// A VM-visible register by name for reports; prints up to `size` bytes of a multi-line register dump. Not running. Any.
size_t arch_vcpu_describe(const struct vcpu *v, char *buf, size_t size);

// ── Virtual interrupts: what the hardware-assisted interface knows ───────────────────────────────────────────────────
// Brings the irqchip's image of this vCPU's interface (list registers, …) up to date. No-op unless loaded here. Any.
void arch_irq_sync(struct vcpu *v);
// The present level of a private line that the architecture drives (timers); `ppi` is the irqchip's number. Releases
// the physical interrupt if the line is low. Loaded. Any.
bool arch_irq_level(struct vcpu *v, u32 ppi);

// ── Platform ────────────────────────────────────────────────────────────────────────────────────────────────────────
// Fills the board from what the boot loader handed over. Boot; errors are said in words and end in arch_halt.
void arch_probe(struct board *board);
// A character out before anything is set up. Boot.
void arch_early_putc(char c);
// The guest's machine: RAM base; the root node's own properties (which machine it is, and what its devices have in
// common), and the nodes for CPUs, interrupt controller, timer and firmware (libfdt sequential write, called inside the
// root node). Task.
u64 arch_guest_ram_base(void);
struct gpa_range arch_guest_ram_hole(void); // where RAM makes way for devices, and goes on behind; size 0: nowhere
[[nodiscard]] int arch_guest_devices(struct vm *vm); // creates the irqchip and the fixed devices
void arch_guest_devices_fini(struct vm *vm);
[[nodiscard]] int arch_guest_fdt_root(void *fdt);
[[nodiscard]] int arch_guest_fdt(const struct vm *vm, void *fdt);
// Which architecture's images the planner asks for (enum plan_arch). Any.
u32 arch_plan(void);
// The image kinds that this architecture's guests boot, for messages and checks.
bool arch_image_bootable(const struct image_info *info, const char **why);
// How a guest is told what its machine is made of: boot_fdt_ops, or the architecture's own. Any.
const struct boot_ops *arch_boot_ops(void);
[[noreturn]] void arch_power_off(void);
[[noreturn]] void arch_reboot(void);
