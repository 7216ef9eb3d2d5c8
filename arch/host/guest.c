// SPDX-License-Identifier: Apache-2.0
// The vCPU side of the seam, played by scripted guests. A guest's flow is a fiber; arch_vcpu_run switches to it, and an
// exit switches back.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gmem.h"
#include "guest_internal.h"
#include "vm.h"

enum { STORM_MAX = 1000 };

static struct host_guest_state *all;
static struct {
    char vm[VM_NAME_MAX + 1];
    guest_fn fn;
    enum host_irqchip irqchip;
} registered[VM_MAX];
static u32 registered_count;
static guest_fn entries[64];
static u32 entry_count;
static const u64 ENTRY_FIRST = 0xfee0000000000000ull; // no guest has memory there

struct host_guest_state *host_guest_of(struct vcpu *v) {
    return v->arch.guest ? v->arch.guest->state : NULL;
}

static struct vgic_cpuif *cpuif_of(struct vcpu *v) {
    return v->irqchip && host_has_gic(v->vm) ? vgic_cpuif(v) : NULL;
}

static u32 lr_count_of(struct vcpu *v) {
    struct vgic_cpuif *cif = cpuif_of(v);
    return cif ? cif->lr_count : 0;
}

// What the guest would take now.
static bool candidate(const struct host_guest_state *s) {
    struct vcpu *v = s->guest.v;
    const struct host_irqv *irqv = host_irqv_of(v->vm);
    return irqv ? irqv->pending(s) : gicv_candidate(&s->gicv, lr_count_of(v)) >= 0;
}

// ── The virtual timer ───────────────────────────────────────────────────────────────────────────────────────────────
bool host_timer_level(const struct host_guest_state *s) {
    return s->timer_on && host_machine.now_ns >= s->timer_ns;
}

// Its physical interrupt, once taken, does not come again before the guest has ended the virtual one.
static u64 timer_next(const struct cpu *c) {
    if (!c->arch.loaded || c->arch.vtimer_active || !host_has_gic(c->arch.loaded->vm))
        return TIMER_NEVER;
    const struct host_guest_state *s = host_guest_of(c->arch.loaded);
    return s->timer_on ? s->timer_ns : TIMER_NEVER;
}

static bool timer_irq(const struct cpu *c) {
    return timer_next(c) <= host_machine.now_ns;
}

static void timer_stand_in(struct timer *t) {
    struct vcpu *v = container_of(t, struct host_guest_state, timer)->guest.v;
    const struct host_irqv *irqv = host_irqv_of(v->vm);
    if (irqv)
        irqv->timer_expired(v);
    else
        v->vm->irqchip_ops->set_ppi(v, GUEST_TIMER_IRQ, true);
}

bool arch_irq_level(struct vcpu *v, u32 ppi) {
    struct host_guest_state *s = host_guest_of(v);
    const struct host_irqv *irqv = host_irqv_of(v->vm);
    if (s && irqv)
        return irqv->level(s);
    if (!s || ppi != GUEST_TIMER_IRQ)
        return v->arch.ppi_level & BIT(ppi);
    bool level = host_timer_level(s);
    if (!level && cpu_self()->arch.loaded == v)
        cpu_self()->arch.vtimer_active = false;
    return level;
}

// ── Interrupts that concern the loaded vCPU ─────────────────────────────────────────────────────────────────────────
static bool maintenance_irq(const struct cpu *c) {
    struct host_guest *g = c->arch.inside;
    return g && gicv_maintenance(&g->state->gicv, lr_count_of(g->v));
}

static bool guest_irq_pending(const struct cpu *c) {
    const struct host_guest *g = c->arch.inside;
    if (timer_irq(c) || maintenance_irq(c))
        return true;
    return g && g->state->wfi && candidate(g->state);
}

static void take_irqs(struct cpu *c) {
    if (timer_irq(c)) {
        c->arch.vtimer_active = true;
        struct vcpu *v = c->arch.loaded;
        v->vm->irqchip_ops->set_ppi(v, GUEST_TIMER_IRQ, true);
    }
    struct vcpu *v = c->arch.loaded;
    if (v && c->arch.inside && maintenance_irq(c)) {
        struct host_guest_state *s = host_guest_of(v);
        if (++s->storm > STORM_MAX)
            panic("the maintenance interrupt of vCPU %u does not go away", v->id);
        gicv_take_maintenance(&s->gicv, v, cpuif_of(v));
    }
}

static void forget_guests(void) {
    while (all) {
        struct host_guest_state *s = all;
        all = s->next;
        free(s);
    }
    registered_count = entry_count = 0;
    host_guest_hooks = NULL;
}

static u32 find_registered(const char *name) {
    u32 i = 0;
    while (i < registered_count && strcmp(registered[i].vm, name) != 0)
        i++;
    return i;
}

static void choose_irqchip(struct vm *vm) {
    u32 i = find_registered(vm->cfg.name);
    vm->arch.irqchip = i < registered_count ? (u8)registered[i].irqchip : HOST_GIC;
}

static int irqchip_create(struct vm *vm) {
    return host_irqv_of(vm)->create(vm);
}

static void irqchip_destroy(struct vm *vm) {
    host_irqv_of(vm)->destroy(vm);
}

static const struct host_guest_hooks hooks = {
    .next_event = timer_next,
    .irq = guest_irq_pending,
    .take = take_irqs,
    .reset = forget_guests,
    .choose = choose_irqchip,
    .irqchip_create = irqchip_create,
    .irqchip_destroy = irqchip_destroy,
};

// ── What a VM's vCPUs run ───────────────────────────────────────────────────────────────────────────────────────────
void host_guest_register(const char *vm_name, guest_fn fn) {
    host_guest_hooks = &hooks;
    u32 i = find_registered(vm_name);
    BUG_ON(i == ARRAY_SIZE(registered));
    snprintf(registered[i].vm, sizeof(registered[i].vm), "%s", vm_name);
    registered[i].fn = fn;
    registered[i].irqchip = HOST_GIC;
    if (i == registered_count)
        registered_count++;
}

void host_guest_irqchip(const char *vm_name, enum host_irqchip kind) {
    u32 i = find_registered(vm_name);
    BUG_ON(i == registered_count);
    registered[i].irqchip = kind;
}

u64 host_guest_entry(guest_fn fn) {
    u32 i = 0;
    while (i < entry_count && entries[i] != fn)
        i++;
    BUG_ON(i == ARRAY_SIZE(entries));
    entries[i] = fn;
    if (i == entry_count)
        entry_count++;
    return ENTRY_FIRST + i;
}

static guest_fn find_guest(const struct vcpu *v, u64 entry) {
    if (entry >= ENTRY_FIRST && entry - ENTRY_FIRST < entry_count)
        return entries[entry - ENTRY_FIRST];
    if (host_has_apics(v->vm) && v->id && entry >> 12 < entry_count) // a SIPI's vector
        return entries[entry >> 12];
    u32 i = find_registered(v->vm->cfg.name);
    if (i < registered_count)
        return registered[i].fn;
    panic("no guest is registered for VM \"%s\"", v->vm->cfg.name);
}

static void guest_entry(void *arg) {
    struct host_guest_state *s = arg;
    s->fn(&s->guest);
    if (s->guest.cpu == 0)
        guest_system_off(&s->guest);
    guest_cpu_off(&s->guest);
}

int arch_vcpu_init(struct vcpu *v) {
    struct host_guest_state *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    host_guest_hooks = &hooks;
    s->next = all;
    all = s;
    s->guest = (struct host_guest){.v = v, .cpu = v->id, .state = s};
    s->dead = true;
    timer_init(&s->timer, timer_stand_in);
    v->arch.guest = &s->guest;
    return 0;
}

void arch_vcpu_fini(struct vcpu *v) {
    struct host_guest_state *s = host_guest_of(v);
    if (!s)
        return;
    timer_cancel_sync(&s->timer);
    for (u32 i = 0; i < cpu_count; i++)
        BUG_ON(cpus[i].arch.loaded == v);
    struct host_guest_state **at = &all;
    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    free(s);
    v->arch.guest = NULL;
}

void arch_vcpu_reset(struct vcpu *v, u64 entry, u64 arg) {
    struct host_guest_state *s = host_guest_of(v);
    void *user = s->guest.user;
    for (u32 i = 0; i < cpu_count; i++)
        BUG_ON(cpus[i].arch.loaded == v); // "the vCPU is not loaded"
    timer_cancel(&s->timer);
    s->guest = (struct host_guest){.v = v, .cpu = v->id, .entry = entry, .arg = arg, .user = user, .state = s};
    s->fn = find_guest(v, entry);
    s->waiting = VEXIT_NONE;
    s->dead = false;
    s->wfi = false;
    s->timer_on = false;
    s->storm = 0;
    memset(&s->gicv, 0, sizeof(s->gicv));
    memset(&s->hart, 0, sizeof(s->hart));
    s->call.what = HART_NOTHING;
    memset(&s->apic, 0, sizeof(s->apic));
    s->apic.offered = -1;
    v->vm->arch.io_taken = v->vm->arch.io_taken && v->id; // not yet, where a VM begins
    s->fiber = host_fiber_new(s, guest_entry, s);
}

void arch_vcpu_load(struct vcpu *v) {
    struct cpu *c = cpu_self();
    struct host_guest_state *s = host_guest_of(v);
    for (u32 i = 0; i < cpu_count; i++)
        BUG_ON(cpus[i].arch.loaded == v); // its registers are elsewhere
    BUG_ON(c->arch.loaded);               // another's would be lost
    c->arch.loaded = v;
    const struct host_irqv *irqv = host_irqv_of(v->vm);
    if (irqv) {
        irqv->load(s);
        return;
    }
    timer_cancel(&s->timer);
    struct vgic_cpuif *cif = cpuif_of(v);
    gicv_load(&s->gicv, cif);
    c->arch.vtimer_active = cif && (vgic_held_ppis(v) & BIT(GUEST_TIMER_IRQ));
}

void arch_vcpu_save(struct vcpu *v) {
    struct cpu *c = cpu_self();
    struct host_guest_state *s = host_guest_of(v);
    BUG_ON(c->arch.loaded != v);
    gicv_save(&s->gicv, cpuif_of(v));
    c->arch.loaded = NULL;
    c->arch.vtimer_active = false;
    const struct host_irqv *irqv = host_irqv_of(v->vm);
    if (irqv)
        irqv->save(s);
    else if (s->timer_on)
        timer_arm(&s->timer, s->timer_ns);
}

void arch_irq_sync(struct vcpu *v) {
    struct host_guest_state *s = host_guest_of(v);
    if (s && cpu_self()->arch.loaded == v)
        gicv_sync(&s->gicv, cpuif_of(v));
}

// ── In and out ──────────────────────────────────────────────────────────────────────────────────────────────────────
static bool irq_waits(const struct cpu *c) {
    return host_pending(c) || timer_irq(c) || maintenance_irq(c);
}

void arch_vcpu_run(struct vcpu *v, struct vexit *exit) {
    struct cpu *c = cpu_self();
    struct host_guest_state *s = host_guest_of(v);
    BUG_ON(c->arch.loaded != v || s->dead);
    BUG_ON(atomic_load(&c->current) != &v->task);
    host_assert_unlocked("arch_vcpu_run");
    const struct host_irqv *irqv = host_irqv_of(v->vm);
    if (irqv)
        irqv->enter(s);
    else
        gicv_enter(&s->gicv, cpuif_of(v));
    host_schedule(WHY_ENTRY);
    *exit = (struct vexit){.kind = VEXIT_NONE};
    s->exit = exit;
    c->arch.inside = &s->guest;
    if (!irq_waits(c)) {
        s->task = host_fiber_self();
        s->executing = true;
        host_fiber_switch(s->fiber);
        s->executing = false;
    }
    exit->ticks = arch_ticks();
    gicv_leave(&s->gicv, cpuif_of(v));
    if (irqv)
        irqv->serve(s, exit);
    if (exit->kind == VEXIT_NONE)
        arch_irq_poll();
    c->arch.inside = NULL;
}

static void leave(struct host_guest_state *s) {
    host_fiber_switch(s->task);
}

void host_guest_leave(struct host_guest_state *s) {
    leave(s);
}

// Before each instruction: an interrupt of the host takes the guest out, as often as there is one.
static void interruptible(struct host_guest_state *s) {
    while (irq_waits(cpu_self())) {
        s->exit->kind = VEXIT_NONE;
        leave(s);
    }
}

void guest_step(struct host_guest *g) {
    struct host_guest_state *s = g->state;
    host_schedule(WHY_GUEST);
    interruptible(s);
    s->storm = 0;
    if (g->irq && !g->irq_masked && candidate(s)) {
        g->irq_masked = true;
        g->irq(g);
        g->irq_masked = false;
    }
}

// The instruction is executed again until somebody answers it.
static const struct vexit *exit_with(struct host_guest *g, const struct vexit *request) {
    struct host_guest_state *s = g->state;
    guest_step(g);
    s->waiting = request->kind;
    g->faulted = false;
    while (s->waiting != VEXIT_NONE) {
        *s->exit = *request;
        leave(s);
        if (s->waiting != VEXIT_NONE) // not answered: an interrupt may come first this time
            interruptible(s);
    }
    return &s->answer;
}

void arch_vcpu_finish(struct vcpu *v, const struct vexit *exit) {
    struct host_guest_state *s = host_guest_of(v);
    BUG_ON(s->waiting == VEXIT_NONE || s->waiting != exit->kind);
    s->answer = *exit;
    s->waiting = VEXIT_NONE;
}

void arch_vcpu_finish_access(struct vcpu *v, const struct vexit *exit, u64 value) {
    struct vexit answer = *exit;
    answer.value = value;
    arch_vcpu_finish(v, &answer);
}

int arch_vcpu_fault(struct vcpu *v, const struct vexit *exit) {
    struct host_guest_state *s = host_guest_of(v);
    BUG_ON(cpu_self()->arch.loaded != v);
    BUG_ON(s->waiting == VEXIT_NONE || s->waiting != exit->kind);
    if (s->guest.no_vectors)
        return -EFAULT;
    s->guest.faulted = true;
    s->answer = *exit;
    s->answer.value = 0;
    s->waiting = VEXIT_NONE;
    return 0;
}

size_t arch_vcpu_describe(const struct vcpu *v, char *buf, size_t size) {
    int n = snprintf(buf, size, "entry %llx  arg %llx\n", (unsigned long long)v->arch.guest->entry,
                     (unsigned long long)v->arch.guest->arg);
    return MIN((size_t)n, size);
}

// ── The guest's instructions ────────────────────────────────────────────────────────────────────────────────────────
void guest_compute(struct host_guest *g, u64 ns) {
    for (u64 end = arch_now_ns() + ns; arch_now_ns() < end;)
        guest_step(g);
}

void *guest_ram(struct host_guest *g, u64 at, u64 size) {
    return gmem_ptr(g->v->vm, gpa(at), size);
}

u64 guest_mmio_read(struct host_guest *g, u64 at, u8 size) {
    return exit_with(g, &(struct vexit){.kind = VEXIT_MMIO, .gpa = at, .gva = at, .size = size})->value;
}

void guest_mmio_write(struct host_guest *g, u64 at, u8 size, u64 value) {
    exit_with(g,
              &(struct vexit){.kind = VEXIT_MMIO, .gpa = at, .gva = at, .size = size, .write = true, .value = value});
}

s64 guest_hypercall(struct host_guest *g, u32 nr, u64 a0, u64 a1, u64 a2) {
    return (s64)exit_with(g, &(struct vexit){.kind = VEXIT_HYPERCALL, .nr = nr, .args = {a0, a1, a2}})->value;
}

void guest_exit(struct host_guest *g, void *vexit) {
    struct vexit *request = vexit;
    *request = *exit_with(g, request);
}

void guest_halt(struct host_guest *g) {
    struct host_guest_state *s = g->state;
    guest_step(g);
    if (candidate(s))
        return;
    if (host_has_apics(g->v->vm) || sched_cpu_contended(cpu_self())) {
        exit_with(g, &(struct vexit){.kind = VEXIT_HALT});
        return;
    }
    s->wfi = true; // alone on its CPU: it sleeps in the guest, and an interrupt of the host ends that
    host_sleep();
    s->wfi = false;
    guest_step(g);
}

s32 guest_cpu_on(struct host_guest *g, u32 target, guest_fn fn, u64 arg) {
    u64 entry = host_guest_entry(fn);
    return exit_with(g, &(struct vexit){.kind = VEXIT_CPU_ON, .target = target, .entry = entry, .arg = arg})->status;
}

s32 guest_cpu_info(struct host_guest *g, u32 target, u64 *power) {
    const struct vexit *answer = exit_with(g, &(struct vexit){.kind = VEXIT_CPU_INFO, .target = target});
    *power = answer->value;
    return answer->status;
}

s32 guest_cpu_suspend(struct host_guest *g) {
    return exit_with(g, &(struct vexit){.kind = VEXIT_CPU_SUSPEND})->status;
}

// For exits after which this flow never goes on.
[[noreturn]] static void last_exit(struct host_guest *g, const struct vexit *request, bool off) {
    struct host_guest_state *s = g->state;
    guest_step(g);
    for (;;) {
        s->dead = off;
        *s->exit = *request;
        leave(s);
        interruptible(s);
    }
}

void guest_cpu_suspend_to(struct host_guest *g, guest_fn fn, u64 arg) {
    u64 entry = host_guest_entry(fn);
    last_exit(g, &(struct vexit){.kind = VEXIT_CPU_SUSPEND, .power_down = true, .entry = entry, .arg = arg}, false);
}

void guest_cpu_off(struct host_guest *g) {
    last_exit(g, &(struct vexit){.kind = VEXIT_CPU_OFF}, true);
}

void guest_system_off(struct host_guest *g) {
    last_exit(g, &(struct vexit){.kind = VEXIT_SYSTEM_OFF}, false);
}

void guest_system_reset(struct host_guest *g) {
    last_exit(g, &(struct vexit){.kind = VEXIT_SYSTEM_RESET}, false);
}

bool guest_page_fault(struct host_guest *g, u64 at, bool write, bool exec) {
    exit_with(g, &(struct vexit){.kind = VEXIT_PAGE_FAULT, .gpa = at, .gva = at, .write = write, .exec = exec});
    return g->faulted;
}

bool guest_fault(struct host_guest *g) {
    exit_with(g, &(struct vexit){.kind = VEXIT_FAULT});
    return g->faulted;
}

// ICC_SGI1R_EL1, §12.2.22: INTID in 27..24, the target list in 15..0.
void guest_ipi(struct host_guest *g, u32 sgi, u32 target_mask) {
    if (host_has_apics(g->v->vm) || (host_has_harts(g->v->vm) && sgi))
        host_irqv_of(g->v->vm)->ipi(g, sgi, target_mask);
    else
        exit_with(g, &(struct vexit){.kind = VEXIT_SEND_IPI, .value = (u64)sgi << 24 | (target_mask & 0xffff)});
}

void guest_signal(struct host_guest *g, u32 targets) {
    const struct host_irqv *irqv = host_irqv_of(g->v->vm);
    if (irqv)
        irqv->signal(g, targets);
    else // ISPENDR1
        guest_mmio_write(g, GUEST_GICD + 0x204, 4, (u64)targets << (GUEST_BELL_IRQ - 32));
}

void guest_irq_resume(struct host_guest *g) {
    const struct host_irqv *irqv = host_irqv_of(g->v->vm);
    if (irqv)
        irqv->resume(g);
}

u32 guest_irq_ack(struct host_guest *g) {
    host_schedule(WHY_GUEST);
    interruptible(g->state);
    const struct host_irqv *irqv = host_irqv_of(g->v->vm);
    if (irqv)
        return irqv->ack(g);
    return gicv_ack(&g->state->gicv, lr_count_of(g->v));
}

void guest_irq_eoi(struct host_guest *g, u32 intid) {
    host_schedule(WHY_GUEST);
    interruptible(g->state);
    const struct host_irqv *irqv = host_irqv_of(g->v->vm);
    if (irqv)
        irqv->eoi(g, intid);
    else if (gicv_eoi(&g->state->gicv, lr_count_of(g->v), intid) == GUEST_TIMER_IRQ)
        cpu_self()->arch.vtimer_active = false;
}

void guest_irq_enable(struct host_guest *g, u32 intid, u8 priority) {
    enum { CTLR = 0, IGROUPR = 0x80, ISENABLER = 0x100, IPRIORITYR = 0x400, IROUTER = 0x6000, WAKER = 0x14 };
    const struct host_irqv *irqv = host_irqv_of(g->v->vm);
    if (irqv) {
        irqv->enable(g, intid, priority);
        return;
    }
    u64 gicr = GUEST_GICR + 0x20000ull * g->cpu, sgi = gicr + 0x10000;
    u64 base = intid < 32 ? sgi : GUEST_GICD;
    u64 word = intid / 32 * 4;
    guest_mmio_write(g, GUEST_GICD + CTLR, 4, 0x12); // ARE, EnableGrp1
    guest_mmio_write(g, gicr + WAKER, 4, 0);
    guest_mmio_write(g, base + IGROUPR + word, 4, guest_mmio_read(g, base + IGROUPR + word, 4) | BIT(intid % 32));
    guest_mmio_write(g, base + IPRIORITYR + intid, 1, priority);
    if (intid >= 32)
        guest_mmio_write(g, GUEST_GICD + IROUTER + 8ull * intid, 8, g->cpu);
    guest_mmio_write(g, base + ISENABLER + word, 4, BIT(intid % 32));
}

u64 guest_now(struct host_guest *g) {
    return arch_now_ns() - g->v->vm->arch.clock_start_ns;
}

void guest_timer_set(struct host_guest *g, u64 deadline_ns) {
    const struct host_irqv *irqv = host_irqv_of(g->v->vm);
    if (irqv) {
        irqv->timer_set(g, g->v->vm->arch.clock_start_ns + deadline_ns);
        return;
    }
    guest_step(g);
    g->state->timer_ns = g->v->vm->arch.clock_start_ns + deadline_ns;
    g->state->timer_on = true;
}

void guest_timer_off(struct host_guest *g) {
    const struct host_irqv *irqv = host_irqv_of(g->v->vm);
    if (irqv) {
        irqv->timer_set(g, TIMER_NEVER);
        return;
    }
    guest_step(g);
    g->state->timer_on = false;
}
