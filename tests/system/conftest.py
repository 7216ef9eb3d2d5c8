# SPDX-License-Identifier: Apache-2.0
import re

import machine
import pytest


def make_factory(request, tmp_path_factory):
    """boot(vms, files=None, cpio=..., kind=Machine, **machine's) starts one; every one is looked at and ended afterwards."""
    machines = []

    def boot(vms=None, files=None, cpio=False, kind=machine.Machine, **options):
        name = re.sub(r"^.*test_", "", request.node.nodeid.replace("::", "-"))
        name = f"{request.fspath.purebasename[5:]}-{request.node.name}" if name else "machine"
        name += f"-{len(machines)}" if machines else ""
        data = machine.bundle(vms, files) if cpio is False and vms is not None else None if cpio is False else cpio
        m = kind(str(tmp_path_factory.mktemp("machine")), name, data, **options)
        machines.append(m)
        return m

    return boot, machines


def end(machines):
    for m in machines:
        m.close()
    for m in machines:
        bad = None if m.expects_fault else machine.NEVER.search(m.everything())
        assert not bad, m.everything()[bad.start() :][:3000]


@pytest.fixture
def boot(request, tmp_path_factory):
    factory, machines = make_factory(request, tmp_path_factory)
    yield factory
    end(machines)


@pytest.fixture(scope="module")
def boot_once(request, tmp_path_factory):
    """A machine that all tests of a file share."""
    factory, machines = make_factory(request, tmp_path_factory)
    yield factory
    end(machines)
