# SPDX-License-Identifier: Apache-2.0
"""The machines that the hypervisor runs on, and those that it refuses in words."""

import re

import pytest
from machine import COMPLAINTS, linux, tiny

CPUS = ("cortex-a57", "max", "neoverse-v1")


@pytest.mark.parametrize("cpu", CPUS)
@pytest.mark.parametrize("smp", [1, 2, 4, 8])
def test_a_small_machine_of_any_CPU_and_any_number_of_them_boots(boot, cpu, smp):
    m = boot([tiny("one", cpus=2), tiny("two")], smp=smp, memory="512M", cpu=cpu, append="idle=shell")
    m.wait_all([r"one +\| small: up", r"two +\| small: up"])
    assert re.search(rf"on .*, {smp} CPUs?\b", m.seen()), m.seen()
    m.shell()
    listing = m.command("cpu")
    assert len(re.findall(r"^\d+ +0x[0-9a-f]+ +yes", listing, re.MULTILINE)) == smp, listing
    m.attach("one")
    m.send("cpus\r")
    m.wait(r"small: 2 CPUs", 20)
    m.send("off\r")
    m.wait(r"one stopped|stopped: powered off", 20)
    m.shell()
    m.attach("two")
    m.send("ping\r")
    m.wait(r"small: pong", 20)


@pytest.mark.parametrize("memory", ["513M", "3G", "8G"])
def test_any_size_of_memory_is_found(boot, memory):
    m = boot([tiny("one")], memory=memory, append="idle=shell")
    m.wait(r"small: up")
    found = re.search(r"total +([\d.]+) ?([MG])", m.in_shell("mem"))
    size = float(found.group(1)) * (1024 if found.group(2) == "G" else 1)
    wanted = int(memory[:-1]) * (1024 if memory[-1] == "G" else 1)
    assert wanted * 0.95 - 16 <= size <= wanted, found.group(0)


def test_a_VM_above_4_GiB_of_host_memory_boots(boot):
    m = boot([tiny("low", memory="3000M"), tiny("high", memory="400M")], memory="4G")
    m.wait_all([r"low +\| small: up with 3000 MiB", r"high +\| small: up with 400 MiB"])


@pytest.mark.parametrize("cpu, smp, memory", [("cortex-a57", 1, "512M"), ("max", 2, "1G"), ("neoverse-v1", 8, "1G")])
def test_two_Linux_guests_boot_on_every_CPU(boot, cpu, smp, memory):
    size = "128M" if memory == "512M" else "192M"
    m = boot([linux("linux-a", memory=size), linux("linux-b", memory=size)], cpu=cpu, smp=smp, memory=memory)
    m.wait_up("linux-a", "linux-b", seconds=180)
    for name in ("linux-a", "linux-b"):
        status, out = m.in_guest(name, "nproc; dmesg")
        assert status == 0 and out.startswith("2\n"), out
        assert not COMPLAINTS.search(out), COMPLAINTS.search(out)
        m.send("poweroff\r")
    assert m.wait_end(30) == 0


def test_a_start_at_EL1_is_told_in_words(boot):
    m = boot([tiny("one")], board="virt,gic-version=3")
    m.wait(r"EL1.*virtualization=on|EL1[^\n]*\n?[^\n]*virtualization=on")


def test_a_GICv2_is_told_in_words(boot):
    m = boot([tiny("one")], board="virt,virtualization=on,gic-version=2")
    m.wait(r"GICv2.*gic-version=3")


@pytest.mark.parametrize("extra", ["gic-version=max", "gic-version=3,iommu=smmuv3", "gic-version=3,its=off", "gic-version=3,highmem=off"])
def test_other_trims_of_the_board_will_do(boot, extra):
    m = boot([tiny("one")], board=f"virt,virtualization=on,{extra}", cpu="max")
    m.wait(r"small: up")
