#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""run.py: a million simulated steps without a violation, and the same seed twice gives the same run. make test calls it."""

import os
import subprocess
import sys

BUILD = os.environ.get("BUILD", "build")
SIM = os.path.join(BUILD, "host", "sim")
STEPS = os.environ.get("STEPS", "1000000")
REPLAYED = (1, 2, 3, 4, 5, 6, 7, 8)


def sim(*options):
    done = subprocess.run([SIM, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.returncode, done.stdout


def main():
    status, said = sim("--steps", STEPS)
    print(said, end="")
    failed = int(status != 0)
    for seed in REPLAYED:
        first, second = sim("--seed", str(seed)), sim("--seed", str(seed))
        good = first == second and first[0] == 0
        failed += not good
        if not good:
            print(f"seed {seed} does not replay:\n{first[1]}{second[1]}")
    print(f"{1 + len(REPLAYED) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


main()
