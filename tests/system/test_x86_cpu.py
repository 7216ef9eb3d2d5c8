# SPDX-License-Identifier: Apache-2.0
"""What an x86_64 guest has of its CPU."""

import re

import pytest
from machine import ARCH, linux, tiny, toml

pytestmark = pytest.mark.skipif(ARCH != "x86_64", reason="CPUs of x86_64")


@pytest.mark.parametrize("cpus", [1, 2])
def test_Linux_is_told_how_fast_its_clock_is_and_need_not_measure_it(boot, cpus):
    m = boot([linux("debian", cpus=cpus)])
    m.wait_up("debian")
    status, out = m.in_guest("debian", "dmesg")
    assert status == 0 and "kvm-clock: Using msrs 4b564d01 and 4b564d00" in out
    assert not any(word in out for word in ("alibration failed", "reference calibration", "to calibrate against", "TSC unstable")), out
    assert m.in_guest("debian", "cat /sys/devices/system/clocksource/clocksource0/current_clocksource") == (0, "tsc")


def test_a_boot_sector_begins_in_real_mode_where_its_first_byte_is(boot):
    # mov dx, 0x3f8; mov si, text; 1: cs lodsb; test al, al; jz 2f; out dx, al; jmp 1b; 2: mov dx, 0x600; mov al, 0x34; out dx, al; hlt
    code = bytes.fromhex("baf803 be1600 2eac 84c0 7403 ee ebf7 ba0006 b034 ee f4")
    sector = (code + b"sixteen bits at 7c00\r\n\0").ljust(510, b"\0") + b"\x55\xaa"
    m = boot([toml("sector", "sector.img", boot='protocol = "raw"\nload = 0x7c00')], files={"sector.img": sector})
    m.wait(r"sector +\| sixteen bits at 7c00")


def test_each_IPI_comes_once_though_all_CPUs_take_turns_on_one_thread(boot):
    names = ("one", "two", "three")
    m = boot([tiny(name, "storm", cpus=2) for name in names], accel="tcg,thread=single")
    m.wait_all([rf"{name} +\| \d+ passed, \d+ failed" for name in names], 120)
    failures = re.findall(r"[\w-]+ +\| FAIL .*", m.seen())
    assert not failures, "\n".join(failures)
