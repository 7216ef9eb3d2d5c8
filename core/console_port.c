// SPDX-License-Identifier: Apache-2.0
// The console's side of the UART driver: its lock, and the interrupt.
#include "arch.h"
#include "console_state.h"
#include "uart.h"

static struct console_state *const con = &console_state;
static struct spinlock port_lock = SPINLOCK_INIT(LOCK_CONSOLE);

// The architecture's probe has taken the port into use (uart_init).
u32 port_write(const char *bytes, u32 count) {
    spin_lock(&port_lock);
    u32 taken = uart_send(bytes, count);
    spin_unlock(&port_lock);
    return taken;
}

// Without the lock: at boot there is nobody else, at the end whoever holds it may never run again.
void port_write_polled(const char *bytes, u32 count) {
    for (u32 i = 0; i < count; i++)
        arch_early_putc(bytes[i]);
}

bool port_has_irq(void) {
    return uart_irq() != 0;
}

void port_start(void) {
    if (port_has_irq())
        uart_irq_enable(true);
}

void console_host_irq(void) {
    if (atomic_load_explicit(&con->polled, memory_order_relaxed))
        return;
    char bytes[64];
    u32 n;
    do {
        int byte = 0;
        spin_lock(&port_lock);
        uart_irq_ack();
        for (n = 0; n < sizeof bytes && (byte = uart_getc()) >= 0; n++)
            bytes[n] = (char)byte;
        spin_unlock(&port_lock);
        if (n > 0)
            console_rx_put(bytes, n);
    } while (n == sizeof bytes);
}
