# SPDX-License-Identifier: Apache-2.0
"""Every command that the README and docs/ show is run, or there is a reason here or beside it why not.

A block marked ```sh is run as one script. In those marked ```console or ```text a line is a command if it begins with a
prompt, and output otherwise: "$ " (console only) is the host's shell, "bulkhead> " the hypervisor's, "linux-a:~# " a
guest's. "<!-- doctest: skip REASON -->" before a block leaves it out. Output that is shown has to come, "…" and numbers
apart."""

import glob
import os
import re
import subprocess

import machine
import pytest
from machine import ROOT, linux, tiny

PAGES = ["README.md", *(os.path.relpath(page, ROOT) for page in sorted(glob.glob(os.path.join(ROOT, "docs", "*.md"))))]
PROMPT = re.compile(r"^(?:(?P<host>\$) |(?P<shell>bulkhead> )|(?P<guest>[a-z0-9][a-z0-9-]*):[^ #]*# )(?P<line>.*)")

# Lines of scripts that are not run, and why. What they name has to exist all the same.
NOT_RUN = (
    (r"^(sudo )?apt(-get)? ", "installs packages"),
    (r"^git clone ", "needs the network"),
    (r"^\./bulkhead (test|bench|setup|clean|fuzz|sim)\b", "runs the tests, or takes away what they stand on"),
    (r"^make( .*)?\b(distclean|clean|setup|test|tests|bench|fuzz|sim|check|format)\b|^make T=|^make$", "the same"),
    (r"^(\./bulkhead|make|build/host/bulkhead) run\b(?!.*--print)", "waits for somebody at the terminal"),
    (r"^qemu-system-", "waits for somebody at the terminal"),
)
# Without what make test was called with.
OURS = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "T")}
# In a machine: they end it, or the guest that the next command needs. Tests of their own run them.
ENDS = re.compile(r"^(poweroff|reboot|halt)$")


def read(page):
    path = os.path.join(ROOT, page)
    if not os.path.exists(path):
        return ""
    with open(path, encoding="utf-8") as file:
        return file.read()


def blocks(page, kinds):
    """(line number, kind, text, reason to skip it or None)"""
    text = read(page)
    for match in re.finditer(r"^(?:<!-- doctest: skip (.*?) *-->\n)?```(\w+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        if match.group(2) in kinds:
            yield text.count("\n", 0, match.start(2)) + 1, match.group(2), match.group(3), match.group(1)


def parts(page):
    """The commands of transcripts: (where, line, the output shown). `where`: "host", "shell" or a guest's name."""
    for _, kind, text, skip in blocks(page, ("console", "text")):
        found = None
        for line in text.splitlines():
            match = PROMPT.match(line)
            if match and not skip and (kind == "console" or not match.group("host")):
                if found:
                    yield found
                found = ("host" if match.group("host") else "shell" if match.group("shell") else match.group("guest"), match.group("line"), [])
            elif found:
                found[2].append(line)
        if found:
            yield found


def without_comment(line):
    return re.sub(r"\s+#.*$", "", line).strip()


def known(line):
    """What a line names exists: a command of ./bulkhead, a target of make."""
    line = without_comment(line)
    if re.match(r"^\./bulkhead \w", line):
        usage = subprocess.run(["./bulkhead", "help"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True).stdout
        assert re.search(rf"^  {line.split()[1]}\b", usage, re.MULTILINE), f"./bulkhead help does not know: {line}"
    make = re.match(r"^make\b(.*)", line)
    if make:
        done = subprocess.run(
            f"make -n {make.group(1)}", shell=True, cwd=ROOT, env=OURS, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr


def scripts():
    return [(page, line, text, skip) for page in PAGES for line, _, text, skip in blocks(page, ("sh",))]


@pytest.mark.parametrize("page, at, text, skip", [pytest.param(*s, id=f"{s[0]}:{s[1]}") for s in scripts()])
def test_a_script_in_the_documentation_runs(page, at, text, skip):
    del page, at
    lines = text.splitlines()
    for line in lines:
        known(line)
    if skip:
        pytest.skip(skip)
    kept = [line for line in lines if not any(re.search(pattern, without_comment(line)) for pattern, _ in NOT_RUN)]
    if not any(without_comment(line) for line in kept):
        pytest.skip(next(why for pattern, why in NOT_RUN if re.search(pattern, without_comment(lines[0]))))
    done = subprocess.run(
        ["sh", "-eu", "-c", "\n".join(kept)], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, timeout=180, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def appears(shown, output):
    """Is what is shown what came? Numbers may differ and columns be wider; a line with an ellipsis stands for any."""

    def loose(line):
        return re.sub(r"[\d.]+", "0", " ".join(line.split()))

    there = {loose(line) for line in output.splitlines()}
    return [line for line in shown if line.strip() and "…" not in line and loose(line) not in there]


@pytest.mark.parametrize("page", [page for page in PAGES if any(where == "host" for where, _, _ in parts(page))])
def test_the_hosts_transcripts_of_a_page_are_true(page):
    for where, line, shown in parts(page):
        if where != "host":
            continue
        known(line)
        if any(re.search(pattern, without_comment(line)) for pattern, _ in NOT_RUN):
            continue
        done = subprocess.run(
            ["sh", "-c", line], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=180, check=False,
        )  # fmt: skip
        missing = appears(shown, done.stdout)
        assert not missing, f"{line}\nshown, but did not come:\n" + "\n".join(missing) + f"\nit was:\n{done.stdout}"


@pytest.fixture(scope="module", name="m")
def shared(boot_once):
    m = boot_once([linux("linux-a"), linux("linux-b"), tiny("web"), tiny("wild", "wild")], append="idle=shell")
    m.wait_all([rf"{name} is up" for name in ("linux-a", "linux-b")] + [r"wild: failed"], 120)
    return m


def in_machine(page):
    return [part for part in parts(page) if part[0] != "host"]


@pytest.mark.parametrize("page", [page for page in PAGES if in_machine(page)])
def test_the_commands_in_a_machine_on_a_page_do_what_they_should(page, m):
    m.shell()
    for name in ("linux-a", "linux-b"):
        if m.state(name) != "running":
            m.command(f"vm start {name}")
    for where, line, shown in in_machine(page):
        if ENDS.match(line) or not line.strip():
            continue
        if where != "shell":
            status, out = m.in_guest(where, line)
            assert status == 0, f"{page}: {where}: {line}\n{out}"
            continue
        m.shell()
        console = re.match(r"(?:vm )?console (linux-a|linux-b|all)$", line)
        if console and console.group(1) == "all":
            m.show_all()
        elif console:
            m.attach(console.group(1))
        else:
            out = m.command(line)
            # Where the page shows an error, it is that one; elsewhere there is none.
            words = [word for word in ("unknown", "no VM is called", "expected:") if word in out]
            assert all(any(word in line for line in shown) for word in words), f"{page}: {line}\n{out}"
            if words:
                assert " ".join(shown[0].split())[:40] == " ".join(out.split())[:40], f"{page}: {line}\n{out}"


def test_every_command_of_the_shell_is_documented():
    pages = "".join(read(page) for page in PAGES)
    source = ""
    for name in ("cmd_vm.c", "cmd_system.c"):
        with open(os.path.join(ROOT, "core", name), encoding="utf-8") as file:
            source += file.read()
    names = re.findall(r'\.name = "([^"]+)"', source)
    missing = [name for name in names if name not in pages]
    assert names and not missing, missing
