"""Why a piece of work fails, in words that may stand in histories and logs: never with a body."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runs.domain.error_texts import ErrorText

MESSAGE_LIMIT = 400

SHARE_TAKEN = "TENANT_SHARE_TAKEN"
"""What Temporal is told of a step that is to wait, because its tenant's others are at it."""


class StepFailed(Exception):
    """An attempt at a piece of work failed. It is tried again while attempts are left."""

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
    """The piece of work cannot be done, however often it is tried."""

    final = True


class ReadTooLarge(StepImpossible):
    """A JSON value is more than a piece of work reads at once; `why` says what is too large."""

    def __init__(self, why: str) -> None:
        mend = "point to a smaller value inside it, or read the whole file with StepContext.stream"
        super().__init__("READ_TOO_LARGE", f"{why}: {mend}")
        self.why = why


class FunctionRaised(Exception):
    """A function raised an error that is not ours."""

    def __init__(self, text: ErrorText) -> None:
        super().__init__("a function raised an error")
        self.text = text


class RunClosed(Exception):
    """The run has its final status, or a later epoch: nothing may be done for it any more."""
