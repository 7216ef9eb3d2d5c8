// SPDX-License-Identifier: Apache-2.0
// The goldfish RTC (Linux drivers/rtc/rtc-goldfish.c, QEMU hw/rtc/goldfish_rtc.c): 64-bit times in two halves; the low
// half is read first and holds the high one, the high half is written first and the low one makes it so.
#include "vgoldfish_rtc.h"

#include "arch.h"
#include "bus.h"
#include "irqchip.h"
#include "lock.h"
#include "page.h"
#include "timer.h"
#include "vm.h"
#include "wallclock.h"

enum {
    RTC_TIME_LOW = 0x00,
    RTC_TIME_HIGH = 0x04,
    RTC_ALARM_LOW = 0x08,
    RTC_ALARM_HIGH = 0x0c,
    RTC_IRQ_ENABLED = 0x10,
    RTC_CLEAR_ALARM = 0x14,
    RTC_ALARM_STATUS = 0x18,
    RTC_CLEAR_INTERRUPT = 0x1c,
};

static constexpr u64 NS = 1000ull * 1000 * 1000;

struct vgoldfish_rtc {
    struct vdev dev; // first
    u32 irq;
    struct spinlock lock;
    u64 offset; // the guest's nanoseconds less ours
    u64 alarm;  // the guest's nanoseconds
    u64 due;    // the alarm that is armed: one whose high half alone was written is not yet
    u32 time_high;
    bool armed, pending, enabled;
    struct timer timer;
};

static u64 now(const struct vgoldfish_rtc *r) {
    u64 ns, seconds;
    do { // both halves of one second
        ns = arch_now_ns();
        seconds = wallclock_seconds();
    } while (arch_now_ns() / NS != ns / NS);
    return seconds * NS + ns % NS + r->offset;
}

static void update(struct vgoldfish_rtc *r) {
    irqchip_set(r->dev.vm, r->irq, r->pending && r->enabled);
}

// Locked: an alarm of the past comes at once.
static void await_alarm(struct vgoldfish_rtc *r) {
    const u64 time = now(r);
    r->armed = r->due > time;
    if (!r->armed)
        r->pending = true;
    else
        timer_arm(&r->timer, arch_now_ns() + MIN(r->due - time, UINT64_MAX / 2));
}

static void alarm_reached(struct timer *t) {
    struct vgoldfish_rtc *r = container_of(t, struct vgoldfish_rtc, timer);
    spin_lock(&r->lock);
    if (r->armed) { // else the guest has changed its mind
        await_alarm(r);
        update(r);
    }
    spin_unlock(&r->lock);
}

// Locked.
static u32 register_read(struct vgoldfish_rtc *r, u32 offset) {
    u64 time;
    switch (offset) {
    case RTC_TIME_LOW:
        time = now(r);
        r->time_high = (u32)(time >> 32);
        return (u32)time;
    case RTC_TIME_HIGH:
        return r->time_high;
    case RTC_ALARM_LOW:
        return (u32)r->alarm;
    case RTC_ALARM_HIGH:
        return (u32)(r->alarm >> 32);
    case RTC_IRQ_ENABLED:
        return r->enabled;
    case RTC_ALARM_STATUS:
        return r->armed;
    default:
        return 0;
    }
}

// Locked: the alarm stays where it was on the guest's clock, which may be nearer now, further, or past.
static void time_set(struct vgoldfish_rtc *r, u64 from, u64 to) {
    r->offset += to - from;
    if (r->armed)
        await_alarm(r);
}

// Locked.
static void register_write(struct vgoldfish_rtc *r, u32 offset, u32 value) {
    const u64 time = now(r);
    switch (offset) {
    case RTC_TIME_LOW:
        time_set(r, time, (time & ~0xffffffffull) | value);
        break;
    case RTC_TIME_HIGH:
        time_set(r, time, (u64)value << 32 | (u32)time);
        break;
    case RTC_ALARM_LOW:
        r->alarm = (r->alarm & ~0xffffffffull) | value;
        r->due = r->alarm;
        await_alarm(r);
        break;
    case RTC_ALARM_HIGH:
        r->alarm = (u64)value << 32 | (u32)r->alarm;
        break;
    case RTC_IRQ_ENABLED:
        r->enabled = value & 1;
        break;
    case RTC_CLEAR_ALARM:
        r->armed = false;
        break;
    case RTC_CLEAR_INTERRUPT:
        r->pending = false;
        break;
    default:
        break;
    }
    update(r);
}

static int vgoldfish_rtc_access(struct vdev *dev, struct bus_access *a) {
    struct vgoldfish_rtc *r = (struct vgoldfish_rtc *)dev;
    const u32 offset = (u32)a->offset;
    const bool there = a->size == 4;
    if (!a->write)
        a->value = 0;
    if (!there)
        return 0;
    spin_lock(&r->lock);
    if (a->write)
        register_write(r, offset, (u32)a->value);
    else
        a->value = register_read(r, offset);
    spin_unlock(&r->lock);
    return 0;
}

static void vgoldfish_rtc_reset(struct vdev *dev) {
    struct vgoldfish_rtc *r = (struct vgoldfish_rtc *)dev;
    timer_cancel(&r->timer);
    spin_lock(&r->lock);
    r->offset = r->alarm = r->due = 0;
    r->time_high = 0;
    r->armed = r->pending = r->enabled = false;
    update(r);
    spin_unlock(&r->lock);
}

int vgoldfish_rtc_create(struct vm *vm, gpa_t base, u32 irq) {
    struct vgoldfish_rtc *r = page_alloc(0);
    if (r == nullptr)
        return -ENOMEM;
    r->dev = (struct vdev){"goldfish-rtc", vm, base, VGOLDFISH_RTC_SIZE, vgoldfish_rtc_access, vgoldfish_rtc_reset};
    r->irq = irq;
    spin_init(&r->lock, LOCK_DEVICE);
    timer_init(&r->timer, alarm_reached);
    const int err = bus_add(&vm->bus, &r->dev);
    if (err)
        page_free(r, 0);
    return err;
}

void vgoldfish_rtc_destroy(struct vm *vm) {
    struct vdev *dev = bus_remove(&vm->bus, vgoldfish_rtc_access);
    if (dev == nullptr)
        return;
    struct vgoldfish_rtc *r = (struct vgoldfish_rtc *)dev;
    timer_cancel(&r->timer);
    page_free(r, 0);
}
