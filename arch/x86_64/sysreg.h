// SPDX-License-Identifier: Apache-2.0
// Ports, MSRs, control registers and CPUID, with the numbers that we use. AMD64 Architecture Programmer's Manual
// volumes 2 and 3; Intel SDM volumes 3 and 4.
#pragma once

#include "types.h"

// ── Ports ───────────────────────────────────────────────────────────────────────────────────────────────────────────
static inline u8 port_in8(u16 port) {
    u8 v;
    __asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}
static inline u16 port_in16(u16 port) {
    u16 v;
    __asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}
static inline u32 port_in32(u16 port) {
    u32 v;
    __asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}
static inline void port_out8(u16 port, u8 v) {
    __asm__ volatile("outb %0, %1" ::"a"(v), "Nd"(port) : "memory");
}
static inline void port_out16(u16 port, u16 v) {
    __asm__ volatile("outw %0, %1" ::"a"(v), "Nd"(port) : "memory");
}
// ── Model-specific registers ────────────────────────────────────────────────────────────────────────────────────────
enum : u32 {
    MSR_TSC = 0x10,
    MSR_APIC_BASE = 0x1b,
    MSR_FEATURE_CONTROL = 0x3a,
    MSR_TSC_ADJUST = 0x3b,
    MSR_UCODE_REV = 0x8b,
    MSR_MTRR_CAP = 0xfe,
    MSR_SYSENTER_CS = 0x174,
    MSR_SYSENTER_ESP = 0x175,
    MSR_SYSENTER_EIP = 0x176,
    MSR_MISC_ENABLE = 0x1a0,
    MSR_DEBUGCTL = 0x1d9,
    MSR_PAT = 0x277,
    MSR_MTRR_DEF_TYPE = 0x2ff,
    MSR_TSC_DEADLINE = 0x6e0,
    MSR_X2APIC = 0x800, // + register / 16
    MSR_EFER = 0xc0000080,
    MSR_STAR = 0xc0000081,
    MSR_LSTAR = 0xc0000082,
    MSR_CSTAR = 0xc0000083,
    MSR_SFMASK = 0xc0000084,
    MSR_FS_BASE = 0xc0000100,
    MSR_GS_BASE = 0xc0000101,
    MSR_KERNEL_GS_BASE = 0xc0000102,
    MSR_TSC_AUX = 0xc0000103,
    MSR_VM_CR = 0xc0010114,
    MSR_VM_HSAVE_PA = 0xc0010117,
};

#define EFER_SCE BIT(0)
#define EFER_LME BIT(8)
#define EFER_LMA BIT(10)
#define EFER_NXE BIT(11)
#define EFER_SVME BIT(12)

#define APIC_BASE_X2APIC BIT(10)
#define APIC_BASE_ENABLE BIT(11)
#define APIC_BASE_ADDRESS BITS(51, 12)

#define VM_CR_SVMDIS BIT(4)

static inline u64 msr_read(u32 nr) {
    u32 low, high;
    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(nr));
    return (u64)high << 32 | low;
}
static inline void msr_write(u32 nr, u64 v) {
    __asm__ volatile("wrmsr" ::"c"(nr), "a"((u32)v), "d"((u32)(v >> 32)) : "memory");
}

// ── Control registers, flags ────────────────────────────────────────────────────────────────────────────────────────
#define CR0_PE BIT(0)
#define CR0_EM BIT(2)
#define CR0_TS BIT(3)
#define CR0_ET BIT(4)
#define CR0_NE BIT(5)
#define CR0_WP BIT(16)
#define CR0_NW BIT(29)
#define CR0_CD BIT(30)
#define CR0_PG BIT(31)

#define CR4_PSE BIT(4)
#define CR4_PAE BIT(5)
#define CR4_MCE BIT(6)
#define CR4_PGE BIT(7)
#define CR4_OSFXSR BIT(9)
#define CR4_OSXMMEXCPT BIT(10)
#define CR4_UMIP BIT(11)
#define CR4_VMXE BIT(13)
#define CR4_FSGSBASE BIT(16)
#define CR4_PCIDE BIT(17)
#define CR4_OSXSAVE BIT(18)
#define CR4_SMEP BIT(20)
#define CR4_SMAP BIT(21)

#define RFLAGS_FIXED BIT(1) // always set
#define RFLAGS_TF BIT(8)
#define RFLAGS_IF BIT(9)
#define RFLAGS_DF BIT(10)
#define RFLAGS_RF BIT(16)
#define RFLAGS_VM BIT(17)

#define X86_CONTROL_REGISTER(name)                                                                                     \
    static inline u64 name##_read(void) {                                                                              \
        u64 v;                                                                                                         \
        __asm__ volatile("mov %%" #name ", %0" : "=r"(v));                                                             \
        return v;                                                                                                      \
    }                                                                                                                  \
    static inline void name##_write(u64 v) {                                                                           \
        __asm__ volatile("mov %0, %%" #name ::"r"(v) : "memory");                                                      \
    }
X86_CONTROL_REGISTER(cr0)
X86_CONTROL_REGISTER(cr2)
X86_CONTROL_REGISTER(cr3)
X86_CONTROL_REGISTER(cr4)
X86_CONTROL_REGISTER(cr8)

static inline void xcr0_write(u64 v) {
    __asm__ volatile("xsetbv" ::"c"(0), "a"((u32)v), "d"((u32)(v >> 32)) : "memory");
}

static inline void invlpg(u64 va) {
    __asm__ volatile("invlpg (%0)" ::"r"(va) : "memory");
}

// ── CPUID ───────────────────────────────────────────────────────────────────────────────────────────────────────────
struct cpuid {
    u32 eax, ebx, ecx, edx;
};

static inline struct cpuid cpuid(u32 leaf, u32 subleaf) {
    struct cpuid r;
    __asm__ volatile("cpuid" : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx) : "a"(leaf), "c"(subleaf));
    return r;
}

enum : u32 {
    CPUID_MAX = 0,
    CPUID_FEATURES = 1,
    CPUID_FEATURES_7 = 7,
    CPUID_XSAVE = 0xd,
    CPUID_TOPOLOGY = 0xb,
    CPUID_TSC = 0x15,
    CPUID_HYPERVISOR = 0x40000000,
    CPUID_HYPERVISOR_TIMING = 0x40000010, // EAX: TSC in kHz
    CPUID_EXT_MAX = 0x80000000,
    CPUID_EXT_FEATURES = 0x80000001,
    CPUID_EXT_BRAND = 0x80000002, // … 0x80000004
    CPUID_EXT_POWER = 0x80000007,
    CPUID_EXT_SIZES = 0x80000008,
    CPUID_EXT_SVM = 0x8000000a,
};
// Of CPUID_FEATURES.
#define CPUID_1_ECX_VMX BIT(5)
#define CPUID_1_ECX_X2APIC BIT(21)
#define CPUID_1_ECX_TSC_DEADLINE BIT(24)
#define CPUID_1_ECX_XSAVE BIT(26)
#define CPUID_1_ECX_RDRAND BIT(30)
#define CPUID_1_ECX_HYPERVISOR BIT(31)
// Of CPUID_FEATURES_7.
#define CPUID_7_EBX_SMEP BIT(7)
#define CPUID_7_EBX_SMAP BIT(20)
// Of CPUID_EXT_FEATURES.
#define CPUID_EXT1_ECX_SVM BIT(2)
#define CPUID_EXT1_EDX_NX BIT(20)
#define CPUID_EXT1_EDX_1GIB BIT(26)
// Of CPUID_EXT_POWER.
#define CPUID_EXT7_EDX_INVARIANT_TSC BIT(8)

// The leaf if the CPU has it, zeroes otherwise (a CPU answers for leaves that it does not have with another one's
// data).
static inline struct cpuid cpuid_or_zero(u32 leaf, u32 subleaf) {
    u32 first = leaf & 0xffff0000;
    u32 max = cpuid(first, 0).eax;
    if (max < leaf || max > first + 0xffff)
        return (struct cpuid){};
    return cpuid(leaf, subleaf);
}

static inline u64 rdtsc(void) {
    u32 low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (u64)high << 32 | low;
}
// Not before what stands before it, nor after what stands behind it.
static inline u64 rdtsc_ordered(void) {
    u32 low, high;
    __asm__ volatile("lfence\n\trdtsc\n\tlfence" : "=a"(low), "=d"(high)::"memory");
    return (u64)high << 32 | low;
}

// ── Segments of the hypervisor itself ───────────────────────────────────────────────────────────────────────────────
enum : u16 { SEL_CODE = 0x08, SEL_DATA = 0x10, SEL_TSS = 0x18 };
