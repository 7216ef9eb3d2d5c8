#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""check.py [PATTERN]: everything that can be said about the source without running it. make check calls it."""

import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.environ.get("BUILD", "build")
JOBS = os.environ.get("JOBS", "2")
LLVM = os.environ.get("LLVM", "19")
MAX_FUNCTION, MAX_FILE = 70, 800
PORTABLE = ("core/", "vdev/", "drv/", "lib/", "include/", "tools/")


def sources():
    """What belongs to the project: what git tracks or would, or every file where there is no git."""
    git = ["git", "-c", "safe.directory=*", "ls-files", "--cached", "--others", "--exclude-standard"]
    try:
        names = subprocess.run(git, capture_output=True, text=True, check=True).stdout.split("\n")
    except (OSError, subprocess.CalledProcessError):
        names = [os.path.relpath(os.path.join(folder, name)) for folder, _, files in os.walk(".") for name in files]
        names = [name for name in names if not name.startswith((BUILD + "/", "build/", ".git/"))]
    return sorted(name for name in set(names) if name and os.path.isfile(name) and "__pycache__" not in name)


def text(name):
    with open(name, encoding="utf-8", errors="replace") as file:
        return file.read()


def is_c(name):
    return name.endswith((".c", ".h"))


def deviations():
    """The first column of the table in docs/deviations.md: `path` or `path:function`."""
    if not os.path.exists("docs/deviations.md"):
        return set()
    return set(re.findall(r"^\| *`([^`]+)` *\|", text("docs/deviations.md"), re.MULTILINE))


def command(*args):
    done = subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode == 0:
        return []
    said = [line for line in done.stdout.split("\n") if line.strip() and not line.startswith("make")]
    return sorted(set(said)) or [f"exit status {done.returncode}"]


def check_format(files):
    """clang-format agrees"""
    said = command(f"clang-format-{LLVM}", "--dry-run", "-Werror", *filter(is_c, files))
    wrong = sorted({line.split(":")[0] for line in said if ": error: " in line})
    return [f"{name}: run make format" for name in wrong] or said


def check_tidy(_):
    """clang-tidy is silent"""
    return command("make", "-s", "-k", f"-j{JOBS}", f"BUILD={BUILD}", "tidy")


def check_cppcheck(_):
    """cppcheck is silent"""
    return command("make", "-s", f"BUILD={BUILD}", "cppcheck")


SEAM = (
    (re.compile(r"^\s*#\s*(el)?if.*(__aarch64__|__ARM|__riscv|__x86_64__|__i386__|\bARCH_[A-Z0-9]+\b)"), "#if on the architecture"),
    (re.compile(r"^\s*(__asm__|__asm|asm)\b|[;{}]\s*(__asm__|__asm|asm)\b"), "inline assembly"),
    (re.compile(r"gnu::weak|__weak|__attribute__\s*\(\(.*weak"), "weak symbol"),
)


def check_seam(files):
    """no #if on the architecture, inline assembly or weak symbol outside arch/"""
    out = []
    for name in filter(is_c, files):
        if name.startswith(PORTABLE):
            for number, line in enumerate(text(name).split("\n"), 1):
                out += [f"{name}:{number}: {what}" for pattern, what in SEAM if pattern.search(line)]
    return out


NO_LICENSE_LINE = re.compile(r"^(LICENSE|VERSION)$|^tests/.*/(corpus|cases|data)/|\.(json|png|svg|cast)$")


def check_license(files):
    """an SPDX line in each file"""
    out = []
    for name in files:
        if not NO_LICENSE_LINE.search(name) and "SPDX-License-Identifier: Apache-2.0" not in "\n".join(text(name).split("\n")[:3]):
            out.append(f"{name}:1: no SPDX-License-Identifier")
    return out


def functions(name):
    """(name, first line, length) of each function, which clang-format begins and ends in the first column."""
    start = header = None
    for number, line in enumerate(text(name).split("\n"), 1):
        if start is None and line.endswith("{") and not line.startswith((" ", "\t", "#", "}", "//")):
            start, header = number, line
        if start is None and re.match(r"[A-Za-z_\[].*[(,]$", line):
            header = line
        if line.startswith("}") and start is not None:
            called = re.search(r"(\w+)\(", header or "")
            if called and "=" not in header:
                yield called.group(1), start, number - start + 1
            start = None


def check_size(files):
    """functions of 70 and files of 800 lines at most"""
    allowed, out = deviations(), []
    for name in files:
        if not name.endswith((".c", ".h", ".S", ".py", ".sh")):
            continue
        lines = text(name).count("\n")
        if lines > MAX_FILE and name not in allowed:
            out.append(f"{name}: {lines} lines")
        if is_c(name):
            for function, line, length in functions(name):
                if length > MAX_FUNCTION and f"{name}:{function}" not in allowed:
                    out.append(f"{name}:{line}: {function}() has {length} lines")
    return out


# Written so that they do not match themselves.
WORDS = (
    (re.compile(r"[/]root/[.\w]|[/]home/\w|[/]work/\w"), "absolute path of one machine"),
    (re.compile(r"https?://[\w.-]*debian\.(?:org|net)/debian"), "name of a mirror"),
)


def check_words(files):
    """no path of one machine, no mirror"""
    out = []
    for name in files:
        for number, line in enumerate(text(name).split("\n"), 1):
            out += [f"{name}:{number}: {what}" for pattern, what in WORDS if pattern.search(line)]
    return out


def check_whitespace(files):
    """no tab, trailing space or missing newline"""
    out = []
    for name in files:
        if name.startswith("tests/configs/") or not name.endswith((".c", ".h", ".S", ".py", ".sh", ".toml", ".md", ".ld")):
            continue
        body = text(name)
        if body and not body.endswith("\n"):
            out.append(f"{name}: no newline at the end")
        for number, line in enumerate(body.split("\n"), 1):
            if line != line.rstrip() or "\t" in line:
                out.append(f"{name}:{number}: tab or trailing space")
    return out


def check_shell(files):
    """the shell scripts parse"""
    scripts = [name for name in files if text(name).startswith("#!/bin/sh") or name.endswith(".sh")]
    return [problem for name in scripts for problem in command("sh", "-n", name)]


def main():
    os.chdir(ROOT)
    pattern = sys.argv[1] if len(sys.argv) > 1 else ""
    files, passed, failed = sources(), 0, 0
    for name, check in sorted(globals().items()):
        if not name.startswith("check_") or pattern not in name:
            continue
        problems = check(files)
        if problems:
            failed += 1
            print(f"FAIL {name[6:]}: {check.__doc__}\n  " + "\n  ".join(problems))
        else:
            passed += 1
            print(f"ok   {name[6:]}: {check.__doc__}")
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


main()
