// SPDX-License-Identifier: Apache-2.0
// The vAPLIC. A source has two bits, pending and enabled; when both are set and the domain delivers, its message is
// sent and pending is clear again (§4.9.1). A level is sent once for each rise, and again when the guest asks (§4.9.2).
#include "vaplic.h"

#include <string.h>

#include "lock.h"
#include "page.h"
#include "vm.h"

enum {
    DOMAINCFG = 0x0000,
    SOURCECFG = 0x0004, // … 0x0ffc
    SETIP = 0x1c00,
    SETIPNUM = 0x1cdc,
    CLRIP = 0x1d00, // read: the rectified inputs
    CLRIPNUM = 0x1ddc,
    SETIE = 0x1e00,
    SETIENUM = 0x1edc,
    CLRIE = 0x1f00,
    CLRIENUM = 0x1fdc,
    SETIPNUM_LE = 0x2000,
    SETIPNUM_BE = 0x2004,
    GENMSI = 0x3000,
    TARGET = 0x3004, // … 0x3ffc
    ARRAY_END = 0x80,
    IDS = VAPLIC_SOURCES + 1,
    WORDS = IDS / 32,
};
static_assert(IDS % 32 == 0);
#define DOMAINCFG_READ 0x80000004u // fixed byte; DM: messages only
#define DOMAINCFG_IE BIT(8)
#define SOURCECFG_SM BITS(2, 0)
#define TARGET_HART BITS(31, 18)
#define TARGET_IDENTITY BITS(10, 0)
enum source_mode { INACTIVE = 0, DETACHED = 1, EDGE_RISE = 4, EDGE_FALL = 5, LEVEL_HIGH = 6, LEVEL_LOW = 7 };

struct vaplic {
    struct vdev dev; // first
    struct spinlock lock;
    vaplic_send_fn send;
    bool deliver; // domaincfg.IE
    u32 line[WORDS], pending[WORDS], enabled[WORDS];
    u8 mode[IDS];
    u32 target[IDS];
};

static bool get(const u32 *set, u32 id) {
    return set[id / 32] >> (id % 32) & 1;
}
static void put(u32 *set, u32 id, bool on) {
    set[id / 32] = (set[id / 32] & ~(1u << (id % 32))) | (u32)on << (id % 32);
}

// The wire as the source's mode sees it (§4.7).
static bool rectified(const struct vaplic *a, u32 id) {
    u8 mode = a->mode[id];
    bool level = get(a->line, id);
    return mode == EDGE_RISE || mode == LEVEL_HIGH ? level : mode == EDGE_FALL || mode == LEVEL_LOW ? !level : false;
}
static bool is_level(const struct vaplic *a, u32 id) {
    return a->mode[id] == LEVEL_HIGH || a->mode[id] == LEVEL_LOW;
}

static void deliver(struct vaplic *a, u32 id) {
    if (!a->deliver || !get(a->pending, id) || !get(a->enabled, id))
        return;
    put(a->pending, id, false);
    a->send(a->dev.vm, (u32)field_get(TARGET_HART, a->target[id]), (u32)field_get(TARGET_IDENTITY, a->target[id]));
}

static void deliver_all(struct vaplic *a) {
    for (u32 w = 0; w < WORDS; w++)
        for (u32 m = a->pending[w] & a->enabled[w]; m; m &= m - 1)
            deliver(a, w * 32 + (u32)__builtin_ctz(m));
}

void vaplic_set(struct vaplic *a, u32 id, bool level) {
    if (id == 0 || id >= IDS)
        return;
    spin_lock(&a->lock);
    bool before = rectified(a, id);
    put(a->line, id, level);
    bool now = rectified(a, id);
    if (now && !before)
        put(a->pending, id, true);
    else if (!now && is_level(a, id))
        put(a->pending, id, false);
    deliver(a, id);
    spin_unlock(&a->lock);
}

// Software's own write of a pending bit (§4.9.2): a level that is down stays so.
static void set_pending(struct vaplic *a, u32 id) {
    if (id == 0 || id >= IDS || a->mode[id] == INACTIVE || (is_level(a, id) && !rectified(a, id)))
        return;
    put(a->pending, id, true);
    deliver(a, id);
}

static void set_enabled(struct vaplic *a, u32 id, bool on) {
    if (id == 0 || id >= IDS || a->mode[id] == INACTIVE)
        return;
    put(a->enabled, id, on);
    deliver(a, id);
}

static void set_mode(struct vaplic *a, u32 id, u32 value) {
    u8 mode = value & SOURCECFG_SM, old = a->mode[id]; // bit 10 would delegate it to a domain below: there is none
    bool before = rectified(a, id);
    a->mode[id] = mode == 2 || mode == 3 || (value & BIT(10)) ? INACTIVE : mode;
    bool now = rectified(a, id), level = is_level(a, id);
    if (a->mode[id] == INACTIVE) {
        put(a->pending, id, false);
        put(a->enabled, id, false);
        a->target[id] = 0;
    } else if (now &&
               (!before || (level && mode != old))) { // a level that is up, whatever its edge has led to (§4.5.2)
        put(a->pending, id, true);
        deliver(a, id);
    } else if (!now && level) { // never pending (§4.7)
        put(a->pending, id, false);
    }
}

static void write_bits(struct vaplic *a, u32 reg, u32 word, u32 value) {
    for (u32 m = word < WORDS ? value : 0; m; m &= m - 1) {
        u32 id = word * 32 + (u32)__builtin_ctz(m);
        if (reg == SETIP)
            set_pending(a, id);
        else if (reg == CLRIP)
            put(a->pending, id, false);
        else
            set_enabled(a, id, reg == SETIE);
    }
}

static u32 inputs(const struct vaplic *a, u32 word) {
    u32 bits = 0;
    for (u32 i = 0; i < 32; i++)
        bits |= (u32)rectified(a, word * 32 + i) << i;
    return bits;
}

static u32 read_reg(const struct vaplic *a, u32 at) {
    u32 word = at % ARRAY_END / 4;
    if (at == DOMAINCFG)
        return DOMAINCFG_READ | (a->deliver ? (u32)DOMAINCFG_IE : 0);
    if (at >= SOURCECFG && at < SOURCECFG + 4 * VAPLIC_SOURCES)
        return a->mode[at / 4];
    if (at >= TARGET && at < TARGET + 4 * VAPLIC_SOURCES)
        return a->target[at % 0x1000 / 4];
    if (word >= WORDS)
        return 0;
    switch (at - at % ARRAY_END) {
    case SETIP:
        return a->pending[word];
    case CLRIP:
        return inputs(a, word);
    case SETIE:
        return a->enabled[word];
    default:
        return 0;
    }
}

static void write_reg(struct vaplic *a, u32 at, u32 value) {
    u32 array = at - at % ARRAY_END;
    if (at == DOMAINCFG) {
        a->deliver = value & DOMAINCFG_IE;
        deliver_all(a);
    } else if (at >= SOURCECFG && at < SOURCECFG + 4 * VAPLIC_SOURCES) {
        set_mode(a, at / 4, value);
    } else if (at >= TARGET && at < TARGET + 4 * VAPLIC_SOURCES) {
        u32 id = at % 0x1000 / 4;
        if (a->mode[id] != INACTIVE)
            a->target[id] = value & (u32)(TARGET_HART | TARGET_IDENTITY);
    } else if (at == SETIPNUM || at == SETIPNUM_LE) {
        set_pending(a, value);
    } else if (at == CLRIPNUM && value && value < IDS) {
        put(a->pending, value, false);
    } else if (at == SETIENUM || at == CLRIENUM) {
        set_enabled(a, value, at == SETIENUM);
    } else if (at == GENMSI) {
        a->send(a->dev.vm, (u32)field_get(TARGET_HART, value), (u32)field_get(TARGET_IDENTITY, value));
    } else if (array == SETIP || array == CLRIP || array == SETIE || array == CLRIE) {
        write_bits(a, array, at % ARRAY_END / 4, value);
    }
}

static int vaplic_access(struct vdev *dev, struct bus_access *access) {
    struct vaplic *a = (struct vaplic *)dev;
    if (access->size != 4)
        return -EFAULT;
    spin_lock(&a->lock);
    if (access->write)
        write_reg(a, (u32)access->offset, (u32)access->value);
    else
        access->value = read_reg(a, (u32)access->offset);
    spin_unlock(&a->lock);
    return 0;
}

static void vaplic_reset(struct vdev *dev) {
    struct vaplic *a = (struct vaplic *)dev;
    spin_lock(&a->lock);
    a->deliver = false;
    memset(a->pending, 0, sizeof(a->pending));
    memset(a->enabled, 0, sizeof(a->enabled));
    memset(a->mode, 0, sizeof(a->mode));
    memset(a->target, 0, sizeof(a->target));
    spin_unlock(&a->lock);
}

struct vaplic *vaplic_create(struct vm *vm, gpa_t base, vaplic_send_fn send) {
    static_assert(sizeof(struct vaplic) <= PAGE_SIZE);
    struct vaplic *a = page_alloc(0);
    if (!a)
        return nullptr;
    a->dev = (struct vdev){
        .name = "aplic", .vm = vm, .base = base, .size = VAPLIC_SIZE, .access = vaplic_access, .reset = vaplic_reset};
    a->send = send;
    spin_init(&a->lock, LOCK_IRQCHIP);
    if (bus_add(&vm->bus, &a->dev) != 0) {
        page_free(a, 0);
        return nullptr;
    }
    return a;
}

void vaplic_destroy(struct vaplic *a) {
    if (!a)
        return;
    (void)bus_remove(&a->dev.vm->bus, vaplic_access);
    page_free(a, 0);
}
