// SPDX-License-Identifier: Apache-2.0
// What is typed: from the UART's interrupt through one ring to the shell, or into the attached VM's own, from which
// that VM is served whatever the terminal shows by then.
#include "arch.h"
#include "console_state.h"

static struct console_state *const con = &console_state;

static constexpr u64 HINT_NS = 5ull * 1000 * 1000 * 1000;
static const char hint[] = "Ctrl-] opens the shell; 'console NAME' there attaches to a VM";

// The last place of the ring is Ctrl-]'s: the way to the shell is open whatever else comes.
void console_rx_put(const char *bytes, u32 count) {
    spin_lock(&con->rx_lock);
    for (u32 i = 0; i < count; i++) {
        u32 room = CONSOLE_RX_RING - (con->rx_head - con->rx_tail);
        if (room > (bytes[i] == CONSOLE_ESCAPE ? 0 : 1))
            con->rx[con->rx_head++ % CONSOLE_RX_RING] = bytes[i];
        else if (bytes[i] != CONSOLE_ESCAPE)
            atomic_fetch_add_explicit(&con->rx_lost, 1, memory_order_relaxed);
    }
    atomic_store_explicit(&con->rx_any, con->rx_head != con->rx_tail, memory_order_release);
    spin_unlock(&con->rx_lock);
    console_wake();
}

u32 console_rx_take(char *bytes, u32 count) {
    u32 n = 0;
    spin_lock(&con->rx_lock);
    while (n < count && con->rx_tail != con->rx_head) {
        bytes[n++] = con->rx[con->rx_tail++ % CONSOLE_RX_RING];
        if (bytes[n - 1] == CONSOLE_ESCAPE)
            break;
    }
    atomic_store_explicit(&con->rx_any, con->rx_head != con->rx_tail, memory_order_release);
    spin_unlock(&con->rx_lock);
    return n;
}

static void keep(struct console *c, const char *bytes, u32 count) {
    u32 n = MIN(count, CONSOLE_TYPED - (c->typed_head - c->typed_tail));
    for (u32 i = 0; i < n; i++)
        c->typed[c->typed_head++ % CONSOLE_TYPED] = bytes[i];
    atomic_fetch_add_explicit(&con->rx_lost, count - n, memory_order_relaxed);
}

void console_keep_typed(struct console *c) {
    char bytes[64];
    u32 n;
    while ((n = console_rx_take(bytes, sizeof bytes)) > 0) {
        bool escape = bytes[n - 1] == CONSOLE_ESCAPE;
        keep(c, bytes, n - escape);
        if (escape) {
            console_request(CONSOLE_SHELL, NULL);
            return; // the rest is the shell's
        }
    }
}

// Offers a VM what was typed for it, as long as it takes some.
static void offer_typed(struct console *c) {
    if (c->blocked && atomic_load_explicit(&c->input_ready, memory_order_acquire))
        c->blocked = false;
    while (!c->blocked && c->typed_tail != c->typed_head) {
        u32 at = c->typed_tail % CONSOLE_TYPED;
        u32 n = MIN(c->typed_head - c->typed_tail, CONSOLE_TYPED - at);
        // Cleared before the offer: room that comes meanwhile makes us try again. Acquire: pairs with the release in
        // console_input_ready.
        atomic_exchange_explicit(&c->input_ready, false, memory_order_acq_rel);
        u32 taken = c->input ? c->input(c->input_ctx, c->typed + at, n) : 0;
        c->typed_tail += MIN(taken, n);
        c->blocked = taken < n;
    }
}

static void feed_nobody(void) {
    char byte;
    while (console_rx_take(&byte, 1) == 1) {
        if (byte == CONSOLE_ESCAPE) {
            console_request(CONSOLE_SHELL, NULL);
            return; // the rest is the shell's
        }
        if (byte == '\r' || byte == '\n' || arch_now_ns() < con->hint_ns)
            continue;
        con->hint_ns = arch_now_ns() + HINT_NS;
        struct view_out out = {con->out, con->out_len, sizeof con->out};
        view_print(&con->view, "bulkhead", hint, &out);
        con->out_len = out.len;
    }
}

static void input_of_view(void) {
    if (atomic_load_explicit(&con->change, memory_order_relaxed))
        return; // whose it is, is about to be settled
    switch (atomic_load_explicit(&con->mode, memory_order_relaxed)) {
    case CONSOLE_ATTACHED:
        console_keep_typed(con->attached);
        break;
    case CONSOLE_ALL:
        feed_nobody();
        break;
    case CONSOLE_SHELL:
        if (atomic_load_explicit(&con->rx_any, memory_order_acquire))
            waitq_wake(&con->shell_wq);
        break;
    }
}

void console_input(void) {
    input_of_view();
    for (u32 i = 0, n = console_slots(); i < n; i++) {
        struct console *c = console_at(i);
        if (c)
            offer_typed(c);
    }
}
