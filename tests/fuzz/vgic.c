// SPDX-License-Identifier: Apache-2.0
// The GICv3's registers and list registers: any access of any size by any vCPU, mixed with lines that change, SGIs,
// guests that acknowledge and end interrupts, vCPU switches and resets. After each step the distributor's words and the
// list registers agree, and no interrupt that is due waits for nothing.
#include "../../vdev/vgicv3.h"

#include <string.h>

#include "../bare_vm.h"
#include "arch.h"
#include "fuzz.h"
#include "gic_regs.h"
#include "guest_internal.h"

enum { GICD = 0x8000000, GICR = 0x80a0000, VCPUS_MAX = 4, TIMER = 27, STEPS_MAX = 200 };

static struct vm vm;
static struct vcpu vcpus[VCPUS_MAX];
static struct hw {
    struct host_gicv gicv;
    bool loaded, kicked;
    bool timer_level, timer_active; // the physical interrupt
} hw[VCPUS_MAX];

static const struct irqchip_ops *const ops = &vgicv3_ops;

static struct vgic *vgic(void) {
    return vm.irqchip;
}

// ── What core and architecture do ───────────────────────────────────────────────────────────────────────────────────
void vcpu_kick(struct vcpu *v) {
    hw[v->id].kicked = true;
}

void arch_irq_sync(struct vcpu *v) {
    if (hw[v->id].loaded)
        gicv_sync(&hw[v->id].gicv, vgic_cpuif(v));
}

bool arch_irq_level(struct vcpu *v, u32 ppi) {
    FUZZ_CHECK(ppi == TIMER);
    if (!hw[v->id].timer_level)
        hw[v->id].timer_active = false;
    return hw[v->id].timer_level;
}

// The interrupts of a word that v should be offered and that are in no list register.
static u32 due(const struct vgic_word *w) {
    return vgic_pending(w) & vget(&w->gate) & ~vget(&w->active) & ~vget(&w->in_lr);
}

static bool any_due(const struct vgic_vcpu *g) {
    u32 private = due(&g->word);
    if (!hw[g->id].timer_level)
    private &= ~(g->mapped & ~vget(&g->word.latch));
    for (u32 w = 0; w < VGIC_SPI_WORDS; w++)
    private |= due(&vgic()->spi[w]) & g->spi_target[w];
    return private;
}

// v is about to run its guest: what is due is in a list register, or will be when the guest has used up those.
static void check_nothing_waits(u32 id) {
    const struct vgic_vcpu *g = vgic()->vcpu[id];
    FUZZ_CHECK((g->cpuif.hcr & VGIC_HCR_NPIE) || !any_due(g));
}

static void enter(u32 id) {
    struct vcpu *v = &vcpus[id];
    struct hw *h = &hw[id];
    h->kicked = false;
    if (h->timer_level && !h->timer_active) { // taken before the guest runs
        h->timer_active = true;
        ops->set_ppi(v, TIMER, true);
        h->kicked = false;
    }
    if (v->irq_work)
        ops->flush(v);                   // what it finds out itself may set irq_work again: that is done
    gicv_enter(&h->gicv, vgic_cpuif(v)); // checks what the hardware asks of list registers
    check_nothing_waits(id);
}

static void leave(u32 id) {
    gicv_leave(&hw[id].gicv, vgic_cpuif(&vcpus[id]));
}

// Whatever takes the guest out takes it out.
static void settle(u32 id) {
    struct hw *h = &hw[id];
    struct vcpu *v = &vcpus[id];
    u32 lrs = vgic_cpuif(v)->lr_count;
    for (u32 turn = 0; h->kicked || gicv_maintenance(&h->gicv, lrs) || (h->timer_level && !h->timer_active); turn++) {
        FUZZ_CHECK(turn < 8); // else the guest never gets to run
        leave(id);
        if (gicv_maintenance(&h->gicv, lrs))
            gicv_take_maintenance(&h->gicv, v, vgic_cpuif(v));
        enter(id);
    }
}

static void settle_all(void) {
    for (u32 n = 0; n < vm.vcpu_count; n++)
        if (hw[n].loaded)
            settle(n);
}

static void load(u32 id) {
    if (hw[id].loaded)
        return;
    gicv_load(&hw[id].gicv, vgic_cpuif(&vcpus[id]));
    hw[id].timer_active = vgic_held_ppis(&vcpus[id]) & BIT(TIMER);
    hw[id].loaded = true;
    enter(id);
    settle(id);
}

static void save(u32 id) {
    if (!hw[id].loaded)
        return;
    leave(id);
    gicv_save(&hw[id].gicv, vgic_cpuif(&vcpus[id]));
    hw[id].loaded = false;
    // A guest that waits in a halt: with something due it must not sleep on.
    if (any_due(vgic()->vcpu[id]) && !(vgic_cpuif(&vcpus[id])->hcr & VGIC_HCR_NPIE))
        FUZZ_CHECK(ops->ready(&vcpus[id]));
}

// ── The rules between words and list registers ──────────────────────────────────────────────────────────────────────
static void check_word(struct vgic_word *w) {
    u32 ctlr = vgic()->ctlr, group = vget(&w->group);
    u32 allowed = (ctlr & GICD_CTLR_GRP1 ? group : 0) | (ctlr & GICD_CTLR_GRP0 ? ~group : 0);
    FUZZ_CHECK(vget(&w->gate) == (vget(&w->enabled) & allowed));
    FUZZ_CHECK(!(vget(&w->active) & vget(&w->in_lr)));
    FUZZ_CHECK(!((w->deact | w->act) & w->deact & w->act));
}

// What the guest is offered may be offered: enabled, and its own. (A line may have fallen meanwhile, which is not worth
// a kick.)
static void check_offered(const struct vgic_vcpu *g) {
    for (u32 n = 0; n < g->cpuif.lr_count; n++) {
        u64 lr = hw[g->id].gicv.lr[n];
        u32 irq = (u32)lr, bit = irq_bit(irq);
        const struct vgic_word *w = irq < VGIC_PRIVATE ? &g->word : &vgic()->spi[irq / 32 - 1];
        if (!(lr & LR_STATE) && (g->cpuif.lr_used & BIT(n)) && !(irq < VGIC_PRIVATE && (g->mapped & bit)))
            FUZZ_CHECK(!(vgic_pending(w) & vget(&w->gate) & bit)); // or it waits until somebody notices
        if ((lr & LR_STATE) != LR_PENDING)
            continue;
        u8 priority = irq < VGIC_PRIVATE ? g->priority[irq] : vgic()->priority[irq - VGIC_PRIVATE];
        FUZZ_CHECK(vget(&w->gate) & bit);
        FUZZ_CHECK(irq < VGIC_PRIVATE || (g->spi_target[irq / 32 - 1] & bit));
        FUZZ_CHECK(field_get(LR_PRIORITY, lr) == priority && !(lr & LR_GROUP1) == !(vget(&w->group) & bit));
    }
}

static void check_vcpu(struct vgic_vcpu *g, u32 (*spis_in_lr)[VGIC_SPI_WORDS]) {
    const struct vgic_cpuif *c = &g->cpuif;
    u32 in_lr = 0;
    FUZZ_CHECK(!((c->lr_used | c->lr_dirty | c->lr_empty) & ~g->lr_all) && !(g->lr_locked & ~c->lr_used));
    for (u32 n = 0; n < c->lr_count; n++) {
        u32 irq = (u32)c->lr[n], bit = irq_bit(irq);
        if (!(c->lr_used & BIT(n))) {
            FUZZ_CHECK(c->lr[n] == 0);
            continue;
        }
        FUZZ_CHECK(irq < VGIC_IRQS);
        if (irq < VGIC_PRIVATE) {
            FUZZ_CHECK(!(in_lr & bit));
            in_lr |= bit;
            continue;
        }
        FUZZ_CHECK(!((*spis_in_lr)[irq / 32 - 1] & bit)); // in one place only
        FUZZ_CHECK(vgic()->holder[irq - VGIC_PRIVATE] == g->id);
        (*spis_in_lr)[irq / 32 - 1] |= bit;
    }
    FUZZ_CHECK(in_lr == vget(&g->word.in_lr));
    if (hw[g->id].loaded)
        check_offered(g);
    check_word(&g->word);
}

static void check(void) {
    u32 in_lr[VGIC_SPI_WORDS] = {0};
    for (u32 n = 0; n < vm.vcpu_count; n++)
        check_vcpu(vgic()->vcpu[n], &in_lr);
    for (u32 w = 0; w < VGIC_SPI_WORDS; w++) {
        FUZZ_CHECK(in_lr[w] == vget(&vgic()->spi[w].in_lr));
        check_word(&vgic()->spi[w]);
    }
    FUZZ_CHECK(vgic()->kicks == 0 && !spin_is_locked(&vgic()->lock));
}

static void check_targets(void) {
    for (u32 spi = 0; spi < VGIC_SPIS; spi++)
        for (u32 n = 0; n < vm.vcpu_count; n++)
            FUZZ_CHECK(((vgic()->vcpu[n]->spi_target[spi / 32] & irq_bit(spi)) != 0) == (vgic()->target[spi] == n));
}

// ── Steps ───────────────────────────────────────────────────────────────────────────────────────────────────────────
static u64 register_address(struct fuzz *f, u8 how) {
    static const u16 dist[] = {0,     4,      8,      0x84,   0x88,   0x104,  0x108,  0x184,  0x188, 0x204, 0x208,
                               0x284, 0x288,  0x304,  0x308,  0x384,  0x388,  0x420,  0x440,  0x460, 0xc08, 0xc0c,
                               0xc10, 0x6100, 0x6108, 0x6110, 0x6118, 0x6200, 0x61fc, 0xffe8, 0x411, 0xd04};
    static const u32 redist[] = {0x10080, 0x10100, 0x10180, 0x10200, 0x10280, 0x10300, 0x10380, 0x10400,
                                 0x10404, 0x10410, 0x10418, 0x1041b, 0x10c00, 0x10c04, 0x14,    0x8};
    u8 which = fuzz_u8(f);
    if (how & 1)
        return GICR + (which >> 4) % vm.vcpu_count * (u64)VGIC_GICR_STRIDE + redist[which & 15];
    if (how & 2)
        return GICD + dist[which & 31];
    u32 at = fuzz_number(f, 3) % (VGIC_GICD_SIZE + VCPUS_MAX * VGIC_GICR_STRIDE);
    return at < VGIC_GICD_SIZE ? GICD + at : GICR + (at - VGIC_GICD_SIZE);
}

static void access(struct fuzz *f, u32 v) {
    u8 how = fuzz_u8(f), size = (u8)(how & 0x20 ? 1 << (how >> 6) : how & 0x40 ? 8 : 4);
    struct bus_access a = {.vcpu = &vcpus[v], .size = size, .write = how & 0x1c, .value = ~0ull};
    u64 at = register_address(f, how) & ~(u64)(size - 1);
    if (a.write) {
        u8 value = fuzz_u8(f); // a bit, a few bits, or all of them
        a.value = value < 64 ? BIT(value) : value < 128 ? (u64)value << (value & 31) : fuzz_u64(f);
        if (size < 8)
            a.value &= BIT(8 * size) - 1;
    }
    leave(v);
    int err = bus_access(&vm.bus, gpa(at), &a);
    bool there = at < GICD + VGIC_GICD_SIZE || (at >= GICR && at < GICR + vm.vcpu_count * (u64)VGIC_GICR_STRIDE);
    FUZZ_CHECK(err == (there ? 0 : -ENODEV));
    if (!a.write && !err && size < 8)
        FUZZ_CHECK(a.value < BIT(8 * size));
    enter(v);
}

static void sgi(struct fuzz *f, u32 v) {
    u8 how = fuzz_u8(f);
    struct vexit exit = {.kind = VEXIT_SEND_IPI, .nr = how % 3};
    exit.value = how & 0x80 ? fuzz_u64(f) : (u64)(how >> 3 & 15) << 24 | fuzz_u8(f);
    leave(v);
    ops->ipi(&vcpus[v], &exit);
    enter(v);
}

static void guest(struct fuzz *f, u32 v) {
    struct host_gicv *h = &hw[v].gicv;
    u32 lrs = vgic_cpuif(&vcpus[v])->lr_count;
    u8 what = fuzz_u8(f);
    if (what < 140) {
        if (h->running_count < ARRAY_SIZE(h->running))
            gicv_ack(h, lrs);
    } else {
        u32 irq = what < 250 ? 1023 : fuzz_u16(f) % (VGIC_IRQS + 8);
        for (u32 n = 0; n < lrs && what < 250; n++) // one that is active, usually
            if ((h->lr[n] & LR_ACTIVE) && (irq == 1023 || (what & 1)))
                irq = (u32)h->lr[n];
        if (gicv_eoi(h, lrs, irq) == TIMER)
            hw[v].timer_active = false;
    }
}

static void whole_vm(u8 how) {
    char text[512];
    if (how & 1) {
        FUZZ_CHECK(ops->describe(&vm, text, sizeof(text)) < sizeof(text));
        return;
    }
    for (u32 n = 0; n < vm.vcpu_count; n++)
        save(n);
    bus_reset(&vm.bus);
    ops->reset(&vm);
    for (u32 n = 0; n < vm.vcpu_count; n++) {
        ops->vcpu_reset(&vcpus[n]);
        memset(&hw[n].gicv, 0, sizeof(hw[n].gicv));
        load(n);
    }
}

static void power(u32 v, u8 how) {
    if ((how & 1) && vcpus[v].power == VCPU_ON) { // off, as the core does it
        save(v);
        ops->vcpu_reset(&vcpus[v]);
        vcpus[v].power = VCPU_OFF;
    }
    if (how & 2) {
        save(v);
        vcpus[v].power = VCPU_ON;
        ops->vcpu_reset(&vcpus[v]);
        memset(&hw[v].gicv, 0, sizeof(hw[v].gicv));
        load(v);
    }
}

static void step(struct fuzz *f) {
    u8 head = fuzz_u8(f);
    u32 v = head >> 6 & 3, what = head & 0x3f;
    v %= vm.vcpu_count;
    if (what >= 0x3e)
        whole_vm(fuzz_u8(f));
    else if (what >= 0x3c)
        power(v, fuzz_u8(f));
    else if (what >= 0x38 && hw[v].loaded)
        save(v);
    else if (vcpus[v].power == VCPU_ON)
        load(v);
    if (hw[v].loaded && what < 0x18)
        access(f, v);
    else if (hw[v].loaded && what < 0x1c)
        sgi(f, v);
    else if (hw[v].loaded && what < 0x28)
        guest(f, v);
    else if (hw[v].loaded && what < 0x2c) {
        leave(v);
        enter(v);
    } else if (what >= 0x2c && what < 0x34) {
        u8 line = fuzz_u8(f);
        ops->set(&vm, line & 0x40 ? line & 0x3f : 32 + (line & 0x3f) + (line & 0x20) * 4, line & 0x80);
    } else if (what >= 0x34 && what < 0x38) {
        hw[v].timer_level = fuzz_u8(f) & 1;
        if (!hw[v].loaded && hw[v].timer_level) // a soft timer stands in
            ops->set_ppi(&vcpus[v], TIMER, true);
    }
    settle_all();
    check();
}

static void set_up(u32 vcpu_count, u32 lr_count) {
    bare_vm(&vm, vcpus, vcpu_count);
    memset(hw, 0, sizeof(hw));
    for (u32 n = 0; n < vcpu_count; n++)
        vcpus[n].power = VCPU_ON;
    FUZZ_CHECK(vgic_create(&vm, gpa(GICD), gpa(GICR), lr_count) == 0);
    for (u32 n = 0; n < vcpu_count; n++) {
        vgic_map_ppi(&vcpus[n], TIMER, TIMER);
        load(n);
    }
}

// Enables a good part at once, or makes it pending as well: an input need not find out how.
static void open_up(bool pending) {
    struct bus_access a = {.vcpu = &vcpus[0], .size = 4, .write = true, .value = ~0u};
    static const u32 at[] = {0x84, 0x88, 0x8c, 0x104, 0x108, 0x204}; // the last: ISPENDR
    leave(0);
    for (u32 i = 0; i < ARRAY_SIZE(at) - !pending; i++)
        FUZZ_CHECK(bus_access(&vm.bus, gpa(GICD + at[i]), &a) == 0);
    for (u32 n = 0; n < vm.vcpu_count; n++)
        for (u64 r = 0x10080; r <= 0x10100; r += 0x80)
            FUZZ_CHECK(bus_access(&vm.bus, gpa(GICR + n * (u64)VGIC_GICR_STRIDE + r), &a) == 0);
    a.value = 3;
    FUZZ_CHECK(bus_access(&vm.bus, gpa(GICD), &a) == 0);
    enter(0);
    settle_all();
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size) {
    struct fuzz f = {data, size};
    u8 shape = fuzz_u8(&f);
    set_up(1 + shape % VCPUS_MAX, 1 + (shape >> 2 & 15));
    if (shape & 0x40)
        open_up(shape & 0x80);
    for (u32 i = 0; i < STEPS_MAX && fuzz_more(&f); i++)
        step(&f);
    check_targets();
    vgic_destroy(&vm);
    return 0;
}
