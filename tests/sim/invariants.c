// SPDX-License-Identifier: Apache-2.0
// What must hold. Some of it holds at each step; some may be violated for the few steps that a CPU needs between two
// stores, and must hold again soon: those have a patience, in steps.
#include <string.h>

#include "../../vdev/vgicv3.h"
#include "vlapic.h"
#include "vplic.h"

#include "page.h"
#include "sim.h"
#include "vmm.h"

enum {
    PATIENCE = 8000,       // steps; a CPU is frozen for 400 at most
    GUEST_PATIENCE = 2500, // instructions of one guest
    EVERY = 16,            // steps between two looks at what takes longer
    QUEUE_MAX = 64,
};

static u32 vcpu_bad[VM_MAX][VM_MAX_VCPUS], start_bad[VM_MAX][VM_MAX_VCPUS], cpu_bad[BOARD_MAX_CPUS],
    guest_bad[BOARD_MAX_CPUS], count_bad;

void sim_invariants_init(void) {
    memset(vcpu_bad, 0, sizeof(vcpu_bad));
    memset(start_bad, 0, sizeof(start_bad));
    memset(cpu_bad, 0, sizeof(cpu_bad));
    memset(guest_bad, 0, sizeof(guest_bad));
    count_bad = 0;
}

static bool is_free(struct spinlock *lock) {
    return !spin_is_locked(lock);
}

// ── Tasks ───────────────────────────────────────────────────────────────────────────────────────────────────────────
static void check_current(void) {
    for (u32 i = 0; i < cpu_count; i++) {
        struct task *t = cpus[i].current;
        if (!t)
            continue;
        for (u32 k = 0; k < i; k++) {
            if (t == cpus[k].current)
                sim_violation("task %s runs on CPU %u and on CPU %u", t->name, k, i);
            if (cpus[i].arch.loaded && cpus[i].arch.loaded == cpus[k].arch.loaded)
                sim_violation("the registers of %s are on CPU %u and on CPU %u", t->name, k, i);
        }
    }
}

static void check_queue(struct cpu *c) {
    if (!is_free(&c->rq_lock))
        return;
    u32 mask = c->ready_mask;
    for (u32 p = 0; p < TASK_PRIORITIES; p++) {
        u32 length = 0;
        if (!c->ready[p].next)
            continue; // not up yet
        list_for_each(node, &c->ready[p]) {
            const struct task *t = list_entry(node, struct task, run_node);
            if (++length > QUEUE_MAX)
                sim_violation("the run queue of CPU %u has no end", c->id);
            if (t->state != TASK_READY || t->priority != p || t->cpu != c)
                sim_violation("task %s is in CPU %u's queue %u, in state %d, of priority %u", t->name, c->id, p,
                              (int)t->state, t->priority);
        }
        if ((mask >> p & 1) != (length != 0))
            sim_violation("CPU %u's mask of ready priorities is %#x, and %u wait at %u", c->id, mask, length, p);
    }
}

static void check_task(struct task *t) {
    struct cpu *home = t->cpu;
    if (!t->stack || !home || !is_free(&home->rq_lock))
        return;
    bool queued = !list_empty(&t->run_node);
    if (queued != (t->state == TASK_READY))
        sim_violation("task %s is in state %d and %s queued", t->name, (int)t->state, queued ? "" : "not");
}

// ── Interrupts and wake-ups ─────────────────────────────────────────────────────────────────────────────────────────
// Lines of a hart that are up, of those in `lines`, and that its guest has not been shown.
static bool hart_waits(struct vcpu *v, u32 lines) {
    struct vplic_cpuif *cif = v->irqchip ? vplic_cpuif(v) : nullptr;
    const struct host_guest_state *s = v->arch.guest ? v->arch.guest->state : nullptr;
    if (!cif || !s)
        return false;
    bool running = s->executing || s->wfi;
    u32 shown = running ? s->hart.levels | (s->hart.soft ? (u32)BIT(VPLIC_SSI) : 0) : 0;
    bool picking = host_machine.picking;
    host_machine.picking = true; // nobody goes on while we look
    u32 was = cif->enabled, enabled = running ? s->hart.enabled : was;
    cif->enabled = enabled & lines & ~shown;
    bool waits = cif->enabled && v->vm->irqchip_ops->ready(v);
    cif->enabled = was;
    host_machine.picking = picking;
    return waits;
}

static const u32 all_lines = BIT(VPLIC_SSI) | BIT(VPLIC_STI) | BIT(VPLIC_SEI);

static const u32 ANY = ~0u;

// An interrupt that the local APIC could give, of this vector or ANY, and that neither the guest nor its processor has
// been shown.
static bool apic_waits(struct vcpu *v, u32 vector) {
    const struct vlapic *l = v->irqchip ? vlapic_of(v) : nullptr;
    const struct host_guest_state *s = v->arch.guest ? v->arch.guest->state : nullptr;
    if (!l || !s || (s->executing && s->apic.ready))
        return false;
    if ((vector == ANY || vector == APIC_NMI) && l->nmi)
        return true;
    if (v->halted && !l->interruptible)
        return false;
    u32 above = vlapic_ppr(l) >> 4, top = 0;
    if (s->executing && s->apic.offered >= 0)
        above = MAX(above, (u32)s->apic.offered >> 4);
    for (u32 w = 0; w < VLAPIC_WORDS; w++)
        if (l->irr[w])
            top = w * 64 + 63 - (u32)__builtin_clzll(l->irr[w]);
    bool asked = vector == ANY || (l->irr[vector / 64] >> vector % 64 & 1);
    return asked && (vector == ANY ? top : vector) >> 4 > above;
}

// Something that the vCPU can take waits in the distributor. A physical interrupt's line may be low meanwhile.
static bool deliverable(struct vcpu *v) {
    if (host_has_apics(v->vm))
        return apic_waits(v, ANY);
    if (host_has_harts(v->vm))
        return hart_waits(v, all_lines);
    const struct vgic_vcpu *g = v->irqchip;
    if (!g)
        return false;
    const struct vgic_word *w = &g->word;
    if ((w->latch | (w->line & ~w->edge & ~g->mapped)) & w->gate & ~w->active & ~w->in_lr)
        return true;
    for (u32 i = 0; i < VGIC_SPI_WORDS; i++) {
        const struct vgic_word *s = &g->vgic->spi[i];
        if ((s->latch | (s->line & ~s->edge)) & s->gate & g->spi_target[i] & ~s->active & ~s->in_lr)
            return true;
    }
    return false;
}

static bool timer_missed(struct vcpu *v) {
    const struct vgic_vcpu *g = v->irqchip;
    u32 bit = 1u << GUEST_TIMER_IRQ;
    if (!g || !host_has_gic(v->vm) || !v->arch.guest || !host_timer_level(v->arch.guest->state))
        return false;
    const struct vgic_word *w = &g->word;
    return w->gate & ~w->active & ~w->in_lr & ~w->line & bit;
}

static bool has_room(struct vcpu *v) {
    const struct vgic_vcpu *g = v->irqchip;
    return !host_has_gic(v->vm) || (g && (g->lr_all & ~g->cpuif.lr_used));
}

static void patience(u32 *bad, bool now, u32 steps, u32 limit, const char *what, const char *who) {
    *bad = now ? *bad + steps : 0;
    if (*bad > limit)
        sim_violation("%s: %s", who, what);
}

static void check_vcpu(struct vm *vm, struct vcpu *v) {
    u32 *bad = &vcpu_bad[vm->id % VM_MAX][v->id];
    bool blocked = v->task.state == TASK_BLOCKED, on = v->power == VCPU_ON;
    if (blocked && v->power == VCPU_ON_PENDING)
        patience(bad, true, EVERY, PATIENCE, "is being switched on, and nobody wakes it", v->task.name);
    else
        patience(bad, blocked && on && (deliverable(v) || timer_missed(v) || v->requests), EVERY, PATIENCE,
                 "sleeps, and there is an interrupt or a request for it", v->task.name);
    bool stays_off = vm->state == VM_RUNNING && v->power == VCPU_OFF && !v->requests && sim_vcpu_starts(v);
    patience(&start_bad[vm->id % VM_MAX][v->id], stays_off, EVERY, PATIENCE, "was sent a SIPI after an INIT, stays off",
             v->task.name);
}

// Exactly, and at once: a raiser that still saw it awake has left a mark that it saw before it went to sleep.
void sim_expect_awake(struct vcpu *v, u32 irq) {
    bool waits;
    if (irq == SIM_INIT) {
        waits = v->requests;
    } else if (host_has_apics(v->vm)) {
        waits = apic_waits(v, apic_vector(irq));
    } else if (host_has_harts(v->vm)) {
        waits = hart_waits(v, BIT(irq == 0 ? VPLIC_SSI : VPLIC_SEI));
    } else {
        const struct vgic_vcpu *g = v->irqchip;
        const struct vgic_word *w = irq < VGIC_PRIVATE ? &g->word : &g->vgic->spi[irq / 32 - 1];
        waits = w->latch & w->gate & ~w->active & ~w->in_lr & (1u << irq % 32);
    }
    if (waits && v->power == VCPU_ON && v->halted && v->task.state == TASK_BLOCKED && !list_empty(&v->task.wait_node))
        sim_violation("%s: a wake-up is lost: it sleeps, and an interrupt has been raised for it", v->task.name);
    struct host_guest *guest = v->arch.guest;
    const struct cpu *c = v->task.cpu;
    if (waits && has_room(v) && c->arch.inside == guest && guest->state->executing && !host_pending(c))
        sim_violation("%s: a kick is lost: it runs, and an interrupt has been raised for it", v->task.name);
}

static void check_cpu(struct cpu *c) {
    struct host_guest *g = c->arch.inside;
    bool asleep = c->arch.idle && !c->arch.halted && !host_pending(c);
    bool work = asleep && c->current == &c->idle && c->ready_mask;
    if (asleep && g && (g->v->requests || (deliverable(g->v) && has_room(g->v)) || c->ready_mask))
        work = true;
    patience(&cpu_bad[c->id], work, EVERY, PATIENCE, "its CPU sleeps, and there is work for it", c->current->name);
}

// A guest that goes on and on although it should come out.
static void check_guest(void) {
    struct cpu *c = host_cpu_current;
    struct host_guest *g = c->arch.inside;
    if (!g)
        return;
    bool wanted = g->v->requests || (deliverable(g->v) && has_room(g->v));
    patience(&guest_bad[c->id], wanted && !host_pending(c), 1, GUEST_PATIENCE,
             "runs, and nobody takes it out for its interrupt or request", c->current->name);
}

// ── VMs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
static void check_vm(struct vm *vm) {
    if (!vm->created || !is_free(&vm->lock))
        return;
    u32 in = 0;
    for (u32 i = 0; i < vm->vcpu_count; i++)
        in += vm->vcpus[i]->power != VCPU_OFF;
    if (in != vm->vcpus_in)
        sim_violation("%s has %u vCPUs that are on, and counts %u", vm->cfg.name, in, vm->vcpus_in);
    if (vm->state == VM_STOPPED || vm->state == VM_FAILED || vm->state == VM_LOADED) {
        if (in)
            sim_violation("%s is %s, and %u of its vCPUs are on", vm->cfg.name, vm_state_name(vm->state), in);
    }
}

static void check_vms(void) {
    u32 live = 0, count = sim_vm_count();
    for (u32 i = 0; i < count; i++) {
        struct vm *vm = vmm_vm(i);
        check_vm(vm);
        live += vm->starting || vm->restart || vm->state == VM_RUNNING || vm->state == VM_STOPPING;
        for (u32 k = 0; vm->created && k < vm->vcpu_count; k++) {
            check_task(&vm->vcpus[k]->task);
            check_vcpu(vm, vm->vcpus[k]);
        }
    }
    patience(&count_bad, count && live != vmm_running(), EVERY, 4 * PATIENCE,
             "the number of running VMs is not that of the VMs that run", "VMM");
}

void sim_invariants_step(enum host_why why) {
    check_current();
    if (why == WHY_GUEST)
        check_guest();
    if (host_machine.points % EVERY)
        return;
    for (u32 i = 0; i < cpu_count; i++) {
        if (!cpus[i].arch.resume || !cpus[i].online || !cpus[i].current)
            continue;
        check_queue(&cpus[i]);
        check_cpu(&cpus[i]);
    }
    check_vms();
}

void sim_invariants_end(void) {
    if (vmm_running() != 0)
        sim_violation("at the end the number of running VMs is %u", vmm_running());
    for (u32 i = 0; i < cpu_count; i++)
        if (cpus[i].homed)
            sim_violation("at the end %u vCPUs count as placed on CPU %u", cpus[i].homed, i);
}
