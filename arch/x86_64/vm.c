// SPDX-License-Identifier: Apache-2.0
// A guest's machine as far as its CPUs are concerned: its clock and its translations.
#include "virt.h"

int arch_vm_init(struct vm *vm) {
    atomic_init(&vm->arch.tlb_generation, 1);
    return 0; // address space tags are given out by each CPU as vCPUs come to it
}

void arch_vm_fini(struct vm *vm) {
    (void)vm; // no vCPU of it will be loaded again
}

void arch_vm_reset(struct vm *vm) {
    vm->arch.tsc_start = arch_ticks();
    arch_vm_flush(vm, gpa(0), 0);
}

// No vCPU of the VM runs when its stage 2 changes (creation, reset, destruction). Each looks at the generation when it
// is loaded the next time and takes an empty tag.
void arch_vm_flush(struct vm *vm, gpa_t start, u64 size) {
    (void)start;
    (void)size;
    // Release: the change of the tables comes before it. Pairs with the acquire in the backends' load.
    atomic_fetch_add_explicit(&vm->arch.tlb_generation, 1, memory_order_release);
}
