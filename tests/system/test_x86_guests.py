# SPDX-License-Identifier: Apache-2.0
"""Guests of an x86_64 machine that are not Linux, by every boot protocol, and one with memory above 4 GiB."""

import os
import re
import subprocess
import time

import machine
import pytest
from machine import ARCH, PATIENCE, linux, tiny, toml

pytestmark = pytest.mark.skipif(ARCH != "x86_64", reason="guests of a PC")

MEMTEST, U_BOOT = "memtest86+/memtest86+x64.bin", "u-boot/u-boot.elf"
ESC = "\x1b"


@pytest.mark.parametrize("cpus", [1, 2])
def test_memtest86_finds_no_fault_on_every_vcpu_and_resets_its_machine(boot, cpus):
    m = boot([toml("memtest", MEMTEST, cpus, "16M", cmdline="console=ttyS0 nopause"), tiny("two")], append="idle=shell")
    m.wait(r"memtest: started", 30)
    m.shell()
    m.attach("memtest")
    m.wait(r"Memtest86\+ v\d", 30)
    m.wait(r"Memory  : +16MB ", 30)
    m.wait(r"CPU: 1 Cores 1 Threads +SMP: Disabled" if cpus == 1 else r"CPU: 2 Cores 2 Threads +SMP: 2T \(PAR\)", 30)
    m.wait(r"Using: Core #0 " if cpus == 1 else r"Using: All Cores", 60)
    m.wait(r"#(7|8|9|10) +\[", 120)  # the screen is drawn anew every other second: a test may pass unseen
    assert m.wait(r"Errors: (\d+)", 30).group(1) == "0"
    m.send(ESC)
    m.wait(r"Memtest86\+ v\d", 30)
    m.shell()
    m.attach("two")
    m.send("ping\r")
    m.wait(r"small: pong", 20)


def test_U_Boot_boots_to_its_prompt_beside_a_Linux_guest(boot):
    m = boot([toml("u-boot", U_BOOT, 2, "64M"), linux("linux-a")], append="idle=shell")
    m.wait_all([r"u-boot +\| .*U-Boot 20", r"u-boot +\| .*DRAM: +64 MiB", r"linux-a is up"], 120)
    m.u_boot("u-boot", "", "4000000", "3f8")
    m.send("date\r")
    m.wait(r"Date: 20\d\d-\d\d-\d\d", 30)
    m.send("reset\r")
    m.wait(r"U-Boot 20", 30)
    m.wait(r"Hit any key", 30)
    assert m.in_guest("linux-a", "nproc") == (0, "2")


def test_a_PVH_kernel_reads_its_start_info(boot):
    """Bulkhead itself is one: as a guest it says what it finds, and that there is no SVM in there."""
    with open(machine.IMAGE, "rb") as file:
        image = file.read()
    m = boot([toml("inner", "bulkhead.elf", 1, "64M")], files={"bulkhead.elf": image}, append="idle=shell")
    m.wait(r"inner +\| .*(SVM|AMD-V)", 30)


def free_memory():
    """Of our own machine, in GiB."""
    with open("/proc/meminfo", encoding="ascii") as file:
        return int(re.search(r"MemAvailable: +(\d+) kB", file.read()).group(1)) / (1 << 20)


@pytest.mark.skipif(free_memory() < 7, reason="needs 7 GiB of memory that nobody uses")
def test_Linux_has_all_its_memory_below_the_hole_and_above_4_GiB(boot):
    m = boot([linux("large", cpus=2, memory="5G")], memory="8G")
    m.wait(r"VM 1 large", 60)
    began = time.monotonic()
    m.wait(r"large: started", 120)
    assert time.monotonic() - began < 60 * PATIENCE  # 5 GiB of zeros: some 10 s of an emulated CPU
    m.wait_up("large", seconds=180)
    status, out = m.in_guest("large", "dmesg | grep e820; free -m")
    assert status == 0
    assert "[mem 0x0000000000100000-0x00000000bfffffff] usable" in out, out
    assert "[mem 0x0000000100000000-0x000000017fffffff] usable" in out, out
    assert 4700 < int(re.search(r"Mem: +(\d+)", out).group(1)) <= 5120, out
    # Files that fill more than what lies below the hole; none of them may lie in another.
    files = "i=0; while [ $i -lt 110 ]; do %s; i=$((i+1)); done"
    fill = files % "{ echo $i; dd if=/dev/zero bs=1M count=30 2>/dev/null; } >/tmp/f$i || break"
    check = files % "read number </tmp/f$i; [ $number = $i ] || break"
    assert m.run(f"mount -t tmpfs -o size=4g tmpfs /tmp && {fill}; {check}; echo $i", 240) == (0, "110")


def test_the_kernel_in_the_documentation_says_hello_and_powers_off(boot, tmp_path):
    with open(os.path.join(machine.ROOT, "docs", "getting-started.md"), encoding="utf-8") as file:
        page = file.read()
    script = page[page.index("And for x86_64.") :].split("```shell\n")[1].split("```")[0]
    made, run = script.rstrip("\n").rsplit("\n", 1)
    assert run == "../../bulkhead run --arch x86_64 -C . hello.toml"
    subprocess.run(["sh", "-eu", "-c", made], cwd=tmp_path, check=True, timeout=60)
    m = boot([toml("hello", "hello.elf", memory="2M")], files={"hello.elf": (tmp_path / "hello.elf").read_bytes()})
    m.wait_all([r"hello +\| Hello, I am VM 1", r"hello: stopped: powered off by the guest"], 60)
    assert m.wait_end(30) == 0
