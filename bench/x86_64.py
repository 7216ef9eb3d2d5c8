# SPDX-License-Identifier: Apache-2.0
"""x86_64: the machines, what runs on them, and the table's rows with what KVM takes."""

from table import Row, Run

EMULATOR = "qemu-system-x86_64"
MACHINE = "q35"
# Not -cpu max: with -icount, QEMU 10.0 ends itself ("Bad icount read") where an MSR sets its APIC's timer.
CPU = "max,-x2apic,-tsc-deadline"
LOAD_ADDRESS = LINK_ADDRESS = 0x200000
CONSOLE = "ttyS0"
RUNS = (Run("single"), Run("shared", cpus=2), Run("smp", smp=2, cpus=2))
GROUPS = {"timer_shared": "shared", "ap_start": "smp", "ipi": "smp"}  # the others are of "single"

PEERS = ("KVM 6.12",)
NONE = (None,)

ROWS = (
    Row("vmmcall", "VMMCALL that does nothing, round trip", (2446,), 250),
    Row("vmmcall_id", "VMMCALL that asks for the VM's number, by the core", NONE),
    Row("cpuid", "CPUID", (2280,), 300),
    Row("port", "emulated port read (UART's line status)", (3211,)),
    Row("lapic_mmio", "local APIC register read, xAPIC", NONE, 900),
    Row("eoi_mmio", "end of interrupt, xAPIC", NONE),
    Row("lapic_msr", "local APIC register read, x2APIC", NONE, 300),
    Row("eoi_msr", "end of interrupt, x2APIC", NONE),
    Row("ioapic", "IOAPIC register read", NONE),
    Row("self_ipi", "IPI to self → vector, x2APIC's register for it", NONE, 600),
    Row("self_ipi_icr", "IPI to self → vector, x2APIC's ICR", NONE, 600),
    Row("timer_arm", "TSC deadline set", NONE),
    Row("timer_busy", "TSC deadline → vector, guest busy", NONE),
    Row("timer_hlt", "TSC deadline → vector, guest in HLT, alone on its CPU", NONE),
    Row("timer_shared", "TSC deadline → vector, guest in HLT, another on its CPU", NONE),
    Row("ipi", "IPI → vector, both CPUs' instructions", NONE),
    Row("ap_start", "INIT and SIPI → first guest instruction there", NONE),
    Row("reset", "reset → first guest instruction", NONE, 6_000_000),
    Row("image", "hypervisor image, what is loaded of the file", NONE, 320 * 1024, unit="bytes"),
    Row("memory", "RAM written until the guest runs", NONE, unit="bytes"),
    Row("linux", "Linux boot to userspace, in the hypervisor", NONE),
)
FOOTNOTES = ()
