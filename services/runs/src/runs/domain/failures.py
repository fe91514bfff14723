"""Why a piece of work fails, in words that may stand in histories and logs: never with a body."""

from __future__ import annotations

MESSAGE_LIMIT = 400

SHARE_TAKEN = "TENANT_SHARE_TAKEN"
"""What Temporal is told of a step that is to wait, because its tenant's others are at it."""


class StepFailed(Exception):
    """An attempt at a piece of work failed. It is tried again while attempts are left."""

    final = False
    """Whether another attempt would fail in the same way."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message[:MESSAGE_LIMIT])
        self.reason = reason
        self.message = message[:MESSAGE_LIMIT]
        self.error_path = ""


class StepImpossible(StepFailed):
    """The piece of work cannot be done, however often it is tried."""

    final = True


class ReadTooLarge(StepImpossible):
    """A JSON value is more than a piece of work reads at once; `why` says what is too large."""

    def __init__(self, why: str) -> None:
        mend = "point to a smaller value inside it, or read the whole file with StepContext.stream"
        super().__init__("READ_TOO_LARGE", f"{why}: {mend}")
        self.why = why


class RunClosed(Exception):
    """The run has its final status, or a later epoch: nothing may be done for it any more."""
