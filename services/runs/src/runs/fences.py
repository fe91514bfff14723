"""What may enter a workflow's history: small values, short messages, and nothing else.

A value over its limit fails the workflow or the activity at once, without a retry: an error other
than ApplicationError, or a codec instead of a converter, would make the workflow task fail forever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from temporalio.converter import (
    DataConverter,
    DefaultFailureConverter,
    DefaultPayloadConverter,
    PayloadConverter,
)
from temporalio.exceptions import ApplicationError

from runs.domain.plan import RunStart

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from temporalio.api.common.v1 import Payload
    from temporalio.api.failure.v1 import Failure

PAYLOAD_LIMIT = 4_096
START_LIMIT = 8_192
MESSAGE_LIMIT = 512

PAYLOAD_TOO_LARGE = "PayloadTooLarge"


class RejectingPayloadConverter(DefaultPayloadConverter):
    """Refuses values that can only be bodies: over 4 KiB, or 8 KiB for a workflow's start."""

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
