// SPDX-License-Identifier: Apache-2.0
// The goldfish clock against a model of its registers: the guest's time is ours but for what it has set, an alarm comes
// when its time has come and not before, and the line is what the registers say.
#include "arch.h"
#include "fuzz.h"
#include "vgoldfish_rtc.h"
#include "wallclock.h"

#define CHECK FUZZ_CHECK
#include "../one_device.h"

enum { BASE = 0x101000, IRQ = 11 };
enum { TIME_LOW, TIME_HIGH, ALARM_LOW, ALARM_HIGH, ENABLED, CLEAR_ALARM, ALARM_STATUS, CLEAR_INTERRUPT };
#define SECOND (1000ull * 1000 * 1000)

static struct {
    u64 ahead;      // of our clock
    u64 alarm, due; // the register, and what is waited for
    u64 at;         // which comes then, on our clock
    u32 high;       // as the last read of the low half left it
    bool waiting, pending, enabled;
} model;

static u64 host_time(void) {
    return wallclock_seconds() * SECOND + arch_now_ns() % SECOND;
}

static u64 guest_time(void) {
    return host_time() + model.ahead;
}

static void await(void) {
    u64 left = guest_time() < model.due ? model.due - guest_time() : 0;
    model.at = left < ~host_time() ? host_time() + left : ~0ull;
}

static void model_write(u32 reg, u32 value) {
    u64 time = guest_time();
    switch (reg) {
    case TIME_LOW:
        model.ahead = (time >> 32 << 32 | value) - host_time();
        await();
        break;
    case TIME_HIGH:
        model.ahead = ((u64)value << 32 | (time & 0xffffffff)) - host_time();
        await();
        break;
    case ALARM_LOW:
        model.alarm = model.alarm >> 32 << 32 | value;
        model.due = model.alarm;
        model.waiting = true;
        await();
        break;
    case ALARM_HIGH:
        model.alarm = (u64)value << 32 | (model.alarm & 0xffffffff);
        break;
    case ENABLED:
        model.enabled = value & 1;
        break;
    case CLEAR_ALARM:
        model.waiting = false;
        break;
    case CLEAR_INTERRUPT:
        model.pending = false;
        break;
    default:
        break;
    }
}

static u32 model_read(u32 reg) {
    switch (reg) {
    case TIME_LOW:
        model.high = (u32)(guest_time() >> 32);
        return (u32)guest_time();
    case TIME_HIGH:
        return model.high;
    case ALARM_LOW:
        return (u32)model.alarm;
    case ALARM_HIGH:
        return (u32)(model.alarm >> 32);
    case ENABLED:
        return model.enabled;
    case ALARM_STATUS:
        return model.waiting;
    default:
        return 0;
    }
}

// Whatever made the guest's clock reach its alarm: its running, or its being set.
static void alarm(void) {
    if (!model.waiting || host_time() < model.at)
        return;
    model.waiting = false;
    model.pending = true;
}

static void operate(struct fuzz *f) {
    u8 what = fuzz_u8(f), size = (u8)((what & 0x60) == 0x60 ? 1 << (what & 3) : 4);
    u32 offset = (what & 0x60) == 0x60 ? fuzz_u16(f) % VGOLDFISH_RTC_SIZE & ~(size - 1u) : (what & 7) * 4u;
    u32 reg = size == 4 && offset < 0x20 ? offset / 4 : ~0u;
    if (what >= 0xf8) {
        bus_reset(&vm.bus);
        memset(&model, 0, sizeof(model));
    } else if (what >= 0xc0) {
        host_advance(fuzz_u16(f) * (what & 1 ? SECOND / 1024 : 64 * SECOND));
    } else if (what & 0x80) {
        FUZZ_CHECK(device_access(offset, size, false, ~0ull) == model_read(reg));
    } else {
        u64 value = what & 8 ? fuzz_number(f, size) : guest_time() + fuzz_u16(f) * SECOND / 256;
        if (!(what & 8) && (reg == ALARM_HIGH || reg == TIME_HIGH))
            value = guest_time() >> 32;
        device_access(offset, size, true, value);
        model_write(reg, (u32)value);
    }
}

static void check(void) {
    FUZZ_CHECK(line == (model.pending && model.enabled));
    FUZZ_CHECK(device_access(4 * ALARM_STATUS, 4, false, 0) == model.waiting);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size) {
    struct fuzz f = {data, size};
    one_device_vm(BASE, IRQ);
    memset(&model, 0, sizeof(model));
    FUZZ_CHECK(vgoldfish_rtc_create(&vm, gpa(BASE), IRQ) == 0);
    while (fuzz_more(&f)) {
        operate(&f);
        alarm();
        check();
    }
    vgoldfish_rtc_destroy(&vm);
    return 0;
}
