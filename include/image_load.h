// SPDX-License-Identifier: Apache-2.0
// Puts a VM's kernel, initrd and device tree into its memory, as its configuration and the boot protocol say.
#pragma once

#include "bundle.h"
#include "types.h"

struct vm;

struct boot_entry { // for arch_vcpu_reset of the primary vCPU
    u64 entry;      // guest-physical
    u64 arg;        // guest-physical address of the device tree
};

// The guest's RAM is zero and no vCPU runs. 0, -EINVAL: the configuration or a file is at fault, -ENOMEM: the
// hypervisor has no room to work in; after an error `why` holds a sentence with its place ("vms/a.toml:9:10: kernel 'x'
// needs 300 MiB, the VM has 256 MiB"). Context: task; yields.
[[nodiscard]] int image_load(struct vm *vm, const struct bundle *bundle, struct boot_entry *out, char *why,
                             size_t why_size);
