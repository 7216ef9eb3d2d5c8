#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""coverage.py FOLDER STEPS: runs the programs in FOLDER/bin, the simulator for STEPS steps, and the corpus of configurations,
and tells how much of core/ and vdev/ that ran, by line and by branch. Nothing is left out of the count. FOLDER/uncovered.txt lists what did not run,
FOLDER/report.txt shows it in the source. Fails when the programs do, or under the marks."""

import collections
import glob
import json
import os
import subprocess
import sys

LINES, BRANCHES = 90.0, 80.0  # per cent
LLVM = os.environ.get("LLVM", "19")
TREES = ("core", "vdev")


def run_all(folder, steps):
    """Each program writes its counters; returns those that failed."""
    failed = []
    for old in glob.glob(os.path.join(folder, "*.profraw")):
        os.remove(old)
    programs = {os.path.basename(path): [path] for path in sorted(glob.glob(os.path.join(folder, "bin", "*")))}
    programs["sim"] += ["--steps", steps]
    programs["configs"] = ["/usr/bin/python3", "tests/configs/run.py", os.path.join(folder, "bulkhead")]
    for name, command in programs.items():
        env = dict(os.environ, LLVM_PROFILE_FILE=os.path.abspath(os.path.join(folder, name + "-%m.profraw")))
        with open(os.path.join(folder, name + ".log"), "w", encoding="utf-8") as log:
            if subprocess.run(command, env=env, stdout=log, stderr=log, check=False).returncode != 0:
                failed.append(name)
                print(f"{name} failed; {log.name} tells more")
    return failed


def export(folder):
    """What llvm-cov knows of each file."""
    profile = os.path.join(folder, "all.profdata")
    raw = glob.glob(os.path.join(folder, "*.profraw"))
    subprocess.run([f"llvm-profdata-{LLVM}", "merge", "-sparse", "-o", profile, *raw], check=True)
    where = ["-instr-profile", profile, os.path.join(folder, "all"), *TREES]
    with open(os.path.join(folder, "report.txt"), "w", encoding="utf-8") as report:
        subprocess.run([f"llvm-cov-{LLVM}", "show", "-show-branches=count", *where], stdout=report, check=True)
    out = subprocess.run([f"llvm-cov-{LLVM}", "export", *where], stdout=subprocess.PIPE, check=True).stdout
    return json.loads(out)["data"][0]


def uncovered_lines(file):
    """The lines in which code begins that never ran."""
    return sorted({line for line, _, count, counted, entry, gap in file["segments"] if counted and entry and not count and not gap})


def uncovered_branches(data, name):
    """(line, whether its true or its false side was never taken, through a macro or not), summed over instances."""
    taken = collections.defaultdict(lambda: [0, 0])
    for function in data["functions"]:
        if function["filenames"][0] != name:
            continue
        calls = {r[6]: r[0] for r in function["regions"] if r[7] == 1 and r[5] == 0}
        for b in function["branches"]:
            macro = b[6] != 0
            line = calls.get(b[6], b[0]) if macro else b[0]
            sides = taken[(line, b[1], function["filenames"][b[6]] if macro else "", b[0])]
            sides[0] += b[4]
            sides[1] += b[5]
    for (line, _, macro, at), sides in sorted(taken.items()):
        for side, count in zip(("true", "false"), sides):
            if count == 0:
                yield line, side, f" in the macro at {os.path.relpath(macro)}:{at}" if macro else ""


def list_uncovered(folder, data):
    with open(os.path.join(folder, "uncovered.txt"), "w", encoding="utf-8") as out:
        for file in data["files"]:
            name = os.path.relpath(file["filename"])
            with open(file["filename"], encoding="utf-8") as source:
                text = source.read().split("\n")
            for line in uncovered_lines(file):
                out.write(f"{name}:{line}: never run: {text[line - 1].strip()}\n")
            for line, side, macro in uncovered_branches(data, file["filename"]):
                out.write(f"{name}:{line}: never {side}{macro}: {text[line - 1].strip()}\n")


def row(name, summary):
    lines, branches = summary["lines"], summary["branches"]
    shares = [f"{100.0 * s['covered'] / s['count'] if s['count'] else 100.0:6.1f} %" for s in (lines, branches)]
    print(f"{name:<24} {lines['covered']:6}/{lines['count']:<6} {shares[0]}  {branches['covered']:6}/{branches['count']:<6} {shares[1]}")


def main():
    folder, steps = sys.argv[1:3]
    failed = run_all(folder, steps)
    data = export(folder)
    print(f"{'file':<24} {'lines':>13} {'':>8}  {'branches':>13}")
    for file in data["files"]:
        row(os.path.relpath(file["filename"]), file["summary"])
    total = data["totals"]
    row("total", total)
    list_uncovered(folder, data)
    print(f"what did not run: {folder}/uncovered.txt; in the source: {folder}/report.txt")
    short = [
        f"{what}: {total[what]['percent']:.1f} % of {mark:.0f} %"
        for what, mark in (("lines", LINES), ("branches", BRANCHES))
        if total[what]["percent"] < mark
    ]
    for line in short:
        print(f"too little: {line}")
    sys.exit(1 if failed or short else 0)


main()
