# SPDX-License-Identifier: Apache-2.0
"""The least that each architecture has to do."""

import time

from machine import ARCH, COMPLAINTS, linux


def test_a_Debian_guest_boots_to_its_shell_and_its_power_off_ends_the_machine(boot):
    m = boot([linux("debian")])
    m.wait_up("debian")
    assert m.in_guest("debian", "nproc; uname -m") == (0, f"2\n{ARCH}")
    asked = time.time()
    status, out = m.in_guest("debian", "date +%s")
    assert status == 0 and asked - 5 <= int(out) <= time.time() + 5  # QEMU's real-time clock is our own
    status, out = m.run("dmesg")
    assert status == 0 and not COMPLAINTS.search(out), out
    m.send("poweroff\r")
    assert m.wait_end(30) == 0
