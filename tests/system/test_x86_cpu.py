# SPDX-License-Identifier: Apache-2.0
"""What an x86_64 guest has of its CPU."""

import pytest
from machine import ARCH, linux

pytestmark = pytest.mark.skipif(ARCH != "x86_64", reason="the clock of KVM")


@pytest.mark.parametrize("cpus", [1, 2])
def test_Linux_is_told_how_fast_its_clock_is_and_need_not_measure_it(boot, cpus):
    m = boot([linux("debian", cpus=cpus)])
    m.wait_up("debian")
    status, out = m.in_guest("debian", "dmesg")
    assert status == 0 and "kvm-clock: Using msrs 4b564d01 and 4b564d00" in out
    assert not any(word in out for word in ("alibration failed", "reference calibration", "to calibrate against", "TSC unstable")), out
    assert m.in_guest("debian", "cat /sys/devices/system/clocksource/clocksource0/current_clocksource") == (0, "tsc")
