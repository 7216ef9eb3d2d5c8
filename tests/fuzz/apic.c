// SPDX-License-Identifier: Apache-2.0
// The local APICs and the IOAPIC against a model of them. Any access to the page, the MSRs and the IOAPIC, by the way
// through the core or the short one; IPIs of all kinds, pins, time, INIT and resets. Every read is the model's, what a
// vCPU would take next as well, and whoever has something new to take has been kicked.
#include <string.h>

#include "../bare_vm.h"
#include "apic_model.h"
#include "arch.h"
#include "cpu.h"
#include "fuzz.h"
#include "vexit.h"
#include "vioapic.h"
#include "vlapic.h"
#include "vm.h"

static struct vcpu vcpus[VCPUS_MAX];
static bool kicked[VCPUS_MAX];
static u32 stopped, started, vm_stops;
static u64 start_entry;

void vcpu_kick(struct vcpu *v) {
    kicked[v->id] = true;
}

int vcpu_stop(struct vm *of, u32 target) {
    FUZZ_CHECK(of == &vm && target < of->vcpu_count);
    stopped |= 1u << target;
    return 0;
}

int vcpu_start(struct vm *of, u32 target, u64 entry, u64 arg) {
    FUZZ_CHECK(of == &vm && target < of->vcpu_count && arg == 0);
    started |= 1u << target;
    start_entry = entry;
    return 0;
}

bool vm_stop(struct vm *of, enum vm_stop cause, const char *reason, ...) {
    FUZZ_CHECK(of == &vm && cause == VM_STOP_RESET && reason);
    vm_stops++;
    return true;
}

// ── Checks ──────────────────────────────────────────────────────────────────────────────────────────────────────────
static void enter(u32 n) {
    struct apic *a = &model.apic[n];
    if (vcpus[n].irq_work)
        vlapic_ops.flush(&vcpus[n]);
    if (a->fresh && !(a->lvt[ERROR] & MASKED) && (a->lvt[ERROR] & 0xff) >= 16)
        post(a, a->lvt[ERROR] & 0xff, false);
    a->errors |= a->fresh;
    a->fresh = 0;
    a->news = kicked[n] = false;
}

static void check_vcpu(u32 n, bool acts) {
    const struct apic *a = &model.apic[n];
    struct vlapic *l = vlapic_of(&vcpus[n]);
    if (acts) // it goes back in, and looks before that
        enter(n);
    u32 next = deliverable(a);
    if (a->news)
        FUZZ_CHECK(kicked[n] && vcpus[n].irq_work);
    if (!vcpus[n].irq_work) {
        FUZZ_CHECK(vlapic_pending(l) == (highest(a->irr) ? (s32)highest(a->irr) : -1));
        FUZZ_CHECK(vlapic_deliverable(l) == (next ? (s32)next : -1));
    }
    for (u32 i = 0; i < 4; i++) { // what a halt waits for
        bool interruptible = i & 1, nmi_able = i & 2;
        vlapic_halt(&vcpus[n], interruptible, nmi_able);
        FUZZ_CHECK(vlapic_ops.ready(&vcpus[n]) == ((nmi_able && a->nmi) || (interruptible && next)));
    }
    FUZZ_CHECK(vlapic_nmi_pending(l) == a->nmi);
    FUZZ_CHECK(vlapic_ppr(l) == ppr(a) && vlapic_enabled(l) == a->enabled && vlapic_x2apic(l) == a->x2);
}

// What no register shows before the guest has done something for it.
static void check_state(u32 n) {
    const struct apic *a = &model.apic[n];
    const struct vlapic *l = vlapic_of(&vcpus[n]);
    FUZZ_CHECK((l->errors | l->errors_received) == (a->errors | a->fresh));
    for (u32 w = 0; w < VECTORS / 32; w++) {
        FUZZ_CHECK((u32)(l->irr[w / 2] >> w % 2 * 32) == bits_of(a->irr, w));
        FUZZ_CHECK((u32)(l->isr[w / 2] >> w % 2 * 32) == bits_of(a->isr, w));
        FUZZ_CHECK((u32)(l->tmr[w / 2] >> w % 2 * 32) == bits_of(a->tmr, w));
    }
}

static void check(u32 actor) {
    for (u32 n = 0; n < vm.vcpu_count; n++)
        check_vcpu(n, n == actor);
    check_state(actor % vm.vcpu_count);
    FUZZ_CHECK(stopped == model.stopped && started == model.started && vm_stops == model.vm_stops);
    FUZZ_CHECK(!started || start_entry == model.start_entry);
    stopped = started = vm_stops = model.stopped = model.started = model.vm_stops = 0;
}

// ── Steps ───────────────────────────────────────────────────────────────────────────────────────────────────────────
static u32 some_register(struct fuzz *f) {
    static const u16 regs[] = {0x20,  0x30,  0x80,  0xa0,  0xb0,  0xd0,  0xe0,  0xf0,  0x280, 0x300, 0x310,
                               0x320, 0x330, 0x350, 0x370, 0x380, 0x390, 0x3e0, 0x3f0, 0x100, 0x180, 0x200};
    u8 which = fuzz_u8(f);
    u32 reg = regs[which % ARRAY_SIZE(regs)];
    if (reg >= 0x100 && reg <= 0x200 && !(reg & 0x7f))
        reg += (which >> 5) * 16u;
    return which >= 0xf0 ? fuzz_u16(f) & 0xff0 : reg;
}

static u32 some_value(struct fuzz *f, u32 reg) {
    u8 how = fuzz_u8(f);
    if (how >= 0xe0)
        return fuzz_u32(f);
    if (reg == 0x300)
        return how | (fuzz_u16(f) & 0xcd) << 8 | (u32)(how & 3) << 18;
    if (reg == 0xd0 || reg == 0x310)
        return (u32)how << 24 | (how == 0xdf ? 0xff000000 : 0);
    if (reg == 0xe0)
        return how & 1 ? 0xffffffff : 0x0fffffff;
    if (reg == 0xf0)
        return how & 7 ? 0x1ff : how;
    if (reg == 0x280 || reg == 0xb0)
        return 0;
    if (reg == 0x380)
        return how & 1 ? how : how << 8;
    if (reg >= 0x320 && reg <= 0x370)
        return fuzz_u8(f) | (u32)(how & 7) << 16;
    return how;
}

static void page_access(struct fuzz *f, u32 n) {
    struct apic *a = &model.apic[n];
    u8 how = fuzz_u8(f), size = (u8)(how >= 0xf0 ? 1 << (how & 3) : 4);
    u32 reg = some_register(f), low = how >= 0xf0 ? fuzz_u8(f) & 15 & ~(size - 1u) : 0;
    struct bus_access b = {.vcpu = &vcpus[n], .size = size, .write = how & 0x80, .value = 0x5555};
    if (b.write)
        b.value = some_value(f, reg);
    u64 value = b.value, expected = 0;
    FUZZ_CHECK(bus_access(&vm.bus, gpa(VLAPIC_BASE + reg + low), &b) == 0);
    if (!a->enabled || a->x2) {
        FUZZ_CHECK(b.write || b.value == ~0ull);
        return;
    }
    if (b.write) {
        if (low == 0 && size == 4)
            page_write(n, reg, (u32)value);
        return;
    }
    if (low + size <= 4 && !reg_read(n, reg, &expected))
        a->fresh |= ILLEGAL_REGISTER;
    FUZZ_CHECK(b.value == (low + size <= 4 ? expected >> low * 8 : 0));
}

// As the architecture does: the short way, and if that knows no answer, the one through the core.
static bool msr_by(u32 n, u32 msr, bool write, u64 *value, bool short_way) {
    struct vexit e = {.kind = VEXIT_SYSREG, .nr = msr, .write = write, .value = *value};
    if (short_way && vlapic_msr_try(&vcpus[n], msr, write, value))
        return true;
    bool there = vlapic_sysreg(&vcpus[n], &e) == 0;
    *value = e.value;
    return there;
}

static void msr_access(struct fuzz *f, u32 n) {
    u8 how = fuzz_u8(f), base = fuzz_u8(f);
    u32 reg = some_register(f), msr = 0x800 + reg / 16;
    u64 value = some_value(f, reg), expected = 0;
    if (base < 0x30) {
        msr = 0x1b;
        value = base < 0x28 ? 0xfee00000 | (u32)(base & 3) << 10 | (u32)(base & 4) << 6 : value;
    } else if (base < 0x50) {
        msr = 0x6e0;
        value = arch_now_ns() / TICK_NS + model.apic[n].tsc_offset + value * 8 - 100;
    } else if (base < 0x60) {
        msr = fuzz_u16(f);
    } else if (reg == 0x300) {
        value |= (u64)(base < 0x90 ? BIT(base & 15) : base < 0xc0 ? base & 15u : ~0u) << 32;
    }
    if (how & 0x80) {
        u64 written = value;
        bool there = msr_by(n, msr, true, &written, how & 1);
        FUZZ_CHECK(there == msr_write(n, msr, value));
    } else {
        bool there = msr_by(n, msr, false, &value, how & 1);
        FUZZ_CHECK(there == msr_read(n, msr, &expected) && (!there || value == expected));
    }
}

// It has a vector before it, and takes it or comes out before that. Meanwhile more may come.
static void offer(struct fuzz *f, u32 n, u32 v) {
    struct vlapic *l = vlapic_of(&vcpus[n]);
    u8 how = fuzz_u8(f), by = how % vm.vcpu_count;
    vlapic_offer(l, v);
    model.apic[n].irr[v] = false;
    if (by != n) {
        struct message m = {1u << n, how & 0x40 ? v : fuzz_u8(f), FIXED, .logical = true, .level = how & 0x20};
        struct vlapic_message message = {.dest = m.dest, .vector = (u8)m.vector, .logical = true, .level = m.level};
        vlapic_kick(&vm, vlapic_send(&vm, &message), &vcpus[by]);
        deliver(set_of(&m), &m);
        model.apic[by].news = false; // it acts
    }
    vlapic_offered(l, v, how & 0x80);
    (how & 0x80 ? model.apic[n].isr : model.apic[n].irr)[v] = true;
}

static void take(struct fuzz *f, u32 n, bool at_once) {
    struct vlapic *l = vlapic_of(&vcpus[n]);
    enter(n);
    bool nmi = model.apic[n].nmi;
    FUZZ_CHECK(vlapic_take_nmi(l) == nmi);
    model.apic[n].nmi = false;
    u32 v = deliverable(&model.apic[n]);
    FUZZ_CHECK(vlapic_deliverable(l) == (v ? (s32)v : -1));
    if (nmi || !v)
        return;
    if (!at_once) {
        offer(f, n, v);
        return;
    }
    vlapic_accept(l, v);
    model.apic[n].irr[v] = false;
    model.apic[n].isr[v] = true;
}

static void short_eoi(u32 n) {
    struct apic *a = &model.apic[n];
    u32 v = highest(a->isr);
    bool done = vlapic_eoi(vlapic_of(&vcpus[n]));
    FUZZ_CHECK(done == !(v && a->tmr[v]));
    if (done)
        model_eoi(a);
}

static void io_access(struct fuzz *f, u32 n) {
    static const u8 offsets[] = {0, 0x10, 0x10, 0x10, 0x40, 0x20};
    u8 how = fuzz_u8(f), which = fuzz_u8(f), size = (u8)(how >= 0xf0 ? 1 << (how & 3) : 4);
    u32 offset = offsets[which % ARRAY_SIZE(offsets)];
    u64 value = fuzz_u8(f);
    if (offset == 0 || how & 8) { // an entry is chosen first
        model.select = how & 4 ? 0x10 + which / 8 : (u32)value;
        struct bus_access b = {.vcpu = &vcpus[n], .size = size, .write = true, .value = model.select};
        FUZZ_CHECK(bus_access(&vm.bus, gpa(VIOAPIC_BASE), &b) == 0);
    }
    struct bus_access b = {.vcpu = &vcpus[n], .size = size, .write = offset && (how & 0x80), .value = 0x5555};
    if (b.write && offset == 0x10)
        value |= model.select & 1 ? (u32)fuzz_u8(f) << 24 : (u64)(fuzz_u16(f) & 0x1ff) << 8;
    if (b.write)
        b.value = value;
    FUZZ_CHECK(bus_access(&vm.bus, gpa(VIOAPIC_BASE + offset), &b) == 0);
    if (!b.write)
        FUZZ_CHECK(b.value == (offset == 0 ? model.select : offset == 0x10 ? io_read(model.select) : 0));
    else if (offset == 0x10 && size == 4)
        io_write(model.select, (u32)value);
    else if (offset == 0x40 && size == 4)
        io_eoi(value & 0xff);
}

static void restart(void) {
    vlapic_ops.reset(&vm);
    for (u32 n = 0; n < vm.vcpu_count; n++) {
        model.apic[n].enabled = true;
        model.apic[n].x2 = false;
        reset_registers(&model.apic[n]);
    }
    for (u32 pin = 0; pin < PINS; pin++) {
        model.entry[pin] = MASKED;
        model.edge[pin] = false;
    }
    model.select = model.id = 0;
}

static void describe(struct fuzz *f) {
    char text[300];
    size_t size = fuzz_u8(f);
    FUZZ_CHECK(vlapic_ops.describe(&vm, text, size) <= size);
}

static void step(struct fuzz *f) {
    u8 head = fuzz_u8(f), what = head & 0x3f, pin;
    u32 n = head == 0xff ? 0 : (head >> 6 | fuzz_below(f, 8) << 2) % vm.vcpu_count;
    if (what < 0x10) {
        page_access(f, n);
    } else if (what < 0x1c) {
        msr_access(f, n);
    } else if (what < 0x24) {
        take(f, n, what & 1);
    } else if (what < 0x28) {
        short_eoi(n);
    } else if (what < 0x30) {
        io_access(f, n);
    } else if (what < 0x36) {
        pin = fuzz_u8(f);
        irqchip_set(&vm, pin & 0x1f, pin & 0x80);
        pin_set(pin & 0x1f, pin & 0x80);
        n = ~0u;
    } else if (what < 0x3a) {
        advance((u64)fuzz_u8(f) * TICK_NS << what % 4 * 5);
        n = ~0u;
    } else if (what < 0x3c) {
        model.apic[n].tpr = fuzz_u8(f);
        vlapic_set_tpr(vlapic_of(&vcpus[n]), model.apic[n].tpr);
    } else if (what == 0x3c) {
        model.apic[n].tsc_offset = fuzz_u32(f);
        if (model.apic[n].deadline)
            deadline_arm(&model.apic[n], arch_now_ns());
        vlapic_set_tsc_offset(&vcpus[n], model.apic[n].tsc_offset);
    } else if (what == 0x3d) {
        vlapic_ops.vcpu_reset(&vcpus[n]);
        reset_registers(&model.apic[n]);
    } else if (what == 0x3e) {
        describe(f);
    } else {
        restart();
    }
    check(n);
}

// Enabled, with addresses, and pins that go somewhere: an input need not find out how.
static void open_up(bool x2, bool cluster) {
    for (u32 n = 0; n < vm.vcpu_count; n++) {
        u32 ldr = (cluster ? n / 4 << 4 | 1u << n % 4 : 1u << n % 8) << 24;
        u64 base = 0xfee00c00;
        const u32 writes[][2] = {{0xf0, 0x1ff}, {0xe0, cluster ? 0x0fffffff : ~0u}, {0xd0, ldr}};
        for (u32 i = 0; i < ARRAY_SIZE(writes); i++) {
            struct bus_access b = {.vcpu = &vcpus[n], .size = 4, .write = true, .value = writes[i][1]};
            FUZZ_CHECK(bus_access(&vm.bus, gpa(VLAPIC_BASE + writes[i][0]), &b) == 0);
            page_write(n, writes[i][0], writes[i][1]);
        }
        if (x2)
            FUZZ_CHECK(msr_by(n, 0x1b, true, &base, false) && msr_write(n, 0x1b, base));
    }
    for (u32 pin = 0; pin < PINS; pin++) {
        u32 low = 0x40 + pin / 2 * 8 | (pin & 1 ? LEVEL : 0) | (pin & 2 ? LOWEST << 8 : 0) | (pin & 4 ? 1 << 11 : 0);
        const u32 writes[][2] = {{0, 0x11 + 2 * pin}, {0x10, (1u << pin % 8) << 24}, {0, 0x10 + 2 * pin}, {0x10, low}};
        for (u32 i = 0; i < ARRAY_SIZE(writes); i++) {
            struct bus_access b = {.vcpu = &vcpus[0], .size = 4, .write = true, .value = writes[i][1]};
            FUZZ_CHECK(bus_access(&vm.bus, gpa(VIOAPIC_BASE + writes[i][0]), &b) == 0);
        }
        io_write(0x11 + 2 * pin, writes[1][1]);
        io_write(0x10 + 2 * pin, low);
    }
    model.select = 0x10 + 2 * (PINS - 1);
}

static void set_up(u32 count) {
    bare_vm(&vm, vcpus, count);
    smp_init(host_board(), 0);
    host_advance(TICK_NS / 2);
    memset(&model, 0, sizeof(model));
    memset(kicked, 0, sizeof(kicked));
    stopped = started = vm_stops = 0;
    FUZZ_CHECK(vlapic_create(&vm) == 0 && vioapic_create(&vm) == 0);
    restart();
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size) {
    static const u8 counts[] = {1, 2, 3, VCPUS_MAX};
    struct fuzz f = {data, size};
    u8 shape = fuzz_u8(&f);
    set_up(counts[shape & 3]);
    if (shape & 0xc)
        open_up(shape & 0x10, shape & 0x20);
    for (u32 n = 0; n < vm.vcpu_count; n++)
        enter(n);
    check(~0u);
    while (fuzz_more(&f))
        step(&f);
    vioapic_destroy(&vm);
    vlapic_destroy(&vm);
    return 0;
}
