# SPDX-License-Identifier: Apache-2.0
"""When the hypervisor itself is broken: a report that can be read, and no guest that goes on unattended."""

import os
import re
import socket
import subprocess
import time

import machine
from machine import tiny

PC, CPSR = 32, 33  # their numbers among gdb's registers of an AArch64 CPU


class Gdb:
    """As much of gdb's remote protocol as it takes to send a CPU astray."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(30)
        self.socket.connect(path)
        self.input = self.socket.makefile("rb")

    def send(self, text):
        self.socket.sendall(b"$%s#%02x" % (text.encode(), sum(text.encode()) & 0xFF))

    def ask(self, text):
        self.send(text)
        return self.answer()

    def answer(self):
        while self.input.read(1) != b"$":
            pass
        data = bytearray()
        while (byte := self.input.read(1)) != b"#":
            data += byte
        self.input.read(2)
        self.socket.sendall(b"+")
        return data.decode()

    def jump(self, thread, address):
        """Attached, everything stands still: sends one CPU to an address and lets all go on."""
        self.ask("?")
        assert self.ask(f"Hg{thread}") == "OK"
        assert self.ask(f"P{PC:x}={address.to_bytes(8, 'little').hex()}") == "OK"
        self.send("c")

    def level(self, thread):
        """At which exception level a CPU is just now."""
        self.socket.sendall(b"\x03")
        self.answer()
        assert self.ask(f"Hg{thread}") == "OK"
        level = int.from_bytes(bytes.fromhex(self.ask(f"p{CPSR:x}")), "little") >> 2 & 3
        self.send("c")
        return level


def test_a_fault_of_the_hypervisor_is_reported_in_words_with_a_backtrace_and_stops_every_cpu(boot, tmp_path):
    path = str(tmp_path / "gdb")
    here = {"affinity": [1]}
    m = boot([tiny("busy", "hog", sched=here)], smp=2, memory="256M",
             board=f"virt,virtualization=on,gic-version=3 -gdb unix:{path},server=on,wait=off")
    m.expects_fault = True
    m.wait(r"busy: started")
    m.shell()  # CPU 0 is idle then, in the hypervisor
    gdb = Gdb(path)
    gdb.jump(1, 0x10)
    m.send("\r")  # its next interrupt makes it go on there
    m.wait(r"FAULT in the hypervisor: synchronous, instruction abort", 30)
    m.wait(r"access at address 0x10: translation fault")
    m.wait(r"CPU 0, task ")
    m.wait(r"pc 0x10 +esr [0-9a-f]{8}")
    m.wait(r"backtrace[^\n]*\n")
    frame = m.wait(r"#\d+ (image\+0x[0-9a-f]+)").group(1)
    symbolize = os.path.join(machine.ROOT, "tools", "symbolize")
    named = subprocess.run([symbolize, frame], capture_output=True, text=True, check=True).stdout
    assert re.search(r"\w+.*\.[cS]:\d+", named), named
    # The other CPU's guest spins for ever; its CPU must be halted in the hypervisor.
    until = time.monotonic() + 30 * machine.PATIENCE
    while any(gdb.level(2) != 2 for _ in range(5)):
        assert time.monotonic() < until, "CPU 1 still runs its guest"
