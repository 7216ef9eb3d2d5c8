// SPDX-License-Identifier: Apache-2.0
// The shell: a line editor with history and completion on the console, and the commands of cmd.h.
#pragma once

#include "types.h"

// Makes the shell's task. After vmm_init, since its commands look at the VMs. Boot.
void shell_start(void);
// Runs one line, its output going to the console. 0 or a negative errno after a sentence. Task (shell).
int shell_run(const char *line);
