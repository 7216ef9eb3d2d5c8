// SPDX-License-Identifier: Apache-2.0
// The PLIC's registers against a model that has no words of bits and no shortcuts: any access by any vCPU, lines that
// rise and fall, software interrupts, resets. After each step every register reads as the model says, every vCPU's
// external line is up exactly if something for it is, and whoever's line has risen has been told.
#include <string.h>

#include "../bare_vm.h"
#include "arch.h"
#include "fuzz.h"
#include "vm.h"
#include "vplic.h"

enum { BASE = 0xc000000, VCPUS_MAX = 4, IDS = VPLIC_SOURCES + 1, CONTEXTS = 2 * VCPUS_MAX };
enum { PENDING = 0x1000, ENABLE = 0x2000, CONTEXT = 0x200000 };

static struct vm vm;
static struct vcpu vcpus[VCPUS_MAX];
static const struct irqchip_ops *const ops = &vplic_ops;

static struct {
    struct {
        bool line, pending, claimed;
        u8 priority;
    } source[IDS];
    struct {
        bool enabled[IDS];
        u8 threshold;
    } context[CONTEXTS];
    struct {
        bool kicked, timer, soft, shown_soft, external;
        u32 sie; // of the guest that sleeps
    } vcpu[VCPUS_MAX];
} model;

void vcpu_kick(struct vcpu *v) {
    model.vcpu[v->id].kicked = true;
}

bool arch_irq_level(struct vcpu *v, u32 ppi) {
    FUZZ_CHECK(v->vm == &vm && ppi == VPLIC_STI);
    return false; // the timer's line is given by set_ppi
}

// ── The model ───────────────────────────────────────────────────────────────────────────────────────────────────────
static u32 best(u32 context) {
    u32 found = 0, priority = 0;
    for (u32 id = IDS - 1; id > 0; id--)
        if (model.source[id].pending && model.context[context].enabled[id] && model.source[id].priority >= priority &&
            model.source[id].priority) {
            found = id;
            priority = model.source[id].priority;
        }
    return found;
}

static bool external(u32 v) {
    u32 context = 2 * v + 1, id = best(context);
    return id && model.source[id].priority > model.context[context].threshold;
}

static void gateway(u32 id) {
    if (model.source[id].line && !model.source[id].claimed)
        model.source[id].pending = true;
}

static u32 model_claim(u32 context) {
    u32 id = best(context);
    if (id) {
        model.source[id].pending = false;
        model.source[id].claimed = true;
    }
    return id;
}

static void model_complete(u32 context, u32 id) {
    if (id >= IDS || !model.context[context].enabled[id])
        return;
    model.source[id].claimed = false;
    gateway(id);
}

static u32 model_read(u32 at) {
    u32 value = 0;
    if (at < PENDING)
        return at / 4 < IDS ? model.source[at / 4].priority : 0;
    if (at >= CONTEXT) {
        u32 context = (at - CONTEXT) / 0x1000, reg = at % 0x1000;
        if (context >= 2 * vm.vcpu_count)
            return 0;
        return reg == 4 ? model_claim(context) : reg == 0 ? model.context[context].threshold : 0;
    }
    u32 context = at < ENABLE ? 0 : (at - ENABLE) / 0x80, word = at < ENABLE ? at % 0x1000 / 4 : at % 0x80 / 4;
    for (u32 i = 0; i < 32; i++) {
        u32 id = word * 32 + i;
        if (id < IDS && context < 2 * vm.vcpu_count)
            value |= (u32)(at < ENABLE ? model.source[id].pending : model.context[context].enabled[id]) << i;
    }
    return value;
}

static void model_write(u32 at, u32 value) {
    u32 context = at < CONTEXT ? (at - ENABLE) / 0x80 : (at - CONTEXT) / 0x1000;
    if (at < PENDING) {
        if (at && at / 4 < IDS)
            model.source[at / 4].priority = value & VPLIC_PRIORITY_MASK;
    } else if (at >= ENABLE && context < 2 * vm.vcpu_count) {
        if (at >= CONTEXT && at % 0x1000 == 4)
            model_complete(context, value);
        else if (at >= CONTEXT && at % 0x1000 == 0)
            model.context[context].threshold = value & VPLIC_PRIORITY_MASK;
        for (u32 i = 0; i < 32 && at < CONTEXT; i++) {
            u32 id = at % 0x80 / 4 * 32 + i;
            if (id && id < IDS)
                model.context[context].enabled[id] = value >> i & 1;
        }
    }
}

// ── After a step of `self` (VCPUS_MAX: of nobody's) ─────────────────────────────────────────────────────────────────
static void check_vcpu(u32 n, u32 self) {
    struct vplic_cpuif *cif = vplic_cpuif(&vcpus[n]);
    bool up = external(n), rose = up && !model.vcpu[n].external;
    if (rose)
        FUZZ_CHECK(vcpus[n].irq_work && (n == self || model.vcpu[n].kicked));
    model.vcpu[n].external = up;
    bool waits = (up && (model.vcpu[n].sie & BIT(VPLIC_SEI))) ||
                 (model.vcpu[n].timer && (model.vcpu[n].sie & BIT(VPLIC_STI))) ||
                 (model.vcpu[n].soft && (model.vcpu[n].sie & BIT(VPLIC_SSI)));
    atomic_store(&cif->enabled, model.vcpu[n].sie);
    FUZZ_CHECK(ops->ready(&vcpus[n]) == waits);
    if (!vcpus[n].irq_work) { // the guest runs with what it was given last
        FUZZ_CHECK(!(cif->levels & BIT(VPLIC_SEI)) == !up && !(cif->levels & BIT(VPLIC_STI)) == !model.vcpu[n].timer);
        FUZZ_CHECK(!model.vcpu[n].soft);
    }
}

static void check(u32 self) {
    for (u32 n = 0; n < vm.vcpu_count; n++) {
        check_vcpu(n, self);
        model.vcpu[n].kicked = false;
    }
}

// ── Steps ───────────────────────────────────────────────────────────────────────────────────────────────────────────
static u32 address(struct fuzz *f, u8 how) {
    u32 context = fuzz_u8(f);
    switch (how & 7) {
    case 0:
        return context % 100 * 4;
    case 1:
        return PENDING + context % 4 * 4;
    case 2:
    case 3:
        return ENABLE + context / 4 % (CONTEXTS + 1) * 0x80 + context % 4 * 4;
    case 7:
        return fuzz_number(f, 3) % VPLIC_SIZE & ~3u;
    default:
        return CONTEXT + context / 2 % (CONTEXTS + 1) * 0x1000 + context % 2 * 4;
    }
}

static void access(struct fuzz *f, u32 v, bool write) {
    u8 how = fuzz_u8(f), size = (u8)(how >= 0xf0 ? 1 << (how & 3) : 4);
    u32 at = address(f, how & 0xf) & ~(size - 1u);
    struct bus_access a = {.vcpu = &vcpus[v], .size = size, .write = write};
    if (write) {
        u8 value = fuzz_u8(f);
        a.value = value < 128 ? value : value < 200 ? BIT(value & 31) : fuzz_u32(f);
        a.value &= BITS(8u * size - 1, 0);
    }
    u64 value = a.value;
    int err = bus_access(&vm.bus, gpa(BASE + at), &a);
    FUZZ_CHECK(err == (size == 4 ? 0 : -EFAULT));
    if (!err && write)
        model_write(at, (u32)value);
    else if (!err)
        FUZZ_CHECK(a.value == model_read(at));
}

static void line(struct fuzz *f) {
    u8 what = fuzz_u8(f);
    u32 id = what & 0x7f;
    ops->set(&vm, id, what & 0x80);
    if (id == 0 || id >= IDS)
        return;
    model.source[id].line = what & 0x80;
    gateway(id);
}

static void post(struct fuzz *f, u32 v) {
    u8 set = fuzz_u8(f);
    ops->ipi(&vcpus[v], &(struct vexit){.kind = VEXIT_SEND_IPI, .value = set});
    for (u32 n = 0; n < vm.vcpu_count; n++) {
        if (!(set >> n & 1))
            continue;
        FUZZ_CHECK(vcpus[n].irq_work && (n == v || model.vcpu[n].kicked || model.vcpu[n].soft));
        model.vcpu[n].soft = true;
    }
}

// On the way into the guest.
static void enter(u32 n) {
    struct vplic_cpuif *cif = vplic_cpuif(&vcpus[n]);
    if (!vcpus[n].irq_work)
        return;
    ops->flush(&vcpus[n]);
    FUZZ_CHECK(cif->dirty && (!model.vcpu[n].soft || cif->soft));
    model.vcpu[n].soft = false;
    cif->soft = cif->dirty = false;
}

static void timer(u32 n, bool level) {
    bool before = model.vcpu[n].timer;
    ops->set_ppi(&vcpus[n], VPLIC_STI, level);
    FUZZ_CHECK(before == level || vcpus[n].irq_work);
    FUZZ_CHECK(!level || before || model.vcpu[n].kicked);
    model.vcpu[n].timer = level;
}

static void vcpu_restart(u32 n) {
    ops->vcpu_reset(&vcpus[n]);
    model.vcpu[n].soft = model.vcpu[n].timer = false;
    model.vcpu[n].sie = 0;
}

static void restart(void) {
    bus_reset(&vm.bus);
    memset(model.context, 0, sizeof(model.context));
    for (u32 id = 0; id < IDS; id++) {
        bool level = model.source[id].line;
        memset(&model.source[id], 0, sizeof(model.source[id]));
        model.source[id].line = level;
        gateway(id);
    }
    for (u32 n = 0; n < vm.vcpu_count; n++) {
        vcpu_restart(n);
        model.vcpu[n].external = false;
    }
}

static void step(struct fuzz *f) {
    u8 head = fuzz_u8(f);
    u32 v = head >> 6, what = head & 0x3f, self = VCPUS_MAX;
    v %= vm.vcpu_count;
    if (what < 0x20) {
        access(f, v, what & 1);
        self = v;
    } else if (what < 0x2c) {
        line(f);
    } else if (what < 0x30) {
        post(f, v);
        self = v;
    } else if (what < 0x38) {
        enter(v);
    } else if (what < 0x3a) {
        timer(v, what & 1);
    } else if (what < 0x3c) {
        model.vcpu[v].sie = fuzz_u16(f) & (BIT(VPLIC_SSI) | BIT(VPLIC_STI) | BIT(VPLIC_SEI));
    } else if (what < 0x3e) {
        vcpu_restart(v);
    } else if (what < 0x3f) {
        restart();
    } else {
        char text[200];
        FUZZ_CHECK(ops->describe(&vm, text, fuzz_u8(f) % sizeof(text)) < sizeof(text));
    }
    check(self);
}

static void set_up(u32 vcpu_count) {
    bare_vm(&vm, vcpus, vcpu_count);
    memset(&model, 0, sizeof(model));
    FUZZ_CHECK(vplic_create(&vm, gpa(BASE)) == 0);
}

// Everything enabled for each hart, at priorities that differ: an input need not find out how.
static void open_up(void) {
    for (u32 id = 0; id < IDS; id++) {
        struct bus_access a = {.vcpu = &vcpus[0], .size = 4, .write = true, .value = 1 + id % 7};
        FUZZ_CHECK(bus_access(&vm.bus, gpa(BASE + 4 * id), &a) == 0);
        model_write(4 * id, 1 + id % 7);
    }
    for (u32 n = 0; n < vm.vcpu_count; n++)
        for (u32 w = 0; w < IDS / 32; w++) {
            u32 at = ENABLE + (2 * n + 1) * 0x80 + 4 * w;
            struct bus_access a = {.vcpu = &vcpus[0], .size = 4, .write = true, .value = ~0u};
            FUZZ_CHECK(bus_access(&vm.bus, gpa(BASE + at), &a) == 0);
            model_write(at, ~0u);
        }
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size) {
    struct fuzz f = {data, size};
    u8 shape = fuzz_u8(&f);
    set_up(1 + shape % VCPUS_MAX);
    if (shape & 0x80)
        open_up();
    while (fuzz_more(&f))
        step(&f);
    vplic_destroy(&vm);
    return 0;
}
