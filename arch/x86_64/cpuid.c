// SPDX-License-Identifier: Apache-2.0
// What CPUID tells a guest: of the machine's CPU what the guest really has, leaf by leaf and bit by bit from a list of
// what is allowed. Leaves that are not named here are zero.
#include "virt.h"
#include "x86_64.h"

#define LEAF_1_ECX                                                                                                     \
    (BIT(0) /* SSE3 */ | BIT(1) /* PCLMULQDQ */ | BIT(9) /* SSSE3 */ | BIT(12) /* FMA */ | BIT(13) /* CX16 */ |        \
     BIT(17) /* PCID */ | BITS(20, 19) /* SSE4 */ | BITS(23, 22) /* MOVBE, POPCNT */ | BITS(26, 25) /* AES, XSAVE */ | \
     BITS(30, 28) /* AVX, F16C, RDRAND */)
// Ours, whatever the machine has.
#define LEAF_1_ECX_EMULATED (CPUID_1_ECX_X2APIC | CPUID_1_ECX_TSC_DEADLINE | CPUID_1_ECX_HYPERVISOR)
#define LEAF_1_ECX_OSXSAVE BIT(27)
#define LEAF_1_EDX                                                                                                     \
    (BITS(8, 0) /* FPU … MCE, CX8 */ | BITS(17, 11) /* SEP, MTRR … PSE36 */ | BIT(19) /* CLFLUSH */ | BITS(27, 23))
#define LEAF_1_EDX_APIC BIT(9)
#define LEAF_1_EDX_HTT BIT(28)

#define LEAF_6_EAX_ARAT BIT(2) // the APIC's timer does not stop

#define LEAF_7_EBX_AVX512 (BITS(17, 16) | BIT(21) | BIT(28) | BITS(31, 30))
#define LEAF_7_EBX                                                                                                     \
    (BIT(0) /* FSGSBASE */ | BIT(3) /* BMI1 */ | BIT(5) /* AVX2 */ | BITS(10, 7) /* SMEP, BMI2, ERMS, INVPCID */ |     \
     BITS(20, 18) /* RDSEED, ADX, SMAP */ | BITS(24, 23) /* CLFLUSHOPT, CLWB */ | BIT(29) /* SHA */ |                  \
     LEAF_7_EBX_AVX512)
#define LEAF_7_EBX_EMULATED BIT(1) // TSC_ADJUST
#define LEAF_7_ECX_AVX512 (BIT(1) | BIT(6) | BITS(12, 11) | BIT(14))
#define LEAF_7_ECX                                                                                                     \
    (BIT(2) /* UMIP */ | BITS(10, 8) /* GFNI, VAES, VPCLMULQDQ */ | BIT(22) /* RDPID */ | LEAF_7_ECX_AVX512)
#define LEAF_7_EDX BIT(4) // FSRM

#define LEAF_D1_EAX BITS(2, 0) // XSAVEOPT, XSAVEC, XGETBV with ECX = 1

#define LEAF_EXT1_ECX                                                                                                  \
    (BIT(0) /* LAHF */ | BITS(8, 5) /* ABM, SSE4A, misaligned SSE, PREFETCH */ | BIT(11) /* XOP */ |                   \
     BIT(16) /* FMA4 */ | BIT(21) /* TBM */)
#define LEAF_EXT1_EDX                                                                                                  \
    (BITS(8, 0) | BITS(17, 11) /* 11: SYSCALL */ | BIT(20) /* NX */ | BITS(24, 22) | BIT(26) /* 1 GiB */ |             \
     BIT(27) /* RDTSCP */ | BIT(29) /* long mode */)

enum : u32 {
    LEAF_CACHE_INTEL = 4,
    LEAF_POWER = 6,
    LEAF_FREQUENCY = 0x16,
    MAX_BASIC = LEAF_FREQUENCY,
    MAX_HYPERVISOR = CPUID_HYPERVISOR_TIMING,
    LEAF_KVM = 0x40000100, // where a hypervisor's second interface is
    LEAF_KVM_FEATURES = LEAF_KVM + 1,
    KVM_FEATURE_NOP_IO_DELAY = 1 << 1,
    KVM_FEATURE_CLOCK2 = 1 << 3,
    KVM_FEATURE_CLOCK_STABLE = 1 << 24,
    MAX_EXT = CPUID_EXT_SIZES,
    TOPOLOGY_THREAD = 1 << 8, // kinds of levels
    TOPOLOGY_CORE = 2 << 8,
    GUEST_LINEAR_BITS = 48,
};

static u64 cr4_mask;
static bool tsc_aux;   // RDTSCP or RDPID
static u32 xsave_size; // of everything that XCR0 may have

u64 guest_cr4_mask(void) {
    return cr4_mask;
}

static bool has_avx512(void) {
    return guest_xcr0_mask() & BITS(7, 5);
}

static struct cpuid leaf_7(void) {
    struct cpuid c = cpuid_or_zero(CPUID_FEATURES_7, 0);
    c.eax = 0; // no further subleaves
    c.ebx = (c.ebx & (u32)LEAF_7_EBX & ~(has_avx512() ? 0 : (u32)LEAF_7_EBX_AVX512)) | LEAF_7_EBX_EMULATED;
    c.ecx &= (u32)LEAF_7_ECX & ~(has_avx512() ? 0 : (u32)LEAF_7_ECX_AVX512);
    c.edx &= LEAF_7_EDX;
    return c;
}

void cpuid_init(void) {
    struct cpuid one = cpuid(CPUID_FEATURES, 0), seven = leaf_7();
    cr4_mask = BITS(10, 0) & ~BIT(8); // VME … OSXMMEXCPT, but no RDPMC
    cr4_mask |= one.ecx & BIT(17) ? CR4_PCIDE : 0;
    cr4_mask |= CR4_OSXSAVE;
    cr4_mask |= seven.ebx & BIT(0) ? CR4_FSGSBASE : 0;
    cr4_mask |= seven.ebx & CPUID_7_EBX_SMEP ? CR4_SMEP : 0;
    cr4_mask |= seven.ebx & CPUID_7_EBX_SMAP ? CR4_SMAP : 0;
    cr4_mask |= seven.ecx & BIT(2) ? CR4_UMIP : 0;
    tsc_aux = (cpuid_or_zero(CPUID_EXT_FEATURES, 0).edx & BIT(27)) || (seven.ecx & BIT(22));
    xsave_size = fpu_area_size();
}

bool guest_has_tsc_aux(void) {
    return tsc_aux;
}

static u32 core_bits(const struct vcpu *v) {
    u32 bits = 0;
    while ((1u << bits) < v->vm->vcpu_count)
        bits++;
    return bits;
}

static struct cpuid leaf_1(struct vcpu *v) {
    struct cpuid c = cpuid(CPUID_FEATURES, 0);
    u32 count = v->vm->vcpu_count;
    c.ebx = (c.ebx & 0xff00) | count << 16 | v->id << 24; // CLFLUSH's size stays
    c.ecx = (c.ecx & (u32)LEAF_1_ECX) | (u32)LEAF_1_ECX_EMULATED;
    if (virt->get(v, GUEST_CR4) & CR4_OSXSAVE)
        c.ecx |= LEAF_1_ECX_OSXSAVE;
    c.edx = (c.edx & (u32)LEAF_1_EDX) | (count > 1 ? LEAF_1_EDX_HTT : 0);
    if (vlapic_enabled(vlapic_of(v)))
        c.edx |= LEAF_1_EDX_APIC;
    return c;
}

static struct cpuid leaf_topology(struct vcpu *v, u32 subleaf) {
    struct cpuid c = {.ecx = subleaf, .edx = v->id};
    if (subleaf == 0) {
        c.ebx = 1;
        c.ecx |= TOPOLOGY_THREAD;
    } else if (subleaf == 1) {
        c.eax = core_bits(v);
        c.ebx = v->vm->vcpu_count;
        c.ecx |= TOPOLOGY_CORE;
    }
    return c;
}

static struct cpuid leaf_xsave(u32 subleaf) {
    u64 mask = guest_xcr0_mask();
    if (subleaf > 1)
        return subleaf < 63 && (mask & BIT(subleaf)) ? cpuid(CPUID_XSAVE, subleaf) : (struct cpuid){};
    struct cpuid c = cpuid(CPUID_XSAVE, subleaf); // EBX goes by the guest's XCR0, which is in the hardware
    if (subleaf == 0)
        return (struct cpuid){(u32)mask, c.ebx, xsave_size, (u32)(mask >> 32)};
    return (struct cpuid){c.eax & (u32)LEAF_D1_EAX, c.eax & BIT(1) ? c.ebx : 0, 0, 0};
}

static struct cpuid leaf_basic(struct vcpu *v, u32 leaf, u32 subleaf) {
    struct cpuid c;
    switch (leaf) {
    case CPUID_MAX:
        c = cpuid(0, 0);
        c.eax = MAX_BASIC;
        return c;
    case CPUID_FEATURES:
        return leaf_1(v);
    case 2: // Intel's caches
        return cpuid_or_zero(leaf, 0);
    case LEAF_CACHE_INTEL:
        c = cpuid_or_zero(leaf, subleaf);
        c.eax &= BITS(13, 0); // nobody shares it
        return c;
    case LEAF_POWER:
        return (struct cpuid){.eax = LEAF_6_EAX_ARAT};
    case CPUID_FEATURES_7:
        return subleaf == 0 ? leaf_7() : (struct cpuid){};
    case CPUID_TOPOLOGY:
        return leaf_topology(v, subleaf);
    case CPUID_XSAVE:
        return leaf_xsave(subleaf);
    case CPUID_TSC: // as if its crystal were as fast as the TSC
        return features.tsc_hz <= UINT32_MAX ? (struct cpuid){1, 1, (u32)features.tsc_hz, 0}
                                             : (struct cpuid){1, 2, (u32)(features.tsc_hz / 2), 0};
    case LEAF_FREQUENCY:
        c.eax = c.ebx = (u32)(features.tsc_hz / 1000000);
        c.ecx = c.edx = 0;
        return c;
    default:
        return (struct cpuid){};
    }
}

static struct cpuid leaf_hypervisor(u32 leaf) {
    switch (leaf) {
    case CPUID_HYPERVISOR: // "Bulkhead VMM"
        return (struct cpuid){MAX_HYPERVISOR, 0x6b6c7542, 0x64616568, 0x4d4d5620};
    case CPUID_HYPERVISOR_TIMING: // in kHz: the TSC, and what the APIC's timer counts
        return (struct cpuid){(u32)(features.tsc_hz / 1000), VLAPIC_TIMER_HZ / 1000, 0, 0};
    // Guests that know KVM find its interface with little more than its clock in it (pvclock.c). They also learn from
    // it that the x2APIC may be used without remapped interrupts (its registers are much faster than the page), and
    // ports need no delay.
    case LEAF_KVM: // "KVMKVMKVM"
        return (struct cpuid){LEAF_KVM_FEATURES, 0x4b4d564b, 0x564b4d56, 0x4d};
    case LEAF_KVM_FEATURES:
        return (struct cpuid){.eax = KVM_FEATURE_NOP_IO_DELAY | KVM_FEATURE_CLOCK2 | KVM_FEATURE_CLOCK_STABLE};
    default:
        return (struct cpuid){};
    }
}

static struct cpuid leaf_extended(struct vcpu *v, u32 leaf) {
    struct cpuid c = cpuid_or_zero(leaf, 0);
    switch (leaf) {
    case CPUID_EXT_MAX:
        c.eax = MIN(c.eax, (u32)MAX_EXT);
        return c;
    case CPUID_EXT_FEATURES:
        c.ebx = 0;
        c.ecx &= (u32)LEAF_EXT1_ECX;
        c.edx &= (u32)LEAF_EXT1_EDX;
        return c;
    case CPUID_EXT_POWER:
        // Whatever the processor says: our own clock is the TSC, and a guest that doubts it measures it for ever.
        return (struct cpuid){.edx = CPUID_EXT7_EDX_INVARIANT_TSC};
    case CPUID_EXT_SIZES: // addresses; AMD: cores
        c.eax = (c.eax & 0xff) | GUEST_LINEAR_BITS << 8;
        return (struct cpuid){c.eax, 0, (v->vm->vcpu_count - 1) | core_bits(v) << 12, 0};
    default: // brand, caches
        return leaf <= MAX_EXT ? c : (struct cpuid){};
    }
}

[[gnu::noinline]] bool exit_cpuid(struct vcpu *v) {
    u64 *gpr = v->arch.gpr;
    u32 leaf = (u32)gpr[X86_RAX], subleaf = (u32)gpr[X86_RCX];
    struct cpuid c = leaf < CPUID_HYPERVISOR ? leaf_basic(v, leaf, subleaf)
                     : leaf < CPUID_EXT_MAX  ? leaf_hypervisor(leaf)
                                             : leaf_extended(v, leaf);
    gpr[X86_RAX] = c.eax;
    gpr[X86_RBX] = c.ebx;
    gpr[X86_RCX] = c.ecx;
    gpr[X86_RDX] = c.edx;
    guest_step(v);
    return true;
}
