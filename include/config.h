// SPDX-License-Identifier: Apache-2.0
// One VM as its TOML file describes it. A vm_config is self-contained: no pointer into the text or the arena.
// It is about 4 KiB: not for the stack of a hypervisor task.
#pragma once

#include "arena.h"
#include "diag.h"
#include "types.h"

enum {
    VM_NAME_MAX = 31,          // bytes without the terminator
    VM_CPUS_MAX = 16,          // vCPUs a VM
    CONFIG_PCPU_MAX = 64,      // pCPUs an affinity can name: 0…63
    CONFIG_PATH_MAX = 255,     // bytes of a path without the terminator
    CONFIG_CMDLINE_MAX = 2047, // Linux's COMMAND_LINE_SIZE - 1 on arm64
    CONFIG_PRIORITY_MAX = 15,
    CONFIG_PRIORITY_DEFAULT = 8,
};
#define CONFIG_FILE_MAX KIB(64)    // a longer file is refused
#define CONFIG_ARENA_SIZE KIB(256) // scratch that config_parse needs for any file that people write
#define CONFIG_MEMORY_MAX GIB(1024)

enum vm_action { VM_ACTION_STOP, VM_ACTION_RESTART };

enum boot_protocol { BOOT_AUTO, BOOT_LINUX, BOOT_ELF, BOOT_RAW };

// Where a value stands in the file, for the messages of later stages. line 0: the key was not given.
struct config_pos {
    u32 line, col;
};

struct vm_config {
    bool valid;                     // no error so far; what follows is complete only then
    char file[CONFIG_PATH_MAX + 1]; // as given to config_parse
    char name[VM_NAME_MAX + 1];     // [a-z0-9][a-z0-9-]{0,30}
    u32 cpus;                       // 1…VM_CPUS_MAX
    u64 memory;                     // bytes, a multiple of BLOCK_SIZE, not 0
    char memory_text[24];           // as written, for messages
    bool autostart;
    enum vm_action on_shutdown, on_reset, on_crash;
    struct {
        char kernel[CONFIG_PATH_MAX + 1]; // paths in the bundle, without leading "./" or "/"
        char initrd[CONFIG_PATH_MAX + 1]; // "": none
        char dtb[CONFIG_PATH_MAX + 1];    // "": the tree is generated
        char cmdline[CONFIG_CMDLINE_MAX + 1];
        enum boot_protocol protocol;
        bool has_load, has_entry; // as written; with BOOT_RAW load is always there
        u64 load, entry;          // guest-physical, BOOT_RAW only; entry is load when not given
    } boot;
    struct {
        bool has_affinity;         // false: any pCPU, and every mask is all ones
        u64 affinity[VM_CPUS_MAX]; // bit n: the vCPU may run on pCPU n
        u32 priority;              // 0…CONFIG_PRIORITY_MAX, higher first
    } sched;
    struct {
        struct config_pos name, cpus, memory, kernel, initrd, dtb, cmdline, load, entry, priority;
        struct config_pos affinity[VM_CPUS_MAX]; // the list that holds for this vCPU
    } pos;
};

// Reads the configuration in text[0..len), reporting every error in it. `arena` is scratch: it may be reset afterwards.
// Returns 0, or -EINVAL after at least one error. *out is always initialised, and out->valid tells the same.
// Context: any; no more than 4 KiB of stack whatever the text.
[[nodiscard]] int config_parse(const char *file, const char *text, size_t len, struct arena *arena,
                               struct diag_list *diags, struct vm_config *out);

// Names must be unique: of several valid configs with one name, the first keeps it and each later one gets an error
// that names both places and becomes invalid. Returns how many became invalid.
u32 config_check_names(struct vm_config *configs, u32 count, struct diag_list *diags);

const char *vm_action_name(enum vm_action action);           // "stop", "restart"
const char *boot_protocol_name(enum boot_protocol protocol); // "auto", "linux", …
