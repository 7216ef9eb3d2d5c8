// SPDX-License-Identifier: Apache-2.0
#include "shell.h"

#include "cmd.h"
#include "console.h"
#include "cpu.h"
#include "line_edit.h"
#include "log.h"
#include "task.h"

static struct task task;
static struct line_edit editor;

static void write_console(void *ctx, const char *bytes, size_t count) {
    (void)ctx;
    console_shell_write(bytes, count);
}

static void complete(void *ctx, const char *line, u32 cursor, struct line_edit_matches *matches) {
    (void)ctx;
    cmd_complete(line, cursor, matches);
}

static const struct writer writer = {write_console, NULL};
static const struct line_edit_hooks hooks = {write_console, complete, NULL};

int shell_run(const char *line) {
    return cmd_run(line, &writer);
}

// A prompt is drawn only when the console asks for it or a line was run: with another view on, the prompt has to wait.
static void shell_main(void *arg) {
    (void)arg;
    bool fresh = true; // the editor's line is a new one
    for (;;) {
        int byte = console_shell_getc();
        if (byte == CONSOLE_REDRAW) {
            if (fresh)
                line_edit_begin(&editor);
            else
                line_edit_redraw(&editor);
            fresh = false;
            continue;
        }
        if (fresh)
            line_edit_begin(&editor);
        fresh = false;
        switch (line_edit_feed(&editor, (char)byte)) {
        case LINE_EDIT_MORE:
            break;
        case LINE_EDIT_END:
            console_show_all();
            fresh = true;
            break;
        case LINE_EDIT_LINE:
            shell_run(editor.line);
            fresh = true;
            console_shell_prompt();
            break;
        }
    }
}

void shell_start(void) {
    line_edit_init(&editor, "bulkhead> ", &hooks);
    if (task_init(&task, "shell", shell_main, NULL, TASK_PRIORITY_SYSTEM, &cpus[0]) != 0) {
        log_error("no memory for the shell's task: there is no shell");
        return;
    }
    task_wake(&task);
}
