# SPDX-License-Identifier: Apache-2.0
"""One terminal for the hypervisor and every VM."""

import re

import pytest
from machine import CTRL_BRACKET, CTRL_C, tiny


@pytest.fixture(scope="module", name="m")
def shared(boot_once):
    m = boot_once([tiny("one"), tiny("two-longer")], append="idle=shell")
    m.wait_all([r"small: up", r"small: up"])
    return m


def attached(m, name):
    m.shell()
    m.attach(name)


def sum_of(text):
    total = 0
    for byte in text.encode():
        total = (total * 31 + byte) & 0xFFFFFFFF
    return total


def test_the_view_of_all_puts_names_before_lines(m):
    assert re.search(r"^bulkhead +\| Bulkhead \d", m.seen(), re.MULTILINE)
    assert re.search(r"^one +\| small: up", m.seen(), re.MULTILINE)
    assert re.search(r"^two-longer +\| small: up", m.seen(), re.MULTILINE)


def test_the_banner_says_how_to_get_to_the_shell(m):
    assert re.search(r"bulkhead +\| Ctrl-\] opens the shell", m.seen())


def test_typing_in_the_view_of_all_gives_a_hint(m):
    m.shell()
    m.show_all()
    m.send("hello")
    m.wait(r"Ctrl-\] opens the shell; 'console NAME'", 10)


def test_attaching_replays_the_ring(m):
    attached(m, "one")
    m.wait(r"small: up with 16 MiB", 10)


def test_an_attached_VM_gets_what_is_typed_and_no_other_speaks(m):
    attached(m, "one")
    m.send("ping\r")
    m.wait(r"small: pong", 10)
    assert "two-longer |" not in m.child.before


def test_Ctrl_C_goes_to_the_guest(m):
    attached(m, "one")
    m.send(CTRL_C)
    m.wait(r"small: interrupted", 10)


def test_Ctrl_bracket_leaves_and_comes_back(m):
    for _ in range(10):
        attached(m, "one")
        m.send("ping\r")
        m.wait(r"small: pong", 10)
        attached(m, "two-longer")
        m.send("ping\r")
        m.wait(r"small: pong", 10)


def test_Ctrl_bracket_leaves_a_VM_that_takes_nothing(boot):
    m = boot([tiny("hog", "hog"), tiny("one")])
    m.wait(r"hog: beat 1")
    attached(m, "hog")
    m.send("x" * 3000 + CTRL_BRACKET)
    m.wait(r"bulkhead> ", 20)
    assert "Bulkhead" in m.command("version")
    attached(m, "one")
    m.send("ping\r")
    m.wait(r"small: pong", 10)


@pytest.mark.parametrize("length", [100, 512, 2048, 4000])
def test_a_pasted_line_arrives_whole(m, length):
    attached(m, "one")
    text = "".join(chr(33 + i * 7 % 90) for i in range(length))
    m.send(text + "\r")
    m.wait(rf"small: {length} bytes, sum 0x{sum_of(text):x}\b", 20)


@pytest.mark.parametrize("length", [30, 1500])
def test_a_line_reaches_its_VM_though_Ctrl_bracket_follows_at_once(m, length):
    attached(m, "one")
    text = "".join(chr(33 + (i * 11 + length) % 90) for i in range(length))
    m.send(text + "\r" + CTRL_BRACKET)
    m.wait(r"bulkhead> ", 20)
    attached(m, "one")
    m.wait(rf"small: {length} bytes, sum 0x{sum_of(text):x}\b", 20)


def test_a_stopped_VMs_console_keeps_what_it_said_and_tells_its_end(boot):
    m = boot([tiny("one"), tiny("two")])
    m.wait_all([r"one +\| small: up", r"two +\| small: up"])
    attached(m, "one")
    m.send("off\r")
    m.wait(r"\[bulkhead: one stopped: powered off by the guest\]", 10)
    attached(m, "one")
    m.wait(r"small: up", 10)
    m.wait(r"\[bulkhead: one stopped: powered off by the guest\]", 10)


def test_the_hypervisors_lines_show_in_the_shell(boot):
    m = boot([tiny("one"), tiny("two")])
    m.wait_all([r"one +\| small: up", r"two +\| small: up"])
    m.shell()
    m.send("vm stop one\r")
    m.wait(r"bulkhead +\| one: stopped: stopped by the operator", 10)


def test_console_shell_begins_with_the_shell(boot):
    m = boot([tiny("one")], append="console=shell")
    m.wait(r"bulkhead> ", 30)
    assert "one |" not in m.seen()
    assert "one" in m.command("vm list")


def test_console_NAME_begins_with_that_VM(boot):
    m = boot([tiny("one"), tiny("two")], append="console=two")
    m.wait(r"small: up", 30)
    m.send("ping\r")
    m.wait(r"small: pong", 10)
    assert "one |" not in m.seen()


def test_the_ring_keeps_the_recent_output_of_a_VM_that_nobody_looks_at(boot):
    m = boot([tiny("hog", "hog"), tiny("one")], append="console=shell")
    m.wait(r"bulkhead> ", 30)
    m.attach("one")
    m.wait(r"small: up", 30)
    for _ in range(60):
        m.send("ping\r")
        m.wait(r"small: pong", 10)
    attached(m, "hog")
    m.wait(r"hog: 1 CPUs spin", 10)
