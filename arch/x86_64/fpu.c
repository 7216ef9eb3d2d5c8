// SPDX-License-Identifier: Apache-2.0
// Floating-point and vector registers (XSAVE). The hypervisor has no use for them, so they move when another vCPU is
// loaded, and not back in if they are still there.
#include "page.h"
#include "virt.h"

#define XCR0_X87 BIT(0)
#define XCR0_SSE BIT(1)
#define XCR0_AVX BIT(2)
#define XCR0_AVX512 BITS(7, 5)

enum {
    XSAVE_FCW = 0, // bytes into the area
    XSAVE_MXCSR = 24,
    XSAVE_STATE = 512, // XSTATE_BV
    FCW_RESET = 0x37f,
    MXCSR_RESET = 0x1f80,
    XSAVE_ORDER = 0,
};

static u64 xcr0_mask; // what guests may have

u64 guest_xcr0_mask(void) {
    return xcr0_mask;
}

const char *fpu_unusable(void) {
    if (!(cpuid(CPUID_FEATURES, 0).ecx & CPUID_1_ECX_XSAVE))
        return "the CPU has no XSAVE";
    struct cpuid c = cpuid_or_zero(CPUID_XSAVE, 0);
    xcr0_mask = ((u64)c.edx << 32 | c.eax) & (XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_AVX512);
    if ((xcr0_mask & XCR0_AVX512) != XCR0_AVX512)
        xcr0_mask &= ~XCR0_AVX512;
    return nullptr;
}

void fpu_cpu_init(void) {
    cr0_write(cr0_read() & ~(CR0_EM | CR0_TS));
    cr4_write(cr4_read() | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE);
    xcr0_write(xcr0_mask);
}

// Bytes that the registers take: x87 and SSE, the header, and each component at its place.
u32 fpu_area_size(void) {
    u32 size = 512 + 64;
    for (u32 n = 2; n < 64; n++) {
        struct cpuid c = xcr0_mask & BIT(n) ? cpuid(CPUID_XSAVE, n) : (struct cpuid){};
        size = MAX(size, c.ebx + c.eax);
    }
    return size;
}

int fpu_vcpu_init(struct vcpu *v) {
    BUG_ON(fpu_area_size() > PAGE_SIZE << XSAVE_ORDER); // XCR0 would have something that is not in the mask
    v->arch.extended = page_alloc(XSAVE_ORDER);
    return v->arch.extended ? 0 : -ENOMEM;
}

void fpu_vcpu_fini(struct vcpu *v) {
    for (u32 i = 0; i < cpu_count; i++) // no other vCPU of this address is taken for this one
        if (cpus[i].arch.fp_owner == v)
            cpus[i].arch.fp_owner = nullptr;
    if (v->arch.extended)
        page_free(v->arch.extended, XSAVE_ORDER);
    v->arch.extended = nullptr;
}

void fpu_reset(struct vcpu *v) {
    u8 *area = v->arch.extended;
    arch_zero(area, PAGE_SIZE << XSAVE_ORDER);
    *(u16 *)(area + XSAVE_FCW) = FCW_RESET;
    *(u32 *)(area + XSAVE_MXCSR) = MXCSR_RESET;
    v->arch.xcr0 = XCR0_X87;
    v->arch.fp_cpu = nullptr;
}

// AMD's CPUs load and save the x87 pointers only if an exception is pending: what the last vCPU left there has to be
// overwritten by hand.
static void forget_x87_pointers(void) {
    static const u32 zero;
    __asm__ volatile("fnclex\n\temms\n\tfildl %0" ::"m"(zero));
}

void fpu_load(struct vcpu *v) {
    struct cpu *cpu = cpu_self();
    struct arch_vcpu *a = &v->arch;
    if (cpu->arch.fp_owner != v || a->fp_cpu != cpu) {
        xcr0_write(xcr0_mask);
        forget_x87_pointers();
        __asm__ volatile("xrstor64 (%0)" ::"r"(a->extended), "a"((u32)xcr0_mask), "d"((u32)(xcr0_mask >> 32))
                         : "memory");
        cpu->arch.fp_owner = v;
        a->fp_cpu = cpu;
    }
    xcr0_write(a->xcr0);
}

// XSAVE of most CPUs, though it need not, tells that the x87 registers are as FNINIT leaves them, and XRSTOR then loads
// nothing. QEMU's never does (10.0); and its XRSTOR of x87 registers changes flags of its first CPU, whichever CPU
// executes it, without a lock (cpu_clear_ignne). If the first CPU enters or leaves a guest at that moment, it goes on
// with the wrong page tables: a triple fault, of ours or of the guest. So what can be spared is spared here.
static void x87_forget_initial(u8 *area) {
    const u64 *words = (const u64 *)area;
    u64 any = words[0] ^ FCW_RESET; // FCW, FSW, FTW, opcode
    any |= words[1] | words[2];     // the pointers; MXCSR is in words[3]
    for (u32 i = 4; i < 4 + 16; i++)
        any |= words[i];
    if (!any)
        *(u64 *)(area + XSAVE_STATE) &= ~XCR0_X87;
}

void fpu_save(struct vcpu *v) {
    xcr0_write(xcr0_mask); // also what the guest has switched off for now
    __asm__ volatile("xsave64 (%0)" ::"r"(v->arch.extended), "a"((u32)xcr0_mask), "d"((u32)(xcr0_mask >> 32))
                     : "memory");
    x87_forget_initial(v->arch.extended);
}
