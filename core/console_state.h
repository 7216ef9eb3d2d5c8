// SPDX-License-Identifier: Apache-2.0
// The console's insides, shared by core/console*.c.
#pragma once

#include <stdatomic.h>

#include "config.h"
#include "console.h"
#include "console_view.h"
#include "lock.h"
#include "log.h"
#include "task.h"
#include "waitq.h"

enum {
    CONSOLE_RX_RING = 16 * 1024, // until it is known whose it is
    CONSOLE_TYPED = 16 * 1024,   // a paste of several pages survives until the VM has taken it
    CONSOLE_SHELL_RING = 4 * 1024,
    CONSOLE_OUT = 2 * VIEW_BURST_MAX,
    CONSOLE_STATUS_MAX = 160,
    CONSOLE_MAX = 32,
};

enum console_mode { CONSOLE_ALL, CONSOLE_SHELL, CONSOLE_ATTACHED };

struct console {
    struct spinlock lock; // ring, head, status
    char *ring;
    u64 head;     // bytes ever written
    u32 untold;   // bytes written since the pump was last woken for them
    bool in_line; // the last byte did not end a line
    char status[CONSOLE_STATUS_MAX];
    bool status_new;
    _Atomic bool input_ready; // the device has room again
    _Atomic bool raw;         // the terminal is attached to it; set by the pump
    char name[VM_NAME_MAX + 1];

    // The pump's own: touched inside it only.
    u64 cursor;     // bytes told (or skipped) so far
    u64 replay_end; // bytes below are old: queries in them must not reach the terminal
    u64 changed_ns; // when the last byte came
    u64 dirty_ns;   // when the first byte came that is not shown
    console_input_fn input;
    void *input_ctx;
    bool blocked;               // the device took less than it was offered
    char *typed;                // what was typed for this VM and is not taken yet
    u32 typed_head, typed_tail; // free running
    struct view_line line;
    struct escape_filter replay;
};

struct console_state {
    struct task task;
    struct waitq wq;       // the task's
    struct waitq shell_wq; // the shell's: input, and room for output
    _Atomic bool started;  // the task exists; set once at boot
    _Atomic bool polled;   // final: flushed for a panic or power off, no locks any more
    _Atomic bool wake;     // there may be work; see console_wake
    _Atomic bool busy;     // someone is in the pump
    struct console *_Atomic consoles[CONSOLE_MAX];
    _Atomic u32 slots; // those from here on have never been used
    char initial[VM_NAME_MAX + 1];

    // What the terminal shows, and what it shall show next. Guarded by lock; the pump alone changes mode and attached.
    struct spinlock lock;
    _Atomic enum console_mode mode;
    struct console *attached;
    _Atomic bool change; // next_* are wanted
    enum console_mode next_mode;
    struct console *next_attached;

    struct spinlock rx_lock;
    u32 rx_head, rx_tail; // free running
    char rx[CONSOLE_RX_RING];
    _Atomic bool rx_any;
    _Atomic u64 rx_lost;

    _Atomic u32 shell_head, shell_tail; // free running
    char shell[CONSOLE_SHELL_RING];
    _Atomic bool shell_edits;  // what it wrote last is a prompt and a line being typed
    _Atomic bool shell_redraw; // give it CONSOLE_REDRAW

    // The pump's own.
    struct view view;
    u64 log_next;
    u64 hint_ns;      // no hint before
    u32 turn;         // which console goes first
    bool midline;     // the cursor does not stand at a line's beginning
    bool raw_escapes; // the attached VM sent escape sequences
    bool cr;          // the shell's last byte was a carriage return
    _Atomic u64 lost;
    char out[CONSOLE_OUT];
    u32 out_len, out_pos;
};

extern struct console_state console_state;

void console_wake(void);
// Asks for another view.
void console_request(enum console_mode mode, struct console *c);
const char *console_log_word(enum log_level level); // "error: ", "warning: ", ""

// core/console_pump.c: the task, and whoever flushes.
void console_main(void *arg);
// One at a time is in the pump. False: someone else still is, after waiting for wait_ns.
bool console_pump_enter(u64 wait_ns);
void console_pump_leave(void);
void console_pump_forget(struct console *c); // inside the pump: c is about to go

struct console *console_at(u32 i); // NULL: none there
u32 console_slots(void);

// core/console_input.c
void console_input(void);                    // inside the pump: hands on what was typed
void console_keep_typed(struct console *c);  // inside the pump: what was typed so far, up to Ctrl-], is for c
u32 console_rx_take(char *bytes, u32 count); // takes up to count bytes off the ring, none behind a Ctrl-]
void console_rx_put(const char *bytes, u32 count);

// core/console_port.c: the UART. After `polled` is set it takes no lock.
u32 port_write(const char *bytes, u32 count); // as many as it takes without waiting
void port_write_polled(const char *bytes, u32 count);
bool port_has_irq(void);
void port_start(void);
