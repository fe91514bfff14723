"""Who asks under which key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm_gateway.errors import KeyReserved

if TYPE_CHECKING:
    from llm_gateway.domain.calls import CallKey

_INPUT = "input"
"""No step of a pipeline has this name."""


def check_caller(key: CallKey, workload: str | None) -> None:
    """Let a person (None) ask only under keys that no step of a run ever uses.

    A step's question would find its key taken otherwise, or another's reply under it. Raises
    KeyReserved.
    """
    if workload is None and key.step != _INPUT:
        raise KeyReserved(key.step)
