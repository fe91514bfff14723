"""Limits what of a failure enters a workflow's history."""

from __future__ import annotations

from typing import TYPE_CHECKING

from temporalio.converter import DefaultFailureConverter, DefaultPayloadConverter

if TYPE_CHECKING:
    from temporalio.api.failure.v1 import Failure
    from temporalio.converter import PayloadConverter

MESSAGE_LIMIT = 512
"""The most bytes of a failure's message."""

_UNLIMITED = DefaultPayloadConverter()


class TruncatingFailureConverter(DefaultFailureConverter):
    """Keeps of a failure its type and MESSAGE_LIMIT bytes of its message: no stack, no details."""

    def to_failure(
        self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure
    ) -> None:
        """Encode an error into `failure`, and what caused it likewise."""
        # Details are dropped below; a limit on them would only break the conversion.
        super().to_failure(exception, _UNLIMITED, failure)
        _truncate(failure)


def _truncate(failure: Failure) -> None:
    failure.message = failure.message.encode()[:MESSAGE_LIMIT].decode(errors="ignore")
    failure.stack_trace = ""
    if failure.HasField("application_failure_info"):
        failure.application_failure_info.ClearField("details")
    if failure.HasField("canceled_failure_info"):
        failure.canceled_failure_info.ClearField("details")
    if failure.HasField("cause"):
        _truncate(failure.cause)
