# SPDX-License-Identifier: Apache-2.0
"""The shell on the hypervisor's console."""

import json
import re

import pytest
from machine import PROMPT, THIS, tiny

COMMANDS = (
    "vm list", "vm show", "vm start", "vm stop", "vm restart", "vm console", "console", "cpu", "mem", "stats", "log", "version",
    "poweroff", "reboot", "help",
)  # fmt: skip


@pytest.fixture(scope="module", name="m")
def shared(boot_once):
    m = boot_once([tiny("linux-a", cpus=2), tiny("linux-b")], append="idle=shell")
    m.wait_all([r"linux-a +\| small: up", r"linux-b +\| small: up"])
    m.shell()
    return m


def test_vm_list_has_its_columns(m):
    lines = m.command("vm list").splitlines()
    assert lines[0].split() == ["ID", "NAME", "STATE", "VCPUS", "MEMORY", "CPU-TIME", "EXITS"]
    assert [line.split()[:5] for line in lines[1:]] == [["1", "linux-a", "running", "2", "16M"], ["2", "linux-b", "running", "1", "16M"]]


def test_vm_list_json_is_JSON(m):
    listed = json.loads(m.command("vm list --json"))
    assert [vm["name"] for vm in listed] == ["linux-a", "linux-b"]
    assert all(vm["state"] == "running" for vm in listed)


def test_vm_show_shows_by_name_and_by_id(m):
    by_name, by_id = m.command("vm show linux-b"), m.command("vm show 2")
    assert by_name.splitlines()[0] == by_id.splitlines()[0] == "linux-b (id 2): running"
    for word in ("vms/01-linux-b.toml", "small.bin", "vcpu 0", f"0x{THIS.uart:x}"):
        assert word in by_name, by_name


def test_cpu_shows_every_CPU(m):
    out = m.command("cpu")
    assert re.search(r"^0 +0x0 +yes", out, re.MULTILINE) and re.search(r"^1 +0x1 +yes", out, re.MULTILINE), out
    assert "linux-a/0" in out and "linux-b/0" in out


def test_mem_shows_who_has_what(m):
    out = m.command("mem")
    assert re.search(r"^total +", out, re.MULTILINE) and re.search(r"^free +", out, re.MULTILINE)
    assert re.search(r"^linux-a +16M", out, re.MULTILINE), out


def test_stats_shows_exits_by_reason(m):
    out = m.command("stats linux-a")
    assert "linux-a vcpu 0" in out and "linux-b" not in out
    assert re.search(r"mmio +\d+ +\d+ us +\d+ ns/exit", out), out
    assert "linux-b vcpu 0" in m.command("stats")


def test_log_shows_the_log_by_level(m):
    assert "linux-a: started" in m.command("log")
    assert "linux-a: started" in m.command("log info")
    assert "linux-a: started" not in m.command("log error")
    assert "no level" in m.command("log loud")


def test_version_tells_the_version(m):
    assert re.match(r"Bulkhead \d+\.\d+\.\d+", m.command("version"))


def test_help_knows_every_command(m):
    out = m.command("help")
    for name in COMMANDS:
        assert re.search(rf"^  {name}\b", out, re.MULTILINE), name
    assert all(len(line) <= 80 for line in out.splitlines()), out


@pytest.mark.parametrize("name", COMMANDS)
def test_help_tells_about_each_command(m, name):
    out = m.command(f"help {name}")
    assert out.startswith(name) and len(out.splitlines()) >= 2, out
    assert all(len(line) <= 80 for line in out.splitlines()), out


@pytest.mark.parametrize("line", ["frobnicate", "vm", "vm frobnicate", "vm show", "vm show nobody", "vm stop", "vm list --frob", "cpu now", "help x y"])
def test_what_is_wrong_is_told_in_words(m, line):
    out = m.command(line)
    assert out.strip() and len(out.splitlines()) <= 8, out


def test_a_wrong_word_gets_a_suggestion(m):
    assert "did you mean 'version'" in m.command("verison")


def test_an_empty_line_does_nothing(m):
    assert m.command("").strip() == ""


def test_Tab_completes_commands_and_names(m):
    m.send("vm sho\t")
    m.wait(r"vm show ", 10)
    m.send("linux-b\t\r")
    m.wait(r"linux-b \(id 2\): running", 10)
    m.wait(PROMPT, 10)


def test_history_comes_back(m):
    m.command("version")
    m.send("\x1b[A\r")
    m.wait(r"Bulkhead \d", 10)
    m.wait(PROMPT, 10)


def test_a_line_can_be_mended(m):
    m.send("verrsion\x7f\x7f\x7f\x7f\x7fsion\r")
    m.wait(r"Bulkhead \d", 10)
    m.wait(PROMPT, 10)


def test_a_line_that_is_too_long_leaves_the_shell_well(m):
    m.send("x" * 2048 + "\r")
    m.wait(r"unknown command|too long|too many", 20)
    m.wait(PROMPT, 10)
    assert "Bulkhead" in m.command("version")


def test_twenty_pasted_commands_all_run(m):
    m.send("version\r" * 20)
    for _ in range(20):
        m.wait(r"Bulkhead \d+\.\d+", 20)
    m.wait(PROMPT, 10)
    m.shell()


def test_control_bytes_do_no_harm(m):
    m.send("\x00\x01\x05\x0b\x15\x17\x1b[Z\x1b[99~\x1bOP\xff\x7f\x7f\x15")
    assert "Bulkhead" in m.command("version")


def test_an_unknown_word_on_the_command_line_is_a_warning(boot):
    m = boot([tiny("one")], append="idle=sometimes frobnicate loglevel=debug")
    m.wait_all([r"warning: command line: .*idle=sometimes.*must be", r"warning: command line: unknown word 'frobnicate'", r"small: up"])


def test_loglevel_error_is_quiet(boot):
    m = boot([tiny("one")], append="loglevel=error")
    m.wait(r"small: up")
    assert "started" not in m.seen()
