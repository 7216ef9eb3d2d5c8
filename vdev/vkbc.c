// SPDX-License-Identifier: Apache-2.0
// The keyboard controller of a PC that no keyboard is plugged into: the 8042 answers its own commands, and for the
// keyboard, which keeps silent, it reports a time-out. So who looks for one need not wait. It has no interrupt.
#include "arch.h"
#include "bus.h"
#include "lock.h"
#include "page.h"
#include "pc_map.h"
#include "vm.h"
#include "vpc.h"

// Ports. Port B of the interval timer lies between the two.
enum { DATA = 0, PORT_B = 1, COMMAND = 4 };

enum : u8 {
    // Status.
    S_FULL = 0x01, // a byte waits to be read
    S_SYSTEM = 0x04,
    S_COMMAND = 0x08, // the last byte written was a command
    S_TIMEOUT = 0x40,
    // Commands.
    READ_CONFIG = 0x20,
    WRITE_CONFIG = 0x60,
    SECOND_DISABLE = 0xa7,
    SECOND_ENABLE = 0xa8,
    SECOND_TEST = 0xa9,
    SELF_TEST = 0xaa,
    FIRST_TEST = 0xab,
    FIRST_DISABLE = 0xad,
    FIRST_ENABLE = 0xae,
    READ_OUTPUT = 0xd0,
    WRITE_OUTPUT = 0xd1,
    WRITE_SECOND = 0xd4,
    PULSE = 0xf0,       // to 0xff: the output port's low four lines, where a bit is 0
    PULSE_RESET = 0x01, // line 0 is the processor's reset
    // Answers.
    TEST_PASSED = 0x55,
    PORT_FINE = 0x00,
    RESEND = 0xfe,
    // The configuration.
    C_SYSTEM = 0x04,
    C_FIRST_OFF = 0x10,
    C_SECOND_OFF = 0x20,
    // The output port: lines 0 and 1 are reset, which is not asserted, and A20, which is always open.
    O_IDLE = 0x03,
};

struct vkbc {
    struct vdev dev; // first
    struct spinlock lock;
    u8 config;
    u8 status;
    u8 answer; // while S_FULL
    u8 wants;  // the command that the next byte of data belongs to, or 0
};

static void answer(struct vkbc *k, u8 byte, u8 flags) {
    k->answer = byte;
    k->status = (u8)((k->status & ~S_TIMEOUT) | S_FULL | flags);
}

// Locked. True: the guest resets its machine.
static bool command(struct vkbc *k, u8 byte) {
    k->wants = 0;
    k->status |= S_COMMAND;
    switch (byte) {
    case READ_CONFIG:
        answer(k, k->config, 0);
        break;
    case WRITE_CONFIG:
    case WRITE_OUTPUT:
    case WRITE_SECOND:
        k->wants = byte;
        break;
    case SELF_TEST:
        k->config |= C_SYSTEM;
        k->status |= S_SYSTEM;
        answer(k, TEST_PASSED, 0);
        break;
    case FIRST_TEST:
    case SECOND_TEST:
        answer(k, PORT_FINE, 0);
        break;
    case FIRST_DISABLE:
    case FIRST_ENABLE:
        k->config = (u8)(byte == FIRST_DISABLE ? k->config | C_FIRST_OFF : k->config & ~C_FIRST_OFF);
        break;
    case SECOND_DISABLE:
    case SECOND_ENABLE:
        k->config = (u8)(byte == SECOND_DISABLE ? k->config | C_SECOND_OFF : k->config & ~C_SECOND_OFF);
        break;
    case READ_OUTPUT:
        answer(k, O_IDLE, 0);
        break;
    default:
        return byte >= PULSE && !(byte & PULSE_RESET);
    }
    return false;
}

// Locked. True: the guest resets its machine.
static bool data(struct vkbc *k, u8 byte) {
    const u8 wants = k->wants;
    k->wants = 0;
    k->status &= (u8)~S_COMMAND;
    if (wants == WRITE_OUTPUT)
        return !(byte & PULSE_RESET);
    if (wants == WRITE_CONFIG) {
        k->config = byte;
        k->status = (u8)((k->status & ~S_SYSTEM) | (byte & C_SYSTEM));
    } else { // for the keyboard, or a mouse
        answer(k, RESEND, S_TIMEOUT);
    }
    return false;
}

static u8 take(struct vkbc *k) {
    k->status &= (u8) ~(S_FULL | S_TIMEOUT);
    return k->answer;
}

static int kbc_access(struct vdev *dev, struct bus_access *a) {
    struct vkbc *k = (struct vkbc *)dev;
    bool resets = false;
    if (a->offset == PORT_B) {
        if (a->write)
            vpit_port_b_write(dev->vm, (u8)a->value);
        else
            a->value = vpit_port_b_read(dev->vm);
        return 0;
    }
    spin_lock(&k->lock);
    if (a->offset == COMMAND && a->write)
        resets = command(k, (u8)a->value);
    else if (a->offset == DATA && a->write)
        resets = data(k, (u8)a->value);
    else if (!a->write)
        a->value = a->offset == COMMAND ? k->status : a->offset == DATA ? take(k) : ~0ull;
    spin_unlock(&k->lock);
    if (resets)
        (void)vm_stop(dev->vm, VM_STOP_RESET, "reset by the guest (keyboard controller)");
    return 0;
}

static void kbc_reset(struct vdev *dev) {
    struct vkbc *k = (struct vkbc *)dev;
    spin_lock(&k->lock);
    k->config = C_SYSTEM | C_SECOND_OFF;
    k->status = S_SYSTEM;
    k->answer = 0;
    k->wants = 0;
    spin_unlock(&k->lock);
}

int vkbc_create(struct vm *vm) {
    struct vkbc *k = page_alloc(0);
    if (k == nullptr)
        return -ENOMEM;
    k->dev = (struct vdev){"8042", vm, gpa(PC_SYSTEM), 8, kbc_access, kbc_reset};
    spin_init(&k->lock, LOCK_DEVICE);
    const int err = bus_add(&vm->ports, &k->dev);
    if (err) {
        page_free(k, 0);
        return err;
    }
    kbc_reset(&k->dev);
    return 0;
}

void vkbc_destroy(struct vm *vm) {
    struct vdev *dev = bus_remove(&vm->ports, kbc_access);
    if (dev != nullptr)
        page_free(dev, 0);
}
