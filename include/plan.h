// SPDX-License-Identifier: Apache-2.0
// The plan: can the machine hold these VMs, and where does each go? Pure: facts in, placements or reasons out. The host
// command asks the same questions of a machine that it knows only in part.
#pragma once

#include "config.h"
#include "diag.h"
#include "types.h"

enum plan_arch { PLAN_ARCH_ANY, PLAN_ARCH_AARCH64, PLAN_ARCH_RISCV64, PLAN_ARCH_X86_64 };

// A file that a configuration names, whole.
struct plan_file {
    const void *data;
    u64 size; // bytes
};

struct plan_machine {
    enum plan_arch arch; // PLAN_ARCH_ANY: not checked
    u32 cpu_count;       // pCPUs 0…cpu_count - 1; 0: unknown, not checked
    bool free_known;
    u64 free_memory;             // bytes in free 2 MiB blocks, with free_known
    u64 guest_ram_base;          // guest-physical start of RAM
    struct gpa_range guest_hole; // where RAM makes way for devices, and goes on behind; size 0: nowhere
    // Finds a file by its path: 0, -ENOENT, or another negative errno: there, but not a regular file.
    // NULL: the images are not checked.
    int (*find)(void *ctx, const char *path, struct plan_file *out);
    void *ctx;
    const char *where; // for messages: "not in the bundle", "not in /some/directory"; NULL: "the bundle"
};

struct plan_vm {
    bool ok;              // the rest holds only then
    u32 cpu[VM_CPUS_MAX]; // the pCPU that each vCPU starts on
};

// Fills out[i] for configs[i]. A config that is not valid is skipped (ok = false, nothing reported); one that does not
// fit is reported, every reason at once, and takes nothing: the others are placed as if it were not there. Memory goes
// to earlier configs first; vCPUs with an affinity choose their pCPU before those without. Returns how many are ok.
// Context: boot.
u32 plan_vms(const struct plan_machine *machine, const struct vm_config *configs, u32 count, struct plan_vm *out,
             struct diag_list *diags);

// The least loaded pCPU among those in `affinity_mask`, the lowest number among equals; -ENODEV when none of them
// exists. load[n] is any measure of what already runs on pCPU n. Context: any.
[[nodiscard]] int plan_place_vcpu(const u32 *load, u32 cpu_count, u64 affinity_mask);

// "64 GiB", "1.8 GiB", "512 MiB", "4 KiB": at most one decimal, rounded down. Needs 16 bytes. Returns buf.
char *plan_format_size(u64 bytes, char *buf, size_t size);
