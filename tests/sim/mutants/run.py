#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""run.py [NAME...]: applies each fault of list.toml to a copy of its file, compiles that alone, and expects the simulator or
one of the unit tests to fail with it. make mutants builds what it needs and calls it."""

import os
import subprocess
import sys
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
BUILD = os.environ.get("BUILD", "build")
HOST = os.path.join(BUILD, "host")
STEPS = os.environ.get("MUTANT_STEPS", "4000000")
SECONDS = 60  # of one test


def flags():
    """What make compiles and links with: NAME words."""
    with open(os.path.join(BUILD, "mutants", "flags"), encoding="utf-8") as file:
        lines = [line.split() for line in file]
    return {line[0]: line[1:] for line in lines}


def run(*command):
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SECONDS, check=False, stdin=subprocess.DEVNULL)
        return done.returncode, done.stdout.decode(errors="replace")
    except subprocess.TimeoutExpired:
        return "no end", ""


class Failure(Exception):
    """The mutant could not be made."""


def build(*command):
    status, said = run(*command)
    if status != 0:
        raise Failure(said)


def mutate(mutant, folder):
    with open(mutant["file"], encoding="utf-8") as file:
        text = file.read()
    old, new = mutant["old"].lstrip("\n"), mutant["new"].lstrip("\n")
    if text.count(old) != 1:
        raise Failure(f"{mutant['file']}: what it replaces is there {text.count(old)} times")
    path = os.path.join(folder, os.path.basename(mutant["file"]))
    with open(path, "w", encoding="utf-8") as file:
        file.write(text.replace(old, new))
    return path


def first_line(said):
    signs = ("sim: seed", "sim: a signal", "panic", "[  FAILED  ]")
    lines = [line.strip() for line in said.split("\n") if any(sign in line for sign in signs)]
    return "; ".join(lines[: 2 if "a signal" in said else 1])


def compile_with(how, mutant, source, folder):
    target = os.path.join(folder, how["name"] + ".o")
    build(*how["cc"], *how["cflags"], "-w", "-MF", os.devnull, "-iquote", os.path.dirname(mutant["file"]), "-c", "-o", target, source)
    return target


def killer(mutant, make):
    """What finds it, or None."""
    folder = os.path.join(BUILD, "mutants", mutant["name"])
    os.makedirs(folder, exist_ok=True)
    source = mutate(mutant, folder)
    changed = compile_with({"name": "step", "cc": make["CC"], "cflags": make["STEP_CFLAGS"]}, mutant, source, folder)
    program = os.path.join(folder, "sim")
    build(*make["CC"], *make["STEP_LDFLAGS"], "-o", program, changed, *make["SIM_OBJ"], os.path.join(HOST, "libbulkhead-step.a"))
    status, said = run(program, "--steps", str(mutant.get("steps", STEPS)), "--trace", "0")
    os.remove(program)
    if status != 0:
        return first_line(said) or f"sim: {status}"
    if not mutant.get("units"):
        return None
    changed = compile_with({"name": "san", "cc": make["CC"], "cflags": make["SAN_CFLAGS"]}, mutant, source, folder)
    original = os.path.join(HOST, "san", mutant["file"] + ".o")
    library = os.path.join(folder, "library.a")
    build(*make["AR"], "rcsD", library, *(changed if name == original else name for name in make["SAN_OBJ"]))
    for unit in mutant["units"]:
        program = os.path.join(folder, "test_" + unit)
        objects = [os.path.join(HOST, "san", "tests", "unit", f"test_{unit}.c.o"), os.path.join(HOST, "libunit.a"), library]
        build(*make["CC"], *make["SAN_LDFLAGS"], "-o", program, *objects, "-lcmocka")
        status, said = run(program)
        os.remove(program)
        if status != 0:
            return f"test_{unit}: " + (first_line(said) or str(status))
    return None


def judge(mutant, make):
    began = time.monotonic()
    try:
        found = killer(mutant, make)
        good = found is not None
        verdict = f"killed by {found}" if good else f"SURVIVES: {mutant['breaks']}"
    except Failure as failure:
        good, verdict = False, f"cannot be made: {failure}"
    print(f"{'ok  ' if good else 'FAIL'} {mutant['name']}: {verdict} ({time.monotonic() - began:.1f} s)", flush=True)
    return good


def main():
    os.chdir(ROOT)
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "list.toml"), "rb") as file:
        mutants = tomllib.load(file)["mutant"]
    wanted = sys.argv[1:]
    mutants = [mutant for mutant in mutants if not wanted or mutant["name"] in wanted]
    make = flags()
    with ThreadPoolExecutor(int(os.environ.get("JOBS", "2"))) as pool:
        verdicts = list(pool.map(lambda mutant: judge(mutant, make), mutants))
    survivors = [mutant["name"] for mutant, good in zip(mutants, verdicts) if not good]
    if survivors:
        print("not killed: " + " ".join(survivors))
    print(f"{sum(verdicts)} passed, {len(survivors)} failed")
    sys.exit(1 if survivors or not verdicts else 0)


main()
