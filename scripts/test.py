#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""test.py [PATTERN]: runs every test and says how many passed. make test calls it when all is built.

A suite is a unit-test binary, a script that ends with "N passed, N failed" (tests/*/run.py, run.sh, scripts/check.py), or
the system tests, one pytest file each, and what ALSO names again for an architecture in BULKHEAD_ALSO. PATTERN picks
suites by a part of their name; if none has it, the system tests whose own names have it."""

import glob
import os
import re
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree
from concurrent.futures import ThreadPoolExecutor

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.environ.get("BUILD", "build")
JOBS = int(os.environ.get("JOBS", "2"))
LOGS = os.path.join(BUILD, "log")
PYTHON = "/usr/bin/python3"
# What guards the architectures beside the default one: files, and which of their tests (as pytest's -k). What arch/ has a
# hand in, once; the shell, the console and bundles are the same C. ARCH=riscv64 make test and ARCH=x86_64 make test run
# everything.
ALSO = {
    "riscv64": {
        "boot": "",
        "hostile": "",
        "lifecycle": "the_last_guests or idle_reboot or a_reset or a_crash or affinity or spins or restarts_lose or restarts_of_a_Linux",
        "linux": "examples or panic_with or 8_CPUs or U_Boot or timer_sleeps",
        "machines": "any_number and (1- or 8-) or told_so or trims or (Linux_guests or interrupt_files) and (max or rva23s64 or sstc)",
        "probes": "",
        "report": "",
        "riscv_cpu": "",
    },
    "x86_64": {
        "boot": "",
        "hostile": "",
        "iso": "",
        "lifecycle": "the_last_guests or idle_reboot or a_reset or a_crash or affinity or spins or restarts_lose or restarts_of_a_Linux",
        "linux": "examples or a_reboot or panic_with or triple or 8_CPUs or timer_sleeps",
        "machines": "any_number and (1- or 8-) or told_so or trims or Linux_guests or cannot_be_reached",
        "probes": "what_a_VM or together",
        "report": "",
        "state": "",
        "vmx": "not 2",  # vCPUs
        "x86_cpu": "",
        "x86_guests": "not 4_GiB",
    },
}
NOTHING_CHOSEN = 5  # pytest, when -k leaves no test of a file
ENV = dict(
    os.environ,
    UBSAN_OPTIONS="print_stacktrace=1",
    PYTHONDONTWRITEBYTECODE="1",
)


class Suite:
    def __init__(self, name, command, count, seconds, env=None):
        self.name, self.command, self.count, self.seconds = name, command, count, seconds
        self.env = {**ENV, **(env or {})}
        self.log = os.path.join(LOGS, name + ".log")
        self.passed = self.failed = 0

    def run(self):
        began = time.monotonic()
        with open(self.log, "w", encoding="utf-8") as log:
            try:
                child = subprocess.Popen(
                    self.command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=self.env, start_new_session=True
                )
                status = child.wait(self.seconds)
            except OSError as error:
                status = str(error)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
                status = f"no end after {self.seconds} s"
        with open(self.log, encoding="utf-8", errors="replace") as log:
            self.passed, self.failed = self.count(log.read())
        if status == NOTHING_CHOSEN and self.name.startswith("system-"):
            return
        if status != 0 and self.failed == 0:
            self.failed = 1
        self.report(status, time.monotonic() - began)

    def report(self, status, seconds):
        if self.failed == 0:
            print(f"ok   {self.name}: {self.passed} ({seconds:.1f} s)", flush=True)
            return
        with open(self.log, encoding="utf-8", errors="replace") as log:
            lines = log.read().split("\n")
        shown = lines if len(lines) <= 400 else lines[:100] + [f"... ({self.log} has all)"] + lines[-300:]
        why = f", {status}" if isinstance(status, str) else ""
        print("\n".join(shown) + f"\nFAIL {self.name}: {self.failed} of {self.passed + self.failed}{why} ({seconds:.1f} s)", flush=True)


def count_cmocka(log):
    # The names of failed tests are repeated in the summary without a bar in front.
    passed = len(re.findall(r"^\[ +OK \]", log, re.MULTILINE))
    begun = len(re.findall(r"^\[ RUN +\]", log, re.MULTILINE))
    skipped = len(re.findall(r"^\[  SKIPPED \] \w+$", log, re.MULTILINE)) // 2
    return passed, max(begun - passed - skipped, 0 if begun else 1)


def count_script(log):
    found = re.findall(r"^(\d+) passed, (\d+) failed$", log, re.MULTILINE)
    return (int(found[-1][0]), int(found[-1][1])) if found else (0, 1)


def count_pytest(junit):
    def count(_):
        try:
            root = xml.etree.ElementTree.parse(junit).getroot()
        except (OSError, xml.etree.ElementTree.ParseError):
            return 0, 1
        suites = list(root.iter("testsuite"))
        total, bad, skipped = (
            sum(int(suite.get(key, 0)) for suite in suites for key in keys) for keys in (("tests",), ("errors", "failures"), ("skipped",))
        )
        return max(total - bad - skipped, 0), bad

    return count


def unit_suites():
    """The binaries that should be there, so that one that did not build fails."""
    for source in sorted(glob.glob("tests/unit/test_*.c")):
        name = os.path.basename(source)[:-2]
        yield Suite(name, [os.path.join(BUILD, "host", name)], count_cmocka, 300)


def script_suites():
    yield Suite("check", [PYTHON, "scripts/check.py"], count_script, 600)
    for script in sorted(glob.glob("tests/*/run.py")) + sorted(glob.glob("tests/*/run.sh")):
        name = os.path.basename(os.path.dirname(script))
        command = [PYTHON, script] if script.endswith(".py") else ["sh", script]
        if name == "toml-suite":
            command += [os.environ.get("BULKHEAD_TOML_TEST", ""), os.path.join(BUILD, "host", "toml-decode")]
        yield Suite(name, command, count_script, 300)
    yield Suite("mutants", [PYTHON, "tests/sim/mutants/run.py"], count_script, 600)


def system_suite(prefix, file, only, env=None):
    name = prefix + os.path.basename(file)[5:-3]
    junit = os.path.join(LOGS, name + ".xml")
    command = [PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={junit}", file]
    return Suite(name, command + (["-k", only] if only else []), count_pytest(junit), 1500, env)


def system_suites(only):
    for file in sorted(glob.glob("tests/system/test_*.py")):
        yield system_suite("system-", file, only)
    guests = os.path.dirname(os.environ.get("BULKHEAD_GUESTS", ""))
    for arch in os.environ.get("BULKHEAD_ALSO", "").split():
        env = {"ARCH": arch, "BULKHEAD_GUESTS": os.path.join(guests, arch)}
        for name, some in ALSO.get(arch, {}).items():
            chosen = f"({some}) and ({only})" if some and only else some or only
            yield system_suite(f"system-{arch}-", f"tests/system/test_{name}.py", chosen, env)


def main():
    os.chdir(ROOT)
    os.makedirs(LOGS, exist_ok=True)
    pattern = sys.argv[1] if len(sys.argv) > 1 else ""
    host = [suite for suite in [*script_suites(), *unit_suites()] if pattern in suite.name]
    system = [suite for suite in system_suites("") if pattern in suite.name]
    if not host and not system:
        system = list(system_suites(pattern))
    with ThreadPoolExecutor(JOBS) as pool:
        list(pool.map(Suite.run, host))
    # One machine at a time: their time-outs mean something only on CPUs of their own.
    for suite in system:
        suite.run()
    ran = [suite for suite in host + system if suite.passed + suite.failed]
    failed = [suite.name for suite in ran if suite.failed]
    if failed:
        print("failed: " + " ".join(failed))
    print(f"{sum(suite.passed for suite in ran)} passed, {sum(suite.failed for suite in ran)} failed")
    sys.exit(1 if failed or not ran else 0)


main()
