# SPDX-License-Identifier: Apache-2.0
"""The image that make iso makes, on BIOS and on UEFI machines."""

import os
import subprocess

import machine
import pytest

pytestmark = pytest.mark.skipif(machine.ARCH != "x86_64", reason="GRUB boots x86_64 only")
OVMF = "/usr/share/OVMF/OVMF_CODE_4M.fd"


@pytest.fixture(name="iso", scope="module")
def make_iso(tmp_path_factory):
    folder = tmp_path_factory.mktemp("iso")
    (folder / "small.toml").write_text(machine.tiny("small"))
    path = str(folder / "bulkhead.iso")
    command = ["make", "-s", "ARCH=x86_64", "iso", f"ISO={path}", f"VMS={folder}/small.toml", "APPEND=loglevel=debug"]
    done = subprocess.run([*command, f"GUESTS={machine.OUT}/guest"], cwd=machine.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return path


@pytest.mark.parametrize("firmware", ["bios", "uefi"])
def test_an_image_boots(boot, iso, firmware):
    media = ["-cdrom", iso]
    if firmware == "uefi":
        media += ["-drive", f"if=pflash,format=raw,readonly=on,file={OVMF}"]
        assert os.path.exists(OVMF)
    m = boot(media=media)
    m.wait(r"bulkhead \| Bulkhead .*, 2 CPUs", 60)
    m.wait(r"clock: \d+ kHz", 20)  # the command line arrived
    m.wait(r"small: up with 16 MiB", 20)
    m.shell()
    m.send("poweroff\r")
    assert m.wait_end(20) == 0
