// SPDX-License-Identifier: Apache-2.0
// The trap vector, the world switch and the task switch.
//
// While a guest runs sscratch points at its struct arch_vcpu; in the hypervisor it is 0 and tp is the CPU. So one swap tells where
// a trap came from, and leaves a base register to save the others by. A firmware call is looked at by sbi_fast() with only the
// registers saved that a C function may change: the guest's s0…s11 and gp stay where they are.

#define VCPU_X(n)      (8 * (n))
#define VCPU_SEPC      (8 * 32)
#define VCPU_HYP_SP    (8 * 33)
#define VCPU_HYP_TP    (8 * 34)

#define CPU_EMERGENCY  0
#define CPU_TRAP_T0    8
#define CPU_TRAP_T1    16

#define CAUSE_ECALL_VS 10

#define VECTOR_VSTART  0
#define VECTOR_VCSR    8
#define VECTOR_VL      16
#define VECTOR_VTYPE   24
#define VECTOR_V       32

#define FRAME_SIZE     112
#define FRAME_VCPU     104

    .text
    .globl  trap_entry
    .balign 4
trap_entry:
    csrrw   tp, sscratch, tp
    beqz    tp, hyp_trap
    sd      ra, VCPU_X(1)(tp)
    sd      sp, VCPU_X(2)(tp)
    sd      t0, VCPU_X(5)(tp)
    sd      t1, VCPU_X(6)(tp)
    sd      t2, VCPU_X(7)(tp)
    sd      a0, VCPU_X(10)(tp)
    sd      a1, VCPU_X(11)(tp)
    sd      a2, VCPU_X(12)(tp)
    sd      a3, VCPU_X(13)(tp)
    sd      a4, VCPU_X(14)(tp)
    sd      a5, VCPU_X(15)(tp)
    sd      a6, VCPU_X(16)(tp)
    sd      a7, VCPU_X(17)(tp)
    sd      t3, VCPU_X(28)(tp)
    sd      t4, VCPU_X(29)(tp)
    sd      t5, VCPU_X(30)(tp)
    sd      t6, VCPU_X(31)(tp)
    mv      a0, tp
    csrrw   t0, sscratch, zero
    sd      t0, VCPU_X(4)(a0)
    ld      sp, VCPU_HYP_SP(a0)
    ld      tp, VCPU_HYP_TP(a0)
    csrr    a1, scause
    li      t1, CAUSE_ECALL_VS
    bne     a1, t1, exit_full
    call    sbi_fast                  // (vcpu) → 0: answered
    mv      a1, a0
    ld      a0, FRAME_VCPU(sp)
    bnez    a1, exit_ecall
    csrr    t0, sepc
    addi    t0, t0, 4
    csrw    sepc, t0
    csrw    sscratch, a0
    ld      ra, VCPU_X(1)(a0)
    ld      sp, VCPU_X(2)(a0)
    ld      tp, VCPU_X(4)(a0)
    ld      t0, VCPU_X(5)(a0)
    ld      t1, VCPU_X(6)(a0)
    ld      t2, VCPU_X(7)(a0)
    ld      a1, VCPU_X(11)(a0)
    ld      a2, VCPU_X(12)(a0)
    ld      a3, VCPU_X(13)(a0)
    ld      a4, VCPU_X(14)(a0)
    ld      a5, VCPU_X(15)(a0)
    ld      a6, VCPU_X(16)(a0)
    ld      a7, VCPU_X(17)(a0)
    ld      t3, VCPU_X(28)(a0)
    ld      t4, VCPU_X(29)(a0)
    ld      t5, VCPU_X(30)(a0)
    ld      t6, VCPU_X(31)(a0)
    ld      a0, VCPU_X(10)(a0)
    sret

exit_ecall:
    li      a1, CAUSE_ECALL_VS
exit_full:                            // a0 = vcpu, a1 = scause
    csrr    t0, sepc
    sd      t0, VCPU_SEPC(a0)
    sd      gp, VCPU_X(3)(a0)
    sd      s0, VCPU_X(8)(a0)
    sd      s1, VCPU_X(9)(a0)
    sd      s2, VCPU_X(18)(a0)
    sd      s3, VCPU_X(19)(a0)
    sd      s4, VCPU_X(20)(a0)
    sd      s5, VCPU_X(21)(a0)
    sd      s6, VCPU_X(22)(a0)
    sd      s7, VCPU_X(23)(a0)
    sd      s8, VCPU_X(24)(a0)
    sd      s9, VCPU_X(25)(a0)
    sd      s10, VCPU_X(26)(a0)
    sd      s11, VCPU_X(27)(a0)
    mv      a0, a1
    ld      s0, 0(sp)
    ld      s1, 8(sp)
    ld      s2, 16(sp)
    ld      s3, 24(sp)
    ld      s4, 32(sp)
    ld      s5, 40(sp)
    ld      s6, 48(sp)
    ld      s7, 56(sp)
    ld      s8, 64(sp)
    ld      s9, 72(sp)
    ld      s10, 80(sp)
    ld      s11, 88(sp)
    ld      ra, 96(sp)
    addi    sp, sp, FRAME_SIZE
    ret

// u64 guest_enter(struct arch_vcpu *v): runs the guest until an exit that sbi_fast does not serve; returns scause.
    .globl  guest_enter
guest_enter:
    addi    sp, sp, -FRAME_SIZE
    sd      s0, 0(sp)
    sd      s1, 8(sp)
    sd      s2, 16(sp)
    sd      s3, 24(sp)
    sd      s4, 32(sp)
    sd      s5, 40(sp)
    sd      s6, 48(sp)
    sd      s7, 56(sp)
    sd      s8, 64(sp)
    sd      s9, 72(sp)
    sd      s10, 80(sp)
    sd      s11, 88(sp)
    sd      ra, 96(sp)
    sd      a0, FRAME_VCPU(sp)
    sd      sp, VCPU_HYP_SP(a0)
    ld      t0, VCPU_SEPC(a0)
    csrw    sepc, t0
    csrw    sscratch, a0
    ld      ra, VCPU_X(1)(a0)
    ld      sp, VCPU_X(2)(a0)
    ld      gp, VCPU_X(3)(a0)
    ld      tp, VCPU_X(4)(a0)
    ld      t0, VCPU_X(5)(a0)
    ld      t1, VCPU_X(6)(a0)
    ld      t2, VCPU_X(7)(a0)
    ld      s0, VCPU_X(8)(a0)
    ld      s1, VCPU_X(9)(a0)
    ld      a1, VCPU_X(11)(a0)
    ld      a2, VCPU_X(12)(a0)
    ld      a3, VCPU_X(13)(a0)
    ld      a4, VCPU_X(14)(a0)
    ld      a5, VCPU_X(15)(a0)
    ld      a6, VCPU_X(16)(a0)
    ld      a7, VCPU_X(17)(a0)
    ld      s2, VCPU_X(18)(a0)
    ld      s3, VCPU_X(19)(a0)
    ld      s4, VCPU_X(20)(a0)
    ld      s5, VCPU_X(21)(a0)
    ld      s6, VCPU_X(22)(a0)
    ld      s7, VCPU_X(23)(a0)
    ld      s8, VCPU_X(24)(a0)
    ld      s9, VCPU_X(25)(a0)
    ld      s10, VCPU_X(26)(a0)
    ld      s11, VCPU_X(27)(a0)
    ld      t3, VCPU_X(28)(a0)
    ld      t4, VCPU_X(29)(a0)
    ld      t5, VCPU_X(30)(a0)
    ld      t6, VCPU_X(31)(a0)
    ld      a0, VCPU_X(10)(a0)
    sret

// void arch_ctx_switch(struct arch_ctx *from, struct arch_ctx *to)
    .globl  arch_ctx_switch
arch_ctx_switch:
    sd      ra, 0(a0)
    sd      sp, 8(a0)
    sd      s0, 16(a0)
    sd      s1, 24(a0)
    sd      s2, 32(a0)
    sd      s3, 40(a0)
    sd      s4, 48(a0)
    sd      s5, 56(a0)
    sd      s6, 64(a0)
    sd      s7, 72(a0)
    sd      s8, 80(a0)
    sd      s9, 88(a0)
    sd      s10, 96(a0)
    sd      s11, 104(a0)
    ld      ra, 0(a1)
    ld      sp, 8(a1)
    ld      s0, 16(a1)
    ld      s1, 24(a1)
    ld      s2, 32(a1)
    ld      s3, 40(a1)
    ld      s4, 48(a1)
    ld      s5, 56(a1)
    ld      s6, 64(a1)
    ld      s7, 72(a1)
    ld      s8, 80(a1)
    ld      s9, 88(a1)
    ld      s10, 96(a1)
    ld      s11, 104(a1)
    ret

// A new context starts here: s1 = fn, s2 = arg
    .globl  ctx_start
ctx_start:
    mv      a0, s2
    mv      s0, zero
    mv      ra, zero
    jalr    s1
    unimp                             // task functions do not return

// A trap from the hypervisor itself: tp is 0 now, and sscratch what tp was. Interrupts are always masked here, so it is a fault,
// expected in the functions below, anywhere else a bug.
hyp_trap:
    csrrw   tp, sscratch, tp
    beqz    tp, hyp_fault
    sd      t0, CPU_TRAP_T0(tp)
    sd      t1, CPU_TRAP_T1(tp)
    csrr    t0, sepc
    lla     t1, may_fault_start
    bltu    t0, t1, 1f
    lla     t1, may_fault_end
    bgeu    t0, t1, 1f
    lla     t0, may_fault_failed
    csrw    sepc, t0
    ld      t0, CPU_TRAP_T0(tp)
    ld      t1, CPU_TRAP_T1(tp)
    sret
1:  ld      t0, CPU_TRAP_T0(tp)
    ld      t1, CPU_TRAP_T1(tp)

// The stack may be the cause, so take another one.
hyp_fault:
    csrw    sscratch, sp
    beqz    tp, 2f
    ld      sp, CPU_EMERGENCY(tp)
    bnez    sp, 3f
2:  lla     sp, boot_stack_top
3:  addi    sp, sp, -256
    sd      ra, 8(sp)
    sd      gp, 24(sp)
    sd      tp, 32(sp)
    sd      t0, 40(sp)
    sd      t1, 48(sp)
    sd      t2, 56(sp)
    sd      s0, 64(sp)
    sd      s1, 72(sp)
    sd      a0, 80(sp)
    sd      a1, 88(sp)
    sd      a2, 96(sp)
    sd      a3, 104(sp)
    sd      a4, 112(sp)
    sd      a5, 120(sp)
    sd      a6, 128(sp)
    sd      a7, 136(sp)
    sd      s2, 144(sp)
    sd      s3, 152(sp)
    sd      s4, 160(sp)
    sd      s5, 168(sp)
    sd      s6, 176(sp)
    sd      s7, 184(sp)
    sd      s8, 192(sp)
    sd      s9, 200(sp)
    sd      s10, 208(sp)
    sd      s11, 216(sp)
    sd      t3, 224(sp)
    sd      t4, 232(sp)
    sd      t5, 240(sp)
    sd      t6, 248(sp)
    csrrw   t0, sscratch, zero
    sd      t0, 16(sp)
    sd      zero, 0(sp)
    mv      a0, sp
    call    hyp_fault_report          // (registers); does not return
4:  wfi
    j       4b

// Functions whose one instruction at the front may fault: struct may_fault { u64 failed, value; }
    .macro  csr_read_function name nr
    .globl  \name
\name:
    csrr    a1, \nr
    li      a0, 0
    ret
    .endm

    .balign 4
may_fault_start:
    csr_read_function may_read_hgatp, 0x680
    csr_read_function may_read_stimecmp, 0x14d
    csr_read_function may_read_senvcfg, 0x10a
    csr_read_function may_read_hstateen0, 0x60c
    csr_read_function may_read_vsiselect, 0x250
    csr_read_function may_read_vlenb, 0xc22
    .globl  may_fetch16
may_fetch16:                          // (gva): HLVX.HU, the guest's code
    .insn   r 0x73, 4, 0x32, a1, a0, x3
    li      a0, 0
    ret
    .globl  may_load64
may_load64:                           // (gva): HLV.D, the guest's data
    .insn   r 0x73, 4, 0x36, a1, a0, x0
    li      a0, 0
    ret
    .globl  may_cbo_zero
may_cbo_zero:                         // (address): CBO.ZERO
    .insn   i 0x0f, 2, x0, a0, 4
    li      a0, 0
    ret
may_fault_end:
may_fault_failed:
    li      a0, 1
    li      a1, 0
    ret

// The floating-point registers: switched with the vCPU only, the hypervisor has no use for them.
    .option push
    .option arch, +d
// void fp_save(u64 *f): the registers only
    .globl  fp_save
fp_save:
    .irp    n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    fsd     f\n, 8 * \n(a0)
    .endr
    ret
// void fp_load(const u64 *f, u64 fcsr)
    .globl  fp_load
fp_load:
    .irp    n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    fld     f\n, 8 * \n(a0)
    .endr
    fscsr   a1
    ret
    .option pop

// The vector registers, likewise. Whole-register moves begin at vstart, whatever vl and vtype are (V 1.0 §7.9).
    .option push
    .option arch, +v
// void vector_save(struct riscv64_vector *to): the registers only
    .globl  vector_save
vector_save:
    csrr    t0, vstart
    csrr    t4, vlenb
    csrw    vstart, zero
    addi    a0, a0, VECTOR_V
    slli    t4, t4, 3
    .irp    n, 0, 8, 16, 24
    vs8r.v  v\n, (a0)
    add     a0, a0, t4
    .endr
    csrw    vstart, t0                // they may stay here for the same vCPU
    ret
// void vector_load(const struct riscv64_vector *from)
    .globl  vector_load
vector_load:
    ld      t0, VECTOR_VSTART(a0)
    ld      t1, VECTOR_VCSR(a0)
    ld      t2, VECTOR_VL(a0)
    ld      t3, VECTOR_VTYPE(a0)
    csrr    t4, vlenb
    csrw    vstart, zero
    addi    a0, a0, VECTOR_V
    slli    t4, t4, 3
    .irp    n, 0, 8, 16, 24
    vl8re8.v v\n, (a0)
    add     a0, a0, t4
    .endr
    vsetvl  zero, t2, t3              // vl is at most what vtype allows, so it is taken as it is; without a type both are 0
    csrw    vcsr, t1
    csrw    vstart, t0                // last: vsetvl clears it
    ret
    .option pop
