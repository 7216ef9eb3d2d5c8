// SPDX-License-Identifier: Apache-2.0
// Intel's VMX: fields of the virtual-machine control structure (Intel SDM volume 3, appendix B), controls (chapter 25)
// and exit reasons (appendix C).
#pragma once

#include "types.h"

enum : u32 { // MSRs
    MSR_VMX_BASIC = 0x480,
    MSR_VMX_PIN = 0x481,
    MSR_VMX_PROC = 0x482,
    MSR_VMX_EXIT = 0x483,
    MSR_VMX_ENTRY = 0x484,
    MSR_VMX_CR0_FIXED0 = 0x486,
    MSR_VMX_CR0_FIXED1 = 0x487,
    MSR_VMX_CR4_FIXED0 = 0x488,
    MSR_VMX_PROC2 = 0x48b,
    MSR_VMX_EPT_VPID_CAP = 0x48c,
    MSR_VMX_TRUE_PIN = 0x48d, // then those of PROC, EXIT and ENTRY
};
#define VMX_BASIC_TRUE_CONTROLS BIT(55)
#define FEATURE_CONTROL_LOCK BIT(0)
#define FEATURE_CONTROL_VMX BIT(2) // outside SMX
#define EPT_CAP_WALK_4 BIT(6)
#define EPT_CAP_WRITE_BACK BIT(14)
#define EPT_CAP_2MIB BIT(16)
#define EPT_CAP_INVEPT_SINGLE (BIT(20) | BIT(25))
#define VPID_CAP_SINGLE (BIT(32) | BIT(41))

enum : u32 { // fields
    VMCS_VPID = 0x0000,
    VMCS_GUEST_ES = 0x0800, // selectors: ES CS SS DS FS GS LDTR TR, 2 apart
    VMCS_HOST_ES = 0x0c00,  // ES CS SS DS FS GS TR
    VMCS_HOST_CS = 0x0c02,
    VMCS_HOST_SS = 0x0c04,
    VMCS_HOST_DS = 0x0c06,
    VMCS_HOST_FS = 0x0c08,
    VMCS_HOST_GS = 0x0c0a,
    VMCS_HOST_TR = 0x0c0c,
    VMCS_MSR_BITMAP = 0x2004,
    VMCS_TSC_OFFSET = 0x2010,
    VMCS_EPT_POINTER = 0x201a,
    VMCS_GUEST_PHYSICAL = 0x2400,
    VMCS_LINK_POINTER = 0x2800,
    VMCS_GUEST_DEBUGCTL = 0x2802,
    VMCS_GUEST_PAT = 0x2804,
    VMCS_GUEST_EFER = 0x2806,
    VMCS_GUEST_PDPTE = 0x280a, // four, 2 apart
    VMCS_HOST_PAT = 0x2c00,
    VMCS_HOST_EFER = 0x2c02,
    VMCS_PIN = 0x4000,
    VMCS_PROC = 0x4002,
    VMCS_EXCEPTIONS = 0x4004,
    VMCS_PF_MASK = 0x4006,
    VMCS_PF_MATCH = 0x4008,
    VMCS_CR3_TARGETS = 0x400a,
    VMCS_EXIT = 0x400c,
    VMCS_EXIT_STORE_MSRS = 0x400e,
    VMCS_EXIT_LOAD_MSRS = 0x4010,
    VMCS_ENTRY = 0x4012,
    VMCS_ENTRY_LOAD_MSRS = 0x4014,
    VMCS_ENTRY_EVENT = 0x4016,
    VMCS_ENTRY_ERROR = 0x4018,
    VMCS_PROC2 = 0x401e,
    VMCS_INSTRUCTION_ERROR = 0x4400,
    VMCS_EXIT_REASON = 0x4402,
    VMCS_EXIT_EVENT = 0x4404,
    VMCS_VECTORING = 0x4408,
    VMCS_VECTORING_ERROR = 0x440a,
    VMCS_EXIT_LENGTH = 0x440c,
    VMCS_GUEST_LIMIT = 0x4800, // as the selectors, then GDTR and IDTR
    VMCS_GUEST_GDTR_LIMIT = 0x4810,
    VMCS_GUEST_IDTR_LIMIT = 0x4812,
    VMCS_GUEST_RIGHTS = 0x4814, // as the selectors
    VMCS_INTERRUPTIBILITY = 0x4824,
    VMCS_ACTIVITY = 0x4826,
    VMCS_GUEST_SYSENTER_CS = 0x482a,
    VMCS_HOST_SYSENTER_CS = 0x4c00,
    VMCS_CR0_MASK = 0x6000,
    VMCS_CR4_MASK = 0x6002,
    VMCS_CR0_SHADOW = 0x6004,
    VMCS_CR4_SHADOW = 0x6006,
    VMCS_QUALIFICATION = 0x6400,
    VMCS_GUEST_CR0 = 0x6800,
    VMCS_GUEST_CR3 = 0x6802,
    VMCS_GUEST_CR4 = 0x6804,
    VMCS_GUEST_BASE = 0x6806, // as the selectors, then GDTR and IDTR
    VMCS_GUEST_GDTR_BASE = 0x6816,
    VMCS_GUEST_IDTR_BASE = 0x6818,
    VMCS_GUEST_DR7 = 0x681a,
    VMCS_GUEST_RSP = 0x681c,
    VMCS_GUEST_RIP = 0x681e,
    VMCS_GUEST_RFLAGS = 0x6820,
    VMCS_GUEST_PENDING_DEBUG = 0x6822,
    VMCS_GUEST_SYSENTER_ESP = 0x6824,
    VMCS_GUEST_SYSENTER_EIP = 0x6826,
    VMCS_HOST_CR0 = 0x6c00,
    VMCS_HOST_CR3 = 0x6c02,
    VMCS_HOST_CR4 = 0x6c04,
    VMCS_HOST_FS_BASE = 0x6c06,
    VMCS_HOST_GS_BASE = 0x6c08,
    VMCS_HOST_TR_BASE = 0x6c0a,
    VMCS_HOST_GDTR_BASE = 0x6c0c,
    VMCS_HOST_IDTR_BASE = 0x6c0e,
    VMCS_HOST_SYSENTER_ESP = 0x6c10,
    VMCS_HOST_SYSENTER_EIP = 0x6c12,
    VMCS_HOST_RIP = 0x6c16, // VMCS_HOST_RSP: entry.S
};

enum : u32 { // controls
    PIN_INTR = 1u << 0,
    PIN_NMI = 1u << 3,
    PIN_VIRTUAL_NMI = 1u << 5,
    PROC_INTR_WINDOW = 1u << 2,
    PROC_TSC_OFFSET = 1u << 3,
    PROC_HLT = 1u << 7,
    PROC_MWAIT = 1u << 10,
    PROC_RDPMC = 1u << 11,
    PROC_CR3_LOAD = 1u << 15,
    PROC_CR3_STORE = 1u << 16,
    PROC_CR8_LOAD = 1u << 19,
    PROC_CR8_STORE = 1u << 20,
    PROC_NMI_WINDOW = 1u << 22,
    PROC_IO = 1u << 24,
    PROC_MSR_BITMAP = 1u << 28,
    PROC_MONITOR = 1u << 29,
    PROC_SECONDARY = 1u << 31,
    PROC2_EPT = 1u << 1,
    PROC2_RDTSCP = 1u << 3,
    PROC2_VPID = 1u << 5,
    PROC2_WBINVD = 1u << 6,
    PROC2_UNRESTRICTED = 1u << 7,
    PROC2_INVPCID = 1u << 12,
    EXIT_SAVE_DEBUG = 1u << 2, // DR7
    EXIT_HOST_64 = 1u << 9,
    EXIT_SAVE_PAT = 1u << 18,
    EXIT_LOAD_PAT = 1u << 19,
    EXIT_SAVE_EFER = 1u << 20,
    EXIT_LOAD_EFER = 1u << 21,
    ENTRY_LOAD_DEBUG = 1u << 2,
    ENTRY_LONG = 1u << 9,
    ENTRY_LOAD_PAT = 1u << 14,
    ENTRY_LOAD_EFER = 1u << 15,
};

enum : u32 {            // exit reasons
    VMX_EXIT_EVENT = 0, // an NMI or one of EXCEPTIONS_OURS
    VMX_EXIT_INTR = 1,
    VMX_EXIT_TRIPLE_FAULT = 2,
    VMX_EXIT_INTR_WINDOW = 7,
    VMX_EXIT_NMI_WINDOW = 8,
    VMX_EXIT_TASK_SWITCH = 9,
    VMX_EXIT_CPUID = 10,
    VMX_EXIT_HLT = 12,
    VMX_EXIT_INVD = 13,
    VMX_EXIT_RDPMC = 15,
    VMX_EXIT_VMCALL = 18,
    VMX_EXIT_CR = 28,
    VMX_EXIT_IO = 30,
    VMX_EXIT_RDMSR = 31,
    VMX_EXIT_WRMSR = 32,
    VMX_EXIT_EPT = 48,
    VMX_EXIT_WBINVD = 54,
    VMX_EXIT_XSETBV = 55,
};
#define VMX_ENTRY_FAILED BIT(31) // of the exit reason

// Qualification of a control-register access.
#define QUAL_CR BITS(3, 0)
#define QUAL_CR_TYPE BITS(5, 4)
#define QUAL_CR_REG BITS(11, 8)
#define QUAL_LMSW BITS(31, 16)
enum : u64 { CR_TO, CR_FROM, CR_CLTS, CR_LMSW };
// Of a debug exception.
#define QUAL_DEBUG (BITS(3, 0) | BITS(14, 13)) // what it adds to DR6
// Of an I/O instruction.
#define QUAL_IO_SIZE BITS(2, 0) // less one
#define QUAL_IO_IN BIT(3)
#define QUAL_IO_STRING BIT(4)
#define QUAL_IO_PORT BITS(31, 16)
// Of an EPT violation.
#define QUAL_EPT_WRITE BIT(1)
#define QUAL_EPT_FETCH BIT(2)
#define QUAL_EPT_LINEAR_VALID BIT(7)
#define QUAL_EPT_FINAL BIT(8) // not in the walk of the guest's tables

#define BLOCKED_BY_STI BIT(0)
#define BLOCKED_BY_MOV_SS BIT(1)
#define BLOCKED_BY_NMI BIT(3)
#define RIGHTS_UNUSABLE BIT(16)
#define EPT_POINTER_4_LEVELS (3 << 3)
#define EPT_POINTER_WRITE_BACK 6
