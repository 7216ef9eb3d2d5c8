// SPDX-License-Identifier: Apache-2.0
// A physical CPU: boot, the hypervisor's own mapping, trap configuration, contexts.
#include <string.h>

#include "aarch64.h"
#include "hostmap.h"
#include "log.h"
#include "page.h"
#include "pgtable.h"

#define TCR_EL2_RES1 (BIT(31) | BIT(23))
#define TCR_INNER_WB (1ull << 8)
#define TCR_OUTER_WB (1ull << 10)
#define TCR_SH_INNER (3ull << 12)
#define MAIR_EL2_VALUE 0x04ffull // 0: normal write-back; 1: device nGnRE
#define SCTLR_EL2_RES1 0x30c50830ull
#define SCTLR_M BIT(0)
#define SCTLR_C BIT(2)
#define SCTLR_SA BIT(3)
#define SCTLR_I BIT(12)
#define SCTLR_WXN BIT(19)
#define CPTR_EL2_GUEST (0x33ffull | BIT(20) | BIT(30)) // FP and SIMD are the guest's; SVE, SME, trace, AMU trap
#define MDCR_TPMCR BIT(5)
#define MDCR_TPM BIT(6)
#define MDCR_TPMS BIT(14)       // statistical profiling
#define MDCR_TTRF BIT(19)       // trace filter
#define CNTHCTL_EL1PCTEN BIT(0) // the count is the guest's to read, its physical timer traps
#define VTCR_RES1 BIT(31)

struct secondary_boot { // start.S reads it with the MMU off
    u64 ttbr0, tcr, mair, sctlr, stack_top, cpu;
};

static u64 host_tcr;
static u64 vtcr;
static struct secondary_boot secondary;
static alignas(PAGE_SIZE) u64 boot_l0[512], boot_l1[512], boot_l2[512];

static u64 pa_range(void) {
    return MIN(sysreg_read(id_aa64mmfr0_el1) & 0xf, 5); // 48 bits at most with a 4 KiB granule
}

static u64 cache_line(void) {
    return 4ull << field_get(BITS(19, 16), sysreg_read(ctr_el0));
}

static void clean_to_memory(const void *start, u64 size) {
    for (u64 a = align_down((u64)start, cache_line()); a < (u64)start + size; a += cache_line())
        __asm__ volatile("dc civac, %0" ::"r"(a) : "memory");
    dsb_sy();
}

static void mmu_on(u64 ttbr) {
    sysreg_write(mair_el2, MAIR_EL2_VALUE);
    sysreg_write(tcr_el2, host_tcr);
    sysreg_write(ttbr0_el2, ttbr);
    isb();
    __asm__ volatile("tlbi alle2\n\tdsb sy\n\tic iallu\n\tdsb sy\n\tisb" ::: "memory");
    sysreg_write(sctlr_el2, SCTLR_EL2_RES1 | SCTLR_M | SCTLR_C | SCTLR_I | SCTLR_SA);
    isb();
}

// Normal memory if there is RAM in the block, device memory otherwise.
static u64 boot_block(const struct board *board, u64 base, u32 level) {
    u64 size = level == 2 ? GIB(1) : BLOCK_SIZE;
    u32 attr = PT_READ | PT_WRITE | PT_DEVICE;
    for (u32 i = 0; i < board->memory_count; i++) {
        const struct region *r = &board->memory[i];
        if (r->base < base + size && r->base + r->size > base)
            attr = PT_READ | PT_WRITE | PT_EXEC;
    }
    return arch_pte_leaf(PT_HOST, pa(base), level, attr);
}

// The first mapping, of the first 512 GiB in 1 GiB blocks out of static tables. The one with the UART, which is all of
// the devices that is used before arch_memory_init, is in 2 MiB blocks: there may be RAM in it as well. It lets
// everything after the probe run with caches on; W^X comes with arch_memory_init.
void mmu_boot_enable(const struct board *board) {
    host_tcr = TCR_EL2_RES1 | 16 | TCR_INNER_WB | TCR_OUTER_WB | TCR_SH_INNER | (pa_range() << 16);
    boot_l0[0] = arch_pte_table(PT_HOST, pa((u64)boot_l1));
    for (u64 g = 0; g < 512; g++)
        boot_l1[g] = boot_block(board, GIB(g), 2);
    u64 uart = board->uart.base / GIB(1);
    for (u64 i = 0; i < 512; i++)
        boot_l2[i] = boot_block(board, GIB(uart) + i * BLOCK_SIZE, 1);
    if (uart < 512)
        boot_l1[uart] = arch_pte_table(PT_HOST, pa((u64)boot_l2));
    // What the loader may have left in the caches over our image would hide what we wrote with them off.
    for (u64 a = (u64)__image_start; a < (u64)__image_end; a += cache_line())
        __asm__ volatile("dc ivac, %0" ::"r"(a) : "memory");
    dsb_sy();
    mmu_on((u64)boot_l0);
}

void arch_memory_init(const struct board *board) {
    hostmap_init(board, &(struct image_layout){.start = (u64)__image_start,
                                               .text_end = (u64)__text_end,
                                               .rodata_end = (u64)__rodata_end,
                                               .end = (u64)__image_end});
    hostmap_device(board->uart.base, MAX(board->uart.size, 0x100), "UART");
    hostmap_device(board->irqchip.dist.base, board->irqchip.dist.size, "GICD");
    if (board->rtc.kind)
        hostmap_device(board->rtc.regs.base, MAX(board->rtc.regs.size, 0x20), "RTC");
    for (u32 i = 0; i < board->irqchip.redist_count; i++)
        hostmap_device(board->irqchip.redist[i].base, board->irqchip.redist[i].size, "GICR");
    dsb_sy();
    sysreg_write(ttbr0_el2, host_pt.root.v);
    isb();
    __asm__ volatile("tlbi alle2\n\tdsb sy\n\tisb" ::: "memory");
    sysreg_write(sctlr_el2, sysreg_read(sctlr_el2) | SCTLR_WXN);
    isb();
    timers_init();
    gic_init(board);
    secondary = (struct secondary_boot){
        .ttbr0 = host_pt.root.v, .tcr = host_tcr, .mair = MAIR_EL2_VALUE, .sctlr = sysreg_read(sctlr_el2)};
}

static void hide_fine_grained_traps(void) {
    // Registers of later extensions that would trap or enable what we do not handle; their reset value is unknown
    // (D24.2).
    u64 mmfr0 = sysreg_read(id_aa64mmfr0_el1), mmfr1 = sysreg_read(id_aa64mmfr1_el1);
    if (field_get(BITS(59, 56), mmfr0)) { // FEAT_FGT
        sysreg_write(S3_4_C1_C1_4, 0);    // HFGRTR_EL2
        sysreg_write(S3_4_C1_C1_5, 0);    // HFGWTR_EL2
        sysreg_write(S3_4_C1_C1_6, 0);    // HFGITR_EL2
        sysreg_write(S3_4_C3_C1_4, 0);    // HDFGRTR_EL2
        sysreg_write(S3_4_C3_C1_5, 0);    // HDFGWTR_EL2
    }
    if (field_get(BITS(43, 40), mmfr1)) // FEAT_HCX
        sysreg_write(S3_4_C1_C2_2, 0);  // HCRX_EL2
}

// Everything at EL2 that the guests see through, the same on each CPU.
void aarch64_hyp_regs_init(void) {
    u32 ipa_bits = arch_pt_format(PT_GUEST).input_bits;
    // T0SZ; SL0 = 1 (start at level 1); inner and outer write-back, inner shareable; 4 KiB; PS. 8-bit VMIDs: VM ids are
    // small.
    vtcr = VTCR_RES1 | (64 - ipa_bits) | (1ull << 6) | (1ull << 8) | (1ull << 10) | (3ull << 12) | (pa_range() << 16);
    sysreg_write(vtcr_el2, vtcr);
    sysreg_write(vttbr_el2, 0);
    sysreg_write(hcr_el2, HCR_RW);
    sysreg_write(cptr_el2, CPTR_EL2_GUEST);
    sysreg_write(hstr_el2, 0);
    u64 counters = 0;
    if (field_get(BITS(11, 8), sysreg_read(id_aa64dfr0_el1)) % 15) // a PMU: HPMN may not exceed its counters
        counters = field_get(BITS(15, 11), sysreg_read(pmcr_el0));
    sysreg_write(mdcr_el2, MDCR_TPM | MDCR_TPMCR | MDCR_TPMS | MDCR_TTRF | counters);
    sysreg_write(cnthctl_el2, CNTHCTL_EL1PCTEN);
    sysreg_write(cntvoff_el2, 0);
    sysreg_write(cntv_ctl_el0, 0);
    sysreg_write(cnthp_ctl_el2, TIMER_IMASK);
    hide_fine_grained_traps();
    isb();
}

void arch_cpu_init(struct cpu *cpu) {
    sysreg_write(tpidr_el2, (u64)cpu);
    u8 *stack = page_alloc(1);
    cpu->arch.emergency_stack_top = stack ? stack + 2 * PAGE_SIZE : nullptr;
    aarch64_hyp_regs_init();
    gic_cpu_init(cpu);
}

int arch_cpu_start(struct cpu *cpu, void *stack_top) {
    secondary.stack_top = (u64)stack_top;
    secondary.cpu = (u64)cpu;
    clean_to_memory(&secondary, sizeof(secondary));
    return psci_cpu_on(cpu->hwid, (u64)secondary_start, (u64)&secondary);
}

void arch_ctx_init(struct arch_ctx *ctx, void *stack_top, void (*fn)(void *), void *arg) {
    memset(ctx, 0, sizeof(*ctx));
    ctx->x19_x30[0] = (u64)fn;
    ctx->x19_x30[1] = (u64)arg;
    ctx->x19_x30[11] = (u64)ctx_start;
    ctx->sp = (u64)stack_top & ~15ull;
}

void arch_halt(void) {
    for (;;)
        __asm__ volatile("wfi");
}

void arch_zero(void *p, u64 size) {
    u64 dczid = sysreg_read(dczid_el0), line = 4ull << (dczid & 0xf), at = (u64)p, end = at + size;
    if ((dczid & BIT(4)) ||
        (at | size) & (line * 8 - 1)) { // DC ZVA is not to be used here, or not a whole number of lines
        memset(p, 0, size);
        return;
    }
    for (; at < end; at += 8 * line)
        for (u32 i = 0; i < 8; i++)
            __asm__ volatile("dc zva, %0" ::"r"(at + i * line) : "memory");
}

void arch_vm_sync_code(void *start, u64 size) {
    clean_to_memory(start, size); // a guest begins with caches off, and fetches what it finds in memory
    __asm__ volatile("ic ialluis\n\tdsb sy\n\tisb" ::: "memory");
}
