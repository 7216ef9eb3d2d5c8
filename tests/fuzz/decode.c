// SPDX-License-Identifier: Apache-2.0
// arch/aarch64's decoding of what a guest did: any syndrome, any registers, each exit answered as the core would. An
// exit is one that the core knows, in its range; the guest goes on behind its instruction, in a register that the
// instruction names, or in its own exception vector.
#define isb hardware_isb
#include "sysreg.h"
#undef isb

// The CPU's registers: constants that the input chooses, until they are written.
u64 fake_read(const char *name);
void fake_write(const char *name, u64 value);
#undef sysreg_read
#undef sysreg_write
static inline void isb(void) {
}
#define sysreg_read(name) fake_read(#name)
#define sysreg_write(name, value) fake_write(#name, (value))

#include "aarch64.h"
#include "fuzz.h"
#include "gmem.h"
#include "hypercall.h"
#include "vm.h"

#include <string.h>

// The instructions in decode.c and psci.c that are no accesses to registers: DC CISW does nothing here, RNDR gives a
// number or not.
bool fake_random(u64 *value);
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wkeyword-macro"
#define __asm__ (void)0;
#define volatile(...)
#include "../../arch/aarch64/decode.c"
#undef volatile
#define volatile(...) (flags = fake_random(v) ? 0 : BIT(30))
#include "../../arch/aarch64/psci.c"
#undef volatile
#undef __asm__
#pragma clang diagnostic pop
#include "../../arch/aarch64/idregs.c"
#include "../../arch/aarch64/timers.c"

enum { RAM = 0x40000000, RAM_SIZE = 0x200000, STEPS_MAX = 64, FAKES = 96 };

u32 intid_hyp_timer = 26, intid_virt_timer = 27, intid_maintenance = 25;
static struct cpu cpu;
static struct vm vm;
static struct vcpu vcpu;
static struct aarch64_timers timers;
static struct fuzz *input;
static u64 ticks, chance;
static bool phys_level;
static struct {
    const char *name;
    u64 value;
} fakes[FAKES];
static u32 fake_count;

// ── The CPU and the core ────────────────────────────────────────────────────────────────────────────────────────────
static u64 *fake(const char *name) {
    u32 i = 0;
    while (i < fake_count && strcmp(fakes[i].name, name) != 0)
        i++;
    FUZZ_CHECK(i < FAKES);
    if (i == fake_count) {
        fakes[fake_count++].name = name;
        fakes[i].value = chance & 1 ? fuzz_hash(name, strlen(name), chance) : 0;
    }
    return &fakes[i].value;
}

u64 fake_read(const char *name) {
    return *fake(name);
}

void fake_write(const char *name, u64 value) {
    *fake(name) = value;
}

bool fake_random(u64 *value) {
    *value = fuzz_hash(value, 0, ticks++);
    return *value & 7;
}

struct cpu *arch_cpu_self(void) {
    return &cpu;
}

void arch_cpu_relax(void) {
}

u64 arch_ticks(void) {
    return ticks;
}

void gic_deactivate(u32 intid) {
    FUZZ_CHECK(intid == intid_virt_timer);
}

void *gmem_ptr(struct vm *of, gpa_t at, u64 size) {
    static u8 ram[RAM_SIZE];
    FUZZ_CHECK(of == &vm);
    return at.v >= RAM && at.v - RAM < RAM_SIZE && size <= RAM_SIZE - (at.v - RAM) ? ram + (at.v - RAM) : NULL;
}

void timer_init(struct timer *t, void (*fn)(struct timer *t)) {
    *t = (struct timer){.fn = fn};
}

void timer_arm(struct timer *t, u64 deadline_ns) {
    t->armed = deadline_ns != TIMER_NEVER;
    t->deadline_ns = deadline_ns;
}

void timer_cancel(struct timer *t) {
    t->armed = false;
}

void timer_cancel_sync(struct timer *t) {
    timer_cancel(t);
}

void panic_at(const char *file, int line, const char *fmt, ...) {
    fuzz_failed(file, line, fmt);
}

static void set_ppi(struct vcpu *v, u32 irq, bool level) {
    FUZZ_CHECK(v == &vcpu && (irq == PPI_VTIMER || irq == PPI_PTIMER));
    if (irq == PPI_PTIMER)
        phys_level = level;
}

static const struct irqchip_ops irqchip = {.set_ppi = set_ppi};

// ── What the core does with an exit ─────────────────────────────────────────────────────────────────────────────────
// Nothing but these general registers, PC and PSTATE has changed.
static void check_only(const struct arch_vcpu *before, u64 regs) {
    for (u32 n = 0; n < 31; n++)
        FUZZ_CHECK((regs & BIT(n)) || vcpu.arch.x[n] == before->x[n]);
    FUZZ_CHECK(memcmp(&before->hcr, &vcpu.arch.hcr, sizeof(struct arch_vcpu) - offsetof(struct arch_vcpu, hcr)) == 0);
}

static void check_stepped(const struct arch_vcpu *before) {
    FUZZ_CHECK(vcpu.arch.elr == before->elr + (before->esr & ESR_IL ? 4 : 2) &&
               vcpu.arch.spsr == (before->spsr & ~PSR_SS));
}

static void answer_access(struct vexit *exit, const struct arch_vcpu *before) {
    u64 value = fuzz_u64(input), mask = exit->size == 8 ? ~0ull : BIT(8 * exit->size) - 1;
    FUZZ_CHECK(exit->size && exit->size <= 8 && !(exit->size & (exit->size - 1)) && exit->reg < 32);
    FUZZ_CHECK(!exit->write || exit->value == ((exit->reg < 31 ? before->x[exit->reg] : 0) & mask));
    FUZZ_CHECK(exit->gpa < BIT(52) && (exit->gpa & 0xfff) == (exit->gva & 0xfff));
    arch_vcpu_finish_access(&vcpu, exit, value);
    check_stepped(before);
    check_only(before, exit->write ? 0 : BIT(exit->reg));
    if (exit->write || exit->reg == 31 || (exit->size == 8 && exit->sign)) // the last: no instruction is like that
        return;
    u64 got = vcpu.arch.x[exit->reg];
    FUZZ_CHECK((got & mask) == (value & mask));
    u64 above = exit->sign && (value & mask) >> (8 * exit->size - 1) ? ~mask : 0;
    if (exit->sign && !exit->wide)
        above &= 0xffffffff;
    FUZZ_CHECK((got & ~mask) == above);
}

static void answer_fault(struct vexit *exit, const struct arch_vcpu *before) {
    u64 vector = fake_read("vbar_el1");
    int err = arch_vcpu_fault(&vcpu, exit);
    FUZZ_CHECK(err == 0 || (err == -EFAULT && exit->kind == VEXIT_PAGE_FAULT));
    check_only(before, 0);
    if (err)
        return;
    u64 offset = vcpu.arch.elr - vector;
    FUZZ_CHECK(offset == 0 || offset == 0x200 || offset == 0x400 || offset == 0x600);
    FUZZ_CHECK((vcpu.arch.spsr & (PSR_M | PSR_AARCH32)) == PSR_EL1H && (vcpu.arch.spsr & PSR_DAIF) == PSR_DAIF);
    FUZZ_CHECK(fake_read("elr_el1") == before->elr && fake_read("spsr_el1") == before->spsr);
    FUZZ_CHECK(fake_read("esr_el1") < BIT(32));
}

static void answer_call(struct vexit *exit, const struct arch_vcpu *before) {
    static const s32 errors[] = {0, -EINVAL, -EALREADY, -EBUSY, -EPERM, -ENOMEM};
    exit->status = errors[fuzz_u8(input) % ARRAY_SIZE(errors)];
    if (exit->kind == VEXIT_CPU_INFO && exit->target == VEXIT_NO_VCPU)
        exit->status = -EINVAL;
    if (exit->kind == VEXIT_CPU_ON || exit->kind == VEXIT_CPU_INFO)
        FUZZ_CHECK(exit->target < vm.vcpu_count || exit->target == VEXIT_NO_VCPU);
    bool starts = (exit->kind == VEXIT_CPU_ON && exit->target != VEXIT_NO_VCPU) ||
                  (exit->kind == VEXIT_CPU_SUSPEND && exit->power_down);
    FUZZ_CHECK(!starts || (exit->entry % 4 == 0 && gmem_ptr(&vm, gpa(exit->entry), 4)));
    FUZZ_CHECK(exit->kind != VEXIT_HYPERCALL || exit->nr < 0xff00);
    exit->value = fuzz_u8(input) % VCPU_POWER_STATES;
    arch_vcpu_finish(&vcpu, exit);
    check_only(before, BIT(0));
    bool smc = field_get(ESR_EC, before->esr) == EC_SMC64;
    FUZZ_CHECK(vcpu.arch.elr == before->elr + (!smc ? 0 : before->esr & ESR_IL ? 4 : 2));
    s64 answer = (s64)vcpu.arch.x[0];
    FUZZ_CHECK(exit->kind == VEXIT_HYPERCALL || (answer >= -9 && answer <= 2));
}

static void answer(struct vexit *exit, const struct arch_vcpu *before) {
    switch (exit->kind) {
    case VEXIT_MMIO:
        answer_access(exit, before);
        break;
    case VEXIT_FAULT:
    case VEXIT_PAGE_FAULT:
        answer_fault(exit, before);
        break;
    case VEXIT_SEND_IPI:
        FUZZ_CHECK(exit->nr < 3);
        [[fallthrough]];
    case VEXIT_HALT:
        arch_vcpu_finish(&vcpu, exit);
        check_only(before, 0);
        check_stepped(before);
        break;
    case VEXIT_HYPERCALL:
    case VEXIT_CPU_ON:
    case VEXIT_CPU_SUSPEND:
    case VEXIT_CPU_INFO:
        answer_call(exit, before);
        break;
    default:
        FUZZ_CHECK(exit->kind == VEXIT_CPU_OFF || exit->kind == VEXIT_SYSTEM_OFF || exit->kind == VEXIT_SYSTEM_RESET);
        break;
    }
}

// ── Inputs ──────────────────────────────────────────────────────────────────────────────────────────────────────────
static u64 some_value(void) {
    u8 how = fuzz_u8(input);
    return how < 64 ? RAM + 4ull * how : how < 128 ? how & 7 : how < 160 ? 0 - (u64)(how & 31) : fuzz_u64(input);
}

static u64 syndrome(u8 head) {
    static const u8 classes[] = {EC_DABT_LOWER, EC_SYSREG, EC_HVC64, EC_SMC64, EC_WFX, EC_IABT_LOWER, EC_DABT_LOWER};
    u64 ec = (head & 7) < 7 ? classes[head & 7] : fuzz_u8(input) & 0x3f;
    u64 iss = fuzz_u32(input) & ESR_ISS;
    if (ec == EC_DABT_LOWER && head & 8)
        iss = (iss & ~(ISS_ABT_S1PTW | ISS_ABT_FSC)) | ISS_DABT_ISV | 0x4 | (iss & 3);
    if (ec == EC_SYSREG && head & 8) { // a register that matters
        static const u32 regs[] = {SYSREG(3, 0, 12, 11, 5), SYSREG(3, 0, 12, 11, 6), SYSREG(3, 0, 12, 11, 7),
                                   SYSREG(3, 3, 14, 2, 0),  SYSREG(3, 3, 14, 2, 1),  SYSREG(3, 3, 14, 2, 2),
                                   SYSREG(1, 0, 7, 6, 2),   SYSREG(3, 0, 1, 0, 1),   SYSREG(3, 0, 0, 4, 0),
                                   SYSREG(3, 0, 0, 7, 2)};
        iss = regs[fuzz_u8(input) % ARRAY_SIZE(regs)] | (iss & (ISS_SYS_RT | ISS_SYS_READ));
    }
    return field_set(ESR_EC, ec) | (head & 0x10 ? 0 : ESR_IL) | iss;
}

static void call_registers(void) {
    static const u32 calls[] = {0x84000000, 0xc4000001, 0x84000002, 0xc4000003, 0x84000003, 0xc4000004, 0x84000006,
                                0x84000008, 0x84000009, 0x8400000a, 0xc4000012, 0x84000050, 0x84000051, 0x84000053,
                                0xc4000053, 0x80000000, 0x80000001, 0x86000002, 0xc6000003, 0x8600ff01, 0x8600ff00};
    u8 which = fuzz_u8(input);
    vcpu.arch.x[0] = which < 200 ? calls[which % ARRAY_SIZE(calls)] : fuzz_u64(input);
    for (u32 n = 1; n < 4; n++)
        vcpu.arch.x[n] = some_value();
}

static void step_guest(void) {
    static struct arch_vcpu before;
    struct vexit exit = {};
    u8 head = fuzz_u8(input);
    u64 esr = syndrome(head), ec = field_get(ESR_EC, esr);
    if (ec == EC_HVC64 || ec == EC_SMC64)
        call_registers();
    else
        vcpu.arch.x[fuzz_u8(input) % 31] = some_value();
    if (head & 0x20)
        vcpu.arch.spsr = fuzz_u32(input);
    if (head & 0x40)
        vcpu.arch.elr = some_value();
    if (head & 0x80) {
        fake_write("hpfar_el2", fuzz_u64(input));
        fake_write("far_el2", fuzz_u64(input));
    }
    ticks += head;
    vcpu.arch.esr = esr;
    before = vcpu.arch;
    if ((ec & ~1ull) == EC_HVC64 && smccc_fast(&vcpu)) { // as vcpu_exit_fast()
        check_only(&before, BITS(3, 0));
        return;
    }
    if (!decode_sync(&vcpu, esr, &exit)) {
        FUZZ_CHECK(exit.kind != VEXIT_NONE && exit.kind < VEXIT_KINDS);
        FUZZ_CHECK(memcmp(&before, &vcpu.arch, sizeof(before)) == 0); // nothing has happened yet
        answer(&exit, &before);
        return;
    }
    bool read = ec == EC_SYSREG && (esr & ISS_SYS_READ), call = (ec & ~1ull) == EC_HVC64;
    check_only(&before, read ? BIT(field_get(ISS_SYS_RT, esr)) : call ? BIT(0) : 0);
    FUZZ_CHECK(vcpu.arch.elr == before.elr + (ec == EC_HVC64 ? 0 : esr & ESR_IL ? 4 : 2));
}

static void check_timer(void) {
    struct aarch64_timers *t = vcpu.arch.timers;
    bool on = (t->cntp_ctl & (TIMER_ENABLE | TIMER_IMASK)) == TIMER_ENABLE;
    FUZZ_CHECK(!(t->cntp_ctl & ~(u64)(TIMER_ENABLE | TIMER_IMASK)));
    if (on && t->cntp_cval > ticks) // it will come
        FUZZ_CHECK(phys_level || t->phys.armed);
    (void)arch_irq_level(&vcpu, PPI_PTIMER);
    (void)arch_irq_level(&vcpu, PPI_VTIMER);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size) {
    struct fuzz f = {data, size};
    input = &f;
    fake_count = 0;
    memset((void *)&vcpu, 0, sizeof(vcpu));
    memset(&timers, 0, sizeof(timers));
    chance = fuzz_u8(input);
    ticks = 1000;
    phys_level = false;
    timers_init();
    if (counter_hz < 1000000) // what the boot accepts of CNTFRQ
        counter_hz = 62500000;
    vm.vcpu_count = 3;
    vm.irqchip_ops = &irqchip;
    vcpu.vm = &vm;
    vcpu.arch.timers = &timers;
    cpu.loaded = chance & 2 ? &vcpu : NULL;
    timers_reset(&vcpu);
    for (u32 i = 0; i < STEPS_MAX && fuzz_more(&f); i++) {
        step_guest();
        check_timer();
    }
    return 0;
}
