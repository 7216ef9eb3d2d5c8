// SPDX-License-Identifier: Apache-2.0
// What CPUID and model-specific registers are to a guest of arch/x86_64, on a CPU that the input makes up. CPUID tells
// of nothing that the CPU has not or that guests must not have, whatever the leaf; a register that exists keeps what it
// takes and refuses the rest, none reaches the hardware but the one that may, and the paravirtual clock writes where
// the guest said and nowhere else.
#include <string.h>

#include "fuzz.h"
#include "gmem.h"
#include "vm.h"

#include "../../arch/x86_64/cpuid.c"
#include "../../arch/x86_64/msr.c"
#include "../../arch/x86_64/pvclock.c"

enum { RAM = 0x10000, RAM_SIZE = 0x3000, VCPUS_MAX = 16, TSC_START = 1000000 };

struct x86_features features;
static struct vm vm;
static struct vcpu vcpu;
static struct vlapic lapic;
static u8 ram[RAM_SIZE];
static u64 chance, tsc, xcr0_mask, hardware_aux;
static u64 regs[GUEST_REGS];
static u32 aux_writes;

// ── The CPU and the core ────────────────────────────────────────────────────────────────────────────────────────────
u64 rdtsc(void) {
    return tsc;
}

u64 arch_ticks(void) {
    return tsc;
}

u64 arch_ticks_to_ns(u64 ticks) {
    return ticks / 2;
}

u64 wallclock_seconds(void) {
    return 1767225600 + tsc / 2000000000;
}

struct cpuid cpuid(u32 leaf, u32 subleaf) {
    u32 asked[2] = {leaf, subleaf}, max = (u32)(leaf == 0 ? 0x17 : leaf == 0x40000000 ? leaf : 0x80000020);
    u64 a = fuzz_hash(asked, sizeof(asked), chance), b = fuzz_hash(asked, sizeof(asked), ~chance);
    if (chance & 1) // all there is
        a = b = ~0ull;
    if (leaf == 0 || leaf == 0x40000000 || leaf == 0x80000000)
        return (struct cpuid){max - (u32)(chance >> 60 & 7), (u32)(a >> 32), (u32)b, (u32)(b >> 32)};
    return (struct cpuid){(u32)a, (u32)(a >> 32), (u32)b, (u32)(b >> 32)};
}

struct cpuid cpuid_or_zero(u32 leaf, u32 subleaf) {
    u32 max = cpuid(leaf & 0xffff0000, 0).eax;
    return leaf <= max ? cpuid(leaf, subleaf) : (struct cpuid){};
}

void msr_write(u32 nr, u64 v) {
    FUZZ_CHECK(nr == 0xc0000103 && v >> 32 == 0 && guest_has_tsc_aux()); // TSC_AUX is the guest's while it is loaded
    hardware_aux = v;
    aux_writes++;
}

struct may_fault may_msr_read(u32 nr) {
    FUZZ_CHECK(nr == 0xc0011029);
    return (struct may_fault){false, ~0ull};
}

static u64 reg_get(const struct vcpu *v, enum guest_reg reg) {
    FUZZ_CHECK(v == &vcpu && reg < GUEST_REGS);
    return regs[reg];
}

static void reg_set(struct vcpu *v, enum guest_reg reg, u64 value) {
    FUZZ_CHECK(v == &vcpu && reg < GUEST_REGS);
    regs[reg] = value;
}

static u64 hardware_offset;
static void set_hardware_offset(struct vcpu *v, u64 offset) {
    FUZZ_CHECK(v == &vcpu);
    hardware_offset = offset;
}

void vlapic_set_tsc_offset(struct vcpu *v, u64 offset) {
    FUZZ_CHECK(v == &vcpu);
    lapic.tsc_offset = offset;
}

static const struct x86_virt_ops ops = {.get = reg_get, .set = reg_set, .set_tsc_offset = set_hardware_offset};
const struct x86_virt_ops *virt = &ops;

u64 guest_xcr0_mask(void) {
    return xcr0_mask;
}

u32 fpu_area_size(void) {
    return 0xa80;
}

void *gmem_ptr(struct vm *of, gpa_t at, u64 size) {
    FUZZ_CHECK(of == &vm);
    bool inside = at.v >= RAM && size <= RAM_SIZE && at.v - RAM <= RAM_SIZE - size;
    return inside ? ram + (at.v - RAM) : nullptr;
}

// ── CPUID ───────────────────────────────────────────────────────────────────────────────────────────────────────────
// Never a guest's: features that would have to be virtualised, and what cannot be used without them.
static const struct {
    u32 leaf, subleaf, eax, ebx, ecx, edx;
} forbidden[] = {
    // PERFMON, DTES64, MONITOR, DS-CPL, VMX, SMX, EIST, TM2, SDBG, xTPR, PDCM, DCA; DS, ACPI, TM, PBE
    {1, 0, 0, 0, BITS(8, 2) & ~BIT(1) & ~0u, BIT(21) | BIT(22) | BIT(29) | BIT(31)},
    // SGX, HLE, CQM, MPX, RDT-A, PT; PKU, OSPKE, WAITPKG, CET, TME, LA57, KEYLOCKER, BUSLOCK, ENQCMD, SGX-LC, PKS
    {7, 0, ~0u, BIT(2) | BIT(4) | BIT(12) | BIT(14) | BIT(15) | BIT(25),
     BITS(5, 3) | BIT(7) | BIT(13) | BIT(16) | BIT(23) | BIT(24) | BITS(31, 28) | BIT(25), ~(u32)BIT(4)},
    {0xd, 1, BITS(31, 3), 0, ~0u, ~0u},                                                               // XSAVES
    {0x80000001, 0, 0, 0, BIT(2) | BIT(3) | BIT(9) | BIT(10) | BITS(15, 12) | BITS(31, 22), BIT(25)}, // SVM, IBS, …
};

static void check_forbidden(u32 leaf, u32 subleaf, const struct cpuid *c) {
    for (u32 i = 0; i < ARRAY_SIZE(forbidden); i++)
        if (forbidden[i].leaf == leaf && (forbidden[i].subleaf == subleaf || leaf == 1 || leaf > 0x80000000))
            FUZZ_CHECK(!(c->eax & forbidden[i].eax) && !(c->ebx & forbidden[i].ebx) && !(c->ecx & forbidden[i].ecx) &&
                       !(c->edx & forbidden[i].edx));
}

static void check_features(u32 leaf, u32 subleaf, const struct cpuid *c) {
    const struct cpuid real = cpuid(leaf, 0);
    const u32 ours = BIT(21) | BIT(24) | BIT(31); // x2APIC, TSC deadline, hypervisor
    if (leaf == 1) {
        FUZZ_CHECK((c->ecx & ours) == ours && !(c->ecx & ~real.ecx & ~(ours | BIT(27))));
        FUZZ_CHECK(!(c->ecx & BIT(27)) == !(regs[GUEST_CR4] & BIT(18))); // OSXSAVE
        FUZZ_CHECK(!(c->edx & BIT(9)) == !(lapic.base & VLAPIC_BASE_ENABLE));
        FUZZ_CHECK(!(c->edx & ~real.edx & ~(BIT(9) | BIT(28))));
        FUZZ_CHECK(c->ebx >> 24 == vcpu.id && (c->ebx >> 16 & 0xff) == vm.vcpu_count);
    } else if (leaf == 7 && subleaf == 0) {
        bool avx512 = (xcr0_mask & 0xe0) == 0xe0;
        FUZZ_CHECK(avx512 || !(c->ebx & (BIT(16) | BIT(17) | BIT(21) | BIT(28) | BIT(30) | BIT(31))));
        FUZZ_CHECK(avx512 || !(c->ecx & (BIT(1) | BIT(6) | BIT(11) | BIT(12) | BIT(14))));
        FUZZ_CHECK(!(c->ebx & ~real.ebx & ~BIT(1)) && !(c->ecx & ~real.ecx));
    } else if (leaf == 0xb) {
        FUZZ_CHECK(c->edx == vcpu.id && (c->ecx & 0xff) == (subleaf & 0xff));
        if (subleaf == 1)
            FUZZ_CHECK(c->ebx == vm.vcpu_count && 1u << c->eax >= vm.vcpu_count);
    } else if (leaf == 0xd && subleaf == 0) {
        FUZZ_CHECK(c->eax == (u32)xcr0_mask && c->edx == xcr0_mask >> 32);
    } else if (leaf == 0xd && subleaf > 1) {
        bool there = subleaf < 63 && (xcr0_mask >> subleaf & 1);
        FUZZ_CHECK(there || !(c->eax | c->ebx | c->ecx | c->edx));
    } else if (leaf == 0x80000001) {
        FUZZ_CHECK(!(c->ecx & ~cpuid_or_zero(leaf, 0).ecx) && !(c->edx & ~cpuid_or_zero(leaf, 0).edx));
    }
}

static bool is_a_leaf(u32 leaf) {
    return leaf <= 0x16 || (leaf >= 0x40000000 && leaf <= 0x40000010) || leaf - 0x40000100 < 2 ||
           (leaf >= 0x80000000 && leaf <= 0x80000008);
}

static void ask(struct fuzz *f) {
    static const u32 leaves[] = {0,          1,          2,          4,          5,          6,          7,
                                 0xa,        0xb,        0xd,        0xf,        0x12,       0x14,       0x15,
                                 0x16,       0x1f,       0x40000000, 0x40000010, 0x40000100, 0x40000101, 0x80000000,
                                 0x80000001, 0x80000007, 0x80000008, 0x8000000a, 0x8000001f};
    u8 which = fuzz_u8(f);
    u32 leaf = which < 0xf0 ? leaves[which % ARRAY_SIZE(leaves)] : fuzz_u32(f);
    u32 subleaf = which & 1 ? fuzz_u8(f) % 80 : 0;
    u64 *gpr = vcpu.arch.gpr;
    for (u32 i = 0; i < X86_REGS; i++)
        gpr[i] = 0xa5a5a5a500000000ull | i;
    gpr[X86_RAX] |= leaf;
    gpr[X86_RAX] = (gpr[X86_RAX] & ~0xffffffffull) | leaf;
    gpr[X86_RCX] = (gpr[X86_RCX] & ~0xffffffffull) | subleaf;
    vcpu.arch.next_rip = vcpu.arch.rip + 2;
    u64 rip = vcpu.arch.next_rip;
    FUZZ_CHECK(exit_cpuid(&vcpu) && vcpu.arch.rip == rip);
    FUZZ_CHECK(!((gpr[X86_RAX] | gpr[X86_RBX] | gpr[X86_RCX] | gpr[X86_RDX]) >> 32));
    for (u32 i = 4; i < X86_REGS; i++)
        FUZZ_CHECK(gpr[i] == (0xa5a5a5a500000000ull | i));
    const struct cpuid c = {(u32)gpr[X86_RAX], (u32)gpr[X86_RBX], (u32)gpr[X86_RCX], (u32)gpr[X86_RDX]};
    if (!is_a_leaf(leaf) || (leaf >= 8 && leaf <= 0xa) || leaf == 5 || (leaf >= 0xe && leaf <= 0x14))
        FUZZ_CHECK(!(c.eax | c.ebx | c.ecx | c.edx));
    check_forbidden(leaf, subleaf, &c);
    check_features(leaf, subleaf, &c);
}

// ── MSRs ────────────────────────────────────────────────────────────────────────────────────────────────────────────
static bool memory_types(u64 value, u32 count, bool pat) {
    for (u32 i = 0; i < count; i++) {
        u32 t = value >> 8 * i & 0xff;
        if (t != 0 && t != 1 && t != 4 && t != 5 && t != 6 && !(pat && t == 7))
            return false;
    }
    return true;
}

static bool is_mtrr(u32 nr) {
    return (nr >= 0x200 && nr < 0x210) || nr == 0x250 || nr == 0x258 || nr == 0x259 || (nr >= 0x268 && nr < 0x270) ||
           nr == 0x2ff;
}

static bool mtrr_takes(u32 nr, u64 value) {
    if (nr == 0x2ff)
        return !(value & ~0xcffull) && memory_types(value, 1, false);
    if (nr >= 0x250)
        return memory_types(value, 8, false);
    return nr & 1 ? !(value & ~0xffffffffff800ull) : !(value & ~0xffffffffff0ffull) && memory_types(value, 1, false);
}

// Whether the register takes the value, and what it reads as afterwards; ~0 in *reads: not looked at.
static bool takes(u32 nr, u64 value, u64 *reads) {
    const u64 unknown = ~0ull;
    *reads = value;
    if (is_mtrr(nr))
        return mtrr_takes(nr, value);
    switch (nr) {
    case 0x10: // TSC
    case 0x3b: // TSC_ADJUST
        return true;
    case 0x277:
        return memory_types(value, 8, true);
    case 0xc0000080: // EFER: no SVME; LME only changes without paging, LMA never
        *reads = (value & ~BIT(10)) | (regs[GUEST_EFER] & BIT(10));
        return !(value & ~0xd01ull) && (!((value ^ regs[GUEST_EFER]) & BIT(8)) || !(regs[GUEST_CR0] & BIT(31)));
    case 0xc0000103:
        return guest_has_tsc_aux() && value >> 32 == 0;
    case 0x1a0:
        *reads = (value & 1) | 0x1800;
        return true;
    case 0x4b564d00:
        return value % 4 == 0 && value >= RAM && value <= RAM + RAM_SIZE - 12;
    case 0x4b564d01: {
        u64 at = value & ~1ull;
        return !(value & 1) || (at % 4 == 0 && at >= RAM && at <= RAM + RAM_SIZE - 32);
    }
    case 0x8b:
    case 0x17a:
    case 0x1d9:
        *reads = unknown;
        return value == 0;
    case 0xc0010010:
    case 0xc0010015:
    case 0xc001001f:
    case 0xc0011020:
    case 0xc0011021:
    case 0xc0011022:
    case 0xc0011029:
    case 0xc001102a:
        *reads = unknown;
        return true;
    default:
        return false;
    }
}

static void check_clock(u64 at) {
    struct pvclock_time t;
    memcpy(&t, ram + (at - RAM), sizeof(t));
    FUZZ_CHECK(t.version % 2 == 0 && t.version && t.flags == 1);
    u64 now = (tsc + vcpu.arch.tsc_offset - t.tsc), shifted = t.shift < 0 ? now >> -t.shift : now << t.shift;
    u64 ns = t.ns + (u64)((unsigned __int128)shifted * t.mult >> 32);
    u64 expected = (u64)((unsigned __int128)(tsc - TSC_START) * 1000000000 / features.tsc_hz);
    u64 off = ns > expected ? ns - expected : expected - ns;
    FUZZ_CHECK(off <= 4 + expected / 200000000); // the frequency has 30 bits
}

// Nothing but these bytes was written; forgets them.
static void check_untouched(u64 first, u64 size) {
    static const u8 zeroes[RAM_SIZE];
    if (size)
        memset(ram + (first - RAM), 0, size);
    FUZZ_CHECK(memcmp(ram, zeroes, RAM_SIZE) == 0);
}

static void write_register(u32 nr, u64 value) {
    u64 before = aux_writes, reads, got = 0, was = 0;
    u64 clock = vcpu.arch.system_time & 1 ? vcpu.arch.system_time & ~1ull : 0; // is brought up to date with the TSC
    bool could = msr_read_guest(&vcpu, nr, &was), takes_it = takes(nr, value, &reads);
    FUZZ_CHECK(msr_write_guest(&vcpu, nr, value) == takes_it);
    FUZZ_CHECK(aux_writes - before == (nr == 0xc0000103 && takes_it));
    FUZZ_CHECK(hardware_offset == vcpu.arch.tsc_offset && lapic.tsc_offset == hardware_offset);
    if (nr == 0x4b564d01 && takes_it)
        clock = value & 1 ? value & ~1ull : 0;
    if (nr == 0x4b564d00 && takes_it) {
        check_untouched(value, 12);
    } else {
        if (clock && ((nr == 0x4b564d01 && takes_it) || nr == 0x10 || nr == 0x3b))
            check_clock(clock);
        check_untouched(clock, clock ? 32 : 0);
    }
    if (takes_it && reads != ~0ull)
        FUZZ_CHECK(msr_read_guest(&vcpu, nr, &got) && got == reads);
    if (!takes_it && could)
        FUZZ_CHECK(msr_read_guest(&vcpu, nr, &got) && got == was);
}

static u32 some_register(struct fuzz *f) {
    static const u32 known[] = {0x10,  0x3b,  0xc0000080, 0x277,      0xc0000103, 0x1a0,      0xfe,
                                0x8b,  0x3a,  0x4b564d00, 0x4b564d01, 0xc0011029, 0xc0010015, 0x17,
                                0x179, 0x17a, 0x1d9,      0x2ff,      0x200,      0x250,      0x258,
                                0x268, 0x48,  0x480,      0xc0010117, 0xc0000081, 0x174,      0x186};
    u8 which = fuzz_u8(f);
    return which >= 0xf8 ? fuzz_u32(f) : known[which % ARRAY_SIZE(known)] + (which >= 0xc0 ? which & 15 : 0);
}

static u64 some_value(struct fuzz *f) {
    u8 how = fuzz_u8(f);
    if (how < 0x40)
        return RAM + fuzz_u16(f) % (RAM_SIZE + 64) - 32;
    if (how < 0x60)
        return 0x0101010101010101ull * (how & 7);
    if (how < 0x80)
        return fuzz_u16(f);
    return how < 0xa0 ? fuzz_u32(f) : how < 0xb0 ? 0 : fuzz_u64(f);
}

static void step(struct fuzz *f) {
    u8 what = fuzz_u8(f);
    tsc += fuzz_u8(f);
    if (what < 0x60) {
        ask(f);
    } else if (what < 0xd0) {
        u32 nr = some_register(f);
        write_register(nr, some_value(f));
    } else if (what < 0xe0) {
        u64 value = 0;
        u32 nr = some_register(f);
        if (msr_read_guest(&vcpu, nr, &value) && nr == 0x10)
            FUZZ_CHECK(value == tsc + hardware_offset);
    } else if (what < 0xe8) {
        regs[GUEST_CR0] ^= BIT(31);
        regs[GUEST_CR4] ^= BIT(18);
    } else if (what < 0xf0) {
        lapic.base ^= VLAPIC_BASE_ENABLE;
    } else if (what < 0xf8) {
        tsc += (u64)fuzz_u32(f) << 8;
    } else {
        msr_load(&vcpu);
        FUZZ_CHECK(!guest_has_tsc_aux() || hardware_aux == vcpu.arch.tsc_aux);
    }
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size) {
    static const u64 masks[] = {3, 7, 0xe7, 1};
    struct fuzz f = {data, size};
    chance = fuzz_u64(&f);
    xcr0_mask = masks[fuzz_u8(&f) & 3];
    features.tsc_hz = 1000000 + fuzz_u32(&f) * 2ull;
    memset((void *)&vm, 0, sizeof(vm));
    memset((void *)&vcpu, 0, sizeof(vcpu));
    memset((void *)&lapic, 0, sizeof(lapic));
    memset(regs, 0, sizeof(regs));
    memset(ram, 0, sizeof(ram));
    tsc = TSC_START;
    aux_writes = 0;
    vm.vcpu_count = 1 + fuzz_u8(&f) % VCPUS_MAX;
    vm.arch.tsc_start = TSC_START;
    vcpu.id = fuzz_u8(&f) % vm.vcpu_count;
    vcpu.vm = &vm;
    vcpu.irqchip = &lapic;
    cpuid_init();
    msr_reset(&vcpu);
    while (fuzz_more(&f))
        step(&f);
    return 0;
}
