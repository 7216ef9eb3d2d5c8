// SPDX-License-Identifier: Apache-2.0
// The console's callers: rings, the log's and the shell's side, and what the terminal is asked to show. The work is
// done in console_pump.c.
#include "console.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "arch.h"
#include "console_state.h"
#include "cpu.h"
#include "log.h"
#include "page.h"
#include "version.h"

struct console_state console_state; // all zero is a good beginning: it does not lie in the image
static struct console_state *const con = &console_state;

static constexpr u32 RING_ORDER = 3;
static_assert(CONSOLE_RING == PAGE_SIZE << RING_ORDER);
static constexpr u32 TYPED_ORDER = 2;
static_assert(CONSOLE_TYPED == PAGE_SIZE << TYPED_ORDER);
static_assert(sizeof(struct console) <= PAGE_SIZE);

// Lets the task look. A writer changes its ring first; the task clears the flag first and then looks at the rings. Both
// use a read-modify-write: whichever comes second sees what the other did before it.
void console_wake(void) {
    if (!con->started || atomic_load_explicit(&con->polled, memory_order_relaxed))
        return;
    if (!atomic_exchange_explicit(&con->wake, true, memory_order_acq_rel))
        waitq_wake(&con->wq);
}

// ── Boot ────────────────────────────────────────────────────────────────────────────────────────────────────────────
void console_init(const struct board *board) {
    (void)board; // the probe has taken the UART into use
    memset(con, 0, sizeof *con);
    spin_init(&con->lock, LOCK_CONSOLE);
    spin_init(&con->rx_lock, LOCK_CONSOLE);
    con->view.name_width = sizeof "bulkhead" - 1;
    con->midline = false;
    waitq_init(&con->wq);
    waitq_init(&con->shell_wq);
}

void console_banner(const struct board *board) {
    log_info("Bulkhead %s on %s, %u CPU%s", BULKHEAD_VERSION, board->model[0] ? board->model : "an unnamed machine",
             board->cpu_count, board->cpu_count == 1 ? "" : "s");
    log_info("Ctrl-] opens the shell; 'console NAME' attaches to a VM; Ctrl-a x ends QEMU");
}

void console_set_initial(const char *view) {
    spin_lock(&con->lock);
    snprintf(con->initial, sizeof con->initial, "%s", view);
    spin_unlock(&con->lock);
    if (strcmp(view, "shell") == 0)
        console_request(CONSOLE_SHELL, NULL);
    else if (strcmp(view, "all") == 0)
        console_request(CONSOLE_ALL, NULL);
}

void console_start(void) {
    if (task_init(&con->task, "console", console_main, NULL, TASK_PRIORITY_SYSTEM, &cpus[0]) != 0) {
        log_error("no memory for the console's task: the console stays polled");
        return;
    }
    con->log_next = log_next(); // what came before was written at once
    con->started = true;
    port_start();
    task_wake(&con->task);
}

// ── A VM's console ──────────────────────────────────────────────────────────────────────────────────────────────────
static void console_free(struct console *c) {
    if (c->typed)
        page_free(c->typed, TYPED_ORDER);
    if (c->ring)
        page_free(c->ring, RING_ORDER);
    page_free(c, 0);
}

struct console *console_create(const char *vm_name) {
    struct console *c = page_alloc(0);
    if (!c)
        return NULL;
    c->ring = page_alloc(RING_ORDER);
    c->typed = page_alloc(TYPED_ORDER);
    if (!c->ring || !c->typed) {
        console_free(c);
        return NULL;
    }
    spin_init(&c->lock, LOCK_CONSOLE);
    snprintf(c->name, sizeof c->name, "%s", vm_name);
    view_line_init(&c->line, c->name);

    spin_lock(&con->lock);
    u32 slot = 0;
    while (slot < CONSOLE_MAX && atomic_load_explicit(&con->consoles[slot], memory_order_relaxed))
        slot++;
    if (slot < CONSOLE_MAX) { // Release: pairs with the acquire in the pump, which then sees all of *c.
        atomic_store_explicit(&con->consoles[slot], c, memory_order_release);
        u32 slots = atomic_load_explicit(&con->slots, memory_order_relaxed);
        atomic_store_explicit(&con->slots, MAX(slots, slot + 1), memory_order_release);
    }
    bool initial = strcmp(con->initial, c->name) == 0;
    con->view.name_width = MAX(con->view.name_width, (u32)strlen(c->name));
    spin_unlock(&con->lock);

    if (slot == CONSOLE_MAX) {
        console_free(c);
        return NULL;
    }
    if (initial)
        console_request(CONSOLE_ATTACHED, c);
    return c;
}

static void pump_enter(void) {
    while (!console_pump_enter(0))
        sched_yield();
}

void console_destroy(struct console *c) {
    if (!c)
        return;
    pump_enter();
    for (u32 i = 0; i < CONSOLE_MAX; i++)
        if (atomic_load_explicit(&con->consoles[i], memory_order_relaxed) == c)
            atomic_store_explicit(&con->consoles[i], NULL, memory_order_relaxed);
    console_pump_forget(c);
    console_pump_leave();
    console_free(c);
}

void console_set_input(struct console *c, console_input_fn fn, void *ctx) {
    pump_enter(); // once we return, nobody is in the old one any more
    c->input = fn;
    c->input_ctx = ctx;
    console_pump_leave();
    console_input_ready(c);
}

// The pump is not woken for each byte. The common view shows whole lines, so it wants to know of a line's end, of its
// beginning (a prompt is shown when nothing follows for a while), and of a great many bytes. Another view than this
// VM's does not show them at all.
enum { WAKE_BYTES = 256 };

static bool append_locked(struct console *c, char byte) {
    c->ring[c->head++ % CONSOLE_RING] = byte;
    bool begins = !c->in_line;
    c->in_line = byte != '\n';
    if (++c->untold < WAKE_BYTES && c->in_line && !begins)
        return false;
    c->untold = 0;
    return true;
}

static void wake_for(struct console *c, bool line_news) {
    // Relaxed: a change of view looks at every ring by itself.
    enum console_mode mode = atomic_load_explicit(&con->mode, memory_order_relaxed);
    if ((mode == CONSOLE_ALL && line_news) || atomic_load_explicit(&c->raw, memory_order_relaxed))
        console_wake();
}

void console_putc(struct console *c, char byte) {
    spin_lock(&c->lock);
    bool news = append_locked(c, byte);
    spin_unlock(&c->lock);
    wake_for(c, news);
}

void console_write(struct console *c, const char *bytes, size_t count) {
    bool news = false;
    spin_lock(&c->lock);
    for (size_t i = 0; i < count; i++)
        news |= append_locked(c, bytes[i]);
    spin_unlock(&c->lock);
    wake_for(c, news);
}

void console_input_ready(struct console *c) {
    // Release: pairs with the exchange in the pump, which offers again what the device did not take.
    atomic_store_explicit(&c->input_ready, true, memory_order_release);
    console_wake();
}

void console_set_status(struct console *c, const char *fmt, ...) {
    char text[CONSOLE_STATUS_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    spin_lock(&c->lock);
    memcpy(c->status, text, sizeof text);
    c->status_new = text[0] != '\0';
    spin_unlock(&c->lock);
    console_wake();
}

// ── The log ─────────────────────────────────────────────────────────────────────────────────────────────────────────
void console_log_polled(const struct log_line *line) {
    if (con->started && !atomic_load_explicit(&con->polled, memory_order_relaxed))
        return;
    static char buf[LOG_LINE_MAX + 64]; // under LOCK_LOG
    int n = snprintf(buf, sizeof buf, "bulkhead | %s%s\r\n", console_log_word(line->level), line->text);
    port_write_polled(buf, (u32)n);
}

void console_log_ready(void) {
    console_wake();
}

const char *console_log_word(enum log_level level) {
    return level == LOG_ERROR ? "error: " : level == LOG_WARN ? "warning: " : "";
}

// ── The shell ───────────────────────────────────────────────────────────────────────────────────────────────────────
static u32 shell_used(void) {
    return atomic_load_explicit(&con->shell_head, memory_order_acquire) -
           atomic_load_explicit(&con->shell_tail, memory_order_acquire);
}

// The shell is the only writer, so room can only grow meanwhile.
static u32 shell_put(const char *bytes, size_t count) {
    u32 head = atomic_load_explicit(&con->shell_head, memory_order_relaxed);
    u32 room = CONSOLE_SHELL_RING - shell_used();
    u32 n = (u32)MIN(count, (size_t)room);
    for (u32 i = 0; i < n; i++)
        con->shell[(head + i) % CONSOLE_SHELL_RING] = bytes[i];
    atomic_store_explicit(&con->shell_head, head + n, memory_order_release);
    return n;
}

void console_shell_write(const char *bytes, size_t count) {
    while (count > 0) {
        u32 n = shell_put(bytes, count);
        bytes += n;
        count -= n;
        console_wake();
        if (count > 0 && !con->started)
            return; // nobody would make room
        if (count > 0)
            waitq_wait(&con->shell_wq, shell_used() < CONSOLE_SHELL_RING);
    }
}

void console_printf(const char *fmt, ...) {
    char text[512];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (n > 0)
        console_shell_write(text, MIN((size_t)n, sizeof text - 1));
}

static bool shell_shown(void) {
    // In this order: acquire, pairs with the release in change_view.
    return !atomic_load_explicit(&con->change, memory_order_acquire) &&
           atomic_load_explicit(&con->mode, memory_order_relaxed) == CONSOLE_SHELL;
}

static bool shell_has_input(void) {
    return shell_shown() && (atomic_load_explicit(&con->shell_redraw, memory_order_acquire) ||
                             atomic_load_explicit(&con->rx_any, memory_order_acquire));
}

int console_shell_getc(void) {
    for (;;) {
        atomic_store_explicit(&con->shell_edits, true, memory_order_release);
        console_wake(); // log lines that waited for the prompt
        waitq_wait(&con->shell_wq, shell_has_input());
        if (atomic_exchange_explicit(&con->shell_redraw, false, memory_order_acq_rel))
            return CONSOLE_REDRAW;
        char byte;
        if (console_rx_take(&byte, 1) != 1 || byte == CONSOLE_ESCAPE)
            continue;
        if (byte == '\r' || byte == '\n') // what follows is a command's output
            atomic_store_explicit(&con->shell_edits, false, memory_order_release);
        return (unsigned char)byte;
    }
}

void console_shell_prompt(void) {
    atomic_store_explicit(&con->shell_redraw, true, memory_order_release);
}

// ── What the terminal shows ─────────────────────────────────────────────────────────────────────────────────────────
void console_request(enum console_mode mode, struct console *c) {
    spin_lock(&con->lock);
    con->next_mode = mode;
    con->next_attached = c;
    atomic_store_explicit(&con->change, true, memory_order_release);
    spin_unlock(&con->lock);
    console_wake();
}

void console_attach(struct console *c) {
    console_request(CONSOLE_ATTACHED, c);
}

void console_show_all(void) {
    console_request(CONSOLE_ALL, NULL);
}

void console_show_shell(void) {
    console_request(CONSOLE_SHELL, NULL);
}

struct console_counts console_counts(void) {
    return (struct console_counts){
        .input_lost = atomic_load_explicit(&con->rx_lost, memory_order_relaxed),
        .output_lost = atomic_load_explicit(&con->lost, memory_order_relaxed),
    };
}
