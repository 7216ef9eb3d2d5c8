# SPDX-License-Identifier: Apache-2.0
"""Unmodified Debian kernels as guests, and Debian's U-Boot."""

import hashlib
import os
import re
import time

import machine
import pexpect
import pytest
from machine import ARCH, COMPLAINTS, PATIENCE, ROOT, THIS, linux, tiny

# BULKHEAD_LOAD_SECONDS=60 for the whole minute.
LOAD_SECONDS = int(os.environ.get("BULKHEAD_LOAD_SECONDS", "15"))


def example(name):
    with open(os.path.join(ROOT, "vms", f"{name}.toml"), encoding="utf-8") as file:
        return file.read()


def no_complaint(m, name):
    status, out = m.in_guest(name, "dmesg", 60)
    bad = COMPLAINTS.search(out)
    assert status == 0 and not bad, out[max(bad.start() - 500, 0) :][:2000]


def test_both_examples_boot_to_a_shell_and_their_power_off_ends_the_machine(boot):
    m = boot([example("linux-a"), example("linux-b")], smp=4, memory="2G")
    m.wait_up("linux-a", "linux-b")
    for name in ("linux-a", "linux-b"):
        assert m.in_guest(name, "nproc; hostname; cat /sys/devices/system/cpu/online") == (0, f"2\n{name}\n0-1")
        assert m.run("uname -m") == (0, ARCH)
        assert m.run("false")[0] == 1
    no_complaint(m, "linux-a")
    no_complaint(m, "linux-b")
    m.in_guest("linux-a", "true")
    m.send("poweroff\r")
    m.wait(r"linux-a stopped: powered off by the guest", 30)
    assert m.in_guest("linux-b", "echo still $((40+2)) here") == (0, "still 42 here")
    m.send("poweroff\r")
    assert m.wait_end(30) == 0
    assert "powering off" in m.seen()


@pytest.fixture(scope="module", name="pair")
def shared(boot_once):
    """Two Linux guests on two CPUs, for tests that leave both running."""
    m = boot_once([linux("linux-a", cmdline="quiet panic=-1"), linux("linux-b")], append="idle=shell")
    m.wait_up("linux-a", "linux-b")
    return m


def boot_count(m, name):
    m.shell()
    return int(re.search(r"starts +(\d+)", m.command(f"vm show {name}")).group(1))


def uptime(m, name):
    _, out = m.in_guest(name, "cat /proc/uptime")
    return float(out.split()[0])


def restarted_meanwhile(m, what, name="linux-a", other="linux-b"):
    """`what` makes a guest start anew; the other one's clock goes on."""
    before, count = uptime(m, other), boot_count(m, name)
    old = uptime(m, name)
    what()
    end = time.monotonic() + 30 * PATIENCE
    while boot_count(m, name) != count + 1:
        assert time.monotonic() < end, "it was not started again"
    assert m.in_guest(name, "nproc") == (0, "2")
    assert uptime(m, name) < old + 30 * PATIENCE
    assert uptime(m, other) > before


def test_a_reboot_in_a_guest_restarts_it_while_the_other_goes_on(pair):
    restarted_meanwhile(pair, lambda: pair.send("reboot\r"))


def test_a_Ctrl_C_does_not_keep_a_shell_from_its_profile(pair):
    """As process 1 starts it, but with the profile only read when a line has come, which begins with the Ctrl-C."""
    pair.in_guest("linux-a", "echo 'echo waits; read -r line; . /etc/profile' >/tmp/waits")
    pair.send("stty -isig; ENV=/tmp/waits sh\r")
    pair.wait(r"waits\r*\n")
    pair.send("\x03\r")
    assert pair.in_guest("linux-a", "alias reboot") == (0, "reboot='/sbin/reboot'")
    pair.send("exit\r")


@pytest.mark.skipif(ARCH != "x86_64", reason="the others' kernels ask the firmware, which has one way")
@pytest.mark.parametrize("way", ["acpi", "kbd", "pci", "bios", "triple"])
def test_every_way_to_reset_a_PC_restarts_a_guest_while_the_other_goes_on(pair, way):
    pair.in_guest("linux-a", f"echo {way} >/sys/kernel/reboot/type")
    restarted_meanwhile(pair, lambda: pair.send("reboot\r"))


def test_a_kernel_panic_with_reset_restarts_that_guest_while_the_other_goes_on(pair):
    def panic():
        pair.send("echo c >/proc/sysrq-trigger\r")
        pair.wait(r"sysrq-trigger\r*\n", 20)  # Ctrl-] leaves behind what the guest has not taken

    restarted_meanwhile(pair, panic)


def test_a_restart_by_the_operator_restarts_that_guest_while_the_other_goes_on(pair):
    def restart():
        pair.shell()
        assert "restarted" in pair.command("vm restart linux-a")

    restarted_meanwhile(pair, restart)


def test_a_stopped_guest_starts_again(pair):
    pair.shell()
    assert "stopped" in pair.command("vm stop linux-a")
    assert pair.state("linux-a") == "stopped"
    assert pair.in_guest("linux-b", "nproc") == (0, "2")
    pair.shell()
    assert "started" in pair.command("vm start linux-a")
    assert pair.in_guest("linux-a", "nproc") == (0, "2")


def test_Ctrl_C_interrupts_a_command_in_a_guest(pair):
    pair.in_guest("linux-a", "true")
    text, make_text = pair.mark()
    pair.send(f"echo {make_text}; sleep 1000\r")
    pair.wait(text + r"\r*\n", 10)
    # Once more if need be: the first may come when sh has not handed the terminal over to sleep yet.
    for _ in range(5):
        pair.send(machine.CTRL_C)
        if pair.wait_any([r"\^C.*[\r\n]+linux-a:[^\r\n]*# ", pexpect.TIMEOUT], 2)[0] == 0:
            break
    assert pair.run("echo well") == (0, "well")


def test_two_KB_pasted_into_a_guest_arrive_whole(pair):
    pair.in_guest("linux-a", "stty -echo")
    lines = [f"line {i:02} " + "".join(chr(97 + (i + k) % 26) for k in range(70)) for i in range(27)]
    text = "\n".join(lines) + "\n"
    pair.send("cat >/tmp/pasted\r" + text.replace("\n", "\r") + "\x04")
    status, out = pair.run("wc -c </tmp/pasted; md5sum </tmp/pasted; stty echo", 30)
    assert status == 0 and out.split()[:2] == [str(len(text)), hashlib.md5(text.encode()).hexdigest()], out


def test_two_VMs_clocks_go_as_fast_as_ours(pair):
    for name in ("linux-a", "linux-b"):
        began = time.monotonic()
        status, _ = pair.in_guest(name, "sleep 3")
        took = time.monotonic() - began
        assert status == 0 and 2.9 < took < 3 + 4 * PATIENCE


# sha256 of 64 KiB of zeros
ZEROS = "de2f256064a0af797747c2b97505dc0b9f3df0de4f489eac731c23ae9ca9cc31"
LOAD = (
    "for i in 1 2; do (while :; do /bin/true; /bin/ls / >/dev/null; done) & done; "
    "(while :; do dd if=/dev/zero of=/tmp/f bs=64k count=64 2>/dev/null; sha256sum /tmp/f >/dev/null; done) & "
    "(while :; do echo x | cat | cat >/dev/null; usleep 1000; done) &"
)


def test_load_in_both_guests_loses_nothing(pair):
    for name in ("linux-a", "linux-b"):
        pair.in_guest(name, LOAD + " true")
    end = time.monotonic() + LOAD_SECONDS
    while time.monotonic() < end:
        for name in ("linux-a", "linux-b"):
            status, out = pair.in_guest(name, "sleep 1; date +%s; dd if=/dev/zero bs=1k count=64 2>/dev/null | sha256sum", 60)
            assert status == 0 and ZEROS in out, out
    for name in ("linux-a", "linux-b"):
        pair.in_guest(name, "kill $(jobs -p); wait; true", 60)
        no_complaint(pair, name)


def test_a_kernel_panic_that_halts_waits_for_the_operator(boot):
    m = boot([linux("linux-a", cpus=1, memory="128M", cmdline="quiet panic=0"), tiny("two")])
    m.wait_up("linux-a")
    m.in_guest("linux-a", "true")
    m.send("echo c >/proc/sysrq-trigger\r")
    m.wait(r"end Kernel panic", 30)
    m.shell()
    assert m.state("linux-a") == "running"
    m.attach("two")
    m.send("ping\r")
    m.wait(r"small: pong", 20)
    m.shell()
    assert "restarted" in m.command("vm restart linux-a")
    assert m.in_guest("linux-a", "nproc") == (0, "1")


def test_one_VM_with_8_CPUs_on_2_boots_and_works(boot):
    m = boot([linux("wide", cpus=8, memory="256M")])
    m.wait_up("wide", seconds=180)
    assert m.in_guest("wide", "nproc") == (0, "8")
    status, _ = m.run("for i in 1 2 3 4 5 6 7 8; do (taskset $(printf %x $((1 << i - 1))) sha256sum /bin/busybox >/tmp/s$i) & done; wait", 120)
    assert status == 0
    assert m.run("cat /tmp/s* | sort -u | wc -l") == (0, "1")
    no_complaint(m, "wide")
    m.send("poweroff\r")
    assert m.wait_end(30) == 0


def test_four_VMs_on_2_CPUs_boot_and_work(boot):
    names = [f"linux-{c}" for c in "abcd"]
    m = boot([linux(name, memory="144M") for name in names])
    m.wait_up(*names, seconds=240)
    for name in names:
        status, out = m.in_guest(name, "nproc; echo a | sha256sum | cut -c1-8")  # the kernel may have a word to say, too
        assert status == 0 and {"2", "87428fc5"} <= set(out.split("\n")), out
    for name in names:
        no_complaint(m, name)
        m.send("poweroff\r")
    assert m.wait_end(30) == 0


@pytest.mark.skipif(ARCH == "riscv64", reason="Debian 13 has no PREEMPT_RT kernel for riscv64")
def test_the_real_time_flavour_boots_and_works(boot):
    m = boot([linux("rt", kernel="debian/Image-rt", memory="256M"), tiny("two")])
    m.wait_up("rt", seconds=180)
    assert m.in_guest("rt", "nproc; cat /sys/kernel/realtime") == (0, "2\n1")
    status, _ = m.run("for i in 1 2 3 4; do (dd if=/dev/zero bs=1M count=8 2>/dev/null | sha256sum >/dev/null) & done; wait", 60)
    assert status == 0
    no_complaint(m, "rt")


def test_a_hundred_timer_sleeps_end_in_time(boot):
    m = boot([linux("linux-a")])
    m.wait_up("linux-a")
    status, out = m.in_guest("linux-a", "i=0; while [ $i -lt 100 ]; do usleep 10000; i=$((i+1)); done; cut -d' ' -f1 /proc/uptime", 60)
    assert status == 0 and float(out) < 60 * PATIENCE, out
    assert re.search(THIS.timer, m.run("cat /proc/interrupts")[1])


@pytest.mark.skipif(ARCH != "riscv64", reason="Debian's U-Boot for aarch64 wants the flash of QEMU's board")
def test_U_Boot_boots_to_its_prompt_beside_a_Linux_guest(boot):
    raw = 'protocol = "raw"\nload = 0x80200000'
    m = boot([machine.toml("u-boot", "u-boot/u-boot.bin", 2, "128M", boot=raw), linux("linux-a")], append="idle=shell")
    m.wait_all([r"u-boot +\| .*U-Boot 20", r"linux-a is up"], 120)
    m.u_boot("u-boot", "80000000", "8000000", "10000000")
    m.send("poweroff\r")
    m.wait(r"u-boot stopped: powered off by the guest", 30)
    assert m.in_guest("linux-a", "nproc") == (0, "2")
