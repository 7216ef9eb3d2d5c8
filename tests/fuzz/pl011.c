// SPDX-License-Identifier: Apache-2.0
// The UART: any access, and input whenever the console has some. No byte is lost, doubled or out of order but by the
// rules of its FIFO, what is sent arrives at the console, and the interrupt's line is what the registers say.
#include "../../core/console_state.h"
#include "fuzz.h"
#include "vpl011.h"

#define CHECK FUZZ_CHECK
#include "../one_device.h"

enum { BASE = 0x9000000, IRQ = 33, DR = 0, FR = 0x18, LCR_H = 0x2c, CR = 0x30, IMSC = 0x38, RIS = 0x3c, MIS = 0x40 };
enum { FIFO = 32, FEN = 1 << 4, LBE = 1 << 7, RXE = 1 << 9, RXFE = 1 << 4, RXFF = 1 << 6, OE = 1 << 10 };

static struct {
    u8 fifo[FIFO];
    u32 count, lcr_h, cr, imsc;
    u64 sent; // bytes to the console
    u8 last;
} model;

static u32 read(u32 offset) {
    return (u32)device_access(offset, 4, false, 0);
}

static u32 depth(void) {
    return model.lcr_h & FEN ? FIFO : 1;
}

static void push(u8 byte) {
    if (model.count < depth())
        model.fifo[model.count++] = byte;
}

static void model_write(u32 offset, u8 size, u32 value) {
    if (size > 4 || offset % 4)
        return;
    if (offset == DR && (model.cr & LBE)) {
        push((u8)value);
    } else if (offset == DR) {
        model.sent++;
        model.last = (u8)value;
    } else if (offset == LCR_H) {
        if ((model.lcr_h ^ value) & FEN)
            model.count = 0;
        model.lcr_h = value;
    } else if (offset == CR) {
        model.cr = value;
    } else if (offset == IMSC) {
        model.imsc = value & 0x7ff;
    }
}

static void model_read(u32 offset, u8 size, u64 value) {
    FUZZ_CHECK(value <= 0xffffffff);
    if (offset != DR || size > 4)
        return;
    if (model.count == 0) {
        FUZZ_CHECK((u8)value == 0);
        return;
    }
    FUZZ_CHECK((u8)value == model.fifo[0]);
    memmove(model.fifo, model.fifo + 1, --model.count);
}

static void input(struct fuzz *f) {
    size_t count = fuzz_below(f, 48);
    char bytes[48];
    const u8 *from = fuzz_bytes(f, &count);
    memcpy(bytes, from, count);
    u32 room = (model.cr & RXE) && !(model.cr & LBE) ? depth() - model.count : 0;
    u32 taken = vm.console->input(vm.console->input_ctx, bytes, (u32)count);
    FUZZ_CHECK(taken == MIN((u32)count, room));
    for (u32 i = 0; i < taken; i++)
        push((u8)bytes[i]);
}

static void check(void) {
    u32 fr = read(FR), ris = read(RIS);
    FUZZ_CHECK(((fr & RXFE) != 0) == (model.count == 0));
    FUZZ_CHECK(((fr & RXFF) != 0) == (model.count >= depth()));
    FUZZ_CHECK(read(IMSC) == model.imsc && read(MIS) == (ris & model.imsc));
    FUZZ_CHECK(line == ((ris & model.imsc) != 0));
    FUZZ_CHECK(line_repeats == 0);
    FUZZ_CHECK(vm.console->head == model.sent);
    if (model.sent)
        FUZZ_CHECK((u8)vm.console->ring[(model.sent - 1) % CONSOLE_RING] == model.last);
}

static void reset(void) {
    model.count = model.lcr_h = model.imsc = 0;
    model.cr = RXE | 1 << 8;
}

static void operate(struct fuzz *f) {
    static const u8 offsets[] = {0, 0, 0, 4, 0x18, 0x20, 0x24, 0x28, 0x2c, 0x2c, 0x30, 0x30, 0x34, 0x38, 0x38, 0x44};
    u8 what = fuzz_u8(f), size = (u8)(1 << (what & 3));
    if (what >= 250) {
        bus_reset(&vm.bus);
        reset();
    } else if (what >= 200) {
        input(f);
    } else {
        u32 offset = what & 4 ? fuzz_u16(f) & 0xfff : offsets[fuzz_u8(f) & 15];
        offset &= ~(size - 1u);
        u64 value = fuzz_number(f, MIN(size, 2));
        if (what & 8) {
            device_access(offset, size, true, value);
            model_write(offset, size, (u32)value);
        } else {
            model_read(offset, size, device_access(offset, size, false, ~0ull));
        }
    }
    check();
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size) {
    struct fuzz f = {data, size};
    one_device_vm(BASE, IRQ);
    console_init(host_board());
    memset(&model, 0, sizeof(model));
    vm.console = console_create("uart");
    FUZZ_CHECK(vm.console && vpl011_create(&vm, gpa(BASE), IRQ) == 0);
    reset();
    while (fuzz_more(&f))
        operate(&f);
    vpl011_destroy(&vm);
    FUZZ_CHECK(line_repeats == 0);
    console_destroy(vm.console);
    return 0;
}
