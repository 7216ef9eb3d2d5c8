#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""soak.py [--minutes N] [--seed S] [--actions N]: guests under load, and an operator who does anything.

Four VMs share two CPUs: `still`, a Linux that nobody restarts; `busy`, a Linux with two vCPUs that is stopped, started,
rebooted; `small`, a guest of ours that is pasted into and crashed; `wild`, which crashes as soon as it runs. After every
action all that can be asked is compared with what must be. The same seed gives the same actions in the same order: what the
generator chooses depends on nothing that it sees. Not a part of make test, which takes no file of this name."""

import argparse
import collections
import json
import os
import random
import re
import sys
import tempfile
import time
import traceback

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "system"))
import machine  # noqa: E402
from machine import COMPLAINTS, CTRL_C, NEVER, PATIENCE  # noqa: E402

LINUX = ("still", "busy")
MOVED = ("busy", "small")  # whose life the operator rules
LIMIT = 240  # seconds that anything may take on a machine that other work shares
LOADS = {
    "fork": "while :; do /bin/true; done",
    "dd": "while :; do dd if=/dev/zero of=/tmp/z bs=64k count=32 2>/dev/null; done",
    "sha": "while :; do head -c 1000000 /dev/urandom | sha256sum >/dev/null; done",
    "proc": "while :; do cat /proc/[0-9]*/stat /proc/interrupts /proc/meminfo >/dev/null 2>&1; done",
}
# Fatal in any guest's life, but for those that the machine's patterns have.
PANIC = re.compile(r"Kernel panic|Internal error|Call trace:")

VMS = [
    machine.linux("still", cpus=1, memory="160M"),
    machine.linux("busy", cpus=2, memory="192M"),
    machine.tiny("small", cpus=2, on_crash="restart"),
    machine.tiny("wild", "wild", on_crash="restart"),
]


def checksum(text):
    """What tests/guest/small.c answers to a line."""
    total = 0
    for byte in text.encode():
        total = (total * 31 + byte) & 0xFFFFFFFF
    return total


Action = collections.namedtuple("Action", "name vm seed")


def actions(seed):
    """The operator's actions for a seed, without end."""
    rng = random.Random(seed)
    weights = {
        ("start", MOVED): 3, ("stop", MOVED): 3, ("restart", MOVED): 3, ("burst", MOVED): 2, ("start", ("wild",)): 2,
        ("guest_reset", MOVED): 3, ("guest_off", MOVED): 2, ("crash", ("small",)): 2, ("cpus", ("small",)): 1,
        ("attach", (*LINUX, "small", "wild")): 4, ("paste", (*LINUX, "small")): 5, ("ask", ("",)): 4, ("look", LINUX): 3,
    }  # fmt: skip
    while True:
        name, vms = rng.choices(list(weights), weights.values())[0]
        yield Action(name, rng.choice(vms), rng.randrange(1 << 32))


class Soak:
    def __init__(self, m):
        self.m = m
        self.rng = random.Random(0)
        self.running = {name: True for name in (*LINUX, "small")}  # what must be
        self.starts = {name: 1 for name in self.running}
        self.loaded = dict.fromkeys(LINUX, False)
        self.counted = {}  # name: (CPU time, exits), which only grow
        self.memory = None
        self.uptime = 0.0
        self.counts = collections.Counter()
        self.read = 0  # of the transcript

    # ── What it does ────────────────────────────────────────────────────────────────────────────────────────────────
    def command(self, line):
        """A command's output without the log's lines, which may come in between."""
        out = self.m.in_shell(line, LIMIT)
        return "\n".join(text for text in out.split("\n") if not re.match(r"\s*bulkhead *\|", text))

    def begins(self, name):
        self.running[name] = True
        self.starts[name] += 1
        if name in self.loaded:
            self.loaded[name] = False

    def do_start(self, name):
        out = self.command(f"vm start {name}")
        if name == "wild":
            return
        if self.running[name]:
            assert "running" in out, out
        else:
            assert f"{name} started" in out, out
            self.begins(name)

    def do_stop(self, name):
        out = self.command(f"vm stop {self.rng.choice(['', '--force '])}{name}")
        assert (f"{name} stopped" if self.running[name] else "is not running") in out, out
        self.running[name] = False

    def do_restart(self, name):
        out = self.command(f"vm restart {name}")
        assert f"{name} restarted" in out, out
        self.begins(name)

    def do_burst(self, name):
        """Lines that come while the one before is still carried out."""
        words = [self.rng.choice(["restart", "stop", "start"]) for _ in range(4)] + ["restart"]
        self.m.shell()
        text, _ = self.m.mark()
        self.m.send("".join(f"vm {word} {name}\r" for word in words) + f"# {text}\r")
        self.m.wait(text + r"(\x1b\[K|\s)*\n", LIMIT)
        for word in words:
            if word == "restart" or (word == "start" and not self.running[name]):
                self.begins(name)
            elif word == "stop":
                self.running[name] = False

    def ready(self, name):
        """Attached, and the guest listens; starts it if it is off."""
        if not self.running[name]:
            self.do_start(name)
        if name in LINUX:
            assert self.m.in_guest(name, "true", LIMIT)[0] == 0
            if not self.loaded[name]:
                for load in self.rng.sample(sorted(LOADS), 2):
                    assert self.m.run(f"({LOADS[load]}) & true", LIMIT)[0] == 0
                self.loaded[name] = True
            return
        self.m.shell()
        self.m.attach(name)
        until = time.monotonic() + LIMIT * PATIENCE
        while True:  # what is typed before it listens is lost
            text, _ = self.m.mark()  # an older answer may be in the ring, which is shown again
            self.m.send(f"\r{text}\r")
            try:
                self.m.wait(rf"small: {len(text)} bytes, sum 0x{checksum(text):x}\r*\n", 3)
                return
            except AssertionError:
                if time.monotonic() > until or not self.m.child.isalive():
                    raise

    def said(self, line):
        """What a line in the guest printed, without what its kernel said meanwhile."""
        status, out = self.m.run(line, LIMIT)
        assert status == 0, f"{line}: {out}"
        return re.sub(r"\[ *\d+\.\d+\] [^\n]*(\n|$)", "", out)

    def do_guest_reset(self, name):
        self.ready(name)
        self.m.send("reboot\r" if name in LINUX else "reset\r")
        self.begins(name)

    def do_guest_off(self, name):
        self.ready(name)
        self.m.send("poweroff\r" if name in LINUX else "off\r")
        self.m.wait(rf"\[bulkhead: {name} stopped: powered off by the guest\]", LIMIT)
        self.running[name] = False

    def do_crash(self, name):
        self.ready(name)
        self.m.send("crash\r")
        self.begins(name)

    def do_cpus(self, name):
        self.ready(name)
        self.m.send("cpus\r")
        self.m.wait(r"small: 0x\w+ CPUs|small: \d+ CPUs", LIMIT)
        self.do_restart(name)  # a second time they would be on already

    def do_attach(self, name):
        for _ in range(self.rng.randrange(1, 6)):
            self.m.shell()
            self.m.attach(name)
            if self.rng.random() < 0.3:
                self.m.shell()
                self.m.show_all()

    def do_paste(self, name):
        self.ready(name)
        if name in LINUX:
            lines = ["".join(self.rng.choices("abcdefghij0123456789", k=self.rng.randrange(1, 79))) for _ in range(30)]
            self.m.send("echo now$((1+1)); cat >/tmp/paste\r")
            self.m.wait(r"now2\r*\n", LIMIT)
            self.m.send("\r".join(lines) + "\r\x04")
            out = self.said("cat /tmp/paste").strip("\n")
            assert out.split("\n") == lines, f"pasted {lines}, it took {out}"
            return
        length = self.rng.randrange(1, 4000)
        text = "".join(chr(self.rng.randrange(33, 127)) for _ in range(length))
        self.m.send(text + "\r")
        got = self.m.wait(r"small: ([1-9]\d*) bytes, sum 0x(\w+)\r*\n", LIMIT)
        assert int(got.group(1), 0) == length and int(got.group(2), 16) == checksum(text), f"pasted {length}: {got.group(0)}"

    def do_ask(self, _):
        for line in self.rng.sample(["cpu", "log", "log warn", "version", "help", "vm show busy", "vm show wild", "stats wild",
                                     "log --set debug", "log --set info", "help vm stop", "vm list", "frob"], 3):  # fmt: skip
            assert self.command(line) or line.startswith("log"), f"{line} said nothing"
        self.m.send(CTRL_C)

    def do_look(self, name):
        """Linux's own view of its life."""
        self.ready(name)
        status, out = self.m.run("dmesg -c", LIMIT)
        bad = COMPLAINTS.search(out) or PANIC.search(out)
        assert status == 0 and not bad, out[-3000:]

    # ── What must hold ──────────────────────────────────────────────────────────────────────────────────────────────
    def check_states(self):
        until = time.monotonic() + LIMIT * PATIENCE
        while True:
            vms = {vm["name"]: vm for vm in json.loads(self.command("vm list --json"))}
            wrong = [n for n, on in self.running.items() if vms[n]["state"] != ("running" if on else "stopped")]
            if not wrong:
                break
            # A guest that reset itself is on its way.
            assert time.monotonic() < until, f"{wrong} must be otherwise: {vms}"
            assert all(vms[n]["state"] != "failed" for n in wrong), vms
        assert vms["wild"]["state"] in ("running", "stopping", "stopped", "failed"), vms
        for name, vm in vms.items():
            now = vm["cpu_time_ns"], vm["exits"]
            before = self.counted.get(name, (0, 0))
            assert now[0] >= before[0] and now[1] >= before[1], f"{name}: {before} became {now}"
            self.counted[name] = now

    def check_starts(self):
        until = time.monotonic() + LIMIT * PATIENCE
        for name, starts in self.starts.items():
            while True:
                out = self.command(f"vm show {name}")
                now = int(re.search(r"starts +(\d+)", out).group(1))
                if now == starts:
                    break
                assert now < starts and time.monotonic() < until, f"{name} must have been started {starts} times:\n{out}"

    def check_memory(self):
        """A VM keeps its memory when it stops, so nothing may ever change."""
        out = self.command("mem")
        if self.memory is None:
            self.memory = out
        assert out == self.memory, f"memory was\n{self.memory}\nand is\n{out}"

    def check_losses(self):
        out = self.command("stats")
        found = re.search(r"console: (\d+) bytes of input lost", out)
        assert found and found.group(1) == "0", out

    def check_still(self):
        """The guest that nobody touches lives on, and its clock goes as the hypervisor's does."""
        self.ready("still")
        uptime = float(self.said("cut -d' ' -f1 /proc/uptime"))
        assert uptime >= self.uptime, f"still: up for {self.uptime} s before, {uptime} s now"
        self.uptime = uptime
        started = float(re.search(r"started ([\d.]+)s ago", self.command("vm show still")).group(1))
        assert started >= uptime > started - 60 * PATIENCE, f"still: up for {uptime} s, started {started} s ago"

    def check_transcript(self):
        text = self.m.everything()
        # Words that an operator's question shows again are no news.
        new = text[max(self.read - 200, 0) :]
        bad = NEVER.search(new) or COMPLAINTS.search(new) or PANIC.search(new)
        assert not bad, new[max(bad.start() - 500, 0) :][:2000]
        self.read = len(text)

    # ── One after the other ─────────────────────────────────────────────────────────────────────────────────────────
    def step(self, action):
        self.rng = random.Random(action.seed)
        getattr(self, "do_" + action.name)(action.vm)
        self.check_states()
        self.check_starts()
        self.check_memory()
        self.check_losses()
        self.check_transcript()
        self.counts[action.name] += 1

    def begin(self):
        self.m.wait_up(*LINUX, seconds=LIMIT)
        self.check_states()
        self.check_memory()
        self.check_still()

    def end(self):
        self.check_still()
        self.do_look("still")
        until = time.monotonic() + LIMIT * PATIENCE
        while "failed" not in (out := self.command("vm show wild")):
            assert time.monotonic() < until, out
        assert "not restarted again" in out, out
        self.m.in_shell("version")
        self.m.send("poweroff\r")
        assert self.m.wait_end(60) == 0


def soak(m, args):
    began = time.monotonic()
    done = []
    try:
        run = Soak(m)
        run.begin()
        for action in actions(args.seed):
            if len(done) == args.actions or time.monotonic() - began > args.minutes * 60:
                break
            done.append(action)
            print(f"{time.monotonic() - began:7.1f} s  {len(done):4} {action.name} {action.vm}", flush=True)
            run.step(action)
            if len(done) % 5 == 0:
                run.check_still()
        run.end()
    except Exception:  # pylint: disable=broad-exception-caught
        traceback.print_exc()
        print(f"\nseed {args.seed} failed with action {len(done)}, {done[-1] if done else 'the boot'}")
        print(f"transcript: {m.logname}\nagain: make soak SEED={args.seed} MINUTES={args.minutes:g}\n0 passed, 1 failed")
        return 1
    kinds = ", ".join(f"{count} {name}" for name, count in sorted(run.counts.items()))
    print(f"seed {args.seed}: {len(done)} actions in {time.monotonic() - began:.0f} s ({kinds}); starts {run.starts}; still is up for {run.uptime} s")
    print("1 passed, 0 failed")
    return 0


def main():
    parser = argparse.ArgumentParser(description="guests under load, and an operator who does anything")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=int(time.time()) % 1000000)
    parser.add_argument("--actions", type=int, default=-1, help="end after so many")
    args = parser.parse_args()
    print(f"seed {args.seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        m = machine.Machine(folder, f"soak-{args.seed}", machine.bundle(VMS), smp=2, memory="1G", append="idle=shell")
        try:
            sys.exit(soak(m, args))
        finally:
            m.close()


main()
