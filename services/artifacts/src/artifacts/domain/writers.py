"""Who writes which file of a run."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from artifacts.errors import PathReserved

if TYPE_CHECKING:
    from artifacts.domain.keys import Key

_RUNS = "runs"
_LLM_GATEWAY = "llm-gateway"
_INPUT = "input"
# What lies in a folder of a reply's name would keep the reply out as well.
_REPLY = re.compile(r"artifacts/[0-9]+-[0-9]+/call-[0-9]+\.json(/.*)?")


def check_writer(key: Key, workload: str | None) -> None:
    """Let a workload, or a person (None), write a file only if it is theirs to write.

    llm-gateway writes the replies of its calls, runs everything else, and a person what runs would
    write into step `input`, if the run is held: see `refused_input`. Raises PathReserved.
    """
    writer = _LLM_GATEWAY if _REPLY.fullmatch(key.name) else _RUNS
    is_input = writer == _RUNS and key.step == _INPUT
    if workload != writer and not (workload is None and is_input):
        raise PathReserved(key.path, writer)


def needs_held_run(workload: str | None) -> bool:
    """Tell whether what a caller may write at all is only taken while the run is held.

    A run is held until it is started, and never again: from then on nobody changes its input.
    """
    return workload is None


def refused_input(key: Key) -> PathReserved:
    """Return why a person may not write into step `input` of a run that is not held."""
    return PathReserved(key.path, _RUNS, "the run is not held, so it does not wait for its input")
