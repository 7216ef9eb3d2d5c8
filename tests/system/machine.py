# SPDX-License-Identifier: Apache-2.0
"""A machine in QEMU with the hypervisor on it, driven over its serial console as a person would."""

import os
import re
import subprocess
import time
import typing

import pexpect

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, os.environ.get("BUILD", "build"))
ARCH = os.environ.get("ARCH", "aarch64")
OUT = os.path.join(BUILD, ARCH)
CACHE = os.environ.get("BULKHEAD_CACHE") or os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "bulkhead")
GUESTS = os.environ.get("BULKHEAD_GUESTS") or os.path.join(CACHE, "guests", ARCH)
HOST = os.path.join(BUILD, "host", "bulkhead")
IMAGE = os.path.join(OUT, "bulkhead.elf" if ARCH == "x86_64" else "bulkhead.bin")


class Arch(typing.NamedTuple):
    """What tests have to know of an architecture: its machine in QEMU, and what its guests have."""

    board: str
    cpus: tuple  # models that will do, the usual one first; then a newer one, and a server's
    boards: tuple  # (board, model): other trims of the board that will do
    files: tuple  # (board, model, how many of two VMs with two vCPUs): boards that give interrupts to guests themselves
    refused: tuple  # (board, model, what is said of it)
    uart: int  # a guest's
    timer: str  # in a guest's /proc/interrupts
    console: str
    kernel: str
    accel: str = "tcg"  # how QEMU executes it


ARCHS = {
    "aarch64": Arch(
        board="virt,virtualization=on,gic-version=3",
        cpus=("cortex-a57", "max", "neoverse-v1"),
        boards=tuple((f"virt,virtualization=on,{trim}", "max") for trim in (
            "gic-version=max", "gic-version=3,iommu=smmuv3", "gic-version=3,its=off", "gic-version=3,highmem=off")),
        files=(),
        refused=(
            ("virt,gic-version=3", "cortex-a57", r"EL1[^\n]*\n?[^\n]*virtualization=on"),
            ("virt,virtualization=on,gic-version=2", "cortex-a57", r"GICv2.*gic-version=3"),
        ),
        uart=0x9000000, timer="arch_timer", console="ttyAMA0", kernel="debian/Image-cloud",
    ),
    "riscv64": Arch(
        board="virt",
        cpus=("rv64", "max", "rva23s64"),
        boards=(
            ("virt,aclint=on", "rv64"), ("virt,aia=aplic", "rv64"), ("virt,aia=aplic", "rva23s64"), ("virt,aia=aplic-imsic", "rv64"),
            ("virt,acpi=off", "rv64,v=true"), ("virt", "rv64,sstc=false"), ("virt,aia=aplic,aclint=on", "max,sstc=false"),
        ),
        files=(
            ("virt,aia=aplic-imsic,aia-guests=1", "rv64", 0), ("virt,aia=aplic-imsic,aia-guests=3", "rv64", 1),
            ("virt,aia=aplic-imsic,aia-guests=7", "max", 2), ("virt,aia=aplic-imsic,aia-guests=7,aclint=on", "rva23s64", 2),
            ("virt,aia=aplic-imsic,aia-guests=3", "rv64,sstc=false", 1),
        ),
        refused=tuple(("virt", cpu, r"no hypervisor extension \(H\).*-cpu rv64") for cpu in ("rv64,h=false", "sifive-u54", "rva22s64")),
        uart=0x10000000, timer="riscv-timer", console="ttyS0", kernel="debian/Image",
    ),
    "x86_64": Arch(
        board="q35",
        cpus=("max", "EPYC"),
        # APIC registers in memory; the clock by the ACPI timer; an older board. Not microvm: its firmware's tables lie where
        # QEMU loads the bundle.
        boards=(("q35", "max,-x2apic"), ("q35,hpet=off", "max,-pdpe1gb"), ("pc", "max")),
        files=(),
        refused=(
            ("q35", "qemu32", r"this CPU has no 64-bit mode"),
            ("q35", "max,-nx", r"this CPU cannot keep data from being executed"),
            ("q35", "max,-svm", r"(SVM|AMD-V)"),
            ("q35", "max,-npt", r"the CPU's SVM has no nested paging"),
            ("microvm,pit=off,pic=off,rtc=off", "max", r"how fast this CPU's time stamp counter runs"),
        ),
        uart=0x3f8, timer="Local timer interrupts", console="ttyS0", kernel="debian/Image-cloud",
        # All CPUs on one thread: tools/run.c.
        accel="tcg,thread=single",
    ),
}  # fmt: skip
THIS = ARCHS[ARCH]
BOARD, CPU, CONSOLE, KERNEL = THIS.board, THIS.cpus[0], THIS.console, THIS.kernel
# For tests that want a thread for each CPU. QEMU's first one must not run x86_64 guests then, while others use XRSTOR:
# docs/testing.md.
THREADS = "tcg,thread=multi"
FIRST = 1 if ARCH == "x86_64" else 0
# How much longer than on an idle machine of our time things may take.
PATIENCE = float(os.environ.get("BULKHEAD_PATIENCE", "1"))

CTRL_C, CTRL_BRACKET = "\x03", "\x1d"
PROMPT = "bulkhead> "
ESCAPE = re.compile(r"\x1b\[[0-9;?!]*[A-Za-z]|\x1b[()][A-Z0-9]|\x18")
# What no console may ever show, whatever a test does: the hypervisor's own faults, and Linux's complaints about time.
NEVER = re.compile(r"bulkhead: (PANIC|FAULT)")
COMPLAINTS = re.compile(r"BUG:|soft lockup|hard LOCKUP|rcu_\w+ (self-)?detected|RCU \w*stall|stall(s|ed) on CPU|"
                        r"blocked for more than|nobody cared|lost \d+ (rtc|tick)|… \d+ (bytes|lines) lost|Unable to handle|Oops")


def echo_of(line):
    """A line as the shell's editor shows it while it is typed. A log line that comes in between makes it draw what there is so far
    once more, with escape sequences anywhere in it."""
    return r"(?:\x1b\[\d*K)*".join(re.escape(c) for c in line) + r"(?:\x1b\[\d*K|\s)*\n"


def toml(name, kernel, cpus=1, memory="16M", initrd=None, cmdline=None, sched=None, boot="", **keys):
    """The text of a VM's file; keys as in the schema."""

    def value(v):
        return ("true" if v else "false") if isinstance(v, bool) else f'"{v}"' if isinstance(v, str) else str(v)

    lines = [f'name = "{name}"', f"cpus = {cpus}", f'memory = "{memory}"']
    lines += [f"{key} = {value(v)}" for key, v in keys.items()]
    lines += ["[boot]", f'kernel = "{kernel}"']
    lines += [f'initrd = "{initrd}"'] if initrd else []
    lines += [f'cmdline = "{cmdline}"'] if cmdline else []
    lines += [boot] if boot else []
    lines += ["[sched]"] + [f"{key} = {value(v)}" for key, v in sched.items()] if sched else []
    return "\n".join(lines) + "\n"


def linux(name, cpus=2, memory="192M", kernel=KERNEL, cmdline="quiet", **keys):
    return toml(name, kernel, cpus, memory, "debian/initrd.gz", f"console={CONSOLE} hostname={name} {cmdline}", **keys)


def tiny(name, program="small", cpus=1, memory="16M", **keys):
    """One of our own guests, tests/guest/PROGRAM.c."""
    return toml(name, f"{program}.bin", cpus, memory, **keys)


def newc(files):
    """A cpio archive of {path: bytes}."""
    out = bytearray()

    def add(path, data, mode):
        name = path.encode() + b"\0"
        fields = (1, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name), 0)
        out.extend(b"070701" + b"".join(b"%08X" % f for f in fields) + name)
        out.extend(b"\0" * (-len(out) % 4))
        out.extend(data)
        out.extend(b"\0" * (-len(out) % 4))

    for path, data in files.items():
        add(path, data, 0o100644)
    add("TRAILER!!!", b"", 0)
    return bytes(out) + b"\0" * (-len(out) % 512)


def image(path):
    """The bytes of an image that a TOML names: one of our guests, or one of Debian's."""
    places = (os.path.join(OUT, "guest", path), os.path.join(GUESTS, path))
    for place in places:
        if os.path.exists(place):
            with open(place, "rb") as file:
                return file.read()
    raise FileNotFoundError(f"{path}: neither in {places[0]} nor in {places[1]}; run make guests guest-programs")


def bundle(vms, files=None):
    """A bundle of VMs' texts: their files in order, and every image that they name and that exists."""
    archive = {}
    for text in vms:
        name = re.search(r'^name *= *"([^"]*)"', text, re.MULTILINE)
        archive[f"vms/{len(archive):02}-{name.group(1) if name else 'unnamed'}.toml"] = text.encode()
    for path in re.findall(r'^(?:kernel|initrd|dtb) *= *"([^"]+)"', "\n".join(vms), re.MULTILINE):
        if path not in archive and path not in (files or {}):
            try:
                archive[path] = image(path)
            except FileNotFoundError:
                if path.endswith(".bin") or path.startswith("debian/"):
                    raise
    archive.update(files or {})
    return newc(archive)


class Machine:
    """cpio: the initrd's bytes; None: no initrd. media: QEMU's arguments for what to boot from instead of our image."""

    def __init__(self, folder, name, cpio, smp=2, memory="1G", cpu=CPU, append="", board=BOARD, media=None, accel=THIS.accel):
        self.prepare(name)
        command = f"qemu-system-{ARCH} -M {board} -accel {accel} -cpu {cpu} -smp {smp} -m {memory} -nic none -nographic -no-reboot".split()
        command += media or ["-kernel", IMAGE]
        if cpio is not None:
            path = os.path.join(folder, "bundle.cpio")
            with open(path, "wb") as file:
                file.write(cpio)
            command += ["-initrd", path]
        if append:
            command += ["-append", append]
        self.start(command)

    def prepare(self, name):
        self.marks = 0
        self.expects_fault = False  # the test breaks the hypervisor on purpose
        self.text = ""  # all that came, without escape sequences
        log = os.path.join(BUILD, "log", "system" if ARCH == "aarch64" else f"system-{ARCH}")
        os.makedirs(log, exist_ok=True)
        self.logname = os.path.join(log, re.sub(r"[^\w.-]", "_", name) + ".log")
        # pylint: disable=consider-using-with
        self.log = open(self.logname, "w", encoding="utf-8")

    def start(self, command):
        print(" ".join(command))
        self.log.write(" ".join(command) + "\n")
        self.child = pexpect.spawn(
            command[0], command[1:], echo=False, encoding="utf-8", codec_errors="replace", dimensions=(24, 80), timeout=60
        )
        self.child.logfile_read = self.log
        self.child.delaybeforesend = None

    # ── Waiting ─────────────────────────────────────────────────────────────────────────────────────────────────────
    def wait(self, pattern, seconds=60):
        """Waits until the pattern has come after what was waited for before; returns the match."""
        return self.wait_any([pattern], seconds)[1]

    def wait_any(self, patterns, seconds=60):
        try:
            which = self.child.expect(list(patterns), timeout=seconds * PATIENCE)
        except (pexpect.TIMEOUT, pexpect.EOF) as error:
            self.text += self.child.before if isinstance(self.child.before, str) else ""
            what = "QEMU ended" if isinstance(error, pexpect.EOF) else f"not within {seconds} s"
            raise AssertionError(f"{what}: {patterns}\n{self.logname} has all; the end was:\n{clean(self.text)[-3000:]}") from None
        if self.child.match is pexpect.TIMEOUT:  # asked for among the patterns
            return which, None
        self.text += self.child.before + self.child.after
        return which, self.child.match

    def wait_all(self, patterns, seconds=60):
        """Waits for each of the patterns, in any order."""
        left = list(patterns)
        until = time.monotonic() + seconds * PATIENCE
        while left:
            which, _ = self.wait_any(left, max(until - time.monotonic(), 0.1) / PATIENCE)
            del left[which]

    def wait_end(self, seconds=60):
        """Waits until QEMU ends; returns its exit status."""
        try:
            self.child.expect(pexpect.EOF, timeout=seconds * PATIENCE)
        except pexpect.TIMEOUT:
            self.text += self.child.before
            raise AssertionError(f"QEMU has not ended within {seconds} s:\n{clean(self.text)[-3000:]}") from None
        self.text += self.child.before
        self.child.close()
        return self.child.exitstatus

    def seen(self):
        """Everything that came so far and was waited for."""
        return clean(self.text)

    # ── The hypervisor's shell ──────────────────────────────────────────────────────────────────────────────────────
    def send(self, text):
        self.child.send(text)

    def shell(self):
        """To the shell, from anywhere. Where the terminal is in it already, Ctrl-] does nothing, but an empty line does."""
        self.send(CTRL_BRACKET + "\r")
        self.wait(re.escape(PROMPT), 20)

    def command(self, line, seconds=30):
        """Runs one line in the shell, where the terminal is already; returns what it printed."""
        self.send(line + "\r")
        self.wait(echo_of(line), 20)
        self.wait(r"(?:^|\n|\r)(?:\x1b\[[0-9;]*[A-Za-z])*" + re.escape(PROMPT), seconds)
        return clean(self.child.before).strip("\n")

    def in_shell(self, line, seconds=30):
        self.shell()
        return self.command(line, seconds)

    def u_boot(self, name, start, size, serial):
        """Attaches to U-Boot, and has it tell of its memory and of its console's registers."""
        self.shell()
        self.attach(name)
        self.send("\r")
        self.wait(r"=> ", 30)
        self.send("bdinfo\r")
        self.wait(rf"-> start += 0x0*{start}\s+-> size += 0x0*{size}\b", 30)
        self.wait(rf"serial addr = 0x0*{serial}\b", 30)

    def attach(self, name):
        """From the shell to a VM's console."""
        self.send(f"console {name}\r")
        self.wait(rf"\[bulkhead: console of {name}[^\]]*\]", 20)

    def show_all(self):
        self.send("console all\r")
        self.wait(echo_of("console all"), 20)

    def state(self, name):
        """In the shell: a VM's state."""
        listing = self.command("vm list")
        found = re.search(rf"^\d+ +{re.escape(name)} +(\w+)", listing, re.MULTILINE)
        assert found, listing
        return found.group(1)

    def wait_state(self, name, state, seconds=30):
        until = time.monotonic() + seconds * PATIENCE
        while (now := self.state(name)) != state:
            assert time.monotonic() < until, f"{name} is {now}, not {state}, after {seconds} s"
        return now

    # ── A Linux guest's shell ───────────────────────────────────────────────────────────────────────────────────────
    def wait_up(self, *names, seconds=120):
        """In the view of all, or attached to the only one: each Linux guest's greeting."""
        self.wait_all([rf"{name} is up: \d+ CPUs online" for name in names], seconds)

    def mark(self):
        """A text that has not been on the terminal, and how a guest's shell makes it of one that is not the same."""
        self.marks += 1
        return f"mark{5000 + self.marks}", f"mark$((5000+{self.marks}))"

    def run(self, line, seconds=60):
        """Attached to a Linux guest: runs a line in its shell; returns (exit status, output)."""
        (begin, make_begin), (end, make_end) = self.mark(), self.mark()
        self.send(f"echo {make_begin}; {line}; echo {make_end} $?\r")
        self.wait(begin + r"\r*\n", seconds)
        match = self.wait(end + r" (\d+)\r*\n", seconds)
        return int(match.group(1)), clean(self.child.before).strip("\n")

    def in_guest(self, name, line="true", seconds=60):
        """From anywhere: a line in that Linux guest. What is typed while it boots gets lost: it is asked again."""
        self.shell()
        self.attach(name)
        until = time.monotonic() + seconds * PATIENCE
        clear = ""
        while True:
            text, make_text = self.mark()
            self.send(f"{clear}\recho {make_text}\r")
            clear = CTRL_C  # whatever still runs there, or half a line that was typed too early
            try:
                self.wait(text + r"\r*\n", 2)
                return self.run(line, seconds)
            except AssertionError:
                if time.monotonic() > until or not self.child.isalive():
                    raise

    def close(self):
        if self.child.isalive():
            try:
                self.child.read_nonblocking(1 << 20, 0)
            except (pexpect.TIMEOUT, pexpect.EOF):
                pass
        self.child.close(force=True)
        self.log.close()

    def everything(self):
        with open(self.logname, encoding="utf-8", errors="replace") as file:
            return clean(file.read())


def clean(text):
    # QEMU's terminal makes "\r\r\n" of a line's end.
    return re.sub(r"\r+\n", "\n", ESCAPE.sub("", text)).replace("\r", "\n")


def host(*arguments):
    """The host command."""
    return subprocess.run([HOST, *arguments], capture_output=True, text=True, timeout=60, check=False)
