"""What the usual statements write to the ledger: the beginning of a call, and its end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llm_gateway.domain.attempts import AttemptResult, Reservation
    from llm_gateway.domain.calls import CallKey, CallLease, CallOutput
    from llm_gateway.domain.models import ModelClass, Resolution
    from llm_gateway.domain.requests import CallRequest


@dataclass(frozen=True, slots=True)
class NewCall:
    """A call of a key that is taken for new, with its first attempt, about to be sent."""

    request: CallRequest
    reservation: Reservation
    override: ModelClass | None
    """The tenant's override by which the model was chosen."""
    lease: CallLease


@dataclass(frozen=True, slots=True)
class Settlement:
    """The end of an attempt whose reply settles its call."""

    key: CallKey
    attempt: int
    result: AttemptResult
    output: CallOutput
    body: bytes | None
    """The reply; None where it is a file of the artifacts service."""


@dataclass(frozen=True, slots=True)
class FirstSettlement:
    """A settlement by a call's first and only attempt, by the process that began the call."""

    settlement: Settlement
    body: bytes
    call_id: int
    request: CallRequest
    resolution: Resolution
    lease: CallLease
