#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the hypervisor costs, in instructions, beside what others cost. make bench calls this when all is built.

Everything runs in QEMU with -icount shift=0: one instruction is one tick of its clock, so the figures are exact and the same on
each machine. docs/benchmarks.md says how each is taken."""

import argparse
import bisect
import collections
import functools
import importlib
import os
import re
import statistics
import struct
import subprocess
import sys
import time

from table import MIB, Run, shown

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.environ.get("BUILD", "build")
ARCH = os.environ.get("ARCH", "aarch64")
LLVM = os.environ.get("LLVM", "19")
CACHE = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
CACHE = os.environ.get("BULKHEAD_CACHE") or os.path.join(CACHE, "bulkhead")
GUESTS = os.environ.get("BULKHEAD_GUESTS") or os.path.join(CACHE, "guests", ARCH)
IMAGE = os.path.join(BUILD, ARCH, "bulkhead.elf" if ARCH == "x86_64" else "bulkhead.bin")
ELF = os.path.join(BUILD, ARCH, "bulkhead.elf")
GUEST = os.path.join(BUILD, ARCH, "bench", "bench.bin")
HOST_COMMAND = os.path.join(BUILD, "host", "bulkhead")
PLUGIN = os.path.join(BUILD, "host", "count.so")
WORK = os.path.join(BUILD, "bench")

TARGET = importlib.import_module(ARCH)  # the machines and the rows

GUEST_RAM = 128
MARK_FIRST, MARK_RESET = 0xBE03, 0xBE04  # bench/guest/marks.h
RESETS = 5
SECONDS = 180  # for one run of QEMU, many times what it takes

def say(text):
    if sys.stderr.isatty():
        print(f"  BENCH   {text}", file=sys.stderr)


# ── Running ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def bundle(name, kernel, cmdline, cpus=1, smp=1, memory=GUEST_RAM, initrd=None, folder=None):
    """Packs one VM whose vCPUs are dealt out to the CPUs in turn; returns the bundle's path."""
    toml, out = os.path.join(WORK, name + ".toml"), os.path.join(WORK, name + ".cpio")
    lines = [f'name = "bench"\ncpus = {cpus}\nmemory = "{memory}M"\n[boot]\nkernel = "{kernel}"\ncmdline = "{cmdline}"']
    lines += [f'initrd = "{initrd}"'] if initrd else []
    lines += [f"[sched]\naffinity = [{', '.join(f'[{cpu % smp}]' for cpu in range(cpus))}]"]
    with open(toml, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    command = [HOST_COMMAND, "bundle", "-o", out, "-C", folder or os.path.dirname(GUEST), toml]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stdout + done.stderr)
    return out


def segments():
    """Of the ELF file, what a boot loader takes: (address, bytes in the file, bytes in memory), ..."""
    with open(ELF, "rb") as file:
        elf = file.read()
    at, each, count = struct.unpack_from("<Q", elf, 32)[0], *struct.unpack_from("<HH", elf, 54)
    headers = [struct.unpack_from("<IIQQQQQQ", elf, at + each * i) for i in range(count)]
    return [(header[4], header[5], header[6]) for header in headers if header[0] == 1]  # PT_LOAD


def image_memory():
    if IMAGE == ELF:
        return max(address + memory for address, _, memory in segments()) - TARGET.LOAD_ADDRESS
    with open(IMAGE, "rb") as file:
        size = struct.unpack_from("<Q", file.read(64), 16)[0]
    if size == 0:
        raise RuntimeError(f"{IMAGE}: its header has no image_size, so QEMU does not load it where the others do")
    return size


def qemu_command(image, memory, how, args):
    command = [TARGET.EMULATOR, "-M", how.machine or TARGET.MACHINE, "-cpu", how.cpu or TARGET.CPU]
    command += ["-smp", str(how.smp), "-m", f"{memory}M", "-seed", "1", "-icount", "shift=0,sleep=off"]
    command += ["-rtc", "base=2025-01-01T00:00:00,clock=vm", "-display", "none", "-monitor", "none", "-nic", "none"]
    command += ["-serial", "stdio", "-kernel", IMAGE, "-append", "loglevel=error", "-initrd", image]
    if args:
        command += ["-plugin", ",".join([PLUGIN, f"hyp={TARGET.LOAD_ADDRESS:#x}", f"size={image_memory()}"] + args)]
    return command


def run(name, image, memory=512, how=Run("single"), args=None, enough=None):
    """Boots a bundle until the machine is off or enough() says so; returns what the console said."""
    say(name)
    log_name = os.path.join(WORK, name + ".log")
    with open(log_name, "w", encoding="utf-8") as log:
        with subprocess.Popen(
            qemu_command(image, memory, how, args), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        ) as child:
            deadline = time.monotonic() + SECONDS
            while child.poll() is None and time.monotonic() < deadline and not (enough and enough()):
                time.sleep(0.05)
            late = time.monotonic() >= deadline
            child.terminate()
            try:
                child.wait(timeout=10)
            except subprocess.TimeoutExpired:
                child.kill()
    with open(log_name, encoding="utf-8", errors="replace") as log:
        text = log.read()
    if late:
        raise RuntimeError(f"{name}: no end after {SECONDS} s; the console is in {log_name}")
    return text


def events(name):
    """What the plugin wrote: (kind, instructions of the hypervisor's, a, b), ..."""
    path = os.path.join(WORK, name + ".events")
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as file:
        lines = [line.split() for line in file.read().split("\n")[:-1]]
    return [(line[0], *map(int, line[1:])) for line in lines if len(line) == 4]


def plugin_args(name, *more, ram=GUEST_RAM):
    out = os.path.join(WORK, name + ".events")
    if os.path.exists(out):
        os.remove(out)
    return [f"out={out}", f"ram={ram * MIB}", *more]


# ── Measuring ───────────────────────────────────────────────────────────────────────────────────────────────────────
def guest_bundle(name, how, what):
    return bundle(name, "bench.bin", f"bench={what}", cpus=how.cpus, smp=how.smp)


def measure_operations(how):
    """A row's value is the median that the guest reports; or, where it reports none, of what the plugin saw between its marks."""
    name, clock = how.name, ARCH == "aarch64"
    text = run(name, guest_bundle(name, how, name), how=how, args=None if clock else plugin_args(name))
    rows = re.findall(r"bench (\w+) (\d+)(?: (\d+) \d+ \d+)?\s*$", text, re.MULTILINE)
    if not rows or "bench failed" in text:
        raise RuntimeError(f"{name}: the guest did not do all; the console said:\n{text}")
    if clock:
        return {row: int(median) for row, _, median in rows}
    took = [event[1:] for event in events(name) if event[0] == "took"]
    out = {}
    for row, count, _ in rows:
        samples, took = took[1 : int(count) + 1], took[int(count) + 1 :]  # the first is no sample
        out[row] = int(statistics.median_low(sum(sample) for sample in samples))
        out[row + " firmware"] = int(statistics.median_low(firmware for _, firmware, _ in samples))
    if took:
        raise RuntimeError(f"{name}: {len(took)} operations more than the guest says")
    return out


def resets_of(name):
    """The hypervisor's instructions from each reset call to the first instruction after it, and as QEMU counts them."""
    asked, out = None, []
    for kind, count, which, more in events(name):
        if kind != "mark":
            continue
        if which == MARK_RESET:
            asked = count, count + more
        elif asked is not None:
            out.append((count - asked[0], count + more - asked[1]))
            asked = None
    return out


def measure_reset(name="reset"):
    run(name, bundle(name, "bench.bin", "bench=reset"), args=plugin_args(name), enough=lambda: len(resets_of(name)) >= RESETS)
    took = resets_of(name)
    first = [event for event in events(name) if event[0] == "guest"]
    if not first or not took:
        raise RuntimeError(f"{name}: the guest was not seen to start" if not first else f"{name}: the guest did not come back")
    counted, by_qemu = (int(statistics.median(column)) for column in zip(*took))
    return {"reset": counted, "reset by QEMU": by_qemu, "memory": first[0][2]}


def linux_bundle(name):
    """Debian's kernel, which leaves at the first instruction that it runs outside of itself."""
    cmdline = f"console={TARGET.CONSOLE} nokaslr rdinit=/bin/busybox -- poweroff -f"
    return bundle(name, "debian/Image", cmdline, memory=256, initrd="debian/initrd.gz", folder=GUESTS)


def measure_linux(name="linux"):
    text = run(name, linux_bundle(name), memory=1024, args=plugin_args(name, ram=256))
    at = {kind: count for kind, count, _, _ in events(name)}
    if "user" not in at:
        raise RuntimeError(f"{name}: the kernel did not reach userspace; the console said:\n{text[-2000:]}")
    return {"linux": at["user"] - at["guest"], "linux_off": at["end"] - at["guest"]}


def measure_image():
    return {"image": sum(file for _, file, _ in segments()) if IMAGE == ELF else os.path.getsize(IMAGE)}


def measure_all():
    values, wrong = {}, []
    operations = [functools.partial(measure_operations, how) for how in TARGET.RUNS]
    for measure in (measure_image, *operations, measure_reset, measure_linux):
        try:
            values.update(measure())
        except (RuntimeError, OSError) as error:
            wrong.append(str(error))
    return values, wrong


# ── Showing ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def cells(values):
    head = ["operation", *TARGET.PEERS, "Bulkhead", "must", ""]
    body = []
    for row in TARGET.ROWS:
        value = values.get(row.name)
        peers = [shown(peer, row.unit) for peer in row.peers]
        body.append([row.what, *peers, shown(value, row.unit), row.must(), row.verdict(value)])
    return head, body


def footnotes(values):
    inside = [(row.what, values.get(row.name + " firmware")) for row in TARGET.ROWS]
    parts = "; ".join(f"{what}: {shown(count)}" for what, count in inside if count)
    out = [*TARGET.FOOTNOTES, *([f"Of these, in the machine's firmware: {parts}."] if parts else [])]
    if values.get("reset by QEMU", 0) > values.get("reset", 0):
        out.append(f"A repeated string instruction counts once for each 64 bytes; element by element, as QEMU does, reset comes to "
                   f"{shown(values['reset by QEMU'])}.")  # fmt: skip
    return out


def plain_table(values):
    head, body = cells(values)
    widths = [max(len(line[i]) for line in [head, *body]) for i in range(len(head))]
    out = []
    for line in [head, *body]:
        padded = [text.ljust(width) if i in (0, len(head) - 1) else text.rjust(width) for i, (text, width) in enumerate(zip(line, widths))]
        out.append("  ".join(padded).rstrip())
    out.insert(1, "─" * max(map(len, out)))
    return "\n".join(out + footnotes(values)) + "\n"


def markdown_table(values):
    head, body = cells(values)
    lines = ["| instructions, but for the sizes | " + " | ".join(head[1:]) + " |", "|---|" + "--:|" * (len(head) - 2) + "---|"]
    lines += ["| " + " | ".join(f"**{text}**" if i == len(head) - 3 else text for i, text in enumerate(line)) + " |" for line in body]
    return "\n".join(lines) + "".join(f"\n\n{note}" for note in footnotes(values)) + "\n"


def write(name, text):
    with open(os.path.join(BUILD, name), "w", encoding="utf-8") as file:
        file.write(text)


def report(arguments):
    values, wrong = measure_all()
    write("bench.txt", plain_table(values))
    write("bench.md", markdown_table(values))
    print(markdown_table(values) if arguments.markdown else plain_table(values), end="")
    if "linux_off" in values and not arguments.markdown:
        print(f"Linux boot and power off, in the hypervisor: {shown(values['linux_off'])}")
    for problem in wrong:
        print(f"bench: {problem}", file=sys.stderr)
    missed = [row.name for row in TARGET.ROWS if row.missed(values.get(row.name))]
    return 1 if wrong or (arguments.check and missed) else 0


# ── Profile ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def symbols():
    """(offset, name) of what has no debug information, in order: the assembly's labels."""
    done = subprocess.run([f"llvm-nm-{LLVM}", "--numeric-sort", ELF], capture_output=True, text=True, check=True)
    parts = [line.split() for line in done.stdout.split("\n")]
    return [(int(part[0], 16), part[2]) for part in parts if len(part) == 3 and part[1] in "tT" and part[2][0] != "$"]


def symbolize(offsets):
    """For each offset the functions it belongs to, outermost first, the others inlined, and its line."""
    base = TARGET.LINK_ADDRESS
    command = [f"llvm-symbolizer-{LLVM}", f"--obj={ELF}", "--output-style=GNU", "--functions=short", "--relativenames"]
    command += ["--addresses", "--pretty-print"]
    done = subprocess.run(
        command, input="\n".join(f"{base + offset:#x}" for offset in offsets) + "\n", capture_output=True, text=True, check=True
    )
    names = symbols()
    out, frames = {}, None
    for line in done.stdout.split("\n"):
        found = re.match(r"(?:(0x[0-9a-f]+): | \(inlined by\) )(\S+) at (.*)$", line)
        if not found:
            continue
        if found[1]:
            frames = out[int(found[1], 16) - base] = []
        function = found[2]
        if function == "??":
            function = names[bisect.bisect(names, (int(found[1] or "0", 16), "~")) - 1][1]
        frames.insert(0, (function, re.sub(r"^.*/(?=(core|vdev|drv|lib|arch)/)", "", found[3])))
    return out


def print_profile(counts, operations, lines):
    frames = symbolize(sorted(counts))
    functions, inner, places = (collections.Counter() for _ in range(3))
    for offset, count in counts.items():
        at = frames.get(offset) or [("?", "?")]
        functions[at[0][0]] += count
        inner[(at[0][0], at[-1][0])] += count
        places[(at[0][0], at[-1][1])] += count
    each = lambda count: f"{count / operations:12,.1f}"  # noqa: E731
    print(f"{each(sum(counts.values()))}  instructions of the hypervisor's, mean of {operations:,}")
    for function, count in functions.most_common(60):
        print(f"{each(count)}  {function}")
        below = places if lines else inner
        for (outer, name), part in below.most_common():
            if outer == function and (lines or name != function) and part / operations >= 0.05:
                print(f"{' ' * 12}  {each(part)}  {name}")


def profile(arguments):
    name = arguments.profile
    known = [row.name for row in TARGET.ROWS if row.name not in ("image", "memory")]
    if name not in known:
        print(f"bench: no operation '{name}'; there are: {' '.join(known)}", file=sys.stderr)
        return 2
    marked = "profile=all" if name in ("reset", "linux") else "profile=marked"
    args, path = plugin_args("profile", marked), os.path.join(WORK, "profile.events")
    if name == "linux":
        run("profile", linux_bundle("profile"), memory=1024, args=args)
    elif name == "reset":
        until = time.monotonic() + 3
        run("profile", bundle("profile", "bench.bin", "bench=reset"), args=args, enough=lambda: time.monotonic() > until)
    else:
        how = next(how for how in TARGET.RUNS if how.name == TARGET.GROUPS.get(name, "single"))
        run("profile", guest_bundle("profile", how, name), how=how, args=args)
    with open(path, encoding="utf-8") as file:
        found = [line.split() for line in file]
    counts = {int(line[1]): int(line[2]) for line in found if line[0] == "at"}
    operations = [int(line[1]) for line in found if line[0] == "operations"]
    if not counts or not operations:
        print("bench: the plugin saw nothing", file=sys.stderr)
        return 1
    print_profile(counts, max(operations[0], 1), arguments.lines)
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--check", action="store_true", help="fail when a figure misses what it must be")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--profile", metavar="OPERATION", help="show where an operation's instructions go")
    parser.add_argument("--lines", action="store_true", help="with --profile: by source line instead of inlined function")
    arguments = parser.parse_args()
    os.chdir(ROOT)
    os.makedirs(WORK, exist_ok=True)
    return profile(arguments) if arguments.profile else report(arguments)


sys.exit(main())
