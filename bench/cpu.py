"""CPU time and memory of processes with everything that they have started, from /proc."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def cpu_seconds(pids: Mapping[str, int]) -> dict[str, float]:
    """Return the CPU seconds, user and system, that each process and its descendants have used.

    Descendants that have ended count with their parent, which has waited for them; one that is
    itself among `pids` counts for itself.
    """
    used, parents = _read()
    own = {*pids.values()}
    found: dict[str, float] = {}
    for name, pid in pids.items():
        cut = {child: parent for child, parent in parents.items() if child not in own - {pid}}
        found[name] = sum(used.get(member, 0.0) for member in family(pid, cut))
    return found


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process and its descendants."""
    _, parents = _read()
    total = 0
    for member in family(pid, parents):
        total += int(Path(f"/proc/{member}/statm").read_text().split()[1]) * _PAGE
    return total


def family(pid: int, parents: Mapping[int, int]) -> set[int]:
    """Return a process and its descendants."""
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def _read() -> tuple[dict[int, float], dict[int, int]]:
    """Return the seconds and the parent of every process."""
    used: dict[int, float] = {}
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = entry.read_text()
        except OSError:  # it has ended
            continue
        # The second field, the name in parentheses, may contain spaces and parentheses.
        fields = text.rpartition(")")[2].split()
        pid = int(entry.parent.name)
        parents[pid] = int(fields[1])
        used[pid] = sum(map(int, fields[11:15])) / _TICKS
    return used, parents
