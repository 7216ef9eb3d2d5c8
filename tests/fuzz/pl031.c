// SPDX-License-Identifier: Apache-2.0
// The real-time clock against a model of its registers: the counter runs with our seconds, the match comes when the
// counter has that value, and the line is what the registers say.
#include "fuzz.h"
#include "vpl031.h"

#define CHECK FUZZ_CHECK
#include "wallclock.h"
#include "../one_device.h"

enum { BASE = 0x9010000, IRQ = 34, DR = 0, MR = 4, LR = 8, IMSC = 0x10, RIS = 0x14, MIS = 0x18, ICR = 0x1c };
#define SECOND (1000ull * 1000 * 1000)

static u32 read(u32 offset) {
    return (u32)device_access(offset, 4, false, 0);
}

static struct {
    u32 offset, match, load, imsc;
    bool ris, waiting;
    u64 match_second; // on the machine's clock
} model;

static u32 counter(void) {
    return (u32)wallclock_seconds() + model.offset;
}

static void await(void) {
    u32 left = model.match - counter();
    model.waiting = left != 0;
    model.ris |= left == 0;
    model.match_second = wallclock_seconds() + left;
}

static void model_write(u32 offset, u8 size, u32 value) {
    if (size > 4 || offset % 4)
        return;
    if (offset == MR) {
        model.match = value;
        await();
    } else if (offset == LR) {
        model.load = value;
        model.offset = value - (u32)wallclock_seconds();
        await();
    } else if (offset == IMSC) {
        model.imsc = value & 1;
    } else if (offset == ICR && (value & 1)) {
        model.ris = false;
    }
}

static void check(void) {
    if (model.waiting && wallclock_seconds() >= model.match_second) {
        model.waiting = false;
        model.ris = true;
    }
    FUZZ_CHECK(read(DR) == counter() && read(MR) == model.match && read(LR) == model.load);
    FUZZ_CHECK(read(IMSC) == model.imsc && read(RIS) == model.ris && read(MIS) == (model.ris & model.imsc));
    FUZZ_CHECK(line == (model.ris && model.imsc));
}

static void operate(struct fuzz *f) {
    u8 what = fuzz_u8(f), size = (u8)(1 << (what & 3));
    u32 offset = (what & 4 ? fuzz_u8(f) & 0x1cu : fuzz_u16(f) & 0xfff) & ~(size - 1u);
    if (what < 160) {
        u64 value = what & 8 ? counter() + fuzz_u8(f) - 4u : fuzz_number(f, size);
        if (size < 8)
            value &= BIT(8 * size) - 1;
        device_access(offset, size, true, value);
        model_write(offset, size, (u32)value);
    } else if (what < 190) {
        u64 value = device_access(offset, size, false, ~0ull);
        FUZZ_CHECK(value <= 0xffffffff);
    } else if (what < 250) {
        host_advance(fuzz_u16(f) * SECOND / 1024);
    } else {
        bus_reset(&vm.bus);
        memset(&model, 0, sizeof(model));
    }
    check();
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size) {
    struct fuzz f = {data, size};
    one_device_vm(BASE, IRQ);
    memset(&model, 0, sizeof(model));
    FUZZ_CHECK(vpl031_create(&vm, gpa(BASE), IRQ) == 0);
    while (fuzz_more(&f))
        operate(&f);
    vpl031_destroy(&vm);
    return 0;
}
