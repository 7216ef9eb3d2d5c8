# SPDX-License-Identifier: Apache-2.0
"""A PC in Bochs, which executes Intel's VMX as well as AMD's SVM. GRUB boots the image of make iso there."""

import os
import socket
import subprocess
import time

import pexpect.fdpexpect
from machine import BUILD, PATIENCE, ROOT, Machine

VMX, SVM = "corei7_skylake_x", "ryzen"

# Its panics end it, and "the guest switches this machine off" is one of them. The rest of what it says would be gigabytes.
SETUP = """\
display_library: term
plugin_ctrl: serial=1, speaker=0, parallel=0, biosdev=0
cpu: model={cpu}, count={smp}, ips=100000000, reset_on_triple_fault=0
memory: guest=512, host=512
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/seabios/vgabios-stdvga.bin
ata0-master: type=cdrom, path={iso}, status=inserted
boot: cdrom
com1: enabled=1, mode=socket-client, dev=127.0.0.1:{port}
log: {log}
debug: action=ignore
info: action=ignore
error: action=ignore
panic: action=fatal
"""


class Bochs(Machine):
    """Its serial line is a socket: what it writes while nobody reads has to wait, and is not lost as on a terminal."""

    def __init__(self, folder, name, cpio, smp=1, cpu=VMX, append=""):
        self.prepare(name)
        self.process = None
        bundle, iso, setup = (os.path.join(folder, file) for file in ("bundle.cpio", "bulkhead.iso", "bochsrc"))
        with open(bundle, "wb") as file:
            file.write(cpio)
        make = ["make", "-s", "ARCH=x86_64", f"BUILD={os.path.relpath(BUILD, ROOT)}", "iso", f"ISO={iso}", f"BUNDLE={bundle}"]
        done = subprocess.run([*make, f"APPEND={append}"], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        self.output = self.logname.replace(".log", ".bochs")
        with socket.create_server(("127.0.0.1", 0)) as server:
            with open(setup, "w", encoding="utf-8") as file:
                file.write(SETUP.format(cpu=cpu, smp=smp, iso=iso, port=server.getsockname()[1], log=self.output + ".log"))
            self.start(["bochs", "-q", "-f", setup])
            self.connect(server)

    def start(self, command):
        self.log.write(" ".join(command) + "\n")
        with open(self.output, "w", encoding="utf-8") as output:
            # Debian builds it with its debugger, which waits for a command: to go on. The screen is the output.
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, "TERM": "vt100"}
            )
        self.process.stdin.write(b"c\n")
        self.process.stdin.close()

    def connect(self, server):
        server.settimeout(1)
        until = time.monotonic() + 60 * PATIENCE
        while True:
            try:
                line, _ = server.accept()
                break
            except TimeoutError:
                if self.process.poll() is not None or time.monotonic() > until:
                    self.process.kill()
                    self.process.wait()
                    raise AssertionError(f"Bochs has not opened its serial line:\n{self.said()}") from None
        line.settimeout(None)
        self.child = pexpect.fdpexpect.fdspawn(line.detach(), encoding="utf-8", codec_errors="replace", timeout=60)
        self.child.logfile_read = self.log
        self.child.delaybeforesend = None

    def said(self):
        """The end of what Bochs itself said."""
        with open(self.output, encoding="utf-8", errors="replace") as file:
            return file.read()[-2000:]

    def wait_off(self, seconds=60):
        """Waits until the machine is switched off, by its guest."""
        try:
            self.child.expect(pexpect.EOF, timeout=seconds * PATIENCE)
        except pexpect.TIMEOUT:
            raise AssertionError(f"Bochs has not ended within {seconds} s:\n{self.said()}") from None
        self.process.wait(seconds * PATIENCE)
        assert "ACPI control: soft power off" in self.said(), self.said()

    def close(self):
        self.process.kill()
        self.process.wait()
        try:
            self.child.expect(pexpect.EOF, timeout=10)  # for the log
        except (pexpect.TIMEOUT, OSError):
            pass
        self.child.close()
        self.log.close()
