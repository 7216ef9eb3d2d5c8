# SPDX-License-Identifier: Apache-2.0
"""Guests that probe their machine from inside, on one, two and four vCPUs: alone, and beside a busy VM on the same CPUs."""

import re

import pytest
from machine import ARCH, BOARD, FIRST, THREADS, tiny

# Those of tests/guest/common/probes, then each architecture's.
PROBES = ("storm", "power", "code", "clocks", "switches") + {
    "aarch64": ("bounds", "registers", "irqlives", "debug"),
    "riscv64": ("bounds", "registers", "irqlives", "hsm", "paging"),
    "x86_64": ("bounds", "registers", "irqlives", "debug"),
}[ARCH]
# The long sweeps run on one CPU of the VM; test_hostile.py has them on one and two vCPUs.
SWEEPS = {
    "aarch64": ("memory-4", "sysregs-4", "caches-4", "counters-4", "calls-1", "state-1", "state-2", "state-4"),
    "riscv64": ("memory-4", "sysregs-4"),
    "x86_64": (
        "memory-4", "sysregs-4", "calls-1", "state-1", "state-2", "state-4", "faults-1", "faults-4", "patches-1", "patches-4",
        "pvclock-1", "pvclock-4", "rights-1", "rights-2",
    ),
}[ARCH]
FIRMWARE = ("interrupts", "psci") if ARCH == "aarch64" else ("interrupts",)
HOSTILE = SWEEPS + tuple(f"{program}-{cpus}" for program in FIRMWARE for cpus in (1, 2, 4)) + ("calls-2", "calls-4")
CPUS = (1, 2, 4)
# Other boards and CPUs than the usual ones, and the VMs that come first there, to get what guest interrupt files there are.
MACHINES = {
    "aarch64": ((BOARD, "max", ()), (BOARD, "neoverse-v1", ())),
    "riscv64": (
        ("virt,aclint=on", "rv64,sstc=off", ()),
        ("virt,aia=aplic", "max", ()),
        ("virt,aia=aplic-imsic", "rv64", ()),
        ("virt,aia=aplic-imsic,aia-guests=1", "max", ("memory-1",)),
        ("virt,aia=aplic-imsic,aia-guests=3", "rva23s64", ("sysregs-1", "bounds-2", "interrupts-2")),
        ("virt,aia=aplic-imsic,aia-guests=7", "max", ("irqlives-2", "storm-2", "switches-2", "registers-1")),
    ),
    "x86_64": ((BOARD, "EPYC", ()), ("q35", "max,-x2apic", ())),
}[ARCH]




def pinned(name, program, cpus, smp, first=FIRST):
    """Each vCPU stays on one pCPU, and all pCPUs from the first on are used: of four vCPUs on two, each pCPU has two."""
    affinity = [[first + n % smp] for n in range(cpus)]
    return tiny(name, program, cpus=cpus, memory="6M", autostart=False, sched={"affinity": affinity})


def up(boot, vms, **options):
    m = boot(vms, append="idle=shell", **options)
    m.wait(rf"VM {len(vms)} ")  # what is typed before the hypervisor listens gets lost
    return m


def start(m, *names):
    """The log may come between the letters of a line that is typed, so its echo is not waited for."""
    m.shell()
    for name in names:
        m.send(f"vm start {name}\r")
        m.wait(rf"{name} started")
    m.send("console all\r")


def verdicts(m, *names):
    """Starts the VMs at once; each ends with its totals, and none reports a failure."""
    begin = len(m.seen())
    start(m, *names)
    m.wait_all([rf"{name} +\| \d+ passed, \d+ failed" for name in names], 60)
    failures = re.findall(r"[\w-]+ +\| FAIL .*", m.seen()[begin:])
    assert not failures, "\n".join(failures)


@pytest.mark.parametrize("smp", [1, 2])
def test_probes_pass_alone_and_beside_a_busy_VM_on_the_same_CPUs(boot, smp):
    vms = [pinned(f"{program}-{cpus}", program, cpus, smp) for program in PROBES for cpus in CPUS]
    m = up(boot, vms + [pinned("busy", "busy", smp, smp)], smp=FIRST + smp, accel=THREADS)
    for program in PROBES:
        for cpus in CPUS:
            verdicts(m, f"{program}-{cpus}")
    start(m, "busy")
    m.wait(rf"busy +\| busy: {smp} CPUs")
    for program in PROBES:
        verdicts(m, *(f"{program}-{cpus}" for cpus in CPUS))
    m.shell()
    assert m.state("busy") == "running"


@pytest.mark.parametrize("smp", [1, 2])
def test_hostile_probes_pass_on_any_number_of_vCPUs(boot, smp):
    vms = [pinned(name, name[:-2], int(name[-1]), smp) for name in HOSTILE]
    m = up(boot, vms, smp=FIRST + smp, accel=THREADS)
    for name in HOSTILE:
        verdicts(m, name)


@pytest.mark.parametrize("board, cpu, first", MACHINES, ids=[f"{board}-{cpu}" for board, cpu, _ in MACHINES])
def test_probes_pass_together_on_other_machines(boot, board, cpu, first):
    names = first + tuple(f"{program}-2" for program in PROBES if f"{program}-2" not in first)
    vms = [pinned(name, name[:-2], int(name[-1]), 2) for name in names]
    m = up(boot, vms, cpu=cpu, board=board, smp=FIRST + 2, accel=THREADS)
    verdicts(m, *names)


def test_what_a_VM_keeps_in_memory_is_never_seen_by_another_nor_in_its_next_life(boot):
    names = ("first", "second", "third")
    vms = [tiny(name, "secret", memory=memory, autostart=False) for name, memory in zip(names, ("16M", "10M", "6M"))]
    m = up(boot, vms)

    def look(command, order):
        for name in order:
            m.shell()
            m.send(f"vm {command} {name}\rconsole all\r")
            m.wait(rf"{name} +\| secret: \d+ words hidden")

    look("start", names)
    look("restart", names)
    m.shell()
    for name in names:
        m.command(f"vm stop {name}")
        m.wait_state(name, "stopped")
    look("start", reversed(names))
    failures = re.findall(r"\w+ +\| FAIL .*", m.seen())
    assert not failures, "\n".join(failures)
    assert len(re.findall(r"\| PASS nothing_of_another_VM_is_in_this_ones_memory", m.seen())) == 9
