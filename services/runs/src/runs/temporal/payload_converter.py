"""Limits the size of the values that enter a workflow's history.

A value over its limit fails the workflow or the activity at once, without a retry: an error other
than ApplicationError, or a codec instead of a converter, would make the workflow task fail forever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from temporalio.converter import (
    CompositePayloadConverter,
    DefaultPayloadConverter,
    JSONPlainPayloadConverter,
    JSONTypeConverter,
)
from temporalio.exceptions import ApplicationError

from runs.domain.activities import (
    MappedList,
    RunEnd,
    RunRef,
    StepRef,
    StepResult,
    Walk,
    Walked,
)
from runs.domain.node_walks import NodeWalk, NodeWalked
from runs.domain.plan import RunStart

if TYPE_CHECKING:
    from collections.abc import Sequence

    from temporalio.api.common.v1 import Payload

PAYLOAD_LIMIT = 4_096
"""The most bytes of an encoded value."""

NODE_LIMIT = 6_144
"""The most bytes of an encoded NodeWalk or NodeWalked: a graph's state, and what stands around."""

START_LIMIT = 8_192
"""The most bytes of an encoded RunStart, which holds the plan."""

PAYLOAD_TOO_LARGE = "PayloadTooLarge"
"""The type of the error; histories hold it."""

_ACTIVITY_VALUES = frozenset({MappedList, RunEnd, RunRef, StepRef, StepResult, Walk, Walked})


class ActivityValueConverter(JSONTypeConverter):
    """Makes the values of `runs.domain.activities` straight from their fields.

    To follow their annotations, as the SDK does each time, costs ten times as much.
    """

    def to_typed_value(self, hint: Any, value: Any) -> Any:  # noqa: ANN401 - the SDK's signature
        if hint not in _ACTIVITY_VALUES:
            return JSONTypeConverter.Unhandled
        return hint(**{name: value[name] for name in hint.__slots__ if name in value})


def _limit(value: object) -> int:
    if isinstance(value, RunStart):
        return START_LIMIT
    return NODE_LIMIT if isinstance(value, (NodeWalk, NodeWalked)) else PAYLOAD_LIMIT


class LimitedPayloadConverter(CompositePayloadConverter):
    """Refuses values that can only be bodies: over PAYLOAD_LIMIT, or the limit of their type."""

    def __init__(self) -> None:
        defaults = DefaultPayloadConverter.default_encoding_payload_converters
        others = (each for each in defaults if not isinstance(each, JSONPlainPayloadConverter))
        plain = JSONPlainPayloadConverter(custom_type_converters=[ActivityValueConverter()])
        super().__init__(*others, plain)

    def to_payloads(self, values: Sequence[Any]) -> list[Payload]:
        """Encode values. Raises ApplicationError, not to be retried, for one over its limit."""
        payloads = super().to_payloads(values)
        for value, payload in zip(values, payloads, strict=True):
            limit = _limit(value)
            if (size := payload.ByteSize()) > limit:
                raise ApplicationError(
                    f"{type(value).__name__} takes {size:,} bytes, at most {limit:,} are possible: "
                    "pass a path and a digest",
                    type=PAYLOAD_TOO_LARGE,
                    non_retryable=True,
                )
        return payloads
