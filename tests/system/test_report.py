# SPDX-License-Identifier: Apache-2.0
"""When the hypervisor itself is broken: a report that can be read, and no guest that goes on unattended."""

import os
import re
import socket
import subprocess
import time

import machine
from machine import ARCH, tiny

PC = 32  # its number among gdb's registers, of an AArch64 CPU and of a hart
# Which register says who runs, and how: the hypervisor?
PRIVILEGE, IN_HYPERVISOR = {
    "aarch64": ("cpsr", lambda cpsr: cpsr >> 2 & 3 == 2),
    "riscv64": ("priv", lambda priv: priv & 7 == 1),  # 4 is added in a guest
}[ARCH]
REPORT = {
    "aarch64": (
        r"FAULT in the hypervisor: synchronous, instruction abort", r"access at address 0x10: translation fault", r"CPU 0, task ",
        r"pc 0x10 +esr [0-9a-f]{8}",
    ),
    "riscv64": (r"FAULT in the hypervisor: instruction (page|access) fault", r"CPU 0, task ", r"pc 0x10 +scause [1c] +stval 0+10 "),
}[ARCH]  # fmt: skip


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

    def description(self, name):
        """A file of the description of the target."""
        text = ""
        while True:
            part = self.ask(f"qXfer:features:read:{name}:{len(text):x},ffb")
            text += part[1:]
            if part[0] != "m":
                return text

    def number(self, register):
        """A register's number: they are counted through all files, and some bring their own."""
        at = 0
        for name in re.findall(r'<xi:include href="([^"]*)"', self.description("target.xml")):
            for found in re.findall(r"<reg ([^>]*)", self.description(name)):
                own = re.search(r'regnum="(\d+)"', found)
                at = int(own.group(1)) if own else at
                if f'name="{register}"' in found:
                    return at
                at += 1
        raise AssertionError(f"QEMU tells of no register {register}")

    def in_hypervisor(self, thread):
        """Is the hypervisor running on a CPU just now?"""
        self.socket.sendall(b"\x03")
        self.answer()
        assert self.ask(f"Hg{thread}") == "OK"
        value = int.from_bytes(bytes.fromhex(self.ask(f"p{self.number(PRIVILEGE):x}")), "little")
        self.send("c")
        return IN_HYPERVISOR(value)


def test_a_fault_of_the_hypervisor_is_reported_in_words_with_a_backtrace_and_stops_every_cpu(boot, tmp_path):
    path = str(tmp_path / "gdb")
    here = {"affinity": [1]}
    m = boot([tiny("busy", "hog", sched=here)], smp=2, memory="256M",
             board=f"{machine.BOARD} -gdb unix:{path},server=on,wait=off")
    m.expects_fault = True
    m.wait(r"busy: started")
    m.shell()  # CPU 0 is idle then, in the hypervisor
    gdb = Gdb(path)
    gdb.jump(1, 0x10)
    m.send("\r")  # its next interrupt makes it go on there
    for line in REPORT:
        m.wait(line, 30)
    m.wait(r"backtrace[^\n]*\n")
    frame = m.wait(r"#\d+ (image\+0x[0-9a-f]+)").group(1)
    symbolize = os.path.join(machine.ROOT, "tools", "symbolize")
    named = subprocess.run([symbolize, "--elf", os.path.join(machine.OUT, "bulkhead.elf"), frame], capture_output=True, text=True, check=True).stdout
    assert re.search(r"\w+.*\.[cS]:\d+", named), named
    # The other CPU's guest spins for ever; its CPU must be halted in the hypervisor.
    until = time.monotonic() + 30 * machine.PATIENCE
    while not all(gdb.in_hypervisor(2) for _ in range(5)):
        assert time.monotonic() < until, "CPU 1 still runs its guest"
