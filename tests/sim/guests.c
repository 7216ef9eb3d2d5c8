// SPDX-License-Identifier: Apache-2.0
// What the guests do, and what each may expect of its machine. A fair guest keeps to the rules, so that each interrupt
// is accounted for; a hostile one does what it likes, and nothing is expected but that the others go on.
#include <string.h>

#include "guest_internal.h"
#include "hypercall.h"
#include "sim.h"
#include "vioapic.h"
#include "vlapic.h"

enum {
    SGIS = 4,
    SIGNALS = SGIS + 1,
    SPI = GUEST_BELL_IRQ,
    VCPUS = 4,
    UART_TX = 1 << 5,
    PROBE_WORDS = 64,
    WRONG = 1023
};
static const u64 PROBE = GUEST_RAM_BASE + 0x180000; // neither kernel nor device tree lies here
static const u64 ARG = 0x600d0000;

// Of one vCPU: the SGIs that were sent to it, and the SPI that others make pending for it (SPI + its number).
struct mail {
    bool open;            // it takes them from here on
    u32 sending[SIGNALS]; // sends that are under way
    u32 begun[SIGNALS];   // sends
    u32 done[SIGNALS];    // sends that were over, to a vCPU that was open when they began
    u32 covered[SIGNALS]; // of those, the ones that an acknowledgement came after
    u32 taken[SIGNALS];   // acknowledgements
    bool timer;           // set, and its interrupt not seen since
    bool resumed;         // from reset state, with the timer off: its interrupt may have been on the way
    bool uart, rtc;       // these devices hold their line up
    u64 rtc_ns;           // when the match comes
    u32 resets;           // of the vCPU: a software interrupt of a hart does not survive them
    bool busy;            // some vCPU starts it anew, or it does that with another one
    bool stopped;         // an INIT has reached it
    bool starts;          // a SIPI was sent to it after that
    bool held;            // and another INIT is to follow at once
    u32 life;             // which start of the VM that was; 0: it is not through
    bool dead;            // it sleeps for ever
    u32 targets, signal;  // what it is sending
};

static struct model {
    char name[VM_NAME_MAX + 1];
    enum sim_kind kind;
    enum host_irqchip irqchip;
    u32 lives;   // of its vCPUs that are left until it begins anew, if they start each other
    bool chatty; // its vCPUs do little but wake each other and sleep
    struct mail mail[VCPUS];
} models[8];
static u32 model_count;
static bool operated; // somebody will end what waits for ever

void sim_guests_init(bool operator_comes) {
    memset(models, 0, sizeof(models));
    model_count = 0;
    operated = operator_comes;
}

void sim_vm_kind(const char *name, enum sim_kind kind) {
    struct model *m = &models[model_count++];
    size_t length = strnlen(name, VM_NAME_MAX);
    memcpy(m->name, name, length);
    m->kind = kind;
    m->chatty = one_in(3);
    host_guest_register(name, sim_guest);
    m->irqchip = (enum host_irqchip)(one_in(3) ? HOST_GIC : 1 + rnd(3));
    host_guest_irqchip(name, m->irqchip);
}

static struct model *model_of(const struct host_guest *g) {
    for (u32 i = 0; i < model_count; i++)
        if (strcmp(models[i].name, g->v->vm->cfg.name) == 0)
            return &models[i];
    sim_violation("a VM of an unknown name runs");
}

#define expect(g, cond)                                                                                                \
    ((cond) ? (void)0                                                                                                  \
            : sim_violation("vCPU %u of %s: not so: %s (%s:%d)", (g)->cpu, (g)->v->vm->cfg.name, #cond, __FILE__,      \
                            __LINE__))

// ── Interrupts ──────────────────────────────────────────────────────────────────────────────────────────────────────
enum { UART_DR = GUEST_UART, UART_IMSC = GUEST_UART + 0x38, UART_ICR = GUEST_UART + 0x44 };
enum { RTC_DR = GUEST_RTC, RTC_MR = GUEST_RTC + 4, RTC_IMSC = GUEST_RTC + 0x10, RTC_ICR = GUEST_RTC + 0x1c };

static void serve_one(struct host_guest *g, struct mail *mail, u32 irq) {
    sim_note("guest %llu/%llu takes %llu", g->v->vm->id, g->cpu, irq);
    sim_result->interrupts++;
    u32 n = irq == SPI + g->cpu ? SGIS : irq;
    if (n < SIGNALS) {
        expect(g, mail->begun[n] > mail->taken[n]); // else nobody sent it
        mail->taken[n]++;
        mail->covered[n] = mail->done[n];
    } else if (irq == GUEST_TIMER_IRQ) {
        expect(g, mail->timer || mail->resumed);
        mail->timer = mail->resumed = false;
        guest_timer_off(g);
    } else if (irq == GUEST_UART_IRQ) {
        expect(g, mail->uart);
        mail->uart = false;
        guest_mmio_write(g, UART_IMSC, 4, 0);
        guest_mmio_write(g, UART_ICR, 4, 0x7ff);
    } else if (irq == GUEST_RTC_IRQ) {
        expect(g, mail->rtc);
        mail->rtc = false;
        guest_mmio_write(g, RTC_IMSC, 4, 0);
        guest_mmio_write(g, RTC_ICR, 4, 1);
    } else {
        sim_violation("vCPU %u of %s takes interrupt %u, which nobody raised", g->cpu, g->v->vm->cfg.name, irq);
    }
    if (one_in(8))
        guest_compute(g, rnd(2000));
    guest_irq_eoi(g, irq);
}

// What must be there to be taken before the next instruction.
struct due {
    u32 signals; // bit n
    bool timer, uart, rtc;
};

static struct due due_now(const struct host_guest *g, const struct mail *mail) {
    struct due due = {.uart = mail->uart};
    for (u32 n = 0; n < SIGNALS; n++)
        due.signals |= (u32)(mail->done[n] != mail->covered[n]) << n;
    due.timer = mail->timer && host_machine.now_ns >= g->state->timer_ns;
    due.rtc = mail->rtc && host_machine.now_ns >= mail->rtc_ns + 50 * 1000 * 1000; // a CPU may have been elsewhere
    return due;
}

static void serve(struct host_guest *g, struct mail *mail) {
    for (;;) {
        struct due due = due_now(g, mail);
        u32 irq = guest_irq_ack(g);
        if (irq == WRONG) {
            if (due.signals | due.timer | due.uart | due.rtc)
                sim_violation("vCPU %u of %s has lost an interrupt: signals %#x, timer %d, UART %d, RTC %d", g->cpu,
                              g->v->vm->cfg.name, due.signals, due.timer, due.uart, due.rtc);
            return;
        }
        serve_one(g, mail, irq);
    }
}

static void set_timer(struct host_guest *g, struct mail *mail, u64 ns) {
    mail->timer = true; // may come with the next instruction
    guest_timer_set(g, guest_now(g) + ns);
}

static void open_mail(struct host_guest *g, struct mail *mail) {
    for (u32 n = 0; n < SGIS; n++)
        guest_irq_enable(g, n, (u8)(rnd(16) << 4));
    guest_irq_enable(g, GUEST_TIMER_IRQ, (u8)(rnd(16) << 4));
    guest_irq_enable(g, SPI + g->cpu, (u8)(rnd(16) << 4));
    if (g->cpu == 0) {
        guest_irq_enable(g, GUEST_UART_IRQ, 0x80);
        guest_irq_enable(g, GUEST_RTC_IRQ, 0x70);
    }
    mail->open = true;
}

// No other interrupt on the same wire is under way to vCPU t: a hart has one for all that is not a software interrupt,
// and the devices' go to vCPU 0.
static bool alone(const struct model *m, u32 t, u32 n) {
    const u32 *sending = m->mail[t].sending;
    if (m->irqchip == HOST_GIC || m->irqchip == HOST_APIC || n == 0)
        return sending[n] == 0;
    for (u32 i = 1; i < SIGNALS; i++)
        if (sending[i])
            return false;
    return t != 0;
}

static void send(struct host_guest *g, struct model *m) {
    u32 n = m->irqchip != HOST_PLIC ? rnd(SIGNALS) : one_in(2) ? 0 : SGIS; // a PLIC sends no messages
    u32 sure = 0, vcpus = g->v->vm->vcpu_count;
    u32 targets = n < SGIS ? 1 + rnd(15) : 1u << rnd(vcpus);
    sim_note("guest %llu/%llu signals %llx", g->v->vm->id, g->cpu, targets);
    u32 taken[VCPUS], resets[VCPUS];
    m->mail[g->cpu].targets = targets;
    m->mail[g->cpu].signal = n;
    for (u32 t = 0; t < vcpus; t++) {
        taken[t] = m->mail[t].taken[n];
        resets[t] = m->mail[t].resets;
        m->mail[t].sending[n] += targets >> t & 1;
        m->mail[t].begun[n] += targets >> t & 1;
        sure |= (u32)(m->mail[t].open && (targets >> t & 1)) << t;
    }
    if (n < SGIS)
        guest_ipi(g, n, targets);
    else
        guest_signal(g, targets);
    sim_result->ipis++;
    m->mail[g->cpu].targets = 0;
    for (u32 t = 0; t < vcpus; t++)
        if ((targets >> t & 1) && (m->mail[t].sending[n]--, alone(m, t, n)) && (sure >> t & 1))
            sim_expect_awake(g->v->vm->vcpus[t], n < SGIS ? n : SPI + t);
    for (u32 t = 0; t < vcpus; t++) // one that was taken meanwhile may have been this one
        m->mail[t].done[n] += (sure >> t & 1) && m->mail[t].taken[n] == taken[t] && m->mail[t].resets == resets[t] &&
                              (m->irqchip == HOST_GIC || m->mail[t].sending[n] == 0); // else who came first kicks
}

static void await(struct host_guest *g, struct mail *mail) {
    if (!operated || !one_in(6)) // otherwise somebody has to come
        set_timer(g, mail, 1 + rnd(60000));
    if (one_in(5))
        expect(g, guest_cpu_suspend(g) == 0);
    else
        guest_halt(g);
    serve(g, mail);
}

static void use_uart(struct host_guest *g, struct mail *mail) {
    guest_mmio_write(g, UART_ICR, 4, 0x7ff);
    mail->uart = true;
    guest_mmio_write(g, UART_IMSC, 4, UART_TX);
    guest_mmio_write(g, UART_DR, 1, 'u');
    serve(g, mail);
    expect(g, !mail->uart);
}

static void use_rtc(struct host_guest *g, struct mail *mail) {
    guest_mmio_write(g, RTC_ICR, 4, 1);
    u32 now = (u32)guest_mmio_read(g, RTC_DR, 4);
    mail->rtc_ns = TIMER_NEVER / 2;
    mail->rtc = true;
    guest_mmio_write(g, RTC_IMSC, 4, 1);
    guest_mmio_write(g, RTC_MR, 4, now + 1 + rnd(2));
    mail->rtc_ns = host_machine.now_ns + 3000000000ull; // at the latest
}

// ── INIT and SIPI ───────────────────────────────────────────────────────────────────────────────────────────────────
static void fair_secondary(struct host_guest *g);

// What it had to take is gone.
static void forget_mail(struct mail *mail) {
    mail->open = mail->timer = mail->resumed = false;
    mail->resets++;
    for (u32 n = 0; n < SIGNALS; n++)
        mail->covered[n] = mail->done[n];
}

static void stop(struct host_guest *g, struct mail *mail, u32 t) {
    mail->open = false;
    mail->resets++;
    guest_init(g, t);
    forget_mail(mail); // it went on meanwhile
    mail->stopped = true;
    mail->starts = false;
    sim_expect_awake(g->v->vm->vcpus[t], SIM_INIT);
}

// A vCPU that runs, sleeps or is off begins anew, once, however many SIPIs there are.
static void start_anew(struct host_guest *g, struct model *m) {
    u32 t = rnd(VCPUS);
    struct mail *self = &m->mail[g->cpu], *mail = &m->mail[t];
    u64 power = VCPU_OFF;
    if (t == 0 || t == g->cpu || t >= g->v->vm->vcpu_count || m->lives == 0)
        return;
    expect(g, guest_cpu_info(g, t, &power) == 0);
    if (mail->busy || self->busy || (power != VCPU_OFF && !mail->open && !mail->dead)) // else it may hold a lock
        return;
    sim_note("guest %llu/%llu starts vCPU %llu anew", g->v->vm->id, g->cpu, t);
    sim_result->inits++;
    m->lives--;
    self->busy = mail->busy = true;
    stop(g, mail, t);
    if (one_in(3))
        guest_compute(g, rnd(4000));
    if (one_in(4)) {
        if (one_in(2)) { // an INIT ends what a SIPI began, as far as that has come
            mail->held = mail->starts = true;
            guest_sipi(g, t, fair_secondary);
            if (one_in(2))
                guest_compute(g, rnd(4000));
        }
        stop(g, mail, t);
        mail->held = false;
    }
    mail->life = 0;
    mail->starts = true;
    guest_sipi(g, t, fair_secondary);
    mail->life = g->v->vm->starts;
    if (one_in(3))
        guest_sipi(g, t, fair_secondary);
    self->busy = false; // the other one's ends when it begins
}

bool sim_vcpu_starts(const struct vcpu *v) {
    for (u32 i = 0; i < model_count && v->id < VCPUS; i++)
        if (strcmp(models[i].name, v->vm->cfg.name) == 0)
            return models[i].mail[v->id].starts && models[i].mail[v->id].life == v->vm->starts;
    return false;
}

static void begin_life(struct host_guest *g, struct model *m, struct mail *mail) {
    expect(g, mail->starts && g->arg == 0); // one start for all its SIPIs
    mail->starts = mail->stopped = false;
    while (mail->held)
        guest_step(g);
    expect(g, !mail->stopped);
    for (u32 t = 0; t < g->v->vm->vcpu_count; t++) // what it was about to send has left the hypervisor
        m->mail[t].sending[mail->signal] -= mail->targets >> t & 1;
    mail->targets = 0;
    mail->dead = mail->busy = false;
}

// As no vCPU of an x86_64 VM switches itself off: it sleeps, until another one starts it anew.
[[noreturn]] static void sleep_for_ever(struct host_guest *g, struct mail *mail) {
    bool masked = one_in(2);
    while (mail->busy)
        guest_step(g);
    mail->open = false;
    mail->dead = true;
    for (;;) {
        if (masked)
            guest_halt_masked(g);
        else
            guest_halt(g);
        u32 irq = guest_irq_ack(g);
        expect(g, !mail->stopped);
        if (irq != WRONG)
            guest_irq_eoi(g, irq);
    }
}

// ── A fair guest ────────────────────────────────────────────────────────────────────────────────────────────────────
static void fair_resumed(struct host_guest *g);
static void hostile(struct host_guest *g);

static void switch_on(struct host_guest *g) {
    u32 target = rnd(5), vcpus = g->v->vm->vcpu_count;
    sim_note("guest %llu/%llu switches vCPU %llu on", g->v->vm->id, g->cpu, target);
    s32 err = guest_cpu_on(g, target, fair_secondary, ARG + target);
    expect(g, (target >= vcpus) == (err == -EINVAL));
    expect(g, err == 0 || err == -EINVAL || err == -EALREADY || err == -EBUSY || err == -EPERM);
    expect(g, target != g->cpu || err == -EALREADY || err == -EPERM);
}

static void call(struct host_guest *g) {
    switch (rnd(5)) {
    case 0:
        expect(g, guest_hypercall(g, HYPERCALL_VM_ID, 0, 0, 0) == (s64)g->v->vm->id);
        break;
    case 1:
        expect(g, guest_hypercall(g, HYPERCALL_YIELD, 0, 0, 0) == 0);
        break;
    case 2:
        expect(g, guest_hypercall(g, HYPERCALL_CONSOLE_WRITE, GUEST_RAM_BASE + rnd(4096), rnd(300), 0) >= 0);
        break;
    case 3:
        expect(g, guest_hypercall(g, HYPERCALL_COUNT + rnd(9), 0, 0, 0) == HYPERCALL_NOT_SUPPORTED);
        break;
    default:
        expect(g, guest_hypercall(g, HYPERCALL_CONSOLE_WRITE, GUEST_RAM_BASE - 1, 9, 0) == HYPERCALL_INVALID);
    }
}

static void look_at_power(struct host_guest *g) {
    u64 power = 0;
    u32 target = rnd(5);
    s32 err = guest_cpu_info(g, target, &power);
    expect(g, (err == 0) == (target < g->v->vm->vcpu_count) && power < VCPU_POWER_STATES);
    expect(g, target != g->cpu || power == VCPU_ON);
}

static void touch_nothing(struct host_guest *g) {
    guest_mmio_read(g, 0x0b000000, 4);
    expect(g, g->faulted);
    if (g->cpu == 0) // the others would raise its line while it does not look
        guest_mmio_write(g, UART_DR, 1, (u64) "lines\n"[rnd(6)]);
    guest_mmio_read(g, GUEST_UART + 0x18, 4);
    expect(g, !g->faulted);
}

// Sleeps where the hypervisor puts it to sleep, and hardly ever because of a timer.
static void chat(struct host_guest *g, struct model *m, struct mail *mail) {
    if (one_in(2)) {
        send(g, m);
        return;
    }
    set_timer(g, mail, 20000 + rnd(100000));
    expect(g, guest_cpu_suspend(g) == 0);
    if (one_in(2)) // only a kick takes it out meanwhile
        guest_compute(g, rnd(6000));
}

static void act(struct host_guest *g, struct model *m) {
    struct mail *mail = &m->mail[g->cpu];
    expect(g, !mail->stopped);
    if (m->irqchip == HOST_APIC && one_in(8))
        start_anew(g, m);
    if (m->chatty && !one_in(6)) {
        chat(g, m, mail);
        serve(g, mail);
        return;
    }
    switch (rnd(16)) {
    case 0:
    case 1:
        guest_compute(g, one_in(40) ? rnd(400000) : rnd(4000));
        break;
    case 2:
    case 3:
    case 4:
        send(g, m);
        break;
    case 5:
    case 6:
        if (m->irqchip == HOST_APIC)
            start_anew(g, m);
        else
            switch_on(g);
        break;
    case 7:
        call(g);
        break;
    case 8:
        look_at_power(g);
        break;
    case 9:
        touch_nothing(g);
        break;
    case 10:
        if (g->cpu == 0 && !mail->rtc && one_in(3))
            use_rtc(g, mail);
        else if (g->cpu == 0)
            use_uart(g, mail);
        break;
    case 11:
        if (m->irqchip != HOST_APIC && one_in(4)) {
            set_timer(g, mail, rnd(30000));
            guest_cpu_suspend_to(g, fair_resumed, ARG + g->cpu);
        }
        break;
    default:
        await(g, mail);
    }
    serve(g, mail);
}

static void fair_loop(struct host_guest *g, struct model *m) {
    for (u32 i = (m->chatty ? 50 : 10) + rnd(60); i; i--)
        act(g, m);
    if (m->irqchip == HOST_APIC && (g->cpu != 0 || (operated && one_in(8))))
        sleep_for_ever(g, &m->mail[g->cpu]);
    if (m->irqchip != HOST_APIC && (g->cpu != 0 || one_in(8)))
        guest_cpu_off(g);
    switch (rnd(8)) {
    case 0:
        g->no_vectors = true;
        sim_result->crashes++;
        guest_page_fault(g, 0, false, true);
        break;
    case 1:
    case 2:
    case 3:
        if (m->irqchip == HOST_APIC && one_in(2)) {
            guest_init(g, 0); // nothing is there that it could begin with but the whole machine
            sim_violation("vCPU 0 of %s goes on after an INIT", g->v->vm->cfg.name);
        }
        guest_system_reset(g);
    default:
        guest_system_off(g);
    }
}

// A hart that starts anew: nothing is enabled, and a software interrupt is forgotten.
static void begin_anew(struct host_guest *g, struct model *m, struct mail *mail) {
    if (m->irqchip == HOST_GIC || m->irqchip == HOST_APIC)
        return;
    mail->resets++;
    mail->covered[0] = mail->done[0];
    if (mail->open)
        guest_irq_resume(g);
}

// Its interface is at reset: its own interrupts are as it left them in the redistributor.
static void fair_resumed(struct host_guest *g) {
    struct model *m = model_of(g);
    struct mail *mail = &m->mail[g->cpu];
    expect(g, g->arg == ARG + g->cpu);
    mail->timer = false;
    mail->resumed = true;
    begin_anew(g, m, mail);
    serve(g, mail);
    fair_loop(g, m);
}

static void fair_secondary(struct host_guest *g) {
    struct model *m = model_of(g);
    struct mail *mail = &m->mail[g->cpu];
    if (m->kind == SIM_HOSTILE) { // the vector of its SIPI means this one
        hostile(g);
        return;
    }
    if (m->irqchip == HOST_APIC) {
        begin_life(g, m, mail);
    } else {
        expect(g, g->arg == ARG + g->cpu);
        mail->timer = false; // it is off after a reset
        mail->resumed = true;
        begin_anew(g, m, mail);
    }
    if (!mail->open)
        open_mail(g, mail);
    fair_loop(g, m);
}

// Memory is zero when a VM starts, whoever had it before.
static void probe_memory(struct host_guest *g) {
    u64 *words = guest_ram(g, PROBE, PROBE_WORDS * 8);
    expect(g, words);
    for (u32 i = 0; i < PROBE_WORDS; i++)
        expect(g, words[i] == 0);
    for (u32 i = 0; i < PROBE_WORDS; i++)
        words[i] = g->v->vm->id * 0x0101010101010101ull;
}

static void fair_primary(struct host_guest *g, struct model *m) {
    memset(m->mail, 0, sizeof(m->mail));
    m->lives = 16;
    probe_memory(g);
    expect(g, g->cpu == 0 && g->entry == 0x40100000);
    expect(g, guest_now(g) < 1ull << 62);
    if (m->irqchip == HOST_GIC)
        guest_mmio_write(g, GUEST_GICD + 0x84, 4, ~0u); // IGROUPR1, which all vCPUs would read and write
    open_mail(g, &m->mail[0]);
    fair_loop(g, m);
}

// ── A hostile one ───────────────────────────────────────────────────────────────────────────────────────────────────
static u64 any_device(void) {
    static const u64 bases[] = {GUEST_GICD,
                                GUEST_GICR,
                                GUEST_GICR + 0x10000,
                                GUEST_UART,
                                GUEST_RTC,
                                GUEST_RAM_BASE,
                                GUEST_PLIC,
                                GUEST_PLIC + 0x2000,
                                GUEST_APLIC,
                                GUEST_APLIC + 0x1c00,
                                GUEST_PLIC + 0x201000,
                                GUEST_IMSIC,
                                VLAPIC_BASE,
                                VLAPIC_BASE + 0x300,
                                VIOAPIC_BASE,
                                GUEST_BELL};
    u64 at = bases[rnd(ARRAY_SIZE(bases))] + (one_in(3) ? rnd(0x1000) * 4 : rnd(0x140) * 4);
    if (one_in(8))
        at += 0x20000ull * rnd(4);
    return one_in(30) ? host_random(~0ull) : at;
}

static void any_exit(struct host_guest *g) {
    static const enum vexit_kind kinds[] = {VEXIT_MMIO,        VEXIT_PIO,      VEXIT_HYPERCALL,  VEXIT_SEND_IPI,
                                            VEXIT_SYSREG,      VEXIT_CPU_INFO, VEXIT_PAGE_FAULT, VEXIT_FAULT,
                                            VEXIT_CPU_SUSPEND, VEXIT_MMIO,     VEXIT_SEND_IPI};
    struct vexit e = {.kind = kinds[rnd(ARRAY_SIZE(kinds))],
                      .size = (u8)(1u << rnd(4)),
                      .write = one_in(2),
                      .nr = one_in(3)   ? (u32)host_random(~0u)
                            : one_in(2) ? 0x800 + rnd(0x40)
                                        : rnd(8),
                      .target = one_in(3) ? (u32)host_random(~0u) : rnd(8),
                      .gpa = any_device(),
                      .value = host_random(~0ull),
                      .args = {host_random(~0ull), rnd(5000), 0}};
    if (one_in(200))
        e.kind = VEXIT_FAIL_ENTRY;
    if (e.kind == VEXIT_CPU_SUSPEND)
        guest_timer_set(g, guest_now(g) + rnd(20000));
    guest_exit(g, &e);
}

static void hostile_act(struct host_guest *g) {
    switch (rnd(12)) {
    case 0:
        any_exit(g);
        break;
    case 1:
    case 2:
    case 3:
        guest_mmio_write(g, any_device(), (u8)(1u << rnd(4)), one_in(2) ? host_random(~0ull) : BIT(rnd(32)));
        break;
    case 4:
        guest_mmio_read(g, any_device(), (u8)(1u << rnd(4)));
        break;
    case 5:
        guest_ipi(g, rnd(16), rnd(0x10000));
        break;
    case 6:
        (void)guest_cpu_on(g, one_in(4) ? VEXIT_NO_VCPU : rnd(6), hostile, host_random(~0ull));
        break;
    case 7:
        guest_irq_enable(g, rnd(40), (u8)rnd(256));
        break;
    case 8:
        guest_timer_set(g, one_in(4) ? host_random(~0ull) : guest_now(g) + rnd(20000));
        break;
    case 9: {
        u32 irq = guest_irq_ack(g);
        if (irq != WRONG && !one_in(4) && g->state->gicv.running_count)
            guest_irq_eoi(g, irq);
        break;
    }
    case 10:
        guest_timer_set(g, guest_now(g) + rnd(20000));
        guest_halt(g);
        break;
    default:
        guest_irq_eoi(g, rnd(300));
        if (host_has_apics(g->v->vm) && one_in(4)) // to vCPU 0 it is a reset of the VM
            guest_init(g, 1 + rnd(VCPUS));
    }
}

static void hostile(struct host_guest *g) {
    for (u32 i = 20 + rnd(100); i; i--) {
        if (g->state->gicv.running_count > 20)
            guest_irq_eoi(g, 0);
        hostile_act(g);
    }
    switch (rnd(6)) {
    case 0:
        guest_system_reset(g);
    case 1:
        guest_system_off(g);
    case 2:
        g->no_vectors = true;
        sim_result->crashes++;
        guest_page_fault(g, host_random(~0ull), one_in(2), one_in(2));
        break;
    default:
        guest_cpu_off(g);
    }
}

void sim_guest(struct host_guest *g) {
    struct model *m = model_of(g);
    sim_note("guest %llu starts, for the %lluth time", g->v->vm->id, g->v->vm->starts, 0);
    sim_result->starts++;
    while (m->kind == SIM_KEEPER)
        guest_halt(g);
    if (m->kind == SIM_HOSTILE)
        hostile(g);
    else
        fair_primary(g, m);
}
