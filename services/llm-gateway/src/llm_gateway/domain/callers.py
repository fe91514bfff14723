"""Which callers may use which keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm_gateway.errors import KeyReserved

if TYPE_CHECKING:
    from llm_gateway.domain.calls import CallKey

_INPUT = "input"
"""The step of people's calls; no step of a pipeline has this name."""


def check_caller(key: CallKey, workload: str | None) -> None:
    """Raise KeyReserved if a person (no workload) uses the key of a pipeline's step.

    Otherwise a person could take a step's key, or put a reply under it before the step asks.
    """
    if workload is None and key.step != _INPUT:
        raise KeyReserved(f"only the workload runs asks under step {key.step}", step=key.step)
