# SPDX-License-Identifier: Apache-2.0
"""The rows of the table, and how their numbers are written."""

import collections

MIB = 1 << 20

# One run of the guest: the group of operations that it does, physical CPUs, vCPUs, and QEMU's -M and -cpu if not the usual ones.
# vCPU n runs on CPU n modulo smp.
Run = collections.namedtuple("Run", "name smp cpus machine cpu", defaults=(1, 1, None, None))


class Row:
    """One line of the table. `bound` is the first value that is too much, or the last that is not when `inclusive`, or None."""

    def __init__(self, name, what, peers, bound=None, inclusive=False, unit=""):
        self.name, self.what, self.peers = name, what, peers
        self.bound, self.inclusive, self.unit = bound, inclusive, unit

    def must(self):
        if self.bound is None:
            return ""
        return ("≤ " if self.inclusive else "< ") + shown(self.bound, self.unit)

    def verdict(self, value):
        if value is None:
            return "not measured"
        if self.bound is None:
            return ""
        over = value - self.bound if self.inclusive else value - self.bound + 1
        return "ok" if over <= 0 else f"{shown(over, self.unit)} too many"

    def missed(self, value):
        return self.verdict(value) not in ("ok", "")


def shown(value, unit=""):
    """A number as people read it; peers' figures that are texts stay."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if unit == "bytes":
        return f"{value / 1024:,.0f} KiB" if value < 4 * MIB else f"{value / MIB:,.1f} MiB"
    if value >= 1_000_000:
        return f"{value / 1_000_000:,.2f} M"
    return f"{value:,}"
