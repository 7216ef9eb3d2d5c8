#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""mkinitrd.py BUSYBOX OUT.gz: packs busybox and the files of scripts/guest as an initrd.

Needs no root for the device node, and the same input gives the same bytes."""

import gzip
import os
import stat
import sys

GUEST = os.path.join(os.path.dirname(os.path.abspath(__file__)), "guest")
DIRECTORIES = ("bin", "sbin", "usr", "usr/bin", "usr/sbin", "dev", "etc", "proc", "sys", "tmp", "root")


class Archive:
    """A cpio archive in the "newc" format (Linux: Documentation/driver-api/early-userspace/buffer-format)."""

    def __init__(self):
        self.data = bytearray()
        self.count = 0

    def add(self, name, mode, body=b"", device=(0, 0)):
        self.count += 1
        raw = name.encode() + b"\0"
        inode = 0 if name == "TRAILER!!!" else self.count
        fields = (inode, mode, 0, 0, 1, 0, len(body), 0, 0, device[0], device[1], len(raw), 0)
        self.data += b"070701" + b"".join(b"%08x" % field for field in fields) + raw
        self.pad()
        self.data += body
        self.pad()

    def pad(self):
        self.data += b"\0" * (-len(self.data) % 4)

    def finish(self):
        self.add("TRAILER!!!", 0)
        self.data += b"\0" * (-len(self.data) % 512)
        return bytes(self.data)


def read(path):
    with open(path, "rb") as file:
        return file.read()


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    busybox, out = sys.argv[1:]
    archive = Archive()
    for name in DIRECTORIES:
        archive.add(name, stat.S_IFDIR | 0o755)
    # The kernel opens it for process 1 before /dev is mounted.
    archive.add("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    archive.add("bin/busybox", stat.S_IFREG | 0o755, read(busybox))
    archive.add("bin/sh", stat.S_IFLNK | 0o777, b"busybox")
    archive.add("init", stat.S_IFREG | 0o755, read(os.path.join(GUEST, "init")))
    archive.add("etc/profile", stat.S_IFREG | 0o644, read(os.path.join(GUEST, "profile")))
    for name in ("poweroff", "reboot", "halt"):
        archive.add("sbin/" + name, stat.S_IFREG | 0o755, read(os.path.join(GUEST, "poweroff")))
    with open(out + ".new", "wb") as file:
        file.write(gzip.compress(archive.finish(), 9, mtime=0))
    os.replace(out + ".new", out)


main()
