// SPDX-License-Identifier: Apache-2.0
// The host's interrupts: the hart's own three (software: a kick; timer; external), and behind the external one a PLIC,
// an APLIC in direct mode, or an APLIC that sends messages to IMSICs. The only device of ours is the UART; it
// interrupts the boot hart.
#include "console.h"
#include "log.h"
#include "mmio.h"
#include "report.h"
#include "riscv64.h"

enum { // PLIC 1.0.0 chapter 3
    PLIC_ENABLE = 0x2000,
    PLIC_ENABLE_STRIDE = 0x80,
    PLIC_CONTEXT = 0x200000,
    PLIC_CONTEXT_STRIDE = 0x1000,
    PLIC_CLAIM = 4,
};
enum { // AIA 1.0 §4.5
    APLIC_DOMAINCFG = 0x0,
    APLIC_SOURCECFG = 0x0, // + 4 n
    APLIC_SETIPNUM = 0x1cdc,
    APLIC_SETIENUM = 0x1edc,
    APLIC_CLRIE = 0x1f00,
    APLIC_TARGET = 0x3000, // + 4 n
    APLIC_IDC = 0x4000,
    APLIC_IDC_STRIDE = 32,
    IDC_IDELIVERY = 0,
    IDC_ITHRESHOLD = 8,
    IDC_CLAIMI = 0x1c,
    DOMAINCFG_DM = 1 << 2, // messages
    DOMAINCFG_IE = 1 << 8,
    SOURCECFG_EDGE = 4,
    SOURCECFG_LEVEL = 6,
};
enum { // AIA 1.0 §3.8
    IMSIC_EIDELIVERY = 0x70,
    IMSIC_EITHRESHOLD = 0x72,
    IMSIC_EIE0 = 0xc0,
    IMSIC_ID_UART = 1,
    IMSIC_ID_KICK = 2,
};

static enum irqchip_kind kind;
static u64 chip;
static u32 uart_source;

// ── The external controller ─────────────────────────────────────────────────────────────────────────────────────────
static u64 plic_claim(const struct cpu *cpu) {
    return chip + PLIC_CONTEXT + (u64)PLIC_CONTEXT_STRIDE * cpu->arch.irq_context;
}

static void plic_cpu_init(const struct cpu *cpu, u32 sources) {
    u64 enable = chip + PLIC_ENABLE + (u64)PLIC_ENABLE_STRIDE * cpu->arch.irq_context;
    for (u32 i = 0; i <= sources; i += 32) {
        bool ours = cpu->id == 0 && uart_source && uart_source / 32 == i / 32;
        mmio_write32(enable + i / 8, ours ? 1u << (uart_source % 32) : 0);
    }
    mmio_write32(plic_claim(cpu), 0); // threshold
    if (cpu->id == 0 && uart_source)
        mmio_write32(chip + 4ull * uart_source, 1); // priority
}

static void aplic_init(const struct board *board) {
    bool messages = kind == IRQCHIP_IMSIC;
    mmio_write32(chip + APLIC_DOMAINCFG, 0);
    for (u32 i = 0; i <= board->irqchip.sources; i += 32)
        mmio_write32(chip + APLIC_CLRIE + i / 8, ~0u);
    if (uart_source) {
        u32 hart = board->cpus[0].irq_context;
        for (u32 i = 0; i < board->cpu_count; i++)
            if (board->cpus[i].hwid == cpus[0].hwid)
                hart = board->cpus[i].irq_context;
        mmio_write32(chip + APLIC_SOURCECFG + 4ull * uart_source,
                     board->uart.irq_edge ? SOURCECFG_EDGE : SOURCECFG_LEVEL);
        mmio_write32(chip + APLIC_TARGET + 4ull * uart_source, hart << 18 | 1); // priority 1, or identity 1
        mmio_write32(chip + APLIC_SETIENUM, uart_source);
    }
    mmio_write32(chip + APLIC_DOMAINCFG, messages ? DOMAINCFG_IE | DOMAINCFG_DM : DOMAINCFG_IE);
}

static u64 idc_of(const struct cpu *cpu) {
    return chip + APLIC_IDC + (u64)APLIC_IDC_STRIDE * cpu->arch.irq_context;
}

static void imsic_write(u64 reg, u64 value) {
    csr_write(CSR_SISELECT, reg);
    csr_write(CSR_SIREG, value);
}

static u64 imsic_claim(void) {
    u64 topei;
    __asm__ volatile("csrrw %0, 0x15c, zero" : "=r"(topei)::"memory"); // stopei
    return topei;
}

// A kick: to come out was all.
static void kicked(void) {
    if (unlikely(report_in_progress()))
        arch_halt();
}

static void external(void) {
    struct cpu *cpu = cpu_self();
    if (kind == IRQCHIP_PLIC) {
        for (u32 id; (id = mmio_read32(plic_claim(cpu) + PLIC_CLAIM)) != 0;) {
            if (id == uart_source)
                console_host_irq();
            mmio_write32(plic_claim(cpu) + PLIC_CLAIM, id);
        }
    } else if (kind == IRQCHIP_APLIC) {
        for (u32 topi; (topi = mmio_read32(idc_of(cpu) + IDC_CLAIMI)) != 0;)
            if (topi >> 16 == uart_source)
                console_host_irq();
    } else if (kind == IRQCHIP_IMSIC) {
        for (u64 topei; (topei = imsic_claim()) != 0;) {
            if (topei >> 16 == IMSIC_ID_KICK)
                kicked();
            if (topei >> 16 != IMSIC_ID_UART)
                continue;
            console_host_irq();
            mmio_write32(chip + APLIC_SETIPNUM, uart_source); // a level that is still up sends another one (§4.9.2)
        }
    }
}

void irqhw_init(const struct board *board) {
    kind = board->irqchip.kind;
    imsic_init(board);
    chip = board->irqchip.dist.base;
    uart_source = board->uart.irq <= board->irqchip.sources ? board->uart.irq : 0;
}

// ── The hart ────────────────────────────────────────────────────────────────────────────────────────────────────────
void irqhw_cpu_init(struct cpu *cpu) {
    const struct board *board = features.board;
    cpu->arch.irq_context = BOARD_NO_CONTEXT;
    for (u32 i = 0; i < board->cpu_count; i++)
        if (board->cpus[i].hwid == cpu->hwid)
            cpu->arch.irq_context = board->cpus[i].irq_context;
    u64 sie = BIT(IRQ_SSI) | BIT(IRQ_STI);
    arch_timer_arm(TIMER_NEVER);
    csr_clear(CSR_SIP, BIT(IRQ_SSI));
    if (cpu->id == 0 && (kind == IRQCHIP_APLIC || kind == IRQCHIP_IMSIC))
        aplic_init(board);
    if (cpu->arch.irq_context != BOARD_NO_CONTEXT && kind != IRQCHIP_NONE) {
        sie |= BIT(IRQ_SEI);
        if (kind == IRQCHIP_PLIC) {
            plic_cpu_init(cpu, board->irqchip.sources);
        } else if (kind == IRQCHIP_APLIC) {
            mmio_write32(idc_of(cpu) + IDC_ITHRESHOLD, 0);
            mmio_write32(idc_of(cpu) + IDC_IDELIVERY, 1);
        } else {
            imsic_write(IMSIC_EIE0, BIT(IMSIC_ID_UART) | BIT(IMSIC_ID_KICK));
            imsic_write(IMSIC_EITHRESHOLD, 0);
            imsic_write(IMSIC_EIDELIVERY, 1);
            atomic_store_explicit(&cpu->arch.kick_page, imsic_own_page(cpu), memory_order_relaxed);
        }
    }
    csr_write(CSR_SIE, sie);
    if (features.guest_files)
        csr_set(CSR_HIE, BIT(IRQ_SGEI));
}

void arch_cpu_kick(struct cpu *cpu) {
    u64 page = atomic_load_explicit(&cpu->arch.kick_page, memory_order_relaxed);
    __asm__ volatile("fence rw, orw" ::: "memory"); // what the target is to see, before the interrupt
    if (page)                                       // a message spares the way through the firmware
        mmio_write32(page, IMSIC_ID_KICK);
    else
        (void)sbi_call(SBI_IPI, 0, 1, cpu->hwid, 0);
}

void arch_irq_poll(void) {
    u64 pending = csr_read(CSR_SIP);
    if (pending & BIT(IRQ_SSI)) {
        csr_clear(CSR_SIP, BIT(IRQ_SSI));
        kicked();
    }
    if (pending & BIT(IRQ_STI))
        timer_expire();
    if (pending & BIT(IRQ_SEI))
        external();
    if (features.guest_files && (csr_read(CSR_HIP) & BIT(IRQ_SGEI)))
        imsic_poll();
}

void arch_cpu_idle(void) {
    __asm__ volatile("wfi" ::: "memory");
    arch_irq_poll();
}
