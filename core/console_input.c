// SPDX-License-Identifier: Apache-2.0
// What is typed: from the UART's interrupt through one ring to the shell or the attached VM.
#include <string.h>

#include "arch.h"
#include "console_state.h"

static struct console_state *const con = &console_state;

static constexpr u64 HINT_NS = 5ull * 1000 * 1000 * 1000;
static const char hint[] = "Ctrl-] opens the shell; 'console NAME' there attaches to a VM";

void console_rx_put(const char *bytes, u32 count) {
    spin_lock(&con->rx_lock);
    for (u32 i = 0; i < count; i++) {
        if (con->rx_head - con->rx_tail < CONSOLE_RX_RING)
            con->rx[con->rx_head++ % CONSOLE_RX_RING] = bytes[i];
        else if (bytes[i] == CONSOLE_ESCAPE) // the way out of a VM that takes nothing
            atomic_store_explicit(&con->rx_escape, true, memory_order_relaxed);
        else
            atomic_fetch_add_explicit(&con->rx_lost, 1, memory_order_relaxed);
    }
    atomic_store_explicit(&con->rx_any, con->rx_head != con->rx_tail, memory_order_release);
    spin_unlock(&con->rx_lock);
    console_wake();
}

static u32 peek(char *bytes, u32 count) {
    spin_lock(&con->rx_lock);
    u32 n = MIN(count, con->rx_head - con->rx_tail);
    for (u32 i = 0; i < n; i++)
        bytes[i] = con->rx[(con->rx_tail + i) % CONSOLE_RX_RING];
    spin_unlock(&con->rx_lock);
    return n;
}

static void drop(u32 count) {
    spin_lock(&con->rx_lock);
    con->rx_tail += MIN(count, con->rx_head - con->rx_tail);
    atomic_store_explicit(&con->rx_any, con->rx_head != con->rx_tail, memory_order_release);
    spin_unlock(&con->rx_lock);
}

u32 console_rx_take(char *bytes, u32 count) {
    spin_lock(&con->rx_lock);
    u32 n = MIN(count, con->rx_head - con->rx_tail);
    for (u32 i = 0; i < n; i++)
        bytes[i] = con->rx[con->rx_tail++ % CONSOLE_RX_RING];
    atomic_store_explicit(&con->rx_any, con->rx_head != con->rx_tail, memory_order_release);
    spin_unlock(&con->rx_lock);
    return n;
}

// Drops everything up to the first Ctrl-], that one included. False: there is none, nothing was dropped.
static bool drop_to_escape(void) {
    spin_lock(&con->rx_lock);
    u32 at = con->rx_tail;
    while (at != con->rx_head && con->rx[at % CONSOLE_RX_RING] != CONSOLE_ESCAPE)
        at++;
    bool found = at != con->rx_head;
    if (found)
        con->rx_tail = at + 1;
    else if (atomic_exchange_explicit(&con->rx_escape, false, memory_order_relaxed)) {
        con->rx_tail = con->rx_head;
        found = true;
    }
    atomic_store_explicit(&con->rx_any, con->rx_head != con->rx_tail, memory_order_release);
    spin_unlock(&con->rx_lock);
    return found;
}

// Offers a chunk to the attached VM. False: it takes no more for now.
static bool offer(struct console *c) {
    char bytes[64];
    u32 n = peek(bytes, sizeof bytes);
    const char *escape = memchr(bytes, CONSOLE_ESCAPE, n);
    if (escape)
        n = (u32)(escape - bytes);
    if (n > 0) {
        spin_lock(&c->lock);
        console_input_fn fn = c->input;
        void *ctx = c->input_ctx;
        spin_unlock(&c->lock);
        // Cleared before the offer: room that comes meanwhile makes us try again. Acquire: pairs with the release in
        // console_input_ready.
        atomic_exchange_explicit(&c->input_ready, false, memory_order_acq_rel);
        u32 taken = fn ? fn(ctx, bytes, n) : n;
        drop(MIN(taken, n));
        c->blocked = taken < n;
        return !c->blocked;
    }
    if (escape) {
        drop(1);
        console_request(CONSOLE_SHELL, NULL);
    }
    return false;
}

static void feed_attached(struct console *c) {
    if (c->blocked && atomic_load_explicit(&c->input_ready, memory_order_acquire))
        c->blocked = false;
    while (!c->blocked && offer(c))
        ;
    if (c->blocked && drop_to_escape())
        console_request(CONSOLE_SHELL, NULL);
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

void console_input(void) {
    if (atomic_load_explicit(&con->change, memory_order_relaxed))
        return; // whose it is, is about to be settled
    switch (atomic_load_explicit(&con->mode, memory_order_relaxed)) {
    case CONSOLE_ATTACHED:
        feed_attached(con->attached);
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
