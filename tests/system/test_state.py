# SPDX-License-Identifier: Apache-2.0
"""What is left of one life, of one vCPU or of one instruction when the next one comes."""

import re

import pytest
from machine import ARCH, THIS, tiny


@pytest.mark.skipif(ARCH == "riscv64", reason="there switches, vector, paging and hsm ask that, in test_probes.py")
@pytest.mark.parametrize("cpu", THIS.cpus)
@pytest.mark.parametrize("smp", [1, 2])
def test_nothing_stays_behind(boot, cpu, smp):
    m = boot([tiny("state", "state", cpus=2)], smp=smp, cpu=cpu)
    m.wait(r"(\d+) passed, (\d+) failed", 60)
    failures = re.findall(r"\| FAIL .*", m.seen())
    assert not failures, "\n".join(failures)
