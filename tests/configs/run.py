#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs `bulkhead check` over the corpus of wrong configurations: run.py [BULKHEAD [PATTERN]].

Each NAME.toml begins with what is expected of it:
  #! 5:8: message     an error at that line and column (without them: one that concerns the whole file)
  #? --smp 2          arguments of the call; ASSETS stands for a folder of small images, other words for more files
and no '#!' at all means that the file is right. Files in parts/ are only named by others.
"""

import fnmatch
import gzip
import lzma
import os
import shlex
import struct
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))


def linux_arm64(image_size, text_offset=0):
    """Documentation/arch/arm64/booting.rst §4: the header of an Image; 64 KiB in all."""
    head = struct.pack("<IIQQQQQQ4sI", 0x91005A4D, 0x14000010, text_offset, image_size, 0xA, 0, 0, 0, b"ARM\x64", 0)
    return head.ljust(65536, b"\0")


def linux_riscv64(image_size):
    """Documentation/arch/riscv/boot-image-header.rst."""
    head = struct.pack("<IIQQQIIQQ4sI", 0x5A4D, 0x6F, 0x200000, image_size, 0, 2, 0, 0, 0x5643534952, b"RSC\x05", 0)
    return head.ljust(65536, b"\0")


def linux_x86(init_size, pref_address=16 << 20):
    """Documentation/arch/x86/boot.rst: one sector of setup, and the header with a 64-bit entry point; 64 KiB in all."""
    image = bytearray(65536)
    image[0x1F1] = 1
    struct.pack_into("<HH4sH", image, 0x1FE, 0xAA55, 0x66EB, b"HdrS", 0x20F)
    struct.pack_into("<H", image, 0x236, 1)
    struct.pack_into("<QI", image, 0x258, pref_address, init_size)
    return bytes(image)


def elf64(machine, kind=2, paddr=0x40080000, memsz=0x2000):
    """An ELF64 header and one PT_LOAD of 4 KiB."""
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    head = struct.pack("<16sHHIQQQIHHHHHH", ident, kind, machine, 1, paddr, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    head += struct.pack("<IIQQQQQQ", 1, 5, 0x1000, paddr, paddr, 0x1000, memsz, 0x1000)
    return head.ljust(0x2000, b"\0")


def make_assets(folder):
    image = linux_arm64(0x100000)
    files = {
        "Image": image,
        "Image-big": linux_arm64(0x8000000),
        "Image-riscv64": linux_riscv64(0x100000),
        "bzImage": linux_x86(48 << 20),
        "bzImage-32": linux_x86(48 << 20)[:0x236] + bytes(65536 - 0x236),
        "Image.gz": gzip.compress(image),
        "Image.xz": lzma.compress(image),
        "Image-empty": b"",
        "hello.elf": elf64(183),
        "hello-riscv64.elf": elf64(243),
        "hello-x86_64.elf": elf64(62),
        "hello-pc.elf": elf64(62, paddr=0x200000),
        "hello-in-video.elf": elf64(62, paddr=0x9F000),
        "hello-above-4g.elf": elf64(62, paddr=0x100000000),
        "hello.o": elf64(183, kind=1),
        "hello-damaged.elf": elf64(183)[:0x1800],
        "flat.bin": b"\x1f\x20\x03\xd5" * 1024,
        "initrd.gz": gzip.compress(b"initrd"),
        "initrd-big": b"\0" * (80 << 20),
        "good.dtb": struct.pack(">10I", 0xD00DFEED, 72, 56, 64, 40, 17, 16, 0, 8, 8).ljust(72, b"\0"),
    }
    os.mkdir(os.path.join(folder, "folder"))
    for name, data in files.items():
        with open(os.path.join(folder, name), "wb") as file:
            file.write(data)


def expectation(name):
    wanted, args = [], []
    with open(os.path.join(HERE, name), "rb") as file:
        lines = file.read().decode(errors="replace").splitlines()
    for line in lines:
        if line.startswith("#! "):
            text = line[3:]
            # An error in another file of the call names that file itself.
            wanted.append(text[1:] if text.startswith("@") else name + (":" if text[:1].isdigit() else ": ") + text)
        elif line.startswith("#? "):
            args += shlex.split(line[3:])
    return wanted, args


def run_case(bulkhead, name, assets):
    """None when the case passes, else a sentence."""
    wanted, args = expectation(name)
    args = [assets if arg == "ASSETS" else arg for arg in args]
    done = subprocess.run([bulkhead, "check", name, *args], cwd=HERE, capture_output=True, timeout=20, check=False)
    text = done.stderr.decode(errors="replace").replace(assets, "ASSETS")
    got = [line for line in text.splitlines() if not line.startswith("bulkhead: ")]
    if done.returncode != (1 if wanted else 0):
        return f"exit status {done.returncode}\n{text}"
    if got != wanted:
        return "\n  want " + "\n       ".join(wanted) + "\n  got  " + "\n       ".join(got)
    return None


def main():
    built = os.path.join(os.environ.get("BUILD", "build"), "host", "bulkhead")
    bulkhead = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else built)
    pattern = sys.argv[2] if len(sys.argv) > 2 else "*"
    passed = failed = 0
    with tempfile.TemporaryDirectory() as assets:
        make_assets(assets)
        for name in sorted(os.listdir(HERE)):
            if not name.endswith(".toml") or not fnmatch.fnmatch(name, f"*{pattern}*"):
                continue
            why = run_case(bulkhead, name, assets)
            if why is None:
                passed += 1
            else:
                failed += 1
                print(f"FAIL {name}: {why}")
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed or not passed else 0)


if __name__ == "__main__":
    main()
