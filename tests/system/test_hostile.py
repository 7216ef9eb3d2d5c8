# SPDX-License-Identifier: Apache-2.0
"""Guests that do everything wrong, beside one that must not notice."""

import re

import pytest
from machine import ARCH, COMPLAINTS, CPU, FIRST, THIS, THREADS, linux, tiny


def run_probe(boot, program, cpus, machine_cpu, seconds=120):
    vms = [tiny(program, program, cpus=cpus), tiny("witness")]
    # None of them uses XRSTOR: docs/testing.md.
    m = boot(vms, cpu=machine_cpu, append="idle=shell console=all", accel=THREADS)
    m.wait_all([r"small: up", rf"{program} +\| (\d+) passed, (\d+) failed"], seconds)
    failures = re.findall(r"\| FAIL .*", m.seen())
    assert not failures, "\n".join(failures)
    assert re.search(r"\| \d+ passed, 0 failed", m.seen())
    m.shell()
    m.wait_state(program, "stopped")
    assert m.state("witness") == "running"
    m.attach("witness")
    m.send("ping\r")
    m.wait(r"small: pong", 10)


@pytest.mark.parametrize("cpu", THIS.cpus[:2])
def test_accesses_all_over_the_address_space_are_answered_with_aborts(boot, cpu):
    run_probe(boot, "memory", 1, cpu)


def test_every_class_of_firmware_call_is_answered(boot):
    run_probe(boot, "calls", 2, CPU)


@pytest.mark.parametrize("cpu", THIS.cpus)
def test_every_system_register_is_answered(boot, cpu):
    run_probe(boot, "sysregs", 1, cpu)


@pytest.mark.parametrize("cpu", THIS.cpus[:2])
def test_no_interrupt_is_lost(boot, cpu):
    run_probe(boot, "interrupts", 2, cpu)


if ARCH == "x86_64":  # aarch64 has its own in test_probes.py

    def test_code_that_changes_is_run_as_changed(boot):
        run_probe(boot, "patches", 2, CPU)

    def test_the_clock_of_KVM_tells_the_time(boot):
        run_probe(boot, "pvclock", 2, CPU)

    def test_exceptions_and_interrupts_without_end_come_right(boot):
        run_probe(boot, "faults", 2, CPU)


def test_all_hostile_guests_at_once_do_not_disturb_a_Linux_guest(boot):
    hostile = {"calls": 2, "sysregs": 2, "interrupts": 2, "memory": 1}
    sched = {"affinity": [FIRST, FIRST + 1]}
    vms = [linux("victim", sched=sched)] + [tiny(p, p, cpus=cpus, sched=sched) for p, cpus in hostile.items()]
    m = boot(vms, smp=FIRST + 2, append="idle=shell", accel=THREADS)
    m.wait_all([r"victim is up: 2 CPUs online"] + [rf"{p} *\| \d+ passed, \d+ failed" for p in hostile], 240)
    failures = re.findall(r"\| FAIL .*", m.seen())
    assert not failures, "\n".join(failures)
    status, out = m.in_guest("victim", "nproc; dmesg")
    assert status == 0 and out.startswith("2")
    assert not COMPLAINTS.search(out), out


def test_a_jump_into_nowhere_stops_that_VM_with_a_reason(boot):
    m = boot([tiny("wild", "wild"), tiny("witness")], append="idle=shell")
    m.wait_all([r"bulkhead +\| error: wild: failed: .*nstruction", r"small: up"])
    m.shell()
    shown = m.command("vm show wild")
    assert "wild (id 1): failed" in shown
    assert re.search(r"reason +vCPU 0 fetched an instruction from 0x[0-9a-f]+", shown), shown
    assert re.search(r"\b(pc|rip) +[0-9a-f]{16}", shown), shown
    assert m.state("witness") == "running"
    m.attach("witness")
    m.send("ping\r")
    m.wait(r"small: pong", 10)
