# SPDX-License-Identifier: Apache-2.0
"""aarch64: the machine, what runs on it, and the table's rows with what the others take."""

from table import MIB, Row, Run

EMULATOR = "qemu-system-aarch64"
MACHINE = "virt,virtualization=on,gic-version=3"
CPU = "cortex-a57,cntfrq=1000000000"
LOAD_ADDRESS = 0x40200000  # where QEMU puts an Image
LINK_ADDRESS = 0  # it is position independent
CONSOLE = "ttyAMA0"
RUNS = (Run("single"), Run("smp", smp=2, cpus=2))
GROUPS = {"ipi": "smp", "cpu_on_call": "smp", "cpu_on_first": "smp"}  # the others are of "single"

PEERS = ("Bao", "Xen 4.17", "Xvisor", "KVM nVHE")

ROWS = (
    Row("psci_version", "HVC PSCI_VERSION, round trip", (194, 477, 402, 1702), 194),
    Row("hvc_unknown", "HVC with an unknown function", (1696, 1653, 484, 1654), 250),
    Row("uart_read", "emulated UART register read", ("passed through", 640, 635, 6441), 300),
    Row("gicd_typer", "GICD_TYPER read", (230, 617, 725, 2449), 230),
    Row("gicd_isenabler", "GICD_ISENABLER1 read", (1386, 694, 1341, 4305), 300),
    Row("gicd_icenabler", "GICD_ICENABLER1 write 0", (3588, 750, 1229, 2481), 400),
    Row("gicr_typer", "GICR_TYPER read", (273, 619, None, 2476), 273),
    Row("self_sgi", "SGI to self → vector", (800, 1120, "lost", 3098), 600),
    Row("timer_busy", "virtual timer → vector, guest busy", (204, 1086, 2193, 3000), 204, inclusive=True),
    Row("timer_wfi", "virtual timer → vector, guest in WFI", (205, 4380, 4192, 13630), 220, inclusive=True),
    Row("ipi", "IPI → vector, both CPUs' instructions", (821, 1650, 3267, 5221), 821),
    Row("cpu_on_call", "CPU_ON call", (407, 2269, 1469, 4176), 1500),
    Row("cpu_on_first", "CPU_ON → first guest instruction there", (15893, 16801, 18471, 3_000_000), 10000),
    Row("reset", "reset → first guest instruction", (570_000, 35_300_000, 50_200_000, 973_000_000), 6_000_000),
    Row("image", "hypervisor image, file", (94 * 1024, 983 * 1024, int(1.94 * MIB), None), 256 * 1024, unit="bytes"),
    Row("memory", "RAM written until the guest runs", (236 * 1024, int(15.1 * MIB), int(37.8 * MIB), None), 3 * MIB, unit="bytes"),
    Row("linux", "Linux boot to userspace, at EL2", ("350,000 ¹", 32_300_000, 32_400_000, 807_000_000), 16_000_000),
)
FOOTNOTES = ("¹ with the UART passed through",)
