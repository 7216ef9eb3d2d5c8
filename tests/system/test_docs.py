# SPDX-License-Identifier: Apache-2.0
"""Every command that the README and docs/ show is run, or there is a reason here why not.

Blocks marked ```console are transcripts: a line is a command if it begins with a prompt ("$ ", "# ", "bulkhead> ", "linux-a:~# "),
and output otherwise. In blocks marked ```sh every line is a command. The hypervisor's commands go to one machine with the two
example VMs, in the order of the page, and so do those in a guest."""

import glob
import os
import re
import shlex
import subprocess

import machine
import pytest
from machine import ROOT, linux

PAGES = ["README.md", *(os.path.relpath(page, ROOT) for page in sorted(glob.glob(os.path.join(ROOT, "docs", "*.md"))))]
HYPERVISOR = "bulkhead> "
GUEST = re.compile(r"^(?P<name>[a-z0-9][a-z0-9-]*):[^ #]*# (?P<line>.*)")

# Commands of the host that are not run, and why. The first that matches counts.
NOT_RUN = (
    (r"^(sudo )?(apt|apt-get) ", "installs packages"),
    (r"^git clone ", "needs the network"),
    (r"^(cd|export|mkdir|cp|mv|ls|cat|less|\$EDITOR|vi|man) ?", "the reader's own"),
    (r"^\./bulkhead (test|bench|setup|clean|fuzz|sim)\b", "runs the tests, or takes away what they stand on"),
    (r"^make .*\b(distclean|clean|setup|test|bench|fuzz|sim|check|format)\b|^make (T=|$)", "the same"),
    (r"^(build/host/|\./)?bulkhead run(?!.*--print)", "boots a machine; --print is run instead"),
    (r"^make .*\brun\b|^make run", "boots a machine"),
    (r"^qemu-system-", "boots a machine; others do here"),
    (r"^#", "a comment"),
)


def read(page):
    path = os.path.join(ROOT, page)
    if not os.path.exists(path):
        return ""
    with open(path, encoding="utf-8") as file:
        return file.read()


def blocks(page):
    for match in re.finditer(r"^```(console|sh)\n(.*?)^```", read(page), re.MULTILINE | re.DOTALL):
        yield match.group(1), match.group(2).replace("\\\n", " ")


def commands(page):
    """(where it runs, command) in the order of the page: "host", "shell" or a VM's name."""
    for kind, text in blocks(page):
        for line in text.splitlines():
            guest = GUEST.match(line)
            if kind == "sh":
                if line.strip():
                    yield "host", line.strip()
            elif line.startswith(HYPERVISOR):
                yield "shell", line[len(HYPERVISOR) :].strip()
            elif guest:
                yield guest.group("name"), guest.group("line").strip()
            elif line.startswith(("$ ", "# ")):
                yield "host", line[2:].strip()


def host_commands():
    return [(page, line) for page in PAGES for where, line in commands(page) if where == "host"]


def without_comment(line):
    return re.sub(r"\s+#.*$", "", line)


@pytest.mark.parametrize("page, line", host_commands() or [("-", "-")])
def test_a_hosts_command_in_the_documentation_does_what_it_should(page, line, tmp_path):
    if page == "-":
        pytest.skip("no page shows one")
    line = without_comment(line)
    if re.search(r"\bmake\b", line) and not re.search(r"apt", line):
        # Whatever is not run exists at least.
        words = [word for word in shlex.split(line) if word not in ("sudo",)]
        done = subprocess.run([*words[: words.index("make") + 1], "-n", *words[words.index("make") + 1 :]], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
    if re.match(r"^\./bulkhead \w+", line):
        names = subprocess.run(["./bulkhead", "help"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True).stdout
        assert re.search(rf"^  {line.split()[1]}\b", names, re.MULTILINE), f"./bulkhead help does not know {line}"
    run = re.match(r"^(\./|build/host/)?bulkhead run\b(.*)$", line)
    if run and "--print" not in line:
        line = f"build/host/bulkhead run --print -C {machine.GUESTS} {run.group(2)}"
        if not re.search(r"\.toml", line):
            line += " vms/linux-a.toml vms/linux-b.toml"
    for pattern, why in NOT_RUN:
        if re.search(pattern, line):
            pytest.skip(f"{page}: {why}")
    line = re.sub(r"(-o|--output)[ =](\S+)", lambda m: f"-o {tmp_path}/{os.path.basename(m.group(2))}", line)
    line = re.sub(r"^bulkhead ", "build/host/bulkhead ", line)
    if re.search(r"bulkhead bundle\b", line) and " -C" not in line:
        line += f" -C {machine.GUESTS}"
    done = subprocess.run(["sh", "-c", line], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False, stdin=subprocess.DEVNULL)
    wrong_on_purpose = re.search(r"\b(wrong|bad|broken|typo)\b", line)
    assert done.returncode == (1 if wrong_on_purpose else 0), done.stdout + done.stderr


@pytest.fixture(scope="module", name="m")
def shared(boot_once):
    m = boot_once([linux("linux-a"), linux("linux-b")], append="idle=shell")
    m.wait_up("linux-a", "linux-b")
    return m


def in_machine(page):
    return [(where, line) for where, line in commands(page) if where != "host"]


@pytest.mark.parametrize("page", [page for page in PAGES if in_machine(page)] or ["-"])
def test_the_shells_and_the_guests_commands_of_a_page_do_what_they_should(page, request):
    if page == "-":
        pytest.skip("no page shows one")
    m = request.getfixturevalue("m")
    for where, line in in_machine(page):
        line = without_comment(line)
        if re.match(r"(poweroff|reboot)$", line) or not line:
            continue  # ends the machine or a guest that the next command needs; tests of their own do it
        if where == "shell":
            m.shell()
            console = re.match(r"(?:vm )?console (\S+)$", line)
            if console and console.group(1) == "all":
                m.show_all()
            elif console:
                m.attach(console.group(1))
            else:
                assert "unknown" not in m.command(line), f"{page}: {line}\n{m.child.before}"
        else:
            status, out = m.in_guest(where, line)
            assert status == 0, f"{page}: {where}: {line}\n{out}"


def test_every_command_of_the_shell_is_documented():
    pages = "".join(read(page) for page in PAGES)
    if "vm list" not in pages:
        pytest.skip("there is no page about the shell yet")
    with open(os.path.join(ROOT, "core", "cmd_vm.c"), encoding="utf-8") as file:
        source = file.read()
    with open(os.path.join(ROOT, "core", "cmd_system.c"), encoding="utf-8") as file:
        source += file.read()
    missing = [name for name in re.findall(r'\.name = "([^"]+)"', source) if name not in pages]
    assert not missing
