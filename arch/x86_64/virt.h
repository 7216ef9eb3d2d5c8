// SPDX-License-Identifier: Apache-2.0
// The guest's CPU: what the two virtualisation backends (svm.c, vmx.c) share among themselves and with what emulates
// instructions. Everything here is called by the vCPU's own task with the vCPU loaded, unless it says otherwise.
#pragma once

#include "arch.h"
#include "cpu.h"
#include "sysreg.h"
#include "types.h"
#include "vcpu.h"
#include "vlapic.h"
#include "vm.h"

// ── Backends ────────────────────────────────────────────────────────────────────────────────────────────────────────
enum x86_segment { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, SEG_COUNT }; // as instructions number them

struct x86_segment_state {
    u16 selector;
    u16 attributes; // as in a VMCB: type, S, DPL, P in bits 7-0, AVL, L, D, G in bits 11-8
    u32 limit;
    u64 base;
};

// What translating an address and emulating an instruction depend on.
struct x86_mode {
    u64 cr0, cr3, cr4, efer, rflags;
    u8 cpl;
    u8 code_bits; // 16, 32, 64
};

enum guest_reg {
    GUEST_RSP,
    GUEST_RFLAGS,
    GUEST_CR0,
    GUEST_CR2,
    GUEST_CR3,
    GUEST_CR4,
    GUEST_EFER,
    GUEST_PAT,
    GUEST_REGS
};
static_assert(GUEST_REGS <= X86_SEEN);

struct x86_virt_ops {
    const char *name;
    void (*cpu_init)(struct cpu *cpu); // boot, on that CPU
    [[nodiscard]] int (*vcpu_init)(struct vcpu *v);
    void (*vcpu_fini)(struct vcpu *v);
    // Puts the hardware's part into the state that INIT leaves, at 0xf000:0xfff0 in real mode. Not loaded.
    void (*reset)(struct vcpu *v);
    void (*reset_done)(struct vcpu *v); // once arch_vcpu_reset has set what the start asks for
    void (*load)(struct vcpu *v);
    void (*save)(struct vcpu *v);
    // Until there is something for the core. An exit that is served inside goes back in without a look at irq_work,
    // requests or need_resched, and misses nothing: what is served here wakes no task, and raises at most this vCPU's
    // own interrupts, which the entry finds in vlapic_pending(). Whoever else has something for this vCPU or CPU, our
    // own timers too, sends an interrupt; it is pending at the entry and takes the guest out before it executes.
    void (*run)(struct vcpu *v, struct vexit *exit);
    void (*mode)(struct vcpu *v, struct x86_mode *out);
    u64 (*get)(const struct vcpu *v, enum guest_reg reg); // also not loaded
    void (*set)(struct vcpu *v, enum guest_reg reg, u64 value);
    u64 (*segment_base)(struct vcpu *v, enum x86_segment segment);
    void (*set_segment)(struct vcpu *v, enum x86_segment segment, const struct x86_segment_state *to); // not loaded
    void (*set_gdt)(struct vcpu *v, u64 base, u32 limit);                                              // not loaded
    void (*set_tsc_offset)(struct vcpu *v, u64 offset);
    void (*flush)(struct vcpu *v); // the guest's own translations, all of them
    bool (*nmi_blocked)(const struct vcpu *v);
};
extern const struct x86_virt_ops svm_ops, vmx_ops;
extern const struct x86_virt_ops *virt; // which the CPU has

// Chooses the backend; if the CPU has none that we can use, it says so in words and halts. Boot.
void virt_probe(void);
// The calling CPU's part: virtualisation on, extended state on. Boot.
void virt_cpu_init(struct cpu *cpu);

// nullptr, or in words why this CPU's cannot be used. Boot.
const char *svm_unusable(void);
const char *vmx_unusable(void);

// ── Registers ───────────────────────────────────────────────────────────────────────────────────────────────────────
static inline u64 guest_gpr(const struct vcpu *v, u32 reg) {
    return reg == X86_RSP ? virt->get(v, GUEST_RSP) : v->arch.gpr[reg];
}
static inline void guest_set_gpr(struct vcpu *v, u32 reg, u64 value) {
    if (reg == X86_RSP)
        virt->set(v, GUEST_RSP, value);
    else
        v->arch.gpr[reg] = value;
}
// A write of `size` bytes as instructions do it: 4 bytes clear the upper half, 1 and 2 keep the rest. A byte register
// 4…7 is AH…BH without a REX prefix.
void guest_write_gpr(struct vcpu *v, u32 reg, u32 size, bool high_byte, u64 value);
u64 guest_read_gpr(const struct vcpu *v, u32 reg, u32 size, bool high_byte);

// Of the guest's memory, which another CPU may write at the same time, at any alignment.
static inline u64 guest_load(const u64 *from) {
    u64 v;
    __asm__ volatile("mov %1, %0" : "=r"(v) : "m"(*from));
    return v;
}

// The instruction that came out is done.
static inline void guest_step(struct vcpu *v) {
    v->arch.rip = v->arch.next_rip;
    v->arch.work |= X86_WORK_STEP;
}
static inline u64 guest_edx_eax(const struct vcpu *v) {
    return v->arch.gpr[X86_RDX] << 32 | (u32)v->arch.gpr[X86_RAX];
}
static inline void guest_set_edx_eax(struct vcpu *v, u64 value) {
    v->arch.gpr[X86_RAX] = (u32)value;
    v->arch.gpr[X86_RDX] = value >> 32;
}

// ── Events ──────────────────────────────────────────────────────────────────────────────────────────────────────────
// v->arch.event, to be injected at the next entry: SVM's EVENTINJ, whose lower half is also VMX's
// interruption-information field.
#define EVENT_VECTOR BITS(7, 0)
#define EVENT_TYPE BITS(10, 8)
#define EVENT_HAS_ERROR BIT(11)
#define EVENT_VALID BIT(31)
#define EVENT_ERROR BITS(63, 32)
#define DR6_BS BIT(14) // a single step
#define DR6_RESET 0xffff0ff0ull
#define DR7_GD BIT(13) // accesses to debug registers are faults
enum : u64 { EVENT_INTR = 0, EVENT_NMI = 2, EVENT_EXCEPTION = 3, EVENT_SOFT_INT = 4, EVENT_INT1 = 5 };
enum : u8 {
    VECTOR_DB = 1,
    VECTOR_NMI = 2,
    VECTOR_UD = 6,
    VECTOR_GP = 13,
    VECTOR_PF = 14,
    VECTOR_AC = 17,
    VECTOR_MC = 18,
};
// Exceptions that take the guest out. #UD: the other vendor's instruction for a call. #DB and #AC: their delivery may
// raise them anew (a watchpoint on the handler's stack, a stack that is not aligned), without an end and without an
// instruction between them before which an interrupt would be taken: the guest would have the CPU for good. #MC: the
// machine's fault, of which the guest knows nothing.
#define EXCEPTIONS_OURS (BIT(VECTOR_DB) | BIT(VECTOR_UD) | BIT(VECTOR_AC) | BIT(VECTOR_MC))

void guest_exception(struct vcpu *v, u8 vector); // one without an error code
void guest_exception_error(struct vcpu *v, u8 vector, u32 error);
static inline void guest_gp(struct vcpu *v) {
    guest_exception_error(v, VECTOR_GP, 0);
}
static inline void guest_page_fault(struct vcpu *v, u64 address, u32 error) {
    virt->set(v, GUEST_CR2, address);
    guest_exception_error(v, VECTOR_PF, error);
}
// What was on its way into the guest when it came out, of vector, type and error as in v->arch.event: takes it up
// again unless the guest does so itself.
void guest_event_interrupted(struct vcpu *v, u64 event);

enum : u32 { GUEST_CALL_BASE = 0x86000000 }; // hypercalls: + enum hypercall_nr, as on aarch64

// ── Exits that both serve alike: true, the guest goes on; false, *exit is for the core ──────────────────────────────
bool exit_cpuid(struct vcpu *v);
bool exit_msr(struct vcpu *v, bool write, struct vexit *exit);
bool exit_call(struct vcpu *v, u8 cpl, struct vexit *exit);
// #UD came out: it may be the other vendor's instruction for a call.
bool exit_undefined(struct vcpu *v, u8 cpl, struct vexit *exit);
// #DB or #AC came out, for the guest. The host's interrupts are taken before it has it.
bool exit_trap(struct vcpu *v, u8 vector, struct vexit *exit);
bool exit_halt(struct vcpu *v, struct vexit *exit);
bool exit_triple_fault(struct vcpu *v, u32 idt_limit, struct vexit *exit);
bool exit_xsetbv(struct vcpu *v, u8 cpl);
bool exit_cr4(struct vcpu *v, u64 value); // a write of CR4
// IN or OUT of `size` bytes.
bool exit_io(struct vcpu *v, u16 port, u32 size, bool in, struct vexit *exit);

// ── emulate.c: instructions that touch devices ──────────────────────────────────────────────────────────────────────
enum { INSN_BYTES_MAX = 15 };
// The instruction at RIP accessed guest-physical memory at `at`, where no RAM is. `bytes`: what the hardware fetched of
// it, or nullptr.
bool emulate_mmio(struct vcpu *v, u64 at, bool write, const u8 *bytes, u32 count, struct vexit *exit);
// INS or OUTS of `size` bytes.
bool emulate_string_io(struct vcpu *v, bool in, u32 size, struct vexit *exit);
// What is left of an instruction that takes several accesses.
bool emulate_continue(struct vcpu *v, struct vexit *exit);
// The answer to a read, or a write's completion.
void emulate_finish(struct vcpu *v, const struct vexit *exit, u64 value);
// The length of the instruction at RIP, which is one that the hardware intercepted; 0: it cannot be read now.
u32 emulate_length(struct vcpu *v);
// Is the instruction at RIP a VMCALL or VMMCALL? Sets next_rip.
bool emulate_is_call(struct vcpu *v);
// Where MOV to a control register takes its value from; false: cannot be read now.
bool emulate_mov_cr(struct vcpu *v, u64 *value);

// ── walk.c: the guest's page tables ─────────────────────────────────────────────────────────────────────────────────
enum walk_access { WALK_READ = 0, WALK_WRITE = 2, WALK_FETCH = 16 }; // bits of a page fault's error code
// Guest-linear to guest-physical, with the rights of the guest's present mode. 0; -EFAULT: *error is the page fault's
// error code.
[[nodiscard]] int walk(struct vcpu *v, const struct x86_mode *mode, u64 linear, u32 access, u64 *gpa, u32 *error);

// ── cpuid.c, msr.c, pvclock.c, fpu.c ─────────────────────────────────────────────────────────────────────────────────
void cpuid_init(void); // boot
// What XCR0 may have in it, and CR4; whether there is RDTSCP or RDPID.
u64 guest_xcr0_mask(void);
u64 guest_cr4_mask(void);
bool guest_has_tsc_aux(void);
void msr_reset(struct vcpu *v); // not loaded
void msr_load(struct vcpu *v);
bool msr_read_guest(struct vcpu *v, u32 nr, u64 *value); // false: #GP
bool msr_write_guest(struct vcpu *v, u32 nr, u64 value); // false: #GP
// KVM's clock. The two registers' writes; false: #GP.
bool pvclock_set_system_time(struct vcpu *v, u64 value);
bool pvclock_set_wall_clock(struct vcpu *v, u64 value);
void pvclock_update(struct vcpu *v); // its TSC has changed
const char *fpu_unusable(void);      // boot; nullptr, or in words why
void fpu_cpu_init(void);             // boot
u32 fpu_area_size(void);             // bytes
[[nodiscard]] int fpu_vcpu_init(struct vcpu *v);
void fpu_vcpu_fini(struct vcpu *v);
void fpu_reset(struct vcpu *v); // not loaded
void fpu_load(struct vcpu *v);
void fpu_save(struct vcpu *v);

// entry.S
void svm_enter(struct arch_vcpu *a);
