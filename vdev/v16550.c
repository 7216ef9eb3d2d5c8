// SPDX-License-Identifier: Apache-2.0
// The 16550A. What the guest sends is on the console at once, so the transmitter is always empty, and the interrupt
// that says so follows each byte. What is typed waits in the receive FIFO; it comes in bursts, so what is there below
// the trigger level has timed out.
#include "v16550.h"

#include <stdatomic.h>

#include "bus.h"
#include "console.h"
#include "irqchip.h"
#include "lock.h"
#include "page.h"
#include "vm.h"

enum {
    UART_DATA = 0, // RBR, THR; DLL with LCR_DLAB
    UART_IER = 1,  // DLM with LCR_DLAB
    UART_IIR = 2,  // written: FCR
    UART_LCR = 3,
    UART_MCR = 4,
    UART_LSR = 5,
    UART_MSR = 6,
    UART_SCR = 7,
    FIFO_SIZE = V16550_FIFO,
};

enum : u8 {
    IER_RDI = 1 << 0, // data, or the time-out
    IER_THRI = 1 << 1,
    IER_RLSI = 1 << 2, // errors
    IER_MSI = 1 << 3,
    IER_ALL = 0x0f,
    IIR_NONE = 0x01,
    IIR_MSI = 0x00,
    IIR_THRI = 0x02,
    IIR_RDI = 0x04,
    IIR_RLSI = 0x06,
    IIR_TIMEOUT = 0x0c,
    IIR_FIFOS = 0xc0,
    FCR_ENABLE = 1 << 0,
    FCR_CLEAR_RX = 1 << 1,
    FCR_CLEAR_TX = 1 << 2,
    LCR_DLAB = 1 << 7,
    MCR_DTR = 1 << 0,
    MCR_RTS = 1 << 1,
    MCR_OUT1 = 1 << 2,
    MCR_OUT2 = 1 << 3,
    MCR_LOOP = 1 << 4,
    MCR_ALL = 0x1f,
    LSR_DR = 1 << 0,
    LSR_OE = 1 << 1,
    LSR_THRE = 1 << 5,
    LSR_TEMT = 1 << 6,
    MSR_TERI = 1 << 2, // the trailing edge of RI only
    MSR_CTS = 1 << 4,
    MSR_DSR = 1 << 5,
    MSR_RI = 1 << 6,
    MSR_DCD = 1 << 7,
    MSR_DELTAS = 0x0f,
    MSR_LINES = 0xf0,
};

struct v16550 {
    struct vdev dev; // first
    struct console *console;
    u32 irq;
    // Read without the lock by the two accesses that a guest makes for each byte; written under it.
    _Atomic u8 lsr;
    _Atomic bool plain; // a byte written changes nothing but the console
    struct spinlock lock;
    bool level;       // of the interrupt line
    bool thr_pending; // the transmitter has become empty, and the guest was not told yet
    bool starved;     // input was refused: say when there is room
    u8 ier, fcr, lcr, mcr, msr, scr, dll, dlm;
    u32 head, count; // receive FIFO
    u8 fifo[FIFO_SIZE];
};

static u8 lsr_get(const struct v16550 *u) {
    return atomic_load_explicit(&u->lsr, memory_order_relaxed);
}

static void lsr_put(struct v16550 *u, u32 value) {
    atomic_store_explicit(&u->lsr, (u8)value, memory_order_relaxed);
}

static u32 fifo_depth(const struct v16550 *u) {
    return u->fcr & FCR_ENABLE ? FIFO_SIZE : 1;
}

static u32 rx_trigger(const struct v16550 *u) {
    static const u8 levels[4] = {1, 4, 8, 14};
    return u->fcr & FCR_ENABLE ? levels[u->fcr >> 6] : 1;
}

// The most urgent of the enabled interrupts (data sheet, table 4).
static u8 interrupt(const struct v16550 *u) {
    if ((u->ier & IER_RLSI) && (lsr_get(u) & LSR_OE))
        return IIR_RLSI;
    if ((u->ier & IER_RDI) && u->count)
        return u->count >= rx_trigger(u) ? IIR_RDI : IIR_TIMEOUT;
    if ((u->ier & IER_THRI) && u->thr_pending)
        return IIR_THRI;
    if ((u->ier & IER_MSI) && (u->msr & MSR_DELTAS))
        return IIR_MSI;
    return IIR_NONE;
}

// Locked: after a change of anything that shows in the status or the interrupt.
static void update(struct v16550 *u) {
    lsr_put(u, (lsr_get(u) & LSR_OE) | LSR_THRE | LSR_TEMT | (u->count ? LSR_DR : 0));
    const bool plain = !(u->lcr & LCR_DLAB) && !(u->mcr & MCR_LOOP) && (!(u->ier & IER_THRI) || u->thr_pending);
    atomic_store_explicit(&u->plain, plain, memory_order_relaxed);
    const bool level = interrupt(u) != IIR_NONE;
    if (level != u->level) {
        u->level = level;
        irqchip_set(u->dev.vm, u->irq, level);
    }
}

// The modem lines: all there, or in loopback our own outputs (data sheet §8.6).
static void modem_update(struct v16550 *u) {
    u32 lines = MSR_CTS | MSR_DSR | MSR_DCD;
    if (u->mcr & MCR_LOOP)
        lines = (u->mcr & MCR_RTS ? MSR_CTS : 0u) | (u->mcr & MCR_DTR ? MSR_DSR : 0u) |
                (u->mcr & MCR_OUT1 ? MSR_RI : 0u) | (u->mcr & MCR_OUT2 ? MSR_DCD : 0u);
    u32 deltas = ((u->msr ^ lines) & MSR_LINES) >> 4;
    if (lines & MSR_RI)
        deltas &= ~(u32)MSR_TERI;
    u->msr = (u8)((u->msr & MSR_DELTAS) | deltas | lines);
}

static void rx_push(struct v16550 *u, u8 byte) {
    if (u->count >= fifo_depth(u)) {
        lsr_put(u, lsr_get(u) | LSR_OE);
        return;
    }
    u->fifo[(u->head + u->count++) % FIFO_SIZE] = byte;
}

static u8 rx_pop(struct v16550 *u) {
    if (u->count == 0)
        return 0;
    const u8 value = u->fifo[u->head];
    u->head = (u->head + 1) % FIFO_SIZE;
    u->count--;
    return value;
}

// Locked: is the console to be asked for what we refused?
static bool wants_input(struct v16550 *u) {
    if (!u->starved || (u->mcr & MCR_LOOP) || u->count > fifo_depth(u) / 2)
        return false;
    u->starved = false;
    return true;
}

// The console offers what was typed.
static u32 v16550_input(void *ctx, const char *bytes, u32 count) {
    struct v16550 *u = ctx;
    spin_lock(&u->lock);
    const u32 room = u->mcr & MCR_LOOP ? 0 : fifo_depth(u) - u->count;
    const u32 taken = MIN(count, room);
    for (u32 i = 0; i < taken; i++)
        rx_push(u, (u8)bytes[i]);
    u->starved |= taken < count;
    update(u);
    spin_unlock(&u->lock);
    return taken;
}

// Locked. What a read takes away with it, goes.
static u8 register_read(struct v16550 *u, u32 offset) {
    u8 value;
    switch (offset) {
    case UART_DATA:
        return u->lcr & LCR_DLAB ? u->dll : rx_pop(u);
    case UART_IER:
        return u->lcr & LCR_DLAB ? u->dlm : u->ier;
    case UART_IIR:
        value = interrupt(u);
        if (value == IIR_THRI)
            u->thr_pending = false;
        return value | (u->fcr & FCR_ENABLE ? IIR_FIFOS : 0);
    case UART_LCR:
        return u->lcr;
    case UART_MCR:
        return u->mcr;
    case UART_LSR:
        value = lsr_get(u);
        lsr_put(u, value & ~LSR_OE);
        return value;
    case UART_MSR:
        value = u->msr;
        u->msr &= MSR_LINES;
        return value;
    case UART_SCR:
        return u->scr;
    default:
        return 0;
    }
}

static void fcr_write(struct v16550 *u, u8 value) {
    if ((u->fcr ^ value) & FCR_ENABLE) // the FIFOs come or go, and what was in them goes
        value |= FCR_CLEAR_RX | FCR_CLEAR_TX;
    if (value & FCR_CLEAR_RX)
        u->count = 0;
    if (value & FCR_CLEAR_TX)
        u->thr_pending = true;
    u->fcr = value & FCR_ENABLE ? value & (FCR_ENABLE | 0xc0) : 0;
}

// Locked.
static void register_write(struct v16550 *u, u32 offset, u8 value) {
    switch (offset) {
    case UART_DATA:
        if (u->lcr & LCR_DLAB) {
            u->dll = value;
            break;
        }
        if (u->mcr & MCR_LOOP)
            rx_push(u, value);
        u->thr_pending = true;
        break;
    case UART_IER:
        if (u->lcr & LCR_DLAB) {
            u->dlm = value;
            break;
        }
        if ((u->ier ^ value) & IER_THRI) // enabled while the transmitter is empty: it says so
            u->thr_pending = value & IER_THRI;
        u->ier = value & IER_ALL;
        break;
    case UART_IIR:
        fcr_write(u, value);
        break;
    case UART_LCR:
        u->lcr = value;
        break;
    case UART_MCR:
        u->mcr = value & MCR_ALL;
        modem_update(u);
        break;
    case UART_SCR:
        u->scr = value;
        break;
    default: // LSR and MSR are the factory's to write
        break;
    }
}

[[gnu::noinline]] static void access_other(struct v16550 *u, struct bus_access *a) {
    const u32 offset = (u32)a->offset;
    bool sent = false;
    spin_lock(&u->lock);
    if (a->write) {
        sent = offset == UART_DATA && !(u->lcr & LCR_DLAB) && !(u->mcr & MCR_LOOP);
        register_write(u, offset, (u8)a->value);
    } else {
        a->value = register_read(u, offset);
    }
    const bool more = wants_input(u);
    update(u);
    spin_unlock(&u->lock);
    if (sent)
        console_putc(u->console, (char)a->value);
    if (more)
        console_input_ready(u->console);
}

// The two accesses that printing takes, and the rest. Registers are bytes; of a wider access the low byte counts, as in
// QEMU.
static int v16550_access(struct vdev *dev, struct bus_access *a) {
    struct v16550 *u = (struct v16550 *)dev;
    if (a->offset == UART_LSR && !a->write && likely(!(lsr_get(u) & LSR_OE)))
        a->value = lsr_get(u);
    else if (a->offset == UART_DATA && a->write && atomic_load_explicit(&u->plain, memory_order_relaxed))
        console_putc(u->console, (char)a->value);
    else
        access_other(u, a);
    return 0;
}

u32 v16550_take(struct vm *vm, char *to, u32 count) {
    struct v16550 *u = nullptr;
    for (u32 i = 0; i < vm->bus.count; i++)
        if (vm->bus.devices[i]->access == v16550_access)
            u = (struct v16550 *)vm->bus.devices[i];
    if (u == nullptr)
        return 0;
    spin_lock(&u->lock);
    const u32 taken = MIN(count, u->count);
    for (u32 i = 0; i < taken; i++)
        to[i] = (char)rx_pop(u);
    const bool more = wants_input(u);
    update(u);
    spin_unlock(&u->lock);
    if (more)
        console_input_ready(u->console);
    return taken;
}

static void v16550_reset(struct vdev *dev) {
    struct v16550 *u = (struct v16550 *)dev;
    spin_lock(&u->lock);
    lsr_put(u, 0);
    u->ier = u->fcr = u->lcr = u->mcr = u->scr = u->dlm = 0;
    u->dll = 12; // 9600 baud of a PC's clock
    u->thr_pending = false;
    u->head = u->count = 0;
    modem_update(u);
    u->msr &= MSR_LINES;
    const bool more = wants_input(u);
    update(u);
    spin_unlock(&u->lock);
    if (more)
        console_input_ready(u->console);
}

int v16550_create(struct vm *vm, struct bus *bus, gpa_t base, u64 size, u32 irq) {
    struct v16550 *u = page_alloc(0);
    if (u == nullptr)
        return -ENOMEM;
    u->dev = (struct vdev){"16550", vm, base, size, v16550_access, v16550_reset};
    u->console = vm->console;
    u->irq = irq;
    spin_init(&u->lock, LOCK_DEVICE);
    const int err = bus_add(bus, &u->dev);
    if (err) {
        page_free(u, 0);
        return err;
    }
    v16550_reset(&u->dev);
    console_set_input(u->console, v16550_input, u);
    return 0;
}

void v16550_destroy(struct vm *vm) {
    struct vdev *dev = bus_remove(&vm->bus, v16550_access);
    if (dev == nullptr)
        dev = bus_remove(&vm->ports, v16550_access);
    if (dev == nullptr)
        return;
    struct v16550 *u = (struct v16550 *)dev;
    console_set_input(u->console, nullptr, nullptr);
    page_free(u, 0);
}
