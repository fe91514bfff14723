"""One call on a server, and the timeouts that end it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from interceptor.timers import Timers
from servicekit.call import CallContext

if TYPE_CHECKING:
    import asyncio

    from opentelemetry.trace import Span

    from interceptor.concurrency_limit import ConcurrencyLimit
    from interceptor.fair_semaphore import Permit
    from servicekit.policy import Method


class ServerCall(CallContext):
    """A call as its handler sees it, with what the interceptor keeps about it.

    `key` is whom it counts for in limits and semaphores: its caller, and its tenant once that is
    known. `limit` is where it is counted now. `end_reason` says which timeout cancelled it.
    """

    __slots__ = (
        "bytes_in",
        "bytes_out",
        "code",
        "end_reason",
        "first_message_read",
        "key",
        "large_permit",
        "limit",
        "permit",
        "reason",
        "seconds",
        "span",
        "started",
        "task",
    )

    def __init__(self, method: Method) -> None:
        super().__init__(method=method)
        self.started = time.monotonic()
        self.seconds = 0.0
        self.bytes_in = self.bytes_out = 0
        self.code = self.reason = self.end_reason = ""
        self.first_message_read = False
        self.limit: ConcurrencyLimit | None = None
        self.key = ""
        self.permit: Permit | None = None
        self.large_permit: Permit | None = None
        self.task: asyncio.Task[object] | None = None
        self.span: Span | None = None

    @property
    def trace_id(self) -> str:
        """The trace that the call is part of; empty where it has no span."""
        return "" if self.span is None or self.traceparent is None else self.traceparent[3:35]

    def end(self, code: str) -> None:
        """Record the gRPC code with which the call ended, and how long it took."""
        self.task = None
        self.code = code
        self.seconds = time.monotonic() - self.started


class CallTimeouts(Timers[ServerCall]):
    """Cancels calls when a timeout of `seconds` expires; `reason` is for the caller."""

    def __init__(self, seconds: float, reason: str) -> None:
        super().__init__(seconds, self._cancel)
        self._reason = reason

    def _cancel(self, call: ServerCall) -> None:
        if call.task is not None and not call.end_reason:
            call.end_reason = self._reason
            call.task.cancel()
