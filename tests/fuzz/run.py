#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""run.py [--seconds N | --cpu-seconds N] [TARGET...]: runs the fuzzers one after the other. make fuzz calls it; so does make
test, without seconds: then each makes a fixed number of runs and begins with the seeds alone, otherwise it goes on from what it
has learnt. --cpu-seconds goes on, in rounds, until a target has had so much of the processor, however busy the machine is."""

import argparse
import glob
import os
import re
import resource
import shutil
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FUZZ = os.path.join(os.environ.get("BUILD", "build"), "fuzz")
# Scripts of steps are as long as they can be from the start; for texts the engine finds the length that pays.
STEPS = ("vgic", "exits", "decode", "gmem", "pl011", "pl031", "plic", "aia", "riscv", "uart16550", "goldfish", "apic", "pc", "x86regs", "x86emulate")
LENGTH = {"toml": 4096, "config": 8192, "bundle": 16384, "fdt_read": 16384, "fdt_patch": 16384, "image": 4096, "exits": 512, "apic": 512, "x86emulate": 256, "shell": 256}
# The short runs of make test: so many executions from a fixed seed, not so many seconds, so that every machine does the same.
# Each takes a few seconds. In thousands.
RUNS = {"aia": 4, "apic": 3, "bundle": 40, "cmdline": 150, "config": 15, "decode": 25, "exits": 1, "fdt_patch": 2, "fdt_read": 4, "gmem": 15, "goldfish": 40, "image": 7,
        "line_edit": 40, "pc": 15, "pl011": 25, "pl031": 40, "plic": 10, "riscv": 40, "shell": 0.1, "toml": 20, "uart16550": 40, "vgic": 7, "view": 150,
        "x86emulate": 40, "x86insn": 60, "x86regs": 25}
ENV = dict(os.environ, UBSAN_OPTIONS="print_stacktrace=1", ASAN_OPTIONS="detect_leaks=0:symbolize=1")


def command(name, corpus, seconds, seed):
    folder = os.path.join(FUZZ, name)
    flags = [
        f"-max_total_time={seconds}" if seconds else f"-runs={int(1000 * RUNS.get(name, 5))}",
        f"-max_len={LENGTH.get(name, 1024)}",
        f"-len_control={0 if name in STEPS else 100}",
        f"-artifact_prefix={folder}/",
        "-timeout=60",
        "-rss_limit_mb=2048",
        "-detect_leaks=0",
        "-reload=0",
        "-print_final_stats=1",
    ]
    if seed:
        flags.append(f"-seed={seed}")
    words = f"tests/fuzz/{name}.dict"
    if os.path.exists(words):
        flags.append(f"-dict={words}")
    seeds = [folder for folder in (os.path.join(FUZZ, "seeds", name), f"tests/fuzz/corpus/{name}") if os.path.isdir(folder)]
    return [os.path.join(FUZZ, "bin", name), *flags, corpus, *seeds]


def number(log, pattern):
    found = re.findall(pattern, log)
    return int(found[-1]) if found else 0


def cpu_seconds():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def enough(name, cpu, seed):
    """Rounds of run() until the target has had cpu seconds of the processor; False at the first finding."""
    left = cpu
    while left > 0:
        before = cpu_seconds()
        if not run(name, max(30, round(left)), True, seed):
            return False
        left -= cpu_seconds() - before
    return True


def run(name, seconds, keep, seed):
    """Whether the target ran to its end without a finding."""
    folder = os.path.join(FUZZ, name)
    corpus = os.path.join(folder, "corpus" if keep else "scratch")
    if not keep:
        shutil.rmtree(corpus, ignore_errors=True)
    os.makedirs(corpus, exist_ok=True)
    before = set(os.listdir(folder))
    log_name = os.path.join(folder, "log")
    began, cpu = time.monotonic(), cpu_seconds()
    with open(log_name, "w", encoding="utf-8") as file:
        try:
            status = subprocess.run(command(name, corpus, seconds, seed), stdout=file, stderr=subprocess.STDOUT, env=ENV, check=False).returncode
        except OSError as error:
            print(f"FAIL {name}: {error}", flush=True)
            return False
    with open(log_name, encoding="utf-8", errors="replace") as file:
        log = file.read()
    took, cpu, runs = time.monotonic() - began, cpu_seconds() - cpu, number(log, r"number_of_executed_units: (\d+)")
    covered, features = number(log, r"cov: (\d+)"), number(log, r"ft: (\d+)")
    findings = sorted(found for found in set(os.listdir(folder)) - before if re.match(r"(crash|timeout|oom|leak|slow-unit)-", found))
    bad = [found for found in findings if not found.startswith("slow-unit")]
    said = f"{name}: {took:.0f} s ({cpu:.0f} of the CPU), {runs} executions, {covered} edges, {features} features"
    if keep:
        with open(os.path.join(FUZZ, "results.txt"), "a", encoding="utf-8") as file:
            file.write(f"{name} {took:.0f} {cpu:.0f} {runs} {covered} {features} {len(bad)}\n")
    if status == 0 and not bad:
        print(f"ok   {said}", flush=True)
        return True
    print("\n".join(log.split("\n")[-60:]))
    print(f"FAIL {said}, status {status}")
    for found in bad:
        print(f"     again: {FUZZ}/bin/{name} {folder}/{found}")
    sys.stdout.flush()
    return False


def main():
    os.chdir(ROOT)
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int)
    parser.add_argument("--cpu-seconds", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("targets", nargs="*")
    args = parser.parse_args()
    known = sorted(os.path.basename(source)[:-2] for source in glob.glob("tests/fuzz/*.c") if not source.endswith("common.c"))
    unknown = [name for name in args.targets if name not in known]
    if unknown:
        sys.exit(f"no fuzzer is called {unknown[0]}; there are: {' '.join(known)}")
    subprocess.run([sys.executable, "tests/fuzz/seeds.py", os.path.join(FUZZ, "seeds")], check=True)
    if args.cpu_seconds:
        results = [enough(name, args.cpu_seconds, args.seed) for name in args.targets or known]
    else:
        results = [run(name, args.seconds, args.seconds is not None, args.seed or (0 if args.seconds else 1)) for name in args.targets or known]
    print(f"{results.count(True)} passed, {results.count(False)} failed")
    sys.exit(0 if all(results) else 1)


main()
