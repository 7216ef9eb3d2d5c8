#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The host command from outside: options, exit statuses, what it writes, how it calls QEMU. run.py [BULKHEAD]."""

import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

BUILT = os.path.join(os.environ.get("BUILD", "build"), "host", "bulkhead")
BULKHEAD = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else BUILT)
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CONFIG = 'name = "{}"\nmemory = "64M"\n[boot]\nkernel = "debian/Image"\ninitrd = "initrd"\n'
# Stands in for QEMU: says how it was called, whether the bundle was there, and does what FAKE tells it.
QEMU = """#!/bin/sh
for arg; do echo "arg $arg"; done
while [ $# -gt 0 ]; do
    case $1 in -initrd) bundle=$2; cp "$2" bundle.seen ;; esac
    shift
done
echo "bundle $bundle"
case $FAKE in
    fail) exit 3 ;;
    wait) trap 'echo got TERM; exit 0' TERM; : >waiting; while :; do sleep 0.05; done ;; # the shell's own wait could miss it
esac
"""


class Case:
    """A folder with two configurations, their images and a QEMU that is none."""

    def __init__(self, folder):
        self.folder = folder
        os.makedirs(self.path("guests/debian"))
        os.makedirs(self.path("vms"))
        os.makedirs(self.path("bin"))
        image = struct.pack("<IIQQQQQQ4sI", 0, 0x14000010, 0, 0x100000, 0xA, 0, 0, 0, b"ARM\x64", 0)
        self.write("guests/debian/Image", image + b"\1" * 4033)
        self.write("guests/initrd", b"initrd!")
        for name in "ba":
            self.write(f"vms/{name}.toml", CONFIG.format(name).encode())
        self.write("bin/qemu-system-aarch64", QEMU.encode())
        os.chmod(self.path("bin/qemu-system-aarch64"), 0o755)
        self.write("bulkhead.bin", b"image")
        self.env = dict(os.environ, PATH=self.path("bin") + ":" + os.environ["PATH"], TMPDIR=self.folder)

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, data):
        with open(self.path(name), "wb") as file:
            file.write(data)

    def read(self, name):
        with open(self.path(name), "rb") as file:
            return file.read()

    def call(self, *args, **env):
        done = subprocess.run(
            [BULKHEAD, *args], cwd=self.folder, env=dict(self.env, **env), capture_output=True, text=True, timeout=30, check=False
        )
        return done.returncode, done.stdout, done.stderr

    def no_temporary_left(self):
        assert not [name for name in os.listdir(self.folder) if name.startswith("bulkhead-")]


def cpio_list(data):
    """The regular files of a newc archive, in order, read as its specification says."""
    files, at = [], 0
    while True:
        assert data[at : at + 6] == b"070701", at
        field = [int(data[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        mode, size, name_size = field[1], field[6], field[11]
        name = data[at + 110 : at + 110 + name_size - 1].decode()
        at = (at + 110 + name_size + 3) & ~3
        if name == "TRAILER!!!":
            return files
        assert mode == 0o100644, oct(mode)
        files.append((name, data[at : at + size]))
        at = (at + size + 3) & ~3


def help_and_version_end_well(case):
    for option in ("--help", "-h", "help"):
        status, out, err = case.call(option)
        assert status == 0 and out.startswith("Usage: bulkhead check") and not err
    assert case.call("check", "--help")[0] == 0
    status, out, _ = case.call("--version")
    assert status == 0 and out.startswith("bulkhead "), out


def wrong_usage_is_2_and_says_what_was_wrong(case):
    calls = {
        (): "Usage: ",
        ("frobnicate",): "bulkhead: unknown command 'frobnicate'; there are check, bundle and run",
        ("check",): "bulkhead: check: which FILE.toml?",
        ("check", "--bogus", "vms/a.toml"): "bulkhead: unrecognized option '--bogus'",
        ("check", "--append", "x", "vms/a.toml"): "bulkhead: check has no option --append",
        ("bundle", "vms/a.toml"): "bulkhead: bundle: -o OUT.cpio is missing",
        ("check", "--smp", "0", "vms/a.toml"): "bulkhead: --smp 0: must be 1 to 64",
        ("check", "--memory", "2", "vms/a.toml"): "bulkhead: --memory 2: must be a number and M or G, such as 2G",
        ("check", "--arch", "arm", "vms/a.toml"): "bulkhead: --arch arm: must be aarch64, riscv64 or x86_64",
    }
    for args, want in calls.items():
        status, out, err = case.call(*args)
        assert status == 2 and err.startswith(want) and not out, (args, status, err)


def errors_are_1_and_name_their_file(case):
    case.write("vms/bad.toml", b"cpus = 0\n" + CONFIG.format("bad").encode())
    status, out, err = case.call("check", "vms/a.toml", "vms/bad.toml", "vms/absent.toml", "vms")
    assert status == 1 and not out
    assert err.splitlines() == [
        "vms/bad.toml:1:8: cpus = 0: must be 1 to 16",
        "vms/absent.toml: No such file or directory",
        "vms: is a directory",
        "bulkhead: 3 errors",
    ], err


def check_without_a_folder_does_not_look_for_images(case):
    assert case.call("check", "vms/a.toml", "vms/b.toml") == (0, "2 configurations, no errors\n", "")
    status, _, err = case.call("check", "-C", "vms", "vms/a.toml")
    assert status == 1 and 'vms/a.toml:4:10: kernel = "debian/Image": not in vms\n' in err, err


def a_bundle_holds_configurations_and_images_once(case):
    assert case.call("bundle", "-o", "out.cpio", "-C", "guests", "vms/b.toml", "vms/a.toml") == (0, "", "")
    want = [("vms/b.toml", case.read("vms/b.toml")), ("vms/a.toml", case.read("vms/a.toml"))]
    want += [("debian/Image", case.read("guests/debian/Image")), ("initrd", b"initrd!")]
    assert cpio_list(case.read("out.cpio")) == want
    if shutil.which("cpio"):
        with open(case.path("out.cpio"), "rb") as file:
            done = subprocess.run(["cpio", "-t", "--quiet"], stdin=file, capture_output=True, text=True, check=True)
        assert done.stdout.split() == [name for name, _ in want]


def the_same_input_gives_the_same_bundle(case):
    for out in ("1.cpio", "2.cpio"):
        assert case.call("bundle", "-o", out, "-C", "guests", "vms/a.toml")[0] == 0
    assert case.read("1.cpio") == case.read("2.cpio")


def a_bundle_that_fails_leaves_nothing(case):
    case.write("out.cpio", b"old")
    status, _, err = case.call("bundle", "-o", "out.cpio", "-C", "vms", "vms/a.toml")
    assert status == 1 and "not in vms" in err and case.read("out.cpio") == b"old"
    status, _, err = case.call("bundle", "-o", "absent/out.cpio", "-C", "guests", "vms/a.toml")
    assert status == 1 and err == "bulkhead: absent/out.cpio: No such file or directory\n", err


def two_files_of_one_name_do_not_fit_a_bundle(case):
    os.mkdir(case.path("more"))
    case.write("more/a.toml", CONFIG.format("c").encode())
    status, _, err = case.call("bundle", "-o", "out.cpio", "-C", "guests", "vms/a.toml", "more/a.toml")
    assert status == 1 and "more/a.toml: would be vms/a.toml in the bundle, as is vms/a.toml\n" in err, err


def run_calls_qemu_with_image_bundle_and_command_line(case):
    args = ["-C", "guests", "--image", "bulkhead.bin", "--smp", "2", "--memory", "1G", "--append", "idle=shell console=a"]
    status, out, err = case.call("run", *args, "vms/a.toml", "vms/b.toml", "--", "-d", "int", "vms/x.toml")
    assert status == 0 and not err, err
    lines = out.splitlines()
    bundle = lines.pop().removeprefix("bundle ")
    want = ["-M", "virt,virtualization=on,gic-version=3", "-cpu", "cortex-a57", "-smp", "2", "-m", "1G", "-nic", "none", "-nographic"]
    want += ["-kernel", "bulkhead.bin", "-initrd", bundle, "-append", "idle=shell console=a", "-d", "int", "vms/x.toml"]
    assert lines == ["arg " + arg for arg in want], lines
    assert [name for name, _ in cpio_list(case.read("bundle.seen"))][:2] == ["vms/a.toml", "vms/b.toml"]
    case.no_temporary_left()


def run_calls_the_qemu_of_each_architecture(case):
    x86 = bytearray(4096)
    x86[0x1F1] = 1
    struct.pack_into("<HH4sH", x86, 0x1FE, 0xAA55, 0x66EB, b"HdrS", 0x20F)
    struct.pack_into("<H", x86, 0x236, 1)
    riscv = struct.pack("<IIQQQIIQQ4sI", 0x5A4D, 0x6F, 0x200000, 0x100000, 0, 2, 0, 0, 0x5643534952, b"RSC\x05", 0).ljust(4096)
    for arch, machine, cpu, kernel, image in (("riscv64", "virt", "rv64", riscv, "bin"), ("x86_64", "q35", "max", x86, "elf")):
        os.makedirs(case.path(f"{arch}/debian"))
        case.write(f"{arch}/debian/Image", kernel)
        case.write(f"{arch}/initrd", b"initrd!")
        case.write(f"bin/qemu-system-{arch}", QEMU.encode())
        os.chmod(case.path(f"bin/qemu-system-{arch}"), 0o755)
        status, out, err = case.call("run", "--arch", arch, "-C", arch, "--image", "bulkhead.bin", "vms/a.toml")
        assert status == 0 and not err, err
        # All CPUs on one thread, for x86_64: unless the user knows better.
        accel = ("-accel", "tcg,thread=single") if arch == "x86_64" else ()
        assert out.splitlines()[: 4 + len(accel)] == [f"arg {arg}" for arg in ("-M", machine, *accel, "-cpu", cpu)], out
        out = case.call("run", "--arch", arch, "-C", arch, "--image", "bulkhead.bin", "vms/a.toml", "--", "-accel", "kvm")[1]
        assert out.count("arg -accel") == 1 and "arg -accel\narg kvm\n" in out, out
        out = case.call("run", "--print", "--arch", arch, "-C", arch, "vms/a.toml")[1]
        assert re.search(rf"^qemu-system-{arch} .* -kernel \S*/{arch}/bulkhead\.{image} ", out, re.MULTILINE), out
        status, _, err = case.call("run", "--arch", arch, "-C", "guests", "--image", "bulkhead.bin", "vms/a.toml")
        assert status == 1 and f'kernel = "debian/Image": built for aarch64, this machine is {arch}\n' in err, err


def run_fails_when_qemu_fails(case):
    args = ["run", "-C", "guests", "--image", "bulkhead.bin", "vms/a.toml"]
    assert case.call(*args, FAKE="fail")[0] == 1
    status, _, err = case.call(*args, PATH="/nowhere")
    assert status == 1 and err == "bulkhead: qemu-system-aarch64: No such file or directory\n", err
    status, _, err = case.call("run", "-C", "guests", "--image", "absent.bin", "vms/a.toml")
    assert status == 1 and err == "bulkhead: the hypervisor's image absent.bin: No such file or directory\n", err
    case.no_temporary_left()


def run_refuses_what_the_machine_cannot_hold(case):
    status, _, err = case.call("run", "-C", "guests", "--memory", "32M", "--image", "bulkhead.bin", "vms/a.toml")
    assert status == 1 and 'vms/a.toml:2:10: memory = "64M": 64 MiB asked, 32 MiB free\n' in err, err


def run_hands_a_signal_on_and_cleans_up(case):
    command = [BULKHEAD, "run", "-C", "guests", "--image", "bulkhead.bin", "vms/a.toml"]
    child = subprocess.Popen(command, cwd=case.folder, env=dict(case.env, FAKE="wait"), stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 20
    while not os.path.exists(case.path("waiting")) and time.monotonic() < deadline:
        time.sleep(0.01)
    child.send_signal(signal.SIGTERM)
    out, _ = child.communicate(timeout=20)
    assert child.returncode == 0 and "got TERM" in out, (child.returncode, out)
    case.no_temporary_left()


def print_shows_commands_that_a_shell_can_run(case):
    args = ["run", "--print", "-C", "guests", "--image", "bulkhead.bin", "--append", "idle=shell loglevel=debug"]
    status, out, err = case.call(*args, "vms/a.toml", "--", "-name", "it's")
    assert status == 0 and not err
    assert out.splitlines()[0] == "bulkhead bundle -o bundle.cpio -C guests vms/a.toml"
    assert "-append 'idle=shell loglevel=debug' -name 'it'\\''s'" in out, out
    os.symlink(BULKHEAD, case.path("bin/bulkhead"))
    done = subprocess.run(["sh", "-e"], input=out, cwd=case.folder, env=case.env, capture_output=True, text=True, check=True)
    assert "arg it's\n" in done.stdout and "bundle bundle.cpio\n" in done.stdout, done.stdout


def the_manual_page_knows_every_option(case):
    with open(os.path.join(ROOT, "tools", "bulkhead.1"), encoding="utf-8") as file:
        page = file.read()
    options = {word.strip(",") for word in case.call("--help")[1].split() if word.startswith("--") and len(word) > 2}
    missing = [option for option in options if f"Fl {option[1:]}" not in page]
    assert options and not missing, missing


CASES = [
    help_and_version_end_well,
    wrong_usage_is_2_and_says_what_was_wrong,
    errors_are_1_and_name_their_file,
    check_without_a_folder_does_not_look_for_images,
    a_bundle_holds_configurations_and_images_once,
    the_same_input_gives_the_same_bundle,
    a_bundle_that_fails_leaves_nothing,
    two_files_of_one_name_do_not_fit_a_bundle,
    run_calls_qemu_with_image_bundle_and_command_line,
    run_calls_the_qemu_of_each_architecture,
    run_fails_when_qemu_fails,
    run_refuses_what_the_machine_cannot_hold,
    run_hands_a_signal_on_and_cleans_up,
    print_shows_commands_that_a_shell_can_run,
    the_manual_page_knows_every_option,
]


def main():
    passed = failed = 0
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            try:
                case(Case(folder))
                passed += 1
            except (AssertionError, OSError, subprocess.SubprocessError) as error:
                failed += 1
                print(f"FAIL {case.__name__}: {type(error).__name__}: {error}")
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


main()
