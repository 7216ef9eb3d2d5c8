# SPDX-License-Identifier: Apache-2.0
"""riscv64: the machines, what runs on them, and the table's rows with what the others take."""

from table import MIB, Row, Run

EMULATOR = "qemu-system-riscv64"
MACHINE = "virt"
CPU = "rv64"
LOAD_ADDRESS = 0x80200000  # where QEMU puts an Image
LINK_ADDRESS = 0  # it is position independent
CONSOLE = "ttyS0"
RUNS = (
    Run("single"),
    Run("plain", cpu="rv64,sstc=false"),
    Run("shared", cpus=2),
    Run("smp", smp=2, cpus=2),
    Run("four", cpus=4),
    Run("file", machine="virt,aia=aplic-imsic,aia-guests=1"),
    Run("files", smp=2, cpus=2, machine="virt,aia=aplic-imsic,aia-guests=2"),
)
GROUPS = {  # which run an operation is of, if not of "single"; as in the guest's table
    "set_timer_sbi": "plain",
    "timer_busy_sbi": "plain",
    "timer_wfi_sbi": "plain",
    "timer_shared": "shared",
    "hart_start_call": "smp",
    "hart_start": "smp",
    "ipi": "smp",
    "fence_i_others": "four",
    "self_ipi_file": "file",
    "ipi_file": "files",
}

PEERS = ("OpenSBI alone", "Bao", "Xvisor", "KVM 6.12")
NONE = (None, None, None, None)

ROWS = (
    Row("sbi_null", "SBI call that does nothing, round trip", (308, 230, 733, 1744), 230),
    Row("sbi_unknown", "SBI call of an unknown extension", NONE),
    Row("stimecmp", "timer set through stimecmp (Sstc)", NONE, 1, inclusive=True),
    Row("set_timer", "timer set by SBI, with Sstc", (339, 227, 757, 1795), 227),
    Row("set_timer_sbi", "timer set by SBI, without Sstc", NONE, 227),
    Row("self_ipi", "IPI to self by SBI → vector", (2843, 1060, 2713, 3127), 1060),
    Row("self_ipi_file", "IPI to self by guest interrupt file → vector", NONE, 100),
    Row("fence_i", "remote FENCE.I by SBI, one vCPU", (3075, 3767, 4669, 3507), 3075),
    Row("fence_i_others", "remote FENCE.I by SBI, four vCPUs on one CPU", NONE),
    Row("uart_read", "emulated 16550A register read", (None, "passed through", 1108, 7670), 300),
    Row("plic_claim", "PLIC claim", NONE),
    Row("plic_complete", "PLIC complete", NONE),
    Row("timer_busy", "timer → vector, guest busy", NONE, 1, inclusive=True),
    Row("timer_wfi", "timer → vector, guest in WFI, alone on its CPU", NONE, 1, inclusive=True),
    Row("timer_shared", "timer → vector, guest in WFI, another on its CPU", NONE),
    Row("timer_busy_sbi", "timer → vector, guest busy, without Sstc", NONE),
    Row("timer_wfi_sbi", "timer → vector, guest in WFI, without Sstc", NONE),
    Row("ipi", "IPI by SBI → vector", NONE),
    Row("ipi_file", "IPI by guest interrupt file → vector", NONE, 100),
    Row("hart_start_call", "HART_START call", NONE),
    Row("hart_start", "HART_START → first guest instruction there", NONE),
    Row("reset", "reset → first guest instruction", NONE, 6_000_000),
    Row("image", "hypervisor image, file", (None, 58_792, 981_696, None), 256 * 1024, unit="bytes"),
    Row("memory", "RAM written until the guest runs", NONE, unit="bytes"),
    Row("linux", "Linux boot to userspace, in HS-mode", NONE),
)
FOOTNOTES = ()
