// SPDX-License-Identifier: Apache-2.0
// The host's GICv3 (IHI 0069): distributor, this CPU's redistributor and CPU interface, and the list registers of the
// virtual interface. EOImode = 1: we drop the priority when we acknowledge; an interrupt that was handed to a guest is
// deactivated by the guest's own EOI through its list register.
#include "aarch64.h"
#include "console.h"
#include "log.h"
#include "mmio.h"
#include "report.h"
#include "vm.h"

enum {
    GICD_CTLR = 0x0000,
    GICD_TYPER = 0x0004,
    GICD_IGROUPR = 0x0080,
    GICD_ISENABLER = 0x0100,
    GICD_ICENABLER = 0x0180,
    GICD_ICACTIVER = 0x0380,
    GICD_IPRIORITYR = 0x0400,
    GICD_ICFGR = 0x0c00,
    GICD_IROUTER = 0x6000,
    GICR_TYPER = 0x0008,
    GICR_WAKER = 0x0014,
    GICR_SGI_BASE = 0x10000,
    GICR_STRIDE = 0x20000,
    GICR_STRIDE_VLPI = 0x40000,
};
#define GICD_CTLR_RWP BIT(31)
#define GICD_CTLR_ARE BIT(4)
#define GICD_CTLR_GRP1 (BIT(1) | BIT(0)) // EnableGrp1A, and EnableGrp1 of a view without ARE; Grp1/Grp0 with DS
#define GICR_TYPER_LAST BIT(4)
#define GICR_TYPER_VLPIS BIT(1)
#define WAKER_SLEEP BIT(1)
#define WAKER_ASLEEP BIT(2)
#define ICC_CTLR_EOIMODE BIT(1)
#define PRIORITY_ALL 0xa0a0a0a0u

u32 intid_hyp_timer, intid_virt_timer, intid_maintenance;
static u32 intid_uart;
static u64 gicd;
static const struct board *gic_board;
static u32 lr_count, ap_count;

static void gicd_wait(void) {
    while (mmio_read32(gicd + GICD_CTLR) & GICD_CTLR_RWP)
        arch_cpu_relax();
}

static void spi_enable(u32 intid, bool edge, u64 target) {
    u32 word = intid / 32 * 4, bit = 1u << (intid % 32);
    mmio_write32(gicd + GICD_ICENABLER + word, bit);
    gicd_wait();
    u32 cfg = mmio_read32(gicd + GICD_ICFGR + intid / 16 * 4), mask = 2u << (intid % 16 * 2);
    mmio_write32(gicd + GICD_ICFGR + intid / 16 * 4, edge ? cfg | mask : cfg & ~mask);
    mmio_write64(gicd + GICD_IROUTER + 8ull * intid, target);
    mmio_write32(gicd + GICD_ISENABLER + word, bit);
}

void gic_init(const struct board *board) {
    gic_board = board;
    gicd = board->irqchip.dist.base;
    intid_hyp_timer = board->timer.hyp_irq;
    intid_virt_timer = board->timer.virt_irq;
    intid_maintenance = board->irqchip.maintenance_irq;
    intid_uart = board->uart.irq;
    mmio_write32(gicd + GICD_CTLR, 0);
    gicd_wait();
    u32 lines = 32 * ((mmio_read32(gicd + GICD_TYPER) & 0x1f) + 1);
    for (u32 i = 32; i < lines; i += 32) {
        mmio_write32(gicd + GICD_IGROUPR + i / 8, ~0u);
        mmio_write32(gicd + GICD_ICENABLER + i / 8, ~0u);
        mmio_write32(gicd + GICD_ICACTIVER + i / 8, ~0u);
    }
    for (u32 i = 32; i < lines; i += 4)
        mmio_write32(gicd + GICD_IPRIORITYR + i, PRIORITY_ALL);
    gicd_wait();
    mmio_write32(gicd + GICD_CTLR, (u32)(GICD_CTLR_ARE | GICD_CTLR_GRP1));
    gicd_wait();
    if (intid_uart >= 32 && intid_uart < lines)
        spi_enable(intid_uart, board->uart.irq_edge, cpus[0].hwid & 0xff00ffffffull);
}

// The redistributor whose TYPER carries this CPU's affinity (§12.11.35); 0: none.
static u64 gicr_find(u64 hwid) {
    u32 affinity = (u32)((hwid & 0xffffff) | ((hwid >> 8) & 0xff000000));
    for (u32 i = 0; i < gic_board->irqchip.redist_count; i++) {
        const struct region *r = &gic_board->irqchip.redist[i];
        for (u64 at = r->base; at + GICR_STRIDE <= r->base + r->size;) {
            u64 typer = mmio_read64(at + GICR_TYPER);
            if (typer >> 32 == affinity)
                return at;
            if (typer & GICR_TYPER_LAST)
                break;
            u64 stride = gic_board->irqchip.redist_stride;
            at += stride ? stride : typer & GICR_TYPER_VLPIS ? GICR_STRIDE_VLPI : GICR_STRIDE;
        }
    }
    return 0;
}

void gic_cpu_init(struct cpu *cpu) {
    u64 gicr = gicr_find(cpu->hwid);
    if (!gicr)
        report_and_halt("the interrupt controller has no redistributor for this CPU");
    cpu->arch.gicr = gicr;
    mmio_write32(gicr + GICR_WAKER, mmio_read32(gicr + GICR_WAKER) & ~(u32)WAKER_SLEEP);
    while (mmio_read32(gicr + GICR_WAKER) & WAKER_ASLEEP)
        arch_cpu_relax();
    u64 sgi = gicr + GICR_SGI_BASE;
    mmio_write32(sgi + GICD_ICENABLER, ~0u);
    mmio_write32(sgi + GICD_ICACTIVER, ~0u);
    mmio_write32(sgi + GICD_IGROUPR, ~0u);
    for (u32 i = 0; i < 32; i += 4)
        mmio_write32(sgi + GICD_IPRIORITYR + i, PRIORITY_ALL);
    u64 enable = BIT(INTID_KICK) | BIT(intid_hyp_timer) | BIT(intid_virt_timer) | BIT(intid_maintenance);
    mmio_write32(sgi + GICD_ISENABLER, (u32)enable);

    // ICC_SRE_EL2, ICC_SRE_EL1: SRE, DFB, DIB. Without Enable: there is one ICC_SRE_EL1 for all guests (§12.2.24).
    sysreg_write(S3_4_C12_C9_5, (sysreg_read(S3_4_C12_C9_5) | 7) & ~BIT(3));
    isb();
    sysreg_write(S3_0_C12_C12_5, 7);
    isb();
    sysreg_write(S3_0_C4_C6_0, 0xff);               // ICC_PMR_EL1
    sysreg_write(S3_0_C12_C12_3, 0);                // ICC_BPR1_EL1
    sysreg_write(S3_0_C12_C12_4, ICC_CTLR_EOIMODE); // ICC_CTLR_EL1
    sysreg_write(S3_0_C12_C12_7, 1);                // ICC_IGRPEN1_EL1
    u64 vtr = sysreg_read(S3_4_C12_C11_1);          // ICH_VTR_EL2
    lr_count = MIN((u32)(vtr & ICH_VTR_LISTREGS) + 1, VGIC_MAX_LR);
    ap_count = 1u << (field_get(BITS(28, 26), vtr) + 1 - 5); // 32, 64 or 128 preemption levels: 1, 2 or 4 registers
    sysreg_write(S3_4_C12_C11_0, ICH_HCR_EN);                // ICH_HCR_EL2
    u64 a = cpu->hwid;
    cpu->arch.kick_sgi = ((u64)INTID_KICK << 24) | BIT(a & 0xf) | (field_get(BITS(7, 4), a) << 44) |
                         (field_get(BITS(15, 8), a) << 16) | (field_get(BITS(23, 16), a) << 32) |
                         (field_get(BITS(39, 32), a) << 48);
    isb();
}

u32 gic_lr_count(void) {
    return lr_count;
}

void arch_cpu_kick(struct cpu *cpu) {
    dsb_ishst(); // what the target is to see, before the interrupt that makes it look
    sysreg_write(S3_0_C12_C11_5, cpu->arch.kick_sgi); // ICC_SGI1R_EL1
    isb();
}

void gic_deactivate(u32 intid) {
    sysreg_write(S3_0_C12_C11_1, intid); // ICC_DIR_EL1
}

bool gic_ppi_active(u32 intid) {
    return mmio_read32(cpu_self()->arch.gicr + GICR_SGI_BASE + GICD_ICACTIVER) & BIT(intid);
}

void gic_ppi_set_active(u32 intid, bool active) {
    // GICR_ISACTIVER0 lies 0x80 below GICR_ICACTIVER0
    mmio_write32(cpu_self()->arch.gicr + GICR_SGI_BASE + GICD_ICACTIVER - (active ? 0x80 : 0), (u32)BIT(intid));
}

// The list registers want to be looked at on the way in. The interrupt is a level that stays up until that has
// happened, so the virtual interface is switched off until then (hcr_dirty switches it on again).
static void maintenance(void) {
    struct vcpu *v = cpu_self()->loaded;
    if (v) {
        struct vgic_cpuif *cif = v->arch.cpuif;
        gic_if_eoi_count(cif);
        cif->lr_empty |= (u32)sysreg_read(S3_4_C12_C11_3) & cif->lr_used & ~cif->lr_dirty; // ICH_EISR_EL2
        cif->hcr_dirty = true;
        atomic_store_explicit(&v->irq_work, 1, memory_order_relaxed);
    }
    sysreg_write(S3_4_C12_C11_0, 0); // ICH_HCR_EL2
    isb();
}

void gic_handle(u32 intid) {
    gic_eoi(intid);
    if (intid == intid_virt_timer) { // stays active: the guest deactivates it
        struct vcpu *v = cpu_self()->loaded;
        if (v)
            v->vm->irqchip_ops->set_ppi(v, PPI_VTIMER, true);
        else
            gic_deactivate(intid);
        return;
    }
    if (unlikely(intid == INTID_KICK && report_in_progress()))
        arch_halt();
    if (intid == intid_hyp_timer)
        timer_expire();
    else if (intid == intid_uart && intid_uart)
        console_host_irq();
    else if (intid == intid_maintenance)
        maintenance();
    gic_deactivate(intid);
}

void arch_irq_poll(void) {
    for (;;) {
        u32 intid = gic_ack();
        if (intid >= INTID_SPURIOUS)
            return;
        gic_handle(intid);
    }
}

void arch_cpu_idle(void) {
    __asm__ volatile("dsb sy\n\twfi" ::: "memory");
    arch_irq_poll();
}

// ── List registers ──────────────────────────────────────────────────────────────────────────────────────────────────
#define LR_CASES(op)                                                                                                   \
    op(0) op(1) op(2) op(3) op(4) op(5) op(6) op(7) op(8) op(9) op(10) op(11) op(12) op(13) op(14) op(15)

static u64 lr_read(u32 n) {
    switch (n) {
#define LR_READ(i)                                                                                                     \
    case i:                                                                                                            \
        return sysreg_read(ICH_LR##i##_EL2);
        LR_CASES(LR_READ)
    default:
        return 0;
    }
}

static void lr_write(u32 n, u64 value) {
    switch (n) {
#define LR_WRITE(i)                                                                                                    \
    case i:                                                                                                            \
        sysreg_write(ICH_LR##i##_EL2, value);                                                                          \
        return;
        LR_CASES(LR_WRITE)
    default:
        return;
    }
}

void gic_if_write_dirty(struct vgic_cpuif *cif) {
    for (u32 m = cif->lr_dirty; m; m &= m - 1) {
        u32 n = (u32)__builtin_ctz(m);
        lr_write(n, cif->lr[n]);
    }
    cif->lr_dirty = 0;
    if (cif->hcr_dirty) {
        sysreg_write(S3_4_C12_C11_0, ICH_HCR_EN | cif->hcr);
        cif->hcr_dirty = false;
    }
}

void gic_if_eoi_count(struct vgic_cpuif *cif) {
    if (!(cif->hcr & VGIC_HCR_LRENPIE) || cif->hcr_dirty)
        return;
    cif->eoi_count = (u32)field_get(ICH_HCR_EOICOUNT, sysreg_read(S3_4_C12_C11_0));
}

void gic_if_sync(struct vgic_cpuif *cif) {
    for (u32 m = cif->lr_used & ~cif->lr_dirty; m; m &= m - 1) {
        u32 n = (u32)__builtin_ctz(m);
        u64 lr = lr_read(n);
        cif->lr[n] = lr;
        if (!(lr & LR_STATE))
            cif->lr_empty |= 1u << n;
    }
    gic_if_eoi_count(cif);
}

void arch_irq_sync(struct vcpu *v) {
    if (cpu_self()->loaded == v)
        gic_if_sync(v->arch.cpuif);
}

static void ap_save(struct vgic_cpuif *cif) {
    cif->ap0r[0] = (u32)sysreg_read(S3_4_C12_C8_0);
    cif->ap1r[0] = (u32)sysreg_read(S3_4_C12_C9_0);
    if (ap_count > 1) {
        cif->ap0r[1] = (u32)sysreg_read(S3_4_C12_C8_1);
        cif->ap1r[1] = (u32)sysreg_read(S3_4_C12_C9_1);
    }
    if (ap_count > 2) {
        cif->ap0r[2] = (u32)sysreg_read(S3_4_C12_C8_2);
        cif->ap1r[2] = (u32)sysreg_read(S3_4_C12_C9_2);
        cif->ap0r[3] = (u32)sysreg_read(S3_4_C12_C8_3);
        cif->ap1r[3] = (u32)sysreg_read(S3_4_C12_C9_3);
    }
}

static void ap_load(const struct vgic_cpuif *cif) {
    sysreg_write(S3_4_C12_C8_0, cif->ap0r[0]);
    sysreg_write(S3_4_C12_C9_0, cif->ap1r[0]);
    if (ap_count > 1) {
        sysreg_write(S3_4_C12_C8_1, cif->ap0r[1]);
        sysreg_write(S3_4_C12_C9_1, cif->ap1r[1]);
    }
    if (ap_count > 2) {
        sysreg_write(S3_4_C12_C8_2, cif->ap0r[2]);
        sysreg_write(S3_4_C12_C9_2, cif->ap1r[2]);
        sysreg_write(S3_4_C12_C8_3, cif->ap0r[3]);
        sysreg_write(S3_4_C12_C9_3, cif->ap1r[3]);
    }
}

void gic_if_save(struct vgic_cpuif *cif) {
    gic_if_sync(cif);
    cif->vmcr = sysreg_read(S3_4_C12_C11_7); // ICH_VMCR_EL2
    ap_save(cif);
    sysreg_write(S3_4_C12_C11_0, 0); // no maintenance interrupt for somebody who is not here
    // The physical timer interrupt belongs to the vCPU that goes: whoever comes next has a timer of their own.
    if (gic_ppi_active(intid_virt_timer))
        gic_ppi_set_active(intid_virt_timer, false);
}

void gic_if_load(struct vcpu *v) {
    struct vgic_cpuif *cif = v->arch.cpuif;
    for (u32 n = 0; n < lr_count; n++)
        lr_write(n, cif->lr[n]);
    cif->lr_dirty = 0;
    sysreg_write(S3_4_C12_C11_7, cif->vmcr);
    ap_load(cif);
    sysreg_write(S3_4_C12_C11_0, ICH_HCR_EN | cif->hcr);
    cif->hcr_dirty = false;
    // The guest has its timer interrupt and has not ended it: until then the physical one is active.
    if (vgic_held_ppis(v) & BIT(PPI_VTIMER))
        gic_ppi_set_active(intid_virt_timer, true);
}
