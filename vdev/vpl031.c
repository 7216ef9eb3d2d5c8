// SPDX-License-Identifier: Apache-2.0
#include "vpl031.h"

#include "arch.h"
#include "bus.h"
#include "irqchip.h"
#include "lock.h"
#include "page.h"
#include "timer.h"
#include "vm.h"
#include "wallclock.h"

enum {
    RTC_DR = 0x00,
    RTC_MR = 0x04,
    RTC_LR = 0x08,
    RTC_CR = 0x0c,
    RTC_IMSC = 0x10,
    RTC_RIS = 0x14,
    RTC_MIS = 0x18,
    RTC_ICR = 0x1c,
    RTC_ID = 0xfe0,
    RTC_SIZE = 0x1000,
};

static constexpr u64 NS = 1000ull * 1000 * 1000;

struct vpl031 {
    struct vdev dev; // first
    u32 irq;
    struct spinlock lock;
    u32 load, match, imsc, ris;
    u32 offset;   // the guest's seconds less ours
    bool waiting; // for the match
    u64 match_ns; // arch_now_ns() at which it comes
    struct timer timer;
};

static u32 now(const struct vpl031 *r) {
    return (u32)wallclock_seconds() + r->offset;
}

static void update(struct vpl031 *r) {
    irqchip_set(r->dev.vm, r->irq, r->ris & r->imsc);
}

// Locked: the match comes when the counter, which wraps, next has this value.
static void await_match(struct vpl031 *r) {
    u32 seconds = r->match - now(r);
    r->waiting = seconds != 0;
    if (seconds == 0) {
        r->ris = 1;
        return;
    }
    r->match_ns = (arch_now_ns() / NS + seconds) * NS; // the counter ticks with our seconds
    timer_arm(&r->timer, r->match_ns);
}

static void match_reached(struct timer *t) {
    struct vpl031 *r = container_of(t, struct vpl031, timer);
    spin_lock(&r->lock);
    if (r->waiting && arch_now_ns() >= r->match_ns) { // else the guest has changed its mind
        r->waiting = false;
        r->ris = 1;
        update(r);
    }
    spin_unlock(&r->lock);
}

static u32 register_read(struct vpl031 *r, u32 offset) {
    static const u8 ids[8] = {0x31, 0x10, 0x04, 0x00, 0x0d, 0xf0, 0x05, 0xb1};
    switch (offset) {
    case RTC_DR:
        return now(r);
    case RTC_MR:
        return r->match;
    case RTC_LR:
        return r->load;
    case RTC_CR:
        return 1; // runs, and cannot be stopped (§3.3.4)
    case RTC_IMSC:
        return r->imsc;
    case RTC_RIS:
        return r->ris;
    case RTC_MIS:
        return r->ris & r->imsc;
    default:
        return offset >= RTC_ID ? ids[(offset - RTC_ID) / 4] : 0;
    }
}

// Locked.
static void register_write(struct vpl031 *r, u32 offset, u32 value) {
    switch (offset) {
    case RTC_MR:
        r->match = value;
        await_match(r);
        break;
    case RTC_LR:
        r->load = value;
        r->offset += value - now(r);
        await_match(r);
        break;
    case RTC_IMSC:
        r->imsc = value & 1;
        break;
    case RTC_ICR:
        r->ris &= ~value;
        break;
    default:
        break;
    }
    update(r);
}

static int vpl031_access(struct vdev *dev, struct bus_access *a) {
    struct vpl031 *r = (struct vpl031 *)dev;
    u32 offset = (u32)a->offset;
    bool there = a->size <= 4 && offset % 4 == 0;
    if (!a->write) {
        a->value = there ? register_read(r, offset) : 0;
        return 0;
    }
    if (!there)
        return 0;
    spin_lock(&r->lock);
    register_write(r, offset, (u32)a->value);
    spin_unlock(&r->lock);
    return 0;
}

static void vpl031_reset(struct vdev *dev) {
    struct vpl031 *r = (struct vpl031 *)dev;
    timer_cancel(&r->timer);
    spin_lock(&r->lock);
    r->load = r->match = r->imsc = r->ris = r->offset = 0;
    r->waiting = false;
    update(r);
    spin_unlock(&r->lock);
}

int vpl031_create(struct vm *vm, gpa_t base, u32 irq) {
    struct vpl031 *r = page_alloc(0);
    if (r == nullptr)
        return -ENOMEM;
    r->dev = (struct vdev){"pl031", vm, base, RTC_SIZE, vpl031_access, vpl031_reset};
    r->irq = irq;
    spin_init(&r->lock, LOCK_DEVICE);
    timer_init(&r->timer, match_reached);
    int err = bus_add(&vm->bus, &r->dev);
    if (err)
        page_free(r, 0);
    return err;
}

void vpl031_destroy(struct vm *vm) {
    struct vdev *dev = bus_remove(&vm->bus, vpl031_access);
    if (dev == nullptr)
        return;
    struct vpl031 *r = (struct vpl031 *)dev;
    timer_cancel_sync(&r->timer);
    page_free(r, 0);
}
