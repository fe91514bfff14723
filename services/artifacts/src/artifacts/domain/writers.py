"""Which caller may write which file of a run."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from artifacts.errors import PathReserved

if TYPE_CHECKING:
    from artifacts.domain.keys import ArtifactKey

_RUNS = "runs"
_LLM_GATEWAY = "llm-gateway"
_INPUT = "input"
# A file below a reply's path would block the reply as well, so it is reserved too.
_REPLY = re.compile(r"artifacts/[0-9]+-[0-9]+/call-[0-9]+\.json(/.*)?")


def check_writer(key: ArtifactKey, workload: str | None) -> None:
    """Check that a workload, or a person (None), may write a file. Raises PathReserved.

    llm-gateway writes the replies of its calls, runs all other files. People may write the files of
    step `input` while the run is held: see `needs_held_run`.
    """
    writer = _LLM_GATEWAY if _REPLY.fullmatch(key.name) else _RUNS
    is_input = writer == _RUNS and key.step == _INPUT
    if workload != writer and not (workload is None and is_input):
        raise PathReserved(key.path, writer)


def needs_held_run(workload: str | None) -> bool:
    """Return whether a caller may write only to runs that are held.

    A run is held until it is started or cancelled, and never again, so its input cannot change.
    """
    return workload is None


def run_not_held_error(key: ArtifactKey) -> PathReserved:
    """Return the refusal of a person's file for a run that is not held."""
    return PathReserved(key.path, _RUNS, "the run is not held, so it does not wait for its input")
