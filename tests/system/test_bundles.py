# SPDX-License-Identifier: Apache-2.0
"""Wrong bundles at boot: each fault is told in words, and what is right boots."""

import gzip
import os
import re
import runpy
import tempfile

import machine
import pytest
from machine import ROOT, newc, tiny

CONFIGS = os.path.join(ROOT, "tests", "configs")


def boots_beside_good(boot, bad, expected, files=None, **options):
    """The bad VMs are each told of; the good one runs, and its end ends the machine."""
    m = boot([*bad, tiny("good")], files, append="console=all", **options)
    m.wait(r"good +\| small: up")
    for line in expected:
        assert re.search(line, m.seen()), f"{line}\n{m.seen()}"
    return m


def ends_with(boot, expected, **options):
    m = boot(**options)
    assert m.wait_end() == 0
    assert re.search(expected, m.seen()), m.seen()
    return m


def test_no_bundle_is_told(boot):
    ends_with(boot, r"error: no bundle")


def test_an_empty_archive_is_told(boot):
    ends_with(boot, r"error: the bundle has no vms/\*\.toml", cpio=newc({}))


def test_something_else_than_an_archive_is_told(boot):
    ends_with(boot, r"error: bundle: .*not a cpio archive", cpio=b"This is not an archive.\n" * 100)


def test_a_compressed_archive_is_told(boot):
    ends_with(boot, r"error: bundle: .*compressed with gzip; give it unpacked", cpio=gzip.compress(newc({"a": b"b" * 5000})))


def test_random_bytes_are_told(boot):
    ends_with(boot, r"error: bundle: ", cpio=bytes((i * 7919 >> 5) & 255 for i in range(20000)))


@pytest.mark.parametrize("size", [1, 60, 110, 150, 700, 3000])
def test_a_truncated_archive_is_told_wherever_it_ends(boot, size):
    m = boot(cpio=machine.bundle([tiny("cut")])[:size])
    assert m.wait_end() == 0
    assert re.search(r"error: bundle: .*(truncated|not a cpio)", m.seen()), m.seen()


def test_a_truncated_archive_still_boots_what_came_whole(boot):
    data = machine.bundle([tiny("good"), tiny("lost", "hog")])
    m = boot(cpio=data[: data.index(b"hog.bin\0") + 600])
    m.wait_all([r"error: bundle: .*truncated", r"good +\| small: up"])


def test_a_wrong_configuration_is_told_with_its_place_and_the_good_one_boots(boot):
    boots_beside_good(
        boot,
        [tiny("bad").replace("memory", "memroy")],
        [r"vms/00-bad\.toml:3:1: unknown key 'memroy', did you mean 'memory'\?"],
    )


def test_a_configuration_that_is_no_text_is_told_and_the_good_one_boots(boot):
    m = boot([tiny("good")], {"vms/zz.toml": b"\xff\xfe\0\0 = [[[\n"})
    m.wait_all([r"error: vms/zz\.toml:1:\d+: ", r"good +\| small: up"])


def test_a_missing_image_is_told_with_its_place_and_the_good_one_boots(boot):
    boots_beside_good(
        boot, [machine.toml("bad", "absent")], [r'vms/00-bad\.toml:5:10: kernel = "absent": not in the bundle']
    )


def test_too_much_memory_is_told_with_its_place_and_the_good_one_boots(boot):
    boots_beside_good(boot, [tiny("bad", memory="64G")], [r'vms/00-bad\.toml:3:10: memory = "64G": 64 GiB asked, .* free'])


def test_memory_that_another_VM_has_taken_is_told(boot):
    m = boot([tiny("first", memory="300M"), tiny("second", memory="300M")], memory="512M")
    m.wait_all([r'vms/01-second\.toml:3:10: memory = "300M": 300 MiB asked, .* free', r"first +\| small: up"])


def linux_header(arch):
    """The header of a Linux kernel for that architecture, and some bytes that stand for the rest of it."""
    begin = b"\x4d\x5a\0\0\x6f\0\0\0" + (0x200000).to_bytes(8, "little") + (0x11000).to_bytes(8, "little")
    end = {
        "aarch64": b"\x0a" + bytes(31) + b"ARM\x64" + bytes(4),
        "riscv64": bytes(8) + b"\2\0\0\0" + bytes(12) + b"RISCV\0\0\0RSC\x05" + bytes(4),
    }[arch]
    return begin + end + bytes(70000)


def bzimage():
    """The same for x86_64: a boot sector with the setup header, which a sector of setup and the rest follow."""
    image = bytearray(70000)
    image[0x1F1] = 1
    image[0x1FE:0x208] = b"\x55\xaa\xeb\x66HdrS\x0f\x02"
    image[0x236] = 1
    return bytes(image)


def test_a_kernel_of_another_architecture_is_told_with_its_place(boot):
    others = [arch for arch in machine.ARCHS if arch != machine.ARCH]
    boots_beside_good(
        boot,
        [machine.toml(f"bad-{at}", f"for-{other}") for at, other in enumerate(others)],
        [
            rf'vms/0{at}-bad-{at}\.toml:5:10: kernel = "for-{other}": built for {other}, this machine is {machine.ARCH}'
            for at, other in enumerate(others)
        ],
        {f"for-{other}": bzimage() if other == "x86_64" else linux_header(other) for other in others},
    )


def test_two_VMs_of_one_name_are_told(boot):
    m = boot([tiny("twin"), tiny("twin")])
    m.wait_all([r"error: vms/01-twin\.toml:1:\d+: .*twin", r"small: up"])


def test_a_VM_that_could_not_be_created_is_listed_with_its_reason(boot):
    m = boot([tiny("bad").replace("cpus = 1", "cpus = 0"), tiny("good")], append="idle=shell")
    m.wait(r"good +\| small: up")
    m.shell()
    assert m.state("bad") == "failed"
    shown = m.command("vm show bad")
    assert re.search(r"reason +not created: vms/00-bad\.toml:2:8: ", shown), shown
    refused = m.command("vm start bad")
    assert "cannot be started" in refused and "vms/00-bad.toml:2:8" in refused, refused
    assert "no console" in m.command("vm console bad")


def test_32_VMs_are_taken_and_one_more_is_told(boot):
    m = boot([tiny(f"vm-{i}", memory="4M") for i in range(33)], append="idle=shell loglevel=info", smp=4)
    m.wait(r"error: vms/32-vm-32\.toml: not read: there are more than 32 configurations")
    m.wait_all([rf"vm-{i} +\| small: up" for i in range(32)])


def corpus():
    """The cases of tests/configs that need no more than the text and small images: {name: (text, expected lines)}."""
    cases = {}
    for name in sorted(os.listdir(CONFIGS)):
        if not name.endswith(".toml"):
            continue
        with open(os.path.join(CONFIGS, name), "rb") as file:
            data = file.read()
        lines = data.decode(errors="replace").splitlines()
        arguments = [line[3:] for line in lines if line.startswith("#? ")]
        expected = [line[3:] for line in lines if re.match(r"#! \d", line)]
        # No folders and no large files are in our bundle.
        here = {"-C ASSETS", f"-C ASSETS --arch {machine.ARCH}"}
        if expected and set(arguments) <= here and b"initrd-big" not in data and b'"folder"' not in data:
            if not any("name" in line for line in expected):
                data = data.replace(b'name = "a"', b'name = "case-%d"' % len(cases), 1)
            cases[name] = (data, [line.replace("ASSETS", "the bundle") for line in expected])
    return cases


def test_the_whole_corpus_of_wrong_configurations_is_told_at_boot_as_on_the_host(boot):
    with tempfile.TemporaryDirectory() as folder:
        runpy.run_path(os.path.join(CONFIGS, "run.py"))["make_assets"](folder)
        assets = {}
        for name in os.listdir(folder):
            path = os.path.join(folder, name)
            if os.path.isfile(path) and name != "initrd-big":
                with open(path, "rb") as file:
                    assets[name] = file.read()
    cases = list(corpus().items())
    assert len(cases) >= 60, len(cases)
    wrong = []
    for at in range(0, len(cases), 30):
        batch = cases[at : at + 30]
        files = {f"vms/{name}": data for name, (data, _) in batch}
        m = boot([tiny("good")], {**files, **assets}, append="idle=poweroff loglevel=info")
        m.wait(r"good +\| small: up", 60)
        seen = m.seen()
        wrong += [f"vms/{name}:{line}" for name, (_, lines) in batch for line in lines if f"vms/{name}:{line}" not in seen]
        m.close()
    assert not wrong, f"{len(wrong)} not told:\n" + "\n".join(wrong)
