// SPDX-License-Identifier: Apache-2.0
// The shell: a line editor with history and completion, and the commands of INTERFACES.md.
#pragma once

#include "types.h"

// Makes the shell's task. Boot.
void shell_start(void);
// Runs one line (used by tests and the task). Returns 0 or a negative errno; output goes to console_printf. Task.
int shell_run(const char *line);
