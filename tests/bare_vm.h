// SPDX-License-Identifier: Apache-2.0
// A VM without a life: empty buses, and vCPUs that are only numbers and a place for an interrupt controller's part.
// For the tests of device models, unit and fuzz, which play the core and the architecture themselves.
#pragma once

#include <string.h>

#include "host.h"
#include "page.h"
#include "vm.h"

// On a fresh machine, whose memory is all free.
static inline void bare_vm(struct vm *vm, struct vcpu *vcpus, u32 count) {
    host_init(&(struct host_options){.memory = MIB(4)});
    page_init(host_board(), pa(0), pa(0));
    memset((void *)vm, 0, sizeof(*vm));
    bus_init(&vm->bus);
    bus_init(&vm->ports);
    vm->vcpu_count = count;
    for (u32 n = 0; n < count; n++) {
        memset((void *)&vcpus[n], 0, sizeof(vcpus[n]));
        vcpus[n].id = n;
        vcpus[n].vm = vm;
        vm->vcpus[n] = &vcpus[n];
    }
}
