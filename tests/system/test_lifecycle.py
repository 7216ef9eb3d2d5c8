# SPDX-License-Identifier: Apache-2.0
"""The life of a VM: what its end does, what an operator may do to it, and that its neighbour does not notice."""

import re
import time

import pytest
from machine import PATIENCE, linux, tiny


def attached(m, name):
    """To the console of one that is up: what it said is replayed."""
    m.shell()
    m.attach(name)
    m.wait(r"small: up", 20)


def ping(m, name):
    attached(m, name)
    m.send("ping\r")
    m.wait(r"small: pong at \d+", 20)


def starts(m, name):
    """In the shell."""
    return int(re.search(r"starts +(\d+)", m.command(f"vm show {name}")).group(1))


def wait_starts(m, name, count):
    """In the shell: until it runs for the so-manieth time."""
    end = time.monotonic() + 30 * PATIENCE
    while starts(m, name) < count or m.state(name) != "running":
        assert time.monotonic() < end, m.command(f"vm show {name}")
    assert starts(m, name) == count


def test_the_last_guests_power_off_ends_the_machine(boot):
    m = boot([tiny("one"), tiny("two")])
    m.wait_all([r"one +\| small: up", r"two +\| small: up"])
    attached(m, "one")
    m.send("off\r")
    m.wait(r"one stopped: powered off by the guest")
    attached(m, "two")
    m.send("off\r")
    assert m.wait_end(20) == 0
    assert "powering off" in m.seen()


def test_idle_shell_keeps_the_shell(boot):
    m = boot([tiny("one")], append="idle=shell")
    m.wait(r"small: up")
    attached(m, "one")
    m.send("off\r")
    m.wait(r"one stopped: powered off by the guest")
    m.shell()
    assert m.state("one") == "stopped"
    m.send("poweroff\r")
    assert m.wait_end(20) == 0


def test_idle_reboot_reboots(boot):
    m = boot([tiny("one")], append="idle=reboot")
    m.wait(r"small: up")
    attached(m, "one")
    m.send("off\r")
    assert m.wait_end(20) == 0  # QEMU runs with -no-reboot
    assert "rebooting" in m.seen()


def test_the_shells_reboot_reboots(boot):
    m = boot([tiny("one")])
    m.wait(r"small: up")
    m.shell()
    m.send("reboot\r")
    assert m.wait_end(20) == 0
    assert "rebooting" in m.seen()


def test_without_autostart_a_VM_waits_for_the_operator(boot):
    m = boot([tiny("one", autostart=False), tiny("two")], append="idle=shell")
    m.wait(r"two +\| small: up")
    m.shell()
    assert m.state("one") == "loaded"
    assert "one started" in m.command("vm start one")
    ping(m, "one")


def test_autostart_no_on_the_command_line_holds_all(boot):
    m = boot([tiny("one"), tiny("two")], append="idle=shell autostart=no")
    m.wait(r"VM 2 two")
    m.shell()
    assert m.state("one") == m.state("two") == "loaded"
    m.command("vm start two")
    ping(m, "two")


def test_on_shutdown_restart_restarts(boot):
    m = boot([tiny("one", on_shutdown="restart"), tiny("two")])
    m.wait_all([r"one +\| small: up", r"two +\| small: up"])
    attached(m, "one")
    m.send("off\r")
    m.shell()
    wait_starts(m, "one", 2)
    ping(m, "one")
    ping(m, "two")


def test_a_reset_restarts(boot):
    m = boot([tiny("one"), tiny("two")])
    m.wait_all([r"one +\| small: up", r"two +\| small: up"])
    for again in range(2, 6):
        attached(m, "one")
        m.send("reset\r")
        m.shell()
        wait_starts(m, "one", again)
    ping(m, "one")
    ping(m, "two")


def test_on_reset_stop_stops(boot):
    m = boot([tiny("one", on_reset="stop"), tiny("two")])
    m.wait_all([r"one +\| small: up", r"two +\| small: up"])
    attached(m, "one")
    m.send("reset\r")
    m.wait(r"one stopped: reset by the guest")
    ping(m, "two")


def test_a_crash_leaves_the_VM_failed_until_the_operator_starts_it(boot):
    m = boot([tiny("one"), tiny("two")])
    m.wait_all([r"one +\| small: up", r"two +\| small: up"])
    attached(m, "one")
    m.send("crash\r")
    m.wait(r"one failed: vCPU 0")
    m.shell()
    assert m.state("one") == "failed"
    assert "one started" in m.command("vm start one")
    ping(m, "one")
    ping(m, "two")


def test_on_crash_restart_restarts_but_not_for_ever(boot):
    m = boot([tiny("wild", "wild", on_crash="restart"), tiny("two")], append="idle=shell")
    m.wait_all([r"wild: failed: ", r"two +\| small: up"], 30)
    assert m.seen().count("wild: jumping") >= 3
    m.shell()
    assert m.state("wild") == "failed"
    assert 3 <= starts(m, "wild") <= 10
    ping(m, "two")


def test_a_VM_that_resets_all_the_time_does_not_disturb_the_other(boot):
    m = boot([tiny("rebooter", "rebooter"), tiny("two")], append="console=shell loglevel=error")
    for _ in range(5):
        ping(m, "two")
    m.shell()
    before = starts(m, "rebooter")
    end = time.monotonic() + 30 * PATIENCE
    while starts(m, "rebooter") < before + 20:
        assert time.monotonic() < end
    m.command("vm stop rebooter")  # it may be between two lives just then: stopped it is all the same
    m.wait_state("rebooter", "stopped")
    count = starts(m, "rebooter")
    ping(m, "two")
    m.shell()
    assert (m.state("rebooter"), starts(m, "rebooter")) == ("stopped", count)


def test_a_VM_that_spins_on_every_CPU_is_stopped_and_restarted(boot):
    m = boot([tiny("hog", "hog", cpus=4), tiny("two")])
    m.wait_all([r"hog: 4 CPUs spin", r"two +\| small: up"])
    m.shell()
    assert "hog stopped" in m.command("vm stop hog")
    assert m.state("hog") == "stopped"
    assert "hog started" in m.command("vm start hog")
    for _ in range(5):
        assert "hog restarted" in m.command("vm restart hog")
    assert starts(m, "hog") == 7
    assert m.state("hog") == "running"
    ping(m, "two")


def test_stop_with_force_stops(boot):
    m = boot([tiny("hog", "hog"), tiny("two")])
    m.wait(r"hog: beat 1")
    m.shell()
    assert "hog stopped" in m.command("vm stop --force hog")
    assert "forced" in m.command("vm show hog")


def test_what_cannot_be_done_to_a_VM_is_refused_in_words(boot):
    m = boot([tiny("one"), tiny("two")], append="idle=shell")
    m.wait_all([r"one +\| small: up", r"two +\| small: up"])
    m.shell()
    assert "is running already" in m.command("vm start one")
    m.command("vm stop one")
    assert "is not running" in m.command("vm stop one")
    assert "one" in m.command("vm restart one")
    assert m.state("one") == "running"
    assert "no VM" in m.command("vm stop three") or "three" in m.command("vm stop three")


def memory(m):
    """What mem says, without what is not memory."""
    return m.command("mem")


@pytest.mark.parametrize("program, cpus", [("small", 1), ("hog", 4)])
def test_a_hundred_restarts_lose_no_memory(boot, program, cpus):
    m = boot([tiny("one", program, cpus=cpus), tiny("two")], append="console=shell", smp=2)
    m.wait(r"bulkhead> ", 30)
    m.wait_state("two", "running")
    m.command("vm restart one")
    before = memory(m)
    for round_ in range(100):
        out = m.command("vm restart one")
        assert "one restarted" in out, f"{round_}: {out}"
        if round_ % 20 == 19:
            ping(m, "two")
            m.shell()
    assert memory(m) == before
    assert starts(m, "one") == 102
    if program == "small":
        ping(m, "one")


def test_restarts_of_a_Linux_guest_lose_no_memory_and_leave_the_other_alone(boot):
    m = boot([linux("linux-a", memory="128M"), tiny("two")])
    m.wait_up("linux-a")
    m.shell()
    before = memory(m)
    for at in range(5):
        assert "restarted" in m.command("vm restart linux-a")
        if at % 2 == 0:  # others are cut off somewhere in their boot
            assert m.in_guest("linux-a", "nproc") == (0, "2")
        ping(m, "two")
        m.shell()
    assert memory(m) == before


def test_affinity_is_honoured(boot):
    m = boot(
        [tiny("one", cpus=3, sched={"affinity": [[3], [1, 2], [0]]}), tiny("two", sched={"affinity": [2]})],
        smp=4,
        append="idle=shell",
    )
    m.wait_all([r"one +\| small: up", r"two +\| small: up"])
    attached(m, "one")
    m.send("cpus\r")
    m.wait(r"small: 3 CPUs")
    m.shell()
    places = re.findall(r"vcpu (\d+) +\w+, cpu (\d+)", m.command("vm show one"))
    assert places[0] == ("0", "3") and places[1][1] in "12" and places[2] == ("2", "0"), places
    assert re.search(r"vcpu 0 +\w+, cpu 2", m.command("vm show two"))
    listing = m.command("cpu")
    assert re.search(r"^3 .*one/0", listing, re.MULTILINE) and re.search(r"^2 .*two/0", listing, re.MULTILINE), listing


def test_equals_share_a_CPU_and_the_shell_answers_all_the_while(boot):
    m = boot([tiny(f"hog-{i}", "hog", sched={"affinity": [1]}) for i in range(3)], append="idle=shell")
    m.wait_all([rf"hog-{i} +\| hog: beat 3" for i in range(3)], 60)
    m.shell()
    times = [float(t) for t in re.findall(r"hog-\d +running +1 +\S+ +([\d.]+)s", m.command("vm list"))]
    assert len(times) == 3 and max(times) < 2 * min(times) + 0.5, times


def test_more_urgent_VMs_go_first(boot):
    m = boot(
        [tiny("hog", "hog", sched={"affinity": [1]}), tiny("urgent", sched={"affinity": [1], "priority": 12})], append="idle=shell"
    )
    m.wait_all([r"hog: beat 1", r"urgent +\| small: up"])
    for _ in range(5):
        ping(m, "urgent")
