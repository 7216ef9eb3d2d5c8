// SPDX-License-Identifier: Apache-2.0
// The hypervisor's own command line (the boot loader's bootargs).
#pragma once

#include "config.h"
#include "log.h"
#include "types.h"

enum cmdline_idle { IDLE_POWEROFF, IDLE_SHELL, IDLE_REBOOT }; // what to do when the last VM has stopped

struct cmdline {
    enum cmdline_idle idle;
    enum log_level loglevel;
    bool autostart;                // false: no VM is started, whatever its configuration says
    char console[VM_NAME_MAX + 1]; // "all", "shell" or a VM's name
};

// Reads words of the form key=value, separated by blanks; the last of several wins. *out is always complete: what is
// not given, or wrong, has its default (poweroff, info, yes, all). Each wrong word costs one call of `warn` (may be
// NULL) with a sentence. Context: any.
void cmdline_parse(const char *text, struct cmdline *out, void (*warn)(void *ctx, const char *message), void *ctx);
