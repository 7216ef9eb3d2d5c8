#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""seeds.py DIR: writes the seeds that can be made from what the tree has anyway to DIR/TARGET."""

import glob
import os
import struct
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LINES = (
    "idle=poweroff loglevel=info autostart=yes console=all",
    "idle=shell\tconsole=shell loglevel=debug",
    "autostart=no idle=reboot console=vm-1 quiet idle",
)
COMMANDS = (
    "vm list", "vm list --json", "vm show lin", "vm show 2", "vm start rtos", "vm stop lin", "vm stop --force lin", "vm restart all",
    "help", "help vm", "console lin", "console all", "log", "log --set debug", "cpu", "mem", "stats", "version", "poweroff", "reboot",
    "vm stop all", "vm start all", "vm dump lin", "# nothing", "nonsens", "stats lin", "vm", "help help me",
)
KEYS = (b"help\r", b"vm l\t\r", b"a b c\x01\x0b\x19\x19\r\x10\x10\x0e\r", b"\x1b[A\x1b[B\x1b[1;5D\x1b[3~\x1bd\x1bb\x1bf\x14\x17\x15",
        b"\tvm \t\thelp \t\x0c\x03\x04", b"x" * 90 + b"\x01\x06\x06\x02\x04\x05\x08" + b"\r\n\n")


def cpio(files):
    out = b""
    for ino, (name, data, mode) in enumerate([*files, ("TRAILER!!!", b"", 0)]):
        fields = [ino, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0]
        out += b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
        out += bytes(-len(out) % 4) + data
        out += bytes(-len(out) % 4)
    return out


def elf(machine, entry, headers):
    out = b"\x7fELF\2\1\1" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, entry, 64, 0, 0, 64, 56, len(headers), 64, 0, 0)
    data = b""
    for address, filesz, memsz in headers:
        out += struct.pack("<IIQQQQQQ", 1, 7, 64 + 56 * len(headers) + len(data), address, address, filesz, memsz, 4096)
        data += b"\xaa" * filesz
    return out + data


def kernels():
    arm64 = struct.pack("<IIQQQQQQ4sI", 0x14000010, 0, 0, 0x10000, 0xA, 0, 0, 0, b"ARM\x64", 0)
    riscv = struct.pack("<IIQQQIIQ8sII", 0, 0, 0x200000, 0x20000, 0, 2, 0, 0, b"RISCV\0\0\0", 0x05435352, 0)
    setup = bytearray(0x400)
    setup[0x1F1], setup[0x1FE:0x200], setup[0x202:0x206], setup[0x206:0x208] = 1, b"\x55\xaa", b"HdrS", struct.pack("<H", 0x20F)
    setup[0x201], setup[0x211] = 0x66, 1
    setup[0x230:0x234], setup[0x258:0x264] = struct.pack("<I", 0x200000), struct.pack("<QI", 0x1000000, 0x100000)
    zboot = b"MZ\0\0zimg" + struct.pack("<II", 64, 100) + bytes(8) + b"gzip" + bytes(100)
    yield "arm64", arm64 + bytes(200)
    yield "riscv", riscv + bytes(200)
    yield "bzimage", bytes(setup) + bytes(600)
    yield "elf", elf(183, 0x40010000, [(0x40010000, 100, 200), (0x40020000, 50, 0x3000)])
    yield "elf-riscv", elf(243, 0x80000000, [(0x80000000, 10, 10)])
    yield "zboot", zboot
    yield "gzip", b"\x1f\x8b\x08" + bytes(20)
    yield "xz", b"\xfd7zXZ\0" + bytes(20)
    yield "zstd", b"\x28\xb5\x2f\xfd" + bytes(20)
    yield "flat", bytes(range(256))


def acpi_table(signature, body):
    return signature + struct.pack("<I", len(body)) + bytes(28) + body


def firmware():
    """tests/fuzz/firmware.c: memory from 896 KiB on, a loader's structure at 8, a table at 0x200."""
    base = 0xE0000
    pvh = struct.pack("<IIIIQQQQII", 0x336EC578, 1, 0, 1, base + 0x60, base + 0x4F0, base + 0x80, base + 0x480, 2, 0)
    memory = struct.pack("<QQII", 0, 0x9FC00, 1, 0) + struct.pack("<QQII", 0x100000, 0x7F00000, 1, 0)
    tags = struct.pack("<II", 1, 13) + b"idle" + bytes(4) + struct.pack("<IIIIB", 3, 17, 0x4000000, 0x4001000, 0) + bytes(7)
    tags += struct.pack("<IIII", 6, 16 + 48, 24, 0) + memory
    mb2 = struct.pack("<II", len(tags) + 8, 0) + tags
    madt = struct.pack("<II", 0xFEE00000, 1) + bytes((0, 8, 0, 0, 1, 0, 0, 0, 1, 12, 0, 0, 0, 0, 0xC0, 0xFE, 0, 0, 0, 0))
    madt += bytes((2, 10, 0, 4, 20, 0, 0, 0, 15, 0, 5, 12, 0, 0, 0, 0, 0, 0xFE, 1, 0, 0, 0, 9, 16, 0, 0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0))
    fadt = bytearray(276 - 36)
    struct.pack_into("<I", fadt, 64 - 36, 0x604)
    struct.pack_into("<BBBBQ", fadt, 116 - 36, 1, 8, 0, 0, 0xCF9)
    fadt[113 - 36] = 5
    s5 = b"\x08_S5_\x12\x06\x04\x0a\x05\x0a\x06\x00\x00"
    hpet = struct.pack("<IBBBBQ", 0, 0, 64, 0, 0, 0xFED00000)
    mcfg = bytes(8) + struct.pack("<QHBBI", 0xB0000000, 0, 0, 255, 0)
    for name, table in (("apic", acpi_table(b"APIC", madt)), ("facp", acpi_table(b"FACP", bytes(fadt))), ("ssdt", acpi_table(b"SSDT", s5)),
                        ("hpet", acpi_table(b"HPET", hpet)), ("mcfg", acpi_table(b"MCFG", mcfg))):
        for kind, info in ((2, pvh), (3, mb2)):
            ram = bytearray(0x600)
            ram[0] = kind
            ram[8 : 8 + len(info[:0x78])] = info[:0x78]
            if kind == 3:
                ram[8 : 8 + len(mb2)] = mb2
            ram[0x200 : 0x200 + len(table)] = table
            ram[0x480 : 0x480 + len(memory)] = memory
            ram[0x4F0:0x4F5] = b"quiet"
            yield f"{name}-{kind}", bytes(ram)


def configs():
    for name in sorted(glob.glob("tests/configs/*.toml") + glob.glob("vms/*.toml") + glob.glob("bench/**/*.toml", recursive=True)):
        with open(name, "rb") as file:
            yield os.path.basename(name), file.read()


def seeds():
    texts = list(configs())
    for name, text in texts:
        yield "toml", name, text
        yield "config", name, text
    goods = [text for name, text in texts if name.startswith(("good", "linux"))]
    yield "config", "several", b"\xff".join(goods[:4])
    for i, good in enumerate(goods):
        files = [("vms", b"", 0o040755), (f"vms/{i}.toml", good, 0o100644), ("debian/Image", b"x" * 70, 0o100644), ("link", b"to", 0o120777)]
        yield "bundle", f"one-{i}", cpio(files)
    yield "bundle", "several", cpio([(f"./vms/{chr(97 + i)}.toml", good, 0o100644) for i, good in enumerate(goods[:3])])
    yield "bundle", "other-magic", cpio([("a", b"b", 0o100644)]).replace(b"070701", b"070702")
    for i, line in enumerate(LINES):
        yield "cmdline", str(i), line.encode()
    for i, keys in enumerate(KEYS):
        yield "line_edit", str(i), keys
        yield "shell", f"keys-{i}", keys
    for i, line in enumerate(COMMANDS):
        yield "shell", str(i), line.encode() + b"\r\x02\x1d" + COMMANDS[i * 7 % len(COMMANDS)].encode() + b"\r"
        yield "line_edit", f"line-{i}", line.encode() + b"\r"
    for name, kernel in kernels():
        for head in (b"\x01\0\0\0\0\x10\0\0", b"\x01\0\0\x01\0\0\1\0", b"\x32\0\0\0\0\1\0\0", b"\x12\0\0\0\0\xff\1\0"):
            yield "image", f"{name}-{head[0]}-{head[5]}", head + kernel
    for name, ram in firmware():
        yield "firmware", name, ram
    for name in sorted(glob.glob("tests/fuzz/corpus/fdt_read/*.dtb")):
        with open(name, "rb") as file:
            yield "fdt_patch", os.path.basename(name), file.read()


def main():
    folder = os.path.abspath(sys.argv[1])
    os.chdir(ROOT)
    for target, name, data in seeds():
        os.makedirs(os.path.join(folder, target), exist_ok=True)
        with open(os.path.join(folder, target, name), "wb") as file:
            file.write(data)


main()
