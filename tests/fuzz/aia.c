// SPDX-License-Identifier: Apache-2.0
// The APLIC and the emulated IMSIC behind it against a model without words of bits: any access to either's memory, any
// operation on a file's registers by its own vCPU, wires that rise and fall, resets. Every read is the model's, each
// message arrives at the file that it names, and a file with something due has its external interrupt up or its vCPU
// told.
#include <string.h>

#include "../bare_vm.h"
#include "arch.h"
#include "fuzz.h"
#include "vaplic.h"
#include "vimsic.h"
#include "vm.h"
#include "vplic.h"

enum { APLIC = 0xd000000, IMSIC = 0x28000000, VCPUS_MAX = 3, SOURCES = VAPLIC_SOURCES + 1, IDS = 127 };
enum { DETACHED = 1, RISE = 4, FALL, HIGH, LOW };

static struct vm vm;
static struct vcpu vcpus[VCPUS_MAX];
static struct vimsic *imsic;
static struct vaplic *aplic;
static bool kicked[VCPUS_MAX];

static struct {
    bool deliver;
    struct {
        bool line, pending, enabled;
        u8 mode;
        u32 hart, identity;
    } source[SOURCES];
    struct {
        bool pending[IDS + 1], enabled[IDS + 1], delivers;
        u32 threshold;
    } file[VCPUS_MAX];
} model;

void vcpu_kick(struct vcpu *v) {
    kicked[v->id] = true;
}

bool arch_irq_level(struct vcpu *v, u32 ppi) {
    FUZZ_CHECK(v->vm == &vm && ppi == VPLIC_STI);
    return false;
}

static void send(struct vm *of, u32 hart, u32 identity) {
    FUZZ_CHECK(of == &vm);
    vimsic_send(imsic, hart, identity);
}

// ── The model's files ───────────────────────────────────────────────────────────────────────────────────────────────
static void model_send(u32 hart, u32 identity) {
    if (hart < vm.vcpu_count && identity && identity <= IDS)
        model.file[hart].pending[identity] = true;
}

static u32 model_top(u32 v) {
    for (u32 id = 1; id <= IDS && (!model.file[v].threshold || id < model.file[v].threshold); id++)
        if (model.file[v].pending[id] && model.file[v].enabled[id])
            return id;
    return 0;
}

static u64 word_of(const bool *bits, u32 w) {
    u64 value = 0;
    for (u32 i = 0; i < 64 && w * 64 + i <= IDS; i++)
        value |= (u64)bits[w * 64 + i] << i;
    return value;
}

static bool model_register(u32 v, u64 select, u64 *old) {
    if (select == 0x70)
        *old = model.file[v].delivers;
    else if (select == 0x72)
        *old = model.file[v].threshold;
    else if (select >= 0x80 && select < 0x100 && !(select & 1))
        *old = word_of(select >= 0xc0 ? model.file[v].enabled : model.file[v].pending, (u32)(select & 0x3f) / 2);
    else
        return false;
    return true;
}

static void model_register_write(u32 v, u64 select, u64 value) {
    if (select == 0x70)
        model.file[v].delivers = value & 1;
    else if (select == 0x72)
        model.file[v].threshold = value & IDS;
    for (u32 i = 0; i < 64 && select >= 0x80; i++) {
        u32 id = (u32)(select & 0x3f) / 2 * 64 + i;
        if (id && id <= IDS)
            (select >= 0xc0 ? model.file[v].enabled : model.file[v].pending)[id] = value >> i & 1;
    }
}

// ── The model's wires ───────────────────────────────────────────────────────────────────────────────────────────────
static bool seen(u32 id) {
    u8 mode = model.source[id].mode;
    return mode >= RISE && model.source[id].line == (mode == RISE || mode == HIGH);
}

static void forward(u32 id) {
    if (!model.deliver || !model.source[id].pending || !model.source[id].enabled)
        return;
    model.source[id].pending = false;
    model_send(model.source[id].hart, model.source[id].identity);
}

static void model_wire(u32 id, bool level) {
    bool before = seen(id);
    model.source[id].line = level;
    if (seen(id) && !before)
        model.source[id].pending = true;
    if (!seen(id) && model.source[id].mode >= HIGH)
        model.source[id].pending = false;
    forward(id);
}

static void model_pend(u32 id, bool on) {
    if (id == 0 || id >= SOURCES || model.source[id].mode == 0)
        return;
    if (on && model.source[id].mode >= HIGH && !seen(id))
        return;
    model.source[id].pending = on;
    forward(id);
}

static void model_enable(u32 id, bool on) {
    if (id == 0 || id >= SOURCES || model.source[id].mode == 0)
        return;
    model.source[id].enabled = on;
    forward(id);
}

static void model_mode(u32 id, u32 value) {
    u8 mode = value & 0x400 || (value & 7) == 2 || (value & 7) == 3 ? 0 : value & 7;
    u8 old = model.source[id].mode;
    bool before = seen(id);
    model.source[id].mode = mode;
    if (mode == 0) {
        model.source[id].pending = model.source[id].enabled = false;
        model.source[id].hart = model.source[id].identity = 0;
    } else if (seen(id) && (!before || (mode >= HIGH && mode != old))) {
        model.source[id].pending = true;
        forward(id);
    } else if (!seen(id) && mode >= HIGH) {
        model.source[id].pending = false;
    }
}

static void model_bits(u32 array, u32 word, u32 value) {
    for (u32 i = 0; i < 32; i++) {
        u32 id = word * 32 + i;
        if (!(value >> i & 1))
            continue;
        if (array == 0x1c00 || array == 0x1d00)
            model_pend(id, array == 0x1c00);
        else
            model_enable(id, array == 0x1e00);
    }
}

static void model_write(u32 at, u32 value) {
    if (at == 0) {
        model.deliver = value & 0x100;
        for (u32 id = 1; id < SOURCES; id++)
            forward(id);
    } else if (at / 4 < SOURCES) {
        model_mode(at / 4, value);
    } else if (at > 0x3000 && (at - 0x3000) / 4 < SOURCES) {
        u32 id = (at - 0x3000) / 4;
        model.source[id].hart = model.source[id].mode ? value >> 18 : 0;
        model.source[id].identity = model.source[id].mode ? value & 0x7ff : 0;
    } else if (at == 0x1cdc || at == 0x2000) {
        model_pend(value, true);
    } else if (at == 0x1ddc) {
        model_pend(value, false);
    } else if (at == 0x1edc || at == 0x1fdc) {
        model_enable(value, at == 0x1edc);
    } else if (at == 0x3000) {
        model_send(value >> 18, value & 0x7ff);
    } else if (at >= 0x1c00 && at < 0x2000 && at % 0x100 < 0x80) {
        model_bits(at & ~0xffu, at % 0x100 / 4, value);
    }
}

static u32 model_read(u32 at) {
    u32 value = 0, array = at & ~0xffu;
    if (at == 0)
        return 0x80000004 | (model.deliver ? 0x100 : 0);
    if (at / 4 < SOURCES)
        return model.source[at / 4].mode;
    if (at > 0x3000 && (at - 0x3000) / 4 < SOURCES)
        return model.source[(at - 0x3000) / 4].hart << 18 | model.source[(at - 0x3000) / 4].identity;
    if ((array != 0x1c00 && array != 0x1d00 && array != 0x1e00) || at % 0x100 >= 0x80)
        return 0;
    for (u32 i = 0; i < 32; i++) {
        u32 id = at % 0x100 / 4 * 32 + i;
        if (id && id < SOURCES)
            value |= (u32)(array == 0x1c00   ? model.source[id].pending
                           : array == 0x1d00 ? seen(id)
                                             : model.source[id].enabled)
                     << i;
    }
    return value;
}

// ── Steps ───────────────────────────────────────────────────────────────────────────────────────────────────────────
static void enter(u32 n) {
    if (!vcpus[n].irq_work)
        return;
    vplic_ops.flush(&vcpus[n]);
    vimsic_flush(imsic, &vcpus[n]);
}

static void check(void) {
    for (u32 n = 0; n < vm.vcpu_count; n++) {
        struct vplic_cpuif *cif = vplic_cpuif(&vcpus[n]);
        bool up = model.file[n].delivers && model_top(n);
        FUZZ_CHECK(vimsic_topei(imsic, &vcpus[n], false) == model_top(n) * 0x10001ull);
        atomic_store(&cif->enabled, BIT(VPLIC_SEI));
        FUZZ_CHECK(vimsic_ready(imsic, &vcpus[n]) == up);
        if (vcpus[n].irq_work)
            FUZZ_CHECK(kicked[n]);
        else
            FUZZ_CHECK(!(cif->levels & BIT(VPLIC_SEI)) == !up);
    }
}

static u32 some_source(struct fuzz *f) {
    u8 id = fuzz_u8(f);
    return id < 0xe0 ? id % SOURCES : fuzz_u16(f);
}

static u32 aplic_address(struct fuzz *f, u8 how) {
    static const u16 singles[] = {0, 0x1cdc, 0x1ddc, 0x1edc, 0x1fdc, 0x2000, 0x2004, 0x3000};
    static const u16 arrays[] = {0x1c00, 0x1d00, 0x1e00, 0x1f00};
    u8 which = fuzz_u8(f);
    switch (how & 7) {
    case 0:
    case 1:
        return singles[which % ARRAY_SIZE(singles)];
    case 2:
    case 3:
        return arrays[which & 3] + which / 4 % 4 * 4u;
    case 4:
        return which % 100 * 4;
    case 5:
        return 0x3000 + which % 100 * 4;
    default:
        return fuzz_u16(f) % VAPLIC_SIZE & ~3u;
    }
}

static void aplic_access(struct fuzz *f, u32 v) {
    u8 how = fuzz_u8(f), size = (u8)(how >= 0xf8 ? 1 << (how & 3) : 4);
    u32 at = aplic_address(f, how) & ~(size - 1u), value = 0;
    struct bus_access a = {.vcpu = &vcpus[v], .size = size, .write = how & 8};
    if (a.write)
        value = how & 0x10   ? some_source(f)
                : how & 0x20 ? (u32)fuzz_u8(f) << 18 | fuzz_u8(f) // a target
                : how & 0x40 ? BIT(fuzz_u8(f) & 31)
                             : fuzz_u32(f);
    a.value = value;
    int err = bus_access(&vm.bus, gpa(APLIC + at), &a);
    FUZZ_CHECK(err == (size == 4 ? 0 : -EFAULT));
    if (!err && a.write)
        model_write(at, value);
    else if (!err)
        FUZZ_CHECK(a.value == model_read(at));
}

static void message(struct fuzz *f) {
    u8 how = fuzz_u8(f), size = (u8)(how >= 0xf8 ? 1 << (how & 3) : 4);
    u32 at = (how % VCPUS_MAX * PAGE_SIZE + (how >= 0xe0 ? fuzz_u16(f) % PAGE_SIZE : 0)) & ~(size - 1u);
    struct bus_access a = {.vcpu = &vcpus[0], .size = size, .write = !(how & 0x40), .value = some_source(f)};
    u64 value = a.value;
    int err = bus_access(&vm.bus, gpa(IMSIC + at), &a);
    if (at / PAGE_SIZE >= vm.vcpu_count)
        FUZZ_CHECK(err == -ENODEV);
    else
        FUZZ_CHECK(err == (size == 4 ? 0 : -EFAULT) && (err || a.write || a.value == 0));
    if (!err && a.write && at % PAGE_SIZE == 0)
        model_send(at / PAGE_SIZE, (u32)value);
}

static void file_access(struct fuzz *f, u32 v) {
    static const u8 selects[] = {0x70, 0x72, 0x80, 0x82, 0xc0, 0xc2, 0xc0, 0xc2};
    u8 how = fuzz_u8(f);
    u64 select = how < 0xe0 ? selects[how & 7] : fuzz_u8(f), value = how & 0x40 ? BIT(fuzz_u8(f) & 63) : 0, old = 0,
        was = 0;
    enum vimsic_op op = (enum vimsic_op)(how >> 3 & 3);
    if (!(how & 0x40))
        value = how & 0x20 ? ~0ull : fuzz_u16(f);
    bool there = model_register(v, select, &was);
    FUZZ_CHECK(vimsic_access(imsic, &vcpus[v], select, op, value, &old) == (there ? 0 : -EINVAL));
    if (!there)
        return;
    FUZZ_CHECK(old == was);
    if (op != VIMSIC_READ)
        model_register_write(v, select, op == VIMSIC_WRITE ? value : op == VIMSIC_SET ? was | value : was & ~value);
}

static void restart(void) {
    bool line[SOURCES];
    for (u32 id = 0; id < SOURCES; id++)
        line[id] = model.source[id].line;
    bus_reset(&vm.bus);
    vplic_ops.reset(&vm);
    memset(&model, 0, sizeof(model));
    for (u32 id = 0; id < SOURCES; id++)
        model.source[id].line = line[id];
    for (u32 n = 0; n < vm.vcpu_count; n++) {
        vplic_ops.vcpu_reset(&vcpus[n]);
        enter(n);
    }
}

static void step(struct fuzz *f) {
    u8 head = fuzz_u8(f), wire;
    u32 v = head >> 6, what = head & 0x3f;
    v %= vm.vcpu_count;
    if (what < 0x10) {
        aplic_access(f, v);
    } else if (what < 0x18) {
        wire = fuzz_u8(f);
        vaplic_set(aplic, wire & 0x7f, wire & 0x80);
        if ((wire & 0x7f) && (wire & 0x7f) < SOURCES)
            model_wire(wire & 0x7f, wire & 0x80);
    } else if (what < 0x20) {
        message(f);
    } else if (what < 0x2c) {
        file_access(f, v);
    } else if (what < 0x34) {
        FUZZ_CHECK(vimsic_topei(imsic, &vcpus[v], true) == model_top(v) * 0x10001ull);
        model.file[v].pending[model_top(v)] = false;
    } else if (what < 0x3f) {
        enter(v);
        kicked[v] = false;
    } else {
        restart();
    }
    check();
}

// Sources 1 … of all modes to identities of all harts, and files that take them: an input need not find out how.
static void open_up(void) {
    for (u32 id = 1; id < SOURCES; id++) {
        u32 writes[][2] = {
            {4 * id, RISE + id % 4}, {0x3000 + 4 * id, id % vm.vcpu_count << 18 | id}, {0x1edc, id}, {0, 0x100}};
        for (u32 i = 0; i < ARRAY_SIZE(writes); i++) {
            struct bus_access a = {.size = 4, .write = true, .value = writes[i][1]};
            FUZZ_CHECK(bus_access(&vm.bus, gpa(APLIC + writes[i][0]), &a) == 0);
            model_write(writes[i][0], writes[i][1]);
        }
    }
    for (u32 v = 0; v < vm.vcpu_count; v++) {
        static const u64 selects[] = {0x70, 0xc0, 0xc2};
        u64 old;
        for (u32 i = 0; i < ARRAY_SIZE(selects); i++) {
            FUZZ_CHECK(vimsic_access(imsic, &vcpus[v], selects[i], VIMSIC_WRITE, ~0ull, &old) == 0);
            model_register_write(v, selects[i], ~0ull);
        }
    }
}

static void set_up(u32 vcpu_count) {
    bare_vm(&vm, vcpus, vcpu_count);
    memset(&model, 0, sizeof(model));
    memset(kicked, 0, sizeof(kicked));
    FUZZ_CHECK(vplic_create_lines(&vm) == 0);
    imsic = vimsic_create(&vm, gpa(IMSIC), IDS);
    aplic = vaplic_create(&vm, gpa(APLIC), send);
    FUZZ_CHECK(imsic && aplic);
    for (u32 n = 0; n < vcpu_count; n++)
        enter(n);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size) {
    struct fuzz f = {data, size};
    u8 shape = fuzz_u8(&f);
    set_up(1 + shape % VCPUS_MAX);
    if (shape & 0x80)
        open_up();
    check();
    while (fuzz_more(&f))
        step(&f);
    vaplic_destroy(aplic);
    vimsic_destroy(imsic);
    vplic_destroy(&vm);
    return 0;
}
