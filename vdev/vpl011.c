// SPDX-License-Identifier: Apache-2.0
// The PL011. What the guest sends is on the console at once, so the transmit FIFO is always empty; what is typed waits
// in the receive FIFO. Two things follow QEMU rather than the manual, because guests were written for QEMU: output
// needs no UARTEN, and each byte sent raises the transmit interrupt (with an instant line, each byte passes the trigger
// level).
#include "vpl011.h"

#include <stdatomic.h>
#include <string.h>

#include "bus.h"
#include "console.h"
#include "irqchip.h"
#include "lock.h"
#include "page.h"
#include "vm.h"

enum {
    UART_DR = 0x000,
    UART_RSR = 0x004,
    UART_FR = 0x018,
    UART_ILPR = 0x020,
    UART_IBRD = 0x024,
    UART_FBRD = 0x028,
    UART_LCR_H = 0x02c,
    UART_CR = 0x030,
    UART_IFLS = 0x034,
    UART_IMSC = 0x038,
    UART_RIS = 0x03c,
    UART_MIS = 0x040,
    UART_ICR = 0x044,
    UART_DMACR = 0x048,
    UART_ID = 0xfe0,
    UART_SIZE = 0x1000,
    FIFO_SIZE = 32,
};

#define DR_OE BIT(11)
#define RSR_OE BIT(3)
#define FR_CTS BIT(0)
#define FR_DSR BIT(1)
#define FR_DCD BIT(2)
#define FR_RXFE BIT(4)
#define FR_RXFF BIT(6)
#define FR_TXFE BIT(7)
#define FR_RI BIT(8)
#define LCR_H_FEN BIT(4)
#define CR_LBE BIT(7)
#define CR_TXE BIT(8)
#define CR_RXE BIT(9)
#define CR_DTR BIT(10)
#define CR_RTS BIT(11)
#define CR_OUT1 BIT(12)
#define CR_OUT2 BIT(13)
#define IFLS_RX BITS(5, 3)
#define IFLS_RESET 0x12
#define INT_RX BIT(4)
#define INT_TX BIT(5)
#define INT_RT BIT(6)
#define INT_OE BIT(10)
#define INT_ALL BITS(10, 0)

struct vpl011 {
    struct vdev dev; // first
    struct console *console;
    u32 irq;
    // Read without the lock by the two accesses that a guest makes for each byte; written under it.
    _Atomic u32 ris, fr, cr;
    struct spinlock lock;
    bool level;   // of the interrupt line
    bool starved; // input was refused: say when there is room
    u32 rsr, ilpr, ibrd, fbrd, lcr_h, ifls, imsc, dmacr;
    u32 head, count; // receive FIFO
    u16 fifo[FIFO_SIZE];
};

static u32 get(const _Atomic u32 *p) {
    return atomic_load_explicit(p, memory_order_relaxed);
}

static void set(_Atomic u32 *p, u64 value) {
    atomic_store_explicit(p, (u32)value, memory_order_relaxed);
}

static u32 fifo_depth(const struct vpl011 *u) {
    return u->lcr_h & LCR_H_FEN ? FIFO_SIZE : 1;
}

// The receive interrupt comes at this fill. A guest that does not use the receive time-out gets it for the first byte,
// as from QEMU: it would never hear of a short line otherwise.
static u32 rx_trigger(const struct vpl011 *u) {
    static const u8 eighths[8] = {1, 2, 4, 6, 7, 7, 7, 7};
    if (!(u->imsc & INT_RT))
        return 1;
    return MAX(1, fifo_depth(u) * eighths[field_get(IFLS_RX, u->ifls)] / 8);
}

// Locked: after a change of anything that shows in the flags or the interrupt.
static void update(struct vpl011 *u) {
    u32 cr = get(&u->cr);
    u64 fr = FR_TXFE;
    if (u->count == 0)
        fr |= FR_RXFE;
    if (u->count >= fifo_depth(u))
        fr |= FR_RXFF;
    if (cr & CR_LBE) // the modem lines come back crossed (§2.4.4)
        fr |= (cr & CR_RTS ? FR_CTS : 0) | (cr & CR_DTR ? FR_DSR : 0) | (cr & CR_OUT1 ? FR_DCD : 0) |
              (cr & CR_OUT2 ? FR_RI : 0);
    else
        fr |= FR_CTS | FR_DSR | FR_DCD;
    set(&u->fr, fr);
    bool level = get(&u->ris) & u->imsc;
    if (level != u->level) {
        u->level = level;
        irqchip_set(u->dev.vm, u->irq, level);
    }
}

static void ris_set(struct vpl011 *u, u64 bits) {
    set(&u->ris, get(&u->ris) | bits);
}

static void ris_clear(struct vpl011 *u, u64 bits) {
    set(&u->ris, get(&u->ris) & ~bits);
}

static void rx_push(struct vpl011 *u, u32 byte) {
    if (u->count >= fifo_depth(u)) {
        u->rsr |= RSR_OE;
        ris_set(u, INT_OE);
        return;
    }
    u->fifo[(u->head + u->count++) % FIFO_SIZE] = (u16)byte;
    if (u->count >= rx_trigger(u))
        ris_set(u, INT_RX);
}

static u32 rx_pop(struct vpl011 *u) {
    if (u->count == 0)
        return 0;
    u32 value = u->fifo[u->head];
    if (u->rsr & RSR_OE)
        value |= DR_OE;
    u->head = (u->head + 1) % FIFO_SIZE;
    u->count--;
    if (u->count < rx_trigger(u))
        ris_clear(u, INT_RX);
    if (u->count == 0)
        ris_clear(u, INT_RT);
    return value;
}

// Locked: is the console to be asked for what we refused?
static bool wants_input(struct vpl011 *u) {
    u32 cr = get(&u->cr);
    if (!u->starved || !(cr & CR_RXE) || (cr & CR_LBE) || u->count > fifo_depth(u) / 2)
        return false;
    u->starved = false;
    return true;
}

// The console offers what was typed. It comes in bursts; a byte that stays in the FIFO after one has timed out.
static u32 vpl011_input(void *ctx, const char *bytes, u32 count) {
    struct vpl011 *u = ctx;
    spin_lock(&u->lock);
    u32 cr = get(&u->cr), room = 0;
    if ((cr & CR_RXE) && !(cr & CR_LBE))
        room = fifo_depth(u) - u->count;
    u32 taken = MIN(count, room);
    for (u32 i = 0; i < taken; i++)
        rx_push(u, (u8)bytes[i]);
    if (taken)
        ris_set(u, INT_RT);
    u->starved |= taken < count;
    update(u);
    spin_unlock(&u->lock);
    return taken;
}

static u32 data_read(struct vpl011 *u) {
    spin_lock(&u->lock);
    u32 value = rx_pop(u);
    bool more = wants_input(u);
    update(u);
    spin_unlock(&u->lock);
    if (more)
        console_input_ready(u->console);
    return value;
}

// Loopback, or the first byte after the guest has cleared the transmit interrupt.
[[gnu::noinline]] static void data_write_other(struct vpl011 *u, u32 value) {
    bool loopback = get(&u->cr) & CR_LBE;
    if (!loopback)
        console_putc(u->console, (char)value);
    spin_lock(&u->lock);
    if (loopback) {
        rx_push(u, (u8)value);
        ris_set(u, INT_RT);
    }
    ris_set(u, INT_TX);
    update(u);
    spin_unlock(&u->lock);
}

static void data_write(struct vpl011 *u, u32 value) {
    if (likely((get(&u->ris) & INT_TX) && !(get(&u->cr) & CR_LBE))) // nothing changes but the console
        console_putc(u->console, (char)value);
    else
        data_write_other(u, value);
}

static u32 register_read(struct vpl011 *u, u32 offset) {
    // r1p5: 32-byte FIFOs, which Linux takes from the revision
    static const u8 ids[8] = {0x11, 0x10, 0x34, 0x00, 0x0d, 0xf0, 0x05, 0xb1};
    switch (offset) {
    case UART_RSR:
        return u->rsr;
    case UART_ILPR:
        return u->ilpr;
    case UART_IBRD:
        return u->ibrd;
    case UART_FBRD:
        return u->fbrd;
    case UART_LCR_H:
        return u->lcr_h;
    case UART_CR:
        return get(&u->cr);
    case UART_IFLS:
        return u->ifls;
    case UART_IMSC:
        return u->imsc;
    case UART_RIS:
        return get(&u->ris);
    case UART_MIS:
        return get(&u->ris) & u->imsc;
    case UART_DMACR:
        return u->dmacr;
    default:
        return offset >= UART_ID ? ids[(offset - UART_ID) / 4] : 0;
    }
}

// Locked.
static void register_write(struct vpl011 *u, u32 offset, u32 value) {
    switch (offset) {
    case UART_RSR: // ECR: any value clears the errors
        u->rsr = 0;
        break;
    case UART_ILPR:
        u->ilpr = (u8)value;
        break;
    case UART_IBRD:
        u->ibrd = (u16)value;
        break;
    case UART_FBRD:
        u->fbrd = value & 0x3f;
        break;
    case UART_LCR_H:
        if ((u->lcr_h ^ value) & LCR_H_FEN) { // the FIFO comes or goes, and what was in it goes
            u->count = 0;
            ris_clear(u, INT_RX | INT_RT);
        }
        u->lcr_h = (u8)value;
        break;
    case UART_CR:
        set(&u->cr, value & 0xff87);
        break;
    case UART_IFLS:
        u->ifls = value & 0x3f;
        break;
    case UART_IMSC:
        u->imsc = value & INT_ALL;
        if (u->count >= rx_trigger(u))
            ris_set(u, INT_RX);
        break;
    case UART_ICR:
        ris_clear(u, value);
        break;
    case UART_DMACR: // kept, but there is no DMA controller to ask
        u->dmacr = value & 7;
        break;
    default:
        break;
    }
}

[[gnu::noinline]] static int access_other(struct vpl011 *u, struct bus_access *a) {
    u32 offset = (u32)a->offset;
    if (a->size > 4 || offset % 4) { // no such register
        if (!a->write)
            a->value = 0;
    } else if (offset == UART_DR) {
        a->value = data_read(u);
    } else if (!a->write) {
        a->value = register_read(u, offset);
    } else {
        spin_lock(&u->lock);
        register_write(u, offset, (u32)a->value);
        bool more = wants_input(u);
        update(u);
        spin_unlock(&u->lock);
        if (more)
            console_input_ready(u->console);
    }
    return 0;
}

// The two accesses that printing takes, and the rest.
static int vpl011_access(struct vdev *dev, struct bus_access *a) {
    struct vpl011 *u = (struct vpl011 *)dev;
    if (a->offset == UART_FR && !a->write && a->size <= 4) {
        a->value = get(&u->fr);
        return 0;
    }
    if (a->offset == UART_DR && a->write && a->size <= 4) {
        data_write(u, (u32)a->value);
        return 0;
    }
    return access_other(u, a);
}

static void vpl011_reset(struct vdev *dev) {
    struct vpl011 *u = (struct vpl011 *)dev;
    spin_lock(&u->lock);
    set(&u->ris, 0);
    set(&u->cr, CR_RXE | CR_TXE);
    u->rsr = u->ilpr = u->ibrd = u->fbrd = u->lcr_h = u->imsc = u->dmacr = 0;
    u->ifls = IFLS_RESET;
    u->head = u->count = 0;
    bool more = wants_input(u);
    update(u);
    spin_unlock(&u->lock);
    if (more)
        console_input_ready(u->console);
}

int vpl011_create(struct vm *vm, gpa_t base, u32 irq) {
    struct vpl011 *u = page_alloc(0);
    if (u == nullptr)
        return -ENOMEM;
    u->dev = (struct vdev){"pl011", vm, base, UART_SIZE, vpl011_access, vpl011_reset};
    u->console = vm->console;
    u->irq = irq;
    spin_init(&u->lock, LOCK_DEVICE);
    int err = bus_add(&vm->bus, &u->dev);
    if (err) {
        page_free(u, 0);
        return err;
    }
    vpl011_reset(&u->dev);
    console_set_input(u->console, vpl011_input, u);
    return 0;
}

void vpl011_destroy(struct vm *vm) {
    struct vdev *dev = bus_remove(&vm->bus, vpl011_access);
    if (dev == nullptr)
        return;
    struct vpl011 *u = (struct vpl011 *)dev;
    console_set_input(u->console, nullptr, nullptr);
    page_free(u, 0);
}
