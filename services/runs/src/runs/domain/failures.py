"""Failures of steps. Their messages stand in histories and logs, so they never hold a body."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runs.domain.error_texts import ErrorText

MESSAGE_LIMIT = 400

TENANT_SHARE_TAKEN = "TENANT_SHARE_TAKEN"
"""The type of the error of a step that is handed back, since its tenant holds its share."""

TENANT_NOT_TAKEN = "TENANT_NOT_TAKEN"
"""The type of the error of a step that is handed back by a worker that is for other tenants."""

RUN_CLOSED = "RUN_CLOSED"
"""The type of the error of what comes after the run's end, or its epoch's."""


class StepFailed(Exception):
    """An attempt at a step failed. It is tried again while attempts are left."""

    final = False
    """Whether another attempt would fail in the same way."""

    def __init__(self, reason: str, message: str, text: ErrorText | None = None) -> None:
        super().__init__(message[:MESSAGE_LIMIT])
        self.reason = reason
        self.message = message[:MESSAGE_LIMIT]
        self.text = text
        self.error_path = ""
        self.wait_seconds = 0.0
        """For how long at least another attempt would be in vain."""


class StepImpossible(StepFailed):
    """The step cannot succeed, however often it is tried."""

    final = True


class ReadTooLarge(StepImpossible):
    """A JSON value is larger than a step reads at once; `why` says what is too large."""

    def __init__(self, why: str) -> None:
        hint = "point to a smaller value inside it, or read the whole file with StepContext.stream"
        super().__init__("READ_TOO_LARGE", f"{why}: {hint}")
        self.why = why


class FunctionRaised(Exception):
    """A function raised an error that is not ours."""

    def __init__(self, text: ErrorText) -> None:
        super().__init__("a function raised an error")
        self.text = text


class RunClosed(Exception):
    """The run has its final status, or a later epoch: nothing may be done for it any more."""
