# SPDX-License-Identifier: Apache-2.0
"""The PCs that the hypervisor runs on, and those that it refuses in words."""

import re

import machine
import pytest
from machine import tiny

pytestmark = pytest.mark.skipif(machine.ARCH != "x86_64", reason="of x86_64's machines")
BOARDS = (
    ("q35", "max,-x2apic"),  # APIC registers in memory
    ("q35,hpet=off", "max,-pdpe1gb"),  # clock by the ACPI timer
    ("pc", "max"),
    ("q35", "EPYC"),
)  # not microvm: its firmware's tables lie where QEMU loads the bundle
REFUSED = (
    ("q35", "qemu32", r"bulkhead: this CPU has no 64-bit mode"),
    ("q35", "max,-nx", r"bulkhead: this CPU cannot keep data from being executed"),
    ("q35", "max,-svm", r"bulkhead: [^\n]*(SVM|AMD-V)[^\n]*"),
    ("q35", "max,-npt", r"bulkhead: the CPU's SVM has no nested paging"),
    ("microvm,pit=off,pic=off,rtc=off", "max", r"how fast this CPU's time stamp counter runs"),
)


@pytest.mark.parametrize("board, cpu", BOARDS)
def test_other_PCs_will_do(boot, board, cpu):
    m = boot([tiny("one", cpus=2), tiny("two")], board=board, cpu=cpu, append="idle=shell")
    m.wait_all([r"one +\| small: up", r"two +\| small: up"])
    m.shell()
    listing = m.command("cpu")
    assert len(re.findall(r"^\d+ +0x[0-9a-f]+ +yes", listing, re.MULTILINE)) == 2, listing
    for name in ("one", "two"):  # typed text comes by an interrupt
        m.attach(name)
        m.send("ping\r")
        m.wait(r"small: pong", 20)
        m.shell()
    m.send("poweroff\r")
    assert m.wait_end(20) == 0


@pytest.mark.parametrize("board, cpu, words", REFUSED)
def test_a_PC_that_will_not_do_is_told_so_in_words(boot, board, cpu, words):
    m = boot([tiny("one")], board=board, cpu=cpu)
    m.wait(words)


def test_memory_that_cannot_be_reached_is_told(boot):
    m = boot([tiny("one")], cpu="max,-pdpe1gb", memory="3G", append="idle=shell")
    m.wait(r"warning: 1024 MiB of memory above 4 GiB are left unused")
    m.wait(r"small: up")
