"""What may enter a workflow's history: small values, short messages, and nothing else.

A value over its limit fails the workflow or the activity at once, without a retry: an error other
than ApplicationError, or a codec instead of a converter, would make the workflow task fail forever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from temporalio.converter import (
    CompositePayloadConverter,
    DataConverter,
    DefaultFailureConverter,
    DefaultPayloadConverter,
    JSONPlainPayloadConverter,
    JSONTypeConverter,
    PayloadConverter,
)
from temporalio.exceptions import ApplicationError

from runs.domain.plan import RunStart
from runs.domain.work import Listing, RunEnd, RunRef, StepResult, Work

if TYPE_CHECKING:
    from collections.abc import Sequence

    from temporalio.api.common.v1 import Payload
    from temporalio.api.failure.v1 import Failure

PAYLOAD_LIMIT = 4_096
START_LIMIT = 8_192
MESSAGE_LIMIT = 512

PAYLOAD_TOO_LARGE = "PayloadTooLarge"

_PLAIN = frozenset({Listing, RunEnd, RunRef, StepResult, Work})


class PlainValues(JSONTypeConverter):
    """Makes the values of `runs.domain.work` straight from their fields.

    To follow their annotations, as the SDK does each time, costs ten times as much.
    """

    def to_typed_value(self, hint: Any, value: Any) -> Any:  # noqa: ANN401 - the SDK's signature
        if hint not in _PLAIN:
            return JSONTypeConverter.Unhandled
        return hint(**{name: value[name] for name in hint.__slots__ if name in value})


class RejectingPayloadConverter(CompositePayloadConverter):
    """Refuses values that can only be bodies: over 4 KiB, or 8 KiB for a workflow's start."""

    def __init__(self) -> None:
        usual = DefaultPayloadConverter.default_encoding_payload_converters
        others = (each for each in usual if not isinstance(each, JSONPlainPayloadConverter))
        super().__init__(*others, JSONPlainPayloadConverter(custom_type_converters=[PlainValues()]))

    def to_payloads(self, values: Sequence[Any]) -> list[Payload]:
        payloads = super().to_payloads(values)
        for value, payload in zip(values, payloads, strict=True):
            limit = START_LIMIT if isinstance(value, RunStart) else PAYLOAD_LIMIT
            if (size := payload.ByteSize()) > limit:
                raise ApplicationError(
                    f"{type(value).__name__} takes {size:,} bytes, at most {limit:,} are possible: "
                    "pass a path and a digest",
                    type=PAYLOAD_TOO_LARGE,
                    non_retryable=True,
                )
        return payloads


class TruncatingFailureConverter(DefaultFailureConverter):
    """Keeps of a failure its type and 512 bytes of its message: no stack trace, no details."""

    def to_failure(
        self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure
    ) -> None:
        # Details are dropped below; a limit on them would only break the conversion.
        super().to_failure(exception, _UNLIMITED, failure)
        _truncate(failure)


_UNLIMITED = DefaultPayloadConverter()


def data_converter() -> DataConverter:
    """Return the converter that every client and every worker of the service uses."""
    return DataConverter(
        payload_converter_class=RejectingPayloadConverter,
        failure_converter_class=TruncatingFailureConverter,
    )


def _truncate(failure: Failure) -> None:
    failure.message = _first_bytes(failure.message)
    failure.stack_trace = ""
    if failure.HasField("application_failure_info"):
        failure.application_failure_info.ClearField("details")
    if failure.HasField("canceled_failure_info"):
        failure.canceled_failure_info.ClearField("details")
    if failure.HasField("cause"):
        _truncate(failure.cause)


def _first_bytes(text: str) -> str:
    return text.encode()[:MESSAGE_LIMIT].decode(errors="ignore")
