// SPDX-License-Identifier: Apache-2.0
// The console's task: from the rings, through the view, to the UART. All of it runs inside the pump
// (console_pump_enter), so that a flush can go on exactly where the task stopped.
#include <stdio.h>
#include <string.h>

#include "arch.h"
#include "console_state.h"
#include "timer.h"

static struct console_state *const con = &console_state;

static constexpr u64 MS = 1000 * 1000;
static constexpr u64 QUIET_NS = 100 * MS;    // an incomplete line is shown after so long without a byte
static constexpr u64 PATIENCE_NS = 500 * MS; // … and after so long in any case
static constexpr u64 POLL_NS = 10 * MS;      // how often a UART without interrupt is looked at
static constexpr u64 NAP_NS = 1 * MS;
static constexpr u64 FLUSH_NS = 3000 * MS;

enum {
    PUSH_MAX = 256, // bytes to the UART in one pass
    CHUNK = 128,    // bytes of one VM before it is another's turn
    BURST = 16,     // passes without a nap, so that a VM that floods its console does not take this CPU from the others
    CATCH_UP = 4096,     // bytes of each VM that `console all` shows of what was missed
    CATCH_UP_LINES = 24, // of the log, after a VM was attached
    NOTE_MAX = 256,      // bytes of a line of our own
};

enum pump { PUMP_IDLE, PUMP_MORE, PUMP_FULL };

// After a panic the locks' holders may never run again.
static bool pump_lock(struct spinlock *lock) {
    if (atomic_load_explicit(&con->polled, memory_order_relaxed))
        return false;
    spin_lock(lock);
    return true;
}

static void pump_unlock(struct spinlock *lock, bool locked) {
    if (locked)
        spin_unlock(lock);
}

static struct view_out out_begin(void) {
    return (struct view_out){con->out, con->out_len, sizeof con->out};
}

static void out_end(const struct view_out *out) {
    con->out_len = out->len;
}

static u32 out_room(void) {
    return (u32)sizeof con->out - con->out_len;
}

static void put(const char *bytes, size_t count) {
    struct view_out out = out_begin();
    view_append(&out, bytes, count);
    out_end(&out);
}

static void puts_out(const char *text) {
    put(text, strlen(text));
}

static bool at_column0(void) {
    return con->out_len > 0 ? con->out[con->out_len - 1] == '\n' : !con->midline;
}

struct console *console_at(u32 i) {
    // Acquire: pairs with the release in console_create.
    return atomic_load_explicit(&con->consoles[i], memory_order_acquire);
}

u32 console_slots(void) {
    return atomic_load_explicit(&con->slots, memory_order_acquire); // pairs with the release in console_create
}

// ── Sources ─────────────────────────────────────────────────────────────────────────────────────────────────────────
// Up to `count` untold bytes of c, without taking them; *lost says how many were overwritten before.
static u32 ring_peek(struct console *c, char *bytes, u32 count, u64 *lost) {
    bool locked = pump_lock(&c->lock);
    *lost = 0;
    if (c->head - c->cursor > CONSOLE_RING) {
        *lost = c->head - CONSOLE_RING - c->cursor;
        c->cursor += *lost;
    }
    u32 n = (u32)MIN((u64)count, c->head - c->cursor);
    for (u32 i = 0; i < n; i++)
        bytes[i] = c->ring[(c->cursor + i) % CONSOLE_RING];
    pump_unlock(&c->lock, locked);
    if (*lost)
        atomic_fetch_add_explicit(&con->lost, *lost, memory_order_relaxed);
    return n;
}

static u64 ring_head(struct console *c) {
    bool locked = pump_lock(&c->lock);
    u64 head = c->head;
    pump_unlock(&c->lock, locked);
    return head;
}

static void fill_console(struct console *c) {
    char bytes[CHUNK];
    u64 lost;
    u32 n = ring_peek(c, bytes, sizeof bytes, &lost);
    if (n == 0 || out_room() < VIEW_BURST_MAX + NOTE_MAX)
        return;
    struct view_out out = out_begin();
    if (lost) {
        char note[64];
        snprintf(note, sizeof note, "… %llu bytes lost", (unsigned long long)lost);
        view_print(&con->view, c->name, note, &out);
        view_line_init(&c->line, c->name);
    }
    bool dirty = c->line.dirty;
    u32 i = 0;
    while (i < n && out.size - out.len >= VIEW_BURST_MAX)
        view_putc(&con->view, &c->line, bytes[i++], &out);
    out_end(&out);
    c->cursor += i;
    c->changed_ns = arch_now_ns();
    if (!dirty)
        c->dirty_ns = c->changed_ns;
}

// The line stands there as it is: its next byte is to wake us like the first of a line. False: there are more already.
static bool listen(struct console *c) {
    bool locked = pump_lock(&c->lock);
    bool all = c->cursor == c->head;
    if (all)
        c->in_line = false;
    pump_unlock(&c->lock, locked);
    return all;
}

// Shows c's incomplete line if it is time; lowers *deadline to when it will be.
static void fill_partial(struct console *c, u64 *deadline) {
    if (!c->line.dirty || (c->line.len == 0 && con->view.open != &c->line))
        return;
    u64 due = MIN(c->changed_ns + QUIET_NS, c->dirty_ns + PATIENCE_NS);
    if (arch_now_ns() < due && !atomic_load_explicit(&con->polled, memory_order_relaxed)) {
        *deadline = MIN(*deadline, due);
        return;
    }
    if (out_room() < VIEW_BURST_MAX)
        return;
    struct view_out out = out_begin();
    view_show(&con->view, &c->line, &out);
    out_end(&out);
    if (!listen(c)) // more came meanwhile
        *deadline = arch_now_ns() + NAP_NS;
}

// The shell's prompt gives way to the log's line, and is drawn again by the shell.
static void clear_prompt(void) {
    if (at_column0())
        return;
    if (atomic_load_explicit(&con->shell_edits, memory_order_acquire)) {
        puts_out("\r\x1b[K");
        atomic_store_explicit(&con->shell_redraw, true, memory_order_release);
    } else {
        puts_out("\r\n");
    }
}

static bool read_log(u64 *number, struct log_line *line) {
    return atomic_load_explicit(&con->polled, memory_order_relaxed) ? log_read_unlocked(number, line)
                                                                    : log_read(number, line);
}

static void fill_log(void) {
    struct log_line line;
    while (out_room() >= 2 * NOTE_MAX + LOG_LINE_MAX) {
        u64 number = con->log_next;
        if (!read_log(&number, &line))
            break;
        if (atomic_load_explicit(&con->mode, memory_order_relaxed) == CONSOLE_SHELL)
            clear_prompt();
        char text[LOG_LINE_MAX + 16];
        struct view_out out = out_begin();
        if (number > con->log_next) {
            snprintf(text, sizeof text, "… %llu lines lost", (unsigned long long)(number - con->log_next));
            view_print(&con->view, "bulkhead", text, &out);
        }
        snprintf(text, sizeof text, "%s%s", console_log_word(line.level), line.text);
        view_print(&con->view, "bulkhead", text, &out);
        out_end(&out);
        con->log_next = number + 1;
    }
    if (atomic_load_explicit(&con->shell_redraw, memory_order_relaxed))
        waitq_wake(&con->shell_wq);
}

static bool fill_shell(void) {
    u32 tail = atomic_load_explicit(&con->shell_tail, memory_order_relaxed);
    // Acquire: pairs with the release in shell_put.
    u32 head = atomic_load_explicit(&con->shell_head, memory_order_acquire);
    if (head == tail)
        return false;
    while (tail != head && out_room() >= 2 && con->out_len < PUSH_MAX) {
        char byte = con->shell[tail++ % CONSOLE_SHELL_RING];
        if (byte == '\n' && !con->cr)
            put("\r", 1);
        con->cr = byte == '\r';
        put(&byte, 1);
    }
    atomic_store_explicit(&con->shell_tail, tail, memory_order_release);
    waitq_wake(&con->shell_wq);
    return true;
}

// ── The attached VM ─────────────────────────────────────────────────────────────────────────────────────────────────
// Old output is shown without what makes a terminal answer: the answer would arrive in the VM as if it were typed.
static void replay_putc(struct console *c, char byte) {
    const struct escape_filter *f = &c->replay;
    switch (escape_feed(&c->replay, byte)) {
    case ESCAPE_CSI:
        if (strchr("cnpqtuxS", f->seq[f->len - 1])) // DA, DSR, DECRQM, XTVERSION, XTWINOPS, …
            break;
        con->raw_escapes = true;
        [[fallthrough]];
    case ESCAPE_TEXT:
        put(f->seq, f->len);
        break;
    case ESCAPE_CONTROL:
        if (memchr("\b\t\n\r", f->seq[0], 4))
            put(f->seq, 1);
        break;
    case ESCAPE_NONE:
        break;
    }
}

static void fill_raw(struct console *c) {
    char bytes[CHUNK];
    u64 lost;
    for (u32 turn = 0; turn < PUSH_MAX / CHUNK; turn++) {
        u32 n = ring_peek(c, bytes, sizeof bytes, &lost);
        if (lost) {
            char note[64];
            snprintf(note, sizeof note, "\r\n[… %llu bytes lost]\r\n", (unsigned long long)lost);
            puts_out(note);
        }
        for (u32 i = 0; i < n; i++, c->cursor++) {
            if (c->cursor < c->replay_end) {
                replay_putc(c, bytes[i]);
            } else {
                con->raw_escapes = con->raw_escapes || bytes[i] == '\x1b';
                put(&bytes[i], 1);
            }
        }
    }
    if (c->cursor != ring_head(c))
        return;
    bool locked = pump_lock(&c->lock);
    bool told = !c->status_new;
    c->status_new = false;
    char note[CONSOLE_STATUS_MAX + VM_NAME_MAX + 32];
    snprintf(note, sizeof note, "\r\n[bulkhead: %s %s]\r\n", c->name, c->status);
    pump_unlock(&c->lock, locked);
    if (!told)
        puts_out(note);
}

static void enter_attached(struct console *c) {
    char note[VM_NAME_MAX + 64];
    snprintf(note, sizeof note, "[bulkhead: console of %s; Ctrl-] opens the shell]\r\n", c->name);
    puts_out(note);
    bool locked = pump_lock(&c->lock);
    c->status_new = c->status[0] != '\0';
    c->replay_end = c->head;
    c->cursor = c->head > CONSOLE_RING ? c->head - CONSOLE_RING : 0;
    if (c->cursor > 0) { // begin with a whole line, if there is one soon
        for (u64 i = c->cursor; i < c->cursor + 1024; i++) {
            if (c->ring[i % CONSOLE_RING] == '\n') {
                c->cursor = i + 1;
                break;
            }
        }
    }
    pump_unlock(&c->lock, locked);
    memset(&c->replay, 0, sizeof c->replay);
    con->raw_escapes = false;
}

// ── Views ───────────────────────────────────────────────────────────────────────────────────────────────────────────
static void leave_view(enum console_mode mode) {
    struct view_out out = out_begin();
    view_close(&con->view, &out);
    out_end(&out);
    if (mode == CONSOLE_ATTACHED) {
        if (con->raw_escapes) // ends a sequence cut in two; soft reset; paste brackets and mouse reports off
            puts_out("\x18\x1b[!p\x1b[?2004l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[0m");
        view_line_init(&con->attached->line, con->attached->name);
        u64 next = log_next();
        if (next - con->log_next > CATCH_UP_LINES)
            con->log_next = next - CATCH_UP_LINES;
    }
    if (con->raw_escapes && mode == CONSOLE_ATTACHED)
        puts_out("\r\n");
    else if (!at_column0())
        puts_out("\r\n");
}

static void enter_all(void) {
    for (u32 i = 0, n = console_slots(); i < n; i++) {
        struct console *c = console_at(i);
        if (!c)
            continue;
        u64 head = ring_head(c);
        if (head - c->cursor <= CATCH_UP)
            continue;
        c->cursor = head - CATCH_UP;
        view_line_init(&c->line, c->name);
    }
}

static void change_view(void) {
    if (!atomic_load_explicit(&con->change, memory_order_acquire))
        return;
    enum console_mode old = atomic_load_explicit(&con->mode, memory_order_relaxed);
    if (old == CONSOLE_SHELL && atomic_load_explicit(&con->shell_head, memory_order_acquire) !=
                                    atomic_load_explicit(&con->shell_tail, memory_order_relaxed))
        return; // what the shell said before comes out first
    leave_view(old);
    bool locked = pump_lock(&con->lock);
    enum console_mode mode = con->next_mode;
    if (con->attached)
        atomic_store_explicit(&con->attached->raw, false, memory_order_relaxed);
    con->attached = con->next_attached;
    if (con->attached)
        atomic_store_explicit(&con->attached->raw, true, memory_order_relaxed);
    atomic_store_explicit(&con->mode, mode, memory_order_relaxed);
    // Release: whoever sees that no change is due also sees the mode.
    atomic_store_explicit(&con->change, false, memory_order_release);
    pump_unlock(&con->lock, locked);
    if (mode == CONSOLE_ATTACHED)
        enter_attached(con->attached);
    else if (mode == CONSOLE_ALL)
        enter_all();
    else if (old != CONSOLE_SHELL)
        atomic_store_explicit(&con->shell_redraw, true, memory_order_release);
    waitq_wake(&con->shell_wq);
}

// Inside the pump, or before c is seen: nothing of it may remain.
void console_pump_forget(struct console *c) {
    if (con->view.open == &c->line) {
        struct view_out out = out_begin();
        view_close(&con->view, &out);
        out_end(&out);
        con->view.open = NULL;
    }
    if (con->attached == c && !atomic_load_explicit(&con->change, memory_order_relaxed))
        console_keep_typed(c); // it goes with c: nobody else is to have it
    spin_lock(&con->lock);
    bool attached = con->attached == c || con->next_attached == c;
    if (con->attached == c) {
        con->attached = NULL;
        atomic_store_explicit(&con->mode, CONSOLE_ALL, memory_order_relaxed);
    }
    spin_unlock(&con->lock);
    if (attached)
        console_request(CONSOLE_SHELL, NULL);
}

// ── The pump ────────────────────────────────────────────────────────────────────────────────────────────────────────
bool console_pump_enter(u64 wait_ns) {
    u64 end = arch_now_ns() + wait_ns;
    // Acquire and release: what the last one in the pump did to its state is seen by the next.
    while (atomic_exchange_explicit(&con->busy, true, memory_order_acquire)) {
        if (arch_now_ns() >= end)
            return false;
        arch_cpu_relax();
    }
    return true;
}

void console_pump_leave(void) {
    atomic_store_explicit(&con->busy, false, memory_order_release);
}

static void fill(u64 *deadline) {
    switch (atomic_load_explicit(&con->mode, memory_order_relaxed)) {
    case CONSOLE_SHELL:
        if (!fill_shell())
            fill_log();
        break;
    case CONSOLE_ATTACHED:
        fill_raw(con->attached);
        break;
    case CONSOLE_ALL:
        fill_log();
        for (u32 i = 0, n = console_slots(); i < n; i++) {
            con->turn = con->turn + 1 < n ? con->turn + 1 : 0;
            struct console *c = console_at(con->turn);
            if (c)
                fill_console(c);
        }
        con->turn++; // another one begins next time
        for (u32 i = 0, n = console_slots(); i < n; i++) {
            struct console *c = console_at(i);
            if (!c)
                continue;
            if (c->cursor == ring_head(c))
                fill_partial(c, deadline);
            else // bytes that came since we looked, which wake nobody if they only go on with a line
                *deadline = MIN(*deadline, arch_now_ns() + NAP_NS);
        }
        break;
    }
}

// A chunk to the UART. False: it takes no more for now.
static bool push(void) {
    u32 n = MIN(con->out_len - con->out_pos, (u32)PUSH_MAX);
    if (n == 0)
        return true;
    con->midline = con->out[con->out_len - 1] != '\n';
    u32 taken = port_write(con->out + con->out_pos, n);
    con->out_pos += taken;
    if (con->out_pos == con->out_len)
        con->out_pos = con->out_len = 0;
    return taken == n;
}

// Is there untold output of a VM that is shown? What a terminal is not shown, such as a page of zero bytes, may fill
// nothing.
static bool more_to_tell(void) {
    const enum console_mode mode = atomic_load_explicit(&con->mode, memory_order_relaxed);
    for (u32 i = 0, n = console_slots(); i < n; i++) {
        struct console *c = console_at(i);
        if (c && (mode == CONSOLE_ALL || (mode == CONSOLE_ATTACHED && c == con->attached)) && c->cursor != ring_head(c))
            return true;
    }
    return false;
}

static enum pump pump(u64 *deadline) {
    if (con->out_len == 0) {
        change_view();
        console_input();
        fill(deadline);
        if (con->out_len == 0 && !atomic_load_explicit(&con->change, memory_order_relaxed))
            return more_to_tell() ? PUMP_MORE : PUMP_IDLE;
    }
    return push() ? PUMP_MORE : PUMP_FULL;
}

static void sleep_until(u64 deadline) {
    bool timed_out;
    waitq_wait_until(&con->wq, atomic_load_explicit(&con->wake, memory_order_acquire), deadline, timed_out);
}

static void nap(void) {
    bool timed_out;
    waitq_wait_until(&con->wq, false, arch_now_ns() + NAP_NS, timed_out);
}

void console_main(void *arg) {
    (void)arg;
    for (u32 passes = 1;; passes++) {
        atomic_exchange_explicit(&con->wake, false, memory_order_acq_rel);
        if (!port_has_irq())
            console_host_irq();
        u64 deadline = port_has_irq() ? TIMER_NEVER : arch_now_ns() + POLL_NS;
        enum pump result = PUMP_IDLE;
        if (console_pump_enter(0)) {
            if (!atomic_load_explicit(&con->polled, memory_order_relaxed))
                result = pump(&deadline);
            console_pump_leave();
        } else {
            deadline = arch_now_ns() + NAP_NS;
        }
        if (result == PUMP_FULL) {
            nap(); // the line is slower than we are: in a millisecond its FIFO has room again
        } else if (result == PUMP_IDLE) {
            sleep_until(deadline);
        } else if (passes % BURST == 0) {
            nap();
        } else {
            sched_yield();
        }
    }
}

void console_flush(void) {
    if (atomic_load_explicit(&con->polled, memory_order_relaxed) || !con->started)
        return;
    bool entered = console_pump_enter(100 * MS);
    atomic_store_explicit(&con->polled, true, memory_order_seq_cst);
    u64 end = arch_now_ns() + FLUSH_NS, deadline = 0;
    bool attached = atomic_load_explicit(&con->mode, memory_order_relaxed) == CONSOLE_ATTACHED;
    do {
        port_write_polled(con->out + con->out_pos, con->out_len - con->out_pos);
        if (con->out_len > 0)
            con->midline = con->out[con->out_len - 1] != '\n';
        con->out_len = con->out_pos = 0;
        fill(&deadline);
        if (con->out_len == 0 && attached) { // the log is shown nowhere else
            attached = false;
            leave_view(CONSOLE_ATTACHED);
            atomic_store_explicit(&con->mode, CONSOLE_SHELL, memory_order_relaxed);
            fill(&deadline);
        }
    } while (con->out_len > 0 && arch_now_ns() < end);
    if (!at_column0())
        port_write_polled("\r\n", 2);
    if (entered)
        console_pump_leave();
}
