// SPDX-License-Identifier: Apache-2.0
// The IOAPIC. One lock a VM; the local APICs take its messages without one, and vCPUs are kicked after it is dropped.
#include "vioapic.h"

#include <stdio.h>
#include <string.h>

#include "lock.h"
#include "page.h"
#include "vlapic_internal.h"
#include "vm.h"

// 82093AA, chapter 3
enum {
    IO_SELECT = 0x00,
    IO_WINDOW = 0x10,
    IO_EOI = 0x40, // since version 0x20
    REG_ID = 0x00,
    REG_VERSION = 0x01,
    REG_ARBITRATION = 0x02,
    REG_TABLE = 0x10,
    VERSION = 0x20 | (VIOAPIC_PINS - 1) << 16,
};

#define ENTRY_VECTOR 0xffull
#define ENTRY_LOGICAL BIT(11)
#define ENTRY_STATUS BIT(12)
#define ENTRY_REMOTE_IRR BIT(14)
#define ENTRY_LEVEL BIT(15)
#define ENTRY_MASKED BIT(16)
#define ENTRY_READ_ONLY (ENTRY_STATUS | ENTRY_REMOTE_IRR)
#define ENTRY_WRITABLE (0xff0000000001ffffull & ~ENTRY_READ_ONLY)
#define ENTRY_DEST_SHIFT 56

struct vioapic {
    struct vdev dev; // first
    struct spinlock lock;
    u32 select, id;
    u32 lines;     // levels, by pin
    u32 requested; // pins that rose while they were masked, and are still up
    u64 entries[VIOAPIC_PINS];
};

static struct vioapic *ioapic_of(struct vm *vm) {
    return ((struct vlapic_vm *)vm->irqchip)->ioapic;
}

// Locked. The polarity bit is not looked at: devices say "asserted". Returns who is to be kicked.
static u32 send(struct vioapic *io, u32 pin) {
    u64 *e = &io->entries[pin];
    const bool level = *e & ENTRY_LEVEL;
    if ((*e & ENTRY_MASKED) || (level && (*e & ENTRY_REMOTE_IRR)))
        return 0;
    const struct vlapic_message message = {
        .dest = (u32)(*e >> ENTRY_DEST_SHIFT),
        .vector = (u8)*e,
        .mode = *e >> 8 & 7,
        .logical = *e & ENTRY_LOGICAL,
        .level = level,
    };
    if (level && (message.mode == VLAPIC_FIXED || message.mode == VLAPIC_LOWEST) && vlapic_takes(io->dev.vm, &message))
        *e |= ENTRY_REMOTE_IRR;
    return vlapic_send(io->dev.vm, &message);
}

// Locked: a pin may have something to say.
static u32 evaluate(struct vioapic *io, u32 pin) {
    const u32 bit = 1u << pin;
    if (io->entries[pin] & ENTRY_LEVEL)
        return io->lines & bit ? send(io, pin) : 0;
    if (!(io->requested & bit) || (io->entries[pin] & ENTRY_MASKED))
        return 0;
    io->requested &= ~bit;
    return send(io, pin);
}

void vioapic_set(struct vm *vm, u32 pin, bool level) {
    struct vioapic *io = ioapic_of(vm);
    u32 kicks = 0;
    if (pin >= VIOAPIC_PINS || io == nullptr)
        return;
    spin_lock(&io->lock);
    const u32 bit = 1u << pin;
    if (level && !(io->lines & bit)) {
        io->lines |= bit;
        io->requested |= bit;
        kicks = evaluate(io, pin);
    } else if (!level) {
        io->lines &= ~bit;
        io->requested &= ~bit;
    }
    spin_unlock(&io->lock);
    vlapic_kick(vm, kicks, nullptr);
}

// Locked. As chipsets have it, and Linux relies on it: a level-triggered pin that becomes edge-triggered forgets that
// its interrupt is being served.
static u32 entry_write(struct vioapic *io, u32 pin, u32 value, bool high) {
    u64 *e = &io->entries[pin];
    const u64 mask = (high ? 0xffffffffull << 32 : 0xffffffffull) & ENTRY_WRITABLE;
    *e = (*e & ~mask) | ((high ? (u64)value << 32 : value) & mask);
    if (!(*e & ENTRY_LEVEL))
        *e &= ~ENTRY_REMOTE_IRR;
    return high ? 0 : evaluate(io, pin);
}

static u32 eoi_locked(struct vioapic *io, u32 vector) {
    u32 kicks = 0;
    for (u32 pin = 0; pin < VIOAPIC_PINS; pin++) {
        u64 *e = &io->entries[pin];
        if ((*e & ENTRY_VECTOR) != vector || !(*e & ENTRY_REMOTE_IRR))
            continue;
        *e &= ~ENTRY_REMOTE_IRR;
        kicks |= evaluate(io, pin);
    }
    return kicks;
}

void vioapic_eoi(struct vcpu *by, u32 vector) {
    struct vioapic *io = ioapic_of(by->vm);
    if (io == nullptr)
        return;
    spin_lock(&io->lock);
    const u32 kicks = eoi_locked(io, vector);
    spin_unlock(&io->lock);
    vlapic_kick(by->vm, kicks, by);
}

static u32 window_read(const struct vioapic *io) {
    const u32 entry = io->select - REG_TABLE;
    switch (io->select) {
    case REG_ID:
    case REG_ARBITRATION:
        return io->id;
    case REG_VERSION:
        return VERSION;
    default:
        return entry < 2 * VIOAPIC_PINS ? (u32)(io->entries[entry / 2] >> entry % 2 * 32) : 0;
    }
}

static u32 window_write(struct vioapic *io, u32 value) {
    const u32 entry = io->select - REG_TABLE;
    if (io->select == REG_ID)
        io->id = value & 0x0f000000;
    else if (entry < 2 * VIOAPIC_PINS)
        return entry_write(io, entry / 2, value, entry % 2);
    return 0;
}

// The registers are words; of other sizes a read gets a piece, and a write of the selector works as software expects.
static int vioapic_access(struct vdev *dev, struct bus_access *a) {
    struct vioapic *io = (struct vioapic *)dev;
    const u32 offset = (u32)a->offset & 0xff;
    u32 kicks = 0;
    spin_lock(&io->lock);
    if (!a->write)
        a->value = offset == IO_SELECT ? io->select : offset == IO_WINDOW ? window_read(io) : 0;
    else if (offset == IO_SELECT)
        io->select = a->value & 0xff;
    else if (offset == IO_WINDOW && a->size == 4)
        kicks = window_write(io, (u32)a->value);
    else if (offset == IO_EOI && a->size == 4)
        kicks = eoi_locked(io, a->value & 0xff);
    spin_unlock(&io->lock);
    vlapic_kick(dev->vm, kicks, a->vcpu);
    return 0;
}

// The lines are the devices', which are reset on their own.
void vioapic_reset(struct vioapic *io) {
    spin_lock(&io->lock);
    io->select = io->id = io->requested = 0;
    for (u32 pin = 0; pin < VIOAPIC_PINS; pin++)
        io->entries[pin] = ENTRY_MASKED;
    spin_unlock(&io->lock);
}

size_t vioapic_describe(struct vioapic *io, char *buf, size_t size) {
    size_t used = 0;
    spin_lock(&io->lock);
    for (u32 pin = 0; pin < VIOAPIC_PINS; pin++) {
        const u64 e = io->entries[pin];
        const bool high = io->lines >> pin & 1;
        if (!high && (e & ENTRY_MASKED))
            continue;
        used += (size_t)snprintf(buf + MIN(used, size), size - MIN(used, size), "pin %u: vector %#x to %#x%s%s%s%s\n",
                                 pin, (u32)(e & ENTRY_VECTOR), (u32)(e >> ENTRY_DEST_SHIFT),
                                 e & ENTRY_LEVEL ? " level" : " edge", e & ENTRY_MASKED ? " masked" : "",
                                 e & ENTRY_REMOTE_IRR ? " in service" : "", high ? " high" : "");
    }
    spin_unlock(&io->lock);
    return MIN(used, size);
}

int vioapic_create(struct vm *vm) {
    struct vioapic *io = page_alloc(0);
    static_assert(sizeof(*io) <= PAGE_SIZE);
    if (io == nullptr)
        return -ENOMEM;
    io->dev = (struct vdev){"IOAPIC", vm, gpa(VIOAPIC_BASE), VIOAPIC_SIZE, vioapic_access, nullptr};
    spin_init(&io->lock, LOCK_IRQCHIP);
    vioapic_reset(io);
    const int err = bus_add(&vm->bus, &io->dev);
    if (err) {
        page_free(io, 0);
        return err;
    }
    ((struct vlapic_vm *)vm->irqchip)->ioapic = io;
    return 0;
}

void vioapic_destroy(struct vm *vm) {
    struct vdev *dev = bus_remove(&vm->bus, vioapic_access);
    if (dev == nullptr)
        return;
    ((struct vlapic_vm *)vm->irqchip)->ioapic = nullptr;
    page_free((struct vioapic *)dev, 0);
}
