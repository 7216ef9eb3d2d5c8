# SPDX-License-Identifier: Apache-2.0
"""What a riscv64 guest has of its hart: vector registers that stay its own, and firmware calls on every kind of hart."""

import re

import pytest
from machine import ARCH, COMPLAINTS, linux, tiny

pytestmark = pytest.mark.skipif(ARCH != "riscv64", reason="harts and their firmware")


def verdict(m, *names):
    m.wait_all([rf"{name} +\| \d+ passed, \d+ failed" for name in names], 120)
    failures = re.findall(r"[\w-]+ +\| FAIL .*", m.seen())
    assert not failures, "\n".join(failures)


@pytest.mark.parametrize("cpu, size", [("max", 16), ("rva23s64", 16), ("max,vlen=1024,elen=64", 128)])
@pytest.mark.parametrize("smp", [1, 2])
def test_vector_registers_stay_with_their_vCPU(boot, cpu, size, smp):
    m = boot([tiny("one", "vector", cpus=4), tiny("two", "vector", cpus=2)], cpu=cpu, smp=smp)
    verdict(m, "one", "two")
    assert re.search(rf"one +\| vector: registers of {size} bytes", m.seen())


def test_a_machine_without_vectors_has_guests_without(boot):
    m = boot([tiny("one", "vector")], cpu="rv64")
    verdict(m, "one")
    assert re.search(r"one +\| vector: there are none", m.seen())


HARTS = [
    ("max", "virt"),
    ("rva23s64", "virt"),
    ("rv64,sstc=off", "virt"),
    ("rv64,smstateen=on,smcsrind=on,sscsrind=on", "virt"),
    ("rv64,v=on,svade=on,svadu=on", "virt,aia=aplic"),
    ("max", "virt,aia=aplic-imsic,aia-guests=1"),
]


@pytest.mark.parametrize("cpu, board", HARTS)
def test_firmware_calls_are_answered_on_every_kind_of_hart(boot, cpu, board):
    m = boot([tiny("calls", "calls", cpus=2), tiny("vector", "vector", cpus=2)], cpu=cpu, board=board)
    verdict(m, "calls", "vector")


@pytest.mark.parametrize("cpu", ["max", "rva23s64"])
def test_Linux_uses_vectors_and_finds_no_counters(boot, cpu):
    m = boot([linux("linux-a", cmdline="loglevel=6")], cpu=cpu)
    m.wait_up("linux-a", seconds=180)
    status, out = m.in_guest("linux-a", "grep isa /proc/cpuinfo; dmesg")
    assert status == 0 and re.search(r"isa\s*: rv64imafdcv_", out), out
    assert not COMPLAINTS.search(out), COMPLAINTS.search(out)


def test_a_line_on_the_firmwares_console_is_shown_though_the_guest_makes_no_exit_after_it(boot):
    m = boot([tiny("one", "lastwords")], smp=1)
    m.wait(r"one +\| lastwords: all is said", 20)
