// SPDX-License-Identifier: Apache-2.0
// Intel's VMX.
#include "virt.h"

const char *vmx_unusable(void) {
    return "Intel's VMX is not supported yet";
}

const struct x86_virt_ops vmx_ops = {.name = "VMX"};
