"""Why a step fails."""

from __future__ import annotations

import re

MESSAGE_LIMIT = 400
REASON = re.compile(r"[A-Z][A-Z0-9_]{0,62}")
"""The form of a reason."""


class StepError(Exception):
    """An attempt at a step fails, for a reason that everyone may read.

    Reason and message are in logs, events and answers, so they must hold nothing of a customer's
    content. Of any other exception that a function raises only `internal error <id>` is shown; its
    text and traceback are written to a file beside the step's output.
    """

    def __init__(self, reason: str, message: str, *, retryable: bool = True) -> None:
        """Make an error with a reason such as `NO_SUCH_CUSTOMER`; 400 characters of the message
        are kept.

        `retryable`: whether another attempt may succeed. Raises ValueError for a reason that is not
        1 to 63 upper-case letters, digits and underscores.
        """
        if not REASON.fullmatch(reason):
            raise ValueError(f"{reason!r} is no reason: write it like NO_SUCH_CUSTOMER")
        super().__init__(message[:MESSAGE_LIMIT])
        self.reason = reason
        self.message = message[:MESSAGE_LIMIT]
        self.retryable = retryable
