// SPDX-License-Identifier: Apache-2.0
// The 16550: any access, and input whenever the console has some. No byte is lost, doubled or out of order but by the
// rules of its FIFO, what is sent arrives at the console, and the identification, the status and the interrupt's line
// are what a model of the data sheet's tables says.
#include "../../core/console_state.h"
#include "fuzz.h"
#include "v16550.h"

#define CHECK FUZZ_CHECK
#include "../one_device.h"

enum { BASE = 0x10000000, IRQ = 10 };
enum { DATA, IER, IIR, LCR, MCR, LSR, MSR, SCR, REGISTERS };
enum { RDI = 1, THRI = 2, RLSI = 4, MSI = 8, DLAB = 0x80, LOOP = 0x10, FIFO = 16 };

static struct {
    u8 fifo[FIFO];
    u32 count;
    u8 ier, lcr, mcr, scr, dll, dlm, lines, deltas, trigger;
    bool fifos, overrun, thr;
    bool refused; // the console has more
    u64 sent;
    u8 last;
} model;

static u32 depth(void) {
    return model.fifos ? FIFO : 1;
}

// Identification without the FIFO bits: the first row of table 4 that applies.
static u8 cause(void) {
    const struct {
        bool is;
        u8 enabled, code;
    } rows[] = {
        {model.overrun, RLSI, 6},    {model.count >= model.trigger, RDI, 4},
        {model.count > 0, RDI, 0xc}, {model.thr, THRI, 2},
        {model.deltas != 0, MSI, 0},
    };
    for (u32 i = 0; i < ARRAY_SIZE(rows); i++)
        if (rows[i].is && (model.ier & rows[i].enabled))
            return rows[i].code;
    return 1;
}

static u8 status(void) {
    return (u8)(0x60 | (model.overrun ? 2 : 0) | (model.count ? 1 : 0));
}

static u8 lines_now(void) {
    if (!(model.mcr & LOOP))
        return 0xb0;
    u8 m = model.mcr;
    return (u8)((m & 2) << 3 | (m & 1) << 5 | (m & 4) << 4 | (m & 8) << 4);
}

static void lines_follow(void) {
    u8 now = lines_now(), changed = model.lines ^ now;
    for (u32 bit = 4; bit < 8; bit++) {
        bool rose = now >> bit & 1;
        if ((changed >> bit & 1) && !(bit == 6 && rose))
            model.deltas |= (u8)(1u << (bit - 4));
    }
    model.lines = now;
}

static void push(u8 byte) {
    if (model.count < depth())
        model.fifo[model.count++] = byte;
    else
        model.overrun = true;
}

static void write_data(u8 value) {
    if (model.lcr & DLAB) {
        model.dll = value;
        return;
    }
    if (model.mcr & LOOP) {
        push(value);
    } else {
        model.sent++;
        model.last = value;
    }
    model.thr = true;
}

static void write_fcr(u8 value) {
    static const u8 levels[] = {1, 4, 8, 14};
    bool on = value & 1, turned = on != model.fifos;
    if (turned || (value & 2))
        model.count = 0;
    if (turned || (value & 4))
        model.thr = true;
    model.fifos = on;
    model.trigger = on ? levels[value >> 6] : 1;
}

static void write_ier(u8 value) {
    if (model.lcr & DLAB) {
        model.dlm = value;
        return;
    }
    if (!(model.ier & THRI) != !(value & THRI))
        model.thr = value & THRI;
    model.ier = value & 0xf;
}

static void model_write(u32 reg, u8 value) {
    switch (reg) {
    case DATA:
        write_data(value);
        break;
    case IER:
        write_ier(value);
        break;
    case IIR:
        write_fcr(value);
        break;
    case LCR:
        model.lcr = value;
        break;
    case MCR:
        model.mcr = value & 0x1f;
        lines_follow();
        break;
    case SCR:
        model.scr = value;
        break;
    default:
        break;
    }
}

static u8 read_data(void) {
    if (model.lcr & DLAB)
        return model.dll;
    if (model.count == 0)
        return 0;
    u8 value = model.fifo[0];
    memmove(model.fifo, model.fifo + 1, --model.count);
    return value;
}

static u8 model_read(u32 reg) {
    u8 value;
    switch (reg) {
    case DATA:
        return read_data();
    case IER:
        return model.lcr & DLAB ? model.dlm : model.ier;
    case IIR:
        value = cause();
        if (value == 2)
            model.thr = false;
        return value | (model.fifos ? 0xc0 : 0);
    case LCR:
        return model.lcr;
    case MCR:
        return model.mcr;
    case LSR:
        value = status();
        model.overrun = false;
        return value;
    case MSR:
        value = model.lines | model.deltas;
        model.deltas = 0;
        return value;
    case SCR:
        return model.scr;
    default:
        return 0;
    }
}

static void input(struct fuzz *f) {
    size_t count = fuzz_below(f, 24);
    char bytes[24];
    const u8 *from = fuzz_bytes(f, &count);
    memcpy(bytes, from, count);
    u32 room = model.mcr & LOOP ? 0 : depth() - model.count;
    u32 taken = vm.console->input(vm.console->input_ctx, bytes, (u32)count);
    FUZZ_CHECK(taken == MIN((u32)count, room));
    for (u32 i = 0; i < taken; i++)
        push((u8)bytes[i]);
    model.refused |= taken < count;
}

// What was refused is asked for again, once there is room for half a FIFO.
static void check_asked(void) {
    bool asked = atomic_exchange(&vm.console->input_ready, false);
    bool room = !(model.mcr & LOOP) && model.count <= depth() / 2;
    FUZZ_CHECK(!asked || (model.refused && room));
    if (asked)
        model.refused = false;
}

static void check(void) {
    FUZZ_CHECK(line == (cause() != 1));
    FUZZ_CHECK(line_repeats == 0);
    FUZZ_CHECK(vm.console->head == model.sent);
    if (model.sent)
        FUZZ_CHECK((u8)vm.console->ring[(model.sent - 1) % CONSOLE_RING] == model.last);
}

static void reset(void) {
    u64 sent = model.sent;
    u8 last = model.last;
    bool refused = model.refused;
    memset(&model, 0, sizeof(model));
    model.sent = sent;
    model.last = last;
    model.refused = refused;
    model.dll = 12;
    model.lines = 0xb0;
    model.trigger = 1;
}

static void operate(struct fuzz *f) {
    u8 what = fuzz_u8(f), size = (u8)(what & 0x40 ? 1 << (what & 3) : 1);
    bool served = false; // an access, and so a moment to ask for input
    if (what >= 0xfc) {
        bus_reset(&vm.bus);
        reset();
    } else if (what >= 0xd0) {
        input(f);
    } else {
        u32 offset = what >> 3 & 7;
        if ((what & 0x40) && (what & 4))
            offset = fuzz_u8(f);
        offset &= ~(size - 1u);
        u64 value = what & 0x80 ? fuzz_number(f, size) : 0;
        if (what & 0x80) {
            device_access(offset, size, true, value);
            model_write(offset, (u8)value);
            served = offset != DATA;
        } else {
            FUZZ_CHECK(device_access(offset, size, false, ~0ull) == model_read(offset));
            served = offset != LSR;
        }
    }
    check_asked();
    if (served)
        FUZZ_CHECK(!model.refused || (model.mcr & LOOP) || model.count > depth() / 2);
    check();
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size) {
    struct fuzz f = {data, size};
    one_device_vm(BASE, IRQ);
    console_init(host_board());
    memset(&model, 0, sizeof(model));
    vm.console = console_create("uart");
    FUZZ_CHECK(vm.console && v16550_create(&vm, &vm.bus, gpa(BASE), V16550_SIZE, IRQ) == 0);
    atomic_store(&vm.console->input_ready, false);
    reset();
    while (fuzz_more(&f))
        operate(&f);
    v16550_destroy(&vm);
    FUZZ_CHECK(line_repeats == 0);
    console_destroy(vm.console);
    return 0;
}
