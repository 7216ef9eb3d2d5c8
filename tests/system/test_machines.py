# SPDX-License-Identifier: Apache-2.0
"""The machines that the hypervisor runs on, and those that it refuses in words."""

import re

import pytest
from machine import ARCH, COMPLAINTS, THIS, linux, tiny


@pytest.mark.parametrize("cpu", THIS.cpus)
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


@pytest.mark.parametrize("cpu, smp, memory", zip(THIS.cpus, (1, 2, 8), ("512M", "1G", "1G")))
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


@pytest.mark.parametrize("board, cpu, words", THIS.refused)
def test_a_machine_that_will_not_do_is_told_so_in_words(boot, board, cpu, words):
    m = boot([tiny("one")], board=board, cpu=cpu)
    m.wait(words)


@pytest.mark.parametrize("board, cpu", THIS.boards)
def test_other_trims_of_the_board_will_do(boot, board, cpu):
    m = boot([tiny("one", cpus=2), tiny("two")], board=board, cpu=cpu, append="idle=shell")
    m.wait_all([r"one +\| small: up", r"two +\| small: up"])
    m.shell()
    for name in ("one", "two"):  # typed text comes by an interrupt
        m.attach(name)
        m.send("ping\r")
        m.wait(r"small: pong", 20)
        m.shell()


@pytest.mark.parametrize("board, cpu, served", THIS.files)
def test_guests_get_interrupt_files_while_there_are_some_and_others_the_same_machine(boot, board, cpu, served):
    m = boot([linux("linux-a", memory="128M"), linux("linux-b", memory="128M")], board=board, cpu=cpu, smp=4)
    m.wait_up("linux-a", "linux-b")
    for at, name in enumerate(("linux-a", "linux-b")):
        status, out = m.in_guest(name, "cat /proc/interrupts; dmesg")
        assert status == 0 and not COMPLAINTS.search(out), COMPLAINTS.search(out)
        assert "APLIC-MSI" in out and "SiFive PLIC" not in out, out  # the same machine, whoever it was made for
        shown = re.search(r"interrupts +(.*)", m.in_shell(f"vm show {name}"))[1].strip()
        assert shown == f"APLIC and IMSIC, {'guest interrupt files' if at < served else 'emulated'}"
        m.attach(name)
        m.send("poweroff\r")
    assert m.wait_end(30) == 0


@pytest.mark.skipif(ARCH != "x86_64", reason="the others' page tables reach all of their memory")
def test_memory_that_cannot_be_reached_is_told(boot):
    m = boot([tiny("one")], cpu="max,-pdpe1gb", memory="3G", append="idle=shell")
    m.wait(r"warning: 1024 MiB of memory above 4 GiB are left unused")
    m.wait(r"small: up")
