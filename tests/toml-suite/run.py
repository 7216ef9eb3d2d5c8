#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the official TOML suite: run.py SUITE_DIR [DECODER]; SUITE_DIR holds valid/ and invalid/."""

import datetime
import json
import os
import re
import subprocess
import sys

# Cases of TOML 1.1 that are otherwise in 1.0; the suite's own list (version.go).
EXCLUDED = {
    "valid/string/escape-esc",
    "valid/string/hex-escape",
    "invalid/string/bad-hex-esc",
    "valid/datetime/no-seconds",
    "valid/inline-table/newline",
    "valid/key/unicode",
}


def date(text):
    """A date or time as something comparable, whatever spelling of it was used."""
    text = text.upper().replace(" ", "T").replace("Z", "+00:00")
    text = re.sub(r"\.(\d+)", lambda m: "." + (m.group(1) + "000000")[:6], text)
    for kind in (datetime.datetime, datetime.date, datetime.time):
        try:
            return kind.fromisoformat(text)
        except ValueError:
            pass
    return text


def scalar(node):
    tag, value = node["type"], node["value"]
    if tag == "integer":
        return tag, int(value)
    if tag == "float":
        number = float(value.replace("_", ""))
        return tag, "nan" if number != number else number
    if tag in ("datetime", "datetime-local", "date-local", "time-local"):
        return tag, date(value)
    return tag, value


def normal(node):
    if isinstance(node, list):
        return [normal(item) for item in node]
    if set(node) == {"type", "value"} and isinstance(node["value"], str):
        return scalar(node)
    return {key: normal(value) for key, value in node.items()}


def run_case(decoder, path, name):
    """None when the case passes, else a sentence."""
    with open(path, "rb") as file:
        done = subprocess.run([decoder], stdin=file, capture_output=True, timeout=20, check=False)
    if done.returncode not in (0, 1):
        return f"exit status {done.returncode}: {done.stderr.decode(errors='replace')[:2000]}"
    if name.startswith("invalid/"):
        if done.returncode == 0:
            return "accepted"
        return None if re.match(rb"stdin(:\d+:\d+)?: \S", done.stderr) else "no message"
    if done.returncode != 0:
        return "refused: " + done.stderr.decode(errors="replace").strip()
    with open(path[:-5] + ".json", encoding="utf-8") as file:
        want = normal(json.load(file))
    got = normal(json.loads(done.stdout.decode()))
    return None if got == want else f"wrong value\n  want {want}\n  got  {got}"


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    suite = sys.argv[1]
    decoder = sys.argv[2] if len(sys.argv) == 3 else os.environ.get("TOML_DECODER", "build/host/toml-decode")
    passed = failed = 0
    for folder, _, files in sorted(os.walk(suite)):
        for file in sorted(files):
            name = os.path.relpath(os.path.join(folder, file), suite)[:-5]
            if not file.endswith(".toml") or not name.startswith(("valid/", "invalid/")) or name in EXCLUDED:
                continue
            why = run_case(decoder, os.path.join(folder, file), name)
            if why is None:
                passed += 1
            else:
                failed += 1
                print(f"FAIL {name}: {why}")
    if passed + failed == 0:
        print(f"no case found in {suite}")
        failed = 1
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


main()
