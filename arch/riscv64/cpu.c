// SPDX-License-Identifier: Apache-2.0
// A physical CPU: what it can do, the hypervisor's own mapping, trap configuration, contexts.
#include <string.h>

#include "hostmap.h"
#include "log.h"
#include "page.h"
#include "pgtable.h"
#include "report.h"
#include "riscv64.h"

// A guest's own faults are its own business: they never come here.
#define HEDELEG_GUEST                                                                                                  \
    (BIT(0) | BIT(CAUSE_FETCH_ACCESS) | BIT(CAUSE_ILLEGAL) | BIT(CAUSE_BREAKPOINT) | BIT(CAUSE_LOAD_MISALIGNED) |      \
     BIT(CAUSE_LOAD_ACCESS) | BIT(CAUSE_STORE_MISALIGNED) | BIT(CAUSE_STORE_ACCESS) | BIT(CAUSE_ECALL_U) |             \
     BIT(CAUSE_FETCH_PAGE) | BIT(CAUSE_LOAD_PAGE) | BIT(CAUSE_STORE_PAGE) | BIT(CAUSE_SOFTWARE_CHECK))

struct riscv64_features features;

// ── What the harts can do ───────────────────────────────────────────────────────────────────────────────────────────
// vsatp is not in force here, so writing it tells which modes there are: those of satp (§22.2.15).
static bool has_mode(u64 mode) {
    csr_write(CSR_VSATP, mode << ATP_MODE_SHIFT);
    bool has = csr_read(CSR_VSATP) >> ATP_MODE_SHIFT == mode;
    csr_write(CSR_VSATP, 0);
    return has;
}

static bool has_guest_mode(u64 mode) {
    csr_write(CSR_HGATP, mode << ATP_MODE_SHIFT);
    bool has = csr_read(CSR_HGATP) >> ATP_MODE_SHIFT == mode;
    csr_write(CSR_HGATP, 0);
    return has;
}

static u64 highest_address(const struct board *board) {
    u64 top = board->uart.base + board->uart.size;
    top = MAX(top, board->irqchip.dist.base + board->irqchip.dist.size);
    top = MAX(top, board->rtc.regs.base + board->rtc.regs.size);
    top = MAX(top, board->fdt.base + board->fdt.size);
    for (u32 i = 0; i < board->irqchip.redist_count; i++)
        top = MAX(top, board->irqchip.redist[i].base + board->irqchip.redist[i].size);
    for (u32 i = 0; i < board->memory_count; i++)
        top = MAX(top, board->memory[i].base + board->memory[i].size);
    return top;
}

// The smallest that reaches everything, for the shortest walk.
static u64 host_mode(const struct board *board) {
    for (u64 mode = MODE_SV39; mode <= MODE_SV57; mode++)
        if (has_mode(mode) && highest_address(board) <= BIT(satp_bits(mode) - 1))
            return mode;
    report_and_halt("this machine's memory reaches higher than its page tables (Sv39, Sv48, Sv57) do");
}

static u64 guest_mode(void) {
    for (u64 mode = MODE_SV39; mode <= MODE_SV57; mode++)
        if (has_guest_mode(mode))
            return mode;
    report_and_halt("this machine has no second stage of address translation (Sv39x4, Sv48x4, Sv57x4)");
}

static u32 vmid_bits(void) {
    csr_write(CSR_HGATP, features.guest_mode << ATP_MODE_SHIFT | HGATP_VMID);
    u64 vmid = field_get(HGATP_VMID, csr_read(CSR_HGATP));
    csr_write(CSR_HGATP, 0);
    return (u32)__builtin_popcountll(vmid);
}

static u32 vector_probe(const struct board *board) {
    csr_set(CSR_SSTATUS, SSTATUS_VS_INITIAL);
    bool is_there =
        (csr_read(CSR_SSTATUS) & SSTATUS_VS) && (board_has_isa(board, "v") || board_has_isa(board, "zve32x"));
    struct may_fault vlenb = {.failed = 1};
    if (is_there)
        vlenb = may_read_vlenb();
    csr_clear(CSR_SSTATUS, SSTATUS_VS);
    return vlenb.failed ? 0 : (u32)vlenb.value;
}

// How much CBO.ZERO zeroes: the device tree says so, the hart shows it.
static void cbo_zero_probe(void) {
    static alignas(PAGE_SIZE) u8 page[PAGE_SIZE];
    memset(page, 0xff, sizeof(page));
    if (may_cbo_zero(page).failed)
        return;
    u32 n = 0;
    while (n < sizeof(page) && page[n] == 0)
        n++;
    features.cbo_zero = n >= 16 && (n & (n - 1)) == 0;
    features.cbo_zero_bytes = n;
}

void features_probe(const struct board *board) {
    features.board = board;
    for (u64 i = 0; i < ARRAY_SIZE(features.machine_id); i++)
        features.machine_id[i] = sbi_call(SBI_BASE, 4 + i, 0, 0, 0).value;
    features.sstc = !may_read_stimecmp().failed;
    features.senvcfg = !may_read_senvcfg().failed;
    features.hstateen = !may_read_hstateen0().failed;
    csr_set(CSR_SSTATUS, SSTATUS_FS_INITIAL);
    features.fp = (csr_read(CSR_SSTATUS) & SSTATUS_FS) && board_has_isa(board, "d");
    csr_clear(CSR_SSTATUS, SSTATUS_FS);
    features.vlenb = vector_probe(board);
    features.aia = !may_read_vsiselect().failed;
    features.guest_mode = guest_mode();
    features.vmid_bits = vmid_bits();
    features.host_mode = host_mode(board);
    features.vs_mode = has_mode(MODE_SV57) ? MODE_SV57 : has_mode(MODE_SV48) ? MODE_SV48 : MODE_SV39;
    cbo_zero_probe();
}

// ── The hypervisor's own mapping ────────────────────────────────────────────────────────────────────────────────────
void arch_memory_init(const struct board *board) {
    hostmap_init(board, &(struct image_layout){.start = (u64)__image_start,
                                               .text_end = (u64)__text_end,
                                               .rodata_end = (u64)__rodata_end,
                                               .end = (u64)__image_end});
    if (board->uart.base)
        hostmap_device(board->uart.base, MAX(board->uart.size, 0x100), "UART");
    hostmap_device(board->irqchip.dist.base, board->irqchip.dist.size, "interrupt controller");
    if (board->rtc.kind)
        hostmap_device(board->rtc.regs.base, MAX(board->rtc.regs.size, 0x20), "RTC");
    for (u32 i = 0; i < board->irqchip.redist_count; i++)
        hostmap_device(board->irqchip.redist[i].base, board->irqchip.redist[i].size, "IMSIC");
    sfence_vma();
    csr_write(CSR_SATP, features.host_mode << ATP_MODE_SHIFT | host_pt.root.v >> PAGE_SHIFT);
    sfence_vma();
    timers_init(board);
    irqhw_init(board);
}

// ── A CPU ───────────────────────────────────────────────────────────────────────────────────────────────────────────
// What a guest may use is what its ISA string says. Page-table entries that the hart marks itself (Svadu) are as the
// machine has them: only where its own harts do nothing else.
static u64 henvcfg(void) {
    const struct board *board = features.board;
    u64 value = features.sstc ? ENVCFG_STCE : 0;
    if (board_has_isa(board, "svpbmt"))
        value |= ENVCFG_PBMTE;
    if (board_has_isa(board, "svadu") && !board_has_isa(board, "svade"))
        value |= ENVCFG_ADUE;
    if (features.cbo_zero && board_has_isa(board, "zicboz"))
        value |= ENVCFG_CBZE;
    if (features.cbo_zero && board_has_isa(board, "zicbom"))
        value |= ENVCFG_CBCFE | ENVCFG_CBIE_INVAL_FLUSHES;
    return value;
}

// Extensions with state of their own stay out of the guests' reach (Smstateen); what is theirs, a vCPU's load allows.
static void stateen_init(void) {
    csr_write(CSR_HSTATEEN0, STATEEN0_ENVCFG);
    csr_write(CSR_SSTATEEN0, 0);
}

static void aia_init(void) {
    csr_write(CSR_HVIEN, 0);
    csr_write(CSR_HVICTL, 0);
    csr_write(CSR_HVIPRIO1, 0);
    csr_write(CSR_HVIPRIO2, 0);
}

// Everything in HS-mode that the guests see through, the same on each CPU.
static void hyp_regs_init(void) {
    csr_write(CSR_HSTATUS, HSTATUS_VSXL_64);
    csr_write(CSR_HEDELEG, HEDELEG_GUEST);
    csr_write(CSR_HIDELEG, IRQS_VS);
    csr_write(CSR_HIE, 0);
    csr_write(CSR_HGEIE, 0);
    csr_write(CSR_HVIP, 0);
    csr_write(CSR_HGATP, 0);
    csr_write(CSR_HCOUNTEREN, COUNTEREN_CY_TM_IR);
    csr_write(CSR_HTIMEDELTA, 0);
    if (features.senvcfg) {
        csr_write(CSR_HENVCFG, henvcfg());
        features.henvcfg = csr_read(CSR_HENVCFG);
    }
    if (features.sstc)
        csr_write(CSR_VSTIMECMP, ~0ull);
    if (features.hstateen)
        stateen_init();
    if (features.aia && board_has_isa(features.board, "ssaia")) // indirect registers come without the rest as well
        aia_init();
    hfence_gvma();
    hfence_vvma();
}

void arch_cpu_init(struct cpu *cpu) {
    u8 *stack = page_alloc(1);
    cpu->arch.emergency_stack_top = stack ? stack + 2 * PAGE_SIZE : nullptr;
    hyp_regs_init();
    irqhw_cpu_init(cpu);
}

void arch_ctx_init(struct arch_ctx *ctx, void *stack_top, void (*fn)(void *), void *arg) {
    memset(ctx, 0, sizeof(*ctx));
    ctx->ra = (u64)ctx_start;
    ctx->sp = (u64)stack_top & ~15ull;
    ctx->s[1] = (u64)fn;
    ctx->s[2] = (u64)arg;
}

// ── Memory ──────────────────────────────────────────────────────────────────────────────────────────────────────────
void arch_zero(void *p, u64 size) {
    u64 step = features.cbo_zero_bytes, at = (u64)p, end = at + size;
    if (!features.cbo_zero || (at | size) % (8 * step)) {
        memset(p, 0, size);
        return;
    }
    for (; at < end; at += 8 * step)
        for (u32 i = 0; i < 8; i++)
            __asm__ volatile(".insn i 0x0f, 2, x0, %0, 4" ::"r"(at + i * step) : "memory");
}

// Every hart fetches what is in memory now once arch_vm_reset has had a FENCE.I executed on each.
void arch_vm_sync_code(void *start, u64 size) {
    (void)start;
    (void)size;
    __asm__ volatile("fence rw, rw" ::: "memory");
}
